//! Events as they come from the network, row by row.

use super::*;

const MS: u64 = 1_000_000;

fn payload(code: u8, end: bool, duration: u16) -> [u8; 4] {
    let [high, low] = duration.to_be_bytes();
    [code, if end { 0x8a } else { 10 }, high, low]
}

fn digit(key: char, duration_ms: u32) -> Digit {
    Digit { code: DigitCode::of_char(key).unwrap(), duration_ms }
}

/// Packets of one digit as a sender paces them: time, timestamp, payload.
fn packets(
    key: char,
    ms: u32,
    clock_hz: u32,
    timestamp: u32,
    at_ns: u64,
) -> Vec<(u64, u32, [u8; 4])> {
    let mut sender = EventSender::new(DigitCode::of_char(key).unwrap(), ms, clock_hz, 20);
    std::iter::from_fn(|| sender.next_packet())
        .enumerate()
        .map(|(n, packet)| (at_ns + n as u64 * 20 * MS, timestamp, packet.payload))
        .collect()
}

/// What a detector tells about packets, with housekeeping every 100 ms and some time afterwards.
fn hear(packets: &[(u64, u32, [u8; 4])], clock_hz: u32) -> Vec<Digit> {
    let mut detector = EventDetector::default();
    let mut heard = Vec::new();
    let (mut now, mut swept) = (0, 0);
    for (at, timestamp, payload) in packets {
        now = now.max(*at);
        while swept < now {
            swept += 100 * MS;
            heard.extend(detector.expire(swept.min(now)));
        }
        heard.extend(detector.note(*timestamp, payload, clock_hz, now));
    }
    for _ in 0..5 {
        now += 100 * MS;
        heard.extend(detector.expire(now));
    }
    heard
}

#[test]
fn a_digit_is_told_once_at_every_clock_rate() {
    for clock_hz in [8000, 16_000, 48_000] {
        let packets = packets('5', 100, clock_hz, u32::MAX - 100, 0);
        assert_eq!(packets.iter().filter(|p| p.2[1] & 0x80 != 0).count(), 3);
        assert_eq!(hear(&packets, clock_hz), [digit('5', 100)], "{clock_hz}");
    }
}

#[test]
fn an_end_is_told_at_its_first_packet() {
    let mut detector = EventDetector::default();
    assert_eq!(detector.note(10, &payload(1, false, 160), 8000, 0), None);
    assert_eq!(detector.note(10, &payload(1, true, 320), 8000, 1), Some(digit('1', 40)));
    assert_eq!(detector.note(10, &payload(1, true, 320), 8000, 2), None);
    assert_eq!(detector.expire(u64::MAX), None);
}

#[test]
fn any_single_packet_of_a_digit_suffices() {
    let packets = packets('7', 100, 8000, 77, 0);
    for only in &packets {
        let heard = hear(&[*only], 8000);
        assert_eq!(heard.len(), 1, "{only:?}");
        assert_eq!(heard[0].code, DigitCode::of_char('7').unwrap());
    }
}

#[test]
fn every_pattern_of_loss_tells_each_of_two_equal_digits_at_most_once() {
    let mut all = packets('4', 60, 8000, 1000, 0);
    all.extend(packets('4', 60, 8000, 1000 + 8 * 160, 160 * MS));
    let count = all.len();
    for pattern in 0..1u32 << count {
        let left: Vec<_> = (0..count).filter(|n| pattern >> n & 1 == 1).map(|n| all[n]).collect();
        let expected = [0, 1]
            .iter()
            .filter(|digit| left.iter().any(|p| p.1 == 1000 + **digit * 8 * 160))
            .count();
        assert_eq!(hear(&left, 8000).len(), expected, "{pattern:b}");
    }
}

#[test]
fn every_order_of_one_digit_tells_it_once() {
    let sorted = packets('9', 60, 8000, 5, 0);
    for rotation in 0..sorted.len() {
        for swap in 1..sorted.len() {
            let mut order: Vec<_> = sorted.iter().map(|p| (p.1, p.2)).collect();
            order.rotate_left(rotation);
            order.swap(0, swap);
            let order: Vec<_> =
                order.iter().enumerate().map(|(n, p)| (n as u64 * 20 * MS, p.0, p.1)).collect();
            assert_eq!(hear(&order, 8000).len(), 1, "{order:?}");
        }
    }
}

