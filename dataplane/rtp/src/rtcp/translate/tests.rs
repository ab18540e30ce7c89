use super::*;
use proptest::prelude::*;

/// Who speaks in a compound, of whom, and with which numbers.
#[derive(Clone, Copy)]
struct Numbers {
    sender: u32,
    timestamp: u32,
    subject: u32,
    /// Highest sequence number, extended.
    highest: u32,
}

/// Words written by hand, so that the tests do not share a reader with the code.
fn packet(first: u8, packet_type: u8, words: &[u32]) -> Vec<u8> {
    let len = u16::try_from(words.len()).unwrap().to_be_bytes();
    let body = words.iter().flat_map(|word| word.to_be_bytes());
    [0x80 | first, packet_type, len[0], len[1]].into_iter().chain(body).collect()
}

/// Every place that holds the sender or the subject, each beside a place that holds another source.
fn compound(numbers: Numbers) -> Vec<u8> {
    let Numbers { sender, timestamp, subject, highest } = numbers;
    let seq = highest & 0xffff;
    let range = |len: u32| seq << 16 | ((seq + len) & 0xffff);
    let word = |text: &[u8; 4]| u32::from_be_bytes(*text);
    let block = [0x10ff_fff0, highest, 33, 0x0102_0304, 0x0506_0708];
    let report = |source: u32| [&[source], &block[..]].concat();
    let other = |source: u32| [source, 0, 0x0001_4242, 1, 2, 3];
    let sr = [sender, 0xe000_0001, 0x8000_0000, timestamp, 50, 8000];
    let rle = |kind: u32| [kind << 24 | 4, subject, range(9), 0x4001_8002, 0];
    let xr = [
        &[sender][..],
        &rle(1),
        &rle(2),
        &[3 << 24 | 3, subject, range(1), 0x1234_5678],
        &[4 << 24 | 2, 0xe000_0001, 0x8000_0000],
        &[5 << 24 | 6, subject, 7, 8, OTHER, 9, 10],
        &[6 << 24 | 0x00e0_0009, subject, range(2), 1, 2, 3, 4, 5, 6, 7],
        &[7 << 24 | 8, subject, 1, 2, 3, 4, 5, 6, 7],
        &[99 << 24 | 1, subject],
        &[1 << 24 | 2, OTHER, 0x1111_2222],
    ]
    .concat();
    [
        packet(2, 200, &[&sr[..], &report(subject), &other(OTHER)].concat()),
        packet(1, 201, &[&[sender], &report(subject)[..]].concat()),
        packet(1, 200, &[&[OTHER, 0, 0, 77, 0, 0][..], &report(subject)].concat()),
        packet(2, 202, &[OTHER, word(b"\x01\x02ab"), 0, sender, word(b"\x01\x01c\0")]),
        packet(5, 204, &[sender, word(b"name"), subject]),
        packet(1, 205, &[sender, subject, seq << 16 | 0xff, ((seq + 40) & 0xffff) << 16 | 1]),
        packet(1, 205, &[sender, OTHER, 0x1234_00ff]),
        packet(15, 205, &[sender, subject, 0x1234_00ff]),
        packet(1, 206, &[sender, subject]),
        packet(0, 207, &xr),
        packet(0, 211, &[FROM, TO]),
        packet(2, 203, &[OTHER, sender, word(b"\x03bye")]),
    ]
    .concat()
}

const FROM: u32 = 0xa1a2_a3a4;
const TO: u32 = 0xb1b2_b3b4;
const FAR_FROM: u32 = 0xc1c2_c3c4;
const FAR_TO: u32 = 0xd1d2_d3d4;
const OTHER: u32 = 0x0e0e_0e0e;

fn translation(from: u32, to: u32, seq_offset: u16, timestamp_offset: u32) -> Translation {
    Translation { from_ssrc: Ssrc(from), to_ssrc: Ssrc(to), seq_offset, timestamp_offset }
}

#[test]
fn every_place_of_both_sources_is_rewritten_and_no_other() {
    let sent = translation(FROM, TO, 100, 0xffff_ff00);
    let reported = translation(FAR_FROM, FAR_TO, 1000, 5);
    let there = Numbers { sender: FROM, timestamp: 0x200, subject: FAR_TO, highest: 0x0003_2000 };
    let highest = 0x0003_2000 - 1000;
    let here = Numbers { sender: TO, timestamp: 0x100, subject: FAR_FROM, highest };
    // XR block 99 is unknown and APP data is nobody's business: both keep the subject's old name.
    let kept = |bytes: Vec<u8>| {
        let (from, to) = (FAR_FROM.to_be_bytes(), FAR_TO.to_be_bytes());
        let mut bytes = bytes;
        for head in [&b"name"[..], &[99, 0, 0, 1]] {
            let at = 4 + bytes.windows(4).position(|window| window == head).unwrap();
            assert_eq!(bytes[at..at + 4], from);
            bytes[at..at + 4].copy_from_slice(&to);
        }
        bytes
    };
    let mut found = compound(there);
    assert_eq!(translate(&mut found, Some(&sent), Some(&reported)), Ok(()));
    assert!(found == kept(compound(here)), "{found:02x?}");

    let mut found = compound(there);
    assert_eq!(translate(&mut found, Some(&sent), None), Ok(()));
    assert!(found == compound(Numbers { sender: TO, timestamp: 0x100, ..there }));

    let mut found = compound(there);
    assert_eq!(translate(&mut found, None, Some(&reported)), Ok(()));
    let expected = Numbers { subject: FAR_FROM, highest, ..there };
    assert!(found == kept(compound(expected)));

    let mut found = compound(there);
    assert_eq!(translate(&mut found, None, None), Ok(()));
    assert!(found == compound(there));
    let nobody = translation(0x7777, 0x8888, 9, 9);
    assert_eq!(translate(&mut found, Some(&nobody), Some(&nobody)), Ok(()));
    assert!(found == compound(there), "nobody we know");
}

