//! The configuration: a TOML file or objects of the API in, validated values out, every mistake
//! reported at once with place and remedy.
//!
//! ```text
//!   file ── toml ──┐
//!                  ├── tree ── section (types, unknown keys) ── trunk, route, … ── rules ── Config
//!   API ─── JSON ──┘                                                                └──── one Trunk
//! ```
//!
//! A value that the product knows but this version does not carry out is refused here, so that a
//! configuration that loads is a configuration that is obeyed.

mod digits;
pub mod dscp;
mod error;
mod group;
mod identity;
pub mod media;
mod named;
pub mod network;
mod numbering;
mod object;
mod paths;
mod proof;
mod route;
mod rules;
mod section;
mod sections;
mod tree;
mod trunk;
mod upkeep;
mod webhook;

use std::path::{Path, PathBuf};

use std::sync::Arc;

use toml::de::DeTable;
use zeroize::Zeroizing;

use crate::group::{Group, GroupId};
use crate::plan::Plan;
use crate::route::{RouteId, Routes};
use crate::trunk::{Trunk, TrunkId};

pub use error::{Checked, ConfigErrors, Finding};
pub use media::{Media, MediaBackend};
pub use object::{Surroundings, group_from_json, route_from_json, trunk_from_json};
pub use sections::{Cdr, Dns, Http, Log, LogFormat, Run, SHARDS_MAX, Sip, Store};
pub use webhook::Webhook;

use error::Findings;
use section::Section;
use tree::{Lines, Table};

/// A configuration that can be run.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[sip]`
    pub sip: Sip,
    /// `[media]`
    pub media: Media,
    /// `[dns]`
    pub dns: Dns,
    /// `[run]`
    pub run: Run,
    /// `[cdr]`
    pub cdr: Cdr,
    /// `[store]`
    pub store: Option<Store>,
    /// `[http]`
    pub http: Option<Http>,
    /// `[webhook]`
    pub webhook: Option<Webhook>,
    /// `[log]`
    pub log: Log,
    /// Where relative paths count from.
    pub base: PathBuf,
    /// `[[trunk]]`, in the file's order; a trunk's id is its place, from 1.
    pub trunks: Vec<Arc<Trunk>>,
    /// `[[group]]`, in the file's order; a group's id is its place, from 1.
    pub groups: Vec<Group>,
    /// `[[route]]`, in the order of evaluation.
    pub routes: Routes,
    /// What works but deserves the operator's eye, one line each.
    pub warnings: Vec<String>,
}

impl Config {
    /// What the file alone says of trunks and routes.
    pub fn plan(&self) -> Plan {
        Plan::new(self.trunks.clone(), self.groups.clone(), self.routes.clone())
    }
}

