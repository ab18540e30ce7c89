//! One body per entry that takes octets from the network. Each is a plain function over octets, so
//! that a property test, a sweep and a fuzz target run the very same code. A body panics when the
//! crate breaks a promise; refusing octets is never a failure.

use rtp::demux::{Class, classify};
use rtp::packet::{RtpHeaderMut, RtpPacket, Ssrc};
use rtp::rtcp::{self, ReportBlock, RtcpCompound, RtcpPacket, Translation};
use rtp::srtp::{MasterKey, Mki, PACKET_MAX, Protect, Suite, Unprotect};

pub fn all(bytes: &[u8]) {
    demux(bytes);
    packet(bytes);
    rtcp(bytes);
    translate(bytes);
    unprotect(bytes);
    protect(bytes);
}

/// What a view accepts is never a runt, if its type is one that RFC 5761 §4 leaves to RTCP.
pub fn demux(bytes: &[u8]) {
    let class = classify(bytes);
    let rtcp = bytes.get(1).is_some_and(|packet_type| (192..=223).contains(packet_type));
    if RtpPacket::parse(bytes).is_ok() || rtcp && RtcpCompound::parse(bytes).is_ok() {
        assert_ne!(class, Class::Runt);
    }
    assert_eq!(class, classify(&bytes[..bytes.len().min(64)]), "only the beginning counts");
}

/// Parts add up, and a rewritten header is still accepted.
pub fn packet(bytes: &[u8]) {
    let Ok(packet) = RtpPacket::parse(bytes) else {
        return;
    };
    let parts = packet.header_len() + packet.payload().len() + packet.padding_len();
    assert_eq!(parts, bytes.len());
    assert!(packet.csrcs().count() < 16);
    assert!(packet.extension().is_none_or(|(_, data)| data.len() < packet.header_len()));
    assert!(!format!("{packet:?}").is_empty());

    let mut copy = bytes.to_vec();
    let mut header = RtpHeaderMut::parse(&mut copy).unwrap();
    header.set_ssrc(Ssrc(!packet.ssrc().0));
    let rewritten = RtpPacket::parse(&copy).unwrap();
    assert_eq!(rewritten.ssrc(), Ssrc(!packet.ssrc().0));
    assert_eq!(rewritten.payload(), packet.payload());
}

/// Everything that an accepted compound offers is walked; nothing is longer than the datagram.
pub fn rtcp(bytes: &[u8]) {
    let Ok(compound) = RtcpCompound::parse(bytes) else {
        return;
    };
    assert_eq!(compound.sender_ssrc().0.to_be_bytes(), bytes[4..8]);
    assert!(compound.iter().count() >= 1);
    for packet in &compound {
        let octets = match packet {
            RtcpPacket::SenderReport(sr) => 24 * sr.blocks().count(),
            RtcpPacket::ReceiverReport(rr) => 24 * rr.blocks().count(),
            RtcpPacket::Sdes(sdes) => {
                let items = sdes.chunks().flat_map(|chunk| chunk.items());
                items.map(|item| 2 + item.text.len()).sum()
            }
            RtcpPacket::Bye(bye) => 4 * bye.sources().count() + bye.reason().map_or(0, <[u8]>::len),
            RtcpPacket::App(app) => app.data.len(),
            RtcpPacket::Feedback(feedback) => feedback.fci.len(),
            RtcpPacket::ExtendedReport(report) => report.blocks.len(),
            RtcpPacket::Unknown(unknown) => unknown.body.len(),
        };
        assert!(octets < bytes.len());
    }
}

/// Translation writes everything or nothing, what it leaves can be read, and both sources are
/// renamed wherever a reader finds them.
pub fn translate(bytes: &[u8]) {
    let Ok(before) = RtcpCompound::parse(bytes) else {
        let mut buf = bytes.to_vec();
        assert!(rtcp::translate(&mut buf, None, None).is_err());
        return;
    };
    let from_ssrc = before.sender_ssrc();
    let subject = blocks(&before).first().map_or(Ssrc(3), |block| block.ssrc);
    let [to_ssrc, back] = [Ssrc(!from_ssrc.0), Ssrc(!subject.0)];
    let sent = Translation { from_ssrc, to_ssrc, seq_offset: 1, timestamp_offset: 77 };
    let reported =
        Translation { from_ssrc: back, to_ssrc: subject, seq_offset: 999, timestamp_offset: 1 };
    let mut buf = bytes.to_vec();
    if rtcp::translate(&mut buf, Some(&sent), Some(&reported)).is_err() {
        assert_eq!(buf, bytes, "written in spite of an error");
        return;
    }
    let after = RtcpCompound::parse(&buf).unwrap();
    assert_eq!(after.iter().count(), before.iter().count());
    let (before, after) = (blocks(&before), blocks(&after));
    assert_eq!(after.len(), before.len());
    for (after, before) in after.iter().zip(before) {
        let (ssrc, offset) = if before.ssrc == subject { (back, 999) } else { (before.ssrc, 0) };
        let seq = (before.highest_seq as u16).wrapping_sub(offset);
        assert_eq!((after.ssrc, after.highest_seq as u16), (ssrc, seq));
    }
}

fn blocks(compound: &RtcpCompound<'_>) -> Vec<ReportBlock> {
    let mut found = Vec::new();
    for packet in compound {
        match packet {
            RtcpPacket::SenderReport(report) => found.extend(report.blocks()),
            RtcpPacket::ReceiverReport(report) => found.extend(report.blocks()),
            _ => {}
        }
    }
    found
}

/// Without the key nothing is accepted, and refused octets stay as they are.
pub fn unprotect(bytes: &[u8]) {
    for (suite, master) in masters() {
        let mut unprotect = Unprotect::new(&master);
        let mut buf = bytes.to_vec();
        assert!(unprotect.rtp(&mut buf).is_err(), "{suite:?} accepted RTP without the key");
        assert_eq!(buf, bytes);
        assert!(unprotect.rtcp(&mut buf).is_err(), "{suite:?} accepted RTCP without the key");
        assert_eq!(buf, bytes);
    }
}

/// What is protected comes back; what is not stays as it is.
pub fn protect(bytes: &[u8]) {
    for (_, master) in masters() {
        for rtcp in [false, true] {
            let (mut protect, mut unprotect) = (Protect::new(&master), Unprotect::new(&master));
            let mut buf = [bytes, &[0; Suite::OVERHEAD_MAX]].concat();
            let end = if rtcp {
                protect.rtcp(&mut buf, bytes.len())
            } else {
                protect.rtp(&mut buf, bytes.len())
            };
            let Ok(end) = end else {
                assert_eq!(buf[..bytes.len()], *bytes);
                continue;
            };
            assert!(end <= bytes.len() + Suite::OVERHEAD_MAX);
            if end > PACKET_MAX {
                continue;
            }
            let protected = &mut buf[..end];
            let plain = if rtcp { unprotect.rtcp(protected) } else { unprotect.rtp(protected) };
            assert_eq!(plain.unwrap().bytes(), bytes);
        }
    }
}

/// A key of every suite, without and with an MKI.
fn masters() -> impl Iterator<Item = (Suite, MasterKey)> {
    Suite::ALL.into_iter().flat_map(|suite| {
        let master = || {
            let (key, salt) = ([0x42; 32], [0x17; 14]);
            MasterKey::new(suite, &key[..suite.key_len()], &salt[..suite.salt_len()]).unwrap()
        };
        let mki = Mki::new(0x8090, 3).unwrap();
        [(suite, master()), (suite, master().with_mki(mki))]
    })
}
