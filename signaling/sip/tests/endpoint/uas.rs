//! The server side: retransmission, 100 and 2xx, ACK, CANCEL, dialogs, refusals.

use std::time::Duration;

use bytes::Bytes;
use sip::endpoint::{Event, Hop, Misuse, ServerId, Transport};
use sip::wire::{HeaderName, Method, StatusCode};

use crate::solo::*;

fn take(event: Event) -> ServerId {
    match event {
        Event::Request { transaction, .. } | Event::InDialog { transaction, .. } => transaction,
        other => panic!("a request, not {other:?}"),
    }
}

#[test]
fn a_new_request_is_told_once_and_repetitions_are_answered_alike() {
    let mut solo = Solo::new();
    let options = incoming("OPTIONS", "c", 1, "", "");
    solo.receive(udp(), &options);
    let id = take(solo.one_event());
    solo.receive(udp(), &options);
    assert!(solo.events().is_empty() && solo.sent().is_empty(), "Trying absorbs");
    solo.respond(id, 200);
    let first = solo.one_response();
    assert!(first.headers.to().unwrap().tag().is_some());
    solo.receive(udp(), &options);
    assert_eq!(solo.one_response(), first);
    let late = solo.endpoint.respond(solo.now, id, StatusCode::OK, vec![], None);
    assert_eq!(late, Err(Misuse::AlreadyAnswered));
    solo.pass(GIVE_UP);
    solo.assert_empty();
    let late = solo.endpoint.respond(solo.now, id, StatusCode::OK, vec![], None);
    assert_eq!(late, Err(Misuse::UnknownTransaction));
}

#[test]
fn trying_is_sent_after_200_ms_unless_answered() {
    let mut solo = Solo::new();
    let invite = incoming("INVITE", "c", 1, "", &format!("Timestamp: 54\r\n{CONTACT}"));
    solo.receive(udp(), &invite);
    let id = take(solo.one_event());
    solo.pass(Duration::from_millis(199));
    assert!(solo.sent().is_empty());
    solo.pass(Duration::from_millis(1));
    let trying = solo.one_response();
    assert_eq!(trying.status, StatusCode::TRYING);
    assert!(trying.headers.to().unwrap().tag().is_none());
    assert_eq!(trying.headers.get(&HeaderName::Timestamp).unwrap(), "54");
    solo.receive(udp(), &invite);
    assert_eq!(solo.said(), ["100 INVITE"]);
    solo.respond(id, 180);
    solo.receive(udp(), &invite);
    assert_eq!(solo.said(), ["180 INVITE", "180 INVITE"]);

    solo.receive(udp(), &incoming("INVITE", "d", 1, "", CONTACT));
    let id = take(solo.one_event());
    solo.respond(id, 180);
    solo.pass(Duration::from_secs(1));
    assert_eq!(solo.said(), ["180 INVITE"]);
}

#[test]
fn an_answer_copies_what_the_rfc_says_and_adds_ours() {
    let mut solo = Solo::with(sip::endpoint::Config { user_agent: "Unit".into(), ..config(1) });
    let extra = format!(
        "Via: SIP/2.0/UDP inner.example;branch=z9hG4bKi\r\nRecord-Route: <sip:p;lr>\r\n{CONTACT}"
    );
    solo.receive(udp(), &incoming("INVITE", "c", 1, "", &extra));
    let id = take(solo.one_event());
    let headers = vec![
        (HeaderName::Supported, Bytes::from("100rel")),
        (HeaderName::To, Bytes::from("<sip:forged@x>")),
    ];
    let body = Some(("application/sdp", Bytes::from("v=0")));
    let status = StatusCode::SESSION_PROGRESS;
    let dialog = solo.endpoint.respond(solo.now, id, status, headers, body).unwrap();
    let answer = solo.one_response();
    let h = &answer.headers;
    assert_eq!(h.vias().unwrap().len(), 2);
    assert_eq!(h.record_route().unwrap().len(), 1);
    assert_eq!(h.get(&HeaderName::CallId).unwrap(), "c");
    assert_eq!(h.all(&HeaderName::To).count(), 1);
    assert_eq!(h.get(&HeaderName::Contact).unwrap(), "<sip:us@192.0.2.1:5060;tag7>");
    assert_eq!(h.get(&HeaderName::Server).unwrap(), "Unit");
    assert_eq!(h.get(&HeaderName::Supported).unwrap(), "100rel");
    assert_eq!(
        (h.content_type().unwrap().as_ref(), &answer.body[..]),
        (&b"application/sdp"[..], &b"v=0"[..])
    );
    assert!(dialog.is_some());
    assert_eq!(solo.respond(id, 180), dialog);
    assert_eq!(to_tag(&solo.one_response()), to_tag(&answer), "one To-tag for all answers");
}

