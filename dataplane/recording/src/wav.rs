//! Samples of a WAV file: 16-bit PCM, mono, 8 or 16 kHz. What it contains is decided by the bytes
//! that are there, never by a length in a header.

use hound::{SampleFormat, WavReader};

/// Samples at one of the two rates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Samples {
    Narrow(Vec<i16>),
    Wide(Vec<i16>),
}

impl Samples {
    /// How long they last, in milliseconds, rounded up.
    pub fn ms(&self) -> u64 {
        match self {
            Samples::Narrow(samples) => samples.len().div_ceil(8) as u64,
            Samples::Wide(samples) => samples.len().div_ceil(16) as u64,
        }
    }
}

/// What is wrong with a file, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WavFault {
    #[error("not a WAV file that can be read ({0}); {CONVERT}")]
    Format(String),
    #[error("{rate_hz} Hz, {bits} bits, channels: {tracks}; {CONVERT}")]
    Shape { rate_hz: u32, bits: u16, tracks: u16 },
    #[error("the audio ends before the length in its header; copy or export the file again")]
    Truncated,
    #[error("no audio in it; record it again or remove it")]
    Empty,
    #[error("longer than {seconds_max} s; shorten it")]
    TooLong { seconds_max: u32 },
}

const CONVERT: &str =
    "convert it to 16-bit PCM, mono, 8 or 16 kHz (`sox in.wav -b 16 -c 1 -r 16000 out.wav`)";

/// Reads a whole file of so many seconds at most.
///
/// # Errors
/// [`WavFault`]: what is wrong with it, and the remedy.
pub fn read(bytes: &[u8], seconds_max: u32) -> Result<Samples, WavFault> {
    let mut wav = WavReader::new(bytes).map_err(format)?;
    let spec = wav.spec();
    let is_pcm = spec.sample_format == SampleFormat::Int && spec.bits_per_sample == 16;
    if !is_pcm || spec.channels != 1 || !matches!(spec.sample_rate, NARROW_HZ | WIDE_HZ) {
        return Err(WavFault::Shape {
            rate_hz: spec.sample_rate,
            bits: spec.bits_per_sample,
            tracks: spec.channels,
        });
    }
    if u64::from(wav.duration()) > u64::from(seconds_max) * u64::from(spec.sample_rate) {
        return Err(WavFault::TooLong { seconds_max });
    }
    // The iterator's size hint is the header's word; a vector that grows believes the bytes.
    let mut samples = Vec::new();
    for sample in wav.samples::<i16>() {
        samples.push(sample.map_err(|_| WavFault::Truncated)?);
    }
    match spec.sample_rate {
        _ if samples.is_empty() => Err(WavFault::Empty),
        WIDE_HZ => Ok(Samples::Wide(samples)),
        _ => Ok(Samples::Narrow(samples)),
    }
}

fn format(error: hound::Error) -> WavFault {
    match error {
        hound::Error::IoError(_) => WavFault::Format("it ends inside a header".into()),
        other => WavFault::Format(other.to_string()),
    }
}

const NARROW_HZ: u32 = 8000;
const WIDE_HZ: u32 = 16_000;

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS_MAX: u32 = 60;
    const TOO_LONG: WavFault = WavFault::TooLong { seconds_max: SECONDS_MAX };

    fn read(bytes: &[u8]) -> Result<Samples, WavFault> {
        super::read(bytes, SECONDS_MAX)
    }

    /// A file as recorders write it.
    fn file(rate_hz: u32, bits: u16, tracks: u16, samples: &[i16]) -> Vec<u8> {
        let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let frame = tracks * bits / 8;
        let mut bytes = b"RIFF".to_vec();
        bytes.extend((36 + data.len() as u32).to_le_bytes());
        bytes.extend(b"WAVEfmt ");
        bytes.extend(16u32.to_le_bytes());
        bytes.extend(1u16.to_le_bytes());
        bytes.extend(tracks.to_le_bytes());
        bytes.extend(rate_hz.to_le_bytes());
        bytes.extend((rate_hz * u32::from(frame)).to_le_bytes());
        bytes.extend(frame.to_le_bytes());
        bytes.extend(bits.to_le_bytes());
        bytes.extend(b"data");
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn both_rates_are_read() {
        assert_eq!(read(&file(8000, 16, 1, &[1, -2])), Ok(Samples::Narrow(vec![1, -2])));
        assert_eq!(read(&file(16_000, 16, 1, &[1, -2])), Ok(Samples::Wide(vec![1, -2])));
    }

    #[test]
    fn other_shapes_are_named() {
        for (rate_hz, bits, tracks) in [(44_100, 16, 1), (8000, 8, 1), (8000, 24, 1), (8000, 16, 2)]
        {
            let fault = read(&file(rate_hz, bits, tracks, &[0; 12])).unwrap_err();
            assert_eq!(fault, WavFault::Shape { rate_hz, bits, tracks });
            assert!(fault.to_string().contains("sox"), "{fault}");
        }
    }

    #[test]
    fn a_prompt_may_last_as_long_as_the_limit() {
        let limit = (SECONDS_MAX * NARROW_HZ) as usize;
        assert!(read(&file(8000, 16, 1, &vec![0; limit])).is_ok());
        assert_eq!(read(&file(8000, 16, 1, &vec![0; limit + 1])), Err(TOO_LONG));
    }

    #[test]
    fn lying_lengths_are_found_out() {
        let good = file(8000, 16, 1, &[5; 100]);
        let with = |at: usize, value: u32| {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            read(&bytes)
        };
        assert_eq!(with(40, 400), Err(WavFault::Truncated));
        assert_eq!(with(40, u32::MAX - 1), Err(TOO_LONG));
        assert_eq!(with(40, 0), Err(WavFault::Empty));
        // A chunk that reaches beyond the file, and one that hides the audio.
        for at in [16, 40] {
            for value in [0, 1, 17, u32::MAX] {
                assert!(with(at, value).is_err(), "{at} {value}");
            }
        }
    }

    /// Body of the fuzz target: any bytes give samples or a fault, and never more samples than
    /// bytes.
    fn any_file_is_harmless(bytes: &[u8]) {
        match read(bytes) {
            Ok(Samples::Narrow(samples) | Samples::Wide(samples)) => {
                assert!(!samples.is_empty() && samples.len() * 2 <= bytes.len());
            }
            Err(fault) => assert!(!fault.to_string().is_empty()),
        }
    }

    #[test]
    fn a_sweep_of_malformed_files_is_harmless() {
        let good = file(16_000, 16, 1, &[7; 40]);
        for len in 0..=good.len() {
            any_file_is_harmless(&good[..len]);
        }
        for at in 0..good.len() {
            for value in 0..=255 {
                let mut bytes = good.clone();
                bytes[at] = value;
                any_file_is_harmless(&bytes);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_harmless(
            bytes in proptest::collection::vec(0..=255u8, 0..200),
            cut in 0..60usize,
        ) {
            any_file_is_harmless(&bytes);
            // And behind the start of a good file, where the parser is deeper.
            let mut deep = file(8000, 16, 1, &[]);
            deep.truncate(cut);
            deep.extend(bytes);
            any_file_is_harmless(&deep);
        }
    }
}
