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
use dataplane::{BackendChoice, Config, Stop};
use rig::packet::{Peer, rtp, sized_rtp};
use rig::wire::{has_wire, on_wire, passed_by, talk};
use rig::{Call, Rig, await_that, config, home, id, own_address, receive};
use rustix::process::{Resource, Rlimit, setrlimit};

fn program() -> Option<u32> {
    let said = on_wire(|wire| wire.stage.ask_near("-d link show near"));
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
        let door = wire.stage.near_door();
        let near = || {
            door.enter();
            two("near");
        };
        std::thread::scope(|scope| scope.spawn(near).join()).unwrap();
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

#[test]
fn media_goes_on_when_someone_detaches_the_program() {
    if !has_wire() {
        return;
    }
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    call.join(&mut rig);
    assert_eq!(passed_by(&rig, 100, || talk(&call, 0..50)), 0);
    bpf::detach(program().unwrap());
    assert_eq!(program(), None);
    let passed = passed_by(&rig, 100, || talk(&call, 50..100));
    assert_eq!(passed, 100, "not one is lost");
    assert_eq!(rig.counter(Counter::BuffersMissing), 0);
}

/// A data plane in a process of its own on the near side: this binary, started again.
struct Process {
    child: Child,
    config: Config,
}

impl Process {
    fn start(addresses: &[IpAddr], flows: u32, files: u64) -> Process {
        let list: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        let mut config = configuration(addresses, flows);
        config.networks = vec![addresses.to_vec()];
        let door = on_wire(|wire| wire.stage.near_door());
        let child = std::thread::scope(|scope| {
            let started = scope.spawn(|| {
                door.enter();
                Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", "child", "--ignored", "--nocapture"])
                    .env(PART, format!("{} {flows} {files}", list.join(",")))
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .spawn()
                    .unwrap()
            });
            started.join().unwrap()
        });
        Process { child, config }
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
    let config = configuration(&addresses, words[1].parse().unwrap());
    dataplane::run(config, Stop::new().unwrap()).unwrap();
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
