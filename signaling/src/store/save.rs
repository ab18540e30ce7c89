//! Saving an object: what the caller sent becomes a new document, passes the rules, is committed
//! with its audit entries, and only then published.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::audit::{Actor, Draft, masked};
use super::catalog::{Catalog, Deleted, Document, Kind, Object, SHOWN_ONLY};
use super::database::{Answer, Batch, Change};
use super::keeper::Keeper;
use super::references;
use super::{DOCUMENT_BYTES_MAX, Finding, OBJECTS_MAX, Refusal};
use crate::secret::Secret;

/// What the caller believes is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// Whatever there is.
    Any,
    /// This version.
    Version(u64),
}

/// How the document that was sent relates to the one there is.
#[derive(Clone, Debug)]
pub enum Sent {
    /// The whole document.
    Whole(Document),
    /// A merge patch (RFC 7396): null removes.
    Patch(Document),
}

/// The identity of an idempotent request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Once {
    /// The token that asks.
    pub token: u32,
    /// Its `Idempotency-Key`.
    pub key: String,
    /// SHA-256 of method, path and body.
    pub fingerprint: [u8; 32],
}

/// The outcome of a save.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The object as it is now.
    pub object: Arc<Object>,
    /// The request was carried out before; nothing changed now.
    pub replayed: bool,
}

