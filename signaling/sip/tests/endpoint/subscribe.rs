//! Dialogs that a SUBSCRIBE makes (RFC 6665 §4.4.1), and a NOTIFY that comes before its 2xx.

use sip::endpoint::{ClientId, Config, DialogId, Event, Misuse};
use sip::wire::{HeaderName, Method, Request, StatusCode};

use crate::solo::*;

/// A SUBSCRIBE of ours, and what went out.
fn subscribe(solo: &mut Solo) -> (ClientId, Request) {
    let request = outgoing(Method::Subscribe, &[(HeaderName::Event, "dialog")]);
    let id = solo.endpoint.request(solo.now, udp(), request).unwrap();
    let request = solo.one_request();
    assert!(request.headers.get(&HeaderName::Contact).is_some(), "where NOTIFYs come to");
    (id, request)
}

/// A NOTIFY of the peer for it, under this tag of the peer's.
fn notify(request: &Request, tag: &str, number: u32) -> String {
    let value = |name| String::from_utf8(request.headers.get(&name).unwrap().to_vec()).unwrap();
    let (from, call_id) = (value(HeaderName::From), value(HeaderName::CallId));
    format!(
        "NOTIFY sip:us@192.0.2.1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-notify-{tag}-{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:bob@192.0.2.9>;tag={tag}\r\nTo: {from}\r\n\
         Call-ID: {call_id}\r\nCSeq: {number} NOTIFY\r\n{CONTACT}\
         Event: dialog\r\nSubscription-State: active\r\nContent-Length: 0\r\n\r\n"
    )
}

fn dialog_of(event: &Event) -> DialogId {
    match event {
        Event::Response { dialog: Some(dialog), .. } | Event::InDialog { dialog, .. } => *dialog,
        other => panic!("in a dialog, not {other:?}"),
    }
}

#[test]
fn an_accepted_subscribe_is_a_dialog_on_both_sides() {
    let mut solo = Solo::new();
    let (_, request) = subscribe(&mut solo);
    solo.receive(udp(), &reply(&request, 200, "b1", CONTACT));
    let dialog = dialog_of(&solo.one_event());
    let sent = solo.endpoint.request_in_dialog(solo.now, dialog, Method::Subscribe, vec![], None);
    sent.unwrap();
    let refresh = solo.one_request();
    assert_eq!(refresh.headers.cseq().unwrap().number, 2);
    assert_eq!(refresh.uri.to_string(), "sip:peer@192.0.2.9:5060", "the Contact of the 2xx");
    solo.receive(udp(), &reply(&refresh, 200, "b1", "Contact: <sip:moved@192.0.2.9>\r\n"));
    assert_eq!(dialog_of(&solo.one_event()), dialog);
    let sent = solo.endpoint.request_in_dialog(solo.now, dialog, Method::Subscribe, vec![], None);
    sent.unwrap();
    let again = solo.one_request();
    assert_eq!(again.uri.to_string(), "sip:moved@192.0.2.9", "its target was refreshed");
    solo.receive(udp(), &reply(&again, 481, "b1", ""));
    solo.events();
    solo.endpoint.close(dialog);

    solo.receive(udp(), &incoming("SUBSCRIBE", "theirs", 1, "", CONTACT));
    let Event::Request { transaction, .. } = solo.one_event() else { panic!() };
    let dialog = solo.respond(transaction, 200).expect("a dialog");
    let accepted = solo.one_response();
    assert!(accepted.headers.get(&HeaderName::Contact).is_some());
    let refresh = incoming("SUBSCRIBE", "theirs", 2, &to_tag(&accepted), CONTACT);
    solo.receive(udp(), &refresh);
    let event = solo.one_event();
    assert_eq!(dialog_of(&event), dialog);
    let Event::InDialog { transaction, .. } = event else { panic!() };
    solo.respond(transaction, 200);
    solo.endpoint.close(dialog);
    solo.pass(GIVE_UP * 2);
    solo.assert_empty();
}

