use std::path::Path;

use bytes::Bytes;
use sip::endpoint::Transport;
use sip::wire::Message;

use super::*;
use crate::config;
use crate::trunk::TrunkId;

const MODES: [Nat; 5] = [Nat::No, Nat::ForceRport, Nat::Comedia, Nat::Yes, Nat::Auto];

fn vantage(nat: Nat, source: &str) -> Vantage {
    let source = source.parse().unwrap();
    Vantage { nat, learn_from: LearnFrom::Any, source, translated: false }
}

/// What a place is, in a word: where packets go, whether the source may be learned.
fn outcome(place: &Place) -> &'static str {
    match (place.rtp.is_some(), place.is_awaited, place.is_lost, place.learning.is_some()) {
        (true, false, false, false) => "signalled",
        (true, false, false, true) => "signalled, learns",
        (false, true, false, true) => "awaits",
        (false, false, true, false) => "lost",
        (false, false, false, false) => "held",
        (false, false, false, true) => "held, learns",
        other => panic!("contradiction: {other:?}"),
    }
}

#[test]
fn where_media_goes_in_each_mode() {
    // Source of the signalling, address in the description, outcomes in the order of MODES.
    let (plain, learns) = ("signalled", "signalled, learns");
    let table = [
        // Public, the same and another.
        ("203.0.113.9", "203.0.113.9", [plain, plain, learns, learns, plain]),
        ("203.0.113.9", "198.51.100.7", [plain, plain, learns, learns, learns]),
        ("2001:db8::9", "2001:db8::9", [plain, plain, learns, learns, plain]),
        // Private, and the peer is not in that network.
        ("203.0.113.9", "10.1.2.3", ["lost", "lost", "awaits", "awaits", "awaits"]),
        ("203.0.113.9", "172.31.0.1", ["lost", "lost", "awaits", "awaits", "awaits"]),
        ("203.0.113.9", "192.168.1.1", ["lost", "lost", "awaits", "awaits", "awaits"]),
        ("203.0.113.9", "100.64.0.1", ["lost", "lost", "awaits", "awaits", "awaits"]),
        ("203.0.113.9", "169.254.1.1", ["lost", "lost", "awaits", "awaits", "awaits"]),
        ("203.0.113.9", "127.0.0.1", ["lost", "lost", "awaits", "awaits", "awaits"]),
        ("2001:db8::9", "fd00::1", ["lost", "lost", "awaits", "awaits", "awaits"]),
        ("2001:db8::9", "fe80::1", ["lost", "lost", "awaits", "awaits", "awaits"]),
        ("203.0.113.9", "::ffff:10.1.2.3", ["lost", "lost", "awaits", "awaits", "awaits"]),
        // Just outside of those networks.
        ("203.0.113.9", "172.32.0.1", [plain, plain, learns, learns, learns]),
        ("203.0.113.9", "100.128.0.1", [plain, plain, learns, learns, learns]),
        // A peer that is in a private network itself can be reached there.
        ("10.1.2.3", "10.1.2.3", [plain, plain, learns, learns, learns]),
        ("10.1.2.3", "10.1.2.4", [plain, plain, learns, learns, learns]),
        ("10.1.2.3", "203.0.113.9", [plain, plain, learns, learns, learns]),
        ("100.64.0.9", "192.168.1.1", [plain, plain, learns, learns, learns]),
        // This very host.
        ("127.0.0.1", "127.0.0.1", [plain, plain, learns, learns, plain]),
        ("127.0.0.1", "127.0.0.2", [plain, plain, learns, learns, learns]),
        ("127.0.0.1", "10.1.2.3", [plain, plain, learns, learns, learns]),
        ("::1", "::1", [plain, plain, learns, learns, plain]),
        // On hold: nothing is sent anywhere, and the address says nothing of a NAT.
        ("203.0.113.9", "0.0.0.0", ["held", "held", "held, learns", "held, learns", "held"]),
        ("2001:db8::9", "::", ["held", "held", "held, learns", "held, learns", "held"]),
    ];
    for (source, said, wanted) in table {
        for (nat, wanted) in MODES.into_iter().zip(wanted) {
            let ip: IpAddr = said.parse().unwrap();
            let (rtp, rtcp) = (SocketAddr::new(ip, 4000), SocketAddr::new(ip, 4001));
            let place = vantage(nat, source).place(rtp, rtcp);
            assert_eq!(outcome(&place), wanted, "{nat:?}: {said} by {source}");
            let known = wanted.starts_with("signalled");
            assert_eq!(place.rtp, known.then_some(rtp));
            assert_eq!(place.rtcp, known.then_some(rtcp));
            if let Some(learning) = place.learning {
                assert_eq!(learning, Learning { window_ms: 5_000, within: None });
            }
        }
    }
}

#[test]
fn rtcp_to_a_private_address_is_not_sent_either() {
    let (rtp, rtcp) = ("198.51.100.7:4000", "192.168.1.1:4001");
    let place = vantage(Nat::No, "203.0.113.9").place(rtp.parse().unwrap(), rtcp.parse().unwrap());
    assert_eq!((place.rtp, place.rtcp), (rtp.parse().ok(), None));
    assert!(!place.is_lost);
}

