//! `audio_tones`: a voice says why a call came to nothing, before the status does.

use abi::Event;

use super::rig::{Carrier, Pbx, Rig, Second, Third};
use crate::call::announcing::Why;

const EARLY: &str = "audio_tones = \"ON EARLY MEDIA\"";
const ANSWERED: &str = "audio_tones = \"ON ANSWERED CALLS\"";
const ELSEWHERE: &str = "called = \"+49999\"";

/// The one prompt that is said, and to whom.
fn played(rig: &Rig) -> (abi::FlowId, String) {
    let [play] = rig.plane.plays.as_slice() else { panic!("one prompt: {:?}", rig.plane.plays) };
    (play.flow, play.prompt.as_str().to_owned())
}

fn finish_prompt(rig: &mut Rig) {
    let (flow, _) = played(rig);
    rig.plane.tell(&Event::played(0, flow, true));
    rig.turn();
}

#[test]
fn an_unknown_number_is_said_before_its_404() {
    let mut rig = Rig::with("tones-early", EARLY, "", ELSEWHERE);
    rig.call(Carrier);
    let told = rig.last_response(Carrier);
    assert_eq!(told.status.code(), 183);
    let body = String::from_utf8(told.body.to_vec()).unwrap();
    assert!(body.contains("RTP/AVP 8 0") && body.contains("a=sendonly"), "{body}");
    assert_eq!(played(&rig).1, "unknown-number");
    let way = rig.plane.configured(played(&rig).0).unwrap();
    assert_eq!(way.destination_rtp, Some("198.51.100.77:7000".parse().unwrap()), "to the caller");
    assert!(!way.relay && way.sent.is_some());
    assert_eq!(rig.statuses(Carrier), [183], "the status waits for the end of the prompt");
    finish_prompt(&mut rig);
    let last = rig.last_response(Carrier);
    assert_eq!(last.status.code(), 404);
    let reason = last.headers.get(&sip::wire::HeaderName::Reason).unwrap();
    assert!(reason.starts_with(b"SIP;cause=404;text="), "{reason:?}");
    assert!(rig.pbx.invites.is_empty());
    let record = rig.finish_one(404);
    assert!(record["answer"].is_null() && record["to_trunk"].is_null(), "{record}");
}

#[test]
fn the_same_as_an_answered_call() {
    let mut rig = Rig::with("tones-answered", ANSWERED, "", ELSEWHERE);
    rig.call(Carrier);
    assert_eq!(rig.last_status(Carrier), 200);
    assert_eq!(played(&rig).1, "unknown-number", "after the ACK");
    assert_eq!(rig.carrier.byes, 0);
    finish_prompt(&mut rig);
    assert_eq!(rig.carrier.byes, 1);
    let record = rig.finish_one(404);
    assert!(record["answer"].is_string(), "it may be billed, and the record says so");
}

#[test]
fn a_secure_caller_is_told_with_srtp() {
    let mut rig = Rig::with("tones-secure", "", EARLY, ELSEWHERE);
    rig.call(Pbx);
    assert_eq!(rig.last_status(Pbx), 183);
    let way = rig.plane.configured(played(&rig).0).unwrap();
    assert!(way.protect.is_some() && way.unprotect.is_none());
    finish_prompt(&mut rig);
    rig.finish_one(404);
}

#[test]
fn a_trunk_that_is_down_and_a_full_one_are_said_as_such() {
    let mut rig = Rig::with("tones-down", EARLY, "", "");
    rig.cut = Some(Pbx);
    rig.call(Carrier);
    rig.fail(Pbx);
    rig.turn();
    assert_eq!(played(&rig).1, "trunk-down");
    finish_prompt(&mut rig);
    assert_eq!(rig.last_status(Carrier), 503);
    rig.finish_one(503);
    let mut rig = Rig::with("tones-full", EARLY, "max_concurrent_calls = 1", "");
    rig.talk(Carrier);
    rig.call(Carrier);
    assert_eq!(played(&rig).1, "limit-reached");
    finish_prompt(&mut rig);
    assert_eq!(rig.last_status(Carrier), 503);
    rig.hang_up(Pbx);
    assert_eq!(rig.finish().len(), 2);
}

