//! `trunkline audit`: who changed what.

use std::process::ExitCode;

use serde_json::Value;

use super::objects::{show, text};
use crate::client::Gateway;
use crate::failure::{Failure, NEGATIVE};
use crate::grid::Grid;

/// The audit log: who changed what, from where; and whether it still holds
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// The newest entries
    List {
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Only of this kind: trunk, group, route, token, store, call
        #[arg(long)]
        kind: Option<String>,
        /// Only of the thing with this id
        #[arg(long)]
        id: Option<u32>,
    },
    /// One entry with everything before and after
    Show { number: u64 },
    /// Whether every entry is as it was written (exit code 1 when not)
    Verify,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (client, json) = (arguments.gateway.client()?, arguments.gateway.json);
    match &arguments.verb {
        Verb::List { limit, kind, id } => {
            let mut path = format!("/audit?limit={limit}");
            if let Some(kind) = kind {
                path.push_str(&format!("&kind={}", crate::client::quoted(kind)));
            }
            if let Some(id) = id {
                path.push_str(&format!("&id={id}"));
            }
            let page = client.get(&path)?;
            if json {
                println!("{page}");
                return Ok(ExitCode::SUCCESS);
            }
            let columns = ["number", "at", "actor", "source", "action", "kind", "id", "name"];
            let mut grid = Grid::new(&columns);
            for item in page.get("items").and_then(Value::as_array).into_iter().flatten() {
                grid.fields(item, &columns);
            }
            print!("{}", grid.text());
        }
        Verb::Show { number } => {
            let page = client.get(&format!("/audit?limit=1&after={}", number.saturating_add(1)))?;
            show(page.get("items").and_then(|items| items.get(0)).unwrap_or(&Value::Null), json);
        }
        Verb::Verify => {
            let found = client.get("/audit/verification")?;
            let holds = found.get("holds").and_then(Value::as_bool).unwrap_or(false);
            match (json, holds) {
                (true, _) => println!("{found}"),
                (false, true) => println!("holds; head {}", text(&found, "head")),
                (false, false) => println!(
                    "BROKEN after entry {}: what follows was altered",
                    crate::grid::cell(found.get("broken_after"))
                ),
            }
            if !holds {
                return Ok(ExitCode::from(NEGATIVE));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
