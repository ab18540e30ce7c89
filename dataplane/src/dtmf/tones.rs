//! Digits as tones in G.711 (ITU-T Q.23, with the receiver limits of Q.24).
//!
//! The samples meet eight carriers, one for each DTMF frequency, in units of 5 ms. This is what
//! Goertzel's recursion computes, but with the carriers in a table: no chain of dependent
//! operations, and phases come out that refer to a known sample. Four units make a window of 20 ms,
//! and each unit ends one:
//!
//! ```text
//! units     | 1 | 2 | 3 | 4 | 5 | 6 | ...
//! windows   [------A------]                      a window is a hit when it passes every test:
//!               [------A------]                    strongest row and column stand out
//!                   [------B------]                level, twist, share of all energy
//! digit     4 hits in a row, and the frequencies over all of them within 2.5 %
//! end       8 units without a hit
//! ```
//! * **Length.** A window passes with 16 ms of tone in it. Four hits in a row need 27 ms of tone at
//!   least, and 40 ms of tone always make five: Q.24 asks for 40 ms accepted, 23 ms refused.
//! * **Frequency.** The phase step from unit to unit tells it far finer than the width of a window
//!   does: ±1.5 % is accepted and ±3.5 % refused at every tone alike. It holds for offsets up to
//!   100 Hz, where the window itself is deaf.
//! * **Speech.** The two tones must hold four fifths of *all* energy during 35 ms, and 92 % of it
//!   away from the edges. That includes the usual look at second harmonics and costs one addition
//!   per sample instead of eight more carriers: every harmonic, formant and noise counts against a
//!   digit. Music of two pure tones that lie within 2.5 % of a digit's is that digit.
//! * **Interruptions** up to 10 ms and lost packets up to 40 ms do not split a digit; a pause of
//!   40 ms does.

use crate::dtmf::digit::{Digit, DigitCode};
use crate::dtmf::events::SILENCE_NS;
use crate::g711::Law;

pub(super) mod bins;
mod window;

use bins::{Bins, RATE_HZ, UNIT};
use window::{Hit, Window};

/// Hears the digits in G.711 payloads of one direction.
#[derive(Clone, Debug)]
pub struct ToneDetector {
    /// The unit that is being filled.
    bins: Bins,
    window: Window,
    trial: Option<Trial>,
    tone: Option<Tone>,
    /// A digit that waits for the next call.
    pending: Option<Digit>,
    /// Timestamp of the next sample, once there was one.
    expected: Option<u32>,
    /// Samples since the start, lost ones included.
    clock: u64,
    last_ns: u64,
}

/// Hits in a row that are not a digit yet.
#[derive(Clone, Copy, Debug)]
struct Trial {
    since: u64,
    hits: u32,
    /// All of them, and those between the first and the last: of a tone that is long enough, these
    /// have no edge in them.
    all: Hit,
    inner: Option<Hit>,
}

/// A digit that is being heard.
#[derive(Clone, Copy, Debug)]
struct Tone {
    code: DigitCode,
    /// Ends of the first and of the newest window that hit.
    since: u64,
    last: u64,
    /// Windows without a hit since then.
    misses: u32,
}

impl ToneDetector {
    pub fn new() -> ToneDetector {
        ToneDetector {
            bins: Bins::EMPTY,
            window: Window::EMPTY,
            trial: None,
            tone: None,
            pending: None,
            expected: None,
            clock: 0,
            last_ns: 0,
        }
    }

    /// Takes note of an admitted G.711 payload, whose timestamps count samples of 8 kHz. What comes
    /// twice or late is passed over; what follows a gap continues behind it.
    ///
    /// A packet can end two digits; the later one comes with the next call of either method.
    pub fn note(&mut self, law: Law, timestamp: u32, payload: &[u8], now_ns: u64) -> Option<Digit> {
        let payload = payload.get(..PAYLOAD_MAX).unwrap_or(payload);
        let len = payload.len() as u32;
        let gap = timestamp.wrapping_sub(self.expected.unwrap_or(timestamp));
        match gap {
            0 => {}
            1..ORIGIN_DISTANCE => self.lose(gap),
            // Late or repeated.
            _ if gap.wrapping_neg() < ORIGIN_DISTANCE => return self.pending.take(),
            // Another source.
            _ => self.lose(ORIGIN_DISTANCE),
        }
        self.expected = Some(timestamp.wrapping_add(len));
        self.last_ns = now_ns;
        let mut rest = payload;
        while !rest.is_empty() {
            let taken = self.bins.fill(rest.iter().map(|octet| law.decode(*octet)));
            rest = rest.get(taken..).unwrap_or_default();
            if self.bins.is_full() {
                self.clock += UNIT as u64;
                self.unit_ends();
            }
        }
        self.pending.take()
    }