impl Keeper {
    /// Adds an object.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn create(
        &mut self,
        actor: &Actor,
        kind: Kind,
        document: Document,
        once: Option<&Once>,
    ) -> Result<Saved, Refusal> {
        if let Some(body) = self.answered(once)? {
            let id = body.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
            let object = self.object(kind, id.unwrap_or_default())?;
            return Ok(Saved { object, replayed: true });
        }
        if self.catalog().count(kind) >= OBJECTS_MAX {
            let cause = format!("there are {OBJECTS_MAX} objects of this kind");
            return Err(Refusal::Conflict(cause, "delete those that nobody uses"));
        }
        let (document, secrets) = split(kind, document, &BTreeMap::new(), self.catalog())?;
        let now = self.now();
        // Rules first, so that a refused document takes no number; 0 is nobody's.
        let mut object = Object {
            kind,
            id: 0,
            version: 1,
            name: name_of(kind, &document, self.catalog(), 0)?,
            created: now,
            updated: now,
            document,
            secrets,
            greeting: None,
        };
        let mut candidate = (**self.catalog()).clone();
        candidate.put(Arc::new(object.clone()));
        self.check(&candidate, &[Arc::new(object.clone())])?;
        candidate.remove(kind, 0);
        object.id = self.database.allocate(kind.name())?;
        let object = Arc::new(object);
        candidate.put(Arc::clone(&object));
        let draft = self.draft(actor, "create", None, Some(&object));
        let answer = once.map(|once| Answer {
            token: once.token,
            key: once.key.clone(),
            fingerprint: once.fingerprint,
            body: serde_json::json!({"id": object.id}).to_string(),
            at: now,
        });
        let change = Change::Put { row: self.row(&object, None)?, expected: None };
        self.database.commit(Batch { changes: vec![change], drafts: vec![draft], answer })?;
        self.publish(candidate);
        Ok(Saved { object, replayed: false })
    }

    /// Replaces or patches an object. A new name is carried to everything that names it.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn update(
        &mut self,
        actor: &Actor,
        kind: Kind,
        id: u32,
        expected: Expected,
        sent: Sent,
    ) -> Result<Saved, Refusal> {
        let old = self.object(kind, id)?;
        expect(&old, expected)?;
        let document = match sent {
            Sent::Whole(document) => document,
            Sent::Patch(patch) => merge(old.document.clone(), patch),
        };
        let (document, secrets) = split(kind, document, &old.secrets, self.catalog())?;
        if document == old.document && secrets == old.secrets {
            return Ok(Saved { object: old, replayed: false });
        }
        let name = name_of(kind, &document, self.catalog(), id)?;
        let new = Arc::new(Object {
            version: old.version + 1,
            updated: self.now(),
            name,
            document,
            secrets,
            ..(*old).clone()
        });
        let mut candidate = (**self.catalog()).clone();
        candidate.put(Arc::clone(&new));
        let mut pairs = vec![(old, Arc::clone(&new))];
        if pairs.iter().any(|(old, new)| old.name != new.name) {
            pairs.extend(self.renamed(&mut candidate, &pairs));
        }
        let changed: Vec<_> = pairs.iter().map(|(_, new)| Arc::clone(new)).collect();
        self.check(&candidate, &changed)?;
        let mut batch = Batch::default();
        for (index, (old, new)) in pairs.iter().enumerate() {
            let action = if index == 0 { "update" } else { "rename" };
            batch.drafts.push(self.draft(actor, action, Some(old), Some(new)));
            let row = self.row(new, None)?;
            batch.changes.push(Change::Put { row, expected: Some(old.version) });
        }
        self.database.commit(batch)?;
        self.publish(candidate);
        Ok(Saved { object: new, replayed: false })
    }

    /// Those that name a renamed object, with the new name; they are put into `candidate`.
    fn renamed(
        &self,
        candidate: &mut Catalog,
        pairs: &[(Arc<Object>, Arc<Object>)],
    ) -> Vec<(Arc<Object>, Arc<Object>)> {
        let mut rewritten: BTreeMap<(Kind, u32), (Arc<Object>, Object)> = BTreeMap::new();
        for (old, new) in pairs {
            for (from, field) in references::to(self.catalog(), old.kind, &old.name) {
                let place = (from.kind, from.id);
                let (_, object) =
                    rewritten.entry(place).or_insert_with(|| (Arc::clone(&from), (*from).clone()));
                references::rename(&mut object.document, field, &new.name);
                object.version = from.version + 1;
                object.updated = self.now();
            }
        }
        let pairs: Vec<_> =
            rewritten.into_values().map(|(old, new)| (old, Arc::new(new))).collect();
        for (_, new) in &pairs {
            candidate.put(Arc::clone(new));
        }
        pairs
    }

    /// Deletes an object that nobody names. It can be brought back for [`super::UNDO_HOURS`].
    ///
    /// # Errors
    /// [`Refusal::Referenced`] with everything that names it, and the others.
    pub fn delete(
        &mut self,
        actor: &Actor,
        kind: Kind,
        id: u32,
        expected: Expected,
    ) -> Result<Deleted, Refusal> {
        let old = self.object(kind, id)?;
        expect(&old, expected)?;
        let references = references::list(self.catalog(), kind, &old.name);
        if !references.is_empty() {
            return Err(Refusal::Referenced(references));
        }
        let at = self.now();
        let object = Arc::new(Object { version: old.version + 1, ..(*old).clone() });
        let mut candidate = (**self.catalog()).clone();
        candidate.remove(kind, id);
        let deleted = Deleted { object: Arc::clone(&object), at };
        candidate.deleted.insert((kind, id), deleted.clone());
        let draft = self.draft(actor, "delete", Some(&old), None);
        let row = self.row(&object, Some(at))?;
        let change = Change::Put { row, expected: Some(old.version) };
        let batch = Batch { changes: vec![change], drafts: vec![draft], answer: None };
        self.database.commit(batch)?;
        self.publish(candidate);
        Ok(deleted)
    }

    /// Brings a deleted object back under its id.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] when it is not there any more; what the rules say about it now.
    pub fn undelete(&mut self, actor: &Actor, kind: Kind, id: u32) -> Result<Saved, Refusal> {
        let gone = || Refusal::NotFound { what: format!("deleted {} {id}", kind.name()) };
        let old = self.catalog().deleted.get(&(kind, id)).ok_or_else(gone)?.object.clone();
        name_of(kind, &old.document, self.catalog(), id)?;
        let version = old.version + 1;
        let object = Arc::new(Object { version, updated: self.now(), ..(*old).clone() });
        let mut candidate = (**self.catalog()).clone();
        candidate.deleted.remove(&(kind, id));
        candidate.put(Arc::clone(&object));
        self.check(&candidate, &[Arc::clone(&object)])?;
        let draft = self.draft(actor, "undelete", None, Some(&object));
        let change = Change::Put { row: self.row(&object, None)?, expected: Some(old.version) };
        let batch = Batch { changes: vec![change], drafts: vec![draft], answer: None };
        self.database.commit(batch)?;
        self.publish(candidate);
        Ok(Saved { object, replayed: false })
    }

    /// The answer that the same request got before.
    ///
    /// # Errors
    /// [`Refusal::KeyReused`] when its key came with another request.
    pub(super) fn answered(&mut self, once: Option<&Once>) -> Result<Option<Value>, Refusal> {
        let Some(once) = once else { return Ok(None) };
        let Some(answer) = self.database.answer(once.token, &once.key)? else { return Ok(None) };
        if answer.fingerprint != once.fingerprint {
            return Err(Refusal::KeyReused);
        }
        Ok(Some(serde_json::from_str(&answer.body).unwrap_or_default()))
    }

    fn object(&self, kind: Kind, id: u32) -> Result<Arc<Object>, Refusal> {
        let found = self.catalog().get(kind, id).map(Arc::clone);
        found.ok_or_else(|| Refusal::NotFound { what: format!("{} {id}", kind.name()) })
    }

    pub(super) fn draft(
        &self,
        actor: &Actor,
        action: &str,
        before: Option<&Object>,
        after: Option<&Object>,
    ) -> Draft {
        let either = after.or(before);
        Draft {
            at: self.now(),
            actor: actor.clone(),
            action: action.to_owned(),
            kind: either.map_or("", |object| object.kind.name()).to_owned(),
            id: either.map_or(0, |object| object.id),
            name: either.map(|object| object.name.clone()).unwrap_or_default(),
            before: before.map(|object| masked(object, None)).unwrap_or_default(),
            after: after.map(|object| masked(object, before)).unwrap_or_default(),
        }
    }
}

