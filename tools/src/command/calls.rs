//! `trunkline calls`: what is being talked, what was, and who knocked in vain.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::objects::{all, find, text};
use super::trunks;
use crate::client::{Gateway, quoted};
use crate::failure::Failure;
use crate::grid::Grid;

/// Live calls, records of calls, unknown callers
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// List live calls
    List,
    /// End a live call
    HangUp { call: String },
    /// Show what happens, until interrupted
    Watch,
    /// Records of attempts, newest first
    Records {
        /// Only from or to this trunk
        #[arg(long)]
        trunk: Option<String>,
        /// Only with this in the caller or the called number
        #[arg(long)]
        number: Option<String>,
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Sources that belong to no trunk
    Unknown,
    /// Let an unknown source belong to a trunk: it joins the trunk's source_acl
    Adopt { source: String, trunk: String },
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (client, json) = (arguments.gateway.client()?, arguments.gateway.json);
    match &arguments.verb {
        Verb::List => print(all(&client, "/calls", "")?, &LIVE, json),
        Verb::HangUp { call } => {
            client.ask("DELETE", &format!("/calls/{}", quoted(call)), None)?;
        }
        Verb::Watch => client.follow("GET", "/events", None, |event, data| {
            if json {
                println!("{data}");
            } else {
                println!("{}", line(event, data));
            }
            true
        })?,
        Verb::Records { trunk, number, limit } => {
            let filter = |name: &str, value: &Option<String>| {
                value.as_ref().map(|v| format!("&{name}={}", quoted(v))).unwrap_or_default()
            };
            let query = format!("{}{}", filter("trunk", trunk), filter("number", number));
            let page = client.get(&format!("/cdrs?limit={limit}{query}"))?;
            let items = page.get("items").and_then(Value::as_array).cloned();
            print(items.unwrap_or_default(), &RECORD, json);
        }
        Verb::Unknown => {
            let page = client.get("/unknown-callers")?;
            let items = page.get("items").and_then(Value::as_array).cloned();
            print(items.unwrap_or_default(), &UNKNOWN, json);
        }
        Verb::Adopt { source, trunk } => {
            let object = find(&trunks::KIND, &client, trunk)?;
            let body = json!({ "trunk": object.get("id") });
            let path = format!("/unknown-callers/{}/trunk", quoted(source));
            super::objects::show(&client.ask("POST", &path, Some(&body))?.json()?, json);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(items: Vec<Value>, columns: &[&str], json: bool) {
    if json {
        println!("{}", Value::Array(items));
        return;
    }
    let mut grid = Grid::new(columns);
    for item in &items {
        grid.fields(item, columns);
    }
    print!("{}", grid.text());
}

fn line(event: &str, data: &Value) -> String {
    match event {
        "call" => format!(
            "call {} {}: {} -> {}  {}",
            text(data, "id"),
            text(data, "step"),
            text(data, "from_trunk"),
            text(data, "to_trunk"),
            crate::grid::cell(data.get("code")),
        ),
        _ => format!("{event} {data}"),
    }
}

const LIVE: [&str; 7] = ["id", "state", "start", "from_trunk", "to_trunk", "caller", "called"];
const RECORD: [&str; 8] =
    ["start", "from_trunk", "to_trunk", "caller", "called", "code", "reason", "id"];
const UNKNOWN: [&str; 5] = ["source", "transport", "count", "last", "reason"];
