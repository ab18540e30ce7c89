//! The audit log: who changed what, from where, before and after, each entry bound to the one
//! before it by a hash, so that an entry cannot be changed, taken out or put in unseen.
//!
//! `hash = SHA-256(previous hash | each field with its length)`. The chain does not show that its
//! newest entries were cut off: compare the head, which every answer about the log names, with one
//! noted elsewhere.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Refusal;
use super::catalog::{Document, Object};
use super::database::{Batch, Change, Search};
use super::keeper::Keeper;

/// A SHA-256.
pub type Hash = [u8; 32];

/// Who acts, from where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Actor {
    /// The token's name, or `gateway`.
    pub name: String,
    /// The address it came from; empty for the gateway itself.
    pub source: String,
}

impl Actor {
    /// The gateway itself: what it does at its start or by time.
    pub fn gateway() -> Self {
        Self { name: String::from("gateway"), source: String::new() }
    }
}

/// An entry before it has its place in the chain.
#[derive(Clone, PartialEq, Debug)]
pub struct Draft {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What was done: `create`, `update`, `rename`, `delete`, `undelete`, ...
    pub action: String,
    /// To what kind of thing.
    pub kind: String,
    /// Its id; 0 when it has none.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// What it was, secrets masked; null when it was not there.
    pub before: Value,
    /// What it is, secrets masked; null when it is gone.
    pub after: Value,
}

/// One entry of the log.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Entry {
    /// Its place in the log, from 1 without gaps.
    pub number: u64,
    /// When.
    pub at: String,
    /// Who: the token's name, or `gateway`.
    pub actor: String,
    /// The address it came from.
    pub source: String,
    /// What was done.
    pub action: String,
    /// To what kind of thing.
    pub kind: String,
    /// Its id; 0 when it has none.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// What it was, secrets masked: JSON, kept as the text that was hashed, because a number may
    /// be another text after it was read.
    #[serde(serialize_with = "as_json")]
    pub before: String,
    /// What it is, secrets masked: JSON.
    #[serde(serialize_with = "as_json")]
    pub after: String,
    /// Hash of this entry and, through `previous`, of all before it.
    #[serde(serialize_with = "hexadecimal")]
    pub hash: Hash,
    /// Hash of the entry before; zeros for the first.
    #[serde(serialize_with = "hexadecimal")]
    pub previous: Hash,
}

impl Draft {
    /// The entry that follows one with `number - 1` and `previous`.
    pub fn chain(self, number: u64, previous: Hash) -> Entry {
        let mut entry = Entry {
            number,
            at: self.at.to_string(),
            actor: self.actor.name,
            source: self.actor.source,
            action: self.action,
            kind: self.kind,
            id: self.id,
            name: self.name,
            before: self.before.to_string(),
            after: self.after.to_string(),
            hash: [0; 32],
            previous,
        };
        entry.hash = entry.computed();
        entry
    }
}

impl Entry {
    /// The hash that its fields demand.
    pub fn computed(&self) -> Hash {
        let mut digest = Sha256::new();
        digest.update(self.previous);
        digest.update(self.number.to_be_bytes());
        digest.update(self.id.to_be_bytes());
        let texts = [
            &self.at,
            &self.actor,
            &self.source,
            &self.action,
            &self.kind,
            &self.name,
            &self.before,
            &self.after,
        ];
        for text in texts {
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text.as_bytes());
        }
        digest.finalize().into()
    }
}

/// Follows a chain from its first entry.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Chain {
    /// Number of the last entry.
    pub number: u64,
    /// Its hash.
    pub head: Hash,
}

impl Chain {
    /// Takes the next entry; false when it does not belong there.
    pub fn follow(&mut self, entry: &Entry) -> bool {
        let fits = entry.number == self.number + 1
            && entry.previous == self.head
            && entry.hash == entry.computed();
        if fits {
            (self.number, self.head) = (entry.number, entry.hash);
        }
        fits
    }
}

/// Something that was done without changing what is stored: a call hung up, a trunk tested.
#[derive(Clone, PartialEq, Debug)]
pub struct Deed {
    /// What was done.
    pub action: &'static str,
    /// To what kind of thing.
    pub kind: &'static str,
    /// Its id; 0 when it has none.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// What came of it.
    pub after: Value,
}

impl Keeper {
    /// Writes a deed into the log.
    ///
    /// # Errors
    /// What the database says.
    pub fn note(&mut self, actor: &Actor, deed: Deed) -> Result<(), Refusal> {
        let drafts = vec![self.deed(actor, deed)];
        self.database.commit(Batch { drafts, ..Batch::default() })?;
        Ok(())
    }

