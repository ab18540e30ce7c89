//! Configuration that changes while the gateway runs: trunks, failover groups, routes, tokens, and
//! the audit log of who changed what.
//!
//! ```text
//!   handler ── job ──► keeper (one thread) ── batch ──► Database: one transaction
//!                         │  rules, seal, audit            │
//!                         └──► Catalog (Arc), published ◄──┘ only when committed
//! ```
//! All writes go through one thread, so that two saves never interleave; readers look at the newest
//! [`Catalog`] and wait for nobody. A [`Batch`] is committed whole or not at all: whatever kills the
//! process, the next one finds the old document or the new one, with its audit entry.
//!
//! Secrets never reach the [`Database`] in the clear ([`seal`]).

pub mod audit;
mod backup;
mod catalog;
pub mod database;
mod error;
mod greeting;
mod keeper;
pub mod key_file;
mod references;
mod save;
pub mod seal;
mod sqlite;
#[cfg(test)]
pub mod tests;
pub mod tokens;

pub use audit::{Actor, Entry};
pub use backup::Passing;
pub use catalog::{Catalog, Deleted, Document, Kind, Object};
pub use database::{Batch, Database};
pub use error::{Finding, Refusal, StoreError};
pub use keeper::{Consumer, Departure, Keeper, Opening, Store};
pub use references::Reference;
pub use save::{Expected, Once, Saved, Sent};
pub use sqlite::{Fault, Sqlite};
pub use tokens::{Minted, Role, Token};

/// A deleted object can be brought back for so long.
pub const UNDO_HOURS: i64 = 24;
/// Objects of one kind.
pub const OBJECTS_MAX: usize = 100_000;
/// Tokens.
pub const TOKENS_MAX: usize = 1_000;
/// Bytes of one document in JSON.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
/// Greetings of all trunks: 840 kB each in memory at most.
pub const GREETINGS_MAX: usize = 256;
/// Jobs that may wait for the keeper; beyond it the answer is "busy".
pub const JOBS_MAX: usize = 256;
