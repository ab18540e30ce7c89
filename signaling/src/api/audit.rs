//! `/audit`: who changed what; and whether the log still holds.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::openapi::HttpMethod;

use super::endpoint::Parameter;
use super::fields::Shape;
use super::params::Params;
use super::problem::Problem;
use super::{Api, Endpoint, PREFIX, page};
use crate::store::audit::{Chain, digits};
use crate::store::{Role, database::Search};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let admin = Some(Role::Admin);
    vec![
        Endpoint::new(HttpMethod::Get, "/audit", admin, "AuditPage", list)
            .about("The audit log, newest entry first")
            .takes(&PARAMETERS),
        Endpoint::new(HttpMethod::Get, "/audit/verification", admin, "Verification", verify)
            .about("Whether every entry is as it was written, in its place"),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default, deserialize_with = "page::whole")]
    limit: Option<usize>,
    #[serde(default, deserialize_with = "page::whole")]
    after: Option<usize>,
    kind: Option<String>,
    #[serde(default, deserialize_with = "page::whole")]
    id: Option<usize>,
    actor: Option<String>,
}

async fn list(State(api): State<Api>, Params(wanted): Params<Wanted>) -> Result<Response, Problem> {
    let limit = page::limit(wanted.limit)?;
    let search = Search {
        before: wanted.after.and_then(|number| u64::try_from(number).ok()),
        limit: limit + 1,
        kind: wanted.kind,
        id: wanted.id.map(|id| u32::try_from(id).unwrap_or(u32::MAX)),
        actor: wanted.actor,
    };
    let (mut entries, head) =
        api.store.ask(move |keeper| Ok((keeper.audit(&search)?, keeper.audit_head()?))).await?;
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries.last().filter(|_| more).map(|last| last.number.to_string());
    let items: Vec<Value> = entries.iter().map(|entry| json!(entry)).collect();
    let total = usize::try_from(head.number).unwrap_or(usize::MAX);
    Ok(page::answer(&format!("{PREFIX}/audit"), items, total, next))
}

async fn verify(State(api): State<Api>) -> Result<axum::Json<Value>, Problem> {
    let (chain, head): (Chain, Chain) =
        api.store.ask(|keeper| Ok((keeper.verify_audit()?, keeper.audit_head()?))).await?;
    let holds = chain == head;
    Ok(axum::Json(json!({
        "holds": holds,
        "entries": head.number,
        "head": digits(&head.head),
        "broken_after": (!holds).then_some(chain.number),
    })))
}

const PARAMETERS: [Parameter; 5] = [
    page::LIMIT,
    Parameter::query("after", Shape::Number(0, u32::MAX as u64), "\"next\" of the page before"),
    Parameter::query("kind", Shape::Text(32), "Only of this kind of thing"),
    Parameter::query("id", Shape::Number(0, u32::MAX as u64), "Only of the thing with this id"),
    Parameter::query("actor", Shape::Text(64), "Only by this token"),
];
