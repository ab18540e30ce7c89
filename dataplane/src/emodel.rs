//! What a call sounds like, as one number: the E-model of ITU-T G.107 (06/2015).
//!
//! ```text
//! R = Ro - Is - Id(delay) - Ie,eff(codec, loss)      then MOS from R (G.107 Annex B)
//! ```
//! Everything that a relay cannot measure (loudness, noise, echo) has its G.107 default, which makes
//! Ro - Is a constant and R = 93.2 for a perfect G.711 call. Operators compare the result with what
//! their carriers report, so it is the whole formula with its echo and delay terms and none of the
//! usual linear fits of them.
//!
//! Wideband codecs are rated on their own scale (G.107.1: Ro = 129, R/1.29 into the same curve), so
//! that a perfect call rates high in either; a wideband 4.4 sounds better than a narrowband 4.4, and
//! the two should not be averaged. The delay terms are the narrowband ones on either scale: the
//! factor by which G.107.1 raises them is the one that R is divided by.
//!
//! The values of codecs are planning values (G.113 appendices I and IV). Where G.113 has none, the
//! table below says which row stands in.

use abi::Codec;

/// What the model needs to know of a codec. G.711 is taken to be played by a receiver that conceals
/// losses (G.711 Appendix I), as nearly all do.
fn impairment(codec: Codec) -> Impairment {
    let narrow = |ie, bpl| Impairment { scale: Scale::Narrow, ie, bpl };
    let wide = |ie, bpl| Impairment { scale: Scale::Wide, ie, bpl };
    match codec {
        // G.113 Tables I.1 and I.4.
        Codec::Pcmu | Codec::Pcma => narrow(0.0, 25.1),
        Codec::G729 => narrow(11.0, 19.0),
        // Mode 12.2 is GSM-EFR bit for bit (3GPP TS 26.071); others are not told apart.
        Codec::Amr => narrow(5.0, 10.0),
        // Table I.1; its concealment is that of GSM-EFR, whose robustness stands in.
        Codec::Gsm => narrow(20.0, 10.0),
        // No row. Rated like G.729, whose quality it was designed to match.
        Codec::Ilbc => narrow(11.0, 19.0),
        // Table IV.1 at 64 kbit/s; no robustness, that of AMR-WB stands in.
        Codec::G722 => wide(13.0, 4.3),
        // Tables IV.1 and IV.4 at 12.65 kbit/s.
        Codec::AmrWb => wide(13.0, 4.3),
        // No row. Rated like AMR-WB at 23.85 kbit/s, the forward error correction uncounted.
        Codec::Opus => wide(8.0, 4.9),
    }
}

/// Mean opinion score (MOS-CQE) times 100: 100 is bad, 450 the best that the model gives.
///
/// `loss_ratio` is of expected packets, 0 to 1. `burst_ratio` is 1 for random loss and higher when
/// losses come together (G.107 §7.5; valid to 8, and above 2 for losses below 2 %).
/// `one_way_delay_ms` is from mouth to ear: half the round trip, packetization and the buffer of
/// the receiver.
pub fn mos_x100(codec: Codec, loss_ratio: f64, burst_ratio: f64, one_way_delay_ms: f64) -> u32 {
    (mos(rating(codec, loss_ratio, burst_ratio, one_way_delay_ms)) * 100.0).round() as u32
}

/// The transmission rating R on the narrowband scale, 0 to 100; arguments as for [`mos_x100`].
/// Values that are no numbers or out of range count as the nearest sensible ones.
pub fn rating(codec: Codec, loss_ratio: f64, burst_ratio: f64, one_way_delay_ms: f64) -> f64 {
    let percent = sensible(loss_ratio, 0.0, 1.0) * 100.0;
    let burst_ratio = sensible(burst_ratio, 1.0, BURST_RATIO_MAX);
    let delay_ms = sensible(one_way_delay_ms, 0.0, DELAY_MS_MAX);
    let Impairment { scale, ie, bpl } = impairment(codec);
    let effective = ie + (95.0 - ie) * percent / (percent / burst_ratio + bpl);
    let unimpaired = match scale {
        Scale::Narrow => RO_LESS_IS - effective,
        Scale::Wide => (RO_WIDE - effective) / WIDE_TO_NARROW,
    };
    (unimpaired - delay_impairment(delay_ms)).clamp(0.0, 100.0)
}

