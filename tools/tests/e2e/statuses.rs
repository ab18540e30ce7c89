//! What the list of trunks says of each: every status by a peer that behaves so. And what a save refuses.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Instant;

use serde_json::Value;

use crate::fields::by_hand::ByHand;
use crate::gateway::Place;
use crate::lines::PATIENCE;
use crate::sipp::Sipp;
use crate::stored::{Operator, start};

/// The address of a peer of this place.
fn peer(place: &Place, n: u8) -> Ipv4Addr {
    let [a, b, c, _] = place.gateway.octets();
    Ipv4Addr::new(a, b, c, 20 + n)
}

/// Adds a trunk whose peer is there, at port 5070.
fn add(operator: &Operator, name: &str, host: &str, fields: &[&str]) {
    let host = format!("host={host}");
    let trunk = ["trunks", "add", name, &host, "port=5070"];
    operator.ask(&[&trunk[..], fields].concat());
}

/// The status of each trunk, and its reason.
fn statuses(operator: &Operator) -> BTreeMap<String, (String, Value)> {
    // Its exit code says that some are not usable.
    let output = operator.run(&["trunks", "status"]);
    let reports: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = |report: &Value, field| report[field].as_str().unwrap_or_default().to_owned();
    let entry =
        |report: &Value| (text(report, "name"), (text(report, "status"), report["reason"].clone()));
    reports.iter().map(entry).collect()
}

