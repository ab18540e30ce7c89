//! `/trunks/{id}/test`: *Test connection*. Its steps are streamed as server-sent events; what came
//! of it is kept with its SIP ladder, and written into the audit log.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use utoipa::openapi::HttpMethod;

use super::body::Fields;
use super::caller::Caller;
use super::events::{self, EVENTS};
use super::params::Id;
use super::problem::Problem;
use super::{Api, Endpoint};
use crate::probe::{Refused, Report, Update};
use crate::store::audit::Deed;
use crate::store::{Actor, Finding, Refusal, Role, StoreError};
use crate::trunk::{Trunk, TrunkId};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let (read, write) = (Some(Role::ReadOnly), Some(Role::Operator));
    vec![
        Endpoint::new(HttpMethod::Post, "/trunks/{id}/test", write, "Events", begin)
            .about("Test the connection, with a number also a call; steps as server-sent events")
            .body("TestInput")
            .answers(200, EVENTS, "Events")
            .problem(429),
        Endpoint::new(HttpMethod::Get, "/trunks/{id}/test", read, "TestReport", last)
            .about("The last test, with its SIP ladder"),
    ]
}

/// Begins a test of a trunk, with a number also a call.
pub type Begin = Arc<
    dyn Fn(Arc<Trunk>, Option<String>) -> Result<mpsc::Receiver<Update>, Refused> + Send + Sync,
>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    call: Option<String>,
}

async fn begin(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id,
    fields: Fields,
) -> Result<Response, Problem> {
    let Asked { call } = fields.into()?;
    if let Some(call) = call.as_ref().filter(|call| !is_number(call)) {
        return Err(Problem::invalid(vec![Finding {
            field: String::from("call"),
            value: json!(call),
            rule: format!("it is no number or user of at most {CALL_MAX} characters"),
            remedy: String::from("write digits, + and digits, or letters, digits and . _ - *"),
        }]));
    }
    let plan = api.gateway.plan.plan();
    let trunk = plan.trunk(TrunkId(id));
    let trunk = trunk.ok_or_else(|| Problem::not_found(format!("running trunk {id}")))?;
    let updates = (api.gateway.test)(Arc::clone(trunk), call).map_err(refused)?;
    let (frames, queue) = mpsc::channel(FRAMES_MAX);
    tokio::spawn(follow(api.clone(), caller.actor(), updates, frames));
    Ok(events::answer(queue))
}

/// Whether it can stand in a request line as it is.
fn is_number(call: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "+*._-".contains(c);
    !call.is_empty() && call.len() <= CALL_MAX && call.chars().all(fits)
}

fn refused(reason: Refused) -> Problem {
    let seconds = match reason {
        Refused::TooSoon { wait } => wait.as_secs() + 1,
        Refused::Busy => BUSY_SECONDS,
    };
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-soon",
        "Not now",
        reason.to_string(),
        format!("try again in {seconds} s"),
    )
    .after(seconds)
}

/// Passes the steps on; who asked may go, the test ends and is kept all the same.
async fn follow(
    api: Api,
    actor: Actor,
    mut updates: mpsc::Receiver<Update>,
    frames: mpsc::Sender<bytes::Bytes>,
) {
    while let Some(update) = updates.recv().await {
        let frame = match update {
            Update::Step(step) => events::frame("step", &json!(step)),
            Update::Done(mut report) => {
                shorten(&mut report);
                keep(&api, &actor, &report).await;
                events::frame("done", &json!(report))
            }
        };
        let _nobody_looks = frames.send(frame).await;
    }
}

/// Leaves out the last messages of a ladder that is too long to be kept.
fn shorten(report: &mut Report) {
    let mut length = 0;
    report.ladder.retain(|rung| {
        length += rung.text.len();
        length <= LADDER_BYTES_MAX
    });
}

async fn keep(api: &Api, actor: &Actor, report: &Report) {
    let deed = Deed {
        action: "test",
        kind: "trunk",
        id: report.trunk,
        name: report.name.clone(),
        after: json!({ "verdict": report.verdict, "took_ms": report.took_ms }),
    };
    let (actor, trunk, text) = (actor.clone(), report.trunk, json!(report).to_string());
    let kept = api.store.ask(move |keeper| keeper.keep_report(&actor, deed, trunk, text)).await;
    if let Err(refusal) = kept {
        tracing::warn!(%refusal, "the result of a test is not kept");
    }
}

async fn last(State(api): State<Api>, Id(id): Id) -> Result<axum::Json<Value>, Problem> {
    let text = api.store.ask(move |keeper| keeper.report(id)).await?;
    let text = text.ok_or_else(|| Problem::not_found(format!("test of trunk {id}")))?;
    // It was written by `keep`; what else stands there was put there from outside.
    let report = serde_json::from_str(&text).map_err(|error| {
        Refusal::Store(StoreError::Corrupt {
            what: format!("report of trunk {id}"),
            cause: error.to_string(),
        })
    })?;
    Ok(axum::Json(report))
}

/// More than a test has steps, so that a slow client holds nothing up.
const FRAMES_MAX: usize = 32;
/// Characters of the number of a test call.
pub const CALL_MAX: usize = 64;
/// Bytes of all messages of a ladder that is told and kept.
pub const LADDER_BYTES_MAX: usize = 128 * 1024;
/// When a place of another test may be free.
const BUSY_SECONDS: u64 = 5;
