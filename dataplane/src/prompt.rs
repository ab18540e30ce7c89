//! What we can say: recordings, encoded once for every codec we may have to say them in.
//!
//! ```text
//! busy.wav (16 bit, mono, 8 or 16 kHz) -> samples -> 8 kHz  -> PCMU, PCMA
//!                                            |    -> 16 kHz -> G.722
//! ```
//! All three make 8 octets per millisecond on an RTP clock of 8000 Hz (G.722 by an old mistake,
//! RFC 3551 §4.5.2), so a packet of any length is a slice, and saying a prompt costs a copy. Loading
//! happens before the first worker starts, or beside them: it allocates, reads files and takes a few
//! milliseconds per second of audio.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::g711::Law;
use crate::limits::{
    PROMPT_BYTES_MAX, PROMPT_NAME_MAX, PROMPT_SECONDS_MAX, PROMPTS_MAX, PROMPTS_SECONDS_MAX,
    VOICE_PAYLOAD_MAX,
};

mod encode;
mod resample;
mod wav;

use wav::Samples;
pub use wav::WavFault;

/// A codec that we can speak. Each has 8 octets per millisecond and an RTP clock of 8000 Hz.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Codec {
    Pcmu,
    Pcma,
    G722,
}

impl Codec {
    pub const ALL: [Codec; 3] = [Codec::Pcmu, Codec::Pcma, Codec::G722];

    /// Static payload type (RFC 3551 §6).
    pub const fn payload_type(self) -> u8 {
        match self {
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
            Codec::G722 => 9,
        }
    }

    /// The companding law, where tones can be said and heard.
    pub const fn law(self) -> Option<Law> {
        match self {
            Codec::Pcmu => Some(Law::Mu),
            Codec::Pcma => Some(Law::A),
            Codec::G722 => None,
        }
    }
}

/// One prompt in one codec. Clones share the octets, so that a voice keeps its prompt however the
/// set of prompts changes.
#[derive(Clone, Debug)]
pub struct Audio {
    codec: Codec,
    payload_type: u8,
    /// The prompt, then [`TAIL`] octets of silence.
    octets: Arc<[u8]>,
}

impl Audio {
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Audio of octets that are encoded already, as they are.
    #[cfg(test)]
    pub(crate) fn of(codec: Codec, mut octets: Vec<u8>) -> Audio {
        octets.resize(octets.len() + TAIL, 0xff);
        Audio { codec, payload_type: codec.payload_type(), octets: octets.into() }
    }

    /// The same under the payload type that was negotiated for its codec.
    pub fn under(self, payload_type: u8) -> Audio {
        Audio { payload_type, ..self }
    }

    /// The static one of its codec unless [`Audio::under`] another.
    pub fn payload_type(&self) -> u8 {
        self.payload_type
    }

    /// Length without the silence behind it, in octets; at least 1.
    pub fn len(&self) -> usize {
        self.octets.len() - TAIL
    }

    /// Whether there is nothing to say. No loaded prompt is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes what is said from octet `at` on: once, with silence behind the end, or in a loop.
    /// `out` holds one packet, [`VOICE_PAYLOAD_MAX`] octets at most.
    pub fn write(&self, at: u64, looped: bool, out: &mut [u8]) {
        let len = self.len().max(1) as u64;
        let (from, end) =
            if looped { (at % len, self.len()) } else { (at.min(len), self.octets.len()) };
        let part = self.octets.get(from as usize..end).unwrap_or_default();
        let again = self.octets.get(..end).unwrap_or_default();
        for (octet, said) in out.iter_mut().zip(part.iter().chain(again.iter().cycle())) {
            *octet = *said;
        }
    }
}

/// All prompts, by name.
#[derive(Clone, Debug, Default)]
pub struct Prompts {
    /// Sorted by name.
    prompts: Vec<Prompt>,
}

#[derive(Clone, Debug)]
struct Prompt {
    name: String,
    /// In the order of [`Codec::ALL`].
    audio: [Audio; 3],
}

impl Prompts {
    /// Loads every `*.wav` of a directory; the file's stem is the prompt's name. Other files and
    /// subdirectories are passed over. All or nothing: a service that says some of its prompts
    /// would be found out call by call.
    pub fn load(directory: &Path) -> Result<Prompts, PromptError> {
        let mut files = wav_files(directory)?;
        files.sort();
        if files.len() > PROMPTS_MAX {
            return Err(PromptError::TooMany { path: directory.into(), found: files.len() });
        }
        // Everything is checked before the work of encoding begins.
        let mut recordings: Vec<(String, Samples)> = Vec::with_capacity(files.len());
        let mut ms = 0;
        for path in files {
            let name = name_of(&path)?;
            let samples = wav::read(&read(&path)?)
                .map_err(|fault| PromptError::Wav { path: path.clone(), fault })?;
            ms += samples.ms();
            if ms > u64::from(PROMPTS_SECONDS_MAX) * 1000 {
                return Err(PromptError::TooLong { path: directory.into() });
            }
            if recordings.iter().any(|(known, _)| *known == name) {
                return Err(PromptError::Twice { path });
            }
            recordings.push((name, samples));
        }
        recordings.sort_by(|a, b| a.0.cmp(&b.0));
        let encode = |(name, samples)| Prompt { name, audio: encode::encode(&samples) };
        Ok(Prompts { prompts: recordings.into_iter().map(encode).collect() })
    }

