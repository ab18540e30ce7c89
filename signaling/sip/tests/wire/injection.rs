//! No value that we are given can add a header, end a message, or move from its place into another.

use bytes::Bytes;
use proptest::prelude::*;
use sip::wire::{
    HeaderName, Headers, Host, Message, Method, NameAddr, Request, Response, SipUri, StatusCode,
    Uri, Via, parse,
};

const HOSTILE: [&str; 10] = [
    "x\r\nEvil: 1",
    "x\nEvil: 1",
    "x\rEvil: 1",
    "x\r\n\r\nINVITE sip:evil SIP/2.0\r\n",
    "x\0y",
    "\r\n",
    "x\r\n Evil: folded",
    "\u{b}\u{c}\u{1}",
    "a\", <sip:evil@evil>;tag=\"",
    "a>;tag=evil",
];

fn minimal() -> Request {
    let host = Host::Name("example.com".into());
    let mut request = Request::new(Method::Options, Uri::Sip(SipUri::new(host)));
    for (name, value) in [
        (HeaderName::Via, "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"),
        (HeaderName::From, "<sip:a@example.com>;tag=1"),
        (HeaderName::To, "<sip:b@example.com>"),
        (HeaderName::CallId, "c1"),
        (HeaderName::CSeq, "1 OPTIONS"),
    ] {
        request.headers.push(name, value);
    }
    request
}

/// Written and read back, a message has the headers that it was given, and Content-Length.
fn assert_contained(message: &Message) {
    let bytes = message.to_bytes();
    let again = parse(bytes.clone()).unwrap_or_else(|error| panic!("{error}: {bytes:?}"));
    assert_eq!(again.headers().len(), message.headers().len() + 1, "{bytes:?}");
    assert_eq!(again.body(), message.body(), "{bytes:?}");
    assert!(again.headers().get(&HeaderName::from("Evil")).is_none(), "{bytes:?}");
}

#[test]
fn hostile_header_values_and_names() {
    for text in HOSTILE {
        let mut request = minimal();
        request.headers.push(HeaderName::Subject, text);
        request.headers.push_front(HeaderName::from("X-First"), text);
        request.headers.set(HeaderName::Reason, text);
        request.headers.push(HeaderName::from(text), "v");
        request.headers.push(HeaderName::Other(text.into()), "v");
        assert_contained(&request.into());
    }
}

#[test]
fn hostile_start_lines() {
    for text in HOSTILE {
        let mut response = Response::new(StatusCode::OK);
        response.reason = text.into();
        response.headers = minimal().headers;
        assert_contained(&response.into());
        for uri in [
            Uri::Other(Bytes::from(format!("x:{text}"))),
            Uri::Sip(SipUri { user: Some(text.into()), ..SipUri::new(Host::Name("h".into())) }),
            Uri::Sip(SipUri::new(Host::Name(format!("h{text}h").into()))),
        ] {
            assert_contained(&Request { uri, ..minimal() }.into());
        }
        let mut request = minimal();
        request.method = Method::Other(text.into());
        request.headers.set(HeaderName::CSeq, format!("1 {}", request.method));
        assert_contained(&request.into());
    }
}

/// A hostile display name, user, parameter or branch stays in its place.
#[test]
fn hostile_parts_of_values_stay_in_their_place() {
    for text in HOSTILE {
        let mut uri = SipUri::new(Host::Name("example.com".into()));
        uri.user = Some(text.into());
        uri.params.set("p", text);
        let mut address = NameAddr::new(Uri::Sip(uri));
        address.display = Some(text.into());
        address.params.set("q", text);
        let address = address.with_tag("1");
        let mut request = minimal();
        request.headers.set(HeaderName::From, address.to_bytes());
        let mut via = request.headers.via().unwrap();
        via.params.set("branch", text);
        request.headers.set_top_via(&via).unwrap();
        assert_contained(&request.clone().into());

        let Message::Request(again) = parse(request.to_bytes()).unwrap() else { panic!() };
        let from = again.headers.from().unwrap();
        assert_eq!(from.tag().unwrap(), "1", "{text:?}");
        assert_eq!(from.uri.as_sip().unwrap().host, Host::Name("example.com".into()));
        assert_eq!(from.uri.as_sip().unwrap().params.len(), 1);
        assert_eq!(from.params.len(), 2);
        assert_eq!(again.headers.vias().unwrap().len(), 1);
    }
}

/// The control: what is harmless passes unchanged, non-UTF-8 and tabs included.
#[test]
fn harmless_values_pass_unchanged() {
    let mut headers = Headers::new();
    for value in [&b"\xe9\x80\xff"[..], b"a\tb", b"\"quoted \\\x07 pair\"", b"a, b;c=\"d\""] {
        headers.set(HeaderName::Subject, value);
        assert_eq!(headers.get(&HeaderName::Subject).unwrap(), value);
    }
    headers.set(HeaderName::Subject, "a\r\nb\0c");
    assert_eq!(headers.get(&HeaderName::Subject).unwrap(), "a  b c");
}

/// Each line end other than CRLF, and each bare control character, in received headers.
#[test]
fn received_line_breaks_and_controls_are_refused() {
    let message = |value: &str| {
        let mut text = String::from_utf8(minimal().to_bytes().to_vec()).unwrap();
        text = text.replace("Content-Length: 0\r\n", &format!("X: {value}\r\n"));
        parse(text.into())
    };
    for value in ["a\nb: c", "a\rb: c", "a\0b", "a\u{1}b", "a\u{b}b", "a\u{7f}b", "\"\\\\\u{1}\""] {
        assert!(message(value).is_err(), "{value:?}");
    }
    for (value, given) in [
        ("a\tb", "a\tb"),
        ("a\r\n b", "a b"),
        ("a\r\n\t \tb\r\n c", "a b c"),
        ("\"\\\u{1}\"", "\"\\\u{1}\""),
        ("\"\\\0\"", "\"\\ \""),
    ] {
        let headers = message(value).unwrap().headers().clone();
        assert_eq!(headers.get(&HeaderName::from("X")).unwrap(), given, "{value:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_escapes(
        name in proptest::collection::vec(any::<u8>(), 0..12),
        value in proptest::collection::vec(any::<u8>(), 0..60),
        user in proptest::collection::vec(any::<u8>(), 0..20),
        display in proptest::collection::vec(any::<u8>(), 0..20),
        param in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut uri = SipUri::new(Host::Name("example.com".into()));
        uri.user = Some(user.into());
        uri.params.set("p", param.clone());
        let mut address = NameAddr::new(uri.clone().into());
        address.display = Some(display.into());
        address.params.set("q", param.clone());
        let mut request = minimal();
        request.uri = uri.into();
        request.headers.set(HeaderName::To, address.to_bytes());
        let name = HeaderName::from_bytes(name.into());
        let free = matches!(name, HeaderName::Other(_));
        if free {
            request.headers.push(name, value);
        }
        let mut via = Via::parse(&"SIP/2.0/UDP 192.0.2.1".into()).unwrap();
        via.params.set("branch", param);
        request.headers.set_top_via(&via).unwrap();
        assert_contained(&request.into());
    }
}
