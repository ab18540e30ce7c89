//! RFC 4475, all of its messages, each with the verdict of its section.

use bytes::Bytes;
use sip::wire::{
    self, Frame, Framer, HeaderName, Host, Message, Method, Request, StatusCode, Uri, parse,
};
use sipx_testkit::rfc4475;

/// What the RFC asks for.
enum Verdict {
    /// Parses; the check looks at what the section is about.
    Accept(fn(&Message)),
    /// Refused with this status.
    Refuse(StatusCode),
    /// A response that is dropped.
    Discard,
    /// Parses, because this layer does not read the header at fault; who reads it gets the error.
    RefusedBy(HeaderName),
}

use Verdict::{Accept, Discard, Refuse, RefusedBy};

/// Message, section, verdict. Where a section allows several, the one that is taken has its reason.
const TABLE: [(&str, &str, Verdict); 49] = [
    ("wsinv", "3.1.1.1", Accept(wsinv)),
    ("intmeth", "3.1.1.2", Accept(intmeth)),
    ("esc01", "3.1.1.3", Accept(esc01)),
    ("escnull", "3.1.1.4", Accept(escnull)),
    ("esc02", "3.1.1.5", Accept(esc02)),
    ("lwsdisp", "3.1.1.6", Accept(lwsdisp)),
    ("longreq", "3.1.1.7", Accept(longreq)),
    ("dblreq", "3.1.1.8", Accept(dblreq)),
    ("semiuri", "3.1.1.9", Accept(semiuri)),
    ("transports", "3.1.1.10", Accept(transports)),
    ("mpart01", "3.1.1.11", Accept(mpart01)),
    ("unreason", "3.1.1.12", Accept(unreason)),
    ("noreason", "3.1.1.13", Accept(noreason)),
    ("badinv01", "3.1.2.1", Refuse(StatusCode::BAD_REQUEST)),
    ("clerr", "3.1.2.2", Refuse(StatusCode::BAD_REQUEST)),
    ("ncl", "3.1.2.3", Refuse(StatusCode::BAD_REQUEST)),
    ("scalar02", "3.1.2.4", Refuse(StatusCode::BAD_REQUEST)),
    ("scalarlg", "3.1.2.5", Discard),
    ("quotbal", "3.1.2.6", Refuse(StatusCode::BAD_REQUEST)),
    ("ltgtruri", "3.1.2.7", Refuse(StatusCode::BAD_REQUEST)),
    ("lwsruri", "3.1.2.8", Refuse(StatusCode::BAD_REQUEST)),
    ("lwsstart", "3.1.2.9", Refuse(StatusCode::BAD_REQUEST)),
    ("trws", "3.1.2.10", Refuse(StatusCode::BAD_REQUEST)),
    // Refusing is one of the two ways that the section gives; the other is to ignore them.
    ("escruri", "3.1.2.11", Refuse(StatusCode::BAD_REQUEST)),
    // The section leaves a Date alone that is not going to be used; none is here.
    ("baddate", "3.1.2.12", Accept(baddate)),
    // 400 from the endpoint, which reads the Contacts of a REGISTER.
    ("regbadct", "3.1.2.13", RefusedBy(HeaderName::Contact)),
    ("badaspec", "3.1.2.14", Refuse(StatusCode::BAD_REQUEST)),
    ("baddn", "3.1.2.15", Refuse(StatusCode::BAD_REQUEST)),
    ("badvers", "3.1.2.16", Refuse(StatusCode::VERSION_NOT_SUPPORTED)),
    ("mismatch01", "3.1.2.17", Refuse(StatusCode::BAD_REQUEST)),
    ("mismatch02", "3.1.2.18", Refuse(StatusCode::BAD_REQUEST)),
    ("bigcode", "3.1.2.19", Discard),
    ("badbranch", "3.2.1", Accept(badbranch)),
    ("insuf", "3.3.1", Refuse(StatusCode::BAD_REQUEST)),
    ("unkscm", "3.3.2", Accept(unkscm)),
    ("novelsc", "3.3.3", Accept(novelsc)),
    ("unksm2", "3.3.4", Accept(unksm2)),
    ("bext01", "3.3.5", Accept(bext01)),
    ("invut", "3.3.6", Accept(invut)),
    ("regaut01", "3.3.7", Accept(regaut01)),
    ("multi01", "3.3.8", Refuse(StatusCode::BAD_REQUEST)),
    ("mcl01", "3.3.9", Refuse(StatusCode::BAD_REQUEST)),
    ("bcast", "3.3.10", Accept(bcast)),
    ("zeromf", "3.3.11", Accept(zeromf)),
    ("cparam01", "3.3.12", Accept(cparam01)),
    ("cparam02", "3.3.13", Accept(cparam02)),
    ("regescrt", "3.3.14", Accept(regescrt)),
    ("sdp01", "3.3.15", Accept(sdp01)),
    ("inv2543", "3.4.1", Accept(inv2543)),
];

