//! What the data plane refuses, loses or does not answer.

use abi::{Reason, Shape};

use super::rig::{Carrier, Pbx, Rig, configuration};
use super::silence::flows;

#[test]
fn a_refused_open_refuses_the_call() {
    for reason in Reason::ALL {
        let mut rig = Rig::new("refused-open");
        rig.plane.refuse_open = Some(reason);
        rig.call(Carrier);
        assert_eq!(rig.last_status(Carrier), 503, "{reason:?}");
        assert!(rig.pbx.invites.is_empty());
        assert!(rig.calls.is_empty(), "the end waits for nothing: {reason:?}");
        rig.plane.refuse_open = None;
        rig.talk(Carrier);
        rig.hang_up(Carrier);
        assert_eq!(rig.finish().len(), 2);
    }
}

#[test]
fn a_refused_update_at_the_answer_ends_the_callee() {
    for reason in Reason::ALL {
        let mut rig = Rig::new("refused-answer");
        rig.call(Carrier);
        let (id, invite) = rig.invited(Pbx);
        rig.plane.refuse_update = Some(reason);
        rig.accept(Pbx, id, &invite);
        assert_eq!(rig.last_status(Carrier), 503, "{reason:?}");
        assert_eq!((rig.pbx.acks.len(), rig.pbx.byes), (1, 1));
        rig.plane.refuse_update = None;
        rig.finish_one(503);
    }
}

#[test]
fn a_refused_update_at_early_media_ends_the_attempt() {
    for reason in Reason::ALL {
        let mut rig = Rig::new("refused-early");
        rig.call(Carrier);
        let (id, invite) = rig.invited(Pbx);
        rig.plane.refuse_update = Some(reason);
        let body = rig.pbx.accept(&invite.body);
        rig.answer(Pbx, id, 183, Some(body));
        assert_eq!(rig.last_status(Carrier), 503, "{reason:?}");
        assert_eq!(rig.pbx.cancelled, [id]);
        rig.finish_one(503);
    }
}

#[test]
fn a_refused_update_after_a_delayed_offer_ends_both_sides() {
    for reason in Reason::ALL {
        let mut rig = Rig::new("refused-late");
        rig.carrier.ack_body = Some(rig.carrier.offer());
        rig.call_with(Carrier, "+4930222", None);
        let (id, _) = rig.invited(Pbx);
        rig.plane.refuse_update = Some(reason);
        let offer = rig.pbx.offer();
        rig.answer(Pbx, id, 200, Some(offer));
        assert_eq!((rig.carrier.byes, rig.pbx.byes), (1, 1), "{reason:?}");
        assert_eq!(rig.pbx.acks.len(), 1);
        rig.finish_one(503);
    }
}

#[test]
fn a_data_plane_that_does_not_answer_an_open_refuses_the_call() {
    let mut rig = Rig::new("stopped-open");
    rig.plane.stopped = true;
    rig.call(Carrier);
    rig.seconds(3);
    assert_eq!(rig.last_status(Carrier), 503);
    assert!(rig.pbx.invites.is_empty());
    rig.seconds(60);
    assert!(rig.calls.is_empty(), "the call does not wait for ever");
    assert_eq!(rig.gateway.media.free_slots(), rig.gateway.media.slots(), "nor do its slots");
    rig.plane.stopped = false;
    rig.finish_one(503);
}

#[test]
fn a_data_plane_that_does_not_answer_an_update_ends_the_callee() {
    let mut rig = Rig::new("stopped-update");
    rig.call(Carrier);
    let (id, invite) = rig.invited(Pbx);
    rig.plane.stopped = true;
    rig.accept(Pbx, id, &invite);
    rig.seconds(3);
    assert_eq!(rig.last_status(Carrier), 503);
    assert_eq!((rig.pbx.acks.len(), rig.pbx.byes), (1, 1));
    rig.seconds(60);
    assert!(rig.calls.is_empty());
    rig.plane.stopped = false;
    rig.finish_one(503);
}

