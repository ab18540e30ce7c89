//! Calls whose two sides differ: address family, suite, MKI, RTCP multiplexing, direction; fax; and what a
//! call leaves in the region and on the wire besides its media.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod rig;

use std::mem::MaybeUninit;
use std::net::{Ipv6Addr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use abi::{Counter, Family, Format, Histogram, Key, Learning, Notice, Suite, Update};
use dataplane::Config;
use rig::packet::{Peer, master, rtcp, rtp};
use rig::{Call, Far, Rig, await_that, drain, id, key, nothing_in, own_address, receive};
use rtp::srtp::{Mki, Protect, Unprotect};
use socket2::{MaybeUninitSlice, MsgHdrMut, SockRef};

const SUITES: [Suite; 6] = [
    Suite::AesCm128HmacSha1_80,
    Suite::AesCm128HmacSha1_32,
    Suite::AesCm256HmacSha1_80,
    Suite::AesCm256HmacSha1_32,
    Suite::AeadAes128Gcm,
    Suite::AeadAes256Gcm,
];

/// A network of both families. There is one IPv6 loopback address, so each process has its own ports
/// there, and each test. `None` on a host without IPv6.
fn both_families() -> Option<Config> {
    if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("SKIPPED: this host has no IPv6 loopback address");
        return None;
    }
    // The address is everybody's: each test has ports of its own.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let number = std::process::id() as u16 % 100 * 7 + NEXT.fetch_add(1, Ordering::Relaxed);
    let base = 20_000 + number % 120 * 100;
    let local = own_address();
    let mut config = rig::config(local, 64, base..=base + 99);
    config.networks = vec![vec![local, rig::six()]];
    Some(config)
}

/// A call whose A side is IPv4 and whose B side is IPv6.
fn place_across(rig: &mut Rig, first: u32) -> Call {
    let (a, b) = (id(first, 1), id(first + 1, 1));
    let (at_a, at_b) = (rig.open_on(a, 0, Family::V4), rig.open_on(b, 0, Family::V6));
    assert!(at_a.0.is_ipv4() && at_b.0.is_ipv6() && at_b.1.is_ipv6());
    Call { a, b, far_a: Far::new(own_address()), far_b: Far::new(rig::six()), at_a, at_b }
}

/// RTP and RTCP both ways through a call whose B side speaks as `peer` does.
fn talk(call: &Call, mut peer: Option<&mut Peer>, seqs: std::ops::Range<u16>) {
    for seq in seqs {
        call.far_a.rtp.send_to(&rtp(seq), call.at_a.0).unwrap();
        let (media, from) = receive(&call.far_b.rtp);
        assert_eq!(from, call.at_b.0);
        call.far_a.rtcp.send_to(&rtcp(seq.into()), call.at_a.1).unwrap();
        let (report, from) = receive(&call.far_b.rtcp);
        assert_eq!(from, call.at_b.1);
        let (mut forth, mut back) = ((media, report), (rtp(seq), rtcp(seq.into())));
        if let Some(peer) = peer.as_deref_mut() {
            assert_ne!((&forth.0, &forth.1), (&back.0, &back.1));
            forth = (peer.unprotect_rtp(&forth.0), peer.unprotect_rtcp(&forth.1));
            back = (peer.protect_rtp(&back.0), peer.protect_rtcp(&back.1));
        }
        assert_eq!(forth, (rtp(seq), rtcp(seq.into())));
        call.far_b.rtp.send_to(&back.0, call.at_b.0).unwrap();
        assert_eq!(receive(&call.far_a.rtp), (rtp(seq), call.at_a.0));
        call.far_b.rtcp.send_to(&back.1, call.at_b.1).unwrap();
        assert_eq!(receive(&call.far_a.rtcp), (rtcp(seq.into()), call.at_a.1));
    }
}

#[test]
fn ipv4_meets_ipv6_plain_and_encrypted() {
    let Some(config) = both_families() else { return };
    let mut rig = Rig::launch(config, dataplane::run);
    let plain = place_across(&mut rig, 0);
    plain.join(&mut rig);
    talk(&plain, None, 0..30);
    let secure = place_across(&mut rig, 2);
    secure.join_secure(&mut rig, Suite::AesCm256HmacSha1_80);
    talk(&secure, Some(&mut Peer::new(Suite::AesCm256HmacSha1_80)), 0..30);
    rig.await_counter(Counter::RelayedRtp, 120);
    rig.await_counter(Counter::RelayedRtcp, 120);
    rig.check_books();
    let flow = rig.snapshot(plain.b).unwrap();
    assert_eq!(flow.source.socket_addr(), Some(plain.far_b.rtp_addr()));
    assert_eq!(flow.destination.socket_addr(), Some(plain.far_a.rtp_addr()));
}

