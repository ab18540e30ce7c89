//! Tests of connections and of routes, asked for by REST.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::trunk_test::{CALL_MAX, LADDER_BYTES_MAX};
use super::rig::*;
use crate::config;
use crate::plan::Plan;
use crate::probe::{Failure, Refused, Report, Rung, Stage, Step, Update, Verdict};
use crate::store::tests::log;
use crate::trunk::TrunkId;

/// A rig whose trunk 1 is stored and runs.
fn running() -> Rig {
    let rig = Rig::new();
    rig.add("/trunks", trunk("a"));
    let text = "[sip]\nudp = [\"127.0.0.1:5060\"]\n[[trunk]]\nname = \"a\"\nhost = \"192.0.2.1\"\n";
    let trunks = config::parse(text, std::path::Path::new("/")).unwrap().trunks;
    rig.api.gateway.plan.publish(Plan { trunks, ..Plan::default() });
    rig
}

fn step() -> Step {
    Step {
        stage: Stage::Tcp,
        verdict: Verdict::Fail,
        at_ms: 1,
        took_ms: 2,
        text: "192.0.2.1:5060 refuses".into(),
        remedy: Some("check the port".into()),
        failure: Some(Failure::Refused),
        facts: vec![("address".into(), "192.0.2.1:5060".into())],
    }
}

fn rung(text: &str) -> Rung {
    Rung {
        at_ms: 1,
        sent: true,
        transport: "UDP".into(),
        local: "127.0.0.1:5060".parse().unwrap(),
        remote: "192.0.2.1:5060".parse().unwrap(),
        text: text.into(),
    }
}

fn report(ladder: Vec<Rung>) -> Update {
    Update::Done(Report {
        trunk: 1,
        name: "a".into(),
        started: Timestamp::now(),
        took_ms: 3,
        verdict: Verdict::Fail,
        steps: vec![step()],
        ladder,
    })
}

fn comes_to(rig: &Rig, end: End) {
    rig.probes.ends.lock().unwrap().push_back(end);
}

/// The events of an answer, by name.
fn events(reply: &Reply) -> Vec<(String, Value)> {
    let text = String::from_utf8(reply.bytes.clone()).unwrap();
    let event = |block: &str| {
        let (name, data) = block.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        (name.to_owned(), serde_json::from_str(data).unwrap())
    };
    text.split_terminator("\n\n").map(event).collect()
}

#[test]
fn a_test_tells_its_steps_is_kept_and_is_in_the_log() {
    let rig = running();
    rig.ask("GET", "/trunks/1/test", Value::Null).expect(404);
    comes_to(&rig, Ok(vec![Update::Step(step()), report(vec![rung("OPTIONS")])]));
    let reply = rig.ask("POST", "/trunks/1/test", json!({"call": "+39061"}));
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, "text/event-stream"));
    assert_eq!(*rig.probes.begun.lock().unwrap(), [(TrunkId(1), Some("+39061".into()))]);
    let seen = events(&reply);
    let names: Vec<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["step", "done"]);
    let step = &seen[0].1;
    assert_eq!(
        (&step["stage"], &step["verdict"], &step["failure"], &step["remedy"]),
        (&json!("TCP"), &json!("FAIL"), &json!("refused"), &json!("check the port"))
    );
    let kept = rig.ask("GET", "/trunks/1/test", Value::Null).expect(200);
    assert_eq!(kept, seen[1].1);
    assert_eq!((&kept["steps"][0], &kept["ladder"][0]["text"]), (step, &json!("OPTIONS")));
    let entry = log(&rig.store).pop().unwrap();
    assert_eq!((entry.action.as_str(), entry.kind.as_str(), entry.id), ("test", "trunk", 1));
    assert_eq!(entry.actor, "operator");
    assert_eq!(entry.after, json!({"verdict": "FAIL", "took_ms": 3}).to_string());
    // The next one takes its place.
    comes_to(&rig, Ok(vec![report(vec![rung("INVITE")])]));
    rig.ask("POST", "/trunks/1/test", json!({}));
    let kept = rig.ask("GET", "/trunks/1/test", Value::Null).expect(200);
    assert_eq!(kept["ladder"][0]["text"], "INVITE");
    assert_eq!(rig.probes.begun.lock().unwrap()[1], (TrunkId(1), None));
}

