//! Peers of trunks that behave badly (`peers/hostile.py`): nobody else is harmed, and nothing is read
//! in two ways.

use serde_json::{Value, json};

use crate::capture::{Capture, Datagram};
use crate::gateway::{Gateway, Place};
use crate::siege::{attack_by, config, number};
use crate::sipp::{Run, Sipp};

/// What RFC 3261 §18.1.1 wants by TCP.
const WIDE: usize = 1_300;
const PBX_PORT: u16 = 5081;

fn rows(table: &Value) -> impl Iterator<Item = (&String, &Value)> {
    table.as_object().unwrap().iter()
}

#[test]
fn a_length_that_can_be_read_in_two_ways_ends_the_message_wherever_it_is_cut() {
    let place = Place::new();
    let (told, _) = attack_by("hostile.py", &place, &config(&place), &["lengths"]);
    for (transport, verdicts) in rows(&told["whole"]) {
        for (trick, verdict) in rows(verdicts) {
            let is_large = ["huge", "2^"].iter().any(|name| trick.starts_with(name));
            // A datagram is answered; a connection, whose next byte could be anything, is closed.
            let expected = match transport.as_str() {
                "UDP" if is_large => "trick 413",
                "UDP" => "trick 400",
                _ => "closed",
            };
            assert_eq!(*verdict, json!([expected]), "{transport}: {trick}");
        }
    }
    for (trick, verdicts) in rows(&told["cut"]) {
        assert_eq!(*verdicts, json!([["closed"]]), "{trick}: the same at every cut");
    }
    assert!(number(&told["cuts"]) > 2_000.0, "{}", told["cuts"]);
    // Positive control: what hides in the bodies is answered where it is a message.
    for (transport, controls) in rows(&told["controls"]) {
        for (control, verdict) in rows(controls) {
            let is_two = control.starts_with("two") && transport != "UDP";
            let expected = if is_two { &["plain 200", "hidden 200"][..] } else { &["plain 200"] };
            assert_eq!(*verdict, json!(expected), "{transport}: {control}");
        }
    }
}

#[test]
fn a_peer_that_does_not_read_harms_nobody() {
    let place = Place::new();
    let (told, _) = attack_by("hostile.py", &place, &config(&place), &["stalled"]);
    let canaries = &told["canaries"];
    assert_eq!(canaries["placed"], canaries["well"], "{told}");
    assert_eq!(told["cut"], 4, "each of them is cut off: {told}");
    assert!(number(&told["grown_kib"]) < 64.0 * 1024.0, "what waits is bounded: {told}");
    // Positive control: as many questions of one who reads are answered.
    assert_eq!(told["reader"], json!([]), "{told}");
}

#[test]
fn who_asks_too_fast_hears_when_to_come_back_and_is_helped_all_the_same() {
    let place = Place::new();
    let mut config = config(&place);
    config.push_str(
        "\n[[route]]\nname = \"help\"\nfrom_trunk = \"provider\"\ncalled = \"112\"\n\
         destination = \"provider\"\nemergency = true\n",
    );
    let (told, cdrs) = attack_by("hostile.py", &place, &config, &["crowd"]);
    assert_eq!(told["before"], json!(["404", ""]), "nobody has the number: {told}");
    assert_eq!(told["after"], json!(["404", ""]), "it ends: {told}");
    // Positive control of the help: those who asked in the same moment were refused, with Retry-After.
    assert_eq!(told["refused"], json!(vec!["5"; 10]), "{told}");
    // The provider, called itself, is busy.
    assert_eq!(told["helped"], json!(vec!["486"; 20]), "{told}");
    let canaries = &told["canaries"];
    let [placed, well] = ["placed", "well"].map(|name| number(&canaries[name]));
    assert!(well >= 0.99 * placed, "goodput: {told}");
    assert!(number(&told["grown_kib"]) < 64.0 * 1024.0, "memory: {told}");
    // What is refused so is kept nowhere.
    assert!(!cdrs.iter().any(|cdr| cdr["code"] == 503), "{cdrs:#?}");
}

#[test]
fn a_peer_that_asks_for_fewer_calls_gets_fewer() {
    let place = Place::new();
    // Ports that a call had rest for a while.
    let config = place.plain_config().replace("20000-20199", "20000-20999");
    let config = config.replace("flows = 100", "flows = 500");
    let (told, _) = attack_by("hostile.py", &place, &config, &["oc"]);
    let via = told["via"].as_str().unwrap();
    assert!(via.contains(";oc;oc-algo=\"loss\""), "RFC 7339 §4.1: {via}");
    for name in ["free", "again"] {
        assert_eq!(told[name], json!({"asked": 20, "statuses": {"486": 20}}), "{name}: {told}");
    }
    let half = json!({"asked": 10, "statuses": {"486": 10, "503": 10}});
    assert_eq!(told["half"], half, "{told}");
}

/// One call from the provider to the PBX whose INVITE is too large for a datagram; what was sent to
/// the PBX by UDP, and the CDR.
fn call_widely(transport: &str, caller: &str) -> (Vec<Datagram>, Place, Value) {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &place.plain_config());
    let arguments = vec!["-m".into(), "1".into()];
    let run = Run { scenario: "callee.xml", transport, arguments };
    let mut callee = Sipp::run_at(&place, place.pbx, PBX_PORT, run);
    let capture = Capture::start(&place);
    let number = format!("39{}", "0".repeat(300));
    Sipp::call(&place, caller, "u1", &number, 1, 300).succeed();
    callee.succeed();
    let mut wire = capture.finish();
    wire.retain(|datagram| datagram.destination == (place.pbx, PBX_PORT));
    let cdr = gateway.cdrs_when(1).remove(0);
    assert!(gateway.stop());
    (wire, place, cdr)
}

fn invites(wire: &[Datagram]) -> impl Iterator<Item = &Datagram> {
    wire.iter().filter(|datagram| datagram.payload.starts_with(b"INVITE "))
}

#[test]
fn an_invite_too_large_for_a_datagram_goes_by_tcp() {
    let (wire, place, cdr) = call_widely("t1", "caller.xml");
    assert_eq!(cdr["code"], 200, "{cdr:#}");
    assert_eq!(invites(&wire).count(), 0, "none by UDP to {}", place.pbx);
}

#[test]
fn a_peer_without_tcp_gets_the_large_invite_as_a_datagram() {
    let (wire, _, cdr) = call_widely("u1", "caller.xml");
    assert_eq!(cdr["code"], 200, "{cdr:#}");
    assert!(invites(&wire).any(|datagram| datagram.payload.len() > WIDE), "it was large");
}