#[test]
fn a_lost_end_is_told_after_200_ms() {
    let mut detector = EventDetector::default();
    assert_eq!(detector.note(10, &payload(2, false, 160), 8000, 0), None);
    assert_eq!(detector.note(10, &payload(2, false, 480), 8000, 40 * MS), None);
    assert_eq!(detector.expire(240 * MS - 1), None);
    assert_eq!(detector.expire(240 * MS), Some(digit('2', 60)));
    assert_eq!(detector.note(10, &payload(2, true, 640), 8000, 250 * MS), None, "told already");
}

#[test]
fn a_lost_end_is_told_by_the_next_event() {
    let mut detector = EventDetector::default();
    assert_eq!(detector.note(10, &payload(2, false, 480), 8000, 0), None);
    assert_eq!(detector.note(2000, &payload(3, false, 160), 8000, MS), Some(digit('2', 60)));
    assert_eq!(detector.note(2000, &payload(3, true, 320), 8000, 2 * MS), Some(digit('3', 40)));
}

#[test]
fn one_packet_that_ends_two_digits_tells_both() {
    let mut detector = EventDetector::default();
    assert_eq!(detector.note(10, &payload(2, false, 480), 8000, 0), None);
    assert_eq!(detector.note(2000, &payload(3, true, 800), 8000, MS), Some(digit('2', 60)));
    assert_eq!(detector.expire(2 * MS), Some(digit('3', 100)));
    assert_eq!(detector.note(2000, &payload(3, true, 800), 8000, 3 * MS), None);
}

#[test]
fn late_packets_of_an_older_event_are_nothing() {
    let mut detector = EventDetector::default();
    assert!(detector.note(1000, &payload(1, true, 800), 8000, 0).is_some());
    assert!(detector.note(3000, &payload(2, false, 160), 8000, MS).is_none());
    assert!(detector.note(1000, &payload(1, true, 800), 8000, 2 * MS).is_none());
    assert_eq!(detector.note(3000, &payload(2, true, 320), 8000, 3 * MS), Some(digit('2', 40)));
}

#[test]
fn a_source_with_another_origin_is_heard() {
    let mut detector = EventDetector::default();
    assert!(detector.note(4_000_000_000, &payload(1, true, 800), 8000, 0).is_some());
    for timestamp in [3_900_000_000, 2_000_000_000, 100] {
        assert!(detector.note(timestamp, &payload(1, true, 800), 8000, MS).is_some());
    }
}

#[test]
fn a_long_event_of_several_segments_is_one_digit() {
    let mut packets = Vec::new();
    let mut elapsed = 0u32;
    // 20 seconds in segments of 0xffff units, the full segment reported where it ends.
    while elapsed < 160_000 {
        elapsed += 160;
        let (segment, within) = (elapsed / 0xffff, elapsed % 0xffff);
        packets.push((
            u64::from(elapsed) * 125_000,
            500 + segment * 0xffff,
            payload(8, elapsed == 160_000, within as u16),
        ));
    }
    assert_eq!(hear(&packets, 8000), [digit('8', 20_000)]);
    // One packet in ten is enough to follow.
    let sparse: Vec<_> =
        packets.iter().copied().step_by(9).chain(packets.last().copied()).collect();
    assert_eq!(hear(&sparse, 8000), [digit('8', 20_000)]);
}

#[test]
fn a_sender_that_moves_the_timestamp_says_one_digit() {
    let packets: Vec<_> = (0..7u32)
        .map(|n| {
            let duration = (160 * (n + 1)).min(800) as u16;
            (u64::from(n) * 20 * MS, 9000 + 160 * n, payload(6, n >= 4, duration))
        })
        .collect();
    assert_eq!(hear(&packets, 8000), [digit('6', 100)]);
}

#[test]
fn the_same_digit_again_after_the_shortest_pause_is_a_second_one() {
    let mut both = packets('3', 40, 8000, 100, 0);
    both.extend(packets('3', 40, 8000, 100 + 80 * 8, 80 * MS));
    assert_eq!(hear(&both, 8000), [digit('3', 40), digit('3', 40)]);
}

