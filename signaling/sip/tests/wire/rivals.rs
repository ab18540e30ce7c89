//! Defects of other Rust stacks (rsip 0.4, rsipstack 0.7, ezk 0.6), each as a row: what they lose,
//! corrupt or refuse passes here.

use bytes::Bytes;
use sip::wire::{HeaderName, Headers, Host, Message, Method, Request, StatusCode, Uri, parse};

fn request(start: &str, more: &str, body: &[u8]) -> Request {
    let head = format!(
        "{start} SIP/2.0\r\nv: SIP/2.0/UDP 192.0.2.2 ;branch=z9hG4bKx\r\nf: <sip:a@b> ; tag=1\r\n\
         t: <sip:c@d>\r\ni: c1\r\nCSeq: 1 {}\r\n{more}\r\n",
        start.split(' ').next().unwrap()
    );
    let bytes = [head.as_bytes(), body].concat();
    match parse(Bytes::from(bytes)) {
        Ok(Message::Request(request)) => request,
        other => panic!("{head}: {other:?}"),
    }
}

fn headers(name: &str, value: &str) -> Headers {
    let mut headers = Headers::new();
    headers.push(HeaderName::from(name), value.to_owned());
    headers
}

/// rsip: compact names become unknown ones, and blanks before `;` lose the branch and the tag.
#[test]
fn compact_names_and_blanks_before_parameters() {
    let request = request("OPTIONS sip:x@y", "", b"");
    assert_eq!(request.headers.via().unwrap().branch().unwrap(), "z9hG4bKx");
    assert_eq!(request.headers.from().unwrap().tag().unwrap(), "1");
}

/// rsip: folded lines and blanks before the colon fail the whole message.
#[test]
fn folds_and_blanks_before_the_colon() {
    let request = request("OPTIONS sip:x@y", "Subject : first\r\n  second\r\n", b"");
    assert_eq!(request.headers.get(&HeaderName::Subject).unwrap(), "first second");
}

/// rsip: IPv6 is refused, and written without its brackets.
#[test]
fn ipv6_keeps_its_brackets() {
    let request = request("OPTIONS sip:x@[2001:db8::1]:5070", "", b"");
    let host = &request.uri.as_sip().unwrap().host;
    assert_eq!(*host, Host::V6("2001:db8::1".parse().unwrap()));
    assert_eq!(request.uri.to_string(), "sip:x@[2001:db8::1]:5070");
}

/// rsip, rsipstack: an extension method cannot even be answered; ezk: no `tel`.
#[test]
fn extension_methods_and_tel() {
    assert_eq!(request("FOO sip:x@y", "", b"").method, Method::from("FOO"));
    assert!(matches!(request("OPTIONS tel:+4930", "", b"").uri, Uri::Tel(_)));
}

/// rsip: a binary body is corrupted on its way out. rsipstack: a datagram without Content-Length
/// loses its body; a byte that is no UTF-8 loses all that follows.
#[test]
fn bodies_and_foreign_bytes_pass_unchanged() {
    let binary: Vec<u8> = (0..=255).collect();
    let sent = request("INVITE sip:x@y", "Content-Type: application/isup\r\n", &binary);
    assert_eq!(sent.body, binary);
    assert!(sent.to_bytes().ends_with(&binary));
    let text = b"OPTIONS sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nX: \xff\xfe\r\n\
                 From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\nbody";
    let message = parse(Bytes::from_static(text)).unwrap();
    assert_eq!(message.headers().len(), 6);
    assert_eq!(message.body(), "body");
}

/// rsip: `480 TemporarilyUnavailable`: reason phrases are rebuilt from names.
#[test]
fn reason_phrases_are_kept_and_written_as_the_rfc_has_them() {
    let text = "SIP/2.0 480 Nobody home\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n\
                From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n";
    let Ok(Message::Response(response)) = parse(text.into()) else { panic!() };
    assert!(response.to_bytes().starts_with(b"SIP/2.0 480 Nobody home\r\n"));
    let own = sip::wire::Response::new(StatusCode::TEMPORARILY_UNAVAILABLE);
    assert!(own.to_bytes().starts_with(b"SIP/2.0 480 Temporarily Unavailable\r\n"));
}

/// rsip: quoted parameters, `<` in a display name, comma lists, URI headers.
#[test]
fn quoted_parameters_lists_and_uri_headers() {
    let value = "<sip:a@b>;+sip.instance=\"<urn:uuid:0>\";epid=\"x;y\", \"A <b>\" <sip:c@d>";
    let contacts = headers("Contact", value).contacts().unwrap();
    assert_eq!(contacts[0].params.get("+sip.instance").unwrap(), "<urn:uuid:0>");
    assert_eq!(contacts[0].params.get("epid").unwrap(), "x;y");
    assert_eq!(contacts[1].display.as_ref().unwrap(), "A <b>");
    let vias = "SIP/2.0/UDP a;branch=z9hG4bK1, SIP/2.0/TCP b;branch=z9hG4bK2";
    assert_eq!(headers("Via", vias).vias().unwrap().len(), 2);
    let refer =
        headers("Refer-To", "<sip:a@b?Replaces=c%3Bto-tag%3D1>").refer_to().unwrap().unwrap();
    let uri = refer.uri.as_sip().unwrap();
    assert_eq!(uri.host, Host::Name("b".into()), "URI headers are no part of the host");
    assert_eq!(uri.headers.as_ref().unwrap(), "Replaces=c%3Bto-tag%3D1");
    assert_eq!(uri.header("replaces").unwrap(), "c;to-tag=1");
    assert_eq!(uri.header("Subject"), None);
}

/// rsip: an unknown transport in a URI fails the message.
#[test]
fn an_unknown_transport_is_somebodys() {
    let request = request("OPTIONS sip:x@y;transport=quic", "", b"");
    assert_eq!(request.uri.as_sip().unwrap().params.get("transport").unwrap(), "quic");
}
