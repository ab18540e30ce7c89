//! What a datagram on a media port is, told by its first two octets (RFC 7983 §7, RFC 5761 §4).

use crate::packet::RTP_HEADER_MIN;
use crate::rtcp::RTCP_PACKET_MIN;

/// The protocol of one datagram.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// RTP or SRTP, at least a fixed header long.
    Rtp,
    /// RTCP or SRTCP, at least a packet header and a sender's SSRC long.
    Rtcp,
    /// STUN (RFC 8489), at least a header long.
    Stun,
    /// DTLS, at least a record header long.
    Dtls,
    /// Nothing that a media port understands: ZRTP, TURN channel data, QUIC, unassigned.
    Other,
    /// Empty, or cut off inside the fixed header of its protocol.
    Runt,
}

/// Tells the protocols of a media port apart. Looks at two octets and the length, nothing else:
/// each view still does its own checks.
#[must_use]
pub fn classify(datagram: &[u8]) -> Class {
    let Some(&first) = datagram.first() else {
        return Class::Runt;
    };
    let (class, len_min) = match (first, datagram.get(1)) {
        (0..=3, _) => (Class::Stun, STUN_HEADER),
        (20..=63, _) => (Class::Dtls, DTLS_RECORD_HEADER),
        (128..=191, Some(192..=223)) => (Class::Rtcp, RTCP_PACKET_MIN),
        (128..=191, _) => (Class::Rtp, RTP_HEADER_MIN),
        _ => return Class::Other,
    };
    if datagram.len() < len_min { Class::Runt } else { class }
}

const STUN_HEADER: usize = 20;
const DTLS_RECORD_HEADER: usize = 13;

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(first: u8, second: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        for (byte, value) in bytes.iter_mut().zip([first, second]) {
            *byte = value;
        }
        bytes
    }

    #[test]
    fn first_octet_follows_rfc_7983_section_7() {
        for first in 0..=255u8 {
            let expected = match first {
                0..=3 => Class::Stun,
                20..=63 => Class::Dtls,
                128..=191 => Class::Rtp,
                _ => Class::Other,
            };
            assert_eq!(classify(&datagram(first, 0, 64)), expected, "first octet {first}");
        }
    }

    #[test]
    fn second_octet_follows_rfc_5761_section_4() {
        for second in 0..=255u8 {
            let expected = if (192..=223).contains(&second) { Class::Rtcp } else { Class::Rtp };
            assert_eq!(classify(&datagram(0x80, second, 64)), expected, "second octet {second}");
        }
    }

    #[test]
    fn shorter_than_its_fixed_header_is_a_runt() {
        for (first, second, len_min) in [(0x80, 0, 12), (0x80, 200, 8), (0, 1, 20), (22, 254, 13)] {
            for len in 0..64 {
                let runt = classify(&datagram(first, second, len)) == Class::Runt;
                // One octet cannot yet tell RTCP from RTP; it is a runt either way.
                assert_eq!(runt, len < len_min, "first octet {first}, length {len}");
            }
        }
    }
}