#[test]
fn what_is_no_digit_changes_nothing() {
    let mut detector = EventDetector::default();
    assert!(detector.note(10, &payload(1, false, 160), 8000, 0).is_none());
    for code in 16..=255 {
        assert!(detector.note(9999, &payload(code, true, 160), 8000, MS).is_none());
    }
    for len in 0..4 {
        assert!(detector.note(9999, &[0x01, 0x8a, 1, 64][..len], 8000, MS).is_none());
    }
    assert_eq!(detector.note(10, &payload(1, true, 320), 8000, MS), Some(digit('1', 40)));
}

#[test]
fn the_marker_is_on_the_first_packet_and_durations_grow() {
    let mut sender = EventSender::new(DigitCode::of_char('#').unwrap(), 100, 8000, 20);
    let packets: Vec<_> = std::iter::from_fn(|| sender.next_packet()).collect();
    let durations: Vec<_> =
        packets.iter().map(|p| u16::from_be_bytes([p.payload[2], p.payload[3]])).collect();
    assert_eq!(durations, [160, 320, 480, 640, 800, 800, 800]);
    assert!(packets.iter().enumerate().all(|(n, p)| p.marker == (n == 0)));
    assert!(packets.iter().enumerate().all(|(n, p)| (p.payload[1] & 0x80 != 0) == (n >= 4)));
    assert!(packets.iter().all(|p| p.payload[0] == 11));
}

#[test]
fn durations_stay_within_the_limits() {
    let longest = |ms, clock_hz, ptime| {
        let mut sender = EventSender::new(DigitCode::of_char('1').unwrap(), ms, clock_hz, ptime);
        let last = std::iter::from_fn(|| sender.next_packet()).last().unwrap();
        u16::from_be_bytes([last.payload[2], last.payload[3]])
    };
    assert_eq!(longest(0, 8000, 20), 40 * 8);
    assert_eq!(longest(u32::MAX, 8000, 20), 6000 * 8);
    assert_eq!(longest(6000, 48_000, 20), u16::MAX, "one segment");
    // A ptime beyond the digit leaves the three ends, and the marker on the first.
    let mut sender = EventSender::new(DigitCode::of_char('1').unwrap(), 40, 8000, 60);
    let packets: Vec<_> = std::iter::from_fn(|| sender.next_packet()).collect();
    assert_eq!(packets.len(), 3);
    assert!(packets[0].marker && !packets[1].marker);
}

/// Body of the fuzz target: any payloads at any times, and never more digits than packets.
fn any_payloads_are_harmless(input: &[(u32, Vec<u8>, u32, u64)]) {
    let mut detector = EventDetector::default();
    let mut told = 0;
    for (timestamp, payload, clock_hz, now_ns) in input {
        told += usize::from(detector.note(*timestamp, payload, *clock_hz, *now_ns).is_some());
        told += usize::from(detector.expire(*now_ns).is_some());
    }
    assert!(told <= input.len());
}

proptest::proptest! {
    #[test]
    fn any_input_is_harmless(
        input in proptest::collection::vec(
            (0..u32::MAX, proptest::collection::vec(0..=255u8, 0..9), 0..u32::MAX, 0..u64::MAX),
            0..100,
        )
    ) {
        any_payloads_are_harmless(&input);
    }

    #[test]
    fn dialled_digits_come_through_loss_of_one_in_four(
        keys in "[0-9*#A-D]{1,20}", drops in proptest::collection::vec(0..4u8, 200), start in 0..u32::MAX
    ) {
        let mut sent = Vec::new();
        for (n, key) in keys.chars().enumerate() {
            let at = n as u64 * 160 * MS;
            sent.extend(packets(key, 100, 8000, start.wrapping_add(n as u32 * 1280), at));
        }
        // Seven packets say one digit; the pattern never loses more than six of them in a row.
        let left: Vec<_> = sent
            .iter()
            .enumerate()
            .filter(|(n, _)| n % 7 == 5 || drops[n % drops.len()] != 0)
            .map(|(_, packet)| *packet)
            .collect();
        let heard: String = hear(&left, 8000).iter().map(|digit| digit.code.as_char()).collect();
        proptest::prop_assert_eq!(heard, keys);
    }
}