fn sensible(value: f64, low: f64, high: f64) -> f64 {
    if value.is_nan() { low } else { value.clamp(low, high) }
}

/// G.107 Annex B, with the floor at 1 where the cubic dips below it (R < 6.5).
fn mos(rating: f64) -> f64 {
    let cubic = rating * (rating - 60.0) * (100.0 - rating) * 7.0e-6;
    (1.0 + 0.035 * rating + cubic).clamp(1.0, 4.5)
}

/// Id = Idte + Idle + Idd, G.107 §7.4, on a path whose echo has the delay of the path (T = Ta,
/// Tr = 2 Ta).
fn delay_impairment(delay_ms: f64) -> f64 {
    talker_echo(delay_ms) + listener_echo(2.0 * delay_ms) + pure_delay(delay_ms)
}

fn talker_echo(delay_ms: f64) -> f64 {
    if delay_ms < 1.0 {
        // It is heard as sidetone.
        return 0.0;
    }
    let spread = ((1.0 + delay_ms / 10.0) / (1.0 + delay_ms / 150.0)).log10();
    let terv = TELR - 40.0 * spread + 6.0 * (-0.3 * delay_ms * delay_ms).exp();
    let difference = ROE - (80.0 + 2.5 * (terv - 14.0));
    let root = (difference * difference / 4.0 + 100.0).sqrt();
    (difference / 2.0 + root - 1.0) * (1.0 - (-delay_ms).exp())
}

fn listener_echo(round_trip_ms: f64) -> f64 {
    let rle = 10.5 * (WEPL + 7.0) * (round_trip_ms + 1.0).powf(-0.25);
    let difference = RO - rle;
    difference / 2.0 + (difference * difference / 4.0 + 169.0).sqrt()
}

fn pure_delay(delay_ms: f64) -> f64 {
    if delay_ms <= 100.0 {
        return 0.0;
    }
    let x = (delay_ms / 100.0).log2();
    let root = |x: f64| (1.0 + x.powi(6)).powf(1.0 / 6.0);
    25.0 * (root(x) - 3.0 * root(x / 3.0) + 2.0)
}

struct Impairment {
    scale: Scale,
    ie: f64,
    bpl: f64,
}

enum Scale {
    Narrow,
    Wide,
}