/// Reads and validates a file. Relative paths in it count from its directory.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let unreadable = |cause: std::io::Error, remedy: &str| ConfigErrors {
        file: path.to_owned(),
        errors: vec![Finding {
            line: 0,
            what: String::from("configuration file"),
            field: None,
            value: None,
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
    let mut findings = Findings::default();
    let lines = Lines::new(text);
    let broken = |errors| ConfigErrors { file: file.to_owned(), errors };
    let (document, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        for error in syntax {
            let line = error.span().map_or(0, |span| lines.of(span.start));
            findings.error(line, "TOML", error.message(), "correct the syntax at this line");
        }
        return Err(broken(findings.conclude(()).err().unwrap_or_default()));
    }
    let root = Table::from_toml(document.get_ref(), 0, &lines);
    check_tables(&root, &mut findings);
    let sip = sections::sip(Section::new("[sip]", table(&root, "sip"), base, &mut findings));
    let media = media(&root, base, &sip, &mut findings);
    let dns = sections::dns(Section::new("[dns]", table(&root, "dns"), base, &mut findings));
    let run = sections::run(Section::new("[run]", table(&root, "run"), base, &mut findings));
    let cdr = sections::cdr(Section::new("[cdr]", table(&root, "cdr"), base, &mut findings), &run);
    let store =
        sections::store(Section::new("[store]", table(&root, "store"), base, &mut findings));
    let section = Section::new("[http]", table(&root, "http"), base, &mut findings);
    let http = sections::http(section, store.as_ref());
    let webhook = webhook::webhook(&root, base, &mut findings);
    let log = sections::log(Section::new("[log]", table(&root, "log"), base, &mut findings));
    let groups = groups(&root, base, &mut findings);
    let mut parsed = Vec::new();
    for row in rows(&root, "trunk") {
        let id = TrunkId(place(parsed.len()));
        let section = Section::new(String::new(), Some(row), base, &mut findings);
        parsed.push(trunk::read(id, section, Some(environment), (&sip, &media), &groups));
    }
    rules::check(&parsed, &sip, &mut findings);
    rules::check_names(&parsed, &groups, &mut findings);
    let trunks: Vec<Arc<Trunk>> = parsed.into_iter().map(|parsed| parsed.trunk).collect();
    let mut parsed = Vec::new();
    for row in rows(&root, "route") {
        let id = RouteId(place(parsed.len()));
        let section = Section::new(String::new(), Some(row), base, &mut findings);
        parsed.push(route::read(id, section, &trunks, &groups));
    }
    paths::check_routes(&parsed, &trunks, &groups, &mut findings);
    let routes = Routes::new(parsed.into_iter().filter_map(|parsed| parsed.route).collect());
    let (base, warnings) = (base.to_owned(), Vec::new());
    let config = Config {
        sip,
        media,
        dns,
        run,
        cdr,
        store,
        http,
        webhook,
        log,
        base,
        trunks,
        groups,
        routes,
        warnings,
    };
    let checked = findings.conclude(config).map_err(broken)?;
    let warnings = checked.warnings.iter().map(|warning| warning.line_of(file)).collect();
    Ok(Config { warnings, ..checked.value })
}

fn media(root: &Table, base: &Path, sip: &Sip, findings: &mut Findings) -> Media {
    let section = Section::new("[media]", table(root, "media"), base, findings);
    let mut media = media::read(section, sip);
    for row in rows(root, "network") {
        let section = Section::new(String::new(), Some(row), base, findings);
        media.networks.push(network::read(section, &media));
    }
    network::check_count(&media, findings);
    media::check_interfaces(Section::new("[media]", table(root, "media"), base, findings), &media);
    media
}

fn groups(root: &Table, base: &Path, findings: &mut Findings) -> Vec<Group> {
    let mut parsed = Vec::new();
    for row in rows(root, "group") {
        let id = GroupId(place(parsed.len()));
        parsed.push(group::read(id, Section::new(String::new(), Some(row), base, findings)));
    }
    paths::check_groups(&parsed, findings);
    parsed.into_iter().map(|parsed| parsed.group).collect()
}

/// The id of the file's next row: its place, from 1.
fn place(before: usize) -> u32 {
    u32::try_from(before + 1).unwrap_or(u32::MAX)
}

/// Reports unknown top-level names, and names that are a table where a list of tables belongs or
/// the other way round.
fn check_tables(root: &Table, findings: &mut Findings) {
    for entry in &root.entries {
        let (name, line, value) = (entry.key.as_str(), entry.line, &entry.node.value);
        let list = value.as_list();
        let is_rows =
            list.is_some_and(|rows| rows.iter().all(|row| row.value.as_table().is_some()));
        if TABLES.contains(&name) && value.as_table().is_none() {
            findings.error(line, name, "this is a table", format!("write [{name}]"));
        } else if LISTS.contains(&name) && !is_rows {
            findings.error(line, name, "this is a list of tables", format!("write [[{name}]]"));
        } else if !TABLES.contains(&name) && !LISTS.contains(&name) {
            let known: Vec<&str> = TABLES.into_iter().chain(LISTS).collect();
            let remedy = section::suggestion(name, &known);
            findings.error(line, name, "there is no section of this name", remedy);
        }
    }
}

fn table<'a>(root: &'a Table, name: &str) -> Option<&'a Table> {
    root.get(name)?.node.value.as_table()
}

fn rows<'a>(root: &'a Table, name: &str) -> impl Iterator<Item = &'a Table> {
    let rows = root.get(name).and_then(|entry| entry.node.value.as_list());
    rows.unwrap_or_default().iter().filter_map(|row| row.value.as_table())
}

const TABLES: [&str; 9] = ["sip", "media", "dns", "run", "cdr", "store", "http", "webhook", "log"];
const LISTS: [&str; 4] = ["network", "trunk", "group", "route"];

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
