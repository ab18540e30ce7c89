//! `/calls`: what is being talked right now, and an end to it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::openapi::HttpMethod;

use super::caller::Caller;
use super::endpoint::Parameter;
use super::fields::Shape;
use super::params::{Name, Params};
use super::problem::Problem;
use super::{Api, Endpoint, PREFIX, page};
use crate::ask::Ask;
use crate::feed::LiveCall;
use crate::store::Role;
use crate::store::audit::Deed;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(HttpMethod::Get, "/calls", Some(Role::ReadOnly), "CallPage", list)
            .about("Live calls")
            .takes(&PARAMETERS),
        Endpoint::new(HttpMethod::Delete, "/calls/{call}", Some(Role::Operator), "", hang_up)
            .about("End a call")
            .answers(204, "", "")
            .problem(404),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default, deserialize_with = "page::whole")]
    limit: Option<usize>,
    after: Option<String>,
    #[serde(default, deserialize_with = "page::whole")]
    trunk: Option<usize>,
    sort: Option<String>,
}

async fn list(State(api): State<Api>, Params(wanted): Params<Wanted>) -> Result<Response, Problem> {
    let limit = page::limit(wanted.limit)?;
    let mut calls = api.gateway.asks.ask(Ask::Calls).await?;
    if let Some(trunk) = wanted.trunk {
        let id = u32::try_from(trunk).ok().map(crate::trunk::TrunkId);
        calls.retain(|call| id.is_some() && (call.from_trunk_id == id || call.to_trunk_id == id));
    }
    match wanted.sort.as_deref() {
        None | Some("id") => {}
        Some("mos") => return worst(calls, &wanted, limit),
        Some(other) => {
            let detail = format!("calls are not sorted by {other}");
            return Err(Problem::malformed(detail, "sort by id or mos"));
        }
    }
    calls.sort_by(|a, b| a.record.id.cmp(&b.record.id));
    let total = calls.len();
    if let Some(after) = &wanted.after {
        calls.retain(|call| call.record.id > *after);
    }
    let more = calls.len() > limit;
    calls.truncate(limit);
    let next = calls.last().filter(|_| more).map(|last| last.record.id.clone());
    let items: Vec<Value> = calls.iter().map(|call| json!(call)).collect();
    Ok(page::answer(&format!("{PREFIX}/calls"), items, total, next))
}

/// The calls that sound worst, those whose quality is not known yet last. There is no next page: the
/// order changes under it.
fn worst(mut calls: Vec<LiveCall>, wanted: &Wanted, limit: usize) -> Result<Response, Problem> {
    if wanted.after.is_some() {
        let detail = "there is no next page of calls by quality";
        return Err(Problem::malformed(detail, "leave out after, or sort by id"));
    }
    let mos = |call: &LiveCall| call.media.and_then(|media| media.mos()).unwrap_or(f64::INFINITY);
    calls.sort_by(|a, b| mos(a).total_cmp(&mos(b)).then_with(|| a.record.id.cmp(&b.record.id)));
    let total = calls.len();
    calls.truncate(limit);
    let items: Vec<Value> = calls.iter().map(|call| json!(call)).collect();
    Ok(page::answer(&format!("{PREFIX}/calls"), items, total, None))
}

async fn hang_up(
    State(api): State<Api>,
    caller: Caller,
    Name(call): Name,
) -> Result<StatusCode, Problem> {
    let id = call.clone();
    let ended = api.gateway.asks.ask(|reply| Ask::HangUp { call: id, reply }).await?;
    if !ended {
        return Err(Problem::not_found(format!("live call {call}")));
    }
    let deed = Deed { action: "hang-up", kind: "call", id: 0, name: call, after: Value::Null };
    let actor = caller.actor();
    api.store.ask(move |keeper| keeper.note(&actor, deed)).await?;
    Ok(StatusCode::NO_CONTENT)
}

const PARAMETERS: [Parameter; 4] = [
    page::LIMIT,
    Parameter::query("after", Shape::Text(64), "\"next\" of the page before"),
    Parameter::query("sort", Shape::Word(&["id", "mos"]), "mos: those that sound worst first"),
    Parameter::query("trunk", Shape::Number(1, u32::MAX as u64), "Only calls of this trunk, by id"),
];