#[test]
fn a_data_plane_that_does_not_answer_after_a_delayed_offer_ends_both_sides() {
    let mut rig = Rig::new("stopped-late");
    rig.carrier.ack_body = Some(rig.carrier.offer());
    rig.call_with(Carrier, "+4930222", None);
    let (id, _) = rig.invited(Pbx);
    rig.plane.stopped = true;
    let offer = rig.pbx.offer();
    rig.answer(Pbx, id, 200, Some(offer));
    assert!(rig.pbx.acks.is_empty(), "the answer waits for both flows");
    rig.seconds(3);
    assert_eq!((rig.carrier.byes, rig.pbx.byes), (1, 1));
    assert_eq!(rig.pbx.acks.len(), 1);
    rig.plane.stopped = false;
    rig.finish_one(503);
}

#[test]
fn a_data_plane_that_does_not_answer_a_close_costs_the_counts_only() {
    let mut rig = Rig::new("stopped-close");
    rig.talk(Carrier);
    rig.plane.stopped = true;
    rig.hang_up(Carrier);
    assert_eq!(rig.pbx.byes, 1);
    rig.seconds(60);
    assert!(rig.calls.is_empty());
    rig.plane.stopped = false;
    rig.finish_one(200);
}

#[test]
fn a_flow_that_vanished_ends_the_call() {
    let mut rig = Rig::new("vanished");
    rig.talk(Carrier);
    let [forward, _] = flows(&rig);
    rig.plane.vanish(forward);
    rig.turn();
    assert_eq!((rig.carrier.byes, rig.pbx.byes), (1, 1));
    assert!(rig.calls.is_empty(), "nothing is waited for");
    let record = rig.finish_one(503);
    assert_eq!(record["ended_by"], "gateway");
}

#[test]
fn every_slot_in_use_refuses_the_call() {
    let shape = Shape { flows: 5, commands: 64, events: 64 };
    let mut rig = Rig::shaped("slots", &configuration("", "", ""), shape);
    rig.talk(Carrier);
    let first = rig.carrier.dialog.unwrap();
    rig.talk(Carrier);
    rig.call(Carrier);
    assert_eq!(rig.last_status(Carrier), 503);
    rig.hang_up(Carrier);
    rig.talk(Carrier);
    rig.hang_up(Carrier);
    let now = rig.now;
    rig.carrier.hang_up(now, first);
    assert_eq!(rig.finish().len(), 4);
}

#[test]
fn the_lowest_free_slots_are_leased_first() {
    let mut rig = Rig::new("lowest");
    rig.talk(Carrier);
    let first = rig.carrier.dialog.unwrap();
    rig.talk(Carrier);
    for generation in 2..5 {
        let now = rig.now;
        let first = if generation == 2 { first } else { rig.carrier.dialog.unwrap() };
        rig.carrier.hang_up(now, first);
        rig.turn();
        rig.talk(Carrier);
        let flows = rig.plane.all_flows();
        let slots: Vec<_> = flows.iter().map(|flow| (flow.index, flow.generation)).collect();
        assert_eq!(slots, [(0, generation), (1, generation), (2, 1), (3, 1)]);
    }
    rig.stop_all();
    rig.finish();
}

#[test]
fn a_full_command_ring_leaks_no_slot() {
    // Ring of 2: both opens of the first call fill it. Ring of 4 with a call: one open fits.
    for (commands, calls) in [(2, 2), (4, 3), (4, 4)] {
        let shape = Shape { flows: 32, commands, events: 64 };
        let mut rig = Rig::shaped("ring-full", &configuration("", "", ""), shape);
        rig.plane.stopped = true;
        for _ in 0..calls {
            rig.call(Carrier);
        }
        let full = rig.statuses(Carrier).iter().filter(|status| **status == 503).count();
        assert!(full > 0, "the ring was full");
        rig.seconds(1);
        rig.plane.stopped = false;
        rig.turn();
        while let Some((id, _)) = rig.pbx.invites.pop_front() {
            rig.answer(Pbx, id, 486, None);
        }
        assert_eq!(rig.finish().len(), calls);
    }
}

