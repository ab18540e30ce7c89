//! Digits as tones in G.711, said.

use std::f32::consts::TAU;

use crate::dtmf::digit::DigitCode;
use crate::dtmf::tones::bins::{FREQUENCIES, RATE_HZ};
use crate::g711::{FULL_SCALE, Law};
use crate::limits::{DIGIT_MS_MAX, DIGIT_MS_MIN};

/// Says one digit, sample by sample over any number of packets, then silence.
#[derive(Clone, Copy, Debug)]
pub struct ToneSender {
    law: Law,
    row_hz: u32,
    column_hz: u32,
    /// Samples said, and to say.
    at: u32,
    len: u32,
}

impl ToneSender {
    /// A digit of `duration_ms`, forced into the limits of a digit.
    pub fn new(code: DigitCode, duration_ms: u32, law: Law) -> ToneSender {
        let (row, column) = code.place();
        let hz = |n: usize| FREQUENCIES.get(n).copied().unwrap_or(0);
        ToneSender {
            law,
            row_hz: hz(row),
            column_hz: hz(4 + column),
            at: 0,
            len: duration_ms.clamp(DIGIT_MS_MIN, DIGIT_MS_MAX) * (RATE_HZ / 1000),
        }
    }

    /// Writes the next samples, one octet each; after the digit they are silence.
    pub fn write(&mut self, out: &mut [u8]) {
        for octet in out {
            *octet = self.law.encode(self.sample());
            self.at = self.at.saturating_add(1);
        }
    }

    /// Samples of silence since the digit has ended; 0 while it is said.
    pub fn silence(&self) -> u32 {
        self.at.saturating_sub(self.len)
    }

    fn sample(&self) -> i16 {
        if self.at >= self.len {
            return 0;
        }
        let edge = (self.at + 1).min(self.len - self.at).min(RAMP);
        let tones = ROW * sine(self.row_hz, self.at) + COLUMN * sine(self.column_hz, self.at);
        (tones * edge as f32 / RAMP as f32) as i16
    }
}

/// A sine of a whole number of Hz at a sample: the phase is exact however long the tone lasts.
fn sine(hz: u32, at: u32) -> f32 {
    let phase = (u64::from(hz) * u64::from(at) % u64::from(RATE_HZ)) as f32;
    (phase * (TAU / RATE_HZ as f32)).sin()
}

/// Samples that a tone rises and falls: 2 ms, against clicks.
const RAMP: u32 = 16;
/// Amplitude of -10 dBm0, and of -8 dBm0: lines weaken high tones more (ETSI ES 201 235-2 §4.2.4).
const ROW: f32 = FULL_SCALE * 0.2196;
const COLUMN: f32 = FULL_SCALE * 0.2764;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::g711::amplitude;

    fn said(duration_ms: u32, law: Law, packet: usize) -> Vec<u8> {
        let code = DigitCode::of_char('7').unwrap();
        let mut sender = ToneSender::new(code, duration_ms, law);
        let mut octets = Vec::new();
        while sender.silence() < 160 {
            let mut out = vec![0; packet];
            sender.write(&mut out);
            octets.extend(out);
        }
        octets
    }

    #[test]
    fn packets_join_without_a_seam() {
        for law in [Law::Mu, Law::A] {
            let whole = said(100, law, 1600);
            for packet in [1, 80, 160, 240, 480] {
                let parts = said(100, law, packet);
                let len = parts.len().min(whole.len());
                assert_eq!(parts[..len], whole[..len], "{law:?} {packet}");
            }
        }
    }

    #[test]
    fn a_digit_lasts_as_long_as_asked_within_the_limits() {
        for (asked, ms) in [(0, 40), (40, 40), (100, 100), (u32::MAX, 6000)] {
            let octets = said(asked, Law::A, 8);
            let silence = Law::A.encode(0);
            let last = octets.iter().rposition(|octet| *octet != silence).unwrap();
            assert!((ms * 8 - 16..ms * 8).contains(&last), "{asked}: {last}");
        }
    }

    #[test]
    fn levels_are_those_of_the_constants_and_the_edges_are_soft() {
        assert!((ROW - amplitude(-10.0)).abs() < 10.0 && (COLUMN - amplitude(-8.0)).abs() < 10.0);
        let octets = said(100, Law::Mu, 160);
        let level = |octet: &u8| i32::from(Law::Mu.decode(*octet)).abs();
        let peak = octets.iter().map(level).max().unwrap();
        assert!((14_000..17_000).contains(&peak), "{peak}");
        assert!(octets[..4].iter().all(|octet| level(octet) < peak / 4));
    }
}
