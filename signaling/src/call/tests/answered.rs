//! Calls that are answered, what passes in them, and how they end.

use sip::wire::Method;

use super::peer::message;
use super::rig::{CARRIER, Carrier, DELAY, PBX, Pbx, Rig, Who};

/// Calls in both directions: plain to secure and secure to plain.
const BOTH: [Who; 2] = [Carrier, Pbx];

#[test]
fn either_side_hangs_up() {
    for caller in BOTH {
        for (who, named) in [(caller, "caller"), (caller.other(), "callee")] {
            let mut rig = Rig::new("either-bye");
            rig.talk(caller);
            assert_eq!(rig.plane.open_flows(), 2);
            rig.seconds(10);
            rig.hang_up(who);
            assert_eq!(rig.peer(who.other()).byes, 1, "the other side is told once");
            assert_eq!(rig.peer(caller.other()).acks.len(), 1);
            assert!(rig.calls.is_empty(), "nothing is waited for");
            let record = rig.finish_one(200);
            assert_eq!(record["ended_by"], named);
            assert!(record["answer"].is_string());
        }
    }
}

#[test]
fn both_sides_hang_up_at_once() {
    let mut rig = Rig::new("both-bye");
    rig.talk(Carrier);
    for who in BOTH {
        let (now, peer) = (rig.now, rig.peer(who));
        let dialog = peer.dialog.unwrap();
        peer.hang_up(now, dialog);
    }
    rig.turn();
    assert!(rig.calls.is_empty());
    rig.finish_one(200);
}

