//! `kill -9` at every point of a save, a deletion, a rotation and a restore. The child is this
//! test binary; it ends itself by SIGKILL at the named point.

use std::process::Command;
use std::sync::OnceLock;

use rustix::process::{Signal, getpid, kill_process};
use serde_json::json;

use super::super::*;
use super::rig::*;
use crate::trunk::tones::Recording;
use crate::trunk::tones::tests::wav;

const POINT: &str = "TRUNKLINE_TEST_FAULT_POINT";
const DIRECTORY: &str = "TRUNKLINE_TEST_FAULT_DIRECTORY";
const WORK: &str = "TRUNKLINE_TEST_FAULT_WORK";

/// The points of a commit in the order in which they are passed.
const POINTS: [&str; 6] =
    ["before", "begun", "row written", "audit written", "before commit", "committed"];

static ARMED: OnceLock<String> = OnceLock::new();

fn die(point: &'static str) {
    if ARMED.get().is_some_and(|armed| armed == point) {
        let _we_die = kill_process(getpid(), Signal::KILL);
    }
}

/// Not a test of its own: the body of the child.
#[test]
fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let directory = std::path::PathBuf::from(directory);
    let store = Store::open(Opening {
        file: directory.join("store.db"),
        key_file: directory.join("store.key"),
        consumer: Box::new(Book::default()),
        fault: die,
    })
    .unwrap();
    ARMED.set(std::env::var(POINT).unwrap()).unwrap();
    match std::env::var(WORK).unwrap().as_str() {
        "update" => {
            let new = json!({"name": "new", "host": "192.0.2.2", "password": "new"});
            let sent = Sent::Whole(document(new));
            update(&store, Kind::Trunk, 1, Expected::Any, sent).unwrap();
        }
        "create" => {
            create(&store, Kind::Trunk, trunk("second")).unwrap();
        }
        "delete" => {
            delete(&store, Kind::Trunk, 1).unwrap();
        }
        "greet" => {
            let greeting = Recording::of_wav(&wav(200)).unwrap();
            store
                .ask_blocking(move |keeper| keeper.set_greeting(&ops(), 1, Some(greeting)))
                .unwrap();
        }
        "rotate" => {
            store.ask_blocking(|keeper| keeper.rotate_key(&ops())).unwrap();
        }
        "restore" => {
            let copy = directory.join("copy.db");
            store
                .ask_blocking(move |keeper| {
                    let place = keeper.place_for_copy()?;
                    std::fs::copy(copy, place.path()).unwrap();
                    keeper.restore(&ops(), &place)
                })
                .unwrap();
        }
        other => panic!("no work {other}"),
    }
}

/// Runs the child; whether it was killed.
fn killed(scratch: &Scratch, work: &str, point: &str) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::faults::child", "--nocapture"])
        .env(POINT, point)
        .env(DIRECTORY, scratch.path(""))
        .env(WORK, work)
        .status()
        .unwrap();
    !status.success()
}

/// A store with one trunk and a route that names it, closed again.
fn laid() -> Scratch {
    let scratch = Scratch::new("fault");
    let store = scratch.open().unwrap();
    let old = json!({"name": "old", "host": "192.0.2.1", "password": "old"});
    create(&store, Kind::Trunk, document(old)).unwrap();
    scratch
}

/// What there is of trunk 1: name, host, password, version; the audit log holds and matches.
fn found(scratch: &Scratch) -> Option<(String, String, String, u64)> {
    let store = scratch.open().unwrap();
    let catalog = store.catalog();
    let entries = log(&store);
    let object = catalog.get(Kind::Trunk, 1)?;
    let last = entries.iter().rev().find(|entry| entry.kind == "trunk" && entry.id == 1).unwrap();
    let after: serde_json::Value = serde_json::from_str(&last.after).unwrap();
    assert_eq!(after["host"], object.text("host"), "the log tells of what is there");
    Some((
        object.name.clone(),
        object.text("host").to_owned(),
        object.secrets["password"].expose().clone(),
        object.version,
    ))
}

fn old() -> (String, String, String, u64) {
    ("old".into(), "192.0.2.1".into(), "old".into(), 1)
}

