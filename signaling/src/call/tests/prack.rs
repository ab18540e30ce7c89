//! `100rel`: reliable provisional responses on both legs (RFC 3262), each leg by itself.

use bytes::Bytes;
use sip::wire::{HeaderName, Method, Request};

use super::rig::{Carrier, Pbx, Rig, Who};

/// An INVITE of the carrier that knows the extension, or demands it.
fn knowing(rig: &mut Rig, header: HeaderName) -> Request {
    let offer = rig.carrier.offer();
    let mut invite = rig.carrier.invite("+4930222", Some(offer));
    invite.headers.push(header, "100rel");
    invite
}

fn is_reliable(headers: &sip::wire::Headers) -> bool {
    headers.has_token(&HeaderName::Require, "100rel") && headers.rseq().unwrap().is_some()
}

/// Requests of this method that the gateway sent.
fn sent(rig: &Rig, to: Who, method: &str) -> usize {
    rig.told
        .iter()
        .filter(|(who, bytes)| *who == to && bytes.starts_with(method.as_bytes()))
        .count()
}

#[test]
fn early_media_is_acknowledged_on_each_leg() {
    let mut rig = Rig::new("prack");
    let invite = knowing(&mut rig, HeaderName::Supported);
    rig.place(Carrier, invite);
    let (id, invite) = rig.invited(Pbx);
    assert!(invite.headers.has_token(&HeaderName::Supported, "100rel"), "the callee may use it");
    rig.answer(Pbx, id, 180, None);
    assert!(!is_reliable(&rig.last_response(Carrier).headers), "ringing alone may get lost");
    let body = rig.pbx.accept(&invite.body);
    rig.answer_reliably(Pbx, id, 183, Some(body));
    assert_eq!(sent(&rig, Pbx, "PRACK"), 1, "the callee's is acknowledged by us");
    let early = rig.last_response(Carrier);
    assert!(early.status.code() == 183 && is_reliable(&early.headers) && !early.body.is_empty());
    rig.answer(Pbx, id, 200, None);
    assert_eq!(rig.statuses(Carrier), [180, 183, 200]);
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn an_answer_waits_until_the_caller_has_acknowledged_early_media() {
    let mut rig = Rig::new("prack-waits");
    // The first PRACK of the caller gets lost.
    rig.lose = Some(|who, to_peer, bytes| {
        who == Carrier && !to_peer && bytes.starts_with(b"PRACK") && first_loss()
    });
    let invite = knowing(&mut rig, HeaderName::Supported);
    rig.place(Carrier, invite);
    let (id, invite) = rig.invited(Pbx);
    let body = rig.pbx.accept(&invite.body);
    rig.answer(Pbx, id, 183, Some(body));
    rig.answer(Pbx, id, 200, None);
    assert_eq!(rig.statuses(Carrier), [183]);
    rig.seconds(1);
    assert_eq!(rig.statuses(Carrier), [183, 200]);
    rig.hang_up(Pbx);
    rig.finish_one(200);
}

/// True once in each thread, and so in each test.
fn first_loss() -> bool {
    thread_local!(static LOST: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
    !LOST.replace(true)
}

#[test]
fn a_caller_that_never_acknowledges_is_refused_and_the_callee_cancelled() {
    for answered in [false, true] {
        let mut rig = Rig::new(if answered { "prack-never-2xx" } else { "prack-never" });
        rig.lose =
            Some(|who, to_peer, bytes| who == Carrier && !to_peer && bytes.starts_with(b"PRACK"));
        let invite = knowing(&mut rig, HeaderName::Supported);
        rig.place(Carrier, invite);
        let (id, invite) = rig.invited(Pbx);
        let body = rig.pbx.accept(&invite.body);
        rig.answer(Pbx, id, 183, Some(body));
        if answered {
            rig.answer(Pbx, id, 200, None);
        }
        rig.seconds(40);
        assert_eq!(rig.last_status(Carrier), 504);
        assert!(rig.pbx.live.is_empty(), "the callee is not left alone");
        assert_eq!(rig.pbx.cancelled.len(), usize::from(!answered));
        let records = rig.finish();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0]["code"], 504);
    }
}

