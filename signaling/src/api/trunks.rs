//! `/trunks`, how they stand, and draining them.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use utoipa::openapi::HttpMethod;

use super::caller::Caller;
use super::objects::{self, Resource};
use super::params::Id;
use super::problem::Problem;
use super::{Api, Endpoint, PREFIX, page};
use crate::ask::Ask;
use crate::store::audit::Deed;
use crate::store::{Kind, Role};
use crate::trunk::TrunkId;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let (read, write) = (Some(Role::ReadOnly), Some(Role::Operator));
    let mut all = objects::endpoints(Resource {
        kind: Kind::Trunk,
        list: "/trunks",
        item: "/trunks/{id}",
        undelete: "/trunks/{id}/undelete",
        schemas: ["Trunk", "TrunkInput", "TrunkPatch", "TrunkPage"],
        garnish: |_, _, _| (),
    });
    all.extend([
        Endpoint::new(HttpMethod::Get, "/trunks/status", read, "StatusPage", statuses)
            .about("How every trunk stands: status, reason, calls, registration, ratios"),
        Endpoint::new(HttpMethod::Get, "/trunks/{id}/status", read, "Status", status)
            .about("How a trunk stands"),
        Endpoint::new(HttpMethod::Post, "/trunks/{id}/drain", write, "", drain)
            .about("Take no new calls; calls under way go on")
            .answers(204, "", ""),
        Endpoint::new(HttpMethod::Post, "/trunks/{id}/resume", write, "", resume)
            .about("Take calls again")
            .answers(204, "", ""),
    ]);
    all
}

async fn statuses(State(api): State<Api>) -> Result<Response, Problem> {
    let reports = api.gateway.asks.ask(|reply| Ask::Trunks { which: None, reply }).await?;
    let items: Vec<Value> = reports.iter().map(|report| json!(report)).collect();
    let total = items.len();
    Ok(page::answer(&format!("{PREFIX}/trunks/status"), items, total, None))
}

async fn status(State(api): State<Api>, Id(id): Id) -> Result<axum::Json<Value>, Problem> {
    let which = Some(vec![TrunkId(id)]);
    let reports = api.gateway.asks.ask(|reply| Ask::Trunks { which, reply }).await?;
    let report =
        reports.first().ok_or_else(|| Problem::not_found(format!("running trunk {id}")))?;
    Ok(axum::Json(json!(report)))
}

async fn drain(State(api): State<Api>, caller: Caller, Id(id): Id) -> Result<StatusCode, Problem> {
    let name = running(&api, id)?;
    let asks = api.gateway.asks.clone();
    // The answer comes with the end of its last call; nobody waits for it here.
    tokio::spawn(async move {
        let trunk = TrunkId(id);
        let _ended = asks.ask(|reply| Ask::Drain { trunk, limit: None, reply }).await;
    });
    note(&api, &caller, "drain", id, name).await
}

async fn resume(State(api): State<Api>, caller: Caller, Id(id): Id) -> Result<StatusCode, Problem> {
    let name = running(&api, id)?;
    let trunk = TrunkId(id);
    api.gateway.asks.ask(|reply| Ask::Resume { trunk, reply }).await?;
    note(&api, &caller, "resume", id, name).await
}

/// The name of a stored trunk.
fn running(api: &Api, id: u32) -> Result<String, Problem> {
    let catalog = api.store.catalog();
    let object = catalog.get(Kind::Trunk, id);
    Ok(object.ok_or_else(|| Problem::not_found(format!("trunk {id}")))?.name.clone())
}

async fn note(
    api: &Api,
    caller: &Caller,
    action: &'static str,
    id: u32,
    name: String,
) -> Result<StatusCode, Problem> {
    let (actor, after) = (caller.actor(), Value::Null);
    let deed = Deed { action, kind: "trunk", id, name, after };
    api.store.ask(move |keeper| keeper.note(&actor, deed)).await?;
    Ok(StatusCode::NO_CONTENT)
}
