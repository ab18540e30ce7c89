//! What is written is read back the same, has right checksums by another computation, and no input
//! of any length is read wrongly.

use proptest::prelude::*;

use super::*;
use crate::limits::{BUFFER_SIZE, HEAD_ROOM, PACKET_MAX};

const HOP: Hop = Hop {
    ifindex: 3,
    source: Mac([2, 0, 0, 0, 0, 1]),
    target: Mac([2, 0, 0, 0, 0, 2]),
    vlan: None,
    mtu: 1500,
};

fn endpoint(text: &str) -> Endpoint {
    text.parse::<std::net::SocketAddr>().unwrap().into()
}

fn ways() -> [Way; 2] {
    let way = |from, to| Way { from: endpoint(from), to: endpoint(to), dscp: Dscp::EF };
    [
        way("192.0.2.1:20000", "198.51.100.9:4001"),
        way("[2001:db8::1]:20002", "[2001:db8:ffff:8000::9]:65535"),
    ]
}

/// A frame around `payload`.
fn framed(payload: &[u8], hop: &Hop, way: &Way) -> Option<Vec<u8>> {
    let mut buffer = [0xEE; BUFFER_SIZE];
    buffer[HEAD_ROOM..HEAD_ROOM + payload.len()].copy_from_slice(payload);
    let start = write(&mut buffer, HEAD_ROOM, payload.len(), hop, way)?;
    Some(buffer[start..HEAD_ROOM + payload.len()].to_vec())
}

/// RFC 1071 §4.1, literally.
fn checksum_by_the_book(octets: &[u8]) -> u16 {
    let mut sum: u32 = octets
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !sum as u16
}

fn pseudo_by_the_book(way: &Way, datagram: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let length = datagram.len() as u32;
    if way.to.is_ipv4() {
        all.extend((way.from.ip as u32).to_be_bytes());
        all.extend((way.to.ip as u32).to_be_bytes());
        all.extend([0, 17]);
        all.extend((length as u16).to_be_bytes());
    } else {
        all.extend(way.from.ip.to_be_bytes());
        all.extend(way.to.ip.to_be_bytes());
        all.extend(length.to_be_bytes());
        all.extend([0, 0, 0, 17]);
    }
    all.extend(datagram);
    all
}

