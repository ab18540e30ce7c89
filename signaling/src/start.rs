//! From a configuration to running shards, and what can stand in the way.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::AttachError;
use abi::handover::ConnectError;
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use sip::endpoint::{Config as EndpointConfig, Endpoint, Hop, UDP_REQUEST_BYTES_MAX};
use sip::transaction::Timers;
use tokio::sync::mpsc;

use crate::Entropy;
use crate::admission::Admission;
use crate::api::{Api, Begin, Gateway, HttpError, Server};
use crate::ask::{Ask, asks};
use crate::call::{Index, Settings};
use crate::cdr::Writer;
use crate::config::Config;
use crate::driver::{Attachment, Driver, Sources};
use crate::feed::Feed;
use crate::homes::Homes;
use crate::locate::Memory;
use crate::media::{Bells, Media};
use crate::net::{self, Inbound, Inboxes, Net, NetError};
use crate::plan::{LivePlan, Plan};
use crate::planner::{Move, Planner};
use crate::post::Post;
use crate::pulse::Pulse;
use crate::secret::Secret;
use crate::shard::{Shard, World};
use crate::store::tokens::CHOSEN;
use crate::store::{Opening, Refusal, Store, StoreError};
use crate::ties::Ties;
use crate::trunk::Health;
use crate::trunk::tally::Tallies;
use crate::watch::{Bell, watch};

/// Messages that may wait for one shard's loop; beyond it the transports hold back.
pub const INBOX_MAX: usize = 8_192;
/// Transactions of both kinds and of all shards, finished ones included, beyond which the answer is
/// 503.
const TRANSACTIONS_MAX: usize = 200_000;
/// Dialogs of all shards, early ones included.
const DIALOGS_MAX: usize = 100_000;
/// How long the data plane may take to come up beside us.
const ATTACH_LIMIT: Duration = Duration::from_secs(10);
const ATTACH_PAUSE: Duration = Duration::from_millis(50);

/// How the process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Every call gets its BYE and its CDR.
    EndCalls,
    /// Calls stay as they are, media goes on: another signalling process will come.
    LeaveCalls,
}

/// Ends a running [`run`]. Clones end the same one.
#[derive(Clone, Debug)]
pub struct Stop(Sender<End>);

impl Stop {
    pub fn end_calls(&self) {
        let _ending_already = self.0.try_send(End::EndCalls);
    }

    pub fn leave_calls(&self) {
        let _ending_already = self.0.try_send(End::LeaveCalls);
    }
}

/// A way to end [`run`], and what to hand to it.
pub fn stop() -> (Stop, Receiver<End>) {
    let (sender, receiver) = bounded(2);
    (Stop(sender), receiver)
}

/// Why signaling cannot start. Each text names the thing, the cause and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error("[sip] shards = {shards}, and this process has {cores} cores: give it no more shards")]
    Shards { shards: usize, cores: usize },
    #[error(
        "[sip] shards = {shards} need as many workers, and the data plane has fewer: set [media] \
         workers = {shards} where it is started, or lower [sip] shards"
    )]
    Workers { shards: usize },
    #[error("[cdr] file {file}: {cause}; make the directory writable for this user")]
    Cdr { file: String, cause: std::io::Error },
    #[error("the kernel gives no random bytes: {0}; check that /dev/urandom exists")]
    Entropy(String),
    #[error("no thread: {0}; raise the limit of processes (ulimit -u)")]
    Thread(std::io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the first token: {0}")]
    Token(Refusal),
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl StartError {
    /// Whether an edit of the configuration is the remedy.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Net(error) => error.is_configuration(),
            Self::Store(error) => error.is_configuration(),
            Self::Token(_) | Self::Shards { .. } | Self::Workers { .. } => true,
            _ => false,
        }
    }
}

