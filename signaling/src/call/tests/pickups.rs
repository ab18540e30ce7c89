//! A call that rings is picked up: an INVITE names our early dialog (Replaces, RFC 3891 §3).

use sip::endpoint::ClientId;
use sip::wire::{HeaderName, Method};

use super::rig::{Carrier, Pbx, Rig, Who};

/// A call that rings at `who`, with the dialog that its phone would be named by.
fn ring(rig: &mut Rig, who: Who) -> (sip::endpoint::ServerId, sip::wire::Request, String) {
    rig.call(who.other());
    let (id, asked) = rig.invited(who);
    let now = rig.now;
    let early = rig.peer(who).answer(now, id, 180, None).expect("a 180 makes a dialog");
    rig.turn();
    let replaces = rig.peer(who).endpoint.replaces_of(early).unwrap().to_string();
    (id, asked, replaces)
}

fn pick_up(rig: &mut Rig, who: Who, replaces: &str, offer: Option<String>) -> ClientId {
    let mut invite = rig.peer(who).invite("anybody", offer);
    invite.headers.push(HeaderName::Replaces, replaces.to_owned());
    rig.place(who, invite)
}

fn status(rig: &mut Rig, who: Who, client: ClientId) -> Option<u16> {
    let mut responses = rig.peer(who).responses.iter().rev();
    let found = responses.find(|(of, response)| *of == client && response.status.is_final());
    found.map(|(_, response)| response.status.code())
}

#[test]
fn another_phone_takes_the_call_that_rings() {
    for who in [Carrier, Pbx] {
        for early_only in ["", ";early-only"] {
            let mut rig = Rig::new("picked-up");
            let (_, _, replaces) = ring(&mut rig, who);
            let offer = rig.peer(who).offer();
            let client = pick_up(&mut rig, who, &format!("{replaces}{early_only}"), Some(offer));
            assert_eq!(status(&mut rig, who, client), Some(200));
            assert_eq!(rig.peer(who).cancelled.len(), 1, "the phone that rang stops");
            assert_eq!(rig.last_status(who.other()), 200, "the caller is answered");
            assert_eq!(rig.peer(who).live.len(), 1);
            let last = &rig.plane.updates[rig.plane.updates.len() - 2..];
            assert!(last.iter().all(|way| way.relay), "media flows");
            let secured = last.iter().filter(|way| way.protect.is_some()).count();
            assert_eq!(secured, 1, "the leg to the pbx is encrypted");

            // A call as any other: it is held, and hung up by who picked up.
            let held = rig.peer(who).offer().replace("sendrecv", "sendonly");
            rig.ask(who, Method::Invite, Some(held.replace("9977 1", "9977 2")));
            assert_eq!(rig.last_status(who), 200);
            rig.hang_up(who);
            assert_eq!(rig.peer(who.other()).byes, 1);
            let records = rig.finish();
            let [own, call] = records.as_slice() else { panic!("{records:?}") };
            assert_eq!(own["replaces"], call["id"]);
            assert_eq!((&own["code"], &call["code"]), (&200.into(), &200.into()));
            assert_eq!(call["ended_by"], "callee");
            let notes = call["notes"].to_string();
            assert!(notes.contains("picked up"), "{call}");
            assert_eq!(call["attempts"].as_array().unwrap().len(), 1, "{call}");
        }
    }
}

#[test]
fn a_call_with_early_media_is_picked_up_with_the_answer_that_the_caller_has() {
    let mut rig = Rig::new("picked-up-media");
    rig.call(Carrier);
    let (id, asked) = rig.invited(Pbx);
    let (now, answer) = (rig.now, rig.pbx.accept(&asked.body));
    let early = rig.pbx.answer(now, id, 183, Some(answer)).unwrap();
    rig.turn();
    let first = rig.last_response(Carrier).body;
    assert!(!first.is_empty());
    let replaces = rig.pbx.endpoint.replaces_of(early).unwrap().to_string();
    let offer = rig.pbx.offer();
    let client = pick_up(&mut rig, Pbx, &replaces, Some(offer));
    assert_eq!(status(&mut rig, Pbx, client), Some(200));
    assert_eq!(rig.last_response(Carrier).body, first, "one dialog has one answer");
    rig.hang_up(Carrier);
    assert_eq!(rig.finish().len(), 2);
}

