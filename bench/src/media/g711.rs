//! G.711 companding (ITU-T G.711 tables 1 and 2): A-law (PCMA, RTP payload type 8) and mu-law
//! (PCMU, payload type 0) to and from 16-bit linear samples.
//!
//! Decoding is a table made at compile time from the segment formula of the recommendation; encoding
//! searches nothing: it derives sign, segment and step from the sample.

/// One of the two companding laws, with its static RTP payload type (RFC 3551 §6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Law {
    /// mu-law, PCMU, payload type 0.
    Mu,
    /// A-law, PCMA, payload type 8.
    A,
}

impl Law {
    /// Static RTP payload type, RFC 3551 §6.
    pub const fn payload_type(self) -> u8 {
        match self {
            Law::Mu => 0,
            Law::A => 8,
        }
    }

    /// The law of a static RTP payload type; `None` for any other type.
    pub const fn of_payload_type(payload_type: u8) -> Option<Law> {
        match payload_type {
            0 => Some(Law::Mu),
            8 => Some(Law::A),
            _ => None,
        }
    }

    /// `rtpmap` encoding name, RFC 3551 §4.5.14.
    pub const fn name(self) -> &'static str {
        match self {
            Law::Mu => "PCMU",
            Law::A => "PCMA",
        }
    }

    /// Encodes one 16-bit linear sample.
    pub const fn encode(self, sample: i16) -> u8 {
        match self {
            Law::Mu => encode_mu(sample),
            Law::A => encode_a(sample),
        }
    }

    /// Decodes one octet to a 16-bit linear sample.
    #[expect(clippy::indexing_slicing, reason = "a u8 cannot leave a table of 256 entries")]
    pub const fn decode(self, octet: u8) -> i16 {
        match self {
            Law::Mu => DECODE_MU[octet as usize],
            Law::A => DECODE_A[octet as usize],
        }
    }
}

/// 14-bit magnitude plus bias 33, seven segments doubling; all bits inverted on the wire.
const fn encode_mu(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = (sample as i32).unsigned_abs() >> 2;
    let biased = if magnitude + MU_BIAS > MU_MAX { MU_MAX } else { magnitude + MU_BIAS };
    let segment = (31 - biased.leading_zeros()) - 5;
    let step = (biased >> (segment + 1)) & 0x0f;
    !(sign | (segment << 4) as u8 | step as u8)
}

/// 13-bit magnitude, segment 0 and 1 share a step; even bits inverted on the wire.
const fn encode_a(sample: i16) -> u8 {
    let (sign, magnitude) =
        if sample < 0 { (0, (!(sample as i32) >> 3) as u32) } else { (0x80, sample as u32 >> 3) };
    let code = if magnitude < 32 {
        magnitude >> 1
    } else {
        let segment = (31 - magnitude.leading_zeros()) - 4;
        (segment << 4) | ((magnitude >> segment) & 0x0f)
    };
    (sign | code as u8) ^ 0x55
}

const fn decode_mu(octet: u8) -> i16 {
    let octet = !octet;
    let segment = (octet >> 4) & 7;
    let magnitude = ((((octet & 0x0f) as i32) << 1) + MU_BIAS as i32) << segment;
    let linear = (magnitude - MU_BIAS as i32) << 2;
    if octet & 0x80 != 0 { -linear as i16 } else { linear as i16 }
}

const fn decode_a(octet: u8) -> i16 {
    let octet = octet ^ 0x55;
    let segment = (octet >> 4) & 7;
    let step = ((octet & 0x0f) as i32) << 1;
    let magnitude = if segment == 0 { step + 1 } else { (step + 33) << (segment - 1) };
    let linear = magnitude << 3;
    if octet & 0x80 != 0 { linear as i16 } else { -linear as i16 }
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, bounded by the loop")]
const fn table(mu: bool) -> [i16; 256] {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = if mu { decode_mu(octet as u8) } else { decode_a(octet as u8) };
        octet += 1;
    }
    table
}

static DECODE_MU: [i16; 256] = table(true);
static DECODE_A: [i16; 256] = table(false);
const MU_BIAS: u32 = 33;
const MU_MAX: u32 = 8191;

#[cfg(test)]
mod tests {
    use super::*;

    /// Decision and output values straight from the recommendation's tables, on its own scale
    /// (4096 = full scale of A-law, 8159 of mu-law): segment by segment, step by step.
    fn itu_output_a(code: u32) -> f64 {
        let (segment, step) = (code >> 4, f64::from(code & 15));
        match segment {
            0 => 2.0 * step + 1.0,
            s => (2.0 * step + 33.0) * 2f64.powi(s as i32 - 1),
        }
    }

    fn itu_output_mu(code: u32) -> f64 {
        let (segment, step) = (code >> 4, f64::from(code & 15));
        (2.0 * step + 33.0) * 2f64.powi(segment as i32) - 33.0
    }

    #[test]
    fn decoding_follows_the_tables_of_the_recommendation() {
        for code in 0..128u32 {
            let a = (itu_output_a(code) * 8.0) as i16;
            assert_eq!(Law::A.decode((code as u8 | 0x80) ^ 0x55), a);
            assert_eq!(Law::A.decode(code as u8 ^ 0x55), -a);
            let mu = (itu_output_mu(code) * 4.0) as i16;
            assert_eq!(Law::Mu.decode(!(code as u8)), mu);
            assert_eq!(Law::Mu.decode(!(code as u8 | 0x80)), -mu);
        }
    }

    #[test]
    fn every_code_survives_decode_and_encode() {
        for octet in 0..=255u8 {
            assert_eq!(Law::A.encode(Law::A.decode(octet)), octet);
            // Negative zero of mu-law is the one value with two codes.
            if octet != 0x7f {
                assert_eq!(Law::Mu.encode(Law::Mu.decode(octet)), octet);
            }
        }
    }

    #[test]
    fn encoding_is_nearest_up_to_half_a_step() {
        for law in [Law::A, Law::Mu] {
            for sample in i16::MIN..=i16::MAX {
                let error = i32::from(sample) - i32::from(law.decode(law.encode(sample)));
                let magnitude = i32::from(sample).abs();
                // The largest step is 1/16 of the segment, half of it plus the truncated bits.
                let bound = (magnitude / 32 + 8).max(644 * i32::from(magnitude > 32_000));
                assert!(error.abs() <= bound, "{law:?} {sample}: off by {error}");
            }
        }
    }

    #[test]
    fn known_octets() {
        assert_eq!(Law::A.encode(0), 0xd5);
        assert_eq!(Law::Mu.encode(0), 0xff);
        assert_eq!(Law::A.encode(i16::MAX), 0xaa);
        assert_eq!(Law::A.encode(i16::MIN), 0x2a);
        assert_eq!(Law::Mu.encode(i16::MAX), 0x80);
        assert_eq!(Law::Mu.encode(i16::MIN), 0x00);
    }
}