#[test]
fn a_full_command_ring_at_the_answer_ends_the_call() {
    let shape = Shape { flows: 32, commands: 2, events: 64 };
    let mut rig = Rig::shaped("ring-answer", &configuration("", "", ""), shape);
    rig.call(Carrier);
    let (first, invite) = rig.invited(Pbx);
    rig.call(Carrier);
    let (second, other) = rig.invited(Pbx);
    rig.plane.stopped = true;
    rig.accept(Pbx, first, &invite);
    rig.accept(Pbx, second, &other);
    assert_eq!(rig.last_status(Carrier), 503);
    rig.plane.stopped = false;
    rig.turn();
    assert_eq!(rig.last_status(Carrier), 200);
    rig.hang_up(Carrier);
    let mut codes: Vec<_> = rig.finish().iter().map(|record| record["code"].clone()).collect();
    codes.sort_by_key(|code| code.as_u64());
    assert_eq!(codes, [200, 503]);
}

#[test]
fn a_lost_data_plane_ends_every_call() {
    let mut rig = Rig::new("lost");
    rig.talk(Carrier);
    rig.talk(Pbx);
    rig.call(Carrier);
    let (id, _) = rig.invited(Pbx);
    rig.answer(Pbx, id, 180, None);
    rig.lose_data_plane();
    rig.turn();
    assert!(rig.calls.is_empty(), "no flow is waited for");
    rig.call(Carrier);
    assert_eq!(rig.last_status(Carrier), 503, "without a data plane there are no calls");
    let records = rig.finish_detached();
    assert_eq!(records.len(), 4);
}

#[test]
fn stopping_ends_calls_in_every_state() {
    let mut rig = Rig::new("stop");
    rig.talk(Carrier);
    rig.call(Carrier);
    let (ringing, _) = rig.invited(Pbx);
    rig.answer(Pbx, ringing, 180, None);
    rig.carrier.mute = true;
    rig.talk(Carrier);
    rig.call(Carrier);
    let (connecting, invite) = rig.invited(Pbx);
    rig.plane.stopped = true;
    rig.accept(Pbx, connecting, &invite);
    rig.call(Carrier);
    assert_eq!(rig.calls.len(), 5);
    rig.stop_all();
    rig.plane.stopped = false;
    rig.turn();
    assert!(rig.calls.is_empty());
    assert_eq!((rig.carrier.byes, rig.pbx.byes), (2, 3));
    assert_eq!(rig.pbx.cancelled.len(), 1);
    let mut codes: Vec<_> = rig.finish().iter().map(|record| record["code"].clone()).collect();
    codes.sort_by_key(|code| code.as_u64());
    assert_eq!(codes, [503, 503, 503, 503, 503]);
}

#[test]
fn records_are_closed_as_they_stand() {
    let mut rig = Rig::new("close-records");
    rig.talk(Carrier);
    rig.call(Carrier);
    rig.invited(Pbx);
    rig.close_records();
    assert!(rig.calls.is_empty());
    assert_eq!(rig.plane.open_flows(), 4, "media goes on");
    rig.close_records();
    let mut records = rig.records();
    assert_eq!(records.len(), rig.attempts);
    records.sort_by_key(|record| record["code"].as_u64());
    let facts = |n: usize| (records[n]["code"].clone(), records[n]["ended_by"].clone());
    assert_eq!(facts(0), (200.into(), serde_json::Value::Null), "nobody ended the conversation");
    assert_eq!(facts(1), (503.into(), serde_json::Value::Null));
    assert!(records.iter().all(|record| record["reason"] == "signaling was stopped"));
}
