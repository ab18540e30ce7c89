//! The configuration file: TOML in, validated values out, every mistake reported at once with
//! line and remedy.
//!
//! ```text
//!   text ── toml ── section (types, unknown keys) ── trunk, route, sections ── rules ── Config
//! ```
//!
//! A value that the product knows but this version does not carry out is refused here, so that a
//! configuration that loads is a configuration that is obeyed.

mod error;
pub mod media;
mod route;
mod rules;
mod section;
mod sections;
mod trunk;

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use crate::route::Routes;
use crate::trunk::{Trunk, TrunkTable};

pub use error::{ConfigError, ConfigErrors};
pub use media::{Media, MediaBackend};
pub use sections::{Cdr, Log, LogFormat, Run, Sip};

use error::Findings;
use section::Section;

/// A configuration that can be run.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[sip]`
    pub sip: Sip,
    /// `[media]`
    pub media: Media,
    /// `[run]`
    pub run: Run,
    /// `[cdr]`
    pub cdr: Cdr,
    /// `[log]`
    pub log: Log,
    /// `[[trunk]]`, in the file's order; a trunk's id is its index.
    pub trunks: Vec<Trunk>,
    /// `[[route]]`, in the order of evaluation.
    pub routes: Routes,
    /// What works but deserves the operator's eye, one line each.
    pub warnings: Vec<String>,
}

impl Config {
    /// The trunks as a table; names are not resolved yet.
    pub fn trunk_table(&self) -> TrunkTable {
        TrunkTable::new(self.trunks.clone())
    }
}

/// Reads and validates a file. Relative paths in it count from its directory.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let unreadable = |cause: std::io::Error, remedy: &str| ConfigErrors {
        file: path.to_owned(),
        errors: vec![ConfigError {
            line: 0,
            what: String::from("configuration file"),
            problem: format!("cannot be read: {cause}"),
            remedy: remedy.to_owned(),
        }],
    };
    let text = std::fs::read_to_string(path).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::NotFound => unreadable(cause, "create it, or name another file"),
        std::io::ErrorKind::InvalidData => unreadable(cause, "save it as UTF-8"),
        _ => unreadable(cause, "check the owner and the permissions of the file"),
    })?;
    // It may hold passwords.
    let text = Zeroizing::new(text);
    let base = path.parent().unwrap_or(Path::new("."));
    read(&text, path, base, &|name| std::env::var(name).ok())
}

/// Validates a configuration that is already in memory. Relative paths count from `base`;
/// `${NAME}` is taken from the environment.
pub fn parse(text: &str, base: &Path) -> Result<Config, ConfigErrors> {
    read(text, Path::new("configuration"), base, &|name| std::env::var(name).ok())
}

/// Environment look-up, an argument so that tests need no process-wide state.
type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

fn read(
    text: &str,
    file: &Path,
    base: &Path,
    environment: Environment<'_>,
) -> Result<Config, ConfigErrors> {
    let mut findings = Findings::new(file, text);
    let (document, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        for error in syntax {
            let line = error.span().map_or(0, |span| findings.line(span.start));
            findings.error(line, "TOML", error.message(), "correct the syntax at this line");
        }
        return Err(findings
            .conclude(())
            .err()
            .unwrap_or(ConfigErrors { file: file.to_owned(), errors: Vec::new() }));
    }
    let root = document.get_ref();
    check_tables(root, &mut findings);
    let sip = sections::sip(Section::new("[sip]", table(root, "sip"), base, &mut findings));
    let media =
        media::read(Section::new("[media]", table(root, "media"), base, &mut findings), &sip);
    let run = sections::run(Section::new("[run]", table(root, "run"), base, &mut findings));
    let cdr = sections::cdr(Section::new("[cdr]", table(root, "cdr"), base, &mut findings), &run);
    let log = sections::log(Section::new("[log]", table(root, "log"), base, &mut findings));
    let mut trunks = Vec::new();
    for (row, span) in rows(root, "trunk") {
        let index = trunks.len();
        let section = Section::new(String::new(), Some((row, span)), base, &mut findings);
        trunks.push(trunk::read(index, section, environment, &sip));
    }
    rules::check(&trunks, &sip, &mut findings);
    let trunks: Vec<Trunk> = trunks.into_iter().map(|parsed| parsed.trunk).collect();
    let mut routes = Vec::new();
    for (row, span) in rows(root, "route") {
        let section = Section::new(String::new(), Some((row, span)), base, &mut findings);
        routes.push(route::read(routes.len(), section, &trunks));
    }
    rules::check_routes(&routes, &trunks, &mut findings);
    let routes = Routes::new(routes.into_iter().filter_map(|parsed| parsed.route).collect());
    let config = Config { sip, media, run, cdr, log, trunks, routes, warnings: Vec::new() };
    let (config, warnings) = findings.conclude(config)?;
    Ok(Config { warnings, ..config })
}

/// Reports unknown top-level names, and names that are a table where a list of tables belongs or
/// the other way round.
fn check_tables(root: &DeTable<'_>, findings: &mut Findings) {
    for (key, value) in root.iter() {
        let name = key.get_ref().as_ref();
        let line = findings.line(key.span().start);
        let is_list = value.get_ref().is_array();
        if TABLES.contains(&name) && !value.get_ref().is_table() {
            findings.error(line, name, "this is a table", format!("write [{name}]"));
        } else if LISTS.contains(&name) && !(is_list && all_tables(value)) {
            findings.error(line, name, "this is a list of tables", format!("write [[{name}]]"));
        } else if !TABLES.contains(&name) && !LISTS.contains(&name) {
            let known: Vec<&str> = TABLES.into_iter().chain(LISTS).collect();
            let remedy = section::suggestion(name, &known);
            findings.error(line, name, "there is no section of this name", remedy);
        }
    }
}

fn all_tables(value: &Spanned<DeValue<'_>>) -> bool {
    value.get_ref().as_array().is_some_and(|rows| rows.iter().all(|row| row.get_ref().is_table()))
}

type Place = std::ops::Range<usize>;

fn table<'a>(root: &'a DeTable<'a>, name: &str) -> Option<(&'a DeTable<'a>, Place)> {
    let (_, value) = root.iter().find(|(key, _)| key.get_ref() == name)?;
    value.get_ref().as_table().map(|table| (table, value.span()))
}

fn rows<'a>(root: &'a DeTable<'a>, name: &str) -> Vec<(&'a DeTable<'a>, Place)> {
    let found = root.iter().find(|(key, _)| key.get_ref() == name);
    let rows = found.and_then(|(_, value)| value.get_ref().as_array());
    rows.into_iter()
        .flat_map(|rows| rows.iter())
        .filter_map(|row| row.get_ref().as_table().map(|table| (table, row.span())))
        .collect()
}

const TABLES: [&str; 5] = ["sip", "media", "run", "cdr", "log"];
const LISTS: [&str; 2] = ["trunk", "route"];

/// Where the runtime directory is when the file does not say.
pub const RUN_DIRECTORY_DEFAULT: &str = "/run/trunkline";

impl Run {
    /// The socket on which the data plane hands over its regions.
    pub fn handover_socket(&self) -> PathBuf {
        self.directory.join("dataplane.sock")
    }
}

#[cfg(test)]
mod tests;
