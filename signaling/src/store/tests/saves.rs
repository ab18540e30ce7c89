use serde_json::json;

use super::super::save::Once;
use super::super::*;
use super::rig::*;

#[test]
fn what_was_saved_is_there_after_a_restart_with_its_id_and_version() {
    let scratch = Scratch::new("restart");
    let store = scratch.open().unwrap();
    let first = create(&store, Kind::Trunk, trunk("a")).unwrap();
    let second = create(&store, Kind::Trunk, trunk("b")).unwrap();
    let patch = Sent::Patch(document(json!({"host": "192.0.2.77"})));
    let changed = update(&store, Kind::Trunk, second.id, Expected::Version(1), patch).unwrap();
    assert_eq!((first.id, second.id, changed.version), (1, 2, 2));
    drop(store);
    let catalog = scratch.open().unwrap().catalog();
    let again = catalog.by_name(Kind::Trunk, "b").unwrap();
    assert_eq!((again.id, again.version, again.text("host")), (2, 2, "192.0.2.77"));
    assert_eq!(again.secrets["password"].expose(), "secret-of-b");
    assert_eq!((again.created, again.updated), (changed.created, changed.updated));
}

#[test]
fn a_second_writer_learns_that_the_object_changed() {
    let scratch = Scratch::new("etag");
    let store = scratch.open().unwrap();
    let id = create(&store, Kind::Trunk, trunk("a")).unwrap().id;
    let patch = |host: &str| Sent::Patch(document(json!({"host": host})));
    update(&store, Kind::Trunk, id, Expected::Version(1), patch("192.0.2.2")).unwrap();
    let late = update(&store, Kind::Trunk, id, Expected::Version(1), patch("192.0.2.3"));
    assert!(matches!(late, Err(Refusal::Changed { version: 2 })), "{late:?}");
    assert_eq!(store.catalog().get(Kind::Trunk, id).unwrap().text("host"), "192.0.2.2");
    update(&store, Kind::Trunk, id, Expected::Any, patch("192.0.2.3")).unwrap();
}

#[test]
fn a_refused_document_changes_nothing_and_takes_no_number() {
    let scratch = Scratch::new("refused");
    let book = Book::default();
    let store = scratch.open_with(book.clone()).unwrap();
    let mut bad = trunk("a");
    bad.insert("bad".into(), json!(7));
    let refused = create(&store, Kind::Trunk, bad);
    let Err(Refusal::Invalid(findings)) = refused else { panic!("{refused:?}") };
    assert_eq!((findings[0].field.as_str(), &findings[0].value), ("bad", &json!(7)));
    for name in [json!(null), json!(""), json!(5)] {
        let refused = create(&store, Kind::Trunk, document(json!({"name": name})));
        assert!(matches!(refused, Err(Refusal::Invalid(_))), "{name}: {refused:?}");
    }
    let long = document(json!({"name": "a", "allow": "x".repeat(DOCUMENT_BYTES_MAX)}));
    assert!(matches!(create(&store, Kind::Trunk, long), Err(Refusal::Invalid(_))));
    assert_eq!(book.0.lock().unwrap().len(), 1, "published once, at the start");
    assert!(log(&store).is_empty());
    assert_eq!(create(&store, Kind::Trunk, trunk("a")).unwrap().id, 1);
}

#[test]
fn names_are_unique_over_trunks_and_groups() {
    let scratch = Scratch::new("names");
    let store = scratch.open().unwrap();
    create(&store, Kind::Trunk, trunk("a")).unwrap();
    for kind in [Kind::Trunk, Kind::Group] {
        let refused = create(&store, kind, document(json!({"name": "a"})));
        assert!(matches!(refused, Err(Refusal::Invalid(_))), "{kind:?}");
    }
    create(&store, Kind::Route, document(json!({"name": "a"}))).unwrap();
}

#[test]
fn renaming_a_trunk_renames_it_where_it_is_named() {
    let scratch = Scratch::new("rename");
    let store = scratch.open().unwrap();
    let trunk_id = create(&store, Kind::Trunk, trunk("old")).unwrap().id;
    let route = json!({"name": "r", "from_trunk": "old", "destination": "old"});
    let route = create(&store, Kind::Route, document(route)).unwrap();
    let patch = Sent::Patch(document(json!({"name": "new"})));
    update(&store, Kind::Trunk, trunk_id, Expected::Any, patch).unwrap();
    let catalog = store.catalog();
    let route = catalog.get(Kind::Route, route.id).unwrap();
    assert_eq!((route.text("from_trunk"), route.text("destination")), ("new", "new"));
    assert_eq!(route.version, 2);
    assert!(catalog.by_name(Kind::Trunk, "old").is_none());
    let actions: Vec<_> = log(&store).into_iter().map(|entry| entry.action).collect();
    assert_eq!(actions, ["create", "create", "update", "rename"]);
}