#[test]
fn ipv6_is_learned_inside_its_network() {
    let Some(config) = both_families() else { return };
    let mut rig = Rig::launch(config, dataplane::run);
    let six = rig::six().to_string();
    for (first, network, learned) in [(0, "2001:db8::", false), (2, six.as_str(), true)] {
        let call = place_across(&mut rig, first);
        let signalled = Some("[2001:db8::7]:4000".parse().unwrap());
        let within = Some((network.parse().unwrap(), 64));
        rig.update(call.update_a());
        rig.update(Update {
            source_rtp: signalled,
            learning: Some(Learning { window_ms: 600_000, within }),
            ..call.update_b()
        });
        call.far_b.rtp.send_to(&rtp(1), call.at_b.0).unwrap();
        if learned {
            assert_eq!(receive(&call.far_a.rtp).0, rtp(1));
            let remote = call.far_b.rtp_addr();
            assert_eq!(rig.event(), Notice::Learned { flow: call.b, remote });
        } else {
            rig.await_counter(Counter::DropOffPath, 1);
        }
    }
}

#[test]
fn flows_spread_over_the_addresses_of_a_network_and_meet_those_of_another() {
    let (first, second, third) = (own_address(), own_address(), own_address());
    let mut config = rig::config(first, 64, 20_000..=20_099);
    config.networks = vec![vec![first, second], vec![third]];
    let mut rig = Rig::launch(config, dataplane::run);
    let mut calls = Vec::new();
    for n in 0..10 {
        let (a, b) = (id(2 * n, 1), id(2 * n + 1, 1));
        let at_a = rig.open_on(a, 0, Family::V4);
        let at_b = rig.open_on(b, 1, Family::Any);
        assert_eq!((at_a.0.ip(), at_b.0.ip()), (at_a.1.ip(), rig::home(third)));
        let (far_a, far_b) = (Far::new(own_address()), Far::new(own_address()));
        let call = Call { a, b, far_a, far_b, at_a, at_b };
        call.join(&mut rig);
        calls.push(call);
    }
    for ip in [first, second].map(rig::home) {
        assert_eq!(calls.iter().filter(|call| call.at_a.0.ip() == ip).count(), 5);
    }
    calls.iter().for_each(|call| talk(call, None, 0..3));
}

/// Every suite, with an MKI of every length, across a rollover of the sequence number.
#[test]
fn every_suite_passes_with_an_identifier_and_no_other_identifier_does() {
    let mut rig = Rig::start();
    let mut calls = 0;
    let mut relayed = 0;
    for (n, suite) in SUITES.into_iter().enumerate() {
        let (value, len) = [(7, 1), (0x0102, 2), (0x01_0203, 3), (0xffff_fffe, 4)][n % 4];
        let named = |byte| key(suite, byte).with_mki(value, len);
        let call = Call::place(&mut rig, 2 * n as u32, 1);
        rig.update(Update { protect: named(1), ..call.update_a() });
        rig.update(Update { unprotect: named(2), ..call.update_b() });
        let mki = Mki::new(value, len).unwrap();
        let mut peer = Peer {
            protect: Protect::new(&master(suite, 2).with_mki(mki)),
            unprotect: Unprotect::new(&master(suite, 1).with_mki(mki)),
        };
        talk(&call, Some(&mut peer), 65_530..65_535);
        talk(&call, Some(&mut peer), 0..5);
        relayed += 20;
        // The right key under another name, or under none.
        let other = Mki::new(value ^ 1, len).unwrap();
        let mut others =
            [Protect::new(&master(suite, 2).with_mki(other)), Protect::new(&master(suite, 2))];
        for wrong in &mut others {
            let mut packet = rtp(6);
            packet.resize(250, 0);
            let len = wrong.rtp(&mut packet, 172).unwrap();
            call.far_b.rtp.send_to(&packet[..len], call.at_b.0).unwrap();
        }
        calls += 1;
        rig.await_counter(Counter::DropAuthentication, 2 * calls);
        assert!(nothing_in(&call.far_a.rtp), "{suite:?}");
    }
    rig.await_counter(Counter::RelayedRtp, relayed);
    rig.await_counter(Counter::RelayedRtcp, relayed);
    rig.check_books();
}

