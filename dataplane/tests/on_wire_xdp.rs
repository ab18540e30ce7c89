//! What happens on a wire, whatever takes the frames off it: other traffic under load, an interface that
//! goes down and up, a next hop that moves. Root only; each test has a wire of its own between two
//! namespaces. `on_wire_packet_wired.rs` is the same over the backend `packet`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod rig;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use abi::Counter;
use rig::packet::rtp;
use rig::wire::{has_wire, on_wire, passed_by, talk};
use rig::{Call, PATIENCE, Rig, await_that};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

/// Both sides talk until something of each arrives: the first packets may go while neighbours are looked
/// for.
fn until_both_hear(call: &Call, seq: &mut u16) {
    for (far, to, at) in [
        (&call.far_a.rtp, &call.far_b.rtp, call.at_a.0),
        (&call.far_b.rtp, &call.far_a.rtp, call.at_b.0),
    ] {
        to.set_nonblocking(true).unwrap();
        await_that(&format!("media again at {at}"), || {
            *seq += 1;
            let _ = far.send_to(&rtp(*seq), at);
            std::thread::sleep(Duration::from_millis(5));
            to.recv_from(&mut [0; 2000]).is_ok()
        });
        to.set_nonblocking(false).unwrap();
    }
}

/// Waits until no packet is on its way.
fn settle(rig: &Rig, call: &Call) {
    for far in [&call.far_a.rtp, &call.far_b.rtp] {
        await_that("quiet", || rig::drain(far).is_empty());
    }
    let relayed = || rig.counter(Counter::RelayedRtp);
    let mut last = relayed();
    await_that("books that rest", || {
        std::thread::sleep(Duration::from_millis(250));
        std::mem::replace(&mut last, relayed()) == last
    });
    for far in [&call.far_a.rtp, &call.far_b.rtp] {
        rig::drain(far);
    }
}

/// Whether the load is over.
#[derive(Default)]
struct Load(AtomicBool);

/// Ends it.
struct End<'a>(&'a Load);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// As a resolver asks: again when a second brings nothing, five times; how often again. The flood may
/// cost a datagram its place in a queue of the host's, which is not what is looked for here.
fn asked(
    what: &str,
    socket: &Socket,
    to: SocketAddr,
    question: &[u8],
    is_answer: impl Fn(&[u8]) -> bool,
) -> usize {
    let patience = Duration::from_secs(1);
    socket.set_read_timeout(Some(patience)).unwrap();
    for again in 0..5 {
        socket.send_to(question, &SockAddr::from(to)).unwrap();
        let (begun, mut answer) = (Instant::now(), [0; 1000]);
        while begun.elapsed() < patience
            && let Ok(len) = (&mut &*socket).read(&mut answer)
        {
            if is_answer(&answer[..len]) {
                return again;
            }
        }
    }
    panic!("{what}: no answer from {to}");
}

/// One echo request (RFC 792) and its answer; how often it was asked again.
fn ping(to: IpAddr, number: u16) -> usize {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
    let [n0, n1] = number.to_be_bytes();
    let sum = !(0x0800_u16 + number);
    let [c0, c1] = sum.to_be_bytes();
    let request = [8, 0, c0, c1, 0, 0, n0, n1];
    // Behind the IP header: an echo reply, with our number.
    asked("ping", &socket, SocketAddr::new(to, 0), &request, |answer| {
        answer.len() >= 28 && answer[20] == 0 && answer[26..28] == [n0, n1]
    })
}

