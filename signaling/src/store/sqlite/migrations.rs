//! The tables, one step per version. A step that was released is never edited; a new one follows.

use rusqlite::Connection;

use super::super::StoreError;

/// Brings the tables to the newest version, each step in its own transaction.
///
/// # Errors
/// [`StoreError::Corrupt`] when the file was written by a newer version of the gateway.
pub(super) fn run(connection: &mut Connection) -> Result<(), StoreError> {
    let found = version(connection)?;
    if found > STEPS.len() {
        return Err(StoreError::Corrupt {
            what: format!("tables of version {found}"),
            cause: format!(
                "this gateway knows them up to version {}: run a newer one",
                STEPS.len()
            ),
        });
    }
    for (index, step) in STEPS.iter().enumerate().skip(found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", index + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Whether a file that somebody handed us is a store of ours.
///
/// # Errors
/// [`StoreError::Corrupt`]
pub(super) fn expected(connection: &Connection) -> Result<(), StoreError> {
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if application == APPLICATION && version(connection)? > 0 {
        return Ok(());
    }
    let what = String::from("no tables of ours");
    Err(StoreError::Corrupt { what, cause: String::from("the file is no backup of a store") })
}

fn version(connection: &Connection) -> Result<usize, StoreError> {
    Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

/// "TRNK": marks the file as ours.
const APPLICATION: i64 = 0x54_52_4e_4b;

const STEPS: &[&str] = &[
    "CREATE TABLE objects (
         kind TEXT NOT NULL,
         id INTEGER NOT NULL,
         version INTEGER NOT NULL,
         name TEXT NOT NULL,
         created TEXT NOT NULL,
         updated TEXT NOT NULL,
         deleted TEXT,
         document TEXT NOT NULL,
         PRIMARY KEY (kind, id)
     );
     CREATE UNIQUE INDEX object_names ON objects (kind, name) WHERE deleted IS NULL;
     CREATE TABLE secrets (
         kind TEXT NOT NULL,
         id INTEGER NOT NULL,
         field TEXT NOT NULL,
         sealed BLOB NOT NULL,
         PRIMARY KEY (kind, id, field)
     );
     CREATE TABLE sequence (kind TEXT PRIMARY KEY, last INTEGER NOT NULL);
     CREATE TABLE tokens (
         id INTEGER PRIMARY KEY,
         name TEXT NOT NULL UNIQUE,
         role TEXT NOT NULL,
         hash BLOB NOT NULL UNIQUE,
         created TEXT NOT NULL,
         expires TEXT
     );
     CREATE TABLE answers (
         token INTEGER NOT NULL,
         key TEXT NOT NULL,
         fingerprint BLOB NOT NULL,
         body TEXT NOT NULL,
         at INTEGER NOT NULL,
         PRIMARY KEY (token, key)
     );
     CREATE INDEX answer_times ON answers (at);
     CREATE TABLE notes (name TEXT PRIMARY KEY, value BLOB NOT NULL);
     CREATE TABLE audit (
         number INTEGER PRIMARY KEY,
         at TEXT NOT NULL,
         actor TEXT NOT NULL,
         source TEXT NOT NULL,
         action TEXT NOT NULL,
         kind TEXT NOT NULL,
         id INTEGER NOT NULL,
         name TEXT NOT NULL,
         before TEXT NOT NULL,
         after TEXT NOT NULL,
         hash BLOB NOT NULL,
         previous BLOB NOT NULL
     );
     CREATE INDEX audit_things ON audit (kind, id, number);
     CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
     BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
     CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit
     BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;",
    "CREATE TABLE reports (trunk INTEGER PRIMARY KEY, report TEXT NOT NULL);",
    "CREATE TABLE greetings (trunk INTEGER PRIMARY KEY, wav BLOB NOT NULL, octets BLOB NOT NULL);",
];
