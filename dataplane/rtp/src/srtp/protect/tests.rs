use super::*;
use crate::packet::Ssrc;
use crate::srtp::tests::{master, rtcp_packet, rtp_packet};
use crate::srtp::{SSRC_MAX, Suite, Unprotect};

fn with_room(packet: &[u8]) -> Vec<u8> {
    [packet, &[0; Suite::OVERHEAD_MAX]].concat()
}

fn rtp(protect: &mut Protect, ssrc: u32, seq: u16) -> Result<usize, ProtectError> {
    protect.rtp(&mut with_room(&rtp_packet(ssrc, seq)), 172)
}

fn rtcp(protect: &mut Protect, ssrc: u32) -> Result<usize, ProtectError> {
    let packet = rtcp_packet(ssrc);
    protect.rtcp(&mut with_room(&packet), packet.len())
}

/// The index that an SRTCP packet of `ssrc` leaves under.
fn rtcp_index(protect: &mut Protect, ssrc: u32) -> u32 {
    let packet = rtcp_packet(ssrc);
    let mut buf = with_room(&packet);
    let end = protect.rtcp(&mut buf, packet.len()).unwrap();
    u32::from_be_bytes(*buf[..end].last_chunk().unwrap()) & 0x7fff_ffff
}

/// Puts a context where only 2^48 packets would bring it.
fn resume(protect: &mut Protect, ssrc: u32, highest: u64) {
    let Ok(sent) = protect.ssrcs.entry(Ssrc(ssrc), Of::Rtp) else {
        panic!("no slot left");
    };
    sent.rtp = Window::EMPTY;
    sent.rtp.commit(sent.rtp.check(highest).unwrap());
}

#[test]
fn lengths_grow_by_what_the_suite_says() {
    for suite in Suite::ALL {
        let mut protect = Protect::new(&master(suite));
        assert_eq!(rtp(&mut protect, 1, 1), Ok(172 + suite.rtp_tag_len()));
        assert_eq!(rtcp(&mut protect, 1), Ok(20 + 4 + suite.rtcp_tag_len()));
    }
}

#[test]
fn one_index_is_never_used_twice() {
    for suite in Suite::ALL {
        let mut protect = Protect::new(&master(suite));
        assert!(rtp(&mut protect, 1, 1000).is_ok());
        assert_eq!(rtp(&mut protect, 1, 1000), Err(ProtectError::IndexReused));
        assert!(rtp(&mut protect, 1, 999).is_ok(), "late");
        assert_eq!(rtp(&mut protect, 1, 999), Err(ProtectError::IndexReused));
        assert!(rtp(&mut protect, 1, 1100).is_ok());
        assert!(rtp(&mut protect, 1, 1100 - 127).is_ok(), "oldest of the window");
        assert_eq!(rtp(&mut protect, 1, 1100 - 128), Err(ProtectError::IndexReused), "too old");
        assert!(rtp(&mut protect, 2, 1000).is_ok(), "another SSRC has its own indices");
    }
}

/// The sequence number comes around, the index does not.
#[test]
fn a_whole_turn_of_sequence_numbers_uses_new_key_stream() {
    for suite in Suite::ALL {
        let mut protect = Protect::new(&master(suite));
        let mut packets = Vec::new();
        for seq in [0u16, 30_000, 60_000, 0, 30_000, 60_000] {
            let mut buf = with_room(&rtp_packet(1, seq));
            protect.rtp(&mut buf, 172).unwrap();
            packets.push(buf);
        }
        for (first, second) in [(0, 3), (1, 4), (2, 5)] {
            assert_ne!(packets[first][12..172], packets[second][12..172], "{suite:?}");
        }
    }
}

/// The same key handed over again, as a refresh of the session description does.
#[test]
fn re_keying_with_the_same_key_reuses_no_index() {
    for suite in Suite::ALL {
        let mut protect = Protect::new(&master(suite));
        assert!(rtp(&mut protect, 1, 1000).is_ok());
        protect.rekey(&master(suite));
        assert_eq!(rtp(&mut protect, 1, 1000), Err(ProtectError::IndexReused));
        assert!(rtp(&mut protect, 1, 1001).is_ok());
    }
}

#[test]
fn too_little_room_changes_neither_buffer_nor_context() {
    for suite in Suite::ALL {
        let mut protect = Protect::new(&master(suite));
        let (packet, compound) = (rtp_packet(1, 7), rtcp_packet(1));
        for room in 0..suite.rtp_tag_len() {
            let mut buf = [&packet[..], &vec![9; room]].concat();
            let before = buf.clone();
            assert_eq!(protect.rtp(&mut buf, 172), Err(ProtectError::NoRoom));
            assert_eq!(buf, before);
        }
        for room in 0..suite.rtcp_tag_len() + 4 {
            let mut buf = [&compound[..], &vec![9; room]].concat();
            let before = buf.clone();
            assert_eq!(protect.rtcp(&mut buf, compound.len()), Err(ProtectError::NoRoom));
            assert_eq!(buf, before);
        }
        assert!(rtp(&mut protect, 1, 7).is_ok(), "the index is still free");
        let mut exact = [&compound[..], &vec![9; suite.rtcp_tag_len() + 4]].concat();
        assert_eq!(protect.rtcp(&mut exact, compound.len()), Ok(exact.len()));
        let word = if suite.salt_len() == 12 { exact.len() - 4 } else { exact.len() - 14 };
        assert_eq!(exact[word..word + 4], [0x80, 0, 0, 0], "the first SRTCP index is 0");
    }
}

