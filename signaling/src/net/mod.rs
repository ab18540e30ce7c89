//! The edge: sockets in, messages out. One thread, one tokio runtime; it parses and frames, and
//! decides nothing about calls.
//!
//! ```text
//!   udp ────────┐                                   ┌── UDP: straight to the listener's socket
//!   accept ─ tls ─ connection ──► Inbound ──► shard ┤
//!   dial ── tls ─ connection ───┘   (bounded)       └── TCP, TLS: the connection's write queue
//! ```
//!
//! [`Net::send`] never blocks and is called from the shard's thread. A connection's number is given
//! out once and never again. Datagrams that find the shard's queue full are dropped, as a full
//! socket buffer would; connections stop reading until there is room.

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
mod pace;
mod table;
mod tls;
mod udp;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use crossbeam::channel::Sender;
use sip::endpoint::{Hop, Transport};
use sip::wire::{Message, ParseError};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::locate::resolver::{Reach, Resolver};
use crate::locate::{Dns, Families};
use crate::plan::LivePlan;
use crate::probe::{Kit, MediaPlace, Patience, Probes};
use crate::shard::Edge;
use crate::trunk::attribution::TOKEN_PARAMETER;
use crate::trunk::health::Fault;
use crate::trunk::{Host, Origin, Trunk, TrunkId, nat};

pub use counters::Counts;
pub use error::{NetError, explain};
pub use limits::Limits;
pub use listen::Listener;
pub use tls::{
    EXPIRY_WARNING_DAYS, Expiry, Files as TlsFiles, HTTPS_LOOKS, Https, Inspection, Shown,
    TlsFault, inspect,
};

use connection::Connection;
use counters::Counters;
use deliver::Inbox;
use listen::Listeners;
use pace::Knocking;
use table::{Found, Table};

/// What the edge tells the shard.
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
    inbox: Inbox,
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
    /// Connect, then serve the connection with what its queue holds.
    Dial { connection: Arc<Connection>, queue: connection::Queue },
    /// Tell the shard that this hop failed.
    Tell(Hop),
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
pub fn start(config: &Config, plan: LivePlan, inbound: Sender<Inbound>) -> Result<Net, NetError> {
    start_with(config, plan, inbound, Limits::default())
}