#[test]
fn a_frame_is_what_the_rfcs_say_octet_by_octet() {
    let [v4, v6] = ways();
    let frame = framed(&[0xab, 0xcd, 0xef], &HOP, &v4).unwrap();
    let (ethernet, packet) = frame.split_at(14);
    assert_eq!(ethernet, [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    assert_eq!(packet[..10], [0x45, 46 << 2, 0, 31, 0, 0, 0x40, 0, 64, 17]);
    assert_eq!(packet[12..20], [192, 0, 2, 1, 198, 51, 100, 9]);
    assert_eq!(packet[20..26], [0x4e, 0x20, 0x0f, 0xa1, 0, 11]);
    assert_eq!(packet[28..], [0xab, 0xcd, 0xef]);

    let tagged = Hop { vlan: Some(100), ..HOP };
    let frame = framed(&[1], &tagged, &v6).unwrap();
    assert_eq!(frame[12..18], [0x81, 0, 0, 100, 0x86, 0xdd], "VLAN 100");
    assert_eq!(frame[18..26], [0x6b, 0x80, 0, 0, 0, 9, 17, 64]);
    assert_eq!(frame[26..42], v6.from.ip.to_be_bytes());
    assert_eq!(frame[42..58], v6.to.ip.to_be_bytes());
    assert_eq!(frame.len(), 14 + 4 + 40 + 8 + 1);
}

#[test]
fn a_checksum_of_zero_is_written_as_ones() {
    for way in ways() {
        // Find the two octets that make the sum come out as zero.
        let found = (0..=u16::MAX).find_map(|n| {
            let frame = framed(&n.to_be_bytes(), &HOP, &way)?;
            let parsed = parse(&frame)?;
            let at = parsed.payload.start - 2;
            (frame[at..at + 2] == [0xff, 0xff]).then_some((frame, parsed))
        });
        let (frame, parsed) = found.expect("one in 65,536 does");
        assert!(verify(&frame, &parsed));
    }
}

#[test]
fn the_limit_of_the_next_hop_is_respected_to_the_octet() {
    for (way, headers) in ways().iter().zip([28, 48]) {
        for mtu in [576, 1280, 1500] {
            let hop = Hop { mtu, ..HOP };
            let most = mtu as usize - headers;
            assert!(framed(&vec![0; most], &hop, way).is_some());
            assert!(framed(&vec![0; most + 1], &hop, way).is_none());
        }
    }
    let jumbo = Hop { mtu: 9000, ..HOP };
    assert!(ways().iter().all(|way| framed(&[0; PACKET_MAX], &jumbo, way).is_some()));
}

#[test]
fn two_families_make_no_frame() {
    let [v4, v6] = ways();
    let mixed = Way { to: v6.to, ..v4 };
    assert_eq!(framed(&[1], &HOP, &mixed), None);
    let mut buffer = [0; 100];
    assert_eq!(write_udp(&mut buffer, 50, 1, &mixed), None);
}

#[test]
fn a_frame_that_does_not_fit_its_space_is_refused() {
    for way in ways() {
        for hop in [HOP, Hop { vlan: Some(7), ..HOP }] {
            let mut buffer = [0; 128];
            let needed = framed(&[], &hop, &way).unwrap().len();
            for at in 0..buffer.len() {
                let written = write(&mut buffer, at, 1, &hop, &way);
                assert_eq!(written.is_some(), at >= needed, "{at}");
            }
            assert_eq!(write(&mut buffer, 128, 1, &hop, &way), None);
            assert_eq!(write(&mut buffer, 100, 29, &hop, &way), None);
            assert_eq!(write(&mut buffer, 1000, 1, &hop, &way), None);
        }
    }
}

#[test]
fn fragments_options_extensions_and_other_protocols_are_not_ours() {
    let [v4, v6] = ways();
    let four = framed(&[7; 40], &HOP, &v4).unwrap();
    let six = framed(&[7; 40], &HOP, &v6).unwrap();
    assert!(parse(&four).is_some() && parse(&six).is_some());
    let spoils: [(&[u8], usize, u8); 11] = [
        (&four, 13, 6),    // ARP
        (&four, 14, 0x46), // options
        (&four, 14, 0x65), // another version
        (&four, 20, 0x20), // more fragments
        (&four, 21, 1),    // a later fragment
        (&four, 23, 6),    // TCP
        (&four, 16, 0xff), // longer than the frame
        (&four, 38, 0xff), // UDP longer than the packet
        (&six, 14, 0x45),  // another version
        (&six, 20, 44),    // a fragment header
        (&six, 18, 0xff),  // longer than the frame
    ];
    for (row, (good, at, octet)) in spoils.into_iter().enumerate() {
        let mut bad = good.to_vec();
        bad[at] = octet;
        assert_eq!(parse(&bad), None, "row {row}");
    }
    let mut short = four.clone();
    short[39] = 7;
    assert_eq!(parse(&short), None, "UDP shorter than its header");
}

#[test]
fn padding_of_short_frames_is_not_payload() {
    let [v4, _] = ways();
    let mut frame = framed(&[9; 4], &HOP, &v4).unwrap();
    frame.resize(60, 0xEE);
    let parsed = parse(&frame).unwrap();
    assert_eq!(frame[parsed.payload.clone()], [9; 4]);
    assert!(verify(&frame, &parsed));
}

/// Every truncation, and every value of every header octet at every length of the frame.
#[test]
fn malformed_frames_of_every_length_read_nothing_beyond_themselves() {
    for way in ways() {
        for hop in [HOP, Hop { vlan: Some(7), ..HOP }] {
            let whole = framed(&[0x80; 24], &hop, &way).unwrap();
            let headers = whole.len() - 24;
            for len in 0..=whole.len() {
                check(&whole[..len]);
            }
            for at in 0..headers {
                for octet in 0..=u8::MAX {
                    let mut frame = whole.clone();
                    frame[at] = octet;
                    check(&frame);
                    for len in [at, at + 1, headers - 1, headers, whole.len() - 1] {
                        check(&frame[..len.min(frame.len())]);
                    }
                }
            }
        }
    }
}

/// Whatever is read lies inside the frame, and verifying it does not fail otherwise.
fn check(frame: &[u8]) {
    if let Some(parsed) = parse(frame) {
        assert!(parsed.payload.start <= parsed.payload.end);
        assert!(parsed.payload.end <= frame.len());
        verify(frame, &parsed);
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_with_checksums_by_the_book(
        payload in proptest::collection::vec(any::<u8>(), 0..1400),
        (from, to) in (any::<u128>(), any::<u128>()),
        (v4, tagged, port) in (any::<bool>(), any::<bool>(), any::<u16>()),
    ) {
        let ip = |ip: u128| if v4 { ip & 0xffff_ffff | 0xffff << 32 } else { ip | 1 << 127 };
        let way = Way {
            from: Endpoint { ip: ip(from), port },
            to: Endpoint { ip: ip(to), port: !port },
            dscp: Dscp::EF,
        };
        let hop = Hop { vlan: tagged.then_some(1 + port % 4094), ..HOP };
        let frame = framed(&payload, &hop, &way).unwrap();
        let parsed = parse(&frame).unwrap();
        prop_assert_eq!((parsed.from, parsed.to), (way.from, way.to));
        prop_assert_eq!((parsed.source, parsed.target), (hop.source, hop.target));
        prop_assert_eq!(parsed.vlan, hop.vlan);
        prop_assert_eq!(&frame[parsed.payload.clone()], &payload[..]);
        prop_assert!(verify(&frame, &parsed));
        let udp = parsed.payload.start - 8;
        prop_assert_eq!(checksum_by_the_book(&pseudo_by_the_book(&way, &frame[udp..])), 0);
        if v4 {
            prop_assert_eq!(checksum_by_the_book(&frame[parsed.ip_at..udp]), 0);
        }
        // And a flipped bit is seen, wherever the checksums look.
        let at = usize::from(port) % (frame.len() - parsed.ip_at - 2);
        let mut damaged = frame.clone();
        damaged[parsed.ip_at + at] ^= 1;
        if let Some(parsed) = parse(&damaged) {
            let unsummed = !v4 && at < 8;
            // A sum of 1 became "no sum".
            let absent = damaged[udp + 6..udp + 8] == [0, 0];
            prop_assert!(unsummed || absent || !verify(&damaged, &parsed));
        }
    }

    #[test]
    fn any_octets_are_read_without_fault(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(&frame);
    }
}
