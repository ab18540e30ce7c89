//! `keepalive`, `keepalive_interval`, `rtp_keepalive_interval`, `signalling_dscp`, `media_dscp`, `sip_alg`,
//! `external_address`, `media_network`, `rtcp_mux`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use super::by_hand::{ByHand, MEDIA_PORT, audio};
use super::{config_with, header};
use crate::actions::accept;
use crate::capture::Capture;
use crate::gateway::{Gateway, Place};
use crate::lines::PATIENCE;
use crate::pbx::{MEDIA_PORT as PBX_PORT, Pbx};

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
    let mut connection = accept(&provider);
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

/// The provider says nothing at all: its audio keeps no way to PJSIP open, and the gateway does. What
/// leaves is marked as each trunk wants it.
#[test]
fn a_silent_way_to_pjsip_is_kept_open_and_marked_as_its_trunk_says() {
    let place = Place::new();
    let pbx = "keepalive = true\nrtp_keepalive_interval = 1\nmedia_dscp = \"AF41\"";
    let config = config_with(&place, "pbx", pbx);
    let name = "name = \"provider\"\n";
    let config = config.replace(name, &format!("{name}signalling_dscp = 26\n"));
    let mut gateway = Gateway::start(&place, &config);
    let mut phones = Pbx::start(&place, &[]);
    let wire = Capture::start(&place);
    let mut provider = ByHand::new(&place, "390612345");
    let media = UdpSocket::bind((place.provider, MEDIA_PORT)).unwrap();
    media.set_read_timeout(Some(PATIENCE)).unwrap();
    provider.call();
    phones.events.wait("\"media\"");
    // Two seconds and more by the packets of PJSIP, which come every 20 ms.
    for _ in 0..125 {
        media.recv_from(&mut [0; 512]).unwrap();
    }
    let wire = wire.finish();
    let to_pbx = wire.iter().filter(|d| d.destination == (place.pbx, PBX_PORT));
    let to_pbx: Vec<_> = to_pbx.filter(|d| d.source.0 == place.gateway).collect();
    let kept = to_pbx.iter().filter(|d| (22..=28).contains(&d.payload.len()));
    let kept: Vec<_> = kept.filter(|d| d.payload[1] & 0x7f >= 96).collect();
    assert!(kept.len() >= 2, "{} packets without audio", kept.len());
    assert!(kept.iter().all(|d| d.dscp == 34), "AF41");
    let to_provider = wire.iter().filter(|d| d.destination == (place.provider, MEDIA_PORT));
    assert!(to_provider.clone().count() > 0 && to_provider.clone().all(|d| d.dscp == 46), "EF");
    let told = wire.iter().filter(|d| d.destination == (place.provider, 5070));
    let marks: Vec<u8> = told.map(|d| d.dscp).collect();
    assert!(!marks.is_empty() && marks.iter().all(|dscp| *dscp == 26), "{marks:?}");
    phones.hang_up();
    provider.answer_bye();
    assert_eq!(gateway.cdrs_when(1)[0]["ended_by"], "callee");
    assert!(gateway.stop());
}

/// The carrier outside, PJSIP inside: neither sees the other network's address.
#[test]
fn each_side_has_its_media_on_its_own_network() {
    let place = Place::new();
    let [a, b, n, _] = place.gateway.octets();
    let inside = Ipv4Addr::new(a, b, n, 6);
    let config = config_with(&place, "pbx", "media_network = \"inside\"");
    let network = format!("\n[[network]]\nname = \"inside\"\naddress = \"{inside}\"\n");
    let mut gateway = Gateway::start(&place, &(config + &network));
    let mut phones = Pbx::start(&place, &[]);
    let wire = Capture::start(&place);
    let mut provider = ByHand::new(&place, "390612345");
    let media = UdpSocket::bind((place.provider, MEDIA_PORT)).unwrap();
    media.set_read_timeout(Some(PATIENCE)).unwrap();
    let accepted = provider.call();
    assert!(accepted.contains(&format!("c=IN IP4 {}\r\n", place.gateway)), "{accepted}");
    phones.events.wait("\"media\"");
    for _ in 0..50 {
        let (length, from) = media.recv_from(&mut [0; 512]).unwrap();
        assert_eq!((length, from.ip()), (172, place.gateway.into()));
        media.send_to(&[0x80; 172], from).unwrap();
    }
    phones.hang_up();
    provider.answer_bye();
    let wire = wire.finish();
    let pbx = (place.pbx, PBX_PORT);
    let to_pbx = wire.iter().filter(|d| d.destination == pbx).map(|d| d.source.0);
    let from_pbx = wire.iter().filter(|d| d.source == pbx).map(|d| d.destination.0);
    for ours in [to_pbx.collect::<Vec<_>>(), from_pbx.collect()] {
        assert!(!ours.is_empty() && ours.iter().all(|address| *address == inside), "{ours:?}");
    }
    let cdr = &gateway.cdrs_when(1)[0];
    assert!(cdr["forward"]["packets"].as_u64() > Some(0), "{cdr}");
    assert!(cdr["backward"]["packets"].as_u64() >= Some(50), "{cdr}");
    assert!(gateway.stop());
}

