//! What SIP calls go wrong by: forks, collisions, crossing and lost messages, each with SIPp on both
//! sides. A scenario that does not go exactly as it is written fails.

use crate::capture::{Capture, Datagram};
use crate::gateway::{Gateway, Place};
use crate::sipp::{Run, Sipp};

const PBX_PORT: u16 = 5081;

/// Answers one call at the PBX's place.
fn callee(place: &Place, scenario: &str, more: &[&str]) -> Sipp {
    let arguments = ["-m", "1"].iter().chain(more).map(|text| (*text).to_owned()).collect();
    let run = Run { scenario, transport: "u1", arguments };
    Sipp::run_at(place, place.pbx, PBX_PORT, run)
}

/// One call from the provider to the PBX, both insecure; what was on the wire, and the CDR.
fn call(caller: &str, answering: (&str, &[&str])) -> (Vec<Datagram>, Place, serde_json::Value) {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &place.plain_config());
    let mut callee = callee(&place, answering.0, answering.1);
    let capture = Capture::start(&place);
    Sipp::call(&place, caller, "u1", "390612345", 1, 500).succeed();
    callee.succeed();
    let wire = capture.finish();
    let cdr = gateway.cdrs_when(1).remove(0);
    assert!(gateway.stop());
    (wire, place, cdr)
}

/// Messages from the gateway to one side that begin so and have this CSeq.
fn sent(wire: &[Datagram], to: std::net::Ipv4Addr, start: &str, cseq: &str) -> Vec<String> {
    let texts = wire.iter().filter(|datagram| datagram.destination.0 == to);
    let texts = texts.map(|datagram| String::from_utf8_lossy(&datagram.payload).into_owned());
    texts.filter(|text| text.starts_with(start) && text.contains(cseq)).collect()
}

#[test]
fn a_second_phone_that_answers_is_acknowledged_and_hung_up() {
    let (wire, place, cdr) = call("caller.xml", ("forks_callee.xml", &[]));
    assert_eq!(cdr["code"], 200, "{cdr:#}");
    assert_eq!(cdr["ended_by"], "caller", "the call went on: {cdr:#}");
    assert_eq!(sent(&wire, place.pbx, "BYE ", "CSeq:").len(), 2);
}

#[test]
fn changes_that_collide_are_refused_on_both_sides_and_tried_again() {
    let (_, _, cdr) = call("glare_caller.xml", ("glare_callee.xml", &[]));
    assert_eq!((&cdr["code"], &cdr["ended_by"]), (&200.into(), &"caller".into()), "{cdr:#}");
}

#[test]
fn an_answer_that_crosses_the_cancel_is_acknowledged_and_hung_up() {
    let (_, _, cdr) = call("cancel_caller.xml", ("late.xml", &[]));
    assert_eq!(cdr["code"], 487, "{cdr:#}");
}

#[test]
fn a_cancel_after_the_answer_changes_nothing() {
    let (_, _, cdr) = call("cancel_late_caller.xml", ("callee.xml", &[]));
    assert_eq!((&cdr["code"], &cdr["ended_by"]), (&200.into(), &"caller".into()), "{cdr:#}");
}

#[test]
fn early_media_is_acknowledged_by_prack_on_each_leg() {
    let (wire, place, cdr) = call("prack_caller.xml", ("prack_callee.xml", &[]));
    assert_eq!(cdr["code"], 200, "{cdr:#}");
    let early = sent(&wire, place.provider, "SIP/2.0 183", "1 INVITE");
    assert!(early[0].contains("Require: 100rel") && early[0].contains("m=audio"), "{early:?}");
    let prack = sent(&wire, place.pbx, "PRACK ", "RAck: 41 1 INVITE");
    assert_eq!(prack.len(), 1, "the callee's number, not the caller's: {prack:?}");
}

#[test]
fn a_caller_describes_its_media_again_by_update() {
    let (wire, place, cdr) = call("update_caller.xml", ("callee.xml", &[]));
    assert_eq!(cdr["code"], 200, "{cdr:#}");
    let answer = sent(&wire, place.provider, "SIP/2.0 200", "2 UPDATE");
    assert!(answer[0].contains("m=audio"), "{answer:?}");
}

#[test]
fn both_sides_describe_their_media_again_while_the_callee_rings() {
    let (wire, place, cdr) = call("update_early_caller.xml", ("update_early_callee.xml", &[]));
    assert_eq!((&cdr["code"], &cdr["ended_by"]), (&200.into(), &"caller".into()), "{cdr:#}");
    for (whom, cseq) in [(place.provider, "3 UPDATE"), (place.pbx, "20 UPDATE")] {
        let answer = sent(&wire, whom, "SIP/2.0 200", cseq);
        assert!(answer[0].contains("m=audio"), "{answer:?}");
    }
    assert!(sent(&wire, place.pbx, "UPDATE ", "CSeq:").is_empty(), "each leg by itself");
}

#[test]
fn an_answer_is_repeated_until_its_ack_comes() {
    let (wire, place, cdr) = call("late_ack_caller.xml", ("callee.xml", &[]));
    assert_eq!((&cdr["code"], &cdr["ended_by"]), (&200.into(), &"caller".into()), "{cdr:#}");
    let answers = sent(&wire, place.provider, "SIP/2.0 200", "1 INVITE");
    assert!(answers.len() >= 2, "the ACK came after more than T1: {}", answers.len());
    assert!(answers.iter().all(|answer| *answer == answers[0]), "the same bytes");
}

#[test]
fn an_answer_that_comes_again_gets_the_same_ack_again() {
    // Without SIPp's own retransmissions, which would take the second ACK for a repetition.
    let (wire, place, cdr) = call("caller.xml", ("repeating_callee.xml", &["-nr"]));
    assert_eq!((&cdr["code"], &cdr["ended_by"]), (&200.into(), &"caller".into()), "{cdr:#}");
    let acks = sent(&wire, place.pbx, "ACK ", "1 ACK");
    assert!(acks.len() >= 2 && acks.iter().all(|ack| *ack == acks[0]), "{acks:?}");
}
