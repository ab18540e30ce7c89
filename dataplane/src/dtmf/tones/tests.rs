//! The limits of Q.24 on synthetic lines, through both laws.

use std::f64::consts::TAU;

use super::bins::FREQUENCIES;
use super::*;
use crate::dtmf::ToneSender;
use crate::g711::amplitude;

const MS: u64 = 1_000_000;
const LAWS: [Law; 2] = [Law::Mu, Law::A];

/// A line of samples that tests draw on.
#[derive(Default)]
struct Line {
    samples: Vec<f64>,
    seed: u64,
}

/// One tone pair: offsets as ratios, levels in dBm0.
#[derive(Clone, Copy)]
struct Pair {
    code: DigitCode,
    row_off: f64,
    column_off: f64,
    row_dbm0: f64,
    column_dbm0: f64,
}

impl Pair {
    fn of(code: DigitCode) -> Pair {
        Pair { code, row_off: 0.0, column_off: 0.0, row_dbm0: -9.0, column_dbm0: -9.0 }
    }
}

impl Line {
    fn silence(mut self, samples: usize) -> Line {
        self.samples.resize(self.samples.len() + samples, 0.0);
        self
    }

    fn pair(mut self, pair: Pair, samples: usize) -> Line {
        let (row, column) = pair.code.place();
        let tones = [
            (FREQUENCIES[row], pair.row_off, pair.row_dbm0),
            (FREQUENCIES[4 + column], pair.column_off, pair.column_dbm0),
        ];
        // Phases vary with where the tone stands on the line.
        let start = self.samples.len();
        for n in 0..samples {
            let at = (start + n) as f64;
            self.samples.push(
                tones
                    .iter()
                    .map(|(hz, off, dbm0)| {
                        let hz = f64::from(*hz) * (1.0 + off);
                        f64::from(amplitude(*dbm0 as f32)) * (TAU * hz * at / 8000.0 + off).sin()
                    })
                    .sum(),
            );
        }
        self
    }

    fn digit(self, code: DigitCode, ms: usize) -> Line {
        self.pair(Pair::of(code), ms * 8)
    }

    /// White noise of a power relative to a pair of -9 dBm0 tones.
    fn noise(mut self, snr_db: f64, seed: u64) -> Line {
        self.seed = seed | 1;
        let power = f64::from(amplitude(-9.0)).powi(2);
        let sigma = (power / 10f64.powf(snr_db / 10.0)).sqrt();
        for n in 0..self.samples.len() {
            let gauss = self.gauss();
            self.samples[n] += sigma * gauss;
        }
        self
    }

    fn random(&mut self) -> f64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 11) as f64 / (1u64 << 53) as f64
    }

    fn gauss(&mut self) -> f64 {
        (0..12).map(|_| self.random()).sum::<f64>() - 6.0
    }

    fn octets(&self, law: Law) -> Vec<u8> {
        self.samples.iter().map(|sample| law.encode(*sample as i16)).collect()
    }

    fn heard(&self, law: Law) -> Vec<Digit> {
        hear(law, &self.octets(law), 160, |_| true)
    }
}

/// What a detector tells about octets in packets, of which `arrives` says which come.
fn hear(law: Law, octets: &[u8], packet: usize, arrives: impl Fn(usize) -> bool) -> Vec<Digit> {
    let mut detector = ToneDetector::new();
    let mut heard = Vec::new();
    let mut now = 0;
    for (n, payload) in octets.chunks(packet).enumerate() {
        now = (n * packet) as u64 * MS / 8;
        let timestamp = (n * packet) as u32;
        if arrives(n) {
            heard.extend(detector.note(law, timestamp.wrapping_sub(4000), payload, now));
        }
        heard.extend(detector.expire(now));
    }
    for _ in 0..3 {
        now += 100 * MS;
        heard.extend(detector.expire(now));
    }
    heard
}

fn keys(digits: &[Digit]) -> String {
    digits.iter().map(|digit| digit.code.as_char()).collect()
}

/// How many of `count` lines, each shifted by some samples, tell exactly the one digit.
fn accepted(count: usize, pair: Pair, samples: usize, snr_db: Option<f64>) -> usize {
    (0..count)
        .filter(|n| {
            let mut line = Line::default().silence(400 + n * 7).pair(pair, samples).silence(800);
            if let Some(snr_db) = snr_db {
                line = line.noise(snr_db, *n as u64 + 1);
            }
            let heard = line.heard(LAWS[n % 2]);
            assert!(heard.len() <= 1 && heard.iter().all(|digit| digit.code == pair.code));
            heard.len() == 1
        })
        .count()
}