/// PJSIP answers our offer, then makes one of its own; the carrier knows nothing of it.
#[test]
fn rtcp_shares_the_port_of_rtp_with_pjsip_and_has_its_own_at_the_carrier() {
    let place = Place::new();
    let config = config_with(&place, "pbx", "rtcp_mux = true");
    let mut gateway = Gateway::start(&place, &config);
    let mut phones = Pbx::start(&place, &["--mux"]);
    let [rtp, rtcp] = [MEDIA_PORT, MEDIA_PORT + 1].map(|port| {
        let socket = UdpSocket::bind((place.provider, port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    });
    let wire = Capture::start(&place);
    let mut provider = ByHand::new(&place, "390612345");
    let accepted = provider.call();
    assert!(!accepted.contains("rtcp-mux"), "{accepted}");
    phones.events.wait("\"media\"");
    reports_pass(&place, &accepted, &rtp, &rtcp);
    provider.hang_up();
    phones.events.wait("\"disconnected\"");
    phones.call(&place, "0612345");
    let invite = provider.receive("INVITE");
    assert!(!invite.contains("rtcp-mux"), "{invite}");
    provider.accept(&invite, &audio(&place, 2));
    phones.events.wait("\"media\"");
    reports_pass(&place, &invite, &rtp, &rtcp);
    phones.hang_up();
    provider.answer_bye();
    assert_eq!(gateway.cdrs_when(2).len(), 2);
    assert!(gateway.stop());
    let wire = wire.finish();
    let with_pbx =
        |port| wire.iter().filter(move |d| [d.source, d.destination].contains(&(place.pbx, port)));
    // The second call of PJSIP has the next pair.
    for port in [PBX_PORT, PBX_PORT + 2] {
        let is_report = |d: &&crate::capture::Datagram| (200..=204).contains(&d.payload[1]);
        let ways: Vec<_> = with_pbx(port).filter(is_report).map(|d| d.source.0).collect();
        assert!(ways.contains(&place.pbx) && ways.contains(&place.gateway), "{port}: {ways:?}");
        assert_eq!(with_pbx(port + 1).count(), 0, "{port}");
    }
}

/// A report of the carrier's goes to where we `said` that RTCP is, and one of PJSIP's, which makes one
/// every five seconds, comes from there.
fn reports_pass(place: &Place, said: &str, rtp: &UdpSocket, rtcp: &UdpSocket) {
    let (_, line) = said.split_once("m=audio ").unwrap();
    let port: u16 = line.split(' ').next().unwrap().parse().unwrap();
    let at = |port| SocketAddr::from((place.gateway, port));
    rtp.send_to(&[&[0x80, 8, 0, 1][..], &[0; 168]].concat(), at(port)).unwrap();
    rtcp.send_to(&[&[0x80, 200, 0, 6][..], &[0; 24]].concat(), at(port + 1)).unwrap();
    let mut buffer = [0; 512];
    while rtcp.recv_from(&mut buffer).unwrap().1 != at(port + 1) {}
    assert!((200..=204).contains(&buffer[1]), "{buffer:?}");
}

#[test]
fn a_trunk_with_sip_alg_is_told_our_outer_address_and_found_behind_its_own() {
    let place = Place::new();
    let fields = "sip_alg = true\nexternal_address = \"203.0.113.77\"";
    let mut gateway = Gateway::start(&place, &config_with(&place, "provider", fields));
    let mut phones = Pbx::start(&place, &[]);
    // Its Contact is nowhere here.
    let mut provider = ByHand::new(&place, "390612345").at("10.9.9.9");
    let accepted = provider.call();
    let contact = header(&accepted, "Contact").unwrap();
    assert!(contact.contains("@203.0.113.77:5060") || contact.contains("sip:203.0.113.77:5060"));
    assert!(accepted.contains("c=IN IP4 203.0.113.77"), "{accepted}");
    phones.events.wait("\"media\"");
    phones.hang_up();
    // The BYE comes to where its INVITE came from.
    let bye = provider.answer_bye();
    assert!(header(&bye, "Via").unwrap().contains("203.0.113.77:5060"), "{bye}");
    assert_eq!(gateway.cdrs_when(1)[0]["ended_by"], "callee");
    assert!(gateway.stop());
}
