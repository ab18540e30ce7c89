//! `trunkline workers`: the data plane's workers, and where they run.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::objects::text;
use crate::client::{Client, Gateway};
use crate::failure::{Failure, NOT_FOUND};
use crate::grid::Grid;

/// Media workers of the running gateway: list, move between cores, add, drain
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trunkline workers                  state, core, flows
  trunkline workers move 0 3         no packet is lost, no call notices
  trunkline workers add --core 5     one that stands by takes calls from now on
  trunkline workers drain 0 --wait   no new calls; returns when its last one is over")]
pub struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// List them (also without a verb)
    List,
    /// Run a worker on another core
    Move { worker: u32, core: u32 },
    /// Have a worker that stands by take calls
    Add {
        /// The core that it is to run on
        #[arg(long)]
        core: Option<u32>,
    },
    /// Take no new calls on a worker; those that it carries go on
    Drain {
        worker: u32,
        /// Wait until its last call is over
        #[arg(long)]
        wait: bool,
    },
    /// Take calls on a worker again
    Resume { worker: u32 },
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (client, json) = (arguments.gateway.client()?, arguments.gateway.json);
    match arguments.verb.as_ref().unwrap_or(&Verb::List) {
        Verb::List => list(workers(&client)?, json),
        Verb::Move { worker, core } => {
            let body = json!({ "core": core });
            client.ask("POST", &format!("/workers/{worker}/move"), Some(&body))?;
            tell(&client, *worker, json)?;
        }
        Verb::Add { core } => {
            let body = core.map_or_else(|| json!({}), |core| json!({ "core": core }));
            let added = client.ask("POST", "/workers", Some(&body))?.json()?;
            let id = added.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
            tell(&client, id.unwrap_or_default(), json)?;
        }
        Verb::Drain { worker, wait } => {
            client.ask("POST", &format!("/workers/{worker}/drain"), None)?;
            if *wait {
                await_empty(&client, *worker, json)?;
            }
            tell(&client, *worker, json)?;
        }
        Verb::Resume { worker } => {
            client.ask("POST", &format!("/workers/{worker}/resume"), None)?;
            tell(&client, *worker, json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn workers(client: &Client) -> Result<Vec<Value>, Failure> {
    let page = client.get("/workers")?;
    Ok(page.get("items").and_then(Value::as_array).cloned().unwrap_or_default())
}

/// The worker as it is now.
fn find(client: &Client, id: u32) -> Result<Value, Failure> {
    let found = workers(client)?.into_iter().find(|worker| worker.get("id") == Some(&json!(id)));
    found.ok_or_else(|| Failure { code: NOT_FOUND, text: format!("there is no worker {id}") })
}

/// Prints the worker, as it is after what was asked.
fn tell(client: &Client, id: u32, json: bool) -> Result<(), Failure> {
    let worker = find(client, id)?;
    if json {
        println!("{worker}");
    } else {
        list(vec![worker], false);
    }
    Ok(())
}

/// Waits for the last call of a worker, and says how many flows are left when that changes.
fn await_empty(client: &Client, id: u32, quiet: bool) -> Result<(), Failure> {
    let mut told = None;
    loop {
        let worker = find(client, id)?;
        if text(&worker, "state") != "draining" {
            return Ok(());
        }
        let left = worker.get("flows").and_then(Value::as_u64);
        if !quiet && left != told {
            eprintln!("worker {id}: {} flows left", left.unwrap_or(0));
            told = left;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn list(items: Vec<Value>, json: bool) {
    if json {
        println!("{}", Value::Array(items));
        return;
    }
    let mut grid = Grid::new(&COLUMNS);
    for mut worker in items {
        let counter = |name: &str| worker.get("counters").and_then(|all| all.get(name)).cloned();
        let pairs = counter("pairs_owned");
        if let Some(fields) = worker.as_object_mut() {
            fields.insert(String::from("port_pairs"), pairs.unwrap_or_default());
        }
        grid.fields(&worker, &COLUMNS);
    }
    print!("{}", grid.text());
}

const COLUMNS: [&str; 6] = ["id", "state", "core", "flows", "flows_max", "port_pairs"];
/// Calls last minutes; nobody waits for a second.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