/// What the receiver of renumbered packets calls its highest, and what the sender should read.
#[test]
fn the_cycle_count_follows_the_carry() {
    let rows: [(u32, u16, u32, &str); 9] = [
        (0x0000_2000, 0, 0x0000_2000, "no offset"),
        (0x0000_2000, 0x1000, 0x0000_1000, "down"),
        (0x0000_2000, 0xf000, 0x0000_3000, "up: +0xf000 is -0x1000"),
        (0x0001_0004, 10, 0x0000_fffa, "ours wrapped before theirs"),
        (0x0000_fffa, 0xfff6, 0x0001_0004, "theirs wrapped before ours"),
        (0x0000_0004, 10, 0x0000_fffa, "no cycle below 0"),
        (0xffff_fffa, 0xfff6, 0x0000_0004, "the last cycle"),
        (0x0002_0000, 0x8000, 0x0002_8000, "half of the ring"),
        (0x0002_0000, 0x7fff, 0x0001_8001, "just below half"),
    ];
    for (highest, offset, expected, what) in rows {
        assert_eq!(u32::from_be_bytes(take_extended(highest, offset)), expected, "{what}");
    }
}

/// Each row is an XR whose blocks lie, behind an RR that would be rewritten.
#[test]
fn nothing_is_written_unless_all_blocks_fit() {
    let rows: [(&str, &[u32]); 6] = [
        ("block past the end", &[0x6300_0002, 0]),
        ("loss RLE without a range", &[0x0100_0001, FAR_TO]),
        ("receipt times without a source", &[0x0300_0000]),
        ("DLRR of four words", &[0x0500_0004, FAR_TO, 1, 2, FAR_TO]),
        ("summary without a range", &[0x0600_0001, FAR_TO]),
        ("VoIP metrics without a source", &[0x0700_0000]),
    ];
    let sent = translation(FROM, TO, 1, 1);
    let reported = translation(FAR_FROM, FAR_TO, 1, 1);
    let rr = packet(1, 201, &[FROM, FAR_TO, 0, 7, 0, 0, 0]);
    for (what, blocks) in rows {
        let xr = packet(0, 207, &[&[FROM], blocks].concat());
        let before = [rr.clone(), xr].concat();
        let mut found = before.clone();
        assert_eq!(
            translate(&mut found, Some(&sent), Some(&reported)),
            Err(Malformed::Length),
            "{what}"
        );
        assert_eq!(found, before, "{what}");
    }
    let numbers = Numbers { sender: FROM, timestamp: 1, subject: FAR_TO, highest: 1 };
    let whole = compound(numbers);
    for len in 0..whole.len() {
        let mut cut = whole[..len].to_vec();
        if RtcpCompound::parse(&cut).is_err() {
            assert!(translate(&mut cut, Some(&sent), Some(&reported)).is_err());
            assert_eq!(cut, whole[..len], "length {len}");
        }
    }
}

/// RFC 3550 §6.4.1: padding is not content, and stays.
#[test]
fn padding_is_left_alone() {
    let mut bytes = packet(0, 201, &[FROM, FROM, 0, 8]);
    bytes[0] |= 0x20;
    bytes[8..12].copy_from_slice(&FROM.to_be_bytes());
    assert_eq!(translate(&mut bytes, Some(&translation(FROM, TO, 0, 0)), None), Ok(()));
    let mut expected = packet(0, 201, &[TO, FROM, 0, 8]);
    expected[0] |= 0x20;
    assert_eq!(bytes, expected);
}

proptest! {
    /// The way back undoes the way there.
    #[test]
    fn the_inverse_restores(
        seq_offset: u16,
        timestamp_offset: u32,
        timestamp: u32,
        highest in 0x1_0000u32..0xfffe_ffff,
    ) {
        let there = Numbers { sender: FROM, timestamp, subject: FAR_TO, highest };
        let mut bytes = compound(there);
        let sent = translation(FROM, TO, 0, timestamp_offset);
        let reported = translation(FAR_FROM, FAR_TO, seq_offset, 0);
        prop_assert_eq!(translate(&mut bytes, Some(&sent), Some(&reported)), Ok(()));
        prop_assert!(bytes != compound(there));
        let sent = translation(TO, FROM, 0, timestamp_offset.wrapping_neg());
        let reported = translation(FAR_TO, FAR_FROM, seq_offset.wrapping_neg(), 0);
        prop_assert_eq!(translate(&mut bytes, Some(&sent), Some(&reported)), Ok(()));
        // -32768 is its own inverse: one cycle comes back too much.
        if seq_offset != 0x8000 {
            prop_assert!(bytes == compound(there));
        }
    }
}
