//! *Test connection*: from the name to five seconds of audio, stage by stage, without touching a
//! call.
//!
//! ```text
//!   DNS ──► TCP ──► TLS ──► OPTIONS ──► REGISTER (if on) ──► CALL ──► MEDIA (with a number)
//!    └────── each: PASS, WARN + remedy, FAIL + remedy; the first FAIL ends the test ──────┘
//! ```
//! A test has a thread, an endpoint and sockets of its own. It is allowed what the trunk is allowed
//! (same trust, same account) and nothing more: what arrives on its sockets and answers none of its
//! requests is dropped. It plays its own audio, so that it says something about the path even when
//! the data plane is down.

mod ask;
mod call;
mod ladder;
pub mod limits;
mod line;
mod media;
mod step;
mod tls;
mod way;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sip::endpoint::Transport;
use sip::wire::Framer;
use tokio::sync::mpsc;

use crate::config::{Media, Sip};
use crate::locate::Dns;
use crate::locate::resolver::Reach;
use crate::trunk::{Trunk, TrunkId};

pub use step::{Failure, RUNGS_MAX, Report, Rung, Stage, Step, Update, Verdict};

use ask::Own;
use ladder::Ladder;
use line::{Introduction, Line, Socket};
use step::Outcome;
use way::{Carrier, Target};

/// Tests connections. Clones share the limits.
#[derive(Clone)]
pub struct Probes(Arc<Shared>);

struct Shared {
    kit: Arc<Kit>,
    begun: Mutex<Begun>,
}

#[derive(Default)]
struct Begun {
    last: HashMap<TrunkId, Instant>,
    running: usize,
}

/// Why a test does not begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// The trunk was tested a moment ago.
    #[error("this trunk was tested a moment ago; wait {} s", .wait.as_secs() + 1)]
    TooSoon {
        /// How long to wait.
        wait: Duration,
    },
    /// Other trunks are being tested.
    #[error("{} tests are running; wait for one of them", limits::AT_ONCE)]
    Busy,
}

/// Where a test finds what it needs.
pub struct Kit {
    /// Asks the DNS.
    pub dns: Dns,
    /// Families of our listeners.
    pub reach: Reach,
    /// Certificates and listeners.
    pub sip: Sip,
    /// Where the listeners really are.
    pub listeners: Vec<(Transport, SocketAddr)>,
    /// Where media of a test call is.
    pub media: Media,
    /// How long each thing may take.
    pub patience: Patience,
}

/// How long the stages wait; the defaults are for production.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// For a connection, and again for a handshake.
    pub connect: Duration,
    /// For the final answer to OPTIONS, REGISTER, BYE.
    pub answer: Duration,
    /// For the answer to a test call.
    pub ring: Duration,
    /// How long audio is exchanged.
    pub talk: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        use limits::{ANSWER, CONNECT, RING, TALK};
        Self { connect: CONNECT, answer: ANSWER, ring: RING, talk: TALK }
    }
}

impl Probes {
    /// Tests that use this kit.
    pub fn new(kit: Kit) -> Self {
        Self(Arc::new(Shared { kit: Arc::new(kit), begun: Mutex::default() }))
    }

    /// Tests a trunk; with a number, a test call is placed. The trunk need not be one that runs: a
    /// form can be tested before it is saved. Steps come as they end, then the report, then
    /// nothing. Dropping the receiver lets the test end by itself.
    ///
    /// # Errors
    /// [`Refused`] within [`limits::PAUSE`] of the last test of the same trunk, or while
    /// [`limits::AT_ONCE`] others run.
    pub fn start(
        &self,
        trunk: Arc<Trunk>,
        number: Option<String>,
    ) -> Result<mpsc::Receiver<Update>, Refused> {
        self.admit(trunk.id, Instant::now())?;
        let (updates, receiver) = mpsc::channel(UPDATES_MAX);
        let shared = Arc::clone(&self.0);
        let done = Running(Arc::clone(&self.0));
        let test = move || {
            let _done = done;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(run(&shared.kit, &trunk, number, updates)),
                Err(cause) => tracing::error!(%cause, "no event queue for a test of a connection"),
            }
        };
        let spawned = std::thread::Builder::new().name(String::from("probe")).spawn(test);
        spawned.map(|_| receiver).map_err(|_| Refused::Busy)
    }

    fn admit(&self, trunk: TrunkId, now: Instant) -> Result<(), Refused> {
        let mut begun = self.0.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.last.retain(|_, at| now.saturating_duration_since(*at) < limits::PAUSE);
        if let Some(last) = begun.last.get(&trunk) {
            let since = now.saturating_duration_since(*last);
            return Err(Refused::TooSoon { wait: limits::PAUSE.saturating_sub(since) });
        }
        if begun.running >= limits::AT_ONCE {
            return Err(Refused::Busy);
        }
        begun.running += 1;
        begun.last.insert(trunk, now);
        Ok(())
    }
}

