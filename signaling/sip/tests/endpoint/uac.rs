//! The client side: requests, retransmission, forks, CANCEL, ACK, reissue.

use std::time::Duration;

use bytes::Bytes;
use sip::endpoint::{Cause, Event, Hop, Misuse, Transport};
use sip::wire::{HeaderName, Message, Method, Request};

use crate::solo::*;

/// The peer's request inside of a dialog that our INVITE made.
fn inside(invite: &Request, method: &str, number: u32, extra: &str) -> String {
    let call = String::from_utf8(invite.headers.call_id().unwrap().to_vec()).unwrap();
    let from = invite.headers.from().unwrap();
    incoming(method, &call, number, std::str::from_utf8(from.tag().unwrap()).unwrap(), extra)
        .replace(&format!("tag=p-{call}"), "tag=b1")
}

#[test]
fn a_request_is_completed() {
    let mut solo = Solo::with(sip::endpoint::Config { user_agent: "Unit".into(), ..config(1) });
    let (_, invite) = solo.invite(udp());
    let headers = &invite.headers;
    let via = headers.via().unwrap();
    assert_eq!((via.transport.as_ref(), via.port), (&b"UDP"[..], Some(5060)));
    assert!(via.has_cookie() && via.wants_rport());
    assert_eq!(headers.from().unwrap().tag().unwrap().len(), 16);
    assert_eq!(headers.call_id().unwrap().len(), 32);
    assert_eq!(headers.cseq().unwrap().number, 1);
    assert_eq!(headers.max_forwards().unwrap(), Some(70));
    assert_eq!(headers.get(&HeaderName::Contact).unwrap(), "<sip:us@192.0.2.1:5060;tag7>");
    assert_eq!(headers.get(&HeaderName::UserAgent).unwrap(), "Unit");
    assert_eq!(headers.iter().next().unwrap().0, &HeaderName::Via);
}

#[test]
fn what_the_caller_gives_is_kept() {
    let mut solo = Solo::new();
    let request = outgoing(
        Method::Register,
        &[
            (HeaderName::CallId, "mine"),
            (HeaderName::CSeq, "41 REGISTER"),
            (HeaderName::MaxForwards, "9"),
            (HeaderName::Via, "SIP/2.0/UDP forged.example;branch=z9hG4bKforged"),
        ],
    );
    solo.endpoint.request(solo.now, udp(), request).unwrap();
    let sent = solo.one_request();
    assert_eq!(sent.headers.call_id().unwrap(), "mine");
    assert_eq!(sent.headers.cseq().unwrap().number, 41);
    assert_eq!(sent.headers.max_forwards().unwrap(), Some(9));
    assert_eq!(sent.headers.vias().unwrap().len(), 1, "the Via is always ours");
    assert!(sent.headers.get(&HeaderName::Contact).is_none(), "Contact only to an INVITE");
}

#[test]
fn requests_that_cannot_be_sent_are_refused() {
    let mut solo = Solo::new();
    let now = solo.now;
    let mut no_to = outgoing(Method::Options, &[]);
    no_to.headers.remove(&HeaderName::To);
    assert!(matches!(solo.endpoint.request(now, udp(), no_to), Err(Misuse::Malformed(_))));
    let other = outgoing(Method::Options, &[(HeaderName::CSeq, "1 INVITE")]);
    assert!(matches!(solo.endpoint.request(now, udp(), other), Err(Misuse::Malformed(_))));
    for method in [Method::Ack, Method::Cancel] {
        let request = outgoing(method, &[]);
        assert_eq!(solo.endpoint.request(now, udp(), request), Err(Misuse::NotARequest));
    }
    solo.assert_empty();
}

#[test]
fn an_unanswered_invite_is_repeated_with_the_same_bytes_and_times_out() {
    let mut solo = Solo::new();
    let request = outgoing(Method::Invite, &[]);
    let id = solo.endpoint.request(solo.now, udp(), request).unwrap();
    solo.pass(GIVE_UP);
    assert_eq!(solo.sent.len(), 7, "0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 s");
    assert!(solo.sent.iter().all(|sent| *sent == solo.sent[0]));
    assert!(matches!(
        solo.one_event(),
        Event::Failed { transaction, cause: Cause::Timeout } if transaction == id
    ));
    solo.assert_empty();
}

