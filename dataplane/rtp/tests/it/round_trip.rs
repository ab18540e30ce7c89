//! Protect, a network that loses, delays and repeats, Unprotect; against an oracle that knows each
//! packet's true index and remembers all of them.

use crate::generate::{self, Rng};
use proptest::prelude::*;
use rtp::srtp::{MasterKey, Protect, ProtectError, SSRC_MAX, Suite, Unprotect, UnprotectError};
use std::collections::{BTreeSet, HashMap};

/// Indices behind the highest that are still told apart (RFC 3711 §3.3.2).
const WINDOW: u64 = 128;

fn contexts(suite: Suite) -> (Protect, Unprotect) {
    let (key, salt) = ([0x42; 32], [0x17; 14]);
    let master = MasterKey::new(suite, &key[..suite.key_len()], &salt[..suite.salt_len()]).unwrap();
    (Protect::new(&master), Unprotect::new(&master))
}

/// Accepted indices per SSRC, without an estimate, a window or a bound.
#[derive(Default)]
struct Oracle(HashMap<u32, BTreeSet<u64>>);

impl Oracle {
    fn accepts(&mut self, ssrc: u32, index: u64) -> bool {
        let accepted = self.0.entry(ssrc).or_default();
        let young = accepted.last().is_none_or(|highest| index + WINDOW > *highest);
        young && accepted.insert(index)
    }
}

/// Each of 2^18 sequence numbers in order: four whole turns.
#[test]
fn four_turns_of_the_sequence_number() {
    for suite in Suite::ALL {
        let (mut protect, mut unprotect) = contexts(suite);
        let mut plain = [0x5a; 12 + 8];
        plain[..2].copy_from_slice(&[0x80, 0]);
        for index in 0..4u32 << 16 {
            plain[2..4].copy_from_slice(&(index as u16).to_be_bytes());
            let mut buf = [0; 20 + Suite::OVERHEAD_MAX];
            buf[..20].copy_from_slice(&plain);
            let end = protect.rtp(&mut buf, 20).unwrap();
            let taken = unprotect.rtp(&mut buf[..end]).unwrap();
            assert_eq!(taken.bytes(), plain, "{suite:?} index {index}");
        }
    }
}

/// A resent capture: in order, reversed, after the sequence number has come around.
#[test]
fn nothing_is_accepted_from_a_resent_capture() {
    for suite in Suite::ALL {
        let (mut protect, mut unprotect) = contexts(suite);
        let mut rng = Rng::new(5);
        let mut capture = Vec::new();
        for step in 0..2000u32 {
            let plain = generate::rtp(&mut rng, 9, (step * 67) as u16);
            let mut buf = [&plain[..], &[0; Suite::OVERHEAD_MAX]].concat();
            let end = protect.rtp(&mut buf, plain.len()).unwrap();
            buf.truncate(end);
            assert!(unprotect.rtp(&mut buf.clone()).is_ok());
            capture.push(buf);
        }
        for packet in capture.iter().chain(capture.iter().rev()) {
            assert!(unprotect.rtp(&mut packet.clone()).is_err(), "{suite:?}");
        }
    }
}

/// One packet of the model: which source, how far its index is from the last one, what happens to
/// it before Protect and between Protect and Unprotect.
#[derive(Clone, Copy, Debug)]
struct Fate {
    source: u32,
    step: u64,
    delay_before: usize,
    delay_between: usize,
    copies: usize,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let step = prop_oneof![3 => 1..4u64, 2 => 1..3000u64];
    let copies = prop_oneof![1 => Just(0usize), 8 => Just(1), 1 => 2..4usize];
    let fate = (0..SSRC_MAX as u32, step, 0..6usize, 0..6usize, copies).prop_map(
        |(source, step, delay_before, delay_between, copies)| Fate {
            source: source % 3,
            step,
            delay_before,
            delay_between,
            copies,
        },
    );
    proptest::collection::vec(fate, 300..900)
}

