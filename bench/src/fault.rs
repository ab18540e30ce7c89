//! Why the bench cannot go on: what happened, and what to do about it.

use std::fmt;
use std::io;

/// One sentence of cause and one of remedy; the bench ends with it.
#[derive(Debug, thiserror::Error)]
pub struct Fault {
    pub what: String,
    pub remedy: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "\n  remedy: {}", self.remedy) }
    }
}

impl Fault {
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault { what: what.into(), remedy: remedy.into() }
    }

    /// A system call that failed for no reason the caller can name a remedy for.
    pub fn io(doing: impl fmt::Display) -> impl FnOnce(io::Error) -> Fault {
        move |error| Fault::new(format!("{doing}: {error}"), "")
    }

    /// SIGINT or SIGTERM came.
    pub fn interrupted() -> Fault {
        Fault::new("interrupted; the stage was taken down", "")
    }
}
