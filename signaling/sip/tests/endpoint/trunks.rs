//! What one trunk knows of another's call gives it no hold on it: keys, dialogs, answers. Each
//! refusal has its positive control, the same message from where it belongs.

use sip::endpoint::{DialogId, Event, Hop, ServerId, Transport};
use sip::wire::{HeaderName, Message, Method, Request, parse};

use crate::solo::*;

/// The same source as `udp()`, attributed to another trunk.
fn other_trunk() -> Hop {
    Hop { tag: 8, ..udp() }
}

fn at(remote: &str, hop: Hop) -> Hop {
    Hop { remote: address(remote), ..hop }
}

fn request(text: &str) -> Request {
    match parse(text.to_owned().into()) {
        Ok(Message::Request(request)) => request,
        other => panic!("a request, not {other:?}"),
    }
}

fn take(solo: &mut Solo) -> ServerId {
    match solo.one_event() {
        Event::Request { transaction, .. } | Event::InDialog { transaction, .. } => transaction,
        other => panic!("a request, not {other:?}"),
    }
}

/// An INVITE that waits for its answer.
fn ringing(solo: &mut Solo, hop: Hop) -> ServerId {
    solo.receive(hop, &incoming("INVITE", "c", 1, "", CONTACT));
    take(solo)
}

/// Nothing was told and nothing sent for the response; then the same one from `right` is told.
fn only_from(solo: &mut Solo, wrong: &[Hop], right: Hop, response: &str) {
    for hop in wrong {
        let before = solo.endpoint.counts();
        solo.receive(*hop, response);
        assert!(solo.events().is_empty() && solo.sent().is_empty(), "{hop:?}");
        assert_eq!(solo.endpoint.counts(), before, "{hop:?}");
    }
    solo.receive(right, response);
    assert!(matches!(solo.one_event(), Event::Response { .. }), "{right:?}");
}

#[test]
fn a_cancel_of_another_trunk_finds_no_invite() {
    let mut solo = Solo::new();
    let id = ringing(&mut solo, udp());
    let cancel = incoming("CANCEL", "c", 1, "", "");
    solo.receive(other_trunk(), &cancel);
    assert_eq!(solo.said(), ["481 CANCEL"]);
    assert!(solo.events().is_empty());
    solo.receive(udp(), &cancel);
    assert_eq!(solo.said(), ["200 CANCEL"]);
    assert!(matches!(solo.one_event(), Event::Cancelled { transaction } if transaction == id));
}

#[test]
fn one_invite_from_two_trunks_is_two_calls() {
    let mut solo = Solo::new();
    let first = ringing(&mut solo, udp());
    solo.respond(first, 180);
    assert_eq!(solo.said(), ["180 INVITE"]);
    let second = ringing(&mut solo, other_trunk());
    assert_ne!(first, second);
    assert!(solo.sent().is_empty(), "neither the other's 180 nor a 482");
    // Within the trunk it is the same request, by the same way or by another.
    let invite = incoming("INVITE", "c", 1, "", CONTACT);
    solo.receive(udp(), &invite);
    solo.receive(udp(), &invite.replace("z9hG4bK-c", "z9hG4bK-other"));
    assert_eq!(solo.said(), ["180 INVITE", "482 INVITE"]);
    assert!(solo.events().is_empty());
}

#[test]
fn peers_without_the_magic_cookie_are_told_apart_too() {
    let mut solo = Solo::new();
    let old = |method| incoming(method, "c", 1, "", CONTACT).replace("z9hG4bK", "1");
    solo.receive(udp(), &old("INVITE"));
    take(&mut solo);
    solo.receive(udp(), &old("INVITE"));
    assert!(solo.events().is_empty(), "a repetition");
    solo.receive(other_trunk(), &old("INVITE"));
    take(&mut solo);
}

#[test]
fn an_ack_of_another_trunk_ends_no_refusal() {
    let mut solo = Solo::new();
    let id = ringing(&mut solo, udp());
    solo.respond(id, 486);
    let tag = to_tag(&solo.one_response());
    let ack = incoming("ACK", "c", 1, &tag, "").replace("-1-ACK", "-1-INVITE");
    solo.receive(other_trunk(), &ack);
    solo.pass(T1);
    assert_eq!(solo.said(), ["486 INVITE"], "still repeated");
    solo.receive(udp(), &ack);
    solo.pass(GIVE_UP);
    assert!(solo.sent().is_empty());
    solo.assert_empty();
}

#[test]
fn an_ack_of_another_trunk_ends_no_2xx() {
    let mut solo = Solo::new();
    let id = ringing(&mut solo, udp());
    let dialog = solo.respond(id, 200);
    let tag = to_tag(&solo.one_response());
    let ack = incoming("ACK", "c", 1, &tag, "");
    for ack in [ack.clone(), ack.replace("-1-ACK", "-1-INVITE")] {
        solo.receive(other_trunk(), &ack);
        assert!(solo.events().is_empty() && solo.sent().is_empty());
    }
    solo.pass(T1);
    assert_eq!(solo.said(), ["200 INVITE"], "still repeated");
    solo.receive(udp(), &ack);
    assert!(matches!(solo.one_event(), Event::Ack { dialog: d, .. } if Some(d) == dialog));
    solo.pass(GIVE_UP);
    assert!(solo.sent().is_empty());
}

