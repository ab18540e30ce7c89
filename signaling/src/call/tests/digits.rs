//! Digits between trunks that say them in different ways: `dtmf_mode` and `send_media`.

use abi::{Event, Heard};
use sip::wire::Method;

use super::rig::{Carrier, Pbx, Rig, Who};

const EVENTS: &str = "8 0 101\r\na=rtpmap:101 telephone-event/8000";
const RELAY: &str = "application/dtmf-relay";

/// A call of the carrier, whose offer has telephone events; the pbx answers with or without them.
fn talk(rig: &mut Rig, answers_events: bool) -> (String, String) {
    let offer = rig.carrier.offer().replace("8 0", EVENTS);
    rig.call_with(Carrier, "+4930222", Some(offer));
    let (id, invite) = rig.invited(Pbx);
    let mut body = rig.pbx.accept(&invite.body);
    if answers_events {
        body = body.replace("8 0", EVENTS);
    }
    rig.answer(Pbx, id, 200, Some(body));
    assert_eq!(rig.last_status(Carrier), 200);
    let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    (text(&invite.body), text(&rig.last_response(Carrier).body))
}

/// The way on which media of a side comes.
fn way(rig: &Rig, from: Who) -> abi::Update {
    let plain = from == Carrier;
    let found = rig.plane.updates.iter().rev().find(|way| way.unprotect.is_none() == plain);
    found.unwrap().clone()
}

fn press(rig: &mut Rig, from: Who, digit: u8, heard: Heard) {
    let flow = way(rig, from).flow;
    rig.plane.tell(&Event::digit(flow, digit, 120, heard));
    rig.turn();
}

fn inform(rig: &mut Rig, who: Who, kind: &'static str, body: &'static str) {
    let now = rig.now;
    let dialog = rig.peer(who).dialog.unwrap();
    let body = Some((kind, bytes::Bytes::from_static(body.as_bytes())));
    let endpoint = &mut rig.peer(who).endpoint;
    endpoint.request_in_dialog(now, dialog, Method::Info, vec![], body).unwrap();
    rig.turn();
}

#[test]
fn events_on_both_sides_pass_and_nobody_listens() {
    let mut rig = Rig::new("events");
    let (asked, told) = talk(&mut rig, true);
    assert!(asked.contains("telephone-event") && told.contains("telephone-event"));
    for who in [Carrier, Pbx] {
        let way = way(&rig, who);
        assert!(!way.report_digits && !way.detect_tones);
        assert_eq!(way.events_sent.unwrap().payload_type, 101);
    }
    inform(&mut rig, Carrier, RELAY, "Signal=5\r\n");
    assert_eq!(rig.last_status(Carrier), 200);
    assert!(rig.plane.dials.is_empty() && rig.pbx.asked.is_empty(), "heard in one way only");
    rig.hang_up(Carrier);
    let record = rig.finish_one(200);
    assert!(record["notes"][0].as_str().unwrap().contains("set the trunk's dtmf_mode"));
}

#[test]
fn events_become_info_and_info_becomes_events() {
    for (fields, kind, body) in [
        ("dtmf_mode = \"info\"\nsend_media = \"SAME\"", RELAY, "Signal=5\r\nDuration=120\r\n"),
        ("dtmf_mode = \"info\"\nsend_media = \"SHORTINFO\"", "application/dtmf", "5"),
    ] {
        let mut rig = Rig::with("to-info", "", fields, "");
        let (asked, told) = talk(&mut rig, false);
        assert!(!asked.contains("telephone-event"), "this trunk has none: {asked}");
        assert!(told.contains("101 telephone-event"), "the caller's end at us: {told}");
        let from_caller = way(&rig, Carrier);
        assert!(from_caller.report_digits && from_caller.events_sent.is_none());
        press(&mut rig, Carrier, 5, Heard::Event);
        let (_, info) = rig.asked_inside(Pbx);
        assert_eq!(info.method, Method::Info);
        assert_eq!(info.headers.content_type().unwrap(), kind);
        assert_eq!(info.body, body);
        inform(&mut rig, Pbx, RELAY, "Signal=*\r\nDuration=200\r\n");
        assert_eq!(rig.last_status(Pbx), 200);
        let dialled: Vec<_> = rig.plane.dials.iter().map(|d| (d.digit, d.duration_ms)).collect();
        assert_eq!(dialled, [(10, 200)]);
        assert_eq!(rig.plane.dials[0].flow, way(&rig, Pbx).flow, "to the caller");
        assert_eq!(way(&rig, Pbx).events_sent.unwrap().payload_type, 101, "as events");
        rig.hang_up(Carrier);
        rig.finish_one(200);
    }
}

