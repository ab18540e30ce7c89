//! How fast addresses that no trunk claims may open connections. Whoever opens and reopens them
//! without end would buy a task and a handshake with each; beyond its pace it buys nothing but its end.
//!
//! Counted by network, because addresses of one are its owner's to choose, and for all networks
//! together: who is not part of a flood is not slowed by it. Trunks have no pace here, they have their limit of connections.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::admission::Sources;

/// Who knocked lately.
pub(super) struct Knocking(Mutex<Paces>);

struct Paces {
    /// A token bucket for each network.
    networks: Sources,
    /// One for all of them together.
    all: Sources,
    /// A much smaller one for each network while all together are too fast: a flood from many
    /// networks is told by it from somebody who comes once.
    patient: Sources,
}

impl Knocking {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Paces {
            networks: Sources::of(KNOCKS_PER_SECOND),
            all: Sources::of(KNOCKS_IN_ALL),
            patient: Sources::of(KNOCKS_IN_A_FLOOD),
        }))
    }

    /// Counts one connection of this address; whether it is too many.
    pub(super) fn is_too_fast(&self, now: Instant, source: IpAddr) -> bool {
        let network = network(source);
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        paces.networks.is_too_fast(now, network)
            || paces.all.is_too_fast(now, EVERYBODY) && paces.patient.is_too_fast(now, network)
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
const KNOCKS_PER_SECOND: u32 = 100;
/// Those of all strangers: a twentieth of what the edge's thread can carry.
const KNOCKS_IN_ALL: u32 = 500;
/// Those of one network while there are more than that.
const KNOCKS_IN_A_FLOOD: u32 = 1;
/// The one source in the bucket of all.
const EVERYBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_network_is_held_to_its_pace_and_others_are_not() {
        let now = Instant::now();
        let burst = 2 * KNOCKS_PER_SECOND as usize;
        for (first, same, other) in [
            ("192.0.2.1", "192.0.2.200", "192.0.3.1"),
            ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"),
            ("::ffff:198.51.100.1", "198.51.100.2", "198.51.101.1"),
        ] {
            let knocking = Knocking::new();
            let taken = |at, address: &str| {
                let address = address.parse().unwrap();
                (0..1_000).filter(|_| !knocking.is_too_fast(at, address)).count()
            };
            assert_eq!([first, same, other].map(|ip| taken(now, ip)), [burst, 0, burst]);
            let second = taken(now + Duration::from_secs(1), first);
            assert!(second.abs_diff(KNOCKS_PER_SECOND as usize) <= 1, "{second} in a second");
        }
    }

    #[test]
    fn a_flood_from_many_networks_leaves_room_for_who_comes_once() {
        let (knocking, now) = (Knocking::new(), Instant::now());
        let from = |n: usize| IpAddr::from([10, (n / 250) as u8, (n % 250) as u8, 1]);
        let taken = (0..100_000).filter(|n| !knocking.is_too_fast(now, from(n % 200))).count();
        let (all, each) = (2 * KNOCKS_IN_ALL as usize, 2 * KNOCKS_IN_A_FLOOD as usize);
        assert_eq!(taken, all + 200 * each, "many networks together");
        let once = "192.0.2.1".parse().unwrap();
        assert!(!knocking.is_too_fast(now, once), "somebody else comes in the middle of it");
        assert!((0..100).any(|_| knocking.is_too_fast(now, once)), "and then is one of them");
        let second = now + Duration::from_secs(1);
        let again = (0..100_000).filter(|n| !knocking.is_too_fast(second, from(n % 200))).count();
        let rate = KNOCKS_IN_ALL as usize + 200 * KNOCKS_IN_A_FLOOD as usize;
        assert!(again.abs_diff(rate) <= 2, "{again} a second");
    }
}
