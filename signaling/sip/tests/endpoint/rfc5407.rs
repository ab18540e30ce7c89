//! RFC 5407: race conditions, one test for each section, from the side that meets the race.

use std::time::Duration;

use sip::endpoint::{ClientId, DialogId, Event, ServerId};
use sip::wire::{Method, Request};

use crate::solo::*;

fn take(event: Event) -> (ServerId, Option<DialogId>) {
    match event {
        Event::Request { transaction, .. } => (transaction, None),
        Event::InDialog { transaction, dialog, .. } => (transaction, Some(dialog)),
        other => panic!("a request, not {other:?}"),
    }
}

/// The peer's request with an offer or an answer.
fn described(text: &str) -> String {
    let body = "Content-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0";
    text.replace("Content-Length: 0\r\n\r\n", body)
}

/// We answered an INVITE that offered or did not, and wait for the ACK: the moratorium of a callee.
fn moratorium(offers: bool) -> (Solo, DialogId, String) {
    let mut solo = Solo::new();
    let invite = incoming("INVITE", "c", 1, "", CONTACT);
    solo.receive(udp(), &if offers { described(&invite) } else { invite });
    let (id, _) = take(solo.one_event());
    let dialog = solo.respond(id, 200).unwrap();
    let tag = to_tag(&solo.one_response());
    (solo, dialog, tag)
}

/// Our BYE is on its way: the mortal state.
fn mortal() -> (Solo, DialogId, String, Request) {
    let mut solo = Solo::new();
    let (dialog, tag) = solo.called(udp(), "c");
    ask(&mut solo, dialog, Method::Bye);
    let bye = solo.one_request();
    (solo, dialog, tag, bye)
}

fn ask(solo: &mut Solo, dialog: DialogId, method: Method) -> ClientId {
    solo.endpoint.request_in_dialog(solo.now, dialog, method, vec![], None).unwrap()
}

fn acknowledged(solo: &mut Solo, tag: &str) {
    solo.receive(udp(), &incoming("ACK", "c", 1, tag, ""));
    assert!(matches!(solo.one_event(), Event::Ack { .. }));
}

/// §3.1.1: the INVITE comes again after its 200: the transaction swallows it (RFC 6026 §7.1).
#[test]
fn s3_1_1_an_invite_again_while_the_ack_is_awaited() {
    let (mut solo, _, tag) = moratorium(true);
    solo.receive(udp(), &described(&incoming("INVITE", "c", 1, "", CONTACT)));
    assert!(solo.events().is_empty() && solo.said().is_empty());
    solo.pass(T1);
    assert_eq!(solo.said(), ["200 INVITE"], "the user agent core repeats it");
    acknowledged(&mut solo, &tag);
}

/// §3.1.2: a CANCEL that crossed the 200 gets 200 and has no effect.
#[test]
fn s3_1_2_a_cancel_while_the_ack_is_awaited() {
    let (mut solo, _, tag) = moratorium(true);
    solo.receive(udp(), &incoming("CANCEL", "c", 1, "", ""));
    assert_eq!(solo.said(), ["200 CANCEL"]);
    assert!(solo.events().is_empty());
    acknowledged(&mut solo, &tag);
}

/// §3.1.3: a BYE of the early dialog crossed the 200: it ends the dialog; the ACK that still comes
/// is for nobody.
#[test]
fn s3_1_3_a_bye_while_the_ack_is_awaited() {
    let (mut solo, dialog, tag) = moratorium(true);
    solo.receive(udp(), &incoming("BYE", "c", 2, &tag, ""));
    let (id, inside) = take(solo.one_event());
    assert_eq!(inside, Some(dialog));
    solo.respond(id, 200);
    solo.endpoint.close(dialog);
    assert_eq!(solo.said(), ["200 BYE"]);
    solo.receive(udp(), &incoming("ACK", "c", 1, &tag, ""));
    solo.pass(GIVE_UP);
    assert!(solo.events().is_empty() && solo.said().is_empty(), "the 200 is not repeated");
    solo.assert_empty();
}

