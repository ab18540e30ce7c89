//! Reading one table field by field: each getter checks the type, reports what is wrong and goes
//! on, so that one run finds every mistake. What no getter asked for is an unknown key.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::{Findings, Place};
use super::tree::{Node, Table, Value};

/// A table while it is being read.
pub(super) struct Section<'a, 'f> {
    /// How errors name the table: `sip`, `trunk "acme"`.
    pub(super) name: String,
    table: Option<&'a Table>,
    line: usize,
    known: Vec<&'static str>,
    base: &'f Path,
    pub(super) findings: &'f mut Findings,
}

/// A field's value with the line it stands on.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) line: usize,
}

impl<'a, 'f> Section<'a, 'f> {
    /// The table; `None` reads as an empty one.
    pub(super) fn new(
        name: impl Into<String>,
        table: Option<&'a Table>,
        base: &'f Path,
        findings: &'f mut Findings,
    ) -> Self {
        let line = table.map_or(0, |table| table.line);
        Self { name: name.into(), table, line, known: Vec::new(), base, findings }
    }

    /// Whether the table stands in the file.
    pub(super) fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// A path that counts from the configuration file's directory.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    /// Warns about a field.
    pub(super) fn warn(
        &mut self,
        key: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let place = self.place_of(key);
        self.findings.field_warning(&self.name, key, place, problem, remedy);
    }

    /// Line of the table's header.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// Line of a field, or of the table's header when the field is absent.
    pub(super) fn line_of(&self, key: &str) -> usize {
        let found = self.table.and_then(|table| table.get(key));
        found.map_or(self.line, |entry| entry.line)
    }

    /// Line and value of a field, for rules that look at several.
    pub(super) fn place_of(&self, key: &str) -> Place {
        let found = self.table.and_then(|table| table.get(key));
        let shown = found.filter(|_| !SECRETS.contains(&key));
        Place { line: self.line_of(key), value: shown.map(|entry| entry.node.value.shown()) }
    }

    /// Reports an error about a field.
    pub(super) fn error(
        &mut self,
        key: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let place = self.place_of(key);
        self.findings.field_error(&self.name, key, place, problem, remedy);
    }

    pub(super) fn string(&mut self, key: &'static str) -> Option<At<String>> {
        let value = self.value(key)?;
        match value.value.as_text() {
            Some(text) => Some(At { value: text.to_owned(), line: value.line }),
            None => self.wrong_type(key, value, "a string", "\"...\""),
        }
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<At<bool>> {
        let value = self.value(key)?;
        match value.value {
            Value::Boolean(flag) => Some(At { value: flag, line: value.line }),
            _ => self.wrong_type(key, value, "true or false", "true"),
        }
    }

    /// A whole number within `range`.
    pub(super) fn integer(&mut self, key: &'static str, range: Range<u64>) -> Option<At<u64>> {
        let value = self.value(key)?;
        let Value::Integer(digits) = &value.value else {
            let example = range.start.to_string();
            return self.wrong_type(key, value, "a whole number", &example);
        };
        match digits.parse() {
            Ok(number) if range.contains(&number) => Some(At { value: number, line: value.line }),
            _ => {
                let last = range.end - 1;
                let problem = format!("{digits} is out of range");
                self.error(key, problem, format!("give a number from {} to {last}", range.start));
                None
            }
        }
    }

    /// A string, or a list of strings.
    pub(super) fn strings(&mut self, key: &'static str) -> Option<Vec<At<String>>> {
        let value = self.value(key)?;
        if let Some(text) = value.value.as_text() {
            return Some(vec![At { value: text.to_owned(), line: value.line }]);
        }
        let Some(items) = value.value.as_list() else {
            return self.wrong_type(key, value, "a list of strings", "[\"...\"]");
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match item.value.as_text() {
                Some(text) => texts.push(At { value: text.to_owned(), line: item.line }),
                None => return self.wrong_type(key, item, "a list of strings", "[\"...\"]"),
            }
        }
        Some(texts)
    }

    /// A list of whole numbers.
    pub(super) fn integers(&mut self, key: &'static str, range: Range<u64>) -> Option<Vec<u64>> {
        let value = self.value(key)?;
        let Some(items) = value.value.as_list() else {
            return self.wrong_type(key, value, "a list of numbers", "[0, 1]");
        };
        let mut numbers = Vec::with_capacity(items.len());
        for item in items {
            let number = match &item.value {
                Value::Integer(digits) => digits.parse().ok(),
                _ => None,
            };
            match number {
                Some(number) if range.contains(&number) => numbers.push(number),
                _ => return self.wrong_type(key, item, "a list of numbers", "[0, 1]"),
            }
        }
        Some(numbers)
    }

    /// A list of `address:port`.
    pub(super) fn sockets(&mut self, key: &'static str) -> Vec<SocketAddr> {
        let texts = self.strings(key).unwrap_or_default();
        let mut found: Vec<SocketAddr> = Vec::with_capacity(texts.len());
        for text in texts {
            match text.value.parse() {
                Ok(socket) if found.contains(&socket) => {
                    self.error(key, format!("{socket} is listed twice"), "remove one");
                }
                Ok(socket) => found.push(socket),
                Err(_) => self.error(
                    key,
                    format!("\"{}\" is no address with a port", text.value),
                    "write \"192.0.2.1:5060\", \"0.0.0.0:5060\" or \"[2001:db8::1]:5060\"",
                ),
            }
        }
        found
    }

    /// One address, or a list of them.
    pub(super) fn addresses(&mut self, key: &'static str) -> Option<Vec<IpAddr>> {
        let texts = self.strings(key)?;
        if texts.is_empty() {
            self.error(key, "the list is empty", "name an address, or remove the field");
            return None;
        }
        let mut found = Vec::with_capacity(texts.len());
        for text in texts {
            match text.value.parse() {
                Ok(address) => found.push(address),
                Err(_) => {
                    let problem = format!("\"{}\" is no IP address", text.value);
                    self.error(key, problem, "write \"192.0.2.1\" or \"2001:db8::1\"");
                }
            }
        }
        Some(found)
    }

    /// A path; relative ones count from the configuration file's directory.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.string(key)?;
        if text.value.is_empty() {
            self.error(key, "the path is empty", "name a file, or remove the field");
            return None;
        }
        Some(self.base.join(text.value))
    }

