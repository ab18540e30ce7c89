//! What `pin apply` changed, so that `pin undo` can restore it.
//!
//! An entry is on disk before its setting is changed: whatever interrupts, nothing is changed that
//! could not be undone. What a boot undoes is forgotten with the boot.

use std::io;

use serde::{Deserialize, Serialize};

use super::host::Host;
use super::setting::Place;

/// Where it is unless `--journal` says otherwise: in a directory that only root may write to, for
/// undoing does as root what stands there.
pub const JOURNAL: &str = "/var/lib/trunkline-pin/journal.json";

/// Every change that is not undone yet, in the order in which they were made.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Journal {
    boot: String,
    pub entries: Vec<Entry>,
    #[serde(skip)]
    path: String,
}

/// One changed setting.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub stage: String,
    pub place: Place,
    /// What was there before us.
    pub before: String,
    pub wrote: String,
}

impl Journal {
    /// Reads it; an empty one when there is none.
    ///
    /// # Errors
    /// That the file is not one of ours, with the remedy.
    pub fn open(host: &Host, path: &str) -> Result<Journal, String> {
        let boot = host.read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let mut journal = match host.read(path) {
            None => Journal::default(),
            Some(text) => serde_json::from_str::<Journal>(&text).map_err(|cause| {
                format!(
                    "{path} cannot be read as a journal of changes ({cause}); move it away, and \
                     restore by hand what it names"
                )
            })?,
        };
        if journal.boot != boot {
            journal.entries.retain(|entry| !entry.place.is_volatile());
        }
        Ok(Journal { boot, path: path.to_owned(), ..journal })
    }

    /// Notes a change that is about to be made. What was there before the first one stays.
    ///
    /// # Errors
    /// The kernel's: then nothing may be changed.
    pub fn begin(&mut self, host: &Host, entry: Entry) -> io::Result<()> {
        match self.entries.iter_mut().find(|known| known.place == entry.place) {
            Some(known) => known.wrote = entry.wrote,
            None => self.entries.push(entry),
        }
        self.save(host)
    }

    /// Forgets a change: it was undone, or never came to be.
    ///
    /// # Errors
    /// The kernel's.
    pub fn forget(&mut self, host: &Host, place: &Place) -> io::Result<()> {
        self.entries.retain(|entry| entry.place != *place);
        self.save(host)
    }

    fn save(&self, host: &Host) -> io::Result<()> {
        let text = if self.entries.is_empty() {
            String::new()
        } else {
            serde_json::to_string_pretty(self).map_err(io::Error::other)? + "\n"
        };
        host.write_document(&self.path, &text)
    }
}
