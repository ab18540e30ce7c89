//! The schemas of the OpenAPI document, made from the tables of fields.

use serde_json::json;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, SchemaFormat,
    SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr, Schema};

use super::fields::{Field, GROUP, ROUTE, Shape, TRUNK};
use super::{presets, route_test, trunk_test, workers};

/// All schemas by name.
pub fn all() -> Vec<(String, RefOr<Schema>)> {
    let mut all = Vec::new();
    for (name, fields, required, members) in [
        ("Trunk", TRUNK, &["name", "host"][..], false),
        ("Group", GROUP, &["name"], true),
        ("Route", ROUTE, &["name", "destination"], false),
    ] {
        all.push((name.to_owned(), stored(fields, members)));
        all.push((format!("{name}Input"), sent(fields, required, false)));
        all.push((format!("{name}Patch"), sent(fields, &[], true)));
        all.push((format!("{name}Page"), page(name)));
    }
    for (name, schema) in others() {
        all.push((name.to_owned(), schema));
    }
    for (page_name, item) in [
        ("DeletedPage", "Deleted"),
        ("TokenPage", "Token"),
        ("AuditPage", "AuditEntry"),
        ("PresetPage", "Preset"),
        ("CallPage", "Call"),
        ("WorkerPage", "Worker"),
        ("StatusPage", "Status"),
        ("CdrPage", "Cdr"),
        ("UnknownCallerPage", "UnknownCaller"),
    ] {
        all.push((page_name.to_owned(), page(item)));
    }
    all
}

/// What a value may be.
pub fn shape(shape: Shape) -> ObjectBuilder {
    let text = |limit| ObjectBuilder::new().schema_type(Type::String).max_length(Some(limit));
    match shape {
        Shape::Text(limit) => text(limit),
        Shape::Secret(limit) => text(limit).write_only(true).format(Some(password())),
        Shape::Flag => ObjectBuilder::new().schema_type(Type::Boolean),
        Shape::Number(from, to) => number(from, to),
        Shape::Word(words) => {
            ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words.iter().copied()))
        }
        Shape::Texts | Shape::Numbers(..) => ObjectBuilder::new().schema_type(Type::String),
    }
}

fn password() -> SchemaFormat {
    SchemaFormat::KnownFormat(KnownFormat::Password)
}

fn number(from: u64, to: u64) -> ObjectBuilder {
    let limit = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(limit(from)))
        .maximum(Some(limit(to)))
}

fn texts() -> Schema {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    OneOfBuilder::new().item(text()).item(ArrayBuilder::new().items(text())).into()
}

/// A field as it is sent; with `or_null` it can also be removed.
fn field(field: &Field, or_null: bool) -> RefOr<Schema> {
    let summary = format!("{}. Default: {}.", field.summary, field.default);
    match field.shape {
        Shape::Texts => RefOr::T(texts()),
        Shape::Numbers(from, to) => {
            let items = ArrayBuilder::new().items(number(from, to));
            RefOr::T(items.description(Some(summary)).into())
        }
        Shape::Word(words) if or_null => {
            // An enumeration admits null only when it lists it.
            let values = words.iter().map(|word| json!(word)).chain([json!(null)]);
            let types = SchemaType::from_iter([Type::String, Type::Null]);
            let schema = ObjectBuilder::new().schema_type(types).enum_values(Some(values));
            RefOr::T(schema.description(Some(summary)).into())
        }
        other => {
            let mut schema = shape(other);
            if or_null {
                schema = schema.schema_type(SchemaType::from_iter([kind(other), Type::Null]));
            }
            RefOr::T(schema.description(Some(summary)).into())
        }
    }
}

fn kind(shape: Shape) -> Type {
    match shape {
        Shape::Flag => Type::Boolean,
        Shape::Number(..) => Type::Integer,
        _ => Type::String,
    }
}

/// What is sent to make or change an object.
fn sent(fields: &[Field], required: &[&str], or_null: bool) -> RefOr<Schema> {
    let mut object = ObjectBuilder::new();
    for known in fields {
        object = object.property(known.name, field(known, or_null));
    }
    for name in required {
        object = object.required(*name);
    }
    RefOr::T(object.into())
}

/// An object as it is shown.
fn stored(fields: &[Field], members: bool) -> RefOr<Schema> {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let whole = || ObjectBuilder::new().schema_type(Type::Integer);
    let mut object = ObjectBuilder::new()
        .property("id", whole().description(Some("Given once, never again")))
        .property("version", whole().description(Some("Also the ETag")))
        .property("created", text())
        .property("updated", text())
        .required("id")
        .required("version")
        .required("name")
        .additional_properties(Some(AdditionalProperties::FreeForm(true)));
    for known in fields {
        object = match known.shape {
            Shape::Secret(_) => {
                let summary = format!("Whether {} is set; it is never shown", known.name);
                let flag = shape(Shape::Flag).description(Some(summary));
                object.property(format!("{}_set", known.name), flag)
            }
            _ => object.property(known.name, field(known, false)),
        };
    }
    if members {
        let list = ArrayBuilder::new().items(ObjectBuilder::new());
        object = object.property("members", list.description(Some("The trunks that name it")));
    }
    RefOr::T(object.into())
}