/// The order in which items with these delays come out. Stable, so that no delay keeps the order.
fn delayed<T>(items: Vec<(usize, T)>) -> Vec<T> {
    let mut due: Vec<_> =
        items.into_iter().enumerate().map(|(at, (delay, item))| (at + delay, item)).collect();
    due.sort_by_key(|(due, _)| *due);
    due.into_iter().map(|(_, item)| item).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn both_sides_equal_the_oracle(
        suite in 0..Suite::ALL.len(),
        seed in any::<u64>(),
        fates in fates(),
    ) {
        let suite = Suite::ALL[suite];
        let (mut protect, mut unprotect) = contexts(suite);
        let (mut used, mut accepted) = (Oracle::default(), Oracle::default());
        let mut rng = Rng::new(seed);

        // The first packet of a source is neither lost nor late: it fixes the rollover counter.
        let mut indices = HashMap::new();
        let mut sent = Vec::new();
        for fate in &fates {
            let first = !indices.contains_key(&fate.source);
            let index = indices.entry(fate.source).or_insert_with(|| rng.word() % (1 << 15));
            *index += fate.step;
            let plain = generate::rtp(&mut rng, fate.source, *index as u16);
            let (delay, copies) =
                if first { (0, 1) } else { (fate.delay_before, fate.copies) };
            sent.push((delay, (*index, plain, Fate { copies, ..*fate })));
        }

        let mut network = Vec::new();
        let mut started = BTreeSet::new();
        for (index, plain, fate) in delayed(sent) {
            let mut buf = [&plain[..], &[0; Suite::OVERHEAD_MAX]].concat();
            let end = protect.rtp(&mut buf, plain.len());
            if used.accepts(fate.source, index) {
                prop_assert_eq!(end, Ok(plain.len() + suite.rtp_tag_len()));
                buf.truncate(end.unwrap());
                let delay = if started.insert(fate.source) { 0 } else { fate.delay_between };
                for copy in 0..fate.copies {
                    let packet = (index, fate.source, plain.clone(), buf.clone());
                    network.push((delay + 3 * copy, packet));
                }
            } else {
                prop_assert_eq!(end, Err(ProtectError::IndexReused));
            }
        }

        for (index, source, plain, mut buf) in delayed(network) {
            let taken = unprotect.rtp(&mut buf).map(|plain| plain.bytes().to_vec());
            if accepted.accepts(source, index) {
                prop_assert_eq!(taken, Ok(plain));
            } else {
                prop_assert_eq!(taken, Err(UnprotectError::Replay));
            }
        }
    }

    /// SRTCP indices are ours, so only the network reorders, loses and repeats.
    #[test]
    fn rtcp_equals_the_oracle(
        suite in 0..Suite::ALL.len(),
        seed in any::<u64>(),
        fates in fates(),
    ) {
        let suite = Suite::ALL[suite];
        let (mut protect, mut unprotect) = contexts(suite);
        let mut accepted = Oracle::default();
        let mut rng = Rng::new(seed);

        let mut next = HashMap::new();
        let mut network = Vec::new();
        for fate in &fates {
            let index = next.entry(fate.source).or_insert(0u64);
            let plain = generate::rtcp(&mut rng, fate.source);
            let mut buf = [&plain[..], &[0; Suite::OVERHEAD_MAX]].concat();
            let end = protect.rtcp(&mut buf, plain.len());
            prop_assert_eq!(end, Ok(plain.len() + suite.rtcp_tag_len() + 4));
            buf.truncate(end.unwrap());
            for copy in 0..fate.copies {
                let delay = 60 * fate.delay_between * copy + 7 * fate.delay_before;
                network.push((delay, (*index, fate.source, plain.clone(), buf.clone())));
            }
            *index += 1;
        }

        for (index, source, plain, mut buf) in delayed(network) {
            let taken = unprotect.rtcp(&mut buf).map(|plain| plain.bytes().to_vec());
            if accepted.accepts(source, index) {
                prop_assert_eq!(taken, Ok(plain));
            } else {
                prop_assert_eq!(taken, Err(UnprotectError::Replay));
            }
        }
    }
}