fn expect(object: &Object, expected: Expected) -> Result<(), Refusal> {
    match expected {
        Expected::Version(version) if version != object.version => {
            Err(Refusal::Changed { version: object.version })
        }
        _ => Ok(()),
    }
}

/// RFC 7396 for flat documents: null removes, everything else replaces.
fn merge(mut document: Document, patch: Document) -> Document {
    for (field, value) in patch {
        // A null stays, so that a secret can be removed by it; `split` drops the others.
        document.insert(field, value);
    }
    document
}

/// The document without what is only shown and without secrets, and its secrets: those that were
/// sent, else those there are. Null and "" remove a secret.
fn split(
    kind: Kind,
    mut document: Document,
    kept: &BTreeMap<String, Secret<String>>,
    catalog: &Catalog,
) -> Result<(Document, BTreeMap<String, Secret<String>>), Refusal> {
    for field in SHOWN_ONLY {
        document.remove(field);
    }
    let mut secrets = kept.clone();
    for field in kind.secrets() {
        document.remove(&format!("{field}_set"));
        match document.remove(*field) {
            None => {}
            Some(Value::Null) => drop(secrets.remove(*field)),
            Some(Value::String(text)) if text.is_empty() => drop(secrets.remove(*field)),
            Some(Value::String(text)) => drop(secrets.insert((*field).into(), Secret::new(text))),
            Some(_) => {
                return Err(Refusal::Invalid(vec![Finding {
                    field: (*field).to_owned(),
                    value: Value::Null,
                    rule: String::from("it is no text"),
                    remedy: String::from("write it in quotes"),
                }]));
            }
        }
    }
    document.retain(|_, value| !value.is_null());
    references::by_name(kind, &mut document, catalog);
    let bytes = serde_json::to_vec(&document).map_or(usize::MAX, |text| text.len());
    if bytes > DOCUMENT_BYTES_MAX {
        return Err(Refusal::Invalid(vec![Finding {
            field: String::new(),
            value: Value::Null,
            rule: format!("the document has {bytes} bytes, more than {DOCUMENT_BYTES_MAX}"),
            remedy: String::from("shorten its lists"),
        }]));
    }
    Ok((document, secrets))
}

/// The document's name, which no other object of its kind has. Trunks and groups share their
/// names, because a route's destination is either.
fn name_of(kind: Kind, document: &Document, catalog: &Catalog, id: u32) -> Result<String, Refusal> {
    let invalid = |value: Value, rule: String| {
        let remedy = String::from("give it a name of its own, 1 to 64 characters");
        Refusal::Invalid(vec![Finding { field: String::from("name"), value, rule, remedy }])
    };
    let name = match document.get("name") {
        Some(Value::String(name)) if !name.is_empty() => name,
        Some(other) => return Err(invalid(other.clone(), String::from("it is no name"))),
        None => return Err(invalid(Value::Null, format!("the {} has no name", kind.name()))),
    };
    let shared: &[Kind] = match kind {
        Kind::Trunk | Kind::Group => &[Kind::Trunk, Kind::Group],
        Kind::Route => &[Kind::Route],
    };
    for other in shared.iter().filter_map(|kind| catalog.by_name(*kind, name)) {
        if (other.kind, other.id) != (kind, id) {
            let rule = format!("{} {} has this name", other.kind.name(), other.id);
            return Err(invalid(Value::String(name.clone()), rule));
        }
    }
    Ok(name.clone())
}