#[test]
fn a_refused_test_says_when_to_come_again() {
    let rig = running();
    let before = log(&rig.store).len();
    let soon = Refused::TooSoon { wait: Duration::from_millis(2_500) };
    for (refused, seconds) in [(soon, "3"), (Refused::Busy, "5")] {
        comes_to(&rig, Err(refused));
        let reply = rig.ask("POST", "/trunks/1/test", json!({}));
        assert_eq!(reply.header("retry-after"), seconds);
        assert_eq!(reply.expect(429)["detail"], refused.to_string());
    }
    assert_eq!(log(&rig.store).len(), before, "nothing was done");
}

#[test]
fn what_cannot_be_tested_is_refused_before_anything_is_sent() {
    let rig = running();
    rig.ask("POST", "/trunks/2/test", json!({})).expect(404);
    let long = "1".repeat(CALL_MAX + 1);
    for call in ["", "1 2", "1\r\nVia: x", "1@192.0.2.9", "1;phone-context=x", "sip:1", &long] {
        let problem = rig.ask("POST", "/trunks/1/test", json!({"call": call})).expect(422);
        assert_eq!(problem["findings"][0]["field"], "call", "{call:?}");
    }
    rig.ask("POST", "/trunks/1/test", json!({"number": "1"})).expect(422);
    assert!(rig.probes.begun.lock().unwrap().is_empty());
    comes_to(&rig, Ok(vec![report(Vec::new())]));
    let longest = &long[1..];
    assert_eq!(rig.ask("POST", "/trunks/1/test", json!({"call": longest})).status, 200);
}

#[test]
fn a_ladder_is_kept_up_to_its_limit() {
    let rig = running();
    let long = "x".repeat(LADDER_BYTES_MAX - 1);
    comes_to(&rig, Ok(vec![report(vec![rung(&long), rung("y"), rung("z")])]));
    let told = events(&rig.ask("POST", "/trunks/1/test", json!({})));
    let kept = rig.ask("GET", "/trunks/1/test", Value::Null).expect(200);
    assert_eq!(told[0].1, kept);
    assert_eq!(kept["ladder"].as_array().unwrap().len(), 2);
    assert_eq!(kept["ladder"][1]["text"], "y");
}

#[test]
fn a_report_survives_a_restart() {
    let rig = running();
    comes_to(&rig, Ok(vec![report(vec![rung("OPTIONS")])]));
    assert_eq!(rig.ask("POST", "/trunks/1/test", json!({})).status, 200);
    let Rig { scratch, store, api, .. } = rig;
    drop((store, api));
    let again = scratch.open().unwrap();
    let kept = again.ask_blocking(|keeper| keeper.report(1)).unwrap().unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["ladder"][0]["text"], "OPTIONS");
}

#[test]
fn a_routing_decision_is_told_in_words_and_in_parts() {
    let rig = running();
    let at = "2026-12-24T20:00:00Z";
    let question = json!({"from_trunk": "a", "called": "0039", "caller": "7", "at": at});
    let told = rig.ask("POST", "/routes/test", question).expect(200);
    let explained = rig.shard.explained.lock().unwrap().clone();
    let time = Some(at.parse().unwrap());
    assert_eq!(explained, [(TrunkId(1), String::from("0039"), String::from("7"), time)]);
    let step = &told["steps"][0];
    assert_eq!((&step["step"], &step["route"]), (&json!("route"), &json!("r")));
    assert_eq!(step["text"], "route r does not: called 0039 does not fit _0.");
    assert_eq!(
        told["outcome"],
        json!({"outcome": "refused", "code": 404, "reason": "no route",
               "text": "refused with 404: no route"})
    );
    let short = json!({"from_trunk": "a", "called": "1"});
    rig.ask("POST", "/routes/test", short).expect(200);
    let last = rig.shard.explained.lock().unwrap().last().cloned().unwrap();
    assert_eq!(last, (TrunkId(1), String::from("1"), String::new(), None));
}

#[test]
fn a_question_about_a_route_names_a_trunk_and_a_number() {
    let rig = running();
    let long = "1".repeat(super::super::route_test::NUMBER_MAX + 1);
    for (question, field) in [
        (json!({"from_trunk": "b", "called": "1"}), "from_trunk"),
        (json!({"from_trunk": "a", "called": long}), "called"),
        (json!({"from_trunk": "a", "called": "1", "caller": long}), "caller"),
        (json!({"from_trunk": "a"}), ""),
        (json!({"from_trunk": "a", "called": "1", "at": "tomorrow"}), ""),
    ] {
        let problem = rig.ask("POST", "/routes/test", question).expect(422);
        assert_eq!(problem["findings"][0]["field"], field, "{problem}");
    }
    assert!(rig.shard.explained.lock().unwrap().is_empty());
    let longest = json!({"from_trunk": "a", "called": &long[1..]});
    rig.ask("POST", "/routes/test", longest).expect(200);
}
