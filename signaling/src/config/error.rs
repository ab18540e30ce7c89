//! What is wrong with a configuration: place, problem, remedy, all of it at once.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One thing that is wrong, or that works but deserves the operator's eye.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Finding {
    /// Line in the file, from 1; 0 when the file itself is the problem, or when there is no file.
    #[serde(skip_serializing_if = "is_zero")]
    pub line: usize,
    /// What it is about: `sip.udp`, `trunk "acme" field transport`, ...
    pub what: String,
    /// The field, when it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The field's value as it was given; never a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The rule that is broken, naming the value.
    #[serde(rename = "rule")]
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

fn is_zero(line: &usize) -> bool {
    *line == 0
}

/// Everything that is wrong with one file, in the order of its lines; never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigErrors {
    /// The file as the operator named it.
    pub file: PathBuf,
    /// The errors.
    pub errors: Vec<Finding>,
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

/// Where something stands: the line and the value of a field.
#[derive(Clone, Default, Debug)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) value: Option<String>,
}

/// What was found so far.
#[derive(Default, Debug)]
pub(super) struct Findings {
    errors: Vec<Finding>,
    /// Things that work but that the operator should know.
    warnings: Vec<Finding>,
}

impl Findings {
    pub(super) fn error(
        &mut self,
        line: usize,
        what: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (what, problem, remedy) = (what.into(), problem.into(), remedy.into());
        self.errors.push(Finding { line, what, field: None, value: None, problem, remedy });
    }

    /// Reports an error about a field of `object`.
    pub(super) fn field_error(
        &mut self,
        object: &str,
        field: &str,
        place: Place,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.errors.push(about(object, field, place, problem.into(), remedy.into()));
    }

    /// Warns about a field of `object`.
    pub(super) fn field_warning(
        &mut self,
        object: &str,
        field: &str,
        place: Place,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.warnings.push(about(object, field, place, problem.into(), remedy.into()));
    }

    /// The value and its warnings, if nothing is wrong; else what is wrong, in the order of lines.
    pub(super) fn conclude<T>(mut self, value: T) -> Result<Checked<T>, Vec<Finding>> {
        if self.errors.is_empty() {
            return Ok(Checked { value, warnings: self.warnings });
        }
        self.errors.sort_by_key(|error| error.line);
        Err(self.errors)
    }
}

fn about(object: &str, field: &str, place: Place, problem: String, remedy: String) -> Finding {
    Finding {
        line: place.line,
        what: format!("{object} field {field}"),
        field: Some(field.to_owned()),
        value: place.value,
        problem,
        remedy,
    }
}

/// Something that can be obeyed, and what to know about it.
#[derive(Clone, Debug)]
pub struct Checked<T> {
    /// What was read.
    pub value: T,
    /// What works but deserves the operator's eye.
    pub warnings: Vec<Finding>,
}

impl Finding {
    /// One line of text.
    pub(super) fn line_of(&self, file: &Path) -> String {
        format!("{}:{}: {}: {}", file.display(), self.line, self.what, self.problem)
    }
}
