//! A worker waits in one place and calls the kernel for nothing but packets: `strace` counts what its
//! thread asks of the kernel while a hundred thousand packets pass.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod rig;

use std::io::{BufRead, BufReader, ErrorKind};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use abi::{Counter, Suite, Update};
use rig::packet::{rtcp, rtp};
use rig::{Call, Rig, id, key, receive};
use rustix::process::{Pid, Signal, kill_process};

/// What a worker may call: its wait, its packets, the clock of its own CPU time once per housekeeping
/// step and, without a ring, the bell (a look for room and a write that cannot wait).
const RING: [&str; 2] = ["io_uring_enter", "clock_gettime"];
/// The same, and the bell of the thread that is asked for a new destination's way.
const FRAMES: [&str; 6] =
    ["io_uring_enter", "recvmmsg", "sendmmsg", "clock_gettime", "ppoll", "write"];
/// The same, and what tells the kernel of frames to send and of free buffers.
const LANES: [&str; 8] = [
    "io_uring_enter",
    "sendto",
    "recvfrom",
    "recvmmsg",
    "sendmmsg",
    "clock_gettime",
    "ppoll",
    "write",
];
const NO_RING: [&str; 10] = [
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "recvmmsg",
    "sendmmsg",
    "nanosleep",
    "clock_nanosleep",
    "clock_gettime",
    "ppoll",
    "write",
];

const PACKETS: u64 = 100_000;
const WINDOW: u64 = 50;

/// `strace` on a worker's thread.
struct Trace {
    strace: Child,
    summary: PathBuf,
}

impl Trace {
    /// `None`, and why, where there is no `strace` or nothing may be traced.
    fn start(thread: u32) -> Option<Trace> {
        let summary = std::env::temp_dir().join(format!("trunkline-calls-{}", std::process::id()));
        let spawned = Command::new("strace")
            .args(["-c", "-p", &thread.to_string(), "-o"])
            .arg(&summary)
            .stderr(Stdio::piped())
            .spawn();
        let mut strace = match spawned {
            Ok(strace) => strace,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                eprintln!("SKIPPED: strace is not installed; tools/test installs it");
                return None;
            }
            Err(error) => panic!("strace: {error}"),
        };
        let mut said = String::new();
        for line in BufReader::new(strace.stderr.take().unwrap()).lines() {
            let line = line.unwrap();
            if line.contains("attached") {
                return Some(Trace { strace, summary });
            }
            said.push_str(&line);
        }
        strace.wait().unwrap();
        assert!(said.contains("not permitted"), "strace: {said}");
        eprintln!("SKIPPED: this process may not be traced: {said}");
        None
    }

    /// Names and numbers of the calls since the start.
    fn calls(mut self) -> Vec<(String, u64)> {
        let pid = Pid::from_child(&self.strace);
        kill_process(pid, Signal::INT).unwrap();
        self.strace.wait().unwrap();
        let text = std::fs::read_to_string(&self.summary).unwrap();
        std::fs::remove_file(&self.summary).unwrap();
        // Share, seconds, usecs/call, calls, (errors), name.
        let row = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let calls = words.get(3)?.parse().ok()?;
            let name = words.last()?;
            (*name != "total").then(|| ((*name).to_owned(), calls))
        };
        // A wait that the attaching interrupted goes on under another name.
        text.lines().filter_map(row).filter(|(name, _)| name != "restart_syscall").collect()
    }
}

/// The threads of this process whose names begin so.
fn threads(name: &str) -> Vec<u32> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let named = tasks.filter(|task| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.starts_with(name))
    });
    named.map(|task| task.file_name().unwrap().to_str().unwrap().parse().unwrap()).collect()
}

fn worker_thread() -> u32 {
    *threads("media-0").first().expect("a worker's thread")
}

#[test]
fn a_worker_calls_the_kernel_for_packets_alone_and_blocks_in_one_place() {
    let mut rig = Rig::start();
    let calls: Vec<Call> = (0..2).map(|n| Call::place(&mut rig, 2 * n, 1)).collect();
    // The other direction is held: were it due, its silence would be told after some seconds, and
    // telling is a call.
    for (call, suite) in calls.iter().zip([None, Some(Suite::AesCm128HmacSha1_80)]) {
        let protect = suite.map(|suite| key(suite, 1));
        rig.update(Update { protect, ..call.update_a() });
        rig.update(Update { relay: false, ..call.update_b() });
    }
    let name = env!("CARGO_CRATE_NAME");
    let root = rustix::process::geteuid().is_root();
    let frames = root && (name.ends_with("packet") || name.ends_with("xdp"));
    let allowed: &[&str] = match (frames, name.ends_with("mmsg")) {
        (true, _) if name.ends_with("xdp") => &LANES,
        (true, _) => &FRAMES,
        (_, true) => &NO_RING,
        _ => &RING,
    };
    let Some(trace) = Trace::start(worker_thread()) else { return };
    let before = rig.counter(Counter::RelayedRtp);
    for round in 0..PACKETS / (2 * WINDOW) {
        for call in &calls {
            for n in 0..WINDOW {
                let seq = (round * WINDOW + n) as u16;
                call.far_a.rtp.send_to(&rtp(seq), call.at_a.0).unwrap();
            }
            call.far_a.rtcp.send_to(&rtcp(round as u32), call.at_a.1).unwrap();
        }
        for call in &calls {
            (0..WINDOW).for_each(|_| drop(receive(&call.far_b.rtp)));
            receive(&call.far_b.rtcp);
        }
    }
    rig.await_counter(Counter::RelayedRtp, before + PACKETS);
    rig.check_books();
    let made = trace.calls();
    assert!(!made.is_empty(), "the trace saw the worker");
    for (name, count) in &made {
        assert!(allowed.contains(&name.as_str()), "{count} times {name}: {made:?}");
    }
    // What would block inside the kernel is handed to threads of its own there.
    assert_eq!(threads("iou-wrk"), []);
    // Positive control: what a command makes the worker call is seen.
    let trace = Trace::start(worker_thread()).unwrap();
    rig.open(id(10, 1));
    let made = trace.calls();
    if frames {
        // A port is opened without a call; that of the bell is the control.
        let known = |name: &str| name == "preadv2" || allowed.contains(&name);
        assert!(made.iter().all(|(name, _)| known(name)), "{made:?}");
        assert!(made.iter().any(|(name, _)| name == "preadv2"), "{made:?}");
    } else {
        assert!(made.iter().any(|(name, _)| name == "bind"), "{made:?}");
    }
}
