//! The listener: real sockets on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::super::serve::{HEAD_BYTES_MAX, HEADERS_MAX};
use super::super::{CONNECTIONS_MAX, Server};
use super::rig::{Rig, nobody_moves};

fn start(rig: &Rig) -> (Server, SocketAddr) {
    let server =
        Server::start(&rig.api, &["127.0.0.1:0".parse().unwrap()], nobody_moves()).unwrap();
    let address = server.addresses[0];
    (server, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

/// Sends and reads until the other side has answered once.
fn exchange(socket: &mut TcpStream, request: &str) -> String {
    // Who is refused half way may find the connection closed before all was sent.
    let _closed_early = socket.write_all(request.as_bytes());
    let mut text = Vec::new();
    let mut part = [0; 4096];
    loop {
        let length = socket.read(&mut part).unwrap_or(0);
        text.extend(&part[..length]);
        let seen = String::from_utf8_lossy(&text);
        if length == 0 || seen.contains("\"ok\"") || seen.contains("\r\n\r\n") && length < 4096 {
            return seen.into_owned();
        }
    }
}

const HEALTH: &str = "GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn it_answers_again_and_again_on_one_connection() {
    let rig = Rig::new();
    let (server, address) = start(&rig);
    let mut socket = connect(address);
    for _ in 0..3 {
        assert!(exchange(&mut socket, HEALTH).starts_with("HTTP/1.1 200"));
    }
    drop(server);
    assert!(TcpStream::connect(address).is_err(), "it ends with its owner");
}

#[test]
fn what_is_no_http_or_too_long_is_refused() {
    let rig = Rig::new();
    let (_server, address) = start(&rig);
    let many = "X: y\r\n".repeat(HEADERS_MAX + 1);
    let long = "x".repeat(8 * HEAD_BYTES_MAX);
    for (request, status) in [
        (String::from("INVITE sip:x SIP/2.0\r\n\r\n"), "400"),
        (String::from("\u{0}\u{1}\u{2}\r\n\r\n"), "400"),
        (format!("GET /api/v1/health HTTP/1.1\r\nHost: x\r\n{many}\r\n"), "431"),
        (format!("GET /api/v1/health HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"), "431"),
    ] {
        let reply = exchange(&mut connect(address), &request);
        assert!(reply.starts_with(&format!("HTTP/1.1 {status}")), "{status}: {reply:?}");
    }
    assert!(exchange(&mut connect(address), HEALTH).starts_with("HTTP/1.1 200"), "control");
}

#[test]
fn so_many_connections_are_served_at_once_and_the_next_one_waits() {
    let rig = Rig::new();
    let (_server, address) = start(&rig);
    let mut held: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| connect(address)).collect();
    for socket in &mut held {
        assert!(exchange(socket, HEALTH).starts_with("HTTP/1.1 200"));
    }
    let mut waiting = connect(address);
    waiting.write_all(HEALTH.as_bytes()).unwrap();
    waiting.set_nonblocking(true).unwrap();
    assert!(waiting.read(&mut [0; 16]).is_err(), "not served while all places are taken");
    waiting.set_nonblocking(false).unwrap();
    held.pop();
    let mut reply = [0; 15];
    waiting.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"HTTP/1.1 200 OK");
}

#[test]
fn a_taken_port_is_named() {
    let rig = Rig::new();
    let (_server, address) = start(&rig);
    let refused = Server::start(&rig.api, &[address], nobody_moves()).err().unwrap().to_string();
    assert!(refused.contains(&address.to_string()) && refused.contains("free the port"));
}
