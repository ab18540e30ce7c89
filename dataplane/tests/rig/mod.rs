//! A real data plane on loopback, driven as signaling drives it, with sockets as the far ends.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use abi::handover::{self, Worker};
use abi::{Close, Command, Counter, FlowId, FlowSnapshot, Guest, Key, Notice, Open, Suite, Update};
use dataplane::{BackendChoice, Config, DSCP_DEFAULT, StartError, Stop};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub mod packet;
#[path = "../../src/io/stage.rs"]
pub mod stage;
pub mod wire;

pub use wire::home;

/// Long enough for a loaded machine; only a failing test waits for it.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Rig {
    workers: Vec<Worker>,
    /// The worker that is spoken to.
    at: usize,
    pub local: IpAddr,
    config: Config,
    stop: Stop,
    thread: Option<JoinHandle<Result<(), StartError>>>,
    tokens: u64,
    events: VecDeque<Notice>,
}

/// An own loopback address for each rig, so that tests and test binaries do not share ports.
pub fn own_address() -> IpAddr {
    if let Some(address) = wire::with(wire::Wire::address) {
        return address;
    }
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let pid = std::process::id();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, 10 + (pid % 200) as u8, (pid / 200 % 250) as u8, next).into()
}

/// The same of IPv6, of which loopback has one.
pub fn six() -> IpAddr {
    wire::with(wire::Wire::six).unwrap_or(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST))
}

/// Test binaries whose names end in another backend's run the same tests over it.
fn backend() -> BackendChoice {
    let name = env!("CARGO_CRATE_NAME");
    if name.ends_with("mmsg") {
        return BackendChoice::Mmsg;
    }
    if name.ends_with("packet") || name.ends_with("packet_wired") {
        if rustix::process::geteuid().is_root() {
            return BackendChoice::Packet;
        }
        eprintln!("SKIPPED: the packet backend needs root; io_uring is tested once more");
    }
    if name.ends_with("xdp") {
        if rustix::process::geteuid().is_root() {
            return BackendChoice::Xdp;
        }
        eprintln!("SKIPPED: the xdp backend needs root; io_uring is tested once more");
    }
    BackendChoice::Uring
}

/// Whether the far ends are across a wire.
fn is_wired() -> bool {
    let wired = env!("CARGO_CRATE_NAME").ends_with("wired");
    match backend() {
        BackendChoice::Xdp => true,
        BackendChoice::Packet => wired,
        _ => false,
    }
}

pub fn config(local: IpAddr, flows: u32, ports: RangeInclusive<u16>) -> Config {
    let name = format!("trunkline-{}-{local}.sock", std::process::id());
    Config {
        socket: std::env::temp_dir().join(name),
        networks: vec![vec![local]],
        ports,
        workers: 1,
        standby: 0,
        cores: vec![],
        flows_per_worker: flows,
        gather_us: 200,
        spin_us: 0,
        dscp: DSCP_DEFAULT,
        backend: backend(),
        interfaces: vec![],
        takes_xdp: vec![],
        xdp_tx: vec![],
        prompts: None,
        allowed_uid: rustix::process::geteuid().as_raw(),
    }
}

impl Rig {
    pub fn start() -> Rig {
        Rig::with(64, 20_000..=20_999)
    }

    pub fn with(flows: u32, ports: RangeInclusive<u16>) -> Rig {
        Rig::launch(config(own_address(), flows, ports), dataplane::run)
    }

    /// A data plane that `run` runs, on a thread of its own.
    pub fn launch(
        mut config: Config,
        run: impl FnOnce(Config, Stop) -> Result<(), StartError> + Send + 'static,
    ) -> Rig {
        config.networks.iter_mut().flatten().for_each(|address| *address = home(*address));
        let stop = Stop::new().unwrap();
        let near = wire::with(|wire| wire.stage.near_door());
        let thread = {
            let (config, stop) = (config.clone(), stop.clone());
            std::thread::spawn(move || {
                if let Some(near) = near {
                    near.enter();
                }
                run(config, stop).inspect_err(|error| eprintln!("the data plane: {error}"))
            })
        };
        let mut rig = Rig::attached(config);
        rig.stop = stop;
        rig.thread = Some(thread);
        rig
    }

    /// Drives a data plane that another process runs.
    pub fn attached(config: Config) -> Rig {
        Rig {
            workers: attach(&config.socket),
            at: 0,
            local: config.networks[0][0],
            config,
            stop: Stop::new().unwrap(),
            thread: None,
            tokens: 0,
            events: VecDeque::new(),
        }
    }

    pub fn guest(&mut self) -> &mut Guest {
        &mut self.workers[self.at].guest
    }

    /// Loses the guest, as its death would.
    pub fn abandon(&mut self) {
        self.workers.clear();
        self.events.clear();
    }

