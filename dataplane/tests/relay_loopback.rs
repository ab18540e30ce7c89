//! Media through a real worker on loopback, commanded through a real region.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod rig;

use abi::{Counter, Suite, Update};
use rig::packet::{Peer, rtcp, rtp, sized_rtp};
use rig::{Call, Rig, nothing_in, own_address, receive};

const SUITES: [Suite; 4] = [
    Suite::AesCm128HmacSha1_80,
    Suite::AesCm128HmacSha1_32,
    Suite::AeadAes128Gcm,
    Suite::AeadAes256Gcm,
];

#[test]
fn plain_media_passes_both_ways_from_the_signalled_ports() {
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    call.join(&mut rig);
    for seq in 0..50 {
        call.far_a.rtp.send_to(&rtp(seq), call.at_a.0).unwrap();
        assert_eq!(receive(&call.far_b.rtp), (rtp(seq), call.at_b.0), "symmetric RTP, RFC 4961");
        call.far_b.rtp.send_to(&rtp(seq), call.at_b.0).unwrap();
        assert_eq!(receive(&call.far_a.rtp), (rtp(seq), call.at_a.0));
    }
    rig.await_counter(Counter::RelayedRtp, 100);
    rig.check_books();
    assert_eq!(rig.close(call.a), (50, 50 * 172));
}

#[test]
fn rtp_meets_srtp_both_ways_in_every_suite() {
    let mut rig = Rig::start();
    for (n, suite) in SUITES.into_iter().enumerate() {
        let call = Call::place(&mut rig, 2 * n as u32, 1);
        call.join_secure(&mut rig, suite);
        let mut peer = Peer::new(suite);
        // Across a rollover of the sequence number.
        for seq in (65_500..=65_535).chain(0..40) {
            call.far_a.rtp.send_to(&rtp(seq), call.at_a.0).unwrap();
            let (protected, _) = receive(&call.far_b.rtp);
            assert_ne!(protected, rtp(seq));
            assert_eq!(peer.unprotect_rtp(&protected), rtp(seq), "{suite:?}");
            call.far_b.rtp.send_to(&peer.protect_rtp(&rtp(seq)), call.at_b.0).unwrap();
            assert_eq!(receive(&call.far_a.rtp).0, rtp(seq), "{suite:?}");
        }
        for count in 0..5 {
            call.far_a.rtcp.send_to(&rtcp(count), call.at_a.1).unwrap();
            let (protected, from) = receive(&call.far_b.rtcp);
            assert_eq!(from, call.at_b.1);
            assert_eq!(peer.unprotect_rtcp(&protected), rtcp(count), "{suite:?}");
            call.far_b.rtcp.send_to(&peer.protect_rtcp(&rtcp(count)), call.at_b.1).unwrap();
            assert_eq!(receive(&call.far_a.rtcp).0, rtcp(count), "{suite:?}");
        }
    }
    rig.await_counter(Counter::RelayedRtp, 4 * 2 * 76);
    rig.await_counter(Counter::RelayedRtcp, 4 * 2 * 5);
    rig.check_books();
}

#[test]
fn rtcp_moves_between_its_own_port_and_the_rtp_port() {
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    // A keeps RTCP apart, B multiplexes (RFC 5761).
    rig.update(Update { rtcp_mux_out: true, destination_rtcp: None, ..call.update_a() });
    rig.update(Update { rtcp_mux_in: true, source_rtcp: None, ..call.update_b() });
    call.far_a.rtcp.send_to(&rtcp(1), call.at_a.1).unwrap();
    assert_eq!(receive(&call.far_b.rtp), (rtcp(1), call.at_b.0));
    call.far_b.rtp.send_to(&rtcp(2), call.at_b.0).unwrap();
    assert_eq!(receive(&call.far_a.rtcp), (rtcp(2), call.at_a.1));
    // Each kind on a port that does not carry it.
    call.far_a.rtp.send_to(&rtcp(3), call.at_a.0).unwrap();
    call.far_a.rtcp.send_to(&rtp(3), call.at_a.1).unwrap();
    rig.await_counter(Counter::DropNotRtp, 2);
    rig.await_counter(Counter::RelayedRtcp, 2);
    rig.check_books();
}

