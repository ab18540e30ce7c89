//! Who names whom. Documents name each other by name, as the configuration file does, so that a
//! document reads the same everywhere; renaming an object rewrites those that name it in the same
//! transaction.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::catalog::{Catalog, Document, Kind, Object};

/// A field that names another object.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Reference {
    /// `trunk`, `group` or `route`.
    pub kind: &'static str,
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// The field that names the object.
    pub field: &'static str,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\" (field {})", self.kind, self.name, self.field)
    }
}

/// Fields of a kind that may name an object of another kind.
fn pointing(kind: Kind) -> &'static [(&'static str, Kind)] {
    match kind {
        Kind::Trunk => &[("failover_group", Kind::Group)],
        Kind::Group => &[],
        Kind::Route => &[
            ("from_trunk", Kind::Trunk),
            ("destination", Kind::Trunk),
            ("destination", Kind::Group),
        ],
    }
}

/// Everything that names the object `(kind, name)`.
pub fn to(catalog: &Catalog, kind: Kind, name: &str) -> Vec<(Arc<Object>, &'static str)> {
    let mut found = Vec::new();
    for from in Kind::ALL {
        for (field, _) in pointing(from).iter().filter(|(_, to)| *to == kind) {
            // A destination is looked up among trunks first.
            let shadowed = kind == Kind::Group
                && from == Kind::Route
                && catalog.by_name(Kind::Trunk, name).is_some();
            if shadowed {
                continue;
            }
            let all = catalog.all(from).filter(|object| object.text(field) == name);
            found.extend(all.map(|object| (Arc::clone(object), *field)));
        }
    }
    found
}

/// The same as what an operator is shown.
pub fn list(catalog: &Catalog, kind: Kind, name: &str) -> Vec<Reference> {
    to(catalog, kind, name)
        .into_iter()
        .map(|(object, field)| Reference {
            kind: object.kind.name(),
            id: object.id,
            name: object.name.clone(),
            field,
        })
        .collect()
}

/// Puts the name where a document gives a trunk by its id, so that all documents name alike.
pub fn by_name(kind: Kind, document: &mut Document, catalog: &Catalog) {
    for (field, to) in pointing(kind).iter().filter(|(_, to)| *to == Kind::Trunk) {
        let id = document.get(*field).and_then(Value::as_u64);
        let id = id.and_then(|id| u32::try_from(id).ok());
        if let Some(object) = id.and_then(|id| catalog.get(*to, id)) {
            document.insert((*field).to_owned(), Value::String(object.name.clone()));
        }
    }
}

/// Puts `new` where `field` names something.
pub fn rename(document: &mut Document, field: &str, new: &str) {
    if let Some(value) = document.get_mut(field) {
        *value = Value::String(new.to_owned());
    }
}