#[test]
fn each_message_gets_its_verdict() {
    for (name, section, verdict) in &TABLE {
        let case = rfc4475::case(name).unwrap();
        assert_eq!(case.section, *section, "{name}");
        let result = parse(Bytes::from_static(case.bytes));
        match (verdict, result) {
            (Accept(check), Ok(message)) => check(&message),
            (RefusedBy(header), Ok(message)) => {
                assert!(message.headers().name_addrs(header).is_err(), "{name}: {header}");
            }
            (Refuse(status), Err(error)) => {
                assert_eq!(error.status(), Some(*status), "{name} {section}: {error}");
            }
            (Discard, Err(error)) => assert_eq!(error.status(), None, "{name}: {error}"),
            (Accept(_) | RefusedBy(_), Err(error)) => panic!("{name} {section}: refused: {error}"),
            (Refuse(_) | Discard, Ok(message)) => panic!("{name} {section}: accepted: {message:?}"),
        }
    }
}

#[test]
fn the_table_holds_every_message_of_the_rfc() {
    let table: Vec<_> = TABLE.iter().map(|(name, ..)| *name).collect();
    let corpus: Vec<_> = rfc4475::classified().map(|case| case.name).collect();
    let mut sorted = (table.clone(), corpus.clone());
    sorted.0.sort_unstable();
    sorted.1.sort_unstable();
    assert_eq!(sorted.0, sorted.1);
}

/// Whatever was accepted is written so that it reads back as the same message.
#[test]
fn what_is_accepted_survives_writing() {
    for case in rfc4475::classified() {
        let Ok(message) = parse(Bytes::from_static(case.bytes)) else { continue };
        let again = parse(message.to_bytes()).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        assert_eq!(again.body(), message.body(), "{}", case.name);
        assert_eq!(others(&again), others(&message), "{}", case.name);
        assert_eq!(again.to_bytes(), message.to_bytes(), "{}", case.name);
    }
}

/// On a byte transport each message gets the same verdict, and no byte behind a length becomes part
/// of it. Messages without Content-Length are refused there (RFC 3261 §18.3).
#[test]
fn a_byte_transport_agrees_with_a_datagram() {
    for case in rfc4475::classified() {
        let datagram = parse(Bytes::from_static(case.bytes));
        let mut framer = Framer::new();
        framer.push(case.bytes).unwrap();
        match (datagram, framer.next()) {
            (Ok(expected), Ok(Some(Frame::Message(message)))) => assert_eq!(message, expected),
            (Ok(message), Err(error)) => {
                let length = message.headers().get(&HeaderName::ContentLength);
                assert!(length.is_none(), "{}: {error}", case.name);
            }
            (Err(_), Err(_)) => {}
            // More bytes may follow on a byte transport: a body or a head is waited for.
            (Err(_), Ok(None)) => assert!(["clerr", "baddn"].contains(&case.name), "{}", case.name),
            (datagram, framed) => panic!("{}: {datagram:?} but {framed:?}", case.name),
        }
    }
}

fn others(message: &Message) -> Vec<(HeaderName, Bytes)> {
    let all = message.headers().iter().filter(|(name, _)| **name != HeaderName::ContentLength);
    all.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn request(message: &Message) -> &Request {
    match message {
        Message::Request(request) => request,
        Message::Response(response) => panic!("a response: {response:?}"),
    }
}

fn raw<'a>(message: &'a Message, name: &str) -> &'a [u8] {
    message.headers().get(&HeaderName::from(name)).unwrap_or_else(|| panic!("no {name}"))
}

