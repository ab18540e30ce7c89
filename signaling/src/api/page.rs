//! Lists in pages: the next one begins after the last item of this one, so that what is added or
//! deleted meanwhile neither repeats nor hides others.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::endpoint::Parameter;
use super::fields::Shape;
use super::problem::Problem;
use super::{PAGE_DEFAULT, PAGE_MAX};

/// How much of a list, and from where.
#[derive(Clone, Default, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Items at most.
    #[serde(default, deserialize_with = "whole")]
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub after: Option<String>,
    /// Only those whose name or host contains this.
    pub q: Option<String>,
    /// Only the one with this name.
    pub name: Option<String>,
}

/// Numbers in a query are texts.
pub fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}

/// Items at most, as asked.
///
/// # Errors
/// 400 outside 1 to [`PAGE_MAX`].
pub fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked {
        None => Ok(PAGE_DEFAULT),
        Some(limit) if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
        Some(limit) => {
            let remedy = format!("ask for 1 to {PAGE_MAX} items");
            Err(Problem::malformed(format!("limit is {limit}"), remedy))
        }
    }
}

/// The page as an answer. `next` is the place after which the next page begins.
pub fn answer(path: &str, items: Vec<Value>, total: usize, next: Option<String>) -> Response {
    let link = next.as_ref().map(|next| format!("<{path}?after={next}>; rel=\"next\""));
    let body = json!({ "items": items, "total": total, "next": next });
    let mut response = axum::Json(body).into_response();
    if let Some(link) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// The parameters of a list of objects.
pub const PARAMETERS: [Parameter; 4] = [
    LIMIT,
    Parameter::query("after", Shape::Text(64), "\"next\" of the page before"),
    Parameter::query("q", Shape::Text(128), "Only those whose name or host contains this"),
    Parameter::query("name", Shape::Text(64), "Only the one with this name"),
];

/// Items at most.
pub const LIMIT: Parameter =
    Parameter::query("limit", Shape::Number(1, PAGE_MAX as u64), "Items at most");
