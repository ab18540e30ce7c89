//! The running gateway through the API: calls, unknown callers, events.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::super::{EVENT_CLIENTS_MAX, Server};
use super::rig::*;
use crate::feed::News;
use crate::store::Role;
use crate::trunk::{TrunkId, Unattributed, UnknownCaller};
use sip::endpoint::Transport;

#[test]
fn a_call_is_hung_up_and_the_log_says_by_whom() {
    let rig = Rig::new();
    rig.ask("DELETE", "/calls/live-1", Value::Null).expect(204);
    rig.ask("DELETE", "/calls/gone", Value::Null).expect(404);
    assert_eq!(*rig.shard.hung_up.lock().unwrap(), ["live-1", "gone"]);
    let log = rig.admin("GET", "/audit?kind=call", Value::Null).expect(200);
    let entries = log["items"].as_array().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(
        (&entries[0]["action"], &entries[0]["actor"]),
        (&json!("hang-up"), &json!("operator"))
    );
}

fn caller(source: &str) -> UnknownCaller {
    let now = jiff::Timestamp::now();
    UnknownCaller {
        source: source.parse().unwrap(),
        transport: Transport::Udp,
        count: 3,
        first: now,
        last: now,
        reason: Unattributed::UnknownSource,
    }
}

#[test]
fn an_unknown_caller_is_made_part_of_a_trunk_in_one_step() {
    let rig = Rig::new();
    *rig.shard.unknown.lock().unwrap() = vec![caller("198.51.100.7"), caller("2001:db8::7")];
    let list = rig.ask("GET", "/unknown-callers", Value::Null).expect(200);
    assert_eq!((&list["total"], &list["items"][0]["source"]), (&json!(2), &json!("198.51.100.7")));
    rig.add("/trunks", json!({"name": "a", "host": "192.0.2.1", "source_acl": "192.0.2.0/29"}));
    let path = "/unknown-callers/198.51.100.7/trunk";
    let trunk = rig.ask("POST", path, json!({"trunk": 1})).expect(200);
    assert_eq!(trunk["source_acl"], json!(["192.0.2.0/29", "198.51.100.7"]));
    assert_eq!(rig.ask("GET", "/unknown-callers", Value::Null).expect(200)["total"], 1);
    rig.ask("POST", path, json!({"trunk": 9})).expect(404);
    rig.ask("DELETE", "/unknown-callers/2001:db8::7", Value::Null).expect(204);
    rig.ask("DELETE", "/unknown-callers/2001:db8::7", Value::Null).expect(404);
    rig.ask("DELETE", "/unknown-callers/nobody", Value::Null).expect(404);
}

/// Listens to events; returns when the beginning has come.
fn listen(rig: &Rig, server: &Server, query: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.addresses[0]).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let token = rig.token(Role::ReadOnly);
    write!(
        socket,
        "GET /api/v1/events{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    until(&mut socket, "retry: 3000");
    socket
}

fn until(socket: &mut TcpStream, wanted: &str) -> String {
    let mut text = Vec::new();
    let mut part = [0; 512];
    loop {
        let length = socket.read(&mut part).unwrap();
        text.extend(&part[..length]);
        let seen = String::from_utf8_lossy(&text).into_owned();
        if seen.contains(wanted) {
            return seen;
        }
        assert!(length > 0, "no {wanted} in {seen}");
    }
}

fn nearly(used: u32) -> News {
    News::NearlyFull { trunk: TrunkId(1), name: "a".into(), used, max: 10 }
}

#[test]
fn news_reach_those_who_asked_for_them() {
    let rig = Rig::new();
    let server =
        Server::start(&rig.api, &plainly("127.0.0.1:0".parse().unwrap()), nobody_moves()).unwrap();
    let mut all = listen(&rig, &server, "");
    let mut others = listen(&rig, &server, "?kinds=call,unknown_caller");
    rig.api.gateway.feed.tell(|| nearly(9));
    let seen = until(&mut all, "\"used\":9");
    assert!(seen.contains("event: nearly_full\ndata: {"), "{seen}");
    rig.api.gateway.feed.tell(|| News::UnknownCaller(caller("192.0.2.99")));
    let seen = until(&mut others, "192.0.2.99");
    assert!(!seen.contains("nearly_full"), "{seen}");
}

