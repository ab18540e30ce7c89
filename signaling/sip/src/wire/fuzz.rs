//! Fuzz bodies: each takes any bytes and asserts what must hold for all bytes. The tests run them
//! over stored seeds and mutations of them; a fuzzer links the same functions.

use bytes::Bytes;

use super::error::Fault;
use super::{
    CSeq, Frame, Framer, HeaderName, Headers, Host, Message, NameAddr, ParseError, Replaces, Uri,
    Via, parse, refusal,
};

/// A datagram: no panic; what is accepted has no line break in any value, every typed reader
/// returns, and writing it gives bytes that read back as the same message.
pub fn message(data: &[u8]) {
    let raw = Bytes::copy_from_slice(data);
    match parse(raw.clone()) {
        Ok(message) => {
            check_values(message.headers());
            read_all(message.headers());
            check_written(&message);
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            if let Some(response) = refusal(&raw, &error) {
                check_values(&response.headers);
                assert!(response.to_bytes().len() < data.len() + REFUSAL_BYTES_ADDED);
            }
        }
    }
}

/// A byte transport: the same frames and the same final verdict however the bytes are cut. The
/// first byte seeds the cuts.
pub fn framer(data: &[u8]) {
    let Some((seed, data)) = data.split_first() else { return };
    let whole = frames(std::iter::once(data));
    assert_eq!(whole, frames(data.chunks(1)), "byte by byte");
    assert_eq!(whole, frames(data.chunks(usize::from(*seed).max(1))), "in chunks");
    let (head, tail) = data.split_at(data.len() * usize::from(*seed) / 256);
    assert_eq!(whole, frames([head, tail].into_iter()), "in two");
}

/// Single values: no panic; what is accepted is written so that it reads back as the same value.
pub fn values(data: &[u8]) {
    let text = Bytes::copy_from_slice(data);
    if let Ok(uri) = Uri::parse(data) {
        assert_eq!(Uri::from_bytes(uri.to_bytes()).as_ref(), Ok(&uri));
        assert!(uri.equivalent(&uri));
        let replaces = uri.as_sip().and_then(|uri| uri.header("Replaces"));
        let _ = replaces.map(|value| Replaces::parse(&value));
    }
    if let Ok(address) = NameAddr::parse(&text) {
        assert_eq!(NameAddr::parse(&address.to_bytes()).as_ref(), Ok(&address));
    }
    if let Ok(via) = Via::parse(&text) {
        assert_eq!(Via::parse(&via.to_bytes()).as_ref(), Ok(&via));
    }
    if let Ok(cseq) = CSeq::parse(&text) {
        assert_eq!(CSeq::parse(&cseq.to_string().into()).as_ref(), Ok(&cseq));
    }
    if let Ok(host) = Host::parse(data) {
        assert_eq!(Host::parse(host.to_string().as_bytes()).as_ref(), Ok(&host));
    }
    if let Ok(replaces) = Replaces::parse(&text) {
        assert_eq!(Replaces::parse(&replaces.to_string().into()).as_ref(), Ok(&replaces));
    }
    let mut headers = Headers::new();
    headers.push(HeaderName::from_bytes(text.clone()), text.clone());
    check_values(&headers);
    for name in TYPED {
        headers.set(name, text.clone());
    }
    read_all(&headers);
}

/// All frames, and the error that ended them.
fn frames<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<ParseError>) {
    let mut framer = Framer::new();
    let mut all = Vec::new();
    for chunk in chunks {
        if let Err(error) = framer.push(chunk) {
            return (all, Some(error));
        }
        loop {
            match framer.next() {
                Ok(Some(frame)) => all.push(frame),
                Ok(None) => break,
                Err(error) => return (all, Some(error)),
            }
        }
    }
    (all, None)
}

fn check_values(headers: &Headers) {
    for (name, value) in headers.iter() {
        assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)), "{name}: {value:?}");
    }
}

/// Calls each typed reader; their results do not matter here.
fn read_all(headers: &Headers) {
    for (name, _) in headers.iter() {
        let _ = (headers.list(name), headers.name_addrs(name), headers.has_token(name, "x"));
    }
    let _ = (headers.vias(), headers.from(), headers.to(), headers.call_id(), headers.cseq());
    let _ = (headers.max_forwards(), headers.content_length(), headers.expires());
    let _ = (headers.min_expires(), headers.retry_after(), headers.session_expires());
    let _ = (headers.min_se(), headers.rseq(), headers.rack());
    let _ = (headers.refer_to(), headers.referred_by(), headers.asserted_identities());
    let _ = (headers.preferred_identities(), headers.remote_parties(), headers.privacy());
    let _ = (headers.diversions(), headers.history(), headers.identity(), headers.path());
    let _ = (headers.service_route(), headers.warnings(), headers.event());
    let _ = (headers.subscription_state(), headers.replaces(), headers.reasons());
    if let Ok(Some(wait)) = headers.retry_after_value() {
        assert_eq!(headers.retry_after(), Ok(Some(wait.seconds)), "two readers of one value");
    }
    let mut popped = headers.clone();
    while let Ok(via) = popped.pop_via() {
        assert!(popped.len() <= headers.len());
        let mut replaced = headers.clone();
        assert_eq!(replaced.set_top_via(&via), Ok(()));
    }
}

fn check_written(message: &Message) {
    let again = parse(message.to_bytes());
    // Compact names became full ones, which may not fit.
    let too_long = again.as_ref().is_err_and(|e| matches!(e.fault(), Fault::TooLong(_)));
    assert!(again.is_ok() || too_long, "{message:?}: {again:?}");
    let Ok(again) = again else { return };
    assert_eq!(again.body(), message.body());
    let others = |m: &Message| {
        let all = m.headers().iter().filter(|(name, _)| **name != HeaderName::ContentLength);
        all.map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>()
    };
    assert_eq!(others(&again), others(message));
    match (&again, message) {
        (Message::Request(a), Message::Request(b)) => {
            assert_eq!((&a.method, &a.uri), (&b.method, &b.uri))
        }
        (Message::Response(a), Message::Response(b)) => {
            assert_eq!((a.status, &a.reason), (b.status, &b.reason));
        }
        (again, message) => assert_eq!(again, message),
    }
}

/// Headers whose values have a grammar of their own.
const TYPED: [HeaderName; 12] = [
    HeaderName::ReferTo,
    HeaderName::Replaces,
    HeaderName::Reason,
    HeaderName::PAssertedIdentity,
    HeaderName::Privacy,
    HeaderName::HistoryInfo,
    HeaderName::Identity,
    HeaderName::RetryAfter,
    HeaderName::Warning,
    HeaderName::SubscriptionState,
    HeaderName::Event,
    HeaderName::RAck,
];

/// More than a status line, a tag and the full names of the copied headers.
const REFUSAL_BYTES_ADDED: usize = 4_096;
