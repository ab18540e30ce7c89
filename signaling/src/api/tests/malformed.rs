//! Bodies that are not what they should be.

use serde_json::{Value, json};

use super::rig::*;
use crate::store::Role;

fn post(rig: &Rig, body: impl Into<axum::body::Body>) -> Reply {
    rig.request(Some(Role::Operator), "POST", "/trunks", &[], body)
}

#[test]
fn every_cut_and_every_altered_byte_is_answered_and_harms_nothing() {
    let rig = Rig::new();
    let whole = json!({"name": "a", "host": "192.0.2.1", "allow": ["PCMA"], "port": 5060,
                       "password": "p", "enabled": true, "bad": null})
    .to_string();
    for cut in 0..whole.len() {
        let status = post(&rig, whole.as_bytes()[..cut].to_vec()).status;
        assert_eq!(status, 400, "{cut} bytes");
    }
    for at in 0..whole.len() {
        for byte in [0_u8, b'"', b'{', b'\\', 0xff, b'9'] {
            let mut altered = whole.clone().into_bytes();
            altered[at] = byte;
            let status = post(&rig, altered).status.as_u16();
            assert!(matches!(status, 201 | 400 | 422), "byte {at} as {byte}: {status}");
        }
    }
    assert_eq!(rig.ask("GET", "/health", Value::Null).status, 200);
}

#[test]
fn values_of_the_wrong_kind_are_refused() {
    let rig = Rig::new();
    for body in ["[]", "1", "null", "\"x\"", "", "{}", "{\"name\": []}", "{\"name\": {}}"] {
        let status = post(&rig, body).status.as_u16();
        assert!(matches!(status, 400 | 422), "{body}: {status}");
    }
    for secret in [json!(1), json!([]), json!({}), json!(true)] {
        let body = json!({"name": "a", "password": secret});
        let problem = rig.ask("POST", "/trunks", body).expect(422);
        assert_eq!(problem["findings"][0]["field"], "password");
        assert_eq!(problem["findings"][0]["value"], Value::Null, "no secret is echoed");
    }
    let deep = format!("{{\"name\": {}1{}}}", "[".repeat(500), "]".repeat(500));
    post(&rig, deep).expect(400);
}

#[test]
fn only_json_is_taken() {
    let rig = Rig::new();
    for (content, status) in [
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ("application/merge-patch+json", 201),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 415),
    ] {
        let body = trunk(&format!("t{}", content.len())).to_string();
        let headers = [("content-type", content)];
        let reply = rig.request(Some(Role::Operator), "POST", "/trunks", &headers, body);
        assert_eq!(reply.status, status, "{content}");
    }
}

#[test]
fn ids_that_are_no_numbers_are_not_found() {
    let rig = Rig::new();
    for id in ["x", "-1", "1.5", "99999999999", "%00", "1%2f2"] {
        let problem = rig.ask("GET", &format!("/trunks/{id}"), Value::Null).expect(404);
        assert_eq!(problem["status"], 404);
    }
    rig.ask("GET", "/nowhere", Value::Null).expect(404);
    rig.ask("PUT", "/trunks", Value::Null).expect(405);
}
