//! Names: an object's own, and a field that names another object.

use super::section::{Section, alternatives};
use super::tree::Value;

/// What a field may name.
pub(super) struct Known<'n> {
    /// `trunk`, `failover group`.
    pub(super) kind: &'static str,
    /// Ids and names.
    pub(super) all: Vec<(u32, &'n str)>,
}

impl Known<'_> {
    /// The object that a value names, or gives by number.
    fn find(&self, value: &Value) -> Option<u32> {
        let found = match value {
            Value::Integer(digits) => {
                let id = digits.parse().ok();
                self.all.iter().find(|(known, _)| Some(*known) == id)
            }
            other => {
                let name = other.as_text();
                self.all.iter().find(|(_, known)| Some(*known) == name)
            }
        };
        found.map(|(id, _)| *id)
    }
}

/// The object that a field names, or gives by number; `None` for the words `nobody`, and after an
/// error.
pub(super) fn named(
    section: &mut Section<'_, '_>,
    key: &'static str,
    known: &Known<'_>,
    nobody: &[&str],
) -> Option<u32> {
    let value = &section.value(key)?.value;
    if !matches!(value, Value::Integer(_)) {
        let text = section.string(key)?.value;
        if nobody.iter().any(|word| word.eq_ignore_ascii_case(&text)) {
            return None;
        }
    }
    let found = known.find(value);
    if found.is_none() {
        absent(section, key, &[known]);
    }
    found
}

/// Where a route leads: `"name"` of a trunk or a group, the number of a trunk, or a table that says
/// which, `{ group = "name" }` or `{ trunk = 3 }`. The result is the index in `kinds` with the id.
pub(super) fn one_of(
    section: &mut Section<'_, '_>,
    key: &'static str,
    kinds: &[(&str, &Known<'_>)],
) -> Option<(usize, u32)> {
    let value = &section.value(key)?.value;
    // A bare number is one of the first kind.
    let is_number = matches!(value, Value::Integer(_));
    let kinds = kinds.get(..if is_number { 1 } else { kinds.len() }).unwrap_or(kinds);
    let found = match value.as_table() {
        Some(table) => table.entries.iter().find_map(|entry| {
            let index = kinds.iter().position(|(word, _)| *word == entry.key)?;
            let (_, known) = kinds.get(index)?;
            known.find(&entry.node.value).map(|id| (index, id))
        }),
        None => {
            let mut each = kinds.iter().enumerate();
            each.find_map(|(index, (_, known))| known.find(value).map(|id| (index, id)))
        }
    };
    if found.is_none() {
        let known: Vec<&Known<'_>> = kinds.iter().map(|(_, known)| *known).collect();
        absent(section, key, &known);
    }
    found
}

/// The object's own name, which heads its findings from then on; after an error its kind and number. Names
/// have [`NAME_MAX`] characters at most, and `fits` says what else they have to be.
pub(super) fn own_name(
    section: &mut Section<'_, '_>,
    kind: &str,
    number: u32,
    fits: impl Fn(&str) -> bool,
    remedy: &str,
) -> String {
    section.name = format!("[[{kind}]] number {number}");
    let name = section.string("name").map(|text| text.value).unwrap_or_default();
    if !(1..=NAME_MAX).contains(&name.chars().count()) || !fits(&name) {
        let problem = match name.is_empty() {
            true => format!("the {kind} has no name"),
            false => format!("\"{name}\" is not a name"),
        };
        section.error("name", problem, remedy);
        return format!("{kind}-{number}");
    }
    section.name = format!("{kind} \"{name}\"");
    name
}

fn absent(section: &mut Section<'_, '_>, key: &'static str, known: &[&Known<'_>]) {
    let names: Vec<&str> =
        known.iter().flat_map(|known| known.all.iter().map(|(_, name)| *name)).collect();
    let names = names.get(..NAMES_SHOWN_MAX).unwrap_or(&names);
    let kinds: Vec<&str> = known.iter().map(|known| known.kind).collect();
    let value = section.place_of(key).value.unwrap_or_default();
    let problem = format!("there is no {} \"{value}\"", kinds.join(" or "));
    let remedy = match names.is_empty() {
        true => format!("add a {} first, or remove the field", kinds.join(" or ")),
        false => format!("name {}", alternatives(names)),
    };
    section.error(key, problem, remedy);
}

/// Characters of an object's name.
const NAME_MAX: usize = 64;
/// Names that an error lists at most.
const NAMES_SHOWN_MAX: usize = 8;
