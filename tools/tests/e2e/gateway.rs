//! `trunkline up` with a configuration of its own, on loopback addresses of its own.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;

use crate::lines::{Lines, PATIENCE};
use crate::stage::{self, Door, Stage};

/// Two cores carry one gateway with its peers at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
static NEXT: AtomicU8 = AtomicU8::new(1);

/// A place on loopback: every test has its own addresses, so that nothing is shared.
pub struct Place {
    pub directory: PathBuf,
    pub gateway: Ipv4Addr,
    pub provider: Ipv4Addr,
    pub pbx: Ipv4Addr,
    pub stranger: Ipv4Addr,
    pub six: Six,
    /// Addresses that nobody signalled.
    pub strangers: [Ipv4Addr; 3],
    /// Where the gateway runs when that is not where the test does.
    door: Option<Door>,
    /// The media backend of [`Place::config`], where the place decides it.
    backend: Option<&'static str>,
    _turn: MutexGuard<'static, ()>,
}

/// The same hosts' addresses of IPv6; loopback has one.
pub struct Six {
    pub gateway: Ipv6Addr,
    pub provider: Ipv6Addr,
    pub pbx: Ipv6Addr,
}

impl Place {
    pub fn new() -> Self {
        Self::with_pbx(|n| Ipv4Addr::new(127, 0, n, 3))
    }

    /// A place for a PBX that cannot be told to send from a certain address of loopback: the kernel
    /// gives it this one.
    pub fn with_pbx_anywhere() -> Self {
        Self::with_pbx(|_| Ipv4Addr::LOCALHOST)
    }

    fn with_pbx(pbx: impl Fn(u8) -> Ipv4Addr) -> Self {
        let turn = turn();
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let at = |last| Ipv4Addr::new(127, 0, n, last);
        let one = Ipv6Addr::LOCALHOST;
        let six = Six { gateway: one, provider: one, pbx: one };
        let strangers = [1, 2, 3].map(|last| Ipv4Addr::new(127, 1, n, last));
        Self::of([at(1), at(2), pbx(n), at(9)], six, strangers, n, turn)
    }

    /// Where the packets of this place can be seen.
    pub fn interface(&self) -> &'static str {
        if self.door.is_some() { "far" } else { "lo" }
    }

    /// The gateway at the near end of a wire, over that backend; the test, and whoever it starts, is to
    /// be at the far end.
    pub fn on_wire(stage: &Stage, backend: &'static str) -> Self {
        let turn = turn();
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let ([gateway, _], [provider, _]) = (stage::NEAR, stage::FAR);
        let gateway: Ipv4Addr = gateway.parse().unwrap();
        let [a, b, c, _] = gateway.octets();
        let at = |last| Ipv4Addr::new(a, b, c, last);
        let six = Six {
            gateway: stage::NEAR[1].parse().unwrap(),
            provider: stage::FAR[1].parse().unwrap(),
            pbx: "fd99::3".parse().unwrap(),
        };
        stage.far(&format!("address add {}/24 dev far", at(3)));
        stage.far(&format!("address add {}/64 dev far nodad", six.pbx));
        let strangers = [21, 22, 23].map(at);
        for stranger in strangers {
            stage.far(&format!("address add {stranger}/24 dev far"));
        }
        let four = [gateway, provider.parse().unwrap(), at(3), at(9)];
        let mut place = Self::of(four, six, strangers, n, turn);
        place.door = Some(stage.near_door());
        place.backend = Some(backend);
        place
    }

    fn of(
        [gateway, provider, pbx, stranger]: [Ipv4Addr; 4],
        six: Six,
        strangers: [Ipv4Addr; 3],
        n: u8,
        turn: MutexGuard<'static, ()>,
    ) -> Self {
        let directory =
            std::env::temp_dir().join(format!("trunkline-e2e-{}-{n}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let names = [gateway.into(), six.gateway.into()];
        bench::certs::write(&directory, &names, &[pbx.into(), six.pbx.into()]).unwrap();
        Self {
            directory,
            gateway,
            provider,
            pbx,
            stranger,
            six,
            strangers,
            door: None,
            backend: None,
            _turn: turn,
        }
    }

    /// The configuration that most tests use: an insecure provider, a secure PBX, routes both ways;
    /// over the place's media backend, or the one that `TRUNKLINE_TEST_BACKEND` names, else the
    /// gateway's own choice, on as many shards as `TRUNKLINE_TEST_SHARDS` says.
    pub fn config(&self) -> String {
        let Self { gateway, provider, pbx, directory, .. } = self;
        let backend = self.backend.map(str::to_owned).or_else(|| std::env::var(BACKEND).ok());
        let backend = backend.unwrap_or_else(|| "auto".to_owned());
        let shards = std::env::var(SHARDS).unwrap_or_else(|_| "1".to_owned());
        format!(
            r#"
[sip]
udp = ["{gateway}:5060"]
tcp = ["{gateway}:5060"]
tls = ["{gateway}:5061"]
tls_certificate = "gateway.pem"
tls_key = "gateway.key"
tls_ca = "ca.pem"
shards = {shards}

[media]
address = "{gateway}"
ports = "20000-20199"
flows = 100
backend = "{backend}"

[run]
directory = "{}"

[log]
level = "info"

[[trunk]]
name = "provider"
host = "{provider}"
port = 5070
transport = "UDP"
send_keep_alive = false

[[trunk]]
name = "pbx"
host = "{pbx}"
port = 5081
transport = "TLS"
send_keep_alive = false
secure = true
encryption = true
secure_rtp = "required"

[[route]]
name = "to pbx"
direction = "inbound"
from_trunk = "provider"
called = "_39."
destination = "pbx"

[[route]]
name = "to provider"
direction = "outbound"
from_trunk = "pbx"
called = "_0."
destination = "provider"
"#,
            directory.display()
        )
    }

    /// The same with the PBX as insecure as the provider.
    pub fn plain_config(&self) -> String {
        let secure = "secure = true\nencryption = true\nsecure_rtp = \"required\"";
        self.config().replace(secure, "").replace("transport = \"TLS\"", "transport = \"UDP\"")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Runs `work` on the gateway's host.
    pub fn at_gateway<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let Some(door) = &self.door else { return work() };
        let there = || {
            door.enter();
            work()
        };
        std::thread::scope(|scope| scope.spawn(there).join()).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("files of this test are kept in {}", self.directory.display());
        } else {
            let _left_behind = fs::remove_dir_all(&self.directory);
        }
    }
}

