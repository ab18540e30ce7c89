//! Where a call goes: an ordered table, first match wins. Pure.
//!
//! ```text
//!   number as dialled ─ numbering (in) ─► routes: trunk? called? caller? open? ─► strip, prepend
//!                                           │ first that fits                          │
//!                                           ▼                                          ▼
//!                       trunk or failover group ─ members in order ─ numbering (out) ─► INVITE
//! ```
//! [`Routes::decide`] is what calls use; [`explain`] tells the same decision step by step.

pub mod entry;
pub mod explain;
pub mod numbering;
pub mod pattern;
pub mod schedule;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::group::GroupId;
use crate::trunk::TrunkId;

pub use explain::{Explanation, Outcome, Step, World, explain};
pub use numbering::Numbering;
pub use pattern::Pattern;
pub use schedule::Schedule;

/// A route's number inside one run; it never moves while the route exists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RouteId(pub u32);

/// One row of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Its number.
    pub id: RouteId,
    /// Label, unique.
    pub name: String,
    /// The page that lists it. A label: every call comes from a trunk and goes to one, so matching
    /// needs no direction.
    pub direction: RouteDirection,
    /// Order of evaluation, low first; equal positions keep the file's order.
    pub position: u32,
    /// Only calls from this trunk; `None` for any.
    pub from_trunk: Option<TrunkId>,
    /// Only these called numbers.
    pub called: Pattern,
    /// Only these callers.
    pub caller: Pattern,
    /// Characters taken from the front of the called number. A shorter number does not match.
    pub strip: usize,
    /// Put in front after stripping.
    pub prepend: String,
    /// Where the call goes.
    pub destination: Destination,
    /// Its calls pass every cap, and are tried even where nothing seems to work.
    pub emergency: bool,
    /// Only at these times; `None` for always.
    pub schedule: Option<Schedule>,
    /// How long the destination may ring.
    pub ring_limit: Duration,
    /// A disabled route matches nothing.
    pub enabled: bool,
}

/// The menu page of a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteDirection {
    /// PBX integration, inbound.
    Inbound,
    /// PBX integration, outbound.
    Outbound,
}

/// Where a route leads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Destination {
    /// One trunk.
    Trunk(TrunkId),
    /// The members of a failover group, one after the other.
    Group(GroupId),
}

/// What a decision is made of. Numbers are user parts without parameters, already in our own
/// writing ([`Numbering::called_in`]).
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Whose call it is.
    pub from: TrunkId,
    /// The called number.
    pub called: &'a str,
    /// The caller's number; empty when it has none.
    pub caller: &'a str,
    /// When.
    pub at: Timestamp,
}

/// The table in the order of evaluation.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Routes(Vec<Route>);

/// The answer for one call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The route that matched, by name, for the CDR.
    pub route: String,
    /// The same by id.
    pub route_id: RouteId,
    /// Where the call goes.
    pub destination: Destination,
    /// The called number after strip and prepend, before the callee trunk's own writing.
    pub called: String,
    /// The call passes every cap.
    pub emergency: bool,
    /// How long to let it ring.
    pub ring_limit: Duration,
}

/// No route matches: 404, and the CDR says this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRoute;

impl fmt::Display for NoRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no enabled route matches this trunk, called number, caller and time")
    }
}

/// Why a route does not take a call: the first thing that does not fit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Miss {
    /// It is switched off.
    Disabled,
    /// It takes calls of another trunk only.
    FromTrunk,
    /// The called number does not fit its pattern.
    Called,
    /// The caller does not.
    Caller,
    /// It is closed at this time.
    Closed,
    /// Nothing would be left of the number after strip and prepend.
    Short,
}

impl Routes {
    /// Orders the rows.
    pub fn new(mut rows: Vec<Route>) -> Self {
        rows.sort_by_key(|route| (route.position, route.id));
        Self(rows)
    }

    /// The rows in the order of evaluation.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }

    /// The first enabled route that fits.
    ///
    /// # Errors
    /// [`NoRoute`] when none does.
    pub fn decide(&self, query: &Query<'_>) -> Result<Decision, NoRoute> {
        let fit = |route: &Route| route.fit(query).ok().map(|called| route.decision(called));
        self.0.iter().find_map(fit).ok_or(NoRoute)
    }

    /// Whether the call passes every cap. Where no emergency route takes it this costs little.
    pub fn is_emergency(&self, query: &Query<'_>) -> bool {
        let takes = |route: &Route| route.emergency && route.fit(query).is_ok();
        self.0.iter().any(takes) && self.decide(query).is_ok_and(|decision| decision.emergency)
    }

    /// The row with this id.
    pub fn get(&self, id: RouteId) -> Option<&Route> {
        self.0.iter().find(|route| route.id == id)
    }
}

impl Route {
    /// The called number after strip and prepend, if the route takes the call.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn fit(&self, query: &Query<'_>) -> Result<String, Miss> {
        let open = |schedule: &Schedule| schedule.is_open(query.at);
        let checks = [
            (self.enabled, Miss::Disabled),
            (self.from_trunk.is_none_or(|trunk| trunk == query.from), Miss::FromTrunk),
            (self.called.matches(query.called), Miss::Called),
            (self.caller.matches(query.caller), Miss::Caller),
            (self.schedule.as_ref().is_none_or(open), Miss::Closed),
        ];
        match checks.into_iter().find(|(fits, _)| !fits) {
            Some((_, miss)) => Err(miss),
            None => self.rewrite(query.called).ok_or(Miss::Short),
        }
    }

    fn decision(&self, called: String) -> Decision {
        Decision {
            route: self.name.clone(),
            route_id: self.id,
            destination: self.destination,
            called,
            emergency: self.emergency,
            ring_limit: self.ring_limit,
        }
    }

    /// The called number after strip and prepend; `None` when nothing would be left to call.
    fn rewrite(&self, called: &str) -> Option<String> {
        let mut rest = called.chars();
        for _ in 0..self.strip {
            rest.next()?;
        }
        let rewritten = format!("{}{}", self.prepend, rest.as_str());
        (!rewritten.is_empty()).then_some(rewritten)
    }
}

/// How long a destination may ring unless the route says otherwise.
pub const RING_LIMIT_DEFAULT: Duration = Duration::from_secs(180);

#[cfg(test)]
pub mod tests;