/// One suite on one side, another on the other: what leaves was opened and sealed anew.
#[test]
fn each_side_has_a_suite_of_its_own() {
    let mut rig = Rig::start();
    let mut call_count = 0;
    for (n, left) in SUITES.into_iter().enumerate() {
        let right = SUITES[(n + 1) % SUITES.len()];
        let call = Call::place(&mut rig, 2 * n as u32, 1);
        let keys = |side: Suite, byte: u8| -> Option<Key> { Some(key(side, byte)) };
        let forward = Update { unprotect: keys(left, 2), ..call.update_a() };
        rig.update(Update { protect: keys(right, 1), ..forward });
        let backward = Update { unprotect: keys(right, 2), ..call.update_b() };
        rig.update(Update { protect: keys(left, 1), ..backward });
        let (mut at_a, mut at_b) = (Peer::new(left), Peer::new(right));
        for seq in 0..5 {
            call.far_a.rtp.send_to(&at_a.protect_rtp(&rtp(seq)), call.at_a.0).unwrap();
            assert_eq!(at_b.unprotect_rtp(&receive(&call.far_b.rtp).0), rtp(seq));
            call.far_b.rtcp.send_to(&at_b.protect_rtcp(&rtcp(9)), call.at_b.1).unwrap();
            assert_eq!(at_a.unprotect_rtcp(&receive(&call.far_a.rtcp).0), rtcp(9));
        }
        call_count += 1;
    }
    rig.await_counter(Counter::RelayedRtp, 5 * call_count);
    rig.check_books();
}

#[test]
fn secure_rtcp_moves_between_its_own_port_and_the_rtp_port() {
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    let suite = Suite::AeadAes128Gcm;
    let forward = Update { rtcp_mux_out: true, destination_rtcp: None, ..call.update_a() };
    rig.update(Update { protect: Some(key(suite, 1)), ..forward });
    let backward = Update { rtcp_mux_in: true, source_rtcp: None, ..call.update_b() };
    rig.update(Update { unprotect: Some(key(suite, 2)), ..backward });
    let mut peer = Peer::new(suite);
    for count in 0..10 {
        call.far_a.rtcp.send_to(&rtcp(count), call.at_a.1).unwrap();
        call.far_a.rtp.send_to(&rtp(count as u16), call.at_a.0).unwrap();
        let both = [receive(&call.far_b.rtp), receive(&call.far_b.rtp)];
        assert!(both.iter().all(|(_, from)| *from == call.at_b.0));
        let is_rtcp = |bytes: &[u8]| (192..=223).contains(&bytes[1]);
        let (report, media) =
            if is_rtcp(&both[0].0) { (&both[0].0, &both[1].0) } else { (&both[1].0, &both[0].0) };
        assert_eq!(peer.unprotect_rtcp(report), rtcp(count));
        assert_eq!(peer.unprotect_rtp(media), rtp(count as u16));
        call.far_b.rtp.send_to(&peer.protect_rtcp(&rtcp(count)), call.at_b.0).unwrap();
        assert_eq!(receive(&call.far_a.rtcp), (rtcp(count), call.at_a.1));
    }
    rig.await_counter(Counter::RelayedRtcp, 20);
    rig.check_books();
}

#[test]
fn a_held_direction_stops_media_and_no_reports_and_times_out() {
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    call.join(&mut rig);
    let held = Update { relay: false, ..call.update_a() };
    rig.update(held.clone());
    for seq in 0..10 {
        call.far_a.rtp.send_to(&rtp(seq), call.at_a.0).unwrap();
        call.far_a.rtcp.send_to(&rtcp(seq.into()), call.at_a.1).unwrap();
        assert_eq!(receive(&call.far_b.rtcp).0, rtcp(seq.into()));
        call.far_b.rtp.send_to(&rtp(seq), call.at_b.0).unwrap();
        assert_eq!(receive(&call.far_a.rtp).0, rtp(seq), "the other direction goes on");
    }
    rig.await_counter(Counter::DropDirection, 10);
    assert!(nothing_in(&call.far_b.rtp));
    // A hold may be watched too.
    rig.update(Update { timeout_ms: 120, ..held });
    let event = rig.event();
    assert!(
        matches!(event, Notice::Timeout { flow, packets: 20, .. } if flow == call.a),
        "{event:?}"
    );
    rig.update(call.update_a());
    call.far_a.rtp.send_to(&rtp(10), call.at_a.0).unwrap();
    assert_eq!(receive(&call.far_b.rtp).0, rtp(10));
    rig.check_books();
}

