//! The one thread that writes, and the handle by which everybody asks it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use jiff::{SignedDuration, Timestamp, Unit};
use serde_json::Value;
use tokio::sync::oneshot;

use super::audit::Actor;
use super::catalog::{Catalog, Deleted, Kind, Object};
use super::database::{Batch, Change, Contents, Database, Row, Sealed};
use super::key_file::KeyFile;
use super::seal::{Keys, Place, SealError};
use super::sqlite::{Fault, Sqlite};
use super::tokens::Token;
use super::{Finding, JOBS_MAX, Refusal, StoreError, UNDO_HOURS};
use crate::trunk::tones::Recording;

/// What becomes of the catalog: it knows the rules, and turns what is stored into what runs.
pub trait Consumer: Send {
    /// What is wrong with `changed` in `candidate`; empty when they may be saved.
    fn check(&mut self, candidate: &Catalog, changed: &[Arc<Object>]) -> Vec<Finding>;

    /// The catalog was committed: take it over.
    fn follow(&mut self, catalog: &Arc<Catalog>);

    /// A trunk that left the catalog goes a step further in leaving what runs.
    fn depart(&mut self, id: u32, step: Departure);
}

/// How far a trunk is in leaving. Before, it runs on and takes no new calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Departure {
    /// Its last call is over: it leaves its registrar.
    Leave,
    /// It runs no longer.
    Gone,
}

/// How to open a store.
pub struct Opening {
    /// The database file.
    pub file: PathBuf,
    /// The key file; made at the first start.
    pub key_file: PathBuf,
    /// Who follows the catalog.
    pub consumer: Box<dyn Consumer>,
    /// Called at each named point of a save.
    pub fault: Fault,
}

/// The store, as everybody sees it. Clones share it; the thread ends with the last one.
#[derive(Clone)]
pub struct Store(Arc<Handle>);

struct Handle {
    jobs: Option<Sender<Job>>,
    published: Arc<RwLock<Arc<Catalog>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

type Job = Box<dyn FnOnce(&mut Keeper) + Send>;

/// The state of the writing thread.
pub struct Keeper {
    pub(super) database: Box<dyn Database>,
    pub(super) key_file: KeyFile,
    catalog: Arc<Catalog>,
    consumer: Box<dyn Consumer>,
    published: Arc<RwLock<Arc<Catalog>>>,
    /// Where backups are made before they are handed out.
    pub(super) directory: PathBuf,
}

impl Store {
    /// Opens or makes the store and starts its thread.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn open(opening: Opening) -> Result<Self, StoreError> {
        let database = Sqlite::open(&opening.file, opening.fault)?;
        let directory = opening.file.parent().unwrap_or(Path::new(".")).to_owned();
        Self::start(Box::new(database), &opening.key_file, directory, opening.consumer)
    }

    /// The same with a database that is already open.
    pub(super) fn start(
        mut database: Box<dyn Database>,
        key_file: &Path,
        directory: PathBuf,
        consumer: Box<dyn Consumer>,
    ) -> Result<Self, StoreError> {
        let contents = database.load()?;
        let key_file = keys_for(&contents, key_file)?;
        let catalog = Arc::new(Catalog::default());
        let published = Arc::new(RwLock::new(Arc::clone(&catalog)));
        let shared = Arc::clone(&published);
        let mut keeper =
            Keeper { database, key_file, catalog, consumer, published: shared, directory };
        keeper.take(contents)?;
        let (jobs, queue) = bounded(JOBS_MAX);
        let thread = std::thread::Builder::new()
            .name(String::from("store"))
            .spawn(move || keeper.run(&queue))
            .map_err(|error| StoreError::Thread(error.to_string()))?;
        let thread = Mutex::new(Some(thread));
        Ok(Self(Arc::new(Handle { jobs: Some(jobs), published, thread })))
    }

    /// The newest catalog.
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.0.published.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has the keeper do `job` and waits for its outcome.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when too many wait, else what the job says.
    pub async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Keeper) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.queue(job)?.await.unwrap_or(Err(Refusal::Busy))
    }

    /// The same for a thread that may block.
    ///
    /// # Errors
    /// As [`Store::ask`].
    pub fn ask_blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Keeper) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.queue(job)?.blocking_recv().unwrap_or(Err(Refusal::Busy))
    }

    fn queue<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Keeper) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, Refusal>>, Refusal> {
        let (reply, outcome) = oneshot::channel();
        let job: Job = Box::new(move |keeper| {
            // Whoever asked may be gone; the work is done all the same.
            let _nobody_listens = reply.send(job(keeper));
        });
        match self.0.jobs.as_ref().map(|jobs| jobs.try_send(job)) {
            Some(Ok(())) => Ok(outcome),
            Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None => {
                Err(Refusal::Busy)
            }
        }
    }
}

