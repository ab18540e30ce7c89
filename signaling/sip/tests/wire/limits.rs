//! Each limit of the wire layer is reached, and passed by one.

use bytes::Bytes;
use sip::wire::{Fault, Framer, Method, NameAddr, ParseError, Uri, limits, parse};

const HEAD: &str = "OPTIONS sip:a@b.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
                    From: <sip:a@b.example>;tag=1\r\nTo: <sip:a@b.example>\r\nCSeq: 1 OPTIONS\r\n";

fn with(call_id: &str, more: &str, body: &str) -> Result<sip::wire::Message, ParseError> {
    parse(Bytes::from(format!("{HEAD}Call-ID: {call_id}\r\n{more}\r\n{body}")))
}

fn fault<T: std::fmt::Debug>(result: Result<T, ParseError>) -> Option<Fault> {
    result.err().map(|error| error.fault())
}

#[test]
fn bytes_of_a_message() {
    let head = with("1", "", "").unwrap();
    assert!(head.body().is_empty());
    let length = HEAD.len() + "Call-ID: 1\r\n\r\n".len();
    let fits = "b".repeat(limits::MESSAGE_BYTES_MAX - length);
    assert_eq!(with("1", "", &fits).unwrap().body().len(), fits.len());
    let error = with("1", "", &format!("{fits}b")).unwrap_err();
    assert_eq!(error.fault(), Fault::TooLong(limits::MESSAGE_BYTES_MAX));
    assert_eq!(error.status().unwrap().code(), 513);
}

#[test]
fn number_of_headers() {
    let room = limits::HEADERS_MAX - 5;
    let message = with("1", &"X: y\r\n".repeat(room), "").unwrap();
    assert_eq!(message.headers().len(), limits::HEADERS_MAX);
    let over = with("1", &"X: y\r\n".repeat(room + 1), "");
    assert_eq!(fault(over), Some(Fault::TooMany(limits::HEADERS_MAX)));
}

#[test]
fn bytes_of_a_header_line() {
    let line = |length: usize| format!("X: {}\r\n", "y".repeat(length - 3));
    assert!(with("1", &line(limits::HEADER_BYTES_MAX), "").is_ok());
    let over = with("1", &line(limits::HEADER_BYTES_MAX + 1), "");
    assert_eq!(fault(over), Some(Fault::TooLong(limits::HEADER_BYTES_MAX)));
    let folded = format!("X: {}\r\n", "y\r\n ".repeat(limits::HEADER_BYTES_MAX / 2 + 1));
    assert_eq!(fault(with("1", &folded, "")), Some(Fault::TooLong(limits::HEADER_BYTES_MAX)));
}

#[test]
fn bytes_of_a_uri() {
    let uri = |length: usize| Uri::from_bytes(format!("sip:{}@b", "a".repeat(length - 6)).into());
    assert!(uri(limits::URI_BYTES_MAX).is_ok());
    assert_eq!(fault(uri(limits::URI_BYTES_MAX + 1)), Some(Fault::TooLong(limits::URI_BYTES_MAX)));
    let request = |length: usize| {
        let long = format!("sip:{}@b", "a".repeat(length - 6));
        parse(Bytes::from(HEAD.replacen("sip:a@b.example", &long, 1) + "Call-ID: 1\r\n\r\n"))
    };
    assert!(request(limits::URI_BYTES_MAX).is_ok());
    assert_eq!(request(limits::URI_BYTES_MAX + 1).unwrap_err().status().unwrap().code(), 414);
}

#[test]
fn bytes_of_a_method() {
    let request = |length: usize| {
        let name = "A".repeat(length);
        parse(Bytes::from(HEAD.replace("OPTIONS", &name) + "Call-ID: 1\r\n\r\n"))
    };
    assert!(request(limits::METHOD_BYTES_MAX).is_ok());
    let over = request(limits::METHOD_BYTES_MAX + 1);
    assert_eq!(fault(over), Some(Fault::TooLong(limits::METHOD_BYTES_MAX)));
    assert_eq!(Method::from("A").as_str(), "A");
}

#[test]
fn number_of_via_values() {
    let values = |count: usize| {
        let line = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n".repeat(count - 1);
        with("1", &line, "").unwrap().headers().vias().map(|vias| vias.len())
    };
    assert_eq!(values(limits::VIA_MAX), Ok(limits::VIA_MAX));
    assert_eq!(fault(values(limits::VIA_MAX + 1)), Some(Fault::TooMany(limits::VIA_MAX)));
}

#[test]
fn elements_of_a_list() {
    let values = |lines: usize, more: usize| {
        let line = format!("Contact: {}<sip:a@b>\r\n", "<sip:a@b>,".repeat(127)).repeat(lines);
        let more = "Contact: <sip:a@b>\r\n".repeat(more);
        with("1", &(line + &more), "").unwrap().headers().contacts().map(|all| all.len())
    };
    assert_eq!(values(2, 0), Ok(limits::LIST_MAX));
    assert_eq!(fault(values(2, 1)), Some(Fault::TooMany(limits::LIST_MAX)));
}

#[test]
fn number_of_parameters() {
    let params = |count: usize| (0..count).map(|n| format!(";p{n}")).collect::<String>();
    let header = |count: usize| NameAddr::parse(&format!("<sip:a@b>{}", params(count)).into());
    assert!(header(limits::PARAMS_MAX).is_ok());
    let over = fault(header(limits::PARAMS_MAX + 1));
    assert_eq!(over, Some(Fault::TooMany(limits::PARAMS_MAX)));
    let uri = |count: usize| Uri::parse(format!("sip:a@b{}", params(count)).as_bytes());
    assert!(uri(limits::PARAMS_MAX).is_ok());
    assert_eq!(fault(uri(limits::PARAMS_MAX + 1)), Some(Fault::TooMany(limits::PARAMS_MAX)));
}

#[test]
fn bytes_of_a_call_id() {
    assert!(with(&"c".repeat(limits::CALL_ID_BYTES_MAX), "", "").is_ok());
    let over = with(&"c".repeat(limits::CALL_ID_BYTES_MAX + 1), "", "");
    assert_eq!(fault(over), Some(Fault::TooLong(limits::CALL_ID_BYTES_MAX)));
}

#[test]
fn bytes_that_a_framer_holds() {
    let mut framer = Framer::new();
    assert_eq!(framer.push(&vec![b'\r'; limits::FRAMER_BYTES_MAX]), Ok(()));
    let mut framer = Framer::new();
    let over = framer.push(&vec![b'\r'; limits::FRAMER_BYTES_MAX + 1]);
    assert_eq!(fault(over), Some(Fault::TooLong(limits::FRAMER_BYTES_MAX)));
    assert!(framer.next().is_err(), "the error is final");
}

#[test]
fn the_largest_sequence_number() {
    let request = |number: u64| {
        let text = HEAD.replace("CSeq: 1 ", &format!("CSeq: {number} "));
        fault(parse(Bytes::from(text + "Call-ID: 1\r\n\r\n")))
    };
    assert_eq!(request(u64::from(limits::CSEQ_MAX)), None);
    assert_eq!(request(u64::from(limits::CSEQ_MAX) + 1), Some(Fault::OutOfRange));
}