#[test]
fn fax_datagrams_pass_unread_and_are_counted_apart() {
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    rig.update(Update { udptl: true, ..call.update_a() });
    rig.update(Update { udptl: true, ..call.update_b() });
    let stranger = Far::new(own_address());
    for n in 0..100_u8 {
        // Sequence number, a primary packet, redundancy: any octets at all (T.38 §9.1).
        let datagram: Vec<u8> = (0..n).map(|octet| octet.wrapping_mul(n)).collect();
        call.far_a.rtp.send_to(&datagram, call.at_a.0).unwrap();
        assert_eq!(receive(&call.far_b.rtp), (datagram.clone(), call.at_b.0));
        call.far_b.rtp.send_to(&datagram, call.at_b.0).unwrap();
        assert_eq!(receive(&call.far_a.rtp), (datagram.clone(), call.at_a.0));
        stranger.rtp.send_to(&datagram, call.at_a.0).unwrap();
    }
    rig.await_counter(Counter::DropOffPath, 100);
    rig.await_counter(Counter::RelayedUdptl, 200);
    assert_eq!(rig.counter(Counter::RelayedRtp), 0);
    // A refused send is one fax datagram less, and no other packet.
    let outside = Some("192.0.2.1:9".parse().unwrap());
    rig.update(Update { udptl: true, destination_rtp: outside, ..call.update_a() });
    call.far_a.rtp.send_to(&[1, 2, 3], call.at_a.0).unwrap();
    rig.await_counter(Counter::DropSendFailed, 1);
    rig.check_books();
}

/// What the receiver of `socket` is told of the type of service, or the traffic class, of a datagram.
fn receive_class(socket: &UdpSocket) -> u8 {
    let mut payload = [MaybeUninit::new(0_u8); 2048];
    let mut control = [MaybeUninit::new(0_u8); 64];
    let buffers = &mut [MaybeUninitSlice::new(&mut payload)];
    let mut message = MsgHdrMut::new().with_buffers(buffers).with_control(&mut control);
    SockRef::from(socket).recvmsg(&mut message, 0).unwrap();
    let len = message.control_len();
    // SAFETY: every octet was set to 0 above; the kernel wrote over some of them.
    let control: Vec<u8> =
        control[..len].iter().map(|octet| unsafe { octet.assume_init() }).collect();
    // cmsghdr: an 8-octet length, level and type of 4 octets each, the value.
    assert!(control.len() > 16, "the kernel tells the class: {control:?}");
    control[16]
}

#[test]
fn media_of_either_family_is_marked_on_the_wire() {
    let Some(mut config) = both_families() else { return };
    for dscp in [dataplane::DSCP_DEFAULT, 0, 34] {
        config.dscp = dscp;
        let mut rig = Rig::launch(config.clone(), dataplane::run);
        let call = place_across(&mut rig, 0);
        call.join(&mut rig);
        for socket in [&call.far_a.rtp, &call.far_a.rtcp] {
            SockRef::from(socket).set_recv_tos_v4(true).unwrap();
        }
        for socket in [&call.far_b.rtp, &call.far_b.rtcp] {
            SockRef::from(socket).set_recv_tclass_v6(true).unwrap();
        }
        call.far_a.rtp.send_to(&rtp(1), call.at_a.0).unwrap();
        call.far_a.rtcp.send_to(&rtcp(1), call.at_a.1).unwrap();
        call.far_b.rtp.send_to(&rtp(1), call.at_b.0).unwrap();
        call.far_b.rtcp.send_to(&rtcp(1), call.at_b.1).unwrap();
        let far = [&call.far_a.rtp, &call.far_a.rtcp, &call.far_b.rtp, &call.far_b.rtcp];
        assert_eq!(far.map(receive_class), [dscp << 2; 4]);
        rig.stop().unwrap();
    }
}

