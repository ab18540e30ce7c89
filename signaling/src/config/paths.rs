//! Rules about where calls may go: routes and failover groups, with the trunks they lead to.

use std::sync::Arc;

use super::error::Findings;
use super::{group, route};
use crate::group::Group;
use crate::route::Destination;
use crate::trunk::{Direction, Trunk};

/// Checks groups against each other.
pub(super) fn check_groups(groups: &[group::Parsed], findings: &mut Findings) {
    for (index, parsed) in groups.iter().enumerate() {
        let mut before = groups.iter().take(index);
        let is_taken = before.any(|other| other.group.name == parsed.group.name);
        check_group(parsed, is_taken, findings);
    }
}

/// Checks a group; `is_taken`: another group has its name, or a trunk.
pub(super) fn check_group(parsed: &group::Parsed, is_taken: bool, findings: &mut Findings) {
    if is_taken {
        let what = format!("group \"{}\"", parsed.group.name);
        let place = parsed.name_place.clone();
        let problem = "another group or a trunk has this name";
        let remedy = "give trunks and groups different names: routes name either";
        findings.field_error(&what, "name", place, problem, remedy);
    }
}

/// Checks routes against each other and against their destinations.
pub(super) fn check_routes(
    routes: &[route::Parsed],
    trunks: &[Arc<Trunk>],
    groups: &[Group],
    findings: &mut Findings,
) {
    for (index, parsed) in routes.iter().enumerate() {
        let mut before = routes.iter().take(index);
        let is_taken = before.any(|other| other.name == parsed.name);
        check_route(parsed, is_taken, trunks, groups, findings);
    }
}

/// Checks a route against its destination; `is_taken`: another route has its name.
pub(super) fn check_route(
    parsed: &route::Parsed,
    is_taken: bool,
    trunks: &[Arc<Trunk>],
    groups: &[Group],
    findings: &mut Findings,
) {
    let what = format!("route \"{}\"", parsed.name);
    if is_taken {
        let remedy = "give each route its own name: CDRs show it";
        let place = parsed.name_place.clone();
        findings.field_error(&what, "name", place, "another route has this name", remedy);
    }
    let Some(route) = &parsed.route else { return };
    let place = parsed.destination_place.clone();
    let id = match route.destination {
        Destination::Trunk(id) => id,
        Destination::Group(id) => {
            let mut members = trunks.iter().filter(|trunk| {
                let member = trunk.failover_group.is_some_and(|own| own.group == id);
                member && trunk.enabled && trunk.direction != Direction::Inbound
            });
            let name = groups.iter().find(|group| group.id == id).map_or("", |group| &group.name);
            if route.enabled && members.next().is_none() {
                let text = format!("no trunk of group \"{name}\" takes calls, so they are refused");
                let remedy = "write failover_group at enabled trunks that may be called";
                findings.field_warning(&what, "destination", place, text, remedy);
            }
            return;
        }
    };
    let Some(trunk) = trunks.iter().find(|trunk| trunk.id == id) else { return };
    if trunk.direction == Direction::Inbound {
        let problem = format!("trunk \"{}\" is inbound only", trunk.name);
        let remedy = "write direction = \"both\" at the trunk, or name another trunk";
        findings.field_error(&what, "destination", place, problem, remedy);
    } else if route.enabled && !trunk.enabled {
        let text = format!("trunk \"{}\" is disabled, so calls are refused", trunk.name);
        findings.field_warning(&what, "destination", place, text, "enable the trunk");
    }
}
