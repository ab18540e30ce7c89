//! One thing that can be asked, with everything that router, guard and document need of it.

use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use utoipa::openapi::HttpMethod;

use super::Api;
use super::fields::Shape;
use crate::store::Role;

/// A row of the table of endpoints.
pub struct Endpoint {
    /// Under the prefix; `{id}` stands for a number.
    pub path: &'static str,
    /// How it is asked.
    pub method: HttpMethod,
    /// What the token has to allow; `None` when no token is needed.
    pub role: Option<Role>,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// Query parameters and headers.
    pub parameters: Vec<Parameter>,
    /// What the request carries: content type and schema.
    pub body: Option<(&'static str, &'static str)>,
    /// The good answer: status, content type, schema; an empty content type for none.
    pub answer: (u16, &'static str, &'static str),
    /// Statuses of problems besides 401, 403 and 503.
    pub problems: Vec<u16>,
    pub(super) handler: MethodRouter<Api>,
}

/// A query parameter or header.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// A header, else in the query.
    pub is_header: bool,
    /// Whether the request is refused without it.
    pub required: bool,
    /// What it may be.
    pub shape: Shape,
    /// What it is for.
    pub summary: &'static str,
}

/// JSON.
pub const JSON: &str = "application/json";

impl Endpoint {
    /// An endpoint that answers 200 with JSON of `schema`.
    pub fn new<H, T>(
        method: HttpMethod,
        path: &'static str,
        role: Option<Role>,
        schema: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Api>,
        T: 'static,
    {
        let filter = match method {
            HttpMethod::Post => MethodFilter::POST,
            HttpMethod::Put => MethodFilter::PUT,
            HttpMethod::Patch => MethodFilter::PATCH,
            HttpMethod::Delete => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        };
        Self {
            path,
            method,
            role,
            summary: "",
            parameters: Vec::new(),
            body: None,
            answer: (200, JSON, schema),
            problems: if path.contains("{id}") { vec![404] } else { Vec::new() },
            handler: on(filter, handler),
        }
    }

    /// What it does.
    pub fn about(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// The parameters it takes.
    pub fn takes(mut self, parameters: &[Parameter]) -> Self {
        self.parameters.extend_from_slice(parameters);
        self.problem(400)
    }

    /// The JSON it takes.
    pub fn body(mut self, schema: &'static str) -> Self {
        self.body = Some((JSON, schema));
        self.problems.extend([400, 413, 415, 422]);
        self
    }

    /// Another status, content type or schema of the good answer.
    pub fn answers(mut self, status: u16, content: &'static str, schema: &'static str) -> Self {
        self.answer = (status, content, schema);
        self
    }

    /// A problem that it may answer with.
    pub fn problem(mut self, status: u16) -> Self {
        self.problems.push(status);
        self
    }
}

impl Parameter {
    /// An optional query parameter.
    pub const fn query(name: &'static str, shape: Shape, summary: &'static str) -> Self {
        Self { name, is_header: false, required: false, shape, summary }
    }

    /// A header.
    pub const fn header(name: &'static str, required: bool, summary: &'static str) -> Self {
        Self { name, is_header: true, required, shape: Shape::Text(256), summary }
    }
}
