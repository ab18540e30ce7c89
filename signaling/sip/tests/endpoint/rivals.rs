//! Defects of other Rust stacks (rsipstack 0.7, ezk 0.9, siphon-sip), each as a row: what stalls,
//! ends or forgets a call there does not here.

use std::time::Duration;

use sip::endpoint::{Event, ServerId};
use sip::wire::{HeaderName, Method, StatusCode};

use crate::solo::*;

/// rsipstack: early dialogs of several forks overwrite each other.
#[test]
fn each_fork_keeps_its_own_target() {
    let mut solo = Solo::new();
    let (_, invite) = solo.invite(udp());
    let at = |n: u8| format!("Contact: <sip:phone@192.0.2.{n}:5060>\r\n");
    let mut dialogs = Vec::new();
    for (tag, n) in [("b1", 31), ("b2", 32), ("b1", 31)] {
        solo.receive(udp(), &reply(&invite, 183, tag, &at(n)));
        let Event::Response { dialog: Some(dialog), .. } = solo.one_event() else { panic!() };
        dialogs.push(dialog);
    }
    assert!(dialogs[0] == dialogs[2] && dialogs[0] != dialogs[1]);
    let remote = |dialog| solo.endpoint.dialog_hop(dialog).unwrap().remote;
    assert_eq!(remote(dialogs[0]), address("192.0.2.31:5060"));
    assert_eq!(remote(dialogs[1]), address("192.0.2.32:5060"));
}

/// rsipstack: a lost answer to a PRACK stalls the 200 for up to 32 s, and the 183 is told only then.
#[test]
fn a_lost_answer_to_a_prack_stalls_nothing() {
    let mut solo = Solo::new();
    let (_, invite) = solo.invite(udp());
    let reliable = format!("Require: 100rel\r\nRSeq: 1\r\n{CONTACT}");
    solo.receive(udp(), &reply(&invite, 183, "b1", &reliable));
    assert!(matches!(solo.one_event(), Event::Response { .. }), "told at once");
    assert_eq!(solo.one_request().method, Method::Prack);
    solo.receive(udp(), &reply(&invite, 200, "b1", CONTACT));
    assert!(matches!(solo.one_event(), Event::Response { .. }));
}

/// rsipstack: a 401 or 407 inside of a dialog marks the call as terminated.
#[test]
fn a_challenge_inside_of_a_dialog_ends_nothing() {
    for status in [401, 407] {
        let mut solo = Solo::new();
        let (dialog, _) = solo.call(udp());
        let now = solo.now;
        let ask = |solo: &mut Solo| {
            solo.endpoint.request_in_dialog(now, dialog, Method::Info, vec![], None).unwrap();
            solo.one_request()
        };
        let info = ask(&mut solo);
        solo.receive(udp(), &reply(&info, status, "", ""));
        assert!(matches!(solo.one_event(), Event::Response { dialog: Some(d), .. } if d == dialog));
        ask(&mut solo);
    }
}

/// rsipstack: only code 200 confirms a dialog, not any 2xx.
#[test]
fn any_2xx_answers_an_invite() {
    for status in [200, 202, 204, 299] {
        let mut solo = Solo::new();
        let (_, invite) = solo.invite(udp());
        solo.receive(udp(), &reply(&invite, status, "b1", CONTACT));
        let Event::Response { dialog: Some(dialog), .. } = solo.one_event() else { panic!() };
        solo.endpoint.ack(solo.now, dialog, None).unwrap();
        assert_eq!(solo.said(), ["ACK"], "{status}");
    }
}

/// ezk: ringing for longer than two minutes without a new 1xx times out.
#[test]
fn an_hour_of_ringing_is_no_timeout() {
    let mut solo = Solo::new();
    let (_, invite) = solo.invite(udp());
    solo.receive(udp(), &reply(&invite, 180, "b1", CONTACT));
    solo.events();
    solo.pass(Duration::from_secs(3_600));
    assert!(solo.events().is_empty() && solo.sent().is_empty());
    solo.receive(udp(), &reply(&invite, 200, "b1", CONTACT));
    assert!(matches!(solo.one_event(), Event::Response { dialog: Some(_), .. }));
}

/// ezk: the ACK for an error carries no Route.
#[test]
fn the_ack_for_a_refusal_follows_the_route_of_its_invite() {
    let mut solo = Solo::new();
    let request = outgoing(Method::Invite, &[(HeaderName::Route, "<sip:192.0.2.9;lr>")]);
    solo.endpoint.request(solo.now, udp(), request).unwrap();
    let invite = solo.one_request();
    solo.receive(udp(), &reply(&invite, 486, "b1", ""));
    let ack = solo.one_request();
    assert_eq!(ack.headers.get(&HeaderName::Route).unwrap(), "<sip:192.0.2.9;lr>");
}

/// siphon-sip: requests of the B leg were not repeated until July 2026.
#[test]
fn requests_inside_of_a_dialog_are_repeated() {
    let mut solo = Solo::new();
    let (dialog, _) = solo.call(udp());
    solo.endpoint.request_in_dialog(solo.now, dialog, Method::Bye, vec![], None).unwrap();
    let bye = solo.one_request();
    solo.pass(T1);
    assert_eq!(solo.one_request(), bye);
}

/// siphon-sip: a request that was dropped silently kept its transaction for ever.
#[test]
fn a_request_that_nobody_answers_can_be_dropped() {
    let mut solo = Solo::new();
    solo.receive(udp(), &incoming("INVITE", "c", 1, "", CONTACT));
    let Event::Request { transaction, .. } = solo.one_event() else { panic!() };
    solo.endpoint.drop_server(transaction);
    solo.pass(GIVE_UP);
    solo.assert_empty();
}

/// rsipstack: no merged-request 482; Timer H is folded into D, J is a cache of fixed length.
#[test]
fn a_merged_request_is_refused_while_the_first_one_lives() {
    let mut solo = Solo::new();
    solo.receive(udp(), &incoming("INVITE", "c", 1, "", CONTACT));
    let first: ServerId = match solo.one_event() {
        Event::Request { transaction, .. } => transaction,
        other => panic!("{other:?}"),
    };
    let other_way = incoming("INVITE", "c", 1, "", CONTACT).replace("z9hG4bK-c", "z9hG4bK-other");
    solo.receive(udp(), &other_way);
    let refused = solo.one_response();
    assert_eq!(refused.status, StatusCode::LOOP_DETECTED);
    solo.respond(first, 486);
    assert_eq!(solo.said(), ["486 INVITE"]);
    // Timer H: the refusal is repeated for 64*T1, then the transaction is gone without its ACK.
    solo.pass(GIVE_UP);
    assert!(solo.said().len() > 5);
    solo.assert_empty();
}