#[test]
fn every_digit_through_both_laws_at_every_packet_size() {
    let mut line = Line::default();
    for code in DigitCode::ALL {
        line = line.silence(480).digit(code, 50);
    }
    let line = line.silence(800);
    for law in LAWS {
        for packet in [1, 80, 160, 240, 320, 480, 800] {
            let heard = hear(law, &line.octets(law), packet, |_| true);
            assert_eq!(keys(&heard), "0123456789*#ABCD", "{law:?} {packet}");
            for digit in heard {
                assert!((45..=55).contains(&digit.duration_ms), "{digit:?}");
            }
        }
    }
}

#[test]
fn our_own_tones_are_heard_with_their_duration() {
    for law in LAWS {
        for ms in [40, 70, 100, 500, 3000] {
            for code in DigitCode::ALL {
                let mut octets = vec![0; ms * 8 + 800];
                ToneSender::new(code, ms as u32, law).write(&mut octets);
                let heard = hear(law, &octets, 160, |_| true);
                assert_eq!(heard.len(), 1, "{law:?} {code} {ms}");
                assert_eq!(heard[0].code, code);
                assert!(heard[0].duration_ms.abs_diff(ms as u32) <= 7, "{ms}: {heard:?}");
            }
        }
    }
}

#[test]
fn forty_ms_are_accepted_and_twenty_three_refused() {
    for code in DigitCode::ALL {
        assert_eq!(accepted(40, Pair::of(code), 40 * 8, None), 40, "{code}");
        assert_eq!(accepted(40, Pair::of(code), 23 * 8, None), 0, "{code}");
    }
}

#[test]
fn fifteen_db_of_noise_lose_no_digit() {
    for code in DigitCode::ALL {
        assert_eq!(accepted(60, Pair::of(code), 40 * 8, Some(15.0)), 60, "{code}");
    }
}

#[test]
fn frequencies_are_accepted_to_1_5_and_refused_from_3_5_percent() {
    for code in DigitCode::ALL {
        for off in [0.0, 0.005, -0.005, 0.015, -0.015] {
            for other in [0.0, off] {
                for (row_off, column_off) in [(off, other), (other, off)] {
                    let pair = Pair { row_off, column_off, ..Pair::of(code) };
                    assert_eq!(
                        accepted(8, pair, 320, Some(25.0)),
                        8,
                        "{code} {row_off} {column_off}"
                    );
                }
            }
        }
        for off in
            (35..=50).step_by(5).flat_map(|n| [f64::from(n) / 1000.0, f64::from(n) / -1000.0])
        {
            for (row_off, column_off) in [(off, 0.0), (0.0, off)] {
                let pair = Pair { row_off, column_off, ..Pair::of(code) };
                // Half a second, so that there are many chances to fail.
                let line = Line::default().silence(400).pair(pair, 4000).silence(800);
                assert_eq!(keys(&line.heard(Law::A)), "", "{code} {row_off} {column_off}");
            }
        }
    }
}

#[test]
fn twist_is_accepted_from_minus_8_to_plus_4_db() {
    for code in DigitCode::ALL {
        for (row_dbm0, column_dbm0, expected) in
            [(-6.0, -14.0, 10), (-10.0, -6.0, 10), (-6.0, -18.0, 0), (-13.0, -6.0, 0)]
        {
            let pair = Pair { row_dbm0, column_dbm0, ..Pair::of(code) };
            assert_eq!(accepted(10, pair, 320, None), expected, "{code} {row_dbm0} {column_dbm0}");
        }
    }
}

#[test]
fn twist_with_frequency_offset_and_noise_is_accepted() {
    for code in DigitCode::ALL {
        for (row_dbm0, column_dbm0) in [(-7.0, -15.0), (-11.0, -7.0)] {
            for off in [0.015, -0.015] {
                let pair = Pair { row_dbm0, column_dbm0, row_off: off, column_off: off, code };
                assert_eq!(accepted(10, pair, 400, Some(20.0)), 10, "{code} {row_dbm0} {off}");
            }
        }
    }
}

#[test]
fn levels_are_accepted_from_0_to_minus_25_dbm0_and_refused_at_minus_35() {
    for code in DigitCode::ALL {
        for (dbm0, expected) in [(0.0, 10), (-3.0, 10), (-25.0, 10), (-35.0, 0)] {
            let pair = Pair { row_dbm0: dbm0, column_dbm0: dbm0, ..Pair::of(code) };
            assert_eq!(accepted(10, pair, 320, None), expected, "{code} {dbm0}");
        }
    }
}