/// G.107 §7.2 with every default of its Table 2 (No = -61.18 dBm0p).
const RO: f64 = 94.7688;
/// Ro less Is, G.107 §7.3, with the defaults (Is = 1.4136).
const RO_LESS_IS: f64 = 93.3553;
/// -1.5 (No - RLR), G.107 §7.4.
const ROE: f64 = 94.7688;
/// Echo losses in dB, G.107 Table 2.
const TELR: f64 = 65.0;
const WEPL: f64 = 110.0;
/// G.107.1 §7.2 and Annex A.
const RO_WIDE: f64 = 129.0;
const WIDE_TO_NARROW: f64 = 1.29;
/// Where the model ends, G.107 Table 2; delays are cut where R is near 0 for any codec.
const BURST_RATIO_MAX: f64 = 8.0;
const DELAY_MS_MAX: f64 = 10_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, published: f64, tolerance: f64) -> bool {
        (found - published).abs() <= tolerance
    }

    #[test]
    fn a_perfect_call_has_the_rating_of_g107() {
        // G.107 §7.7: the default values result in R = 93.2.
        assert!(near(rating(Codec::Pcma, 0.0, 1.0, 0.0), 93.2, 0.05));
        assert_eq!(mos_x100(Codec::Pcma, 0.0, 1.0, 0.0), 441);
    }

    #[test]
    fn ratings_become_scores_as_published() {
        // G.107 Table B.1, lower limits of the categories of speech transmission quality.
        let table = [(90.0, 4.34), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58)];
        for (rating, published) in table {
            assert!(near(mos(rating), published, 0.0061), "{rating}: {}", mos(rating));
        }
        assert_eq!((mos(0.0), mos(100.0)), (1.0, 4.5));
        assert_eq!(mos(3.0), 1.0, "the cubic dips below 1 there");
    }

    /// Ie under random loss as measured, before there was a formula: G.113 (02/2001) Table I.2.
    #[test]
    fn losses_impair_as_published() {
        type Row = (Codec, &'static [(f64, f64)]);
        let table: [Row; 2] = [
            (
                Codec::G729,
                &[
                    (0.0, 11.0),
                    (0.5, 13.0),
                    (1.0, 15.0),
                    (1.5, 17.0),
                    (2.0, 19.0),
                    (3.0, 23.0),
                    (4.0, 26.0),
                    (8.0, 36.0),
                    (16.0, 49.0),
                ],
            ),
            (
                Codec::Pcma,
                &[(0.0, 0.0), (1.0, 5.0), (2.0, 7.0), (3.0, 10.0), (5.0, 15.0), (7.0, 20.0)],
            ),
        ];
        for (codec, points) in table {
            for (percent, published) in points {
                let perfect = rating(Codec::Pcma, 0.0, 1.0, 0.0);
                let ie = perfect - rating(codec, percent / 100.0, 1.0, 0.0);
                assert!(near(ie, *published, 1.5), "{codec:?} {percent} %: {ie}");
            }
        }
    }

    /// The fit Id = 0.024 d + 0.11 (d - 177.3) H(d - 177.3) that Cole and Rosenbluth published for
    /// the delays of voice over IP ("Voice over IP performance monitoring", 2001).
    #[test]
    fn delays_impair_as_published() {
        for delay_ms in [0.0f64, 20.0, 50.0, 100.0, 150.0, 200.0, 250.0, 300.0] {
            let published = 0.024 * delay_ms + 0.11 * (delay_ms - 177.3).max(0.0);
            let found = delay_impairment(delay_ms);
            assert!(near(found, published, 0.5), "{delay_ms} ms: {found} for {published}");
        }
        // G.107 §7.4: no impairment by delay alone up to 100 ms.
        assert_eq!((pure_delay(100.0), pure_delay(0.0)), (0.0, 0.0));
        assert!(near(pure_delay(200.0), 3.04, 0.01), "x = 1 in the formula");
    }

    #[test]
    fn wideband_has_its_own_scale() {
        // G.107.1 Annex A: R = 129 - 13 gives 116 / 1.29 = 89.9, less the listener echo of Tr = 0.
        assert!(near(rating(Codec::G722, 0.0, 1.0, 0.0), 89.8, 0.1));
        assert_eq!(rating(Codec::G722, 0.05, 1.0, 80.0), rating(Codec::AmrWb, 0.05, 1.0, 80.0));
        assert!(rating(Codec::Opus, 0.05, 1.0, 80.0) > rating(Codec::AmrWb, 0.05, 1.0, 80.0));
    }

    #[test]
    fn worse_is_never_better() {
        for codec in Codec::ALL {
            for step in 0..100 {
                let (x, y) = (f64::from(step) / 100.0, f64::from(step + 1) / 100.0);
                assert!(mos_x100(codec, x, 1.0, 50.0) >= mos_x100(codec, y, 1.0, 50.0));
                let (a, b) = (1000.0 * x, 1000.0 * y);
                assert!(mos_x100(codec, 0.01, 1.0, a) >= mos_x100(codec, 0.01, 1.0, b));
                let (a, b) = (1.0 + 7.0 * x, 1.0 + 7.0 * y);
                assert!(mos_x100(codec, 0.05, a, 50.0) >= mos_x100(codec, 0.05, b, 50.0));
            }
            assert_eq!(mos_x100(codec, 1.0, 8.0, 10_000.0), 100);
        }
    }

    #[test]
    fn any_argument_has_a_score() {
        let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1.0, 1e300];
        for loss in values {
            for burst in values {
                for delay in values {
                    let score = mos_x100(Codec::Pcma, loss, burst, delay);
                    assert!((100..=450).contains(&score), "{loss} {burst} {delay}: {score}");
                }
            }
        }
        assert_eq!(mos_x100(Codec::Pcma, f64::NAN, f64::NAN, f64::NAN), 441);
    }
}
