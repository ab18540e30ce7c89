//! A sine tone as real audio, and the Goertzel detector that recognises it again.
//!
//! Both work at the 8 kHz of G.711. The tone of a whole number of hertz repeats after one second, so
//! a second of encoded samples is made once and every packet is a copy out of it.

use std::f64::consts::TAU;
use std::sync::Arc;

use super::g711::Law;

/// Samples per second of G.711.
pub const SAMPLE_RATE_HZ: u32 = 8000;

/// One second of an encoded sine tone, read in a circle. A clone shares the samples.
#[derive(Clone)]
pub struct Tone {
    octets: Arc<[u8]>,
}

impl Tone {
    /// A tone of `frequency_hz` at half of full scale. A whole number of hertz makes it seamless.
    pub fn new(frequency_hz: u32, law: Law) -> Tone {
        let octets = (0..SAMPLE_RATE_HZ)
            .map(|n| {
                let turns = f64::from(frequency_hz) * f64::from(n) / f64::from(SAMPLE_RATE_HZ);
                law.encode(((turns * TAU).sin() * AMPLITUDE) as i16)
            })
            .collect();
        Tone { octets }
    }

    /// Fills `out` with the encoded samples that start at sample number `from`.
    pub fn fill(&self, from: u64, out: &mut [u8]) {
        let start = (from % u64::from(SAMPLE_RATE_HZ)) as usize;
        for (slot, octet) in out.iter_mut().zip(self.octets.iter().cycle().skip(start)) {
            *slot = *octet;
        }
    }
}

/// Share of the energy of linear `samples` that lies at `frequency_hz`, from 0 to 1: near 1 for the
/// pure tone, about `2 / samples.len()` for noise, 0 for silence.
pub fn share_at(frequency_hz: u32, samples: impl IntoIterator<Item = i16>) -> f64 {
    let coefficient = 2.0 * (TAU * f64::from(frequency_hz) / f64::from(SAMPLE_RATE_HZ)).cos();
    let (mut s1, mut s2, mut energy, mut count) = (0.0, 0.0, 0.0, 0.0);
    for sample in samples {
        let sample = f64::from(sample);
        let s0 = sample + coefficient * s1 - s2;
        (s2, s1) = (s1, s0);
        energy += sample * sample;
        count += 1.0;
    }
    if energy == 0.0 {
        return 0.0;
    }
    let power = s1 * s1 + s2 * s2 - coefficient * s1 * s2;
    (2.0 * power / (count * energy)).min(1.0)
}

/// Whether encoded G.711 `octets` carry the tone: 80 octets (10 ms) or more give a sure answer.
pub fn carries(frequency_hz: u32, law: Law, octets: &[u8]) -> bool {
    share_at(frequency_hz, octets.iter().map(|octet| law.decode(*octet))) >= SHARE_MIN
}

const AMPLITUDE: f64 = 16_000.0;

/// A tone cut to 17 ms leaks a few percent into its neighbours; random octets stay below 0.15.
const SHARE_MIN: f64 = 0.7;

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(frequency_hz: u32, law: Law, from: u64) -> [u8; 136] {
        let mut out = [0; 136];
        Tone::new(frequency_hz, law).fill(from, &mut out);
        out
    }

    #[test]
    fn the_detector_hears_its_tone_and_no_other() {
        for law in [Law::A, Law::Mu] {
            for from in (0..8000).step_by(160) {
                let audio = octets(440, law, from);
                assert!(carries(440, law, &audio));
                assert!(!carries(1000, law, &audio));
                assert!(carries(1000, law, &octets(1000, law, from)));
            }
        }
    }

    #[test]
    fn noise_and_silence_are_no_tone() {
        let mut noise = [0u8; 160];
        for _ in 0..2000 {
            getrandom::fill(&mut noise).unwrap();
            assert!(!carries(440, Law::A, &noise));
            assert!(!carries(1000, Law::Mu, &noise));
        }
        assert_eq!(share_at(440, [0i16; 160]), 0.0);
        assert_eq!(share_at(440, []), 0.0);
    }

    #[test]
    fn the_circle_has_no_seam() {
        let tone = Tone::new(440, Law::A);
        let (mut whole, mut second) = ([0; 320], [0; 160]);
        tone.fill(7840, &mut whole);
        tone.fill(8000, &mut second);
        assert_eq!(whole[160..], second);
    }
}
