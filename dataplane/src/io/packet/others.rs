//! UDP ports that other programs hold, as far as the kernel lists them: read once at the start,
//! before files are out of reach. Ports of ours are not bound, so that nothing else would tell.

use std::collections::HashSet;
use std::fs;
use std::net::Ipv4Addr;

/// Who holds what: an address (0: all of the family) in the form of
/// [`Endpoint::ip`](crate::io::Endpoint), and a port.
#[derive(Default)]
pub struct Others {
    held: HashSet<(u128, u16)>,
}

impl Others {
    /// Reads what is held now. What cannot be read is taken for free.
    pub fn read() -> Others {
        let mut others = Others::default();
        for table in ["udp", "udp6"] {
            // The second is what Landlock leaves.
            let ours = fs::read_to_string(format!("/proc/thread-self/net/{table}"));
            let text = ours.or_else(|_| fs::read_to_string(format!("/proc/self/net/{table}")));
            others.take(&text.unwrap_or_default());
        }
        others
    }

    /// Whether a socket of another program would get datagrams for `ip` and `port`.
    pub fn hold(&self, ip: u128, port: u16) -> bool {
        let held = |ip| self.held.contains(&(ip, port));
        // A socket of IPv6 on all addresses mostly serves IPv4 too.
        held(ip) || held(ANY_V4) || held(0)
    }

    fn take(&mut self, table: &str) {
        for line in table.lines().skip(1) {
            let mut fields = line.split_ascii_whitespace();
            let Some((address, port)) = fields.nth(1).and_then(|local| local.split_once(':'))
            else {
                continue;
            };
            let connected = fields.next().is_some_and(|far| !far.ends_with(":0000"));
            if connected {
                // It gets what its partner sends, before us and without harm to us.
                continue;
            }
            if let (Some(ip), Ok(port)) = (read_ip(address), u16::from_str_radix(port, 16)) {
                self.held.insert((ip, port));
            }
        }
    }
}

/// Words of 32 bits in the processor's own order, as `/proc/net` has them.
fn read_ip(text: &str) -> Option<u128> {
    let word = |at: usize| {
        let digits = text.get(at..at + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match text.len() {
        8 => Some(u128::from(Ipv4Addr::from(word(0)?).to_ipv6_mapped())),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            Some(words.into_iter().flatten().fold(0, |ip, octet| ip << 8 | u128::from(octet)))
        }
        _ => None,
    }
}

const ANY_V4: u128 = 0xffff << 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let mut others = Others::default();
        others.take(
            "  sl  local_address rem_address   st tx_queue\n  \
             1: 0100007F:4E20 00000000:0000 07 00000000:00000000\n  \
             2: 00000000:4E22 00000000:0000 07 00000000:00000000\n  \
             3: 0100007F:4E24 0200007F:1388 01 00000000:00000000\n",
        );
        others.take(
            "  sl  local_address                         remote_address st\n  \
             4: B80D0120000000000000000001000000:4E26 \
             00000000000000000000000000000000:0000 07\n",
        );
        let loopback = u128::from(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
        let other = u128::from(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped());
        let six = "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().into();
        assert!(others.hold(loopback, 20_000) && !others.hold(other, 20_000));
        assert!(others.hold(loopback, 20_002) && others.hold(other, 20_002), "on all addresses");
        assert!(!others.hold(loopback, 20_004), "connected to another");
        assert!(others.hold(six, 20_006) && !others.hold(six, 20_000));
        for broken in ["", "x", "\n", "\n1: 0100007F", "\n1: 01:xx 0", "\n1: ééééééé:1 0:0"]
        {
            others.take(broken);
        }
    }

    #[test]
    fn a_socket_of_this_host_is_seen() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = crate::io::Endpoint::from(socket.local_addr().unwrap());
        assert!(Others::read().hold(at.ip, at.port));
    }
}