/// Counts a test until it has ended, however it ends.
struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        let mut begun = self.0.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.running = begun.running.saturating_sub(1);
    }
}

/// Collects the steps of one test.
struct Log {
    start: Instant,
    steps: Vec<Step>,
    updates: mpsc::Sender<Update>,
}

impl Log {
    async fn add(&mut self, stage: Stage, begun: Instant, outcome: Outcome) -> bool {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let Outcome { verdict, text, remedy, failure, facts } = outcome;
        let at_ms = ms(begun.saturating_duration_since(self.start));
        let took_ms = ms(begun.elapsed());
        let step = Step { stage, verdict, at_ms, took_ms, text, remedy, failure, facts };
        self.steps.push(step.clone());
        // Nobody listens any more: the test ends by itself.
        let _unheard = self.updates.send(Update::Step(step)).await;
        verdict != Verdict::Fail
    }
}

async fn run(kit: &Kit, trunk: &Trunk, number: Option<String>, updates: mpsc::Sender<Update>) {
    let (start, started) = (Instant::now(), Timestamp::now());
    let mut log = Log { start, steps: Vec::new(), updates };
    let ladder = Ladder::new(start, secrets(trunk));
    let stages = stages(kit, trunk, number.as_deref(), ladder, &mut log);
    let ladder = tokio::time::timeout(limits::WHOLE, stages).await.unwrap_or_default();
    let report = Report {
        trunk: trunk.id.0,
        name: trunk.name.clone(),
        started,
        took_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        verdict: log.steps.iter().map(|step| step.verdict).max().unwrap_or(Verdict::Fail),
        steps: log.steps,
        ladder,
    };
    let _unheard = log.updates.send(Update::Done(report)).await;
}

/// All stages until one fails; the messages that were exchanged.
async fn stages(
    kit: &Kit,
    trunk: &Trunk,
    number: Option<&str>,
    ladder: Ladder,
    log: &mut Log,
) -> Vec<Rung> {
    let begun = Instant::now();
    let (outcome, targets) = way::dns(kit, trunk).await;
    if !log.add(Stage::Dns, begun, outcome).await {
        return ladder.into_rungs();
    }
    let begun = Instant::now();
    let (outcome, connected) = way::connect(kit, trunk, &targets).await;
    log.add(Stage::Tcp, begun, outcome).await;
    let Some((carrier, target)) = connected else { return ladder.into_rungs() };
    let Some((socket, local)) = carried(kit, trunk, &target, carrier, log).await else {
        return ladder.into_rungs();
    };
    let own = own(kit, trunk, local);
    let mut line = line(kit, trunk, (local, target.address), socket, &own, ladder);
    let begun = Instant::now();
    let outcome = ask::options(kit, &mut line, trunk, &own).await;
    if !log.add(Stage::Options, begun, outcome).await {
        return line.ladder.into_rungs();
    }
    if trunk.register {
        let begun = Instant::now();
        let outcome = ask::register(kit, &mut line, trunk, &own).await;
        if !log.add(Stage::Register, begun, outcome).await {
            return line.ladder.into_rungs();
        }
    }
    if let Some(number) = number {
        call(kit, trunk, number, target.address, &own, &mut line, log).await;
    }
    line.ladder.into_rungs()
}

/// TLS if the trunk has it; the socket and our end of it.
async fn carried(
    kit: &Kit,
    trunk: &Trunk,
    target: &Target,
    carrier: Carrier,
    log: &mut Log,
) -> Option<(Socket, SocketAddr)> {
    match carrier {
        Carrier::Udp(socket) => {
            let local = socket.local_addr().ok()?;
            Some((Socket::Udp(socket), local))
        }
        Carrier::Tcp(socket) => {
            let local = socket.local_addr().ok()?;
            if trunk.transport != Transport::Tls {
                return Some((Socket::Bytes(Box::new(socket), Framer::new()), local));
            }
            let begun = Instant::now();
            let (outcome, connection) = way::secure(kit, trunk, target, socket).await;
            log.add(Stage::Tls, begun, outcome).await;
            Some((Socket::Bytes(Box::new(connection?), Framer::new()), local))
        }
    }
}