/// §3.1.4: the ACK got lost and a re-INVITE comes: both sides have what they offered and answered,
/// so it stands for the ACK.
#[test]
fn s3_1_4_a_reinvite_instead_of_the_ack() {
    let (mut solo, dialog, tag) = moratorium(true);
    solo.receive(udp(), &described(&incoming("INVITE", "c", 2, &tag, CONTACT)));
    let events = solo.events();
    let [Event::Ack { dialog: acked, .. }, Event::InDialog { transaction, .. }] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(*acked, dialog);
    solo.respond(*transaction, 200);
    assert_eq!(solo.said(), ["200 INVITE"]);
    // The first ACK comes late: it acknowledges nothing of the second answer.
    solo.receive(udp(), &incoming("ACK", "c", 1, &tag, ""));
    assert!(solo.events().is_empty());
    solo.receive(udp(), &incoming("ACK", "c", 2, &tag, ""));
    assert!(matches!(solo.one_event(), Event::Ack { .. }));
}

/// §3.1.5: the same, but the lost ACK had the answer to our offer: no other one may begin.
#[test]
fn s3_1_5_a_reinvite_instead_of_the_answer() {
    let (mut solo, _, tag) = moratorium(false);
    solo.receive(udp(), &described(&incoming("INVITE", "c", 2, &tag, CONTACT)));
    assert_eq!(solo.said(), ["491 INVITE"]);
    assert!(solo.events().is_empty());
    solo.receive(udp(), &described(&incoming("ACK", "c", 1, &tag, "")));
    assert!(matches!(solo.one_event(), Event::Ack { .. }));
    solo.receive(udp(), &described(&incoming("INVITE", "c", 3, &tag, CONTACT)));
    take(solo.one_event());
}

/// §3.1.6: the ACK got lost and a BYE comes.
#[test]
fn s3_1_6_a_bye_instead_of_the_ack() {
    let (mut solo, dialog, tag) = moratorium(true);
    solo.pass(T1);
    assert_eq!(solo.said(), ["200 INVITE"]);
    solo.receive(udp(), &incoming("BYE", "c", 2, &tag, ""));
    let (id, _) = take(solo.one_event());
    solo.respond(id, 200);
    solo.endpoint.close(dialog);
    assert_eq!(solo.said(), ["200 BYE"]);
    solo.pass(GIVE_UP);
    assert!(solo.said().is_empty());
    solo.assert_empty();
}

/// §3.2.1: both hung up at once: each BYE gets 200.
#[test]
fn s3_2_1_a_bye_after_ours() {
    let (mut solo, dialog, tag, bye) = mortal();
    solo.receive(udp(), &incoming("BYE", "c", 2, &tag, ""));
    let (id, _) = take(solo.one_event());
    solo.respond(id, 200);
    assert_eq!(solo.said(), ["200 BYE"]);
    solo.receive(udp(), &reply(&bye, 200, "", ""));
    assert!(matches!(solo.one_event(), Event::Response { .. }));
    solo.endpoint.close(dialog);
    solo.pass(GIVE_UP);
    solo.assert_empty();
}

/// §3.2.2: a re-INVITE crossed our BYE: the user still hears of it and refuses it, and after the
/// BYE's answer the dialog is unknown.
#[test]
fn s3_2_2_a_reinvite_after_our_bye() {
    let (mut solo, dialog, tag, bye) = mortal();
    solo.receive(udp(), &incoming("INVITE", "c", 2, &tag, CONTACT));
    let (id, _) = take(solo.one_event());
    solo.respond(id, 481);
    assert_eq!(solo.said(), ["481 INVITE"]);
    solo.receive(udp(), &incoming("ACK", "c", 2, "", ""));
    solo.receive(udp(), &reply(&bye, 200, "", ""));
    solo.endpoint.close(dialog);
    solo.receive(udp(), &incoming("INVITE", "c", 3, &tag, CONTACT));
    assert_eq!(solo.said(), ["481 INVITE"]);
}

