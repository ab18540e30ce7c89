//! Keys appear in what we send and nowhere else.

use crate::common::*;
use sdp::{Crypto, Description, Suite, read_answer, read_offer, write_offer};

/// Every way in which a key of one fill byte could be shown.
fn shows_key(shown: &str, suite: Suite, fill: u8) -> bool {
    let (base64, hex) = (inline(suite, fill), format!("{fill:02x}{fill:02x}"));
    let (decimal, escaped) = (format!("{fill}, {fill}"), format!("\\x{fill:02x}\\x{fill:02x}"));
    let raw = String::from_utf8(vec![fill; 4]).unwrap();
    [&base64[..8], &hex, &decimal, &escaped, &raw].iter().any(|key| shown.contains(*key))
}

#[test]
fn debug_shows_no_key() {
    for suite in Suite::ALL {
        let line = format!("1 {suite} inline:{}", inline(suite, THEIRS));
        let body = with(&["m=audio 5000 RTP/SAVP 8", &format!("a=crypto:{line}"), "k=clear:x"]);
        let description = parse(&body);
        let audio = read_offer(&description, &secure()).unwrap();
        let keys = [key(suite, THEIRS)];
        let shown = format!(
            "{description:?} {audio:?} {:?} {:?} {:?}",
            Crypto::parse(&line),
            keys,
            local(&keys)
        );
        assert!(shown.contains("redacted"), "the key is there, unseen");
        assert!(!shows_key(&shown, suite, THEIRS), "{shown}");
        assert!(shows_key(&body, suite, THEIRS), "positive control");
    }
}

#[test]
fn reasons_show_no_key_wherever_it_stands() {
    let suite = Suite::AesCm128HmacSha1_80;
    let key = inline(suite, THEIRS);
    let lines = [
        format!("a=crypto:{key}"),
        format!("a=crypto:1 {key}"),
        format!("a=crypto:1 {suite} {key}"),
        format!("a=crypto:1 {suite} inline:{key}AAAA"),
        format!("a=crypto:1 {suite} inline:{key} {key}"),
        format!("a=crypto:1 {suite} inline:{key} KEY={key}"),
        format!("a=crypto:1 {suite} inline:{key}|{key}"),
        format!("a=crypto:1 {suite} inline:{key}|1:{key}"),
        format!("a=crypto:1 {suite} inline:{key}\0"),
    ];
    for line in lines {
        match Description::parse(with(&["m=audio 5000 RTP/SAVP 8", &line]).as_bytes()) {
            Ok(description) => {
                let reject = read_offer(&description, &secure()).expect_err(&line);
                let shown = format!("{reject} {reject:?} {:?} {description:?}", reject.warning());
                assert!(!shows_key(&shown, suite, THEIRS), "{shown}");
            }
            Err(error) => assert!(!shows_key(&format!("{error} {error:?}"), suite, THEIRS)),
        }
    }
}

#[test]
fn what_we_write_is_built_in_one_piece() {
    // A buffer that grew would have left parts of our keys in memory that was given back.
    let body = write_offer(None, &secure(), &local(&our_keys())).unwrap();
    assert_eq!(body.len(), body.capacity());
}

#[test]
fn keys_compare_by_suite_and_bytes() {
    let suite = Suite::AeadAes256Gcm;
    let bytes: Vec<u8> = (0..44).collect();
    let one = sdp::Key::new(suite, &bytes).unwrap();
    assert_eq!(one, one.clone());
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 1;
        assert_ne!(one, sdp::Key::new(suite, &other).unwrap(), "byte {at}");
    }
    assert_ne!(key(Suite::AesCm128HmacSha1_80, 1), key(Suite::AesCm128HmacSha1_32, 1));
}

#[test]
fn a_peer_that_echoes_our_key_is_refused_under_every_suite() {
    // The same key in both directions would protect two packets with one key stream.
    let ours = parse(&text(write_offer(None, &secure(), &local(&our_keys())).unwrap()));
    for (tag, suite) in (1..).zip(Suite::ALL) {
        let answer = |fill| {
            let crypto = format!("a=crypto:{tag} {suite} inline:{}", inline(suite, fill));
            read_answer(&parse(&with(&["m=audio 6000 RTP/SAVP 8", &crypto])), &ours, &secure())
        };
        assert_eq!(answer(OURS), Err(sdp::Reject::EchoedKey));
        assert!(answer(THEIRS).is_ok(), "positive control");
    }
}