#[test]
fn digits_follow_each_other_at_the_fastest_rate() {
    for law in LAWS {
        let mut line = Line::default();
        for key in "1122334455#D0*".chars() {
            line = line.digit(DigitCode::of_char(key).unwrap(), 40).silence(320);
        }
        assert_eq!(keys(&line.silence(800).heard(law)), "1122334455#D0*");
    }
}

#[test]
fn different_digits_need_no_pause() {
    let mut line = Line::default();
    for key in "159D".chars() {
        line = line.digit(DigitCode::of_char(key).unwrap(), 80);
    }
    assert_eq!(keys(&line.silence(800).heard(Law::Mu)), "159D");
}

#[test]
fn an_interruption_of_10_ms_does_not_split_a_digit() {
    for shift in 0..40 {
        let code = DigitCode::of_char('6').unwrap();
        let line = Line::default().silence(400 + shift).digit(code, 60).silence(80).digit(code, 60);
        assert_eq!(keys(&line.silence(800).heard(Law::A)), "6", "{shift}");
    }
}

#[test]
fn lost_packets_do_not_split_a_digit() {
    let code = DigitCode::of_char('8').unwrap();
    let line = Line::default().silence(800).digit(code, 300).silence(1600);
    for law in LAWS {
        let octets = line.octets(law);
        for lost in 0..24 {
            for run in 1..=2 {
                let heard = hear(law, &octets, 160, |n| !(lost..lost + run).contains(&n));
                assert_eq!(keys(&heard), "8", "{lost} {run}");
            }
        }
    }
}

#[test]
fn a_pause_that_is_lost_is_a_pause() {
    let code = DigitCode::of_char('8').unwrap();
    let line = Line::default().silence(320).digit(code, 80).silence(640).digit(code, 80);
    let octets = line.silence(800).octets(Law::A);
    // Packets 6 to 9 hold the pause.
    assert_eq!(keys(&hear(Law::A, &octets, 160, |n| !(6..10).contains(&n))), "88");
}

#[test]
fn a_digit_after_which_nothing_comes_is_told_by_the_clock() {
    let code = DigitCode::of_char('2').unwrap();
    let octets = Line::default().silence(320).digit(code, 100).octets(Law::A);
    let mut detector = ToneDetector::new();
    for (n, payload) in octets.chunks(160).enumerate() {
        assert_eq!(detector.note(Law::A, n as u32 * 160, payload, 0), None);
    }
    assert_eq!(detector.expire(200 * MS - 1), None);
    let digit = detector.expire(200 * MS).unwrap();
    assert!(digit.code == code && (93..=105).contains(&digit.duration_ms), "{digit:?}");
    assert_eq!(detector.expire(u64::MAX), None);
}

#[test]
fn repeated_and_late_packets_make_no_second_digit() {
    let code = DigitCode::of_char('2').unwrap();
    let octets = Line::default().silence(320).digit(code, 100).silence(800).octets(Law::A);
    let mut detector = ToneDetector::new();
    let mut heard = Vec::new();
    let packets: Vec<_> = octets.chunks(160).enumerate().collect();
    for (n, payload) in &packets {
        heard.extend(detector.note(Law::A, *n as u32 * 160, payload, 0));
        heard.extend(detector.note(Law::A, *n as u32 * 160, payload, 0));
        heard.extend(detector.note(Law::A, (*n as u32 / 2) * 160, packets[n / 2].1, 0));
    }
    assert_eq!(keys(&heard), "2");
}

#[test]
fn another_timestamp_origin_is_followed() {
    let code = DigitCode::of_char('2').unwrap();
    let octets = Line::default().silence(320).digit(code, 100).silence(800).octets(Law::A);
    for origin in [1_000_000u32, 3_000_000_000, 100] {
        let mut detector = ToneDetector::new();
        let mut heard = Vec::new();
        for base in [2_000_000_000, origin] {
            for (n, payload) in octets.chunks(160).enumerate() {
                let timestamp = (n as u32 * 160).wrapping_add(base);
                heard.extend(detector.note(Law::A, timestamp, payload, 0));
            }
        }
        assert_eq!(keys(&heard), "22", "{origin}");
    }
}

