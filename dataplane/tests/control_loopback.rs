//! Commands to a real worker: refusals, repetition, limits, a guest that dies, a guest that lies.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod rig;

use std::io::Read;

use ::rtp::packet::RtpPacket;
use abi::{
    Close, Command, Counter, FlowId, FlowState, Keepalive, Notice, Open, Reason, Suite, Update,
};
use dataplane::limits::{COMMAND_SLOTS, EVENT_SLOTS};
use rig::packet::{Peer, rtp};
use rig::{Call, Rig, await_that, config, id, key, own_address, receive};

#[track_caller]
fn assert_refused(answer: Notice, expected: Reason) {
    match answer {
        Notice::Refused { reason, .. } => assert_eq!(reason, expected),
        other => panic!("{other:?}, not refused for {expected:?}"),
    }
}

#[test]
fn commands_may_be_repeated() {
    let mut rig = Rig::start();
    let first = rig.open(id(3, 5));
    assert_eq!(rig.open(id(3, 5)), first, "the same id again repeats the answer");
    rig.await_counter(Counter::PortsOpen, 2);
    let call = Call::place(&mut rig, 0, 1);
    for _ in 0..3 {
        call.join(&mut rig);
        call.far_a.rtp.send_to(&rtp(1), call.at_a.0).unwrap();
        assert_eq!(receive(&call.far_b.rtp).0, rtp(1));
    }
    assert_eq!(rig.close(call.a), (3, 3 * 172));
    assert_refused(rig.try_close(call.a), Reason::NoSuchFlow);
    rig.await_counter(Counter::FlowsOpen, 2);
}

#[test]
fn stale_and_unknown_flows_are_told_apart() {
    let mut rig = Rig::start();
    rig.open(id(0, 2));
    assert_refused(rig.try_open(id(0, 1)), Reason::Stale);
    assert_refused(rig.try_update(Update::new(0, id(0, 1))), Reason::Stale);
    assert_refused(rig.try_close(id(0, 1)), Reason::Stale);
    assert_refused(rig.try_update(Update::new(0, id(1, 1))), Reason::NoSuchFlow);
    assert_refused(rig.try_close(id(1, 1)), Reason::NoSuchFlow);
    assert_refused(rig.try_close(id(0, 3)), Reason::NoSuchFlow);
    rig.close(id(0, 2));
    assert_refused(rig.try_open(id(0, 2)), Reason::Stale);
    rig.open(id(0, 3));
}

#[test]
fn a_newer_generation_replaces_a_forgotten_flow() {
    let mut rig = Rig::start();
    let (old, _) = rig.open(id(0, 1));
    let closed = rig.try_open(id(0, 2));
    assert!(matches!(closed, Notice::Closed { token: 0, flow, .. } if flow == id(0, 1)));
    let opened = rig.event();
    let Notice::Opened { local_rtp, .. } = opened else { panic!("{opened:?}") };
    assert_ne!(local_rtp, old, "the old port rests");
    rig.await_counter(Counter::FlowsOpen, 1);
}

#[test]
fn slots_beyond_the_table_are_refused() {
    let mut rig = Rig::with(2, 20_000..=20_099);
    rig.open(id(0, 1));
    rig.open(id(1, 1));
    for index in [2, 1000, u32::MAX] {
        assert_refused(rig.try_open(id(index, 1)), Reason::Capacity);
    }
    rig.await_counter(Counter::OpensRefused, 3);
}

