use super::*;
use proptest::prelude::*;

/// SR with one block, SDES with a CNAME and a tool, BYE with a reason, as one compound.
fn compound() -> Vec<u8> {
    let mut bytes = vec![0x81, 200, 0, 12];
    bytes.extend(0x1111_2222u32.to_be_bytes());
    bytes.extend(0xe000_0001_8000_0000u64.to_be_bytes());
    bytes.extend([160u32, 50, 8000].map(u32::to_be_bytes).concat());
    bytes.extend(0x3333_4444u32.to_be_bytes());
    bytes.extend([64, 0xff, 0xff, 0xfe]);
    bytes.extend([0x0001_0009u32, 30, 0x8000_e000, 65536].map(u32::to_be_bytes).concat());
    bytes.extend([0x81, 202, 0, 4]);
    bytes.extend(0x1111_2222u32.to_be_bytes());
    bytes.extend(*b"\x01\x03a@b\x06\x01t\x00\x00\x00\x00");
    bytes.extend([0x81, 203, 0, 3]);
    bytes.extend(0x1111_2222u32.to_be_bytes());
    bytes.extend(*b"\x05adieu\0\0");
    bytes
}

#[test]
fn a_compound_is_read_packet_by_packet() {
    let bytes = compound();
    let compound = RtcpCompound::parse(&bytes).unwrap();
    assert_eq!(compound.sender_ssrc(), Ssrc(0x1111_2222));
    let packets: Vec<_> = compound.iter().collect();
    let [RtcpPacket::SenderReport(sr), RtcpPacket::Sdes(sdes), RtcpPacket::Bye(bye)] = &packets[..]
    else {
        panic!("not SR, SDES, BYE");
    };

    assert_eq!(sr.ssrc, Ssrc(0x1111_2222));
    let info =
        SenderInfo { ntp: 0xe000_0001_8000_0000, rtp_timestamp: 160, packets: 50, octets: 8000 };
    assert_eq!(sr.info, info);
    assert_eq!(info.ntp_middle(), 0x0001_8000);
    let block = ReportBlock {
        ssrc: Ssrc(0x3333_4444),
        fraction_lost: 64,
        cumulative_lost: -2,
        highest_seq: 0x0001_0009,
        jitter: 30,
        last_sr: 0x8000_e000,
        delay_since_last_sr: 65536,
    };
    assert_eq!(sr.blocks().collect::<Vec<_>>(), [block]);

    let chunks: Vec<_> = sdes.chunks().collect();
    assert_eq!(chunks.len(), 1);
    assert_eq!(chunks[0].ssrc, Ssrc(0x1111_2222));
    let items: Vec<_> = chunks[0].items().collect();
    assert_eq!(items, [SdesItem { kind: 1, text: b"a@b" }, SdesItem { kind: 6, text: b"t" }]);

    assert_eq!(bye.sources().collect::<Vec<_>>(), [Ssrc(0x1111_2222)]);
    assert_eq!(bye.reason(), Some(&b"adieu"[..]));
}

#[test]
fn reduced_size_feedback_stands_alone() {
    let nack = [0x81, 205, 0, 3, 0, 0, 0, 7, 0, 0, 0, 9, 0x12, 0x34, 0, 1];
    let compound = RtcpCompound::parse(&nack).unwrap();
    assert_eq!(compound.sender_ssrc(), Ssrc(7));
    let Some(RtcpPacket::Feedback(nack)) = compound.iter().next() else {
        panic!("not feedback");
    };
    assert!(!nack.payload_specific);
    assert_eq!((nack.format, nack.sender, nack.media), (1, Ssrc(7), Ssrc(9)));
    assert_eq!(nack.fci, [0x12, 0x34, 0, 1]);
}

#[test]
fn other_types_are_told_apart() {
    let app = [0x85, 204, 0, 3, 0, 0, 0, 7, b'n', b'a', b'm', b'e', 1, 2, 3, 4];
    let Some(RtcpPacket::App(app)) = RtcpCompound::parse(&app).unwrap().iter().next() else {
        panic!("not APP");
    };
    assert_eq!(
        (app.subtype, app.ssrc, &app.name, app.data),
        (5, Ssrc(7), b"name", &[1, 2, 3, 4][..])
    );

    let xr = [0x80, 207, 0, 2, 0, 0, 0, 7, 4, 0, 0, 2];
    let Some(RtcpPacket::ExtendedReport(xr)) = RtcpCompound::parse(&xr).unwrap().iter().next()
    else {
        panic!("not XR");
    };
    assert_eq!((xr.ssrc, xr.blocks), (Ssrc(7), &[4, 0, 0, 2][..]));

    let new = [0x83, 210, 0, 1, 0, 0, 0, 7];
    let Some(RtcpPacket::Unknown(new)) = RtcpCompound::parse(&new).unwrap().iter().next() else {
        panic!("not unknown");
    };
    assert_eq!((new.packet_type, new.count, new.body), (210, 3, &[0, 0, 0, 7][..]));
}

#[test]
fn receiver_report_without_blocks_and_with_an_extension() {
    let rr = [0x80, 201, 0, 2, 0, 0, 0, 7, 1, 2, 3, 4];
    let compound = RtcpCompound::parse(&rr).unwrap();
    let Some(RtcpPacket::ReceiverReport(rr)) = compound.iter().next() else {
        panic!("not RR");
    };
    assert_eq!((rr.ssrc, rr.blocks().count()), (Ssrc(7), 0));
}