/// Runs signaling until `stopped` says how to end. Blocks. `pulse` tells whoever watches how it fares.
///
/// # Errors
/// [`StartError`], before any message is taken.
pub fn run(mut config: Config, stopped: Receiver<End>, pulse: Pulse) -> Result<(), StartError> {
    let shards = config.sip.shards;
    check_shards(shards, cores())?;
    let mut entropy = entropy()?;
    let mut key = [0_u8; 16];
    entropy(&mut key);
    let homes = Homes::new(shards, key);
    // Dropped last: it waits for the shards' ways into the file to be gone.
    let cdrs = Writer::open(&config.cdr.file, config.cdr.mask)
        .map_err(|cause| StartError::Cdr { file: config.cdr.file.display().to_string(), cause })?;
    let (left, moves) = mpsc::unbounded_channel();
    let (plan, store) = what_runs(&mut config, left)?;
    let socket = config.run.handover_socket();
    let parts = attach(&socket, config.run.orphan_grace, shards)?;
    let (senders, inboxes): (Vec<_>, Vec<_>) = (0..shards).map(|_| bounded(INBOX_MAX)).unzip();
    let post = |number| Post::new(number, homes, senders.clone());
    let posts: Vec<_> = (0..shards).map(post).collect();
    let net = net::start(&config, plan.clone(), Inboxes::new(senders, homes))?;
    // Held to the end, so that no shard ever finds nobody who could ask.
    let (asks, questions) = asks(shards);
    let feeds = Feed::for_shards(shards);
    let feed = feeds.first().cloned().unwrap_or_default();
    if let Some(hook) = config.webhook.take() {
        crate::webhook::start(hook, &feed).map_err(StartError::Thread)?;
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let _server = match (store, &config.http) {
        (Some(store), Some(http)) => {
            let (plan, cdrs) = (plan.clone(), config.cdr.file.clone());
            let probes = net.probes();
            let test: Begin = Arc::new(move |trunk, call| probes.start(trunk, call));
            let gateway = Gateway { asks: asks.clone(), feed, plan, test, cdrs };
            Some(Server::start(&Api::new(store, gateway), http, moves)?)
        }
        _ => None,
    };
    let builder = Builder { config: &config, net: &net, plan: &plan, cdrs: &cdrs };
    let made = parts.into_iter().zip(feeds).zip(posts.into_iter().zip(Ties::between(shards)));
    let made = made.map(|((part, feed), ties)| builder.shard(part, feed, ties));
    let made = made.collect::<Result<Vec<_>, StartError>>()?;
    let (trunks, routes) = (config.trunks.len(), config.routes.iter().count());
    tracing::info!(trunks, routes, shards, "ready");
    pulse.follow(asks.clone()).map_err(StartError::Thread)?;
    let queues = inboxes.into_iter().zip(questions);
    let made = made.into_iter().zip(queues).map(|((shard, bells), (inbox, asks))| Made {
        published: plan.bell(),
        shard,
        bells,
        inbox,
        asks,
    });
    run_all(made.collect(), socket, config.run.orphan_grace, stopped)
}

/// A shard that is ready to run, and where its work comes from.
struct Made {
    shard: Shard,
    bells: Receiver<Bell>,
    inbox: Receiver<Inbound>,
    asks: Receiver<Ask>,
    published: Receiver<()>,
}

/// Runs the first shard on this thread, each of the others on one of its own, until all have ended.
fn run_all(
    made: Vec<Made>,
    socket: PathBuf,
    orphan_grace: Duration,
    stopped: Receiver<End>,
) -> Result<(), StartError> {
    let mut made = made.into_iter();
    let Some(first) = made.next() else { return Ok(()) };
    std::thread::scope(|scope| {
        let (mut ends, mut gives) = (Vec::new(), Vec::new());
        for (number, one) in (1..).zip(made) {
            let (end, stopped) = bounded(2);
            let (give, given) = unbounded();
            ends.push(end);
            gives.push(give);
            let run = move || {
                let _guard = Vital;
                drive(one, Attachment::Given(given), stopped, Vec::new());
            };
            let thread = std::thread::Builder::new().name(format!("shard-{number}"));
            thread.spawn_scoped(scope, run).map_err(StartError::Thread)?;
        }
        let seeks = Attachment::Seeks { socket, orphan_grace, others: gives };
        drive(first, seeks, stopped, ends);
        Ok(())
    })
}

fn drive(made: Made, attachment: Attachment, stopped: Receiver<End>, others: Vec<Sender<End>>) {
    let Made { shard, bells, inbox, asks, published } = made;
    let driver = Driver { shard, attachment, published, others };
    driver.run(Sources { inbox, asks, bells, stopped });
}

/// A shard that panicked would leave its part of all calls unanswered. So the process ends: media
/// goes on, and whoever watches over it starts the next one.
struct Vital;

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// What shards are made of.
struct Builder<'a> {
    config: &'a Config,
    net: &'a Net,
    plan: &'a LivePlan,
    cdrs: &'a Writer,
}

