//! One route, of a file or of the API.

use std::sync::Arc;
use std::time::Duration;

use super::error::Place;
use super::section::{Section, alternatives};
use super::tree::Value;
use crate::route::{Pattern, RING_LIMIT_DEFAULT, Route, RouteDirection, RouteId};
use crate::trunk::{Trunk, TrunkId};

/// A route and where it stands; `route` is `None` when it has no usable destination.
pub(super) struct Parsed {
    pub(super) name: String,
    pub(super) route: Option<Route>,
    pub(super) name_place: Place,
    pub(super) destination_place: Place,
}

/// Reads a route. Trunks are named, or given by their number.
pub(super) fn read(id: RouteId, mut section: Section<'_, '_>, trunks: &[Arc<Trunk>]) -> Parsed {
    let name = name(id, &mut section);
    let direction = match section.word("direction", &["outbound", "inbound"]).map(|w| w.value) {
        Some(1) => RouteDirection::Inbound,
        _ => RouteDirection::Outbound,
    };
    let position = section.integer("position", 0..1_000_001).map_or(id.0.into(), |n| n.value);
    let from_trunk = trunk(&mut section, "from_trunk", trunks, &["any"]);
    let called = pattern(&mut section, "called");
    let caller = pattern(&mut section, "caller");
    let strip = section.integer("strip", 0..65).map_or(0, |n| n.value);
    let prepend = prepend(&mut section);
    if section.value("destination").is_none() {
        let remedy = "write destination = \"...\", the name of a trunk";
        section.error("destination", "the route leads nowhere", remedy);
    }
    let destination = trunk(&mut section, "destination", trunks, &[]);
    if section.boolean("emergency").is_some_and(|flag| flag.value) {
        section.unsupported("emergency", "true", "false");
    }
    if let Some(schedule) = section.string("schedule")
        && !schedule.value.is_empty()
    {
        section.unsupported("schedule", &schedule.value, "no schedule");
    }
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
        ring_limit,
        enabled,
    });
    Parsed { name, route, name_place, destination_place }
}

fn name(id: RouteId, section: &mut Section<'_, '_>) -> String {
    section.name = format!("[[route]] number {}", id.0);
    let name = section.string("name").map(|text| text.value).unwrap_or_default();
    if !(1..=64).contains(&name.chars().count()) || name.contains(char::is_control) {
        let problem = match name.is_empty() {
            true => String::from("the route has no name"),
            false => format!("\"{name}\" is not a name"),
        };
        section.error("name", problem, "give it 1 to 64 characters");
        return format!("route-{}", id.0);
    }
    section.name = format!("route \"{name}\"");
    name
}

/// The trunk that a field names, or gives by number; `None` for the words `nobody`.
fn trunk(
    section: &mut Section<'_, '_>,
    key: &'static str,
    trunks: &[Arc<Trunk>],
    nobody: &[&str],
) -> Option<TrunkId> {
    let found = match &section.value(key)?.value {
        Value::Integer(digits) => {
            let id = digits.parse().ok().map(TrunkId);
            trunks.iter().find(|trunk| Some(trunk.id) == id)
        }
        _ => {
            let name = section.string(key)?.value;
            if nobody.iter().any(|word| word.eq_ignore_ascii_case(&name)) {
                return None;
            }
            trunks.iter().find(|trunk| trunk.name == name)
        }
    };
    if found.is_none() {
        let names: Vec<&str> = trunks.iter().map(|trunk| trunk.name.as_str()).collect();
        let names = names.get(..NAMES_SHOWN_MAX).unwrap_or(&names);
        let value = section.place_of(key).value.unwrap_or_default();
        let problem = format!("there is no trunk \"{value}\"");
        section.error(key, problem, format!("name {}", alternatives(names)));
    }
    found.map(|trunk| trunk.id)
}

/// Names that an error lists at most.
const NAMES_SHOWN_MAX: usize = 8;

fn pattern(section: &mut Section<'_, '_>, key: &'static str) -> Pattern {
    let Some(text) = section.string(key) else { return Pattern::Any };
    Pattern::parse(&text.value).unwrap_or_else(|reason| {
        let remedy = "write a number, a prefix such as 4930*, or a pattern such as _0[1-9]X.";
        section.error(key, format!("\"{}\": {reason}", text.value), remedy);
        Pattern::Any
    })
}

fn prepend(section: &mut Section<'_, '_>) -> String {
    let text = section.string("prepend").map(|text| text.value).unwrap_or_default();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+*#-_.!".contains(&b);
    if text.len() > 64 || !text.bytes().all(allowed) {
        let remedy = "use at most 64 letters, digits and + * # - _ . !";
        section.error("prepend", format!("\"{text}\" cannot stand in a number"), remedy);
        return String::new();
    }
    text
}
