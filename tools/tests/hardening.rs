//! `trunkline dataplane` as the supervisor starts it: what it may, what it still does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use abi::handover::{self, Worker};
use abi::{Family, FlowId, Notice, Open, Update};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn every_thread_is_without_rights_and_media_flows() {
    let mut gateway = Gateway::start();
    let mut worker = gateway.attach();
    check_threads(gateway.pid());
    relay(&mut worker, 0);
    drop(worker);
    // Another guest, then another data plane in place of a killed one.
    relay(&mut gateway.attach(), 1);
    gateway.child.kill().unwrap();
    gateway.child.wait().unwrap();
    gateway.child = gateway.spawn();
    relay(&mut gateway.attach(), 0);
    check_threads(gateway.pid());
    assert!(gateway.stop().success());
    let log = fs::read_to_string(gateway.directory.join("log")).unwrap();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("hardened: ")).collect();
    assert_eq!(told.len(), 2, "one line at each start:\n{log}");
    assert!(told.iter().all(|line| line.contains("no capabilities")), "{told:?}");
}

fn check_threads(pid: u32) {
    let root = rustix::process::geteuid().is_root();
    let seccomp = fs::exists("/proc/sys/kernel/seccomp/actions_avail").unwrap();
    let mut threads = 0;
    // The filter comes last.
    await_that("the filter", || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        !seccomp || field(&status, "Seccomp") == "2"
    });
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let name = field(&status, "Name");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(field(&status, set), "0000000000000000", "{name} {set}");
        }
        assert_eq!(field(&status, "NoNewPrivs"), "1", "{name}");
        if seccomp {
            assert_eq!(field(&status, "Seccomp"), "2", "{name}");
        }
        if root {
            assert_eq!(field(&status, "CapBnd"), "0000000000000000", "{name}");
            assert_eq!(field(&status, "Groups"), "", "{name}");
            for ids in ["Uid", "Gid"] {
                let ids = field(&status, ids);
                assert!(ids.split_whitespace().all(|id| id != "0"), "{name}: {ids}");
            }
        }
        threads += 1;
    }
    assert!(threads >= 3, "main thread, signals, worker");
    // What root's own process looks like to the same eyes.
    let own = fs::read_to_string("/proc/self/status").unwrap();
    assert!(!root || field(&own, "CapEff") != "0000000000000000");
    assert_eq!(field(&own, "Seccomp"), "0");
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name}")).trim()
}

/// Opens two flows, in IPv4 and in IPv6, and sends a packet through them.
fn relay(worker: &mut Worker, index: u32) {
    let [a, b] = [2 * index, 2 * index + 1].map(|index| FlowId { index, generation: 1 });
    let at = open(worker, a, Family::V4);
    open(worker, b, Family::V6);
    let far_a = UdpSocket::bind("127.0.0.1:0").unwrap();
    let far_b = UdpSocket::bind("[::1]:0").unwrap();
    far_b.set_read_timeout(Some(PATIENCE)).unwrap();
    let update = Update {
        peer: Some(b),
        relay: true,
        source_rtp: Some(far_a.local_addr().unwrap()),
        destination_rtp: Some(far_b.local_addr().unwrap()),
        ..Update::new(2, a)
    };
    let answer = ask(worker, &abi::Command::update(&update));
    assert!(matches!(answer, Notice::Updated { .. }), "{answer:?}");
    let mut packet = vec![0x80, 8, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4];
    packet.extend([0xd5; 160]);
    far_a.send_to(&packet, at).unwrap();
    let mut received = [0; 2048];
    let len = far_b.recv(&mut received).unwrap();
    assert_eq!(received[..len], packet);
}

fn open(worker: &mut Worker, flow: FlowId, family: Family) -> SocketAddr {
    let open =
        Open { token: 1, flow, call: [0; 16], network: 0, family, rtcp_mux_in: false, dscp: None };
    match ask(worker, &abi::Command::open(&open)) {
        Notice::Opened { local_rtp, .. } => local_rtp,
        other => panic!("{other:?}"),
    }
}

fn ask(worker: &mut Worker, command: &abi::Command) -> Notice {
    worker.guest.commands.push(command).unwrap();
    abi::doorbell::ring(&worker.command_bell).unwrap();
    let mut answer = None;
    await_that("an answer", || {
        answer = worker.guest.events.pop();
        answer.is_some()
    });
    // A bell that is not taken back rings for ever.
    await_that("silence of the bell", || {
        let mut bell = [PollFd::new(&worker.command_bell, PollFlags::IN)];
        poll(&mut bell, Some(&Timespec::default())).unwrap() == 0
    });
    answer.unwrap().decode().unwrap()
}

fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not seen: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

struct Gateway {
    directory: PathBuf,
    child: Child,
}

impl Gateway {
    fn start() -> Gateway {
        let directory =
            std::env::temp_dir().join(format!("trunkline-hardening-{}", std::process::id()));
        fs::create_dir_all(directory.join("run")).unwrap();
        fs::write(directory.join("gateway.toml"), CONFIG).unwrap();
        let child = spawn(&directory);
        Gateway { directory, child }
    }

    fn spawn(&self) -> Child {
        spawn(&self.directory)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn attach(&self) -> Worker {
        let mut workers = Vec::new();
        await_that("handover", || {
            let connected = handover::connect(&self.directory.join("run/dataplane.sock"));
            workers = connected.unwrap_or_default();
            !workers.is_empty()
        });
        workers.remove(0)
    }

    fn stop(&mut self) -> ExitStatus {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            fs::remove_dir_all(&self.directory).unwrap();
        }
    }
}

fn spawn(directory: &Path) -> Child {
    let log = fs::File::options().create(true).append(true).open(directory.join("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_trunkline"))
        .args(["dataplane", "--config"])
        .arg(directory.join("gateway.toml"))
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

const CONFIG: &str = r#"
[sip]
udp = ["127.0.0.88:5060"]

[media]
address = ["127.0.0.88", "::1"]
ports = "21000-21199"
flows = 16

[run]
directory = "run"

[[trunk]]
name = "provider"
host = "127.0.0.89"

[[route]]
name = "out"
called = "_0."
destination = "provider"
"#;
