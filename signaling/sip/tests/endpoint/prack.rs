//! Reliable provisional responses (RFC 3262): PRACK as a client, repetition and holding back as a
//! server.

use std::time::Duration;

use bytes::Bytes;
use sip::endpoint::{Event, Hop, Misuse, ServerId};
use sip::wire::{HeaderName, Method, Request, StatusCode};

use crate::solo::*;

/// A reliable provisional response of the peer, which is one of a proxy's phones.
fn reliably(invite: &Request, status: u16, tag: &str, rseq: u32) -> String {
    reply(invite, status, tag, &format!("Require: 100rel\r\nRSeq: {rseq}\r\n{CONTACT}"))
}

fn rack(request: &Request) -> String {
    assert_eq!(request.method, Method::Prack);
    String::from_utf8(request.headers.get(&HeaderName::RAck).unwrap().to_vec()).unwrap()
}

#[test]
fn each_response_in_order_is_acknowledged_and_told_once() {
    let mut solo = Solo::new();
    let (_, invite) = solo.invite(udp());
    solo.receive(udp(), &reliably(&invite, 183, "b1", 776_656));
    assert!(matches!(solo.one_event(), Event::Response { dialog: Some(_), .. }));
    let prack = solo.one_request();
    assert_eq!(rack(&prack), "776656 1 INVITE");
    assert_eq!(prack.headers.cseq().unwrap().number, 2);
    assert_eq!(prack.uri.to_string(), "sip:peer@192.0.2.9:5060", "the Contact of the response");
    // The transaction repeats the PRACK, not the response.
    solo.receive(udp(), &reliably(&invite, 183, "b1", 776_656));
    assert!(solo.events().is_empty() && solo.sent().is_empty());
    // One is missing: it is as if this one had not come (RFC 3262 §4).
    solo.receive(udp(), &reliably(&invite, 180, "b1", 776_658));
    assert!(solo.events().is_empty() && solo.sent().is_empty());
    solo.receive(udp(), &reliably(&invite, 180, "b1", 776_657));
    assert_eq!(rack(&solo.one_request()), "776657 1 INVITE");
    assert!(matches!(solo.one_event(), Event::Response { .. }));
}

#[test]
fn each_fork_counts_by_itself() {
    let mut solo = Solo::new();
    let (_, invite) = solo.invite(udp());
    for (tag, rseq, said) in [("b1", 5, 1), ("b2", 9, 1), ("b1", 9, 0), ("b2", 10, 1), ("b1", 6, 1)]
    {
        solo.receive(udp(), &reliably(&invite, 183, tag, rseq));
        assert_eq!((solo.events().len(), solo.sent().len()), (said, said), "{tag} {rseq}");
    }
}

#[test]
fn a_lost_prack_is_repeated_and_its_end_is_not_told() {
    let mut solo = Solo::new();
    let (_, invite) = solo.invite(udp());
    solo.receive(udp(), &reliably(&invite, 183, "b1", 1));
    solo.events();
    let prack = solo.one_request();
    solo.pass(T1);
    assert_eq!(solo.one_request(), prack, "the same bytes");
    solo.receive(udp(), &reply(&prack, 481, "", ""));
    solo.pass(GIVE_UP);
    assert!(solo.events().is_empty() && solo.sent().is_empty());
}

#[test]
fn a_prack_follows_the_route_and_its_challenge_is_told() {
    let mut solo = Solo::new();
    let extra = [(HeaderName::ProxyAuthorization, "Digest x"), (HeaderName::Route, "<sip:p;lr>")];
    let request = outgoing(Method::Invite, &extra);
    solo.endpoint.request(solo.now, udp(), request).unwrap();
    let invite = solo.one_request();
    let routed = reliably(&invite, 183, "b1", 1)
        .replace("Require:", "Record-Route: <sip:192.0.2.50;lr>\r\nRequire:");
    solo.receive(udp(), &routed);
    let (hop, _) = solo.sent.first().unwrap();
    assert_eq!(hop.remote, address("192.0.2.50:5060"));
    let prack = solo.one_request();
    let proof = HeaderName::ProxyAuthorization;
    assert!(prack.headers.get(&proof).is_none(), "a digest covers its method");
    assert_eq!(prack.headers.get(&HeaderName::Route).unwrap(), "<sip:192.0.2.50;lr>");
    solo.events();
    let at = Hop { remote: address("192.0.2.50:5060"), ..udp() };
    solo.receive(at, &reply(&prack, 407, "", ""));
    let Event::Response { transaction, dialog: Some(_), .. } = solo.one_event() else { panic!() };
    assert_eq!(solo.endpoint.refused_request(transaction).unwrap().method, Method::Prack);
    let extra = vec![(proof.clone(), Bytes::from_static(b"Digest y"))];
    solo.endpoint.reissue(solo.now, transaction, extra).unwrap();
    let again = solo.one_request();
    assert_eq!((rack(&again), again.headers.cseq().unwrap().number), (rack(&prack), 3));
    assert_eq!(again.headers.get(&proof).unwrap(), "Digest y");
}

