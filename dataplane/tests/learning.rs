//! Whose packets are believed, in every mode of a trunk's NAT field: real sockets as far ends, and three
//! strangers that know everything but the keys: the ports, the SSRC and the numbers of a call.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod rig;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Instant;

use abi::{Counter, Learning, Notice, Suite, Update};
use rig::packet::{Peer, rtcp, rtp};
use rig::{Call, Far, Rig, await_that, key, nothing_in, own_address, receive};

/// Longer than any test.
const OPEN: Option<Learning> = Some(Learning { window_ms: 600_000, within: None });
const SUITE: Suite = Suite::AesCm128HmacSha1_80;

fn within(ip: IpAddr, prefix: u8) -> Option<Learning> {
    OPEN.map(|open| Learning { within: Some((ip, prefix)), ..open })
}

/// What A's signaling said and is not true: nobody is there.
fn nowhere() -> (Option<SocketAddr>, Option<SocketAddr>) {
    let absent = own_address();
    (Some(SocketAddr::new(absent, 4000)), Some(SocketAddr::new(absent, 4001)))
}

/// A call whose A side is not where its signaling says.
fn behind_nat(rig: &mut Rig, learning: Option<Learning>) -> (Call, Update, Update) {
    let call = Call::place(rig, 0, 1);
    let (source_rtp, source_rtcp) = nowhere();
    let forward = Update { learning, source_rtp, source_rtcp, ..call.update_a() };
    let backward =
        Update { destination_rtp: source_rtp, destination_rtcp: source_rtcp, ..call.update_b() };
    rig.update(forward.clone());
    rig.update(backward.clone());
    (call, forward, backward)
}

fn learned(rig: &mut Rig, call: &Call) -> SocketAddr {
    match rig.event() {
        Notice::Learned { flow, remote } if flow == call.a => remote,
        other => panic!("{other:?}"),
    }
}

/// One packet from `from` through flow A to B.
fn forth(call: &Call, from: &UdpSocket, seq: u16) {
    from.send_to(&rtp(seq), call.at_a.0).unwrap();
    assert_eq!(receive(&call.far_b.rtp).0, rtp(seq));
}

/// One packet from B, which has to arrive at `at`.
fn back(call: &Call, at: &UdpSocket, seq: u16) {
    call.far_b.rtp.send_to(&rtp(seq), call.at_b.0).unwrap();
    assert_eq!(receive(at), (rtp(seq), call.at_a.0));
}

#[test]
fn the_first_source_is_learned_followed_and_locked() {
    let mut rig = Rig::start();
    let (call, forward, backward) = behind_nat(&mut rig, OPEN);
    forth(&call, &call.far_a.rtp, 1);
    assert_eq!(learned(&mut rig, &call), call.far_a.rtp_addr());
    back(&call, &call.far_a.rtp, 1);
    // RTCP is learned too, at the same host only.
    let stranger = Far::new(own_address());
    stranger.rtcp.send_to(&rtcp(1), call.at_a.1).unwrap();
    rig.await_counter(Counter::DropOffPath, 1);
    call.far_a.rtcp.send_to(&rtcp(1), call.at_a.1).unwrap();
    assert_eq!(receive(&call.far_b.rtcp).0, rtcp(1));
    call.far_b.rtcp.send_to(&rtcp(2), call.at_b.1).unwrap();
    assert_eq!(receive(&call.far_a.rtcp), (rtcp(2), call.at_a.1));
    // Locked, although the window is open; said again it stays so.
    stranger.rtp.send_to(&rtp(2), call.at_a.0).unwrap();
    rig.await_counter(Counter::DropOffPath, 2);
    rig.update(forward.clone());
    rig.update(backward);
    stranger.rtp.send_to(&rtp(3), call.at_a.0).unwrap();
    rig.await_counter(Counter::DropOffPath, 3);
    forth(&call, &call.far_a.rtp, 4);
    back(&call, &call.far_a.rtp, 4);
    // Signaling moves the far end: who speaks now is believed. This is how a re-INVITE from another
    // access network goes on.
    let (source_rtp, source_rtcp) = nowhere();
    rig.update(Update { source_rtp, source_rtcp, ..forward });
    let moved = Far::new(own_address());
    forth(&call, &moved.rtp, 5);
    assert_eq!(learned(&mut rig, &call), moved.rtp_addr());
    back(&call, &moved.rtp, 5);
    rig.await_counter(Counter::SourcesLearned, 2);
    assert!(nothing_in(&stranger.rtp) && nothing_in(&stranger.rtcp));
    rig.check_books();
}

