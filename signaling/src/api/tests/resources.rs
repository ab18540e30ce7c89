//! Trunks, groups and routes over HTTP: tags, preconditions, references, undo, repetition.

use serde_json::{Value, json};

use super::rig::*;
use crate::store::Role;

#[test]
fn a_trunk_lives_from_its_creation_to_its_undo() {
    let rig = Rig::new();
    let body = json!({"name": "a", "host": "192.0.2.1", "password": "pw-canary"});
    let made = rig.ask("POST", "/trunks", body);
    assert_eq!((made.header("location"), made.header("etag")), ("/api/v1/trunks/1", "\"1\""));
    let made = made.expect(201);
    assert_eq!((&made["password_set"], &made["password"]), (&json!(true), &Value::Null));
    let changed = rig.ask("PATCH", "/trunks/1", json!({"host": "192.0.2.2"}));
    assert_eq!(changed.header("etag"), "\"2\"");
    let changed = changed.expect(200);
    assert_eq!((&changed["host"], &changed["password_set"]), (&json!("192.0.2.2"), &json!(true)));
    let whole = rig.ask("PUT", "/trunks/1", json!({"name": "a", "host": "192.0.2.3"})).expect(200);
    assert_eq!(whole["password_set"], true, "a secret that is not sent stays");
    let bare = rig.ask("PATCH", "/trunks/1", json!({"password": null})).expect(200);
    assert_eq!(bare["password_set"], false);
    let gone = rig.ask("DELETE", "/trunks/1", Value::Null).expect(200);
    assert_eq!(gone["undo"], "/api/v1/trunks/1/undelete");
    rig.ask("GET", "/trunks/1", Value::Null).expect(404);
    assert_eq!(rig.ask("GET", "/deleted", Value::Null).expect(200)["items"][0]["name"], "a");
    let back = rig.ask("POST", "/trunks/1/undelete", Value::Null).expect(200);
    assert_eq!((&back["id"], &back["host"]), (&json!(1), &json!("192.0.2.3")));
    rig.ask("POST", "/trunks/1/undelete", Value::Null).expect(404);
}

#[test]
fn what_is_shown_can_be_sent_back_as_it_is() {
    let rig = Rig::new();
    rig.add("/trunks", json!({"name": "a", "host": "192.0.2.1", "password": "x"}));
    let shown = rig.ask("GET", "/trunks/1", Value::Null).expect(200);
    let same = rig.ask("PUT", "/trunks/1", shown.clone());
    assert_eq!(same.header("etag"), "\"1\"", "nothing changed");
    assert_eq!(same.expect(200), shown);
}

#[test]
fn a_change_says_which_version_it_is_made_to() {
    let rig = Rig::new();
    rig.add("/trunks", trunk("a"));
    let change = |verb: &str, tag: &str| {
        let body = json!({"name": "a", "host": format!("192.0.2.{}", tag.len())}).to_string();
        rig.request(Some(Role::Operator), verb, "/trunks/1", &[("if-match", tag)], body)
    };
    for verb in ["PUT", "PATCH", "DELETE"] {
        assert_eq!(change(verb, "").status, 428, "{verb} without If-Match");
        for wrong in ["\"9\"", "W/\"1\"", "1", "\"\"", "\"1\", \"2\"x"] {
            assert_eq!(change(verb, wrong).status, 412, "{verb} with {wrong}");
        }
    }
    change("PUT", "\"1\"").expect(200);
    assert_eq!(change("PATCH", "\"1\"").status, 412, "it is version 2 now");
    change("PATCH", "*").expect(200);
}

#[test]
fn what_the_client_has_already_is_not_sent_again() {
    let rig = Rig::new();
    rig.add("/trunks", trunk("a"));
    let show = |tag: &str| {
        let headers = [("if-none-match", tag)];
        rig.request(Some(Role::ReadOnly), "GET", "/trunks/1", &headers, "").status.as_u16()
    };
    assert_eq!((show("\"1\""), show("W/\"1\""), show("\"0\", \"1\"")), (304, 304, 304));
    assert_eq!(show("\"2\""), 200);
}

#[test]
fn problems_name_field_value_rule_and_remedy() {
    let rig = Rig::new();
    let body = json!({"name": "a", "host": "192.0.2.1", "bad": 7});
    let reply = rig.ask("POST", "/trunks", body);
    assert_eq!(reply.header("content-type"), "application/problem+json");
    let problem = reply.expect(422);
    assert_eq!(problem["type"], "urn:trunkline:problem:invalid");
    let finding = json!({
        "field": "bad", "value": 7, "rule": "there is no such field", "remedy": "remove it"
    });
    assert_eq!(problem["findings"], json!([finding]));
}

#[test]
fn a_deletion_is_refused_with_everything_that_stands_in_its_way() {
    let rig = Rig::new();
    let group = rig.add("/failover-groups", json!({"name": "g"}));
    rig.add("/trunks", json!({"name": "a", "host": "192.0.2.1", "failover_group": "g"}));
    rig.add("/routes", json!({"name": "r1", "from_trunk": "a", "destination": "g"}));
    rig.add("/routes", json!({"name": "r2", "destination": "a"}));
    let shown = rig.ask("GET", "/failover-groups/1", Value::Null).expect(200);
    assert_eq!(shown["members"][0]["name"], "a");
    let problem = rig.ask("DELETE", "/trunks/1", Value::Null).expect(409);
    let named: Vec<_> = problem["references"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["name"].as_str().unwrap(), r["field"].as_str().unwrap()))
        .collect();
    assert_eq!(named, [("r1", "from_trunk"), ("r2", "destination")]);
    let problem = rig.ask("DELETE", &format!("/failover-groups/{group}"), Value::Null).expect(409);
    assert_eq!(problem["references"].as_array().unwrap().len(), 2, "{problem}");
    rig.ask("DELETE", "/routes/1", Value::Null).expect(200);
    rig.ask("DELETE", "/routes/2", Value::Null).expect(200);
    rig.ask("DELETE", "/trunks/1", Value::Null).expect(200);
}

#[test]
fn a_repeated_request_adds_one_trunk() {
    let rig = Rig::new();
    let post = |key: &str, name: &str| {
        let headers = [("idempotency-key", key)];
        let body = trunk(name).to_string();
        rig.request(Some(Role::Operator), "POST", "/trunks", &headers, body)
    };
    let first = post("k-1", "a").expect(201);
    let again = post("k-1", "a").expect(201);
    assert_eq!(first["id"], again["id"]);
    post("k-1", "b").expect(422);
    post("k-2", "b").expect(201);
    assert_eq!(rig.ask("GET", "/trunks", Value::Null).expect(200)["total"], 2);
}

#[test]
fn a_repeated_request_for_a_token_does_not_show_its_secret_again() {
    let rig = Rig::new();
    let post = || {
        let headers = [("idempotency-key", "k")];
        let body = json!({"name": "t", "role": "operator"}).to_string();
        rig.request(Some(Role::Admin), "POST", "/tokens", &headers, body).expect(201)
    };
    let (first, again) = (post(), post());
    assert!(first["token"].as_str().unwrap().starts_with("trunkline_"));
    assert_eq!((&again["id"], &again["token"]), (&first["id"], &Value::Null));
}
