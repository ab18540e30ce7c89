//! One trunk's calls and paces, counted by all shards together: each change is one atomic exchange
//! that is tried again when another shard was faster, so that caps are exact and nobody waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{ALERT_AGAIN_PERCENT, ALERT_PERCENT, BURST_FACTOR, Bound, Full, Used};
use crate::trunk::{Trunk, TrunkId};

/// The trunks' loads.
pub type Loads = HashMap<TrunkId, Arc<Load>>;

/// One trunk's.
#[derive(Debug)]
pub struct Load {
    /// Inbound calls in the upper half, outbound ones in the lower: both caps of a direction and the
    /// one of both are looked at in one exchange.
    calls: AtomicU64,
    inward: Pace,
    outward: Pace,
    /// The operator was told that the trunk is nearly full.
    alerted: AtomicBool,
}

impl Default for Load {
    fn default() -> Self {
        let origin = Instant::now();
        let pace = || Pace { origin, full_ns: AtomicI64::new(i64::MIN) };
        let (inward, outward) = (pace(), pace());
        Self { calls: AtomicU64::new(0), inward, outward, alerted: AtomicBool::new(false) }
    }
}

impl Load {
    pub fn used(&self) -> Used {
        used(self.calls.load(Ordering::Relaxed))
    }

    pub fn pace(&self, bound: Bound) -> &Pace {
        match bound {
            Bound::In => &self.inward,
            Bound::Out => &self.outward,
        }
    }

    /// Counts one more call, if the caps of `within` allow it.
    ///
    /// # Errors
    /// The cap that is reached; nothing is counted then.
    pub fn add(&self, bound: Bound, within: Option<&Trunk>) -> Result<(), Full> {
        let mut reached = None;
        let added = self.calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |calls| {
            reached = within.and_then(|trunk| cap(used(calls), trunk, bound).err());
            reached.is_none().then_some(calls + unit(bound))
        });
        match (added, reached) {
            (Err(_), Some(full)) => Err(full),
            _ => Ok(()),
        }
    }

    /// A call is over.
    pub fn remove(&self, bound: Bound) {
        self.calls.fetch_sub(unit(bound), Ordering::Relaxed);
    }

    /// Whether it is time to say that `used` calls of `max` are nearly all.
    pub fn is_alarming(&self, used: u32, max: u32) -> bool {
        let share = u64::from(used) * 100;
        if share < u64::from(max) * ALERT_AGAIN_PERCENT {
            self.alerted.store(false, Ordering::Relaxed);
        }
        share >= u64::from(max) * ALERT_PERCENT && !self.alerted.swap(true, Ordering::Relaxed)
    }
}

/// Whether one more call stays within the trunk's caps.
///
/// # Errors
/// The cap that is reached.
pub fn cap(used: Used, trunk: &Trunk, bound: Bound) -> Result<(), Full> {
    if let Some(max) = trunk.max_concurrent_calls.filter(|max| used.all() >= *max) {
        return Err(Full::Calls(max));
    }
    let (one_way, cap) = match bound {
        Bound::In => (used.inbound, trunk.max_inbound_calls),
        Bound::Out => (used.outbound, trunk.max_outbound_calls),
    };
    match cap.filter(|max| one_way >= *max) {
        Some(max) => Err(Full::Direction(bound, max)),
        None => Ok(()),
    }
}

fn unit(bound: Bound) -> u64 {
    match bound {
        Bound::In => 1 << u32::BITS,
        Bound::Out => 1,
    }
}

fn used(calls: u64) -> Used {
    let half = |calls: u64| u32::try_from(calls & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    Used { inbound: half(calls >> u32::BITS), outbound: half(calls) }
}

/// A token bucket, kept as the moment at which it is full again.
#[derive(Debug)]
pub struct Pace {
    origin: Instant,
    /// Nanoseconds after `origin`.
    full_ns: AtomicI64,
}

impl Pace {
    /// Whether one more call at `now` stays within `max` a second and a burst of twice that.
    pub fn has_room(&self, now: Instant, max: u32) -> bool {
        is_within(self.full_ns.load(Ordering::Relaxed), self.nanoseconds(now), max)
    }

    /// Spends one call at `now` if there is room for it; `false` if not.
    pub fn try_spend(&self, now: Instant, max: u32) -> bool {
        self.exchange(now, max, true)
    }

    /// Spends one call in any case.
    pub fn spend(&self, now: Instant, max: u32) {
        self.exchange(now, max, false);
    }

    fn exchange(&self, now: Instant, max: u32, only_within: bool) -> bool {
        let now = self.nanoseconds(now);
        let spent = self.full_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full| {
            let may = !only_within || is_within(full, now, max);
            may.then(|| full.max(now).saturating_add(interval(max)))
        });
        spent.is_ok()
    }

    fn nanoseconds(&self, at: Instant) -> i64 {
        let count = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        match at.checked_duration_since(self.origin) {
            Some(after) => count(after),
            None => -count(self.origin.saturating_duration_since(at)),
        }
    }
}

fn is_within(full: i64, now: i64, max: u32) -> bool {
    let burst = i64::from(max.saturating_mul(BURST_FACTOR));
    full.saturating_sub(now) <= interval(max).saturating_mul(burst.saturating_sub(1))
}

/// Nanoseconds between two calls.
fn interval(per_second: u32) -> i64 {
    1_000_000_000 / i64::from(per_second.max(1))
}