/// The table that operators and a restarted signaling read follows what was learned at once.
#[test]
fn the_flow_table_tells_what_was_learned() {
    let mut rig = Rig::start();
    let (call, ..) = behind_nat(&mut rig, OPEN);
    forth(&call, &call.far_a.rtp, 1);
    assert_eq!(learned(&mut rig, &call), call.far_a.rtp_addr());
    let source = rig.snapshot(call.a).unwrap().source.socket_addr();
    assert_eq!(source, Some(call.far_a.rtp_addr()));
    let destination = rig.snapshot(call.b).unwrap().destination.socket_addr();
    assert_eq!(destination, Some(call.far_a.rtp_addr()));
}

#[test]
fn the_signalled_address_takes_over_from_whoever_was_first() {
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    rig.update(Update { learning: OPEN, ..call.update_a() });
    rig.update(call.update_b());
    let first = Far::new(own_address());
    forth(&call, &first.rtp, 1);
    assert_eq!(learned(&mut rig, &call), first.rtp_addr());
    back(&call, &first.rtp, 1);
    forth(&call, &call.far_a.rtp, 2);
    assert_eq!(learned(&mut rig, &call), call.far_a.rtp_addr());
    back(&call, &call.far_a.rtp, 2);
    first.rtp.send_to(&rtp(3), call.at_a.0).unwrap();
    rig.await_counter(Counter::DropOffPath, 1);
    assert!(nothing_in(&first.rtp));
}

#[test]
fn learning_keeps_to_its_network_and_its_window() {
    let mut rig = Rig::start();
    let far_ip = own_address();
    let (mut call, forward, _) = behind_nat(&mut rig, within(far_ip, 32));
    call.far_a = Far::new(far_ip);
    let stranger = Far::new(own_address());
    for seq in 0..10 {
        stranger.rtp.send_to(&rtp(seq), call.at_a.0).unwrap();
    }
    rig.await_counter(Counter::DropOffPath, 10);
    forth(&call, &call.far_a.rtp, 10);
    assert_eq!(learned(&mut rig, &call), call.far_a.rtp_addr());
    // Another window arms again, but it is over when the next packet comes.
    let asked = Instant::now();
    let short = within(far_ip, 32).map(|learning| Learning { window_ms: 1, ..learning });
    let (source_rtp, source_rtcp) = nowhere();
    rig.update(Update { learning: short, source_rtp, source_rtcp, ..forward });
    await_that("the end of the window", || asked.elapsed().as_millis() > 100);
    call.far_a.rtp.send_to(&rtp(11), call.at_a.0).unwrap();
    rig.await_counter(Counter::DropOffPath, 11);
    rig.await_counter(Counter::SourcesLearned, 1);
    assert!(rig.unread().is_empty());
}

#[test]
fn a_secure_side_is_learned_from_authentic_packets_at_any_time_and_from_nothing_else() {
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    let (source_rtp, source_rtcp) = nowhere();
    let learning = Some(Learning { window_ms: 1, within: None });
    let unprotect = Some(key(SUITE, 2));
    rig.update(Update { learning, source_rtp, source_rtcp, unprotect, ..call.update_a() });
    rig.update(Update { destination_rtp: source_rtp, ..call.update_b() });
    let mut peer = Peer::new(SUITE);
    let stranger = Far::new(own_address());
    let mut forged = peer.protect_rtp(&rtp(1));
    *forged.last_mut().unwrap() ^= 1;
    for packet in [rtp(1), forged, rtp(2)] {
        stranger.rtp.send_to(&packet, call.at_a.0).unwrap();
    }
    rig.await_counter(Counter::DropAuthentication, 3);
    let authentic = peer.protect_rtp(&rtp(3));
    call.far_a.rtp.send_to(&authentic, call.at_a.0).unwrap();
    assert_eq!(receive(&call.far_b.rtp).0, rtp(3));
    assert_eq!(learned(&mut rig, &call), call.far_a.rtp_addr());
    back(&call, &call.far_a.rtp, 1);
    // A copy, and even a fresh authentic packet: the source is locked while it speaks.
    for packet in [authentic, peer.protect_rtp(&rtp(4))] {
        stranger.rtp.send_to(&packet, call.at_a.0).unwrap();
    }
    rig.await_counter(Counter::DropOffPath, 2);
    back(&call, &call.far_a.rtp, 2);
    rig.await_counter(Counter::SourcesLearned, 1);
    assert!(nothing_in(&stranger.rtp));
    rig.check_books();
}