#[test]
fn over_tcp_nothing_is_repeated() {
    let mut solo = Solo::new();
    solo.endpoint.request(solo.now, tcp(), outgoing(Method::Invite, &[])).unwrap();
    solo.endpoint.request(solo.now, tcp(), outgoing(Method::Options, &[])).unwrap();
    solo.pass(GIVE_UP);
    assert_eq!(solo.said(), ["INVITE", "OPTIONS"]);
    assert_eq!(solo.events().len(), 2);
    solo.assert_empty();
}

#[test]
fn a_refusal_is_acknowledged_each_time_with_route_and_credentials() {
    let mut solo = Solo::new();
    let request = outgoing(
        Method::Invite,
        &[
            (HeaderName::Route, "<sip:proxy.example;lr>"),
            (HeaderName::ProxyAuthorization, "Digest username=\"u\""),
        ],
    );
    solo.endpoint.request(solo.now, udp(), request).unwrap();
    let invite = solo.one_request();
    let busy = reply(&invite, 486, "b1", "");
    solo.receive(udp(), &busy);
    let ack = solo.one_request();
    assert_eq!(ack.method, Method::Ack);
    assert_eq!(ack.headers.via().unwrap(), invite.headers.via().unwrap());
    assert_eq!(ack.headers.route().unwrap().len(), 1);
    assert_eq!(ack.headers.to().unwrap().tag().unwrap(), "b1");
    assert_eq!(ack.headers.cseq().unwrap().number, 1);
    assert!(ack.headers.get(&HeaderName::ProxyAuthorization).is_some());
    assert!(matches!(solo.one_event(), Event::Response { dialog: None, .. }));
    solo.receive(udp(), &busy);
    assert_eq!(solo.one_request(), ack);
    assert!(solo.events().is_empty(), "told once");
    solo.pass(GIVE_UP);
    solo.assert_empty();
}

#[test]
fn each_to_tag_is_its_own_dialog_and_each_2xx_is_told_once() {
    let mut solo = Solo::new();
    let (_, invite) = solo.invite(udp());
    let mut dialogs = vec![];
    for (status, tag) in [(180, "b1"), (183, "b2"), (180, "b1"), (200, "b1"), (200, "b3")] {
        solo.receive(udp(), &reply(&invite, status, tag, CONTACT));
        let Event::Response { dialog: Some(dialog), .. } = solo.one_event() else { panic!() };
        dialogs.push(dialog);
    }
    assert_eq!(dialogs[0], dialogs[2]);
    assert_eq!(dialogs[0], dialogs[3]);
    assert_eq!(solo.endpoint.counts().dialogs, 3, "b1, b2, b3");

    solo.receive(udp(), &reply(&invite, 200, "b1", CONTACT));
    assert!(solo.events().is_empty(), "repeated before our ACK: nothing to say yet");
    let body = Some(("application/sdp", Bytes::from("v=0")));
    solo.endpoint.ack(solo.now, dialogs[3], body).unwrap();
    solo.endpoint.ack(solo.now, dialogs[4], None).unwrap();
    let acks = solo.sent();
    let again = Err(Misuse::NothingToAcknowledge);
    assert_eq!(solo.endpoint.ack(solo.now, dialogs[3], None), again);
    solo.endpoint.close(dialogs[3]);
    solo.receive(udp(), &reply(&invite, 200, "b1", CONTACT));
    assert_eq!(solo.sent(), [acks[0].clone()], "the same ACK, even after the dialog is closed");
    let Message::Request(ack) = &acks[0] else { panic!() };
    assert_eq!(ack.body, "v=0");
    assert_ne!(ack.headers.via().unwrap(), invite.headers.via().unwrap());

    solo.pass(GIVE_UP);
    assert_eq!(solo.endpoint.counts().dialogs, 1, "b2 never answered; b3 lives");
    solo.endpoint.close(dialogs[4]);
    solo.assert_empty();
}

