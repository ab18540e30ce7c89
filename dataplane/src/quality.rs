//! What the receiver of one RTP source would report: loss, reordering, duplicates and jitter
//! (RFC 3550 §6.4.1, §A.1, §A.3, §A.8), from admitted packets only.
//!
//! Jitter needs the clock rate of the payload, which the data plane is not told. Static payload
//! types imply it (RFC 3551 §6); for dynamic ones it is measured: timestamps advance by the clock
//! rate per second, and the rates in use lie far apart.

/// Reception quality of one direction. A new SSRC starts afresh but keeps the totals.
#[derive(Clone, Copy, Default, Debug)]
pub struct Quality {
    source: Option<Source>,
    lost_before: u64,
    duplicates: u64,
    reordered: u64,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    ssrc: u32,
    /// Extended sequence numbers: cycles in the upper bits.
    first: u64,
    highest: u64,
    received: u64,
    /// Bit n: `highest - n` was received.
    window: u64,
    rate_hz: u32,
    anchor: Instant,
    last: Instant,
    /// Scaled by 16 as in RFC 3550 §A.8.
    jitter: u32,
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
struct Instant {
    timestamp: u32,
    arrival_ns: u64,
}

/// The header fields that quality looks at.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub ssrc: u32,
    pub seq: u16,
    pub timestamp: u32,
    pub payload_type: u8,
}

impl Quality {
    /// Takes note of an admitted RTP packet.
    pub fn note(&mut self, seen: Seen, now_ns: u64) {
        let Some(source) = self.source.as_mut().filter(|source| source.ssrc == seen.ssrc) else {
            self.restart(seen, now_ns);
            return;
        };
        let step = i64::from(seen.seq.wrapping_sub(source.highest as u16) as i16);
        match step {
            1..=DROPOUT_MAX => source.advance(step.unsigned_abs()),
            0 => self.duplicates += 1,
            MISORDER_MIN..0 => match source.fill(step.unsigned_abs()) {
                true => self.reordered += 1,
                false => self.duplicates += 1,
            },
            _ => self.restart(seen, now_ns),
        }
        if step > 0
            && step <= DROPOUT_MAX
            && let Some(source) = self.source.as_mut()
        {
            source.note_time(seen, now_ns);
        }
    }

    /// Packets that never came.
    pub fn lost(&self) -> u64 {
        self.lost_before + self.source.as_ref().map_or(0, Source::lost)
    }

    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    pub fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Interarrival jitter in timestamp units; 0 while the clock rate is unknown.
    pub fn jitter(&self) -> u64 {
        self.source.as_ref().map_or(0, |source| u64::from(source.jitter >> 4))
    }

    fn restart(&mut self, seen: Seen, now_ns: u64) {
        let now = Instant { timestamp: seen.timestamp, arrival_ns: now_ns };
        self.lost_before = self.lost();
        // Room below the first number, so that a packet just before it has a place.
        let first = u64::from(seen.seq) + CYCLE;
        self.source = Some(Source {
            ssrc: seen.ssrc,
            first,
            highest: first,
            received: 1,
            window: 1,
            rate_hz: static_rate_hz(seen.payload_type).unwrap_or(0),
            anchor: now,
            last: now,
            jitter: 0,
        });
    }
}

impl Source {
    fn lost(&self) -> u64 {
        (self.highest - self.first + 1).saturating_sub(self.received)
    }

    fn advance(&mut self, step: u64) {
        self.highest += step;
        self.window = self.window.checked_shl(step as u32).unwrap_or(0) | 1;
        self.received += 1;
    }

    /// A number from the past: true when it was missing, false when it came before.
    fn fill(&mut self, age: u64) -> bool {
        let bit = 1u64.checked_shl(age as u32).unwrap_or(0);
        if self.window & bit != 0 {
            return false;
        }
        self.window |= bit;
        self.received += 1;
        self.first = self.first.min(self.highest - age);
        true
    }

    fn note_time(&mut self, seen: Seen, now_ns: u64) {
        if let Some(rate_hz) = static_rate_hz(seen.payload_type) {
            self.rate_hz = rate_hz;
        }
        let now = Instant { timestamp: seen.timestamp, arrival_ns: now_ns };
        if self.rate_hz == 0 {
            self.measure_rate(now);
        } else if now.timestamp != self.last.timestamp {
            // Packets of one timestamp (a video frame, a telephone event) tell nothing.
            self.add_jitter(now);
        }
        self.last = now;
    }

    fn add_jitter(&mut self, now: Instant) {
        let elapsed = ticks(now.arrival_ns.saturating_sub(self.last.arrival_ns), self.rate_hz);
        let advance = i64::from(now.timestamp.wrapping_sub(self.last.timestamp) as i32);
        let difference = elapsed.saturating_sub(advance).unsigned_abs();
        // A jump of a second or more is a pause or a new time base, not jitter.
        if difference < u64::from(self.rate_hz) {
            self.jitter = self.jitter + difference as u32 - ((self.jitter + 8) >> 4);
        }
    }

    fn measure_rate(&mut self, now: Instant) {
        let elapsed_ns = now.arrival_ns.saturating_sub(self.anchor.arrival_ns);
        if elapsed_ns < MEASURE_NS {
            return;
        }
        let advance = u64::from(now.timestamp.wrapping_sub(self.anchor.timestamp));
        let measured_hz = u128::from(advance) * u128::from(SECOND_NS) / u128::from(elapsed_ns);
        let near = |rate: &&u32| measured_hz.abs_diff(u128::from(**rate)) < u128::from(**rate) / 20;
        match RATES_HZ.iter().find(near) {
            Some(rate) => self.rate_hz = *rate,
            None => self.anchor = now,
        }
    }
}

fn ticks(duration_ns: u64, rate_hz: u32) -> i64 {
    let rate = u64::from(rate_hz);
    let (seconds, rest) = (duration_ns / SECOND_NS, duration_ns % SECOND_NS);
    seconds.saturating_mul(rate).saturating_add(rest * rate / SECOND_NS) as i64
}

/// Clock rates of the static payload types, RFC 3551 §6.
fn static_rate_hz(payload_type: u8) -> Option<u32> {
    match payload_type {
        0..=5 | 7..=9 | 12 | 13 | 15 | 18 => Some(8_000),
        6 => Some(16_000),
        10 | 11 => Some(44_100),
        14 | 25..=34 => Some(90_000),
        16 => Some(11_025),
        17 => Some(22_050),
        _ => None,
    }
}

const SECOND_NS: u64 = 1_000_000_000;
const MEASURE_NS: u64 = SECOND_NS;
/// Rates of dynamic payload types in use; neighbours differ by more than twice the tolerance.
const RATES_HZ: [u32; 9] = [8_000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000, 90_000, 96_000];
/// RFC 3550 §A.1: a larger gap, or an older packet, is a restarted source.
const DROPOUT_MAX: i64 = 3_000;
const MISORDER_MIN: i64 = -63;
const CYCLE: u64 = 1 << 16;

#[cfg(test)]
mod tests {
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
}
