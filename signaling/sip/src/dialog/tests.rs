//! Dialog state against RFC 3261 §12, on messages as they come from the wire.

use super::*;
use crate::wire::{Message, parse};

fn request(extra: &str) -> Request {
    let text = format!(
        "INVITE sip:bob@biloxi.example SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
         Max-Forwards: 70\r\n\
         From: \"Alice\" <sip:alice@atlanta.example>;tag=a1\r\n\
         To: <sip:bob@biloxi.example>\r\n\
         Call-ID: c1\r\n\
         CSeq: 314 INVITE\r\n\
         {extra}\
         Content-Length: 0\r\n\r\n"
    );
    match parse(Bytes::from(text)).unwrap() {
        Message::Request(request) => request,
        Message::Response(_) => unreachable!(),
    }
}

fn response(status: u16, extra: &str) -> Response {
    let text = format!(
        "SIP/2.0 {status} X\r\n\
         Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
         From: \"Alice\" <sip:alice@atlanta.example>;tag=a1\r\n\
         To: <sip:bob@biloxi.example>;tag=b1\r\n\
         Call-ID: c1\r\n\
         CSeq: 314 INVITE\r\n\
         {extra}\
         Content-Length: 0\r\n\r\n"
    );
    match parse(Bytes::from(text)).unwrap() {
        Message::Response(response) => response,
        Message::Request(_) => unreachable!(),
    }
}

fn routes(request: &Request) -> Vec<String> {
    request.headers.route().unwrap().iter().map(|r| r.uri.to_string()).collect()
}

const TWO_PROXIES: &str = "Record-Route: <sip:p1.example;lr>, <sip:p2.example;lr>\r\n";

#[test]
fn uac_reverses_the_route_set_and_uas_does_not() {
    let contact = "Contact: <sip:bob@192.0.2.4>\r\n";
    let mut uac =
        Dialog::uac(&request(""), &response(200, &format!("{TWO_PROXIES}{contact}"))).unwrap();
    let bye = uac.request(Method::Bye);
    assert_eq!(bye.uri.to_string(), "sip:bob@192.0.2.4");
    assert_eq!(routes(&bye), ["sip:p2.example;lr", "sip:p1.example;lr"]);
    assert_eq!(uac.next_hop().to_string(), "sip:p2.example;lr");
    assert_eq!(bye.headers.cseq().unwrap(), CSeq { number: 315, method: Method::Bye });
    assert_eq!(bye.headers.from().unwrap().tag().unwrap(), "a1");
    assert_eq!(bye.headers.to().unwrap().tag().unwrap(), "b1");
    assert_eq!(bye.headers.call_id().unwrap(), "c1");

    let contact = "Contact: <sip:alice@192.0.2.1:5070>\r\n";
    let invite = request(&format!("{TWO_PROXIES}{contact}"));
    let mut uas = Dialog::uas(&invite, &Bytes::from("b1")).unwrap();
    let bye = uas.request(Method::Bye);
    assert_eq!(bye.uri.to_string(), "sip:alice@192.0.2.1:5070");
    assert_eq!(routes(&bye), ["sip:p1.example;lr", "sip:p2.example;lr"]);
    assert_eq!(bye.headers.from().unwrap().tag().unwrap(), "b1");
    assert_eq!(bye.headers.to().unwrap().tag().unwrap(), "a1");
    assert_eq!(bye.headers.to().unwrap().display.unwrap(), "Alice");
    assert_eq!((uas.local_tag(), uas.remote_tag()), (uac.remote_tag(), uac.local_tag()));
}

#[test]
fn a_strict_first_router_becomes_the_request_uri() {
    let extra = "Record-Route: <sip:p1.example;lr>, <sip:old.example;method=INVITE?x=y>\r\n\
                 Contact: <sip:bob@192.0.2.4>\r\n";
    let mut uac = Dialog::uac(&request(""), &response(200, extra)).unwrap();
    let bye = uac.request(Method::Bye);
    assert_eq!(bye.uri.to_string(), "sip:old.example");
    assert_eq!(routes(&bye), ["sip:p1.example;lr", "sip:bob@192.0.2.4"]);
}

#[test]
fn ack_keeps_the_number_of_the_invite() {
    let mut uac =
        Dialog::uac(&request(""), &response(183, "Contact: <sip:bob@192.0.2.4>\r\n")).unwrap();
    assert!(!uac.is_confirmed());
    uac.request(Method::Prack);
    let ack = uac.ack(314);
    assert_eq!(ack.headers.cseq().unwrap(), CSeq { number: 314, method: Method::Ack });
    assert_eq!(uac.request(Method::Bye).headers.cseq().unwrap().number, 316);
}

#[test]
fn the_2xx_replaces_what_a_provisional_said() {
    let mut uac = Dialog::uac(&request(""), &response(180, "")).unwrap();
    assert_eq!(uac.remote_target().to_string(), "sip:bob@biloxi.example", "no Contact yet");
    uac.learn(&response(183, &format!("{TWO_PROXIES}Contact: <sip:early@192.0.2.4>\r\n"))).unwrap();
    assert_eq!(uac.remote_target().to_string(), "sip:early@192.0.2.4");
    assert_eq!(uac.next_hop().to_string(), "sip:p2.example;lr");
    uac.learn(&response(200, "Contact: <sip:final@192.0.2.4>\r\n")).unwrap();
    assert!(uac.is_confirmed());
    assert_eq!(uac.next_hop().to_string(), "sip:final@192.0.2.4", "the route set is gone");
}

#[test]
fn target_refresh_moves_the_target_only() {
    let extra = format!("{TWO_PROXIES}Contact: <sip:bob@192.0.2.4>\r\n");
    let mut uac = Dialog::uac(&request(""), &response(200, &extra)).unwrap();
    let refresh = "Record-Route: <sip:evil.example;lr>\r\nContact: <sip:moved@192.0.2.9>\r\n";
    uac.refresh(&request(refresh).headers).unwrap();
    assert_eq!(uac.remote_target().to_string(), "sip:moved@192.0.2.9");
    assert_eq!(uac.next_hop().to_string(), "sip:p2.example;lr");
}

#[test]
fn the_peers_numbers_only_rise() {
    let extra = "Contact: <sip:alice@192.0.2.1>\r\n";
    let mut uas = Dialog::uas(&request(extra), &Bytes::from("b1")).unwrap();
    assert!(!uas.admit(313));
    assert!(!uas.admit(314), "the number of the INVITE itself");
    assert!(uas.admit(315));
    assert!(!uas.admit(315));
    assert!(uas.admit(400), "gaps are allowed");
    let mut uac = Dialog::uac(&request(""), &response(200, "")).unwrap();
    assert!(uac.admit(0), "the first number of the peer is free");
}

#[test]
fn a_request_uri_carries_no_uri_headers() {
    let extra = "Contact: <sip:alice@192.0.2.1;method=BYE;x=1?Subject=y>\r\n";
    let uas = Dialog::uas(&request(extra), &Bytes::from("b1")).unwrap();
    assert_eq!(uas.remote_target().to_string(), "sip:alice@192.0.2.1;x=1");
}
