//! Large requests leave by TCP (RFC 3261 §18.1.1), and by UDP where nobody takes TCP.

use std::time::Duration;

use sip::endpoint::{Event, Hop, Transport, UDP_REQUEST_BYTES_MAX};
use sip::wire::{HeaderName, Method, Request, parse};

use crate::solo::*;

fn solo() -> Solo {
    let mut solo = Solo::new();
    solo.endpoint.widen_above(UDP_REQUEST_BYTES_MAX);
    solo
}

/// An INVITE of ours with a body that is too large for a datagram, as it was sent.
fn large(solo: &mut Solo) -> (Hop, Request) {
    let mut request = outgoing(Method::Invite, &[(HeaderName::ContentType, "text/plain")]);
    request.body = vec![b'x'; UDP_REQUEST_BYTES_MAX].into();
    solo.endpoint.request(solo.now, udp(), request).unwrap();
    sent(solo)
}

fn sent(solo: &mut Solo) -> (Hop, Request) {
    solo.drain();
    let [(hop, bytes)] = solo.sent.as_slice() else {
        panic!("one message, not {}", solo.sent.len())
    };
    let (hop, bytes) = (*hop, bytes.clone());
    solo.sent.clear();
    match parse(bytes).unwrap() {
        sip::wire::Message::Request(request) => (hop, request),
        other => panic!("no request: {other:?}"),
    }
}

fn via(request: &Request) -> (String, bool, bytes::Bytes) {
    let via = request.headers.via().unwrap();
    let text = String::from_utf8(via.to_bytes().to_vec()).unwrap();
    let transport = text.split([' ', '/']).nth(2).unwrap().to_owned();
    (transport, via.wants_rport(), via.branch().unwrap().clone())
}

const WIDE: Transport = Transport::Tcp;

#[test]
fn a_large_invite_goes_by_tcp_and_its_dialog_stays_on_udp() {
    let mut solo = solo();
    let (hop, invite) = large(&mut solo);
    assert_eq!(hop, Hop { transport: WIDE, ..udp() });
    assert!(matches!(via(&invite), (ref name, false, _) if name == "TCP"));
    // No repetition: TCP does that. Not 32 seconds of silence yet.
    solo.pass(Duration::from_secs(20));
    assert!(solo.sent.is_empty());
    let answered = Hop { connection: 9, ..hop };
    solo.receive(answered, &reply(&invite, 200, "b1", CONTACT));
    let Event::Response { dialog: Some(dialog), .. } = solo.one_event() else { panic!() };
    solo.endpoint.ack(solo.now, dialog, None).unwrap();
    let (hop, ack) = sent(&mut solo);
    assert_eq!((hop.transport, ack.method), (Transport::Udp, Method::Ack));
    let bye = solo.endpoint.request_in_dialog(solo.now, dialog, Method::Bye, vec![], None);
    bye.unwrap();
    let (hop, bye) = sent(&mut solo);
    assert_eq!(hop.transport, Transport::Udp);
    solo.receive(hop, &reply(&bye, 200, "b1", ""));
    solo.endpoint.close(dialog);
    solo.pass(Duration::from_secs(60));
    solo.assert_empty();
}

/// A peer that was reached by TCP and names it in its Contact is called back so.
#[test]
fn a_dialog_goes_on_by_tcp_where_the_contact_asks_for_it() {
    for (contact, goes_on) in [
        ("Contact: <sip:peer@192.0.2.9:5060;transport=TCP>\r\n", Transport::Tcp),
        ("Contact: <sip:peer@192.0.2.9:5060;transport=udp>\r\n", Transport::Udp),
    ] {
        let mut solo = solo();
        let (hop, invite) = large(&mut solo);
        let answered = Hop { connection: 9, ..hop };
        // The first answer may say nothing; the last one counts.
        for (status, said) in [(180, ""), (200, contact)] {
            solo.receive(answered, &reply(&invite, status, "b1", said));
        }
        let events = solo.events();
        let Some(Event::Response { dialog: Some(dialog), .. }) = events.last() else { panic!() };
        solo.endpoint.ack(solo.now, *dialog, None).unwrap();
        let (way, ack) = sent(&mut solo);
        assert_eq!((way.transport, ack.method), (goes_on, Method::Ack), "{contact}");
        assert_eq!(way.connection == 9, goes_on == WIDE, "{contact}");
    }
    // What was never sent by TCP is not turned by a Contact.
    let mut solo = solo();
    let (_, invite) = solo.invite(udp());
    let contact = "Contact: <sip:peer@192.0.2.9:5060;transport=tcp>\r\n";
    solo.receive(udp(), &reply(&invite, 200, "b1", contact));
    let Event::Response { dialog: Some(dialog), .. } = solo.one_event() else { panic!() };
    assert_eq!(solo.endpoint.dialog_hop(dialog).unwrap().transport, Transport::Udp);
}

#[test]
fn who_takes_no_tcp_gets_the_same_by_udp_and_is_remembered() {
    let mut solo = solo();
    let (wide, invite) = large(&mut solo);
    solo.failed(wide);
    let (narrow, again) = sent(&mut solo);
    assert_eq!(narrow, udp());
    let (name, wants_rport, branch) = via(&again);
    assert_eq!((name.as_str(), wants_rport), ("UDP", true));
    assert_eq!(branch, via(&invite).2, "the same transaction");
    assert_eq!(again.body, invite.body);
    assert!(solo.events().is_empty(), "nobody is told");
    // Now it is repeated, and its answer comes by UDP.
    solo.pass(T1);
    assert_eq!(sent(&mut solo).0, udp());
    solo.receive(udp(), &reply(&again, 486, "b1", ""));
    assert!(matches!(solo.one_event(), Event::Response { .. }));
    assert_eq!(solo.said(), ["ACK"]);
    // The next one does not try TCP, until an hour has passed.
    let (hop, _) = large(&mut solo);
    assert_eq!(hop, udp());
    solo.pass(Duration::from_secs(3_700));
    solo.sent.clear();
    solo.events();
    assert_eq!(large(&mut solo).0.transport, WIDE);
    solo.failed(wide);
    solo.pass(Duration::from_secs(60));
    solo.assert_empty();
}

#[test]
fn a_connection_that_breaks_after_an_answer_fails_the_request() {
    let mut solo = solo();
    let (wide, invite) = large(&mut solo);
    let connected = Hop { connection: 9, ..wide };
    solo.receive(connected, &reply(&invite, 100, "", ""));
    solo.failed(connected);
    assert!(solo.sent.is_empty(), "the peer has it already");
    let failed = solo.events();
    assert!(failed.iter().all(|event| !matches!(event, Event::Response { .. })), "{failed:?}");
}

#[test]
fn small_requests_and_other_transports_stay_where_they_are() {
    let mut wide = solo();
    let (_, small) = wide.invite(udp());
    assert_eq!(via(&small).0, "UDP");
    let (_, invite) = wide.invite(Hop { connection: 0, ..tcp() });
    assert_eq!(via(&invite).0, "TCP");
    // Not without being told so.
    let mut plain = Solo::new();
    assert_eq!(large(&mut plain).0, udp());
}
