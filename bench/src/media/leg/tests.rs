//! Every counter of a leg, each with the fault that it is there for.

use std::net::{Ipv4Addr, UdpSocket};

use rtp::srtp::Suite;

use super::super::key::SUITES;
use super::super::socket::Batch;
use super::*;

const FRAMES: u32 = 100;

/// Two legs of call `call`, ready for each other.
fn pair(call: u32, suite: Option<Suite>) -> (Leg, Leg) {
    let sockets = || MediaSockets::bind(Ipv4Addr::LOCALHOST.into()).unwrap();
    let (near, far) = (sockets(), sockets());
    let (near_at, far_at) = (near.local().unwrap(), far.local().unwrap());
    let keys = suite.map(|suite| (SrtpKey::fresh(suite).unwrap(), SrtpKey::fresh(suite).unwrap()));
    let law = Law::A;
    let leg = |sockets, remote, keys, sends: Way| {
        let setup = LegSetup { call, sockets, remote, law, frames: FRAMES, keys };
        Leg::new(setup, sends, &Tone::new(sends.tone_hz(), law)).unwrap()
    };
    let near_keys = keys.clone().map(|(ours, theirs)| LegKeys { ours, theirs });
    let far_keys = keys.map(|(theirs, ours)| LegKeys { ours, theirs });
    (
        leg(near, far_at, near_keys, Way::InsecureToSecure),
        leg(far, near_at, far_keys, Way::SecureToInsecure),
    )
}

/// All that `from` sends, packet by packet, caught at a socket of its own.
fn packets(from: &mut Leg) -> Vec<Vec<u8>> {
    let (mut batch, mut out) = (Batch::<2048>::new(), Vec::new());
    let catch = MediaSockets::bind(Ipv4Addr::LOCALHOST.into()).unwrap();
    from.sender.remote = catch.local().unwrap();
    for frame in 0..FRAMES {
        let more = from.send_next(u64::from(frame) + 1);
        assert_eq!(more, frame + 1 < FRAMES);
        batch.receive(&catch.rtp).unwrap();
        out.extend(batch.datagrams().map(|(datagram, _)| datagram.to_vec()));
    }
    assert!(!from.send_next(0));
    assert_eq!(from.counts.sent, u64::from(FRAMES));
    assert_eq!(out.len(), FRAMES as usize);
    out
}

fn take_all(leg: &mut Leg, packets: &[Vec<u8>]) {
    for packet in packets {
        leg.take_rtp(&mut packet.clone());
    }
}

fn perfect() -> LegCounts {
    LegCounts { received: u64::from(FRAMES), tone_heard: true, ..LegCounts::default() }
}

#[test]
fn a_clean_flow_counts_nothing_but_packets() {
    // Call 7 wraps its sequence number.
    for call in [0, 7] {
        for suite in [None].into_iter().chain(SUITES.map(Some)) {
            let (mut near, mut far) = pair(call, suite);
            for mut packet in packets(&mut near) {
                assert!(far.take_rtp(&mut packet).is_some());
            }
            assert_eq!(far.counts, perfect(), "{suite:?}");
            assert!(far.is_complete());
            assert_eq!(far.finish(), perfect());
        }
    }
}

#[test]
fn loss_duplication_and_reordering_are_told_apart() {
    for suite in [None].into_iter().chain(SUITES.map(Some)) {
        let (mut near, mut far) = pair(1, suite);
        let mut sent = packets(&mut near);
        sent.remove(30);
        sent.swap(10, 11);
        let copy = sent[20].clone();
        sent.insert(25, copy);
        take_all(&mut far, &sent);
        let expected = LegCounts { received: 99, duplicates: 1, reordered: 1, ..perfect() };
        assert_eq!(far.counts, expected, "{suite:?}");
        assert!(!far.is_complete());
        assert_eq!(far.finish().first_missing, Some(30));
    }
}

