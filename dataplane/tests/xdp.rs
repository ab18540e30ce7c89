//! The AF_XDP backend as operators meet it: several queues, programs that someone else detaches, killed,
//! and full of calls. Root only; each test has a wire of its own between two namespaces. What
//! happens on a wire whatever takes the frames is in `on_wire_xdp.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod rig;

use std::net::IpAddr;
use std::process::{Child, Command, Stdio};

use abi::{Counter, Notice, Suite};
use dataplane::{BackendChoice, Config, Hardening, Pulse, Stop};
use rig::packet::{Peer, rtp, sized_rtp};
use rig::wire::{self, has_wire, on_wire, passed_by, talk};
use rig::{Call, Rig, await_that, config, home, id, own_address, receive};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};

fn program() -> Option<u32> {
    program_of("near")
}

fn program_of(interface: &str) -> Option<u32> {
    let said = on_wire(|wire| wire.stage.ask_near(&format!("-d link show {interface}")));
    let (_, rest) = said.split_once("prog/xdp id ")?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[test]
fn media_never_touches_the_kernels_sockets_and_no_buffer_is_lost() {
    if !has_wire() {
        return;
    }
    let mut rig = Rig::start();
    let plain = Call::place(&mut rig, 0, 1);
    plain.join(&mut rig);
    let secure = Call::place(&mut rig, 2, 1);
    let suite = Suite::AesCm128HmacSha1_80;
    secure.join_secure(&mut rig, suite);
    let mut peer = Peer::new(suite);
    let passed = passed_by(&rig, 2000, || {
        talk(&plain, 0..500);
        for seq in 0..500 {
            secure.far_a.rtp.send_to(&rtp(seq), secure.at_a.0).unwrap();
            assert_eq!(peer.unprotect_rtp(&receive(&secure.far_b.rtp).0), rtp(seq));
            secure.far_b.rtp.send_to(&peer.protect_rtp(&rtp(seq)), secure.at_b.0).unwrap();
            assert_eq!(receive(&secure.far_a.rtp).0, rtp(seq));
        }
    });
    assert_eq!(passed, 0);
    assert_eq!(rig.counter(Counter::BuffersMissing), 0);
    assert_eq!(rig.counter(Counter::FrameFaults), 0);
}

#[test]
fn a_fragmented_packet_takes_the_kernels_way_and_arrives() {
    if !has_wire() {
        return;
    }
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    call.join(&mut rig);
    talk(&call, 0..5);
    on_wire(|wire| wire.stage.far("link set far mtu 600"));
    let large = sized_rtp(7, 1400);
    rig.await_counter(Counter::RelayedRtp, 10);
    let passed = passed_by(&rig, 1, || {
        call.far_a.rtp.send_to(&large, call.at_a.0).unwrap();
    });
    assert_eq!(passed, 1, "the kernel puts it together");
    on_wire(|wire| wire.stage.far("link set far mtu 1500"));
    assert_eq!(passed_by(&rig, 20, || talk(&call, 10..20)), 0);
}

/// Each worker serves one of two queues, and a sender's hash chooses the queue: a packet that came by the
/// other worker's reaches its own worker by the socket, and is relayed as any.
#[test]
fn a_flow_is_its_workers_whichever_queue_its_packets_come_by() {
    if !has_wire() {
        return;
    }
    let two = |end: &str| {
        let set = Command::new("ethtool").args(["-L", end, "rx", "2", "tx", "2"]).status();
        assert!(set.unwrap().success(), "two queues at {end}");
    };
    on_wire(|wire| {
        wire.stage.at_far(|| two("far"));
        wire.stage.at_near(|| two("near"));
    });
    let config = Config { workers: 2, ..config(own_address(), 64, 20_000..=20_999) };
    let mut rig = Rig::launch(config, dataplane::run);
    for worker in 0..2 {
        rig.turn_to(worker);
        let calls: Vec<Call> = (0..CALLS_A_WORKER)
            .map(|n| {
                let call = Call::place(&mut rig, 2 * n, 1);
                call.join(&mut rig);
                call
            })
            .collect();
        for seq in 0..20 {
            calls.iter().for_each(|call| talk(call, seq..seq + 1));
        }
        let relayed = 2 * 20 * u64::from(CALLS_A_WORKER);
        rig.await_counter(Counter::RelayedRtp, relayed);
        rig.check_books();
        let passed = rig.counter(Counter::PassedPackets);
        assert!(passed > 0, "worker {worker}: some come by the other's queue");
        assert!(passed < relayed, "worker {worker}: some come by its own");
        assert_eq!(rig.counter(Counter::BuffersMissing), 0);
        for call in calls {
            rig.close(call.a);
            rig.close(call.b);
        }
    }
}

/// Even by a process that has given up every right.
#[test]
fn media_goes_on_when_someone_detaches_the_program_which_is_attached_again() {
    if !has_wire() {
        return;
    }
    let process = Process::start_hardened(&[home(own_address())], 64, 256);
    let mut rig = Rig::attached(process.config.clone());
    let call = Call::place(&mut rig, 0, 1);
    call.join(&mut rig);
    assert_eq!(passed_by(&rig, 100, || talk(&call, 0..50)), 0);
    let ours = program().unwrap();
    let warden = process.warden();
    for round in 1..3 {
        bpf::detach(ours);
        // Not one is lost, by whichever way it goes.
        let from = round * 1000;
        let passed = passed_by(&rig, 100, || talk(&call, from..from + 50));
        eprintln!("{passed} packets by sockets");
        await_that("the program is attached again", || program() == Some(ours));
        assert_eq!(passed_by(&rig, 100, || talk(&call, from + 50..from + 100)), 0);
    }
    // Without a warden it stays detached, and media goes on.
    kill_process(warden, Signal::KILL).unwrap();
    await_that("the program is gone with what had attached it", || program().is_none());
    let passed = passed_by(&rig, 100, || talk(&call, 5000..5050));
    assert_eq!(passed, 100, "not one is lost");
    assert_eq!(rig.counter(Counter::BuffersMissing), 0);
}

/// The warden can attach programs, and nothing else.
#[test]
fn the_warden_has_two_rights_two_descriptors_and_goes_with_the_data_plane() {
    if !has_wire() {
        return;
    }
    let mut process = Process::start_hardened(&[home(own_address())], 64, 256);
    let _rig = Rig::attached(process.config.clone());
    let warden = process.warden().as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{warden}/status")).unwrap();
    // CAP_NET_ADMIN is 12, CAP_BPF 39 (capabilities(7)).
    let rights = format!("{:016x}", 1_u64 << 12 | 1 << 39);
    for (field, value) in [
        ("Name", "xdp-warden"),
        ("CapEff", &rights),
        ("CapPrm", &rights),
        ("CapInh", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Threads", "1"),
    ] {
        assert!(status.contains(&format!("{field}:\t{value}\n")), "{field} {value}: {status}");
    }
    let files = std::fs::read_dir(format!("/proc/{warden}/fd")).unwrap();
    assert_eq!(files.count(), 2, "the program and the line");
    process.kill();
    await_that("the warden is gone", || !std::fs::exists(format!("/proc/{warden}/exe")).unwrap());
    await_that("the program is gone", || program().is_none());
}

/// With everything in use that it could leave behind: both programs, their maps, the kernel's own relay,
/// the warden.
#[test]
fn killed_while_the_kernel_relays_it_leaves_nothing_on_the_host() {
    if !has_wire() {
        return;
    }
    let _pass = on_wire(|wire| wire.stage.at_far(|| wire::take_what_the_driver_sends("far")));
    let before = host_settings();
    let mut process = Process::start_relaying(&[home(own_address())], 64, 256);
    let mut rig = Rig::attached(process.config.clone());
    let call = Call::place(&mut rig, 0, 1);
    call.join(&mut rig);
    let mut seq = 0;
    await_that("the kernel relays", || {
        talk(&call, seq..seq + 5);
        seq += 5;
        rig.counter(Counter::KernelPackets) > 0
    });
    let warden = process.warden().as_raw_nonzero();
    let held = bpf::held_by(&[process.child.id(), warden.get().unsigned_abs()]);
    for (kind, least) in [("prog", 2), ("link", 2), ("map", 3)] {
        let of_kind = held.iter().filter(|(held, _)| *held == kind).count();
        assert!(of_kind >= least, "{kind}: {held:?}");
    }
    let gone = |held: &(&'static str, u32)| !bpf::exists(*held);
    assert!(!held.iter().any(gone), "all of it is there while it lives");
    assert_ne!(host_settings(), before, "a program is seen where none was");
    process.kill();
    await_that("programs, links and maps are gone", || held.iter().all(gone));
    await_that("the warden is gone", || !std::fs::exists(format!("/proc/{warden}/exe")).unwrap());
    assert_eq!(host_settings(), before);
}

/// What of the near side's settings a gateway could have left: programs on interfaces, queues, filters,
/// rules, routes, tables.
fn host_settings() -> String {
    let said = |line: &str| {
        let mut words = line.split(' ');
        let done = Command::new(words.next().unwrap()).args(words).output().expect(line);
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        let text = String::from_utf8(done.stdout).unwrap();
        // Routes of addresses come and go with these.
        let others = text.lines().filter(|line| !line.contains("proto kernel"));
        format!("{line}\n{}\n", others.collect::<Vec<_>>().join("\n"))
    };
    let ask = || {
        [
            "ip -d link",
            "ip rule",
            "ip -6 rule",
            "ip -4 route show table all",
            "tc qdisc",
            "tc filter show dev near",
            "tc filter show dev near ingress",
            "nft list ruleset",
        ]
        .map(said)
        .concat()
    };
    on_wire(|wire| wire.stage.at_near(ask))
}

/// Two networks, each behind an interface of its own, "near" and "near2", and a call between them.
fn across(change: impl FnOnce(&mut Config)) -> (Rig, Call) {
    let mut config = config(own_address(), 64, 20_000..=20_999);
    wire::add_network(&mut config);
    change(&mut config);
    let mut rig = Rig::launch(config, dataplane::run);
    let call = wire::call_across(&mut rig);
    // Neighbours are looked for.
    talk(&call, 0..5);
    rig.await_counter(Counter::RelayedRtp, 10);
    (rig, call)
}

#[test]
fn a_call_between_two_interfaces_goes_by_xdp_on_both() {
    if !has_wire() {
        return;
    }
    let (mut rig, call) = across(|_| ());
    let programs = ["near", "near2"].map(|name| program_of(name).unwrap());
    assert_ne!(programs[0], programs[1]);
    assert_eq!(passed_by(&rig, 1000, || talk(&call, 5..505)), 0);
    // Off one of them, only what comes by it goes by sockets, until it is back.
    bpf::detach(programs[1]);
    let mut seq = 505;
    let passed = passed_by(&rig, 40, || talk(&call, seq..seq + 20));
    assert!(passed <= 20, "{passed}: what comes by the other interface does not");
    await_that("the program is attached again", || program_of("near2") == Some(programs[1]));
    assert_eq!(program_of("near"), Some(programs[0]));
    seq += 20;
    assert_eq!(passed_by(&rig, 100, || talk(&call, seq..seq + 50)), 0);
    // One that goes down takes the other's calls not along.
    on_wire(|wire| wire.stage.near("link set near2 down"));
    let other = Call::place(&mut rig, 2, 1);
    other.join(&mut rig);
    talk(&other, 0..50);
    assert_eq!(rig.counter(Counter::BuffersMissing), 0);
}

#[test]
fn an_interface_that_is_not_named_is_served_as_the_backend_packet_does() {
    if !has_wire() {
        return;
    }
    let (rig, call) = across(|config| config.interfaces = vec![String::from("near")]);
    only_near_is_under_xdp(&rig, &call);
}

#[test]
fn a_network_that_does_not_take_xdp_is_served_as_the_backend_packet_does() {
    if !has_wire() {
        return;
    }
    let (rig, call) = across(|config| config.takes_xdp = vec![true, false]);
    only_near_is_under_xdp(&rig, &call);
}

fn only_near_is_under_xdp(rig: &Rig, call: &Call) {
    assert!(program_of("near").is_some());
    assert_eq!(program_of("near2"), None);
    assert_eq!(passed_by(rig, 200, || talk(call, 5..105)), 100, "what comes by near2");
    assert_eq!(rig.counter(Counter::BuffersMissing), 0);
}

/// A data plane in a process of its own on the near side: this binary, started again.
struct Process {
    child: Child,
    config: Config,
}

impl Process {
    fn start(addresses: &[IpAddr], flows: u32, files: u64) -> Process {
        Process::start_as("usual", addresses, flows, files)
    }

    fn start_hardened(addresses: &[IpAddr], flows: u32, files: u64) -> Process {
        Process::start_as("hardened", addresses, flows, files)
    }

    /// Hardened, and the kernel relays where it can.
    fn start_relaying(addresses: &[IpAddr], flows: u32, files: u64) -> Process {
        Process::start_as("relaying", addresses, flows, files)
    }

    fn start_as(how: &str, addresses: &[IpAddr], flows: u32, files: u64) -> Process {
        let list: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        let mut config = configuration(addresses, flows);
        config.networks = vec![addresses.to_vec()];
        let door = on_wire(|wire| wire.stage.near_door());
        let child = std::thread::scope(|scope| {
            let started = scope.spawn(|| {
                door.enter();
                Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", "child", "--ignored", "--nocapture"])
                    .env(PART, format!("{} {flows} {files} {how}", list.join(",")))
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .spawn()
                    .unwrap()
            });
            started.join().unwrap()
        });
        Process { child, config }
    }

    /// The process that it split off.
    fn warden(&self) -> Pid {
        let parent = format!("PPid:\t{}\n", self.child.id());
        let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
        let mut pids = processes.filter_map(|name| name.to_str()?.parse::<i32>().ok());
        let is_child = |pid: &i32| {
            std::fs::read_to_string(format!("/proc/{pid}/status"))
                .is_ok_and(|status| status.contains(&parent))
        };
        Pid::from_raw(pids.find(is_child).expect("a warden")).unwrap()
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

fn configuration(addresses: &[IpAddr], flows: u32) -> Config {
    let name = format!("trunkline-xdp-{}.sock", addresses[0]);
    Config {
        networks: vec![addresses.to_vec()],
        backend: BackendChoice::Xdp,
        socket: std::env::temp_dir().join(name),
        ..config(addresses[0], flows, 20_000..=65_535)
    }
}

#[test]
#[ignore = "the part of a child process"]
fn child() {
    let Ok(text) = std::env::var(PART) else { return };
    let words: Vec<&str> = text.split(' ').collect();
    let addresses: Vec<IpAddr> = words[0].split(',').map(|ip| ip.parse().unwrap()).collect();
    let files = words[2].parse().unwrap();
    setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum: Some(files) }).unwrap();
    let mut config = configuration(&addresses, words[1].parse().unwrap());
    config.xdp_tx = vec![words[3] == "relaying"];
    let stop = Stop::new().unwrap();
    if words[3] != "usual" {
        let hardening = Hardening::begin(&config, None).unwrap();
        dataplane::run_hardened(config, stop, hardening, Pulse::none()).unwrap();
    } else {
        dataplane::run(config, stop).unwrap();
    }
}

#[test]
fn a_killed_data_plane_leaves_no_program_behind_and_the_next_one_starts() {
    if !has_wire() {
        return;
    }
    let address = home(own_address());
    for seq in 0..3 {
        let mut process = Process::start(&[address], 64, 256);
        let mut rig = Rig::attached(process.config.clone());
        let call = Call::place(&mut rig, 0, 1);
        call.join(&mut rig);
        talk(&call, 0..20 + seq);
        assert!(program().is_some());
        process.kill();
        await_that("the program is gone", || program().is_none());
    }
}

#[test]
fn twenty_thousand_calls_are_open_within_a_few_descriptors_and_talk() {
    if !has_wire() {
        return;
    }
    let addresses = [home(own_address()), home(own_address())];
    let process = Process::start(&addresses, 40_000, 100);
    let mut rig = Rig::attached(process.config.clone());
    let resident = || {
        let path = format!("/proc/{}/statm", process.child.id());
        let pages = std::fs::read_to_string(path).unwrap();
        pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let before = resident();
    for index in 0..40_000 {
        let opened = rig.try_open(id(index, 1));
        assert!(matches!(opened, Notice::Opened { .. }), "{index}: {opened:?}");
    }
    let per_call = (resident() - before) / 20_000;
    eprintln!("{per_call} bytes of memory per open call");
    assert!(per_call < 16 << 10, "{per_call} bytes per call");
    rig.await_counter(Counter::PortsOpen, 80_000);
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", process.child.id())).unwrap();
    eprintln!("{} descriptors", descriptors.count());
    for first in [0, 19_998, 39_998] {
        for index in [first, first + 1] {
            rig.close(id(index, 1));
        }
        let call = Call::place(&mut rig, first, 2);
        call.join(&mut rig);
        talk(&call, 0..10);
    }
    assert_eq!(rig.counter(Counter::BuffersMissing), 0);
}

const PART: &str = "TRUNKLINE_TEST_XDP";
/// Enough that all of one kind by one queue is not to be seen: each has two senders.
const CALLS_A_WORKER: u32 = 24;

/// What an administrator's tool does to a program: bpf(2) by identifiers.
mod bpf {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    const GET_FD_BY_ID: i32 = 30;
    const GET_NEXT_ID: i32 = 31;
    const GET_INFO: i32 = 15;
    const DETACH: i32 = 34;

    /// What processes have of this kind, by the kernel's numbers, as `/proc` tells it.
    pub fn held_by(processes: &[u32]) -> Vec<(&'static str, u32)> {
        let mut held = Vec::new();
        for process in processes {
            for entry in std::fs::read_dir(format!("/proc/{process}/fdinfo")).unwrap() {
                // Those that are closed meanwhile are not meant.
                let Ok(text) = std::fs::read_to_string(entry.unwrap().path()) else { continue };
                held.extend(text.lines().filter_map(|line| {
                    let (name, number) = line.split_once(":\t")?;
                    let (kind, _) = KINDS.iter().find(|(kind, _)| name == format!("{kind}_id"))?;
                    Some((*kind, number.trim().parse().ok()?))
                }));
            }
        }
        held.sort_unstable();
        held.dedup();
        held
    }

    pub fn exists((kind, number): (&str, u32)) -> bool {
        let (_, command) = KINDS.iter().find(|(known, _)| *known == kind).unwrap();
        match call(*command, &mut [number, 0, 0]) {
            -1 => {
                let error = std::io::Error::last_os_error();
                assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{kind} {number}: {error}");
                false
            }
            fd => {
                // SAFETY: the kernel made it for us just now.
                drop(unsafe { OwnedFd::from_raw_fd(fd) });
                true
            }
        }
    }

    /// Each kind, and what opens one by its number.
    const KINDS: [(&str, i32); 3] = [("prog", 13), ("map", 14), ("link", GET_FD_BY_ID)];

    /// Detaches the link that holds a program.
    pub fn detach(program: u32) {
        let mut last = 0;
        loop {
            let mut next = [last, 0, 0];
            assert_eq!(call(GET_NEXT_ID, &mut next), 0, "no link holds program {program}");
            last = next[1];
            let fd = call(GET_FD_BY_ID, &mut [last, 0, 0]);
            // SAFETY: the kernel made it for us just now.
            let link = unsafe { OwnedFd::from_raw_fd(fd) };
            let mut info = [0_u32; 32];
            let at = info.as_mut_ptr() as u64;
            let mut ask = [link.as_raw_fd() as u32, 128, at as u32, (at >> 32) as u32];
            assert_eq!(call(GET_INFO, &mut ask), 0);
            if info[2] == program {
                assert_eq!(call(DETACH, &mut [link.as_raw_fd() as u32]), 0);
                return;
            }
        }
    }

    fn call<const N: usize>(command: i32, words: &mut [u32; N]) -> i32 {
        // SAFETY: the words are the structure of the command, which the kernel may write to.
        let done = unsafe {
            libc::syscall(libc::SYS_bpf, command, words.as_mut_ptr(), size_of_val(words))
        };
        done as i32
    }
}