#[test]
fn trying_and_untagged_ringing_make_no_dialog() {
    let mut solo = Solo::new();
    let (_, invite) = solo.invite(udp());
    solo.receive(udp(), &reply(&invite, 100, "", ""));
    assert!(solo.events().is_empty(), "100 is not told");
    solo.receive(udp(), &reply(&invite, 180, "", ""));
    assert!(matches!(solo.one_event(), Event::Response { dialog: None, .. }));
    solo.pass(Duration::from_secs(600));
    assert!(solo.sent().is_empty() && solo.events().is_empty(), "ringing has no timer");
}

#[test]
fn a_failure_ends_the_early_dialogs() {
    let mut solo = Solo::new();
    let (_, invite) = solo.invite(udp());
    solo.receive(udp(), &reply(&invite, 180, "b1", CONTACT));
    solo.receive(udp(), &reply(&invite, 180, "b2", CONTACT));
    assert_eq!(solo.endpoint.counts().dialogs, 2);
    solo.receive(udp(), &reply(&invite, 486, "b1", ""));
    assert_eq!(solo.endpoint.counts().dialogs, 0);
}

#[test]
fn an_answer_on_a_closed_early_dialog_comes_back() {
    let mut solo = Solo::new();
    let (_, invite) = solo.invite(udp());
    solo.receive(udp(), &reply(&invite, 183, "b1", CONTACT));
    let Event::Response { dialog: Some(early), .. } = solo.one_event() else { panic!() };
    solo.endpoint.close(early);
    solo.receive(udp(), &reply(&invite, 183, "b1", CONTACT));
    assert!(solo.events().is_empty(), "closed is closed");
    solo.receive(udp(), &reply(&invite, 200, "b1", CONTACT));
    let Event::Response { dialog: Some(dialog), .. } = solo.one_event() else { panic!() };
    assert_ne!(dialog, early);
    solo.endpoint.ack(solo.now, dialog, None).unwrap();
    assert_eq!(solo.said(), ["ACK"]);
}

#[test]
fn cancel_waits_for_a_provisional() {
    let mut solo = Solo::new();
    let (id, invite) = solo.invite(udp());
    solo.endpoint.cancel(solo.now, id).unwrap();
    assert!(solo.sent().is_empty(), "no CANCEL before a provisional (RFC 3261 §9.1)");
    solo.receive(udp(), &reply(&invite, 100, "", ""));
    let cancel = solo.one_request();
    assert_eq!(cancel.method, Method::Cancel);
    assert_eq!(cancel.uri, invite.uri);
    for name in [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId] {
        assert_eq!(cancel.headers.get(&name), invite.headers.get(&name));
    }
    assert_eq!(cancel.headers.cseq().unwrap().number, 1);
    solo.endpoint.cancel(solo.now, id).unwrap();
    solo.pass(T1);
    assert_eq!(solo.said(), ["CANCEL"], "repeated by timer E, not by the second call");
    solo.receive(udp(), &reply(&cancel, 200, "b1", ""));
    assert!(solo.events().is_empty(), "the CANCEL's answer is nobody's business");
    solo.receive(udp(), &reply(&invite, 487, "b1", ""));
    assert_eq!(solo.said(), ["ACK"]);
    assert!(matches!(solo.one_event(), Event::Response { .. }));
    assert_eq!(solo.endpoint.cancel(solo.now, id), Err(Misuse::AlreadyAnswered));
    solo.pass(GIVE_UP);
    solo.assert_empty();
}

#[test]
fn a_2xx_that_crosses_the_cancel_surfaces() {
    let mut solo = Solo::new();
    let (id, invite) = solo.invite(udp());
    solo.receive(udp(), &reply(&invite, 180, "b1", CONTACT));
    solo.endpoint.cancel(solo.now, id).unwrap();
    solo.events();
    solo.receive(udp(), &reply(&invite, 200, "b1", CONTACT));
    let Event::Response { dialog: Some(dialog), .. } = solo.one_event() else { panic!() };
    solo.sent();
    solo.endpoint.ack(solo.now, dialog, None).unwrap();
    let bye = solo.endpoint.request_in_dialog(solo.now, dialog, Method::Bye, vec![], None).unwrap();
    assert_eq!(solo.said(), ["ACK", "BYE"]);
    solo.endpoint.close(dialog);
    solo.pass(GIVE_UP);
    assert!(matches!(
        solo.events().as_slice(),
        [Event::Failed { transaction, .. }] if *transaction == bye
    ));
    solo.assert_empty();
}

