//! Media that falls silent, comes from elsewhere, or ends without a word.

use abi::{Event, FlowId, Heard};
use serde_json::Value;

use super::rig::{Carrier, Pbx, Rig};

/// Forward, then backward, of the only call.
pub fn flows(rig: &Rig) -> [FlowId; 2] {
    let updates = &rig.plane.updates;
    [updates[updates.len() - 2].flow, updates[updates.len() - 1].flow]
}

#[test]
fn silence_in_both_directions_ends_the_call() {
    for order in [[0, 1], [1, 0]] {
        let mut rig = Rig::new("silence");
        rig.talk(Carrier);
        let flows = flows(&rig);
        rig.plane.fall_silent(flows[order[0]]);
        rig.seconds(5);
        assert_eq!(rig.calls.len(), 1, "one direction may be a muted phone");
        rig.plane.fall_silent(flows[order[1]]);
        rig.turn();
        assert_eq!((rig.carrier.byes, rig.pbx.byes), (1, 1));
        let record = rig.finish_one(408);
        assert_eq!(record["ended_by"], "gateway");
        assert_eq!(record["reason"], "no media in either direction");
    }
}

#[test]
fn silence_in_one_direction_does_not() {
    let mut rig = Rig::new("half-silence");
    rig.talk(Carrier);
    let [forward, backward] = flows(&rig);
    rig.plane.fall_silent(forward);
    rig.seconds(60);
    rig.plane.fall_silent(forward);
    rig.seconds(60);
    assert_eq!(rig.calls.len(), 1);
    // The first one speaks again before the other one falls silent.
    rig.plane.receive(forward, 1);
    rig.plane.fall_silent(backward);
    rig.seconds(60);
    assert_eq!((rig.calls.len(), rig.carrier.byes), (1, 0));
    // And now it is silent once more.
    rig.plane.fall_silent(forward);
    rig.turn();
    assert_eq!((rig.carrier.byes, rig.pbx.byes), (1, 1));
    rig.finish_one(408);
}

#[test]
fn the_shorter_timeouts_of_both_trunks_are_told() {
    for (carrier, pbx, told) in [(20, 30, 20_000), (0, 30, 30_000), (0, 0, 0)] {
        for (key, held) in [("rtp_timeout", false), ("hold_timeout", true)] {
            let line = |seconds: u32| format!("{key} = {seconds}");
            let mut rig = Rig::with("timeout", &line(carrier), &line(pbx), "");
            let offer = rig.carrier.offer();
            let offer = if held { offer.replace("sendrecv", "inactive") } else { offer };
            rig.call_with(Carrier, "+4930222", Some(offer));
            let (id, invite) = rig.invited(Pbx);
            rig.accept(Pbx, id, &invite);
            let updates = &rig.plane.updates;
            assert!(!updates.is_empty() && updates.iter().all(|way| way.timeout_ms == told));
            assert!(updates.iter().all(|way| way.relay != held));
            rig.hang_up(Carrier);
            rig.finish_one(200);
        }
    }
}

/// A call that rang for longer than its media may be silent, and was then answered.
fn answered_in_silence(name: &str) -> (Rig, [FlowId; 2]) {
    let mut rig = Rig::new(name);
    rig.call(Carrier);
    let (id, invite) = rig.invited(Pbx);
    let body = rig.pbx.accept(&invite.body);
    rig.answer(Pbx, id, 183, Some(body));
    let flows = flows(&rig);
    for flow in flows {
        rig.plane.fall_silent(flow);
    }
    rig.seconds(10);
    rig.answer(Pbx, id, 200, None);
    assert_eq!((rig.last_status(Carrier), rig.calls.len()), (200, 1), "a late answer is an answer");
    (rig, flows)
}

