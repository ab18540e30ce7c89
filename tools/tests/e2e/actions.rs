//! What an operator does to trunks that carry calls, and what the trunk's peer sees of it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::far::{Far, Role};
use crate::gateway::{Gateway, Place};
use crate::lines::PATIENCE;
use crate::sipp::Sipp;
use crate::stored::{Operator, TOKEN, add_trunks_and_route, start};

/// What the gateway answers to an OPTIONS from `from`; `None` when it says nothing for a while.
fn asked(place: &Place, from: Ipv4Addr, id: u32) -> Option<String> {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let (port, to) = (socket.local_addr().unwrap().port(), place.gateway);
    let text = format!(
        "OPTIONS sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {from}:{port};branch=z9hG4bKo{id};rport\r\n\
         From: <sip:a@{from}>;tag=o{id}\r\nTo: <sip:{to}>\r\nCall-ID: o{id}\r\nCSeq: 1 OPTIONS\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    socket.send_to(text.as_bytes(), (to, 5060)).unwrap();
    let mut buffer = [0; 2_048];
    let (length, _) = socket.recv_from(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[8..length.min(11)]).into_owned())
}

#[test]
fn a_deleted_trunk_keeps_its_call_answers_503_and_then_is_a_stranger() {
    let place = Place::new();
    let mut gateway = start(&place, "info");
    let operator = Operator::new(&place);
    add_trunks_and_route(&place, &operator);
    let mut phones = Far::start(&place, Role::PlainPbx, &[]);
    let mut caller = Sipp::call(&place, "caller.xml", "u1", "390612345", 1, 4000);
    phones.wait("answered");
    assert_eq!(asked(&place, place.pbx, 1).as_deref(), Some("200"), "positive control");
    operator.ask(&["routes", "delete", "to pbx"]);
    operator.ask(&["trunks", "delete", "pbx"]);
    let until = Instant::now() + PATIENCE;
    let mut id = 2;
    while asked(&place, place.pbx, id).as_deref() != Some("503") {
        assert!(Instant::now() < until, "a draining trunk answers OPTIONS with 503");
        id += 1;
    }
    let live = operator.ask(&["calls", "list"]);
    assert_eq!(live[0]["to_trunk"], "pbx", "the call goes on: {live}");
    caller.succeed();
    phones.wait("disconnected");
    let cdrs = gateway.cdrs_when(1);
    assert_eq!((&cdrs[0]["code"], &cdrs[0]["ended_by"]), (&200.into(), &"caller".into()));
    while asked(&place, place.pbx, id).is_some() {
        assert!(Instant::now() < until, "it left the plan");
        id += 1;
    }
    // It can be brought back for a day.
    operator.ask(&["trunks", "undelete", "pbx"]);
    while asked(&place, place.pbx, id).as_deref() != Some("200") {
        assert!(Instant::now() < until, "it is back");
        id += 1;
    }
    assert!(gateway.stop());
}

#[test]
fn a_peer_that_speaks_no_tls_is_a_tls_error() {
    let place = Place::new();
    let listener = TcpListener::bind((place.pbx, 5081)).unwrap();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let _gone = socket.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
            let _hello = socket.read(&mut [0; 1_024]);
        }
    });
    let probed = "transport = \"TLS\"\nsend_keep_alive = true\nkeep_alive_interval = 5\n";
    let config = place.config().replace("transport = \"TLS\"\nsend_keep_alive = false\n", probed);
    let mut gateway = Gateway::start(&place, &config);
    let line = gateway.log.wait("status=\"TLS_ERROR\"");
    assert!(line.contains("trunk=\"pbx\"") && line.contains("reason="), "{line}");
    assert!(gateway.stop());
}

#[test]
fn media_of_two_trunks_that_both_allow_it_passes_by_the_gateway() {
    let place = Place::new();
    for (fields, note) in [("direct_media = \"yes\"\n", "from peer to peer"), ("", "")] {
        let config = place
            .plain_config()
            .replace("name = \"provider\"\n", &format!("name = \"provider\"\n{fields}"))
            .replace("name = \"pbx\"\n", &format!("name = \"pbx\"\n{fields}"));
        let _fresh = std::fs::remove_file(place.file("cdr.jsonl"));
        let mut gateway = Gateway::start(&place, &config);
        let mut phones = Far::start(&place, Role::PlainPbx, &[]);
        Sipp::call(&place, "caller.xml", "u1", "390612345", 1, 1000).succeed();
        phones.wait("disconnected");
        let cdr = &gateway.cdrs_when(1)[0];
        assert_eq!(cdr["code"], 200, "{cdr:#}");
        assert!(cdr["notes"].to_string().contains(note), "{cdr:#}");
        let packets = cdr["forward"]["packets"].as_u64().unwrap();
        assert_eq!(packets == 0, !fields.is_empty(), "the control relays: {cdr:#}");
        drop(phones);
        assert!(gateway.stop());
    }
}

/// The text of `/metrics`.
pub fn scrape(place: &Place) -> String {
    let mut socket = TcpStream::connect((place.gateway, 8080)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        socket,
        "GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    text
}

/// The next connection; an end of patience to what it waits for and reads.
pub fn accept(listener: &TcpListener) -> TcpStream {
    socket2::SockRef::from(listener).set_read_timeout(Some(PATIENCE)).unwrap();
    let (socket, _) = listener.accept().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn events_are_posted_to_the_operators_server() {
    let place = Place::new();
    let listener = TcpListener::bind((place.stranger, 8090)).unwrap();
    let hook = format!(
        "[webhook]\nurl = \"http://{}:8090/events\"\nsecret = \"shared\"\n",
        place.stranger
    );
    let mut gateway = Gateway::start(&place, &format!("{}\n{hook}", place.config()));
    let mut socket = accept(&listener);
    let (mut text, mut part) = (Vec::new(), [0; 4_096]);
    while !text.ends_with(b"}}") {
        let length = socket.read(&mut part).unwrap();
        assert!(length > 0, "the request is whole");
        text.extend(&part[..length]);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("POST /events HTTP/1.1\r\n"), "{text}");
    assert!(text.contains("x-trunkline-signature: sha256="), "{text}");
    assert!(text.contains("\"news\":\"status\"") && text.contains("\"UNMONITORED\""), "{text}");
    socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    drop(listener);
    assert!(gateway.stop());
    assert!(!gateway.log.rest().iter().any(|line| line.contains("shared")));
}
