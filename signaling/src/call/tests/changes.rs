//! Changes of a running call: hold, another address, another key, and who is asked first.

use abi::Update;
use sip::wire::{HeaderName, Method};

use super::rig::{Carrier, Pbx, Rig, Who};

const BOTH: [Who; 2] = [Carrier, Pbx];

fn text(body: &[u8]) -> String {
    String::from_utf8(body.to_vec()).unwrap()
}

/// What a peer offers, in this direction and version.
fn offer(rig: &mut Rig, who: Who, direction: &str) -> String {
    rig.peer(who).offer().replace("sendrecv", direction).replace("9977 1", "9977 2")
}

/// The last configuration of both ways: from this peer, and to it.
fn ways(rig: &Rig, who: Who) -> [Update; 2] {
    let count = rig.plane.updates.len();
    let last = &rig.plane.updates[count - 2..];
    // The carrier is plain: what comes from it has no key.
    let from = last.iter().find(|way| way.unprotect.is_none() == (who == Carrier)).unwrap();
    let to = last.iter().find(|way| way.flow != from.flow).unwrap();
    [from.clone(), to.clone()]
}

#[test]
fn a_description_that_changes_nothing_is_answered_as_before() {
    for who in BOTH {
        let mut rig = Rig::new("refresh");
        rig.talk(who);
        let first = rig.last_response(who).body;
        let [from, to] = ways(&rig, who);
        let offer = rig.peer(who).offer();
        rig.ask(who, Method::Invite, Some(offer));
        assert_eq!(rig.last_status(who), 200);
        assert_eq!(text(&rig.last_response(who).body), text(&first), "{who:?}: to the letter");
        assert!(rig.peer(who.other()).asked.is_empty(), "the other side is not asked");
        let [again, back] = ways(&rig, who);
        assert_eq!((from.protect, from.unprotect), (again.protect, again.unprotect));
        assert_eq!((to.protect, to.unprotect), (back.protect, back.unprotect));
        rig.hang_up(who);
        rig.finish_one(200);
    }
}

#[test]
fn hold_and_resume_reach_the_other_side_and_the_data_plane() {
    for caller in BOTH {
        for who in BOTH {
            let mut rig = Rig::new("hold");
            rig.talk(caller);
            let other = who.other();
            let held = offer(&mut rig, who, "sendonly");
            rig.peer(other).hesitates = true;
            rig.ask(who, Method::Invite, Some(held));
            let (id, asked) = rig.asked_inside(other);
            let body = text(&asked.body);
            assert!(body.contains("a=sendonly"), "{body}");
            let keys = body.matches("a=crypto").count();
            assert_eq!(keys, usize::from(other == Pbx), "the suite that stands, alone: {body}");
            let answer = rig.peer(other).accept(&asked.body).replace("sendrecv", "recvonly");
            rig.answer(other, id, 200, Some(answer));
            assert_eq!(rig.last_status(who), 200);
            assert!(text(&rig.last_response(who).body).contains("a=recvonly"));
            let [from, to] = ways(&rig, who);
            assert!(from.relay && !to.relay, "{caller:?} calls, {who:?} holds");
            assert_eq!(to.timeout_ms, 300_000, "hold has its own patience");

            let resumed = offer(&mut rig, who, "sendrecv").replace("9977 2", "9977 3");
            rig.ask(who, Method::Invite, Some(resumed));
            let (id, asked) = rig.asked_inside(other);
            assert!(text(&asked.body).contains("a=sendrecv"));
            rig.accept(other, id, &asked);
            assert!(text(&rig.last_response(who).body).contains("a=sendrecv"));
            let [from, to] = ways(&rig, who);
            assert!(from.relay && to.relay);
            rig.hang_up(who);
            rig.finish_one(200);
        }
    }
}

/// Lines that a side offered and we refused are in each offer of ours to it (RFC 3264 §8).
#[test]
fn a_side_with_video_is_offered_as_many_lines_as_it_has() {
    for who in BOTH {
        let mut rig = Rig::new("lines");
        let profile = if who == Pbx { "RTP/SAVP" } else { "RTP/AVP" };
        let refused = format!("m=video 0 {profile} 99\r\n");
        let video = refused.replace(" 0 ", " 7400 ") + "a=rtpmap:99 H264/90000\r\n";
        let offer = rig.peer(who).offer() + &video;
        rig.call_with(who, "+4930222", Some(offer));
        let (id, invite) = rig.invited(who.other());
        rig.accept(who.other(), id, &invite);
        rig.peer(who).hesitates = true;
        let held = self::offer(&mut rig, who.other(), "sendonly");
        rig.ask(who.other(), Method::Invite, Some(held));
        let (id, asked) = rig.asked_inside(who);
        let body = text(&asked.body);
        assert!(body.ends_with(&refused) && body.contains("a=sendonly"), "{body}");
        let answer = rig.peer(who).accept(&asked.body).replace("sendrecv", "recvonly") + &refused;
        rig.answer(who, id, 200, Some(answer));
        assert_eq!(rig.last_status(who.other()), 200);
        let [from, to] = ways(&rig, who.other());
        assert!(from.relay && !to.relay);
        rig.hang_up(who);
        rig.finish_one(200);
    }
}

