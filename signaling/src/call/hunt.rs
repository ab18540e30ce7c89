//! The plan of a hunt: who is asked next, for how long, and when nobody is. Pure.
//!
//! ```text
//!   group ─ order of members ─┐
//!                             ├─► targets: each address of a trunk before the next trunk
//!   lone trunk ───────────────┘        │ next()
//!                                      ▼
//!            asked ─── failure ─── moves_on()? ─── yes: next target, no: the caller is told
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sip::endpoint::Hop;
use sip::wire::StatusCode;

use crate::group::{ATTEMPTS_MAX, Group, HUNT_LIMIT, Hunting};
use crate::trunk::{Trunk, TrunkId};

/// One address of one trunk.
#[derive(Clone, Debug)]
pub struct Target {
    pub trunk: TrunkId,
    pub hop: Hop,
    hunting: Hunting,
    /// The trunk itself says how long it may be silent.
    has_own_reach: bool,
}

/// Targets that were not asked yet, and what bounds asking them.
pub struct Hunt {
    left: VecDeque<Target>,
    asked: usize,
    is_group: bool,
    hunt_after_ringing: bool,
    /// Before anybody rang; `None` when there is nothing to hunt through.
    until: Option<Instant>,
    has_progressed: bool,
    /// Early media was passed to the caller.
    has_passed_media: bool,
    ring_limit: Duration,
    /// What the route made of the called number.
    pub called: String,
    pub is_emergency: bool,
}

/// What was heard of an attempt so far.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Heard {
    Nothing,
    /// 100.
    Trying,
    /// Any other provisional response.
    Ringing,
}

/// Whose time an attempt has used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    Reach(Duration),
    Progress(Duration),
    Hunt,
    Ring,
}

/// How an attempt failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// No answer, or no way to the target.
    Unreachable,
    /// The callee's trunk refused.
    Answered(StatusCode),
    /// The trunk cannot carry this call.
    Unfit,
}

impl Hunt {
    /// A hunt through one trunk's addresses, in the order in which they are tried.
    pub fn alone(trunk: &Trunk, addresses: Vec<SocketAddr>) -> Self {
        let mut hunt = Self::empty(false, false);
        hunt.add(trunk, &Hunting::default(), addresses);
        hunt
    }

    /// A hunt through members of a group in this order, each with its addresses.
    pub fn through<'t>(
        group: &Group,
        members: impl IntoIterator<Item = (&'t Trunk, Vec<SocketAddr>)>,
    ) -> Self {
        let mut hunt = Self::empty(true, group.hunt_after_ringing);
        for (trunk, addresses) in members {
            hunt.add(trunk, &group.hunting, addresses);
        }
        hunt
    }

    fn empty(is_group: bool, hunt_after_ringing: bool) -> Self {
        Self {
            left: VecDeque::new(),
            asked: 0,
            is_group,
            hunt_after_ringing,
            until: None,
            has_progressed: false,
            has_passed_media: false,
            ring_limit: Duration::MAX,
            called: String::new(),
            is_emergency: false,
        }
    }

    fn add(&mut self, trunk: &Trunk, hunting: &Hunting, addresses: Vec<SocketAddr>) {
        let hunting = trunk.hunting.over(hunting);
        let has_own_reach = trunk.hunting.reach_timer.is_some();
        let (transport, tag) = (trunk.transport, trunk.id.tag());
        let targets = addresses.into_iter().map(|remote| Target {
            trunk: trunk.id,
            hop: Hop { transport, remote, connection: 0, tag },
            hunting: hunting.clone(),
            has_own_reach,
        });
        self.left.extend(targets);
    }

    /// The call's own part of the plan; the hunt's time begins.
    pub fn begin(
        &mut self,
        now: Instant,
        called: String,
        ring_limit: Duration,
        is_emergency: bool,
    ) {
        self.called = called;
        self.ring_limit = ring_limit;
        self.is_emergency = is_emergency;
        if self.is_group || self.left.len() > 1 {
            self.until = now.checked_add(HUNT_LIMIT);
        }
    }

