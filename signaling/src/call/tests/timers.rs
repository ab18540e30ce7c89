//! Session timers (RFC 4028): who refreshes, when, how, and what happens when nobody does.

use bytes::Bytes;
use sip::wire::{HeaderName, Headers, Method, Request};

use super::rig::{Carrier, Pbx, Rig, Who};

fn value(headers: &Headers, name: &HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
}

fn invite(rig: &mut Rig, who: Who, extra: &[(HeaderName, &str)]) -> Request {
    let offer = rig.peer(who).offer();
    let mut invite = rig.peer(who).invite("+4930222", Some(offer));
    for (name, value) in extra {
        invite.headers.push(name.clone(), (*value).to_owned());
    }
    invite
}

/// A call of the carrier whose INVITE says this.
fn talk(rig: &mut Rig, extra: &[(HeaderName, &str)]) {
    let invite = invite(rig, Carrier, extra);
    rig.place(Carrier, invite);
    let (id, invite) = rig.invited(Pbx);
    rig.accept(Pbx, id, &invite);
    assert_eq!(rig.last_status(Carrier), 200);
}

const TIMER: (HeaderName, &str) = (HeaderName::Supported, "timer");
const UPDATE: (HeaderName, &str) = (HeaderName::Allow, "INVITE, UPDATE");

fn expires(text: &str) -> (HeaderName, &str) {
    (HeaderName::SessionExpires, text)
}

#[test]
fn a_caller_that_stops_refreshing_is_hung_up_on() {
    let mut rig = Rig::new("expires");
    talk(&mut rig, &[TIMER, expires("1800;refresher=uac")]);
    let accepted = rig.last_response(Carrier).headers;
    let agreed = value(&accepted, &HeaderName::SessionExpires);
    assert_eq!(agreed.as_deref(), Some("1800;refresher=uac"));
    assert!(accepted.has_token(&HeaderName::Require, "timer"));
    rig.seconds(900);
    let refresh = vec![
        (HeaderName::Supported, Bytes::from("timer")),
        (HeaderName::SessionExpires, Bytes::from("1800;refresher=uac")),
    ];
    rig.ask_with(Carrier, Method::Update, refresh, None);
    assert_eq!(rig.last_status(Carrier), 200);
    let again = value(&rig.last_response(Carrier).headers, &HeaderName::SessionExpires);
    assert_eq!(again, agreed);
    rig.seconds(1_760);
    assert_eq!((rig.carrier.byes, rig.pbx.byes), (0, 0), "refreshed");
    assert!(rig.carrier.asked.is_empty() && rig.pbx.asked.is_empty(), "not by us");
    rig.seconds(10);
    assert_eq!((rig.carrier.byes, rig.pbx.byes), (1, 1), "32 s before the end");
    let record = rig.finish_one(408);
    assert!(record["reason"].as_str().unwrap().contains("session timer"));
}

#[test]
fn we_refresh_where_that_was_agreed() {
    for by_update in [true, false] {
        let mut rig = Rig::new("we-refresh");
        let mut said = vec![TIMER, expires("600;refresher=uas")];
        said.extend(by_update.then_some(UPDATE));
        talk(&mut rig, &said);
        let standing = rig.last_response(Carrier).body;
        assert!(!rig.last_response(Carrier).headers.has_token(&HeaderName::Require, "timer"));
        rig.seconds(301);
        let (_, refresh) = rig.asked_inside(Carrier);
        let said = value(&refresh.headers, &HeaderName::SessionExpires);
        assert_eq!(said.as_deref(), Some("600;refresher=uac"));
        if by_update {
            assert!(refresh.method == Method::Update && refresh.body.is_empty());
        } else {
            let port = |body: &Bytes| {
                let text = String::from_utf8(body.to_vec()).unwrap();
                text.lines().find(|line| line.starts_with("m=")).unwrap().to_owned()
            };
            assert_eq!(refresh.method, Method::Invite);
            assert_eq!(port(&refresh.body), port(&standing), "what stands");
        }
        // The peer's bare 200 says nothing of a timer: it is over, and we ask no more.
        rig.seconds(3_600);
        assert_eq!(rig.carrier.byes, 0);
        rig.hang_up(Carrier);
        rig.finish_one(200);
    }
}

#[test]
fn an_interval_that_is_too_small_is_refused_with_the_least_one() {
    let mut rig = Rig::with("small", "session_min_se = 120\n", "", "");
    let short = invite(&mut rig, Carrier, &[TIMER, expires("90")]);
    rig.place(Carrier, short);
    let refusal = rig.last_response(Carrier);
    assert_eq!(refusal.status.code(), 422);
    assert_eq!(value(&refusal.headers, &HeaderName::MinSe).as_deref(), Some("120"));
    // Who does not know timers cannot be told: a proxy has asked, and gets what it wants.
    talk(&mut rig, &[expires("100")]);
    let agreed = value(&rig.last_response(Carrier).headers, &HeaderName::SessionExpires);
    assert_eq!(agreed.as_deref(), Some("100;refresher=uas"));
    rig.hang_up(Carrier);
    let records = rig.finish();
    assert_eq!((&records[0]["code"], &records[1]["code"]), (&422.into(), &200.into()));
}

