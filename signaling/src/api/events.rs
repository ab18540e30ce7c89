//! `/events`: what happens, as server-sent events. A client that is too slow is told how much it
//! missed; one whose token ends is let go.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use utoipa::openapi::HttpMethod;

use super::caller::Caller;
use super::endpoint::Parameter;
use super::fields::Shape;
use super::params::Params;
use super::problem::Problem;
use super::{Api, EVENT_CLIENTS_MAX, Endpoint};
use crate::feed::{Ear, News};
use crate::store::Role;

/// Content type of server-sent events.
pub const EVENTS: &str = "text/event-stream";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(HttpMethod::Get, "/events", Some(Role::ReadOnly), "Events", listen)
            .about("What happens, as server-sent events")
            .takes(&[Parameter::query(
                "kinds",
                Shape::Text(128),
                "Only these: call, status, unknown_caller, nearly_full, rewritten",
            )])
            .answers(200, EVENTS, "Events"),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    kinds: Option<String>,
}

async fn listen(
    State(api): State<Api>,
    caller: Caller,
    Params(wanted): Params<Wanted>,
) -> Result<Response, Problem> {
    let Ok(place) = Arc::clone(&api.event_clients).try_acquire_owned() else {
        return Err(Problem::busy(format!("{EVENT_CLIENTS_MAX} clients listen already"), 10));
    };
    let kinds = wanted.kinds.map(|kinds| kinds.split(',').map(|k| k.trim().to_owned()).collect());
    let news = api.gateway.feed.listen();
    let (frames, queue) = mpsc::channel(FRAMES_MAX);
    tokio::spawn(follow(api.clone(), caller, kinds, news, frames, place));
    Ok(answer(queue))
}

/// A response whose body is what comes through `queue`.
pub fn answer(queue: mpsc::Receiver<Bytes>) -> Response {
    let headers = [(header::CONTENT_TYPE, EVENTS), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(Frames(queue))).into_response()
}

/// One event.
pub fn frame(event: &str, data: &Value) -> Bytes {
    Bytes::from(format!("event: {event}\ndata: {data}\n\n"))
}

async fn follow(
    api: Api,
    caller: Caller,
    kinds: Option<Vec<String>>,
    mut news: Ear,
    frames: mpsc::Sender<Bytes>,
    _place: OwnedSemaphorePermit,
) {
    let mut pulse = tokio::time::interval(PULSE);
    let mut next = Some(Bytes::from_static(b"retry: 3000\n\n"));
    loop {
        if let Some(frame) = next.take()
            && frames.send(frame).await.is_err()
        {
            return;
        }
        next = tokio::select! {
            () = frames.closed() => return,
            _ = pulse.tick() => {
                let catalog = api.store.catalog();
                let token = catalog.tokens.get(&caller.token.id);
                let ended = |at: Timestamp| at <= Timestamp::now();
                if token.is_none_or(|token| token.expires.is_some_and(ended)) {
                    return;
                }
                Some(Bytes::from_static(b": alive\n\n"))
            }
            heard = news.recv() => match heard {
                Ok(news) => told(&news, kinds.as_deref()),
                Err(RecvError::Lagged(count)) => {
                    Some(frame("lost", &serde_json::json!({ "count": count })))
                }
                Err(RecvError::Closed) => return,
            },
        };
    }
}

fn told(news: &News, kinds: Option<&[String]>) -> Option<Bytes> {
    let data = serde_json::to_value(news).ok()?;
    let kind = data.get("news").and_then(Value::as_str)?.to_owned();
    kinds.is_none_or(|kinds| kinds.contains(&kind)).then(|| frame(&kind, &data))
}

/// A queue as a body.
struct Frames(mpsc::Receiver<Bytes>);

impl futures_core::Stream for Frames {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
    }
}

/// Events that wait for a slow client before the feed's own buffer takes over.
const FRAMES_MAX: usize = 64;
/// A comment this often keeps proxies from closing a silent connection.
const PULSE: Duration = Duration::from_secs(15);
