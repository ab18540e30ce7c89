//! The greeting that is uploaded for a trunk: kept beside its document, so that a save of one does not
//! write the other.

use std::sync::Arc;

use serde_json::{Value, json};

use super::audit::{Actor, Draft};
use super::catalog::{Kind, Object};
use super::database::{Batch, Change};
use super::keeper::Keeper;
use super::{GREETINGS_MAX, Refusal};
use crate::trunk::tones::Recording;

impl Keeper {
    /// Puts a greeting in place of the trunk's, or removes it. Calls hear it from the next one on.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] for a trunk that is not there, or has none to remove;
    /// [`Refusal::Conflict`] beyond [`GREETINGS_MAX`].
    pub fn set_greeting(
        &mut self,
        actor: &Actor,
        id: u32,
        greeting: Option<Recording>,
    ) -> Result<Arc<Object>, Refusal> {
        let missing = |what: &str| Refusal::NotFound { what: format!("{what} {id}") };
        let old = self.catalog().get(Kind::Trunk, id).map(Arc::clone);
        let old = old.ok_or_else(|| missing("trunk"))?;
        if greeting.is_none() && old.greeting.is_none() {
            return Err(missing("greeting of trunk"));
        }
        let trunks = self.catalog().all(Kind::Trunk);
        let taken = trunks.filter(|trunk| trunk.greeting.is_some()).count();
        if old.greeting.is_none() && taken >= GREETINGS_MAX {
            let cause = format!("{GREETINGS_MAX} trunks have a greeting");
            return Err(Refusal::Conflict(cause, "remove those that nobody needs"));
        }
        let object = Arc::new(Object {
            version: old.version + 1,
            updated: self.now(),
            greeting: greeting.clone(),
            ..(*old).clone()
        });
        let draft = Draft {
            before: told(old.greeting.as_ref()),
            after: told(greeting.as_ref()),
            ..self.draft(actor, "greeting", Some(&old), Some(&object))
        };
        let row = self.row(&object, None)?;
        let changes =
            vec![Change::Put { row, expected: Some(old.version) }, Change::Greeting(id, greeting)];
        self.database.commit(Batch { changes, drafts: vec![draft], answer: None })?;
        let mut next = (**self.catalog()).clone();
        next.put(Arc::clone(&object));
        self.publish(next);
        Ok(object)
    }
}

/// What the audit log says of one.
fn told(greeting: Option<&Recording>) -> Value {
    greeting.map_or(
        Value::Null,
        |greeting| json!({ "bytes": greeting.wav.len(), "milliseconds": greeting.ms() }),
    )
}
