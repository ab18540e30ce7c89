//! Trunks and routes as objects of the API: the file's reader and the file's rules.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;

use super::error::{Checked, Finding, Findings};
use super::media::Media;
use super::section::Section;
use super::sections::Sip;
use super::tree::Table;
use super::{group, paths, route, rules, trunk};
use crate::group::{Group, GroupId};
use crate::route::{Route, RouteId, Routes};
use crate::trunk::{Trunk, TrunkId};

/// What an object is checked against besides itself.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The listeners, and what trunks take from them.
    pub sip: &'a Sip,
    /// The networks that trunks name.
    pub media: &'a Media,
    /// Where relative paths count from.
    pub base: &'a Path,
    /// All trunks. One with the object's own id is the one that the object replaces.
    pub trunks: &'a [Arc<Trunk>],
    /// All failover groups.
    pub groups: &'a [Group],
    /// All routes.
    pub routes: &'a Routes,
}

/// Reads and checks a trunk. `${NAME}` in a password stands for itself, and `password_file` is no
/// field: both belong to files.
///
/// # Errors
/// Everything that is wrong, with the field, its value, the rule and the remedy each.
pub fn trunk_from_json(
    object: &Json,
    id: TrunkId,
    around: Surroundings<'_>,
) -> Result<Checked<Arc<Trunk>>, Vec<Finding>> {
    let table = table(object, "trunk")?;
    let mut findings = Findings::default();
    let section = Section::new(String::new(), Some(&table), around.base, &mut findings);
    let parsed = trunk::read(id, section, None, (around.sip, around.media), around.groups);
    let others = around.trunks.iter().map(|other| &**other);
    rules::check_one(&parsed, others, around.sip, &mut findings);
    rules::check_names(std::slice::from_ref(&parsed), around.groups, &mut findings);
    findings.conclude(parsed.trunk)
}

/// Reads and checks a route. Trunks are named, or given by their number.
///
/// # Errors
/// Everything that is wrong, with the field, its value, the rule and the remedy each.
pub fn route_from_json(
    object: &Json,
    id: RouteId,
    around: Surroundings<'_>,
) -> Result<Checked<Route>, Vec<Finding>> {
    let table = table(object, "route")?;
    let mut findings = Findings::default();
    let section = Section::new(String::new(), Some(&table), around.base, &mut findings);
    let parsed = route::read(id, section, around.trunks, around.groups);
    let is_taken = around.routes.iter().any(|other| other.name == parsed.name && other.id != id);
    paths::check_route(&parsed, is_taken, around.trunks, around.groups, &mut findings);
    let checked = findings.conclude(parsed.route)?;
    // A route without a usable destination was reported above.
    let value = checked.value.ok_or_else(Vec::new)?;
    Ok(Checked { value, warnings: checked.warnings })
}

/// Reads and checks a failover group. Its members are the trunks that name it.
///
/// # Errors
/// Everything that is wrong, with the field, its value, the rule and the remedy each.
pub fn group_from_json(
    object: &Json,
    id: GroupId,
    around: Surroundings<'_>,
) -> Result<Checked<Group>, Vec<Finding>> {
    let table = table(object, "group")?;
    let mut findings = Findings::default();
    let section = Section::new(String::new(), Some(&table), around.base, &mut findings);
    let parsed = group::read(id, section);
    let group = &parsed.group;
    let others = around.groups.iter().filter(|other| other.id != id).map(|other| &*other.name);
    let trunks = around.trunks.iter().map(|trunk| &*trunk.name);
    let is_taken = others.chain(trunks).any(|name| name == group.name);
    paths::check_group(&parsed, is_taken, &mut findings);
    findings.conclude(parsed.group)
}

fn table(object: &Json, what: &str) -> Result<Table, Vec<Finding>> {
    Table::from_json(object).ok_or_else(|| {
        vec![Finding {
            line: 0,
            what: what.to_owned(),
            field: None,
            value: None,
            problem: format!("a {what} is an object"),
            remedy: String::from("send {\"name\": ..., ...}"),
        }]
    })
}

#[cfg(test)]
mod tests;