#[test]
fn a_phone_that_answers_while_it_is_picked_up_is_sent_away() {
    let mut rig = Rig::new("picked-up-crossed");
    let (id, asked, replaces) = ring(&mut rig, Pbx);
    rig.lose = Some(|who, to_peer, bytes| who == Pbx && to_peer && bytes.starts_with(b"CANCEL"));
    let offer = rig.pbx.offer();
    let client = pick_up(&mut rig, Pbx, &replaces, Some(offer));
    assert_eq!(status(&mut rig, Pbx, client), Some(200));
    let picked = rig.pbx.dialog;
    rig.lose = None;
    rig.accept(Pbx, id, &asked);
    assert_eq!(rig.pbx.byes, 1, "acknowledged and ended");
    assert_eq!(rig.carrier.byes, 0, "the call goes on");
    rig.pbx.dialog = picked;
    rig.hang_up(Pbx);
    assert_eq!(rig.carrier.byes, 1);
    assert_eq!(rig.finish().len(), 2);
}

#[test]
fn what_cannot_be_picked_up_rings_on() {
    let mut rig = Rig::new("picked-up-refused");
    let (id, asked, replaces) = ring(&mut rig, Pbx);
    let offer = rig.pbx.offer();
    for (offer, expected) in [
        (None, 488),
        (Some(offer.replace("RTP/SAVP", "RTP/AVP")), 488),
        (Some(offer.replace("SAVP 8 0", "SAVP 99")), 488),
    ] {
        let client = pick_up(&mut rig, Pbx, &replaces, offer);
        assert_eq!(status(&mut rig, Pbx, client), Some(expected));
    }
    // Another trunk knows no such dialog.
    let foreign = rig.carrier.offer();
    let client = pick_up(&mut rig, Carrier, &replaces, Some(foreign));
    assert_eq!(status(&mut rig, Carrier, client), Some(481));
    assert!(rig.pbx.cancelled.is_empty());
    rig.accept(Pbx, id, &asked);
    assert_eq!(rig.last_status(Carrier), 200, "positive control: it rang on");
    rig.hang_up(Carrier);
    assert_eq!(rig.finish().len(), 5);

    // A caller that made no offer has none to answer.
    let mut rig = Rig::new("picked-up-late");
    let invite = rig.carrier.invite("+4930222", None);
    rig.place(Carrier, invite);
    let (id, _) = rig.invited(Pbx);
    let now = rig.now;
    let early = rig.pbx.answer(now, id, 180, None).unwrap();
    rig.turn();
    let replaces = rig.pbx.endpoint.replaces_of(early).unwrap().to_string();
    let client = pick_up(&mut rig, Pbx, &replaces, Some(offer));
    assert_eq!(status(&mut rig, Pbx, client), Some(488));
    rig.answer(Pbx, id, 486, None);
    assert_eq!(rig.finish().len(), 2);
}

#[test]
fn a_data_plane_that_fails_ends_both() {
    for stops in [false, true] {
        let mut rig = Rig::new("picked-up-plane");
        let (_, _, replaces) = ring(&mut rig, Pbx);
        rig.plane.stopped = stops;
        rig.plane.refuse_update = Some(abi::Reason::BadCommand).filter(|_| !stops);
        let offer = rig.pbx.offer();
        let client = pick_up(&mut rig, Pbx, &replaces, Some(offer));
        rig.seconds(3);
        rig.plane.stopped = false;
        assert_eq!(status(&mut rig, Pbx, client), Some(487));
        assert_eq!(rig.last_status(Carrier), 503);
        assert_eq!(rig.pbx.cancelled.len(), 1);
        let records = rig.finish();
        let codes: Vec<_> = records.iter().map(|record| record["code"].as_u64().unwrap()).collect();
        assert_eq!(codes, [487, 503]);
    }
}
