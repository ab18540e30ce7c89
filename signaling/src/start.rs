//! From a configuration to a running shard, and what can stand in the way.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::AttachError;
use abi::handover::ConnectError;
use crossbeam::channel::{Receiver, Sender, bounded};
use sip::endpoint::{Config as EndpointConfig, Endpoint, Hop, UDP_REQUEST_BYTES_MAX};
use sip::transaction::Timers;
use tokio::sync::mpsc;

use crate::Entropy;
use crate::admission::{Admission, Sources};
use crate::api::{Api, Begin, Gateway, HttpError, Server};
use crate::ask::asks;
use crate::call::{Calls, Index, Settings};
use crate::cdr::Writer;
use crate::config::Config;
use crate::drain::Drains;
use crate::driver::{Attachment, Driver};
use crate::feed::Feed;
use crate::gate::Gate;
use crate::locate::Memory;
use crate::media::{Bells, Media};
use crate::net::{self, NetError};
use crate::plan::{LivePlan, Plan};
use crate::planner::{Move, Planner};
use crate::pulse::Pulse;
use crate::secret::Secret;
use crate::shard::{Shard, World};
use crate::store::tokens::CHOSEN;
use crate::store::{Opening, Refusal, Store, StoreError};
use crate::trunk::tally::Tallies;
use crate::trunk::{Health, Registrations};
use crate::watch::watch;

/// Messages that may wait for the loop; beyond it the transports hold back.
pub const INBOX_MAX: usize = 8_192;
/// Transactions of both kinds, finished ones included, beyond which the answer is 503.
const TRANSACTIONS_MAX: usize = 200_000;
/// Dialogs, early ones included.
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
            Self::Token(_) => true,
            _ => false,
        }
    }
}

/// Runs signaling until `stopped` says how to end. Blocks. `pulse` tells whoever watches how it fares.
///
/// # Errors
/// [`StartError`], before any message is taken.
pub fn run(mut config: Config, stopped: Receiver<End>, pulse: Pulse) -> Result<(), StartError> {
    let mut entropy = entropy()?;
    let mut seed = [0_u8; 32];
    entropy(&mut seed);
    let settings = settings(&config);
    let cdrs = Writer::open(&config.cdr.file, config.cdr.mask)
        .map_err(|cause| StartError::Cdr { file: config.cdr.file.display().to_string(), cause })?;
    let (left, moves) = mpsc::unbounded_channel();
    let (plan, store) = what_runs(&mut config, left)?;
    let socket = config.run.handover_socket();
    let (media, bells) = attach(&socket, config.run.orphan_grace)?;
    let bells = watch(bells).map_err(StartError::Thread)?;
    let (sender, inbox) = bounded(INBOX_MAX);
    let net = net::start(&config, plan.clone(), sender)?;
    let registrations = Registrations::new(&plan.table(), Instant::now(), &mut *entropy);
    // Held to the end, so that the shard never finds nobody who could ask.
    let (asks, questions) = asks();
    let feed = Feed::default();
    let mut endpoint = Endpoint::new(endpoint_config(&net, seed));
    endpoint.widen_above(UDP_REQUEST_BYTES_MAX);
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
            let (asks, feed) = (asks.clone(), feed.clone());
            let gateway = Gateway { asks, feed, plan, test, cdrs };
            Some(Server::start(&Api::new(store, gateway), http, moves)?)
        }
        _ => None,
    };
    let (trunks, routes) = (config.trunks.len(), config.routes.iter().count());
    tracing::info!(trunks, routes, "ready");
    pulse.follow(asks.clone()).map_err(StartError::Thread)?;
    let shard = Shard {
        world: World {
            endpoint,
            media,
            settings,
            cdrs,
            entropy,
            index: Index::default(),
            memory: Memory::default(),
            admission: Admission::default(),
            health: Health::default(),
            tallies: Tallies::default(),
            feed: feed.clone(),
        },
        calls: Calls::default(),
        net,
        generation: plan.view().generation,
        plan,
        gate: Gate::default(),
        registrations,
        drains: Drains::default(),
        sources: Sources::default(),
        crowded: false,
        attached: true,
        due: None,
    };
    let attachment = Attachment { socket, orphan_grace: config.run.orphan_grace };
    Driver { shard, attachment }.run(&inbox, &questions, bells, &stopped);
    Ok(())
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
    let planner = Planner::new(config.sip.clone(), config.base.clone(), plan.clone(), left);
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
        advertise: config.media.advertise.clone(),
        host: config.sip.host(),
        ending_limit: Settings::ENDING_LIMIT,
        lease_limit: Settings::LEASE_LIMIT,
    }
}

fn attach(socket: &Path, grace: Duration) -> Result<(Media, Bells), StartError> {
    let limit = Instant::now() + ATTACH_LIMIT;
    loop {
        match Media::attach(socket, Instant::now(), grace) {
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

fn endpoint_config(net: &net::Net, seed: [u8; 32]) -> EndpointConfig {
    let (via, contact, stays) = (net.names(), net.names(), net.names());
    EndpointConfig {
        seed,
        timers: Timers::default(),
        transactions_max: TRANSACTIONS_MAX,
        dialogs_max: DIALOGS_MAX,
        user_agent: concat!("Trunkline/", env!("CARGO_PKG_VERSION")).to_owned(),
        // RFC 7339 §5.1: who may ask us for fewer calls.
        via: Box::new(move |hop: &Hop| via.sent_by(hop) + ";oc;oc-algo=\"loss\""),
        contact: Box::new(move |hop: &Hop| contact.contact(hop)),
        stays: Box::new(move |hop: &Hop, said| stays.stays(hop, said)),
    }
}
