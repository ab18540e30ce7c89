//! Tokens, audit log, backups, keys over HTTP.

use serde_json::{Value, json};

use super::rig::*;
use crate::store::Role;

#[test]
fn tokens_are_made_listed_without_secret_and_checked() {
    let rig = Rig::new();
    let body = json!({"name": "ci", "role": "operator", "expires": "2999-01-01T00:00:00Z"});
    let made = rig.admin("POST", "/tokens", body.clone()).expect(201);
    let secret = made["token"].as_str().unwrap();
    let list = rig.admin("GET", "/tokens", Value::Null);
    assert!(!String::from_utf8_lossy(&list.bytes).contains(secret));
    assert_eq!(list.expect(200)["total"], 4);
    rig.admin("POST", "/tokens", body).expect(409);
    for wrong in [
        json!({"name": "", "role": "admin"}),
        json!({"name": "x", "role": "root"}),
        json!({"name": "x", "role": "admin", "expires": "soon"}),
        json!({"name": "x", "role": "admin", "expires": "2001-01-01T00:00:00Z"}),
        json!({"name": "x", "role": "admin", "more": 1}),
        json!({"role": "admin"}),
    ] {
        rig.admin("POST", "/tokens", wrong).expect(422);
    }
}

#[test]
fn the_audit_log_tells_who_from_where_before_and_after() {
    let rig = Rig::new();
    rig.add("/trunks", json!({"name": "a", "host": "192.0.2.1", "password": "canary-1"}));
    let patch = json!({"host": "192.0.2.2", "password": "canary-2"});
    rig.ask("PATCH", "/trunks/1", patch).expect(200);
    let reply = rig.admin("GET", "/audit?kind=trunk&id=1", Value::Null);
    assert!(!String::from_utf8_lossy(&reply.bytes).contains("canary"));
    let log = reply.expect(200);
    let entry = &log["items"][0];
    assert_eq!((&entry["action"], &entry["actor"]), (&json!("update"), &json!("operator")));
    assert_eq!(
        (&entry["before"]["host"], &entry["after"]["host"]),
        (&json!("192.0.2.1"), &json!("192.0.2.2"))
    );
    assert_eq!(
        (&entry["before"]["password"], &entry["after"]["password"]),
        (&json!("[set]"), &json!("[changed]"))
    );
    let all = rig.admin("GET", "/audit?limit=2", Value::Null).expect(200);
    assert_eq!((&all["total"], &all["next"]), (&json!(5), &json!("4")));
    let rest = rig.admin("GET", "/audit?limit=9&after=4", Value::Null).expect(200);
    assert_eq!(rest["items"].as_array().unwrap().len(), 3);
    let holds = rig.admin("GET", "/audit/verification", Value::Null).expect(200);
    assert_eq!((&holds["holds"], &holds["entries"]), (&json!(true), &json!(5)));
    assert_eq!(holds["head"], all["items"][0]["hash"]);
}

#[test]
fn an_altered_audit_log_is_told() {
    let rig = Rig::new();
    rig.add("/trunks", trunk("a"));
    rig.add("/trunks", trunk("b"));
    let scratch = std::sync::Arc::clone(&rig.scratch);
    drop(rig);
    let connection = rusqlite::Connection::open(scratch.path("store.db")).unwrap();
    connection.execute_batch("DROP TRIGGER audit_is_not_changed").unwrap();
    connection.execute("UPDATE audit SET actor = 'nobody' WHERE number = 4", []).unwrap();
    drop(connection);
    let store = scratch.open().unwrap();
    let chain = store.ask_blocking(|keeper| keeper.verify_audit()).unwrap();
    assert_eq!(chain.number, 3, "it holds up to the entry before the altered one");
}

#[test]
fn a_backup_is_taken_and_restored_while_the_gateway_runs() {
    let rig = Rig::new();
    rig.add("/trunks", json!({"name": "a", "host": "192.0.2.1", "password": "canary-3"}));
    let copy = rig.admin("POST", "/backup", Value::Null);
    assert_eq!(copy.header("content-type"), "application/vnd.sqlite3");
    assert!(copy.bytes.starts_with(b"SQLite format 3\0"));
    assert!(!copy.bytes.windows(8).any(|part| part == b"canary-3"));
    rig.add("/trunks", trunk("b"));
    let put = |bytes: Vec<u8>| rig.request(Some(Role::Admin), "PUT", "/backup", &[], bytes);
    put(b"no backup".to_vec()).expect(409);
    assert_eq!(rig.ask("GET", "/trunks", Value::Null).expect(200)["total"], 2);
    put(copy.bytes).expect(204);
    let list = rig.ask("GET", "/trunks", Value::Null).expect(200);
    assert_eq!((&list["total"], &list["items"][0]["name"]), (&json!(1), &json!("a")));
    let left: Vec<_> = std::fs::read_dir(rig.scratch.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".copy"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_key_rotation_leaves_everything_readable() {
    let rig = Rig::new();
    rig.add("/trunks", json!({"name": "a", "host": "192.0.2.1", "password": "p"}));
    assert_eq!(rig.admin("POST", "/keys/rotation", Value::Null).expect(200)["key"], 2);
    let scratch = std::sync::Arc::clone(&rig.scratch);
    drop(rig);
    let catalog = scratch.open().unwrap().catalog();
    let trunk = catalog.by_name(crate::store::Kind::Trunk, "a").unwrap();
    assert_eq!(trunk.secrets["password"].expose(), "p");
}
