//! A second parser's opinion (`sipx-sip`) on mutated messages. Whenever both accept a message they
//! must agree on every header, on the dialog and the transaction it belongs to, and on the body;
//! and what only we accept must be in the list of our documented leniencies.

use std::cell::Cell;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use sip::wire::{HeaderName, Message, Uri, parse};
use sipx_sip::{Limits, Message as Theirs, parse_datagram, validate};

use crate::seeds;

/// What a mutation inserts: what separates, names of headers that route, blanks and controls.
const FRAGMENTS: [&str; 44] = [
    " ",
    "\t",
    "\r\n ",
    "\r\n\t",
    "\r\n",
    "\r",
    "\n",
    "\0",
    "\u{b}",
    "\u{7f}",
    ":",
    ";",
    ",",
    "\"",
    "\\",
    "<",
    ">",
    "@",
    "=",
    "?",
    "/",
    "%00",
    "é",
    "v",
    "Via:",
    "Via :",
    "\r\nVia: SIP/2.0/UDP evil;branch=z9hG4bKe",
    "\r\nTo: <sip:e@e>;tag=e",
    "\r\nt:<sip:e@e>;tag=e",
    "\r\nCSeq: 9 BYE",
    "\r\nCSeq\t: 9 BYE",
    "\r\ni: e",
    "\r\nCall-ID : e",
    "\r\n Call-ID: e",
    "\r\nContent-Length: 1",
    "\r\nl:0",
    ";tag=e",
    ";tag",
    "; tag = e",
    ",<sip:e@e>;tag=e",
    ";branch=z9hG4bKe",
    "\r\nRoute: <sip:e>",
    "\r\n\r\n",
    "\r\nX-\u{e9}: y",
];

#[derive(Clone, Debug)]
enum Edit {
    Insert(u16, &'static str),
    Delete(u16, u8),
    Flip(u16, u8),
    Double(u16),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        5 => (any::<u16>(), select(&FRAGMENTS[..])).prop_map(|(at, text)| Edit::Insert(at, text)),
        2 => (any::<u16>(), 1_u8..12).prop_map(|(at, length)| Edit::Delete(at, length)),
        2 => (any::<u16>(), any::<u8>()).prop_map(|(at, mask)| Edit::Flip(at, mask)),
        1 => any::<u16>().prop_map(Edit::Double),
    ];
    proptest::collection::vec(edit, 1..4)
}

fn apply(message: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = message.to_vec();
    for edit in edits {
        let place = |at: u16| usize::from(at) % bytes.len().max(1);
        match *edit {
            Edit::Insert(at, text) => {
                let at = place(at);
                bytes.splice(at..at, text.bytes());
            }
            Edit::Delete(at, length) => {
                let at = place(at);
                let end = (at + usize::from(length)).min(bytes.len());
                bytes.drain(at..end);
            }
            Edit::Flip(at, mask) => {
                let at = place(at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= mask;
                }
            }
            Edit::Double(at) => double_line(&mut bytes, usize::from(at)),
        }
    }
    bytes
}

fn double_line(bytes: &mut Vec<u8>, at: usize) {
    let lines: Vec<Vec<u8>> = bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    let line = lines.get(1 + at % lines.len().max(2)).cloned().unwrap_or_default();
    let first = lines.first().map_or(0, Vec::len);
    bytes.splice(first..first, line);
}

/// What identifies a message: all headers in order, and the readings that route it.
#[derive(Debug, PartialEq)]
struct Reading {
    headers: Vec<(String, Vec<u8>)>,
    method_or_status: String,
    call_id: Vec<u8>,
    cseq: (u32, String),
    tags: [Option<Vec<u8>>; 2],
    branch: Option<Vec<u8>>,
    vias: usize,
    body: Vec<u8>,
}

/// Runs of blanks as one space: the two parsers join folds in different but equivalent ways. A NUL
/// (legal in a quoted pair) is one too: ours becomes a space.
fn joined(value: &[u8]) -> Vec<u8> {
    let words = value.split(|b| b.is_ascii_whitespace() || *b == 0).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(&b' ')
}

fn ours(message: &Message) -> Option<Reading> {
    let headers = message.headers();
    let cseq = headers.cseq().ok()?;
    let via = headers.via().ok()?;
    let tag = |address: sip::wire::NameAddr| address.tag().map(|tag| tag.to_vec());
    Some(Reading {
        headers: headers
            .iter()
            .map(|(name, value)| (name.as_str().to_ascii_lowercase(), joined(value)))
            .collect(),
        method_or_status: match message {
            Message::Request(request) => request.method.to_string(),
            Message::Response(response) => response.status.to_string(),
        },
        call_id: headers.call_id().ok()?.to_vec(),
        cseq: (cseq.number, cseq.method.to_string()),
        tags: [headers.from().ok().and_then(tag), headers.to().ok().and_then(tag)],
        branch: via.branch().map(|branch| branch.to_vec()),
        vias: headers.vias().ok()?.len(),
        body: message.body().to_vec(),
    })
}

