//! `trunkline presets`: what a provider or PBX needs, before any of it is applied.

use std::process::ExitCode;

use serde_json::Value;

use super::objects::{show, text};
use crate::client::Gateway;
use crate::failure::Failure;
use crate::grid::cell;

/// What each preset of a trunk sets, and what is left to fill in
#[derive(clap::Args)]
pub struct Arguments {
    /// Only this one
    name: Option<String>,
    #[command(flatten)]
    gateway: Gateway,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let page = arguments.gateway.client()?.get("/presets")?;
    let items = page.get("items").and_then(Value::as_array).into_iter().flatten();
    let wanted =
        |item: &&Value| arguments.name.as_ref().is_none_or(|name| text(item, "name") == name);
    for preset in items.filter(wanted) {
        if arguments.gateway.json {
            println!("{preset}");
            continue;
        }
        println!("{}: {}\n{}", text(preset, "name"), text(preset, "title"), text(preset, "notes"));
        println!("to fill in: {}", cell(preset.get("ask")));
        show(preset.get("sets").unwrap_or(&Value::Null), false);
        println!();
    }
    Ok(ExitCode::SUCCESS)
}
