//! `greeting`: a voice before the callee is asked.

use super::rig::{Carrier, Pbx, Rig};
use abi::Event;

const EARLY: &str = "audio_tones = \"ON EARLY MEDIA\"\ngreeting = \"welcome\"";
const ANSWERED: &str = "audio_tones = \"ON ANSWERED CALLS\"\ngreeting = \"welcome\"";

fn said(rig: &Rig) -> Vec<&str> {
    rig.plane.plays.iter().map(|play| play.prompt.as_str()).collect()
}

fn finish_prompt(rig: &mut Rig) {
    let flow = rig.plane.plays.last().unwrap().flow;
    rig.plane.tell(&Event::played(0, flow, true));
    rig.turn();
}

#[test]
fn the_greeting_is_early_media_and_the_callee_is_asked_after_it() {
    let mut rig = Rig::with("greeting-early", EARLY, "", "");
    rig.call(Carrier);
    assert_eq!((rig.statuses(Carrier), said(&rig)), (vec![183], vec!["welcome"]));
    assert!(rig.pbx.invites.is_empty(), "nobody is asked while it is said");
    let told = rig.last_response(Carrier);
    let told = String::from_utf8(told.body.to_vec()).unwrap();
    assert!(!told.contains("a=sendonly"), "the call goes on with this answer: {told}");
    finish_prompt(&mut rig);
    let (id, invite) = rig.invited(Pbx);
    rig.answer(Pbx, id, 180, None);
    rig.accept(Pbx, id, &invite);
    assert_eq!(rig.statuses(Carrier), [183, 180, 200]);
    let answer = rig.last_response(Carrier);
    let answer = String::from_utf8(answer.body.to_vec()).unwrap();
    assert_eq!(answer, told, "one dialog has one answer");
    rig.hang_up(Pbx);
    let record = rig.finish_one(200);
    assert!(record["ring"].is_string(), "{record}");
}

#[test]
fn the_greeting_of_an_answered_call_is_billed_and_goes_on_in_it() {
    let mut rig = Rig::with("greeting-answered", ANSWERED, "", "");
    rig.call(Carrier);
    assert_eq!((rig.statuses(Carrier), said(&rig)), (vec![200], vec!["welcome"]));
    finish_prompt(&mut rig);
    let (id, invite) = rig.invited(Pbx);
    rig.answer(Pbx, id, 180, None);
    rig.accept(Pbx, id, &invite);
    assert_eq!(rig.statuses(Carrier), [200], "it has its answer");
    rig.hang_up(Carrier);
    let record = rig.finish_one(200);
    assert_eq!(record["ended_by"], "caller");
    assert!(record["answer"].as_str() < record["ring"].as_str(), "{record}");
}

#[test]
fn a_greeted_caller_whose_callee_is_busy_is_hung_up_on() {
    let mut rig = Rig::with("greeting-busy", ANSWERED, "", "");
    rig.call(Carrier);
    finish_prompt(&mut rig);
    let (id, _) = rig.invited(Pbx);
    rig.answer(Pbx, id, 486, None);
    assert_eq!(rig.carrier.byes, 1);
    rig.finish_one(486);
}

#[test]
fn a_greeted_caller_hears_that_the_trunk_is_down_and_is_hung_up_on() {
    let mut rig = Rig::with("greeting-down", ANSWERED, "", "");
    rig.cut = Some(Pbx);
    rig.call(Carrier);
    finish_prompt(&mut rig);
    rig.fail(Pbx);
    rig.turn();
    assert_eq!(said(&rig), ["welcome", "trunk-down"]);
    finish_prompt(&mut rig);
    assert_eq!((rig.statuses(Carrier), rig.carrier.byes), (vec![200], 1));
    rig.finish_one(503);
}

#[test]
fn a_caller_that_leaves_while_it_is_greeted_reaches_nobody() {
    for fields in [EARLY, ANSWERED] {
        let mut rig = Rig::with("greeting-left", fields, "", "");
        let client = rig.call(Carrier);
        if fields == EARLY {
            rig.cancel(Carrier, client);
            rig.turn();
            assert_eq!(rig.last_status(Carrier), 487);
        } else {
            rig.hang_up(Carrier);
            assert_eq!(rig.carrier.byes, 0, "it hung up itself");
        }
        assert!(rig.pbx.invites.is_empty() && rig.calls.is_empty());
        rig.finish_one(if fields == EARLY { 487 } else { 200 });
    }
}

#[test]
fn a_greeting_that_cannot_be_said_is_left_out() {
    let mut rig = Rig::with("greeting-none", EARLY, "", "");
    rig.plane.refuse_play = Some(abi::Reason::NoPrompt);
    rig.talk(Carrier);
    assert_eq!(rig.statuses(Carrier), [183, 200]);
    rig.hang_up(Pbx);
    rig.finish_one(200);
    // A delayed offer has nothing to answer.
    let mut rig = Rig::with("greeting-delayed", EARLY, "", "");
    rig.call_with(Carrier, "+4930222", None);
    assert!(said(&rig).is_empty());
    assert_eq!(rig.times_asked(Pbx), 1);
    rig.stop_all();
    rig.finish_one(503);
}

#[test]
fn the_greeting_uses_none_of_the_hunts_time() {
    let mut rig = Rig::with("greeting-time", EARLY, "", "");
    rig.call(Carrier);
    rig.seconds(14);
    finish_prompt(&mut rig);
    assert_eq!(rig.times_asked(Pbx), 1);
    rig.stop_all();
    rig.finish_one(503);
}
