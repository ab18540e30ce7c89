//! How many calls a trunk may have, and how many more a second. Pure: time is an argument.
//!
//! A call holds a [`Slot`] of its caller's trunk and one of its callee's. A slot is a value and goes
//! back when it is dropped, so there is no ending of a call that could forget it. What a trunk may
//! have is asked each time anew: an edit counts from the next call on and ends none.

mod sources;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::trunk::{Trunk, TrunkId};

pub use sources::{SOURCE_CPS_MAX, SOURCES_MAX, Sources};

/// Which way a call goes, seen from the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// From the trunk.
    In,
    /// To the trunk.
    Out,
}

/// What every trunk carries now.
#[derive(Default, Debug)]
pub struct Admission {
    trunks: HashMap<TrunkId, Entry>,
    alerts: VecDeque<Alert>,
}

#[derive(Default, Debug)]
struct Entry {
    load: Arc<Load>,
    /// Paces of calls from and to the trunk.
    paces: [Pace; 2],
    /// The operator was told that the trunk is nearly full.
    alerted: bool,
}

/// Calls of one trunk.
#[derive(Default, Debug)]
struct Load([AtomicU32; 2]);

impl Load {
    fn of(&self, bound: Bound) -> &AtomicU32 {
        let Self([inward, outward]) = self;
        match bound {
            Bound::In => inward,
            Bound::Out => outward,
        }
    }

    fn read(&self) -> Used {
        let [inbound, outbound] = self.0.each_ref().map(|count| count.load(Ordering::Relaxed));
        Used { inbound, outbound }
    }
}

/// One call's place on one trunk.
#[derive(Debug)]
#[must_use = "a slot that is dropped is given back"]
pub struct Slot {
    load: Arc<Load>,
    bound: Bound,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.load.of(self.bound).fetch_sub(1, Ordering::Relaxed);
    }
}

/// Calls that a trunk has: early and confirmed ones.
#[derive(Clone, Copy, PartialEq, Eq, Default, serde::Serialize, Debug)]
pub struct Used {
    pub inbound: u32,
    pub outbound: u32,
}

impl Used {
    /// Both directions together.
    pub fn all(self) -> u32 {
        self.inbound.saturating_add(self.outbound)
    }
}

/// Why a trunk takes no more calls now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// `max_concurrent_calls` are up.
    Calls(u32),
    /// `max_inbound_calls` or `max_outbound_calls` are up.
    Direction(Bound, u32),
    /// `max_cps` calls began within a second, and the burst is used up.
    Pace(u32),
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calls(max) => write!(f, "max_concurrent_calls = {max} calls"),
            Self::Direction(Bound::In, max) => write!(f, "max_inbound_calls = {max} calls"),
            Self::Direction(Bound::Out, max) => write!(f, "max_outbound_calls = {max} calls"),
            Self::Pace(max) => write!(f, "max_cps = {max} calls a second"),
        }
    }
}

/// A trunk is nearly full. Told once, and again after it was clearly emptier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Alert {
    pub trunk: TrunkId,
    pub used: u32,
    pub max: u32,
}

impl Admission {
    /// What the trunk carries.
    pub fn used(&self, trunk: TrunkId) -> Used {
        self.trunks.get(&trunk).map(|entry| entry.load.read()).unwrap_or_default()
    }

    /// How many more calls fit in that direction; `None` is without end.
    pub fn free(&self, trunk: &Trunk, bound: Bound) -> Option<u32> {
        let used = self.used(trunk.id);
        let (one_way, cap) = match bound {
            Bound::In => (used.inbound, trunk.max_inbound_calls),
            Bound::Out => (used.outbound, trunk.max_outbound_calls),
        };
        let all = trunk.max_concurrent_calls.map(|max| max.saturating_sub(used.all()));
        let way = cap.map(|max| max.saturating_sub(one_way));
        all.into_iter().chain(way).min()
    }

    /// Whether [`Admission::take`] would give a slot.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, now: Instant, trunk: &Trunk, bound: Bound) -> Result<(), Full> {
        self.check_slots(trunk, bound)?;
        let entry = self.trunks.get(&trunk.id);
        match (trunk.max_cps, entry.map(|entry| pace(&entry.paces, bound))) {
            (Some(max), Some(pace)) if !pace.has_room(now, max) => Err(Full::Pace(max)),
            _ => Ok(()),
        }
    }

    /// Takes a slot for one call. An emergency call always gets one, and counts.
    ///
    /// # Errors
    /// Why there is none.
    pub fn take(
        &mut self,
        now: Instant,
        trunk: &Trunk,
        bound: Bound,
        is_emergency: bool,
    ) -> Result<Slot, Full> {
        if !is_emergency {
            self.check(now, trunk, bound)?;
        }
        let entry = self.trunks.entry(trunk.id).or_default();
        if let Some(max) = trunk.max_cps {
            pace_mut(&mut entry.paces, bound).spend(now, max);
        }
        entry.load.of(bound).fetch_add(1, Ordering::Relaxed);
        let used = entry.load.read().all();
        if let Some(max) = trunk.max_concurrent_calls {
            let share = u64::from(used) * 100;
            if share < u64::from(max) * ALERT_AGAIN_PERCENT {
                entry.alerted = false;
            } else if share >= u64::from(max) * ALERT_PERCENT && !entry.alerted {
                entry.alerted = true;
                self.alerts.push_back(Alert { trunk: trunk.id, used, max });
            }
        }
        Ok(Slot { load: Arc::clone(&entry.load), bound })
    }

    /// The next alert that nobody was told yet.
    pub fn alert(&mut self) -> Option<Alert> {
        self.alerts.pop_front()
    }

    /// Forgets trunks that are gone and carry nothing.
    pub fn retain(&mut self, is_known: impl Fn(TrunkId) -> bool) {
        self.trunks.retain(|id, entry| is_known(*id) || entry.load.read().all() > 0);
    }

    fn check_slots(&self, trunk: &Trunk, bound: Bound) -> Result<(), Full> {
        let used = self.used(trunk.id);
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
}

fn pace(paces: &[Pace; 2], bound: Bound) -> &Pace {
    let [inward, outward] = paces;
    if bound == Bound::In { inward } else { outward }
}

fn pace_mut(paces: &mut [Pace; 2], bound: Bound) -> &mut Pace {
    let [inward, outward] = paces;
    if bound == Bound::In { inward } else { outward }
}

/// A token bucket, kept as the moment at which it is full again.
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

/// Calls of a burst, as a multiple of `max_cps`.
pub const BURST_FACTOR: u32 = 2;
/// Part of `max_concurrent_calls` from which the operator is told.
pub const ALERT_PERCENT: u64 = 90;
/// Part of it below which the next alert is news again.
pub const ALERT_AGAIN_PERCENT: u64 = 80;

#[cfg(test)]
mod tests;