#[test]
fn a_cancelled_invite_that_stays_silent_is_given_up() {
    let mut solo = Solo::new();
    let (id, invite) = solo.invite(udp());
    solo.receive(udp(), &reply(&invite, 180, "b1", CONTACT));
    solo.events();
    solo.endpoint.cancel(solo.now, id).unwrap();
    solo.pass(GIVE_UP);
    assert!(matches!(
        solo.one_event(),
        Event::Failed { transaction, cause: Cause::Timeout } if transaction == id
    ));
    solo.assert_empty();
}

#[test]
fn only_an_invite_can_be_cancelled() {
    let mut solo = Solo::new();
    let request = outgoing(Method::Options, &[]);
    let id = solo.endpoint.request(solo.now, udp(), request).unwrap();
    assert_eq!(solo.endpoint.cancel(solo.now, id), Err(Misuse::NotInvite));
    solo.pass(GIVE_UP);
    assert_eq!(solo.endpoint.cancel(solo.now, id), Err(Misuse::UnknownTransaction));
}

#[test]
fn reissue_raises_cseq_and_replaces_fields() {
    for path in [udp(), tcp()] {
        let mut solo = Solo::new();
        let (id, invite) = solo.invite(path);
        let extra = vec![
            (HeaderName::ProxyAuthorization, Bytes::from("Digest a")),
            (HeaderName::ProxyAuthorization, Bytes::from("Digest b")),
        ];
        let early = solo.endpoint.reissue(solo.now, id, extra.clone());
        assert_eq!(early, Err(Misuse::NotAnswered));
        solo.receive(path, &reply(&invite, 407, "b1", ""));
        assert_eq!(solo.said(), ["ACK"]);
        let second = solo.endpoint.reissue(solo.now, id, extra).unwrap();
        let again = solo.one_request();
        assert_eq!(again.headers.cseq().unwrap().number, 2);
        assert_eq!(again.headers.call_id().unwrap(), invite.headers.call_id().unwrap());
        assert_eq!(again.headers.from().unwrap(), invite.headers.from().unwrap());
        assert_ne!(again.headers.via().unwrap().branch(), invite.headers.via().unwrap().branch());
        assert_eq!(again.headers.all(&HeaderName::ProxyAuthorization).count(), 2);
        solo.receive(path, &reply(&again, 407, "b1", ""));
        let third = vec![(HeaderName::ProxyAuthorization, Bytes::from("Digest c"))];
        solo.said();
        solo.endpoint.reissue(solo.now, second, third).unwrap();
        let third = solo.one_request();
        assert_eq!(third.headers.cseq().unwrap().number, 3);
        assert_eq!(third.headers.all(&HeaderName::ProxyAuthorization).count(), 1);
        solo.pass(GIVE_UP);
        solo.assert_empty();
    }
}

#[test]
fn an_early_answer_to_the_wrong_transaction_is_dropped() {
    let mut solo = Solo::new();
    let (_, invite) = solo.invite(udp());
    let good = reply(&invite, 200, "b1", CONTACT);
    for bad in [
        good.replace("branch=z9hG4bK", "branch=z9hG4bKx"),
        good.replace("1 INVITE", "1 BYE"),
        good.replace("Via: ", "Via: SIP/2.0/UDP other.example;branch=z9hG4bKo, "),
        good.replace("From:", "Via: SIP/2.0/UDP other.example;branch=z9hG4bKo\r\nFrom:"),
    ] {
        solo.receive(udp(), &bad);
        assert!(solo.events().is_empty(), "{bad}");
    }
    solo.receive(udp(), &good);
    assert_eq!(solo.events().len(), 1, "positive control");
}

