//! The load against itself, and against a wire that delays, loses and swallows.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::*;
use crate::certs;

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A port that is free now.
fn free_port() -> SocketAddr {
    std::net::TcpListener::bind(any_port()).unwrap().local_addr().unwrap()
}

fn straight(wire: Wire, certificates: PathBuf) -> Sides {
    let callee_at = free_port();
    Sides {
        caller: wire,
        callee: wire,
        caller_at: any_port(),
        callee_at,
        target: callee_at,
        certificates,
    }
}

fn step(calls: u32) -> Step {
    let hold = Some(Duration::from_millis(20));
    Step { rate: 200.0, calls, hold, patience: Duration::from_secs(20) }
}

fn assert_clean(outcome: &Outcome, calls: u32) {
    assert_eq!((outcome.offered, outcome.answered, outcome.clean), (calls, calls, calls));
    assert!(outcome.failures.is_empty(), "{outcome:?}");
    for delays in [outcome.invite, outcome.answer, outcome.setup] {
        assert_eq!(delays.count, calls as usize, "{outcome:?}");
        assert!(delays.p50 > 0.0 && delays.p50 <= delays.p99 && delays.p99 <= delays.max);
    }
    assert!(outcome.setup.p50 >= outcome.answer.p50, "{outcome:?}");
    assert!(outcome.goodput() > 0.0 && outcome.goodput() <= outcome.offered_rate());
}

#[test]
fn every_transport_carries_calls_straight_from_peer_to_peer() {
    let folder = std::env::temp_dir().join(format!("trunkline-calls-{}", std::process::id()));
    let loopback = ["127.0.0.1".parse().unwrap()];
    certs::write(&folder, &loopback, &loopback).unwrap();
    for wire in [Wire::Udp, Wire::Tcp, Wire::Tls] {
        let mut peers = Peers::start(&straight(wire, folder.clone())).unwrap();
        let outcome = peers.play(step(30), &AtomicBool::new(false));
        assert_clean(&outcome, 30);
        assert!(peers.faults().is_empty(), "{wire:?} {:?}", peers.faults());
        // Numbers go on where they were: nothing of the first step is mistaken for the second's.
        assert_clean(&peers.play(step(10), &AtomicBool::new(false)), 10);
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn calls_stay_open_until_they_are_hung_up() {
    let mut peers = Peers::start(&straight(Wire::Udp, PathBuf::new())).unwrap();
    let outcome = peers.play(Step { hold: None, ..step(25) }, &AtomicBool::new(false));
    assert_clean(&outcome, 25);
    assert_eq!(peers.open.len(), 25);
    assert_eq!(peers.hang_up(500.0), 25);
    assert_eq!(peers.hang_up(500.0), 0, "once");
}

#[test]
fn a_step_that_is_stopped_places_no_more_calls() {
    let mut peers = Peers::start(&straight(Wire::Udp, PathBuf::new())).unwrap();
    let outcome = peers.play(step(1_000_000), &AtomicBool::new(true));
    assert_eq!((outcome.offered, outcome.clean), (0, 0));
}

/// Positive control of the delays.
#[test]
fn what_the_wire_delays_is_reported_as_delay() {
    let (sides, _wire) = by_way_of(Fault::Delay);
    let mut peers = Peers::start(&sides).unwrap();
    let outcome = peers.play(Step { rate: 20.0, ..step(10) }, &AtomicBool::new(false));
    assert_clean(&outcome, 10);
    let delay = DELAY.as_micros() as f64;
    assert!(outcome.invite.p50 >= delay && outcome.answer.p50 >= delay, "{outcome:?}");
    assert!(outcome.setup.p50 >= 2.0 * delay, "there and back: {outcome:?}");
}

/// Positive control of the repetitions.
#[test]
fn what_the_wire_loses_is_sent_again_and_counted() {
    let (sides, _wire) = by_way_of(Fault::FirstCopy);
    let mut peers = Peers::start(&sides).unwrap();
    let outcome = peers.play(step(10), &AtomicBool::new(false));
    assert_clean(&outcome, 10);
    assert!(outcome.resent >= 10, "each INVITE was lost once: {outcome:?}");
    assert!(outcome.invite.p50 >= 400_000.0, "half a second, RFC 3261 §17.1.1.2: {outcome:?}");
}

/// Positive control of the failures.
#[test]
fn what_the_wire_swallows_fails_by_cause() {
    let (sides, _wire) = by_way_of(Fault::Everything);
    let mut peers = Peers::start(&sides).unwrap();
    let patience = Duration::from_millis(100);
    let outcome = peers.play(Step { patience, ..step(5) }, &AtomicBool::new(false));
    assert_eq!((outcome.offered, outcome.answered, outcome.clean), (5, 0, 0));
    let cause = "no final answer within 0.1 s".to_owned();
    assert_eq!(outcome.failures, [(cause, 5)].into());
    assert_eq!(outcome.goodput(), 0.0);
}

/// What happens to messages between caller and callee.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// Each is held for [`DELAY`].
    Delay,
    /// The first copy of each is lost.
    FirstCopy,
    Everything,
}

const DELAY: Duration = Duration::from_millis(5);

/// Passes datagrams of the caller on to the callee and back; ends with the test.
struct FaultyWire(Arc<AtomicBool>);

impl Drop for FaultyWire {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn by_way_of(fault: Fault) -> (Sides, FaultyWire) {
    let wire = UdpSocket::bind(any_port()).unwrap();
    wire.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let target = wire.local_addr().unwrap();
    let (caller_at, callee_at) = (free_port(), free_port());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    std::thread::spawn(move || {
        let (mut buffer, mut seen) = (vec![0; 65_536], std::collections::HashSet::new());
        while !stopped.load(Ordering::Relaxed) {
            let Ok((length, source)) = wire.recv_from(&mut buffer) else { continue };
            let message = &buffer[..length];
            match fault {
                Fault::Everything => continue,
                Fault::FirstCopy if seen.insert((source, message.to_vec())) => continue,
                Fault::Delay => std::thread::sleep(DELAY),
                Fault::FirstCopy => {}
            }
            let to = if source == caller_at { callee_at } else { caller_at };
            wire.send_to(message, to).unwrap();
        }
    });
    let sides = Sides {
        caller: Wire::Udp,
        callee: Wire::Udp,
        caller_at,
        callee_at,
        target,
        certificates: PathBuf::new(),
    };
    (sides, FaultyWire(stop))
}
