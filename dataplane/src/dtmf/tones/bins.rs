//! The spectrum of 5 ms of samples at the eight DTMF frequencies.

use std::ops::{Add, Mul};

/// Sample rate of G.711.
pub const RATE_HZ: u32 = 8000;
/// Samples of one unit: 5 ms.
pub const UNIT: usize = 40;
/// Rows, then columns, in Hz (ITU-T Q.23).
pub const FREQUENCIES: [u32; 8] = [697, 770, 852, 941, 1209, 1336, 1477, 1633];

/// Sums over the samples of a unit that is filled, or full.
#[derive(Clone, Copy, Debug)]
pub struct Bins {
    pub re: [f32; 8],
    pub im: [f32; 8],
    /// Sum of squares.
    pub energy: f32,
    count: u32,
}

impl Bins {
    pub const EMPTY: Bins = Bins { re: [0.0; 8], im: [0.0; 8], energy: 0.0, count: 0 };

    /// Samples so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    pub fn is_full(&self) -> bool {
        self.count as usize == UNIT
    }

    /// Adds samples until the unit is full and returns how many it took.
    pub fn fill(&mut self, samples: impl Iterator<Item = i16>) -> usize {
        // Local sums stay in registers.
        let Bins { mut re, mut im, mut energy, count } = *self;
        let mut taken = 0;
        let carriers = CARRIERS.get(count as usize..).unwrap_or_default();
        for (carrier, sample) in carriers.iter().zip(samples) {
            let sample = f32::from(sample);
            for (sum, carrier) in re.iter_mut().zip(&carrier.re) {
                *sum += sample * carrier;
            }
            for (sum, carrier) in im.iter_mut().zip(&carrier.im) {
                *sum += sample * carrier;
            }
            energy += sample * sample;
            taken += 1;
        }
        *self = Bins { re, im, energy, count: count + taken };
        taken as usize
    }
}

/// A complex number.
#[derive(Clone, Copy, Default, Debug)]
pub struct Complex {
    pub re: f32,
    pub im: f32,
}

impl Complex {
    pub fn conjugate(self) -> Complex {
        Complex { re: self.re, im: -self.im }
    }

    pub fn power(self) -> f32 {
        self.re * self.re + self.im * self.im
    }

    /// In radians, -π to π.
    pub fn angle(self) -> f32 {
        self.im.atan2(self.re)
    }
}

impl Add for Complex {
    type Output = Complex;
    fn add(self, other: Complex) -> Complex {
        Complex { re: self.re + other.re, im: self.im + other.im }
    }
}

impl Mul for Complex {
    type Output = Complex;
    fn mul(self, other: Complex) -> Complex {
        Complex {
            re: self.re * other.re - self.im * other.im,
            im: self.re * other.im + self.im * other.re,
        }
    }
}

/// The carriers e^(-jωn) of all frequencies at one sample.
#[derive(Clone, Copy)]
pub struct Carrier {
    pub re: [f32; 8],
    pub im: [f32; 8],
}

impl Carrier {
    #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, bounded by the loop")]
    pub const fn at(sample: u32) -> Carrier {
        let mut carrier = Carrier { re: [0.0; 8], im: [0.0; 8] };
        let mut n = 0;
        while n < 8 {
            let phase = FREQUENCIES[n] * sample % RATE_HZ;
            carrier.re[n] = sine(phase + RATE_HZ / 4);
            carrier.im[n] = -sine(phase);
            n += 1;
        }
        carrier
    }
}

/// sin(2π phase / 8000), by its series: constants cannot call the library's.
pub const fn sine(phase: u32) -> f32 {
    let turns = (phase % RATE_HZ) as f64 / RATE_HZ as f64;
    // Half a turn on, so that the argument lies in -π to π; the sign makes up for it.
    let x = (turns - 0.5) * std::f64::consts::TAU;
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while n < 27.0 {
        term = -term * x * x / ((n + 1.0) * (n + 2.0));
        sum += term;
        n += 2.0;
    }
    -sum as f32
}

static CARRIERS: [Carrier; UNIT] = {
    let mut carriers = [Carrier { re: [0.0; 8], im: [0.0; 8] }; UNIT];
    let mut sample = 0;
    while sample < UNIT {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            carriers[sample] = Carrier::at(sample as u32);
        }
        sample += 1;
    }
    carriers
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_is_the_sine() {
        for phase in 0..RATE_HZ {
            let expected = (f64::from(phase) * std::f64::consts::TAU / 8000.0).sin();
            assert!((f64::from(sine(phase)) - expected).abs() < 1e-6, "{phase}");
        }
    }

    #[test]
    fn a_tone_shows_at_its_carrier_and_its_energy_is_that_of_the_samples() {
        for (n, hz) in FREQUENCIES.into_iter().enumerate() {
            let mut bins = Bins::EMPTY;
            let tone = |sample: u32| (8000.0 * sine(hz * sample)) as i16;
            assert_eq!(bins.fill((0..15).map(tone)), 15);
            assert_eq!(bins.count(), 15);
            assert_eq!(bins.fill((15..100).map(tone)), 25, "a full unit takes no more");
            assert!(bins.is_full());
            let power = |n: usize| Complex { re: bins.re[n], im: bins.im[n] }.power();
            assert!((0..8).all(|other| power(other) <= power(n) * 1.1), "{hz}");
            // |X|² = (A·40/2)²; A is 8000 up to the carrier's image in so short a unit.
            let amplitude = power(n).sqrt() / 20.0;
            assert!((amplitude - 8000.0).abs() < 1000.0, "{hz}: {amplitude}");
            assert!((bins.energy / (8000.0 * 8000.0 * 20.0) - 1.0).abs() < 0.1, "{hz}");
        }
    }
}