fn page(item: &str) -> RefOr<Schema> {
    let next = SchemaType::from_iter([Type::String, Type::Null]);
    let object = ObjectBuilder::new()
        .property("items", ArrayBuilder::new().items(Ref::from_schema_name(item)))
        .property("total", ObjectBuilder::new().schema_type(Type::Integer))
        .property("next", ObjectBuilder::new().schema_type(next))
        .required("items");
    RefOr::T(object.into())
}

fn others() -> Vec<(&'static str, RefOr<Schema>)> {
    let roles = Shape::Word(&["read-only", "operator", "admin"]);
    let time = || ObjectBuilder::new().schema_type(Type::String);
    let token = || {
        ObjectBuilder::new()
            .property("name", shape(Shape::Text(64)))
            .property("role", shape(roles))
            .required("name")
            .required("role")
    };
    let listed = || token().property("id", shape(Shape::Number(1, u32::MAX.into())));
    let input = token().property("expires", time().description(Some("RFC 3339")));
    let made = listed().property("token", time().description(Some("Shown this once")));
    let preview = ObjectBuilder::new()
        .property("document", Ref::from_schema_name("Trunk"))
        .property("changed", ArrayBuilder::new().items(shape(Shape::Text(64))));
    let adopt = ObjectBuilder::new()
        .property("trunk", shape(Shape::Number(1, u32::MAX.into())))
        .required("trunk");
    let test = ObjectBuilder::new().property("call", shape(Shape::Text(trunk_test::CALL_MAX)));
    let number = || shape(Shape::Text(route_test::NUMBER_MAX));
    let question = ObjectBuilder::new()
        .property("from_trunk", time().description(Some("The trunk's name")))
        .property("called", number().description(Some("As the trunk writes it")))
        .property("caller", number())
        .property("at", time().description(Some("RFC 3339; now, when absent")))
        .required("from_trunk")
        .required("called");
    let core = || ObjectBuilder::new().property("core", shape(workers::CORE));
    let added = ObjectBuilder::new().property("id", shape(Shape::Number(0, u32::MAX.into())));
    let any = || RefOr::T(Schema::from(ObjectBuilder::new()));
    vec![
        ("Problem", problem()),
        ("Call", any()),
        ("Status", any()),
        ("Worker", any()),
        ("WorkerMove", RefOr::T(core().required("core").into())),
        ("WorkerAdd", RefOr::T(core().into())),
        ("WorkerAdded", RefOr::T(added.into())),
        ("TestInput", RefOr::T(test.into())),
        ("TestReport", any()),
        ("RouteTestInput", RefOr::T(question.into())),
        ("Decision", any()),
        ("Cdr", any()),
        ("UnknownCaller", any()),
        ("AdoptInput", RefOr::T(adopt.into())),
        ("Metrics", RefOr::T(ObjectBuilder::new().schema_type(Type::String).into())),
        ("Events", RefOr::T(ObjectBuilder::new().schema_type(Type::String).into())),
        ("Deleted", any()),
        ("Token", RefOr::T(listed().into())),
        ("TokenInput", RefOr::T(input.into())),
        ("NewToken", RefOr::T(made.into())),
        ("AuditEntry", any()),
        ("Verification", any()),
        ("Rotation", any()),
        ("Health", any()),
        ("Document", any()),
        ("Preset", any()),
        ("Preview", RefOr::T(preview.into())),
        ("PreviewInput", RefOr::T(presets::input().into())),
        ("Backup", bytes()),
        ("Wav", bytes()),
        ("Greeting", greeting()),
    ]
}

/// What is no text.
fn bytes() -> RefOr<Schema> {
    let binary = SchemaFormat::KnownFormat(KnownFormat::Binary);
    RefOr::T(ObjectBuilder::new().schema_type(Type::String).format(Some(binary)).into())
}

fn greeting() -> RefOr<Schema> {
    let count = || ObjectBuilder::new().schema_type(Type::Integer);
    let note = ObjectBuilder::new().schema_type(Type::String);
    let object = ObjectBuilder::new()
        .property("trunk", count())
        .property("bytes", count())
        .property("milliseconds", count())
        .property("note", note.description(Some("Why nobody hears it; empty when they do")));
    RefOr::T(object.into())
}

fn problem() -> RefOr<Schema> {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let finding = ObjectBuilder::new()
        .property("field", text())
        .property("value", Schema::from(ObjectBuilder::new().schema_type(SchemaType::AnyValue)))
        .property("rule", text())
        .property("remedy", text());
    let object = ObjectBuilder::new()
        .property("type", text())
        .property("title", text())
        .property("status", ObjectBuilder::new().schema_type(Type::Integer))
        .property("detail", text())
        .property("remedy", text())
        .property("findings", ArrayBuilder::new().items(finding))
        .property("references", ArrayBuilder::new().items(ObjectBuilder::new()))
        .required("type")
        .required("title")
        .required("status");
    RefOr::T(object.into())
}