/// [`start`] with other limits.
///
/// # Errors
/// [`NetError`] for the first thing that is wrong.
pub fn start_with(
    config: &Config,
    plan: LivePlan,
    inbound: Sender<Inbound>,
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
        media: MediaPlace {
            addresses: config.media.addresses.clone(),
            advertise: config.media.advertise.clone(),
            ports: config.media.ports.clone(),
        },
        patience: Patience::default(),
    });
    let mut resolver = Resolver::new(plan.clone(), dns, reach);
    let core = Arc::new(Core {
        listeners,
        table: Mutex::new(Table::default()),
        inbox: Inbox::new(inbound),
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
            Command::Dial { connection, queue } => {
                tokio::spawn(dial::dial(Arc::clone(&core), connection, queue));
            }
            Command::Tell(hop) => core.inbox.deliver(Inbound::Failed { hop }).await,
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
    fn next_connection(&self) -> u64 {
        self.last_connection.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// What we call ourselves in Via and Contact.
#[derive(Clone)]
pub struct Names(Arc<Core>);

impl Names {
    /// Our `host:port` for Via on the way to `hop` (RFC 3261 §18.1.1).
    pub fn sent_by(&self, hop: &Hop) -> String {
        let connection = match hop.transport {
            Transport::Udp => None,
            Transport::Tcp | Transport::Tls => self.0.table().get(hop.connection),
        };
        let accepted_by = connection.and_then(|connection| connection.accepted_by());
        let local = self.0.listeners.local(hop, accepted_by);
        let port = local.map_or(hop.transport.default_port(), |local| local.port());
        let table = self.0.plan.table();
        let trunk = TrunkId::from_tag(hop.tag).and_then(|id| table.get(id));
        let own = trunk.and_then(|trunk| trunk.external_address.as_ref());
        match (own.or(self.0.advertise.as_ref()), local.map(|local| local.ip())) {
            (Some(host), _) => format!("{host}:{port}"),
            (None, Some(IpAddr::V6(ip))) => format!("[{ip}]:{port}"),
            (None, Some(ip)) => format!("{ip}:{port}"),
            (None, None) => format!("localhost:{port}"),
        }
    }

    /// Our Contact URI for a dialog on that hop. On a trunk that registers it carries the token
    /// that tells the trunk's requests from guesses.
    pub fn contact(&self, hop: &Hop) -> String {
        let table = self.0.plan.table();
        let trunk = TrunkId::from_tag(hop.tag).and_then(|id| table.get(id));
        let token = trunk.and_then(|trunk| trunk.registration_token.as_ref());
        let plain = self.plain_contact(hop);
        match token {
            Some(token) => format!("{plain};{TOKEN_PARAMETER}={}", token.expose()),
            None => plain,
        }
    }

    /// Whether requests of a dialog stay on its hop although the peer gave this address for itself:
    /// a private one, on a trunk whose addresses are repaired (`sip_alg`).
    pub fn stays(&self, hop: &Hop, said: IpAddr) -> bool {
        let table = self.0.plan.table();
        let trunk = TrunkId::from_tag(hop.tag).and_then(|id| table.get(id));
        let repairs = trunk.is_some_and(|trunk| trunk.external_address.is_some());
        repairs && said != hop.remote.ip() && nat::is_private(said, hop.remote.ip())
    }

    /// The same without a token.
    pub fn plain_contact(&self, hop: &Hop) -> String {
        let parameter = match hop.transport {
            Transport::Udp => "",
            Transport::Tcp => ";transport=tcp",
            Transport::Tls => ";transport=tls",
        };
        format!("sip:{}{parameter}", self.sent_by(hop))
    }
}

impl Edge for Net {
    fn send(&self, hop: Hop, bytes: Bytes) {
        Net::send(self, hop, bytes);
    }

    fn close(&self, connection: u64) {
        Net::close(self, connection);
    }

    fn contact(&self, hop: &Hop) -> String {
        self.names().contact(hop)
    }

    fn plain_contact(&self, hop: &Hop) -> String {
        self.names().plain_contact(hop)
    }

    fn sent_by(&self, hop: &Hop) -> Option<String> {
        Some(self.names().sent_by(hop))
    }
}

impl Net {
    /// Sends one message. Never blocks. UDP leaves at once from the listener that
    /// `hop.connection` names, else from the one that reaches `hop.remote`. TCP and TLS are queued
    /// on `hop.connection` if it lives, else on a connection that we opened to the same place for
    /// the same trunk, else on a new one. What cannot be sent comes back as [`Inbound::Failed`].
    pub fn send(&self, hop: Hop, bytes: Bytes) {
        let sent = match hop.transport {
            Transport::Udp => {
                let core = &self.0.core;
                core.listeners.send_datagram(&hop, &bytes, core.dscp(TrunkId::from_tag(hop.tag)))
            }
            Transport::Tcp | Transport::Tls => self.queue(hop, bytes),
        };
        let counters = &self.0.core.counters;
        match sent {
            Ok(()) => Counters::count(&counters.messages_out),
            Err(cause) => {
                Counters::count(&counters.sends_failed);
                tracing::debug!(remote = %hop.remote, transport = hop.transport.as_str(), cause,
                    "message not sent");
                // When the edge is gone there is nobody to tell.
                let _ended = self.0.commands.send(Command::Tell(hop));
            }
        }
    }

    /// Closes a connection after what is queued on it has been written. Numbers of UDP flows and of
    /// connections that are gone are ignored.
    pub fn close(&self, connection: u64) {
        let found = self.0.core.table().get(connection);
        if let Some(connection) = found {
            connection.close();
        }
    }

    /// Our own names toward peers, usable without keeping the edge alive.
    pub fn names(&self) -> Names {
        Names(Arc::clone(&self.0.core))
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

    fn queue(&self, hop: Hop, bytes: Bytes) -> Result<(), &'static str> {
        let core = &self.0.core;
        let mut table = core.table();
        match table.find(&hop) {
            Found::Live(connection) => {
                drop(table);
                connection.push(hop, bytes, core.limits.write_queue_bytes)
            }
            // Nobody is dialled for a message that belongs to no trunk, such as the refusal of a
            // stranger that has hung up.
            Found::Nothing if hop.tag == 0 => Err("the connection is gone"),
            Found::Nothing => {
                table.admit(hop.remote.ip(), true, &core.limits).map_err(table::Refusal::text)?;
                let number = core.next_connection();
                let (connection, queue) = Connection::dialled(number, hop);
                table.insert(Arc::clone(&connection));
                drop(table);
                connection.push(hop, bytes, core.limits.write_queue_bytes)?;
                let command = Command::Dial { connection, queue };
                self.0.commands.send(command).map_err(|_| "the edge has stopped")
            }
        }
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
