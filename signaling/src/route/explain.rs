//! A routing decision told step by step: what `routes test NUMBER --from TRUNK` prints. It asks the
//! same functions as a call does, takes no turn and draws no lot.

use std::fmt;
use std::time::Instant;

use serde::Serialize;

use super::{Decision, Destination, Miss, NoRoute, Query, Route, Routes};
use crate::group::{Candidate, Groups, Memory, Order, Strategy, Usable, order};
use crate::trunk::{Direction, Trunk, TrunkId, TrunkTable};

/// What a decision looks at.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The route table.
    pub routes: &'a Routes,
    /// Failover groups.
    pub groups: &'a Groups,
    /// Trunks.
    pub trunks: &'a TrunkTable,
    /// Turns and penalties.
    pub memory: &'a Memory,
    /// Whether a trunk can take one more call.
    pub usable: &'a dyn Fn(TrunkId) -> Usable,
    /// For penalties.
    pub now: Instant,
}

/// All steps, and where they lead.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Explanation {
    /// In order.
    pub steps: Vec<Step>,
    /// The end.
    pub outcome: Outcome,
}

/// One step.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// The call as it comes in.
    Call {
        /// The trunk's name.
        trunk: String,
        /// As dialled.
        called: String,
        /// As told; empty when it is not.
        caller: String,
    },
    /// A number was brought into our own writing.
    Read {
        /// `called` or `caller`.
        what: &'static str,
        /// As the trunk wrote it.
        written: String,
        /// As routes see it.
        read: String,
    },
    /// A route was looked at.
    Route {
        /// Its name.
        route: String,
        /// Whether it takes the call.
        takes: bool,
        /// Why, in words.
        why: String,
    },
    /// The route changes the called number.
    Rewritten {
        /// Before.
        from: String,
        /// After strip and prepend.
        to: String,
    },
    /// Where the route leads.
    Destination {
        /// `trunk` or `group`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Of a group: its strategy, and what that means.
        how: String,
    },
    /// A trunk that the call may go to.
    Trunk {
        /// Its name.
        trunk: String,
        /// When it is asked, from 1; absent when it is not.
        place: Option<usize>,
        /// The called number as it is asked for.
        number: String,
        /// Priority, weight and state in words.
        state: String,
    },
}

/// Where a call ends up.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It is placed.
    Placed {
        /// By this route.
        route: String,
        /// To these trunks, one after the other.
        trunks: Vec<String>,
        /// It passes every cap.
        emergency: bool,
    },
    /// It is refused.
    Refused {
        /// SIP status.
        code: u16,
        /// Why.
        reason: String,
    },
}

/// Explains the decision on one call. The numbers of `query` are as the trunk writes them.
pub fn explain(world: &World<'_>, query: &Query<'_>) -> Explanation {
    let mut steps = Vec::new();
    let outcome = follow(world, query, &mut steps).unwrap_or_else(|refused| refused);
    Explanation { steps, outcome }
}

fn refused(code: u16, reason: impl Into<String>) -> Outcome {
    Outcome::Refused { code, reason: reason.into() }
}

fn follow(world: &World<'_>, query: &Query<'_>, steps: &mut Vec<Step>) -> Result<Outcome, Outcome> {
    let trunk = world.trunks.get(query.from).ok_or_else(|| refused(403, "the trunk is gone"))?;
    steps.push(Step::Call {
        trunk: trunk.name.clone(),
        called: query.called.to_owned(),
        caller: query.caller.to_owned(),
    });
    if !trunk.enabled {
        return Err(refused(403, "the trunk is disabled: its calls belong to nobody"));
    }
    let called = trunk.numbering.called_in(query.called);
    let caller = trunk.numbering.caller_in(query.caller);
    let pairs = [("called", query.called, &called), ("caller", query.caller, &caller)];
    for (what, written, read) in pairs.into_iter().filter(|(_, written, read)| written != read) {
        steps.push(Step::Read { what, written: written.to_owned(), read: read.clone() });
    }
    super::entry::admit(trunk, query.called, &called)
        .map_err(|entry| refused(entry.code, entry.reason))?;
    let query = Query { called: &called, caller: &caller, ..*query };
    let decision = look(world, &query, steps)?;
    if decision.called != called {
        steps.push(Step::Rewritten { from: called.clone(), to: decision.called.clone() });
    }
    let trunks = match decision.destination {
        Destination::Trunk(id) => alone(world, id, &decision, steps)?,
        Destination::Group(_) => group(world, &decision, steps)?,
    };
    let (route, emergency) = (decision.route, decision.emergency);
    Ok(Outcome::Placed { route, trunks, emergency })
}

