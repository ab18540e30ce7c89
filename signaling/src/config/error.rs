//! What is wrong with a configuration file: place, problem, remedy, all of it at once.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// Line in the file, from 1; 0 when the file itself is the problem.
    pub line: usize,
    /// What it is about: `sip.udp`, `trunk "acme" field transport`, ...
    pub what: String,
    /// What is wrong, naming the value.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

/// Everything that is wrong with one file, in the order of its lines; never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigErrors {
    /// The file as the operator named it.
    pub file: PathBuf,
    /// The errors.
    pub errors: Vec<ConfigError>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", self.file.display())?;
            if error.line > 0 {
                write!(f, ":{}", error.line)?;
            }
            write!(f, ": {}: {}\n  remedy: {}", error.what, error.problem, error.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A text with the places of its lines, and the errors found in it so far.
#[derive(Debug)]
pub(super) struct Findings {
    file: PathBuf,
    /// Byte offset of each line's first byte.
    lines: Vec<usize>,
    errors: Vec<ConfigError>,
    /// Things that work but that the operator should know.
    pub(super) warnings: Vec<String>,
}

impl Findings {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(i, _)| i + 1)).collect();
        Self { file: file.to_owned(), lines, errors: Vec::new(), warnings: Vec::new() }
    }

    /// The line, from 1, that holds the byte at `offset`.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset)
    }

    pub(super) fn error(
        &mut self,
        line: usize,
        what: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (what, problem, remedy) = (what.into(), problem.into(), remedy.into());
        self.errors.push(ConfigError { line, what, problem, remedy });
    }

    pub(super) fn warn(&mut self, line: usize, what: impl fmt::Display, text: impl fmt::Display) {
        self.warnings.push(format!("{}:{line}: {what}: {text}", self.file.display()));
    }

    /// The value and its warnings, if nothing is wrong.
    pub(super) fn conclude<T>(mut self, value: T) -> Result<(T, Vec<String>), ConfigErrors> {
        if self.errors.is_empty() {
            return Ok((value, self.warnings));
        }
        self.errors.sort_by_key(|error| error.line);
        Err(ConfigErrors { file: self.file, errors: self.errors })
    }
}
