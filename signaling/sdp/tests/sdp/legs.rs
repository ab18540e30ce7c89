//! Legs that differ: telephone events that end at us, and keys on RTP/AVP lines.

use crate::common::*;
use sdp::{
    Audio, Description, Events, Policy, Security, Suite, read_answer, read_offer, write_answer,
    write_offer,
};

const SUITE: Suite = Suite::AesCm128HmacSha1_80;

fn numbers(audio: &Audio) -> String {
    let numbers: Vec<_> = audio.formats.iter().map(|f| f.payload_type.to_string()).collect();
    numbers.join(" ")
}

fn events(events: Events) -> Policy {
    Policy { events, ..plain() }
}

fn offer(formats: &str) -> Description {
    let line = format!("m=audio 5000 RTP/AVP {formats}");
    parse(&with(&[&line, "a=rtpmap:96 telephone-event/8000", "a=rtpmap:101 opus/48000/2"]))
}

/// Our offer for a leg with this policy, when the other leg has these formats.
fn offered(policy: &Policy, formats: &str) -> String {
    let source = read_offer(&offer(formats), &plain()).unwrap();
    let body = write_offer(Some(&source), policy, &local(&[])).unwrap();
    numbers(&read_offer(&Description::parse(&body).unwrap(), &plain()).unwrap())
}

#[test]
fn an_offer_has_the_events_of_its_own_leg() {
    for (policy, formats, wanted) in [
        (Events::Pass, "8 96", "8 96"),
        (Events::Pass, "8", "8"),
        (Events::None, "8 96", "8"),
        (Events::Own, "8 96", "8 96"),
        (Events::Own, "8", "8 101"),
        // 101 means something else here; each clock rate has its own events.
        (Events::Own, "8 101", "8 101 96 103"),
    ] {
        assert_eq!(offered(&events(policy), formats), wanted, "{policy:?} {formats}");
    }
    let alone = |policy: Events| {
        let policy = allowing(events(policy), &[sdp::Codec::Pcma]);
        let body = write_offer(None, &policy, &local(&[])).unwrap();
        numbers(&read_offer(&Description::parse(&body).unwrap(), &plain()).unwrap())
    };
    assert_eq!([Events::Pass, Events::Own, Events::None].map(alone), ["8 101", "8 101", "8"]);
}

#[test]
fn an_answer_takes_events_that_end_at_us_whatever_the_other_leg_has() {
    for (policy, far, wanted) in [
        (Events::Pass, "8", "8"),
        (Events::Pass, "8 96", "8 96"),
        (Events::Own, "8", "8 96"),
        (Events::Own, "8 96", "8 96"),
        (Events::None, "8 96", "8"),
    ] {
        let (theirs, policy) = (offer("8 0 96"), events(policy));
        let chosen = read_offer(&theirs, &policy).unwrap();
        let far = read_offer(&offer(far), &plain()).unwrap();
        let body = write_answer(&theirs, &chosen, &far, &policy, &local(&[])).unwrap();
        let answer = read_offer(&Description::parse(&body).unwrap(), &plain()).unwrap();
        assert_eq!(numbers(&answer), wanted, "{policy:?}");
    }
}

fn best_effort() -> Policy {
    let security = Security::BestEffort { suites: vec![SUITE], unoffered: Vec::new() };
    Policy { security, ..plain() }
}

#[test]
fn keys_on_an_avp_line_count_for_best_effort_alone() {
    let crypto = format!("a=crypto:7 {SUITE} inline:{}", inline(SUITE, THEIRS));
    let keyed = parse(&with(&["m=audio 5000 RTP/AVP 8", &crypto]));
    let bare = parse(&with(&["m=audio 5000 RTP/AVP 8"]));
    let savp = parse(&with(&["m=audio 5000 RTP/SAVP 8", &crypto]));
    assert!(read_offer(&bare, &best_effort()).is_err(), "no key, no encryption");
    assert!(read_offer(&savp, &best_effort()).is_err(), "that is what Secure is for");
    assert!(!read_offer(&keyed, &plain()).unwrap().secure, "the keys mean nothing");
    let chosen = read_offer(&keyed, &best_effort()).unwrap();
    assert!(chosen.secure && chosen.cryptos.len() == 1);
    let keys = answer_keys(&chosen);
    let body = write_answer(&keyed, &chosen, &chosen, &best_effort(), &local(&keys)).unwrap();
    let text = String::from_utf8(body.clone()).unwrap();
    assert!(text.contains("RTP/AVP 8") && text.contains("a=crypto:7 "), "{text}");
    // As an offer of ours, later in such a call, and its answer.
    let source = read_offer(&bare, &plain()).unwrap();
    let ours = write_offer(Some(&source), &best_effort(), &local(&our_keys())).unwrap();
    let ours = Description::parse(&ours).unwrap();
    let answer = parse(&with(&["m=audio 5000 RTP/AVP 8", &crypto.replace(":7 ", ":1 ")]));
    let agreed = read_answer(&answer, &ours, &best_effort()).unwrap();
    assert!(agreed.secure && agreed.cryptos.len() == 1);
    assert!(read_answer(&bare, &ours, &best_effort()).is_err(), "an answer without a key");
}