    /// A new guest after [`Rig::abandon`].
    pub fn reattach(&mut self) {
        self.workers = attach(&self.config.socket);
    }

    /// Speaks to another worker from now on. What the last one told was read.
    pub fn turn_to(&mut self, worker: usize) {
        assert!(self.events.is_empty(), "unread: {:?}", self.events);
        self.at = worker;
    }

    pub fn socket(&self) -> &PathBuf {
        &self.config.socket
    }

    pub fn send(&mut self, command: &Command) {
        self.guest().commands.push(command).unwrap();
        self.ring();
    }

    pub fn ring(&self) {
        abi::doorbell::ring(&self.workers[self.at].command_bell).unwrap();
    }

    /// The next event, those first that came while an answer was awaited.
    pub fn event(&mut self) -> Notice {
        self.events.pop_front().unwrap_or_else(|| self.next_event())
    }

    /// Events that came while an answer was awaited and were not looked at.
    pub fn unread(&mut self) -> Vec<Notice> {
        self.events.drain(..).collect()
    }

    /// Sends a command and returns its answer.
    pub fn ask(&mut self, command: &Command) -> Notice {
        self.send(command);
        loop {
            let event = self.next_event();
            let answered = match event {
                Notice::Opened { token, .. }
                | Notice::Updated { token, .. }
                | Notice::Closed { token, .. }
                | Notice::Refused { token, .. } => token,
                _ => 0,
            };
            if answered == command.token {
                return event;
            }
            self.events.push_back(event);
        }
    }

    fn next_event(&mut self) -> Notice {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let worker = &mut self.workers[self.at];
            abi::doorbell::silence(&worker.event_bell).unwrap();
            if let Some(event) = worker.guest.events.pop() {
                return event.decode().unwrap();
            }
            assert!(Instant::now() < deadline, "no event came");
            let mut fds = [PollFd::new(&worker.event_bell, PollFlags::IN)];
            let second = Timespec { tv_sec: 1, tv_nsec: 0 };
            poll(&mut fds, Some(&second)).unwrap();
        }
    }

    pub fn token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    /// The last one that [`Rig::token`] gave.
    pub fn last_token(&self) -> u64 {
        self.tokens
    }

    pub fn try_open(&mut self, flow: FlowId) -> Notice {
        let token = self.token();
        let open = Open {
            token,
            flow,
            call: [7; 16],
            network: 0,
            family: abi::Family::Any,
            rtcp_mux_in: false,
            dscp: None,
        };
        self.send(&Command::open(&open));
        self.event()
    }

    /// The local RTP and RTCP addresses of a new flow.
    pub fn open(&mut self, flow: FlowId) -> (SocketAddr, SocketAddr) {
        self.open_on(flow, 0, abi::Family::Any)
    }

    /// The same, on one network and of one family.
    pub fn open_on(
        &mut self,
        flow: FlowId,
        network: u32,
        family: abi::Family,
    ) -> (SocketAddr, SocketAddr) {
        let token = self.token();
        let open =
            Open { token, flow, call: [7; 16], network, family, rtcp_mux_in: false, dscp: None };
        match self.ask(&Command::open(&open)) {
            Notice::Opened { local_rtp, local_rtcp, .. } => (local_rtp, local_rtcp),
            other => panic!("{other:?}"),
        }
    }

    pub fn try_update(&mut self, update: Update) -> Notice {
        let token = self.token();
        self.ask(&Command::update(&Update { token, ..update }))
    }

    pub fn update(&mut self, update: Update) {
        let answer = self.try_update(update);
        assert!(matches!(answer, Notice::Updated { .. }), "{answer:?}");
    }

    pub fn try_close(&mut self, flow: FlowId) -> Notice {
        let token = self.token();
        self.ask(&Command::close(&Close { token, flow }))
    }

    pub fn close(&mut self, flow: FlowId) -> (u64, u64) {
        match self.try_close(flow) {
            Notice::Closed { packets, bytes, .. } => (packets, bytes),
            other => panic!("{other:?}"),
        }
    }

    pub fn histogram(&self, histogram: abi::Histogram) -> Vec<u64> {
        self.workers[self.at].guest.histograms.counts(histogram).to_vec()
    }

    pub fn counter(&self, counter: Counter) -> u64 {
        self.workers[self.at].guest.counters.get(counter)
    }

    /// Waits until a counter reaches `value`; it may not go beyond.
    pub fn await_counter(&self, counter: Counter, value: u64) {
        await_that(&format!("{} = {value}", counter.name()), || {
            let now = self.counter(counter);
            assert!(now <= value, "{} is {now}, not {value}", counter.name());
            now == value
        });
    }

    pub fn snapshot(&self, flow: FlowId) -> Option<FlowSnapshot> {
        let flows = &self.workers[self.at].guest.flows;
        flows.snapshot(flow.index).filter(|snapshot| snapshot.id == flow)
    }

    /// Packets that were received are exactly those that got a verdict.
    pub fn check_books(&self) {
        await_that("every packet has one verdict", || {
            let verdicts = Counter::ALL.iter().take(abi::counter::VERDICTS);
            let sum: u64 = verdicts.map(|counter| self.counter(*counter)).sum();
            sum == self.counter(Counter::RxPackets)
        });
    }

    pub fn stop(mut self) -> Result<(), StartError> {
        self.stop.trigger();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.trigger();
        let Some(thread) = self.thread.take() else { return };
        let ended = thread.join();
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

fn attach(socket: &Path) -> Vec<Worker> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match handover::connect(socket) {
            Ok(workers) => return workers,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not seen: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn id(index: u32, generation: u32) -> FlowId {
    FlowId { index, generation }
}

pub fn key(suite: Suite, byte: u8) -> Key {
    Key::new(suite, &[byte; 32][..suite.key_len()], &[byte ^ 0x55; 14][..suite.salt_len()]).unwrap()
}

/// A far end: one socket for RTP and one for RTCP.
pub struct Far {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
}

impl Far {
    pub fn new(ip: IpAddr) -> Far {
        let open = || {
            let bind = || UdpSocket::bind((ip, 0)).unwrap();
            let socket = wire::with(|wire| wire.stage.at_far(bind)).unwrap_or_else(bind);
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        };
        Far { rtp: open(), rtcp: open() }
    }

    pub fn rtp_addr(&self) -> SocketAddr {
        self.rtp.local_addr().unwrap()
    }

    pub fn rtcp_addr(&self) -> SocketAddr {
        self.rtcp.local_addr().unwrap()
    }
}

/// The next packet and where it came from.
pub fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 2048];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((len, from)) => {
                buffer.truncate(len);
                return (buffer, from);
            }
            // The end of a child of another test's thread.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => panic!("no packet: {error}"),
        }
    }
}

