//! One `[[group]]`, and what a trunk says of its place in one.

use std::time::Duration;

use super::error::Place;
use super::named::{Known, named, own_name};
use super::section::Section;
use crate::group::{
    Codes, Group, GroupId, Hunting, Membership, OwnHunting, Strategy, WEIGHT_DEFAULT,
};

/// A group and where its name stands.
pub(super) struct Parsed {
    pub(super) group: Group,
    pub(super) name_place: Place,
}

/// Reads a group.
pub(super) fn read(id: GroupId, mut section: Section<'_, '_>) -> Parsed {
    let name = name(id, &mut section);
    let strategy = section.word("strategy", &Strategy::NAMES).map(|word| word.value);
    let strategy = strategy.and_then(|index| Strategy::ALL.get(index)).copied();
    let hunting = own_hunting(&mut section).over(&Hunting::default());
    if hunting.progress_timer < hunting.reach_timer {
        let remedy = "give it at least the time of reach_timer";
        section.error("progress_timer", "it ends before reach_timer does", remedy);
    }
    let hunt_after_ringing = section.boolean("hunt_after_ringing").is_some_and(|flag| flag.value);
    let name_place = section.place_of("name");
    section.finish();
    let strategy = strategy.unwrap_or_default();
    Parsed { group: Group { id, name, strategy, hunting, hunt_after_ringing }, name_place }
}

fn name(id: GroupId, section: &mut Section<'_, '_>) -> String {
    let allowed = |c: char| c.is_alphanumeric() || " ._-".contains(c);
    let fits = |name: &str| {
        name.chars().all(allowed) && name.trim() == name && !name.eq_ignore_ascii_case("none")
    };
    let remedy = "give it 1 to 64 letters, digits, spaces or any of . _ -, and not NONE";
    own_name(section, "group", id.0, fits, remedy)
}

/// The fields `reach_timer`, `progress_timer` and `failover_codes`, of a group or of a trunk.
pub(super) fn own_hunting(section: &mut Section<'_, '_>) -> OwnHunting {
    let mut seconds =
        |key, range| section.integer(key, range).map(|seconds| Duration::from_secs(seconds.value));
    let reach_timer = seconds("reach_timer", 1..31);
    let progress_timer = seconds("progress_timer", 1..121);
    let codes = section.integers("failover_codes", 0..1_000).map(Codes::new);
    let failover_codes = match codes {
        Some(Err(problem)) => {
            let remedy = "list failures from 400 to 699 but 401, 407 and 487";
            section.error("failover_codes", problem, remedy);
            None
        }
        Some(Ok(codes)) => Some(codes),
        None => None,
    };
    OwnHunting { reach_timer, progress_timer, failover_codes }
}

/// The fields `failover_group`, `priority` and `weight` of a trunk.
pub(super) fn membership(section: &mut Section<'_, '_>, groups: &[Group]) -> Option<Membership> {
    let known = known(groups);
    let group = named(section, "failover_group", &known, &["none", ""]);
    let mut number = |key| {
        let found = section.integer(key, 0..65_536);
        found.and_then(|number| u16::try_from(number.value).ok())
    };
    let (priority, weight) = (number("priority"), number("weight"));
    let Some(group) = group else {
        for (key, given) in [("priority", priority), ("weight", weight)] {
            if given.is_some() {
                let remedy = "name a failover_group, or remove this field";
                section.error(key, "the trunk is in no failover group", remedy);
            }
        }
        return None;
    };
    Some(Membership {
        group: GroupId(group),
        priority: priority.unwrap_or(0),
        weight: weight.unwrap_or(WEIGHT_DEFAULT),
    })
}

/// The groups that a field may name.
pub(super) fn known(groups: &[Group]) -> Known<'_> {
    let all = groups.iter().map(|group| (group.id.0, group.name.as_str())).collect();
    Known { kind: "failover group", all }
}