#[test]
fn requests_in_a_dialog_follow_route_set_and_target() {
    let mut solo = Solo::new();
    let (_, invite) = solo.invite(udp());
    let extra = "Record-Route: <sip:192.0.2.20:5090;lr>\r\nContact: <sip:b@192.0.2.30>\r\n";
    solo.receive(udp(), &reply(&invite, 200, "b1", extra));
    let Event::Response { dialog: Some(dialog), .. } = solo.one_event() else { panic!() };
    solo.endpoint.ack(solo.now, dialog, None).unwrap();
    solo.drain();
    let (to, bytes) = solo.sent.pop().unwrap();
    assert_eq!(to, Hop { remote: address("192.0.2.20:5090"), ..udp() });
    assert!(bytes.starts_with(b"ACK sip:b@192.0.2.30 SIP/2.0\r\n"));
    assert_eq!(solo.endpoint.dialog_hop(dialog), Some(to));
    assert_eq!(solo.endpoint.dialog_call_id(dialog), invite.headers.call_id().ok());

    let info = vec![
        (HeaderName::MaxForwards, Bytes::from("30")),
        (HeaderName::From, Bytes::from("<sip:forged@x>")),
    ];
    let body = Some(("application/dtmf-relay", Bytes::from("Signal=1")));
    solo.endpoint.request_in_dialog(solo.now, dialog, Method::Info, info, body).unwrap();
    let info = solo.one_request();
    assert_eq!(info.headers.cseq().unwrap().number, 2);
    assert_eq!(info.headers.max_forwards().unwrap(), Some(30));
    assert_eq!(info.headers.all(&HeaderName::MaxForwards).count(), 1);
    assert_eq!(info.headers.all(&HeaderName::From).count(), 1, "the dialog's own");
    assert_eq!(info.headers.content_type().unwrap(), "application/dtmf-relay");
}

#[test]
fn a_host_name_keeps_the_hop_and_a_numeric_target_replaces_it() {
    let mut solo = Solo::new();
    for (contact, port) in [
        ("sip:b@peer.example", "192.0.2.9:5060"),
        ("sip:b@192.0.2.40", "192.0.2.40:5060"),
        ("sip:b@192.0.2.40:5080", "192.0.2.40:5080"),
        ("sip:b@[2001:db8::1]:5080", "[2001:db8::1]:5080"),
        ("sip:b@peer.example;maddr=192.0.2.41", "192.0.2.41:5060"),
        ("tel:+15551234", "192.0.2.9:5060"),
    ] {
        let (_, invite) = solo.invite(udp());
        let contact = format!("Contact: <{contact}>\r\n");
        solo.receive(udp(), &reply(&invite, 200, "b1", &contact));
        let Event::Response { dialog: Some(dialog), .. } = solo.one_event() else { panic!() };
        let hop = solo.endpoint.dialog_hop(dialog).unwrap();
        assert_eq!(hop, Hop { remote: address(port), ..udp() }, "{contact}");
    }
    let tls = hop(Transport::Tls, "192.0.2.9:5061");
    let (_, invite) = solo.invite(tls);
    solo.receive(tls, &reply(&invite, 200, "b1", "Contact: <sip:b@192.0.2.40>\r\n"));
    let Event::Response { dialog: Some(dialog), .. } = solo.one_event() else { panic!() };
    assert_eq!(solo.endpoint.dialog_hop(dialog).unwrap().remote, address("192.0.2.40:5061"));
}

