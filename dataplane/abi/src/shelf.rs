//! The shelf: recordings that the guest puts down before it has them said.
//!
//! ```text
//! SAY { at, octets }      at            + octets + TAIL   + octets + TAIL
//!                         │ PCMU ...... │ PCMA .......... │ G.722 ....... │
//! ```
//! Prompts are read by the host at its start, and then no more files; what is recorded later comes this
//! way. The guest writes, then pushes SAY; the host reads while it speaks. Octets are audio whatever
//! they are, so that a guest that writes at the wrong time is heard and nothing worse: no length and no
//! place is ever taken from the shelf itself.

use crate::memory::{Words, sync::Ordering};

/// The guest's end.
pub struct ShelfWriter(Words);

/// The host's end. Clones read the same memory, and keep it.
#[derive(Clone)]
pub struct ShelfReader(Words);

impl ShelfWriter {
    pub(crate) fn new(words: Words) -> Self {
        Self(words)
    }

    /// Puts octets at `at`, a multiple of 8; false when they do not fit, and nothing is written then.
    pub fn write(&mut self, at: usize, octets: &[u8]) -> bool {
        let words = octets.len().div_ceil(WORD);
        let Some(place) = self.0.get(at / WORD..(at / WORD).saturating_add(words)) else {
            return false;
        };
        if !at.is_multiple_of(WORD) {
            return false;
        }
        for (word, octets) in place.iter().zip(octets.chunks(WORD)) {
            let mut whole = [0; WORD];
            for (to, from) in whole.iter_mut().zip(octets) {
                *to = *from;
            }
            // The push of the command that names them publishes them.
            word.store(u64::from_le_bytes(whole), Ordering::Relaxed);
        }
        true
    }
}

impl ShelfReader {
    pub(crate) fn new(words: Words) -> Self {
        Self(words)
    }

    /// Reads octets from `at` on; those beyond the shelf are 0. Does not allocate.
    pub fn read(&self, at: usize, out: &mut [u8]) {
        let mut word = 0;
        for (place, octet) in (at..).zip(out) {
            if place == at || place.is_multiple_of(WORD) {
                word = self.0.get(place / WORD).map_or(0, |word| word.load(Ordering::Relaxed));
            }
            let [.., last] = (word << (8 * (WORD - 1 - place % WORD))).to_le_bytes();
            *octet = last;
        }
    }
}

impl std::fmt::Debug for ShelfReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ShelfReader")
    }
}

/// Octets of a recording in all its codecs.
#[must_use]
pub const fn shelf_span(octets: u32) -> u64 {
    CODECS * (octets as u64 + SHELF_TAIL as u64)
}

const WORD: usize = size_of::<u64>();
const CODECS: u64 = 3;
pub(crate) const SHELF_WORDS: usize = SHELF_OCTETS / WORD;
/// Room of a worker's shelf: a dozen recordings of the longest kind, three dozen usual ones. It counts
/// for those who hear one at the same time.
pub const SHELF_OCTETS: usize = 4 * 1024 * 1024;
/// Longest recording, in octets of each codec: 15 s, after which networks end early media.
pub const SHELF_RECORDING_MAX: u32 = 15 * 8_000;
/// Silence behind each codec's octets: a whole packet of 60 ms.
pub const SHELF_TAIL: usize = 480;

const _: () = assert!(shelf_span(SHELF_RECORDING_MAX) <= SHELF_OCTETS as u64);
const _: () = assert!(SHELF_TAIL.is_multiple_of(WORD) && SHELF_OCTETS.is_multiple_of(WORD));

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_down_is_read_wherever_one_begins() {
        let words = Words::heap(4);
        let (mut writer, reader) = (ShelfWriter::new(words.clone()), ShelfReader::new(words));
        let octets: Vec<u8> = (1..=20).collect();
        assert!(writer.write(8, &octets));
        for from in 0..32 {
            for to in from..40 {
                let mut out = vec![0xff; to - from];
                reader.read(from, &mut out);
                let at = |place: usize| match place.checked_sub(8) {
                    Some(at) => octets.get(at).copied().unwrap_or(0),
                    None => 0,
                };
                let expected: Vec<u8> = (from..to).map(at).collect();
                assert_eq!(out, expected, "{from}..{to}");
            }
        }
        let mut out = [1; 3];
        reader.read(usize::MAX, &mut out[..1]);
        assert_eq!(out, [0, 1, 1]);
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let words = Words::heap(2);
        let (mut writer, reader) = (ShelfWriter::new(words.clone()), ShelfReader::new(words));
        for (at, len) in [(0, 17), (8, 9), (16, 1), (usize::MAX - 7, 8), (4, 4)] {
            assert!(!writer.write(at, &vec![9; len]), "{len} at {at}");
        }
        let mut out = [1; 16];
        reader.read(0, &mut out);
        assert_eq!(out, [0; 16]);
        assert!(writer.write(0, &[9; 16]) && writer.write(16, &[]));
    }
}
