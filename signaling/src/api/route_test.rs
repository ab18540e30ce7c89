//! `/routes/test`: where a call would go, told step by step. It asks what a call asks, and changes
//! nothing.

use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::openapi::HttpMethod;

use super::body::Fields;
use super::problem::Problem;
use super::{Api, Endpoint};
use crate::ask::Ask;
use crate::route::{Explanation, Outcome, Step};
use crate::store::{Finding, Kind, Role};
use crate::trunk::TrunkId;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(HttpMethod::Post, "/routes/test", Some(Role::ReadOnly), "Decision", test)
            .about("Where a call from this trunk to this number would go, step by step")
            .body("RouteTestInput"),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    from_trunk: String,
    called: String,
    #[serde(default)]
    caller: String,
    at: Option<Timestamp>,
}

async fn test(State(api): State<Api>, fields: Fields) -> Result<axum::Json<Value>, Problem> {
    let Asked { from_trunk, called, caller, at } = fields.into()?;
    for (field, number) in [("called", &called), ("caller", &caller)] {
        if number.len() > NUMBER_MAX {
            let rule = format!("it has more than {NUMBER_MAX} bytes");
            return Err(wrong(field, number, rule, "give a number or a user"));
        }
    }
    let catalog = api.store.catalog();
    let Some(trunk) = catalog.by_name(Kind::Trunk, &from_trunk) else {
        let rule = String::from("there is no such trunk");
        return Err(wrong("from_trunk", &from_trunk, rule, "name one of GET /api/v1/trunks"));
    };
    let from = TrunkId(trunk.id);
    let question = |reply| Ask::Explain { from, called, caller, at, reply };
    Ok(axum::Json(json!(Told::from(api.gateway.asks.ask(question).await?))))
}

fn wrong(field: &str, value: &str, rule: String, remedy: &str) -> Problem {
    let (field, remedy) = (String::from(field), String::from(remedy));
    Problem::invalid(vec![Finding { field, value: json!(value), rule, remedy }])
}

/// A decision with its sentences.
#[derive(Serialize)]
struct Told {
    steps: Vec<Sentence<Step>>,
    outcome: Sentence<Outcome>,
}

/// A part of a decision for machines, and the same for people.
#[derive(Serialize)]
struct Sentence<T> {
    #[serde(flatten)]
    part: T,
    text: String,
}

impl<T: ToString> From<T> for Sentence<T> {
    fn from(part: T) -> Self {
        let text = part.to_string();
        Self { part, text }
    }
}

impl From<Explanation> for Told {
    fn from(all: Explanation) -> Self {
        let steps = all.steps.into_iter().map(Sentence::from).collect();
        Self { steps, outcome: all.outcome.into() }
    }
}

/// Bytes of a number.
pub const NUMBER_MAX: usize = 256;
