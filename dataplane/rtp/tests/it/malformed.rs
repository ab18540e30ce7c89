//! "A panic is our bug, never bad input": every entry meets every length, lying lengths, flipped
//! bits and noise.

use crate::bodies;
use crate::generate::{self, Rng};
use proptest::prelude::*;
use rtp::srtp::{MasterKey, Protect, Suite, Unprotect};

/// Longest sweep: more than every fixed part, CSRC list and tag together.
const LEN_MAX: usize = 300;

#[test]
fn every_length_of_every_filling_through_every_entry() {
    let fillings = [0x00, 0x7f, 0x80, 0x81, 0x8f, 0x90, 0x9f, 0xa0, 0xb0, 0xbf, 0xc8, 0xff];
    for filling in fillings {
        for len in 0..=LEN_MAX {
            bodies::all(&vec![filling; len]);
        }
    }
}

#[test]
fn every_first_and_second_octet_through_every_entry() {
    for first in 0..=255 {
        for second in 0..=255 {
            let mut bytes = [1; 24];
            (bytes[0], bytes[1]) = (first, second);
            bodies::demux(&bytes);
            bodies::packet(&bytes);
            bodies::rtcp(&bytes);
            bodies::translate(&bytes);
        }
    }
}

/// Valid packets of all shapes, cut everywhere.
#[test]
fn every_cut_of_valid_packets_through_every_entry() {
    let mut rng = Rng::new(1);
    for round in 0..12 {
        let packet = match round % 2 {
            0 => generate::rtp(&mut rng, 7, round),
            _ => generate::rtcp(&mut rng, 7),
        };
        for len in 0..packet.len().min(LEN_MAX) {
            bodies::all(&packet[..len]);
        }
    }
}

/// Every octet of valid packets takes every edge value: length fields lie in all directions.
#[test]
fn every_octet_of_valid_packets_lies() {
    let mut rng = Rng::new(2);
    for round in 0..12 {
        let packet = match round % 2 {
            0 => generate::rtp(&mut rng, 7, round),
            _ => generate::rtcp(&mut rng, 7),
        };
        for at in 0..packet.len().min(LEN_MAX) {
            for value in [0, 1, 3, 4, 0x7f, 0x80, 0xfe, 0xff] {
                let mut lying = packet.clone();
                lying[at] = value;
                bodies::demux(&lying);
                bodies::packet(&lying);
                bodies::rtcp(&lying);
                bodies::translate(&lying);
            }
        }
    }
}

/// A thousand valid packets of each suite, one to three bits flipped in each, in a context that
/// knows the sender: none is accepted, and afterwards each unchanged packet still is.
#[test]
fn flipped_bits_are_never_accepted_and_change_nothing() {
    for suite in Suite::ALL {
        let mut rng = Rng::new(3);
        let (key, salt) = (rng.bytes(suite.key_len()), rng.bytes(suite.salt_len()));
        let master = MasterKey::new(suite, &key, &salt).unwrap();
        let (mut protect, mut unprotect) = (Protect::new(&master), Unprotect::new(&master));
        for seq in 0..1000 {
            let is_rtcp = seq % 5 == 0;
            let plain = match is_rtcp {
                true => generate::rtcp(&mut rng, 7),
                false => generate::rtp(&mut rng, 7, seq),
            };
            let mut buf = [&plain[..], &[0; Suite::OVERHEAD_MAX]].concat();
            let end = match is_rtcp {
                true => protect.rtcp(&mut buf, plain.len()).unwrap(),
                false => protect.rtp(&mut buf, plain.len()).unwrap(),
            };
            buf.truncate(end);

            let mut forged = buf.clone();
            let bit = rng.below(8 * end);
            for bit in (bit..8 * end).step_by(37).take(1 + rng.below(3)) {
                forged[bit / 8] ^= 1 << (bit % 8);
            }
            let before = forged.clone();
            assert!(unprotect.rtp(&mut forged).is_err(), "{suite:?} seq {seq} bit {bit}");
            assert!(unprotect.rtcp(&mut forged).is_err(), "{suite:?} seq {seq} bit {bit}");
            assert_eq!(forged, before);

            let taken = match is_rtcp {
                true => unprotect.rtcp(&mut buf).map(|plain| plain.bytes().to_vec()),
                false => unprotect.rtp(&mut buf).map(|plain| plain.bytes().to_vec()),
            };
            assert_eq!(taken, Ok(plain), "{suite:?} seq {seq}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn noise_through_every_entry(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        bodies::all(&bytes);
    }

    /// Version 2 and small octets, so that parsers get far before they refuse.
    #[test]
    fn plausible_noise_through_every_entry(
        first in 0x80..0xc0u8,
        second in prop_oneof![190..215u8, any::<u8>()],
        rest in proptest::collection::vec(prop_oneof![4 => 0..10u8, 1 => any::<u8>()], 0..400),
    ) {
        bodies::all(&[&[first, second], &rest[..]].concat());
    }
}