/// Nothing waits in the socket now.
pub fn nothing_in(socket: &UdpSocket) -> bool {
    socket.set_nonblocking(true).unwrap();
    let received = socket.recv_from(&mut [0; 2048]);
    socket.set_nonblocking(false).unwrap();
    received.is_err()
}

/// Everything that waits in the socket now.
pub fn drain(socket: &UdpSocket) -> Vec<Vec<u8>> {
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 2048];
    let packets = std::iter::from_fn(|| {
        let (len, _) = socket.recv_from(&mut buffer).ok()?;
        Some(buffer[..len].to_vec())
    });
    let packets = packets.collect();
    socket.set_nonblocking(false).unwrap();
    packets
}

/// A call: flow `a` carries what `far_a` sends to `far_b`, flow `b` the other way.
pub struct Call {
    pub a: FlowId,
    pub b: FlowId,
    pub far_a: Far,
    pub far_b: Far,
    /// Where `far_a` sends to, and where `far_b` does.
    pub at_a: (SocketAddr, SocketAddr),
    pub at_b: (SocketAddr, SocketAddr),
}

impl Call {
    /// Opens both flows and configures them; `secure` is what the B side speaks.
    pub fn place(rig: &mut Rig, first_index: u32, generation: u32) -> Call {
        let (a, b) = (id(first_index, generation), id(first_index + 1, generation));
        let (at_a, at_b) = (rig.open(a), rig.open(b));
        let (far_a, far_b) = (Far::new(own_address()), Far::new(own_address()));
        Call { a, b, far_a, far_b, at_a, at_b }
    }

    /// Plain configuration of flow `a`; change what the test is about.
    pub fn update_a(&self) -> Update {
        Update {
            peer: Some(self.b),
            relay: true,
            source_rtp: Some(self.far_a.rtp_addr()),
            source_rtcp: Some(self.far_a.rtcp_addr()),
            destination_rtp: Some(self.far_b.rtp_addr()),
            destination_rtcp: Some(self.far_b.rtcp_addr()),
            ..Update::new(0, self.a)
        }
    }

    pub fn update_b(&self) -> Update {
        Update {
            peer: Some(self.a),
            relay: true,
            source_rtp: Some(self.far_b.rtp_addr()),
            source_rtcp: Some(self.far_b.rtcp_addr()),
            destination_rtp: Some(self.far_a.rtp_addr()),
            destination_rtcp: Some(self.far_a.rtcp_addr()),
            ..Update::new(0, self.b)
        }
    }

    /// Plain on both sides.
    pub fn join(&self, rig: &mut Rig) {
        rig.update(self.update_a());
        rig.update(self.update_b());
    }

    /// Plain towards A, `suite` towards B.
    pub fn join_secure(&self, rig: &mut Rig, suite: Suite) {
        rig.update(Update { protect: Some(key(suite, 1)), ..self.update_a() });
        rig.update(Update { unprotect: Some(key(suite, 2)), ..self.update_b() });
    }
}
