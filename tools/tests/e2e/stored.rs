//! A gateway whose trunks come from its store: made by REST while it runs, changed during a call,
//! still there after a restart. Asked by the command line, as an operator would.

use std::fs;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::far::{Far, Role};
use crate::gateway::{Gateway, Place, trunkline};
use crate::sipp::Sipp;

/// What the operator chose; long enough not to be guessed.
pub const TOKEN: &str = "canary-token-5f0c1e7a9b3d4826";

/// The configuration of [`Place::config`] without trunks and routes, with a store and an API.
pub fn config(place: &Place, level: &str) -> String {
    let whole = place.config();
    let (head, _) = whole.split_once("[[trunk]]").unwrap();
    let head = head.replace("level = \"info\"", &format!("level = \"{level}\""));
    let address = place.gateway;
    format!("{head}\n[store]\nurl = \"sqlite:store.db\"\n\n[http]\nlisten = [\"{address}:8080\"]\n")
}

/// The operator's command line.
pub struct Operator {
    url: String,
    token: String,
}

impl Operator {
    pub fn new(place: &Place) -> Self {
        Self { url: format!("http://{}:8080", place.gateway), token: TOKEN.into() }
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        trunkline()
            .args(arguments)
            .args(["--url", &self.url, "--json"])
            .env("TRUNKLINE_TOKEN", &self.token)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What a command that must succeed prints.
    pub fn ask(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text}");
        match output.stdout.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&output.stdout).unwrap(),
        }
    }

    /// The exit code and the message of a command that must fail.
    pub fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?} succeeded");
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Starts a gateway with the operator's token.
pub fn start(place: &Place, level: &str) -> Gateway {
    Gateway::start_with(place, &config(place, level), &[("TRUNKLINE_ADMIN_TOKEN", TOKEN)])
}

pub fn add_trunks_and_route(place: &Place, operator: &Operator) {
    let host = |address: std::net::Ipv4Addr| format!("host={address}");
    // Its peers do not answer OPTIONS.
    let quiet = "send_keep_alive=false";
    operator.ask(&["trunks", "add", "provider", &host(place.provider), "port=5070", quiet]);
    operator.ask(&["trunks", "add", "pbx", &host(place.pbx), "port=5081", quiet]);
    let route = ["routes", "add", "to pbx", "direction=inbound", "from_trunk=provider"];
    operator.ask(&[&route[..], &["called=_39.", "destination=pbx"]].concat());
}

#[test]
fn trunks_made_by_rest_carry_calls_survive_edits_and_a_restart() {
    let place = Place::new();
    let mut gateway = start(&place, "info");
    let operator = Operator::new(&place);
    assert_eq!(operator.ask(&["trunks", "list"]), json!([]));
    add_trunks_and_route(&place, &operator);
    let mut phones = Far::start(&place, Role::PlainPbx, &[]);
    let mut caller = Sipp::call(&place, "caller.xml", "u1", "390612345", 1, 4000);
    phones.wait("answered");
    let live = operator.ask(&["calls", "list"]);
    assert_eq!(live[0]["from_trunk"], "provider", "{live}");
    // Both ends of the call change under it.
    operator.ask(&["trunks", "set", "provider", "max_concurrent_calls=7"]);
    operator.ask(&["trunks", "set", "pbx", "name=phones"]);
    let route = operator.ask(&["routes", "show", "to pbx"]);
    assert_eq!(route["destination"], "phones", "the route follows the new name");
    let (code, text) = operator.refused(&["trunks", "delete", "phones"]);
    assert_eq!(code, 65, "{text}");
    assert!(text.contains("route \"to pbx\" (field destination)"), "{text}");
    caller.succeed();
    phones.wait("disconnected");
    let cdrs = gateway.cdrs_when(1);
    assert_eq!((&cdrs[0]["code"], &cdrs[0]["ended_by"]), (&json!(200), &json!("caller")));
    let before = operator.ask(&["export"]);
    assert!(gateway.stop());
    let mut gateway = start(&place, "info");
    assert_eq!(operator.ask(&["export"]), before, "everything is still there");
    Sipp::call(&place, "caller.xml", "u1", "390612345", 1, 500).succeed();
    phones.wait("disconnected");
    let records = operator.ask(&["calls", "records"]);
    assert_eq!(records[0]["to_trunk"], "phones", "{records}");
    assert_eq!(operator.ask(&["audit", "verify"])["holds"], true);
    assert!(gateway.stop());
}