#[test]
fn a_hold_is_written_as_the_other_sides_trunk_wants_it() {
    for (style, said, written) in [
        ("as_is", "sendonly", "sendonly"),
        ("as_is", "inactive", "inactive"),
        ("inactive", "sendonly", "inactive"),
        ("sendonly", "inactive", "sendonly"),
    ] {
        let mut rig = Rig::with("hold-style", "", &format!("hold_style = \"{style}\"\n"), "");
        rig.talk(Carrier);
        let describe = |rig: &mut Rig, said: &str, version: u32| {
            rig.pbx.hesitates = true;
            let body = rig.carrier.offer().replace("sendrecv", said);
            let body = body.replace("9977 1", &format!("9977 {version}"));
            rig.ask(Carrier, Method::Invite, Some(body));
            let (id, asked) = rig.asked_inside(Pbx);
            let (ours, theirs) = match said {
                "sendrecv" => ("sendrecv", "sendrecv"),
                _ => (written, if written == "sendonly" { "recvonly" } else { "inactive" }),
            };
            let body = text(&asked.body);
            assert!(body.contains(&format!("a={ours}\r\n")), "{style} {said}: {body}");
            let answer = rig.pbx.accept(&asked.body).replace("sendrecv", theirs);
            rig.answer(Pbx, id, 200, Some(answer));
            assert_eq!(rig.last_status(Carrier), 200);
        };
        describe(&mut rig, said, 2);
        let [_, to] = ways(&rig, Carrier);
        assert!(!to.relay, "{style} {said}: nothing goes to who holds");
        describe(&mut rig, "sendrecv", 3);
        let [from, to] = ways(&rig, Carrier);
        assert!(from.relay && to.relay, "{style} {said}: and back");
        rig.hang_up(Carrier);
        rig.finish_one(200);
    }
}

