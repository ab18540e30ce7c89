//! Damaged input: every prefix, every byte flipped, random edits. Nothing panics, and what is still
//! accepted holds the properties of the fuzz bodies.

use bytes::Bytes;
use proptest::prelude::*;
use sip::wire::{ParseError, StatusCode, fuzz, parse, refusal};

use crate::seeds;

#[test]
fn every_prefix_of_every_message() {
    for (_, bytes) in seeds::all() {
        for end in 0..bytes.len() {
            fuzz::message(&bytes[..end]);
        }
    }
}

/// A prefix that ends inside the head or the body of a message with a length is never a message.
#[test]
fn no_prefix_of_a_framed_message_is_a_message() {
    for (name, bytes) in seeds::MESSAGES {
        for end in 0..bytes.len() {
            assert!(parse(Bytes::copy_from_slice(&bytes[..end])).is_err(), "{name} {end}");
        }
    }
}

#[test]
fn every_byte_flipped() {
    for (_, bytes) in seeds::all() {
        for at in 0..bytes.len() {
            for mask in [0x01, 0x20, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= mask;
                fuzz::message(&damaged);
            }
        }
    }
}

#[test]
fn every_byte_replaced_by_what_separates() {
    for (_, bytes) in seeds::MESSAGES {
        for at in 0..bytes.len() {
            for byte in *b"\r\n\0\t :;,\"<>\\@?=[]%" {
                let mut damaged = bytes.to_vec();
                damaged[at] = byte;
                fuzz::message(&damaged);
            }
        }
    }
}

#[test]
fn framed_seeds_with_every_byte_flipped() {
    for (_, bytes) in seeds::FRAMED {
        for at in 0..bytes.len().min(700) {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0x01;
            fuzz::framer(&damaged);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz::message(&data);
        fuzz::framer(&data);
        fuzz::values(&data);
    }

    #[test]
    fn any_text_of_the_grammar(text in "[a-zA-Z0-9:;,<>@\"\\\\%.=?/ \\[\\]~*+-]{0,60}") {
        fuzz::values(text.as_bytes());
    }

    #[test]
    fn any_sip_like_value(text in SIP_LIKE) {
        fuzz::values(text.as_bytes());
    }
}

/// A refused request is answered with what can still be read of it (RFC 3261 §8.2.6).
#[test]
fn a_refused_request_can_be_answered() {
    let text = "OPTIONS sip:a@b SIP/2.0\r\nv: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
                Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK2\r\nf: <sip:a@b>;tag=1\r\nt: <sip:a@b>\r\n\
                bad line\r\ni: c1\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 300\r\nX: y\r\n\r\n";
    let answer = |text: &str| -> Result<Option<String>, ParseError> {
        let raw = Bytes::copy_from_slice(text.as_bytes());
        let Err(error) = parse(raw.clone()) else { panic!("accepted: {text}") };
        let bytes = refusal(&raw, &error).map(|response| response.to_bytes());
        Ok(bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()))
    };
    insta::assert_snapshot!(answer(text).unwrap().unwrap().replace('\r', ""), @r"
    SIP/2.0 400 Bad Request
    Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1
    Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK2
    From: <sip:a@b>;tag=1
    To: <sip:a@b>;tag=refused
    Call-ID: c1
    CSeq: 1 OPTIONS
    Content-Length: 0
    ");
    for nobody in [
        text.replace("OPTIONS sip:a@b SIP/2.0", "SIP/2.0 200 OK"),
        text.replace("OPTIONS", "ACK"),
        text.replace("SIP/2.0/UDP", "SIP/2.0/UDP,"),
        "\r\n\r\n".to_owned(),
    ] {
        assert_eq!(answer(&nobody).unwrap(), None, "{nobody}");
    }
    let version = text.replace("sip:a@b SIP/2.0", "sip:a@b SIP/7.0");
    let raw = Bytes::from(version);
    let error = parse(raw.clone()).unwrap_err();
    let response = refusal(&raw, &error).unwrap();
    assert_eq!(response.status, StatusCode::VERSION_NOT_SUPPORTED);
}

/// Display name, scheme, user, host, parameters: each part now and then damaged.
const SIP_LIKE: &str = concat!(
    r#"("[a-z\\"]{0,6}" ?|[a-z ]{0,6})<?sips?:[a-z;@:%=0-9]{0,12}@?"#,
    r#"[a-z0-9.:\[\]]{1,12}[;?&=a-z]{0,8}>?(;[a-z]{1,3}(=[a-z"]{1,5})?){0,3}"#,
);
