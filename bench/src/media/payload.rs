//! What one packet of a measured call carries: 160 octets of G.711, of which the first 136 are the
//! tone of the packet's direction and the last 24 identify the packet.
//!
//! ```text
//!   0            136      140    144    148      156     160
//!   | tone ...    | "TLK"+ | call | frame| sent   | check |
//!   |             |  way   |      |      | ns     | FNV-1a|
//! ```
//!
//! All numbers are big endian. The check covers everything before it, so one changed bit anywhere in
//! the payload is seen. A gateway that relays leaves the payload alone; one that transcodes does not.

use serde::Serialize;

use super::g711::Law;
use super::tone::{self, Tone};

/// Which way a packet crosses the gateway. In a loopback run without a gateway the first peer plays
/// the insecure end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// From the provider (UDP, RTP) to the PBX (TLS, SRTP).
    InsecureToSecure,
    /// From the PBX to the provider.
    SecureToInsecure,
}

impl Way {
    /// The tone that packets of this way carry, in hertz.
    pub const fn tone_hz(self) -> u32 {
        match self {
            Way::InsecureToSecure => 440,
            Way::SecureToInsecure => 1000,
        }
    }

    pub(crate) const fn opposite(self) -> Way {
        match self {
            Way::InsecureToSecure => Way::SecureToInsecure,
            Way::SecureToInsecure => Way::InsecureToSecure,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Way::InsecureToSecure => b'>',
            Way::SecureToInsecure => b'<',
        }
    }

    const fn of_code(code: u8) -> Option<Way> {
        match code {
            b'>' => Some(Way::InsecureToSecure),
            b'<' => Some(Way::SecureToInsecure),
            _ => None,
        }
    }
}

/// Octets of a payload: 20 ms of G.711.
pub const PAYLOAD_LEN: usize = 160;

/// What the last 24 octets of a payload say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Which way the packet was sent.
    pub way: Way,
    /// Number of the call within the run.
    pub call: u32,
    /// Number of the packet within its call and way, from 0.
    pub frame: u32,
    /// When it was sent, in nanoseconds of the run's clock.
    pub sent_ns: u64,
}

/// Why a payload is not one of ours as it was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// The length or the magic is not ours.
    Foreign,
    /// The magic is there, the check does not match.
    Corrupted,
}

/// Writes the payload of `mark` into `out`.
pub fn write(out: &mut [u8; PAYLOAD_LEN], tone: &Tone, mark: Mark) {
    let (audio, trailer) = out.split_at_mut(AUDIO_LEN);
    tone.fill(u64::from(mark.frame) * PAYLOAD_LEN as u64, audio);
    let [m0, m1, m2] = MAGIC;
    let fields = [m0, m1, m2, mark.way.code()]
        .into_iter()
        .chain(mark.call.to_be_bytes())
        .chain(mark.frame.to_be_bytes())
        .chain(mark.sent_ns.to_be_bytes());
    for (slot, octet) in trailer.iter_mut().zip(fields) {
        *slot = octet;
    }
    let (covered, check) = out.split_at_mut(CHECK_AT);
    check.copy_from_slice(&fnv1a(covered).to_be_bytes());
}

/// Reads a payload back and checks every octet of it.
pub fn read(payload: &[u8]) -> Result<Mark, Damage> {
    let payload: &[u8; PAYLOAD_LEN] = payload.try_into().map_err(|_| Damage::Foreign)?;
    let (_, trailer) = payload.split_at(AUDIO_LEN);
    let mut fields = Fields(trailer);
    let [m0, m1, m2, way] = fields.take();
    let way = Way::of_code(way).filter(|_| [m0, m1, m2] == MAGIC).ok_or(Damage::Foreign)?;
    let call = u32::from_be_bytes(fields.take());
    let frame = u32::from_be_bytes(fields.take());
    let sent_ns = u64::from_be_bytes(fields.take());
    let check = u32::from_be_bytes(fields.take());
    let (covered, _) = payload.split_at(CHECK_AT);
    if fnv1a(covered) != check {
        return Err(Damage::Corrupted);
    }
    Ok(Mark { way, call, frame, sent_ns })
}

/// Whether a payload is readable as plain audio of either way: it bears the magic of a [`Mark`], or
/// the tone can be heard in it under either law.
pub fn is_plain_audio(payload: &[u8]) -> bool {
    if read(payload) != Err(Damage::Foreign) {
        return true;
    }
    if payload.len() < AUDIBLE_LEN_MIN {
        return false;
    }
    [Law::A, Law::Mu].into_iter().any(|law| {
        [Way::InsecureToSecure, Way::SecureToInsecure]
            .into_iter()
            .any(|way| tone::carries(way.tone_hz(), law, payload))
    })
}

/// Whether the audio part of a payload carries the tone of `way`.
pub fn tone_is_heard(way: Way, law: Law, payload: &[u8]) -> bool {
    payload.get(..AUDIO_LEN).is_some_and(|audio| tone::carries(way.tone_hz(), law, audio))
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// Missing octets read as zero; the caller has checked the length of the whole.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((field, rest)) = self.0.split_first_chunk() else { return [0; N] };
        self.0 = rest;
        *field
    }
}

fn fnv1a(octets: &[u8]) -> u32 {
    octets
        .iter()
        .fold(0x811c_9dc5, |hash, octet| (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193))
}

const MAGIC: [u8; 3] = *b"TLK";
const AUDIO_LEN: usize = 136;
const CHECK_AT: usize = PAYLOAD_LEN - 4;
const AUDIBLE_LEN_MIN: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(way: Way) -> ([u8; PAYLOAD_LEN], Mark) {
        let mark = Mark { way, call: 7, frame: 123, sent_ns: 9_876_543_210 };
        let mut payload = [0; PAYLOAD_LEN];
        write(&mut payload, &Tone::new(way.tone_hz(), Law::A), mark);
        (payload, mark)
    }

    #[test]
    fn a_payload_is_read_back_and_its_tone_heard() {
        for way in [Way::InsecureToSecure, Way::SecureToInsecure] {
            let (payload, mark) = sample(way);
            assert_eq!(read(&payload), Ok(mark));
            assert!(tone_is_heard(way, Law::A, &payload));
            assert!(is_plain_audio(&payload));
        }
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let (payload, mark) = sample(Way::InsecureToSecure);
        for bit in 0..PAYLOAD_LEN * 8 {
            let mut damaged = payload;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(read(&damaged), Ok(mark));
        }
    }

    #[test]
    fn a_tone_without_mark_is_plain_and_noise_is_not() {
        let mut audio = [0; PAYLOAD_LEN];
        Tone::new(Way::InsecureToSecure.tone_hz(), Law::Mu).fill(0, &mut audio);
        assert_eq!(read(&audio), Err(Damage::Foreign));
        assert!(is_plain_audio(&audio));
        for _ in 0..1000 {
            getrandom::fill(&mut audio).unwrap();
            assert!(!is_plain_audio(&audio));
        }
        assert!(!is_plain_audio(&[]));
    }
}
