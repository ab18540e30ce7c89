//! From a route's decision to the hunt that carries it out.

use super::Desk;
use super::hunt::Hunt;
use crate::admission::Bound;
use crate::cdr::Record;
use crate::group::{GroupId, Usable, order};
use crate::route::{Decision, Destination, Explanation, Query, World, explain};
use crate::trunk::{Direction, TrunkId};

/// Plans the hunt of a call.
///
/// # Errors
/// Why nobody can be asked, for the CDR: 503.
pub fn plan(desk: &mut Desk<'_>, decision: &Decision, cdr: &mut Record) -> Result<Hunt, String> {
    let mut hunt = match decision.destination {
        Destination::Trunk(id) => alone(desk, id, decision, cdr)?,
        Destination::Group(id) => through(desk, id, decision, cdr)?,
    };
    let (called, ring_limit) = (decision.called.clone(), decision.ring_limit);
    hunt.begin(desk.now, called, ring_limit, decision.emergency);
    Ok(hunt)
}

fn alone(
    desk: &Desk<'_>,
    id: TrunkId,
    decision: &Decision,
    cdr: &mut Record,
) -> Result<Hunt, String> {
    cdr.by(&decision.route, None);
    let trunk = desk.trunks.get(id).ok_or("the route's trunk is gone")?;
    cdr.to_trunk(&trunk.name);
    if !trunk.enabled || trunk.direction == Direction::Inbound {
        return Err(String::from("the route's trunk takes no calls"));
    }
    if desk.health.is_draining(id) {
        return Err(format!("trunk \"{}\" takes no new calls: it is draining", trunk.name));
    }
    match Hunt::alone(trunk, desk.trunks) {
        hunt if hunt.is_over() => {
            Err(String::from("the route's trunk has no address; check its host and the DNS"))
        }
        hunt => Ok(hunt),
    }
}

fn through(
    desk: &mut Desk<'_>,
    id: GroupId,
    decision: &Decision,
    cdr: &mut Record,
) -> Result<Hunt, String> {
    let group = desk.groups.get(id).ok_or("the route's failover group is gone")?;
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
    match Hunt::through(group, &order.asked, desk.trunks) {
        hunt if hunt.is_over() => {
            Err(format!("no trunk of group \"{}\" can take the call", group.name))
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