#[test]
fn a_refused_subscribe_is_none() {
    let mut solo = Solo::new();
    let (_, request) = subscribe(&mut solo);
    solo.receive(udp(), &reply(&request, 489, "b1", ""));
    assert!(matches!(solo.one_event(), Event::Response { dialog: None, .. }));
    solo.receive(udp(), &incoming("SUBSCRIBE", "theirs", 1, "", CONTACT));
    let Event::Request { transaction, .. } = solo.one_event() else { panic!() };
    assert_eq!(solo.respond(transaction, 489), None);
    solo.pass(GIVE_UP * 2);
    solo.assert_empty();
}

#[test]
fn a_notify_before_the_2xx_waits_for_it() {
    let mut solo = Solo::new();
    let (_, request) = subscribe(&mut solo);
    for tag in ["b1", "b1", "b2"] {
        solo.receive(udp(), &notify(&request, tag, 1));
        assert!(solo.sent().is_empty() && solo.events().is_empty(), "neither told nor refused");
    }
    solo.receive(udp(), &reply(&request, 200, "b1", CONTACT));
    let events = solo.events();
    let [accepted, notified] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(dialog_of(accepted), dialog_of(notified));
    let Event::InDialog { transaction, dialog, .. } = notified else { panic!() };
    let (transaction, dialog) = (*transaction, *dialog);
    solo.respond(transaction, 200);
    assert_eq!(solo.said(), ["200 NOTIFY"]);
    // Another notifier of a forked request has no subscription of ours.
    solo.receive(udp(), &notify(&request, "b2", 1));
    assert_eq!(solo.said(), ["481 NOTIFY"]);
    solo.endpoint.close(dialog);
    solo.pass(GIVE_UP * 2);
    solo.assert_empty();
}

#[test]
fn a_notify_that_nothing_waits_for_is_refused() {
    let mut solo = Solo::new();
    let (_, request) = subscribe(&mut solo);
    solo.receive(udp(), &notify(&request, "b1", 1));
    solo.receive(udp(), &reply(&request, 404, "b2", ""));
    assert_eq!(solo.said(), ["481 NOTIFY"], "what waited has its answer");
    solo.events();
    solo.receive(udp(), &notify(&request, "b1", 2));
    assert_eq!(solo.said(), ["481 NOTIFY"]);
    let (_, request) = subscribe(&mut solo);
    let stranger = sip::endpoint::Hop { tag: 8, ..udp() };
    solo.receive(stranger, &notify(&request, "b1", 1));
    assert_eq!(solo.said(), ["481 NOTIFY"], "it is another trunk's");
    solo.pass(GIVE_UP * 2);
    solo.events();
    solo.assert_empty();
}

#[test]
fn there_are_no_more_dialogs_than_allowed() {
    let mut solo = Solo::with(Config { dialogs_max: 1, ..config(1) });
    let (dialog, _) = solo.called(udp(), "call");
    solo.receive(udp(), &incoming("SUBSCRIBE", "theirs", 1, "", CONTACT));
    let Event::Request { transaction, .. } = solo.one_event() else { panic!() };
    let answered = solo.endpoint.respond(solo.now, transaction, StatusCode::OK, vec![], None);
    assert_eq!(answered, Err(Misuse::Full { what: "dialogs", limit: 1 }));
    assert_eq!(solo.respond(transaction, 503), None, "it is not answered yet");
    assert_eq!(solo.said(), ["503 SUBSCRIBE"]);
    let (_, request) = subscribe(&mut solo);
    solo.receive(udp(), &reply(&request, 200, "b1", CONTACT));
    assert!(matches!(solo.one_event(), Event::Response { dialog: None, .. }));
    solo.endpoint.close(dialog);
    solo.pass(GIVE_UP * 2);
    solo.assert_empty();
}
