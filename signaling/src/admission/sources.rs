//! How fast one address may ask for calls. A trunk's address can be forged on UDP, so what is within
//! every limit of the trunk may still be a flood. Pure: time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::BURST_FACTOR;

/// A token bucket for each address that asked lately.
#[derive(Debug)]
pub struct Sources {
    paces: HashMap<IpAddr, Pace>,
    per_second: u32,
}

impl Default for Sources {
    fn default() -> Self {
        Self::of(SOURCE_CPS_MAX)
    }
}

impl Sources {
    /// Buckets that fill so fast, and hold twice as much.
    pub fn of(per_second: u32) -> Self {
        Self { paces: HashMap::new(), per_second }
    }

    /// Counts one request of this address, for calls an INVITE; whether it is too many.
    pub fn is_too_fast(&mut self, now: Instant, source: IpAddr) -> bool {
        if !self.paces.contains_key(&source) && self.paces.len() >= SOURCES_MAX {
            self.make_room(now);
        }
        let pace = self.paces.entry(source).or_default();
        if !pace.has_room(now, self.per_second) {
            return true;
        }
        pace.spend(now, self.per_second);
        false
    }

    /// Forgets who has not asked for a while; if all have, the one that asked least: it has proven
    /// least, and gets a full bucket again.
    fn make_room(&mut self, now: Instant) {
        self.paces.retain(|_, pace| pace.0.is_some_and(|full| full > now));
        if self.paces.len() >= SOURCES_MAX {
            let least = self.paces.iter().min_by_key(|(_, pace)| pace.0);
            let least = least.map(|(source, _)| *source);
            least.map(|source| self.paces.remove(&source));
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.paces.len()
    }
}

/// A token bucket, kept as the moment at which it is full again. Of one shard: a source's calls are
/// spread over all of them.
#[derive(Clone, Copy, Default, Debug)]
struct Pace(Option<Instant>);

impl Pace {
    /// Whether one more call at `now` stays within `max` a second and a burst of twice that.
    fn has_room(self, now: Instant, max: u32) -> bool {
        let burst = max.saturating_mul(BURST_FACTOR);
        let tolerance = interval(max) * burst.saturating_sub(1);
        self.0.is_none_or(|full| full.saturating_duration_since(now) <= tolerance)
    }

    fn spend(&mut self, now: Instant, max: u32) {
        let full = self.0.map_or(now, |full| full.max(now));
        self.0 = Some(full + interval(max));
    }
}

fn interval(per_second: u32) -> Duration {
    Duration::from_secs(1) / per_second.max(1)
}

/// New calls that one address may ask of one shard in a second, in a burst twice as many: more than a
/// core can carry.
pub const SOURCE_CPS_MAX: u32 = 5_000;
/// Addresses that are remembered: a thousand trunks with a few each.
pub const SOURCES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn a_source_is_held_to_its_pace_and_others_are_not() {
        let (mut sources, now) = (Sources::default(), Instant::now());
        let asked = |sources: &mut Sources, at, source| {
            (0..20_000).filter(|_| !sources.is_too_fast(at, source)).count()
        };
        assert_eq!(asked(&mut sources, now, address(1)), 2 * SOURCE_CPS_MAX as usize, "the burst");
        assert_eq!(asked(&mut sources, now, address(2)), 2 * SOURCE_CPS_MAX as usize, "another");
        let later = now + Duration::from_secs(1);
        let second = asked(&mut sources, later, address(1));
        assert!(second.abs_diff(SOURCE_CPS_MAX as usize) <= 1, "{second} in a second");
    }

    #[test]
    fn sources_that_are_remembered_are_limited() {
        let (mut sources, now) = (Sources::default(), Instant::now());
        // One that is at its limit, among many that asked once.
        while !sources.is_too_fast(now, address(0)) {}
        for n in 1..=SOURCES_MAX as u32 * 2 {
            sources.is_too_fast(now, address(n));
            assert!(sources.len() <= SOURCES_MAX);
        }
        assert!(sources.is_too_fast(now, address(0)), "many others do not free it");
        sources.is_too_fast(now + Duration::from_secs(60), address(1));
        assert!(sources.len() <= SOURCES_MAX);
    }
}