#[test]
fn so_many_clients_listen_at_most() {
    let rig = Rig::new();
    let server =
        Server::start(&rig.api, &plainly("127.0.0.1:0".parse().unwrap()), nobody_moves()).unwrap();
    let mut held: Vec<_> = (0..EVENT_CLIENTS_MAX).map(|_| listen(&rig, &server, "")).collect();
    let refused = rig.ask("GET", "/events", Value::Null);
    assert_eq!(refused.header("retry-after"), "10");
    refused.expect(503);
    drop(held.pop());
    // Its place comes free when the gateway sees that it is gone.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while rig.ask("GET", "/events", Value::Null).status != 200 {
        assert!(std::time::Instant::now() < until, "the place never came free");
        std::thread::yield_now();
    }
}

#[test]
fn metrics_tell_of_each_trunk_what_the_report_says() {
    use std::collections::BTreeMap;

    use super::super::metrics::{Row, Scraped, workers};
    use crate::admission::Used;
    use crate::report::{TargetReport, TrunkReport};
    use crate::trunk::tally::{Counts, Delays, Report};

    let counts = Counts { attempts: 4, answered: 2, effective: 3, talk_seconds: 90 };
    let mut delays = Delays { sum_ms: 3_300, ..Delays::default() };
    (delays.counts[3], delays.counts[5]) = (1, 1);
    let outbound = Report {
        total: counts,
        day: counts,
        asr: Some(0.5),
        ner: Some(0.75),
        acd: Some(45.0),
        codes: BTreeMap::from([(200, 2), (486, 1), (503, 1)]),
        delays,
    };
    let target = TargetReport {
        address: "192.0.2.1:5060".parse().unwrap(),
        up: Some(true),
        rtt_ms: Some(12),
        code: Some(200),
    };
    let report = TrunkReport {
        id: TrunkId(7),
        name: "a \"b\"".into(),
        standing: None,
        registered: Some(true),
        registration_seconds_left: Some(60),
        calls: Used { inbound: 1, outbound: 2 },
        max_concurrent_calls: Some(30),
        targets: vec![target],
        certificate_days_left: Some(29),
        rewritten: Some("a device on the path rewrites SIP".into()),
        inbound: None,
        outbound: Some(outbound),
    };
    let workers = vec![workers::Row::new(worker())];
    let trunks = vec![Row::new(report)];
    let scraped = Scraped { trunks, workers, calls: 3, refused: 1, gateway: None };
    let text = scraped.text().unwrap();
    let of = r#"trunk_id="7",trunk="a \"b\"""#;
    for line in [
        String::from("trunkline_calls{} 3.0"),
        String::from("trunkline_api_refused_total{} 1"),
        String::from("trunkline_worker_state{worker=\"0\",state=\"running\"} 1.0"),
        String::from("trunkline_worker_core{worker=\"0\"} 3.0"),
        String::from("trunkline_worker_rx_packets_total{worker=\"0\"} 5"),
        String::from("trunkline_worker_busy_seconds_total{worker=\"0\"} 0.0"),
        format!("trunkline_trunk_registered{{{of}}} 1.0"),
        format!("trunkline_trunk_probe_rtt_seconds{{{of}}} 0.012"),
        format!("trunkline_trunk_calls{{{of},direction=\"outbound\"}} 2.0"),
        format!("trunkline_trunk_calls_max{{{of}}} 30.0"),
        format!("trunkline_trunk_certificate_days_left{{{of}}} 29.0"),
        format!("trunkline_trunk_sip_rewritten{{{of}}} 1.0"),
        format!("trunkline_trunk_attempts_total{{{of},direction=\"outbound\"}} 4"),
        format!("trunkline_trunk_responses_total{{{of},direction=\"outbound\",code=\"486\"}} 1"),
        format!("trunkline_trunk_answer_seizure_ratio{{{of},direction=\"outbound\"}} 0.5"),
        format!("trunkline_trunk_average_call_seconds{{{of},direction=\"outbound\"}} 45.0"),
    ] {
        let is_there = text.lines().any(|found| found == line || found.ends_with(&line));
        assert!(is_there, "{line} in\n{text}");
    }
    assert!(text.contains("post_dial_delay_seconds_count"), "{text}");
}

#[test]
fn metrics_are_text_that_a_scraper_reads() {
    let rig = Rig::new();
    for path in ["/api/v1/metrics", "/metrics"] {
        let reply = rig.request(Some(Role::ReadOnly), "GET", path, &[], "");
        assert_eq!(reply.status, 200, "{path}");
        assert!(reply.header("content-type").starts_with("application/openmetrics-text"));
        let text = String::from_utf8(reply.bytes).unwrap();
        assert!(text.contains("trunkline_calls{} 0.0\n") && text.ends_with("# EOF\n"), "{text}");
    }
    rig.request(None, "GET", "/metrics", &[], "").expect(401);
}