#[test]
fn a_file_is_imported_exported_and_imported_again() {
    let place = Place::new();
    let mut gateway = start(&place, "info");
    let operator = Operator::new(&place);
    let file = place.file("old.toml");
    fs::write(&file, place.config()).unwrap();
    let import = ["import", "--config", file.to_str().unwrap()];
    let counts =
        |value: Value| ["added", "changed", "unchanged"].map(|name| value[name].as_u64().unwrap());
    assert_eq!(counts(operator.ask(&import)), [4, 0, 0]);
    assert_eq!(counts(operator.ask(&import)), [0, 0, 4]);
    let exported = trunkline()
        .args(["export", "--url", &operator.url])
        .env("TRUNKLINE_TOKEN", TOKEN)
        .output()
        .unwrap();
    fs::write(&file, exported.stdout).unwrap();
    assert_eq!(counts(operator.ask(&import)), [0, 0, 4], "what was exported is what is there");
    operator.ask(&["routes", "delete", "to pbx"]);
    let (code, text) = operator.refused(&["routes", "show", "to pbx"]);
    assert_eq!(code, 66, "{text}");
    operator.ask(&["routes", "undelete", "to pbx"]);
    let backup = place.file("backup.db");
    operator.ask(&["backup", backup.to_str().unwrap()]);
    operator.ask(&["routes", "delete", "to pbx"]);
    operator.ask(&["restore", backup.to_str().unwrap()]);
    operator.ask(&["routes", "show", "to pbx"]);
    assert!(gateway.stop());
}

#[test]
fn the_command_line_asks_by_tls_and_believes_nobody_unnamed() {
    let place = Place::new();
    let tls = "tls_certificate = \"gateway.pem\"\ntls_key = \"gateway.key\"\n";
    let config = config(&place, "info") + tls;
    let token = [("TRUNKLINE_ADMIN_TOKEN", TOKEN)];
    let mut gateway = Gateway::start_with(&place, &config, &token);
    let plain = Operator::new(&place);
    let url = plain.url.replace("http:", "https:");
    let operator = Operator { url, token: plain.token.clone() };
    let ca = place.file("ca.pem").display().to_string();
    let host = format!("host={}", place.provider);
    operator.ask(&["trunks", "add", "provider", &host, "--ca", &ca]);
    // Events come by the same way.
    let tested = operator.run(&["trunks", "test", "provider", "--ca", &ca]);
    assert!(String::from_utf8_lossy(&tested.stdout).contains("OPTIONS"), "{tested:?}");
    let (code, text) = operator.refused(&["trunks", "list"]);
    assert_eq!(code, 69, "an authority of its own is not the system's: {text}");
    let other = place.file("pbx.pem").display().to_string();
    let (code, text) = operator.refused(&["trunks", "list", "--ca", &other]);
    assert_eq!(code, 69, "{text}");
    assert_eq!(plain.refused(&["trunks", "list"]).0, 69, "nothing is said in the clear");
    assert!(gateway.stop());
}

#[test]
fn the_first_token_is_printed_once() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &config(&place, "info"));
    let line = gateway.log.seen.iter().find(|line| line.trim().starts_with("trunkline_"));
    let token = line.expect("the first start prints a token").trim().to_owned();
    let operator = Operator { token: token.clone(), ..Operator::new(&place) };
    assert_eq!(operator.ask(&["tokens", "list"])["total"], 1);
    let stranger = Operator { token: "x".into(), ..Operator::new(&place) };
    assert_eq!(stranger.refused(&["tokens", "list"]).0, 77);
    assert!(gateway.stop());
    let mut again = Gateway::start(&place, &config(&place, "info"));
    assert!(!again.log.seen.iter().any(|line| line.contains("trunkline_")), "once");
    assert_eq!(operator.ask(&["tokens", "list"])["total"], 1);
    assert!(again.stop());
}