/// Each route up to the one that takes the call.
fn look(world: &World<'_>, query: &Query<'_>, steps: &mut Vec<Step>) -> Result<Decision, Outcome> {
    for route in world.routes.iter() {
        let fit = route.fit(query);
        let why = match &fit {
            Ok(_) => format!("called {} and caller {} fit", route.called, route.caller),
            Err(miss) => why_not(miss, route, query, world),
        };
        steps.push(Step::Route { route: route.name.clone(), takes: fit.is_ok(), why });
        if fit.is_ok() {
            break;
        }
    }
    world.routes.decide(query).map_err(|none: NoRoute| refused(404, none.to_string()))
}

fn why_not(miss: &Miss, route: &Route, query: &Query<'_>, world: &World<'_>) -> String {
    match miss {
        Miss::Disabled => String::from("it is disabled"),
        Miss::FromTrunk => {
            let only = route.from_trunk.and_then(|id| world.trunks.get(id));
            let name = only.map_or("a trunk that is gone", |trunk| &trunk.name);
            format!("it takes calls of {name} only")
        }
        Miss::Called => format!("called {} does not fit {}", query.called, route.called),
        Miss::Caller => format!("caller {} does not fit {}", query.caller, route.caller),
        Miss::Closed => {
            let local = route.schedule.as_ref().map(|schedule| schedule.local(query.at));
            let local = local.map(|at| at.strftime("%a %Y-%m-%d %H:%M").to_string());
            let schedule = route.schedule.as_ref().map(ToString::to_string);
            let (local, schedule) = (local.unwrap_or_default(), schedule.unwrap_or_default());
            format!("closed at {local}, by {schedule}")
        }
        Miss::Short => {
            format!("strip {} and prepend leave nothing of {}", route.strip, query.called)
        }
    }
}

fn alone(
    world: &World<'_>,
    id: TrunkId,
    decision: &Decision,
    steps: &mut Vec<Step>,
) -> Result<Vec<String>, Outcome> {
    let trunk = world.trunks.get(id).ok_or_else(|| refused(503, "the route's trunk is gone"))?;
    let name = trunk.name.clone();
    steps.push(Step::Destination { kind: "trunk", name: name.clone(), how: String::new() });
    let usable = usable(world, trunk);
    let passes = match usable {
        // A lone trunk that does not seem to work is asked all the same: there is no other.
        Usable::Free { .. } | Usable::Down(_) => true,
        Usable::Full => decision.emergency,
        Usable::Closed(_) => false,
    };
    steps.push(Step::Trunk {
        trunk: name.clone(),
        place: passes.then_some(1),
        number: trunk.numbering.called_out(&decision.called),
        state: state(usable),
    });
    match passes {
        true => Ok(vec![name]),
        false => Err(refused(503, format!("trunk \"{name}\": {}", state(usable)))),
    }
}

fn group(
    world: &World<'_>,
    decision: &Decision,
    steps: &mut Vec<Step>,
) -> Result<Vec<String>, Outcome> {
    let Destination::Group(id) = decision.destination else { return Ok(Vec::new()) };
    let gone = || refused(503, "the route's failover group is gone");
    let group = world.groups.get(id).ok_or_else(gone)?;
    let (name, how) = (group.name.clone(), String::from(how(group.strategy)));
    steps.push(Step::Destination { kind: "group", name: name.clone(), how });
    let candidates = candidates(world, decision.destination);
    // The heaviest first stands for the lot of `weighted`.
    let strategy = match group.strategy {
        Strategy::Weighted => Strategy::Priority,
        other => other,
    };
    let turn = world.memory.next_turn(id);
    let order = order(strategy, &candidates, decision.emergency, turn, &mut |_| 0);
    let name_of = |id: &TrunkId| world.trunks.get(*id).map(|trunk| trunk.name.clone());
    let trunks: Vec<String> = order.asked.iter().filter_map(name_of).collect();
    list(world, decision, &candidates, &order, steps);
    match trunks.is_empty() {
        true => Err(refused(503, format!("no trunk of group \"{name}\" can take the call"))),
        false => Ok(trunks),
    }
}

