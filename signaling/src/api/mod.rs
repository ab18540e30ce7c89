//! The API under `/api/v1`: REST with the field names of the configuration file, problems as
//! `application/problem+json`, server-sent events, metrics.
//!
//! ```text
//!   accept (serve) ─► gate: request limit ─► token and role ─► handler: parse, call, answer
//!                                                                 ├──► store (keeper)
//!                                                                 └──► the running gateway
//! ```
//! Every endpoint is one [`Endpoint`] in the table of its resource: method, path, the role it
//! needs, its words for the OpenAPI document, its handler. The router, the check of the role and
//! the document are made from that table, so that none of them can forget one.

mod audit;
mod backup;
mod body;
mod caller;
mod calls;
mod cdrs;
mod deleted;
mod departures;
mod endpoint;
mod etag;
mod events;
pub mod fields;
mod gateway;
mod greeting;
mod groups;
mod health;
mod keys;
mod metrics;
mod objects;
mod once;
mod openapi;
mod page;
mod params;
pub mod presets;
mod problem;
mod route_test;
mod routes;
mod schemas;
pub mod serve;
#[cfg(test)]
mod tests;
mod tokens;
mod trunk_test;
mod trunks;
mod unknown;
mod workers;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::store::Store;

pub use endpoint::Endpoint;
pub use gateway::Gateway;
pub use serve::{HttpError, Server};
pub use trunk_test::Begin;

/// Requests under way at once; beyond it the answer is 503.
pub const REQUESTS_MAX: usize = 64;
/// Connections at once; beyond it they wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 256;
/// Clients that listen to events at once; beyond it the answer is 503.
pub const EVENT_CLIENTS_MAX: usize = 32;
/// Bytes of a request's body.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a backup that is restored.
pub const RESTORE_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Objects on one page.
pub const PAGE_MAX: usize = 1_000;
/// Objects on a page when the client does not say.
pub const PAGE_DEFAULT: usize = 100;
/// Characters of an `Idempotency-Key`.
pub const KEY_MAX: usize = 255;
/// Where everything but `/metrics` is.
pub const PREFIX: &str = "/api/v1";

/// What handlers work with. Clones share it.
#[derive(Clone)]
pub struct Api(Arc<Parts>);

/// The parts of the API.
pub struct Parts {
    /// What is stored.
    pub store: Store,
    started: Timestamp,
    requests: Semaphore,
    event_clients: Arc<Semaphore>,
    /// What runs.
    pub gateway: Gateway,
    /// Requests without a valid token.
    refused: AtomicU64,
    document: String,
}

impl Api {
    /// The API of this store and the gateway that follows it.
    pub fn new(store: Store, gateway: Gateway) -> Self {
        Self(Arc::new(Parts {
            store,
            started: Timestamp::now(),
            requests: Semaphore::new(REQUESTS_MAX),
            event_clients: Arc::new(Semaphore::new(EVENT_CLIENTS_MAX)),
            gateway,
            refused: AtomicU64::new(0),
            document: openapi::document(&endpoints()),
        }))
    }

    /// Everything that can be asked, as a service.
    pub fn router(&self) -> Router {
        let mut router = Router::new();
        for endpoint in endpoints() {
            let path = format!("{PREFIX}{}", endpoint.path);
            router = router.route(&path, caller::guarded(self, endpoint));
        }
        router
            .route("/metrics", caller::guarded(self, metrics::endpoint()))
            .fallback(problem::nothing_here)
            .method_not_allowed_fallback(problem::wrong_method)
            .layer(axum::middleware::from_fn_with_state(self.clone(), caller::admit))
            .layer(DefaultBodyLimit::disable())
            .with_state(self.clone())
    }
}

impl std::ops::Deref for Api {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The table of everything that can be asked.
fn endpoints() -> Vec<Endpoint> {
    [
        health::endpoints(),
        trunks::endpoints(),
        trunk_test::endpoints(),
        greeting::endpoints(),
        groups::endpoints(),
        routes::endpoints(),
        route_test::endpoints(),
        deleted::endpoints(),
        calls::endpoints(),
        workers::endpoints(),
        cdrs::endpoints(),
        unknown::endpoints(),
        events::endpoints(),
        metrics::endpoints(),
        presets::endpoints(),
        tokens::endpoints(),
        audit::endpoints(),
        backup::endpoints(),
        keys::endpoints(),
        openapi::endpoints(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
