//! What is told of calls, and what an operator may do to them.

use super::rig::{CARRIER, Carrier, PBX, Pbx, Rig};
use crate::feed::{Ear, News, Step};

fn steps(heard: &mut Ear) -> Vec<(Step, &'static str)> {
    let mut steps = Vec::new();
    while let Ok(news) = heard.try_recv() {
        if let News::Call(call) = &*news {
            steps.push((call.step, call.call.state));
        }
    }
    steps
}

#[test]
fn each_step_of_a_call_is_told_once() {
    let mut rig = Rig::new("news");
    let mut heard = rig.gateway.feed.listen();
    rig.call(Carrier);
    let (id, invite) = rig.invited(Pbx);
    rig.answer(Pbx, id, 180, None);
    rig.answer(Pbx, id, 183, None);
    assert_eq!(steps(&mut heard), [(Step::Began, "leasing"), (Step::Rang, "inviting")]);
    rig.accept(Pbx, id, &invite);
    assert_eq!(steps(&mut heard), [(Step::Answered, "answering")]);
    let live = rig.calls.list(&rig.gateway.media);
    assert_eq!((live.len(), live[0].state), (1, "talking"));
    assert_eq!((live[0].from_trunk_id, live[0].to_trunk_id), (Some(CARRIER), Some(PBX)));
    let json = serde_json::to_value(&live[0]).unwrap();
    assert_eq!((&json["state"], &json["from_trunk"]), (&"talking".into(), &"carrier".into()));
    assert!(json["answer"].is_string() && json["end"].is_null());
    rig.hang_up(Carrier);
    assert_eq!(steps(&mut heard), [(Step::Ended, "ending")]);
    assert!(rig.calls.list(&rig.gateway.media).is_empty());
    rig.finish_one(200);
}

#[test]
fn a_refused_attempt_is_told_as_ended() {
    let mut rig = Rig::with("news-refused", "incoming_call_policy = \"reject\"", "", "");
    let mut heard = rig.gateway.feed.listen();
    rig.call(Carrier);
    assert_eq!(steps(&mut heard), [(Step::Ended, "over")]);
    rig.finish_one(403);
}

#[test]
fn an_operator_ends_a_call_by_its_id() {
    let mut rig = Rig::new("news-hang-up");
    rig.talk(Pbx);
    let id = rig.calls.list(&rig.gateway.media)[0].record.id.clone();
    assert!(!rig.end_call("no such call"));
    assert!(rig.end_call(&id));
    rig.turn();
    assert_eq!((rig.carrier.byes, rig.pbx.byes), (1, 1));
    let record = rig.finish_one(503);
    assert_eq!(record["reason"], "ended by the operator");
}

#[test]
fn places_are_free_again_as_soon_as_the_parties_are_done() {
    let mut rig = Rig::new("news-slots");
    rig.talk(Pbx);
    assert_eq!(rig.gateway.admission.used(PBX).inbound, 1);
    assert_eq!(rig.gateway.admission.used(CARRIER).outbound, 1);
    // The callee does not answer its BYE: that is no reason to keep the next call out.
    rig.cut = Some(Carrier);
    rig.hang_up(Pbx);
    assert_eq!(rig.calls.list(&rig.gateway.media).len(), 1, "the BYE is still on its way");
    assert_eq!(rig.gateway.admission.used(CARRIER).all(), 0);
    assert_eq!(rig.gateway.admission.used(PBX).all(), 0);
    rig.cut = None;
    rig.seconds(5);
    rig.finish_one(200);
}