fn theirs(message: &Theirs) -> Option<Reading> {
    use sipx_sip::headers::{CSeq, From, To, Via};
    let headers = message.headers();
    let cseq = headers.typed::<CSeq>()?.ok()?;
    let vias: Vec<_> = headers.typed_all::<Via>().collect::<Result<_, _>>().ok()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(Reading {
        headers: headers
            .iter()
            .map(|h| (text(h.name().canonical()).to_ascii_lowercase(), joined(&h.value())))
            .collect(),
        method_or_status: match message {
            Theirs::Request(request) => text(request.method.as_bytes()),
            Theirs::Response(response) => response.status.code().to_string(),
        },
        call_id: joined(&headers.value(&sipx_sip::HeaderName::CallId)?),
        cseq: (cseq.sequence, text(cseq.method.as_bytes())),
        tags: [
            headers.typed::<From>()?.ok()?.tag().map(<[u8]>::to_vec),
            headers.typed::<To>()?.ok()?.tag().map(<[u8]>::to_vec),
        ],
        branch: vias.first()?.branch().map(<[u8]>::to_vec),
        vias: vias.len(),
        body: message.body().to_vec(),
    })
}

/// Ours accepts, theirs does not: allowed for the leniencies of the README's table.
fn is_documented_leniency(message: &Message) -> bool {
    let headers = message.headers();
    let display = [headers.from(), headers.to()]
        .into_iter()
        .flatten()
        .any(|address| address.display.is_some_and(|text| !text.iter().copied().all(is_display)));
    let addresses = [headers.from(), headers.to()].into_iter().flatten().map(|a| a.params);
    let vias = headers.vias().unwrap_or_default().into_iter().map(|via| via.params);
    let value = addresses.chain(vias).any(|params| {
        params.iter().any(|(_, value)| value.is_some_and(|v| !v.iter().copied().all(is_value)))
    });
    let mut uris =
        [headers.from(), headers.to()].into_iter().flatten().map(|a| a.uri).collect::<Vec<_>>();
    if let Message::Request(request) = message {
        uris.push(request.uri.clone());
    }
    let user = uris.iter().filter_map(Uri::as_sip).filter_map(|uri| uri.user.as_ref());
    let user = user.into_iter().any(|user| user.contains(&b'#'));
    display || value || user || oracle_is_stricter(message)
}

/// RFC 3261 §25.1 COLON allows blanks around the colon before a Via port; the oracle does not.
fn oracle_is_stricter(message: &Message) -> bool {
    let blank = |pair: &[u8]| matches!(pair, [b' ' | b'\t', b':'] | [b':', b' ' | b'\t']);
    message.headers().all(&HeaderName::Via).any(|via| via.windows(2).any(blank))
}

fn is_display(byte: u8) -> bool {
    is_value(byte) || byte == b' '
}

/// Characters of a token, and of a host.
fn is_value(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~[]:".contains(&byte)
}

#[test]
fn both_read_the_same_message() {
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..Default::default() };
    let agreed = Cell::new(0_u32);
    let inputs = (0..seeds::MESSAGES.len(), edits());
    let result = TestRunner::new(config).run(&inputs, |(seed, edits)| {
        let bytes = Bytes::from(apply(seeds::MESSAGES[seed].1, &edits));
        let Ok(message) = parse(bytes.clone()) else { return Ok(()) };
        let Some(reading) = ours(&message) else { return Ok(()) };
        match second_opinion(&bytes) {
            Some(theirs) => prop_assert_eq!(reading, theirs),
            None => prop_assert!(is_documented_leniency(&message), "only we accept {:?}", bytes),
        }
        agreed.set(agreed.get() + 1);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    // Control: many mutated messages are still accepted, so that there was something to compare.
    assert!(agreed.get() > CASES / 10, "{} of {CASES}", agreed.get());
}

fn second_opinion(bytes: &Bytes) -> Option<Reading> {
    // Line ends before the start line are skipped by us on datagrams too.
    let mut message = bytes.clone();
    while message.starts_with(b"\r\n") {
        message = message.slice(2..);
    }
    let message = parse_datagram(message, &Limits::datagram()).ok()?;
    let valid = validate(&message).iter().all(|finding| finding.is_repairable());
    if valid { theirs(&message) } else { None }
}

const CASES: u32 = 100_000;