fn list(
    world: &World<'_>,
    decision: &Decision,
    candidates: &[Candidate],
    order: &Order,
    steps: &mut Vec<Step>,
) {
    let skipped = order.skipped.iter().map(|skipped| &skipped.trunk);
    for id in order.asked.iter().chain(skipped) {
        let candidate = candidates.iter().find(|candidate| candidate.trunk == *id);
        let (Some(candidate), Some(trunk)) = (candidate, world.trunks.get(*id)) else { continue };
        let place = order.asked.iter().position(|asked| asked == id).map(|at| at + 1);
        let (priority, weight) = (candidate.membership.priority, candidate.membership.weight);
        let penalty = if candidate.is_penalised { ", asked last after its 503" } else { "" };
        steps.push(Step::Trunk {
            trunk: trunk.name.clone(),
            place,
            number: trunk.numbering.called_out(&decision.called),
            state: format!(
                "priority {priority}, weight {weight}, {}{penalty}",
                state(candidate.usable)
            ),
        });
    }
}

/// The members of a group as they are now; a trunk by itself is a member of nothing.
pub fn candidates(world: &World<'_>, destination: Destination) -> Vec<Candidate> {
    let Destination::Group(id) = destination else { return Vec::new() };
    let members = world.groups.members(id).iter();
    members
        .filter_map(|member| {
            let trunk = world.trunks.get(member.trunk)?;
            Some(Candidate {
                trunk: trunk.id,
                membership: member.membership,
                usable: usable(world, trunk),
                is_penalised: world.memory.is_penalised(trunk.id, world.now),
            })
        })
        .collect()
}

/// Whether a call can go to a trunk: what its configuration says, then what its state says.
fn usable(world: &World<'_>, trunk: &Trunk) -> Usable {
    if !trunk.enabled {
        return Usable::Closed("it is disabled");
    }
    if trunk.direction == Direction::Inbound {
        return Usable::Closed("its direction is inbound");
    }
    if world.trunks.targets(trunk.id).is_empty() {
        return Usable::Closed("its host has no address; check the DNS");
    }
    (world.usable)(trunk.id)
}

fn state(usable: Usable) -> String {
    match usable {
        Usable::Free { free: u32::MAX, used } => format!("{used} calls, no cap"),
        Usable::Free { free, used } => format!("{used} calls, room for {free} more"),
        Usable::Full => String::from("its cap of calls is reached"),
        Usable::Down(why) | Usable::Closed(why) => why.to_owned(),
    }
}

fn how(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Priority => "priority: lower ones first, then the heavier",
        Strategy::Weighted => "weighted: drawn anew for each call inside a priority, by weight",
        Strategy::RoundRobin => "round_robin: each call begins with the next of a priority",
        Strategy::LeastLoaded => "least_loaded: most room first, inside a priority",
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { trunk, called, caller } if caller.is_empty() => {
                write!(f, "call from trunk {trunk} to {called}")
            }
            Self::Call { trunk, called, caller } => {
                write!(f, "call from trunk {trunk} to {called}, caller {caller}")
            }
            Self::Read { what, written, read } => write!(f, "{what} {written} is read as {read}"),
            Self::Route { route, takes: true, why } => write!(f, "route {route} takes it: {why}"),
            Self::Route { route, takes: false, why } => write!(f, "route {route} does not: {why}"),
            Self::Rewritten { from, to } => write!(f, "strip and prepend make {to} of {from}"),
            Self::Destination { kind, name, how } if how.is_empty() => {
                write!(f, "it goes to {kind} {name}")
            }
            Self::Destination { kind, name, how } => write!(f, "it goes to {kind} {name} ({how})"),
            Self::Trunk { trunk, place: Some(place), number, state } => {
                write!(f, "{place}. trunk {trunk} is asked for {number} ({state})")
            }
            Self::Trunk { trunk, place: None, state, .. } => {
                write!(f, "trunk {trunk} is not asked: {state}")
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Placed { route, trunks, emergency } => {
                let flag = if *emergency { ", emergency: passes caps" } else { "" };
                write!(f, "placed by route {route} to {}{flag}", trunks.join(", then "))
            }
            Self::Refused { code, reason } => write!(f, "refused with {code}: {reason}"),
        }
    }
}

/// One line for each step, and the outcome.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        write!(f, "{}", self.outcome)
    }
}

#[cfg(test)]
mod tests;
