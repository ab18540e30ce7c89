//! The OpenAPI document is whole: every reference leads somewhere, every endpoint says what it does.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::{endpoints, fields, presets};
use super::rig::*;

fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_to_a_schema_and_every_schema_is_used() {
    let rig = Rig::new();
    let document = rig.request(None, "GET", "/openapi.json", &[], "").expect(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let known: BTreeSet<String> =
        schemas.keys().map(|name| format!("#/components/schemas/{name}")).collect();
    let found: BTreeSet<String> = found.into_iter().map(String::from).collect();
    assert_eq!(found, known);
}

#[test]
fn every_endpoint_has_words_and_an_identity_of_its_own() {
    let rig = Rig::new();
    let document: Value = serde_json::from_str(&rig.api.document).unwrap();
    let mut identities = BTreeSet::new();
    for endpoint in endpoints() {
        assert!(!endpoint.summary.is_empty(), "{}", endpoint.path);
        let verb = super::access::verb(&endpoint.method).to_lowercase();
        let operation = &document["paths"][endpoint.path][&verb];
        let identity = operation["operationId"].as_str().unwrap().to_owned();
        assert!(identities.insert(identity.clone()), "{identity} twice");
        let status = endpoint.answer.0.to_string();
        assert!(operation["responses"][status].is_object(), "{identity}");
    }
}

#[test]
fn fields_are_named_once() {
    for table in [fields::TRUNK, fields::GROUP, fields::ROUTE] {
        let names: BTreeSet<&str> = table.iter().map(|field| field.name).collect();
        assert_eq!(names.len(), table.len());
    }
}

#[test]
fn presets_set_known_fields_only_and_are_shown_before_they_are_applied() {
    let rig = Rig::new();
    let all = presets::all();
    let names: Vec<&str> = all.iter().map(|preset| preset.name.as_str()).collect();
    assert_eq!(names, ["generic", "cucm", "teams", "twilio", "telnyx", "zoom", "telekom"]);
    for preset in &all {
        let fields = preset.sets.keys().chain(&preset.ask);
        for field in fields {
            assert!(fields::find(fields::TRUNK, field).is_some(), "{}: {field}", preset.name);
        }
        assert!(preset.ask.iter().all(|field| !preset.sets.contains_key(field)));
        let document = serde_json::json!({"name": "mine", "port": 5099});
        let body = serde_json::json!({"preset": preset.name, "document": document});
        let preview = rig.ask("POST", "/presets/preview", body).expect(200);
        assert_eq!(preview["document"]["name"], "mine");
        assert_eq!(preview["document"]["transport"], preset.sets["transport"]);
        let changed = preview["changed"].as_array().unwrap();
        assert!(changed.contains(&"transport".into()) && !changed.contains(&"name".into()));
    }
    let unknown = serde_json::json!({"preset": "asterisk"});
    let problem = rig.ask("POST", "/presets/preview", unknown).expect(422);
    assert!(problem["findings"][0]["remedy"].as_str().unwrap().contains("twilio"));
    assert_eq!(rig.ask("GET", "/trunks", Value::Null).expect(200)["total"], 0, "nothing is saved");
}
