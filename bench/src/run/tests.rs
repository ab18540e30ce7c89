//! Whole runs on loopback without a gateway: provider with provider, PBX with PBX, and a relay that
//! loses packets between two providers.

use std::collections::{HashMap, HashSet};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::Delay;
use crate::certs;

const CALLS: u32 = 20;
const SECONDS: u32 = 2;
const PACKETS: u64 = CALLS as u64 * SECONDS as u64 * FRAMES_PER_SECOND as u64;

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let name = format!("trunkline-bench-{:016x}", u64::from_be_bytes(random));
        Scratch(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn on_local_set<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, work)
}

fn load() -> Load {
    Load { calls: CALLS, frames: SECONDS * FRAMES_PER_SECOND, ramp: 40.0 }
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

type Started = (Rc<Ua>, UnboundedReceiver<Received>);

/// Joins two started peers, each the other's gateway unless `by_way_of` is.
async fn join(first: Started, second: Started, by_way_of: Option<SocketAddr>) -> Report {
    let stage = Stage::new();
    let (first_at, second_at) = (first.0.link.local(), second.0.link.local());
    let gateways = (by_way_of.unwrap_or(second_at), by_way_of.unwrap_or(first_at));
    let first =
        stage.peer(Way::InsecureToSecure, first.0, first.1, gateways.0, 390_600_000_001).unwrap();
    let second =
        stage.peer(Way::SecureToInsecure, second.0, second.1, gateways.1, 390_200_000_001).unwrap();
    let (progress, mut seen) = unbounded_channel();
    let report = director::direct(load(), [first, second], stage.media, progress).await.unwrap();
    let mut last = Progress::default();
    while let Ok(step) = seen.try_recv() {
        assert!(step.placed >= step.answered && step.answered >= step.live, "{step:?}");
        assert!(step.ended >= last.ended && step.sent >= last.sent, "{last:?} then {step:?}");
        last = step;
    }
    assert_eq!((last.placed, last.ended, last.live), (CALLS, CALLS, 0));
    report
}

fn assert_exact(report: &Report) {
    assert!(report.passed(), "{report:#?}");
    assert_eq!((report.calls, report.answered, report.ended_cleanly), (CALLS, CALLS, CALLS));
    for direction in [&report.insecure_to_secure, &report.secure_to_insecure] {
        assert_eq!((direction.rtp_sent, direction.rtp_received), (PACKETS, PACKETS));
        assert_eq!(direction.added_delay.packets, PACKETS);
        assert_eq!(direction.tones_heard, CALLS);
        let Delay { p50_us, p99_us, max_us, .. } = direction.added_delay;
        // No packet crosses two sockets in less than half a microsecond.
        assert!(0.5 < p50_us && p50_us <= p99_us && p99_us <= max_us, "{report:#?}");
    }
}

#[test]
fn provider_with_provider() {
    let report = on_local_set(async {
        let first = provider::start(any_port()).await.unwrap();
        let second = provider::start(any_port()).await.unwrap();
        join(first, second, None).await
    });
    assert_exact(&report);
    assert!(report.suites.is_empty());
}

#[test]
fn pbx_with_pbx_over_tls_and_srtp_in_all_suites() {
    let scratch = Scratch::new();
    let loopback = ["127.0.0.1".parse().unwrap()];
    let certificates = certs::write(&scratch.0, &loopback, &loopback).unwrap();
    let report = on_local_set(async {
        let first = pbx::start(any_port(), &certificates).await.unwrap();
        let second = pbx::start(any_port(), &certificates).await.unwrap();
        join(first, second, None).await
    });
    assert_exact(&report);
    // Both legs of a call are secure here: each call counts twice.
    let expected = crate::media::SUITES.map(|suite| {
        let calls = (0..CALLS)
            .filter(|call| (call / 2) % crate::media::SUITES.len() as u32 == rank(suite))
            .count() as u32
            * 2;
        (crate::media::suite_name(suite).to_owned(), calls)
    });
    assert_eq!(report.suites, expected.into());
}

fn rank(suite: rtp::srtp::Suite) -> u32 {
    crate::media::SUITES.iter().position(|known| *known == suite).unwrap() as u32
}

#[test]
fn lost_packets_are_reported() {
    let relay = Relay::start(Loss::EveryNthRtp(100));
    let report = on_local_set(async {
        let first = provider::start(any_port()).await.unwrap();
        let second = provider::start(any_port()).await.unwrap();
        relay.between(first.0.link.local(), second.0.link.local());
        join(first, second, Some(relay.at)).await
    });
    assert!(!report.passed());
    assert_eq!(report.answered, CALLS);
    for direction in [&report.insecure_to_secure, &report.secure_to_insecure] {
        assert_eq!(direction.rtp_sent, PACKETS);
        assert_eq!(direction.lost, PACKETS / 100, "{report:#?}");
        assert_eq!(direction.rtp_received, PACKETS - PACKETS / 100);
        assert_eq!(
            direction.duplicates
                + direction.reordered
                + direction.corrupted
                + direction.misdelivered,
            0
        );
    }
    assert_eq!(report.failed.len() as u32, CALLS);
    assert!(report.failed[0].cause.contains("packets arrived intact"), "{report:#?}");
}

#[test]
fn the_relay_alone_loses_nothing() {
    let relay = Relay::start(Loss::None);
    let report = on_local_set(async {
        let first = provider::start(any_port()).await.unwrap();
        let second = provider::start(any_port()).await.unwrap();
        relay.between(first.0.link.local(), second.0.link.local());
        join(first, second, Some(relay.at)).await
    });
    assert_exact(&report);
}

#[test]
fn calls_survive_the_loss_of_the_first_copy_of_every_message() {
    let relay = Relay::start(Loss::FirstOfEachSip);
    let report = on_local_set(async {
        let first = provider::start(any_port()).await.unwrap();
        let second = provider::start(any_port()).await.unwrap();
        relay.between(first.0.link.local(), second.0.link.local());
        join(first, second, Some(relay.at)).await
    });
    assert_exact(&report);
}

#[test]
fn a_plan_that_cannot_work_is_refused_with_the_reason() {
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    let good = Plan { certificates: "/nonexistent".into(), ..Plan::default() };
    let refused = |plan: Plan| plan.check().unwrap_err().to_string();
    assert!(good.check().is_ok());
    assert!(refused(Plan { pbx: at("[::1]:5061"), ..good.clone() }).contains("[::1]:5061"));
    assert!(refused(Plan { calls: 0, ..good.clone() }).contains("at least 1"));
    assert!(refused(Plan { ramp: f64::NAN, ..good.clone() }).contains("ramp"));
    let taken = UdpSocket::bind(any_port()).unwrap();
    let mut plan = Plan { provider: taken.local_addr().unwrap(), ..good };
    let run = |plan: Plan| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(super::run(plan, |_| {})).unwrap_err().to_string()
    };
    assert!(run(plan.clone()).contains("cannot be listened on"));
    drop(taken);
    plan.provider = any_port();
    assert!(run(plan).contains("/nonexistent/ca.pem"));
}

