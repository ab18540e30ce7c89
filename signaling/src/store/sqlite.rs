//! The embedded database: SQLite with a write-ahead log, one connection, exclusive to this process.
//!
//! `synchronous = FULL`: what was answered survives a loss of power. A second process that opens
//! the file is refused: its catalog and ours would part.

mod migrations;
mod read;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, Transaction, params};

use super::StoreError;
use super::audit::{Chain, Entry};
use super::catalog::Kind;
use super::database::{Answer, Batch, Change, Contents, Database, Row, Search, TokenRow};

/// Called at each named point of a save, so that a test can end the process there.
pub type Fault = fn(&'static str);

/// One SQLite file.
pub struct Sqlite {
    connection: Connection,
    fault: Fault,
}

impl Sqlite {
    /// Opens or makes `file`, which only its owner may read, and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError::Open`]
    pub fn open(file: &Path, fault: Fault) -> Result<Self, StoreError> {
        let explain = |cause: String, remedy| {
            let file = file.display().to_string();
            StoreError::Open { file, cause, remedy }
        };
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(file)
            .map_err(|error| explain(error.to_string(), "make the directory writable"))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags)
            .map_err(|error| explain(error.to_string(), "check that it is a store of ours"))?;
        Self::prepare(connection, fault).map_err(|error| match error {
            StoreError::Database(cause) if cause.contains("locked") => {
                explain(cause, "another gateway uses it: stop it, or give each its own store")
            }
            StoreError::Database(cause) => explain(cause, "check that it is a store of ours"),
            other => other,
        })
    }

    /// A database that ends with the process.
    #[cfg(test)]
    pub fn in_memory() -> Self {
        Self::prepare(Connection::open_in_memory().unwrap(), |_| ()).unwrap()
    }

    fn prepare(mut connection: Connection, fault: Fault) -> Result<Self, StoreError> {
        connection.busy_timeout(BUSY)?;
        connection.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE;
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA trusted_schema = OFF;",
        )?;
        migrations::run(&mut connection)?;
        Ok(Self { connection, fault })
    }

    /// Opens a file for reading only what it holds, as a backup that is to be restored.
    fn open_copy(file: &Path) -> Result<Connection, StoreError> {
        let mut connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // It was made by someone else: none of its triggers or functions may act.
        connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA journal_mode = DELETE;")?;
        let health: String = connection.query_row("PRAGMA integrity_check(1)", [], |r| r.get(0))?;
        if health != "ok" {
            let what = String::from("a damaged file");
            return Err(StoreError::Corrupt { what, cause: health });
        }
        migrations::expected(&connection)?;
        migrations::run(&mut connection)?;
        Ok(connection)
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let fault = self.fault;
        fault("before");
        let transaction = self.connection.transaction()?;
        fault("begun");
        for change in &batch.changes {
            write(&transaction, change)?;
            fault("row written");
        }
        let mut chain = read::head(&transaction)?;
        for draft in &batch.drafts {
            let entry = draft.clone().chain(chain.number + 1, chain.head);
            append(&transaction, &entry)?;
            chain = Chain { number: entry.number, head: entry.hash };
            fault("audit written");
        }
        if let Some(answer) = &batch.answer {
            keep(&transaction, answer)?;
        }
        fault("before commit");
        transaction.commit()?;
        fault("committed");
        Ok(())
    }
}

impl Database for Sqlite {
    fn load(&mut self) -> Result<Contents, StoreError> {
        read::contents(&self.connection)
    }

    fn allocate(&mut self, kind: &str) -> Result<u32, StoreError> {
        let sql = "INSERT INTO sequence (kind, last) VALUES (?1, 1)
                   ON CONFLICT (kind) DO UPDATE SET last = last + 1 RETURNING last";
        Ok(self.connection.query_row(sql, [kind], |row| row.get(0))?)
    }

    fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.apply(&batch)
    }

    fn answer(&mut self, token: u32, key: &str) -> Result<Option<Answer>, StoreError> {
        read::answer(&self.connection, token, key)
    }

    fn report(&mut self, trunk: u32) -> Result<Option<String>, StoreError> {
        read::report(&self.connection, trunk)
    }

    fn audit(&mut self, search: &Search) -> Result<Vec<Entry>, StoreError> {
        read::audit(&self.connection, search)
    }

    fn walk_audit(&mut self, visit: &mut dyn FnMut(&Entry) -> bool) -> Result<(), StoreError> {
        read::walk_audit(&self.connection, visit)
    }

    fn head(&mut self) -> Result<Chain, StoreError> {
        read::head(&self.connection)
    }

    fn copy_to(&mut self, file: &Path) -> Result<(), StoreError> {
        OpenOptions::new().create_new(true).write(true).mode(0o600).open(file).map_err(
            |cause| StoreError::Open {
                file: file.display().to_string(),
                cause: cause.to_string(),
                remedy: "name a file that does not exist yet, in a writable directory",
            },
        )?;
        let mut copy = Connection::open(file)?;
        Backup::new(&self.connection, &mut copy)?.run_to_completion(PAGES, PAUSE, None)?;
        // One file without a log beside it.
        copy.execute_batch("PRAGMA journal_mode = DELETE;")?;
        Ok(())
    }

    fn read_copy(&mut self, file: &Path) -> Result<Contents, StoreError> {
        let copy = Self::open_copy(file)?;
        let (mut chain, mut holds) = (Chain::default(), true);
        read::walk_audit(&copy, &mut |entry| {
            holds = chain.follow(entry);
            holds
        })?;
        if !holds {
            let what = format!("an audit log that is broken after entry {}", chain.number);
            return Err(StoreError::Corrupt { what, cause: String::from("it was altered") });
        }
        read::contents(&copy)
    }

    fn replace_from(&mut self, file: &Path) -> Result<(), StoreError> {
        let source = Self::open_copy(file)?;
        // What was given out since goes into the copy first: the replacement is then one step.
        for (kind, last) in read::sequence(&self.connection)? {
            let sql = "INSERT INTO sequence (kind, last) VALUES (?1, ?2)
                       ON CONFLICT (kind) DO UPDATE SET last = max(last, ?2)";
            source.execute(sql, params![kind, last])?;
        }
        (self.fault)("before restore");
        // All pages in one step, hence in one transaction.
        let outcome = Backup::new(&source, &mut self.connection)?.step(-1)?;
        if outcome != StepResult::Done {
            return Err(StoreError::Database(format!("a copy was not taken: {outcome:?}")));
        }
        (self.fault)("restored");
        Ok(())
    }
}

fn write(transaction: &Transaction<'_>, change: &Change) -> Result<(), StoreError> {
    match change {
        Change::Put { row, expected } => put(transaction, row, *expected),
        Change::Forget { kind, id } => {
            let place = params![kind.name(), id];
            transaction.execute("DELETE FROM secrets WHERE kind = ?1 AND id = ?2", place)?;
            if *kind == Kind::Trunk {
                transaction.execute("DELETE FROM reports WHERE trunk = ?1", [id])?;
                transaction.execute("DELETE FROM greetings WHERE trunk = ?1", [id])?;
            }
            transaction.execute("DELETE FROM objects WHERE kind = ?1 AND id = ?2", place)?;
            Ok(())
        }
        Change::Seal(value) => {
            let sql = "UPDATE secrets SET sealed = ?4 WHERE kind = ?1 AND id = ?2 AND field = ?3";
            let values = params![value.kind.name(), value.id, value.field, value.sealed];
            transaction.execute(sql, values)?;
            Ok(())
        }
        Change::PutToken(token) => put_token(transaction, token),
        Change::Revoke(id) => {
            transaction.execute("DELETE FROM tokens WHERE id = ?1", [id])?;
            Ok(())
        }
        Change::Report(trunk, report) => {
            let sql = "INSERT INTO reports (trunk, report) VALUES (?1, ?2)
                       ON CONFLICT (trunk) DO UPDATE SET report = ?2";
            transaction.execute(sql, params![trunk, report])?;
            Ok(())
        }
        Change::Greeting(trunk, None) => {
            transaction.execute("DELETE FROM greetings WHERE trunk = ?1", [trunk])?;
            Ok(())
        }
        Change::Greeting(trunk, Some(greeting)) => {
            let sql = "INSERT INTO greetings (trunk, wav, octets) VALUES (?1, ?2, ?3)
                       ON CONFLICT (trunk) DO UPDATE SET wav = ?2, octets = ?3";
            transaction.execute(sql, params![trunk, &*greeting.wav, &*greeting.octets])?;
            Ok(())
        }
        Change::Note(name, value) => {
            let sql = "INSERT INTO notes (name, value) VALUES (?1, ?2)
                       ON CONFLICT (name) DO UPDATE SET value = ?2";
            transaction.execute(sql, params![name, value])?;
            Ok(())
        }
    }
}

