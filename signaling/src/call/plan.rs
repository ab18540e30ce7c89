//! From a route's decision to the hunt that carries it out.

use std::net::SocketAddr;

use super::Desk;
use super::announcing::Why;
use super::hunt::Hunt;
use crate::admission::Bound;
use crate::cdr::Record;
use crate::group::{GroupId, Usable, order};
use crate::route::{Decision, Destination, Explanation, Query, World, explain};
use crate::trunk::{Direction, TrunkId};

/// Plans the hunt of a call.
///
/// # Errors
/// Why nobody can be asked, for the CDR and for a voice: 503.
pub fn plan(desk: &mut Desk<'_>, decision: &Decision, cdr: &mut Record) -> Result<Hunt, Nobody> {
    let mut hunt = match decision.destination {
        Destination::Trunk(id) => alone(desk, id, decision, cdr)?,
        Destination::Group(id) => through(desk, id, decision, cdr)?,
    };
    let (called, ring_limit) = (decision.called.clone(), decision.ring_limit);
    hunt.begin(desk.now, called, ring_limit, decision.emergency);
    Ok(hunt)
}

/// Why nobody can be asked.
pub struct Nobody {
    pub why: Why,
    pub reason: String,
}

impl Nobody {
    fn new(why: Why, reason: impl Into<String>) -> Self {
        Self { why, reason: reason.into() }
    }
}

fn alone(
    desk: &mut Desk<'_>,
    id: TrunkId,
    decision: &Decision,
    cdr: &mut Record,
) -> Result<Hunt, Nobody> {
    cdr.by(&decision.route, None);
    let trunks = desk.trunks;
    let down = |reason: &str| Nobody::new(Why::TrunkDown, reason);
    let trunk = trunks.get(id).ok_or_else(|| down("the route's trunk is gone"))?;
    cdr.to_trunk(&trunk.name);
    if !trunk.enabled || trunk.direction == Direction::Inbound {
        return Err(down("the route's trunk takes no calls"));
    }
    if desk.health.is_draining(id) {
        let reason = format!("trunk \"{}\" takes no new calls: it is draining", trunk.name);
        return Err(Nobody::new(Why::Closing, reason));
    }
    match Hunt::alone(trunk, addresses(desk, id)) {
        hunt if hunt.is_over() => {
            Err(down("the route's trunk has no address; check its host and the DNS"))
        }
        hunt => Ok(hunt),
    }
}

/// The addresses of a trunk as this call tries them: drawn by weight (RFC 2782), those that failed
/// lately last.
fn addresses(desk: &mut Desk<'_>, id: TrunkId) -> Vec<SocketAddr> {
    let entropy = &mut *desk.entropy;
    let mut random = |most: u32| {
        let mut bytes = [0; 8];
        entropy(&mut bytes);
        let drawn = u64::from_be_bytes(bytes) % (u64::from(most) + 1);
        u32::try_from(drawn).unwrap_or_default()
    };
    let drawn = desk.trunks.draw(id, &mut random);
    desk.memory.order(&drawn, desk.now)
}

fn through(
    desk: &mut Desk<'_>,
    id: GroupId,
    decision: &Decision,
    cdr: &mut Record,
) -> Result<Hunt, Nobody> {
    let gone = || Nobody::new(Why::TrunkDown, "the route's failover group is gone");
    let group = desk.groups.get(id).ok_or_else(gone)?;
    cdr.by(&decision.route, Some(&group.name));
    let candidates = look(desk, |world| explain::candidates(world, decision.destination));
    let turn = desk.index.hunts.take_turn(id);
    let entropy = &mut *desk.entropy;
    let mut random = |below: u64| {
        let mut bytes = [0; 8];
        entropy(&mut bytes);
        u64::from_be_bytes(bytes).checked_rem(below).unwrap_or_default()
    };
    let order = order(group.strategy, &candidates, decision.emergency, turn, &mut random);
    for skipped in &order.skipped {
        if let Some(trunk) = desk.trunks.get(skipped.trunk) {
            cdr.skipped(&trunk.name, skipped.why);
        }
    }
    let trunks = desk.trunks;
    let asked = order.asked.iter().filter_map(|id| trunks.get(*id));
    let members: Vec<_> = asked.map(|trunk| (trunk, addresses(desk, trunk.id))).collect();
    match Hunt::through(group, members) {
        hunt if hunt.is_over() => {
            let reason = format!("no trunk of group \"{}\" can take the call", group.name);
            Err(Nobody::new(Why::AllBusy, reason))
        }
        hunt => Ok(hunt),
    }
}

/// Tells the decision on a call step by step, as it would fall now. The numbers are as the trunk
/// writes them.
pub fn explain_call(desk: &Desk<'_>, query: &Query<'_>) -> Explanation {
    look(desk, |world| explain::explain(world, query))
}

/// Shows what decisions look at.
fn look<T>(desk: &Desk<'_>, see: impl FnOnce(&World<'_>) -> T) -> T {
    let usable = |id: TrunkId| usable(desk, id);
    see(&World {
        routes: desk.routes,
        groups: desk.groups,
        trunks: desk.trunks,
        memory: &desk.index.hunts,
        usable: &usable,
        now: desk.now,
    })
}

/// Whether a trunk can take one more call, by its state.
fn usable(desk: &Desk<'_>, id: TrunkId) -> Usable {
    let Some(trunk) = desk.trunks.get(id) else { return Usable::Closed("it is gone") };
    if desk.health.is_draining(id) {
        return Usable::Closed("it is draining");
    }
    let standing = desk.health.standing(id).filter(|_| !desk.health.is_usable(id));
    if let Some(standing) = standing {
        return Usable::Down(standing.verdict.status.as_str());
    }
    match desk.admission.check(desk.now, trunk, Bound::Out) {
        Ok(()) => Usable::Free {
            free: desk.admission.free(trunk, Bound::Out).unwrap_or(u32::MAX),
            used: desk.admission.used(id).all(),
        },
        Err(_) => Usable::Full,
    }
}
