//! What `trunks`, `groups` and `routes` have in common: the same verbs over the same API.

mod values;

use std::process::ExitCode;

use hyper::body::Bytes;
use serde_json::{Map, Value, json};
use signaling::api::fields::Field;

use crate::client::{Client, Gateway, quoted};
use crate::failure::{Failure, NOT_FOUND};
use crate::grid::Grid;

/// One kind of object.
pub struct Kind {
    /// The word for one.
    pub name: &'static str,
    /// Its path under the API's prefix.
    pub path: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
    /// Columns of its list.
    pub columns: &'static [&'static str],
}

/// The verbs that every kind has.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// List them
    List {
        /// Only those whose name or host contains this
        search: Option<String>,
    },
    /// Show one with all its fields
    Show { name: String },
    /// Add one: FIELD=VALUE for each field that is not to be its default
    Add {
        name: String,
        #[arg(value_name = "FIELD=VALUE")]
        values: Vec<String>,
    },
    /// Change fields of one; FIELD= removes it
    Set {
        name: String,
        #[arg(value_name = "FIELD=VALUE", required = true)]
        values: Vec<String>,
    },
    /// Delete one that nothing names; calls under way go on
    Delete { name: String },
    /// Bring a deleted one back within 24 h
    Undelete { name: String },
    /// The fields, what they may be and what they mean
    Fields,
}

pub fn run(kind: &Kind, verb: &Verb, gateway: &Gateway) -> Result<ExitCode, Failure> {
    if let Verb::Fields = verb {
        show_fields(kind, gateway.json);
        return Ok(ExitCode::SUCCESS);
    }
    let client = gateway.client()?;
    match verb {
        Verb::List { search } => {
            list(kind, fitting(kind, &client, search.as_deref())?, gateway.json);
        }
        Verb::Show { name } => show(&find(kind, &client, name)?, gateway.json),
        Verb::Add { name, values } => {
            let document = values::document(kind.fields, values)?;
            show(&add(kind, &client, name, document)?, gateway.json);
        }
        Verb::Set { name, values } => {
            let patch = values::document(kind.fields, values)?;
            show(&set(kind, &client, name, patch)?, gateway.json);
        }
        Verb::Delete { name } => {
            let object = find(kind, &client, name)?;
            let gone = change(&client, "DELETE", kind, &object, Default::default())?;
            if gateway.json {
                println!("{gone}");
            } else {
                println!("deleted {} {name}; undo until {}", kind.name, text(&gone, "undo_until"));
            }
        }
        Verb::Undelete { name } => show(&undelete(kind, &client, name)?, gateway.json),
        Verb::Fields => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// What the arguments `FIELD=VALUE` stand for.
pub fn document(kind: &Kind, values: &[String]) -> Result<Map<String, Value>, Failure> {
    values::document(kind.fields, values)
}

/// Every object of a kind that fits, over all pages.
pub fn all(client: &Client, path: &str, query: &str) -> Result<Vec<Value>, Failure> {
    let mut items = Vec::new();
    let mut after = String::new();
    loop {
        let page = client.get(&format!("{path}?limit=1000{query}{after}"))?;
        items.extend(page.get("items").and_then(Value::as_array).cloned().unwrap_or_default());
        match page.get("next").and_then(Value::as_str) {
            Some(next) => after = format!("&after={}", quoted(next)),
            None => return Ok(items),
        }
    }
}

/// The object with this name.
pub fn find(kind: &Kind, client: &Client, name: &str) -> Result<Value, Failure> {
    let found = look_up(kind, client, name)?;
    found.ok_or_else(|| Failure {
        code: NOT_FOUND,
        text: format!(
            "there is no {} \"{name}\"; list them: trunkline {}",
            kind.name,
            verb_of(kind)
        ),
    })
}

/// The same; `None` when there is none.
pub fn look_up(kind: &Kind, client: &Client, name: &str) -> Result<Option<Value>, Failure> {
    let page = client.get(&format!("{}?name={}", kind.path, quoted(name)))?;
    Ok(page.get("items").and_then(|items| items.get(0)).cloned())
}

/// Adds an object; a repetition after a lost answer adds it once.
pub fn add(
    kind: &Kind,
    client: &Client,
    name: &str,
    mut document: Map<String, Value>,
) -> Result<Value, Failure> {
    document.insert(String::from("name"), json!(name));
    client.ask("POST", kind.path, Some(&Value::Object(document)))?.json()
}

/// Patches the object with this name, in the version that it has now.
pub fn set(
    kind: &Kind,
    client: &Client,
    name: &str,
    patch: Map<String, Value>,
) -> Result<Value, Failure> {
    let object = find(kind, client, name)?;
    let body = Value::Object(patch).to_string();
    change(client, "PATCH", kind, &object, body.into())
}

fn undelete(kind: &Kind, client: &Client, name: &str) -> Result<Value, Failure> {
    let deleted = client.get("/deleted")?;
    let items = deleted.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let found = items
        .iter()
        .rev()
        .find(|item| text(item, "kind") == kind.name && text(item, "name") == name);
    let Some(id) = found.and_then(|item| item.get("id")) else {
        let text = format!("no {} \"{name}\" was deleted within 24 h", kind.name);
        return Err(Failure { code: NOT_FOUND, text });
    };
    client.ask("POST", &format!("{}/{id}/undelete", kind.path), None)?.json()
}

/// Where an object is.
pub fn place(kind: &Kind, object: &Value) -> String {
    format!("{}/{}", kind.path, object.get("id").unwrap_or(&Value::Null))
}

/// Changes an object in the very version that was seen.
fn change(
    client: &Client,
    method: &str,
    kind: &Kind,
    object: &Value,
    body: Bytes,
) -> Result<Value, Failure> {
    let tag = format!("\"{}\"", object.get("version").unwrap_or(&Value::Null));
    let headers = [("if-match", tag.as_str()), ("content-type", "application/json")];
    client.send(method, &place(kind, object), &headers, body)?.json()
}

/// Those that fit `search`.
pub fn fitting(kind: &Kind, client: &Client, search: Option<&str>) -> Result<Vec<Value>, Failure> {
    let query = search.map(|search| format!("&q={}", quoted(search))).unwrap_or_default();
    all(client, kind.path, &query)
}

/// Prints a list.
pub fn list(kind: &Kind, items: Vec<Value>, json: bool) {
    if json {
        println!("{}", Value::Array(items));
        return;
    }
    let mut grid = Grid::new(kind.columns);
    for item in &items {
        grid.fields(item, kind.columns);
    }
    print!("{}", grid.text());
}

/// One object, a field a line.
pub fn show(object: &Value, json: bool) {
    if json {
        println!("{object}");
        return;
    }
    let fields = object.as_object().into_iter().flatten();
    for (field, value) in fields {
        println!("{field:<24}{}", crate::grid::cell(Some(value)));
    }
}

fn show_fields(kind: &Kind, json: bool) {
    if json {
        let all = kind.fields.iter().map(|field| {
            json!({"name": field.name, "default": field.default, "summary": field.summary,
                   "values": values::shape(field.shape)})
        });
        println!("{}", all.collect::<Value>());
        return;
    }
    let mut grid = Grid::new(&["field", "values", "default", "meaning"]);
    for field in kind.fields {
        let cells = [field.name, &values::shape(field.shape), field.default, field.summary];
        grid.row(cells.map(String::from).into());
    }
    print!("{}", grid.text());
}

fn verb_of(kind: &Kind) -> String {
    let noun = if kind.name == "group" { "groups" } else { kind.path.trim_start_matches('/') };
    format!("{noun} list")
}

/// A field as a text.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}