#[test]
fn a_2xx_is_repeated_until_its_ack_also_over_tcp() {
    for path in [udp(), tcp()] {
        let mut solo = Solo::new();
        solo.receive(path, &incoming("INVITE", "c", 1, "", CONTACT));
        let id = take(solo.one_event());
        let dialog = solo.respond(id, 200).unwrap();
        solo.pass(Duration::from_millis(500 + 1000 + 2000 + 4000 + 4000));
        assert_eq!(solo.sent.len(), 6, "T1, doubling to T2 (RFC 3261 §13.3.1.4)");
        assert!(solo.sent.iter().all(|sent| *sent == solo.sent[0]));
        let tag = to_tag(match &solo.sent()[0] {
            sip::wire::Message::Response(response) => response,
            other => panic!("{other:?}"),
        });
        solo.receive(path, &incoming("ACK", "c", 2, &tag, ""));
        assert!(solo.events().is_empty(), "an ACK of another number is no ACK of this");
        let ack = incoming("ACK", "c", 1, &tag, "");
        solo.receive(path, &ack);
        assert!(matches!(solo.one_event(), Event::Ack { dialog: d, .. } if d == dialog));
        solo.receive(path, &ack);
        assert!(solo.events().is_empty(), "told once");
        solo.pass(GIVE_UP);
        assert!(solo.sent().is_empty());
        solo.endpoint.close(dialog);
        solo.assert_empty();
    }
}

#[test]
fn a_missing_ack_is_told_after_64_t1() {
    let mut solo = Solo::new();
    solo.receive(udp(), &incoming("INVITE", "c", 1, "", CONTACT));
    let id = take(solo.one_event());
    let dialog = solo.respond(id, 200).unwrap();
    solo.pass(GIVE_UP - Duration::from_millis(1));
    assert!(solo.events().is_empty());
    solo.pass(Duration::from_millis(1));
    assert!(matches!(solo.one_event(), Event::AckMissing { dialog: d } if d == dialog));
    solo.sent();
    solo.pass(GIVE_UP);
    assert!(solo.sent().is_empty(), "no more repetitions");
    let bye = solo.endpoint.request_in_dialog(solo.now, dialog, Method::Bye, vec![], None);
    assert!(bye.is_ok());
    assert_eq!(solo.said(), ["BYE"]);
}

#[test]
fn an_ack_with_the_branch_of_its_invite_also_counts() {
    let mut solo = Solo::new();
    solo.receive(udp(), &incoming("INVITE", "c", 1, "", CONTACT));
    let id = take(solo.one_event());
    solo.respond(id, 200);
    let tag = to_tag(&solo.one_response());
    solo.receive(udp(), &incoming("ACK", "c", 1, &tag, "").replace("-1-ACK", "-1-INVITE"));
    assert!(matches!(solo.one_event(), Event::Ack { .. }));
}

#[test]
fn a_refusal_is_repeated_until_its_ack() {
    let mut solo = Solo::new();
    solo.receive(udp(), &incoming("INVITE", "c", 1, "", CONTACT));
    let id = take(solo.one_event());
    solo.respond(id, 180);
    assert_eq!(solo.endpoint.counts().dialogs, 1);
    solo.respond(id, 486);
    assert_eq!(solo.endpoint.counts().dialogs, 0, "the early dialog is over");
    solo.pass(Duration::from_millis(1500));
    assert_eq!(solo.said(), ["180 INVITE", "486 INVITE", "486 INVITE", "486 INVITE"]);
    solo.receive(udp(), &incoming("ACK", "c", 1, "x", "").replace("-1-ACK", "-1-INVITE"));
    assert!(solo.events().is_empty(), "this ACK ends in the transaction");
    solo.pass(GIVE_UP);
    assert!(solo.sent().is_empty());
    solo.assert_empty();
}

