//! The backend of frames as a process of its own: what it needs while it lives, and what it leaves when
//! it is killed. Root only; each test has a network namespace of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod rig;

use std::fs::File;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, Command, Stdio};

use abi::{Counter, Notice};
use dataplane::{BackendChoice, Config, Stop};
use rig::packet::rtp;
use rig::{Call, Rig, await_that, config, id, own_address, receive};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace with a loopback, gone with the value.
struct Namespace(String);

impl Namespace {
    /// `None` where it cannot be made. The calling thread moves there.
    fn enter(name: &str) -> Option<Namespace> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root");
            return None;
        }
        let namespace = Namespace(format!("tl-{name}-{}", std::process::id()));
        ip(&["netns", "add", &namespace.0]);
        ip(&["-n", &namespace.0, "link", "set", "lo", "up"]);
        let file = File::open(format!("/run/netns/{}", namespace.0)).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        Some(namespace)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&["netns", "del", &self.0]);
    }
}

fn ip(arguments: &[&str]) {
    let done = Command::new("ip").args(arguments).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A data plane in a process of its own, in this thread's namespace: this binary, started again.
struct Process {
    child: Child,
    config: Config,
}

impl Process {
    fn start(addresses: Vec<IpAddr>, flows: u32, files: u64) -> Process {
        let local = own_address();
        let config = configuration(local, &addresses, flows);
        let list: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(PART, format!("{local} {} {flows} {files}", list.join(",")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Process { child, config: Config { socket: handover(local), ..config } }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.config.socket);
    }
}

fn configuration(local: IpAddr, addresses: &[IpAddr], flows: u32) -> Config {
    Config {
        networks: vec![addresses.to_vec()],
        backend: BackendChoice::Packet,
        socket: handover(local),
        ..config(local, flows, 20_000..=65_535)
    }
}

fn handover(local: IpAddr) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("trunkline-packet-{local}.sock"))
}

#[test]
#[ignore = "the part of a child process"]
fn child() {
    let Ok(text) = std::env::var(PART) else { return };
    let words: Vec<&str> = text.split(' ').collect();
    let addresses: Vec<IpAddr> = words[1].split(',').map(|ip| ip.parse().unwrap()).collect();
    let files = words[3].parse().unwrap();
    setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum: Some(files) }).unwrap();
    let config = configuration(words[0].parse().unwrap(), &addresses, words[2].parse().unwrap());
    dataplane::run(config, Stop::new().unwrap()).unwrap();
}

/// sk_lookup programs in this thread's namespace, as the kernel counts them.
fn programs() -> u32 {
    #[repr(C)]
    #[derive(Default)]
    struct Query {
        target: u32,
        attach: u32,
        flags: u32,
        attach_flags: u32,
        ids: u64,
        count: u32,
        rest: [u32; 9],
    }
    let namespace = File::open("/proc/thread-self/ns/net").unwrap();
    let mut query =
        Query { target: namespace.as_raw_fd() as u32, attach: SK_LOOKUP, ..Query::default() };
    // SAFETY: the structure is the one of this command; the kernel writes the count.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, &raw mut query, size_of::<Query>()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    query.count
}

/// Whether someone takes a datagram there.
fn takes(at: SocketAddr) -> bool {
    let probe = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    probe.connect(at).unwrap();
    probe.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
    probe.send(b"?").unwrap();
    probe.recv(&mut [0; 1]).unwrap_err().kind() != std::io::ErrorKind::ConnectionRefused
}

#[test]
fn a_killed_data_plane_leaves_no_program_and_no_port_behind() {
    std::thread::scope(|scope| {
        let passed = scope.spawn(|| {
            let Some(_namespace) = Namespace::enter("kill") else { return };
            assert_eq!(programs(), 0);
            let mut process = Process::start(vec![own_address()], 16, 200);
            let mut rig = Rig::attached(process.config.clone());
            let call = Call::place(&mut rig, 0, 1);
            call.join(&mut rig);
            call.far_a.rtp.send_to(&rtp(1), call.at_a.0).unwrap();
            assert_eq!(receive(&call.far_b.rtp), (rtp(1), call.at_b.0));
            assert_eq!(programs(), 1);
            assert!(takes(call.at_a.0), "an open port");
            process.kill();
            await_that("no program", || programs() == 0);
            assert!(!takes(call.at_a.0), "a port of nobody");
            // And the next start finds nothing in its way, but the one after it does.
            let process = Process::start(vec![own_address()], 16, 200);
            let mut rig = Rig::attached(process.config.clone());
            Call::place(&mut rig, 0, 1).join(&mut rig);
            assert_eq!(programs(), 1);
            let second = process.config.networks[0].clone();
            let config = configuration(own_address(), &second, 16);
            let error = dataplane::run(config, Stop::new().unwrap()).unwrap_err().to_string();
            assert!(error.contains("another data plane"), "{error}");
        });
        passed.join().unwrap();
    });
}

#[test]
fn twenty_thousand_calls_are_open_within_a_hundred_descriptors() {
    std::thread::scope(|scope| {
        let passed = scope.spawn(|| {
            let Some(_namespace) = Namespace::enter("many") else { return };
            let addresses = vec![own_address(), own_address()];
            let process = Process::start(addresses, FLOWS, 100);
            let mut rig = Rig::attached(process.config.clone());
            let before = resident_kib(process.child.id());
            let mut last = None;
            for index in 0..FLOWS {
                match rig.try_open(id(index, 1)) {
                    Notice::Opened { local_rtp, .. } => last = Some(local_rtp),
                    other => panic!("{index}: {other:?}"),
                }
            }
            let after = resident_kib(process.child.id());
            let each = |kib: u64| kib * 1024 / u64::from(FLOWS / 2);
            let (all, grown) = (each(after), each(after.saturating_sub(before)));
            eprintln!("{all} octets of memory per open call, {grown} of them since it opened");
            let files = std::fs::read_dir(format!("/proc/{}/fd", process.child.id())).unwrap();
            assert!(files.count() < 100);
            let far = UdpSocket::bind((own_address(), 0)).unwrap();
            far.send_to(&rtp(1), last.unwrap()).unwrap();
            rig.await_counter(Counter::RxPackets, 1);
            rig.check_books();
        });
        passed.join().unwrap();
    });
}

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

const PART: &str = "TRUNKLINE_PACKET_PART";
/// Two for each call.
const FLOWS: u32 = 40_000;
const PROG_QUERY: libc::c_int = 16;
const SK_LOOKUP: u32 = 36;
