//! `trunkline routes`: which number goes where.

use std::process::ExitCode;

use serde_json::{Value, json};
use signaling::api::fields::ROUTE;

use super::objects::{self, Kind, Verb};
use crate::client::{Client, Gateway};
use crate::failure::{Failure, NEGATIVE};

/// Routes of the running gateway: list, add, change, delete
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trunkline routes list
  trunkline routes add 'to provider' from_trunk=pbx called=_0. strip=1 destination=provider
  trunkline routes test 0039061234 --from pbx")]
pub struct Arguments {
    #[command(subcommand)]
    verb: RouteVerb,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(clap::Subcommand)]
enum RouteVerb {
    #[command(flatten)]
    Common(Verb),
    /// Where a call would go, step by step; no call is made (exit code 1 when it is refused)
    Test {
        /// The called number as the trunk writes it
        number: String,
        /// The trunk that the call comes from
        #[arg(long, value_name = "TRUNK")]
        from: String,
        /// The caller's number
        #[arg(long, value_name = "NUMBER", default_value = "")]
        caller: String,
        /// When: RFC 3339, such as 2026-12-24T20:00:00+01:00 (else now)
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
}

/// What is common to all kinds, for routes.
pub const KIND: Kind = Kind {
    name: "route",
    path: "/routes",
    fields: ROUTE,
    columns: &[
        "id",
        "name",
        "direction",
        "position",
        "from_trunk",
        "called",
        "caller",
        "destination",
        "enabled",
    ],
};

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let gateway = &arguments.gateway;
    match &arguments.verb {
        RouteVerb::Common(verb) => objects::run(&KIND, verb, gateway),
        RouteVerb::Test { number, from, caller, at } => {
            let mut question = json!({ "called": number, "from_trunk": from, "caller": caller });
            if let (Some(at), Some(fields)) = (at, question.as_object_mut()) {
                fields.insert(String::from("at"), json!(at));
            }
            test(&gateway.client()?, &question, gateway.json)
        }
    }
}

fn test(client: &Client, question: &Value, json: bool) -> Result<ExitCode, Failure> {
    let decision = client.ask("POST", "/routes/test", Some(question))?.json()?;
    let outcome = decision.get("outcome").unwrap_or(&Value::Null);
    if json {
        println!("{decision}");
    } else {
        let steps = decision.get("steps").and_then(Value::as_array).into_iter().flatten();
        for step in steps.chain([outcome]) {
            println!("{}", objects::text(step, "text"));
        }
    }
    Ok(match objects::text(outcome, "outcome") {
        "placed" => ExitCode::SUCCESS,
        _ => ExitCode::from(NEGATIVE),
    })
}
