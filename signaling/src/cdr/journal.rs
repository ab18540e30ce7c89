//! What makes a CDR survive the process: attempts under way are noted beside the CDR file, and the
//! next process turns those that never ended into CDRs.
//!
//! ```text
//!   {"open": {record so far}}     an attempt began, or was answered: the last one counts
//!   {"closed": "id"}              its CDR is in the file
//! ```
//! The file is emptied whenever nothing is under way. A line that was half written when the process
//! died is not JSON and is passed over: it is the last one, and its attempt had just begun.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::FILE_MODE;

/// What is added to the name of the CDR file.
const SUFFIX: &str = "open";
/// The journal is emptied at the first quiet moment beyond this size.
const BYTES_IDLE_MAX: u64 = 64 * 1024;
/// What the CDR of an attempt says whose process died.
const REASON: &str = "signaling died during this attempt; media went on until its release";

pub struct Journal {
    file: File,
    bytes: u64,
    /// Lines that are not in the file yet.
    pending: Vec<u8>,
    under_way: HashSet<String>,
}

impl Journal {
    /// Opens the journal of a CDR file, and returns the CDRs of attempts that a dead process left.
    ///
    /// # Errors
    /// The system's error.
    pub fn open(cdrs: &Path, now: Timestamp) -> io::Result<(Self, Vec<Value>)> {
        let path = path_of(cdrs);
        let left = match std::fs::read(&path) {
            Ok(text) => left_open(&text, now),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let file = OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(&path)?;
        let bytes = file.metadata()?.len();
        let journal = Self { file, bytes, pending: Vec::new(), under_way: HashSet::new() };
        Ok((journal, left))
    }

    /// Notes an attempt as its CDR would be now; `record` is that CDR as JSON. It is on disk after the
    /// next [`Journal::commit`].
    pub fn note(&mut self, id: &str, record: &[u8]) {
        self.under_way.insert(id.to_owned());
        self.pending.extend_from_slice(b"{\"open\": ");
        self.pending.extend_from_slice(record);
        self.pending.extend_from_slice(b"}\n");
    }

    /// Writes what was noted.
    ///
    /// # Errors
    /// The system's error; what was noted is lost then.
    pub fn commit(&mut self) -> io::Result<()> {
        self.bytes += u64::try_from(self.pending.len()).unwrap_or(u64::MAX);
        let written = self.file.write_all(&self.pending);
        self.pending.clear();
        written
    }

    /// The attempt's CDR is in the file; that is on disk after the next [`Journal::commit`].
    ///
    /// # Errors
    /// The system's error.
    pub fn close(&mut self, id: &str) -> io::Result<()> {
        if !self.under_way.remove(id) {
            return Ok(());
        }
        if self.under_way.is_empty() && self.bytes > BYTES_IDLE_MAX {
            return self.clear();
        }
        self.pending.extend_from_slice(format!("{}\n", json!({ "closed": id })).as_bytes());
        Ok(())
    }

    /// Forgets everything: what was left is in the CDR file now.
    ///
    /// # Errors
    /// The system's error.
    pub fn clear(&mut self) -> io::Result<()> {
        self.bytes = 0;
        self.pending.clear();
        self.file.set_len(0)
    }
}

fn path_of(cdrs: &Path) -> PathBuf {
    let mut name = cdrs.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(SUFFIX);
    cdrs.with_file_name(name)
}

/// Attempts without an end, as CDRs that say so.
fn left_open(text: &[u8], now: Timestamp) -> Vec<Value> {
    let mut open = BTreeMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Ok(mut entry) = serde_json::from_slice::<Value>(line) else { continue };
        if let Some(id) = entry.get("closed").and_then(Value::as_str) {
            open.remove(id);
        } else if let Some(record) = entry.get_mut("open").map(Value::take)
            && let Some(id) = record.get("id").and_then(Value::as_str)
        {
            open.insert(id.to_owned(), record);
        }
    }
    let end = |mut record: Value| {
        if let Some(fields) = record.as_object_mut() {
            fields.insert("end".into(), json!(super::milliseconds(now)));
            fields.insert("reason".into(), json!(REASON));
            fields.insert("ended_by".into(), json!("gateway"));
        }
        record
    };
    open.into_values().map(end).collect()
}
