//! Who asks: the request limit, the token, its role.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use jiff::Timestamp;

use super::problem::Problem;
use super::{Api, Endpoint, REQUESTS_MAX};
use crate::store::{Actor, Role, Token};

/// Where a request comes from; `serve` puts it into each request.
#[derive(Clone, Copy, Debug)]
pub struct Source(pub IpAddr);

/// Whoever was let in. A handler that asks for it is one that needs a token.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its token.
    pub token: Arc<Token>,
    /// Its address; empty when unknown.
    pub source: String,
}

impl Caller {
    /// As the audit log names it.
    pub fn actor(&self) -> Actor {
        Actor { name: self.token.name.clone(), source: self.source.clone() }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(unauthorised)
    }
}

/// Lets [`REQUESTS_MAX`] requests in at once.
pub async fn admit(State(api): State<Api>, request: Request, next: Next) -> Response {
    let Ok(_place) = api.requests.try_acquire() else {
        return Problem::busy(format!("{REQUESTS_MAX} requests are under way"), 1).into_response();
    };
    // Queries and bodies name people; the path does not.
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    tracing::debug!(%method, path, status = response.status().as_u16(), "API request");
    response
}

/// The endpoint's handler behind the check of its role.
pub fn guarded(api: &Api, endpoint: Endpoint) -> MethodRouter<Api> {
    let Some(role) = endpoint.role else { return endpoint.handler };
    let api = api.clone();
    endpoint.handler.layer(from_fn(move |request: Request, next: Next| {
        let api = api.clone();
        async move {
            match identify(&api, request, role) {
                Ok(request) => next.run(request).await,
                Err(problem) => problem.into_response(),
            }
        }
    }))
}

fn identify(api: &Api, mut request: Request, role: Role) -> Result<Request, Problem> {
    let source = request.extensions().get::<Source>().map(|source| source.0.to_string());
    let source = source.unwrap_or_default();
    let bearer = bearer(&request);
    let catalog = api.store.catalog();
    let token = bearer.and_then(|secret| catalog.token(secret, Timestamp::now()));
    let Some(token) = token else {
        let count = api.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            tracing::warn!(%source, count, "API request without a valid token");
        }
        return Err(unauthorised());
    };
    if token.role < role {
        let (has, needs) = (token.role.name(), role.name());
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "Your token does not allow it",
            format!("the token \"{}\" has role {has}; this needs {needs}", token.name),
            format!("use a token of role {needs}"),
        ));
    }
    let caller = Caller { token: Arc::clone(token), source };
    request.extensions_mut().insert(caller);
    Ok(request)
}

/// The token of `Authorization: Bearer ...` (RFC 6750 §2.1).
fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unauthorised() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthorised",
        "No valid token",
        "the request carries no valid token",
        "send Authorization: Bearer TOKEN; trunkline tokens add makes one",
    )
}
