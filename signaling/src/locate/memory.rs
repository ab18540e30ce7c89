//! What is known of peers from talking to them: which addresses failed lately, and the route that a
//! registrar asks for. Bad addresses are tried last, never left out: a memory can be wrong.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::restraint::Restraint;
use crate::trunk::TrunkId;

/// What the loop remembers about those it sent to.
#[derive(Debug, Default)]
pub struct Memory {
    bad: HashMap<SocketAddr, Mark>,
    service_routes: HashMap<TrunkId, Vec<Bytes>>,
    /// Those that the other shards were not told yet.
    untold: BTreeSet<TrunkId>,
    /// What overloaded peers ask for.
    pub restraint: Restraint,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    until: Instant,
    failures: u32,
}

impl Memory {
    /// The address gave no usable answer: timeout, transport, or 503. `retry_after` is what a 503
    /// asked for; without it the pause doubles from [`BAD_MIN`] to [`BAD_MAX`].
    pub fn failed(&mut self, address: SocketAddr, now: Instant, retry_after: Option<Duration>) {
        let failures = self.bad.get(&address).map_or(0, |mark| mark.failures);
        if failures == 0 {
            self.make_room(now);
        }
        let doubled = BAD_MIN.saturating_mul(1 << failures.min(8)).min(BAD_MAX);
        let pause = retry_after.map_or(doubled, |wait| wait.min(RETRY_AFTER_MAX));
        self.bad.insert(address, Mark { until: now + pause, failures: failures.saturating_add(1) });
    }

    /// The address answered.
    pub fn worked(&mut self, address: SocketAddr) {
        self.bad.remove(&address);
    }

    /// Whether the address failed so lately that others are better.
    pub fn is_bad(&self, address: SocketAddr, now: Instant) -> bool {
        self.bad.get(&address).is_some_and(|mark| mark.until > now)
    }

    /// The same addresses: good ones in their order, then bad ones, soonest to be tried again
    /// first.
    pub fn order(&self, addresses: &[SocketAddr], now: Instant) -> Vec<SocketAddr> {
        let (mut bad, mut order): (Vec<_>, Vec<_>) =
            addresses.iter().copied().partition(|address| self.is_bad(*address, now));
        bad.sort_by_key(|address| self.bad.get(address).map(|mark| mark.until));
        order.append(&mut bad);
        order
    }

    /// How many of the addresses are bad: a trunk with some is degraded.
    pub fn count_bad(&self, addresses: &[SocketAddr], now: Instant) -> usize {
        addresses.iter().filter(|address| self.is_bad(**address, now)).count()
    }

    /// The Route that a trunk's registrar wants in requests outside of dialogs, after that of the
    /// outbound proxy (RFC 3608 §6.1).
    pub fn service_route(&self, trunk: TrunkId) -> &[Bytes] {
        self.service_routes.get(&trunk).map_or(&[], Vec::as_slice)
    }

    /// Keeps what the registrar said last.
    pub fn set_service_route(&mut self, trunk: TrunkId, route: &[Bytes]) {
        if self.service_route(trunk) != route {
            self.untold.insert(trunk);
        }
        match route {
            [] => {
                self.service_routes.remove(&trunk);
            }
            route => {
                self.service_routes.insert(trunk, route.to_vec());
            }
        }
    }

    /// Routes of registrars that the other shards were not told yet.
    pub fn untold(&mut self) -> Vec<(TrunkId, Vec<Bytes>)> {
        let trunks = std::mem::take(&mut self.untold);
        trunks.into_iter().map(|trunk| (trunk, self.service_route(trunk).to_vec())).collect()
    }

    fn make_room(&mut self, now: Instant) {
        if self.bad.len() < MEMORY_MAX {
            return;
        }
        self.bad.retain(|_, mark| mark.until + BAD_MAX > now);
        if self.bad.len() < MEMORY_MAX {
            return;
        }
        let oldest =
            self.bad.iter().min_by_key(|(_, mark)| mark.until).map(|(address, _)| *address);
        if let Some(oldest) = oldest {
            self.bad.remove(&oldest);
        }
    }
}

/// First pause of an address that failed.
pub const BAD_MIN: Duration = Duration::from_secs(30);
/// Longest one.
pub const BAD_MAX: Duration = Duration::from_secs(300);
/// Longest Retry-After that is believed.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// Addresses remembered; a thousand trunks with a few each.
pub const MEMORY_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> SocketAddr {
        let [_, b, c, d] = n.to_be_bytes();
        SocketAddr::from(([10, b, c, d], 5060))
    }

    #[test]
    fn what_failed_is_tried_last_until_it_works() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let all = [address(1), address(2), address(3)];
        assert_eq!(memory.order(&all, now), all);
        memory.failed(address(1), now, None);
        memory.failed(address(2), now, Some(Duration::from_secs(5)));
        assert_eq!(memory.order(&all, now), [address(3), address(2), address(1)]);
        assert_eq!(memory.count_bad(&all, now), 2);
        assert_eq!(memory.order(&all, now + BAD_MIN), all, "the pause is over");
        memory.worked(address(1));
        memory.worked(address(2));
        assert_eq!(memory.order(&all, now), all);
    }

    #[test]
    fn the_pause_doubles_up_to_its_limit() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        for seconds in [30, 60, 120, 240, 300, 300] {
            memory.failed(address(1), now, None);
            let end = now + Duration::from_secs(seconds);
            assert!(memory.is_bad(address(1), end - Duration::from_millis(1)), "{seconds}");
            assert!(!memory.is_bad(address(1), end), "{seconds}");
        }
        memory.failed(address(1), now, Some(Duration::from_secs(1_000_000)));
        assert!(!memory.is_bad(address(1), now + RETRY_AFTER_MAX));
    }

    #[test]
    fn it_is_bounded() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        for n in 0..2 * MEMORY_MAX as u32 {
            memory.failed(address(n), now + Duration::from_millis(n.into()), None);
        }
        assert_eq!(memory.bad.len(), MEMORY_MAX);
        assert!(memory.is_bad(address(2 * MEMORY_MAX as u32 - 1), now));
        assert!(!memory.is_bad(address(0), now));
    }
}