#[test]
fn padding_is_taken_off_the_last_packet_only() {
    let last = [0x80, 201, 0, 1, 0, 0, 0, 7, 0xa0, 210, 0, 2, 9, 9, 9, 9, 0, 0, 0, 4];
    let compound = RtcpCompound::parse(&last).unwrap();
    let Some(RtcpPacket::Unknown(packet)) = compound.iter().nth(1) else {
        panic!("not two packets");
    };
    assert_eq!(packet.body, [9; 4]);

    let first = [0xa0, 210, 0, 2, 9, 9, 9, 9, 0, 0, 0, 4, 0x80, 201, 0, 1, 0, 0, 0, 7];
    assert_eq!(RtcpCompound::parse(&first).err(), Some(Malformed::Padding));
}

/// Each row is a datagram whose lengths or counts lie.
#[test]
fn what_does_not_fit_is_named() {
    let rows: [(&str, &[u8], Malformed); 17] = [
        ("empty", &[], Malformed::Short),
        ("four octets", &[0x80, 201, 0, 0], Malformed::Short),
        ("version 1", &[0x40, 201, 0, 1, 0, 0, 0, 7], Malformed::Version),
        ("length past the end", &[0x80, 201, 0, 2, 0, 0, 0, 7], Malformed::Length),
        ("length 65535", &[0x80, 201, 0xff, 0xff, 0, 0, 0, 7], Malformed::Length),
        ("odd octets after the last packet", &[0x80, 201, 0, 1, 0, 0, 0, 7, 0], Malformed::Short),
        ("block promised", &[0x81, 201, 0, 1, 0, 0, 0, 7], Malformed::Count),
        ("SR without sender info", &[0x80, 200, 0, 1, 0, 0, 0, 7], Malformed::Length),
        ("padding count 0", &[0xa0, 201, 0, 1, 0, 0, 0, 0], Malformed::Padding),
        ("padding count 3", &[0xa0, 210, 0, 2, 0, 0, 0, 7, 0, 0, 0, 3], Malformed::Padding),
        ("padding longer than the body", &[0xa0, 210, 0, 1, 0, 0, 0, 8], Malformed::Padding),
        ("sources promised", &[0x82, 203, 0, 1, 0, 0, 0, 7], Malformed::Count),
        ("reason past the end", &[0x81, 203, 0, 2, 0, 0, 0, 7, 4, 1, 2, 3], Malformed::Length),
        ("second chunk missing", &[0x82, 202, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0], Malformed::Count),
        ("item past the end", &[0x81, 202, 0, 2, 0, 0, 0, 7, 1, 3, 0, 0], Malformed::Length),
        ("chunk without its end", &[0x81, 202, 0, 2, 0, 0, 0, 7, 1, 2, 0, 0], Malformed::Length),
        ("feedback without a media source", &[0x81, 205, 0, 1, 0, 0, 0, 7], Malformed::Length),
    ];
    for (what, bytes, expected) in rows {
        assert_eq!(RtcpCompound::parse(bytes).err(), Some(expected), "{what}");
    }
}

#[test]
fn a_compound_cut_anywhere_but_between_packets_is_refused() {
    let bytes = compound();
    for len in 0..bytes.len() {
        let whole = [52, 72].contains(&len);
        assert_eq!(RtcpCompound::parse(&bytes[..len]).is_ok(), whole, "length {len}");
    }
}

proptest! {
    #[test]
    fn an_accepted_compound_is_iterated_to_its_last_octet(bytes in arbitrary_compound()) {
        if let Ok(compound) = RtcpCompound::parse(&bytes) {
            let (mut at, mut counts) = (0, Vec::new());
            while at < bytes.len() {
                counts.push(usize::from(bytes[at] & 0x1f));
                at += 4 + 4 * usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
            }
            prop_assert_eq!(compound.iter().count(), counts.len());
            for (packet, count) in compound.iter().zip(counts) {
                match packet {
                    RtcpPacket::SenderReport(sr) => prop_assert_eq!(sr.blocks().count(), count),
                    RtcpPacket::ReceiverReport(rr) => prop_assert_eq!(rr.blocks().count(), count),
                    RtcpPacket::Sdes(sdes) => prop_assert_eq!(sdes.chunks().count(), count),
                    RtcpPacket::Bye(bye) => prop_assert_eq!(bye.sources().count(), count),
                    _ => {}
                }
            }
        }
    }
}

/// Packets whose length fields are right, with arbitrary counts and bodies of small octets.
fn arbitrary_compound() -> impl Strategy<Value = Vec<u8>> {
    let body = proptest::collection::vec(0..6u8, 0..60);
    let packet = (0..4u8, 198..209u8, body).prop_map(|(count, packet_type, mut body)| {
        body.resize(body.len().next_multiple_of(4), 0);
        let [hi, lo] = u16::try_from(body.len() / 4).unwrap().to_be_bytes();
        let mut packet = vec![0x80 | count, packet_type, hi, lo];
        packet.append(&mut body);
        packet
    });
    proptest::collection::vec(packet, 0..5).prop_map(|packets| packets.concat())
}
