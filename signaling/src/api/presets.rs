//! `/presets`: what a provider or PBX needs, as data. A preset changes nothing by itself: it is
//! shown, laid over a document in a preview, and what results is saved like any other.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::openapi::HttpMethod;
use utoipa::openapi::schema::ObjectBuilder;

use super::body::Fields;
use super::problem::Problem;
use super::{Api, Endpoint, PREFIX, page};
use crate::store::{Document, Finding, Role};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let read = Some(Role::ReadOnly);
    vec![
        Endpoint::new(HttpMethod::Get, "/presets", read, "PresetPage", list)
            .about("What each preset sets, and what is left to fill in"),
        Endpoint::new(HttpMethod::Post, "/presets/preview", read, "Preview", preview)
            .about("A document with a preset laid over it; nothing is saved")
            .body("PreviewInput"),
    ]
}

/// One preset.
#[derive(Clone, PartialEq, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// How it is asked for.
    pub name: String,
    /// For people.
    pub title: String,
    /// What it is for, and what the other side has to be told.
    pub notes: String,
    /// Fields that the operator fills in.
    pub ask: Vec<String>,
    /// Fields that it sets.
    pub sets: Document,
}

/// Every preset, in the order of the file.
pub fn all() -> Vec<Preset> {
    #[derive(Deserialize)]
    struct File {
        preset: Vec<Preset>,
    }
    // A test reads it; a mistake in it is one of ours.
    toml::from_str::<File>(include_str!("presets.toml")).map(|file| file.preset).unwrap_or_default()
}

impl Preset {
    /// `document` with what the preset sets, and the fields that it changes.
    pub fn over(&self, mut document: Document) -> (Document, Vec<String>) {
        let mut changed = Vec::new();
        for (field, value) in &self.sets {
            if document.insert(field.clone(), value.clone()).as_ref() != Some(value) {
                changed.push(field.clone());
            }
        }
        (document, changed)
    }

    fn shown(&self) -> Value {
        json!({
            "name": self.name,
            "title": self.title,
            "notes": self.notes,
            "ask": self.ask,
            "sets": self.sets,
        })
    }
}

/// The schema of a request for a preview.
pub fn input() -> ObjectBuilder {
    let names = all().into_iter().map(|preset| preset.name);
    let preset = ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .enum_values(Some(names));
    ObjectBuilder::new()
        .property("preset", preset)
        .property("document", utoipa::openapi::Ref::from_schema_name("TrunkPatch"))
        .required("preset")
}

async fn list(State(_): State<Api>) -> Response {
    let items: Vec<Value> = all().iter().map(Preset::shown).collect();
    let total = items.len();
    page::answer(&format!("{PREFIX}/presets"), items, total, None)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    preset: String,
    #[serde(default)]
    document: Document,
}

async fn preview(fields: Fields) -> Result<axum::Json<Value>, Problem> {
    let Asked { preset, document } = fields.into()?;
    let known = all();
    let Some(found) = known.iter().find(|known| known.name.eq_ignore_ascii_case(&preset)) else {
        let names: Vec<&str> = known.iter().map(|preset| preset.name.as_str()).collect();
        return Err(Problem::invalid(vec![Finding {
            field: String::from("preset"),
            value: json!(preset),
            rule: String::from("there is no such preset"),
            remedy: format!("use {}", names.join(", ")),
        }]));
    };
    let (document, changed) = found.over(document);
    Ok(axum::Json(json!({ "preset": found.shown(), "document": document, "changed": changed })))
}
