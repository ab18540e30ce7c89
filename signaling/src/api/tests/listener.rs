//! The listener: real sockets on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

use super::super::serve::{HEAD_BYTES_MAX, HEADERS_MAX};
use super::super::{CONNECTIONS_MAX, Server};
use super::rig::{Rig, nobody_moves, plainly};
use crate::net::fixture::{Authority, Place, until};

fn start(rig: &Rig) -> (Server, SocketAddr) {
    let server =
        Server::start(&rig.api, &plainly("127.0.0.1:0".parse().unwrap()), nobody_moves()).unwrap();
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
    let refused =
        Server::start(&rig.api, &plainly(address), nobody_moves()).err().unwrap().to_string();
    assert!(refused.contains(&address.to_string()) && refused.contains("free the port"));
}

/// What a client that trusts `authority` hears of the health, by TLS.
fn health_by_tls(address: SocketAddr, authority: &Authority) -> std::io::Result<String> {
    let mut roots = rustls::RootCertStore::empty();
    let pem = authority.pem();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem.as_bytes()).flatten());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut socket = connect(address);
    let mut secure = rustls::Stream::new(&mut client, &mut socket);
    secure.write_all(HEALTH.as_bytes())?;
    let mut text = Vec::new();
    let mut part = [0; 4096];
    while !String::from_utf8_lossy(&text).contains("\"ok\"") {
        let length = secure.read(&mut part)?;
        assert!(length > 0, "the answer is whole");
        text.extend(&part[..length]);
    }
    Ok(String::from_utf8(text).unwrap())
}

#[test]
fn with_a_certificate_it_answers_by_tls_alone_and_takes_a_new_one_while_it_runs() {
    let rig = Rig::new();
    let place = Place::new();
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    place.certificate("api", &first.issue(&["localhost"]));
    let files = ["api.pem", "api.key"].map(|name| place.path().join(name));
    let [certificate, key] = files.clone();
    let mut http = plainly("127.0.0.1:0".parse().unwrap());
    http.tls = Some((certificate, key));
    let server = Server::start_looking(&rig.api, &http, nobody_moves(), QUICK).unwrap();
    let address = server.addresses[0];
    assert!(health_by_tls(address, &first).unwrap().starts_with("HTTP/1.1 200"));
    assert!(health_by_tls(address, &second).is_err(), "the client trusts somebody else");
    let mut plain = connect(address);
    assert!(!exchange(&mut plain, HEALTH).contains("HTTP/1.1"), "nothing is said plainly");
    // Half of a new pair changes nothing; both do.
    let new = second.issue(&["localhost"]);
    place.write("api.pem", &new.pem);
    assert!(health_by_tls(address, &first).is_ok());
    place.write("api.key", &new.key);
    until(|| health_by_tls(address, &second).is_ok());
    assert!(health_by_tls(address, &first).is_err(), "the old one is gone");
}

#[test]
fn a_certificate_that_cannot_be_used_keeps_it_from_starting() {
    let rig = Rig::new();
    let place = Place::new();
    let authority = Authority::new("authority");
    place.certificate("one", &authority.issue(&["localhost"]));
    place.certificate("other", &authority.issue(&["localhost"]));
    let mut http = plainly("127.0.0.1:0".parse().unwrap());
    http.tls = Some((place.path().join("one.pem"), place.path().join("other.key")));
    let refused = Server::start(&rig.api, &http, nobody_moves()).err().unwrap().to_string();
    assert!(refused.contains("[http]") && refused.contains("not the key of"), "{refused}");
}

const QUICK: Duration = Duration::from_millis(5);
