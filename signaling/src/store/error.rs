//! What can go wrong: with the store itself, and with what it is asked.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::references::Reference;

/// The store cannot be used. Each text names the thing, the cause and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database file cannot be opened or made.
    #[error("[store] {file}: {cause}; {remedy}")]
    Open {
        /// The file.
        file: String,
        /// What is wrong with it.
        cause: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The key file cannot be used.
    #[error("[store] key file {file}: {cause}; {remedy}")]
    Key {
        /// The file.
        file: String,
        /// What is wrong with it.
        cause: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The database itself failed.
    #[error("the store's database: {0}; check the disk")]
    Database(String),
    /// What was read is not what was written.
    #[error("the store holds {what}: {cause}; restore a backup")]
    Corrupt {
        /// Which row.
        what: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A row changed under us: another writer.
    #[error("{0} was changed by another writer; load it again")]
    Conflict(String),
    /// No thread can be had.
    #[error("no thread for the store: {0}; raise the limit of processes (ulimit -u)")]
    Thread(String),
}

impl StoreError {
    /// Whether an edit of the configuration or of its files is the remedy.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Open { .. } | Self::Key { .. })
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.to_string())
    }
}

/// One thing that is wrong with a document: field, value, rule, remedy.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Finding {
    /// The field, in snake_case.
    pub field: String,
    /// Its value as given; absent for secrets and for fields that are missing.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub value: Value,
    /// The rule that it breaks.
    pub rule: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "field {}: {}; {}", self.field, self.rule, self.remedy)
    }
}

/// Why a request was not carried out. Nothing was changed.
#[derive(Debug)]
pub enum Refusal {
    /// There is no such object.
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The document breaks rules; never empty.
    Invalid(Vec<Finding>),
    /// It was changed since the caller read it.
    Changed {
        /// The version there is.
        version: u64,
    },
    /// It is in use by others; never empty.
    Referenced(Vec<Reference>),
    /// The state of things forbids it: the cause, the remedy.
    Conflict(String, &'static str),
    /// The key of an idempotent request was used for another request.
    KeyReused,
    /// More jobs wait than [`super::JOBS_MAX`], or the store is closing.
    Busy,
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { what } => write!(f, "there is no {what}"),
            Self::Invalid(findings) => {
                let texts: Vec<String> = findings.iter().map(Finding::to_string).collect();
                f.write_str(&texts.join("\n"))
            }
            Self::Changed { version } => write!(f, "it was changed; its version is {version}"),
            Self::Referenced(all) => {
                let texts: Vec<String> = all.iter().map(Reference::to_string).collect();
                write!(f, "it is in use by {}", texts.join(", "))
            }
            Self::Conflict(cause, remedy) => write!(f, "{cause}; {remedy}"),
            Self::KeyReused => f.write_str("this Idempotency-Key was used for another request"),
            Self::Busy => f.write_str("too many changes wait; try again"),
            Self::Store(error) => error.fmt(f),
        }
    }
}
