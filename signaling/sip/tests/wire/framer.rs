//! Framing on a byte transport: every cut gives the verdict of one piece, and no length trick makes
//! body bytes a message.

use sip::wire::{Fault, Frame, Framer, Message, ParseError, limits, parse};

use crate::seeds;

fn frames(pieces: &[&[u8]]) -> (Vec<Frame>, Option<ParseError>) {
    let mut framer = Framer::new();
    let mut all = Vec::new();
    for piece in pieces {
        if let Err(error) = framer.push(piece) {
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

/// Each message of the corpora behind a keep-alive and before another message, cut at each byte.
#[test]
fn every_cut_gives_the_verdict_of_one_piece() {
    let tail = seeds::MESSAGES[5].1;
    for (name, bytes) in seeds::all() {
        let bytes = [b"\r\n\r\n".as_slice(), &bytes, b"\r\n", tail].concat();
        let whole = frames(&[&bytes]);
        for at in 0..bytes.len() {
            let (head, rest) = bytes.split_at(at);
            assert_eq!(frames(&[head, rest]), whole, "{name} cut at {at}");
        }
        let single: Vec<_> = bytes.chunks(1).collect();
        assert_eq!(frames(&single), whole, "{name} byte by byte");
    }
}

#[test]
fn three_messages_and_keep_alives_in_one_piece() {
    let (frames, error) = frames(&[&seeds::FRAMED[0].1[1..]]);
    assert_eq!(error, None);
    let kinds: Vec<_> = frames
        .iter()
        .map(|frame| match frame {
            Frame::Message(Message::Request(request)) => request.method.to_string(),
            Frame::Message(Message::Response(response)) => response.status.to_string(),
            Frame::Ping => "ping".to_owned(),
            Frame::Pong => "pong".to_owned(),
        })
        .collect();
    assert_eq!(kinds, ["REGISTER", "pong", "ping", "INVITE", "pong", "407"]);
}

/// Content-Length tricks of published vulnerabilities (OpenSIPS 09e787799c, CVE-2026-23457,
/// FreeSWITCH ESL), each at every cut: an error, and never a second message.
#[test]
fn no_length_trick_makes_a_second_message() {
    let smuggled = String::from_utf8(seeds::MESSAGES[5].1.to_vec()).unwrap();
    let tricks = [
        "Content-Length: -1",
        "Content-Length: +0",
        "Content-Length: 0x10",
        "Content-Length: 1 0",
        "Content-Length: 0,0",
        "Content-Length:",
        "Content-Length: 65536",
        "Content-Length: 2147483647",
        "Content-Length: 2147483649",
        "Content-Length: 4294967328",
        "Content-Length: 18446744073709551616",
        "Content-Length: 18446744073709551648",
        "Content-Length: 340282366920938463463374607431768211456",
        "Content-Length: 0\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 0",
        "Content-Length: 0\r\nContent-Length: 0",
        "Content-Length: 0\r\nl: 5",
        "l: 5\r\nContent-Length : 0",
        "Content-Length: 0\r\nCONTENT-LENGTH\t: 5",
        "Content-Length\u{b}: 0",
        "X: y",
    ];
    for trick in tricks {
        let first = smuggled.replace("Content-Length: 0", trick);
        assert_ne!(first, smuggled, "{trick}");
        let bytes = (first + &smuggled).into_bytes();
        for at in 0..bytes.len() {
            let (head, rest) = bytes.split_at(at);
            let (frames, error) = frames(&[head, rest]);
            assert!(frames.is_empty() && error.is_some(), "{trick} cut at {at}: {frames:?}");
        }
    }
    let control = smuggled.clone() + &smuggled;
    assert_eq!(frames(&[control.as_bytes()]).0.len(), 2, "control");
}

/// The same lengths on a datagram: one verdict for both transports, but that the length may be
/// absent there.
#[test]
fn a_datagram_refuses_the_same_lengths() {
    let message = String::from_utf8(seeds::MESSAGES[5].1.to_vec()).unwrap();
    for trick in ["-1", "+0", "1 0", "0,0", "", "65536", "4294967296", "18446744073709551616", "1"]
    {
        let text = message.replace("Content-Length: 0", &format!("Content-Length: {trick}"));
        assert!(parse(text.clone().into()).is_err(), "{trick}");
    }
    let absent = message.replace("Content-Length: 0\r\n", "") + "rest";
    assert_eq!(parse(absent.into()).unwrap().body(), "rest");
    let beyond = message + "rest";
    assert_eq!(parse(beyond.into()).unwrap().body(), "");
}

#[test]
fn an_error_is_final() {
    let mut framer = Framer::new();
    framer.push(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let error = framer.next().unwrap_err();
    assert_eq!(framer.push(seeds::MESSAGES[5].1), Err(error));
    assert_eq!(framer.next(), Err(error));
}

#[test]
fn a_head_without_an_end_is_refused_at_the_limit() {
    let mut framer = Framer::new();
    framer.push(b"OPTIONS sip:a SIP/2.0\r\n").unwrap();
    let line = [b"X: ".as_slice(), &[b'y'; 995], b"\r\n"].concat();
    let mut pushed = 23;
    loop {
        framer.push(&line).unwrap();
        pushed += line.len();
        match framer.next() {
            Ok(frame) => assert_eq!(frame, None),
            Err(error) => {
                assert_eq!(error.fault(), Fault::TooLong(limits::MESSAGE_BYTES_MAX));
                break;
            }
        }
        assert!(pushed <= limits::MESSAGE_BYTES_MAX, "held back {pushed} bytes");
    }
}

#[test]
fn a_framer_is_idle_between_messages_only() {
    let mut framer = Framer::new();
    assert!(framer.is_idle());
    let (head, rest) = seeds::MESSAGES[4].1.split_at(300);
    framer.push(head).unwrap();
    assert_eq!(framer.next(), Ok(None));
    assert!(!framer.is_idle());
    framer.push(rest).unwrap();
    assert!(matches!(framer.next(), Ok(Some(Frame::Message(_)))));
    assert!(framer.is_idle());
}