#[test]
fn reinvite_is_refused_locally_while_another_runs() {
    let mut solo = Solo::new();
    let (dialog, invite) = solo.call(udp());
    let reinvite = |solo: &mut Solo| {
        solo.endpoint.request_in_dialog(solo.now, dialog, Method::Invite, vec![], None)
    };
    reinvite(&mut solo).unwrap();
    let second = solo.one_request();
    assert!(second.headers.get(&HeaderName::Contact).is_some());
    assert_eq!(reinvite(&mut solo), Err(Misuse::InvitePending));
    let bye = solo.endpoint.request_in_dialog(solo.now, dialog, Method::Info, vec![], None);
    assert!(bye.is_ok(), "other requests may overlap");
    solo.sent();

    solo.receive(udp(), &inside(&invite, "INVITE", 1, CONTACT));
    assert_eq!(solo.said(), ["491 INVITE"], "RFC 3261 §14.2");

    solo.receive(udp(), &reply(&second, 200, "", "Contact: <sip:moved@192.0.2.77>\r\n"));
    assert!(matches!(solo.one_event(), Event::Response { dialog: Some(d), .. } if d == dialog));
    assert_eq!(reinvite(&mut solo), Err(Misuse::InvitePending), "its ACK is due first");
    solo.endpoint.ack(solo.now, dialog, None).unwrap();
    let ack = solo.one_request();
    assert_eq!(ack.headers.cseq().unwrap().number, 2);
    assert_eq!(ack.uri.to_string(), "sip:moved@192.0.2.77", "the target was refreshed");
    reinvite(&mut solo).unwrap();
    let third = solo.one_request();
    assert_eq!(third.headers.cseq().unwrap().number, 4);
    solo.receive(udp(), &reply(&third, 488, "", ""));
    assert_eq!(solo.said(), ["ACK"]);
    solo.receive(udp(), &inside(&invite, "INVITE", 2, CONTACT));
    assert!(
        solo.events().iter().any(|event| matches!(event, Event::InDialog { .. })),
        "a refused re-INVITE leaves the dialog free"
    );
}

#[test]
fn update_refreshes_the_target_on_2xx_only() {
    let mut solo = Solo::new();
    let (dialog, _) = solo.call(udp());
    for (status, target) in [(500, "192.0.2.9:5060"), (200, "192.0.2.77:5060")] {
        solo.endpoint.request_in_dialog(solo.now, dialog, Method::Update, vec![], None).unwrap();
        let update = solo.one_request();
        let moved = "Contact: <sip:moved@192.0.2.77>\r\n";
        solo.receive(udp(), &reply(&update, status, "", moved));
        assert_eq!(solo.endpoint.dialog_hop(dialog).unwrap().remote, address(target));
    }
}

#[test]
fn a_refused_request_in_a_dialog_is_reissued_with_the_dialogs_cseq() {
    let mut solo = Solo::new();
    let (dialog, _) = solo.call(tcp());
    let id =
        solo.endpoint.request_in_dialog(solo.now, dialog, Method::Invite, vec![], None).unwrap();
    let refused = solo.one_request();
    solo.receive(tcp(), &reply(&refused, 401, "", ""));
    solo.said();
    let extra = vec![(HeaderName::Authorization, Bytes::from("Digest x"))];
    let again = solo.endpoint.reissue(solo.now, id, extra.clone()).unwrap();
    let sent = solo.one_request();
    assert_eq!(sent.headers.cseq().unwrap().number, 3);
    let pending = solo.endpoint.request_in_dialog(solo.now, dialog, Method::Invite, vec![], None);
    assert_eq!(pending, Err(Misuse::InvitePending));
    solo.receive(tcp(), &reply(&sent, 200, "", CONTACT));
    solo.endpoint.ack(solo.now, dialog, None).unwrap();
    let ack = solo.one_request();
    assert_eq!(ack.headers.get(&HeaderName::Authorization).unwrap(), "Digest x");
    assert_eq!(solo.endpoint.reissue(solo.now, again, extra), Err(Misuse::NotAnswered));
}

#[test]
fn an_answer_without_contact_or_tag_is_survived() {
    let mut solo = Solo::new();
    let (_, invite) = solo.invite(udp());
    solo.receive(udp(), &reply(&invite, 200, "", ""));
    let Event::Response { dialog: Some(dialog), .. } = solo.one_event() else { panic!() };
    solo.endpoint.ack(solo.now, dialog, None).unwrap();
    assert_eq!(solo.one_request().uri, invite.uri);
}

#[test]
fn an_answer_with_unreadable_contact_is_discarded() {
    let mut solo = Solo::new();
    let (_, invite) = solo.invite(udp());
    let text = reply(&invite, 200, "b1", "Contact: <<>\r\n");
    let Ok(message) = sip::wire::parse(Bytes::from(text)) else { return };
    solo.endpoint.handle_input(solo.now, sip::endpoint::Input::Message { hop: udp(), message });
    assert!(solo.events().is_empty());
}
