use super::*;
use proptest::prelude::*;

/// A packet with two CSRCs, an 8-octet extension, 4 octets of payload and 3 of padding.
const FULL: [u8; 39] = [
    0xb2, 0xe0, 0x12, 0x34, 0, 0, 1, 2, 0xca, 0xfe, 0xba, 0xbe, // fixed part, marker, type 96
    0, 0, 0, 1, 0, 0, 0, 2, // CSRC list
    0xbe, 0xde, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, // extension
    10, 11, 12, 13, 0, 0, 3, // payload, padding
];

#[test]
fn every_field_is_read() {
    let packet = RtpPacket::parse(&FULL).unwrap();
    assert_eq!(packet.ssrc(), Ssrc(0xcafe_babe));
    assert_eq!(packet.seq(), Seq(0x1234));
    assert_eq!(packet.timestamp(), 0x0102);
    assert!(packet.marker());
    assert_eq!(packet.payload_type().value(), 96);
    assert_eq!(packet.header_len(), 32);
    assert_eq!(packet.payload(), [10, 11, 12, 13]);
    assert_eq!(packet.padding_len(), 3);
    assert_eq!(packet.csrcs().collect::<Vec<_>>(), [Ssrc(1), Ssrc(2)]);
    assert_eq!(packet.extension(), Some((0xbede, &[1, 2, 3, 4, 5, 6, 7, 8][..])));
}

#[test]
fn a_fixed_header_alone_is_a_packet() {
    let bytes = [0x80, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
    let packet = RtpPacket::parse(&bytes).unwrap();
    assert_eq!((packet.header_len(), packet.payload(), packet.padding_len()), (12, &[][..], 0));
    assert_eq!(packet.csrcs().count(), 0);
    assert_eq!(packet.extension(), None);
}

/// Each row: what is wrong, where the octet stands, its value, the length kept, the answer.
#[test]
fn what_does_not_fit_is_named() {
    let rows = [
        ("empty", 0, 0xb2, 0, Malformed::Short),
        ("cut in the fixed part", 0, 0xb2, 11, Malformed::Short),
        ("version 1", 0, 0x72, 39, Malformed::Version),
        ("version 3", 0, 0xf2, 39, Malformed::Version),
        ("CSRC list cut", 0, 0xb2, 19, Malformed::Csrc),
        ("fifteen CSRCs promised", 0, 0x8f, 39, Malformed::Csrc),
        ("extension header cut", 0, 0xb2, 23, Malformed::Extension),
        ("extension cut", 0, 0xb2, 31, Malformed::Extension),
        ("extension longer than the packet", 22, 0xff, 39, Malformed::Extension),
        ("padding count 0", 38, 0, 39, Malformed::Padding),
        ("padding longer than what follows the header", 38, 8, 39, Malformed::Padding),
        ("padding promised, nothing follows the header", 0, 0xb2, 32, Malformed::Padding),
    ];
    for (what, at, value, len, expected) in rows {
        let mut bytes = FULL;
        bytes[at] = value;
        assert_eq!(RtpPacket::parse(&bytes[..len]).err(), Some(expected), "{what}");
    }
}

#[test]
fn padding_may_be_all_that_follows_the_header() {
    let mut bytes = FULL;
    bytes[38] = 7;
    let packet = RtpPacket::parse(&bytes).unwrap();
    assert_eq!((packet.payload(), packet.padding_len()), (&[][..], 7));
}

#[test]
fn a_rewritten_header_reads_back_and_nothing_else_moves() {
    let mut bytes = FULL;
    let mut header = RtpHeaderMut::parse(&mut bytes).unwrap();
    header.set_ssrc(Ssrc(0x0102_0304));
    header.set_seq(Seq(0xfffe));
    header.set_timestamp(0x8000_0001);
    header.set_marker(false);
    header.set_payload_type(PayloadType::new(101).unwrap());
    let packet = RtpPacket::parse(&bytes).unwrap();
    assert_eq!(packet.ssrc(), Ssrc(0x0102_0304));
    assert_eq!(packet.seq(), Seq(0xfffe));
    assert_eq!(packet.timestamp(), 0x8000_0001);
    assert!(!packet.marker());
    assert_eq!(packet.payload_type().value(), 101);
    assert_eq!(bytes[0], FULL[0]);
    assert_eq!(bytes[12..], FULL[12..]);
}

#[test]
fn marker_and_payload_type_share_an_octet_without_touching_each_other() {
    let mut bytes = FULL;
    let mut header = RtpHeaderMut::parse(&mut bytes).unwrap();
    header.set_payload_type(PayloadType::new(0).unwrap());
    assert_eq!(bytes[1], 0x80);
    let mut header = RtpHeaderMut::parse(&mut bytes).unwrap();
    header.set_marker(false);
    header.set_marker(true);
    assert_eq!(bytes[1], 0x80);
    assert_eq!(PayloadType::new(128), None);
}

#[test]
fn sequence_steps_wrap() {
    assert_eq!(Seq(2).steps_from(Seq(0xffff)), 3);
    assert_eq!(Seq(0xffff).steps_from(Seq(2)), -3);
    assert_eq!(Seq(7).steps_from(Seq(7)), 0);
}

proptest! {
    #[test]
    fn parts_of_an_accepted_packet_add_up(bytes in arbitrary_packet()) {
        if let Ok(packet) = RtpPacket::parse(&bytes) {
            let parts = packet.header_len() + packet.payload().len() + packet.padding_len();
            prop_assert_eq!(parts, bytes.len());
            let extension = packet.extension().map_or(0, |(_, data)| 1 + data.len() / 4);
            let words = packet.csrcs().count() + extension;
            prop_assert_eq!(packet.header_len(), RTP_HEADER_MIN + 4 * words);
        }
    }
}

/// Octets that often have version 2 and small lengths, so that parsing gets past the first check.
fn arbitrary_packet() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), 0..4u8, proptest::collection::vec(0..12u8, 0..80)).prop_map(|(first, v, rest)| {
        let version = if v == 0 { first & 0xc0 } else { 0x80 };
        core::iter::once(version | first & 0x3f).chain(rest).collect()
    })
}
