//! Each limit is reached, and what is refused is refused cleanly.

use serde_json::{Value, json};

use super::super::*;
use super::rig::*;
use crate::store::{Role, TOKENS_MAX};

#[test]
fn a_body_has_so_many_bytes_at_most() {
    let rig = Rig::new();
    let post = |length: usize| {
        let frame = json!({"name": "a", "bad": ""}).to_string().len();
        let body = json!({"name": "a", "bad": "x".repeat(length - frame)}).to_string();
        assert_eq!(body.len(), length);
        rig.request(Some(Role::Operator), "POST", "/trunks", &[], body).status
    };
    assert_eq!(post(BODY_BYTES_MAX), 422, "read, then refused by a rule");
    assert_eq!(post(BODY_BYTES_MAX + 1), 413);
}

#[test]
fn so_many_requests_are_under_way_at_most() {
    let rig = Rig::new();
    let api = rig.api.clone();
    let all = api.requests.try_acquire_many(u32::try_from(REQUESTS_MAX).unwrap()).unwrap();
    let reply = rig.ask("GET", "/health", Value::Null);
    assert_eq!(reply.header("retry-after"), "1");
    reply.expect(503);
    drop(all);
    rig.ask("GET", "/health", Value::Null).expect(200);
}

#[test]
fn an_idempotency_key_has_so_many_characters_at_most() {
    let rig = Rig::new();
    let post = |key: &str, name: &str| {
        let headers = [("idempotency-key", key)];
        rig.request(Some(Role::Operator), "POST", "/trunks", &headers, trunk(name).to_string())
    };
    post(&"k".repeat(KEY_MAX), "a").expect(201);
    post(&"k".repeat(KEY_MAX + 1), "b").expect(400);
    post("two\twords", "b").expect(400);
}

#[test]
fn there_are_so_many_tokens_at_most() {
    let rig = Rig::new();
    let there = rig.store.catalog().tokens.len();
    rig.store
        .ask_blocking(move |keeper| {
            for number in there..TOKENS_MAX {
                let name = format!("t{number}");
                keeper.mint(&crate::store::Actor::gateway(), &name, Role::ReadOnly, None, None)?;
            }
            Ok(())
        })
        .unwrap();
    let body = json!({"name": "one more", "role": "read-only"});
    let problem = rig.admin("POST", "/tokens", body).expect(409);
    assert!(problem["remedy"].as_str().unwrap().contains("revoke"));
}
