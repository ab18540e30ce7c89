//! Four units in a row, and whether they hold a digit.

use std::f32::consts::TAU;

use super::bins::{Bins, Carrier, Complex, FREQUENCIES, RATE_HZ, UNIT};
use crate::dtmf::digit::DigitCode;

/// The newest units, oldest first.
#[derive(Clone, Debug)]
pub struct Window {
    units: [Bins; UNITS],
    /// Units since the last gap, up to [`UNITS`].
    filled: usize,
}

/// A window that may hold a digit.
#[derive(Clone, Copy, Debug)]
pub struct Hit {
    pub code: DigitCode,
    pub row: Tone,
    pub column: Tone,
    /// All of it, on the scale of the tones' powers.
    pub energy: f32,
}

/// What windows say about one carrier. Sums of windows say it with less error.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tone {
    /// Squared amplitude.
    pub power: f32,
    /// How the tone turned against its carrier during one unit: the angle is the offset in
    /// frequency, the size the weight.
    turn: Complex,
}

impl Window {
    pub const EMPTY: Window = Window { units: [Bins::EMPTY; UNITS], filled: 0 };

    /// Adds the next unit; false while the window is not full.
    pub fn push(&mut self, unit: Bins) -> bool {
        self.units.rotate_left(1);
        if let Some(last) = self.units.last_mut() {
            *last = unit;
        }
        self.filled = (self.filled + 1).min(UNITS);
        self.filled == UNITS
    }

    /// The digit that fills the window, if one does.
    pub fn examine(&self) -> Option<Hit> {
        let energy: f32 = self.units.iter().map(|unit| unit.energy).sum();
        if energy < 2.0 * POWER_MIN * SAMPLES / 2.0 {
            return None;
        }
        let tones = self.tones();
        let (rows, columns) = tones.split_at_checked(4)?;
        let (row, column) = (strongest(rows)?, strongest(columns)?);
        let hit = Hit {
            code: DigitCode::at(row, column)?,
            row: rows.get(row)?.restored(),
            column: columns.get(column)?.restored(),
            energy: energy * 2.0 / SAMPLES,
        };
        let loud = hit.row.power >= POWER_MIN && hit.column.power >= POWER_MIN;
        (loud && hit.is_pure(PURITY_MIN) && hit.has_twist_within(TWIST_LOOSE)).then_some(hit)
    }

    fn tones(&self) -> [Tone; 8] {
        let mut tones = [Tone::default(); 8];
        for (n, tone) in tones.iter_mut().enumerate() {
            *tone = self.tone(n);
        }
        tones
    }

    #[expect(clippy::indexing_slicing, reason = "the caller counts to 8")]
    fn tone(&self, n: usize) -> Tone {
        let at = |unit: &Bins, turn: &Carrier| {
            Complex { re: unit.re[n], im: unit.im[n] } * Complex { re: turn.re[n], im: turn.im[n] }
        };
        let [first, second, third, fourth] = &self.units;
        let [zero, one, two, three] = &TURNS;
        let middle = at(second, one) + at(third, two);
        let early = at(first, zero) + middle;
        let late = middle + at(fourth, three);
        Tone {
            // Scaled to the power of a sine of amplitude A: A².
            power: (early + at(fourth, three)).power() * (4.0 / (SAMPLES * SAMPLES)),
            turn: late * early.conjugate(),
        }
    }
}

impl Hit {
    /// Whether the two tones hold at least `share` of all energy.
    pub fn is_pure(&self, share: f32) -> bool {
        self.row.power + self.column.power >= share * self.energy
    }

    /// Whether the column is between 1/`most` times the twist of Q.24 below the row and `most`
    /// times above it.
    pub fn has_twist_within(&self, most: f32) -> bool {
        let twist = self.column.power / self.row.power;
        twist * most >= TWIST_LOW && twist <= TWIST_HIGH * most
    }

    /// This window and another of the same digit.
    pub fn and(self, other: &Hit) -> Hit {
        Hit {
            row: self.row.and(&other.row),
            column: self.column.and(&other.column),
            energy: self.energy + other.energy,
            ..self
        }
    }

    /// Whether both tones are within `tolerance`, a ratio, of where they belong.
    pub fn is_on_frequency(&self, tolerance: f32) -> bool {
        let (row, column) = self.code.place();
        self.row.off(row) <= tolerance && self.column.off(4 + column) <= tolerance
    }
}

impl Tone {
    fn and(&self, other: &Tone) -> Tone {
        Tone { power: self.power + other.power, turn: self.turn + other.turn }
    }

    /// How far the tone is from the frequency of carrier `n`, as a ratio.
    fn off(&self, n: usize) -> f32 {
        let nominal = FREQUENCIES.get(n).copied().unwrap_or(1) as f32;
        let offset = self.turn.angle() / TAU * (RATE_HZ as f32 / UNIT as f32);
        offset.abs() / nominal
    }

    /// The same with the power that an offset in frequency took from the window.
    fn restored(&self) -> Tone {
        // Over four units the tone turns by 4 angles; the window then keeps sinc²(2 angles).
        let half = (2.0 * self.turn.angle()).clamp(-RESTORED_MAX, RESTORED_MAX);
        let kept = if half.abs() < 1e-3 { 1.0 } else { half.sin() / half };
        Tone { power: self.power / (kept * kept), turn: self.turn }
    }
}

/// The tone that stands out of its group.
fn strongest(group: &[Tone]) -> Option<usize> {
    let (best, tone) = group.iter().enumerate().max_by(|a, b| a.1.power.total_cmp(&b.1.power))?;
    let stands_out = group
        .iter()
        .enumerate()
        .all(|(n, other)| n == best || other.power * STANDS_OUT <= tone.power);
    stands_out.then_some(best)
}

const UNITS: usize = 4;
const SAMPLES: f32 = (UNITS * UNIT) as f32;
/// What turns each unit's phases to those of the window's first sample.
const TURNS: [Carrier; UNITS] = [
    Carrier::at(0),
    Carrier::at(UNIT as u32),
    Carrier::at(2 * UNIT as u32),
    Carrier::at(3 * UNIT as u32),
];
/// Squared amplitude of -30 dBm0, 5 dB below the weakest tone that Q.24 asks to accept.
const POWER_MIN: f32 = 510_000.0;
/// Share of all energy that the two tones hold: 15 dB of noise leave 0.97, an edge of the tone that
/// covers 4 of 20 ms leaves 0.8.
const PURITY_MIN: f32 = 0.8;
/// Power of column to row (Q.24): -8 dB and +4 dB.
const TWIST_LOW: f32 = 0.158;
const TWIST_HIGH: f32 = 2.51;
/// 3 dB more in one window, where a strong tone reaches into the weak one's carrier.
const TWIST_LOOSE: f32 = 2.0;
/// 6 dB above every other tone of the group.
const STANDS_OUT: f32 = 4.0;
/// Largest correction: where the offset is 2.5 % of 1633 Hz.
const RESTORED_MAX: f32 = 2.6;