#[test]
fn nothing_is_sent_to_a_private_address_that_was_signalled() {
    let mut rig = Rig::start();
    let (call, _, backward) = behind_nat(&mut rig, OPEN);
    let awaiting = Update {
        await_destination: true,
        destination_rtp: None,
        destination_rtcp: None,
        ..backward
    };
    rig.update(awaiting);
    call.far_b.rtp.send_to(&rtp(1), call.at_b.0).unwrap();
    call.far_b.rtcp.send_to(&rtcp(1), call.at_b.1).unwrap();
    rig.await_counter(Counter::DropNotReady, 2);
    assert_eq!(rig.counter(Counter::TxPackets), 0);
    forth(&call, &call.far_a.rtp, 1);
    assert_eq!(learned(&mut rig, &call), call.far_a.rtp_addr());
    back(&call, &call.far_a.rtp, 2);
    // Its RTCP has not been heard: it goes nowhere yet.
    call.far_b.rtcp.send_to(&rtcp(2), call.at_b.1).unwrap();
    rig.await_counter(Counter::DropNotReady, 3);
    call.far_a.rtcp.send_to(&rtcp(3), call.at_a.1).unwrap();
    assert_eq!(receive(&call.far_b.rtcp).0, rtcp(3));
    call.far_b.rtcp.send_to(&rtcp(4), call.at_b.1).unwrap();
    assert_eq!(receive(&call.far_a.rtcp).0, rtcp(4));
    rig.check_books();
}

/// How the call is set up that strangers spray.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Signalled,
    SignalledMux,
    SignalledSecure,
    Learned,
    LearnedWithin,
    LearnedSecure,
    AwaitDestination,
}

const MODES: [Mode; 7] = [
    Mode::Signalled,
    Mode::SignalledMux,
    Mode::SignalledSecure,
    Mode::Learned,
    Mode::LearnedWithin,
    Mode::LearnedSecure,
    Mode::AwaitDestination,
];

impl Mode {
    /// Configures a call; in learning modes its A side is not where it was signalled.
    fn set_up(self, rig: &mut Rig, call: &Call) {
        let (mut forward, mut backward) = (call.update_a(), call.update_b());
        if !matches!(self, Mode::Signalled | Mode::SignalledMux | Mode::SignalledSecure) {
            (forward.source_rtp, forward.source_rtcp) = nowhere();
            backward.destination_rtp = forward.source_rtp;
            backward.destination_rtcp = forward.source_rtcp;
            forward.learning = OPEN;
        }
        match self {
            Mode::SignalledMux => {
                forward.rtcp_mux_in = true;
                backward.rtcp_mux_out = true;
            }
            Mode::SignalledSecure | Mode::LearnedSecure => {
                forward.unprotect = Some(key(SUITE, 2));
                backward.protect = Some(key(SUITE, 1));
            }
            Mode::LearnedWithin => forward.learning = within(call.far_a.rtp_addr().ip(), 32),
            Mode::AwaitDestination => {
                backward.await_destination = true;
                (backward.destination_rtp, backward.destination_rtcp) = (None, None);
            }
            Mode::Signalled | Mode::Learned => {}
        }
        rig.update(forward);
        rig.update(backward);
    }

    fn peer(self) -> Option<Peer> {
        matches!(self, Mode::SignalledSecure | Mode::LearnedSecure).then(|| Peer::new(SUITE))
    }
}

/// RTP to RTP ports and RTCP to RTCP ports, each stranger from both of its ports: what an attacker sends
/// who has everything but the keys. Packets sent.
fn spray(call: &Call, strangers: &[Far], seq: u16, overheard: &[u8]) -> u64 {
    let mut sent = 0;
    let mut send = |from: &UdpSocket, packet: &[u8], to| {
        from.send_to(packet, to).unwrap();
        sent += 1;
    };
    for stranger in strangers {
        for from in [&stranger.rtp, &stranger.rtcp] {
            for at in [call.at_a, call.at_b] {
                send(from, &rtp(seq), at.0);
                send(from, &rtcp(seq.into()), at.1);
            }
            send(from, overheard, call.at_a.0);
        }
    }
    sent
}

