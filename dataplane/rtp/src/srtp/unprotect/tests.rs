use super::*;
use crate::packet::Ssrc;
use crate::srtp::tests::{master, rtcp_packet, rtp_packet};
use crate::srtp::{Mki, Protect, SSRC_MAX, Suite};

struct Pair {
    protect: Protect,
    unprotect: Unprotect,
}

fn pair(suite: Suite) -> Pair {
    let master = master(suite);
    Pair { protect: Protect::new(&master), unprotect: Unprotect::new(&master) }
}

impl Pair {
    fn srtp(&mut self, ssrc: u32, seq: u16) -> Vec<u8> {
        let mut buf = [&rtp_packet(ssrc, seq)[..], &[0; Suite::OVERHEAD_MAX]].concat();
        let end = self.protect.rtp(&mut buf, 172).unwrap();
        buf.truncate(end);
        buf
    }

    fn srtcp(&mut self, ssrc: u32) -> Vec<u8> {
        let packet = rtcp_packet(ssrc);
        let mut buf = [&packet[..], &[0; Suite::OVERHEAD_MAX]].concat();
        let end = self.protect.rtcp(&mut buf, packet.len()).unwrap();
        buf.truncate(end);
        buf
    }

    /// The error, after a look that buffer and context are as before.
    fn refused(&mut self, rtcp: bool, packet: &[u8]) -> UnprotectError {
        let before = format!("{:?}", self.unprotect.ssrcs);
        let mut buf = packet.to_vec();
        let unprotect = &mut self.unprotect;
        let taken = if rtcp { unprotect.rtcp(&mut buf) } else { unprotect.rtp(&mut buf) };
        let error = taken.err().expect("accepted");
        assert_eq!(buf, packet, "the buffer changed");
        assert_eq!(format!("{:?}", self.unprotect.ssrcs), before, "the context changed");
        error
    }
}

#[test]
fn what_was_protected_comes_back() {
    for suite in Suite::ALL {
        let mut pair = pair(suite);
        let mut packet = pair.srtp(1, 1);
        assert_ne!(packet[12..172], rtp_packet(1, 1)[12..]);
        let plain = pair.unprotect.rtp(&mut packet).unwrap();
        assert_eq!((plain.len(), plain.bytes()), (172, &rtp_packet(1, 1)[..]));

        let mut packet = pair.srtcp(1);
        assert_ne!(packet[8..20], rtcp_packet(1)[8..]);
        let plain = pair.unprotect.rtcp(&mut packet).unwrap();
        assert_eq!((plain.len(), plain.bytes()), (20, &rtcp_packet(1)[..]));
    }
}

/// Every bit of a packet is covered: by the tag, or because the tag is then computed otherwise.
#[test]
fn no_flipped_bit_is_accepted_and_none_changes_anything() {
    for suite in Suite::ALL {
        let mut pair = pair(suite);
        let (srtp, srtcp) = (pair.srtp(1, 1), pair.srtcp(1));
        for (rtcp, packet) in [(false, srtp), (true, srtcp)] {
            for bit in 0..packet.len() * 8 {
                let mut forged = packet.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                pair.refused(rtcp, &forged);
            }
            let mut whole = packet;
            let unprotect = &mut pair.unprotect;
            let taken = if rtcp { unprotect.rtcp(&mut whole) } else { unprotect.rtp(&mut whole) };
            assert!(taken.is_ok(), "{suite:?}: the unchanged packet is still welcome");
        }
    }
}

#[test]
fn no_cut_packet_is_accepted_and_none_changes_anything() {
    for suite in Suite::ALL {
        let mut pair = pair(suite);
        let (srtp, srtcp) = (pair.srtp(1, 1), pair.srtcp(1));
        for (rtcp, packet) in [(false, srtp), (true, srtcp)] {
            for len in 0..packet.len() {
                let error = pair.refused(rtcp, &packet[..len]);
                let fits = len
                    >= if rtcp { 8 + 4 + suite.rtcp_tag_len() } else { 12 + suite.rtp_tag_len() };
                assert!(fits || error == UnprotectError::Malformed, "{suite:?} {rtcp} {len}");
            }
        }
    }
}

#[test]
fn each_fault_has_its_name() {
    for suite in Suite::ALL {
        let mut pair = pair(suite);
        let (one, rtcp) = (pair.srtp(1, 1), pair.srtcp(1));
        let mut forged = one.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(pair.refused(false, &forged), UnprotectError::Authentication);
        assert!(pair.unprotect.rtp(&mut one.clone()).is_ok());
        assert_eq!(pair.refused(false, &one), UnprotectError::Replay);
        assert_eq!(pair.refused(false, &forged), UnprotectError::Replay, "before the tag");
        assert!(pair.unprotect.rtcp(&mut rtcp.clone()).is_ok());
        assert_eq!(pair.refused(true, &rtcp), UnprotectError::Replay);
        assert_eq!(pair.refused(false, &[0x80; 11]), UnprotectError::Malformed);
        let long = [&one[..], &[0; PACKET_MAX]].concat();
        assert_eq!(pair.refused(false, &long), UnprotectError::Malformed);
        assert_eq!(pair.refused(true, &long), UnprotectError::Malformed);
    }
}

