//! A side of a running call is replaced by an INVITE that names its dialog (Replaces, RFC 3891): who
//! may, what is refused, and what becomes of media, dialogs and records.

use std::collections::HashSet;

use sip::endpoint::ClientId;
use sip::wire::{HeaderName, Method, Replaces, Request, Uri};

use super::rig::{Carrier, Pbx, Rig, Who};

const BOTH: [Who; 2] = [Carrier, Pbx];

/// How a peer names its own dialog to the gateway.
fn named(rig: &mut Rig, who: Who) -> Replaces {
    let peer = rig.peer(who);
    let dialog = peer.dialog.expect("there is a dialog");
    peer.endpoint.replaces_of(dialog).expect("the dialog lives")
}

/// An INVITE of a peer's trunk for this place.
fn invite(rig: &mut Rig, who: Who, replaces: &str, offer: Option<String>) -> ClientId {
    let mut invite = rig.peer(who).invite("anybody", offer);
    invite.headers.push(HeaderName::Replaces, replaces.to_owned());
    rig.place(who, invite)
}

/// The same with the peer's usual offer, for the place of its own last dialog.
fn take_over(rig: &mut Rig, who: Who) -> ClientId {
    let (replaces, offer) = (named(rig, who).to_string(), rig.peer(who).offer());
    invite(rig, who, &replaces, Some(offer))
}

fn status(rig: &mut Rig, who: Who, client: ClientId) -> u16 {
    let responses = rig.peer(who).responses.iter().rev();
    let found =
        responses.clone().find(|(of, response)| *of == client && response.status.is_final());
    found.expect("a final answer came").1.status.code()
}

#[test]
fn whoever_names_the_dialog_of_a_side_takes_its_place() {
    for caller in BOTH {
        for who in BOTH {
            let mut rig = Rig::new("replaced");
            rig.talk(caller);
            let before = rig.plane.updates.len();
            let client = take_over(&mut rig, who);
            assert_eq!(status(&mut rig, who, client), 200, "{caller:?} called, {who:?} comes");
            assert_eq!(rig.peer(who).byes, 1, "who was there is sent away");
            assert_eq!(rig.peer(who).live.len(), 1);
            let other = who.other();
            assert_eq!(rig.peer(other).byes, 0);
            assert!(rig.peer(other).asked.is_empty(), "the other side's media is what it was");
            assert_eq!(rig.plane.updates.len(), before + 2, "both ways are told once");
            assert!(rig.plane.updates[before..].iter().all(|way| way.relay));
            // The one who stays has its key; who comes has one that was never used.
            let keys = |updates: &[abi::Update]| -> HashSet<String> {
                updates.iter().filter_map(|way| way.protect.clone()).map(fingerprint).collect()
            };
            let (old, new) =
                (keys(&rig.plane.updates[..before]), keys(&rig.plane.updates[before..]));
            assert_eq!(new.is_disjoint(&old), who == Pbx, "{caller:?} {who:?}");

            // It is a call as any other: who stays may hold, who came may hang up.
            let held = rig.peer(other).offer().replace("sendrecv", "sendonly");
            rig.ask(other, Method::Invite, Some(held.replace("9977 1", "9977 2")));
            assert_eq!(rig.last_status(other), 200);
            rig.hang_up(who);
            assert_eq!(rig.peer(other).byes, 1);
            let records = rig.finish();
            let [first, second] = records.as_slice() else { panic!("{records:?}") };
            assert_eq!(first["replaced_by"], second["id"]);
            assert_eq!(second["replaces"], first["id"]);
            let (name, stays) = if who == Pbx { ("pbx", "carrier") } else { ("carrier", "pbx") };
            assert_eq!((&second["from_trunk"], &second["to_trunk"]), (&name.into(), &stays.into()));
            assert_eq!((&first["ended_by"], &first["code"]), (&"gateway".into(), &200.into()));
            assert_eq!((&second["ended_by"], &second["code"]), (&"caller".into(), &200.into()));
            assert!(first["end"].as_str() <= second["answer"].as_str(), "{first} {second}");
            let suites = |record: &serde_json::Value| {
                [&record["caller_suite"], &record["callee_suite"]].map(serde_json::Value::is_null)
            };
            assert_eq!(suites(first), [caller == Carrier, caller == Pbx]);
            assert_eq!(suites(second), [who == Carrier, who == Pbx]);
        }
    }
}

