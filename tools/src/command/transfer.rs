//! `trunkline import` and `trunkline export`: trunks, groups and routes as TOML, as in the
//! configuration file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Map, Value, json};
use signaling::api::fields::Shape;

use super::objects::{Kind, add, all, look_up, set};
use super::{groups, routes, trunks};
use crate::client::{Client, Gateway};
use crate::failure::{CONFIGURATION, Failure};

/// Bring trunks, groups and routes of a configuration file into the running gateway
#[derive(clap::Args)]
#[command(after_help = "What has the name of one that is there replaces its fields. \
                        Passwords come from password, ${NAME} or password_file.")]
pub struct ImportArguments {
    /// Configuration file, or what trunkline export wrote (TOML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    gateway: Gateway,
}

/// Write trunks, groups and routes as TOML; passwords and uploaded greetings are not in it
#[derive(clap::Args)]
pub struct ExportArguments {
    #[command(flatten)]
    gateway: Gateway,
}

/// In the order in which they name each other.
const KINDS: [(&str, &Kind); 3] =
    [("group", &groups::KIND), ("trunk", &trunks::KIND), ("route", &routes::KIND)];

pub fn import(arguments: &ImportArguments) -> Result<ExitCode, Failure> {
    let file = &arguments.config;
    let wrong = |cause: String| Failure {
        code: CONFIGURATION,
        text: format!("{}: {cause}", file.display()),
    };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let tables: Value = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let client = arguments.gateway.client()?;
    let base = file.parent().unwrap_or(Path::new("."));
    let mut counts = Counts::default();
    for (list, kind) in KINDS {
        let rows = tables.get(list).and_then(Value::as_array).into_iter().flatten();
        for row in rows {
            let document = row.as_object().cloned().unwrap_or_default();
            let document = resolved(document, base).map_err(wrong)?;
            bring(kind, &client, document, &mut counts)?;
        }
    }
    if arguments.gateway.json {
        let Counts { added, changed, same } = counts;
        println!("{}", json!({ "added": added, "changed": changed, "unchanged": same }));
    } else {
        println!("{} added, {} changed, {} unchanged", counts.added, counts.changed, counts.same);
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Default)]
struct Counts {
    added: usize,
    changed: usize,
    same: usize,
}

fn bring(
    kind: &Kind,
    client: &Client,
    mut document: Map<String, Value>,
    counts: &mut Counts,
) -> Result<(), Failure> {
    let name = document.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let here = |failure: Failure| Failure {
        text: format!("{} \"{name}\": {}", kind.name, failure.text),
        ..failure
    };
    match look_up(kind, client, &name).map_err(here)? {
        None => {
            add(kind, client, &name, document).map_err(here)?;
            counts.added += 1;
        }
        Some(there) => {
            // What the file does not say is as if it had never been said.
            for field in kind.fields.iter().filter(|f| !matches!(f.shape, Shape::Secret(_))) {
                document.entry(field.name.to_owned()).or_insert(Value::Null);
            }
            let saved = set(kind, client, &name, document).map_err(here)?;
            match saved.get("version") == there.get("version") {
                true => counts.same += 1,
                false => counts.changed += 1,
            }
        }
    }
    Ok(())
}

/// The document as the API takes it: passwords in it, paths whole.
fn resolved(mut document: Map<String, Value>, base: &Path) -> Result<Map<String, Value>, String> {
    if let Some(file) = document.remove("password_file") {
        let path = base.join(file.as_str().unwrap_or_default());
        let secret = std::fs::read_to_string(&path)
            .map_err(|error| format!("password_file {}: {error}", path.display()))?;
        document.insert(String::from("password"), json!(secret.trim_end_matches(['\r', '\n'])));
    } else if let Some(password) = document.get("password").and_then(Value::as_str) {
        let expanded = expanded(password)?;
        document.insert(String::from("password"), json!(expanded));
    }
    for field in PATHS {
        let path = document.get(field).and_then(Value::as_str).map(|path| base.join(path));
        if let Some(path) = path {
            let whole = std::path::absolute(&path).unwrap_or(path);
            document.insert(field.to_owned(), json!(whole));
        }
    }
    Ok(document)
}

/// The text with each `${NAME}` from the environment.
fn expanded(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else { break };
        out.push_str(before);
        out.push_str(&std::env::var(name).map_err(|_| {
            format!("the environment variable {name} is not set; set it, or use password_file")
        })?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

pub fn export(arguments: &ExportArguments) -> Result<ExitCode, Failure> {
    let client = arguments.gateway.client()?;
    let mut tables = Map::new();
    for (list, kind) in KINDS {
        let rows = all(&client, kind.path, "")?;
        let rows: Vec<Value> = rows.iter().map(|row| written(kind, row)).collect();
        if !rows.is_empty() {
            tables.insert(list.to_owned(), Value::Array(rows));
        }
    }
    if arguments.gateway.json {
        println!("{}", Value::Object(tables));
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "# Without passwords and uploaded greetings: the store keeps its own, a backup has them."
    );
    for (list, _) in KINDS {
        for row in tables.get(list).and_then(Value::as_array).into_iter().flatten() {
            let text = toml::to_string(row).map_err(Failure::host)?;
            println!("\n[[{list}]]\n{}", text.trim_end());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The fields that a file has of it.
fn written(kind: &Kind, row: &Value) -> Value {
    let known = kind
        .fields
        .iter()
        .filter_map(|field| Some((field.name.to_owned(), row.get(field.name)?.clone())));
    Value::Object(known.collect())
}

const PATHS: [&str; 3] = ["tls_ca", "tls_client_cert", "tls_client_key"];
