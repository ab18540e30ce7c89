//! One route, of a file or of the API.

use std::sync::Arc;
use std::time::Duration;

use super::error::Place;
use super::named::{Known, named, one_of, own_name};
use super::section::Section;
use super::{group, numbering};
use crate::group::{Group, GroupId};
use crate::route::{
    Destination, Pattern, RING_LIMIT_DEFAULT, Route, RouteDirection, RouteId, Schedule,
};
use crate::trunk::{Trunk, TrunkId};

/// A route and where it stands; `route` is `None` when it has no usable destination.
pub(super) struct Parsed {
    pub(super) name: String,
    pub(super) route: Option<Route>,
    pub(super) name_place: Place,
    pub(super) destination_place: Place,
}

/// Reads a route. Trunks are named, or given by their number.
pub(super) fn read(
    id: RouteId,
    mut section: Section<'_, '_>,
    trunks: &[Arc<Trunk>],
    groups: &[Group],
) -> Parsed {
    let name = name(id, &mut section);
    let direction = match section.word("direction", &["outbound", "inbound"]).map(|w| w.value) {
        Some(1) => RouteDirection::Inbound,
        _ => RouteDirection::Outbound,
    };
    let position = section.integer("position", 0..1_000_001).map_or(id.0.into(), |n| n.value);
    let known = trunks_of(trunks);
    let from_trunk = named(&mut section, "from_trunk", &known, &["any"]).map(TrunkId);
    let called = pattern(&mut section, "called");
    let caller = pattern(&mut section, "caller");
    let strip = section.integer("strip", 0..65).map_or(0, |n| n.value);
    let prepend = numbering::text(&mut section, "prepend");
    let destination = destination(&mut section, &known, groups);
    let emergency = section.boolean("emergency").is_some_and(|flag| flag.value);
    let schedule = schedule(&mut section);
    let ring_limit = section
        .integer("ring_limit", 1..3_601)
        .map_or(RING_LIMIT_DEFAULT, |n| Duration::from_secs(n.value));
    let enabled = section.boolean("enabled").is_none_or(|flag| flag.value);
    let (name_place, destination_place) =
        (section.place_of("name"), section.place_of("destination"));
    section.finish();
    let route = destination.map(|destination| Route {
        id,
        name: name.clone(),
        direction,
        position: u32::try_from(position).unwrap_or(u32::MAX),
        from_trunk,
        called,
        caller,
        strip: usize::try_from(strip).unwrap_or(usize::MAX),
        prepend,
        destination,
        emergency,
        schedule,
        ring_limit,
        enabled,
    });
    Parsed { name, route, name_place, destination_place }
}

fn name(id: RouteId, section: &mut Section<'_, '_>) -> String {
    let fits = |name: &str| !name.contains(char::is_control);
    own_name(section, "route", id.0, fits, "give it 1 to 64 characters")
}

/// The trunks that a field may name.
fn trunks_of(trunks: &[Arc<Trunk>]) -> Known<'_> {
    let all = trunks.iter().map(|trunk| (trunk.id.0, trunk.name.as_str())).collect();
    Known { kind: "trunk", all }
}

fn destination(
    section: &mut Section<'_, '_>,
    trunks: &Known<'_>,
    groups: &[Group],
) -> Option<Destination> {
    if section.value("destination").is_none() {
        let remedy = "write destination = \"...\", the name of a trunk or of a failover group";
        section.error("destination", "the route leads nowhere", remedy);
        return None;
    }
    let groups = group::known(groups);
    match one_of(section, "destination", &[("trunk", trunks), ("group", &groups)])? {
        (0, id) => Some(Destination::Trunk(TrunkId(id))),
        (_, id) => Some(Destination::Group(GroupId(id))),
    }
}

fn schedule(section: &mut Section<'_, '_>) -> Option<Schedule> {
    let text = section.string("schedule").filter(|text| !text.value.trim().is_empty())?;
    match Schedule::parse(&text.value) {
        Ok(schedule) => Some(schedule),
        Err(problem) => {
            let remedy = "write it as \"Europe/Berlin; Mon-Fri 08:00-18:00; !12-25\"";
            section.error("schedule", problem, remedy);
            None
        }
    }
}

fn pattern(section: &mut Section<'_, '_>, key: &'static str) -> Pattern {
    let Some(text) = section.string(key) else { return Pattern::Any };
    Pattern::parse(&text.value).unwrap_or_else(|reason| {
        let remedy = "write a number, a prefix such as 4930*, a pattern such as _0[1-9]X., or a \
                      regular expression such as /^\\+49(30|40)/";
        section.error(key, format!("\"{}\": {reason}", text.value), remedy);
        Pattern::Any
    })
}