fn turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names the media backend that the suite runs on.
const BACKEND: &str = "TRUNKLINE_TEST_BACKEND";
/// Says among how many shards the gateway divides calls.
const SHARDS: &str = "TRUNKLINE_TEST_SHARDS";

/// The media range of [`Place::config`].
pub const MEDIA_PORTS: RangeInclusive<u16> = 20_000..=20_199;

/// Bound UDP ports of an address.
pub fn udp_ports(address: Ipv4Addr) -> Vec<u16> {
    let hex = format!("{:08X}:", u32::from_ne_bytes(address.octets()));
    fs::read_to_string("/proc/net/udp")
        .unwrap()
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1)?.strip_prefix(&hex))
        .map(|port| u16::from_str_radix(port, 16).unwrap())
        .collect()
}

pub struct Gateway {
    child: Child,
    pub log: Lines,
    directory: PathBuf,
}

pub fn trunkline() -> Command {
    Command::new(env!("CARGO_BIN_EXE_trunkline"))
}

impl Gateway {
    /// Starts and waits until it says that it is ready.
    pub fn start(place: &Place, config: &str) -> Self {
        let mut this = Self::spawn(place, config);
        this.log.wait("ready");
        this
    }

    /// The same with an environment of its own.
    pub fn start_with(place: &Place, config: &str, environment: &[(&str, &str)]) -> Self {
        let mut this = Self::spawn_with(place, config, environment);
        this.log.wait("ready");
        this
    }

    /// Starts one that logs errors alone, and waits until it answers: such a one says no "ready".
    pub fn start_quiet(place: &Place, config: &str) -> Self {
        let this = Self::spawn(place, config);
        let until = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect((place.gateway, 5061)).is_err() {
            assert!(Instant::now() < until, "the gateway does not come up");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        this
    }

    pub fn spawn(place: &Place, config: &str) -> Self {
        Self::spawn_with(place, config, &[])
    }

    fn spawn_with(place: &Place, config: &str, environment: &[(&str, &str)]) -> Self {
        let file = place.file("gateway.toml");
        fs::write(&file, config).unwrap();
        let mut command = trunkline();
        command
            .args(["up", "--config"])
            .arg(&file)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = place.at_gateway(|| command.spawn().unwrap());
        let log = Lines::of(child.stderr.take().unwrap());
        Self { child, log, directory: place.directory.clone() }
    }

    /// Asks it to end and waits; returns whether it ended with success.
    pub fn stop(&mut self) -> bool {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _gone_already = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        self.wait().success()
    }

    pub fn wait(&mut self) -> std::process::ExitStatus {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let _gone_already = self.child.kill();
        panic!("the gateway did not end; log:\n{}", self.log.rest().join("\n"));
    }

    /// The process id of one of the two processes.
    pub fn pid_of(&self, process: &str) -> rustix::process::Pid {
        let parent = self.child.id();
        let children =
            fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        let found = children.split_whitespace().find(|pid| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.split(|b| *b == 0).any(|part| part == process.as_bytes()))
        });
        let pid = found.unwrap_or_else(|| panic!("no process {process} under {parent}"));
        rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap()
    }

    /// The CDRs so far.
    pub fn cdrs(&self) -> Vec<Value> {
        cdrs(&self.directory.join("cdr.jsonl"))
    }

    /// Waits until there are `count` CDRs.
    pub fn cdrs_when(&self, count: usize) -> Vec<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let cdrs = self.cdrs();
            if cdrs.len() >= count || Instant::now() > until {
                assert_eq!(cdrs.len(), count, "CDRs: {cdrs:#?}");
                return cdrs;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

fn cdrs(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    // What is behind the last line end is being written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            let pid = rustix::process::Pid::from_child(&self.child);
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::INT);
            let _reaped = self.child.wait();
        }
    }
}