fn wsinv(message: &Message) {
    let headers = message.headers();
    assert_eq!(request(message).uri.to_string(), "sip:vivekg@chair-dnrc.example.com;unknownparam");
    assert_eq!(headers.max_forwards().unwrap(), Some(68));
    assert_eq!(headers.call_id().unwrap(), "wsinv.ndaksdj@192.0.2.1");
    assert_eq!(headers.cseq().unwrap().number, 9);
    assert_eq!(headers.to().unwrap().tag().unwrap(), "1918181833n");
    assert_eq!(headers.from().unwrap().display.unwrap(), "J Rosenberg \\\"");
    let vias = headers.vias().unwrap();
    assert_eq!(vias.len(), 3);
    assert_eq!(vias[0].branch().unwrap(), "390skdjuw");
    assert_eq!(vias[1].transport, "TCP");
    assert_eq!(vias[2].host, Host::V4([192, 168, 255, 111].into()));
    assert_eq!(raw(message, "Subject"), b"");
    assert_eq!(raw(message, "NewFangledHeader"), b"newfangled value continued newfangled value");
    assert_eq!(raw(message, "UnknownHeaderWithUnusualValue"), b";;,,;;,;");
    assert_eq!(headers.content_type().unwrap(), "application/sdp");
    let route = headers.route().unwrap();
    assert_eq!(
        route[0].uri.to_string(),
        "sip:services.example.com;lr;unknownwith=value;unknown-no-value"
    );
    let contact = &headers.contacts().unwrap()[0];
    assert_eq!(contact.display.as_ref().unwrap(), "Quoted string \"\"");
    assert_eq!(contact.params.get("newparam").unwrap(), "newvalue");
    assert!(contact.params.has("secondparam"));
    assert_eq!(contact.params.get("q").unwrap(), "0.33");
    assert_eq!(message.body().len(), 150);
}

