//! What a request carries, read whole within its limits.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::BODY_BYTES_MAX;
use super::problem::Problem;
use crate::store::{Document, Finding};

/// A JSON object, and the fingerprint of the request that carried it.
#[derive(Debug)]
pub struct Fields {
    /// Its fields.
    pub document: Document,
    /// SHA-256 of method, path and body.
    pub fingerprint: [u8; 32],
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let essence = essence(&request);
        if essence != "application/json" && !essence.ends_with("+json") {
            return Err(media_type(&essence, "send Content-Type: application/json"));
        }
        let mut digest = Sha256::new();
        digest.update(request.method().as_str());
        digest.update([0]);
        digest.update(request.uri().path());
        digest.update([0]);
        let bytes = whole(request, BODY_BYTES_MAX).await?;
        digest.update(&bytes);
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
            Problem::malformed(format!("the body is no JSON: {error}"), "correct it there")
        })?;
        let Value::Object(document) = value else {
            return Err(Problem::malformed("the body is no JSON object", "send {\"field\": ...}"));
        };
        Ok(Self { document, fingerprint: digest.finalize().into() })
    }
}

impl Fields {
    /// The fields as a typed request.
    ///
    /// # Errors
    /// 422 that says what does not fit.
    pub fn into<T: DeserializeOwned>(self) -> Result<T, Problem> {
        serde_json::from_value(Value::Object(self.document)).map_err(|error| {
            Problem::invalid(vec![Finding {
                field: String::new(),
                value: Value::Null,
                rule: error.to_string(),
                remedy: String::from("see /api/v1/openapi.json"),
            }])
        })
    }
}

/// The content type without its parameters, in small letters.
pub fn essence(request: &Request) -> String {
    let content = request.headers().get(header::CONTENT_TYPE);
    let content = content.and_then(|value| value.to_str().ok()).unwrap_or_default();
    content.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// 415.
pub fn media_type(essence: &str, remedy: &'static str) -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "media-type",
        "Not this content type",
        format!("the Content-Type is \"{essence}\""),
        remedy,
    )
}

/// The body of a request, of so many bytes at most.
///
/// # Errors
/// 413, 400 when it breaks off, 408 when it takes too long.
pub async fn whole(request: Request, limit: usize) -> Result<Bytes, Problem> {
    let limited = Limited::new(request.into_body(), limit);
    let read = tokio::time::timeout(BODY_PATIENCE, limited.collect()).await;
    match read {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Ok(Err(error)) => {
            Err(Problem::malformed(format!("the body broke off: {error}"), "send it again"))
        }
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "The body took too long",
            format!("it was not there after {} s", BODY_PATIENCE.as_secs()),
            "send it at once",
        )),
    }
}

/// 413.
pub fn too_large(limit: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too-large",
        "The body is too large",
        format!("it has more than {limit} bytes"),
        "send less",
    )
}

/// How long a body may take to arrive.
pub const BODY_PATIENCE: Duration = Duration::from_secs(30);
