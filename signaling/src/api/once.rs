//! `Idempotency-Key`: a request that is sent twice is carried out once.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::caller::Caller;
use super::problem::Problem;
use super::{KEY_MAX, endpoint::Parameter};
use crate::store::Once;

/// The key of a request, if it has one.
#[derive(Clone, Debug)]
pub struct Key(Option<String>);

impl<S: Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(HEADER) else { return Ok(Self(None)) };
        let key = value.to_str().unwrap_or_default();
        let visible = key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if key.is_empty() || key.len() > KEY_MAX || !visible {
            let remedy = format!("send 1 to {KEY_MAX} visible ASCII characters");
            return Err(Problem::malformed("the Idempotency-Key is no key", remedy));
        }
        Ok(Self(Some(key.to_owned())))
    }
}

impl Key {
    /// The identity of the caller's request.
    pub fn once(self, caller: &Caller, fingerprint: [u8; 32]) -> Option<Once> {
        let key = self.0?;
        Some(Once { token: caller.token.id, key, fingerprint })
    }
}

const HEADER: &str = "idempotency-key";

/// As the document names it.
pub const PARAMETER: Parameter = Parameter::header(
    "Idempotency-Key",
    false,
    "A request repeated with the same key within 24 h gets its first answer",
);