#[test]
fn versions_of_our_descriptions_count_changes() {
    let version = |body: &[u8]| -> u64 {
        let line = text(body).lines().find(|line| line.starts_with("o=")).unwrap().to_owned();
        line.split(' ').nth(2).unwrap().parse().unwrap()
    };
    let mut rig = Rig::new("versions");
    rig.talk(Carrier);
    let first = version(&rig.last_response(Carrier).body);
    for (direction, more) in [("sendonly", 1), ("sendonly", 1), ("sendrecv", 2)] {
        let body = offer(&mut rig, Carrier, direction);
        rig.ask(Carrier, Method::Invite, Some(body));
        assert_eq!(version(&rig.last_response(Carrier).body), first + more);
    }
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn a_hold_that_the_other_side_refuses_is_kept_by_the_data_plane() {
    let mut rig = Rig::new("hold-refused");
    rig.talk(Carrier);
    rig.pbx.hesitates = true;
    let held = offer(&mut rig, Carrier, "sendonly");
    rig.ask(Carrier, Method::Invite, Some(held));
    let (id, _) = rig.asked_inside(Pbx);
    rig.answer(Pbx, id, 488, None);
    assert_eq!(rig.last_status(Carrier), 200);
    assert!(text(&rig.last_response(Carrier).body).contains("a=recvonly"));
    let [from, to] = ways(&rig, Carrier);
    assert!(from.relay && !to.relay);
    rig.hang_up(Pbx);
    rig.finish_one(200);
}

#[test]
fn a_side_that_forgot_the_call_ends_it() {
    for status in [481, 408] {
        let mut rig = Rig::new("hold-lost");
        rig.talk(Carrier);
        rig.pbx.hesitates = true;
        let held = offer(&mut rig, Carrier, "inactive");
        rig.ask(Carrier, Method::Invite, Some(held));
        let (id, _) = rig.asked_inside(Pbx);
        rig.answer(Pbx, id, status, None);
        assert_eq!(rig.carrier.byes, 1);
        let record = rig.finish_one(481);
        assert_eq!(record["ended_by"], "gateway");
    }
}

#[test]
fn one_change_runs_at_a_time() {
    let mut rig = Rig::new("glare");
    rig.talk(Carrier);
    rig.pbx.hesitates = true;
    let held = offer(&mut rig, Carrier, "sendonly");
    rig.ask(Carrier, Method::Invite, Some(held));
    let (id, asked) = rig.asked_inside(Pbx);
    // The other side answers 491 because it asks for something itself; whoever asked waits.
    rig.answer(Pbx, id, 491, None);
    assert_eq!(rig.last_status(Carrier), 491);
    let update = offer(&mut rig, Carrier, "sendonly");
    rig.ask(Carrier, Method::Invite, Some(update.clone()));
    let (id, _) = rig.asked_inside(Pbx);
    let theirs = offer(&mut rig, Pbx, "sendonly");
    rig.ask(Pbx, Method::Update, Some(theirs));
    assert_eq!(rig.last_status(Pbx), 491);
    rig.accept(Pbx, id, &asked);
    assert_eq!(rig.last_status(Carrier), 200);
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn who_hangs_up_during_a_change_leaves_nobody_waiting() {
    for who in BOTH {
        let mut rig = Rig::new("hold-bye");
        rig.talk(Carrier);
        rig.pbx.hesitates = true;
        let held = offer(&mut rig, Carrier, "sendonly");
        rig.ask(Carrier, Method::Invite, Some(held));
        let (id, asked) = rig.asked_inside(Pbx);
        rig.hang_up(who);
        // The answer crosses the BYE.
        let body = rig.pbx.accept(&asked.body);
        rig.answer(Pbx, id, 200, Some(body));
        assert!(rig.statuses(Carrier).contains(&487));
        rig.finish_one(200);
    }
}

#[test]
fn another_address_and_another_key_change_one_side_alone() {
    let mut rig = Rig::new("moved");
    rig.talk(Carrier);
    let [before, _] = ways(&rig, Pbx);
    let moved = offer(&mut rig, Pbx, "sendrecv")
        .replace("audio 7000", "audio 7100")
        .replace("inline:WVNf", "inline:XVNf");
    rig.ask(Pbx, Method::Invite, Some(moved));
    assert_eq!(rig.last_status(Pbx), 200);
    assert!(rig.carrier.asked.is_empty());
    let [from, to] = ways(&rig, Pbx);
    assert_eq!(from.source_rtp, Some("198.51.100.77:7100".parse().unwrap()));
    assert_eq!(to.destination_rtp, Some("198.51.100.77:7100".parse().unwrap()));
    assert_ne!(from.unprotect, before.unprotect, "its new key");
    let kept = &rig.plane.updates[..2];
    assert!(kept.iter().any(|way| way.protect == to.protect), "our key stays");
    rig.hang_up(Pbx);
    rig.finish_one(200);
}

#[test]
fn who_asks_without_an_offer_is_offered_what_there_is() {
    for who in BOTH {
        let mut rig = Rig::new("offerless");
        rig.talk(Carrier);
        rig.peer(who).mute = true;
        rig.ask(who, Method::Invite, None);
        assert_eq!(rig.last_status(who), 200);
        let ours = rig.last_response(who).body;
        assert!(text(&ours).contains("a=sendrecv"));
        let answer = rig.peer(who).accept(&ours).replace("sendrecv", "inactive");
        let now = rig.now;
        let dialog = rig.peer(who).dialog.unwrap();
        let body = Some((super::peer::SDP, answer.into()));
        rig.peer(who).endpoint.ack(now, dialog, body).unwrap();
        rig.turn();
        let (_, told) = rig.asked_inside(who.other());
        assert!(text(&told.body).contains("a=inactive"), "the other side is told");
        let [from, to] = ways(&rig, who);
        assert!(!from.relay && !to.relay);
        rig.hang_up(who);
        rig.finish_one(200);
    }
}

#[test]
fn what_cannot_be_agreed_to_leaves_the_call_as_it_was() {
    let mut rig = Rig::new("refused-change");
    rig.talk(Carrier);
    let updates = rig.plane.updates.len();
    for broken in ["RTP/SAVP 8", "RTP/AVP 99"] {
        let body = offer(&mut rig, Carrier, "sendrecv").replace("RTP/AVP 8 0", broken);
        rig.ask(Carrier, Method::Invite, Some(body));
        let response = rig.last_response(Carrier);
        assert_eq!(response.status.code(), 488);
        assert!(response.headers.get(&HeaderName::Warning).is_some());
    }
    let plain = offer(&mut rig, Pbx, "sendrecv").replace("RTP/SAVP", "RTP/AVP");
    rig.ask(Pbx, Method::Invite, Some(plain));
    assert_eq!(rig.last_status(Pbx), 488, "never plain on a secure trunk");
    assert_eq!(rig.plane.updates.len(), updates);
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn a_change_that_the_data_plane_refuses_ends_the_call() {
    let mut rig = Rig::new("change-refused");
    rig.talk(Carrier);
    rig.plane.refuse_update = Some(abi::Reason::BadCommand);
    let body = offer(&mut rig, Carrier, "sendrecv");
    rig.ask(Carrier, Method::Invite, Some(body));
    assert_eq!((rig.carrier.byes, rig.pbx.byes), (1, 1));
    rig.finish_one(503);
}

#[test]
fn a_data_plane_that_does_not_answer_a_change_ends_the_call() {
    let mut rig = Rig::new("change-stuck");
    rig.talk(Carrier);
    rig.plane.stopped = true;
    let body = offer(&mut rig, Carrier, "sendrecv");
    rig.ask(Carrier, Method::Invite, Some(body));
    assert_eq!(rig.carrier.byes, 0);
    rig.seconds(3);
    rig.plane.stopped = false;
    assert_eq!((rig.carrier.byes, rig.pbx.byes), (1, 1));
    rig.finish_one(503);
}