#[test]
fn the_answer_to_an_offer_of_the_response_is_the_users() {
    let mut solo = Solo::new();
    let (id, invite) = solo.invite(udp());
    let body = "Content-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0";
    let offer = reliably(&invite, 183, "b1", 3).replace("Content-Length: 0\r\n\r\n", body);
    solo.receive(udp(), &offer);
    let Event::Response { dialog: Some(dialog), .. } = solo.one_event() else { panic!() };
    assert!(solo.sent().is_empty(), "it waits for the answer");
    let answer = Some(("application/sdp", Bytes::from_static(b"v=1")));
    solo.endpoint.prack(solo.now, id, dialog, answer).unwrap();
    let prack = solo.one_request();
    assert_eq!((rack(&prack).as_str(), &prack.body[..]), ("3 1 INVITE", &b"v=1"[..]));
}

#[test]
fn what_cannot_be_acknowledged_is_an_ordinary_response() {
    for extra in ["Require: 100rel\r\n", "RSeq: 1\r\n", "Require: 100rel\r\nRSeq: 0\r\n"] {
        let mut solo = Solo::new();
        let (_, invite) = solo.invite(udp());
        solo.receive(udp(), &reply(&invite, 183, "b1", &format!("{extra}{CONTACT}")));
        assert!(matches!(solo.one_event(), Event::Response { .. }), "{extra}");
        assert!(solo.sent().is_empty(), "{extra}");
    }
}

/// An INVITE of the peer and the number of our reliable response to it.
fn progressing(solo: &mut Solo) -> (ServerId, String, u32) {
    let known = format!("Supported: 100rel\r\n{CONTACT}");
    solo.receive(udp(), &incoming("INVITE", "c", 1, "", &known));
    let Event::Request { transaction, .. } = solo.one_event() else { panic!() };
    let status = StatusCode::SESSION_PROGRESS;
    let answer = Some(("application/sdp", Bytes::from_static(b"v=0")));
    let dialog = solo.endpoint.respond_reliably(solo.now, transaction, status, vec![], answer);
    assert!(dialog.unwrap().is_some());
    let response = solo.one_response();
    assert!(response.headers.has_token(&HeaderName::Require, "100rel"));
    (transaction, to_tag(&response), response.headers.rseq().unwrap().unwrap())
}

fn prack(number: u32, tag: &str, rseq: u32) -> String {
    incoming("PRACK", "c", number, tag, &format!("RAck: {rseq} 1 INVITE\r\n"))
}

#[test]
fn a_response_is_repeated_at_doubling_intervals_until_its_prack() {
    let mut solo = Solo::new();
    let (id, tag, rseq) = progressing(&mut solo);
    let mut at = Vec::new();
    for tenth in 1..=80 {
        solo.pass(Duration::from_millis(100));
        at.extend(solo.said().iter().map(|said| (said.clone(), tenth)));
    }
    let times: Vec<_> = at.iter().map(|(_, tenth)| *tenth).collect();
    assert_eq!(times, [5, 15, 35, 75], "{at:?}");
    solo.receive(udp(), &prack(2, &tag, rseq));
    let Event::InDialog { transaction, request, .. } = solo.one_event() else { panic!() };
    assert_eq!(request.method, Method::Prack);
    solo.respond(transaction, 200);
    assert_eq!(solo.said(), ["200 PRACK"]);
    solo.receive(udp(), &prack(2, &tag, rseq));
    assert_eq!(solo.said(), ["200 PRACK"], "a repeated PRACK gets the same answer");
    solo.pass(GIVE_UP);
    assert!(solo.said().is_empty());
    solo.respond(id, 486);
    assert_eq!(solo.said(), ["486 INVITE"]);
}

#[test]
fn a_2xx_waits_for_the_prack_and_a_refusal_does_not() {
    let mut solo = Solo::new();
    let (id, tag, rseq) = progressing(&mut solo);
    assert!(solo.respond(id, 200).is_some(), "its dialog is known");
    assert!(solo.said().is_empty());
    let again = solo.endpoint.respond(solo.now, id, StatusCode::OK, vec![], None);
    assert_eq!(again, Err(Misuse::AlreadyAnswered));
    solo.receive(udp(), &prack(2, &tag, rseq));
    let Event::InDialog { transaction, .. } = solo.one_event() else { panic!() };
    solo.respond(transaction, 200);
    assert_eq!(solo.said(), ["200 PRACK", "200 INVITE"]);
    solo.receive(udp(), &incoming("ACK", "c", 1, &tag, ""));
    assert!(matches!(solo.one_event(), Event::Ack { .. }));

    let mut solo = Solo::new();
    let (id, tag, rseq) = progressing(&mut solo);
    solo.respond(id, 486);
    assert_eq!(solo.said(), ["486 INVITE"]);
    solo.receive(udp(), &prack(2, &tag, rseq));
    assert_eq!(solo.said(), ["481 PRACK"], "its dialog is gone");
    solo.receive(udp(), &incoming("ACK", "c", 1, "", ""));
    solo.pass(GIVE_UP);
    assert!(solo.said().is_empty(), "nothing is repeated after the refusal");
    solo.assert_empty();
}

