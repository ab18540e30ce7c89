//! A store in a directory of its own.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::super::*;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A directory that ends with the test.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let path = std::env::temp_dir().join(format!("trunkline-{name}-{process}-{number}"));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn open(&self) -> Result<Store, StoreError> {
        self.open_with(Book::default())
    }

    pub fn open_with(&self, book: Book) -> Result<Store, StoreError> {
        Store::open(Opening {
            file: self.path("store.db"),
            key_file: self.path("store.key"),
            consumer: Box::new(book),
            fault: |_| (),
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _left_behind = fs::remove_dir_all(&self.0);
    }
}

/// A consumer that refuses documents with a field `bad`, and remembers what it followed.
#[derive(Clone, Default)]
pub struct Book(pub Arc<Mutex<Vec<u64>>>);

impl Consumer for Book {
    fn check(&mut self, _: &Catalog, changed: &[Arc<Object>]) -> Vec<Finding> {
        let bad = changed.iter().filter_map(|object| object.document.get("bad"));
        bad.map(|value| Finding {
            field: "bad".into(),
            value: value.clone(),
            rule: "there is no such field".into(),
            remedy: "remove it".into(),
        })
        .collect()
    }

    fn follow(&mut self, catalog: &Arc<Catalog>) {
        self.0.lock().unwrap().push(catalog.generation);
    }

    fn depart(&mut self, _: u32, _: Departure) {}
}

pub fn ops() -> Actor {
    Actor { name: "ops".into(), source: "192.0.2.9".into() }
}

pub fn document(value: Value) -> Document {
    value.as_object().unwrap().clone()
}

pub fn trunk(name: &str) -> Document {
    document(json!({"name": name, "host": "192.0.2.1", "password": format!("secret-of-{name}")}))
}

pub fn create(store: &Store, kind: Kind, fields: Document) -> Result<Arc<Object>, Refusal> {
    store
        .ask_blocking(move |keeper| keeper.create(&ops(), kind, fields, None))
        .map(|saved| saved.object)
}

pub fn update(
    store: &Store,
    kind: Kind,
    id: u32,
    expected: Expected,
    sent: Sent,
) -> Result<Arc<Object>, Refusal> {
    store
        .ask_blocking(move |keeper| keeper.update(&ops(), kind, id, expected, sent))
        .map(|saved| saved.object)
}

pub fn delete(store: &Store, kind: Kind, id: u32) -> Result<Deleted, Refusal> {
    store.ask_blocking(move |keeper| keeper.delete(&ops(), kind, id, Expected::Any))
}

/// The audit log from its first entry; it holds.
pub fn log(store: &Store) -> Vec<Entry> {
    let mut entries = Vec::new();
    let (entries, holds) = store
        .ask_blocking(move |keeper| {
            let mut chain = audit::Chain::default();
            let mut holds = true;
            keeper.database.walk_audit(&mut |entry| {
                holds &= chain.follow(entry);
                entries.push(entry.clone());
                true
            })?;
            Ok((entries, holds))
        })
        .unwrap();
    assert!(holds, "the chain is broken");
    entries
}