#[test]
fn packets_from_elsewhere_are_not_relayed_and_attract_nothing() {
    for secure in [false, true] {
        let mut rig = Rig::start();
        let call = Call::place(&mut rig, 0, 1);
        match secure {
            false => call.join(&mut rig),
            true => call.join_secure(&mut rig, Suite::AeadAes128Gcm),
        }
        // Another address, and the right address with another port: both well-formed media.
        let stranger = rig::Far::new(own_address());
        let neighbour = rig::Far::new(call.far_a.rtp_addr().ip());
        for seq in 0..200 {
            for attacker in [&stranger, &neighbour] {
                attacker.rtp.send_to(&rtp(seq), call.at_a.0).unwrap();
                attacker.rtcp.send_to(&rtcp(seq.into()), call.at_a.1).unwrap();
                attacker.rtp.send_to(&rtp(seq), call.at_b.0).unwrap();
            }
        }
        // RTP from the address of RTCP and the other way round.
        call.far_a.rtcp.send_to(&rtp(1), call.at_a.0).unwrap();
        call.far_a.rtp.send_to(&rtcp(1), call.at_a.1).unwrap();
        rig.await_counter(Counter::DropOffPath, 1202);
        // Positive control: the signalled source is relayed, to the signalled destination.
        call.far_a.rtp.send_to(&rtp(7), call.at_a.0).unwrap();
        let (relayed, _) = receive(&call.far_b.rtp);
        match secure {
            false => assert_eq!(relayed, rtp(7)),
            true => assert_eq!(Peer::new(Suite::AeadAes128Gcm).unprotect_rtp(&relayed), rtp(7)),
        }
        rig.await_counter(Counter::RelayedRtp, 1);
        assert_eq!(rig.counter(Counter::RelayedRtcp), 0);
        assert_eq!(rig.counter(Counter::TxPackets), 1);
        for attacker in [&stranger, &neighbour] {
            assert!(nothing_in(&attacker.rtp) && nothing_in(&attacker.rtcp));
        }
        rig.check_books();
        let snapshot = rig.snapshot(call.a).unwrap();
        assert_eq!((snapshot.off_path, snapshot.packets_in), (802, 1));
    }
}

#[test]
fn a_secure_leg_refuses_plain_forged_and_repeated_packets() {
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    let suite = Suite::AesCm128HmacSha1_80;
    call.join_secure(&mut rig, suite);
    let mut peer = Peer::new(suite);
    let good = peer.protect_rtp(&rtp(10));
    let mut forged = peer.protect_rtp(&rtp(11));
    *forged.last_mut().unwrap() ^= 1;
    let report = peer.protect_rtcp(&rtcp(1));
    let to_b = |packet: &[u8]| call.far_b.rtp.send_to(packet, call.at_b.0).unwrap();
    to_b(&rtp(9));
    to_b(&good);
    to_b(&good);
    to_b(&forged);
    for packet in [&report, &report, &rtcp(2)] {
        call.far_b.rtcp.send_to(packet, call.at_b.1).unwrap();
    }
    assert_eq!(receive(&call.far_a.rtp).0, rtp(10));
    assert_eq!(receive(&call.far_a.rtcp).0, rtcp(1));
    rig.await_counter(Counter::DropReplay, 2);
    // Plain RTP fails its tag; plain RTCP is refused for its clear E flag or its tag.
    await_refusals(&rig, 3);
    assert!(nothing_in(&call.far_a.rtp) && nothing_in(&call.far_a.rtcp));
    assert_eq!(rig.counter(Counter::RelayedRtp) + rig.counter(Counter::RelayedRtcp), 2);
    // Positive control: the context still works.
    to_b(&peer.protect_rtp(&rtp(12)));
    assert_eq!(receive(&call.far_a.rtp).0, rtp(12));
    rig.check_books();
}

fn await_refusals(rig: &Rig, count: u64) {
    rig::await_that("refused packets", || {
        rig.counter(Counter::DropAuthentication) + rig.counter(Counter::DropMalformed) == count
    });
}

#[test]
fn a_repeated_packet_is_never_protected_twice() {
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    call.join_secure(&mut rig, Suite::AeadAes256Gcm);
    let mut altered = rtp(1);
    altered[20] ^= 0xFF;
    for packet in [&rtp(1), &rtp(1), &altered, &rtp(2)] {
        call.far_a.rtp.send_to(packet, call.at_a.0).unwrap();
    }
    let mut peer = Peer::new(Suite::AeadAes256Gcm);
    assert_eq!(peer.unprotect_rtp(&receive(&call.far_b.rtp).0), rtp(1));
    assert_eq!(peer.unprotect_rtp(&receive(&call.far_b.rtp).0), rtp(2));
    rig.await_counter(Counter::DropIndexReused, 2);
    rig.check_books();
}