#[test]
fn silence_from_before_the_answer_ends_the_call_when_it_lasts() {
    let (mut rig, _) = answered_in_silence("silent-answer");
    rig.seconds(59);
    assert_eq!(rig.calls.len(), 1);
    rig.seconds(2);
    assert_eq!((rig.carrier.byes, rig.pbx.byes), (1, 1));
    let record = rig.finish_one(408);
    assert_eq!(record["reason"], "no media in either direction");
}

#[test]
fn media_after_a_silent_answer_keeps_the_call() {
    for speaks in [0, 1] {
        let (mut rig, flows) = answered_in_silence("silent-then-not");
        rig.plane.receive(flows[speaks], 1);
        rig.seconds(600);
        assert_eq!((rig.calls.len(), rig.carrier.byes), (1, 0));
        rig.plane.fall_silent(flows[speaks]);
        rig.turn();
        assert_eq!((rig.carrier.byes, rig.pbx.byes), (1, 1));
        rig.finish_one(408);
    }
}

#[test]
fn a_call_without_timeouts_may_be_silent_for_ever() {
    let off = "rtp_timeout = 0\nhold_timeout = 0";
    let mut rig = Rig::with("no-timeout", off, off, "");
    rig.talk(Carrier);
    rig.seconds(86_400);
    assert_eq!(rig.calls.len(), 1);
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

/// An answered call after the data plane told `events` of its forward and its backward flow.
fn told(name: &str, events: impl Fn(FlowId, FlowId) -> Vec<Event>) -> Value {
    let mut rig = Rig::new(name);
    rig.talk(Carrier);
    let [forward, backward] = flows(&rig);
    for event in events(forward, backward) {
        rig.plane.tell(&event);
    }
    rig.turn();
    assert_eq!(rig.calls.len(), 1, "none of it ends a call");
    rig.hang_up(Carrier);
    rig.finish_one(200)
}

#[test]
fn the_record_keeps_where_media_was_learned_from() {
    let record = told("learned", |forward, backward| {
        let learned = |flow, remote: &str| Event::learned(flow, remote.parse().unwrap());
        vec![
            learned(forward, "203.0.113.5:6000"),
            learned(forward, "203.0.113.5:6002"),
            learned(backward, "[2001:db8::5]:6004"),
        ]
    });
    assert_eq!(record["caller_source"], "203.0.113.5:6002", "the last one counts");
    assert_eq!(record["callee_source"], "[2001:db8::5]:6004");
    let quiet = told("not-learned", |_, _| vec![]);
    assert!(quiet.get("caller_source").is_none() && quiet.get("callee_source").is_none());
}

#[test]
fn the_record_tells_of_one_way_audio() {
    let note = |who| Value::from(format!("one-way audio: nothing from {who}"));
    let notes = |record: Value| record["notes"].as_array().cloned().unwrap_or_default();
    let one_way = |flow| Event::one_way(flow, 0, 0, 0);
    let found = notes(told("one-way", |forward, _| vec![one_way(forward), one_way(forward)]));
    assert_eq!(found.iter().filter(|text| **text == note("caller")).count(), 1, "{found:?}");
    let found = notes(told("other-way", |_, backward| vec![one_way(backward)]));
    assert!(found.contains(&note("callee")) && !found.contains(&note("caller")), "{found:?}");
}

#[test]
fn a_caller_that_listens_to_the_ringing_is_not_one_way_audio() {
    for tells_after in [false, true] {
        let mut rig = Rig::new("one-way-ringing");
        rig.call(Carrier);
        let (id, invite) = rig.invited(Pbx);
        let body = rig.pbx.accept(&invite.body);
        rig.answer(Pbx, id, 183, Some(body));
        let [forward, _] = flows(&rig);
        rig.plane.tell(&Event::one_way(forward, 0, 0, 0));
        // The next one overtakes the answer: the data plane wrote it before it was told.
        rig.plane.stopped = true;
        rig.answer(Pbx, id, 200, None);
        rig.plane.tell(&Event::one_way(forward, 0, 0, 0));
        rig.turn();
        rig.plane.stopped = false;
        rig.turn();
        assert_eq!(rig.last_status(Carrier), 200);
        if tells_after {
            rig.plane.tell(&Event::one_way(forward, 0, 0, 0));
            rig.turn();
        }
        rig.hang_up(Carrier);
        let record = rig.finish_one(200);
        assert_eq!(record["notes"].to_string().contains("one-way"), tells_after, "{record}");
    }
}

#[test]
fn prompts_and_digits_end_no_call() {
    let record = told("played", |forward, backward| {
        let digit = Event::digit(forward, 7, 100, Heard::Event);
        vec![Event::played(9, forward, true), Event::dialled(9, backward), digit]
    });
    assert!(record.get("digits").is_none(), "they are PINs: {record}");
}

#[test]
fn events_of_flows_that_nobody_owns_are_nothing() {
    told("strangers", |forward, _| {
        let stranger = FlowId { generation: forward.generation + 7, ..forward };
        vec![
            Event::digit(stranger, 1, 100, Heard::Event),
            Event::one_way(stranger, 0, 0, 0),
            Event::played(9, stranger, true),
        ]
    });
}

/// Lets the data plane lose what it has to tell while `deed` is done.
fn deafly(rig: &mut Rig, deed: impl FnOnce(&mut Rig)) {
    rig.plane.deaf = true;
    deed(rig);
    rig.turn();
    rig.plane.deaf = false;
}

#[test]
fn a_lost_end_of_a_flow_leaks_no_slot() {
    let mut rig = Rig::new("lost-close");
    rig.talk(Carrier);
    deafly(&mut rig, |rig| rig.hang_up(Carrier));
    assert_eq!(rig.calls.len(), 1, "the counts are waited for");
    rig.seconds(3);
    assert!(rig.calls.is_empty(), "the flow table tells what no event did");
    assert_eq!(rig.gateway.media.free_slots(), rig.gateway.media.slots());
    rig.finish_one(200);
}

#[test]
fn a_flow_that_vanished_unheard_ends_its_call() {
    let mut rig = Rig::new("lost-vanish");
    rig.talk(Carrier);
    let [forward, _] = flows(&rig);
    deafly(&mut rig, |rig| rig.plane.vanish(forward));
    rig.seconds(3);
    assert_eq!((rig.carrier.byes, rig.pbx.byes), (1, 1));
    rig.finish_one(503);
}

#[test]
fn lost_answers_to_a_lease_leak_no_slot() {
    // Refused, and then never heard of; opened, and never heard of.
    for refusal in [Some(abi::Reason::NoPorts), None] {
        let mut rig = Rig::new("lost-open");
        rig.plane.refuse_open = refusal;
        rig.plane.deaf = true;
        rig.call(Carrier);
        rig.seconds(60);
        assert_eq!(rig.last_status(Carrier), 503, "the data plane did not answer");
        assert!(rig.calls.is_empty());
        assert_eq!(rig.gateway.media.free_slots(), rig.gateway.media.slots());
        rig.plane.deaf = false;
        rig.plane.refuse_open = None;
        rig.talk(Carrier);
        rig.hang_up(Carrier);
        assert_eq!(rig.finish().len(), 2);
    }
}

#[test]
fn a_look_at_the_flow_table_disturbs_no_call() {
    let mut rig = Rig::new("audit");
    rig.talk(Carrier);
    let first = rig.carrier.dialog.unwrap();
    rig.talk(Pbx);
    // An event of something else is lost each second.
    for _ in 0..100 {
        deafly(&mut rig, |rig| rig.plane.tell(&Event::updated(0, FlowId::NONE)));
        rig.seconds(1);
    }
    assert_eq!((rig.calls.len(), rig.plane.open_flows()), (2, 4));
    rig.hang_up(Pbx);
    let now = rig.now;
    rig.carrier.hang_up(now, first);
    rig.finish();
}
