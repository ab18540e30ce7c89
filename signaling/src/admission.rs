//! How many calls a trunk may have, and how many more a second. Pure: time is an argument.
//!
//! A call holds a [`Slot`] of its caller's trunk and one of its callee's. A slot is a value and goes
//! back when it is dropped, so there is no ending of a call that could forget it. What a trunk may
//! have is asked each time anew: an edit counts from the next call on and ends none. Shards count
//! together (`admission/load.rs`).

mod load;
mod sources;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::trunk::{Trunk, TrunkId};

pub use load::{Load, Loads};
pub use sources::{SOURCE_CPS_MAX, SOURCES_MAX, Sources};

/// Which way a call goes, seen from the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// From the trunk.
    In,
    /// To the trunk.
    Out,
}

/// What every trunk carries now, and what is to be told of it.
#[derive(Default, Debug)]
pub struct Admission {
    trunks: Loads,
    alerts: VecDeque<Alert>,
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
        self.load.remove(self.bound);
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
    /// Counts with the other shards from now on: the trunks of a plan that is new.
    pub fn share(&mut self, loads: &Loads) {
        let shared = loads.iter().map(|(id, load)| (*id, Arc::clone(load)));
        self.trunks.extend(shared);
    }

    /// What the trunk carries.
    pub fn used(&self, trunk: TrunkId) -> Used {
        self.trunks.get(&trunk).map(|load| load.used()).unwrap_or_default()
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
        load::cap(self.used(trunk.id), trunk, bound)?;
        let load = self.trunks.get(&trunk.id);
        match (trunk.max_cps, load.map(|load| load.pace(bound))) {
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
        let load = Arc::clone(self.trunks.entry(trunk.id).or_default());
        load.add(bound, Some(trunk).filter(|_| !is_emergency))?;
        let slot = Slot { load, bound };
        let pace = slot.load.pace(bound);
        match trunk.max_cps {
            Some(max) if is_emergency => pace.spend(now, max),
            // The slot goes back.
            Some(max) if !pace.try_spend(now, max) => return Err(Full::Pace(max)),
            _ => {}
        }
        let used = slot.load.used().all();
        if let Some(max) = trunk.max_concurrent_calls
            && slot.load.is_alarming(used, max)
        {
            self.alerts.push_back(Alert { trunk: trunk.id, used, max });
        }
        Ok(slot)
    }

    /// The next alert that nobody was told yet.
    pub fn alert(&mut self) -> Option<Alert> {
        self.alerts.pop_front()
    }

    /// Forgets trunks that are gone and carry nothing.
    pub fn retain(&mut self, is_known: impl Fn(TrunkId) -> bool) {
        self.trunks.retain(|id, load| is_known(*id) || load.used().all() > 0);
    }
}

/// Calls of a burst, as a multiple of `max_cps`.
pub const BURST_FACTOR: u32 = 2;
/// Part of `max_concurrent_calls` from which the operator is told.
pub const ALERT_PERCENT: u64 = 90;
/// Part of it below which the next alert is news again.
pub const ALERT_AGAIN_PERCENT: u64 = 80;

#[cfg(test)]
mod tests;
