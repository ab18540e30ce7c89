//! What an operator tries before anybody calls: the connection of a trunk against SIPp, and where a
//! number would go.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Instant;

use serde_json::Value;

use crate::gateway::Place;
use crate::lines::PATIENCE;
use crate::sipp::{Run, Sipp};
use crate::stored::{Operator, add_trunks_and_route, start};

/// SIPp that answers OPTIONS, once it does.
fn answering(place: &Place) -> Sipp {
    let arguments = vec!["-m".into(), "1000".into()];
    let peer = Sipp::run(place, Run { scenario: "options.xml", transport: "u1", arguments });
    let until = Instant::now() + PATIENCE;
    while is_free(place.provider, 5070) {
        assert!(Instant::now() < until, "SIPp does not listen");
        std::thread::yield_now();
    }
    peer
}

fn is_free(address: Ipv4Addr, port: u16) -> bool {
    UdpSocket::bind((address, port)).is_ok()
}

/// Exit code and lines of JSON of a test of a connection.
fn tried(operator: &Operator, name: &str) -> (i32, Vec<Value>) {
    tried_with(operator, &["trunks", "test", name])
}

fn tried_with(operator: &Operator, arguments: &[&str]) -> (i32, Vec<Value>) {
    let output = operator.run(arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.is_empty(), "{errors}");
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.code().unwrap(), lines)
}

#[test]
fn a_connection_is_tested_step_by_step_and_a_refused_port_is_named() {
    let place = Place::new();
    let mut gateway = start(&place, "info");
    let operator = Operator::new(&place);
    let quiet = "send_keep_alive=false";
    let host = format!("host={}", place.provider);
    operator.ask(&["trunks", "add", "provider", &host, "port=5070", quiet]);
    let closed = ["trunks", "add", "closed", &host, "port=5099", "transport=TCP", quiet];
    operator.ask(&closed);
    assert_eq!(operator.refused(&["trunks", "test", "provider", "--last"]).0, 66, "none yet");
    let peer = answering(&place);
    let (code, lines) = tried(&operator, "provider");
    let (report, steps) = lines.split_last().unwrap();
    let stages: Vec<&str> = steps.iter().map(|step| step["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["DNS", "TCP", "OPTIONS"], "{lines:?}");
    assert_eq!(steps[2]["verdict"], "PASS", "{lines:?}");
    assert_eq!((code, &report["verdict"]), (0, &Value::from("PASS")));
    let (again, text) = operator.refused(&["trunks", "test", "provider"]);
    assert_eq!(again, 65, "{text}");
    assert!(text.contains("a moment ago") && text.contains("try again in"), "{text}");
    let kept = operator.ask(&["trunks", "test", "provider", "--last"]);
    assert_eq!(&kept, report);
    let sent = kept["ladder"][0]["text"].as_str().unwrap();
    assert!(kept["ladder"][0]["sent"] == true && sent.starts_with("OPTIONS sip:"), "{sent}");
    assert!(kept["ladder"][1]["text"].as_str().unwrap().starts_with("SIP/2.0 200"), "{kept}");
    drop(peer);
    let (code, lines) = tried(&operator, "closed");
    let last = &lines[lines.len() - 2];
    assert_eq!((&last["stage"], &last["failure"]), (&"TCP".into(), &"refused".into()), "{last}");
    let (text, remedy) = (last["text"].as_str().unwrap(), last["remedy"].as_str().unwrap());
    assert!(text.contains(&format!("{}:5099", place.provider)) && !remedy.is_empty(), "{last}");
    assert_eq!((code, &lines[lines.len() - 1]["verdict"]), (1, &Value::from("FAIL")));
    let log = operator.ask(&["audit", "list"]).to_string();
    assert_eq!(log.matches("\"action\":\"test\"").count(), 2, "{log}");
    assert_eq!(operator.ask(&["audit", "verify"])["holds"], true);
    assert!(gateway.stop());
}

#[test]
fn a_test_call_hears_its_audio_and_a_peer_that_sends_none_is_named() {
    let place = Place::new();
    let mut gateway = start(&place, "info");
    let operator = Operator::new(&place);
    let peers = [("echo", place.provider, true), ("mute", place.pbx, false)];
    for (name, address, echoes) in peers {
        let host = format!("host={address}");
        let quiet = "send_keep_alive=false";
        operator.ask(&["trunks", "add", name, &host, "port=5070", quiet]);
        let mut arguments: Vec<String> = vec!["-m".into(), "1000".into()];
        arguments.extend(echoes.then(|| "-rtp_echo".into()));
        let run = Run { scenario: "echo.xml", transport: "u1", arguments };
        let _peer = Sipp::run_at(&place, address, 5070, run);
        let call = ["trunks", "test", name, "--call", "390612345"];
        let (code, lines) = tried_with(&operator, &call);
        let (report, steps) = lines.split_last().unwrap();
        let media = steps.last().unwrap();
        assert_eq!(media["stage"], "MEDIA", "{lines:#?}");
        if echoes {
            assert_eq!((code, &report["verdict"]), (0, &"PASS".into()), "{lines:#?}");
        } else {
            assert_eq!(media["failure"], "one_way_audio", "{media:#}");
            assert!(code == 1 && !media["remedy"].as_str().unwrap().is_empty(), "{media:#}");
        }
    }
    assert!(gateway.stop());
    assert!(gateway.cdrs_when(0).is_empty(), "a test is no call");
}

#[test]
fn a_number_is_followed_to_the_trunk_where_it_would_go() {
    let place = Place::new();
    let mut gateway = start(&place, "info");
    let operator = Operator::new(&place);
    add_trunks_and_route(&place, &operator);
    let told = operator.ask(&["routes", "test", "390612345", "--from", "provider"]);
    let outcome = &told["outcome"];
    assert_eq!((&outcome["outcome"], &outcome["route"]), (&"placed".into(), &"to pbx".into()));
    assert_eq!(outcome["trunks"], serde_json::json!(["pbx"]));
    let texts: Vec<&str> =
        told["steps"].as_array().unwrap().iter().map(|s| s["text"].as_str().unwrap()).collect();
    assert_eq!(texts[0], "call from trunk provider to 390612345");
    assert!(texts.iter().any(|text| text.starts_with("route to pbx takes it")), "{texts:?}");
    let refused = operator.run(&["routes", "test", "44123", "--from", "provider"]);
    assert_eq!(refused.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&refused.stdout).unwrap();
    let outcome = &told["outcome"];
    assert_eq!((&outcome["outcome"], &outcome["code"]), (&"refused".into(), &404.into()));
    let (code, text) = operator.refused(&["routes", "test", "1", "--from", "nobody"]);
    assert_eq!(code, 65, "{text}");
    assert!(text.contains("there is no such trunk"), "{text}");
    assert!(gateway.stop());
    assert!(gateway.cdrs_when(0).is_empty(), "no call");
}
