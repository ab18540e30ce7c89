//! What a database has to do for the store. The embedded one is [`super::Sqlite`]; the operations
//! are whole transactions in plain types, so that a PostgreSQL one fits behind the same trait.

use std::collections::HashMap;
use std::path::Path;

use jiff::Timestamp;

use super::StoreError;
use super::audit::{Chain, Draft, Entry};
use super::catalog::Kind;
use crate::trunk::tones::Recording;

/// A database of one store. Called from one thread.
pub trait Database: Send {
    /// Every row but the audit log, as of one moment.
    fn load(&mut self) -> Result<Contents, StoreError>;

    /// A number that was never given out for `kind` (an object's kind, or `token`), from 1.
    fn allocate(&mut self, kind: &str) -> Result<u32, StoreError>;

    /// Applies the batch in one transaction, or nothing of it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a row has not the version that a change expects.
    fn commit(&mut self, batch: Batch) -> Result<(), StoreError>;

    /// The kept answer to an idempotent request.
    fn answer(&mut self, token: u32, key: &str) -> Result<Option<Answer>, StoreError>;

    /// The last report that [`Change::Report`] wrote about a trunk.
    fn report(&mut self, trunk: u32) -> Result<Option<String>, StoreError>;

    /// Audit entries, newest first.
    fn audit(&mut self, search: &Search) -> Result<Vec<Entry>, StoreError>;

    /// Walks the whole audit log from its first entry; false ends the walk.
    fn walk_audit(&mut self, visit: &mut dyn FnMut(&Entry) -> bool) -> Result<(), StoreError>;

    /// The newest place of the audit log.
    fn head(&mut self) -> Result<Chain, StoreError>;

    /// Copies everything to a new file while work goes on.
    fn copy_to(&mut self, file: &Path) -> Result<(), StoreError>;

    /// What a copy holds. It is undamaged and its audit log holds.
    fn read_copy(&mut self, file: &Path) -> Result<Contents, StoreError>;

    /// Puts what `file` holds in place of everything, in one step. Numbers that were given out
    /// since the copy was made are not given out again.
    fn replace_from(&mut self, file: &Path) -> Result<(), StoreError>;
}

/// Everything that belongs into one transaction.
#[derive(Default, Debug)]
pub struct Batch {
    /// Rows to write, in order.
    pub changes: Vec<Change>,
    /// Audit entries of them, in order.
    pub drafts: Vec<Draft>,
    /// The answer to keep for a repetition of the request.
    pub answer: Option<Answer>,
}

/// One change of a row.
#[derive(Debug)]
pub enum Change {
    /// Writes an object, with its secrets. `expected` is the version of the row that it replaces;
    /// `None` when there must be none.
    Put {
        /// The new row.
        row: Row,
        /// What it replaces.
        expected: Option<u64>,
    },
    /// Removes an object for good.
    Forget {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: u32,
    },
    /// Replaces a sealed value.
    Seal(Sealed),
    /// Writes a token.
    PutToken(TokenRow),
    /// Removes a token.
    Revoke(u32),
    /// Writes the report of a trunk's test, JSON, in place of the one before.
    Report(u32, String),
    /// Writes the greeting of a trunk, or removes it.
    Greeting(u32, Option<Recording>),
    /// Writes a named value of the store itself.
    Note(&'static str, Vec<u8>),
}

/// An object as a row.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is.
    pub kind: Kind,
    /// Its id.
    pub id: u32,
    /// Its version.
    pub version: u64,
    /// Its name.
    pub name: String,
    /// First saved.
    pub created: Timestamp,
    /// Last saved.
    pub updated: Timestamp,
    /// When it was deleted, if it was.
    pub deleted: Option<Timestamp>,
    /// Its fields as JSON, without secrets.
    pub document: String,
    /// Its secrets, sealed, by field.
    pub sealed: Vec<(String, Vec<u8>)>,
}

/// One sealed value and its place.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The object's kind.
    pub kind: Kind,
    /// Its id.
    pub id: u32,
    /// The field.
    pub field: String,
    /// The bytes.
    pub sealed: Vec<u8>,
}

/// A token as a row.
#[derive(Clone, Debug)]
pub struct TokenRow {
    /// Its id.
    pub id: u32,
    /// Its label.
    pub name: String,
    /// Its role's name.
    pub role: String,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

/// What an idempotent request was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The token that asked.
    pub token: u32,
    /// The request's key.
    pub key: String,
    /// SHA-256 of method, path and body.
    pub fingerprint: [u8; 32],
    /// The answer's body, JSON, without secrets.
    pub body: String,
    /// When.
    pub at: Timestamp,
}

/// What to look for in the audit log.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Search {
    /// Entries with a lower number only.
    pub before: Option<u64>,
    /// Entries at most.
    pub limit: usize,
    /// Of this kind of thing only.
    pub kind: Option<String>,
    /// Of the thing with this id only.
    pub id: Option<u32>,
    /// By this actor only.
    pub actor: Option<String>,
}

/// Every row but the audit log.
#[derive(Debug)]
pub struct Contents {
    /// Objects, deleted ones included.
    pub rows: Vec<Row>,
    /// Greetings by trunk: the WAV file and its octets.
    pub greetings: HashMap<u32, (Vec<u8>, Vec<u8>)>,
    /// Tokens.
    pub tokens: Vec<TokenRow>,
    /// Values that [`Change::Note`] wrote.
    pub notes: Vec<(String, Vec<u8>)>,
}
