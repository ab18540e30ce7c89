//! `/keys/rotation`: a new sealing key.

use axum::extract::State;
use serde_json::{Value, json};
use utoipa::openapi::HttpMethod;

use super::caller::Caller;
use super::problem::Problem;
use super::{Api, Endpoint};
use crate::store::Role;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let admin = Some(Role::Admin);
    vec![
        Endpoint::new(HttpMethod::Post, "/keys/rotation", admin, "Rotation", rotate)
            .about("Seal every secret anew under a new key and drop the old one"),
    ]
}

async fn rotate(State(api): State<Api>, caller: Caller) -> Result<axum::Json<Value>, Problem> {
    let actor = caller.actor();
    let number = api.store.ask(move |keeper| keeper.rotate_key(&actor)).await?;
    Ok(axum::Json(json!({
        "key": number,
        "note": "backups made before need the key file of that time",
    })))
}
