//! `trunkline trunks`: the trunks of a running gateway.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Map, Value, json};
use signaling::api::fields::TRUNK;

use super::objects::{self, Kind, Verb};
use crate::client::{Client, Gateway};
use crate::failure::{Failure, NEGATIVE, REFUSED};

/// Trunks of the running gateway: list, add, change, delete
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trunkline trunks list
  trunkline trunks add provider host=198.51.100.7 transport=UDP
  trunkline trunks from-preset pbx --preset cucm host=pbx.example.com
  trunkline trunks test provider --call +390612345
  trunkline trunks greeting provider welcome.wav
  trunkline trunks set provider max_concurrent_calls=30 password=@secret.txt")]
pub struct Arguments {
    #[command(subcommand)]
    verb: TrunkVerb,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(clap::Subcommand)]
enum TrunkVerb {
    #[command(flatten)]
    Common(Verb),
    /// How they stand: status, reason, calls, registration (exit code 1 when one is not usable)
    Status {
        /// Only this one
        name: Option<String>,
    },
    /// Test the connection step by step (exit code 1 when a step fails)
    Test {
        name: String,
        /// Call this number too, with five seconds of audio
        #[arg(long, value_name = "NUMBER")]
        call: Option<String>,
        /// Show the last test instead, with its SIP messages
        #[arg(long, conflicts_with = "call")]
        last: bool,
    },
    /// The greeting that callers hear first: upload one, fetch it, remove it
    #[command(after_help = "Examples:
  trunkline trunks greeting provider welcome.wav
  trunkline trunks greeting provider --fetch copy.wav
  trunkline trunks greeting provider --remove

WAV, 16-bit PCM, mono, 8 or 16 kHz, at most 15 s. It is heard where audio_tones says so.")]
    Greeting {
        name: String,
        /// A WAV file to upload
        #[arg(required_unless_present_any = ["fetch", "remove"])]
        file: Option<PathBuf>,
        /// Write the one that there is into a file that does not exist yet
        #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "remove"])]
        fetch: Option<PathBuf>,
        /// Remove it
        #[arg(long, conflicts_with = "file")]
        remove: bool,
    },
    /// Take no new calls; calls under way go on
    Drain { name: String },
    /// Take calls again
    Resume { name: String },
    /// Add one as a preset has it: what it sets is shown, and nothing is saved before --yes
    FromPreset {
        name: String,
        /// See trunkline presets
        #[arg(long)]
        preset: String,
        #[arg(value_name = "FIELD=VALUE")]
        values: Vec<String>,
        /// Save it
        #[arg(long)]
        yes: bool,
    },
}