#[test]
fn exhausted_ports_are_refused_and_come_back() {
    let mut rig = Rig::with(16, 20_000..=20_007);
    let ports: Vec<u16> = (0..4).map(|n| rig.open(id(n, 1)).0.port()).collect();
    assert_eq!(ports, [20_000, 20_002, 20_004, 20_006]);
    assert_refused(rig.try_open(id(4, 1)), Reason::NoPorts);
    assert_eq!(rig.counter(Counter::CommandFaults), 0);
    rig.close(id(2, 1));
    let mut generation = 1;
    await_that("the port after its rest", || {
        generation += 1;
        match rig.try_open(id(5, generation)) {
            Notice::Opened { local_rtp, .. } => local_rtp.port() == 20_004,
            Notice::Refused { reason: Reason::NoPorts, .. } => false,
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_port_in_other_hands_is_skipped() {
    let local = own_address();
    // Before the start: a backend that binds no port asks only then.
    let _held = std::net::UdpSocket::bind((local, 20_001)).unwrap();
    let mut rig = Rig::launch(config(local, 16, 20_000..=20_007), dataplane::run);
    assert_eq!(rig.open(id(0, 1)).0.port(), 20_002);
}

#[test]
fn an_unknown_network_or_family_is_refused() {
    let mut rig = Rig::start();
    let open = Open {
        token: 1,
        flow: id(0, 1),
        call: [0; 16],
        network: 1,
        family: abi::Family::Any,
        rtcp_mux_in: false,
        dscp: None,
    };
    rig.send(&Command::open(&open));
    assert_refused(rig.event(), Reason::BadCommand);
    let call = Call::place(&mut rig, 0, 1);
    let six = Some("[2001:db8::1]:4000".parse().unwrap());
    let wrong = Update { destination_rtp: six, ..call.update_a() };
    assert_refused(rig.try_update(wrong), Reason::BadCommand);
    let wrong = Update { source_rtp: six, ..call.update_a() };
    assert_refused(rig.try_update(wrong), Reason::BadCommand);
}

#[test]
fn a_keyed_flow_cannot_be_made_plain() {
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    call.join_secure(&mut rig, Suite::AeadAes128Gcm);
    for plain in [call.update_a(), call.update_b(), Update::new(0, call.a)] {
        assert_refused(rig.try_update(plain), Reason::BadCommand);
    }
    // The refused updates changed nothing, half or whole.
    call.far_a.rtp.send_to(&rtp(1), call.at_a.0).unwrap();
    let protected = receive(&call.far_b.rtp).0;
    assert_eq!(Peer::new(Suite::AeadAes128Gcm).unprotect_rtp(&protected), rtp(1));
    // A plain direction may still become secure.
    let upgrade = Update { protect: Some(key(Suite::AeadAes256Gcm, 3)), ..call.update_b() };
    let upgrade = Update { unprotect: Some(key(Suite::AeadAes128Gcm, 2)), ..upgrade };
    rig.update(upgrade);
}

#[test]
fn silence_is_reported_once_and_again_after_media() {
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    rig.update(Update { timeout_ms: 150, ..call.update_a() });
    let send = || call.far_a.rtp.send_to(&rtp(1), call.at_a.0).unwrap();
    for packets in 0..3 {
        let event = rig.event();
        let Notice::Timeout { flow, packets: counted, .. } = event else { panic!("{event:?}") };
        assert_eq!((flow, counted), (call.a, packets));
        assert_eq!(rig.counter(Counter::MediaTimeouts), packets + 1, "one event per silence");
        send();
    }
    // Refused packets are no media.
    call.far_b.rtp.send_to(&rtp(1), call.at_a.0).unwrap();
    assert!(matches!(rig.event(), Notice::Timeout { packets: 3, .. }));
}

#[test]
fn closing_clears_the_flow_table() {
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    call.join(&mut rig);
    let snapshot = rig.snapshot(call.a).unwrap();
    assert_eq!(snapshot.state, FlowState::Relaying);
    assert_eq!((snapshot.call, snapshot.peer), ([7; 16], call.b));
    assert_eq!(snapshot.local_rtp.socket_addr(), Some(call.at_a.0));
    assert_eq!(snapshot.destination.socket_addr(), Some(call.far_b.rtp_addr()));
    rig.close(call.a);
    assert!(rig.snapshot(call.a).is_none());
    assert!(rig.snapshot(call.b).is_some());
}

#[test]
fn quality_reaches_the_flow_table() {
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    call.join(&mut rig);
    for seq in [1, 2, 4, 3, 3, 8] {
        call.far_a.rtp.send_to(&rtp(seq), call.at_a.0).unwrap();
        receive(&call.far_b.rtp);
    }
    await_that("tallies", || rig.snapshot(call.a).unwrap().packets_in == 6);
    let flow = rig.snapshot(call.a).unwrap();
    assert_eq!((flow.lost, flow.reordered, flow.duplicates, flow.packets_out), (3, 1, 1, 6));
}

#[test]
fn media_flows_on_while_the_guest_is_dead_and_the_next_one_sees_it() {
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    call.join_secure(&mut rig, Suite::AesCm128HmacSha1_80);
    let mut peer = Peer::new(Suite::AesCm128HmacSha1_80);
    let mut pass = |seq: u16| {
        call.far_a.rtp.send_to(&rtp(seq), call.at_a.0).unwrap();
        assert_eq!(peer.unprotect_rtp(&receive(&call.far_b.rtp).0), rtp(seq));
    };
    pass(1);
    rig.abandon();
    (2..50).for_each(&mut pass);
    rig.reattach();
    pass(50);
    let flow = rig.snapshot(call.a).expect("the flow table tells the next guest");
    assert_eq!((flow.state, flow.peer, flow.call), (FlowState::Relaying, call.b, [7; 16]));
    rig.await_counter(Counter::RelayedRtp, 50);
    assert_eq!(rig.close(call.a).0, 50);
    rig.close(call.b);
}

#[test]
fn no_answer_is_lost_when_the_guest_does_not_read() {
    let mut rig = Rig::start();
    let flow = id(0, 1);
    let open = |token| {
        Command::open(&Open {
            token,
            flow,
            call: [0; 16],
            network: 0,
            family: abi::Family::Any,
            rtcp_mux_in: false,
            dscp: None,
        })
    };
    let (mut asked, mut answered) = (0, 0);
    // Twice what both rings hold: the worker stops taking commands until it can answer.
    let total = 2 * u64::from(EVENT_SLOTS + COMMAND_SLOTS);
    while asked < total {
        match rig.guest().commands.push(&open(asked + 1)) {
            Ok(()) => asked += 1,
            Err(_) if rig.counter(Counter::Events) < answered + u64::from(EVENT_SLOTS) => {
                std::thread::yield_now();
            }
            Err(_) => read_answers(&mut rig, &mut answered),
        }
        rig.ring();
    }
    await_that("every answer", || {
        read_answers(&mut rig, &mut answered);
        answered == total
    });
    assert_eq!(rig.counter(Counter::EventsLost), 0);
}

fn read_answers(rig: &mut Rig, answered: &mut u64) {
    while let Some(event) = rig.guest().events.pop() {
        *answered += 1;
        assert_eq!(event.token, *answered, "in order, each once");
    }
}

#[test]
fn a_lying_guest_disturbs_no_flow() {
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    call.join(&mut rig);
    let before = rig.counter(Counter::Commands);
    let mut noise = 0x1234_5678_9ABC_DEF1_u64;
    let mut random = || {
        noise =
            noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        noise >> 32
    };
    let mut lies = 0;
    for round in 0..300_u16 {
        for _ in 0..20 {
            let lie = lie(&mut random, call.a);
            if rig.guest().commands.push(&lie).is_ok() {
                lies += 1;
            }
        }
        rig.ring();
        while rig.guest().events.pop().is_some() {}
        call.far_a.rtp.send_to(&rtp(round), call.at_a.0).unwrap();
        assert_eq!(receive(&call.far_b.rtp).0, rtp(round), "media goes on");
    }
    await_that("every lie is taken", || {
        while rig.guest().events.pop().is_some() {}
        rig.counter(Counter::Commands) >= before + lies
    });
    assert!(rig.counter(Counter::CommandFaults) > 0);
    // And the worker still obeys. Some of the lies may have been answered meanwhile.
    let token = 0xFFFF_0000_0000_0001;
    rig.send(&Command::close(&Close { token, flow: call.b }));
    loop {
        if let Notice::Closed { token: answered, .. } = rig.event()
            && answered == token
        {
            break;
        }
    }
}

/// A command that is random in some fields and plausible in others, but names another flow than
/// the one that must live.
fn lie(random: &mut impl FnMut() -> u64, spared: FlowId) -> Command {
    let flow = id(random() as u32 % 70 + 2, random() as u32 % 3);
    let open = Open {
        token: random(),
        flow,
        call: [1; 16],
        network: 0,
        family: abi::Family::Any,
        rtcp_mux_in: false,
        dscp: None,
    };
    let mut command = match random() % 4 {
        0 => Command::open(&open),
        1 => Command::close(&Close { token: random(), flow }),
        2 => Command::update(&Update { peer: Some(spared), ..Update::new(random(), flow) }),
        _ => Command { kind: random() as u32, flags: random() as u32, ..Command::open(&open) },
    };
    match random() % 6 {
        0 => command.network = random() as u32,
        1 => command.unprotect.suite = random() as u32 % 8,
        2 => command.destination_rtp.family = random() as u16,
        3 => command.pad[0] = random(),
        4 => command.flags = random() as u32 % 8,
        _ => {}
    }
    command
}

/// What keeps a way open, of a payload type that no test's media has.
const KEEPALIVE: Option<Keepalive> = Some(Keepalive { interval_ms: 50, payload_type: 126 });

/// The next packet at the far end B, which has to continue the one before; its payload type and
/// payload.
fn heard(call: &Call, peer: Option<&mut Peer>, last: &mut Option<(u32, u16)>) -> (u8, Vec<u8>) {
    let (bytes, from) = receive(&call.far_b.rtp);
    assert_eq!(from, call.at_b.0, "from the port that B sends to");
    let plain = peer.map_or_else(|| bytes.clone(), |peer| peer.unprotect_rtp(&bytes));
    let packet = RtpPacket::parse(&plain).unwrap();
    let (ssrc, seq) = (packet.ssrc().0, packet.seq().0);
    if let Some((one, before)) = *last {
        assert_eq!((ssrc, seq), (one, before.wrapping_add(1)), "one source, no number left out");
    }
    *last = Some((ssrc, seq));
    let is_empty = packet.payload().is_empty();
    assert_eq!(packet.payload_type().value() == 126, is_empty);
    assert!(!(is_empty && packet.marker()), "it begins no talk spurt");
    (packet.payload_type().value(), packet.payload().to_vec())
}

#[test]
fn a_silent_way_is_kept_open_under_the_numbers_of_its_media() {
    for suite in [None, Some(Suite::AesCm128HmacSha1_80), Some(Suite::AeadAes128Gcm)] {
        let mut rig = Rig::start();
        let call = Call::place(&mut rig, 0, 1);
        let protect = suite.map(|suite| key(suite, 1));
        let unprotect = suite.map(|suite| key(suite, 2));
        let mut peer = suite.map(Peer::new);
        let forward = Update { protect, keepalive: KEEPALIVE, ..call.update_a() };
        rig.update(forward.clone());
        rig.update(Update { unprotect, ..call.update_b() });
        let mut last = None;
        let mut next = |peer: &mut Option<Peer>| heard(&call, peer.as_mut(), &mut last);
        for _ in 0..3 {
            assert_eq!(next(&mut peer), (126, vec![]), "nobody has said anything");
        }
        call.far_a.rtp.send_to(&rtp(1), call.at_a.0).unwrap();
        while next(&mut peer) != (0, rtp(1)[12..].to_vec()) {}
        assert_eq!(next(&mut peer), (126, vec![]), "and then nothing more");
        // On hold media stops, and the way stays open.
        rig.update(Update { relay: false, ..forward.clone() });
        call.far_a.rtp.send_to(&rtp(2), call.at_a.0).unwrap();
        rig.await_counter(Counter::DropDirection, 1);
        for _ in 0..3 {
            assert_eq!(next(&mut peer), (126, vec![]));
        }
        assert!(rig.counter(Counter::Keepalives) >= 6);
        // The way back is nobody's to keep.
        assert!(rig::nothing_in(&call.far_a.rtp));
    }
}

/// Type of service of the next datagram that leaves from `port`, as the kernel delivers it.
fn service_from(raw: &socket2::Socket, port: u16) -> u8 {
    let mut raw = raw;
    loop {
        let mut datagram = [0_u8; 2048];
        let length = raw.read(&mut datagram).expect("a datagram");
        let header = usize::from(datagram[0] & 0xf) * 4;
        if length > header + 2 && datagram[header..header + 2] == port.to_be_bytes() {
            return datagram[1];
        }
    }
}

#[test]
fn each_side_is_sent_to_with_its_own_code_point() {
    let (kind, protocol) = (socket2::Type::RAW, Some(socket2::Protocol::UDP));
    let Ok(_) = socket2::Socket::new(socket2::Domain::IPV4, kind, protocol) else {
        eprintln!("SKIPPED: only root sees the headers of packets");
        return;
    };
    // What comes to one far end; its address is no other test's.
    let watch = |far: &rig::Far| {
        let raw = socket2::Socket::new(socket2::Domain::IPV4, kind, protocol).unwrap();
        raw.set_read_timeout(Some(rig::PATIENCE)).unwrap();
        raw.bind(&std::net::SocketAddr::new(far.rtp_addr().ip(), 0).into()).unwrap();
        raw
    };
    let mut rig = Rig::start();
    let (a, b) = (id(0, 1), id(1, 1));
    let mut open = |flow, dscp| {
        let (token, family) = (rig.token(), abi::Family::Any);
        let (call, network, rtcp_mux_in) = ([7; 16], 0, false);
        let open = Open { token, flow, call, network, family, rtcp_mux_in, dscp };
        match rig.ask(&Command::open(&open)) {
            Notice::Opened { local_rtp, local_rtcp, .. } => (local_rtp, local_rtcp),
            other => panic!("{other:?}"),
        }
    };
    let (at_a, at_b) = (open(a, None), open(b, Some(34)));
    let (far_a, far_b) = (rig::Far::new(own_address()), rig::Far::new(own_address()));
    let call = Call { a, b, far_a, far_b, at_a, at_b };
    let (to_a, to_b) = (watch(&call.far_a), watch(&call.far_b));
    call.join(&mut rig);
    call.far_a.rtp.send_to(&rtp(1), at_a.0).unwrap();
    assert_eq!(service_from(&to_b, at_b.0.port()), 34 << 2, "to B, as it was asked for");
    call.far_b.rtp.send_to(&rtp(1), at_b.0).unwrap();
    assert_eq!(service_from(&to_a, at_a.0.port()), 46 << 2, "to A, as the data plane has it");
}