#[test]
fn a_callee_that_wants_longer_intervals_is_asked_again() {
    let fields = "session_timer = \"require\"\nsession_expires = 300\n";
    let mut rig = Rig::with("longer", "", fields, "");
    rig.call(Carrier);
    let (id, first) = rig.invited(Pbx);
    assert_eq!(value(&first.headers, &HeaderName::SessionExpires).as_deref(), Some("300"));
    let now = rig.now;
    let least = vec![(HeaderName::MinSe, Bytes::from("900"))];
    rig.pbx.answer_with(now, id, 422, least, None);
    rig.turn();
    let (id, second) = rig.invited(Pbx);
    assert_eq!(value(&second.headers, &HeaderName::SessionExpires).as_deref(), Some("900"));
    assert_eq!(value(&second.headers, &HeaderName::MinSe).as_deref(), Some("900"));
    rig.accept(Pbx, id, &second);
    assert_eq!(rig.last_status(Carrier), 200);
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn a_trunk_without_update_is_sent_none_and_told_that_none_is_taken() {
    let mut rig = Rig::with("no-update", "update = false\n", "update = false\n", "");
    talk(&mut rig, &[TIMER, UPDATE, expires("1800;refresher=uas")]);
    let accepted = rig.last_response(Carrier).headers;
    assert!(!value(&accepted, &HeaderName::Allow).unwrap().contains("UPDATE"));
    rig.ask(Carrier, Method::Update, None);
    assert_eq!(rig.last_status(Carrier), 405);
    assert!(!rig.last_response(Carrier).headers.has_token(&HeaderName::Allow, "UPDATE"));
    rig.carrier.hesitates = true;
    rig.seconds(901);
    let (id, refresh) = rig.asked_inside(Carrier);
    assert_eq!(refresh.method, Method::Invite, "although the peer knows UPDATE");
    assert!(!refresh.headers.has_token(&HeaderName::Allow, "UPDATE"));
    rig.accept(Carrier, id, &refresh);
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn a_callee_without_timers_is_refreshed_where_the_trunk_requires_it() {
    let fields = "session_timer = \"require\"\nsession_expires = 300\n";
    let mut rig = Rig::with("require", "", fields, "");
    talk(&mut rig, &[]);
    rig.pbx.hesitates = true;
    rig.seconds(151);
    let (id, refresh) = rig.asked_inside(Pbx);
    assert_eq!(refresh.method, Method::Invite, "it never said that it knows UPDATE");
    // What passes is tried again; the call ends when nothing helped.
    rig.answer(Pbx, id, 491, None);
    rig.seconds(5);
    let (id, again) = rig.asked_inside(Pbx);
    rig.accept(Pbx, id, &again);
    rig.seconds(151);
    let (id, _) = rig.asked_inside(Pbx);
    rig.answer(Pbx, id, 481, None);
    assert_eq!(rig.carrier.byes, 1);
    rig.finish_one(481);
}

#[test]
fn a_refresh_that_nobody_answers_ends_the_call() {
    let fields = "session_timer = \"require\"\nsession_expires = 300\n";
    let mut rig = Rig::with("unanswered", "", fields, "");
    talk(&mut rig, &[]);
    rig.pbx.hesitates = true;
    rig.seconds(151);
    let (id, _) = rig.asked_inside(Pbx);
    rig.seconds(120);
    assert_eq!(rig.carrier.byes, 1);
    rig.answer(Pbx, id, 500, None);
    rig.finish_one(408);
}

#[test]
fn a_trunk_that_refuses_timers_has_none() {
    let mut rig =
        Rig::with("refuse", "session_timer = \"refuse\"", "session_timer = \"refuse\"", "");
    let demanding = invite(&mut rig, Carrier, &[(HeaderName::Require, "timer"), expires("1800")]);
    rig.place(Carrier, demanding);
    assert_eq!(rig.last_status(Carrier), 420);
    talk(&mut rig, &[TIMER, expires("1800;refresher=uas")]);
    let accepted = rig.last_response(Carrier).headers;
    assert!(value(&accepted, &HeaderName::SessionExpires).is_none());
    let asked = rig.told.iter().filter(|(who, _)| *who == Pbx);
    let asked: String = asked.map(|(_, bytes)| String::from_utf8_lossy(bytes)).collect();
    assert!(asked.starts_with("INVITE") && !asked.contains("Session-Expires"), "{asked}");
    rig.seconds(3_600);
    rig.hang_up(Carrier);
    let records = rig.finish();
    assert_eq!((&records[0]["code"], &records[1]["code"]), (&420.into(), &200.into()));
}