/// §3.2.3: the 200 to our re-INVITE crossed our BYE: it gets its ACK.
#[test]
fn s3_2_3_a_200_to_a_reinvite_after_our_bye() {
    let mut solo = Solo::new();
    let (dialog, _) = solo.called(udp(), "c");
    ask(&mut solo, dialog, Method::Invite);
    let invite = solo.one_request();
    ask(&mut solo, dialog, Method::Bye);
    let bye = solo.one_request();
    solo.receive(udp(), &reply(&invite, 200, "", CONTACT));
    assert!(matches!(solo.one_event(), Event::Response { dialog: Some(d), .. } if d == dialog));
    solo.endpoint.ack(solo.now, dialog, None).unwrap();
    let ack = solo.one_request();
    assert_eq!((ack.method, ack.headers.cseq().unwrap().number), (Method::Ack, 1));
    solo.receive(udp(), &reply(&bye, 200, "", ""));
    solo.endpoint.close(dialog);
    // Its repetition still gets the same ACK: the transaction remembers it.
    solo.receive(udp(), &reply(&invite, 200, "", CONTACT));
    assert_eq!(solo.said(), ["ACK"]);
}

/// §3.2.4: the ACK comes after we gave the call up by BYE: nothing happens.
#[test]
fn s3_2_4_an_ack_after_our_bye() {
    let (mut solo, dialog, tag) = moratorium(true);
    solo.pass(GIVE_UP);
    assert!(matches!(solo.one_event(), Event::AckMissing { .. }));
    solo.said();
    ask(&mut solo, dialog, Method::Bye);
    let bye = solo.one_request();
    solo.receive(udp(), &incoming("ACK", "c", 1, &tag, ""));
    assert!(solo.events().is_empty() && solo.said().is_empty());
    solo.receive(udp(), &reply(&bye, 200, "", ""));
    assert!(matches!(solo.one_event(), Event::Response { .. }));
}

/// §3.3.1: re-INVITEs cross: each is refused with 491, and each side may try again.
#[test]
fn s3_3_1_reinvites_cross() {
    let mut solo = Solo::new();
    let (dialog, tag) = solo.called(udp(), "c");
    ask(&mut solo, dialog, Method::Invite);
    let ours = solo.one_request();
    solo.receive(udp(), &incoming("INVITE", "c", 2, &tag, CONTACT));
    assert_eq!(solo.said(), ["491 INVITE"]);
    solo.receive(udp(), &incoming("ACK", "c", 2, "", ""));
    solo.receive(udp(), &reply(&ours, 491, "", ""));
    assert_eq!(solo.said(), ["ACK"]);
    assert!(matches!(solo.one_event(), Event::Response { .. }));
    // The peer does not own the Call-ID here: it waits longer than we do, or the other way round.
    solo.receive(udp(), &incoming("INVITE", "c", 3, &tag, CONTACT));
    take(solo.one_event());
}

/// §3.3.2: an UPDATE crosses our re-INVITE: it is the user's to refuse, for only that knows whether
/// it offers.
#[test]
fn s3_3_2_an_update_crosses_our_reinvite() {
    let mut solo = Solo::new();
    let (dialog, tag) = solo.called(udp(), "c");
    ask(&mut solo, dialog, Method::Invite);
    let ours = solo.one_request();
    solo.receive(udp(), &described(&incoming("UPDATE", "c", 2, &tag, CONTACT)));
    let (id, _) = take(solo.one_event());
    solo.respond(id, 491);
    assert_eq!(solo.said(), ["491 UPDATE"]);
    solo.receive(udp(), &reply(&ours, 200, "", CONTACT));
    assert!(matches!(solo.one_event(), Event::Response { .. }));
}