/// Both contexts are put where the sequence number wraps for the last time.
#[test]
fn rtp_stops_at_2_to_the_48() {
    for suite in Suite::ALL {
        let mut pair = pair(suite);
        let mut plain = rtp_packet(1, 0);
        plain.resize(200, 0);
        let Ok(seen) = pair.unprotect.ssrcs.entry(Ssrc(1), Of::Rtp) else {
            panic!("no slot left");
        };
        seen.rtp.commit(seen.rtp.check((1 << 48) - 2).unwrap());
        assert_eq!(pair.refused(false, &plain), UnprotectError::KeyExhausted);
    }
}

#[test]
fn srtcp_in_the_clear_is_refused() {
    for suite in Suite::ALL {
        let mut pair = pair(suite);
        let packet = pair.srtcp(1);
        let word = if suite.salt_len() == 12 { packet.len() - 4 } else { packet.len() - 14 };
        let mut clear = packet.clone();
        clear[word] &= 0x7f;
        assert_eq!(pair.refused(true, &clear), UnprotectError::Malformed);
        let plain = [&rtcp_packet(1)[..], &[0; 20]].concat();
        assert_eq!(pair.refused(true, &plain), UnprotectError::Malformed);
    }
}

/// RFC 3711 §3.1, §3.4, RFC 7714 §8.2, §9.2: where the MKI stands.
#[test]
fn an_mki_is_sent_and_demanded() {
    for suite in Suite::ALL {
        let gcm = suite.salt_len() == 12;
        for (value, len) in [(7, 1), (0x0203, 2), (0x04_0506, 3), (0x0708_090a, 4)] {
            let mki = Mki::new(value, len).unwrap();
            let len = mki.len();
            let keyed = || master(suite).with_mki(mki);
            let (protect, unprotect) = (Protect::new(&keyed()), Unprotect::new(&keyed()));
            let (mut with, mut without) = (Pair { protect, unprotect }, pair(suite));
            let rows = [
                (false, with.srtp(1, 1), without.srtp(1, 1), suite.rtp_tag_len()),
                (true, with.srtcp(1), without.srtcp(1), suite.rtcp_tag_len()),
            ];
            for (rtcp, packet, plain, tag_len) in rows {
                let at = if gcm { plain.len() } else { plain.len() - tag_len };
                assert_eq!(packet, [&plain[..at], mki.octets(), &plain[at..]].concat());

                with.refused(rtcp, &plain);
                for bit in 0..8 * len {
                    let mut other = packet.clone();
                    other[at + bit / 8] ^= 1 << (bit % 8);
                    assert_eq!(with.refused(rtcp, &other), UnprotectError::Authentication);
                }
                without.refused(rtcp, &packet);
                let mut taken = packet.clone();
                let unprotect = &mut with.unprotect;
                assert!(
                    if rtcp { unprotect.rtcp(&mut taken) } else { unprotect.rtp(&mut taken) }
                        .is_ok()
                );
            }
        }
    }
}

/// Every suite authenticates and numbers SRTCP, whose index counts per SSRC and has its E flag set.
#[test]
fn srtcp_carries_its_index_e_flag_and_tag() {
    for suite in Suite::ALL {
        let mut pair = pair(suite);
        let (tag, gcm) = (suite.rtcp_tag_len(), suite.salt_len() == 12);
        for (ssrc, index) in [(1, 0u32), (1, 1), (2, 0), (1, 2)] {
            let packet = pair.srtcp(ssrc);
            assert_eq!(packet.len(), 20 + 4 + tag);
            let word = if gcm { 20 + tag } else { 20 };
            assert_eq!(packet[word..word + 4], (1 << 31 | index).to_be_bytes(), "{suite:?}");
            let place = if gcm { 20..20 + tag } else { 24..24 + tag };
            for at in place {
                let mut forged = packet.clone();
                forged[at] ^= 0x80;
                assert_eq!(pair.refused(true, &forged), UnprotectError::Authentication);
            }
            let mut other_index = packet.clone();
            other_index[word + 3] ^= 0x40;
            assert_eq!(pair.refused(true, &other_index), UnprotectError::Authentication);
            assert!(pair.unprotect.rtcp(&mut packet.clone()).is_ok());
            assert_eq!(pair.refused(true, &packet), UnprotectError::Replay);
        }
    }
}

