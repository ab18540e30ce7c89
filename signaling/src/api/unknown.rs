//! `/unknown-callers`: who knocked without belonging to a trunk, and the one step that makes him
//! belong to one.

use std::net::IpAddr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::openapi::HttpMethod;

use super::body::Fields;
use super::caller::Caller;
use super::params::Name;
use super::problem::Problem;
use super::{Api, Endpoint, PREFIX, page};
use crate::ask::Ask;
use crate::store::{Expected, Kind, Role, Sent};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let (read, write) = (Some(Role::ReadOnly), Some(Role::Operator));
    let one = "/unknown-callers/{source}";
    vec![
        Endpoint::new(HttpMethod::Get, "/unknown-callers", read, "UnknownCallerPage", list)
            .about("Sources that belong to no trunk, the latest first"),
        Endpoint::new(HttpMethod::Delete, one, write, "", forget)
            .about("Take a source out of the list")
            .answers(204, "", "")
            .problem(404),
        Endpoint::new(HttpMethod::Post, "/unknown-callers/{source}/trunk", write, "Trunk", adopt)
            .about("Add the source to the source_acl of a trunk")
            .body("AdoptInput")
            .problem(404)
            .problem(409),
    ]
}

async fn list(State(api): State<Api>) -> Result<Response, Problem> {
    let callers = api.gateway.asks.ask(Ask::UnknownCallers).await?;
    let items: Vec<Value> = callers.iter().map(|caller| json!(caller)).collect();
    let total = items.len();
    Ok(page::answer(&format!("{PREFIX}/unknown-callers"), items, total, None))
}

fn address(text: &str) -> Result<IpAddr, Problem> {
    text.parse().map_err(|_| Problem::not_found(format!("source \"{text}\"")))
}

async fn forget(State(api): State<Api>, Name(source): Name) -> Result<StatusCode, Problem> {
    let source = address(&source)?;
    match api.gateway.asks.ask(|reply| Ask::ForgetCaller { source, reply }).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found(format!("unknown caller {source}"))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    trunk: u32,
}

async fn adopt(
    State(api): State<Api>,
    caller: Caller,
    Name(source): Name,
    fields: Fields,
) -> Result<axum::Json<Value>, Problem> {
    let source = address(&source)?;
    let Asked { trunk } = fields.into()?;
    let catalog = api.store.catalog();
    let object = catalog.get(Kind::Trunk, trunk);
    let object = object.ok_or_else(|| Problem::not_found(format!("trunk {trunk}")))?;
    let mut networks = match object.document.get("source_acl") {
        Some(Value::Array(networks)) => networks.clone(),
        Some(Value::String(network)) => vec![json!(network)],
        _ => Vec::new(),
    };
    networks.push(json!(source.to_string()));
    let patch = [(String::from("source_acl"), Value::Array(networks))].into_iter().collect();
    let (actor, expected) = (caller.actor(), Expected::Version(object.version));
    let saved = api
        .store
        .ask(move |keeper| keeper.update(&actor, Kind::Trunk, trunk, expected, Sent::Patch(patch)))
        .await?;
    // He belongs now; that he is still listed would be a matter of the list alone.
    let _listed_no_more = api.gateway.asks.ask(|reply| Ask::ForgetCaller { source, reply }).await;
    Ok(axum::Json(Value::Object(saved.object.shown())))
}
