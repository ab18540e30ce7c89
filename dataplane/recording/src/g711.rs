//! The two companding laws of ITU-T G.711, one octet per sample of 8 kHz.
//!
//! Levels: a sine of amplitude [`FULL_SCALE`] is the loudest that the codes can say, +3.17 dBm0 in
//! mu-law and +3.14 dBm0 in A-law. The difference of 0.03 dB is below what anything here resolves.

use audio_codec_algorithms::{decode_alaw, decode_ulaw, encode_alaw, encode_ulaw};

/// Which law.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Law {
    /// PCMU.
    Mu,
    /// PCMA.
    A,
}

impl Law {
    /// The octet of a 16-bit linear sample.
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Law::Mu => encode_ulaw(sample),
            Law::A => encode_alaw(sample),
        }
    }

    /// The 16-bit linear sample of an octet.
    pub fn decode(self, octet: u8) -> i16 {
        match self {
            Law::Mu => decode_ulaw(octet),
            Law::A => decode_alaw(octet),
        }
    }
}

/// Amplitude of the loudest sine, in 16-bit linear units.
pub const FULL_SCALE: f32 = 32_636.0;

/// Its level, in dBm0.
pub const FULL_SCALE_DBM0: f32 = 3.17;

/// Amplitude of a sine of `dbm0`, in 16-bit linear units.
pub fn amplitude(dbm0: f32) -> f32 {
    FULL_SCALE * 10f32.powf((dbm0 - FULL_SCALE_DBM0) / 20.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_octets_of_both_laws() {
        for (law, sample, octet) in [
            (Law::Mu, 0, 0xff),
            (Law::Mu, i16::MAX, 0x80),
            (Law::Mu, i16::MIN, 0x00),
            (Law::A, 0, 0xd5),
            (Law::A, i16::MAX, 0xaa),
            (Law::A, i16::MIN, 0x2a),
        ] {
            assert_eq!(law.encode(sample), octet, "{law:?} {sample}");
        }
    }

    #[test]
    fn every_octet_survives_decode_and_encode() {
        for law in [Law::Mu, Law::A] {
            for octet in 0..=255 {
                // Negative zero of mu-law is the one value with two codes.
                let expected = if law == Law::Mu && octet == 0x7f { 0xff } else { octet };
                assert_eq!(law.encode(law.decode(octet)), expected, "{law:?} {octet:#x}");
            }
        }
    }

    #[test]
    fn levels_are_relative_to_full_scale() {
        assert!((amplitude(FULL_SCALE_DBM0) - FULL_SCALE).abs() < 1.0);
        assert!((amplitude(FULL_SCALE_DBM0 - 20.0) - FULL_SCALE / 10.0).abs() < 1.0);
    }
}