async fn call(
    kit: &Kit,
    trunk: &Trunk,
    number: &str,
    remote: SocketAddr,
    own: &Own,
    line: &mut Line,
    log: &mut Log,
) {
    let begun = Instant::now();
    let ports = match media::Ports::open(kit, trunk.manner.media_place.network, remote).await {
        Ok(ports) => ports,
        Err(text) => {
            let remedy = "wait until fewer calls run, or widen [media] ports";
            let outcome = Outcome::fail(Failure::Local, text, remedy);
            log.add(Stage::Call, begun, outcome).await;
            return;
        }
    };
    let (outcome, answered) = call::invite(kit, line, trunk, own, number, &ports).await;
    log.add(Stage::Call, begun, outcome).await;
    if let Some(answered) = answered {
        let begun = Instant::now();
        let outcome = call::talk(kit, line, answered, ports).await;
        log.add(Stage::Media, begun, outcome).await;
    }
}

/// How we introduce ourselves on this socket.
fn own(kit: &Kit, trunk: &Trunk, local: SocketAddr) -> Own {
    let bracketed = |ip: IpAddr| crate::trunk::Host::Address(ip).to_string();
    let host = match trunk.external_address.as_ref().or(kit.sip.advertise.as_ref()) {
        Some(host) => host.to_string(),
        None => bracketed(local.ip()),
    };
    let listeners = kit.listeners.iter().filter(|(transport, _)| *transport == trunk.transport);
    let port = listeners.map(|(_, local)| local.port()).next();
    let registered = format!("{host}:{}", port.unwrap_or(local.port()));
    Own { sent_by: format!("{host}:{}", local.port()), host, registered }
}

fn line(
    kit: &Kit,
    trunk: &Trunk,
    ends: (SocketAddr, SocketAddr),
    socket: Socket,
    own: &Own,
    ladder: Ladder,
) -> Line {
    let parameter = match trunk.transport {
        Transport::Udp => "",
        Transport::Tcp => ";transport=tcp",
        Transport::Tls => ";transport=tls",
    };
    let mut seed = [0; 32];
    kit.fill(&mut seed);
    let contact = format!("sip:{}{parameter}", own.sent_by);
    let introduction = Introduction { sent_by: own.sent_by.clone(), contact, seed };
    Line::new(socket, trunk.transport, ends, introduction, ladder)
}

/// What no ladder may show.
fn secrets(trunk: &Trunk) -> Vec<String> {
    let token = trunk.registration_token.as_ref().map(|token| token.expose().clone());
    let password = trunk.password.as_ref().map(|password| password.expose().clone());
    // A password of a few letters would blank half of the text and hide nothing.
    token.into_iter().chain(password.filter(|text| text.len() >= MASKED_MIN)).collect()
}

impl Kit {
    /// Fills a buffer with bytes that nobody can guess.
    fn fill(&self, bytes: &mut [u8]) {
        if getrandom::fill(bytes).is_err() {
            // As in `start`: without randomness there is no secrecy, and so no process.
            std::process::abort();
        }
    }

    /// A number in `0..=bound`.
    fn below(&self, bound: u32) -> u32 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u32::try_from(u64::from_ne_bytes(bytes) % (u64::from(bound) + 1)).unwrap_or(0)
    }

    /// Token characters that nobody can guess.
    fn token(&self) -> String {
        let mut bytes = [0_u8; 16];
        self.fill(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn files(&self) -> tls::Files<'_> {
        let own = self.sip.tls_certificate.as_deref().zip(self.sip.tls_key.as_deref());
        tls::Files { own, authorities: self.sip.tls_ca.as_deref() }
    }

    /// The address that requests leave from.
    fn source(&self, transport: Transport, remote: SocketAddr) -> IpAddr {
        let fitting = self.listeners.iter().filter(|(t, _)| *t == transport);
        let listeners: Vec<SocketAddr> = fitting.map(|(_, local)| *local).collect();
        way::listener_address(&listeners, remote)
    }

    /// Ours on a network, of the peer's family, with what it is told of it.
    fn media_address(&self, network: u32, remote: SocketAddr) -> Result<(IpAddr, IpAddr), String> {
        let networks = self.media.by_network();
        let of_network = usize::try_from(network).ok().and_then(|network| networks.get(network));
        let mut all = of_network.into_iter().flatten();
        let own = *all.find(|ip| ip.is_ipv4() == remote.is_ipv4()).ok_or_else(|| {
            String::from("the trunk's media network has no address of the family of the peer's")
        })?;
        let told = self.media.told().into_iter().find(|(local, _)| *local == own);
        Ok((own, told.map_or(own, |(_, told)| told)))
    }
}

/// More than a test has steps, so that a slow reader holds nothing up.
const UPDATES_MAX: usize = 32;
/// Shortest password that is masked wherever it stands; it never stands anywhere by itself.
const MASKED_MIN: usize = 6;

#[cfg(test)]
mod tests;