fn put(transaction: &Transaction<'_>, row: &Row, expected: Option<u64>) -> Result<(), StoreError> {
    let (kind, id) = (row.kind.name(), row.id);
    let deleted = row.deleted.map(|at| at.to_string());
    let written = match expected {
        None => transaction.execute(
            "INSERT OR IGNORE INTO objects
             (kind, id, version, name, created, updated, deleted, document)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                kind,
                id,
                row.version,
                row.name,
                row.created.to_string(),
                row.updated.to_string(),
                deleted,
                row.document
            ],
        )?,
        Some(version) => transaction.execute(
            "UPDATE objects SET version = ?4, name = ?5, updated = ?6, deleted = ?7, document = ?8
             WHERE kind = ?1 AND id = ?2 AND version = ?3",
            params![
                kind,
                id,
                version,
                row.version,
                row.name,
                row.updated.to_string(),
                deleted,
                row.document
            ],
        )?,
    };
    if written != 1 {
        return Err(StoreError::Conflict(format!("{kind} {id}")));
    }
    transaction.execute("DELETE FROM secrets WHERE kind = ?1 AND id = ?2", params![kind, id])?;
    for (field, sealed) in &row.sealed {
        transaction.execute(
            "INSERT INTO secrets (kind, id, field, sealed) VALUES (?1, ?2, ?3, ?4)",
            params![kind, id, field, sealed],
        )?;
    }
    Ok(())
}

fn put_token(transaction: &Transaction<'_>, token: &TokenRow) -> Result<(), StoreError> {
    transaction.execute(
        "INSERT INTO tokens (id, name, role, hash, created, expires)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (id) DO UPDATE SET name = ?2, role = ?3, hash = ?4, expires = ?6",
        params![
            token.id,
            token.name,
            token.role,
            token.hash,
            token.created.to_string(),
            token.expires.map(|at| at.to_string())
        ],
    )?;
    Ok(())
}

fn append(transaction: &Transaction<'_>, entry: &Entry) -> Result<(), StoreError> {
    transaction.execute(
        "INSERT INTO audit
         (number, at, actor, source, action, kind, id, name, before, after, hash, previous)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            entry.number,
            entry.at,
            entry.actor,
            entry.source,
            entry.action,
            entry.kind,
            entry.id,
            entry.name,
            entry.before,
            entry.after,
            entry.hash,
            entry.previous
        ],
    )?;
    Ok(())
}

/// Keeps an answer and drops those that are too old or too many.
fn keep(transaction: &Transaction<'_>, answer: &Answer) -> Result<(), StoreError> {
    transaction.execute(
        "INSERT OR REPLACE INTO answers (token, key, fingerprint, body, at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            answer.token,
            answer.key,
            answer.fingerprint,
            answer.body,
            answer.at.as_millisecond()
        ],
    )?;
    let oldest = answer.at.saturating_sub(ANSWERS_KEPT).unwrap_or(Timestamp::MIN);
    transaction.execute("DELETE FROM answers WHERE at < ?1", [oldest.as_millisecond()])?;
    transaction.execute(
        "DELETE FROM answers WHERE (token, key) IN
         (SELECT token, key FROM answers ORDER BY at DESC, rowid DESC LIMIT -1 OFFSET ?1)",
        [ANSWERS_MAX],
    )?;
    Ok(())
}

/// How long another process that is ending may still hold the file.
const BUSY: Duration = Duration::from_secs(5);
/// Pages copied before others may work; all work is ours, so it is only a bound of one step.
const PAGES: i32 = 1_024;
const PAUSE: Duration = Duration::ZERO;
/// A repeated idempotent request gets its first answer for so long.
pub const ANSWERS_KEPT: SignedDuration = SignedDuration::from_hours(24);
/// Answers kept at most; the oldest go first.
pub const ANSWERS_MAX: u32 = 10_000;