    /// One prompt of octets that are encoded already.
    #[cfg(test)]
    pub(crate) fn of(name: &str, octets: &[u8]) -> Prompts {
        let audio = Codec::ALL.map(|codec| Audio::of(codec, octets.to_vec()));
        Prompts { prompts: vec![Prompt { name: name.to_owned(), audio }] }
    }

    /// The prompt of a name in a codec. Does not allocate.
    pub fn audio(&self, name: &str, codec: Codec) -> Option<&Audio> {
        let at = self.prompts.binary_search_by(|prompt| prompt.name.as_str().cmp(name)).ok()?;
        self.prompts.get(at)?.audio.iter().find(|audio| audio.codec == codec)
    }

    /// Names and lengths in milliseconds, in the order of the names.
    pub fn names(&self) -> impl Iterator<Item = (&str, u32)> {
        self.prompts.iter().map(|prompt| {
            let octets = prompt.audio.first().map_or(0, Audio::len);
            (prompt.name.as_str(), (octets / OCTETS_PER_MS) as u32)
        })
    }

    /// Whether `name` may name a prompt: 1 to 32 of `a-z 0-9 . _ -`.
    pub fn is_name(name: &str) -> bool {
        (1..=PROMPT_NAME_MAX).contains(&name.len())
            && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
    }
}

/// Why prompts were not loaded: the file, the cause, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    #[error("prompt directory {}: {cause}; create it or set media.prompts to the right one", path.display())]
    Directory { path: PathBuf, cause: std::io::Error },

    #[error("prompt {}: {cause}; make it readable for this service or remove it", path.display())]
    File { path: PathBuf, cause: std::io::Error },

    #[error(
        "prompt directory {}: {found} prompts, and {PROMPTS_MAX} is the limit; remove some",
        path.display()
    )]
    TooMany { path: PathBuf, found: usize },

    #[error(
        "prompt directory {}: more than {PROMPTS_SECONDS_MAX} s in all; shorten or remove some",
        path.display()
    )]
    TooLong { path: PathBuf },

    #[error(
        "prompt {}: its name is not 1 to {PROMPT_NAME_MAX} of a-z, 0-9, '.', '_' and '-'; rename \
         the file",
        path.display()
    )]
    Name { path: PathBuf },

    #[error("prompt {}: another file has this name but for .wav or .WAV; rename one", path.display())]
    Twice { path: PathBuf },

    #[error(
        "prompt {}: {} bytes, and a prompt of {PROMPT_SECONDS_MAX} s has {PROMPT_BYTES_MAX}; \
         shorten it",
        path.display(), bytes
    )]
    TooBig { path: PathBuf, bytes: u64 },

    #[error("prompt {}: {fault}", path.display())]
    Wav { path: PathBuf, fault: WavFault },
}

fn wav_files(directory: &Path) -> Result<Vec<PathBuf>, PromptError> {
    let failed = |cause| PromptError::Directory { path: directory.into(), cause };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_wav = path.extension().is_some_and(|ext| ext.eq_ignore_ascii_case("wav"));
        if is_wav && !path.is_dir() {
            files.push(path);
        }
    }
    Ok(files)
}

fn name_of(path: &Path) -> Result<String, PromptError> {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .filter(|stem| Prompts::is_name(stem))
        .map(str::to_owned)
        .ok_or_else(|| PromptError::Name { path: path.into() })
}

/// The whole file, whatever it says about its size.
fn read(path: &Path) -> Result<Vec<u8>, PromptError> {
    let failed = |cause| PromptError::File { path: path.into(), cause };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let read = file.take(PROMPT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)? as u64;
    if read > PROMPT_BYTES_MAX {
        let bytes = fs::metadata(path).map_or(read, |metadata| metadata.len());
        return Err(PromptError::TooBig { path: path.into(), bytes });
    }
    Ok(bytes)
}

/// Octets of every codec here.
pub(crate) const OCTETS_PER_MS: usize = 8;
/// Silence behind each prompt, so that its last packet is as long as the others: 60 ms.
const TAIL: usize = VOICE_PAYLOAD_MAX;

#[cfg(test)]
mod tests;