#[test]
fn no_header_is_malformed() {
    let mut protect = Protect::new(&master(Suite::AesCm128HmacSha1_80));
    let packet = with_room(&rtp_packet(1, 1));
    for len in 0..12 {
        assert_eq!(protect.rtp(&mut packet.clone(), len), Err(ProtectError::Malformed));
    }
    for len in 0..8 {
        assert_eq!(protect.rtcp(&mut packet.clone(), len), Err(ProtectError::Malformed));
    }
    let beyond = packet.len() + 1;
    assert_eq!(protect.rtp(&mut packet.clone(), beyond), Err(ProtectError::Malformed));
    let mut version_1 = packet.clone();
    version_1[0] = 0x40;
    assert_eq!(protect.rtp(&mut version_1, 172), Err(ProtectError::Malformed));
    assert_eq!(protect.rtcp(&mut version_1, 172), Err(ProtectError::Malformed));
}

#[test]
fn the_longest_packet_is_packet_max() {
    for suite in Suite::ALL {
        let mut protect = Protect::new(&master(suite));
        let mut buf = rtp_packet(1, 1);
        buf.resize(PACKET_MAX + 1 + Suite::OVERHEAD_MAX, 7);
        assert_eq!(protect.rtp(&mut buf, PACKET_MAX + 1), Err(ProtectError::Malformed));
        let end = PACKET_MAX + suite.rtp_tag_len();
        assert_eq!(protect.rtp(&mut buf, PACKET_MAX), Ok(end));
    }
}

#[test]
fn ssrc_max_sources_and_not_one_more() {
    let mut protect = Protect::new(&master(Suite::AeadAes128Gcm));
    for ssrc in 0..SSRC_MAX as u32 {
        assert!(rtp(&mut protect, ssrc, 1).is_ok());
    }
    assert_eq!(rtp(&mut protect, 99, 1), Err(ProtectError::SsrcLimit));
    assert_eq!(rtcp(&mut protect, 99), Err(ProtectError::SsrcLimit));
    for ssrc in 0..SSRC_MAX as u32 {
        assert!(rtp(&mut protect, ssrc, 2).is_ok(), "the known ones go on");
        assert!(rtcp(&mut protect, ssrc).is_ok(), "RTP and RTCP share a slot");
    }
}

/// However many report before the media begins, and whether its source is one of them or not.
#[test]
fn the_first_source_of_media_has_its_place() {
    for ssrc in [0, 50] {
        let mut protect = Protect::new(&master(Suite::AeadAes128Gcm));
        for reporter in 0..SSRC_MAX as u32 - 1 {
            assert_eq!(rtcp_index(&mut protect, reporter), 0);
        }
        assert_eq!(rtcp(&mut protect, 99), Err(ProtectError::SsrcLimit));
        assert!(rtp(&mut protect, ssrc, 1).is_ok());
        assert_eq!(rtp(&mut protect, ssrc, 1), Err(ProtectError::IndexReused));
        assert_eq!(rtcp_index(&mut protect, ssrc), u32::from(ssrc == 0), "indices move along");
        for reporter in 1..SSRC_MAX as u32 - 1 {
            assert_eq!(rtcp_index(&mut protect, reporter), 1);
        }
        assert_eq!(rtcp(&mut protect, 99).is_ok(), ssrc == 0, "the place that became free");
    }
}

#[test]
fn rtp_stops_at_2_to_the_48() {
    for suite in Suite::ALL {
        let mut protect = Protect::new(&master(suite));
        resume(&mut protect, 1, (1 << 48) - 2);
        assert!(rtp(&mut protect, 1, 65_535).is_ok(), "the last index");
        assert_eq!(rtp(&mut protect, 1, 0), Err(ProtectError::KeyExhausted));
        assert_eq!(rtp(&mut protect, 1, 1), Err(ProtectError::KeyExhausted));
        assert_eq!(rtp(&mut protect, 1, 65_535), Err(ProtectError::IndexReused));
    }
}

#[test]
fn rtcp_stops_at_2_to_the_31() {
    for suite in Suite::ALL {
        let mut protect = Protect::new(&master(suite));
        assert!(rtcp(&mut protect, 1).is_ok());
        let Ok(sent) = protect.ssrcs.entry(Ssrc(1), Of::Rtcp) else {
            panic!("known SSRC has no slot");
        };
        sent.rtcp_next = RTCP_INDEX_MAX;
        let packet = rtcp_packet(1);
        let mut buf = with_room(&packet);
        let end = protect.rtcp(&mut buf, packet.len()).unwrap();
        assert!(Unprotect::new(&master(suite)).rtcp(&mut buf[..end]).is_ok(), "the last index");
        for _ in 0..3 {
            assert_eq!(rtcp(&mut protect, 1), Err(ProtectError::KeyExhausted));
        }
        assert!(rtcp(&mut protect, 2).is_ok(), "another SSRC has its own indices");
    }
}
