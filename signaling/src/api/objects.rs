//! What trunks, groups and routes have in common: list, show, add, replace, patch, delete, undo.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::SignedDuration;
use serde_json::{Value, json};
use utoipa::openapi::HttpMethod;

use super::body::Fields;
use super::caller::Caller;
use super::endpoint::{JSON, Parameter};
use super::etag::{IfMatch, is_known, tag};
use super::once::{self, Key};
use super::page::{self, Wanted};
use super::params::{Id, Params};
use super::problem::Problem;
use super::{Api, Endpoint, PREFIX};
use crate::store::{Catalog, Kind, Object, Role, Sent, UNDO_HOURS};

/// What a kind adds to the document of an object when it is shown.
pub type Garnish = fn(&Catalog, &Object, &mut crate::store::Document);

/// Paths and schemas of a kind.
pub struct Resource {
    /// The kind.
    pub kind: Kind,
    /// `/trunks`
    pub list: &'static str,
    /// `/trunks/{id}`
    pub item: &'static str,
    /// `/trunks/{id}/undelete`
    pub undelete: &'static str,
    /// Schemas: the object, what is sent, a patch, a page.
    pub schemas: [&'static str; 4],
    /// What is added when it is shown.
    pub garnish: Garnish,
}

/// The endpoints of a kind.
pub fn endpoints(resource: Resource) -> Vec<Endpoint> {
    let mut all = collection(&resource);
    all.extend(changes(&resource));
    all.extend(endings(&resource));
    all
}

const READ: Option<Role> = Some(Role::ReadOnly);
const WRITE: Option<Role> = Some(Role::Operator);

/// List, add, show.
fn collection(resource: &Resource) -> Vec<Endpoint> {
    let Resource { kind, list, item, garnish, .. } = *resource;
    let [object, input, _, page] = resource.schemas;
    vec![
        Endpoint::new(HttpMethod::Get, list, READ, page, {
            move |State(api): State<Api>, Params(wanted): Params<Wanted>| async move {
                index(&api, kind, list, garnish, &wanted)
            }
        })
        .about("List, in pages")
        .takes(&page::PARAMETERS),
        Endpoint::new(HttpMethod::Post, list, WRITE, object, {
            move |State(api): State<Api>, caller: Caller, key: Key, fields: Fields| async move {
                add(api, kind, garnish, caller, key, fields).await
            }
        })
        .about("Add")
        .takes(&[once::PARAMETER])
        .body(input)
        .answers(201, JSON, object)
        .problem(409),
        Endpoint::new(HttpMethod::Get, item, READ, object, {
            move |State(api): State<Api>, Id(id): Id, headers: HeaderMap| async move {
                show(&api, kind, garnish, id, &headers)
            }
        })
        .about("Show"),
    ]
}

/// Replace, patch.
fn changes(resource: &Resource) -> Vec<Endpoint> {
    let Resource { kind, item, garnish, .. } = *resource;
    let [object, input, patch, _] = resource.schemas;
    vec![
        Endpoint::new(HttpMethod::Put, item, WRITE, object, {
            move |State(api): State<Api>,
                  caller: Caller,
                  Id(id): Id,
                  matched: IfMatch,
                  fields: Fields| async move {
                let sent = Sent::Whole(fields.document);
                change(api, kind, garnish, caller, id, matched, sent).await
            }
        })
        .about("Replace; secrets that are not sent stay as they are")
        .takes(&[IF_MATCH])
        .body(input)
        .problem(412)
        .problem(428),
        Endpoint::new(HttpMethod::Patch, item, WRITE, object, {
            move |State(api): State<Api>,
                  caller: Caller,
                  Id(id): Id,
                  matched: IfMatch,
                  fields: Fields| async move {
                let sent = Sent::Patch(fields.document);
                change(api, kind, garnish, caller, id, matched, sent).await
            }
        })
        .about("Change some fields; null removes one (RFC 7396)")
        .takes(&[IF_MATCH])
        .body(patch)
        .problem(412)
        .problem(428),
    ]
}

/// Delete, bring back.
fn endings(resource: &Resource) -> Vec<Endpoint> {
    let Resource { kind, item, undelete, garnish, .. } = *resource;
    let [object, ..] = resource.schemas;
    vec![
        Endpoint::new(HttpMethod::Delete, item, WRITE, "Deleted", {
            move |State(api): State<Api>, caller: Caller, Id(id): Id, matched: IfMatch| async move {
                remove(api, kind, caller, id, matched).await
            }
        })
        .about("Delete: no new calls, calls under way end by themselves; undo within 24 h")
        .takes(&[IF_MATCH])
        .problem(409)
        .problem(412)
        .problem(428),
        Endpoint::new(HttpMethod::Post, undelete, WRITE, object, {
            move |State(api): State<Api>, caller: Caller, Id(id): Id| async move {
                let actor = caller.actor();
                let saved = api.store.ask(move |keeper| keeper.undelete(&actor, kind, id)).await?;
                Ok::<_, Problem>(shown(&api, garnish, &saved.object, StatusCode::OK))
            }
        })
        .about("Bring back what was deleted less than 24 h ago")
        .problem(409)
        .problem(422),
    ]
}

fn index(
    api: &Api,
    kind: Kind,
    path: &str,
    garnish: Garnish,
    wanted: &Wanted,
) -> Result<Response, Problem> {
    let limit = page::limit(wanted.limit)?;
    let catalog = api.store.catalog();
    let search = wanted.q.as_deref().unwrap_or_default().to_lowercase();
    let fits = |object: &Object| {
        wanted.name.as_ref().is_none_or(|name| *name == object.name)
            && (search.is_empty()
                || object.name.to_lowercase().contains(&search)
                || object.text("host").to_lowercase().contains(&search))
    };
    let mut found: Vec<&Arc<Object>> = catalog.all(kind).filter(|object| fits(object)).collect();
    if kind == Kind::Route {
        found.sort_by_key(|object| place(object));
    }
    let total = found.len();
    if let Some(after) = &wanted.after {
        let after = read_place(after)?;
        found.retain(|object| place(object) > after);
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| write_place(place(last)));
    let items = found.into_iter().map(|object| document(&catalog, garnish, object));
    Ok(page::answer(&format!("{PREFIX}{path}"), items.collect(), total, next))
}

/// Where an object stands in its list: routes in the order of their evaluation, others by id.
fn place(object: &Object) -> [u64; 2] {
    if object.kind != Kind::Route {
        return [0, u64::from(object.id)];
    }
    let id = u64::from(object.id);
    let position = object.document.get("position").and_then(Value::as_u64).unwrap_or(id);
    [position, id]
}

fn write_place(place: [u64; 2]) -> String {
    place.map(|part| part.to_string()).join("-")
}

fn read_place(text: &str) -> Result<[u64; 2], Problem> {
    let parts: Option<Vec<u64>> = text.split('-').map(|part| part.parse().ok()).collect();
    parts.and_then(|parts| parts.try_into().ok()).ok_or_else(|| {
        Problem::malformed("after is no place in the list", "send \"next\" of the page before")
    })
}

async fn add(
    api: Api,
    kind: Kind,
    garnish: Garnish,
    caller: Caller,
    key: Key,
    fields: Fields,
) -> Result<Response, Problem> {
    let Fields { document, fingerprint } = fields;
    let (actor, once) = (caller.actor(), key.once(&caller, fingerprint));
    let saved =
        api.store.ask(move |keeper| keeper.create(&actor, kind, document, once.as_ref())).await?;
    let mut response = shown(&api, garnish, &saved.object, StatusCode::CREATED);
    let location = format!("{PREFIX}/{}/{}", kind.path(), saved.object.id);
    if let Ok(location) = location.parse() {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

fn show(
    api: &Api,
    kind: Kind,
    garnish: Garnish,
    id: u32,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let catalog = api.store.catalog();
    let object = catalog.get(kind, id);
    let object = object.ok_or_else(|| Problem::not_found(format!("{} {id}", kind.name())))?;
    if is_known(headers, object.version) {
        return Ok(
            (StatusCode::NOT_MODIFIED, [(header::ETAG, tag(object.version))]).into_response()
        );
    }
    Ok(shown(api, garnish, object, StatusCode::OK))
}

async fn change(
    api: Api,
    kind: Kind,
    garnish: Garnish,
    caller: Caller,
    id: u32,
    IfMatch(expected): IfMatch,
    sent: Sent,
) -> Result<Response, Problem> {
    let actor = caller.actor();
    let saved =
        api.store.ask(move |keeper| keeper.update(&actor, kind, id, expected, sent)).await?;
    Ok(shown(&api, garnish, &saved.object, StatusCode::OK))
}

async fn remove(
    api: Api,
    kind: Kind,
    caller: Caller,
    id: u32,
    IfMatch(expected): IfMatch,
) -> Result<Response, Problem> {
    let actor = caller.actor();
    let deleted = api.store.ask(move |keeper| keeper.delete(&actor, kind, id, expected)).await?;
    Ok(axum::Json(deletion(&deleted)).into_response())
}

/// A deleted object as it is shown.
pub fn deletion(deleted: &crate::store::Deleted) -> Value {
    let until = deleted.at.checked_add(SignedDuration::from_hours(UNDO_HOURS));
    let object = &deleted.object;
    json!({
        "kind": object.kind.name(),
        "id": object.id,
        "name": object.name,
        "deleted": deleted.at.to_string(),
        "undo_until": until.map(|at| at.to_string()).ok(),
        "undo": format!("{PREFIX}/{}/{}/undelete", object.kind.path(), object.id),
    })
}

fn document(catalog: &Catalog, garnish: Garnish, object: &Object) -> Value {
    let mut document = object.shown();
    garnish(catalog, object, &mut document);
    Value::Object(document)
}

fn shown(api: &Api, garnish: Garnish, object: &Object, status: StatusCode) -> Response {
    let document = document(&api.store.catalog(), garnish, object);
    (status, [(header::ETAG, tag(object.version))], axum::Json(document)).into_response()
}

const IF_MATCH: Parameter =
    Parameter::header("If-Match", true, "The ETag of the version that you saw, or *");