#[test]
fn each_reason_has_its_prompt() {
    for why in Why::ALL {
        let name = abi::PromptName::new(why.prompt()).expect("a name of a prompt");
        assert_eq!(name.as_str(), why.prompt());
    }
    // The callee's trunk demands SRTP, and the callee refuses it.
    let mut rig = Rig::with("tones-srtp", EARLY, "", "");
    rig.call(Carrier);
    let (id, _) = rig.invited(Pbx);
    rig.answer(Pbx, id, 488, None);
    assert_eq!(played(&rig).1, "encryption-unavailable");
    finish_prompt(&mut rig);
    assert_eq!(rig.last_status(Carrier), 488);
    rig.finish_one(488);
    // The other way round nobody was asked for SRTP.
    let mut rig = Rig::with("tones-codec", "", EARLY, "");
    rig.call(Pbx);
    let (id, _) = rig.invited(Carrier);
    rig.answer(Carrier, id, 488, None);
    assert_eq!(rig.last_status(Pbx), 488);
    assert!(rig.plane.plays.is_empty());
    rig.finish_one(488);
    // No new calls are taken.
    let mut rig = Rig::with("tones-closing", EARLY, "", "");
    rig.close();
    rig.call(Carrier);
    assert_eq!(played(&rig).1, "service-closing");
    finish_prompt(&mut rig);
    assert_eq!(rig.last_status(Carrier), 503);
    rig.finish_one(503);
}

#[test]
fn a_group_without_room_is_said_as_such() {
    let fields = [(); 3].map(|()| "max_concurrent_calls = 1");
    let mut rig = super::hunting::group("tones-busy-group", "", fields, "");
    for who in [Carrier, Second, Third] {
        rig.call(Pbx);
        let (id, invite) = rig.invited(who);
        rig.accept(who, id, &invite);
    }
    rig.edit("pbx", |trunk| trunk.audio_tones = crate::trunk::tones::AudioTones::OnEarlyMedia);
    rig.call(Pbx);
    assert_eq!(played(&rig).1, "all-trunks-busy");
    finish_prompt(&mut rig);
    assert_eq!(rig.last_status(Pbx), 503);
    rig.stop_all();
    assert_eq!(rig.finish().len(), 4);
}

#[test]
fn what_cannot_be_said_is_left_out() {
    let delayed = |rig: &mut Rig| {
        rig.call_with(Carrier, "+4930222", None);
    };
    let g729 = |rig: &mut Rig| {
        let offer = rig.carrier.offer().replace("8 0", "18");
        rig.call_with(Carrier, "+4930222", Some(offer));
    };
    for is_delayed in [true, false] {
        let fields = format!("allow = []\n{EARLY}");
        let mut rig = Rig::with("unspoken", &fields, "", ELSEWHERE);
        if is_delayed {
            delayed(&mut rig)
        } else {
            g729(&mut rig)
        }
        assert_eq!(rig.statuses(Carrier), [404]);
        rig.finish_one(404);
    }
    // A prompt that is not there, and a data plane that says nothing of it.
    for is_refused in [true, false] {
        let mut rig = Rig::with("unsaid-prompt", EARLY, "", ELSEWHERE);
        rig.plane.refuse_play = is_refused.then_some(abi::Reason::NoPrompt);
        rig.call(Carrier);
        rig.seconds(if is_refused { 0 } else { 20 });
        assert_eq!(rig.statuses(Carrier), [183, 404], "{is_refused}");
        rig.finish_one(404);
    }
}

#[test]
fn a_busy_callee_says_so_itself() {
    let mut rig = Rig::with("tones-busy", EARLY, "", "");
    rig.call(Carrier);
    let (id, _) = rig.invited(Pbx);
    rig.answer(Pbx, id, 486, None);
    assert_eq!(rig.last_status(Carrier), 486);
    assert!(rig.plane.plays.is_empty());
    rig.finish_one(486);
}

#[test]
fn a_caller_that_leaves_ends_the_voice() {
    for fields in [EARLY, ANSWERED] {
        let mut rig = Rig::with("tones-left", fields, "", ELSEWHERE);
        let client = rig.call(Carrier);
        let code = if fields == EARLY {
            rig.cancel(Carrier, client);
            rig.turn();
            assert_eq!(rig.last_status(Carrier), 487);
            487
        } else {
            rig.hang_up(Carrier);
            404
        };
        assert!(rig.calls.is_empty());
        rig.finish_one(code);
    }
}

#[test]
fn so_many_callers_are_spoken_to_and_no_more() {
    let most = crate::call::VOICES_MAX;
    let mut rig = Rig::with("voices", EARLY, "", ELSEWHERE);
    for _ in 0..most {
        rig.call(Carrier);
        assert_eq!(rig.last_status(Carrier), 183);
    }
    rig.call(Carrier);
    assert_eq!(rig.last_status(Carrier), 404, "at once");
    assert_eq!(rig.plane.plays.len(), most);
    assert_eq!(rig.finish().len(), most + 1);
}