    /// Ends a digit after which nothing came (silence suppression, loss, hold). To be called every
    /// 100 ms or so.
    pub fn expire(&mut self, now_ns: u64) -> Option<Digit> {
        if self.tone.is_some() && now_ns.saturating_sub(self.last_ns) >= SILENCE_NS {
            self.trial = None;
            self.end();
        }
        self.pending.take()
    }

    /// Samples that never came: what was heard before them stands, up to a limit.
    fn lose(&mut self, samples: u32) {
        self.clock += u64::from(self.bins.count()) + u64::from(samples);
        self.bins = Bins::EMPTY;
        self.window = Window::EMPTY;
        if samples > BRIDGED {
            self.trial = None;
            self.end();
        }
    }

    fn unit_ends(&mut self) {
        let unit = std::mem::replace(&mut self.bins, Bins::EMPTY);
        if !self.window.push(unit) {
            return;
        }
        let hit = self.window.examine();
        match (&mut self.tone, hit) {
            (Some(tone), Some(hit)) if tone.code == hit.code => {
                tone.last = self.clock;
                tone.misses = 0;
                self.trial = None;
            }
            (_, hit) => self.missed(hit),
        }
    }

    /// A window that does not belong to the tone being heard; it may belong to the next one.
    fn missed(&mut self, hit: Option<Hit>) {
        if let Some(tone) = &mut self.tone {
            tone.misses += 1;
            if tone.misses >= END_MISSES {
                self.end();
            }
        }
        let Some(hit) = hit else {
            self.trial = None;
            return;
        };
        let trial = match self.trial.take() {
            Some(trial) if trial.all.code == hit.code => trial.with(hit),
            _ => Trial { since: self.clock, hits: 1, all: hit, inner: None },
        };
        if trial.hits < HITS {
            self.trial = Some(trial);
        } else if trial.is_digit() {
            self.end();
            let (code, since) = (hit.code, trial.since);
            self.tone = Some(Tone { code, since, last: self.clock, misses: 0 });
        }
    }

    fn end(&mut self) {
        if let Some(tone) = self.tone.take() {
            let samples = (tone.last - tone.since) as u32 + DURATION_OFFSET;
            self.pending = Some(Digit { code: tone.code, duration_ms: samples / SAMPLES_PER_MS });
        }
    }
}

impl Default for ToneDetector {
    fn default() -> ToneDetector {
        ToneDetector::new()
    }
}

impl Trial {
    fn with(self, hit: Hit) -> Trial {
        let inner = match self.inner {
            _ if self.hits + 1 == HITS => self.inner,
            Some(inner) => Some(inner.and(&hit)),
            None => Some(hit),
        };
        Trial { hits: self.hits + 1, all: self.all.and(&hit), inner, ..self }
    }

    /// One window is too short for fine limits next to a tone that is much stronger; the error
    /// turns with the difference of the two tones, so a sum over windows is nearly free of it.
    fn is_digit(&self) -> bool {
        self.all.is_on_frequency(TOLERANCE)
            && self
                .inner
                .is_some_and(|inner| inner.is_pure(PURITY) && inner.has_twist_within(TWIST_MARGIN))
    }
}

/// Between the 1.5 % that Q.24 asks to accept and the 3.5 % that it asks to refuse.
const TOLERANCE: f32 = 0.025;
/// Share of all energy that the two tones hold away from their edges: 15 dB of noise leave 0.97.
const PURITY: f32 = 0.92;
/// 2 dB beyond the twist of Q.24: what noise and the other tone do to the weaker one.
const TWIST_MARGIN: f32 = 1.6;
/// Hits in a row that make a digit: from 27 ms of tone on, surely from 36 ms.
const HITS: u32 = 4;
/// Windows without a hit that end one: an interruption of 10 ms makes five of them, a pause of
/// 40 ms makes ten.
const END_MISSES: u32 = 8;
/// From the difference of two window ends to the length of the tone: the window itself, less what
/// it reaches beyond the tone on either side.
const DURATION_OFFSET: u32 = 4 * UNIT as u32 - 32;
/// Lost samples that may lie inside one digit: 40 ms, the shortest pause.
const BRIDGED: u32 = 320;
/// Timestamps further apart than one second have another origin.
const ORIGIN_DISTANCE: u32 = RATE_HZ;
/// Longest payload that is looked at: 100 ms, in which no three digits end.
const PAYLOAD_MAX: usize = 800;
const SAMPLES_PER_MS: u32 = RATE_HZ / 1000;

#[cfg(test)]
mod tests;