    /// One of a few words, in any case of letters; the result is the index in `words`.
    pub(super) fn word(&mut self, key: &'static str, words: &[&str]) -> Option<At<usize>> {
        let text = self.string(key)?;
        match words.iter().position(|word| word.eq_ignore_ascii_case(&text.value)) {
            Some(index) => Some(At { value: index, line: text.line }),
            None => {
                let problem = format!("\"{}\" is not a value of this field", text.value);
                self.error(key, problem, format!("use {}", alternatives(words)));
                None
            }
        }
    }

    /// Reads a field of which this version carries out only some values: `supported` are accepted,
    /// `later` are understood and refused. The result is the index in `supported`.
    pub(super) fn supported(
        &mut self,
        key: &'static str,
        supported: &[&str],
        later: &[&str],
    ) -> Option<At<usize>> {
        let all: Vec<&str> = supported.iter().chain(later).copied().collect();
        let found = self.word(key, &all)?;
        if found.value < supported.len() {
            return Some(found);
        }
        let value = all.get(found.value).copied().unwrap_or_default();
        self.unsupported(key, value, &alternatives(supported));
        None
    }

    /// Refuses a value that the product knows and this version does not carry out.
    pub(super) fn unsupported(&mut self, key: &str, value: &str, supported: &str) {
        let problem = format!("the value \"{value}\" is not carried out by this version");
        self.error(key, problem, format!("use {supported}, or remove the field"));
    }

    /// Reports keys that no getter asked for.
    pub(super) fn finish(self) {
        let Some(table) = self.table else { return };
        for entry in &table.entries {
            let key = entry.key.as_str();
            if self.known.contains(&key) {
                continue;
            }
            // What it holds may be a secret under a mistyped name.
            let place = Place { line: entry.line, value: None };
            let remedy = suggestion(key, &self.known);
            let problem = "there is no field of this name";
            self.findings.field_error(&self.name, key, place, problem, remedy);
        }
    }

    /// A nested value whose type the caller checks.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        self.table?.get(key).map(|entry| &entry.node)
    }

    fn wrong_type<T>(&mut self, key: &str, value: &Node, wanted: &str, example: &str) -> Option<T> {
        let problem = format!("this is {}, not {wanted}", value.value.kind());
        self.error(key, problem, format!("write {key} = {example}"));
        None
    }
}

/// `"a", "b" or "c"`.
pub(super) fn alternatives(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((only, _)) => only.clone(),
        None => String::from("nothing"),
    }
}

/// The remedy for an unknown name: the nearest known one, else all of them.
pub(super) fn suggestion(name: &str, known: &[&str]) -> String {
    // Jaro-Winkler finds the right beginning, one edit the slip of a finger.
    let score = |candidate: &str| match strsim::osa_distance(name, candidate) {
        0 | 1 => 1.0,
        _ => strsim::jaro_winkler(name, candidate),
    };
    let scored = known.iter().map(|candidate| (score(candidate), candidate));
    match scored.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((score, nearest)) if score >= SIMILAR => format!("did you mean \"{nearest}\"?"),
        _ => format!("remove it; known here: {}", known.join(", ")),
    }
}

/// Similarity from which a suggestion helps more than the whole list.
const SIMILAR: f64 = 0.8;
/// Fields whose value no finding repeats.
const SECRETS: [&str; 2] = ["password", "inbound_password"];