#[test]
fn an_answered_call_holds_until_someone_hangs_up() {
    let mut rig = Rig::new("holds");
    rig.talk(Carrier);
    rig.seconds(3_600);
    assert_eq!(rig.calls.len(), 1);
    assert_eq!(rig.plane.open_flows(), 2);
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn each_way_has_its_keys_and_addresses() {
    for caller in BOTH {
        let mut rig = Rig::new("keys");
        let offer = rig.peer(caller).offer();
        rig.talk(caller);
        let answer = rig.last_response(caller).body;
        let answer = String::from_utf8(answer.to_vec()).unwrap();
        let forward = rig.plane.flow_at(port(&answer));
        let update = rig.plane.configured(forward).unwrap().clone();
        let back = rig.plane.configured(update.peer.unwrap()).unwrap().clone();
        assert_eq!(update.peer, Some(back.flow));
        assert_eq!(back.peer, Some(forward));
        for way in [&update, &back] {
            assert!(way.relay);
            assert_eq!(way.source_rtp, Some("198.51.100.77:7000".parse().unwrap()));
            assert_eq!(way.destination_rtp, Some("198.51.100.77:7000".parse().unwrap()));
            assert_eq!(way.source_rtcp, Some("198.51.100.77:7001".parse().unwrap()));
        }
        let secure = |way: &abi::Update| (way.unprotect.is_some(), way.protect.is_some());
        let (plain_in, secure_in) = ((false, true), (true, false));
        let expected = if offer.contains("SAVP") { secure_in } else { plain_in };
        assert_eq!(secure(&update), expected);
        assert_eq!(secure(&back), (expected.1, expected.0));
        rig.hang_up(caller);
        let record = rig.finish_one(200);
        let suite = "AES_CM_128_HMAC_SHA1_80";
        let named = if caller == Pbx { "caller_suite" } else { "callee_suite" };
        assert_eq!(record[named], suite);
    }
}

fn port(description: &str) -> u16 {
    let line = description.lines().find(|line| line.starts_with("m=audio")).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_record_counts_media_of_both_ways() {
    let mut rig = Rig::new("counts");
    rig.talk(Carrier);
    let answer = rig.last_response(Carrier).body;
    let forward = rig.plane.flow_at(port(std::str::from_utf8(&answer).unwrap()));
    rig.plane.receive(forward, 50);
    let backward = rig.plane.configured(forward).unwrap().peer.unwrap();
    rig.plane.receive(backward, 49);
    rig.hang_up(Carrier);
    let record = rig.finish_one(200);
    assert_eq!(record["forward"]["packets"], 50);
    assert_eq!(record["backward"]["packets"], 49);
}

#[test]
fn the_record_names_who_called_whom() {
    let mut rig = Rig::new("names");
    rig.talk(Carrier);
    rig.hang_up(Carrier);
    let record = rig.finish_one(200);
    assert_eq!(record["from_trunk"], "carrier");
    assert_eq!(record["to_trunk"], "pbx");
    assert_eq!(record["route"], "to the pbx");
    assert_eq!(record["caller"], "+4940111");
    assert_eq!(record["called"], "+4930222");
}

#[test]
fn a_delayed_offer_is_answered_by_the_ack() {
    for caller in BOTH {
        let mut rig = Rig::new("delayed");
        // The caller answers our offer, whichever tag its key has there.
        rig.peer(caller).mute = true;
        rig.call_with(caller, "+4930222", None);
        let (id, invite) = rig.invited(caller.other());
        assert!(invite.body.is_empty());
        let offer = rig.peer(caller.other()).offer();
        rig.answer(caller.other(), id, 200, Some(offer));
        assert_eq!(rig.last_status(caller), 200);
        assert!(rig.peer(caller.other()).acks.is_empty(), "the callee's ACK waits for the answer");
        let ours = rig.last_response(caller).body;
        let now = rig.now;
        let peer = rig.peer(caller);
        let (dialog, answer) = (peer.dialog.unwrap(), peer.accept(&ours));
        peer.endpoint.ack(now, dialog, Some((super::peer::SDP, answer.into()))).unwrap();
        rig.turn();
        let acks = &rig.peer(caller.other()).acks;
        assert_eq!(acks.len(), 1);
        assert!(acks[0].body.starts_with(b"v=0"), "the ACK carries the answer");
        assert_eq!(rig.plane.updates.len(), 2);
        assert!(rig.plane.updates.iter().all(|update| update.relay));
        rig.hang_up(caller.other());
        assert_eq!(rig.peer(caller).byes, 1);
        rig.finish_one(200);
    }
}

#[test]
fn a_trunk_that_wants_an_early_offer_gets_one_of_ours() {
    for rings_first in [false, true] {
        let fields = "offer_mode = \"force_early\"\nallow = [\"G722\", \"PCMA\"]\n";
        let mut rig = Rig::with("early-offer", "", fields, "");
        rig.carrier.mute = true;
        rig.call_with(Carrier, "+4930222", None);
        let (id, invite) = rig.invited(Pbx);
        let offer = String::from_utf8(invite.body.to_vec()).unwrap();
        assert!(offer.contains("RTP/SAVP 9 8 101") && offer.contains("a=crypto"), "{offer}");
        let answer = rig.pbx.accept(&invite.body);
        if rings_first {
            rig.answer(Pbx, id, 183, Some(answer));
            assert_eq!(rig.last_status(Carrier), 183);
            assert!(rig.last_response(Carrier).body.is_empty(), "it was asked nothing yet");
            rig.answer(Pbx, id, 200, None);
        } else {
            rig.answer(Pbx, id, 200, Some(answer));
        }
        assert_eq!(rig.last_status(Carrier), 200);
        assert!(rig.pbx.acks.is_empty(), "the callee's ACK waits for media");
        let ours = rig.last_response(Carrier).body;
        let text = String::from_utf8(ours.to_vec()).unwrap();
        assert!(text.contains("RTP/AVP 8\r\n"), "what the callee took: {text}");
        assert!(!text.contains("crypto"), "the carrier is plain: {text}");
        let now = rig.now;
        let (dialog, answer) = (rig.carrier.dialog.unwrap(), rig.carrier.accept(&ours));
        let body = Some((super::peer::SDP, answer.into()));
        rig.carrier.endpoint.ack(now, dialog, body).unwrap();
        rig.turn();
        assert_eq!(rig.pbx.acks.len(), 1);
        assert!(rig.pbx.acks[0].body.is_empty(), "it has answered already");
        assert_eq!(rig.plane.updates.len(), 2);
        assert!(rig.plane.updates.iter().all(|update| update.relay));
        let keyed = rig.plane.updates.iter().filter(|update| update.protect.is_some());
        assert_eq!(keyed.count(), 1, "toward the PBX alone");
        rig.hang_up(Pbx);
        assert_eq!(rig.carrier.byes, 1);
        rig.finish_one(200);
    }
}

#[test]
fn an_early_offer_of_ours_that_comes_to_nothing_ends_both_sides() {
    let fields = "offer_mode = \"force_early\"\n";
    // The callee answers with nothing, or the caller does.
    for silent in [Pbx, Carrier] {
        let mut rig = Rig::with("early-none", "", fields, "");
        rig.call_with(Carrier, "+4930222", None);
        let (id, invite) = rig.invited(Pbx);
        let answer = rig.pbx.accept(&invite.body);
        rig.answer(Pbx, id, 200, (silent == Carrier).then_some(answer));
        assert_eq!((rig.pbx.acks.len(), rig.pbx.byes), (1, 1), "{silent:?}");
        rig.finish_one(488);
    }
}

#[test]
fn a_delayed_offer_without_an_answer_ends_both_sides() {
    for body in [None, Some("not SDP".to_owned())] {
        let mut rig = Rig::new("delayed-none");
        rig.carrier.ack_body = body;
        rig.call_with(Carrier, "+4930222", None);
        let (id, _) = rig.invited(Pbx);
        let offer = rig.pbx.offer();
        rig.answer(Pbx, id, 200, Some(offer));
        assert_eq!((rig.carrier.byes, rig.pbx.byes), (1, 1));
        assert_eq!(rig.pbx.acks.len(), 1);
        let record = rig.finish_one(488);
        assert_eq!(record["ended_by"], "gateway");
    }
}

#[test]
fn a_callee_that_offers_nothing_usable_is_hung_up() {
    for late in [false, true] {
        let mut rig = Rig::new("no-answer");
        let offer = rig.carrier.offer();
        rig.call_with(Carrier, "+4930222", (!late).then_some(offer));
        let (id, _) = rig.invited(Pbx);
        // A plain description from a secure trunk.
        let plain = rig.carrier.offer();
        rig.answer(Pbx, id, 200, Some(plain));
        assert_eq!(rig.last_status(Carrier), 488);
        assert_eq!((rig.pbx.acks.len(), rig.pbx.byes), (1, 1));
        assert!(rig.plane.updates.is_empty());
        rig.finish_one(488);
    }
}

#[test]
fn a_callee_that_answers_without_a_description_is_hung_up() {
    for late in [false, true] {
        let mut rig = Rig::new("no-body");
        let offer = rig.carrier.offer();
        rig.call_with(Carrier, "+4930222", (!late).then_some(offer));
        let (id, _) = rig.invited(Pbx);
        rig.answer(Pbx, id, 200, None);
        assert_eq!(rig.last_status(Carrier), 488);
        assert_eq!((rig.pbx.acks.len(), rig.pbx.byes), (1, 1));
        rig.finish_one(488);
    }
}

#[test]
fn a_caller_that_never_acknowledges_ends_both_sides() {
    for late in [false, true] {
        let mut rig = Rig::new("no-ack");
        rig.carrier.mute = true;
        let offer = rig.carrier.offer();
        rig.call_with(Carrier, "+4930222", (!late).then_some(offer));
        let (id, invite) = rig.invited(Pbx);
        let body = if late { rig.pbx.offer() } else { rig.pbx.accept(&invite.body) };
        rig.answer(Pbx, id, 200, Some(body));
        rig.seconds(31);
        assert_eq!((rig.carrier.byes, rig.pbx.byes), (0, 0));
        rig.seconds(2);
        assert_eq!((rig.carrier.byes, rig.pbx.byes), (1, 1));
        let told = |start: &[u8]| {
            rig.told.iter().filter(|(who, bytes)| *who == Pbx && bytes.starts_with(start)).count()
        };
        assert_eq!((told(b"ACK"), told(b"BYE")), (1, 1), "a BYE comes after the ACK");
        let record = rig.finish_one(408);
        assert_eq!(record["ended_by"], "gateway");
    }
}

#[test]
fn a_callee_that_hangs_up_before_the_ack_ends_the_call_after_it() {
    let mut rig = Rig::new("callee-early");
    rig.carrier.mute = true;
    rig.call(Carrier);
    let (id, invite) = rig.invited(Pbx);
    rig.accept(Pbx, id, &invite);
    rig.hang_up(Pbx);
    assert_eq!(rig.carrier.byes, 0, "no BYE before the ACK (RFC 3261 §15)");
    let (now, dialog) = (rig.now, rig.carrier.dialog.unwrap());
    rig.carrier.endpoint.ack(now, dialog, None).unwrap();
    rig.turn();
    assert_eq!(rig.carrier.byes, 1);
    let record = rig.finish_one(200);
    assert_eq!(record["ended_by"], "callee");
}

#[test]
fn a_callee_that_hangs_up_while_media_is_connected_is_acknowledged() {
    let mut rig = Rig::new("callee-connecting");
    rig.call(Carrier);
    let (id, invite) = rig.invited(Pbx);
    rig.plane.stopped = true;
    rig.accept(Pbx, id, &invite);
    rig.hang_up(Pbx);
    assert_eq!(rig.last_status(Carrier), 480);
    rig.plane.stopped = false;
    rig.turn();
    let acks = rig.told.iter().filter(|(who, b)| *who == Pbx && b.starts_with(b"ACK"));
    assert_eq!(acks.count(), 1, "so that it stops repeating its answer");
    rig.finish_one(480);
}

#[test]
fn a_caller_that_hangs_up_before_its_ack_ends_the_call() {
    for late in [false, true] {
        let mut rig = Rig::new("caller-early");
        rig.carrier.mute = true;
        let offer = rig.carrier.offer();
        rig.call_with(Carrier, "+4930222", (!late).then_some(offer));
        let (id, invite) = rig.invited(Pbx);
        let body = if late { rig.pbx.offer() } else { rig.pbx.accept(&invite.body) };
        rig.answer(Pbx, id, 200, Some(body));
        rig.hang_up(Carrier);
        assert_eq!((rig.pbx.acks.len(), rig.pbx.byes), (1, 1));
        let record = rig.finish_one(200);
        assert_eq!(record["ended_by"], "caller");
    }
}

#[test]
fn what_we_do_not_know_inside_a_dialog_is_refused_and_the_call_goes_on() {
    for caller in BOTH {
        let mut rig = Rig::new("inside");
        rig.talk(caller);
        for who in BOTH {
            for (method, status) in [(Method::Message, 405), (Method::Options, 200)] {
                rig.ask(who, method, None);
                assert_eq!(rig.last_status(who), status);
            }
        }
        assert_eq!((rig.carrier.byes, rig.pbx.byes, rig.calls.len()), (0, 0, 1));
        assert_eq!(rig.plane.updates.len(), 2, "media is as it was");
        rig.hang_up(caller);
        rig.finish_one(200);
    }
}

#[test]
fn the_answer_waits_for_both_flows() {
    let mut rig = Rig::new("armed");
    rig.call(Carrier);
    let (id, invite) = rig.invited(Pbx);
    rig.plane.stopped = true;
    rig.accept(Pbx, id, &invite);
    assert!(rig.carrier.responses.is_empty() && rig.pbx.acks.is_empty());
    rig.plane.stopped = false;
    rig.turn();
    assert_eq!(rig.last_status(Carrier), 200);
    assert_eq!(rig.pbx.acks.len(), 1);
    rig.hang_up(Pbx);
    rig.finish_one(200);
}

#[test]
fn early_media_is_connected_before_the_answer_and_again_at_it() {
    for (caller, repeats) in BOTH.into_iter().flat_map(|who| [(who, false), (who, true)]) {
        let learns = "nat = \"COMEDIA\"";
        let mut rig = Rig::with("early", learns, learns, "");
        rig.call(caller);
        let callee = caller.other();
        let (id, invite) = rig.invited(callee);
        let body = rig.peer(callee).accept(&invite.body);
        rig.answer(callee, id, 183, Some(body.clone()));
        let early = rig.last_response(caller);
        assert_eq!(early.status.code(), 183);
        assert!(early.body.starts_with(b"v=0"));
        assert_eq!(rig.plane.updates.len(), 2);
        rig.seconds(20);
        rig.answer(callee, id, 200, repeats.then_some(body));
        let last = rig.last_response(caller);
        assert_eq!((last.status.code(), &last.body), (200, &early.body), "one answer a dialog");
        let [early @ .., forward, backward] = rig.plane.updates.as_slice() else { panic!("ways") };
        let same =
            [forward, backward].map(|way| abi::Update { token: early[0].token, ..way.clone() });
        assert_eq!(
            early, same,
            "the time to learn in begins at the answer, and nothing else changes"
        );
        assert!(early.iter().all(|way| way.learning.is_some()));
        rig.hang_up(callee);
        let record = rig.finish_one(200);
        assert!(record["ring"].is_string());
    }
}

#[test]
fn an_answer_right_after_early_media_waits_for_the_flows() {
    let mut rig = Rig::new("early-race");
    rig.call(Carrier);
    let (id, invite) = rig.invited(Pbx);
    rig.plane.stopped = true;
    let body = rig.pbx.accept(&invite.body);
    rig.answer(Pbx, id, 183, Some(body.clone()));
    rig.plane.stopped = false;
    rig.turn();
    rig.plane.stopped = true;
    // The second description is not connected yet, whatever the first one is.
    rig.answer(Pbx, id, 183, Some(body));
    rig.answer(Pbx, id, 200, None);
    assert_eq!(rig.statuses(Carrier), [183, 183]);
    rig.plane.stopped = false;
    rig.turn();
    assert_eq!(rig.last_status(Carrier), 200);
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn early_media_that_cannot_be_used_is_ringing_only() {
    let mut rig = Rig::new("early-bad");
    rig.call(Carrier);
    let (id, invite) = rig.invited(Pbx);
    let plain = rig.carrier.offer();
    rig.answer(Pbx, id, 183, Some(plain));
    let early = rig.last_response(Carrier);
    assert!(early.status.code() == 183 && early.body.is_empty());
    rig.accept(Pbx, id, &invite);
    assert_eq!(rig.last_status(Carrier), 200);
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn messages_that_cross_or_repeat_change_nothing() {
    let mut rig = Rig::new("repeat");
    rig.call(Carrier);
    let (id, invite) = rig.invited(Pbx);
    // The caller's ACK is lost for a while: our 200 is repeated, and acknowledged once.
    rig.lose = Some(|who, to_peer, bytes| who == Carrier && !to_peer && bytes.starts_with(b"ACK"));
    rig.accept(Pbx, id, &invite);
    rig.seconds(3);
    rig.lose = None;
    rig.seconds(10);
    let answers = rig.told.iter().filter(|(who, bytes)| {
        *who == Carrier && bytes.starts_with(b"SIP/2.0 200") && is_of(bytes, Method::Invite)
    });
    assert!(answers.count() >= 2);
    assert_eq!(rig.statuses(Carrier), [200]);
    rig.hang_up(Pbx);
    assert_eq!(rig.carrier.byes, 1);
    rig.finish_one(200);
}

fn is_of(bytes: &bytes::Bytes, method: Method) -> bool {
    message(bytes).headers().cseq().unwrap().method == method
}

#[test]
fn a_peer_that_is_gone_does_not_keep_the_call() {
    for gone in BOTH {
        let mut rig = Rig::new("gone");
        rig.talk(Carrier);
        rig.cut = Some(gone);
        rig.hang_up(gone.other());
        rig.seconds(40);
        assert!(rig.calls.is_empty());
        // The peer that is gone never learns of the end.
        rig.cut = None;
        let (now, peer) = (rig.now, rig.peer(gone));
        let dialog = peer.dialog.unwrap();
        peer.hang_up(now, dialog);
        rig.finish_one(200);
    }
}

#[test]
fn trunks_are_in_the_order_of_the_configuration() {
    let rig = Rig::new("order");
    assert_eq!(rig.gateway.trunks.get(CARRIER).unwrap().name, "carrier");
    assert_eq!(rig.gateway.trunks.get(PBX).unwrap().name, "pbx");
    assert!(DELAY < sip::transaction::Timers::default().t1);
}