/// A key, told apart from others.
fn fingerprint(key: abi::Key) -> String {
    let (secret, salt) = (key.key(), key.salt());
    secret.iter().chain(salt).map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_place_may_be_taken_again_and_again() {
    for caller in BOTH {
        let mut rig = Rig::new("replaced-again");
        rig.talk(caller);
        for round in 1..=5 {
            for who in BOTH {
                let client = take_over(&mut rig, who);
                assert_eq!(status(&mut rig, who, client), 200);
                assert_eq!(rig.peer(who).byes, round);
            }
        }
        rig.hang_up(Carrier);
        assert_eq!(rig.finish().len(), 11);
    }
}

#[test]
fn media_is_counted_for_each_record_by_itself() {
    let mut rig = Rig::new("replaced-counts");
    rig.talk(Carrier);
    for (flow, packets) in rig.plane.all_flows().into_iter().zip([10, 20]) {
        rig.plane.receive(flow, packets);
    }
    // The callee's side is replaced: it is the caller then.
    take_over(&mut rig, Pbx);
    for (flow, packets) in rig.plane.all_flows().into_iter().zip([1, 2]) {
        rig.plane.receive(flow, packets);
    }
    rig.hang_up(Pbx);
    let records = rig.finish();
    let counts = |record: &serde_json::Value| {
        ["forward", "backward"].map(|way| record[way]["packets"].as_u64().unwrap())
    };
    assert_eq!(counts(&records[0]), [10, 20]);
    assert_eq!(counts(&records[1]), [2, 1]);
}

#[test]
fn only_a_dialog_of_the_trunk_can_be_named() {
    let mut rig = Rig::new("replaced-unknown");
    rig.talk(Carrier);
    let own = named(&mut rig, Carrier);
    let theirs = named(&mut rig, Pbx);
    let with = |change: fn(&mut Replaces)| {
        let mut changed = own.clone();
        change(&mut changed);
        changed.to_string()
    };
    for (replaces, expected) in [
        (with(|own| own.call_id = "other".into()), 481),
        (with(|own| own.to_tag = "other".into()), 481),
        (with(|own| own.from_tag = "other".into()), 481),
        (with(|own| own.from_tag = "0".into()), 481),
        (with(|own| std::mem::swap(&mut own.to_tag, &mut own.from_tag)), 481),
        // Another trunk's, which is there.
        (theirs.to_string(), 481),
        (with(|own| own.early_only = true), 486),
        (format!("{own}, {own}"), 400),
        (String::from("nonsense"), 400),
        (own.to_string().replace("to-tag", "x-tag"), 400),
    ] {
        let offer = rig.carrier.offer();
        let client = invite(&mut rig, Carrier, &replaces, Some(offer));
        assert_eq!(status(&mut rig, Carrier, client), expected, "{replaces}");
    }
    let mut twice = rig.carrier.invite("anybody", None);
    for _ in 0..2 {
        twice.headers.push(HeaderName::Replaces, own.to_string());
    }
    let client = rig.place(Carrier, twice);
    assert_eq!(status(&mut rig, Carrier, client), 400);
    assert_eq!((rig.carrier.byes, rig.pbx.byes), (0, 0), "nothing happened to the call");
    // Positive control: the very dialog that was named wrongly.
    let client = take_over(&mut rig, Carrier);
    assert_eq!(status(&mut rig, Carrier, client), 200);
    rig.hang_up(Carrier);
    assert_eq!(rig.finish().len(), 13);
}

#[test]
fn only_an_invite_replaces() {
    let mut rig = Rig::new("replaced-method");
    rig.talk(Carrier);
    let own = named(&mut rig, Carrier).to_string();
    let replaces = (HeaderName::Replaces, own.clone().into());
    rig.ask_with(Carrier, Method::Options, vec![replaces], None);
    assert_eq!(rig.last_status(Carrier), 400);
    let uri = Uri::parse(b"sip:192.0.2.1").unwrap();
    let mut options = Request::new(Method::Options, uri);
    options.headers.push(HeaderName::From, "<sip:a@b.example>");
    options.headers.push(HeaderName::To, "<sip:192.0.2.1>");
    options.headers.push(HeaderName::Replaces, own);
    rig.place(Carrier, options.clone());
    assert_eq!(rig.last_status(Carrier), 400);
    options.headers.remove(&HeaderName::Replaces);
    rig.place(Carrier, options);
    let answer = rig.last_response(Carrier);
    assert_eq!(answer.status.code(), 200, "positive control");
    assert!(answer.headers.has_token(&HeaderName::Supported, "replaces"));
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn an_early_dialog_is_not_taken_and_one_that_ended_is_declined() {
    let mut rig = Rig::new("replaced-early");
    rig.call(Carrier);
    let (id, asked) = rig.invited(Pbx);
    rig.answer(Pbx, id, 180, None);
    let early = rig.carrier.early.unwrap();
    // We did not begin it (RFC 3891 §3).
    let begun_by_peer = rig.carrier.endpoint.replaces_of(early).unwrap().to_string();
    let offer = rig.carrier.offer();
    let client = invite(&mut rig, Carrier, &begun_by_peer, Some(offer));
    assert_eq!(status(&mut rig, Carrier, client), 481);
    rig.accept(Pbx, id, &asked);
    assert_eq!(rig.last_status(Carrier), 200);

    // The call ends; its BYE is on its way to a peer that does not hear it.
    let own = named(&mut rig, Pbx).to_string();
    rig.lose = Some(|who, to_peer, bytes| who == Pbx && to_peer && bytes.starts_with(b"BYE"));
    rig.hang_up(Carrier);
    let offer = rig.pbx.offer();
    let client = invite(&mut rig, Pbx, &own, Some(offer));
    assert_eq!(status(&mut rig, Pbx, client), 603);
    rig.lose = None;
    rig.seconds(40);
    rig.pbx.live.clear();
    let (now, dialog) = (rig.now, rig.pbx.dialog.unwrap());
    rig.pbx.hang_up(now, dialog);
    let offer = rig.pbx.offer();
    let client = invite(&mut rig, Pbx, &own, Some(offer));
    assert_eq!(status(&mut rig, Pbx, client), 481, "and it is forgotten in the end");
    assert_eq!(rig.finish().len(), 4);
}

#[test]
fn who_comes_to_a_held_call_resumes_it() {
    let mut rig = Rig::new("replaced-held");
    rig.talk(Carrier);
    let held = rig.pbx.offer().replace("sendrecv", "sendonly").replace("9977 1", "9977 2");
    rig.ask(Pbx, Method::Invite, Some(held));
    assert_eq!(rig.last_status(Pbx), 200);
    rig.asked_inside(Carrier);
    rig.carrier.hesitates = true;
    let client = take_over(&mut rig, Pbx);
    let (id, asked) = rig.asked_inside(Carrier);
    assert!(
        String::from_utf8_lossy(&asked.body).contains("a=sendrecv"),
        "the other is asked first"
    );
    assert_eq!(rig.pbx.byes, 0, "and nobody has gone yet");
    rig.accept(Carrier, id, &asked);
    assert_eq!(status(&mut rig, Pbx, client), 200);
    assert_eq!(rig.pbx.byes, 1);
    let last = &rig.plane.updates[rig.plane.updates.len() - 2..];
    assert!(last.iter().all(|way| way.relay), "both ways are open");
    rig.hang_up(Carrier);
    let records = rig.finish();
    assert_eq!(records[1]["ended_by"], "callee");
}

#[test]
fn who_gives_up_while_the_other_side_is_asked_leaves_the_call_as_it_was() {
    let mut rig = Rig::new("replaced-cancelled");
    rig.talk(Carrier);
    let held = rig.pbx.offer().replace("sendrecv", "sendonly").replace("9977 1", "9977 2");
    rig.ask(Pbx, Method::Invite, Some(held));
    rig.asked_inside(Carrier);
    rig.carrier.hesitates = true;
    let (replaces, offer) = (named(&mut rig, Pbx).to_string(), rig.pbx.offer());
    let client = invite(&mut rig, Pbx, &replaces, Some(offer.clone()));
    let (id, asked) = rig.asked_inside(Carrier);
    // Another one has to wait, and the first gives up.
    let second = invite(&mut rig, Pbx, &replaces, Some(offer));
    assert_eq!(status(&mut rig, Pbx, second), 500);
    rig.seconds(1);
    rig.cancel(Pbx, client);
    rig.turn();
    assert_eq!(status(&mut rig, Pbx, client), 487);
    rig.accept(Carrier, id, &asked);
    assert_eq!((rig.carrier.byes, rig.pbx.byes), (0, 0));
    rig.hang_up(Pbx);
    let records = rig.finish();
    let codes: Vec<_> = records.iter().map(|record| record["code"].as_u64().unwrap()).collect();
    assert_eq!(codes, [500, 487, 200]);
}

#[test]
fn who_comes_without_an_offer_answers_ours() {
    for caller in BOTH {
        for is_usable in [true, false] {
            let mut rig = Rig::new("replaced-late");
            rig.talk(caller);
            for who in BOTH {
                rig.peer(who).mute = who == Pbx;
            }
            let replaces = named(&mut rig, Pbx).to_string();
            let client = invite(&mut rig, Pbx, &replaces, None);
            assert_eq!(status(&mut rig, Pbx, client), 200);
            let ours = rig.last_response(Pbx).body;
            let answer = match is_usable {
                true => rig.pbx.accept(&ours),
                false => rig.pbx.accept(&ours).replace("RTP/SAVP", "RTP/AVP"),
            };
            let before = rig.plane.updates.len();
            let (now, body) = (rig.now, Some((super::peer::SDP, answer.into())));
            let last = replaces_of_last(&mut rig);
            let dialog = rig.pbx.endpoint.named(&last).unwrap().dialog;
            rig.pbx.endpoint.ack(now, dialog, body).unwrap();
            rig.pbx.dialog = Some(dialog);
            rig.pbx.live.insert(dialog);
            rig.turn();
            if is_usable {
                assert_eq!(rig.plane.updates.len(), before + 2);
                rig.hang_up(Pbx);
            }
            let records = rig.finish();
            assert_eq!(records[1]["code"], if is_usable { 200 } else { 488 });
            assert_eq!(records[0]["replaced_by"], records[1]["id"]);
        }
    }
}

/// The dialog of the pbx's last INVITE, from its own side.
fn replaces_of_last(rig: &mut Rig) -> Replaces {
    let response = rig.last_response(Pbx);
    let (from, to) = (response.headers.from().unwrap(), response.headers.to().unwrap());
    Replaces {
        call_id: response.headers.call_id().unwrap(),
        to_tag: from.tag().unwrap().clone(),
        from_tag: to.tag().unwrap().clone(),
        early_only: false,
    }
}

#[test]
fn what_cannot_be_agreed_to_or_admitted_leaves_the_call_as_it_was() {
    let mut rig = Rig::with("replaced-refused", "max_inbound_calls = 1", "", "");
    rig.talk(Carrier);
    let own = named(&mut rig, Pbx).to_string();
    for (change, expected) in [
        (("RTP/SAVP", "RTP/AVP"), 488),
        (("m=audio", "m=video"), 488),
        (("SAVP 8 0", "SAVP 99"), 488),
        (("v=0", "v=x"), 400),
    ] {
        let offer = rig.pbx.offer().replace(change.0, change.1);
        let client = invite(&mut rig, Pbx, &own, Some(offer));
        assert_eq!(status(&mut rig, Pbx, client), expected, "{change:?}");
    }
    let mut demanding = rig.pbx.invite("anybody", None);
    demanding.headers.push(HeaderName::Replaces, own.clone());
    demanding.headers.push(HeaderName::Require, "replaces, canary");
    let client = rig.place(Pbx, demanding);
    assert_eq!(status(&mut rig, Pbx, client), 420);
    // The carrier has as many calls as it may have.
    let client = take_over(&mut rig, Carrier);
    assert_eq!(status(&mut rig, Carrier, client), 503);
    assert_eq!((rig.carrier.byes, rig.pbx.byes), (0, 0));
    rig.hang_up(Pbx);
    assert_eq!(rig.finish().len(), 7);
}

#[test]
fn nobody_takes_a_place_without_the_proof_that_the_trunk_demands() {
    let challenge = "incoming_call_policy = \"challenge\"\ninbound_username = \"u\"\n\
                     inbound_password = \"p\"\n";
    let mut rig = Rig::with("replaced-challenge", "", challenge, "");
    rig.talk(Carrier);
    let client = take_over(&mut rig, Pbx);
    assert_eq!(status(&mut rig, Pbx, client), 401);
    assert_eq!((rig.carrier.byes, rig.pbx.byes), (0, 0));
    rig.attempts -= 1;
    rig.hang_up(Carrier);
    rig.finish_one(200);
    // Nor where the trunk takes no calls at all.
    for closed in ["incoming_call_policy = \"reject\"", "direction = \"outbound\""] {
        let mut rig = Rig::with("replaced-closed", "", closed, "");
        rig.talk(Carrier);
        let client = take_over(&mut rig, Pbx);
        assert_eq!(status(&mut rig, Pbx, client), 403, "{closed}");
        rig.hang_up(Carrier);
        assert_eq!(rig.finish().len(), 2);
    }
}

#[test]
fn a_data_plane_that_refuses_ends_the_call_and_both_records() {
    for stops in [false, true] {
        let mut rig = Rig::new("replaced-plane");
        rig.talk(Carrier);
        rig.plane.stopped = stops;
        rig.plane.refuse_update = Some(abi::Reason::BadCommand).filter(|_| !stops);
        let client = take_over(&mut rig, Pbx);
        rig.seconds(3);
        rig.plane.stopped = false;
        assert_eq!(status(&mut rig, Pbx, client), 487);
        assert_eq!((rig.carrier.byes, rig.pbx.byes), (1, 1));
        let records = rig.finish();
        let codes: Vec<_> = records.iter().map(|record| record["code"].as_u64().unwrap()).collect();
        assert_eq!(codes, [487, 503]);
    }
}

#[test]
fn what_who_was_replaced_still_says_does_nothing() {
    let mut rig = Rig::new("replaced-old");
    rig.talk(Carrier);
    let old = rig.pbx.dialog.unwrap();
    // Its BYE does not reach it.
    rig.lose = Some(|who, to_peer, bytes| who == Pbx && to_peer && bytes.starts_with(b"BYE"));
    take_over(&mut rig, Pbx);
    let (now, offer) = (rig.now, rig.pbx.offer().into());
    let body = Some((super::peer::SDP, offer));
    let updates = rig.plane.updates.len();
    rig.pbx.endpoint.request_in_dialog(now, old, Method::Invite, vec![], body).unwrap();
    rig.turn();
    assert_eq!(rig.last_status(Pbx), 481);
    assert_eq!(rig.plane.updates.len(), updates);
    let now = rig.now;
    rig.pbx.hang_up(now, old);
    rig.turn();
    assert_eq!(rig.carrier.byes, 0, "the call goes on");
    rig.lose = None;
    rig.hang_up(Pbx);
    assert_eq!(rig.carrier.byes, 1);
    assert_eq!(rig.finish().len(), 2);
}
