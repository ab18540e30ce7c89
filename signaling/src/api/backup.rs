//! `/backup`: a copy of the store while it works, and taking one back.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Limited};
use tokio::io::AsyncWriteExt;
use utoipa::openapi::HttpMethod;

use super::body::too_large;
use super::caller::Caller;
use super::problem::Problem;
use super::{Api, Endpoint, RESTORE_BYTES_MAX};
use crate::store::{Passing, Role};

/// Content type of a backup.
pub const SQLITE: &str = "application/vnd.sqlite3";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let admin = Some(Role::Admin);
    let mut restore = Endpoint::new(HttpMethod::Put, "/backup", admin, "", restore)
        .about("Put a backup in place of everything; calls go on")
        .answers(204, "", "")
        .problem(400)
        .problem(409)
        .problem(413);
    restore.body = Some((SQLITE, "Backup"));
    vec![
        Endpoint::new(HttpMethod::Post, "/backup", admin, "Backup", take)
            .about("A copy of the store as of now; secrets are sealed, the key file is apart")
            .answers(200, SQLITE, "Backup"),
        restore,
    ]
}

async fn take(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    let actor = caller.actor();
    let copy = api.store.ask(move |keeper| keeper.backup(&actor)).await?;
    let bytes = tokio::fs::read(copy.path()).await.map_err(|error| disk(&error))?;
    Ok(([(header::CONTENT_TYPE, SQLITE)], Body::from(bytes)).into_response())
}

async fn restore(
    State(api): State<Api>,
    caller: Caller,
    request: Request,
) -> Result<StatusCode, Problem> {
    let place = api.store.ask(|keeper| keeper.place_for_copy()).await?;
    receive(request.into_body(), &place).await?;
    let actor = caller.actor();
    api.store.ask(move |keeper| keeper.restore(&actor, &place)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn receive(body: Body, place: &Passing) -> Result<(), Problem> {
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(place.path()).await.map_err(|error| disk(&error))?;
    let mut body = std::pin::pin!(Limited::new(body, RESTORE_BYTES_MAX));
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| match error.is::<http_body_util::LengthLimitError>() {
                true => too_large(RESTORE_BYTES_MAX),
                false => {
                    Problem::malformed(format!("the body broke off: {error}"), "send it again")
                }
            })?;
        if let Some(data) = frame.data_ref() {
            file.write_all(data).await.map_err(|error| disk(&error))?;
        }
    }
    file.flush().await.map_err(|error| disk(&error))
}

fn disk(error: &std::io::Error) -> Problem {
    tracing::error!(%error, "a backup could not be read or written");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "disk",
        "The disk failed",
        "the copy could not be read or written",
        "see the gateway's log",
    )
}
