use super::*;

fn seen(seq: u16) -> Seen {
    Seen { ssrc: 7, seq, timestamp: u32::from(seq).wrapping_mul(160), payload_type: 0 }
}

/// Notes packets 20 ms apart and returns (lost, duplicates, reordered).
fn after(seqs: &[u16]) -> (u64, u64, u64) {
    let mut quality = Quality::default();
    for (n, seq) in seqs.iter().enumerate() {
        quality.note(seen(*seq), n as u64 * 20_000_000);
    }
    (quality.lost(), quality.duplicates(), quality.reordered())
}

#[test]
fn loss_duplicates_and_reordering_are_told_apart() {
    type Row = (&'static [u16], (u64, u64, u64));
    let table: [Row; 9] = [
        (&[1, 2, 3, 4], (0, 0, 0)),
        (&[1, 2, 5], (2, 0, 0)),
        (&[1, 3, 2, 4], (0, 0, 1)),
        (&[1, 2, 2, 3], (0, 1, 0)),
        (&[1, 3, 2, 2], (0, 1, 1)),
        (&[5, 4, 6], (0, 0, 1)),
        (&[65534, 65535, 0, 1], (0, 0, 0)),
        (&[65535, 1, 0], (0, 0, 1)),
        (&[1, 2, 30_000, 30_001], (0, 0, 0)),
    ];
    for (seqs, expected) in table {
        assert_eq!(after(seqs), expected, "{seqs:?}");
    }
}

#[test]
fn a_new_source_keeps_the_totals() {
    let mut quality = Quality::default();
    quality.note(seen(1), 0);
    quality.note(seen(4), 0);
    quality.note(Seen { ssrc: 8, ..seen(1000) }, 0);
    quality.note(Seen { ssrc: 8, ..seen(1002) }, 0);
    assert_eq!(quality.lost(), 3);
}

#[test]
fn a_steady_source_has_no_jitter_and_an_unsteady_one_approaches_its_own() {
    let jitter = |shift_ns: fn(u64) -> u64| {
        let mut quality = Quality::default();
        for n in 0..2_000u64 {
            quality.note(seen(n as u16), n * 20_000_000 + shift_ns(n));
        }
        quality.jitter()
    };
    assert_eq!(jitter(|_| 0), 0);
    // Every other packet 5 ms late: |D| is 40 ticks for each, the mean converges to 40.
    let unsteady = jitter(|n| (n % 2) * 5_000_000);
    assert!((36..=40).contains(&unsteady), "{unsteady}");
}

#[test]
fn the_clock_rate_of_dynamic_types_is_measured() {
    for rate in [8_000u32, 16_000, 48_000, 90_000] {
        let mut quality = Quality::default();
        let step = rate / 50;
        for n in 0..400u64 {
            let late_ns = (n % 2) * 5_000_000;
            let timestamp = (n as u32).wrapping_mul(step).wrapping_sub(9_000);
            let seen = Seen { ssrc: 1, seq: n as u16, timestamp, payload_type: 111 };
            quality.note(seen, n * 20_000_000 + late_ns);
        }
        let expected = u64::from(rate) / 200;
        let jitter = quality.jitter();
        assert!(jitter * 10 >= expected * 9 && jitter <= expected, "{rate}: {jitter}");
    }
}

proptest::proptest! {
    #[test]
    fn any_sequence_of_headers_is_harmless(
        headers in proptest::collection::vec((0..3u32, 0..u16::MAX, 0..u32::MAX, 0..128u8, 0..u64::MAX), 0..200)
    ) {
        let mut quality = Quality::default();
        for (ssrc, seq, timestamp, payload_type, now_ns) in headers {
            quality.note(Seen { ssrc, seq, timestamp, payload_type }, now_ns);
            let _ = (quality.lost(), quality.jitter());
        }
    }
}

#[test]
fn the_clock_rate_in_use_is_known() {
    let mut quality = Quality::default();
    assert_eq!(quality.rate_hz(), 0);
    quality.note(seen(1), 0);
    assert_eq!(quality.rate_hz(), 8_000, "payload type 0");
    for n in 0..200u64 {
        let timestamp = n as u32 * 960;
        quality.note(Seen { ssrc: 9, seq: n as u16, timestamp, payload_type: 96 }, n * 20_000_000);
    }
    assert_eq!(quality.rate_hz(), 48_000, "measured");
    quality.note(Seen { ssrc: 10, seq: 1, timestamp: 5, payload_type: 96 }, 5_000_000_000);
    assert_eq!(quality.rate_hz(), 0, "another source, another clock");
}

/// Notes the numbers and returns (expected, received, burst ratio times 100) since the last call.
fn interval(quality: &mut Quality, seqs: &[u16]) -> (u64, u64, u32) {
    for seq in seqs {
        quality.note(seen(*seq), u64::from(*seq) * 20_000_000);
    }
    let interval = quality.take_interval();
    (interval.expected, interval.received, (interval.burst_ratio * 100.0).round() as u32)
}

#[test]
fn an_interval_counts_from_the_one_before() {
    let mut quality = Quality::default();
    assert_eq!(interval(&mut quality, &[]), (0, 0, 100));
    assert_eq!(interval(&mut quality, &[1, 2, 3, 4]), (4, 4, 100));
    assert_eq!(interval(&mut quality, &[]), (0, 0, 100));
    // 6 and 8 are lost one by one, which is no more than random.
    assert_eq!(interval(&mut quality, &[5, 7, 9, 10]), (6, 4, 100));
    // Four in a row of six: 4 times (1 - 4/6) where 1 is random.
    assert_eq!(interval(&mut quality, &[11, 16]), (6, 2, 133));
    // Late ones of an interval before leave no negative loss.
    assert_eq!(interval(&mut quality, &[12, 13]), (0, 2, 100));
    assert_eq!(quality.take_interval().loss_ratio(), 0.0);
    // A new source goes on counting.
    quality.note(Seen { ssrc: 8, ..seen(40_000) }, 0);
    assert_eq!(interval(&mut quality, &[]), (1, 1, 100));
    assert_eq!((quality.expected(), quality.lost()), (17, 4));
}

#[test]
fn the_loss_ratio_is_of_what_was_expected() {
    let lossy = Interval { expected: 200, received: 190, burst_ratio: 1.0 };
    assert_eq!(lossy.loss_ratio(), 0.05);
    assert_eq!(Interval { expected: 0, received: 2, burst_ratio: 1.0 }.loss_ratio(), 0.0);
}

#[test]
fn reordering_leaves_no_bursts_behind() {
    let bursts = |seqs: &[u16]| {
        let mut quality = Quality::default();
        for seq in seqs {
            quality.note(seen(*seq), 0);
        }
        quality.totals().bursts
    };
    type Row = (&'static [u16], u64);
    let table: [Row; 9] = [
        (&[1, 2, 3], 0),
        (&[1, 3, 2], 0),
        (&[1, 5], 1),
        (&[1, 5, 2], 1),
        (&[1, 5, 4], 1),
        (&[1, 5, 3], 2),
        (&[1, 5, 3, 2, 4], 0),
        // Before the first: next to it nothing is missing, further off something is.
        (&[5, 4], 0),
        (&[5, 3], 1),
    ];
    for (seqs, expected) in table {
        assert_eq!(bursts(seqs), expected, "{seqs:?}");
    }
}

/// An answer that names another codec reaches a source that is talking already.
#[test]
fn a_rate_that_is_stated_later_is_that_of_the_running_source() {
    let mut quality = Quality::default();
    quality.state_rate(8_000);
    let dynamic = |seq| Seen { payload_type: 96, ..seen(seq) };
    quality.note(dynamic(1), 0);
    assert_eq!(quality.rate_hz(), 8_000);
    quality.state_rate(48_000);
    quality.note(dynamic(2), 20_000_000);
    assert_eq!(quality.rate_hz(), 48_000);
    quality.state_rate(0);
    assert_eq!(quality.rate_hz(), 48_000, "nothing was said");
    quality.note(seen(3), 40_000_000);
    assert_eq!(quality.rate_hz(), 8_000, "a static type says it itself");
}
