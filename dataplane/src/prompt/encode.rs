//! A prompt's samples in every codec.

use audio_codec::Encoder;
use audio_codec::g722::G722Encoder;

use super::resample::{double, halve};
use super::wav::Samples;
use super::{Audio, Codec, OCTETS_PER_MS, TAIL};
use crate::g711::Law;

/// The prompt in the order of [`Codec::ALL`], all of the same length: full packets of 10 ms, with
/// silence behind.
pub fn encode(samples: &Samples) -> [Audio; 3] {
    let (mut narrow, mut wide) = match samples {
        Samples::Narrow(narrow) => (narrow.clone(), double(narrow)),
        Samples::Wide(wide) => (halve(wide), wide.clone()),
    };
    let octets = narrow.len().next_multiple_of(10 * OCTETS_PER_MS) + TAIL;
    narrow.resize(octets, 0);
    wide.resize(2 * octets, 0);
    Codec::ALL.map(|codec| Audio {
        codec,
        payload_type: codec.payload_type(),
        octets: match codec {
            Codec::Pcmu => narrow.iter().map(|sample| Law::Mu.encode(*sample)).collect(),
            Codec::Pcma => narrow.iter().map(|sample| Law::A.encode(*sample)).collect(),
            Codec::G722 => g722(&wide, octets).into(),
        },
    })
}

/// 64 kbit/s (ITU-T G.722 mode 1): one octet for two samples. The encoder quantizes its very first
/// sample coarser than the recommendation does; the difference is forgotten within 2 ms.
fn g722(wide: &[i16], octets: usize) -> Vec<u8> {
    let mut encoder = G722Encoder::new();
    let mut out = vec![0; encoder.max_encode_bytes(wide.len())];
    // It fails for too little room only.
    let len = encoder.encode_into(wide, &mut out).unwrap_or(0);
    out.truncate(len);
    out.resize(octets, 0);
    out
}
