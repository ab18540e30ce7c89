//! Reading one TOML table field by field: each getter checks the type, reports what is wrong and
//! goes on, so that one run over the file finds every mistake. What no getter asked for is an
//! unknown key.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Findings;

/// A table of the file while it is being read.
pub(super) struct Section<'a, 'f> {
    /// How errors name the table: `sip`, `trunk "acme"`.
    pub(super) name: String,
    table: Option<&'a DeTable<'a>>,
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
        table: Option<(&'a DeTable<'a>, Range<usize>)>,
        base: &'f Path,
        findings: &'f mut Findings,
    ) -> Self {
        let line = table.as_ref().map_or(0, |(_, span)| findings.line(span.start));
        let table = table.map(|(table, _)| table);
        Self { name: name.into(), table, line, known: Vec::new(), base, findings }
    }

    /// Line of the table's header.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// Line of a field, or of the table's header when the field is absent.
    pub(super) fn line_of(&self, key: &str) -> usize {
        let table = self.table.into_iter().flat_map(|table| table.iter());
        let found = table.into_iter().find(|(name, _)| name.get_ref() == key);
        found.map_or(self.line, |(name, _)| self.findings.line(name.span().start))
    }

    /// Reports an error about a field.
    pub(super) fn error(
        &mut self,
        key: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (line, what) = (self.line_of(key), format!("{} field {key}", self.name));
        self.findings.error(line, what, problem, remedy);
    }

    pub(super) fn string(&mut self, key: &'static str) -> Option<At<String>> {
        let value = self.value(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some(self.at(value, text.to_owned())),
            None => self.wrong_type(key, value, "a string", "\"...\""),
        }
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<At<bool>> {
        let value = self.value(key)?;
        match value.get_ref().as_bool() {
            Some(flag) => Some(self.at(value, flag)),
            None => self.wrong_type(key, value, "true or false", "true"),
        }
    }

    /// A whole number within `range`.
    pub(super) fn integer(&mut self, key: &'static str, range: Range<u64>) -> Option<At<u64>> {
        let value = self.value(key)?;
        let Some(integer) = value.get_ref().as_integer() else {
            let example = range.start.to_string();
            return self.wrong_type(key, value, "a whole number", &example);
        };
        let digits = integer.as_str().replace('_', "");
        match i128::from_str_radix(&digits, integer.radix()).ok().map(u64::try_from) {
            Some(Ok(number)) if range.contains(&number) => Some(self.at(value, number)),
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
        if let Some(text) = value.get_ref().as_str() {
            return Some(vec![self.at(value, text.to_owned())]);
        }
        let Some(items) = value.get_ref().as_array() else {
            return self.wrong_type(key, value, "a list of strings", "[\"...\"]");
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref().as_str() {
                Some(text) => texts.push(self.at(item, text.to_owned())),
                None => return self.wrong_type(key, item, "a list of strings", "[\"...\"]"),
            }
        }
        Some(texts)
    }

    /// A list of whole numbers.
    pub(super) fn integers(&mut self, key: &'static str, range: Range<u64>) -> Option<Vec<u64>> {
        let value = self.value(key)?;
        let Some(items) = value.get_ref().as_array() else {
            return self.wrong_type(key, value, "a list of numbers", "[0, 1]");
        };
        let mut numbers = Vec::with_capacity(items.len());
        for item in items.iter() {
            let number = item.get_ref().as_integer().and_then(|n| n.as_str().parse().ok());
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
        for (key, _) in table.iter() {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let line = self.findings.line(key.span().start);
            let what = format!("{} field {name}", self.name);
            let remedy = suggestion(name, &self.known);
            self.findings.error(line, what, "there is no field of this name", remedy);
        }
    }

    /// A nested value whose type the caller checks.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        let found = self.table?.iter().find(|(name, _)| name.get_ref() == key);
        found.map(|(_, value)| value)
    }

    fn at<T>(&self, value: &Spanned<DeValue<'_>>, inner: T) -> At<T> {
        At { value: inner, line: self.findings.line(value.span().start) }
    }

    fn wrong_type<T>(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        wanted: &str,
        example: &str,
    ) -> Option<T> {
        let problem = format!("this is {}, not {wanted}", kind(value.get_ref()));
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

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Similarity from which a suggestion helps more than the whole list.
const SIMILAR: f64 = 0.8;