/// An authentic packet of a ninth source finds no place; a forged one of any source takes none.
#[test]
fn ssrc_max_sources_and_not_one_more() {
    for suite in Suite::ALL {
        let mut pair = pair(suite);
        for ssrc in 0..100 {
            let mut forged = rtp_packet(ssrc, 1);
            forged.extend([0; 16]);
            assert_eq!(pair.refused(false, &forged), UnprotectError::Authentication);
        }
        for ssrc in 0..SSRC_MAX as u32 {
            let mut packet = pair.srtp(ssrc, 1);
            assert!(pair.unprotect.rtp(&mut packet).is_ok());
        }
        let mut other = Pair { protect: Protect::new(&master(suite)), ..pair };
        let (rtp, rtcp) = (other.srtp(99, 1), other.srtcp(99));
        assert_eq!(other.refused(false, &rtp), UnprotectError::SsrcLimit);
        assert_eq!(other.refused(true, &rtcp), UnprotectError::SsrcLimit);
        let mut known = other.srtp(0, 2);
        assert!(other.unprotect.rtp(&mut known).is_ok());
    }
}

#[test]
fn the_keys_of_one_suite_open_no_other() {
    for sender in Suite::ALL {
        for receiver in Suite::ALL.into_iter().filter(|suite| *suite != sender) {
            let mut pair = Pair {
                protect: Protect::new(&master(sender)),
                unprotect: Unprotect::new(&master(receiver)),
            };
            // Two AES-CM suites of one key length have the same keys, and differ by the RTP tag.
            let lengths = |suite: Suite| (suite.key_len(), suite.salt_len());
            let same_rtcp = lengths(sender) == lengths(receiver) && sender.salt_len() == 14;
            let (rtp, rtcp) = (pair.srtp(1, 1), pair.srtcp(1));
            assert_eq!(pair.refused(false, &rtp), UnprotectError::Authentication);
            if !same_rtcp {
                pair.refused(true, &rtcp);
            }
        }
    }
}

/// RFC 3711 §3.3: a packet of an earlier turn is authenticated under the earlier rollover counter.
#[test]
fn packets_around_a_wrap_find_their_rollover_counter() {
    for suite in Suite::ALL {
        let mut pair = pair(suite);
        let before: Vec<_> = (65_530..=65_535).map(|seq| pair.srtp(1, seq)).collect();
        let after: Vec<_> = (0..6).map(|seq| pair.srtp(1, seq)).collect();
        let order =
            [&before[0], &after[0], &before[2], &after[3], &before[5], &after[1], &before[1]];
        for packet in order {
            assert!(pair.unprotect.rtp(&mut packet.clone()).is_ok());
        }
        for packet in order {
            assert_eq!(pair.refused(false, packet), UnprotectError::Replay);
        }
    }
}

/// RFC 3711 §3.3.1: the rollover counter lives on. A new context is the control: it begins at 0.
#[test]
fn indices_live_through_a_re_keying() {
    for suite in Suite::ALL {
        let mut pair = pair(suite);
        for seq in [0, 30_000, 60_000, 20_000] {
            let mut packet = pair.srtp(1, seq);
            assert!(pair.unprotect.rtp(&mut packet).is_ok());
        }
        let (old_rtp, old_rtcp) = (pair.srtp(1, 20_001), pair.srtcp(1));

        let (key, salt) = ([0x77; 32], [0x66; 14]);
        let next =
            MasterKey::new(suite, &key[..suite.key_len()], &salt[..suite.salt_len()]).unwrap();
        pair.protect.rekey(&next);
        pair.unprotect.rekey(&next);
        assert_eq!(pair.refused(false, &old_rtp), UnprotectError::Authentication);
        assert_eq!(pair.refused(true, &old_rtcp), UnprotectError::Authentication);

        let (rtp, rtcp) = (pair.srtp(1, 20_002), pair.srtcp(1));
        let word = if suite.salt_len() == 12 { rtcp.len() - 4 } else { rtcp.len() - 14 };
        assert_eq!(rtcp[word..word + 4], [0x80, 0, 0, 1], "the SRTCP index goes on");
        assert!(Unprotect::new(&next).rtp(&mut rtp.clone()).is_err(), "rollover counter 0");
        assert!(pair.unprotect.rtp(&mut rtp.clone()).is_ok());
        assert!(pair.unprotect.rtcp(&mut rtcp.clone()).is_ok());
        assert_eq!(pair.refused(false, &rtp), UnprotectError::Replay);
    }
}

#[test]
fn an_authentic_packet_can_be_rewritten_in_place() {
    let mut pair = pair(Suite::AeadAes256Gcm);
    let mut packet = pair.srtp(1, 1);
    let mut plain = pair.unprotect.rtp(&mut packet).unwrap();
    let mut header = crate::packet::RtpHeaderMut::parse(plain.bytes_mut()).unwrap();
    header.set_ssrc(Ssrc(2));
    assert_eq!(plain.bytes(), rtp_packet(2, 1));
}