/// TCP echo, DNS-like UDP echo and ping, between the same hosts, while media floods the wire.
#[test]
fn other_traffic_on_the_interface_is_untouched_under_load() {
    if !has_wire() {
        return;
    }
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    call.join(&mut rig);
    talk(&call, 0..5);
    let near = rig.local;
    let door = on_wire(|wire| wire.stage.near_door());
    let echo = std::thread::spawn(move || {
        door.enter();
        (TcpListener::bind((near, 20_022)).unwrap(), UdpSocket::bind((near, 53)).unwrap())
    });
    // A media port's number is not TCP's business: 20022 is in the range of the rig.
    let (tcp, dns) = echo.join().unwrap();
    SockRef::from(&tcp).set_read_timeout(Some(PATIENCE)).unwrap();
    dns.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let load = Load::default();
    let goes_on = || !load.0.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        // Also when an assertion fails.
        let _end = End(&load);
        scope.spawn(|| {
            let (mut peer, _) = tcp.accept().unwrap();
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut octets = [0; 1000];
            while let Ok(len) = peer.read(&mut octets)
                && len > 0
            {
                peer.write_all(&octets[..len]).unwrap();
            }
        });
        scope.spawn(|| {
            let mut octets = [0; 1000];
            while goes_on() {
                if let Ok((len, from)) = dns.recv_from(&mut octets) {
                    dns.send_to(&octets[..len], from).unwrap();
                }
            }
        });
        scope.spawn(|| {
            while goes_on() {
                for seq in 0..64 {
                    call.far_a.rtp.send_to(&rtp(seq), call.at_a.0).unwrap();
                }
                std::thread::yield_now();
            }
        });
        let before = rig.counter(Counter::RxPackets);
        await_that("load", || rig.counter(Counter::RxPackets) > before + 1000);
        on_wire(|wire| {
            // The neighbour is asked for anew meanwhile; not by `flush`, which gives up when the flood
            // brings it back as often as it goes.
            wire.stage.far(&format!("neigh del {} dev far", call.at_a.0.ip()));
            wire.stage.at_far(|| {
                let mut again: usize = (0..50).map(|n| ping(near, n)).sum();
                let mut peer = TcpStream::connect((near, 20_022)).unwrap();
                peer.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut octets = [0; 1000];
                for n in 0..200_u8 {
                    peer.write_all(&[n; 1000]).unwrap();
                    peer.read_exact(&mut octets).unwrap();
                    assert_eq!(octets, [n; 1000]);
                }
                let asker = Socket::from(UdpSocket::bind((rig::stage::FAR[0], 0)).unwrap());
                for n in 0..200_u8 {
                    again += asked("UDP echo", &asker, (near, 53).into(), &[n; 100], |answer| {
                        answer == [n; 100]
                    });
                }
                assert!(again <= 10, "{again} of 250 datagrams were lost");
            });
        });
        let before = rig.counter(Counter::RxPackets);
        await_that("load still", || rig.counter(Counter::RxPackets) > before + 1000);
    });
    assert_eq!(rig.counter(Counter::FrameFaults), 0);
    assert_eq!(rig.counter(Counter::BuffersMissing), 0);
}

#[test]
fn media_recovers_when_the_interface_does() {
    if !has_wire() {
        return;
    }
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    call.join(&mut rig);
    talk(&call, 0..20);
    let mut seq = 20;
    for side in ["near", "far"] {
        let set = |state: &str| {
            on_wire(|wire| match side {
                "near" => wire.stage.near(&format!("link set near {state}")),
                _ => wire.stage.far(&format!("link set far {state}")),
            });
        };
        set("down");
        set("up");
        let begun = Instant::now();
        until_both_hear(&call, &mut seq);
        eprintln!("{side}: media again after {:?}", begun.elapsed());
        settle(&rig, &call);
        let passed = passed_by(&rig, 100, || talk(&call, seq + 1..seq + 51));
        seq += 51;
        assert_eq!(passed, 0, "by frames again");
    }
    assert_eq!(rig.counter(Counter::BuffersMissing), 0);
}

/// As when a router's twin takes its address over, which it tells by a gratuitous ARP (RFC 5227 §3).
#[test]
fn media_follows_a_next_hop_that_moves() {
    if !has_wire() {
        return;
    }
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    call.join(&mut rig);
    talk(&call, 0..20);
    on_wire(|wire| {
        let set = |place: &str, value: &str| {
            std::fs::write(format!("/proc/sys/net/ipv4/{place}"), value).unwrap();
        };
        wire.stage.at_far(|| set("conf/far/arp_notify", "1"));
        // By default what was learned within the last second stands.
        let door = wire.stage.near_door();
        let near = || {
            door.enter();
            set("neigh/near/locktime", "0");
        };
        std::thread::scope(|scope| scope.spawn(near).join()).unwrap();
        wire.stage.far("link set far address 02:00:00:00:00:77");
    });
    let (mut seq, begun) = (20, Instant::now());
    until_both_hear(&call, &mut seq);
    eprintln!("media again after {:?}", begun.elapsed());
    settle(&rig, &call);
    assert_eq!(passed_by(&rig, 100, || talk(&call, seq + 1..seq + 51)), 0);
    assert_eq!(rig.counter(Counter::BuffersMissing), 0);
}