#[test]
fn deletion_is_blocked_while_referenced_and_can_be_undone() {
    let scratch = Scratch::new("delete");
    let store = scratch.open().unwrap();
    let a = create(&store, Kind::Trunk, trunk("a")).unwrap();
    let route = document(json!({"name": "r", "from_trunk": "any", "destination": "a"}));
    let route = create(&store, Kind::Route, route).unwrap();
    let refused = delete(&store, Kind::Trunk, a.id);
    let Err(Refusal::Referenced(references)) = refused else { panic!("{refused:?}") };
    assert_eq!(references.len(), 1);
    assert_eq!((references[0].kind, references[0].field), ("route", "destination"));
    delete(&store, Kind::Route, route.id).unwrap();
    delete(&store, Kind::Trunk, a.id).unwrap();
    assert!(store.catalog().get(Kind::Trunk, a.id).is_none());
    drop(store);
    let store = scratch.open().unwrap();
    let id = a.id;
    let back = store.ask_blocking(move |keeper| keeper.undelete(&ops(), Kind::Trunk, id)).unwrap();
    assert_eq!((back.object.id, back.object.version), (a.id, 3));
    assert_eq!(back.object.secrets["password"].expose(), "secret-of-a");
    let twice = store.ask_blocking(move |keeper| keeper.undelete(&ops(), Kind::Trunk, id));
    assert!(matches!(twice, Err(Refusal::NotFound { .. })));
}

#[test]
fn a_deleted_object_does_not_come_back_over_a_new_one_of_its_name() {
    let scratch = Scratch::new("undelete");
    let store = scratch.open().unwrap();
    let id = create(&store, Kind::Trunk, trunk("a")).unwrap().id;
    delete(&store, Kind::Trunk, id).unwrap();
    let second = create(&store, Kind::Trunk, trunk("a")).unwrap();
    assert_ne!(second.id, id, "a number is given once");
    let refused = store.ask_blocking(move |keeper| keeper.undelete(&ops(), Kind::Trunk, id));
    assert!(matches!(refused, Err(Refusal::Invalid(_))), "{refused:?}");
}

#[test]
fn a_repeated_request_is_carried_out_once() {
    let scratch = Scratch::new("once");
    let store = scratch.open().unwrap();
    let once = |fingerprint| Once { token: 1, key: "k".into(), fingerprint: [fingerprint; 32] };
    let ask = |fields: Document, once: Once| {
        store.ask_blocking(move |keeper| keeper.create(&ops(), Kind::Trunk, fields, Some(&once)))
    };
    let first = ask(trunk("a"), once(1)).unwrap();
    let again = ask(trunk("a"), once(1)).unwrap();
    assert_eq!((first.replayed, again.replayed), (false, true));
    assert_eq!(first.object.id, again.object.id);
    assert!(matches!(ask(trunk("b"), once(2)), Err(Refusal::KeyReused)));
    let other = Once { token: 2, ..once(2) };
    assert!(!ask(trunk("b"), other).unwrap().replayed, "keys belong to their token");
    assert_eq!(log(&store).len(), 2);
}

#[test]
fn saving_what_is_there_already_changes_nothing() {
    let scratch = Scratch::new("same");
    let store = scratch.open().unwrap();
    let object = create(&store, Kind::Trunk, trunk("a")).unwrap();
    let shown = Sent::Whole(object.shown());
    let same = update(&store, Kind::Trunk, object.id, Expected::Version(1), shown).unwrap();
    assert_eq!(same.version, 1);
    assert_eq!(log(&store).len(), 1);
}

#[test]
fn the_queue_refuses_what_is_too_much() {
    let scratch = Scratch::new("busy");
    let store = scratch.open().unwrap();
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let (begun, begins) = std::sync::mpsc::channel();
    let busy = store.clone();
    let first = std::thread::spawn(move || {
        busy.ask_blocking(move |_| {
            begun.send(()).unwrap();
            Ok(held.recv().unwrap_err())
        })
    });
    begins.recv().unwrap();
    let waiting: Vec<_> = (0..JOBS_MAX).map(|_| Box::pin(store.ask(|_| Ok(())))).collect();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut waiting = waiting;
    for job in &mut waiting {
        assert!(job.as_mut().poll(&mut context).is_pending());
    }
    assert!(matches!(store.ask_blocking(|_| Ok(())), Err(Refusal::Busy)));
    drop(hold);
    first.join().unwrap().unwrap();
    store.ask_blocking(|_| Ok(())).or_else(|_| store.ask_blocking(|_| Ok(()))).ok();
}

#[test]
fn a_second_gateway_on_one_store_is_refused() {
    let scratch = Scratch::new("second");
    let store = scratch.open().unwrap();
    create(&store, Kind::Trunk, trunk("a")).unwrap();
    let refused = scratch.open().err().unwrap().to_string();
    assert!(refused.contains("another gateway uses it"), "{refused}");
}

