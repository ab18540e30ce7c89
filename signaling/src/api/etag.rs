//! Versions as entity tags: who changes an object says which version he saw (RFC 9110 §13.1).

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::problem::Problem;
use crate::store::Expected;

/// The tag of a version.
pub fn tag(version: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}

/// `If-Match` of a change: required, so that nobody overwrites what he has not seen.
#[derive(Clone, Copy, Debug)]
pub struct IfMatch(pub Expected);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else {
            return Err(Problem::new(
                StatusCode::PRECONDITION_REQUIRED,
                "if-match",
                "If-Match is missing",
                "a change says which version it is made to",
                "send If-Match with the ETag of the object, or * for whichever there is",
            ));
        };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self(Expected::Any));
        }
        let version = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
        match version.and_then(|version| version.parse().ok()) {
            Some(version) => Ok(Self(Expected::Version(version))),
            // Weak tags and those that were never ours match nothing (RFC 9110 §13.1.1).
            None => Ok(Self(Expected::Version(0))),
        }
    }
}

/// Whether the client has this version already.
pub fn is_known(headers: &HeaderMap, version: u64) -> bool {
    let value = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let wanted = format!("\"{version}\"");
    value.is_some_and(|value| {
        value.split(',').any(|tag| tag.trim().trim_start_matches("W/") == wanted)
    })
}