#[test]
fn a_changed_bit_is_seen_wherever_it_is() {
    let (mut near, mut far) = pair(1, None);
    let mut sent = packets(&mut near);
    sent[5][100] ^= 1; // audio
    sent[6][165] ^= 1; // the mark
    sent[7][1] ^= 1; // payload type
    sent[8][3] ^= 1; // sequence number
    sent[9][7] ^= 1; // timestamp
    sent[10][11] ^= 1; // SSRC
    sent[11].truncate(40);
    take_all(&mut far, &sent);
    assert_eq!(far.counts, LegCounts { received: 97, corrupted: 7, ..perfect() });

    for suite in SUITES {
        let (mut near, mut far) = pair(1, Some(suite));
        let mut sent = packets(&mut near);
        sent[5][100] ^= 1;
        sent[6].truncate(100);
        take_all(&mut far, &sent);
        let expected = LegCounts { received: 98, auth_failures: 2, ..perfect() };
        assert_eq!(far.counts, expected, "{suite:?}");
    }
}

#[test]
fn another_call_and_the_wrong_way_are_misdelivered() {
    let (mut near, _) = pair(1, None);
    let (_, mut far) = pair(2, None);
    take_all(&mut far, &packets(&mut near));
    assert_eq!(far.counts, LegCounts { misdelivered: 100, ..LegCounts::default() });
}

#[test]
fn plain_rtp_on_a_secure_port_is_counted() {
    let (mut plain_near, _) = pair(1, None);
    let marked = packets(&mut plain_near);
    for suite in SUITES {
        let (mut near, mut far) = pair(1, Some(suite));
        take_all(&mut far, &packets(&mut near));
        take_all(&mut far, &marked);
        assert_eq!(far.counts, LegCounts { plain: 100, ..perfect() }, "{suite:?}");
        // A tone without a mark of ours, as a transcoder would make it, and under the SSRC and
        // sequence number of an accepted packet.
        let mut tone = marked[3].clone();
        Tone::new(Way::InsecureToSecure.tone_hz(), Law::Mu).fill(77, &mut tone[12..]);
        far.take_rtp(&mut tone);
        assert_eq!(far.counts.plain, 101, "{suite:?}");
        // Ciphertext under another key is no plain audio.
        let (mut other, _) = pair(1, Some(suite));
        take_all(&mut far, &packets(&mut other));
        assert_eq!((far.counts.plain, far.counts.auth_failures), (101, 100), "{suite:?}");
    }
}

#[test]
fn ciphertext_on_a_plain_port_is_corrupted() {
    let (mut near, _) = pair(1, Some(Suite::AeadAes128Gcm));
    let (_, mut far) = pair(1, None);
    take_all(&mut far, &packets(&mut near));
    assert_eq!(far.counts, LegCounts { corrupted: 100, ..LegCounts::default() });
}

#[test]
fn plain_rtcp_on_a_secure_port_is_counted() {
    // A receiver report without blocks, RFC 3550 §6.4.2.
    let report = [0x80, 201, 0, 1, 1, 2, 3, 4];
    let (mut secure, _) = pair(1, Some(Suite::AesCm128HmacSha1_80));
    secure.take_rtcp(&mut report.clone());
    assert_eq!(secure.counts.plain, 1);
    let (mut plain, _) = pair(1, None);
    plain.take_rtcp(&mut report.clone());
    assert_eq!(plain.counts, LegCounts::default());
    let (protecting, mut far) = pair(1, Some(Suite::AesCm128HmacSha1_80));
    drop(protecting);
    far.take_rtcp(&mut [0x80, 201, 0, 1, 1, 2, 3, 4, 0x80, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
    assert_eq!((far.counts.plain, far.counts.auth_failures), (0, 1));
}

#[test]
fn a_packet_injected_by_a_stranger_is_seen_through_the_socket() {
    let (mut plain, _) = pair(4, None);
    let packet = packets(&mut plain).remove(0);
    let (_, mut secure) = pair(4, Some(Suite::AeadAes256Gcm));
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(&packet, secure.sockets.local().unwrap()).unwrap();
    let mut batch = Batch::<2048>::new();
    batch.receive(&secure.sockets.rtp).unwrap();
    for (datagram, _) in batch.datagrams() {
        secure.take_rtp(datagram);
    }
    assert_eq!(secure.counts, LegCounts { plain: 1, ..LegCounts::default() });
}
