//! What the receiver of one RTP source would report: loss, reordering, duplicates and jitter
//! (RFC 3550 §6.4.1, §A.1, §A.3, §A.8), from admitted packets only.
//!
//! Jitter needs the clock rate of the payload, which the data plane is not told. Static payload
//! types imply it (RFC 3551 §6); for dynamic ones it is measured: timestamps advance by the clock
//! rate per second, and the rates in use lie far apart.
//!
//! Loss is told in two ways. The total is what reports have; the [`Interval`] is what a score is
//! computed from, with the burst ratio that tells a hole of ten packets from ten holes (ITU-T G.107
//! §7.5).

use crate::io::{Position, Progress};

/// Reception quality of one direction. A new SSRC starts afresh but keeps the totals. What each packet
/// touches comes first.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C, align(64))]
pub struct Quality {
    source: Option<Source>,
    /// Clock rate that was negotiated; 0: none was.
    stated_hz: u32,
    /// Of the sources before this one.
    before: Totals,
    /// At the last [`Quality::take_interval`].
    marked: Totals,
    duplicates: u64,
    reordered: u64,
}

#[derive(Clone, Copy, Default, Debug)]
struct Totals {
    expected: u64,
    received: u64,
    lost: u64,
    bursts: u64,
}

/// Reception since the interval before (RFC 3550 §A.3).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Interval {
    /// Packets that the sequence numbers promised.
    pub expected: u64,
    /// Packets that came, duplicates left out. What is late for the interval before counts here, so
    /// that it may exceed what was expected.
    pub received: u64,
    /// Mean length of a run of losses, over what it would be if losses were independent: 1 or more
    /// (ITU-T G.107 §7.5).
    pub burst_ratio: f64,
}

impl Interval {
    /// Lost packets over expected ones, 0 to 1; 0 when nothing was expected.
    pub fn loss_ratio(self) -> f64 {
        let lost = self.expected.saturating_sub(self.received);
        if self.expected == 0 { 0.0 } else { lost as f64 / self.expected as f64 }
    }
}

#[derive(Clone, Copy, Debug)]
struct Source {
    ssrc: u32,
    /// Extended sequence numbers: cycles in the upper bits.
    first: u64,
    highest: u64,
    received: u64,
    /// Runs of missing numbers.
    bursts: u64,
    /// Bit n: `highest - n` was received.
    window: u64,
    rate_hz: u32,
    /// Of the newest packet.
    payload_type: u8,
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
            1 => source.advance(1),
            2..=DROPOUT_MAX => {
                source.advance(step.unsigned_abs());
                source.bursts += 1;
            }
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

    /// The clock rate that was negotiated, for payload types that imply none; 0: measure it.
    pub fn state_rate(&mut self, rate_hz: u32) {
        let before = std::mem::replace(&mut self.stated_hz, rate_hz);
        if let Some(source) = self.source.as_mut().filter(|_| rate_hz != before && rate_hz > 0) {
            (source.rate_hz, source.jitter) = (rate_hz, 0);
        }
    }

    /// Packets that never came.
    pub fn lost(&self) -> u64 {
        self.totals().lost
    }

    /// Packets that the sequence numbers promised.
    pub fn expected(&self) -> u64 {
        self.totals().expected
    }

    /// What came since the last call.
    pub fn take_interval(&mut self) -> Interval {
        let (now, marked) = (self.totals(), self.marked);
        self.marked = now;
        let interval = Interval {
            expected: now.expected.saturating_sub(marked.expected),
            received: now.received.saturating_sub(marked.received),
            burst_ratio: 1.0,
        };
        let lost = interval.expected.saturating_sub(interval.received);
        let bursts = now.bursts.saturating_sub(marked.bursts).max(1);
        let burst_ratio = lost as f64 / bursts as f64 * (1.0 - interval.loss_ratio());
        Interval { burst_ratio: burst_ratio.max(1.0), ..interval }
    }

    /// Clock rate of the timestamps; 0 while it is unknown.
    pub fn rate_hz(&self) -> u32 {
        self.source.as_ref().map_or(0, |source| source.rate_hz)
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

    /// SSRC and payload type of the source, and how far it is.
    pub fn position(&self) -> Option<(u32, u8, Position)> {
        let source = self.source.as_ref()?;
        let position = Position {
            highest: source.highest,
            timestamp: source.last.timestamp,
            arrival_ns: source.last.arrival_ns,
            jitter: source.jitter,
        };
        Some((source.ssrc, source.payload_type, position))
    }

    /// Takes account of packets of the same source that somebody else relayed and counted.
    pub fn follow(&mut self, progress: &Progress) {
        let Some(source) = &mut self.source else { return };
        let Position { highest, timestamp, arrival_ns, jitter } = progress.position;
        source.received += progress.packets;
        source.bursts += progress.bursts;
        let ahead = highest.saturating_sub(source.highest);
        if ahead > 0 {
            source.highest = highest;
            // Which of them are missing is not known; late ones are taken for new.
            let all = progress.packets >= ahead;
            source.window = if all { u64::MAX } else { 1 };
            source.last = Instant { timestamp, arrival_ns };
            source.jitter = jitter;
        }
    }

    fn totals(&self) -> Totals {
        let Some(source) = &self.source else { return self.before };
        Totals {
            expected: self.before.expected + source.expected(),
            received: self.before.received + source.received,
            lost: self.before.lost + source.lost(),
            bursts: self.before.bursts + source.bursts,
        }
    }

    fn restart(&mut self, seen: Seen, now_ns: u64) {
        let now = Instant { timestamp: seen.timestamp, arrival_ns: now_ns };
        self.before = self.totals();
        // Room below the first number, so that a packet just before it has a place.
        let first = u64::from(seen.seq) + CYCLE;
        self.source = Some(Source {
            ssrc: seen.ssrc,
            first,
            highest: first,
            received: 1,
            bursts: 0,
            window: 1,
            rate_hz: static_rate_hz(seen.payload_type).unwrap_or(self.stated_hz),
            payload_type: seen.payload_type,
            anchor: now,
            last: now,
            jitter: 0,
        });
    }
}

impl Source {
    fn expected(&self) -> u64 {
        self.highest - self.first + 1
    }

    fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
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
        let has = |age: u64| self.window & 1u64.checked_shl(age as u32).unwrap_or(0) != 0;
        let begins = self.highest - age < self.first;
        // A run of missing numbers ends, splits, or only gets shorter.
        match (has(age + 1) || begins, has(age - 1)) {
            (true, true) if !begins => self.bursts = self.bursts.saturating_sub(1),
            (false, false) => self.bursts += 1,
            (true, false) if begins => self.bursts += 1,
            _ => {}
        }
        self.window |= bit;
        self.received += 1;
        self.first = self.first.min(self.highest - age);
        true
    }

    fn note_time(&mut self, seen: Seen, now_ns: u64) {
        self.payload_type = seen.payload_type;
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
mod tests;
