//! How fast addresses that no trunk claims may open connections. Whoever opens and reopens them
//! without end would buy a task and a handshake with each; beyond its pace it buys nothing but its end.
//!
//! Counted by network, because addresses of one are its owner's to choose: who is not part of a flood
//! is not slowed by it. Trunks have no pace here, they have their limit of connections.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::admission::Sources;

/// A token bucket for each network that knocked lately.
pub(super) struct Knocking(Mutex<Sources>);

impl Knocking {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Sources::of(KNOCKS_PER_SECOND)))
    }

    /// Counts one connection of this address; whether it is too many.
    pub(super) fn is_too_fast(&self, now: Instant, source: IpAddr) -> bool {
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sources.is_too_fast(now, network(source))
    }
}

/// What one owner has: a /24, or a /64 of IPv6.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & (!0 << 8)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (!0 << 64)).into(),
    }
}

/// Connections that strangers of one network may open in a second, in a burst twice as many: more
/// than a site has gateways.
pub(super) const KNOCKS_PER_SECOND: u32 = 100;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_network_is_held_to_its_pace_and_others_are_not() {
        let (knocking, now) = (Knocking::new(), Instant::now());
        let taken = |at, address: &str| {
            let address = address.parse().unwrap();
            (0..1_000).filter(|_| !knocking.is_too_fast(at, address)).count()
        };
        let burst = 2 * KNOCKS_PER_SECOND as usize;
        for (first, same, other) in [
            ("192.0.2.1", "192.0.2.200", "192.0.3.1"),
            ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"),
            ("::ffff:198.51.100.1", "198.51.100.2", "198.51.101.1"),
        ] {
            assert_eq!([first, same, other].map(|ip| taken(now, ip)), [burst, 0, burst]);
        }
        let second = taken(now + Duration::from_secs(1), "192.0.2.7");
        assert!(second.abs_diff(KNOCKS_PER_SECOND as usize) <= 1, "{second} in a second");
    }
}