#[test]
fn an_ack_that_matches_nothing_is_dropped() {
    let mut solo = Solo::new();
    solo.receive(udp(), &incoming("ACK", "c", 1, "x", ""));
    solo.receive(udp(), &incoming("ACK", "c", 1, "", ""));
    assert!(solo.events().is_empty() && solo.sent().is_empty());
    solo.assert_empty();
}

#[test]
fn cancel_is_answered_and_told_once() {
    let mut solo = Solo::new();
    let cancel = incoming("CANCEL", "c", 1, "", "");
    solo.receive(udp(), &cancel);
    assert_eq!(solo.said(), ["481 CANCEL"]);
    solo.receive(udp(), &incoming("INVITE", "c", 1, "", CONTACT));
    let id = take(solo.one_event());
    solo.receive(udp(), &cancel);
    solo.receive(udp(), &cancel);
    assert!(matches!(solo.one_event(), Event::Cancelled { transaction } if transaction == id));
    assert_eq!(solo.said(), ["200 CANCEL", "200 CANCEL"]);
    solo.respond(id, 487);
    assert_eq!(solo.said(), ["487 INVITE"]);
    solo.receive(udp(), &cancel);
    assert_eq!(solo.said(), ["200 CANCEL"]);
    assert!(solo.events().is_empty());
    solo.pass(GIVE_UP);
    solo.assert_empty();
}

#[test]
fn cancel_after_the_answer_changes_nothing() {
    let mut solo = Solo::new();
    solo.receive(udp(), &incoming("INVITE", "c", 1, "", CONTACT));
    let id = take(solo.one_event());
    solo.respond(id, 200);
    solo.sent();
    solo.receive(udp(), &incoming("CANCEL", "c", 1, "", ""));
    assert_eq!(solo.said(), ["200 CANCEL"]);
    assert!(solo.events().is_empty());
}

#[test]
fn in_a_dialog_only_rising_numbers_are_taken() {
    let mut solo = Solo::new();
    let (dialog, tag) = solo.called(udp(), "c");
    solo.receive(udp(), &incoming("INFO", "c", 5, &tag, ""));
    let Event::InDialog { transaction, dialog: d, .. } = solo.one_event() else { panic!() };
    assert_eq!(d, dialog);
    assert_eq!(solo.respond(transaction, 200), Some(dialog));
    solo.sent();
    solo.receive(udp(), &incoming("INFO", "c", 4, &tag, ""));
    assert_eq!(solo.said(), ["500 INFO"]);
    assert!(solo.events().is_empty());
    solo.receive(udp(), &incoming("BYE", "c", 6, &tag, ""));
    let bye = take(solo.one_event());
    solo.respond(bye, 200);
    solo.endpoint.close(dialog);
    solo.sent();
    solo.receive(udp(), &incoming("INFO", "c", 7, &tag, ""));
    assert_eq!(solo.said(), ["481 INFO"], "the dialog is gone");
    solo.pass(GIVE_UP);
    solo.assert_empty();
}

#[test]
fn requests_for_unknown_dialogs_get_481_and_leave_nothing() {
    let mut solo = Solo::new();
    let (_, tag) = solo.called(udp(), "c");
    solo.pass(GIVE_UP);
    let before = solo.endpoint.counts();
    for text in [
        incoming("BYE", "other", 2, &tag, ""),
        incoming("BYE", "c", 2, "wrong", ""),
        incoming("BYE", "c", 2, &tag, "").replace("tag=p-c", "tag=wrong"),
        incoming("INVITE", "c", 2, "wrong", CONTACT),
    ] {
        solo.receive(udp(), &text);
        assert_eq!(solo.one_response().status.code(), 481, "{text}");
    }
    assert_eq!(solo.endpoint.counts(), before);
    assert!(solo.events().is_empty());
}

