//! What is stored, as one immutable snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Token;
use crate::secret::Secret;
use crate::trunk::tones::Recording;

/// An object's fields by name, as the API and the configuration file write them, without secrets.
pub type Document = Map<String, Value>;

/// What kind of object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// A SIP trunk.
    Trunk,
    /// A failover group.
    Group,
    /// A route.
    Route,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Trunk, Self::Group, Self::Route];

    /// The word for one of them, in the database and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trunk => "trunk",
            Self::Group => "group",
            Self::Route => "route",
        }
    }

    /// The collection's path under `/api/v1`.
    pub fn path(self) -> &'static str {
        match self {
            Self::Trunk => "trunks",
            Self::Group => "failover-groups",
            Self::Route => "routes",
        }
    }

    /// The kind with this [`Self::name`].
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Fields whose values are sealed at rest and never shown.
    pub fn secrets(self) -> &'static [&'static str] {
        match self {
            Self::Trunk => &["password", "inbound_password"],
            Self::Group | Self::Route => &[],
        }
    }
}

/// One stored object.
#[derive(Clone, Debug)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Given once, never again, not even after deletion.
    pub id: u32,
    /// Counts the saves, from 1.
    pub version: u64,
    /// Its label, unique among its kind.
    pub name: String,
    /// When it was first saved.
    pub created: Timestamp,
    /// When it was last saved.
    pub updated: Timestamp,
    /// Its fields without secrets.
    pub document: Document,
    /// Its secrets by field.
    pub secrets: BTreeMap<String, Secret<String>>,
    /// The greeting that was uploaded for a trunk.
    pub greeting: Option<Recording>,
}

impl Object {
    /// The document with its secrets, for the reader that makes a trunk of it.
    pub fn whole(&self) -> Document {
        let mut document = self.document.clone();
        for (field, secret) in &self.secrets {
            document.insert(field.clone(), Value::String(secret.expose().clone()));
        }
        document
    }

    /// The document as it may be shown: with id and times, secrets as `<field>_set`.
    pub fn shown(&self) -> Document {
        let mut document = Document::new();
        document.insert(String::from("id"), Value::from(self.id));
        document.extend(self.document.clone());
        for field in self.kind.secrets() {
            let set = self.secrets.contains_key(*field);
            document.insert(format!("{field}_set"), Value::Bool(set));
        }
        document.insert(String::from("version"), Value::from(self.version));
        document.insert(String::from("created"), Value::String(self.created.to_string()));
        document.insert(String::from("updated"), Value::String(self.updated.to_string()));
        document
    }

    /// A field of the document as a text; empty when it is absent or no text.
    pub fn text(&self, field: &str) -> &str {
        self.document.get(field).and_then(Value::as_str).unwrap_or_default()
    }
}

/// Fields that [`Object::shown`] adds and a save ignores, besides `<secret>_set`.
pub const SHOWN_ONLY: [&str; 4] = ["id", "version", "created", "updated"];

/// A deleted object that can still be brought back.
#[derive(Clone, Debug)]
pub struct Deleted {
    /// As it was.
    pub object: Arc<Object>,
    /// When it was deleted.
    pub at: Timestamp,
}

/// Everything that is stored but the audit log, as of one moment. Cloning copies pointers.
#[derive(Clone, Default, Debug)]
pub struct Catalog {
    objects: BTreeMap<(Kind, u32), Arc<Object>>,
    names: BTreeMap<(Kind, String), u32>,
    /// Deleted objects, which keep their ids.
    pub deleted: BTreeMap<(Kind, u32), Deleted>,
    /// API tokens by id.
    pub tokens: BTreeMap<u32, Arc<Token>>,
    /// Counts the publications of this process.
    pub generation: u64,
}

impl Catalog {
    /// The object with this id.
    pub fn get(&self, kind: Kind, id: u32) -> Option<&Arc<Object>> {
        self.objects.get(&(kind, id))
    }

    /// The object with this name.
    pub fn by_name(&self, kind: Kind, name: &str) -> Option<&Arc<Object>> {
        let id = self.names.get(&(kind, name.to_owned()))?;
        self.get(kind, *id)
    }

    /// All objects of a kind in the order of their ids.
    pub fn all(&self, kind: Kind) -> impl DoubleEndedIterator<Item = &Arc<Object>> {
        self.objects.range((kind, 0)..=(kind, u32::MAX)).map(|(_, object)| object)
    }

    /// How many objects of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.all(kind).count()
    }

    /// Puts an object in place of the one with its id.
    pub fn put(&mut self, object: Arc<Object>) {
        self.remove(object.kind, object.id);
        self.names.insert((object.kind, object.name.clone()), object.id);
        self.objects.insert((object.kind, object.id), object);
    }

    /// Takes an object out.
    pub fn remove(&mut self, kind: Kind, id: u32) -> Option<Arc<Object>> {
        let object = self.objects.remove(&(kind, id))?;
        self.names.remove(&(kind, object.name.clone()));
        Some(object)
    }
}
