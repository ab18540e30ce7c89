//! `/health`: whether the gateway works, for load balancers; it needs no token and tells nothing
//! else.

use axum::extract::State;
use serde_json::{Value, json};
use utoipa::openapi::HttpMethod;

use super::{Api, Endpoint};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(HttpMethod::Get, "/health", None, "Health", health)
            .about("Whether the gateway works; needs no token"),
    ]
}

async fn health(State(api): State<Api>) -> axum::Json<Value> {
    axum::Json(json!({ "status": "ok", "started": api.started.to_string() }))
}