#[test]
fn a_second_invite_waits_for_the_first_and_its_ack() {
    let mut solo = Solo::new();
    let (_, tag) = solo.called(udp(), "c");
    solo.receive(udp(), &incoming("INVITE", "c", 2, &tag, CONTACT));
    let id = take(solo.one_event());
    let refused = |solo: &mut Solo, number| {
        solo.receive(udp(), &incoming("INVITE", "c", number, &tag, CONTACT));
        let response = solo.one_response();
        assert_eq!(response.status.code(), 500);
        assert!(response.headers.retry_after().unwrap().unwrap() <= 10);
    };
    refused(&mut solo, 3);
    solo.respond(id, 200);
    solo.sent();
    solo.receive(udp(), &incoming("INVITE", "c", 4, &tag, CONTACT));
    assert_eq!(solo.said(), ["491 INVITE"], "our offer has no answer yet");
    solo.receive(udp(), &incoming("ACK", "c", 2, &tag, ""));
    assert!(matches!(solo.one_event(), Event::Ack { .. }));
    solo.receive(udp(), &incoming("INVITE", "c", 5, &tag, CONTACT));
    take(solo.one_event());
}

#[test]
fn a_second_invite_on_an_early_dialog_gets_500() {
    let mut solo = Solo::new();
    solo.receive(udp(), &incoming("INVITE", "c", 1, "", CONTACT));
    let id = take(solo.one_event());
    solo.respond(id, 180);
    let tag = to_tag(&solo.one_response());
    solo.receive(udp(), &incoming("INVITE", "c", 2, &tag, CONTACT));
    assert_eq!(solo.said(), ["500 INVITE"]);
    solo.receive(udp(), &incoming("UPDATE", "c", 3, &tag, CONTACT));
    take(solo.one_event());
}

#[test]
fn an_accepted_reinvite_or_update_refreshes_the_target() {
    for (method, status, target) in [
        ("INVITE", 200, "192.0.2.88:5062"),
        ("UPDATE", 200, "192.0.2.88:5062"),
        ("INVITE", 488, "192.0.2.9:5060"),
        ("INFO", 200, "192.0.2.9:5060"),
    ] {
        let mut solo = Solo::new();
        let (dialog, tag) = solo.called(udp(), "c");
        let moved = "Contact: <sip:peer@192.0.2.88:5062>\r\n";
        solo.receive(udp(), &incoming(method, "c", 2, &tag, moved));
        let id = take(solo.one_event());
        solo.respond(id, status);
        let response = solo.one_response();
        let refreshes = status == 200 && method != "INFO";
        assert_eq!(response.headers.get(&HeaderName::Contact).is_some(), refreshes);
        let hop = solo.endpoint.dialog_hop(dialog).unwrap();
        assert_eq!(hop.remote, address(target), "{method} {status}");
    }
}

#[test]
fn a_request_that_came_two_ways_is_a_loop() {
    let mut solo = Solo::new();
    let invite = incoming("INVITE", "c", 1, "", CONTACT);
    solo.receive(udp(), &invite);
    take(solo.one_event());
    solo.receive(udp(), &invite.replace("z9hG4bK-", "z9hG4bK-fork-"));
    assert_eq!(solo.said(), ["482 INVITE"]);
    solo.receive(udp(), &incoming("INVITE", "c", 2, "", CONTACT));
    take(solo.one_event());
}

#[test]
fn responses_find_their_way_back() {
    let at = |remote: &str| Hop { remote: address(remote), ..udp() };
    let source = at("198.51.100.7:33000");
    let sent_by = "192.0.2.9:5060;branch";
    for (transport, via, to, marks) in [
        // rport: to the source port (RFC 3581 §4).
        (Transport::Udp, "192.0.2.9:5060;rport;branch", "198.51.100.7:33000", true),
        // No rport: to the source address and the port of sent-by (RFC 3261 §18.2.2).
        (Transport::Udp, sent_by, "198.51.100.7:5060", true),
        (Transport::Udp, "198.51.100.7:5070;branch", "198.51.100.7:5070", false),
        (Transport::Udp, "198.51.100.7;branch", "198.51.100.7:5060", false),
        // A connection answers on itself.
        (Transport::Tcp, sent_by, "198.51.100.7:33000", true),
    ] {
        let mut solo = Solo::new();
        let hop = Hop { transport, connection: u64::from(transport.is_reliable()), ..source };
        let text = incoming("OPTIONS", "c", 1, "", "").replace(sent_by, via);
        solo.receive(hop, &text);
        let id = take(solo.one_event());
        solo.respond(id, 200);
        assert_eq!(solo.sent[0].0, Hop { remote: address(to), ..hop }, "{via}");
        let top = solo.one_response().headers.via().unwrap();
        assert_eq!(top.received().is_some(), marks, "{via}");
        assert_eq!(top.rport().is_some(), via.contains("rport"));
    }
}

