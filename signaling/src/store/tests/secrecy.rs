use std::fs;

use serde_json::json;

use super::super::*;
use super::rig::*;

fn holds(bytes: &[u8], canary: &str) -> bool {
    bytes.windows(canary.len()).any(|part| part == canary.as_bytes())
}

/// Every file of the store but the key.
fn files(scratch: &Scratch) -> Vec<u8> {
    let names = ["store.db", "store.db-wal", "copy.db"];
    names.iter().flat_map(|name| fs::read(scratch.path(name)).unwrap_or_default()).collect()
}

#[test]
fn secrets_are_in_no_file_but_sealed_and_in_no_audit_entry() {
    let scratch = Scratch::new("canary");
    let store = scratch.open().unwrap();
    let canary = "canary-d1c5b1f0";
    let fields = document(json!({"name": "plain-name-a", "password": canary}));
    let object = create(&store, Kind::Trunk, fields).unwrap();
    let patch = Sent::Patch(document(json!({"password": "second-canary-77"})));
    update(&store, Kind::Trunk, object.id, Expected::Any, patch).unwrap();
    let minted =
        store.ask_blocking(|keeper| keeper.mint(&ops(), "t", Role::Operator, None, None)).unwrap();
    let token = minted.secret.unwrap().expose().clone();
    let copy = store.ask_blocking(|keeper| keeper.backup(&ops())).unwrap();
    fs::copy(copy.path(), scratch.path("copy.db")).unwrap();
    let key = fs::read_to_string(scratch.path("store.key")).unwrap();
    let key = key.lines().last().unwrap().split_once(' ').unwrap().1.to_owned();
    let entries = log(&store);
    let shown = serde_json::to_string(&entries).unwrap();
    assert!(shown.contains("[changed]"), "the log says that the password changed: {shown}");
    let shown = format!("{shown}{object:?}{:?}", store.catalog());
    drop(store);
    let all = files(&scratch);
    assert!(holds(&all, "plain-name-a"), "positive control");
    for secret in [canary, "second-canary-77", &token, &key] {
        assert!(!holds(&all, secret), "{secret} in a file");
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[test]
fn a_store_does_not_open_without_its_key_file() {
    let scratch = Scratch::new("lost-key");
    let store = scratch.open().unwrap();
    create(&store, Kind::Trunk, trunk("a")).unwrap();
    drop(store);
    fs::rename(scratch.path("store.key"), scratch.path("kept.key")).unwrap();
    let refused = scratch.open().err().unwrap().to_string();
    assert!(refused.contains("store.key") && refused.contains("restore"), "{refused}");
    assert!(!scratch.path("store.key").exists(), "no new key over an old store");
    key_file::KeyFile::create(&scratch.path("store.key")).unwrap();
    let refused = scratch.open().err().unwrap().to_string();
    assert!(refused.contains("not the key file of this store"), "{refused}");
    fs::rename(scratch.path("kept.key"), scratch.path("store.key")).unwrap();
    scratch.open().unwrap();
}

#[test]
fn a_rotated_key_opens_everything_and_the_old_one_nothing() {
    let scratch = Scratch::new("rotate");
    let store = scratch.open().unwrap();
    create(&store, Kind::Trunk, trunk("a")).unwrap();
    let b = create(&store, Kind::Trunk, trunk("b")).unwrap();
    delete(&store, Kind::Trunk, b.id).unwrap();
    let old_key = fs::read_to_string(scratch.path("store.key")).unwrap();
    let number = store.ask_blocking(|keeper| keeper.rotate_key(&ops())).unwrap();
    assert_eq!(number, 2);
    drop(store);
    let store = scratch.open().unwrap();
    let catalog = store.catalog();
    let a = catalog.by_name(Kind::Trunk, "a").unwrap();
    assert_eq!(a.secrets["password"].expose(), "secret-of-a");
    let b = &catalog.deleted[&(Kind::Trunk, b.id)];
    assert_eq!(b.object.secrets["password"].expose(), "secret-of-b");
    drop((catalog, store));
    fs::write(scratch.path("store.key"), old_key).unwrap();
    assert!(scratch.open().is_err());
}

#[test]
fn a_backup_brings_back_what_was_and_the_log_says_so() {
    let scratch = Scratch::new("backup");
    let store = scratch.open().unwrap();
    create(&store, Kind::Trunk, trunk("a")).unwrap();
    let copy = store.ask_blocking(|keeper| keeper.backup(&ops())).unwrap();
    let b = create(&store, Kind::Trunk, trunk("b")).unwrap();
    store.ask_blocking(move |keeper| keeper.restore(&ops(), &copy)).unwrap();
    let catalog = store.catalog();
    assert!(catalog.by_name(Kind::Trunk, "b").is_none());
    assert!(catalog.by_name(Kind::Trunk, "a").is_some());
    let entries = log(&store);
    let last = entries.last().unwrap();
    let before: serde_json::Value = serde_json::from_str(&last.before).unwrap();
    assert_eq!((last.action.as_str(), &before["audit_entries"]), ("restore", &json!(3)));
    let c = create(&store, Kind::Trunk, trunk("c")).unwrap();
    assert!(c.id > b.id, "number {} is not given out again", b.id);
    drop(store);
    assert!(scratch.open().unwrap().catalog().by_name(Kind::Trunk, "a").is_some());
}

#[test]
fn a_backup_of_an_older_version_is_brought_to_this_one() {
    let scratch = Scratch::new("older");
    let store = scratch.open().unwrap();
    let a = create(&store, Kind::Trunk, trunk("a")).unwrap();
    let copy = store.ask_blocking(|keeper| keeper.backup(&ops())).unwrap();
    delete(&store, Kind::Trunk, a.id).unwrap();
    // The tables of version 1 had no reports and no greetings.
    let older = rusqlite::Connection::open(copy.path()).unwrap();
    older
        .execute_batch("DROP TABLE reports; DROP TABLE greetings; PRAGMA user_version = 1;")
        .unwrap();
    older.close().unwrap();
    store.ask_blocking(move |keeper| keeper.restore(&ops(), &copy)).unwrap();
    assert_eq!(store.catalog().by_name(Kind::Trunk, "a").unwrap().id, a.id);
    let id = a.id;
    let report = store.ask_blocking(move |keeper| keeper.report(id)).unwrap();
    assert_eq!(report, None, "the table is there again");
    drop(store);
    scratch.open().unwrap();
}

#[test]
fn what_is_no_backup_of_this_store_is_refused_and_nothing_changes() {
    let scratch = Scratch::new("foreign");
    let store = scratch.open().unwrap();
    create(&store, Kind::Trunk, trunk("a")).unwrap();
    let other = Scratch::new("other");
    let stranger = other.open().unwrap();
    let theirs = stranger.ask_blocking(|keeper| keeper.backup(&ops())).unwrap();
    let theirs = fs::read(theirs.path()).unwrap();
    let mine = store.ask_blocking(|keeper| keeper.backup(&ops())).unwrap();
    let mine = fs::read(mine.path()).unwrap();
    let mut altered = mine.clone();
    let at = altered.windows(9).rposition(|part| part == b"192.0.2.9").unwrap();
    altered[at] = b'2';
    let cases: [(&str, &[u8]); 5] = [
        ("another store's", &theirs),
        ("an altered audit log", &altered),
        ("half", &mine[..mine.len() / 2]),
        ("nothing", b""),
        ("text", b"this is no database at all, but long enough to have a header of its own......"),
    ];
    for (name, bytes) in cases {
        let bytes = bytes.to_vec();
        let refused = store.ask_blocking(move |keeper| {
            let copy = keeper.place_for_copy()?;
            fs::write(copy.path(), bytes).unwrap();
            keeper.restore(&ops(), &copy)
        });
        assert!(matches!(refused, Err(Refusal::Conflict(..))), "{name}: {refused:?}");
        assert!(store.catalog().by_name(Kind::Trunk, "a").is_some(), "{name}");
    }
    let restored = store.ask_blocking(move |keeper| {
        let copy = keeper.place_for_copy()?;
        fs::write(copy.path(), mine).unwrap();
        keeper.restore(&ops(), &copy)
    });
    assert!(restored.is_ok(), "positive control: {restored:?}");
}

#[test]
fn the_log_can_neither_be_changed_nor_shortened_by_sql() {
    let scratch = Scratch::new("append-only");
    let store = scratch.open().unwrap();
    create(&store, Kind::Trunk, trunk("a")).unwrap();
    drop(store);
    let connection = rusqlite::Connection::open(scratch.path("store.db")).unwrap();
    for sql in ["UPDATE audit SET actor = 'x'", "DELETE FROM audit"] {
        let refused = connection.execute(sql, []).unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{refused}");
    }
    assert_eq!(connection.execute("UPDATE notes SET name = 'x'", []).unwrap(), 1, "control");
}

#[test]
fn a_store_of_a_newer_gateway_is_refused() {
    let scratch = Scratch::new("newer");
    drop(scratch.open().unwrap());
    let connection = rusqlite::Connection::open(scratch.path("store.db")).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let refused = scratch.open().err().unwrap().to_string();
    assert!(refused.contains("run a newer one"), "{refused}");
}