impl Builder<'_> {
    fn shard(
        &self,
        (media, bells): (Media, Bells),
        feed: Feed,
        (post, ties): (Post, Ties),
    ) -> Result<(Shard, Receiver<Bell>), StartError> {
        let (homes, number) = (post.homes(), post.number());
        let shards = homes.count();
        if shards > 1 && !media.has_workers() {
            return Err(StartError::Workers { shards });
        }
        let mut entropy = entropy()?;
        let mut seed = [0_u8; 32];
        entropy(&mut seed);
        let mut endpoint = Endpoint::new(endpoint_config(self.net, seed, shards));
        endpoint.widen_above(UDP_REQUEST_BYTES_MAX);
        endpoint.choose_names(move |name| homes.of(name) == number);
        let world = World {
            endpoint,
            media,
            settings: settings(self.config),
            cdrs: self.cdrs.share(),
            entropy,
            index: Index::default(),
            memory: Memory::default(),
            admission: Admission::default(),
            health: Health::default(),
            tallies: Tallies::default(),
            feed,
        };
        let (net, plan) = (self.net.outlet(number), self.plan.reader());
        let bells = watch(bells).map_err(StartError::Thread)?;
        Ok((Shard::new(world, net, plan, post, ties, Instant::now()), bells))
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// More shards than cores take turns and are slower than fewer. Two always go: what runs with two
/// runs with more, and anybody should be able to see that.
fn check_shards(shards: usize, cores: usize) -> Result<(), StartError> {
    match shards <= cores.max(2) {
        true => Ok(()),
        false => Err(StartError::Shards { shards, cores }),
    }
}

/// What the gateway is told to do: by the store, if there is one, else by the file.
fn what_runs(
    config: &mut Config,
    left: mpsc::UnboundedSender<Move>,
) -> Result<(LivePlan, Option<Store>), StartError> {
    let Some(settings) = &config.store else { return Ok((LivePlan::new(config.plan()), None)) };
    let in_file = config.trunks.len() + config.routes.iter().count();
    if in_file > 0 {
        config.warnings.push(format!(
            "{in_file} trunks and routes of the file are not used, because [store] is set; \
             trunkline import --config FILE brings them into the store"
        ));
    }
    let plan = LivePlan::new(Plan::default());
    let planner = Planner::new(config, plan.clone(), left);
    let store = Store::open(Opening {
        file: settings.file.clone(),
        key_file: settings.key_file.clone(),
        consumer: Box::new(planner),
        fault: |_| (),
    })?;
    let chosen = std::env::var(CHOSEN).ok().map(Secret::new);
    let first = store.ask_blocking(move |keeper| keeper.admit(chosen.as_ref()));
    if let Some(secret) = first.map_err(StartError::Token)?.and_then(|minted| minted.secret) {
        // Not into the log, which others may read and which is kept.
        eprintln!(
            "The first token of the API, role admin, shown this once:\n\n    {}\n\n\
             Use it as TRUNKLINE_TOKEN; make others with trunkline tokens add.",
            secret.expose()
        );
    }
    let running = plan.plan();
    (config.trunks, config.routes) = (running.trunks.clone(), running.routes.clone());
    Ok((plan, Some(store)))
}

fn entropy() -> Result<Entropy, StartError> {
    let mut probe = [0_u8; 1];
    getrandom::fill(&mut probe).map_err(|e| StartError::Entropy(e.to_string()))?;
    // A kernel that gave random bytes once does not stop (getrandom(2)); a zero key would be a
    // catastrophe, so a failure ends the process rather than the secrecy.
    Ok(Box::new(|bytes| {
        if getrandom::fill(bytes).is_err() {
            std::process::abort();
        }
    }))
}

fn settings(config: &Config) -> Settings {
    Settings {
        told: config.media.told(),
        host: config.sip.host(),
        ending_limit: Settings::ENDING_LIMIT,
        lease_limit: Settings::LEASE_LIMIT,
    }
}

fn attach(
    socket: &Path,
    grace: Duration,
    shards: usize,
) -> Result<Vec<(Media, Bells)>, StartError> {
    let limit = Instant::now() + ATTACH_LIMIT;
    loop {
        match Media::attach(socket, Instant::now(), grace, shards) {
            Ok(attached) => return Ok(attached),
            Err(error) if may_pass(&error) && Instant::now() < limit => {
                std::thread::sleep(ATTACH_PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// It may still be starting, or not have noticed yet that our predecessor died.
fn may_pass(error: &AttachError) -> bool {
    use ConnectError::{Busy, Dead, Ended, Missing};
    matches!(
        error,
        AttachError::Handover(Missing { .. } | Dead { .. } | Busy { .. } | Ended { .. })
    )
}

fn endpoint_config(net: &Net, seed: [u8; 32], shards: usize) -> EndpointConfig {
    let (via, contact, stays) = (net.names(), net.names(), net.names());
    EndpointConfig {
        seed,
        timers: Timers::default(),
        transactions_max: TRANSACTIONS_MAX / shards,
        dialogs_max: DIALOGS_MAX / shards,
        user_agent: concat!("Trunkline/", env!("CARGO_PKG_VERSION")).to_owned(),
        // RFC 7339 §5.1: who may ask us for fewer calls.
        via: Box::new(move |hop: &Hop| via.sent_by(hop) + ";oc;oc-algo=\"loss\""),
        contact: Box::new(move |hop: &Hop| contact.contact(hop)),
        stays: Box::new(move |hop: &Hop, said| stays.stays(hop, said)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_shards_than_cores_are_refused_with_the_remedy() {
        for (shards, cores) in [(1, 1), (2, 1), (2, 2), (4, 4), (3, 8)] {
            assert!(check_shards(shards, cores).is_ok(), "{shards} {cores}");
        }
        let error = check_shards(5, 4).unwrap_err();
        assert!(error.is_configuration());
        assert_eq!(
            error.to_string(),
            "[sip] shards = 5, and this process has 4 cores: give it no more shards"
        );
    }
}
