//! The gateway under siege (`peers/siege.py`): mutants on every transport, half-open handshakes, a
//! flood from nowhere, and canary calls that go on all the while.
//!
//! The checks run short ones. `TRUNKLINE_SIEGE=full` makes them those of the README, minutes long,
//! which also hold the gateway to its times.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::gateway::{Gateway, Place};

/// The provider that is called and the PBX that calls; two trunks that attack, which may have few
/// calls, and routes for them, so that their mutants come as far as a call.
pub fn config(place: &Place) -> String {
    let [tcp, tls] = attackers(place);
    let mut config = place.config();
    for (name, host, more) in [
        ("tcp side", tcp, "transport = \"TCP\""),
        ("tls side", tls, "transport = \"TLS\"\nsecure = true\nencryption = true"),
    ] {
        config.push_str(&format!(
            "\n[[trunk]]\nname = \"{name}\"\nhost = \"{host}\"\nsend_keep_alive = false\n\
             max_concurrent_calls = 4\n{more}\n\n[[route]]\nname = \"from {name}\"\n\
             from_trunk = \"{name}\"\ncalled = \"_0.\"\ndestination = \"provider\"\n"
        ));
    }
    // Ports that a call had rest for a while.
    let config =
        config.replace("20000-20199", "20000-23999").replace("flows = 100", "flows = 1000");
    config.replace("level = \"info\"", "level = \"error\"")
}

fn attackers(place: &Place) -> [String; 2] {
    let [a, b, n, _] = place.gateway.octets();
    [4, 5].map(|host| format!("{a}.{b}.{n}.{host}"))
}

fn is_full() -> bool {
    std::env::var("TRUNKLINE_SIEGE").is_ok_and(|text| text == "full")
}

fn besiege(attack: &str, short: &[&str], full: &[&str]) -> Value {
    let place = Place::new();
    let config = config(&place);
    let [a, b, n, _] = place.gateway.octets();
    // Addresses of nobody, and many of them.
    let strangers = format!("{a}.{}.{n}", b + 1);
    let more = if is_full() { full } else { short };
    let arguments = [&[attack, "--strangers", strangers.as_str()], more].concat();
    attack_by("siege.py", &place, &config, &arguments).0
}

/// Runs one attack of a script in `peers` on a gateway of its own and returns what came of it, with
/// the CDRs. The gateway must be the same processes as before, without a complaint, and end with
/// success.
pub fn attack_by(
    script: &str,
    place: &Place,
    config: &str,
    arguments: &[&str],
) -> (Value, Vec<Value>) {
    let mut gateway = Gateway::start_quiet(place, config);
    let pids = ["signaling", "dataplane"].map(|process| gateway.pid_of(process));
    let [tcp, tls] = attackers(place);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(script);
    let output = Command::new("python3")
        .arg(script)
        .args(arguments)
        .args(["--gateway", &place.gateway.to_string()])
        .args(["--provider", &place.provider.to_string(), "--pbx", &place.pbx.to_string()])
        .args(["--tcp", &tcp, "--tls", &tls])
        .args(["--certificates", &place.directory.display().to_string()])
        .args(["--pid", &pids[0].as_raw_nonzero().to_string()])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "the attack itself failed");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("{arguments:?}: {told}");
    assert_eq!(["signaling", "dataplane"].map(|process| gateway.pid_of(process)), pids, "a crash");
    assert!(gateway.stop());
    let log = gateway.log.rest();
    assert!(!log.iter().any(|line| line.contains("panicked")), "{log:#?}");
    (told, gateway.cdrs())
}

pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn mutants_on_every_transport_cost_no_call() {
    let told = besiege("mutants", &["--messages", "3000", "--every", "300"], &[]);
    let canaries = &told["canaries"];
    assert_eq!(canaries["placed"], canaries["well"], "{told}");
    assert!(number(&canaries["placed"]) > 10.0, "{told}");
    // Positive control: what cannot be framed ended connections, so mutants did arrive.
    assert!(
        number(&told["opened"]["TCP"]) > 50.0 && number(&told["opened"]["TLS"]) > 50.0,
        "{told}"
    );
    assert!(number(&told["probes"]) > 10.0, "{told}");
    if is_full() {
        assert!(number(&told["longest_ms"]) < 100.0, "a stall: {told}");
    }
}

#[test]
fn half_open_handshakes_cost_no_call() {
    half_open(&[]);
}

#[test]
fn half_open_handshakes_that_come_back_without_end_cost_no_call() {
    half_open(&["--endless"]);
}

fn half_open(more: &[&str]) {
    let short = [&["--connections", "600", "--calls", "40"], more].concat();
    let full = [&["--connections", "5000", "--calls", "400"], more].concat();
    let told = besiege("halfopen", &short, &full);
    let (before, during) = (&told["before"], &told["canaries"]);
    assert_eq!(during["placed"], during["well"], "{told}");
    assert!(number(&told["held_max"]) > 100.0, "the handshakes did hang: {told}");
    if is_full() {
        let [quiet, besieged] = [before, during].map(|calls| number(&calls["median_ms"]));
        assert!(besieged <= 2.0 * quiet, "set-up takes more than twice as long: {told}");
    }
}

#[test]
fn a_flood_from_nowhere_costs_no_call_and_no_memory() {
    let told = besiege("flood", &["--seconds", "3"], &["--seconds", "40"]);
    let (placed, well) = (&told["canaries"]["placed"], &told["canaries"]["well"]);
    assert!(number(well) >= 0.99 * number(placed), "goodput: {told}");
    assert!(number(&told["times_flooded"]) >= 10.0, "{told}");
    assert_eq!(told["answered"], 0, "strangers hear nothing: {told}");
    assert!(number(&told["grown_kib"]) < 64.0 * 1024.0, "memory: {told}");
}
