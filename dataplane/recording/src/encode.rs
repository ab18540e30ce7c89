//! The samples of a recording in every codec.

use audio_codec::Encoder;
use audio_codec::g722::G722Encoder;

use crate::g711::Law;
use crate::resample::{double, halve};
use crate::wav::Samples;
use crate::{Codec, OCTETS_PER_MS, Octets, TAIL};

/// Says them in each codec. Takes a few milliseconds per second of audio.
pub fn encode(samples: &Samples) -> Octets {
    let (mut narrow, mut wide) = match samples {
        Samples::Narrow(narrow) => (narrow.clone(), double(narrow)),
        Samples::Wide(wide) => (halve(wide), wide.clone()),
    };
    let octets = narrow.len().next_multiple_of(10 * OCTETS_PER_MS) + TAIL;
    narrow.resize(octets, 0);
    wide.resize(2 * octets, 0);
    Codec::ALL.map(|codec| match codec {
        Codec::Pcmu => narrow.iter().map(|sample| Law::Mu.encode(*sample)).collect(),
        Codec::Pcma => narrow.iter().map(|sample| Law::A.encode(*sample)).collect(),
        Codec::G722 => g722(&wide, octets).into(),
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
