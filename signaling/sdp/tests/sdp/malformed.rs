//! No bytes, however broken, make an entry panic or make us say something wrong. The fuzz bodies
//! hold the assertions; here they meet every prefix and byte flip of real offers and a grammar of
//! `a=crypto` lines.

use std::fmt::Write;

use crate::common::*;
use proptest::prelude::*;
use sdp::limits::{BYTES_MAX, CRYPTO_LINES_MAX};
use sdp::{Crypto, Description, Reject, SdpError, Suite, fuzz, read_offer};

/// Real offers, our own offers, and an answer that fits ours.
fn corpus() -> Vec<Vec<u8>> {
    let mut corpus: Vec<_> = OFFERS.map(|(_, body)| body.as_bytes().to_vec()).to_vec();
    for policy in [plain(), secure()] {
        corpus.push(sdp::write_offer(None, &policy, &local(&our_keys())).unwrap());
    }
    corpus.push(crate::rfc5939::offer().into_bytes());
    let crypto = format!("a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
    let mut answer = with(&["m=audio 6000 RTP/SAVP 8 101", &crypto]).into_bytes();
    answer.extend_from_slice(ANSWER_END);
    corpus.push(answer);
    corpus
}

fn every_entry(data: &[u8]) {
    as_description(data);
    fuzz::crypto(data);
}

fn as_description(data: &[u8]) {
    fuzz::offer(data);
    fuzz::answer(data);
}

#[test]
fn every_prefix_and_suffix() {
    for body in corpus() {
        for at in 0..=body.len() {
            every_entry(&body[..at]);
            every_entry(&body[at..]);
        }
    }
}

#[test]
fn every_byte_flipped_removed_and_doubled() {
    for body in corpus() {
        // Reading as an answer costs as much again and is worth it where the answer fits.
        let fits = body.ends_with(ANSWER_END);
        let entry = if fits { as_description } else { fuzz::offer };
        for at in 0..body.len() {
            let mut changed = body.clone();
            for mask in [0x01, 0x20, 0x80] {
                changed[at] = body[at] ^ mask;
                entry(&changed);
            }
            for byte in [0, b'\r', b'\n', b' '] {
                changed[at] = byte;
                entry(&changed);
            }
            changed.remove(at);
            entry(&changed);
            changed = body.clone();
            changed.insert(at, body[at]);
            entry(&changed);
        }
    }
}

#[test]
fn every_line_removed_doubled_and_moved_to_the_end() {
    for body in corpus() {
        let lines: Vec<_> = body.split_inclusive(|&b| b == b'\n').collect();
        for at in 0..lines.len() {
            let mut changed = lines.clone();
            let line = changed.remove(at);
            every_entry(&changed.concat());
            changed.push(line);
            every_entry(&changed.concat());
            changed.insert(at, line);
            every_entry(&changed.concat());
        }
    }
}

#[test]
fn the_sweep_would_notice() {
    // Positive control: the corpus reaches the assertions, it is not refused at the door.
    let read = corpus().into_iter().filter(|body| {
        let description = Description::parse(body).unwrap();
        [plain(), secure()].iter().any(|policy| read_offer(&description, policy).is_ok())
    });
    assert_eq!(read.count(), corpus().len() - 2, "all but the browser and the fax");
}

#[test]
fn counts_of_crypto_lines() {
    for count in [0, 1, CRYPTO_LINES_MAX, CRYPTO_LINES_MAX + 1, 10_000] {
        let mut body = with(&["m=audio 5000 RTP/SAVP 8"]);
        for tag in 1..=count {
            // Short enough that 10,000 lines meet the limit of lines before that of bytes.
            let _ = if count < 100 {
                writeln!(body, "a=crypto:{tag} AES_CM_128_HMAC_SHA1_80 inline:{KEY}")
            } else {
                body.write_str("a=crypto:1 x\n")
            };
        }
        every_entry(body.as_bytes());
        let result = Description::parse(body.as_bytes());
        match count {
            0 => {
                let reject = read_offer(&result.unwrap(), &secure()).unwrap_err();
                assert!(matches!(reject, Reject::NoCrypto { .. }));
            }
            1..=CRYPTO_LINES_MAX => {
                assert_eq!(read_offer(&result.unwrap(), &secure()).unwrap().cryptos.len(), count);
            }
            _ => {
                let error = result.unwrap_err();
                assert!(matches!(error, SdpError::TooMany { .. } | SdpError::TooLong { .. }));
            }
        }
    }
}

#[test]
fn a_body_of_the_highest_length_is_read_in_reasonable_time() {
    // Inputs that would show quadratic work: all of one kind of line.
    let line = "m=audio 5000 RTP/AVP 0 8 101\n";
    for filler in ["a=rtpmap:96 x/1\n", "a=fmtp:8 x\n", "a=sendrecv\n", "a=x\n", "\n", "a=rtcp\n"] {
        let mut body = with(&[line]);
        body.push_str(&filler.repeat((BYTES_MAX - body.len()) / filler.len()));
        assert!(Description::parse(body.as_bytes()).is_ok(), "{filler:?}");
        every_entry(body.as_bytes());
    }
}

/// Marks the one of the corpus that answers our offers.
const ANSWER_END: &[u8] = b"a=recvonly\r\n";

/// A valid key parameter for AES_CM.
const KEY: &str = "NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj";

fn tag() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0_u32..1_000_000_000).prop_map(|tag| tag.to_string()),
        1 => "[0-9]{0,12}",
        1 => "[-+ x0]{1,3}",
    ]
}

