//! One `[[route]]`.

use std::time::Duration;

use super::section::{Section, alternatives};
use crate::route::{Pattern, RING_LIMIT_DEFAULT, Route, RouteDirection, RouteId};
use crate::trunk::{Trunk, TrunkId};

/// A route and where it stands; `route` is `None` when it has no usable destination.
pub(super) struct Parsed {
    pub(super) name: String,
    pub(super) route: Option<Route>,
    pub(super) name_line: usize,
    pub(super) destination_line: usize,
}

/// Reads the route at `index`.
pub(super) fn read(index: usize, mut section: Section<'_, '_>, trunks: &[Trunk]) -> Parsed {
    let name = name(index, &mut section);
    let direction = match section.word("direction", &["outbound", "inbound"]).map(|w| w.value) {
        Some(1) => RouteDirection::Inbound,
        _ => RouteDirection::Outbound,
    };
    let position = section.integer("position", 0..1_000_001).map_or(index as u64, |n| n.value);
    let from_trunk = match section.string("from_trunk").map(|text| text.value) {
        Some(name) if name.eq_ignore_ascii_case("any") => None,
        Some(name) => trunk(&mut section, "from_trunk", &name, trunks),
        None => None,
    };
    let called = pattern(&mut section, "called");
    let caller = pattern(&mut section, "caller");
    let strip = section.integer("strip", 0..65).map_or(0, |n| n.value);
    let prepend = prepend(&mut section);
    let destination = match section.string("destination").map(|text| text.value) {
        Some(name) => trunk(&mut section, "destination", &name, trunks),
        None => {
            let remedy = "write destination = \"...\", the name of a trunk";
            section.error("destination", "the route leads nowhere", remedy);
            None
        }
    };
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
    let (name_line, destination_line) = (section.line_of("name"), section.line_of("destination"));
    section.finish();
    let route = destination.map(|destination| Route {
        id: RouteId(u32::try_from(index).unwrap_or(u32::MAX)),
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
    Parsed { name, route, name_line, destination_line }
}

fn name(index: usize, section: &mut Section<'_, '_>) -> String {
    section.name = format!("[[route]] number {}", index + 1);
    let name = section.string("name").map(|text| text.value).unwrap_or_default();
    if !(1..=64).contains(&name.chars().count()) || name.contains(char::is_control) {
        let problem = match name.is_empty() {
            true => String::from("the route has no name"),
            false => format!("\"{name}\" is not a name"),
        };
        section.error("name", problem, "give it 1 to 64 characters");
        return format!("route-{index}");
    }
    section.name = format!("route \"{name}\"");
    name
}

fn trunk(
    section: &mut Section<'_, '_>,
    key: &str,
    name: &str,
    trunks: &[Trunk],
) -> Option<TrunkId> {
    let found = trunks.iter().find(|trunk| trunk.name == name);
    if found.is_none() {
        let names: Vec<&str> = trunks.iter().map(|trunk| trunk.name.as_str()).collect();
        let problem = format!("there is no trunk \"{name}\"");
        section.error(key, problem, format!("name {}", alternatives(&names)));
    }
    found.map(|trunk| trunk.id)
}

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