    /// The caller was greeted first: the hunt's time begins now.
    pub fn begin_again(&mut self, now: Instant) {
        self.until = self.until.and_then(|_| now.checked_add(HUNT_LIMIT));
    }

    /// Who is asked now, if anybody.
    pub fn next(&mut self, now: Instant) -> Option<Target> {
        if self.asked >= ATTEMPTS_MAX || (self.is_out_of_time(now) && self.asked > 0) {
            return None;
        }
        let target = self.left.pop_front()?;
        self.asked += 1;
        Some(target)
    }

    /// A target that `next` gave was not asked after all.
    pub fn was_not_asked(&mut self) {
        self.asked = self.asked.saturating_sub(1);
    }

    /// A trunk is not asked any more.
    pub fn leave(&mut self, trunk: TrunkId) {
        self.left.retain(|target| target.trunk != trunk);
    }

    /// Whether nobody is left to ask.
    pub fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    /// Whether several trunks stand in for each other.
    pub fn is_group(&self) -> bool {
        self.is_group
    }

    /// Whether another address of this trunk is next.
    pub fn stays_with(&self, trunk: TrunkId) -> bool {
        self.left.front().is_some_and(|next| next.trunk == trunk)
    }

    /// Somebody rings; with `media`, the caller hears it.
    pub fn rang(&mut self, media: bool) {
        self.has_progressed = true;
        self.has_passed_media |= media;
    }

    /// Whether the failure of `target` is a reason to ask the next one. A trunk's next address is
    /// asked after silence and 503 (RFC 3263 §4.3); what a trunk refused otherwise, all of its
    /// addresses would.
    pub fn moves_on(&mut self, target: &Target, fault: Fault) -> bool {
        if self.has_passed_media && !self.hunt_after_ringing {
            return false;
        }
        match fault {
            Fault::Unreachable => true,
            Fault::Answered(code) if !target.hunting.failover_codes.contains(code.code()) => false,
            Fault::Answered(StatusCode::SERVICE_UNAVAILABLE) => true,
            Fault::Answered(_) | Fault::Unfit => {
                self.leave(target.trunk);
                true
            }
        }
    }

    /// When an attempt that was sent at `sent` has had its time, and whose.
    ///
    /// Silence always moves on; a trunk that says 100 and no more keeps the call when it is the last
    /// one that there is. Ringing is bounded by the route alone.
    pub fn limit(&self, target: &Target, sent: Instant, heard: Heard) -> (Instant, Limit) {
        // An unrepresentable moment is one that never comes.
        let after = |time: Duration| sent.checked_add(time).unwrap_or(sent + NEVER);
        let Hunting { reach_timer, progress_timer, .. } = target.hunting;
        let has_next = !self.left.is_empty() && self.asked < ATTEMPTS_MAX;
        let until = self.until.filter(|_| !self.has_progressed);
        let reaches =
            heard == Heard::Nothing && (self.is_group || target.has_own_reach || has_next);
        let before_ringing = [
            reaches.then(|| (after(reach_timer), Limit::Reach(reach_timer))),
            has_next.then(|| (after(progress_timer), Limit::Progress(progress_timer))),
            until.map(|until| (until, Limit::Hunt)),
        ];
        let rings = heard == Heard::Ringing;
        let limits = before_ringing.into_iter().flatten().filter(|_| !rings);
        let ring = (after(self.ring_limit), Limit::Ring);
        limits.fold(ring, |first, limit| if limit.0 < first.0 { limit } else { first })
    }

    fn is_out_of_time(&self, now: Instant) -> bool {
        !self.has_progressed && self.until.is_some_and(|until| now >= until)
    }
}

/// Longer than any call.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

#[cfg(test)]
mod tests;