#[test]
fn a_request_of_another_trunk_touches_no_dialog() {
    for outgoing_call in [false, true] {
        let mut solo = Solo::new();
        let (dialog, inside) = established(&mut solo, outgoing_call);
        // A CSeq far ahead: were it taken, nothing of the peer's would be in order any more.
        for (method, number) in [("BYE", 900), ("INVITE", 901), ("UPDATE", 902)] {
            let before = solo.endpoint.counts();
            solo.receive(other_trunk(), &inside(method, number));
            assert_eq!(solo.said(), [format!("481 {method}")]);
            assert!(solo.events().is_empty());
            assert_eq!(solo.endpoint.counts(), before);
        }
        for (method, number) in [("INFO", 2), ("BYE", 3)] {
            solo.receive(udp(), &inside(method, number));
            assert!(matches!(solo.one_event(), Event::InDialog { dialog: d, .. } if d == dialog));
        }
    }
}

#[test]
fn a_bye_of_another_trunk_gets_481_in_overload_too() {
    let config = sip::endpoint::Config { transactions_max: 1, ..config(1) };
    let mut solo = Solo::with(config);
    let (_, inside) = established(&mut solo, false);
    solo.receive(udp(), &inside("INFO", 2));
    take(&mut solo);
    // The INVITE that was accepted and the INFO: the reserve is used up.
    solo.receive(other_trunk(), &inside("BYE", 3));
    solo.receive(udp(), &inside("BYE", 3));
    assert_eq!(solo.said(), ["481 BYE", "503 BYE"]);
}

#[test]
fn the_tag_of_a_dialog_is_told_by_its_requests() {
    for outgoing_call in [false, true] {
        let mut solo = Solo::new();
        let (dialog, inside) = established(&mut solo, outgoing_call);
        let bye = request(&inside("BYE", 2));
        assert_eq!(solo.endpoint.dialog_tag(&bye), Some(7));
        for (name, value) in [
            (HeaderName::CallId, "elsewhere"),
            (HeaderName::To, "<sip:us@192.0.2.1>;tag=wrong"),
            (HeaderName::To, "<sip:us@192.0.2.1>"),
            (HeaderName::From, "<sip:bob@192.0.2.9>;tag=wrong"),
            (HeaderName::From, "<sip:bob@192.0.2.9>"),
        ] {
            let mut stray = bye.clone();
            stray.headers.set(name, value);
            assert_eq!(solo.endpoint.dialog_tag(&stray), None, "{value}");
        }
        solo.endpoint.close(dialog);
        assert_eq!(solo.endpoint.dialog_tag(&bye), None);
    }
}

#[test]
fn over_udp_only_the_address_asked_or_its_trunk_answers() {
    for (status, extra) in [(180, CONTACT), (200, CONTACT), (486, "")] {
        let mut solo = Solo::new();
        let (_, invite) = solo.invite(udp());
        let wrong = [
            at("198.51.100.1:5060", Hop { tag: 0, ..udp() }),
            at("198.51.100.1:5060", other_trunk()),
            Hop { tag: 0, ..tcp() },
            Hop { connection: 0, ..tcp() },
            hop(Transport::Tls, "192.0.2.9:5061"),
        ];
        // From the address asked whatever port it sends from, whoever else has that address.
        let right = at("192.0.2.9:40000", other_trunk());
        only_from(&mut solo, &wrong, right, &reply(&invite, status, "b1", extra));
    }
}

#[test]
fn another_address_of_the_trunk_may_answer_and_nobody_without_a_trunk() {
    let mut solo = Solo::new();
    let (_, invite) = solo.invite(udp());
    let elsewhere = at("198.51.100.1:5060", udp());
    only_from(&mut solo, &[], elsewhere, &reply(&invite, 180, "b1", CONTACT));

    // Zero names no trunk: equal zeros make two sources no relatives.
    let mut solo = Solo::new();
    let nobody = Hop { tag: 0, ..udp() };
    let (_, invite) = solo.invite(nobody);
    let wrong = [Hop { tag: 0, ..elsewhere }];
    only_from(&mut solo, &wrong, nobody, &reply(&invite, 180, "b1", CONTACT));
}

#[test]
fn an_ipv4_source_in_its_mapped_form_is_the_same_address() {
    let mut solo = Solo::new();
    let (_, invite) = solo.invite(udp());
    let wrong = [at("[::ffff:192.0.2.8]:5060", other_trunk())];
    let mapped = at("[::ffff:192.0.2.9]:5060", other_trunk());
    only_from(&mut solo, &wrong, mapped, &reply(&invite, 180, "b1", CONTACT));
}