#[test]
fn who_demands_it_gets_every_response_reliably() {
    let mut rig = Rig::new("prack-demanded");
    let invite = knowing(&mut rig, HeaderName::Require);
    rig.place(Carrier, invite);
    let (id, invite) = rig.invited(Pbx);
    rig.answer(Pbx, id, 180, None);
    assert!(is_reliable(&rig.last_response(Carrier).headers));
    rig.accept(Pbx, id, &invite);
    assert_eq!(rig.statuses(Carrier), [180, 200]);
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn a_trunk_without_it_refuses_who_demands_it_and_offers_nothing() {
    let mut rig = Rig::with("prack-off", "100rel = \"off\"", "100rel = \"off\"", "");
    let invite = knowing(&mut rig, HeaderName::Require);
    rig.place(Carrier, invite);
    let refused = rig.last_response(Carrier);
    assert_eq!(refused.status.code(), 420);
    assert_eq!(refused.headers.get(&HeaderName::Unsupported).unwrap(), "100rel");
    let invite = knowing(&mut rig, HeaderName::Supported);
    rig.place(Carrier, invite);
    let (id, invite) = rig.invited(Pbx);
    assert!(!invite.headers.has_token(&HeaderName::Supported, "100rel"));
    let body = rig.pbx.accept(&invite.body);
    rig.answer(Pbx, id, 183, Some(body));
    assert!(!is_reliable(&rig.last_response(Carrier).headers));
    rig.answer(Pbx, id, 486, None);
    let codes: Vec<_> = rig.finish().iter().map(|record| record["code"].clone()).collect();
    assert_eq!(codes, [420, 486]);
}

#[test]
fn a_trunk_that_requires_it_refuses_who_does_not_know_it_and_demands_it() {
    let required = "100rel = \"required\"";
    let mut rig = Rig::with("prack-required", required, required, "");
    rig.call(Carrier);
    let refused = rig.last_response(Carrier);
    assert_eq!(refused.status.code(), 421);
    assert_eq!(refused.headers.get(&HeaderName::Require).unwrap(), "100rel");
    let invite = knowing(&mut rig, HeaderName::Supported);
    rig.place(Carrier, invite);
    let (id, invite) = rig.invited(Pbx);
    assert!(invite.headers.has_token(&HeaderName::Require, "100rel"));
    rig.answer(Pbx, id, 180, None);
    assert!(is_reliable(&rig.last_response(Carrier).headers), "ringing too");
    rig.accept(Pbx, id, &invite);
    rig.hang_up(Carrier);
    let codes: Vec<_> = rig.finish().iter().map(|record| record["code"].clone()).collect();
    assert_eq!(codes, [421, 200]);
}

/// Its callee would offer before it answers, and the PRACK would have to bring the answer.
#[test]
fn a_call_without_an_offer_is_made_without_it() {
    let mut rig = Rig::with("prack-late", "", "100rel = \"required\"", "");
    rig.call_with(Carrier, "+4930222", None);
    let (id, invite) = rig.invited(Pbx);
    let lists = [HeaderName::Supported, HeaderName::Require];
    assert!(!lists.iter().any(|name| invite.headers.has_token(name, "100rel")));
    rig.answer(Pbx, id, 486, None);
    rig.finish_one(486);
}

#[test]
fn a_prack_with_a_description_changes_nothing() {
    let mut rig = Rig::new("prack-body");
    let invite = knowing(&mut rig, HeaderName::Supported);
    rig.place(Carrier, invite);
    let (id, invite) = rig.invited(Pbx);
    let body = rig.pbx.accept(&invite.body);
    rig.rewrite = Some(Box::new(|who, message| {
        if let sip::wire::Message::Request(request) = message
            && who == Carrier
            && request.method == Method::Prack
        {
            request.headers.push(HeaderName::ContentType, "application/sdp");
            request.body = Bytes::from_static(b"v=0\r\n");
        }
    }));
    rig.answer(Pbx, id, 183, Some(body));
    let said: Vec<_> = rig.told.iter().filter(|(who, _)| *who == Carrier).collect();
    assert!(said.iter().any(|(_, bytes)| bytes.starts_with(b"SIP/2.0 488")));
    rig.answer(Pbx, id, 200, None);
    assert_eq!(rig.last_status(Carrier), 200);
    rig.hang_up(Carrier);
    rig.finish_one(200);
}
