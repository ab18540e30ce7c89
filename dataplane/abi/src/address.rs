//! An IP address and port in shared memory.
//!
//! IPv4 is stored v4-mapped (RFC 4291 §2.5.5.2) so that one fixed form serves both families. What
//! it cannot carry is an IPv6 scope: link-local media addresses are not supported.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytemuck::{Pod, Zeroable};

/// A transport address, or none. All-zero bytes mean "none".
#[repr(C)]
#[derive(Pod, Zeroable, Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Address {
    /// Network order; v4-mapped for IPv4.
    pub ip: [u8; 16],
    /// Host order.
    pub port: u16,
    /// 0 none, 4 IPv4, 6 IPv6.
    pub family: u16,
}

impl Address {
    /// No address.
    pub const NONE: Self = Self { ip: [0; 16], port: 0, family: NONE };

    /// The address in std's terms; `None` for "none" and for anything that does not decode.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        self.decode().ok().flatten()
    }

    /// Distinguishes "none" (`Ok(None)`) from nonsense (`Err`).
    ///
    /// Nonsense is: an unknown family, bytes that the family does not allow, or an address to
    /// which unicast media can never go (unspecified, multicast, broadcast, port 0).
    pub fn decode(&self) -> Result<Option<SocketAddr>, BadAddress> {
        let mapped = Ipv6Addr::from(self.ip);
        let ip = match (self.family, mapped.to_ipv4_mapped()) {
            (NONE, _) if *self == Self::NONE => return Ok(None),
            (IPV4, Some(ip)) => IpAddr::V4(ip),
            (IPV6, None) => IpAddr::V6(mapped),
            _ => return Err(BadAddress),
        };
        let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
        if ip.is_unspecified() || ip.is_multicast() || broadcast || self.port == 0 {
            return Err(BadAddress);
        }
        Ok(Some(SocketAddr::new(ip, self.port)))
    }
}

impl From<SocketAddr> for Address {
    /// A v4-mapped IPv6 address becomes plain IPv4: there is one form per address.
    fn from(addr: SocketAddr) -> Self {
        match addr.ip().to_canonical() {
            IpAddr::V4(ip) => {
                Self { ip: ip.to_ipv6_mapped().octets(), port: addr.port(), family: IPV4 }
            }
            IpAddr::V6(ip) => Self { ip: ip.octets(), port: addr.port(), family: IPV6 },
        }
    }
}

impl From<Option<SocketAddr>> for Address {
    fn from(addr: Option<SocketAddr>) -> Self {
        addr.map_or(Self::NONE, Self::from)
    }
}

/// The bytes are not an address that media can come from or go to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadAddress;

const NONE: u16 = 0;
const IPV4: u16 = 4;
const IPV6: u16 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_and_none_survive_the_round_trip() {
        for text in ["192.0.2.1:4000", "[2001:db8::1]:65535", "127.0.0.1:1"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(Address::from(addr).socket_addr(), Some(addr));
        }
        assert_eq!(Address::from(None), Address::NONE);
        assert_eq!(Address::NONE.decode(), Ok(None));
    }

    #[test]
    fn a_mapped_address_becomes_ipv4() {
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:9".parse().unwrap();
        assert_eq!(Address::from(mapped).socket_addr(), "192.0.2.1:9".parse().ok());
    }

    #[test]
    fn nonsense_is_refused() {
        let good = Address::from("192.0.2.1:4000".parse::<SocketAddr>().unwrap());
        for bad in [
            Address { family: 0, ..good },
            Address { family: 5, ..good },
            Address { family: 6, ..good },
            Address { port: 0, ..good },
            Address { ip: [0; 16], ..good },
            Address { ip: [0; 16], port: 4000, family: 6 },
            Address::from("224.0.0.1:4000".parse::<SocketAddr>().unwrap()),
            Address::from("255.255.255.255:4000".parse::<SocketAddr>().unwrap()),
            Address::from("[ff02::1]:4000".parse::<SocketAddr>().unwrap()),
        ] {
            assert_eq!(bad.decode(), Err(BadAddress), "{bad:?}");
            assert_eq!(bad.socket_addr(), None, "{bad:?}");
        }
    }
}