/// Ends the thread when its queue is empty, so that what was answered is also written.
impl Drop for Handle {
    fn drop(&mut self) {
        self.jobs = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the store's thread ended by a panic; report this with the log");
        }
    }
}

impl Keeper {
    fn run(mut self, queue: &Receiver<Job>) {
        loop {
            match queue.recv_timeout(TEND_INTERVAL) {
                Ok(job) => job(&mut self),
                Err(RecvTimeoutError::Timeout) => self.forget(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// The newest catalog.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The time as it is stored: UTC, milliseconds.
    pub(super) fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        now.round(Unit::Millisecond).unwrap_or(now)
    }

    pub(super) fn check(
        &mut self,
        candidate: &Catalog,
        changed: &[Arc<Object>],
    ) -> Result<(), Refusal> {
        let findings = self.consumer.check(candidate, changed);
        if findings.is_empty() { Ok(()) } else { Err(Refusal::Invalid(findings)) }
    }

    /// What was committed becomes what everybody sees.
    pub(super) fn publish(&mut self, mut catalog: Catalog) {
        catalog.generation = self.catalog.generation + 1;
        self.catalog = Arc::new(catalog);
        self.consumer.follow(&self.catalog);
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&self.catalog);
    }

    /// Tells whoever follows the catalog that a deleted trunk goes a step further.
    ///
    /// # Errors
    /// None of its own.
    pub fn depart(&mut self, id: u32, step: Departure) -> Result<(), Refusal> {
        self.consumer.depart(id, step);
        self.consumer.follow(&self.catalog);
        Ok(())
    }

    /// Makes the catalog from what the database holds, and publishes it.
    pub(super) fn take(&mut self, contents: Contents) -> Result<(), StoreError> {
        if !contents.notes.iter().any(|(name, _)| name == KEY_CHECK) {
            let sealed = self.key_check()?;
            let changes = vec![Change::Note(KEY_CHECK, sealed)];
            self.database.commit(Batch { changes, ..Batch::default() })?;
        }
        let catalog = self.assemble(contents)?;
        self.publish(catalog);
        Ok(())
    }

    /// What `contents` stand for; an error when a row does not read or a secret does not open.
    pub(super) fn assemble(&self, contents: Contents) -> Result<Catalog, StoreError> {
        let mut catalog = Catalog::default();
        let mut greetings = contents.greetings;
        for row in contents.rows {
            let (deleted, mut object) = (row.deleted, self.read(row)?);
            if object.kind == Kind::Trunk {
                object.greeting = greeting(object.id, greetings.remove(&object.id))?;
            }
            let object = Arc::new(object);
            match deleted {
                Some(at) => {
                    let place = (object.kind, object.id);
                    catalog.deleted.insert(place, Deleted { object, at });
                }
                None => catalog.put(object),
            }
        }
        for row in contents.tokens {
            let what = format!("token {}", row.id);
            let token = Token::read(row).ok_or_else(|| StoreError::Corrupt {
                what,
                cause: String::from("its role is unknown"),
            })?;
            catalog.tokens.insert(token.id, Arc::new(token));
        }
        Ok(catalog)
    }

    fn read(&self, row: Row) -> Result<Object, StoreError> {
        let what = format!("{} {}", row.kind.name(), row.id);
        let document: Value = serde_json::from_str(&row.document).map_err(|error| {
            StoreError::Corrupt { what: what.clone(), cause: error.to_string() }
        })?;
        let Value::Object(document) = document else {
            return Err(StoreError::Corrupt { what, cause: String::from("it is no object") });
        };
        let mut secrets = BTreeMap::new();
        for (field, sealed) in row.sealed {
            let place = Place { kind: row.kind.name(), id: row.id, field: &field };
            let opened = self.key_file.keys.open(place, &sealed).map_err(|error| {
                StoreError::Corrupt { what: what.clone(), cause: format!("field {field}: {error}") }
            })?;
            secrets.insert(field, opened);
        }
        Ok(Object {
            kind: row.kind,
            id: row.id,
            version: row.version,
            name: row.name,
            created: row.created,
            updated: row.updated,
            document,
            secrets,
            greeting: None,
        })
    }

    /// The object as a row, its secrets sealed.
    pub(super) fn row(
        &self,
        object: &Object,
        deleted: Option<Timestamp>,
    ) -> Result<Row, StoreError> {
        let mut sealed = Vec::with_capacity(object.secrets.len());
        for (field, secret) in &object.secrets {
            let place = Place { kind: object.kind.name(), id: object.id, field };
            let value = self.key_file.keys.seal(place, secret.expose()).map_err(sealing)?;
            sealed.push((field.clone(), value));
        }
        Ok(Row {
            kind: object.kind,
            id: object.id,
            version: object.version,
            name: object.name.clone(),
            created: object.created,
            updated: object.updated,
            deleted,
            document: Value::Object(object.document.clone()).to_string(),
            sealed,
        })
    }

    /// Seals everything anew under a new key and drops the old ones. Killed at any point, the key
    /// file opens everything: it holds both keys until all rows are sealed under the new one.
    ///
    /// # Errors
    /// What the key file or the database says.
    pub fn rotate_key(&mut self, actor: &Actor) -> Result<u32, Refusal> {
        let both = self.key_file.keys.with_new().map_err(sealing)?;
        let number = both.active();
        self.key_file.replace(both)?;
        let catalog = Arc::clone(&self.catalog);
        let deleted = catalog.deleted.values().map(|deleted| &deleted.object);
        let mut batch = Batch::default();
        for object in Kind::ALL.iter().flat_map(|kind| catalog.all(*kind)).chain(deleted) {
            for (field, sealed) in self.row(object, None)?.sealed {
                let (kind, id) = (object.kind, object.id);
                batch.changes.push(Change::Seal(Sealed { kind, id, field, sealed }));
            }
        }
        batch.changes.push(Change::Note(KEY_CHECK, self.key_check()?));
        let mut draft = self.draft(actor, "rotate-key", None, None);
        draft.kind = String::from("store");
        draft.after = serde_json::json!({ "key": number });
        batch.drafts.push(draft);
        self.database.commit(batch)?;
        self.key_file.replace(self.key_file.keys.only_active())?;
        Ok(number)
    }

    fn key_check(&self) -> Result<Vec<u8>, StoreError> {
        self.key_file.keys.seal(KEY_CHECK_PLACE, KEY_CHECK).map_err(sealing)
    }

    /// Removes for good what was deleted long enough ago.
    fn forget(&mut self) {
        let limit = SignedDuration::from_hours(UNDO_HOURS);
        let now = self.now();
        let old: Vec<_> = self
            .catalog
            .deleted
            .iter()
            .filter(|(_, deleted)| now.duration_since(deleted.at) >= limit)
            .map(|(place, deleted)| (*place, Arc::clone(&deleted.object)))
            .collect();
        if old.is_empty() {
            return;
        }
        let gateway = Actor::gateway();
        let mut next = (*self.catalog).clone();
        let mut batch = Batch::default();
        for ((kind, id), object) in old {
            next.deleted.remove(&(kind, id));
            batch.changes.push(Change::Forget { kind, id });
            batch.drafts.push(self.draft(&gateway, "forget", Some(&object), None));
        }
        match self.database.commit(batch) {
            Ok(()) => self.publish(next),
            Err(error) => tracing::error!(%error, "deleted objects are not removed"),
        }
    }
}

/// A stored greeting as it is said.
fn greeting(
    trunk: u32,
    stored: Option<(Vec<u8>, Vec<u8>)>,
) -> Result<Option<Recording>, StoreError> {
    let Some((wav, octets)) = stored else { return Ok(None) };
    let whole = Recording::stored(wav, octets).ok_or_else(|| StoreError::Corrupt {
        what: format!("the greeting of trunk {trunk}"),
        cause: String::from("its octets are not those of a recording"),
    })?;
    Ok(Some(whole))
}

fn sealing(error: SealError) -> StoreError {
    StoreError::Database(error.to_string())
}

/// The key file that opens `contents`. A new one is made only for a store that has sealed nothing.
fn keys_for(contents: &Contents, path: &Path) -> Result<KeyFile, StoreError> {
    let check = contents.notes.iter().find(|(name, _)| name == KEY_CHECK);
    if !KeyFile::exists(path) && check.is_none() {
        return KeyFile::create(path);
    }
    let file = KeyFile::open(path)?;
    own(&file.keys, contents).map_err(|cause| StoreError::Key {
        file: path.display().to_string(),
        cause,
        remedy: "restore the key file that was in use when the store was written",
    })?;
    Ok(file)
}

/// Whether `contents` were sealed under these keys; else what is wrong.
pub(super) fn own(keys: &Keys, contents: &Contents) -> Result<(), String> {
    let check = contents.notes.iter().find(|(name, _)| name == KEY_CHECK);
    match check.map(|(_, sealed)| keys.open(KEY_CHECK_PLACE, sealed)) {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(format!("it is not the key file of this store: {error}")),
    }
}

/// How often deleted objects are looked at.
const TEND_INTERVAL: Duration = Duration::from_secs(60);
/// A value that every key file of this store can open.
const KEY_CHECK: &str = "key_check";
const KEY_CHECK_PLACE: Place<'_> = Place { kind: "store", id: 0, field: KEY_CHECK };