#[test]
fn added_delay_and_packets_per_wakeup_are_in_the_region() {
    if rig::wire::with(|_| ()).is_some() {
        // By frames some ports are sampled, not flows: `io/xdp/tests.rs`.
        return;
    }
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    call.join(&mut rig);
    let count = |rig: &Rig, histogram| rig.histogram(histogram).iter().sum::<u64>();
    assert_eq!(count(&rig, Histogram::AddedDelayUs), 0);
    assert_eq!(count(&rig, Histogram::PacketsPerWakeup), 0);
    let began = Instant::now();
    for seq in 0..200 {
        call.far_a.rtp.send_to(&rtp(seq), call.at_a.0).unwrap();
        receive(&call.far_b.rtp);
    }
    let lasted_us = began.elapsed().as_micros() as u64;
    await_that("each packet of a sampled flow", || count(&rig, Histogram::AddedDelayUs) == 200);
    let delays = rig.histogram(Histogram::AddedDelayUs);
    let longest = delays.iter().rposition(|count| *count > 0).unwrap();
    let longest_us = abi::histogram::upper_bound(longest.saturating_sub(1)).unwrap();
    assert!(longest_us <= lasted_us, "{longest_us}");
    // One at a time: each made a wake-up of its own.
    let wakeups = rig.histogram(Histogram::PacketsPerWakeup);
    assert_eq!((wakeups[1], count(&rig, Histogram::PacketsPerWakeup)), (200, 200));
    // The other direction is none of the sampled flows.
    for seq in 0..20 {
        call.far_b.rtp.send_to(&rtp(seq), call.at_b.0).unwrap();
        receive(&call.far_a.rtp);
    }
    await_that("their wake-ups", || count(&rig, Histogram::PacketsPerWakeup) == 220);
    assert_eq!(count(&rig, Histogram::AddedDelayUs), 200);
}

#[test]
fn what_the_far_side_reports_reaches_the_flow_table() {
    let mut rig = Rig::start();
    let call = Call::place(&mut rig, 0, 1);
    let received =
        Some(Format { codec: abi::Codec::Opus, payload_type: 111, rate_hz: 48_000, ptime_ms: 20 });
    rig.update(Update { received, ..call.update_a() });
    rig.update(call.update_b());
    call.far_b.rtp.send_to(&rtp(1), call.at_b.0).unwrap();
    receive(&call.far_a.rtp);
    let mut wide = rtp(1);
    wide[1] = 111;
    call.far_a.rtp.send_to(&wide, call.at_a.0).unwrap();
    assert_eq!(receive(&call.far_b.rtp).0, wide);
    let began = Instant::now();
    let mut report = rtcp(1);
    report[8..16].copy_from_slice(&[0, 0, 1, 2, 3, 4, 0, 0]);
    call.far_a.rtcp.send_to(&report, call.at_a.1).unwrap();
    receive(&call.far_b.rtcp);
    // B answers at once: of A's packets it lost 5, their jitter is 40 (RFC 3550 §6.4.2).
    let mut answer = vec![0x81, 201, 0, 7, 0, 0, 0, 9];
    answer.extend(rig::packet::SSRC.to_be_bytes());
    answer.extend([10, 0, 0, 5, 0, 0, 0, 9, 0, 0, 0, 40, 1, 2, 3, 4, 0, 0, 0, 0]);
    call.far_b.rtcp.send_to(&answer, call.at_b.1).unwrap();
    assert_eq!(receive(&call.far_a.rtcp).0, answer);
    let elapsed_us = began.elapsed().as_micros() as u64;
    await_that("the figures", || rig.snapshot(call.b).unwrap().far_lost == 5);
    let (a, b) = (rig.snapshot(call.a).unwrap(), rig.snapshot(call.b).unwrap());
    assert_eq!((b.far_jitter, b.rate_hz, a.rate_hz), (40, 8000, 48_000));
    assert!((1..=elapsed_us).contains(&b.rtt_us), "{} of {elapsed_us}", b.rtt_us);
    assert_eq!((a.far_lost, a.rtt_us, a.mos), (0, 0, 0), "of a side that reported nothing");
    assert!(drain(&call.far_a.rtp).is_empty());
}
