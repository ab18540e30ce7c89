//! Announcements to the callers of a trunk, and their greeting.

use std::sync::Arc;

use abi::PromptName;
use abi::shelf::{SHELF_RECORDING_MAX, SHELF_TAIL};
use recording::WavFault;
use sha2::{Digest, Sha256};

/// The trunk's `audio_tones`: whether and how its callers are told by a voice why their call came
/// to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AudioTones {
    #[default]
    None,
    /// Before the answer: nobody pays for it.
    OnEarlyMedia,
    /// As an answered call, for networks that let no early media pass; it may be billed.
    OnAnsweredCalls,
}

/// What is said to each caller of a trunk before anybody is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Greeting {
    pub what: Spoken,
    /// In which way; never [`AudioTones::None`].
    pub tones: AudioTones,
}

/// Where a greeting comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Spoken {
    /// A file of this name and `.wav` in `[media] prompts`.
    Prompt(PromptName),
    /// What was uploaded for the trunk.
    Recording(Recording),
}

/// A recording that was uploaded, as it came and as it is said. Clones share it.
#[derive(Clone)]
pub struct Recording {
    /// The WAV file.
    pub wav: Arc<[u8]>,
    /// Its octets in each codec in the order of [`recording::Codec::ALL`], [`SHELF_TAIL`] octets of
    /// silence behind each.
    pub octets: Arc<[u8]>,
    /// Tells recordings apart: of their octets.
    pub key: u64,
}

impl Recording {
    /// Encodes a WAV file: some milliseconds for each second.
    ///
    /// # Errors
    /// What is wrong with the file, and the remedy.
    pub fn of_wav(wav: &[u8]) -> Result<Self, WavFault> {
        let samples = recording::read(wav, GREETING_SECONDS_MAX)?;
        let octets = recording::encode(&samples).concat();
        Ok(Self { wav: wav.into(), key: key(&octets), octets: octets.into() })
    }

    /// One that was encoded before; `None` when it cannot be that.
    pub fn stored(wav: Vec<u8>, octets: Vec<u8>) -> Option<Self> {
        let this = Self { wav: wav.into(), key: key(&octets), octets: octets.into() };
        let is_whole = this.octets.len() == CODECS * (this.each() as usize + SHELF_TAIL);
        (is_whole && (1..=SHELF_RECORDING_MAX).contains(&this.each())).then_some(this)
    }

    /// Octets in each codec, without the silence behind.
    pub fn each(&self) -> u32 {
        let each = (self.octets.len() / CODECS).saturating_sub(SHELF_TAIL);
        u32::try_from(each).unwrap_or(u32::MAX)
    }

    /// How long it is said.
    pub fn ms(&self) -> u32 {
        self.each() / OCTETS_PER_MS
    }
}

impl PartialEq for Recording {
    fn eq(&self, other: &Self) -> bool {
        self.octets == other.octets && self.wav == other.wav
    }
}

impl Eq for Recording {}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recording of {} ms", self.ms())
    }
}

fn key(octets: &[u8]) -> u64 {
    let digest = Sha256::digest(octets);
    digest.iter().take(size_of::<u64>()).fold(0, |key, octet| key << 8 | u64::from(*octet))
}

const CODECS: usize = recording::Codec::ALL.len();
const OCTETS_PER_MS: u32 = 8;
/// Longest greeting that is uploaded: networks end early media soon after.
pub const GREETING_SECONDS_MAX: u32 = SHELF_RECORDING_MAX / (1_000 * OCTETS_PER_MS);
/// Largest file of one: 16 bit at 16 kHz, and 64 KiB of chunks that are no audio.
pub const GREETING_BYTES_MAX: usize = GREETING_SECONDS_MAX as usize * 32_000 + 65_536;

const _: () = assert!(recording::TAIL == SHELF_TAIL && GREETING_SECONDS_MAX == 15);

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A file of `ms` milliseconds of a loud square wave, as recorders write it.
    pub fn wav(ms: u32) -> Vec<u8> {
        let samples = (0..8 * ms).map(|n| if n / 8 % 2 == 0 { 9_000_i16 } else { -9_000 });
        let (channels, bits_per_sample, sample_format) = (1, 16, hound::SampleFormat::Int);
        let spec = hound::WavSpec { channels, sample_rate: 8_000, bits_per_sample, sample_format };
        let mut file = std::io::Cursor::new(Vec::new());
        let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
        samples.for_each(|sample| writer.write_sample(sample).unwrap());
        writer.finalize().unwrap();
        file.into_inner()
    }

    #[test]
    fn a_greeting_may_last_as_long_as_the_limit() {
        let longest = Recording::of_wav(&wav(15_000)).unwrap();
        assert_eq!((longest.ms(), longest.each()), (15_000, SHELF_RECORDING_MAX));
        let fault = Recording::of_wav(&wav(15_001)).unwrap_err();
        assert!(fault.to_string().contains("longer than 15 s"), "{fault}");
        assert!(wav(15_000).len() < GREETING_BYTES_MAX);
    }

    #[test]
    fn what_was_stored_is_what_was_encoded_and_nothing_else_is_taken() {
        let made = Recording::of_wav(&wav(95)).unwrap();
        assert_eq!(made.ms(), 100, "whole 10 ms");
        let stored = Recording::stored(made.wav.to_vec(), made.octets.to_vec());
        assert_eq!(stored.as_ref().map(|stored| stored.key), Some(made.key));
        assert_eq!(stored, Some(made.clone()));
        for octets in [vec![], vec![0; 3 * SHELF_TAIL], made.octets[1..].to_vec()] {
            assert_eq!(Recording::stored(vec![], octets), None);
        }
        let long = 3 * (SHELF_RECORDING_MAX as usize + 1 + SHELF_TAIL);
        assert_eq!(Recording::stored(vec![], vec![0; long]), None);
    }
}