#[test]
fn defective_requests_are_answered_without_state() {
    let mut solo = Solo::new();
    solo.receive(udp(), &incoming("INVITE", "c", 1, "", ""));
    let response = solo.one_response();
    assert_eq!(response.status, StatusCode::BAD_REQUEST, "an INVITE needs a Contact");
    let warning = response.headers.get(&HeaderName::Warning).unwrap();
    assert!(warning.starts_with(b"399 sip \"Contact is missing"), "{warning:?}");
    assert!(solo.events().is_empty());
    solo.assert_empty();
}

/// RFC 4475 §3.4.1: neither branch nor tag nor Contact. Its dialog is with whom From says, on the way
/// that the call came.
#[test]
fn a_peer_of_rfc_2543_calls_without_a_contact() {
    let mut solo = Solo::new();
    let text = incoming("INVITE", "c", 1, "", "").replace(";tag=peer", "");
    let text = text.lines().map(|line| match line.split_once(";branch=") {
        Some((via, _)) => format!("{via}\r\n"),
        None => format!("{line}\r\n"),
    });
    let text: String = text.collect();
    assert!(!text.contains("z9hG4bK") && !text.contains("Contact"), "{text}");
    solo.receive(udp(), &text);
    let id = take(solo.one_event());
    let dialog = solo.respond(id, 200).unwrap();
    solo.sent();
    let now = solo.now;
    solo.endpoint.request_in_dialog(now, dialog, Method::Bye, vec![], None).unwrap();
    solo.drain();
    let (to, _) = solo.sent[0].clone();
    let bye = solo.one_request();
    assert_eq!(bye.uri.to_string(), "sip:bob@192.0.2.9");
    assert_eq!(to.remote.ip(), udp().remote.ip());
}

#[test]
fn a_dropped_request_leaves_nothing() {
    let mut solo = Solo::new();
    solo.receive(udp(), &incoming("INVITE", "c", 1, "", CONTACT));
    let id = take(solo.one_event());
    solo.respond(id, 180);
    solo.sent();
    solo.endpoint.drop_server(id);
    assert!(solo.sent().is_empty());
    solo.assert_empty();
    solo.receive(udp(), &incoming("INVITE", "c", 1, "", CONTACT));
    take(solo.one_event());
}

#[test]
fn one_branch_of_two_senders_is_two_transactions() {
    let mut solo = Solo::new();
    let options = incoming("OPTIONS", "c", 1, "", "");
    solo.receive(udp(), &options);
    take(solo.one_event());
    for (call, from, to) in [
        ("d", "192.0.2.9:5060;branch", "192.0.2.9:5061;branch"),
        ("e", "2.0/UDP 192.0.2.9", "2.0/UDP 192.0.2.8"),
    ] {
        // Another Call-ID, or it would be the same request that came two ways.
        let call = format!("Call-ID: {call}");
        let other = options.replace(from, to).replace("Call-ID: c", &call);
        solo.receive(udp(), &other);
        take(solo.one_event());
    }
}

#[test]
fn peers_without_the_magic_cookie_are_matched_by_the_whole_request() {
    let mut solo = Solo::new();
    let old = |text: String| text.replace("branch=z9hG4bK-", "branch=");
    let invite = old(incoming("INVITE", "c", 1, "", CONTACT));
    solo.receive(udp(), &invite);
    let id = take(solo.one_event());
    solo.receive(udp(), &invite);
    assert!(solo.events().is_empty(), "absorbed");
    solo.respond(id, 486);
    let tag = to_tag(&solo.one_response());
    let ack = incoming("ACK", "c", 1, &tag, "").replace("-1-ACK", "-1-INVITE");
    solo.receive(udp(), &old(ack));
    solo.pass(GIVE_UP);
    assert!(solo.sent().is_empty(), "the ACK was matched");
    solo.receive(udp(), &old(incoming("INVITE", "c", 2, "", CONTACT)));
    take(solo.one_event());
}
