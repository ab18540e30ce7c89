//! Between 8 and 16 kHz: one half-band filter, down and up.
//!
//! Kaiser window, 79 taps: flat to 3.4 kHz within 0.1 dB, and 60 dB down from 4.6 kHz on, so that
//! nothing folds back into the telephone band. Runs once per prompt.

/// Every second sample of `wide` after the filter: half as many, rounded up.
pub fn halve(wide: &[i16]) -> Vec<i16> {
    let taps = taps();
    (0..wide.len().div_ceil(2))
        .map(|n| clip(filtered(&taps, 2 * n, |at| sample(wide, at))))
        .collect()
}

/// Twice as many samples.
pub fn double(narrow: &[i16]) -> Vec<i16> {
    let taps = taps();
    let spread = |at: usize| if at.is_multiple_of(2) { 2.0 * sample(narrow, at / 2) } else { 0.0 };
    (0..2 * narrow.len()).map(|n| clip(filtered(&taps, n, spread))).collect()
}

/// The filter's output at sample `n`, with silence before and behind.
fn filtered(taps: &[f64; TAPS], n: usize, at: impl Fn(usize) -> f64) -> f64 {
    taps.iter().enumerate().filter_map(|(k, tap)| Some(tap * at((n + k).checked_sub(HALF)?))).sum()
}

fn sample(samples: &[i16], at: usize) -> f64 {
    samples.get(at).copied().map_or(0.0, f64::from)
}

fn clip(value: f64) -> i16 {
    value.round().clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16
}

/// A sinc at a quarter of the rate under a Kaiser window; the sum is 1.
fn taps() -> [f64; TAPS] {
    let mut taps = [0.0; TAPS];
    for (k, tap) in taps.iter_mut().enumerate() {
        let at = k as f64 - HALF as f64;
        let x = std::f64::consts::PI * at / 2.0;
        let sinc = if at == 0.0 { 1.0 } else { x.sin() / x };
        let edge = at / (HALF as f64 + 1.0);
        *tap = sinc * bessel(KAISER_BETA * (1.0 - edge * edge).sqrt());
    }
    let sum: f64 = taps.iter().sum();
    taps.map(|tap| tap / sum)
}

/// Modified Bessel function of the first kind, order 0.
fn bessel(x: f64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0);
    for n in 1..30 {
        term *= (x / (2.0 * f64::from(n))).powi(2);
        sum += term;
    }
    sum
}

const HALF: usize = 39;
const TAPS: usize = 2 * HALF + 1;
/// 65 dB of stop band.
const KAISER_BETA: f64 = 6.2;

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, rate_hz: f64, len: usize) -> Vec<i16> {
        let at = |n: usize| (std::f64::consts::TAU * hz * n as f64 / rate_hz).sin();
        (0..len).map(|n| (10_000.0 * at(n)) as i16).collect()
    }

    /// Level of the middle, away from the filter's edges, in dB below 10,000.
    fn level(samples: &[i16]) -> f64 {
        let middle = &samples[100..samples.len() - 100];
        let power: f64 = middle.iter().map(|s| f64::from(*s).powi(2)).sum();
        10.0 * (power / middle.len() as f64 / 5e7).log10()
    }

    #[test]
    fn the_telephone_band_passes_and_what_would_fold_into_it_does_not() {
        for hz in [300.0, 1000.0, 2000.0, 3000.0, 3400.0] {
            assert!(level(&halve(&tone(hz, 16_000.0, 4000))).abs() < 0.1, "{hz}");
            assert!(level(&double(&tone(hz, 8000.0, 2000))).abs() < 0.1, "{hz}");
        }
        for hz in [4600.0, 5000.0, 6000.0, 7500.0] {
            assert!(level(&halve(&tone(hz, 16_000.0, 4000))) < -55.0, "{hz}");
        }
    }

    #[test]
    fn doubling_makes_no_image() {
        let doubled = double(&tone(3000.0, 8000.0, 2000));
        let exact = tone(3000.0, 16_000.0, 4000);
        let rest: Vec<i16> = doubled.iter().zip(&exact).map(|(a, b)| a - b).collect();
        assert!(level(&rest) < -40.0, "{}", level(&rest));
    }

    #[test]
    fn lengths_are_exact_and_full_scale_does_not_wrap() {
        for len in [0, 1, 2, 3, 100, 101] {
            assert_eq!(halve(&vec![0; len]).len(), len.div_ceil(2));
            assert_eq!(double(&vec![0; len]).len(), 2 * len);
        }
        let square: Vec<i16> =
            (0..400).map(|n| if n / 20 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        let doubled = double(&square);
        let pairs = doubled.iter().step_by(2).zip(&square);
        let signs_kept = pairs.filter(|(a, b)| (**a > 0) == (**b > 0));
        assert!(signs_kept.count() > 390);
    }
}
