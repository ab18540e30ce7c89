//! Workers through the API.

use abi::Duty;
use serde_json::{Value, json};

use super::rig::*;
use crate::store::Role;

#[test]
fn workers_are_listed_with_their_figures() {
    let rig = Rig::new();
    let page = rig.request(Some(Role::ReadOnly), "GET", "/workers", &[], "").expect(200);
    let one = &page["items"][0];
    assert_eq!(
        (&page["total"], &one["state"], &one["core"]),
        (&json!(1), &json!("running"), &json!(3))
    );
    assert_eq!(one["counters"]["rx_packets"], 5);
}

#[test]
fn orders_reach_the_worker_and_the_log_says_by_whom() {
    let rig = Rig::new();
    rig.ask("POST", "/workers/0/move", json!({"core": 2})).expect(204);
    let added = rig.ask("POST", "/workers", json!({"core": 1023})).expect(201);
    assert_eq!(added["id"], 1);
    rig.ask("POST", "/workers/0/resume", Value::Null).expect(204);
    let seen = rig.shard.ordered.lock().unwrap().clone();
    assert_eq!(
        seen,
        [
            (Some(0), Duty::Pin { core: 2 }),
            (None, Duty::Serve { core: Some(1023) }),
            (Some(0), Duty::Serve { core: None }),
        ]
    );
    let log = rig.admin("GET", "/audit?kind=worker", Value::Null).expect(200);
    let actions: Vec<&str> =
        log["items"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
    assert_eq!(actions.len(), 3, "{log}");
    for action in ["move", "add", "resume"] {
        assert!(actions.contains(&action), "{actions:?}");
    }
    assert!(log.to_string().contains("operator"));
}

#[test]
fn what_a_worker_refuses_comes_with_a_remedy() {
    let rig = Rig::new();
    let drained = rig.ask("POST", "/workers/0/drain", Value::Null).expect(409);
    assert!(drained["detail"].as_str().unwrap().contains("add one first"), "{drained}");
    let none = rig.ask("POST", "/workers", json!({})).expect(409);
    assert!(none["remedy"].as_str().unwrap().contains("standby_workers"), "{none}");
    rig.ask("POST", "/workers/9/drain", Value::Null).expect(404);
    let before = rig.shard.ordered.lock().unwrap().len();
    let beyond = rig.ask("POST", "/workers/0/move", json!({"core": 1024})).expect(422);
    assert_eq!(beyond["findings"][0]["field"], "core");
    rig.ask("POST", "/workers", json!({"core": 1024})).expect(422);
    rig.ask("POST", "/workers/0/move", json!({})).expect(422);
    rig.ask("POST", "/workers/0/move", json!({"core": -1})).expect(422);
    rig.ask("POST", "/workers", json!({"cores": 1})).expect(422);
    assert_eq!(rig.shard.ordered.lock().unwrap().len(), before, "nothing was asked of a worker");
    let log = rig.admin("GET", "/audit?kind=worker", Value::Null).expect(200);
    assert_eq!(log["items"], json!([]), "nothing was done");
}

#[test]
fn calls_by_quality_have_no_second_page() {
    let rig = Rig::new();
    let page = rig.ask("GET", "/calls?sort=mos&limit=10", Value::Null).expect(200);
    assert_eq!((&page["items"], &page["next"]), (&json!([]), &Value::Null));
    rig.ask("GET", "/calls?sort=mos&after=x", Value::Null).expect(400);
    rig.ask("GET", "/calls?sort=length", Value::Null).expect(400);
    rig.ask("GET", "/calls?sort=id", Value::Null).expect(200);
}