#[test]
fn a_spray_from_three_strangers_moves_nothing_in_any_mode() {
    for mode in MODES {
        let mut rig = Rig::start();
        let call = Call::place(&mut rig, 0, 1);
        mode.set_up(&mut rig, &call);
        let strangers: Vec<Far> = (0..3).map(|_| Far::new(own_address())).collect();
        let mut peer = mode.peer();
        let at_a_rtcp = if mode == Mode::SignalledMux { call.at_a.0 } else { call.at_a.1 };
        let a_rtcp = if mode == Mode::SignalledMux { &call.far_a.rtp } else { &call.far_a.rtcp };
        let mut sprayed = 0;
        const ROUNDS: u16 = 40;
        for round in 0..ROUNDS {
            // The call, both ways: each packet arrives, and it alone.
            let (mut media, mut report) = (rtp(round), rtcp(round.into()));
            if let Some(peer) = &mut peer {
                (media, report) = (peer.protect_rtp(&media), peer.protect_rtcp(&report));
            }
            call.far_a.rtp.send_to(&media, call.at_a.0).unwrap();
            assert_eq!(receive(&call.far_b.rtp), (rtp(round), call.at_b.0), "{mode:?}");
            a_rtcp.send_to(&report, at_a_rtcp).unwrap();
            assert_eq!(receive(&call.far_b.rtcp).0, rtcp(round.into()), "{mode:?}");
            call.far_b.rtp.send_to(&rtp(round), call.at_b.0).unwrap();
            call.far_b.rtcp.send_to(&rtcp(round.into()), call.at_b.1).unwrap();
            let (mut media, from) = receive(&call.far_a.rtp);
            assert_eq!(from, call.at_a.0);
            let (mut report, from) = receive(a_rtcp);
            assert_eq!(from, at_a_rtcp);
            if let Some(peer) = &mut peer {
                (media, report) = (peer.unprotect_rtp(&media), peer.unprotect_rtcp(&report));
            }
            assert_eq!((media, report), (rtp(round), rtcp(round.into())), "{mode:?}");
            let overheard = match &peer {
                None => rtp(round + 1),
                Some(_) => Peer::new(SUITE).protect_rtp(&rtp(round + 1)),
            };
            sprayed += spray(&call, &strangers, round + 1, &overheard);
        }
        let relayed = u64::from(2 * ROUNDS);
        rig.await_counter(Counter::DropOffPath, sprayed);
        rig.await_counter(Counter::RelayedRtp, relayed);
        rig.await_counter(Counter::RelayedRtcp, relayed);
        rig.await_counter(Counter::RxPackets, sprayed + 2 * relayed);
        rig.await_counter(Counter::TxPackets, 2 * relayed);
        rig.check_books();
        for far in strangers.iter().chain([&call.far_a, &call.far_b]) {
            assert!(nothing_in(&far.rtp) && nothing_in(&far.rtcp), "{mode:?}");
        }
        let off_path = [call.a, call.b].map(|flow| rig.snapshot(flow).unwrap().off_path);
        assert_eq!(off_path.iter().sum::<u64>(), sprayed, "{mode:?}: booked on the call's flows");
    }
}

/// The attack works where nothing stops it: in plain learning, whoever hits the window before the far
/// end does is believed. It ends as soon as the signalled address speaks, and SRTP has no such window.
#[test]
fn the_same_spray_before_the_lock_attracts_plain_media_and_no_secure_media() {
    for (mode, attracts) in [(Mode::Learned, true), (Mode::LearnedSecure, false)] {
        let mut rig = Rig::start();
        let call = Call::place(&mut rig, 0, 1);
        mode.set_up(&mut rig, &call);
        let strangers: Vec<Far> = (0..3).map(|_| Far::new(own_address())).collect();
        let sprayed = spray(&call, &strangers, 1, &rtp(2));
        rig.await_counter(Counter::RxPackets, sprayed);
        rig.check_books();
        call.far_b.rtp.send_to(&rtp(5), call.at_b.0).unwrap();
        if attracts {
            assert_eq!(receive(&strangers[0].rtp), (rtp(5), call.at_a.0), "the attack works");
            assert_eq!(receive(&call.far_b.rtp).0, rtp(1), "and its packets are heard");
            assert_eq!(learned(&mut rig, &call), strangers[0].rtp_addr());
        } else {
            rig.await_counter(Counter::RelayedRtp, 1);
            assert!(nothing_in(&call.far_b.rtp) && nothing_in(&call.far_b.rtcp));
            assert_eq!(rig.counter(Counter::SourcesLearned), 0);
        }
        let others = if attracts { &strangers[1..] } else { &strangers[..] };
        for stranger in others {
            assert!(nothing_in(&stranger.rtp) && nothing_in(&stranger.rtcp), "{mode:?}");
        }
    }
}