    fn deed(&self, actor: &Actor, deed: Deed) -> Draft {
        Draft {
            at: self.now(),
            actor: actor.clone(),
            action: deed.action.to_owned(),
            kind: deed.kind.to_owned(),
            id: deed.id,
            name: deed.name,
            before: Value::Null,
            after: deed.after,
        }
    }

    /// Keeps the report of a trunk's test, with its entry in the log.
    ///
    /// # Errors
    /// What the database says.
    pub fn keep_report(
        &mut self,
        actor: &Actor,
        deed: Deed,
        trunk: u32,
        report: String,
    ) -> Result<(), Refusal> {
        let drafts = vec![self.deed(actor, deed)];
        let changes = vec![Change::Report(trunk, report)];
        self.database.commit(Batch { changes, drafts, answer: None })?;
        Ok(())
    }

    /// The last report of a trunk's test.
    ///
    /// # Errors
    /// What the database says.
    pub fn report(&mut self, trunk: u32) -> Result<Option<String>, Refusal> {
        Ok(self.database.report(trunk)?)
    }

    /// Entries, newest first.
    ///
    /// # Errors
    /// What the database says.
    pub fn audit(&mut self, search: &Search) -> Result<Vec<Entry>, Refusal> {
        Ok(self.database.audit(search)?)
    }

    /// The newest place of the log.
    ///
    /// # Errors
    /// What the database says.
    pub fn audit_head(&mut self) -> Result<Chain, Refusal> {
        Ok(self.database.head()?)
    }

    /// How far the chain holds; to the head when nothing was altered.
    ///
    /// # Errors
    /// What the database says.
    pub fn verify_audit(&mut self) -> Result<Chain, Refusal> {
        let mut chain = Chain::default();
        self.database.walk_audit(&mut |entry| chain.follow(entry))?;
        Ok(chain)
    }
}

/// Lower-case hexadecimal digits.
pub fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn as_json<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serde_json::from_str::<Value>(text).unwrap_or_default().serialize(serializer)
}

fn hexadecimal<S: serde::Serializer>(hash: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&digits(hash))
}

/// The document as the log shows it. A secret that `other` has with another value is
/// `[changed]` in the newer one; everything else is `[set]`.
pub fn masked(object: &Object, before: Option<&Object>) -> Value {
    let mut document: Document = object.document.clone();
    for (field, secret) in &object.secrets {
        let old = before.map(|before| before.secrets.get(field));
        let mark = if old.is_some_and(|old| old != Some(secret)) { "[changed]" } else { "[set]" };
        document.insert(field.clone(), Value::String(mark.to_owned()));
    }
    Value::Object(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(name: &str) -> Draft {
        Draft {
            at: Timestamp::UNIX_EPOCH,
            actor: Actor { name: "ops".into(), source: "127.0.0.1".into() },
            action: "update".into(),
            kind: "trunk".into(),
            id: 3,
            name: name.into(),
            before: Value::Null,
            after: serde_json::json!({"name": name}),
        }
    }

    fn chain() -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        for number in 1..=4 {
            let previous = entries.last().map_or([0; 32], |entry| entry.hash);
            entries.push(draft(&format!("t{number}")).chain(number, previous));
        }
        entries
    }

    fn holds(entries: &[Entry]) -> bool {
        let mut chain = Chain::default();
        entries.iter().all(|entry| chain.follow(entry))
    }

    #[test]
    fn an_entry_cannot_be_changed_removed_inserted_or_moved() {
        assert!(holds(&chain()), "positive control");
        let changes: [fn(&mut Entry); 9] = [
            |e| e.at.push('0'),
            |e| e.actor.push('x'),
            |e| e.source.push('x'),
            |e| e.action.push('x'),
            |e| e.kind.push('x'),
            |e| e.id += 1,
            |e| e.name.push('x'),
            |e| e.before = String::from("true"),
            |e| e.after = String::from("null"),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut entries = chain();
            change(&mut entries[1]);
            assert!(!holds(&entries), "change {index}");
            // Even with its own hash made to fit, the next entry tells.
            entries[1].hash = entries[1].computed();
            assert!(!holds(&entries), "change {index}, hash repaired");
        }
        let mut removed = chain();
        removed.remove(1);
        assert!(!holds(&removed));
        let mut moved = chain();
        moved.swap(1, 2);
        assert!(!holds(&moved));
    }

    #[test]
    fn texts_do_not_run_into_each_other() {
        let one = Draft { action: "ab".into(), kind: "c".into(), ..draft("x") }.chain(1, [0; 32]);
        let two = Draft { action: "a".into(), kind: "bc".into(), ..draft("x") }.chain(1, [0; 32]);
        assert_ne!(one.hash, two.hash);
    }
}
