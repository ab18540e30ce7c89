//! `/deleted`: what can still be brought back.

use axum::extract::State;
use axum::response::Response;
use utoipa::openapi::HttpMethod;

use super::{Api, Endpoint, PREFIX, objects, page};
use crate::store::Role;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let read = Some(Role::ReadOnly);
    vec![
        Endpoint::new(HttpMethod::Get, "/deleted", read, "DeletedPage", list)
            .about("What was deleted less than 24 h ago"),
    ]
}

async fn list(State(api): State<Api>) -> Response {
    let catalog = api.store.catalog();
    let items: Vec<_> = catalog.deleted.values().map(objects::deletion).collect();
    let total = items.len();
    page::answer(&format!("{PREFIX}/deleted"), items, total, None)
}
