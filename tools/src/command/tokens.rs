//! `trunkline tokens`: who may ask the API.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::objects::text;
use crate::client::Gateway;
use crate::failure::{Failure, NOT_FOUND};
use crate::grid::Grid;

/// Tokens of the API: list, add, revoke
#[derive(clap::Args)]
#[command(after_help = "Example:\n  trunkline tokens add monitoring --role read-only")]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// List them, without their secrets
    List,
    /// Make one; it is shown this once
    Add {
        name: String,
        /// What it may do
        #[arg(long, value_parser = ["read-only", "operator", "admin"])]
        role: String,
        /// When it ends, as 2027-01-31T00:00:00Z
        #[arg(long)]
        expires: Option<String>,
    },
    /// End one, at once
    Revoke { name: String },
    /// Seal all passwords of the store under a new key
    RotateKey,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (client, json) = (arguments.gateway.client()?, arguments.gateway.json);
    match &arguments.verb {
        Verb::List => {
            let page = client.get("/tokens")?;
            if json {
                println!("{page}");
                return Ok(ExitCode::SUCCESS);
            }
            let columns = ["id", "name", "role", "created", "expires"];
            let mut grid = Grid::new(&columns);
            for item in page.get("items").and_then(Value::as_array).into_iter().flatten() {
                grid.fields(item, &columns);
            }
            print!("{}", grid.text());
        }
        Verb::Add { name, role, expires } => {
            let mut body = json!({ "name": name, "role": role });
            if let (Some(fields), Some(expires)) = (body.as_object_mut(), expires) {
                fields.insert(String::from("expires"), json!(expires));
            }
            let made = client.ask("POST", "/tokens", Some(&body))?.json()?;
            match json {
                true => println!("{made}"),
                false => println!("{}", text(&made, "token")),
            }
        }
        Verb::Revoke { name } => {
            let page = client.get("/tokens")?;
            let mut items = page.get("items").and_then(Value::as_array).into_iter().flatten();
            let found = items.find(|item| text(item, "name") == name);
            let Some(id) = found.and_then(|item| item.get("id")) else {
                let text = format!("there is no token \"{name}\"");
                return Err(Failure { code: NOT_FOUND, text });
            };
            client.ask("DELETE", &format!("/tokens/{id}"), None)?;
        }
        Verb::RotateKey => {
            let rotated = client.ask("POST", "/keys/rotation", None)?.json()?;
            match json {
                true => println!("{rotated}"),
                false => println!(
                    "sealed anew under key {}; {}",
                    crate::grid::cell(rotated.get("key")),
                    text(&rotated, "note")
                ),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