#[test]
fn digits_by_info_keep_their_order_and_their_number() {
    let info = "dtmf_mode = \"info\"\nsend_media = \"SAME\"";
    let mut rig = Rig::with("info-order", info, info, "");
    rig.talk(Carrier);
    rig.pbx.hesitates = true;
    for _ in 0..=super::super::dtmf::WAITING_MAX + 1 {
        inform(&mut rig, Carrier, RELAY, "Signal=1\r\n");
    }
    assert_eq!(rig.pbx.asked.len(), 1, "one at a time");
    let mut passed = 0;
    while let Some((id, _)) = rig.pbx.asked.pop_front() {
        rig.answer(Pbx, id, 200, None);
        passed += 1;
    }
    assert_eq!(passed, 1 + super::super::dtmf::WAITING_MAX, "and no more than may wait");
    rig.hang_up(Pbx);
    let record = rig.finish_one(200);
    assert!(record["notes"].to_string().contains("digits came faster"), "{record}");
}

#[test]
fn a_side_that_refuses_info_loses_digits_and_not_the_call() {
    let mut rig = Rig::with("info-refused", "", "dtmf_mode = \"info\"\nsend_media = \"INFO\"", "");
    talk(&mut rig, false);
    rig.pbx.hesitates = true;
    for digit in [1, 2, 3] {
        press(&mut rig, Carrier, digit, Heard::Event);
    }
    let (id, _) = rig.asked_inside(Pbx);
    rig.answer(Pbx, id, 405, None);
    assert!(rig.pbx.asked.is_empty(), "no more of those that waited");
    inform(&mut rig, Pbx, "text/plain", "5");
    assert_eq!(rig.last_status(Pbx), 415);
    inform(&mut rig, Pbx, "text/plain", "");
    assert_eq!(rig.last_status(Pbx), 200, "a keep-alive");
    rig.hang_up(Carrier);
    let record = rig.finish_one(200);
    assert!(record["notes"].to_string().contains("refuses digits by INFO"), "{record}");
}

#[test]
fn tones_become_events_and_events_tones() {
    let mut rig = Rig::with("inband", "", "dtmf_mode = \"inband\"\nsend_media = \"SAME\"", "");
    let (asked, told) = talk(&mut rig, false);
    assert!(!asked.contains("telephone-event") && told.contains("telephone-event"));
    assert!(way(&rig, Pbx).detect_tones && way(&rig, Carrier).report_digits);
    press(&mut rig, Pbx, 7, Heard::Tone);
    press(&mut rig, Carrier, 8, Heard::Event);
    let dialled: Vec<_> = rig.plane.dials.iter().map(|d| (d.flow, d.digit)).collect();
    assert_eq!(dialled, [(way(&rig, Pbx).flow, 7), (way(&rig, Carrier).flow, 8)]);
    assert!(way(&rig, Carrier).events_sent.is_none(), "as tones");
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn auto_follows_what_the_peer_answers() {
    for has_events in [true, false] {
        let mut rig = Rig::with("auto", "", "dtmf_mode = \"auto\"\nsend_media = \"SAME\"", "");
        let (asked, told) = talk(&mut rig, has_events);
        assert!(asked.contains("telephone-event") && told.contains("telephone-event"));
        assert_eq!(way(&rig, Carrier).report_digits, !has_events);
        assert_eq!(way(&rig, Pbx).detect_tones, !has_events);
        rig.hang_up(Carrier);
        rig.finish_one(200);
    }
}

#[test]
fn a_digit_that_the_data_plane_refuses_ends_no_call() {
    let info = "dtmf_mode = \"info\"\nsend_media = \"SAME\"";
    let mut rig = Rig::with("unsaid", "", info, "");
    talk(&mut rig, false);
    rig.plane.refuse_dial = Some(abi::Reason::NoFormat);
    inform(&mut rig, Pbx, RELAY, "Signal=3\r\n");
    assert_eq!((rig.carrier.byes, rig.pbx.byes), (0, 0));
    rig.hang_up(Carrier);
    let record = rig.finish_one(200);
    assert!(record["notes"].to_string().contains("could not be said"), "{record}");
    assert!(!record.to_string().contains("\"3\""), "no digit in a record");
}
