//! A worker allocates nothing per packet: an allocator that counts what the worker's thread asks for,
//! and packets through a real worker in every combination of sides.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod rig;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::{Counter, Suite};
use dataplane::Lease;
use dataplane::admit::{Egress, Ingress};
use dataplane::flow::{Flow, Gate};
use dataplane::flows::Flows;
use dataplane::io::{Arrival, Batch, BufferId, Buffers, Endpoint, Port, SocketId};
use dataplane::latch::{Latch, Learning};
use dataplane::limits::BATCH_MAX;
use dataplane::relay::relay;
use dataplane::tally::Tally;
use rig::packet::{Peer, rtcp, rtp};
use rig::{Call, Rig, receive};

static BY_WORKER: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
    static HERE: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged; counting touches neither
// the memory nor the layout.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller's promise about `memory` and `layout` is passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_here() -> u64 {
    HERE.get()
}

fn count() {
    HERE.set(HERE.get() + 1);
    if IS_WORKER.get() || is_worker_by_name() {
        BY_WORKER.fetch_add(1, Ordering::Relaxed);
    }
}

/// Asks the kernel for the thread's name. Only a "yes" is remembered: a thread has its name from
/// some time after its start.
fn is_worker_by_name() -> bool {
    let mut name = [0_u8; 16];
    // SAFETY: PR_GET_NAME writes at most 16 octets.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    let is_worker = name.starts_with(b"media-0");
    IS_WORKER.set(is_worker);
    is_worker
}

const WINDOW: usize = 32;

/// Sends `rounds` windows both ways over each call, keeping at most a window on the way, and hands
/// what arrives at B back protected as A's packets were.
fn pump(calls: &[Call], from: u64, rounds: u64) {
    for round in from..from + rounds {
        for call in calls {
            for n in 0..WINDOW {
                let seq = (round as usize * WINDOW + n) as u16;
                call.far_a.rtp.send_to(&rtp(seq), call.at_a.0).unwrap();
            }
            call.far_a.rtcp.send_to(&rtcp(round as u32), call.at_a.1).unwrap();
            for _ in 0..WINDOW {
                receive(&call.far_b.rtp);
            }
            receive(&call.far_b.rtcp);
        }
    }
}

#[test]
fn a_worker_allocates_nothing_per_packet() {
    let mut rig = Rig::start();
    let suites = [
        None,
        Some(Suite::AesCm128HmacSha1_80),
        Some(Suite::AesCm128HmacSha1_32),
        Some(Suite::AeadAes128Gcm),
        Some(Suite::AeadAes256Gcm),
    ];
    let mut calls = Vec::new();
    for (n, suite) in suites.into_iter().enumerate() {
        let call = Call::place(&mut rig, 2 * n as u32, 1);
        match suite {
            None => call.join(&mut rig),
            Some(suite) => call.join_secure(&mut rig, suite),
        }
        calls.push(call);
    }
    // Positive control: the counter sees what the worker allocated at its start.
    assert!(BY_WORKER.load(Ordering::Relaxed) > 0, "the allocator does not see the worker");
    pump(&calls, 0, 50);
    let before = BY_WORKER.load(Ordering::Relaxed);
    let rounds = 1_280;
    pump(&calls, 50, rounds);
    // The other way, with an independent protect, and what is dropped on the way.
    for (call, suite) in calls.iter().zip(suites) {
        let mut peer = Peer::new(suite.unwrap_or(Suite::AeadAes128Gcm));
        for seq in 0..1000 {
            let packet = match suite {
                Some(_) => peer.protect_rtp(&rtp(seq)),
                None => rtp(seq),
            };
            call.far_b.rtp.send_to(&packet, call.at_b.0).unwrap();
            receive(&call.far_a.rtp);
            call.far_b.rtp.send_to(&packet[..seq as usize % 172], call.at_b.0).unwrap();
            call.far_a.rtp.send_to(&packet, call.at_b.0).unwrap();
        }
    }
    let relayed = (50 + rounds) * WINDOW as u64 * 5 + 5 * 1000;
    rig::await_that("all relayed", || rig.counter(Counter::RelayedRtp) >= relayed);
    rig.check_books();
    let after = BY_WORKER.load(Ordering::Relaxed);
    assert_eq!(after - before, 0, "allocations or deallocations for {relayed} packets");
    assert!(relayed > 200_000);
}

/// The relay by itself, a million packets from CM-80 to GCM-256 and back to plain.
#[test]
fn the_relay_allocates_nothing_for_a_million_packets() {
    assert_eq!(relay_a_million(), 0, "allocations or deallocations");
}

fn relay_a_million() -> u64 {
    let endpoint = |port: u16| Endpoint::from(SocketAddr::from(([192, 0, 2, 1], port)));
    let (mut batch, mut buffers) = (Batch::new(), Buffers::new(BATCH_MAX as u16));
    let (mut flows, mut tally) = (Flows::new(2), Tally::new());
    for index in 0..2 {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let lease = Lease { network: 0, rtp: local(9000), rtcp: local(9001) };
        let mut flow = Flow::new(rig::id(index, 1), [0; 16], lease, 0);
        flow.gate = Gate::Relaying;
        flow.peer = rig::id(1 - index, 1);
        flow.source_rtp = Latch::new(Some(endpoint(1)), Learning::Off, false, 0);
        flow.aim.state(Some(endpoint(2)), None);
        flows.insert(flow);
    }
    // Flow 0 protects, flow 1 gets what flow 0 made.
    let key = rig::packet::master(Suite::AesCm128HmacSha1_80, 1);
    flows.get_mut(rig::id(0, 1)).unwrap().egress = Egress::new(Some(&key));
    flows.get_mut(rig::id(1, 1)).unwrap().ingress = Ingress::new(Some(&key));
    let template = rtp(0);
    let before = allocations_here();
    let mut seq = 0_u16;
    for now_ns in 0..500_000 / BATCH_MAX as u64 + 1 {
        for (flow, len) in [(rig::id(0, 1), template.len()), (rig::id(1, 1), template.len() + 10)] {
            for n in 0..BATCH_MAX as u16 {
                let buffer = BufferId(n);
                if flow.index == 0 {
                    let body = buffers.body(buffer).unwrap();
                    body[..template.len()].copy_from_slice(&template);
                    body[2..4].copy_from_slice(&seq.to_be_bytes());
                    seq = seq.wrapping_add(1);
                }
                let socket = SocketId { flow, port: Port::Rtp };
                let source = endpoint(1);
                let arrival =
                    Arrival { socket, source, buffer, len, truncated: false, age_ns: None };
                batch.arrivals.push(arrival);
            }
            relay(&mut batch, &mut buffers, &mut flows, &mut tally, now_ns);
            batch.departures.clear();
            batch.discards.clear();
        }
    }
    assert!(tally.get(Counter::RelayedRtp) >= 1_000_000);
    assert_eq!(tally.get(Counter::RelayedRtp), tally.get(Counter::RxPackets));
    allocations_here() - before
}
