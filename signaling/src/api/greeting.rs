//! `/trunks/{id}/greeting`: the WAV file that the callers of a trunk hear first.

use std::sync::Arc;

use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Value, json};
use utoipa::openapi::HttpMethod;

use super::body::{essence, media_type, whole};
use super::caller::Caller;
use super::params::Id;
use super::problem::Problem;
use super::{Api, Endpoint};
use crate::store::{Finding, Kind, Object, Role};
use crate::trunk::tones::{GREETING_BYTES_MAX, Recording};

/// Content type of a greeting.
pub const WAV: &str = "audio/wav";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let (read, write) = (Some(Role::ReadOnly), Some(Role::Operator));
    let mut put = Endpoint::new(HttpMethod::Put, PATH, write, "Greeting", put)
        .about("Upload the greeting of a trunk: WAV, 16-bit PCM, mono, 8 or 16 kHz, at most 15 s")
        .body("Wav")
        .problem(409);
    put.body = Some((WAV, "Wav"));
    vec![
        put,
        Endpoint::new(HttpMethod::Get, PATH, read, "Wav", get)
            .about("The greeting that was uploaded")
            .answers(200, WAV, "Wav"),
        Endpoint::new(HttpMethod::Delete, PATH, write, "", remove)
            .about("Remove the greeting that was uploaded")
            .answers(204, "", ""),
    ]
}

/// A body that says that it is a WAV file.
struct File(Bytes);

impl<S: Send + Sync> FromRequest<S> for File {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let essence = essence(&request);
        if !["audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"].contains(&essence.as_str())
        {
            return Err(media_type(&essence, "send Content-Type: audio/wav"));
        }
        Ok(Self(whole(request, GREETING_BYTES_MAX).await?))
    }
}

async fn put(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id,
    File(wav): File,
) -> Result<axum::Json<Value>, Problem> {
    stored(&api, id)?;
    // Tens of milliseconds of arithmetic: not on the thread that answers everybody.
    let read = tokio::task::spawn_blocking(move || Recording::of_wav(&wav)).await;
    let recording =
        read.map_err(|_| Problem::busy("the file was not read", 1))?.map_err(|fault| {
            let text = fault.to_string();
            let (rule, remedy) = text.split_once("; ").unwrap_or((&text, "send another file"));
            let (field, rule, remedy) = ("greeting".to_owned(), rule.to_owned(), remedy.to_owned());
            Problem::invalid(vec![Finding { field, value: Value::Null, rule, remedy }])
        })?;
    let actor = caller.actor();
    let job =
        move |keeper: &mut crate::store::Keeper| keeper.set_greeting(&actor, id, Some(recording));
    let object = api.store.ask(job).await?;
    Ok(axum::Json(told(&object)))
}

async fn get(State(api): State<Api>, Id(id): Id) -> Result<Response, Problem> {
    let object = stored(&api, id)?;
    let greeting = object.greeting.as_ref();
    let greeting = greeting.ok_or_else(|| Problem::not_found(format!("greeting of trunk {id}")))?;
    Ok(([(header::CONTENT_TYPE, WAV)], greeting.wav.to_vec()).into_response())
}

async fn remove(State(api): State<Api>, caller: Caller, Id(id): Id) -> Result<StatusCode, Problem> {
    let actor = caller.actor();
    api.store.ask(move |keeper| keeper.set_greeting(&actor, id, None)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn stored(api: &Api, id: u32) -> Result<Arc<Object>, Problem> {
    let catalog = api.store.catalog();
    let object = catalog.get(Kind::Trunk, id).map(Arc::clone);
    object.ok_or_else(|| Problem::not_found(format!("trunk {id}")))
}

/// What was taken, and whether anybody will hear it.
fn told(object: &Object) -> Value {
    let (bytes, milliseconds) =
        object.greeting.as_ref().map_or((0, 0), |greeting| (greeting.wav.len(), greeting.ms()));
    let is_said = object.text("audio_tones").to_ascii_uppercase().starts_with("ON ");
    let note = match is_said {
        true => "",
        false => "nobody hears it before audio_tones is ON EARLY MEDIA or ON ANSWERED CALLS",
    };
    json!({ "trunk": object.id, "bytes": bytes, "milliseconds": milliseconds, "note": note })
}

const PATH: &str = "/trunks/{id}/greeting";
