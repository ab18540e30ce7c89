//! The edge: sockets in, messages out. One thread, one tokio runtime; it parses and frames, and
//! decides nothing about calls.
//!
//! ```text
//!   udp ────────┐                  ┌► shard 0 ┐     ┌── UDP: straight to the listener's socket
//!   accept ─ tls ─ connection ──► Inbound        Outlet
//!   dial ── tls ─ connection ───┘  └► shard 1 ┘     └── TCP, TLS: a command, the connection's queue
//! ```
//!
//! It reads for all shards and gives each message to the one that its Call-ID is at home on
//! (`homes.rs`); whose socket or connection it came by does not matter. A shard's [`Outlet`] never
//! blocks and takes no lock: the connections are the edge's own. A connection's number is given out
//! once and never again. Datagrams that find the shard's queue full are dropped, as a full socket
//! buffer would; connections stop reading until there is room.

mod accept;
mod connection;
mod counters;
mod deliver;
mod dial;
mod error;
mod holder;
mod keepalive;
mod limits;
mod listen;
mod mark;
mod outlet;
mod pace;
mod table;
mod tls;
mod udp;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use sip::endpoint::{Hop, Transport};
use sip::wire::{Message, ParseError};
use tokio::sync::mpsc;

use crate::call::letter::Letter;
use crate::config::Config;
use crate::locate::resolver::{Reach, Resolver};
use crate::locate::{Dns, Families};
use crate::plan::LivePlan;
use crate::probe::{Kit, Patience, Probes};
use crate::trunk::health::Fault;
use crate::trunk::{Host, Origin, Trunk, TrunkId};

pub use counters::Counts;
pub use deliver::Inboxes;
pub use error::{NetError, explain};
pub use limits::Limits;
pub use listen::Listener;
pub use outlet::{Names, Outlet};
pub use tls::{
    EXPIRY_WARNING_DAYS, Expiry, Files as TlsFiles, HTTPS_LOOKS, Https, Inspection, Shown,
    TlsFault, inspect,
};

use connection::Connection;
use counters::Counters;
use listen::Listeners;
use pace::Knocking;
use table::{Found, Table};

/// What the edge, or another shard, tells the shard.
#[derive(Debug)]
pub enum Inbound {
    /// A message. `hop` is the way back: its connection is the one it arrived on (for UDP a number
    /// for listener and peer), its tag the trunk's if the source tells one.
    Message {
        /// Where an answer goes.
        hop: Hop,
        /// What attribution may know.
        origin: Origin,
        /// The message.
        message: Message,
    },
    /// Something that is no message. A connection that sent it is closed.
    Malformed {
        /// Where an answer would go.
        hop: Hop,
        /// Who sent it.
        origin: Origin,
        /// What is wrong.
        error: ParseError,
        /// The datagram; empty for what came on a connection, which is closed instead of answered.
        raw: Bytes,
    },
    /// Sending to this hop failed, or its connection died before everything was known to be sent.
    Failed {
        /// As it was given to [`Net::send`].
        hop: Hop,
    },
    /// A connection could not be opened; `Failed` follows for each hop that waited for it.
    Undialled {
        /// Whom it was for.
        hop: Hop,
        /// Why.
        fault: Fault,
    },
    /// The connection is gone, whoever closed it.
    Closed {
        /// With the connection's number.
        hop: Hop,
    },
    /// From another shard: a message whose transaction is not there.
    Sought {
        /// As in `Message`.
        hop: Hop,
        /// As in `Message`.
        origin: Origin,
        /// A CANCEL.
        message: Message,
        /// How many shards do not have it.
        turns: usize,
    },
    /// From another shard: what a call there tells one here.
    Letter(Box<Letter>),
}

/// The running edge. Clones share it; when the last one goes, the edge stops.
#[derive(Clone)]
pub struct Net(Arc<Handle>);