#[test]
fn an_unchanged_key_keeps_its_context_and_a_changed_one_starts_afresh() {
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    let suite = Suite::AesCm128HmacSha1_32;
    call.join_secure(&mut rig, suite);
    let mut peer = Peer::new(suite);
    let pass = |peer: &mut Peer, seq: u16| {
        call.far_a.rtp.send_to(&rtp(seq), call.at_a.0).unwrap();
        assert_eq!(peer.unprotect_rtp(&receive(&call.far_b.rtp).0), rtp(seq));
    };
    pass(&mut peer, 65_535);
    pass(&mut peer, 0);
    call.join_secure(&mut rig, suite);
    // The rollover counter is 1 on both sides still; a fresh context would start at 0.
    pass(&mut peer, 1);
    call.far_a.rtp.send_to(&rtp(1), call.at_a.0).unwrap();
    rig.await_counter(Counter::DropIndexReused, 1);
    // A new key, then the old one again, as after a re-INVITE that failed.
    rig.update(Update { protect: Some(rig::key(suite, 9)), ..call.update_a() });
    call.far_a.rtp.send_to(&rtp(2), call.at_a.0).unwrap();
    let mut fresh = rtp::srtp::Unprotect::new(&rig::packet::master(suite, 9));
    let mut protected = receive(&call.far_b.rtp).0;
    assert_eq!(fresh.rtp(&mut protected).unwrap().bytes(), rtp(2));
    call.join_secure(&mut rig, suite);
    pass(&mut peer, 3);
    call.far_a.rtp.send_to(&rtp(1), call.at_a.0).unwrap();
    rig.await_counter(Counter::DropIndexReused, 2);
    rig.check_books();
}

#[test]
fn packets_wait_for_readiness_and_direction() {
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    let send = || call.far_a.rtp.send_to(&rtp(1), call.at_a.0).unwrap();
    send();
    rig.await_counter(Counter::DropNotReady, 1);
    rig.update(Update { relay: false, ..call.update_a() });
    send();
    rig.await_counter(Counter::DropDirection, 1);
    rig.update(call.update_a());
    send();
    assert_eq!(receive(&call.far_b.rtp).0, rtp(1));
    // Without its peer there is no port to send from.
    rig.close(call.b);
    send();
    rig.await_counter(Counter::DropNotReady, 2);
    rig.check_books();
}

#[test]
fn sizes_from_nothing_to_the_largest_pass_or_are_counted() {
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    call.join_secure(&mut rig, Suite::AeadAes256Gcm);
    let send = |packet: &[u8]| call.far_a.rtp.send_to(packet, call.at_a.0).unwrap();
    let mut peer = Peer::new(Suite::AeadAes256Gcm);
    send(&[]);
    send(&[0x80]);
    send(&sized_rtp(1, 0));
    assert_eq!(peer.unprotect_rtp(&receive(&call.far_b.rtp).0), sized_rtp(1, 0));
    send(&sized_rtp(2, 1488));
    assert_eq!(peer.unprotect_rtp(&receive(&call.far_b.rtp).0), sized_rtp(2, 1488));
    send(&sized_rtp(3, 1489));
    send(&sized_rtp(4, 5000));
    send(&[0; 40]);
    rig.await_counter(Counter::DropRunt, 2);
    rig.await_counter(Counter::DropOversize, 2);
    rig.await_counter(Counter::DropNotRtp, 1);
    // An empty datagram ends a multishot receive; the socket lives on.
    send(&sized_rtp(5, 160));
    assert_eq!(peer.unprotect_rtp(&receive(&call.far_b.rtp).0), sized_rtp(5, 160));
    rig.check_books();
}

#[test]
fn a_send_that_the_kernel_refuses_is_counted_and_nothing_else_suffers() {
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    // A socket on loopback cannot reach out.
    let outside = Some("192.0.2.1:9".parse().unwrap());
    rig.update(Update { destination_rtp: outside, ..call.update_a() });
    rig.update(call.update_b());
    for seq in 0..10 {
        call.far_a.rtp.send_to(&rtp(seq), call.at_a.0).unwrap();
        call.far_b.rtp.send_to(&rtp(seq), call.at_b.0).unwrap();
        assert_eq!(receive(&call.far_a.rtp).0, rtp(seq));
    }
    rig.await_counter(Counter::DropSendFailed, 10);
    rig.await_counter(Counter::RelayedRtp, 10);
    assert_eq!(rig.counter(Counter::TxPackets), 10);
    rig.check_books();
}

#[test]
fn many_calls_in_a_burst_lose_nothing() {
    let mut rig = Rig::with(256, 20_000..=21_999);
    let calls: Vec<Call> = (0..60).map(|n| Call::place(&mut rig, 2 * n, 1)).collect();
    calls.iter().for_each(|call| call.join(&mut rig));
    for round in 0..20 {
        for call in &calls {
            call.far_a.rtp.send_to(&rtp(round), call.at_a.0).unwrap();
            call.far_b.rtp.send_to(&rtp(round), call.at_b.0).unwrap();
        }
        for call in &calls {
            assert_eq!(receive(&call.far_b.rtp).0, rtp(round));
            assert_eq!(receive(&call.far_a.rtp).0, rtp(round));
        }
    }
    rig.await_counter(Counter::RelayedRtp, 2400);
    rig.check_books();
}
