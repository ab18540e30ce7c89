//! `direct_media`: descriptions are passed on with the peers' own addresses, and the data plane has
//! nothing to do.

use serde_json::Value;
use sip::wire::Method;

use super::rig::{Carrier, Pbx, Rig};

const DIRECT: &str = "direct_media = \"yes\"";

fn media(body: &[u8]) -> (String, String) {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let field = |start: &str, at: usize| {
        let line = text.lines().find(|line| line.starts_with(start)).unwrap();
        line.split_whitespace().nth(at).unwrap().to_owned()
    };
    (field("c=IN", 2), field("m=audio", 1))
}

/// The same description from another place.
fn elsewhere(text: &str) -> String {
    text.replace("100.77", "100.88").replace("7000", "8000")
}

fn notes(record: &Value) -> String {
    record["notes"].to_string()
}

#[test]
fn each_side_is_told_the_other_ones_address() {
    let mut rig = Rig::plain("bypass-both", DIRECT, DIRECT);
    rig.is_bypassed = true;
    let offer = rig.carrier.offer();
    rig.call(Carrier);
    let (id, invite) = rig.invited(Pbx);
    assert_eq!(media(&invite.body), media(offer.as_bytes()), "the caller's own place");
    let answer = elsewhere(&rig.pbx.accept(&invite.body));
    rig.answer(Pbx, id, 200, Some(answer.clone()));
    let told = rig.last_response(Carrier);
    assert_eq!(told.status.code(), 200);
    assert_eq!(media(&told.body), media(answer.as_bytes()), "the callee's own place");
    assert!(rig.plane.updates.is_empty(), "the data plane relays nothing");
    rig.hang_up(Carrier);
    let record = rig.finish_one(200);
    assert!(notes(&record).contains("from peer to peer"), "{record}");
}

#[test]
fn a_side_that_moves_its_media_or_holds_is_passed_on() {
    let mut rig = Rig::plain("bypass-moves", DIRECT, DIRECT);
    rig.is_bypassed = true;
    rig.talk(Carrier);
    rig.pbx.hesitates = true;
    let moved = rig.carrier.offer().replace("7000", "7100");
    rig.ask(Carrier, Method::Invite, Some(moved.clone()));
    let (id, asked) = rig.asked_inside(Pbx);
    assert_eq!(media(&asked.body), media(moved.as_bytes()));
    let answer = elsewhere(&rig.pbx.accept(&asked.body));
    rig.answer(Pbx, id, 200, Some(answer.clone()));
    let told = rig.last_response(Carrier);
    assert_eq!((told.status.code(), media(&told.body)), (200, media(answer.as_bytes())));
    let held = moved.replace("a=sendrecv", "a=sendonly");
    rig.ask(Carrier, Method::Invite, Some(held));
    let (id, asked) = rig.asked_inside(Pbx);
    assert!(String::from_utf8_lossy(&asked.body).contains("a=sendonly"));
    let answer = elsewhere(&rig.pbx.accept(&asked.body));
    rig.answer(Pbx, id, 200, Some(answer));
    assert_eq!(rig.last_status(Carrier), 200);
    assert!(rig.plane.updates.is_empty());
    rig.pbx.hesitates = false;
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn an_early_answer_is_kept_for_the_200_that_has_none() {
    let mut rig = Rig::plain("bypass-early", DIRECT, DIRECT);
    rig.is_bypassed = true;
    rig.call(Carrier);
    let (id, invite) = rig.invited(Pbx);
    let answer = elsewhere(&rig.pbx.accept(&invite.body));
    rig.answer(Pbx, id, 183, Some(answer.clone()));
    assert!(rig.last_response(Carrier).body.is_empty(), "early media does not pass by us");
    rig.answer(Pbx, id, 200, None);
    let told = rig.last_response(Carrier);
    assert_eq!((told.status.code(), media(&told.body)), (200, media(answer.as_bytes())));
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn whatever_needs_us_in_the_middle_anchors_media_and_says_so() {
    for (name, carrier, pbx, why) in [
        ("one", DIRECT, "", "only one of both"),
        ("nat", "direct_media = \"yes\"\nnat = \"COMEDIA\"", DIRECT, "has nat"),
        (
            "tones",
            DIRECT,
            "direct_media = \"yes\"\naudio_tones = \"ON EARLY MEDIA\"",
            "audio_tones",
        ),
        ("mux", DIRECT, "direct_media = \"yes\"\nrtcp_mux = true", "has rtcp_mux"),
        ("digits", DIRECT, "direct_media = \"yes\"\ndtmf_mode = \"info\"", "digits are converted"),
        // The offer names 198.51.100.77, the carrier signals from 192.0.2.10.
        ("nonat", "direct_media = \"nonat\"", DIRECT, "not where it signals from"),
    ] {
        let mut rig = Rig::plain(&format!("bypass-{name}"), carrier, pbx);
        rig.call(Carrier);
        let (id, invite) = rig.invited(Pbx);
        let (address, _) = media(&invite.body);
        assert_ne!(address, "198.51.100.77", "{name}: our own place");
        rig.accept(Pbx, id, &invite);
        assert_eq!(rig.last_status(Carrier), 200, "{name}");
        assert!(!rig.plane.updates.is_empty(), "{name}");
        rig.hang_up(Carrier);
        let record = rig.finish_one(200);
        assert!(notes(&record).contains(why), "{name}: {record}");
    }
    // Nobody wants it: no note.
    let mut rig = Rig::plain("bypass-none", "", "");
    rig.talk(Carrier);
    rig.hang_up(Carrier);
    assert!(!notes(&rig.finish_one(200)).contains("anchored"));
}

#[test]
fn a_delayed_offer_is_anchored() {
    let mut rig = Rig::plain("bypass-delayed", DIRECT, DIRECT);
    rig.carrier.ack_body = Some(rig.carrier.offer());
    rig.call_with(Carrier, "+4930222", None);
    let (id, _) = rig.invited(Pbx);
    let offer = rig.pbx.offer();
    rig.answer(Pbx, id, 200, Some(offer));
    assert!(!rig.plane.updates.is_empty());
    rig.hang_up(Carrier);
    assert!(notes(&rig.finish_one(200)).contains("made no offer"));
}