fn suite() -> impl Strategy<Value = String> {
    let known = prop::sample::select(Suite::ALL.to_vec());
    prop_oneof![
        6 => known.prop_map(|suite| suite.name().to_owned()),
        1 => "AES_CM_[0-9]{1,3}_HMAC_SHA1_[0-9]{2}",
        1 => "[A-Z0-9_]{0,40}",
    ]
}

/// Base64 of right, short, long, odd and foreign content.
fn inline_key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(KEY.to_owned()),
        3 => prop::sample::select(Suite::ALL.to_vec()).prop_map(|suite| inline(suite, THEIRS)),
        1 => prop::sample::select(Suite::ALL.to_vec())
            .prop_map(|suite| inline(suite, THEIRS).trim_end_matches('=').to_owned()),
        2 => "[A-Za-z0-9+/]{0,70}={0,3}",
        1 => "[A-Za-z0-9+/=]{0,70}",
        1 => "\\PC{0,50}",
        1 => (0_usize..20_000).prop_map(|length| "A".repeat(length)),
    ]
}

fn lifetime() -> impl Strategy<Value = String> {
    prop_oneof![
        (0_u32..80).prop_map(|n| format!("|2^{n}")),
        any::<u64>().prop_map(|n| format!("|{n}")),
        "\\|[0-9^]{0,24}",
    ]
}

fn mki() -> impl Strategy<Value = String> {
    prop_oneof![
        (any::<u16>(), 0_u8..=140).prop_map(|(value, length)| format!("|{value}:{length}")),
        "\\|[0-9:]{0,50}",
    ]
}

fn one_key() -> impl Strategy<Value = String> {
    let method = prop_oneof![8 => Just("inline:"), 1 => Just("INLINE:"), 1 => Just("")];
    let tail = (prop::option::of(lifetime()), prop::option::of(mki()));
    (method, inline_key(), tail).prop_map(|(method, key, (lifetime, mki))| {
        format!("{method}{key}{}{}", lifetime.unwrap_or_default(), mki.unwrap_or_default())
    })
}

fn parameters() -> impl Strategy<Value = String> {
    let known = ["UNENCRYPTED_SRTP", "UNENCRYPTED_SRTCP", "UNAUTHENTICATED_SRTP", "KDR=1"];
    prop_oneof![
        6 => Just(String::new()),
        2 => prop::sample::select(known.to_vec()).prop_map(|name| format!(" {name}")),
        1 => (0_u32..200).prop_map(|size| format!(" WSH={size}")),
        1 => " -?[A-Z_]{1,20}(=[a-z0-9]{0,5})?",
    ]
}

fn crypto_value() -> impl Strategy<Value = String> {
    let keys = prop::collection::vec(one_key(), 1..4).prop_map(|keys| keys.join(";"));
    (tag(), suite(), keys, parameters())
        .prop_map(|(tag, suite, keys, parameters)| format!("{tag} {suite} {keys}{parameters}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn crypto_values_from_the_grammar(value in crypto_value()) {
        fuzz::crypto(value.as_bytes());
        let weakened = ["UNENCRYPTED", "UNAUTHENTICATED", "KDR"];
        if let Ok(crypto) = Crypto::parse(&value) {
            prop_assert!(weakened.iter().all(|name| !value.contains(name)), "{value}");
            prop_assert!(!value.contains(';') || crypto.mki.is_some(), "{value}");
        }
    }

    #[test]
    fn offers_and_answers_with_crypto_values_from_the_grammar(
        values in prop::collection::vec(crypto_value(), 0..6),
    ) {
        let mut body = with(&["m=audio 5000 RTP/SAVP 8 0 101"]);
        for value in &values {
            let _ = write!(body, "a=crypto:{value}\r\n");
        }
        every_entry(body.as_bytes());
    }

    #[test]
    fn any_bytes(data in prop::collection::vec(any::<u8>(), 0..400)) {
        every_entry(&data);
        every_entry(&[with(&["m=audio 5000 RTP/AVP 8"]).as_bytes(), &data].concat());
    }

    #[test]
    fn any_lines(lines in prop::collection::vec("[a-z]=[ -~]{0,60}", 0..30)) {
        every_entry(with(&lines.iter().map(String::as_str).collect::<Vec<_>>()).as_bytes());
    }
}
