//! A greeting shares the fate of its trunk.

use super::super::*;
use super::rig::*;
use crate::trunk::tones::Recording;
use crate::trunk::tones::tests::wav;

fn greet(store: &Store, ms: u32) -> Result<(), Refusal> {
    let greeting = Recording::of_wav(&wav(ms)).unwrap();
    store.ask_blocking(move |keeper| keeper.set_greeting(&ops(), 1, Some(greeting)).map(drop))
}

fn ms(store: &Store) -> Option<u32> {
    store.catalog().get(Kind::Trunk, 1)?.greeting.as_ref().map(Recording::ms)
}

#[test]
fn a_greeting_survives_restarts_edits_and_the_undo_of_a_deletion() {
    let scratch = Scratch::new("greeting");
    let store = scratch.open().unwrap();
    create(&store, Kind::Trunk, trunk("a")).unwrap();
    greet(&store, 300).unwrap();
    let patch = Sent::Patch(document(serde_json::json!({"host": "192.0.2.7"})));
    update(&store, Kind::Trunk, 1, Expected::Any, patch).unwrap();
    assert_eq!(ms(&store), Some(300));
    drop(store);
    let store = scratch.open().unwrap();
    assert_eq!(ms(&store), Some(300), "after a restart");
    delete(&store, Kind::Trunk, 1).unwrap();
    assert!(matches!(greet(&store, 100), Err(Refusal::NotFound { .. })));
    drop(store);
    let store = scratch.open().unwrap();
    store.ask_blocking(|keeper| keeper.undelete(&ops(), Kind::Trunk, 1)).unwrap();
    assert_eq!(ms(&store), Some(300), "brought back with its trunk");
    store.ask_blocking(|keeper| keeper.set_greeting(&ops(), 1, None)).unwrap();
    assert_eq!(ms(&store), None);
    drop(store);
    assert_eq!(ms(&scratch.open().unwrap()), None);
}

#[test]
fn a_greeting_is_in_the_backup() {
    let scratch = Scratch::new("greeting-backup");
    let store = scratch.open().unwrap();
    create(&store, Kind::Trunk, trunk("a")).unwrap();
    greet(&store, 300).unwrap();
    let copy = store.ask_blocking(|keeper| keeper.backup(&ops())).unwrap();
    greet(&store, 100).unwrap();
    store.ask_blocking(move |keeper| keeper.restore(&ops(), &copy)).unwrap();
    assert_eq!(ms(&store), Some(300));
}