fn intmeth(message: &Message) {
    let request = request(message);
    assert_eq!(request.method, Method::from("!interesting-Method0123456789_*+`.%indeed'~"));
    let uri = request.uri.as_sip().unwrap();
    assert_eq!(
        uri.user.as_ref().unwrap(),
        "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    );
    assert_eq!(uri.host, Host::Name("example.com".into()));
    let to = request.headers.to().unwrap();
    let display = to.display.unwrap();
    assert_eq!(display, &b"BEL:\x07 NUL:  DEL:\x7f"[..]);
    let from = request.headers.from().unwrap();
    assert_eq!(from.display.clone().unwrap(), "token1~` token2'+_ token3*%!.-");
    assert_eq!(from.tag().unwrap(), "_token~1'+`*%!-.");
    assert_eq!(from.params.get("fromParam''~+*_!.-%").unwrap(), "работающий");
}

fn esc01(message: &Message) {
    let request = request(message);
    let uri = request.uri.as_sip().unwrap();
    assert_eq!(uri.user.as_ref().unwrap(), "sips%3Auser%40example.com");
    assert_eq!(uri.user_text().unwrap(), "sips:user@example.com");
    assert_eq!(uri.host, Host::Name("example.net".into()));
    let contact = &request.headers.contacts().unwrap()[0];
    assert!(contact.uri.as_sip().unwrap().params.has("%6C%72"));
    assert!(contact.uri.as_sip().unwrap().params.has("n%61me"));
}

fn escnull(message: &Message) {
    let contacts = message.headers().contacts().unwrap();
    let users: Vec<_> =
        contacts.iter().map(|c| c.uri.as_sip().unwrap().user_text().unwrap()).collect();
    assert_eq!(users, [&b"\0"[..], &b"\0\0"[..]]);
    assert!(!contacts[0].uri.equivalent(&contacts[1].uri));
}

fn esc02(message: &Message) {
    let request = request(message);
    assert_eq!(request.method.as_str(), "RE%47IST%45R");
    assert_ne!(request.method, Method::Register);
    assert_eq!(request.headers.from().unwrap().display.unwrap(), "%Z%45");
    assert_eq!(request.headers.contacts().unwrap().len(), 2);
}

fn lwsdisp(message: &Message) {
    let from = message.headers().from().unwrap();
    assert_eq!(from.display.clone().unwrap(), "caller");
    assert_eq!(from.tag().unwrap(), "323");
}

fn longreq(message: &Message) {
    assert_eq!(message.headers().vias().unwrap().len(), 34);
    let call_id = message.headers().call_id().unwrap();
    assert!(call_id.starts_with(b"longreq.onereallyreally"));
    assert!(message.headers().from().unwrap().params.len() > 2);
}

fn dblreq(message: &Message) {
    assert_eq!(request(message).method, Method::Register);
    assert_eq!(message.body(), "");
}

fn semiuri(message: &Message) {
    let uri = request(message).uri.as_sip().unwrap();
    assert_eq!(uri.user.as_ref().unwrap(), "user;par=u%40example.net");
    assert_eq!(uri.host, Host::Name("example.com".into()));
    assert!(uri.params.is_empty());
}

fn transports(message: &Message) {
    let vias = message.headers().vias().unwrap();
    let names: Vec<_> = vias.iter().map(|via| &via.transport[..]).collect();
    assert_eq!(names, [&b"UDP"[..], b"SCTP", b"TLS", b"UNKNOWN", b"TCP"]);
}

fn mpart01(message: &Message) {
    assert_eq!(request(message).method, Method::Message);
    assert!(message.body().contains(&0xe1), "the binary part is there");
    let length = message.headers().content_length().unwrap().unwrap();
    assert_eq!(message.body().len(), length);
}

fn unreason(message: &Message) {
    let Message::Response(response) = message else { panic!("a request") };
    assert_eq!(response.status, StatusCode::OK);
    assert!(std::str::from_utf8(&response.reason).unwrap().starts_with("= 2**3 * 5**2 но "));
}

fn noreason(message: &Message) {
    let Message::Response(response) = message else { panic!("a request") };
    assert_eq!((response.status, response.reason.len()), (StatusCode::TRYING, 0));
}

fn baddate(message: &Message) {
    assert_eq!(raw(message, "Date"), b"Fri, 01 Jan 2010 16:00:00 EST");
}

fn badbranch(message: &Message) {
    let via = message.headers().via().unwrap();
    assert_eq!(via.branch().unwrap(), "z9hG4bK");
    assert!(!via.has_cookie(), "an empty branch behind the cookie identifies nothing");
}

fn unkscm(message: &Message) {
    assert_eq!(
        request(message).uri,
        Uri::Other("nobodyKnowsThisScheme:totallyopaquecontent".into())
    );
}

fn novelsc(message: &Message) {
    assert_eq!(request(message).uri, Uri::Other("soap.beep://192.0.2.103:3002".into()));
}

fn unksm2(message: &Message) {
    let headers = message.headers();
    assert!(matches!(headers.to().unwrap().uri, Uri::Other(_)));
    assert!(matches!(headers.from().unwrap().uri, Uri::Other(_)));
    assert!(matches!(headers.contacts().unwrap()[0].uri, Uri::Other(_)));
}

fn bext01(message: &Message) {
    let headers = message.headers();
    assert!(headers.has_token(&HeaderName::Require, "nothingSupportsThis"));
    assert!(headers.has_token(&HeaderName::Require, "nothingSupportsThisEither"));
    assert!(headers.has_token(&HeaderName::ProxyRequire, "noProxiesSupportThis"));
}

fn invut(message: &Message) {
    assert_eq!(message.headers().content_type().unwrap(), "application/unknownformat");
}

fn regaut01(message: &Message) {
    assert!(raw(message, "Authorization").starts_with(b"NoOneKnowsThisScheme"));
}

fn bcast(message: &Message) {
    let vias = message.headers().vias().unwrap();
    assert_eq!(vias.len(), 2);
    assert_eq!(vias[1].host, Host::V4([255, 255, 255, 255].into()));
}

fn zeromf(message: &Message) {
    assert_eq!(message.headers().max_forwards().unwrap(), Some(0));
}

fn cparam01(message: &Message) {
    let contact = &message.headers().contacts().unwrap()[0];
    assert!(contact.params.has("unknownparam"));
    assert!(contact.uri.as_sip().unwrap().params.is_empty());
}

fn cparam02(message: &Message) {
    let contact = &message.headers().contacts().unwrap()[0];
    assert!(contact.uri.as_sip().unwrap().params.has("unknownparam"));
    assert!(contact.params.is_empty());
}

fn regescrt(message: &Message) {
    let contact = &message.headers().contacts().unwrap()[0];
    assert_eq!(
        contact.uri.as_sip().unwrap().headers.as_ref().unwrap(),
        "Route=%3Csip:sip.example.com%3E"
    );
}

fn sdp01(message: &Message) {
    assert_eq!(raw(message, "Accept"), b"text/nobodyKnowsThis");
}

fn inv2543(message: &Message) {
    let headers = message.headers();
    assert!(headers.via().unwrap().branch().is_none());
    assert!(headers.from().unwrap().tag().is_none());
    assert_eq!(headers.max_forwards().unwrap(), None);
    assert!(headers.content_length().unwrap().is_none());
    assert!(!message.body().is_empty());
    assert!(wire::limits::MESSAGE_BYTES_MAX > message.body().len());
}
