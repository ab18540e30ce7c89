//! `/openapi.json`: the table of endpoints as OpenAPI 3.1.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response as Answer};
use utoipa::openapi::path::{
    OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::ComponentsBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, HttpMethod, InfoBuilder, OpenApiBuilder, Ref, Required, ResponseBuilder,
    ServerBuilder,
};

use super::endpoint::{JSON, Parameter};
use super::fields::Shape;
use super::problem::CONTENT_TYPE;
use super::{Api, Endpoint, PREFIX, schemas};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(HttpMethod::Get, "/openapi.json", None, "Document", show)
            .about("This document; needs no token"),
    ]
}

async fn show(State(api): State<Api>) -> Answer {
    ([(header::CONTENT_TYPE, JSON)], api.document.clone()).into_response()
}

/// The document.
pub fn document(endpoints: &[Endpoint]) -> String {
    let mut items: BTreeMap<&str, PathItem> = BTreeMap::new();
    for endpoint in endpoints {
        let item = PathItem::new(endpoint.method.clone(), operation(endpoint));
        match items.get_mut(endpoint.path) {
            Some(known) => known.merge_operations(item),
            None => {
                items.insert(endpoint.path, item);
            }
        }
    }
    let paths =
        items.into_iter().fold(PathsBuilder::new(), |all, (path, item)| all.path(path, item));
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("trunkline tokens add NAME --role ROLE"));
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas::all())
        .security_scheme("token", SecurityScheme::Http(token.build()));
    let info = InfoBuilder::new().title("Trunkline").version(env!("CARGO_PKG_VERSION"));
    let document = OpenApiBuilder::new()
        .info(info)
        .servers(Some([ServerBuilder::new().url(PREFIX).build()]))
        .paths(paths)
        .components(Some(components.build()))
        .build();
    document.to_json().unwrap_or_default()
}

fn operation(endpoint: &Endpoint) -> OperationBuilder {
    let tag = endpoint.path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let mut operation = OperationBuilder::new()
        .operation_id(Some(identity(endpoint)))
        .tag(tag)
        .summary(Some(endpoint.summary));
    for name in endpoint.path.split('/').filter_map(|part| part.strip_prefix('{')) {
        let name = name.trim_end_matches('}');
        let shape = match name {
            "id" => Shape::Number(1, u32::MAX.into()),
            _ => Shape::Text(64),
        };
        let part = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(schemas::shape(shape)));
        operation = operation.parameter(part);
    }
    for part in &endpoint.parameters {
        operation = operation.parameter(parameter(part));
    }
    if let Some((content, schema)) = endpoint.body {
        let schema = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
        let body =
            RequestBodyBuilder::new().content(content, schema).required(Some(Required::True));
        operation = operation.request_body(Some(body.build()));
    }
    let (status, content, schema) = endpoint.answer;
    let mut good = ResponseBuilder::new().description(endpoint.summary);
    if !content.is_empty() {
        let schema = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
        good = good.content(content, schema);
    }
    operation = operation.response(status.to_string(), good);
    let mut problems = endpoint.problems.clone();
    problems.push(503);
    if let Some(role) = endpoint.role {
        // The role stands where OpenAPI 3.1 has the scopes of a bearer token.
        operation = operation.security(SecurityRequirement::new("token", [role.name()]));
        problems.extend([401, 403]);
    }
    problems.sort_unstable();
    problems.dedup();
    for status in problems {
        let schema = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let problem = ResponseBuilder::new().description("Problem").content(CONTENT_TYPE, schema);
        operation = operation.response(status.to_string(), problem);
    }
    operation
}

fn parameter(part: &Parameter) -> ParameterBuilder {
    let place = if part.is_header { ParameterIn::Header } else { ParameterIn::Query };
    let required = if part.required { Required::True } else { Required::False };
    ParameterBuilder::new()
        .name(part.name)
        .parameter_in(place)
        .required(required)
        .description(Some(part.summary))
        .schema(Some(schemas::shape(part.shape)))
}

fn identity(endpoint: &Endpoint) -> String {
    let verb = match endpoint.method {
        HttpMethod::Post => "post",
        HttpMethod::Put => "put",
        HttpMethod::Patch => "patch",
        HttpMethod::Delete => "delete",
        _ => "get",
    };
    let path = endpoint.path.replace(['/', '-', '.'], "_").replace(['{', '}'], "");
    format!("{verb}{path}")
}