/// Vowels of voices of every pitch: pulses through three formants, with vibrato and tremolo.
fn vowels(seconds: usize, seed: u64) -> Line {
    const FORMANTS: [[f64; 3]; 6] = [
        [730.0, 1090.0, 2440.0],
        [270.0, 2290.0, 3010.0],
        [530.0, 1840.0, 2480.0],
        [570.0, 840.0, 2410.0],
        [300.0, 870.0, 2240.0],
        [660.0, 1720.0, 2410.0],
    ];
    let mut line = Line { samples: Vec::new(), seed };
    let mut state = [[0.0f64; 2]; 3];
    let (mut phase, mut pitch, mut vowel) = (0.0, 120.0, 0);
    for n in 0..seconds * 8000 {
        if n % 1200 == 0 {
            pitch = 80.0 + 320.0 * line.random();
            vowel = (line.random() * 6.0) as usize;
        }
        phase += pitch * (1.0 + 0.02 * (TAU * 5.0 * n as f64 / 8000.0).sin()) / 8000.0;
        let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
        phase -= phase.floor();
        let mut sample = pulse + 0.01 * line.gauss();
        for (formant, state) in FORMANTS[vowel].iter().zip(&mut state) {
            let radius = (-std::f64::consts::PI * 80.0 / 8000.0).exp();
            let theta = TAU * formant / 8000.0;
            let next = sample + 2.0 * radius * theta.cos() * state[0] - radius * radius * state[1];
            *state = [next, state[0]];
            sample = next * 0.3;
        }
        line.samples.push(sample * 6000.0);
    }
    let peak = line.samples.iter().fold(0.0f64, |peak, s| peak.max(s.abs()));
    for sample in &mut line.samples {
        *sample *= 20_000.0 / peak;
    }
    line
}

#[test]
fn ten_minutes_of_vowels_and_noise_hold_no_digit() {
    for seed in 1..=8 {
        assert_eq!(keys(&vowels(60, seed).heard(LAWS[seed as usize % 2])), "");
    }
    for snr_db in [-10.0, 0.0] {
        assert_eq!(keys(&Line::default().silence(60 * 8000).noise(snr_db, 5).heard(Law::A)), "");
    }
}

/// 600 chords of two notes, an eighth of a second each, with a second harmonic of some strength.
/// Semitones from 440 to 1760 Hz: many chords lie within 2.5 % of a digit's pair.
fn melody(harmonic: f64) -> Line {
    let mut line = Line { samples: Vec::new(), seed: 3 };
    for _ in 0..600 {
        let hz: Vec<f64> =
            (0..2).map(|_| 440.0 * 2f64.powf((line.random() * 24.0).floor() / 12.0)).collect();
        for n in 0..1000 {
            let at = n as f64 * TAU / 8000.0;
            let note = |hz: f64| (hz * at).sin() + harmonic * (2.0 * hz * at).sin();
            line.samples.push(4000.0 * hz.iter().map(|hz| note(*hz)).sum::<f64>());
        }
    }
    line
}

#[test]
fn music_with_harmonics_holds_hardly_a_digit() {
    // Without harmonics these chords are digits by every rule of Q.24: the test has something to
    // refuse.
    assert!(melody(0.0).heard(Law::Mu).len() >= 10);
    assert!(melody(0.5).heard(Law::Mu).len() <= 1);
}

#[test]
fn a_digit_among_vowels_is_heard() {
    for code in DigitCode::ALL {
        let mut line = vowels(2, 9).silence(400).digit(code, 60).silence(400);
        line.samples.extend(vowels(2, 10).samples);
        assert_eq!(keys(&line.heard(Law::A)), code.to_string());
    }
}

#[test]
fn loud_second_harmonics_are_no_digit() {
    for code in DigitCode::ALL {
        let (row, column) = code.place();
        let mut line = Line::default().silence(400).digit(code, 500).silence(800);
        for (n, sample) in line.samples.iter_mut().enumerate().skip(400).take(4000) {
            for hz in [FREQUENCIES[row], FREQUENCIES[4 + column]] {
                let at = TAU * 2.0 * f64::from(hz) * n as f64 / 8000.0;
                *sample += 0.6 * f64::from(amplitude(-9.0)) * at.sin();
            }
        }
        assert_eq!(keys(&line.heard(Law::A)), "", "{code}");
    }
}

proptest::proptest! {
    #[test]
    fn any_octets_at_any_timestamps_are_harmless(
        packets in proptest::collection::vec(
            (proptest::collection::vec(0..=255u8, 0..1500), 0..u32::MAX, 0..u64::MAX), 0..20)
    ) {
        let mut detector = ToneDetector::new();
        for (payload, timestamp, now_ns) in packets {
            let _ = detector.note(Law::Mu, timestamp, &payload, now_ns);
            let _ = detector.expire(now_ns);
        }
    }
}