#[test]
fn the_last_admin_token_cannot_be_revoked() {
    let scratch = Scratch::new("tokens");
    let store = scratch.open().unwrap();
    let minted = store.ask_blocking(|keeper| keeper.admit(None)).unwrap().unwrap();
    let secret = minted.secret.unwrap();
    let now = jiff::Timestamp::now();
    assert_eq!(store.catalog().token(secret.expose(), now).unwrap().role, Role::Admin);
    assert!(store.catalog().token("trunkline_0", now).is_none());
    assert!(store.ask_blocking(|keeper| keeper.admit(None)).unwrap().is_none(), "once");
    let id = minted.token.id;
    let refused = store.ask_blocking(move |keeper| keeper.revoke(&ops(), id));
    assert!(matches!(refused, Err(Refusal::Conflict(..))));
    let second = store
        .ask_blocking(move |keeper| keeper.mint(&ops(), "b", Role::Admin, Some(now), None))
        .unwrap();
    let ended = store.catalog().token(second.secret.unwrap().expose(), now).cloned();
    assert!(ended.is_none(), "it ended at {now}");
    store.ask_blocking(move |keeper| keeper.revoke(&ops(), id)).unwrap();
    assert!(store.catalog().token(secret.expose(), now).is_none());
}

#[test]
fn a_token_that_could_be_guessed_is_refused() {
    let scratch = Scratch::new("chosen");
    let store = scratch.open().unwrap();
    let short = crate::secret::Secret::new("x".repeat(tokens::CHOSEN_TOKEN_MIN - 1));
    let refused = store.ask_blocking(move |keeper| keeper.admit(Some(&short)));
    assert!(matches!(refused, Err(Refusal::Invalid(_))));
    let chosen = "x".repeat(tokens::CHOSEN_TOKEN_MIN);
    let secret = crate::secret::Secret::new(chosen.clone());
    assert!(store.ask_blocking(move |keeper| keeper.admit(Some(&secret))).unwrap().is_none());
    assert!(store.catalog().token(&chosen, jiff::Timestamp::now()).is_some());
}

#[test]
fn numbers_that_read_as_another_text_do_not_break_the_log() {
    let scratch = Scratch::new("numbers");
    let store = scratch.open().unwrap();
    for (index, number) in
        ["5e-324", "1.7976931348623157e308", "123456789012345678901234567890", "0.1e-17", "-0.0"]
            .into_iter()
            .enumerate()
    {
        let text = format!("{{\"name\": \"t{index}\", \"x\": {number}}}");
        let fields = document(serde_json::from_str(&text).unwrap());
        create(&store, Kind::Trunk, fields).unwrap();
    }
    for seed in 1..200_u64 {
        let number = f64::from_bits(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) & !(1 << 62));
        let fields = document(json!({"name": format!("n{seed}"), "x": number}));
        create(&store, Kind::Trunk, fields).unwrap();
    }
    drop(store);
    assert_eq!(log(&scratch.open().unwrap()).len(), 204, "and it holds");
}

#[test]
fn a_report_goes_with_its_trunk() {
    let scratch = Scratch::new("report");
    let store = scratch.open().unwrap();
    for name in ["a", "b"] {
        create(&store, Kind::Trunk, trunk(name)).unwrap();
    }
    create(&store, Kind::Group, document(json!({"name": "g"}))).unwrap();
    let kept = |trunk| store.ask_blocking(move |keeper| keeper.report(trunk)).unwrap();
    for id in [1, 2] {
        let deed =
            audit::Deed { action: "test", kind: "trunk", id, name: "x".into(), after: json!({}) };
        let keep = move |keeper: &mut Keeper| keeper.keep_report(&ops(), deed, id, "{}".into());
        store.ask_blocking(keep).unwrap();
    }
    let forget = |kind, id| {
        let changes = vec![database::Change::Forget { kind, id }];
        let batch = Batch { changes, ..Batch::default() };
        store
            .ask_blocking(move |keeper| keeper.database.commit(batch).map_err(Refusal::from))
            .unwrap();
    };
    forget(Kind::Group, 1);
    assert_eq!((kept(1).as_deref(), kept(2).as_deref()), (Some("{}"), Some("{}")));
    forget(Kind::Trunk, 1);
    assert_eq!((kept(1), kept(2).as_deref()), (None, Some("{}")));
}

#[test]
fn a_store_of_the_first_version_gets_the_tables_of_the_newest() {
    let scratch = Scratch::new("first-version");
    let store = scratch.open().unwrap();
    create(&store, Kind::Trunk, trunk("a")).unwrap();
    drop(store);
    let tables = rusqlite::Connection::open(scratch.path("store.db")).unwrap();
    tables
        .execute_batch("DROP TABLE reports; DROP TABLE greetings; PRAGMA user_version = 1;")
        .unwrap();
    drop(tables);
    let store = scratch.open().unwrap();
    assert!(store.catalog().by_name(Kind::Trunk, "a").is_some());
    assert_eq!(store.ask_blocking(|keeper| keeper.report(1)).unwrap(), None);
}
