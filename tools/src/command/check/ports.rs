//! Media ports: who else has some of them, or may be given some.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::Finding;
use crate::pin::{Host, ports};

/// `told`: that the kernel gives some of them away was said already.
pub fn findings(host: &Host, range: &RangeInclusive<u16>, told: bool) -> Vec<Finding> {
    let given_away = (!told).then(|| given_away(host, range));
    given_away.into_iter().chain([in_use(host, range)]).collect()
}

/// Whether the kernel gives a port of the range to programs that ask for any.
fn given_away(host: &Host, range: &RangeInclusive<u16>) -> Finding {
    let read = |file: &str| host.read(&format!("/proc/sys/net/ipv4/{file}")).unwrap_or_default();
    let (local, reserved) = (read("ip_local_port_range"), read("ip_local_reserved_ports"));
    let wanted = format!("{}-{}", range.start(), range.end());
    if !ports::is_given_away(&local, range) || ports::covers(&reserved, &wanted) {
        let what = format!("the kernel gives none of {wanted} to programs that ask for any port");
        return Finding::ok("ports reserved", what);
    }
    let local = local.split_ascii_whitespace().collect::<Vec<_>>().join("-");
    let what = format!("programs that ask for any port get one of {local}, media has {wanted}");
    let remedy =
        "trunkline pin apply --only ports (net.ipv4.ip_local_reserved_ports), or another range";
    Finding::warn("ports reserved", what, remedy)
}

/// Ports of the range that have a socket now.
fn in_use(host: &Host, range: &RangeInclusive<u16>) -> Finding {
    let mut taken = BTreeSet::new();
    for table in ["/proc/net/udp", "/proc/net/udp6"] {
        let text = host.read(table).unwrap_or_default();
        taken.extend(
            text.lines().skip(1).filter_map(local_port).filter(|port| range.contains(port)),
        );
    }
    let all = range.len();
    if taken.is_empty() {
        return Finding::ok("ports in use", format!("none of {all}"));
    }
    let shown: Vec<String> = taken.iter().take(SHOWN).map(u16::to_string).collect();
    let more = if taken.len() > SHOWN { ", ..." } else { "" };
    let what = format!("{} of {all}: {}{more}", taken.len(), shown.join(", "));
    let remedy = "see `ss -lunp` for the holders; a running gateway holds those of its calls";
    Finding::warn("ports in use", what, remedy)
}

/// ` 12: 0100007F:1389 00000000:0000 07 ...`
fn local_port(line: &str) -> Option<u16> {
    let (_, port) = line.split_ascii_whitespace().nth(1)?.rsplit_once(':')?;
    u16::from_str_radix(port, 16).ok()
}

/// Ports named in a finding.
const SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    use super::super::{OK, WARN};
    use super::*;
    use crate::pin::Laid;

    #[test]
    fn ports_of_others_are_told_and_reserved_ones_are_not() {
        let tree = "/proc/sys/net/ipv4/ip_local_port_range = 32768 60999\n\
                    /proc/sys/net/ipv4/ip_local_reserved_ports = 30000-39999\n\
                    /proc/net/udp = sl local_address rem_address st\n\
                    /proc/net/udp += 7: 0100007F:7530 00000000:0000 07\n\
                    /proc/net/udp += 8: 0100007F:0035 00000000:0000 07\n\
                    /proc/net/udp += broken\n\
                    /proc/net/udp6 = sl local_address rem_address st\n\
                    /proc/net/udp6 += 9: 00000000000000000000000001000000:7532 0:0 07\n";
        let laid = Laid::out(tree, "check-ports");
        let host = Host::recorded(laid.path());
        let found = findings(&host, &(30_000..=39_999), false);
        assert_eq!([found[0].level, found[1].level], [OK, WARN]);
        assert!(found[1].what.starts_with("2 of 10000: 30000, 30002"), "{}", found[1].what);
        let found = findings(&host, &(40_000..=49_999), false);
        assert_eq!([found[0].level, found[1].level], [WARN, OK]);
        assert!(found[0].remedy.contains("pin apply --only ports"));
        assert_eq!(findings(&host, &(40_000..=49_999), true).len(), 1);
    }
}