/// What is common to all kinds, for trunks.
pub const KIND: Kind = Kind {
    name: "trunk",
    path: "/trunks",
    fields: TRUNK,
    columns: &[
        "id",
        "host",
        "name",
        "virtual_phone_number",
        "username",
        "transport",
        "encryption",
        "status",
    ],
};

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let gateway = &arguments.gateway;
    match &arguments.verb {
        TrunkVerb::Common(Verb::List { search }) => {
            let client = gateway.client()?;
            let mut items = objects::fitting(&KIND, &client, search.as_deref())?;
            standing(&client, &mut items)?;
            objects::list(&KIND, items, gateway.json);
            Ok(ExitCode::SUCCESS)
        }
        TrunkVerb::Common(verb) => objects::run(&KIND, verb, gateway),
        TrunkVerb::Status { name } => status(&gateway.client()?, name.as_deref(), gateway.json),
        TrunkVerb::Test { name, last: true, .. } => last(&gateway.client()?, name, gateway.json),
        TrunkVerb::Test { name, call, .. } => {
            test(&gateway.client()?, name, call.as_deref(), gateway.json)
        }
        TrunkVerb::Greeting { name, file, fetch, .. } => {
            let client = gateway.client()?;
            greeting(&client, name, (file.as_deref(), fetch.as_deref()), gateway.json)
        }
        TrunkVerb::Drain { name } => order(&gateway.client()?, name, "drain"),
        TrunkVerb::Resume { name } => order(&gateway.client()?, name, "resume"),
        TrunkVerb::FromPreset { name, preset, values, yes } => {
            let client = arguments.gateway.client()?;
            let document = objects::document(&KIND, values)?;
            let preview = preview(&client, name, preset, document)?;
            let document = preview.get("document").cloned().unwrap_or_default();
            if !yes {
                explain(&preview, arguments.gateway.json);
                return Ok(ExitCode::SUCCESS);
            }
            let Value::Object(document) = document else {
                let text = String::from("the gateway's preview is no document");
                return Err(Failure { code: REFUSED, text });
            };
            objects::show(&objects::add(&KIND, &client, name, document)?, arguments.gateway.json);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Adds to each trunk the status that it has.
fn standing(client: &Client, items: &mut [Value]) -> Result<(), Failure> {
    let reports = reports(client)?;
    for item in items {
        let report = reports.iter().find(|report| report.get("id") == item.get("id"));
        let status = report.and_then(|report| report.get("status")).cloned();
        if let Some(fields) = item.as_object_mut() {
            fields.insert(String::from("status"), status.unwrap_or_default());
        }
    }
    Ok(())
}

fn reports(client: &Client) -> Result<Vec<Value>, Failure> {
    let page = client.get("/trunks/status")?;
    Ok(page.get("items").and_then(Value::as_array).cloned().unwrap_or_default())
}

fn status(client: &Client, name: Option<&str>, json: bool) -> Result<ExitCode, Failure> {
    let mut found = reports(client)?;
    if let Some(name) = name {
        let trunk = objects::find(&KIND, client, name)?;
        found.retain(|report| report.get("id") == trunk.get("id"));
    }
    let is_bad = |report: &Value| !USABLE.contains(&objects::text(report, "status"));
    let bad = found.iter().any(is_bad);
    let shown = Kind { columns: &STANDING, ..KIND };
    for report in &mut found {
        let calls = report.get("calls").cloned().unwrap_or_default();
        if let Some(fields) = report.as_object_mut().filter(|_| !json) {
            for way in ["inbound", "outbound"] {
                let count = calls.get(way).cloned().unwrap_or_default();
                fields.insert(format!("calls_{way}"), count);
            }
        }
    }
    objects::list(&shown, found, json);
    Ok(if bad { ExitCode::from(NEGATIVE) } else { ExitCode::SUCCESS })
}

/// Steps as they end, then the verdict.
fn test(client: &Client, name: &str, call: Option<&str>, json: bool) -> Result<ExitCode, Failure> {
    let trunk = objects::find(&KIND, client, name)?;
    let body = call.map_or_else(|| json!({}), |number| json!({ "call": number }));
    let path = format!("{}/test", objects::place(&KIND, &trunk));
    // Stays empty when the gateway ends before the test.
    let mut verdict = String::new();
    client.follow("POST", &path, Some(&body), |event, data| {
        if json {
            println!("{data}");
        } else if event == "step" {
            step(data);
        }
        if event == "done" {
            verdict = objects::text(data, "verdict").to_owned();
        }
        event != "done"
    })?;
    if verdict.is_empty() {
        return Err(Failure::host("the test broke off: the gateway closed the connection"));
    }
    if !json {
        println!("{verdict}");
    }
    Ok(code_of(&verdict))
}

/// The kept report: steps, messages, verdict.
fn last(client: &Client, name: &str, json: bool) -> Result<ExitCode, Failure> {
    let trunk = objects::find(&KIND, client, name)?;
    let report = client.get(&format!("{}/test", objects::place(&KIND, &trunk)))?;
    let verdict = objects::text(&report, "verdict");
    if json {
        println!("{report}");
        return Ok(code_of(verdict));
    }
    let list = |field| report.get(field).and_then(Value::as_array).into_iter().flatten();
    println!("{}", objects::text(&report, "started"));
    list("steps").for_each(step);
    for rung in list("ladder") {
        let at = crate::grid::cell(rung.get("at_ms"));
        let arrow = if rung.get("sent") == Some(&Value::Bool(true)) { "->" } else { "<-" };
        let part = |field| objects::text(rung, field);
        println!("\n{at} ms  {} {arrow} {} {}", part("local"), part("remote"), part("transport"));
        println!("{}", part("text").trim_end());
    }
    println!("{verdict}");
    Ok(code_of(verdict))
}

fn code_of(verdict: &str) -> ExitCode {
    match verdict {
        "PASS" | "WARN" => ExitCode::SUCCESS,
        _ => ExitCode::from(NEGATIVE),
    }
}

fn step(step: &Value) {
    let took = crate::grid::cell(step.get("took_ms"));
    println!(
        "{:<5} {:<9} {took:>6} ms  {}",
        objects::text(step, "verdict"),
        objects::text(step, "stage"),
        objects::text(step, "text"),
    );
    let remedy = objects::text(step, "remedy");
    if !remedy.is_empty() {
        println!("{:<27}remedy: {remedy}", "");
    }
}

/// Uploads the first file, or writes into the second one, or removes what there is.
fn greeting(
    client: &Client,
    name: &str,
    (upload, fetch): (Option<&Path>, Option<&Path>),
    json: bool,
) -> Result<ExitCode, Failure> {
    let trunk = objects::find(&KIND, client, name)?;
    let path = format!("{}/greeting", objects::place(&KIND, &trunk));
    let fault = |file: &Path| {
        let file = file.display().to_string();
        move |error: std::io::Error| Failure { code: REFUSED, text: format!("{file}: {error}") }
    };
    if let Some(file) = upload {
        let wav = std::fs::read(file).map_err(fault(file))?;
        let reply = client.send("PUT", &path, &[("content-type", "audio/wav")], wav.into())?;
        objects::show(&reply.json()?, json);
    } else if let Some(file) = fetch {
        let wav = client.send("GET", &path, &[], Default::default())?.bytes;
        let mut output = std::fs::File::create_new(file).map_err(fault(file))?;
        output.write_all(&wav).map_err(fault(file))?;
        objects::show(&json!({ "file": file, "bytes": wav.len() }), json);
    } else {
        client.send("DELETE", &path, &[], Default::default())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn order(client: &Client, name: &str, what: &str) -> Result<ExitCode, Failure> {
    let trunk = objects::find(&KIND, client, name)?;
    client.ask("POST", &format!("{}/{what}", objects::place(&KIND, &trunk)), None)?;
    Ok(ExitCode::SUCCESS)
}

/// Status values under which calls have a chance.
const USABLE: [&str; 5] = ["OK", "LAGGED", "DEGRADED", "UNMONITORED", "AT_CAPACITY"];
const STANDING: [&str; 8] =
    ["id", "name", "status", "since", "code", "calls_inbound", "calls_outbound", "reason"];

/// What the operator wrote wins over what the preset sets.
fn preview(
    client: &Client,
    name: &str,
    preset: &str,
    own: Map<String, Value>,
) -> Result<Value, Failure> {
    let body = json!({ "preset": preset, "document": { "name": name } });
    let mut preview = client.ask("POST", "/presets/preview", Some(&body))?.json()?;
    if let Some(document) = preview.get_mut("document").and_then(Value::as_object_mut) {
        document.extend(own);
    }
    Ok(preview)
}

fn explain(preview: &Value, json: bool) {
    if json {
        println!("{preview}");
        return;
    }
    let preset = preview.get("preset").unwrap_or(&Value::Null);
    println!("{}\n{}\n", objects::text(preset, "title"), objects::text(preset, "notes"));
    objects::show(preview.get("document").unwrap_or(&Value::Null), false);
    let asked = preset.get("ask").and_then(Value::as_array).into_iter().flatten();
    let missing: Vec<&str> = asked
        .filter_map(Value::as_str)
        .filter(|field| preview.get("document").is_none_or(|d| d.get(*field).is_none()))
        .collect();
    if !missing.is_empty() {
        println!("\nstill to fill in: {}", missing.join(", "));
    }
    println!("\nnothing is saved yet; repeat with --yes");
}