/// §3.3.3: a REFER after our BYE is the user's to refuse.
#[test]
fn s3_3_3_a_refer_after_our_bye() {
    let (mut solo, _, tag, _) = mortal();
    solo.receive(udp(), &incoming("REFER", "c", 2, &tag, "Refer-To: <sip:x@y>\r\n"));
    let (id, _) = take(solo.one_event());
    solo.respond(id, 481);
    assert_eq!(solo.said(), ["481 REFER"]);
}

/// Appendix A: a caller ends its early dialog by BYE; the INVITE still wants its 487.
#[test]
fn appendix_a_a_bye_in_an_early_dialog() {
    let mut solo = Solo::new();
    solo.receive(udp(), &incoming("INVITE", "c", 1, "", CONTACT));
    let (invite, _) = take(solo.one_event());
    let dialog = solo.respond(invite, 180).unwrap();
    let tag = to_tag(&solo.one_response());
    solo.receive(udp(), &incoming("BYE", "c", 2, &tag, ""));
    let (bye, inside) = take(solo.one_event());
    assert_eq!(inside, Some(dialog));
    solo.respond(bye, 200);
    solo.respond(invite, 487);
    assert_eq!(solo.said(), ["200 BYE", "487 INVITE"]);
    solo.receive(udp(), &incoming("ACK", "c", 1, "", ""));
    solo.pass(GIVE_UP);
    solo.assert_empty();
}

/// Appendix B: a BYE comes while the peer's re-INVITE waits: that still gets its answer.
#[test]
fn appendix_b_a_bye_over_a_reinvite() {
    let mut solo = Solo::new();
    let (dialog, tag) = solo.called(udp(), "c");
    solo.receive(udp(), &incoming("INVITE", "c", 2, &tag, CONTACT));
    let (invite, _) = take(solo.one_event());
    solo.receive(udp(), &incoming("BYE", "c", 3, &tag, ""));
    let (bye, _) = take(solo.one_event());
    solo.respond(bye, 200);
    solo.respond(invite, 487);
    assert_eq!(solo.said(), ["200 BYE", "487 INVITE"]);
    solo.endpoint.close(dialog);
    solo.receive(udp(), &incoming("ACK", "c", 2, "", ""));
    solo.pass(GIVE_UP);
    solo.assert_empty();
}

/// Appendix C: our CANCEL crosses the 200: the call stands, and wants ACK and BYE.
#[test]
fn appendix_c_our_cancel_crosses_the_200() {
    let mut solo = Solo::new();
    let (id, invite) = solo.invite(udp());
    solo.receive(udp(), &reply(&invite, 180, "b1", CONTACT));
    solo.events();
    solo.endpoint.cancel(solo.now, id).unwrap();
    let cancel = solo.one_request();
    assert_eq!(cancel.method, Method::Cancel);
    solo.receive(udp(), &reply(&invite, 200, "b1", CONTACT));
    let Event::Response { dialog: Some(dialog), .. } = solo.one_event() else { panic!() };
    solo.endpoint.ack(solo.now, dialog, None).unwrap();
    ask(&mut solo, dialog, Method::Bye);
    assert_eq!(solo.said(), ["ACK", "BYE"]);
    solo.receive(udp(), &reply(&cancel, 200, "b1", ""));
    assert!(solo.events().is_empty(), "no event tells of the CANCEL's own end");
}

/// Appendix E: a 2xx with a new To-tag is another call leg, whenever it comes within 64*T1.
#[test]
fn appendix_e_a_new_to_tag_after_the_answer() {
    let mut solo = Solo::new();
    let (dialog, invite) = solo.call(udp());
    solo.pass(Duration::from_secs(20));
    solo.receive(udp(), &reply(&invite, 200, "b2", CONTACT));
    let Event::Response { dialog: Some(other), .. } = solo.one_event() else { panic!() };
    assert_ne!(other, dialog);
    solo.endpoint.ack(solo.now, other, None).unwrap();
    ask(&mut solo, other, Method::Bye);
    assert_eq!(solo.said(), ["ACK", "BYE"]);
}