struct Handle {
    core: Arc<Core>,
    commands: mpsc::UnboundedSender<Command>,
    probes: Probes,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What all tasks share.
struct Core {
    listeners: Listeners,
    table: Mutex<Table>,
    inboxes: Inboxes,
    counters: Counters,
    limits: Limits,
    /// How fast strangers connect.
    knocking: Knocking,
    plan: LivePlan,
    tls: tls::Tls,
    /// Host to advertise instead of a listener's address.
    advertise: Option<Host>,
    /// The last connection number given out.
    last_connection: AtomicU64,
}

enum Command {
    /// Send this of a shard on a connection, opening one where there is none.
    Send { shard: usize, hop: Hop, bytes: Bytes },
    /// Close a connection after what is queued on it.
    Close(u64),
    /// Tell the shard that this hop failed.
    Tell { shard: usize, hop: Hop },
    /// Close everything and end.
    Stop,
}

/// Whether the certificates, keys and authorities that the configuration names can be used now.
///
/// # Errors
/// What [`start`] would say.
pub fn check_certificates(config: &Config) -> Result<(), NetError> {
    if let Some((certificate, key)) = config.http.as_ref().and_then(|http| http.tls.as_ref()) {
        Https::load(certificate, key)?;
    }
    tls::Tls::load(config).map(|_| ())
}

/// What a PEM file of certificates holds, in its order.
///
/// # Errors
/// [`NetError`]: that it cannot be read, or holds none.
pub fn certificates(file: &std::path::Path) -> Result<Vec<Shown>, NetError> {
    tls::certificates(file)
}

/// Opens all listeners and starts the edge. Everything that can be wrong with certificates and
/// ports is found here.
///
/// # Errors
/// [`NetError`] for the first thing that is wrong.
pub fn start(config: &Config, plan: LivePlan, inboxes: Inboxes) -> Result<Net, NetError> {
    start_with(config, plan, inboxes, Limits::default())
}

/// [`start`] with other limits.
///
/// # Errors
/// [`NetError`] for the first thing that is wrong.
pub fn start_with(
    config: &Config,
    plan: LivePlan,
    inboxes: Inboxes,
    limits: Limits,
) -> Result<Net, NetError> {
    let tls = tls::Tls::load(config)?;
    let (listeners, sockets) = listen::open(&config.sip)?;
    let dns = Dns::new(&config.dns.servers);
    let reach = reach(&listeners);
    let probes = Probes::new(Kit {
        dns: dns.clone(),
        reach,
        sip: config.sip.clone(),
        listeners: listeners.iter().map(|one| (one.transport, one.local)).collect(),
        media: config.media.clone(),
        patience: Patience::default(),
    });
    let mut resolver = Resolver::new(plan.clone(), dns, reach);
    let core = Arc::new(Core {
        listeners,
        table: Mutex::new(Table::default()),
        inboxes,
        counters: Counters::default(),
        limits,
        knocking: Knocking::new(),
        plan,
        tls,
        advertise: config.sip.advertise.clone(),
        last_connection: AtomicU64::new(0),
    });
    let edge_of = Arc::downgrade(&core);
    core.plan.prepare(move |plan| match edge_of.upgrade() {
        Some(core) => {
            core.tls.follow(plan);
            true
        }
        None => false,
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(NetError::Runtime)?;
    // A start finds its trunks located, unless the DNS is slow; then they come later.
    runtime.block_on(resolver.first(limits.first_lookup));
    let (commands, queue) = mpsc::unbounded_channel();
    let shared = Arc::clone(&core);
    let thread = std::thread::Builder::new()
        .name(String::from("sip-edge"))
        .spawn(move || {
            runtime.block_on(edge(shared, sockets, queue, resolver));
            // A look-up that hangs must not hold up the end.
            runtime.shutdown_background();
        })
        .map_err(NetError::Runtime)?;
    let thread = Mutex::new(Some(thread));
    Ok(Net(Arc::new(Handle { core, commands, probes, thread })))
}

/// The address families that each transport's listeners can reach.
fn reach(listeners: &Listeners) -> Reach {
    let of = |transport| {
        let fitting = listeners.iter().filter(|listener| listener.transport == transport);
        let locals: Vec<SocketAddr> = fitting.map(|listener| listener.local).collect();
        Families::of(locals.into_iter())
    };
    Reach { udp: of(Transport::Udp), tcp: of(Transport::Tcp), tls: of(Transport::Tls) }
}

/// The edge's main task: starts the others, then serves commands until told to stop.
async fn edge(
    core: Arc<Core>,
    sockets: listen::Sockets,
    mut commands: mpsc::UnboundedReceiver<Command>,
    resolver: Resolver,
) {
    for (listener, socket) in sockets.udp {
        tokio::spawn(udp::receive(Arc::clone(&core), listener, socket));
    }
    for (listener, socket) in sockets.accepting {
        tokio::spawn(accept::accept(Arc::clone(&core), listener, socket));
    }
    tokio::spawn(keepalive::datagrams(Arc::clone(&core)));
    tokio::spawn(tls::renew::follow_files(Arc::clone(&core)));
    tokio::spawn(resolver.run());
    while let Some(command) = commands.recv().await {
        match command {
            Command::Send { shard, hop, bytes } => {
                if let Err(cause) = core.queue(hop, bytes) {
                    core.unsent(&hop, cause);
                    core.inboxes.tell(shard, Inbound::Failed { hop });
                }
            }
            Command::Close(number) => {
                let found = core.table().get(number);
                if let Some(connection) = found {
                    connection.close();
                }
            }
            Command::Tell { shard, hop } => core.inboxes.tell(shard, Inbound::Failed { hop }),
            Command::Stop => break,
        }
    }
    let deadline = tokio::time::Instant::now() + core.limits.stop;
    core.table().close_all();
    while !core.table().is_empty() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

impl Core {
    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How SIP to a trunk is marked, where that is not as usual.
    fn dscp(&self, trunk: Option<TrunkId>) -> Option<u8> {
        self.plan.table().get(trunk?)?.manner.signalling_dscp
    }

    /// A connection number that was never used.
    fn next_connection(&self, accepted_by: Option<Listener>) -> u64 {
        let serial = self.last_connection.fetch_add(1, Ordering::Relaxed) + 1;
        listen::connection_number(serial, accepted_by)
    }

    /// Queues a message on its connection, or on a new one that is opened for it.
    fn queue(self: &Arc<Self>, hop: Hop, bytes: Bytes) -> Result<(), &'static str> {
        let limit = self.limits.write_queue_bytes;
        let mut table = self.table();
        match table.find(&hop) {
            Found::Live(connection) => {
                drop(table);
                connection.push(hop, bytes, limit)?;
            }
            // Nobody is dialled for a message that belongs to no trunk, such as the refusal of a
            // stranger that has hung up.
            Found::Nothing if hop.tag == 0 => return Err("the connection is gone"),
            Found::Nothing => {
                table.admit(hop.remote.ip(), true, &self.limits).map_err(table::Refusal::text)?;
                let number = self.next_connection(None);
                let (connection, queue) = Connection::dialled(number, hop);
                table.insert(Arc::clone(&connection));
                drop(table);
                connection.push(hop, bytes, limit)?;
                tokio::spawn(dial::dial(Arc::clone(self), connection, queue));
            }
        }
        Counters::count(&self.counters.messages_out);
        Ok(())
    }

    /// Counts a message that could not be sent.
    fn unsent(&self, hop: &Hop, cause: &str) {
        Counters::count(&self.counters.sends_failed);
        let transport = hop.transport.as_str();
        tracing::debug!(remote = %hop.remote, transport, cause, "message not sent");
    }
}

impl Net {
    /// The way out of the shard with this number.
    pub fn outlet(&self, shard: usize) -> Outlet {
        Outlet::new(self.clone(), shard)
    }

    /// Our own names toward peers, usable without keeping the edge alive.
    pub fn names(&self) -> Names {
        Names::new(Arc::clone(&self.0.core))
    }

    /// The trunks with their current addresses.
    pub fn plan(&self) -> LivePlan {
        self.0.core.plan.clone()
    }

    /// Days until the certificate that we show to a trunk expires; `None` without TLS, and where its
    /// files could not be used.
    pub fn certificate_days_left(&self, trunk: &Trunk) -> Option<i64> {
        self.0.core.tls.days_left(trunk)
    }

    /// Tests of connections, apart from calls.
    pub fn probes(&self) -> Probes {
        self.0.probes.clone()
    }

    /// Where we listen, with the ports that the kernel gave where 0 was asked.
    pub fn listeners(&self) -> impl Iterator<Item = Listener> + '_ {
        self.0.core.listeners.iter()
    }

    /// Our addresses on one transport.
    pub fn addresses(&self, transport: Transport) -> Vec<SocketAddr> {
        let fitting = self.listeners().filter(|listener| listener.transport == transport);
        fitting.map(|listener| listener.local).collect()
    }

    /// When our certificates end.
    pub fn expiries(&self) -> Vec<Expiry> {
        self.0.core.tls.expiries()
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        let core = &self.0.core;
        core.counters.read(core.table().len())
    }

    /// Writes out what is queued, closes everything and waits for the edge's thread. Dropping the
    /// last clone does the same.
    pub fn stop(&self) {
        self.0.stop();
    }
}

impl Handle {
    fn stop(&self) {
        let _ended = self.commands.send(Command::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the edge's thread ended by a panic; report this with the log");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