/// What a [`Relay`] loses.
#[derive(Clone, Copy)]
enum Loss {
    None,
    /// In each direction of each call.
    EveryNthRtp(u32),
    /// The first copy of every SIP message, requests and responses alike.
    FirstOfEachSip,
}

/// A SIP-aware relay between two providers: it puts its own address into Contact and its own ports
/// into the descriptions, so that everything passes here.
struct Relay {
    at: SocketAddr,
    socket: UdpSocket,
    ends: Arc<std::sync::Mutex<Option<(SocketAddr, SocketAddr)>>>,
    stop: Arc<AtomicBool>,
}

impl Relay {
    fn start(loss: Loss) -> Relay {
        let socket = UdpSocket::bind(any_port()).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (ends, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let relay = Relay { at: socket.local_addr().unwrap(), socket, ends, stop };
        let (socket, ends, stop) =
            (relay.socket.try_clone().unwrap(), relay.ends.clone(), relay.stop.clone());
        std::thread::spawn(move || pass_signalling(&socket, &ends, &stop, loss));
        relay
    }

    fn between(&self, first: SocketAddr, second: SocketAddr) {
        *self.ends.lock().unwrap() = Some((first, second));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn pass_signalling(
    socket: &UdpSocket,
    ends: &std::sync::Mutex<Option<(SocketAddr, SocketAddr)>>,
    stop: &Arc<AtomicBool>,
    loss: Loss,
) {
    let mut buffer = vec![0; 65_536];
    let mut ports: HashMap<u16, u16> = HashMap::new();
    let mut seen = HashSet::new();
    let at = socket.local_addr().unwrap();
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, source)) = socket.recv_from(&mut buffer) else { continue };
        let (first, second) = ends.lock().unwrap().unwrap();
        let to = if source == first { second } else { first };
        let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
        if matches!(loss, Loss::FirstOfEachSip) && seen.insert((source, text.clone())) {
            continue;
        }
        let contact = format!("Contact: <sip:peer@{source}>");
        let text = text.replace(&contact, &format!("Contact: <sip:peer@{at}>"));
        let Some((head, rest)) = text.split_once("m=audio ") else {
            socket.send_to(text.as_bytes(), to).unwrap();
            continue;
        };
        let (port, rest) = rest.split_once(' ').unwrap();
        let port: u16 = port.parse().unwrap();
        let ours = *ports.entry(port).or_insert_with(|| pass_media(port, stop.clone(), loss));
        // Both ports must have five digits: the Content-Length stays.
        assert_eq!(ours.to_string().len(), port.to_string().len());
        let text = format!("{head}m=audio {ours} {rest}");
        socket.send_to(text.as_bytes(), to).unwrap();
    }
}

/// Passes what arrives at a new port on to `port`; gives the new port.
fn pass_media(port: u16, stop: Arc<AtomicBool>, loss: Loss) -> u16 {
    let socket = UdpSocket::bind(any_port()).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let ours = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut buffer, mut count) = ([0; 2048], 0u32);
        while !stop.load(Ordering::Relaxed) {
            let Ok((length, _)) = socket.recv_from(&mut buffer) else { continue };
            count += 1;
            if matches!(loss, Loss::EveryNthRtp(n) if count.is_multiple_of(n)) {
                continue;
            }
            socket.send_to(&buffer[..length], ("127.0.0.1", port)).unwrap();
        }
    });
    ours
}
