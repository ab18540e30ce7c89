//! `keepalive`, `keepalive_interval`, `sip_alg`, `external_address`.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};

use super::{config_with, header};
use crate::gateway::{Gateway, Place};
use crate::lines::PATIENCE;
use crate::pbx::Pbx;

#[test]
fn a_datagram_keeps_the_way_to_a_trunk_open() {
    let place = Place::new();
    let provider = UdpSocket::bind((place.provider, 5070)).unwrap();
    provider.set_read_timeout(Some(PATIENCE)).unwrap();
    let fields = "keepalive = true\nkeepalive_interval = 5";
    let mut gateway = Gateway::start(&place, &config_with(&place, "provider", fields));
    let mut buffer = [0_u8; 64];
    for _ in 0..2 {
        let (length, source) = provider.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"\r\n");
        assert_eq!(source, (place.gateway, 5060).into(), "from where messages come");
    }
    assert!(gateway.stop());
}

/// An INVITE of the provider, with a Contact behind a translator.
fn invite(place: &Place, transport: &str) -> String {
    let body = format!(
        "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\n\
         m=audio 16000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n",
        place.provider
    );
    format!(
        "INVITE sip:390612345@{gateway}:5060 SIP/2.0\r\n\
         Via: SIP/2.0/{transport} {provider}:5070;branch=z9hG4bK-reach\r\n\
         From: <sip:390200000001@{provider}>;tag=e2e\r\n\
         To: <sip:390612345@{gateway}>\r\nCall-ID: reach@{provider}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:390200000001@10.9.9.9:5070>\r\nMax-Forwards: 70\r\n\
         Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{body}",
        gateway = place.gateway,
        provider = place.provider,
        length = body.len(),
    )
}

/// A peer that answers one ping and no more is gone.
#[test]
fn a_connection_whose_peer_stops_answering_pings_is_closed() {
    let place = Place::new();
    let fields = "keepalive = true\nkeepalive_interval = 5";
    let config = config_with(&place, "provider", fields);
    let config = config.replace("transport = \"UDP\"", "transport = \"TCP\"");
    let mut gateway = Gateway::start(&place, &config);
    let provider = TcpListener::bind((place.provider, 5070)).unwrap();
    let mut phones = Pbx::start(&place, &[]);
    phones.call(&place, "0612345");
    let (mut connection, _) = provider.accept().unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = Vec::new();
    let mut buffer = [0_u8; 4096];
    let mut pongs = 0;
    loop {
        let length = connection.read(&mut buffer).unwrap();
        if length == 0 {
            break;
        }
        heard.extend_from_slice(&buffer[..length]);
        if heard.ends_with(b"\r\n\r\n\r\n\r\n") && pongs == 0 {
            connection.write_all(b"\r\n").unwrap();
            pongs += 1;
        }
    }
    assert_eq!(pongs, 1, "{}", String::from_utf8_lossy(&heard));
    gateway.log.wait("answers no ping any more");
    assert!(gateway.stop());
}

#[test]
fn a_trunk_with_sip_alg_is_told_our_outer_address_and_found_behind_its_own() {
    let place = Place::new();
    let fields = "sip_alg = true\nexternal_address = \"203.0.113.77\"";
    let mut gateway = Gateway::start(&place, &config_with(&place, "provider", fields));
    let mut phones = Pbx::start(&place, &[]);
    let provider = UdpSocket::bind((place.provider, 5070)).unwrap();
    provider.set_read_timeout(Some(PATIENCE)).unwrap();
    provider.send_to(invite(&place, "UDP").as_bytes(), (place.gateway, 5060)).unwrap();
    let receive = |start: &str| {
        let mut buffer = [0_u8; 4096];
        loop {
            let (length, _) = provider.recv_from(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.starts_with(start) {
                return text;
            }
        }
    };
    let accepted = receive("SIP/2.0 200");
    let contact = header(&accepted, "Contact").unwrap();
    assert!(contact.contains("@203.0.113.77:5060") || contact.contains("sip:203.0.113.77:5060"));
    assert!(accepted.contains("c=IN IP4 203.0.113.77"), "{accepted}");
    let to = header(&accepted, "To").unwrap().to_owned();
    let ack = invite(&place, "UDP").replace("INVITE", "ACK");
    let ack = ack.split("Contact:").next().unwrap().replace("z9hG4bK-reach", "z9hG4bK-ack");
    let plain = header(&ack, "To").unwrap().to_owned();
    let ack = ack.replace(&format!("To: {plain}"), &format!("To: {to}"));
    let ack = format!("{ack}Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n");
    provider.send_to(ack.as_bytes(), (place.gateway, 5060)).unwrap();
    phones.events.wait("\"media\"");
    phones.hang_up();
    // Its Contact is 10.9.9.9, which is nowhere here: the BYE comes to where its INVITE came from.
    let bye = receive("BYE sip:390200000001@10.9.9.9:5070");
    assert!(header(&bye, "Via").unwrap().contains("203.0.113.77:5060"), "{bye}");
    let ok: String = ["Via", "From", "To", "Call-ID", "CSeq"]
        .map(|name| format!("{name}: {}\r\n", header(&bye, name).unwrap()))
        .concat();
    let ok = format!("SIP/2.0 200 OK\r\n{ok}Content-Length: 0\r\n\r\n");
    provider.send_to(ok.as_bytes(), (place.gateway, 5060)).unwrap();
    assert_eq!(gateway.cdrs_when(1)[0]["ended_by"], "callee");
    assert!(gateway.stop());
}