#[test]
fn each_peer_gives_its_trunk_the_status_that_it_deserves() {
    let place = Place::new();
    let mut gateway = start(&place, "info");
    let operator = Operator::new(&place);
    let at = |n| peer(&place, n);
    let host = |n| at(n).to_string();
    let _peers = [
        Sipp::answering(&place, at(1), "OPTIONS", "200 OK", 0),
        Sipp::answering(&place, at(2), "OPTIONS", "200 OK", 2_500),
        Sipp::answering(&place, at(3), "OPTIONS", "200 OK", 0),
        Sipp::answering(&place, at(5), "REGISTER", "401 Unauthorized", 0),
        Sipp::answering(&place, at(6), "REGISTER", "403 Forbidden", 0),
        Sipp::answering(&place, at(7), "OPTIONS", "404 Not Found", 0),
        Sipp::answering(&place, at(8), "OPTIONS", "404 Not Found", 0),
        Sipp::answering(&place, at(9), "OPTIONS", "404 Not Found", 0),
    ];
    let quiet = "send_keep_alive=false";
    let often = "keep_alive_interval=5";
    std::fs::write(place.file("password"), "sesame").unwrap();
    let password = format!("password=@{}", place.file("password").display());
    let account = [quiet, "register=true", "username=me", &password];
    add(&operator, "ok", &host(1), &[often]);
    add(&operator, "lagged", &host(2), &[often]);
    let proxies = format!("outbound_proxy={}:5070,{}:5070", at(3), at(4));
    add(&operator, "degraded", "198.51.100.3", &[often, &proxies]);
    add(&operator, "unreachable", &host(14), &[often]);
    add(&operator, "auth failed", &host(5), &account);
    add(&operator, "rejected", &host(6), &account);
    add(&operator, "registering", &host(16), &account);
    add(&operator, "any answer", &host(7), &[often]);
    add(&operator, "2xx only", &host(8), &[often, "keep_alive_2xx_only=true"]);
    add(&operator, "not 404", &host(9), &[often, "keep_alive_failing_codes=404"]);
    add(&operator, "no name", "nowhere.invalid", &[often]);
    add(&operator, "unmonitored", &host(10), &[quiet]);
    add(&operator, "disabled", &host(11), &["enabled=false"]);
    add(&operator, "draining", &host(12), &[quiet]);
    operator.ask(&["trunks", "drain", "draining"]);
    // One call is all that this one may have.
    let provider = place.provider.to_string();
    add(&operator, "provider", &provider, &[quiet, "max_concurrent_calls=1"]);
    operator.ask(&["trunks", "add", "pbx", &format!("host={}", place.pbx), "port=5081", quiet]);
    let route = ["routes", "add", "to pbx", "direction=inbound", "called=_39.", "destination=pbx"];
    operator.ask(&route);
    let mut callee = Sipp::pbx(&place, "silent_callee.xml", 1);
    let mut caller = ByHand::new(&place, "390612345");
    caller.call();
    let wanted = [
        ("ok", "OK"),
        ("lagged", "LAGGED"),
        ("degraded", "DEGRADED"),
        ("unreachable", "UNREACHABLE"),
        ("auth failed", "AUTH_FAILED"),
        ("rejected", "REJECTED"),
        ("registering", "REGISTERING"),
        ("any answer", "OK"),
        ("2xx only", "UNREACHABLE"),
        ("not 404", "UNREACHABLE"),
        ("no name", "DNS_ERROR"),
        ("unmonitored", "UNMONITORED"),
        ("disabled", "DISABLED"),
        ("draining", "DRAINING"),
        ("provider", "AT_CAPACITY"),
    ];
    // A registrar that says nothing is given up after half a minute: it was seen before.
    let mut seen = BTreeMap::new();
    let until = Instant::now() + 3 * PATIENCE;
    loop {
        let now = statuses(&operator);
        for (name, status) in wanted {
            if now[name].0 == status {
                seen.insert(name, now[name].1.clone());
            }
        }
        if seen.len() == wanted.len() {
            break;
        }
        assert!(Instant::now() < until, "{now:#?}\nof these were seen {seen:#?}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    for (name, reason) in seen {
        let is_well = ["ok", "any answer"].contains(&name);
        assert_eq!(reason == "", is_well, "{name} says why: {reason}");
    }
    caller.hang_up();
    callee.succeed();
    assert!(gateway.stop());
}

/// What the command line says of a trunk that breaks each rule, by the rule's number.
#[test]
fn a_save_that_breaks_a_rule_is_refused_with_its_field_and_remedy() {
    let place = Place::new();
    let mut gateway = start(&place, "info");
    let operator = Operator::new(&place);
    let first = ["host=198.51.100.1", "virtual_phone_number=+390600001"];
    operator.ask(&[&["trunks", "add", "first"][..], &first].concat());
    let tls = "transport=TLS";
    for (rule, field, fields) in [
        (1, "register", &["host=x.example", "register=true", "username=me"][..]),
        (2, "host", &["username=me"]),
        (3, "secure", &["host=x.example", "secure=true", "transport=UDP"]),
        (3, "encryption", &["host=x.example", "encryption=true", "transport=UDP"]),
        (4, "host", &["host=198.51.100.1"]),
        (5, "tls_client_key", &["host=x.example", "secure=true", "tls_client_cert=gateway.pem"]),
        (6, "direct_media", &["host=x.example", "secure=true", tls, "direct_media=yes"]),
        (7, "dtmf_mode", &["host=x.example", "dtmf_mode=inband", "allow=OPUS"]),
        (8, "virtual_phone_number", &["host=x.example", "virtual_phone_number=+390600001"]),
        (10, "source_acl", &["host=x.example", "source_acl=10.0.0.0/12"]),
    ] {
        let (code, text) = operator.refused(&[&["trunks", "add", "second"], fields].concat());
        assert_eq!(code, 65, "rule {rule}: {text}");
        // The rule and what to do about it.
        let told = text.lines().find(|line| line.contains(&format!("field {field}: ")));
        assert!(told.is_some_and(|line| line.contains("; ")), "rule {rule}: {text}");
    }
    let names = operator.ask(&["trunks", "list"]);
    assert_eq!(names.as_array().unwrap().len(), 1, "nothing of them was saved: {names}");
    // Positive control: without the fault each is a trunk.
    operator.ask(&["trunks", "add", "second", "host=x.example", "source_acl=10.1.0.0/16"]);
    assert!(gateway.stop());
}

/// Rule 9 is a warning.
#[test]
fn the_plain_port_with_tls_is_warned_of() {
    let place = Place::new();
    let config = place.config().replace("port = 5081", "port = 5060");
    let mut gateway = crate::gateway::Gateway::spawn(&place, &config);
    let line = gateway.log.wait("5060 with TLS is unusual");
    assert!(line.contains("pbx") && line.contains("5061"), "{line}");
    gateway.log.wait("ready");
    assert!(gateway.stop());
}
