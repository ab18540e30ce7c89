//! `/workers`: the data plane's workers, and where they run.

use std::time::Duration;

use abi::Duty;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::openapi::HttpMethod;

use super::body::Fields;
use super::caller::Caller;
use super::endpoint::JSON;
use super::fields::Shape;
use super::params::Id;
use super::problem::Problem;
use super::{Api, Endpoint, PREFIX, page};
use crate::ask::Ask;
use crate::media::OrderError;
use crate::store::audit::Deed;
use crate::store::{Finding, Role};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let (read, write) = (Some(Role::ReadOnly), Some(Role::Operator));
    vec![
        Endpoint::new(HttpMethod::Get, "/workers", read, "WorkerPage", list)
            .about("Workers of the data plane: state, core, counters, histograms"),
        Endpoint::new(HttpMethod::Post, "/workers", write, "WorkerAdded", add)
            .about("Have a worker that stands by take calls, on this core if one is named")
            .body("WorkerAdd")
            .answers(201, JSON, "WorkerAdded")
            .problem(409),
        Endpoint::new(HttpMethod::Post, "/workers/{id}/move", write, "", shift)
            .about("Run a worker on another core; no packet is lost")
            .body("WorkerMove")
            .answers(204, "", "")
            .problem(409),
        Endpoint::new(HttpMethod::Post, "/workers/{id}/drain", write, "", drain)
            .about("Take no new calls on this worker; those that it carries go on")
            .answers(204, "", "")
            .problem(409),
        Endpoint::new(HttpMethod::Post, "/workers/{id}/resume", write, "", resume)
            .about("Take calls on this worker again")
            .answers(204, "", "")
            .problem(409),
    ]
}

async fn list(State(api): State<Api>) -> Result<Response, Problem> {
    let reports = api.gateway.asks.ask(Ask::Workers).await?;
    let items: Vec<Value> = reports.iter().map(|report| json!(report)).collect();
    let total = items.len();
    Ok(page::answer(&format!("{PREFIX}/workers"), items, total, None))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    core: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Addition {
    core: Option<u32>,
}

async fn add(State(api): State<Api>, caller: Caller, body: Fields) -> Result<Response, Problem> {
    let Addition { core } = body.into()?;
    core.map_or(Ok(()), check)?;
    let id = order(&api, None, Duty::Serve { core }).await?;
    note(&api, &caller, "add", id, json!({ "core": core })).await?;
    Ok((StatusCode::CREATED, axum::Json(json!({ "id": id }))).into_response())
}

async fn shift(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id,
    body: Fields,
) -> Result<StatusCode, Problem> {
    let Place { core } = body.into()?;
    check(core)?;
    order(&api, Some(id), Duty::Pin { core }).await?;
    note(&api, &caller, "move", id, json!({ "core": core })).await
}

async fn drain(State(api): State<Api>, caller: Caller, Id(id): Id) -> Result<StatusCode, Problem> {
    order(&api, Some(id), Duty::Drain).await?;
    note(&api, &caller, "drain", id, Value::Null).await
}

async fn resume(State(api): State<Api>, caller: Caller, Id(id): Id) -> Result<StatusCode, Problem> {
    order(&api, Some(id), Duty::Serve { core: None }).await?;
    note(&api, &caller, "resume", id, Value::Null).await
}

/// What no worker could make of a core's number.
fn check(core: u32) -> Result<(), Problem> {
    if core < abi::CORES_MAX {
        return Ok(());
    }
    Err(Problem::invalid(vec![Finding {
        field: String::from("core"),
        value: json!(core),
        rule: format!("cores have numbers below {}", abi::CORES_MAX),
        remedy: String::from("name a core as /proc/cpuinfo and lscpu number them"),
    }]))
}

async fn order(api: &Api, worker: Option<u32>, duty: Duty) -> Result<u32, Problem> {
    let asked = api.gateway.asks.ask(|reply| Ask::Order { worker, duty, reply });
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(ordered) => Ok(ordered??),
        Err(_) => Err(Problem::busy("the worker does not answer; is the data plane stopped?", 5)),
    }
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        let remedy = match error {
            OrderError::NoSuchWorker(id) => return Self::not_found(format!("worker {id}")),
            OrderError::RingFull | OrderError::Detached => return Self::busy(error.to_string(), 1),
            OrderError::NoneStandsBy => {
                "raise standby_workers in [media] and restart the data plane when it has no calls"
            }
            OrderError::Refused(_) => "see trunkline workers for cores and states",
        };
        let (status, title) = (StatusCode::CONFLICT, "The worker cannot do that");
        Self::new(status, "worker", title, error.to_string(), remedy)
    }
}

async fn note(
    api: &Api,
    caller: &Caller,
    action: &'static str,
    id: u32,
    after: Value,
) -> Result<StatusCode, Problem> {
    let actor = caller.actor();
    let deed = Deed { action, kind: "worker", id, name: format!("worker {id}"), after };
    api.store.ask(move |keeper| keeper.note(&actor, deed)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How long a worker may take over an order. It looks between two rounds.
const PATIENCE: Duration = Duration::from_secs(5);
/// The number of a core.
pub const CORE: Shape = Shape::Number(0, abi::CORES_MAX as u64 - 1);
