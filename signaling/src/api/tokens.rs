//! `/tokens`: who may ask. A token's secret is in the answer that makes it and nowhere else.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::openapi::HttpMethod;

use super::body::Fields;
use super::caller::Caller;
use super::endpoint::JSON;
use super::once::{self, Key};
use super::params::Id;
use super::problem::Problem;
use super::{Api, Endpoint, PREFIX, page};
use crate::store::{Finding, Role};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let admin = Some(Role::Admin);
    vec![
        Endpoint::new(HttpMethod::Get, "/tokens", admin, "TokenPage", list)
            .about("List tokens, without their secrets"),
        Endpoint::new(HttpMethod::Post, "/tokens", admin, "NewToken", add)
            .about("Make a token; its secret is shown this once")
            .takes(&[once::PARAMETER])
            .body("TokenInput")
            .answers(201, JSON, "NewToken")
            .problem(409),
        Endpoint::new(HttpMethod::Delete, "/tokens/{id}", admin, "", revoke)
            .about("Revoke a token, at once")
            .answers(204, "", "")
            .problem(409),
    ]
}

async fn list(State(api): State<Api>) -> Response {
    let catalog = api.store.catalog();
    let items: Vec<Value> = catalog.tokens.values().map(|token| token.shown()).collect();
    let total = items.len();
    page::answer(&format!("{PREFIX}/tokens"), items, total, None)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    name: String,
    role: String,
    expires: Option<String>,
}

async fn add(
    State(api): State<Api>,
    caller: Caller,
    key: Key,
    fields: Fields,
) -> Result<Response, Problem> {
    let once = key.once(&caller, fields.fingerprint);
    let Asked { name, role, expires } = fields.into()?;
    let role = Role::parse(&role).ok_or_else(|| {
        let remedy = "use read-only, operator or admin";
        invalid("role", &role, "it is no role", remedy)
    })?;
    let expires = expires.map(|text| expiry(&text)).transpose()?;
    let actor = caller.actor();
    let minted = api
        .store
        .ask(move |keeper| keeper.mint(&actor, &name, role, expires, once.as_ref()))
        .await?;
    let mut body = minted.token.shown();
    if let (Some(fields), Some(secret)) = (body.as_object_mut(), &minted.secret) {
        fields.insert(String::from("token"), json!(secret.expose()));
    }
    Ok((StatusCode::CREATED, axum::Json(body)).into_response())
}

fn expiry(text: &str) -> Result<Timestamp, Problem> {
    let remedy = "write a time to come, as 2027-01-31T00:00:00Z";
    let time: Timestamp =
        text.parse().map_err(|_| invalid("expires", text, "it is no time", remedy))?;
    if time <= Timestamp::now() {
        return Err(invalid("expires", text, "it is over", remedy));
    }
    Ok(time)
}

async fn revoke(State(api): State<Api>, caller: Caller, Id(id): Id) -> Result<StatusCode, Problem> {
    let actor = caller.actor();
    api.store.ask(move |keeper| keeper.revoke(&actor, id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn invalid(field: &str, value: &str, rule: &str, remedy: &str) -> Problem {
    Problem::invalid(vec![Finding {
        field: field.to_owned(),
        value: json!(value),
        rule: rule.to_owned(),
        remedy: remedy.to_owned(),
    }])
}
