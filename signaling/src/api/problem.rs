//! Answers to what cannot be done: RFC 9457, with the rule and the remedy.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::store::{Finding, Reference, Refusal, StoreError};

/// A problem, ready to be answered.
#[derive(Debug)]
pub struct Problem(Box<Details>);

#[derive(Debug)]
struct Details {
    status: StatusCode,
    /// The last part of its type.
    slug: &'static str,
    title: &'static str,
    detail: String,
    remedy: String,
    findings: Vec<Finding>,
    references: Vec<Reference>,
    retry_after: Option<u64>,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(
        status: StatusCode,
        slug: &'static str,
        title: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self(Box::new(Details {
            status,
            slug,
            title,
            detail: detail.into(),
            remedy: remedy.into(),
            findings: Vec::new(),
            references: Vec::new(),
            retry_after: None,
        }))
    }

    /// What was sent cannot be read.
    pub fn malformed(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request is malformed", detail, remedy)
    }

    /// There is no such thing.
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        let detail = format!("there is no {what}");
        let remedy = "look it up in the list of its collection";
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail, remedy)
    }

    /// Too much at once.
    pub fn busy(detail: impl Into<String>, seconds: u64) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let mut problem = Self::new(status, "busy", "Too much at once", detail, "try again later");
        problem.0.retry_after = Some(seconds);
        problem
    }

    /// After how many seconds to try again.
    pub fn after(mut self, seconds: u64) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// Findings about what was sent.
    pub fn invalid(findings: Vec<Finding>) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let texts: Vec<String> = findings.iter().map(Finding::to_string).collect();
        let title = "The document breaks a rule";
        let remedy = findings.first().map_or("", |finding| &finding.remedy).to_owned();
        let mut problem = Self::new(status, "invalid", title, texts.join("\n"), remedy);
        problem.0.findings = findings;
        problem
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::NotFound { what } => Self::not_found(what),
            Refusal::Invalid(findings) => Self::invalid(findings),
            Refusal::Changed { .. } => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "changed",
                "It was changed since you read it",
                text,
                "read it again, and send your change with its new ETag",
            ),
            Refusal::Referenced(references) => {
                let title = "It is in use";
                let remedy = "change or delete what names it first";
                let mut problem = Self::new(StatusCode::CONFLICT, "in-use", title, text, remedy);
                problem.0.references = references;
                problem
            }
            Refusal::Conflict(cause, remedy) => Self::new(
                StatusCode::CONFLICT,
                "conflict",
                "The state of things forbids it",
                cause,
                remedy,
            ),
            Refusal::KeyReused => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "key-reused",
                "The Idempotency-Key was used before",
                text,
                "draw a new key for each new request",
            ),
            Refusal::Busy => Self::busy(text, 1),
            Refusal::Store(StoreError::Conflict(_)) => Self::busy(text, 1),
            Refusal::Store(error) => {
                tracing::error!(%error, "a request failed in the store");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "store",
                    "The store failed",
                    "the change was not carried out",
                    "see the gateway's log",
                )
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let details = self.0;
        let mut body = Map::new();
        body.insert("type".into(), json!(format!("urn:trunkline:problem:{}", details.slug)));
        body.insert("title".into(), json!(details.title));
        body.insert("status".into(), json!(details.status.as_u16()));
        body.insert("detail".into(), json!(details.detail));
        body.insert("remedy".into(), json!(details.remedy));
        if !details.findings.is_empty() {
            body.insert("findings".into(), json!(details.findings));
        }
        if !details.references.is_empty() {
            body.insert("references".into(), json!(details.references));
        }
        let mut response = Response::new(Body::from(Value::Object(body).to_string()));
        *response.status_mut() = details.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if details.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = details.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// For paths that do not exist.
pub async fn nothing_here() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not-found",
        "Not found",
        "nothing is at this path",
        "see /api/v1/openapi.json",
    )
}

/// For methods that a path does not have.
pub async fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method",
        "Not with this method",
        "this path does not take this method",
        "see /api/v1/openapi.json",
    )
}

/// Of every problem.
pub const CONTENT_TYPE: &str = "application/problem+json";