#[test]
fn learning_may_be_limited_to_a_network() {
    let network = |text| LearnFrom::Network(Cidr::parse(text).unwrap());
    for (learn_from, source, within) in [
        (LearnFrom::Any, "203.0.113.9", None),
        (LearnFrom::Signalling, "203.0.113.9", Some(("203.0.113.0", 24))),
        (LearnFrom::Signalling, "2001:db8:1:2:3::9", Some(("2001:db8:1:2::", 64))),
        (network("198.51.100.0/25"), "203.0.113.9", Some(("198.51.100.0", 25))),
        (network("2001:db8::/48"), "203.0.113.9", Some(("2001:db8::", 48))),
    ] {
        let vantage = Vantage { learn_from, ..vantage(Nat::Comedia, source) };
        let said = "203.0.113.9:4000".parse().unwrap();
        let learning = vantage.place(said, said).learning.unwrap();
        let within = within.map(|(ip, prefix)| (ip.parse().unwrap(), prefix));
        assert_eq!(learning.within, within, "{learn_from:?}");
    }
}

fn request(via: &str, contact: &str) -> Request {
    let text = format!(
        "INVITE sip:1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP {via};branch=z9hG4bK1\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@x.example>;tag=1\r\nTo: <sip:1@192.0.2.1>\r\n\
         Call-ID: c\r\nCSeq: 1 INVITE\r\nContact: <sip:a@{contact}>\r\nContent-Length: 0\r\n\r\n"
    );
    match sip::wire::parse(Bytes::from(text)).unwrap() {
        Message::Request(request) => request,
        Message::Response(_) => unreachable!("a request was written"),
    }
}

#[test]
fn auto_looks_at_via_and_contact_too() {
    let said = "203.0.113.9:4000".parse().unwrap();
    for (via, contact, learns) in [
        ("203.0.113.9:5060", "203.0.113.9", false),
        ("gw.example:5060", "gw.example", false),
        ("192.168.1.1:5060", "203.0.113.9", true),
        ("203.0.113.9:5060", "192.168.1.1:5070", true),
        ("198.51.100.7:5060", "203.0.113.9", true),
        ("203.0.113.9:5060", "198.51.100.7", true),
    ] {
        for nat in MODES {
            let mut vantage = vantage(nat, "192.0.2.77");
            vantage.asked("203.0.113.9".parse().unwrap(), &request(via, contact));
            let wanted = match nat {
                Nat::No | Nat::ForceRport => false,
                Nat::Comedia | Nat::Yes => true,
                Nat::Auto => learns,
            };
            let found = vantage.place(said, said).learning.is_some();
            assert_eq!(found, wanted, "{nat:?}: Via {via}, Contact {contact}");
        }
    }
}

#[test]
fn a_later_message_counts_anew() {
    let source = "203.0.113.9".parse().unwrap();
    let said = "203.0.113.9:4000".parse().unwrap();
    let mut vantage = vantage(Nat::Auto, "203.0.113.9");
    vantage.asked(source, &request("10.0.0.1", "10.0.0.1"));
    assert!(vantage.place(said, said).learning.is_some());
    let mut response = Response::new(sip::wire::StatusCode::OK);
    response.headers.push(sip::wire::HeaderName::Contact, "<sip:b@203.0.113.9>");
    vantage.answered(source, &response);
    assert!(vantage.place(said, said).learning.is_none());
    response.headers.set(sip::wire::HeaderName::Contact, "<sip:b@10.0.0.1>");
    vantage.answered(source, &response);
    assert!(vantage.place(said, said).learning.is_some());
}

#[test]
fn replies_are_forced_to_the_source_in_each_mode() {
    let text = "[sip]\nudp = [\"192.0.2.1:5060\"]\n[[trunk]]\nname = \"t\"\n\
                host = \"203.0.113.9\"\n";
    let mut trunk = config::parse(text, Path::new(".")).unwrap().trunks[0].as_ref().clone();
    assert_eq!(trunk.id, TrunkId(1));
    let (no, yes) = (false, true);
    // Via, replies to the source in the order of MODES.
    let table = [
        ("203.0.113.9:5060", [no, yes, no, yes, no]),
        ("192.168.1.1:5060", [no, yes, no, yes, yes]),
        ("198.51.100.7:5060", [no, yes, no, yes, yes]),
        ("gw.example:5060", [no, yes, no, yes, no]),
        ("192.168.1.1:5060;rport", [yes; 5]),
    ];
    for (via, wanted) in table {
        for (nat, wanted) in MODES.into_iter().zip(wanted) {
            for transport in [Transport::Udp, Transport::Tcp] {
                trunk.nat = nat;
                let remote = "203.0.113.9:61000".parse().unwrap();
                let hop = Hop { transport, remote, connection: 0, tag: 1 };
                let mut request = request(via, "203.0.113.9");
                force_rport(&trunk, hop, &mut request);
                let told = request.headers.via().unwrap();
                let asked = via.contains("rport");
                let wanted = if transport == Transport::Udp { wanted } else { asked };
                assert_eq!(told.wants_rport(), wanted, "{nat:?} {transport:?}: {via}");
                assert_eq!(told.branch().map(|b| b.to_vec()), Some(b"z9hG4bK1".to_vec()));
            }
        }
    }
}