#[test]
fn later_responses_wait_their_turn_in_order() {
    let mut solo = Solo::new();
    let (id, tag, rseq) = progressing(&mut solo);
    for status in [StatusCode::RINGING, StatusCode::QUEUED] {
        solo.endpoint.respond_reliably(solo.now, id, status, vec![], None).unwrap();
    }
    solo.respond(id, 200);
    assert!(solo.said().is_empty());
    for (nth, expected) in ["180 INVITE", "182 INVITE", "200 INVITE"].into_iter().enumerate() {
        let nth = u32::try_from(nth).unwrap();
        solo.receive(udp(), &prack(2 + nth, &tag, rseq + nth));
        let Event::InDialog { transaction, .. } = solo.one_event() else { panic!() };
        solo.respond(transaction, 200);
        assert_eq!(solo.said(), ["200 PRACK", expected]);
    }
}

#[test]
fn without_a_prack_the_invite_is_refused_with_504() {
    for answered in [false, true] {
        let mut solo = Solo::new();
        let (id, ..) = progressing(&mut solo);
        if answered {
            solo.respond(id, 200);
        }
        solo.pass(GIVE_UP);
        let events = solo.events();
        assert!(matches!(events[..], [Event::PrackMissing { transaction }] if transaction == id));
        let said = solo.said();
        assert_eq!(said.last().unwrap(), "504 INVITE");
        assert!(!said.contains(&String::from("200 INVITE")));
        solo.receive(udp(), &incoming("ACK", "c", 1, "", ""));
        solo.pass(GIVE_UP);
        solo.assert_empty();
    }
}

#[test]
fn a_prack_that_acknowledges_nothing_gets_481() {
    let mut solo = Solo::new();
    let (_, tag, rseq) = progressing(&mut solo);
    let wrong = [
        prack(2, &tag, rseq + 1),
        prack(3, &tag, rseq).replace("1 INVITE", "2 INVITE"),
        prack(4, &tag, rseq).replace("1 INVITE", "1 UPDATE"),
        prack(5, &tag, rseq).replace("RAck:", "X-RAck:"),
        prack(6, &tag, rseq).replace("RAck: ", "RAck: x"),
    ];
    for text in wrong {
        solo.receive(udp(), &text);
        assert_eq!(solo.said(), ["481 PRACK"], "{text}");
        assert!(solo.events().is_empty());
    }
    solo.receive(udp(), &prack(7, &tag, rseq));
    let Event::InDialog { transaction, .. } = solo.one_event() else { panic!() };
    solo.respond(transaction, 200);
    solo.receive(udp(), &prack(8, &tag, rseq));
    assert_eq!(solo.said(), ["200 PRACK", "481 PRACK"], "it was acknowledged already");
}

#[test]
fn only_provisional_answers_to_an_invite_can_be_reliable() {
    let mut solo = Solo::new();
    let (id, ..) = progressing(&mut solo);
    for status in [StatusCode::TRYING, StatusCode::OK, StatusCode::BUSY_HERE] {
        let sent = solo.endpoint.respond_reliably(solo.now, id, status, vec![], None);
        assert_eq!(sent, Err(Misuse::NotInvite));
    }
    solo.receive(udp(), &incoming("OPTIONS", "d", 1, "", ""));
    let Event::Request { transaction, .. } = solo.one_event() else { panic!() };
    let status = StatusCode::RINGING;
    let sent = solo.endpoint.respond_reliably(solo.now, transaction, status, vec![], None);
    assert_eq!(sent, Err(Misuse::NotInvite));
    solo.respond(id, 486);
    let late = solo.endpoint.respond_reliably(solo.now, id, status, vec![], None);
    assert_eq!(late, Err(Misuse::AlreadyAnswered));
}

/// The limit of what waits: a peer that never acknowledges costs no more than this.
#[test]
fn no_more_than_eight_provisional_responses_wait() {
    let mut solo = Solo::new();
    let (id, tag, rseq) = progressing(&mut solo);
    for _ in 0..20 {
        let status = StatusCode::RINGING;
        solo.endpoint.respond_reliably(solo.now, id, status, vec![], None).unwrap();
    }
    solo.respond(id, 200);
    let mut said = Vec::new();
    for nth in 0..9 {
        solo.receive(udp(), &prack(2 + nth, &tag, rseq + nth));
        let Event::InDialog { transaction, .. } = solo.one_event() else { panic!() };
        solo.respond(transaction, 200);
        said.extend(solo.said().into_iter().filter(|said| !said.ends_with("PRACK")));
    }
    assert_eq!(said.len(), 9);
    assert_eq!(said.last().unwrap(), "200 INVITE", "the answer is never dropped");
}
