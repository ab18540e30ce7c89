//! Where RTCP goes: `a=rtcp` (RFC 3605) and the shared port (RFC 5761).

use std::net::SocketAddr;

use crate::common::*;
use sdp::{Local, Policy, Reject, read_answer, read_offer, write_answer, write_offer};

fn mux() -> Policy {
    Policy { rtcp_mux: true, ..plain() }
}

#[test]
fn the_attribute_names_the_port_and_perhaps_the_address() {
    // RFC 3605 §2.1: attribute, RTCP address as read.
    let table = [
        ("", "192.0.2.1:5001"),
        ("a=rtcp:5003", "192.0.2.1:5003"),
        ("a=rtcp: 5003 ", "192.0.2.1:5003"),
        ("a=rtcp:5003 IN IP4 198.51.100.9", "198.51.100.9:5003"),
        ("a=rtcp:53020 IN IP6 2001:DB8::64", "[2001:db8::64]:53020"),
        // Of no use: as if absent.
        ("a=rtcp", "192.0.2.1:5001"),
        ("a=rtcp:", "192.0.2.1:5001"),
        ("a=rtcp:0", "192.0.2.1:5001"),
        ("a=rtcp:65536", "192.0.2.1:5001"),
        ("a=rtcp:port", "192.0.2.1:5001"),
        ("a=rtcp:5003 IN IP4", "192.0.2.1:5001"),
        ("a=rtcp:5003 IN IP4 224.0.0.1", "192.0.2.1:5001"),
        ("a=rtcp:5003 IN IP4 host.example", "192.0.2.1:5001"),
        ("a=rtcp:5003 IN IP4 198.51.100.9 more", "192.0.2.1:5001"),
    ];
    for (attribute, wanted) in table {
        let offer = parse(&with(&["m=audio 5000 RTP/AVP 8", attribute]));
        let audio = read_offer(&offer, &plain()).unwrap();
        assert_eq!(audio.rtcp, wanted.parse::<SocketAddr>().unwrap(), "{attribute}");
        assert!(!audio.rtcp_mux);
    }
}

#[test]
fn the_last_port_has_no_next() {
    let high = "m=audio 65535 RTP/AVP 8";
    let result = read_offer(&parse(&with(&[high])), &mux());
    assert!(matches!(result, Err(Reject::Port { port: 65535 })), "{result:?}");
    let offer = parse(&with(&[high, "a=rtcp:65534"]));
    assert_eq!(read_offer(&offer, &mux()).unwrap().rtcp.port(), 65534);
    let offer = parse(&with(&[high, "a=rtcp-mux"]));
    assert_eq!(read_offer(&offer, &mux()).unwrap().rtcp.port(), 65535);
}

#[test]
fn our_rtcp_port_is_named_when_it_is_not_the_next() {
    let offer = parse(&with(&["m=audio 5000 RTP/AVP 8"]));
    let audio = read_offer(&offer, &plain()).unwrap();
    for (rtp_port, rtcp_port, named) in
        [(4000, 4001, false), (4000, 4003, true), (4000, 4000, true), (65535, 65534, true)]
    {
        let local = Local { rtp_port, rtcp_port, ..local(&[]) };
        for body in [
            write_offer(Some(&audio), &plain(), &local).unwrap(),
            write_answer(&offer, &audio, &audio, &plain(), &local).unwrap(),
        ] {
            let again = read_offer(&parse(&text(body.clone())), &plain()).unwrap();
            assert_eq!((again.rtp.port(), again.rtcp.port()), (rtp_port, rtcp_port));
            assert_eq!(text(body).contains("a=rtcp:"), named, "{rtp_port} {rtcp_port}");
        }
    }
}

#[test]
fn the_shared_port_needs_the_peer_and_the_policy() {
    // RFC 5761 §5.1.1: peer offers, policy allows; shared.
    let table =
        [(true, true, true), (true, false, false), (false, true, false), (false, false, false)];
    for (offered, allowed, shared) in table {
        let policy = Policy { rtcp_mux: allowed, ..plain() };
        let attribute = if offered { "a=rtcp-mux" } else { "" };
        let offer = parse(&with(&["m=audio 5000 RTP/AVP 8", "a=rtcp:5007", attribute]));
        let audio = read_offer(&offer, &policy).unwrap();
        assert_eq!(audio.rtcp_mux, shared, "{offered} {allowed}");
        assert_eq!(audio.rtcp.port(), if shared { 5000 } else { 5007 });
        let apart = Local { rtcp_port: 40009, ..local(&[]) };
        let answer = text(write_answer(&offer, &audio, &audio, &policy, &apart).unwrap());
        assert_eq!(answer.contains("a=rtcp-mux"), shared, "{answer}");
        assert_eq!(answer.contains("a=rtcp:40009"), !shared, "{answer}");
        let ours = text(write_offer(Some(&audio), &policy, &apart).unwrap());
        assert_eq!(ours.contains("a=rtcp-mux"), allowed, "{ours}");
        assert!(ours.contains("a=rtcp:40009"), "the peer may decline: {ours}");
    }
}

#[test]
fn an_answer_shares_the_port_only_when_we_offered_it() {
    for (offered, answered, shared) in
        [(true, true, true), (true, false, false), (false, true, false)]
    {
        let policy = Policy { rtcp_mux: offered, ..plain() };
        let ours = parse(&text(write_offer(None, &policy, &local(&[])).unwrap()));
        let attribute = if answered { "a=rtcp-mux" } else { "" };
        let answer = parse(&with(&["m=audio 6000 RTP/AVP 8", attribute]));
        let audio = read_answer(&answer, &ours, &mux()).unwrap();
        assert_eq!((audio.rtcp_mux, audio.rtcp == audio.rtp), (shared, shared));
    }
}

#[test]
fn payload_types_that_look_like_rtcp_keep_the_ports_apart() {
    // RFC 5761 §4.
    for (number, shared) in [(63, true), (64, false), (77, false), (95, false), (96, true)] {
        let lines = [
            format!("m=audio 5000 RTP/AVP {number}"),
            format!("a=rtpmap:{number} PCMA/8000"),
            String::from("a=rtcp-mux"),
        ];
        let offer = parse(&with(&lines.each_ref().map(String::as_str)));
        let audio = read_offer(&offer, &mux()).unwrap();
        assert_eq!(audio.rtcp_mux, shared, "{number}");
        let ours = text(write_offer(Some(&audio), &mux(), &local(&[])).unwrap());
        assert_eq!(ours.contains("a=rtcp-mux"), shared, "{number}");
    }
}