#[test]
fn a_killed_save_leaves_the_old_trunk_or_the_new_one() {
    for point in POINTS {
        let scratch = laid();
        let store = scratch.open().unwrap();
        let route = document(json!({"name": "r", "destination": "old"}));
        create(&store, Kind::Route, route).unwrap();
        drop(store);
        assert!(killed(&scratch, "update", point), "{point} is passed");
        let new = ("new".into(), "192.0.2.2".into(), "new".into(), 2);
        let wanted = if point == "committed" { new } else { old() };
        assert_eq!(found(&scratch), Some(wanted.clone()), "killed at {point}");
        let catalog = scratch.open().unwrap().catalog();
        let route = catalog.by_name(Kind::Route, "r").unwrap();
        assert_eq!(route.text("destination"), wanted.0, "the route follows, killed at {point}");
    }
}

#[test]
fn a_killed_creation_leaves_the_trunk_or_nothing() {
    for point in POINTS {
        let scratch = laid();
        assert!(killed(&scratch, "create", point), "{point} is passed");
        let store = scratch.open().unwrap();
        let there = store.catalog().by_name(Kind::Trunk, "second").cloned();
        assert_eq!(there.is_some(), point == "committed", "killed at {point}");
        assert_eq!(log(&store).len(), if there.is_some() { 2 } else { 1 });
    }
}

#[test]
fn a_killed_deletion_leaves_the_trunk_or_its_undo() {
    for point in POINTS {
        let scratch = laid();
        assert!(killed(&scratch, "delete", point), "{point} is passed");
        let store = scratch.open().unwrap();
        let (there, undo) =
            (store.catalog().get(Kind::Trunk, 1).is_some(), store.catalog().deleted.len());
        assert_eq!((there, undo), if point == "committed" { (false, 1) } else { (true, 0) });
        assert_eq!(log(&store).len(), 1 + undo);
    }
}

#[test]
fn a_killed_upload_leaves_a_whole_greeting_or_none() {
    for point in POINTS {
        let scratch = laid();
        assert!(killed(&scratch, "greet", point), "{point} is passed");
        let store = scratch.open().unwrap();
        let greeting = store.catalog().get(Kind::Trunk, 1).unwrap().greeting.clone();
        let wanted = (point == "committed").then(|| Recording::of_wav(&wav(200)).unwrap());
        assert_eq!(greeting, wanted, "killed at {point}");
        assert_eq!(log(&store).len(), 1 + usize::from(wanted.is_some()));
    }
}

#[test]
fn a_killed_rotation_leaves_a_key_file_that_opens_everything() {
    for point in POINTS {
        let scratch = laid();
        assert!(killed(&scratch, "rotate", point), "{point} is passed");
        assert_eq!(found(&scratch), Some(old()), "killed at {point}");
        let store = scratch.open().unwrap();
        store.ask_blocking(|keeper| keeper.rotate_key(&ops())).unwrap();
        drop(store);
        assert_eq!(found(&scratch), Some(old()), "rotated again after {point}");
    }
}

#[test]
fn a_killed_restore_leaves_the_old_store_or_the_copy() {
    for point in ["before restore", "restored", "before commit", "committed"] {
        let scratch = laid();
        let store = scratch.open().unwrap();
        let copy = store.ask_blocking(|keeper| keeper.backup(&ops())).unwrap();
        std::fs::copy(copy.path(), scratch.path("copy.db")).unwrap();
        create(&store, Kind::Trunk, trunk("later")).unwrap();
        drop((copy, store));
        assert!(killed(&scratch, "restore", point), "{point} is passed");
        let store = scratch.open().unwrap();
        let later = store.catalog().by_name(Kind::Trunk, "later").is_some();
        assert_eq!(later, point == "before restore", "killed at {point}");
        drop(store);
        assert_eq!(found(&scratch), Some(old()), "killed at {point}");
    }
}

#[test]
fn a_child_that_is_not_killed_ends_well() {
    let scratch = laid();
    assert!(!killed(&scratch, "update", "no such point"), "positive control");
}
