//! What we can say: prompts, which are files that were encoded at the start (`recording/`), and what
//! signaling put on a worker's shelf since (`abi/src/shelf.rs`).
//!
//! A packet of any length is a slice, so saying a prompt costs a copy. Loading happens before the first
//! worker starts: it allocates, reads files and takes a few milliseconds per second of audio.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use abi::ShelfReader;
pub(crate) use recording::OCTETS_PER_MS;
pub use recording::{Codec, WavFault};
use recording::{Octets, Samples, TAIL};

use crate::limits::{
    PROMPT_BYTES_MAX, PROMPT_NAME_MAX, PROMPT_SECONDS_MAX, PROMPTS_MAX, PROMPTS_SECONDS_MAX,
    VOICE_PAYLOAD_MAX,
};

/// One prompt in one codec. Clones share the octets, so that a voice keeps its prompt however the
/// set of prompts changes.
#[derive(Clone, Debug)]
pub struct Audio {
    codec: Codec,
    payload_type: u8,
    said: Said,
}

/// Where the octets are: the prompt, then [`TAIL`] octets of silence.
#[derive(Clone, Debug)]
enum Said {
    Loaded(Arc<[u8]>),
    /// On the shelf, from there on; so many without the silence.
    Shelf {
        shelf: ShelfReader,
        at: usize,
        octets: usize,
    },
}

impl Audio {
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Audio of octets that are encoded already, as they are.
    #[cfg(test)]
    pub(crate) fn of(codec: Codec, mut octets: Vec<u8>) -> Audio {
        octets.resize(octets.len() + TAIL, 0xff);
        Audio::loaded(codec, octets.into())
    }

    fn loaded(codec: Codec, octets: Arc<[u8]>) -> Audio {
        Audio { codec, payload_type: codec.payload_type(), said: Said::Loaded(octets) }
    }

    /// What signaling put on the shelf at `at`, so many octets in each codec. Does not allocate.
    pub fn on_shelf(shelf: ShelfReader, codec: Codec, at: u32, octets: u32) -> Audio {
        let octets = octets as usize;
        let before = Codec::ALL.iter().take_while(|other| **other != codec).count();
        let at = at as usize + before * (octets + TAIL);
        let said = Said::Shelf { shelf, at, octets };
        Audio { codec, payload_type: codec.payload_type(), said }
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
        match &self.said {
            Said::Loaded(octets) => octets.len() - TAIL,
            Said::Shelf { octets, .. } => *octets,
        }
    }

    /// Whether there is nothing to say. No loaded prompt is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes what is said from octet `at` on: once, with silence behind the end, or in a loop.
    /// `out` holds one packet, [`VOICE_PAYLOAD_MAX`] octets at most.
    pub fn write(&self, at: u64, looped: bool, out: &mut [u8]) {
        let len = self.len().max(1) as u64;
        match &self.said {
            Said::Loaded(octets) => {
                let (from, end) =
                    if looped { (at % len, self.len()) } else { (at.min(len), octets.len()) };
                let part = octets.get(from as usize..end).unwrap_or_default();
                let again = octets.get(..end).unwrap_or_default();
                for (octet, said) in out.iter_mut().zip(part.iter().chain(again.iter().cycle())) {
                    *octet = *said;
                }
            }
            // It is said once: SAY has no loop.
            Said::Shelf { shelf, at: start, .. } => shelf.read(start + at.min(len) as usize, out),
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
            let samples = recording::read(&read(&path)?, PROMPT_SECONDS_MAX)
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
        let encode = |(name, samples)| Prompt { name, audio: audio(recording::encode(&samples)) };
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

/// Octets as audio, in the order of [`Codec::ALL`].
fn audio(octets: Octets) -> [Audio; 3] {
    let [pcmu, pcma, g722] = octets;
    [
        Audio::loaded(Codec::Pcmu, pcmu),
        Audio::loaded(Codec::Pcma, pcma),
        Audio::loaded(Codec::G722, g722),
    ]
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

// What is behind a recording covers the longest packet, on the shelf too.
const _: () = assert!(TAIL == VOICE_PAYLOAD_MAX && abi::shelf::SHELF_TAIL == TAIL);

#[cfg(test)]
mod tests;