#[test]
fn over_a_connection_only_that_or_another_of_its_trunk_answers() {
    for live in [tcp(), Hop { transport: Transport::Tls, ..tcp() }] {
        let next = Hop { connection: 6, ..live };
        let wrong = [
            Hop { tag: 8, ..next },
            Hop { tag: 0, ..next },
            Hop { transport: Transport::Udp, ..live },
        ];
        for right in [live, Hop { tag: 0, ..live }, next] {
            let mut solo = Solo::new();
            let (_, invite) = solo.invite(live);
            only_from(&mut solo, &wrong, right, &reply(&invite, 180, "b1", CONTACT));
        }
        let mut solo = Solo::new();
        let (_, invite) = solo.invite(Hop { tag: 0, ..live });
        let wrong = [Hop { tag: 0, ..next }];
        only_from(&mut solo, &wrong, live, &reply(&invite, 180, "b1", CONTACT));
    }
}

#[test]
fn while_a_connection_is_dialled_the_address_decides() {
    let dialled = hop(Transport::Tcp, "192.0.2.9:5060");
    let elsewhere = at("198.51.100.1:5060", Hop { connection: 6, ..dialled });
    let wrong = [Hop { tag: 0, ..elsewhere }, Hop { tag: 8, ..elsewhere }];
    for right in [Hop { connection: 9, tag: 0, ..dialled }, elsewhere] {
        let mut solo = Solo::new();
        let (_, invite) = solo.invite(dialled);
        only_from(&mut solo, &wrong, right, &reply(&invite, 180, "b1", CONTACT));
    }
}

#[test]
fn a_late_or_repeated_2xx_from_elsewhere_gets_no_ack() {
    let mut solo = Solo::new();
    let (_, invite) = solo.call(udp());
    let stranger = at("198.51.100.1:5060", Hop { tag: 0, ..udp() });
    let repeated = reply(&invite, 200, "b1", CONTACT);
    solo.receive(stranger, &repeated);
    assert!(solo.sent().is_empty(), "our ACK answers only the one who was called");
    solo.receive(udp(), &repeated);
    assert_eq!(solo.said(), ["ACK"]);
    let late = reply(&invite, 200, "b2", CONTACT);
    only_from(&mut solo, &[stranger], udp(), &late);
    assert_eq!(solo.endpoint.counts().dialogs, 2);
}

#[test]
fn other_requests_and_the_cancel_are_answered_from_where_they_went() {
    let mut solo = Solo::new();
    let stranger = at("198.51.100.1:5060", other_trunk());
    solo.endpoint.request(solo.now, udp(), outgoing(Method::Options, &[])).unwrap();
    let options = solo.one_request();
    only_from(&mut solo, &[stranger], udp(), &reply(&options, 200, "b1", ""));

    let (id, invite) = solo.invite(udp());
    solo.receive(udp(), &reply(&invite, 180, "b1", CONTACT));
    solo.events();
    solo.endpoint.cancel(solo.now, id).unwrap();
    let cancel = solo.one_request();
    solo.receive(stranger, &reply(&cancel, 200, "b1", ""));
    solo.pass(T1);
    assert_eq!(solo.said(), ["CANCEL"], "still repeated");
    solo.receive(udp(), &reply(&cancel, 200, "b1", ""));
    solo.pass(T1 * 4);
    assert!(solo.sent().is_empty());
}

#[test]
fn without_trunks_everything_is_as_ever() {
    let nobody = Hop { tag: 0, ..udp() };
    let mut solo = Solo::new();
    let (dialog, tag) = solo.called(nobody, "c");
    let bye = incoming("BYE", "c", 2, &tag, "");
    assert_eq!(solo.endpoint.dialog_tag(&request(&bye)), Some(0));
    solo.receive(nobody, &bye);
    let id = take(&mut solo);
    solo.respond(id, 200);
    assert_eq!(solo.said(), ["200 BYE"]);
    solo.endpoint.close(dialog);
    let (dialog, _) = solo.call(Hop { tag: 0, ..tcp() });
    solo.endpoint.close(dialog);
    let (dialog, _) = solo.call(nobody);
    solo.endpoint.close(dialog);
    solo.pass(GIVE_UP);
    solo.assert_empty();
}

/// A call on trunk 7, and what makes the peer's requests inside of it.
fn established(
    solo: &mut Solo,
    outgoing_call: bool,
) -> (DialogId, impl Fn(&str, u32) -> String + use<>) {
    let (dialog, call, local, remote) = if outgoing_call {
        let (dialog, invite) = solo.call(udp());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let from = invite.headers.from().unwrap();
        let call = text(&invite.headers.call_id().unwrap());
        (dialog, call, text(from.tag().unwrap()), "b1".to_owned())
    } else {
        let (dialog, tag) = solo.called(udp(), "c");
        (dialog, "c".to_owned(), tag, "p-c".to_owned())
    };
    let inside = move |method: &str, number: u32| {
        let text = incoming(method, &call, number, &local, CONTACT);
        text.replace(&format!(";tag=p-{call}"), &format!(";tag={remote}"))
    };
    (dialog, inside)
}
