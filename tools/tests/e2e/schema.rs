//! Schemathesis against the OpenAPI document of a running gateway: whatever it makes up, no answer
//! is a server error.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::gateway::Place;
use crate::stored::{Operator, TOKEN, start};

/// Examples for each operation.
const EXAMPLES: &str = "12";
/// Seconds for the whole run at most.
const TIME: &str = "60";

#[test]
fn nothing_that_schemathesis_makes_up_is_a_server_error() {
    let place = Place::new();
    let mut gateway = start(&place, "info");
    let operator = Operator::new(&place);
    operator.ask(&["trunks", "add", "a", "host=192.0.2.1"]);
    operator.ask(&["routes", "add", "r", "destination=a"]);
    let report = Command::new(schemathesis())
        .arg("run")
        .arg(format!("http://{}:8080/api/v1/openapi.json", place.gateway))
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .args(["--checks", "not_a_server_error", "--max-examples", EXAMPLES, "--seed", "1"])
        .args(["--phases", "examples,coverage,fuzzing"])
        // Events have no end; a revoked token would refuse everything that follows.
        .args(["--exclude-path", "/events", "--exclude-path", "/tokens/{id}"])
        // A test of a connection waits for the peer.
        .args(["--exclude-operation-id", "post_trunks_id_test", "--max-time", TIME])
        .env(
            "SCHEMATHESIS_HOOKS",
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/api_bodies.py"),
        )
        .current_dir(&place.directory)
        .stdin(Stdio::null())
        .output()
        .expect("schemathesis is missing: pip install -r tools/tests/requirements.txt");
    let text = String::from_utf8_lossy(&report.stdout).into_owned();
    assert!(report.status.success(), "{text}\n{}", String::from_utf8_lossy(&report.stderr));
    assert!(text.contains("passed"), "positive control: it did run: {text}");
    operator.ask(&["trunks", "list"]);
    assert_eq!(operator.ask(&["audit", "verify"])["holds"], true);
    assert!(gateway.stop());
    let log = gateway.log.rest().join("\n");
    assert!(!log.contains("a request failed in the store"), "{log}");
}

fn schemathesis() -> PathBuf {
    let venv = std::env::var_os("TRUNKLINE_VENV").map(PathBuf::from);
    let venv =
        venv.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/venv"));
    venv.join("bin/schemathesis")
}
