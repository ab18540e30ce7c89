//! SDES: `a=crypto` lines (RFC 4568, RFC 6188 §4, RFC 7714 §14) and the profiles that they go with.

use crate::common::*;
use sdp::{
    Crypto, CryptoError, Mki, Reject, Security, Suite, read_answer, read_offer, write_answer,
    write_offer,
};

const CM80: Suite = Suite::AesCm128HmacSha1_80;
const CM256: Suite = Suite::AesCm256HmacSha1_80;
const CM32: Suite = Suite::AesCm128HmacSha1_32;
const G256: Suite = Suite::AeadAes256Gcm;
const G128: Suite = Suite::AeadAes128Gcm;

/// 30 bytes, the example of RFC 4568 §9.1 in form.
const KEY: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
const KEY2: &str = "NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj";

#[test]
fn suites_have_the_lengths_of_their_rfcs() {
    // RFC 4568 §6.2, RFC 6188 §4, RFC 7714 §12: name, key bytes, salt bytes.
    let table = [
        ("AEAD_AES_256_GCM", 32, 12),
        ("AEAD_AES_128_GCM", 16, 12),
        ("AES_256_CM_HMAC_SHA1_80", 32, 14),
        ("AES_CM_128_HMAC_SHA1_80", 16, 14),
        ("AES_CM_128_HMAC_SHA1_32", 16, 14),
        ("AES_256_CM_HMAC_SHA1_32", 32, 14),
    ];
    for ((name, key, salt), suite) in table.into_iter().zip(Suite::ALL) {
        assert_eq!((suite.name(), suite.key_len(), suite.salt_len()), (name, key, salt));
        assert_eq!(Suite::parse(&name.to_lowercase()), Some(suite));
    }
    for name in ["", "F8_128_HMAC_SHA1_80", "AES_192_CM_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_8"] {
        assert_eq!(Suite::parse(name), None, "{name}");
    }
}

#[test]
fn key_and_salt_are_cut_where_the_suite_says() {
    let bytes: Vec<u8> = (0..30).collect();
    let key = sdp::Key::new(CM80, &bytes).unwrap();
    assert_eq!((key.key(), key.salt()), (&bytes[..16], &bytes[16..]));
    for length in [0, 1, 28, 29, 31, 44, 46] {
        assert_eq!(sdp::Key::new(CM80, &vec![0; length]).unwrap_err().found, length);
    }
}

#[test]
fn lines_that_are_read() {
    // RFC 4568 §9.2: value; tag, lifetime, mki.
    let mki = |value, length| Some(Mki { value, length });
    let table = [
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"), 1, None, None),
        (format!("0 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"), 0, None, None),
        (format!("999999999 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"), 999_999_999, None, None),
        (format!("  1   aes_cm_128_hmac_sha1_80\tINLINE:{KEY}  "), 1, None, None),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20"), 1, Some(1 << 20), None),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^0"), 1, Some(1), None),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^48"), 1, Some(1 << 48), None),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1"), 1, Some(1), None),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1048576"), 1, Some(1 << 20), None),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|281474976710656"), 1, Some(1 << 48), None),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:1"), 1, None, mki(1, 1)),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|0:4"), 1, None, mki(0, 4)),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4"), 1, Some(1 << 20), mki(1, 4)),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|4294967295:4"), 1, None, mki(u32::MAX, 4)),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} WSH=64"), 1, None, None),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} -MAYBE=1 WSH=1024"), 1, None, None),
    ];
    for (value, tag, lifetime, mki) in table {
        let crypto = Crypto::parse(&value).unwrap_or_else(|e| panic!("{value}: {e}"));
        assert_eq!((crypto.tag, crypto.suite), (tag, CM80), "{value}");
        assert_eq!((crypto.lifetime, crypto.mki), (lifetime, mki), "{value}");
        assert_eq!(crypto.key.key(), b"wDfvg&T+)xG7@fb5", "{value}");
        assert_eq!(crypto.key.salt(), b"jU,RaA}\\|p0%*#", "{value}");
    }
}

type Holds = fn(&CryptoError) -> bool;

/// Asserts that each line is refused for its reason, and that no reason quotes a key.
fn assert_skipped<const N: usize>(table: [(String, Holds); N]) {
    for (value, holds) in table {
        let error = Crypto::parse(&value).expect_err(&value);
        assert!(holds(&error), "{value}: {error:?}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(&KEY[..8]) && !shown.contains(&KEY2[..8]), "no key: {shown}");
    }
}

fn cm(rest: &str) -> String {
    format!("1 AES_CM_128_HMAC_SHA1_80 {rest}")
}

fn keyed(rest: &str) -> String {
    cm(&format!("inline:{KEY}{rest}"))
}

#[test]
fn lines_with_another_tag_suite_or_key_are_skipped() {
    let tag: Holds = |e| matches!(e, CryptoError::Tag);
    let suite = |e: &CryptoError| matches!(e, CryptoError::Suite(_));
    let method = |e: &CryptoError| matches!(e, CryptoError::Method);
    let encoding = |e: &CryptoError| matches!(e, CryptoError::Encoding);
    let length = |e: &CryptoError| matches!(e, CryptoError::Length(_));
    assert_skipped([
        // Tag (§9.2: one to nine digits, no leading zero).
        (String::new(), tag),
        (format!("x AES_CM_128_HMAC_SHA1_80 inline:{KEY}"), tag),
        (format!("-1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"), tag),
        (format!("+1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"), tag),
        (format!("01 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"), tag),
        (format!("1000000000 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"), tag),
        // Suite.
        (String::from("1"), suite),
        (format!("1 F8_128_HMAC_SHA1_80 inline:{KEY}"), suite),
        (format!("1 inline:{KEY}"), suite),
        // Key (§6.1).
        (cm(""), method),
        (cm(KEY), method),
        (cm(&format!("mikey:{KEY}")), method),
        (cm("inline:"), encoding),
        (cm("inline:|2^20"), encoding),
        (cm(&format!("inline: {KEY}")), encoding),
        (cm("inline:!!!!"), encoding),
        (cm("inline:d0Rm*dmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSo"), encoding),
        (cm("inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSo_"), encoding),
        (cm(&format!("inline:{KEY}=")), encoding),
        (cm(&format!("inline:{}", "A".repeat(65))), encoding),
        (cm(&format!("inline:{}", "A".repeat(10_000))), encoding),
        (cm("inline:AAAA"), length),
        (cm(&format!("inline:{}", &KEY[..36])), length),
        (cm(&format!("inline:{KEY}AAAA")), length),
        (cm(&format!("inline:{}", "A".repeat(64))), length),
        (format!("1 AEAD_AES_256_GCM inline:{KEY}"), length),
        (format!("1 AEAD_AES_128_GCM inline:{KEY}"), length),
    ]);
}

#[test]
fn lines_with_a_nonsensical_lifetime_or_mki_are_skipped() {
    let lifetime: Holds = |e| matches!(e, CryptoError::Lifetime);
    let mki = |e: &CryptoError| matches!(e, CryptoError::Mki);
    let long = |e: &CryptoError| matches!(e, CryptoError::LongMki);
    assert_skipped([
        // Lifetime.
        (keyed("|"), lifetime),
        (keyed("|0"), lifetime),
        (keyed("|2^49"), lifetime),
        (keyed("|2^64"), lifetime),
        (keyed("|2^4294967295"), lifetime),
        (keyed("|2^"), lifetime),
        (keyed("|2^-1"), lifetime),
        (keyed("|2^020"), lifetime),
        (keyed("|3^20"), lifetime),
        (keyed("|281474976710657"), lifetime),
        (keyed("|99999999999999999999999"), lifetime),
        (keyed("|-1"), lifetime),
        (keyed("|forever"), lifetime),
        (keyed("|1:1|2^20"), lifetime),
        // MKI.
        (keyed("|2^20|1"), mki),
        (keyed("|2^20|"), mki),
        (keyed("|2^20|1:1|1:1"), mki),
        (keyed("|1:0"), mki),
        (keyed("|1:129"), mki),
        (keyed("|256:1"), mki),
        (keyed("|1:"), mki),
        (keyed("|:1"), mki),
        (keyed("|x:1"), mki),
        (keyed("|01:1"), mki),
        // Longer than the data plane reads.
        (keyed("|1:5"), long),
        (keyed("|2^31|1:128"), long),
        (keyed("|4294967296:5"), long),
    ]);
}

#[test]
fn lines_with_several_keys_or_parameters_are_skipped() {
    let several: Holds = |e| matches!(e, CryptoError::SeveralKeys);
    let parameter = |e: &CryptoError| matches!(e, CryptoError::Parameter(_));
    assert_skipped([
        // Several keys.
        (keyed(&format!(";inline:{KEY2}")), several),
        (keyed(&format!("|1:1;inline:{KEY2}")), several),
        (keyed(&format!(";inline:{KEY2}|1:1")), several),
        (keyed(&format!("|1:1;inline:{KEY2}|1:1")), several),
        (keyed(&format!("|2^20|1:4;inline:{KEY2}|2^20|2:4")), several),
        (keyed("|1:1;"), several),
        (keyed("|1:1;inline:AAAA|2:1"), several),
        // Parameters (§6.3).
        (keyed(" UNENCRYPTED_SRTP"), parameter),
        (keyed(" UNENCRYPTED_SRTCP"), parameter),
        (keyed(" UNAUTHENTICATED_SRTP"), parameter),
        (keyed(" unencrypted_srtp"), parameter),
        (keyed(" -UNENCRYPTED_SRTP"), parameter),
        (keyed(" WSH=64 UNENCRYPTED_SRTP"), parameter),
        (keyed(" KDR=0"), parameter),
        (keyed(" KDR=10"), parameter),
        (keyed(" FEC_ORDER=SRTP_FEC"), parameter),
        (keyed(" FEC_KEY=inline:x"), parameter),
        (keyed(" WSH=63"), parameter),
        (keyed(" WSH=many"), parameter),
        (keyed(" WSH"), parameter),
        (keyed(" key=value"), parameter),
        (keyed(" -"), parameter),
        (keyed(&format!(" {KEY}")), parameter),
    ]);
}

#[test]
fn padding_is_not_required() {
    // FreeSWITCH cuts it off; the AES_CM suites need none.
    for suite in Suite::ALL {
        let padded = inline(suite, THEIRS);
        let bare = padded.trim_end_matches('=');
        for text in [padded.as_str(), bare] {
            let crypto = Crypto::parse(&format!("1 {suite} inline:{text}")).unwrap();
            assert_eq!(crypto.key, key(suite, THEIRS), "{text}");
        }
    }
}

/// An audio line of that protocol with these crypto values.
fn offer_of(proto: &str, cryptos: &[String]) -> String {
    let mut body = with(&[&format!("m=audio 5000 {proto} 8")]);
    for crypto in cryptos {
        body.push_str(&format!("a=crypto:{crypto}\r\n"));
    }
    body
}

fn line(tag: u32, suite: Suite) -> String {
    format!("{tag} {suite} inline:{}", inline(suite, THEIRS))
}

#[test]
fn the_first_usable_line_is_chosen() {
    let mki = format!("{}|1:1", line(1, CM80));
    let long = format!("{}|1:5", line(1, CM80));
    // RFC 4568 §5.1.2: lines; tags that remain, the chosen first.
    let table: [(&[String], &[u32]); 9] = [
        (&[line(1, CM80)], &[1]),
        (&[line(7, CM32), line(3, G256)], &[7, 3]),
        (&[String::from("1 F8_128_HMAC_SHA1_80 inline:x"), line(2, CM80)], &[2]),
        (&[mki, line(2, CM32)], &[1, 2]),
        (&[long, line(2, CM32)], &[2]),
        (&[format!("{} UNENCRYPTED_SRTP", line(1, CM80)), line(2, CM80)], &[2]),
        (&[format!("{}|2^99", line(1, CM80)), format!("{}|2^31", line(2, CM80))], &[2]),
        (&[line(1, CM80), line(1, CM32)], &[1]),
        (&[String::from("garbage"), line(4, G128)], &[4]),
    ];
    for (lines, wanted) in table {
        let audio = read_offer(&parse(&offer_of("RTP/SAVP", lines)), &secure()).unwrap();
        let tags: Vec<_> = audio.cryptos.iter().map(|crypto| crypto.tag).collect();
        assert_eq!(tags, wanted, "{lines:?}");
    }
}

#[test]
fn suites_outside_the_policy_are_not_usable() {
    let only = |suite| sdp::Policy { security: Security::secure(vec![suite]), ..plain() };
    let body = offer_of("RTP/SAVP", &[line(1, CM80), line(2, CM32)]);
    let audio = read_offer(&parse(&body), &only(CM32)).unwrap();
    assert_eq!((audio.cryptos[0].tag, audio.cryptos.len()), (2, 1));
    let reject = read_offer(&parse(&body), &only(G256)).unwrap_err();
    assert!(reject.to_string().contains("AEAD_AES_256_GCM"), "{reject}");
    assert!(reject.to_string().contains("AES_CM_128_HMAC_SHA1_80"), "{reject}");
}

#[test]
fn without_a_usable_line_the_offer_is_refused() {
    let mki = format!("{}|2^31|1:8", line(1, CM80));
    let several = format!("{}|1:1;inline:{}|2:1", line(2, CM80), inline(CM80, 9));
    // Lines, part of the reason.
    let mkis = [mki, several];
    let table: [(&[String], &str); 6] = [
        (&[], "the peer has none"),
        (&[String::from("1 F8_128_HMAC_SHA1_80 inline:x")], "F8_128_HMAC_SHA1_80"),
        (&mkis[..1], "MKI"),
        (&mkis, "MKI"),
        (&mkis[1..], "several keys"),
        (&[format!("{} UNENCRYPTED_SRTP", line(1, CM80))], "UNENCRYPTED_SRTP"),
    ];
    for (lines, part) in table {
        let reject = read_offer(&parse(&offer_of("RTP/SAVP", lines)), &secure()).unwrap_err();
        assert_eq!((reject.status(), reject.warning().unwrap().0), (488, 306));
        assert!(reject.to_string().contains(part), "{lines:?}: {reject}");
    }
}

#[test]
fn crypto_outside_a_media_line_does_not_count() {
    // RFC 4568 §5: media level only.
    let crypto = format!("a=crypto:{}", line(1, CM80));
    let body = with(&[&crypto, "m=audio 5000 RTP/SAVP 8"]);
    assert!(matches!(read_offer(&parse(&body), &secure()), Err(Reject::NoCrypto { .. })));
    let body = with(&["m=video 5002 RTP/SAVP 97", &crypto, "m=audio 5000 RTP/SAVP 8"]);
    assert!(matches!(read_offer(&parse(&body), &secure()), Err(Reject::NoCrypto { .. })));
}

#[test]
fn profiles_and_policies_never_mix() {
    // Protocol of the offer; accepted by a plain trunk, accepted by a secure trunk.
    let table = [
        ("RTP/AVP", true, false),
        ("RTP/AVPF", true, false),
        ("rtp/avp", true, false),
        ("RTP/SAVP", false, true),
        ("RTP/SAVPF", false, true),
        ("UDP/TLS/RTP/SAVP", false, false),
        ("UDP/TLS/RTP/SAVPF", false, false),
        ("TCP/RTP/AVP", false, false),
        ("RTP/AVP ", true, false),
        ("udptl", false, false),
    ];
    for (proto, by_plain, by_secure) in table {
        // The key is there each time: on an AVP line it must not make a difference.
        let offer = parse(&offer_of(proto, &[line(1, CM80)]));
        for (policy, accepted) in [(plain(), by_plain), (secure(), by_secure)] {
            match read_offer(&offer, &policy) {
                Ok(chosen) => {
                    assert!(accepted, "{proto} {policy:?}");
                    assert_eq!(chosen.cryptos.len(), usize::from(by_secure));
                    let keys = answer_keys(&chosen);
                    let answer = write_answer(&offer, &chosen, &chosen, &policy, &local(&keys));
                    let answer = text(answer.unwrap());
                    let wanted = format!("m=audio 40000 {} 8\r\n", proto.trim());
                    assert!(answer.contains(&wanted), "{answer}");
                    assert_eq!(answer.contains("a=crypto"), by_secure, "{answer}");
                }
                Err(reject) => {
                    assert!(!accepted, "{proto} {policy:?}: {reject}");
                    assert!(matches!(reject, Reject::Profile { .. }), "{reject:?}");
                    assert_eq!((reject.status(), reject.warning().unwrap().0), (488, 302));
                }
            }
        }
    }
}

#[test]
fn savp_is_never_answered_with_avp() {
    let offer = parse(&offer_of("RTP/SAVP", &[line(1, CM80)]));
    let chosen = read_offer(&offer, &secure()).unwrap();
    // Even when the caller comes with the wrong policy or with a reading of something else.
    let result = write_answer(&offer, &chosen, &chosen, &plain(), &local(&[]));
    assert!(matches!(result, Err(Reject::Profile { .. })), "{result:?}");
    let open = parse(&offer_of("RTP/AVP", &[]));
    let result = write_answer(&open, &chosen, &chosen, &secure(), &local(&answer_keys(&chosen)));
    assert!(matches!(result, Err(Reject::Profile { .. })), "{result:?}");
    let unkeyed = sdp::Audio { cryptos: Vec::new(), ..chosen.clone() };
    let result = write_answer(&offer, &unkeyed, &chosen, &secure(), &local(&our_keys()[..1]));
    assert_eq!(result.unwrap_err().status(), 500);
}

#[test]
fn the_answer_repeats_the_tag_with_our_key() {
    // RFC 4568 §5.1.3.
    for (tag, suite) in [(1, CM80), (5, CM32), (0, G256), (999_999_999, G128)] {
        let body = offer_of("RTP/SAVP", &[format!("{}|2^31", line(tag, suite))]);
        let offer = parse(&body);
        let chosen = read_offer(&offer, &secure()).unwrap();
        let keys = answer_keys(&chosen);
        let answer = write_answer(&offer, &chosen, &chosen, &secure(), &local(&keys)).unwrap();
        let answer = text(answer);
        let wanted = format!("a=crypto:{tag} {suite} inline:{}\r\n", inline(suite, OURS));
        assert!(answer.contains(&wanted), "no lifetime, no MKI: {answer}");
        assert_eq!(answer.matches("a=crypto").count(), 1);
    }
}

#[test]
fn an_answer_takes_one_key_of_the_chosen_suite() {
    let offer = parse(&offer_of("RTP/SAVP", &[line(1, CM80)]));
    let chosen = read_offer(&offer, &secure()).unwrap();
    for keys in [vec![], our_keys(), vec![key(CM32, OURS)], vec![key(CM80, THEIRS)]] {
        let result = write_answer(&offer, &chosen, &chosen, &secure(), &local(&keys));
        let reject = result.unwrap_err();
        assert!(matches!(reject, Reject::Misuse(_)), "{reject:?}");
        assert_eq!((reject.status(), reject.warning()), (500, None));
    }
}

#[test]
fn an_offer_lists_every_suite_in_order() {
    let body = text(write_offer(None, &secure(), &local(&our_keys())).unwrap());
    let lines: Vec<_> = body.lines().filter(|line| line.starts_with("a=crypto")).collect();
    let wanted: Vec<_> = (1..)
        .zip(Suite::ALL)
        .map(|(tag, suite)| format!("a=crypto:{tag} {suite} inline:{}", inline(suite, OURS)))
        .collect();
    assert_eq!(lines, wanted);
    let result = write_offer(None, &secure(), &local(&our_keys()[..5]));
    assert_eq!(result.unwrap_err().status(), 500, "a key is missing");
    let empty = sdp::Policy { security: Security::secure(Vec::new()), ..plain() };
    assert_eq!(write_offer(None, &empty, &local(&[])).unwrap_err().status(), 500);
    let body = text(write_offer(None, &plain(), &local(&our_keys())).unwrap());
    assert!(!body.contains("crypto"), "a plain trunk sends no key: {body}");
}

#[test]
fn the_key_of_an_answer_must_belong_to_the_offer() {
    // RFC 4568 §5.1.4: we offer tags 1 to 6 in the order of the suites; lines of the answer.
    let own = format!("4 {CM80} inline:{}", inline(CM80, OURS));
    let table: [(&[String], Option<&str>); 11] = [
        (&[line(4, CM80)], None),
        (&[line(1, G256)], None),
        (&[line(3, CM256)], None),
        (&[format!("{}|2^31", line(5, CM32))], None),
        (&[format!("{}|1:1", line(4, CM80))], None),
        (&[], Some("the peer has none")),
        (&[line(7, CM80)], Some("tag 7")),
        (&[line(1, CM80)], Some("tag 1")),
        (&[format!("{}|1:5", line(4, CM80))], Some("MKI")),
        (&[format!("{} UNENCRYPTED_SRTP", line(4, CM80))], Some("UNENCRYPTED_SRTP")),
        (&[own], Some("very key that we sent")),
    ];
    let ours = parse(&text(write_offer(None, &secure(), &local(&our_keys())).unwrap()));
    for (lines, refused) in table {
        let answer = parse(&offer_of("RTP/SAVP", lines));
        match (read_answer(&answer, &ours, &secure()), refused) {
            (Ok(audio), None) => assert!(audio.secure && audio.cryptos.len() == 1),
            (Err(reject), Some(part)) => {
                assert!(reject.to_string().contains(part), "{lines:?}: {reject}");
                assert_eq!((reject.status(), reject.warning().unwrap().0), (488, 306));
            }
            (result, _) => panic!("{lines:?}: {result:?}"),
        }
    }
}

#[test]
fn lines_as_real_peers_write_them() {
    // Value; tag, suite, lifetime, MKI.
    let short = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
    let long = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKyw=";
    let widest = "KywtLi8wMTIzNDU2Nzg5Ojs8PT4/QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWA";
    let table = [
        // AudioCodes with its MKI of one byte, and with the MKI switched off.
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{short}|2^31|1:1"), 1, CM80, Some(1 << 31), 1),
        (format!("2 AES_CM_128_HMAC_SHA1_32 inline:{short}|2^31"), 2, CM32, Some(1 << 31), 0),
        // FreeSWITCH: no padding, the registered name of AES-256.
        (format!("5 AES_256_CM_HMAC_SHA1_80 inline:{widest}"), 5, CM256, None, 0),
        // Twilio, CUCM.
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{short}"), 1, CM80, None, 0),
        (format!("1 AEAD_AES_256_GCM inline:{long}|2^48"), 1, G256, Some(1 << 48), 0),
        // Teams and Skype for Business; a decimal lifetime of Cisco gateways.
        (format!("3 AES_CM_128_HMAC_SHA1_80 inline:{short}|2^31|1:4"), 3, CM80, Some(1 << 31), 4),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{short}|2147483648"), 1, CM80, Some(1 << 31), 0),
    ];
    for (value, tag, suite, lifetime, mki_length) in table {
        let body = offer_of("RTP/SAVP", std::slice::from_ref(&value));
        let audio = read_offer(&parse(&body), &secure()).unwrap_or_else(|e| panic!("{value}: {e}"));
        let [crypto] = audio.cryptos.as_slice() else { panic!("{value}") };
        assert_eq!((crypto.tag, crypto.suite, crypto.lifetime), (tag, suite, lifetime), "{value}");
        let mki = (mki_length > 0).then_some(Mki { value: 1, length: mki_length });
        assert_eq!(crypto.mki, mki, "{value}");
    }
}

#[test]
fn a_suite_that_is_not_offered_is_accepted_all_the_same() {
    let last = Suite::AesCm256HmacSha1_32;
    let security = Security::Secure { suites: vec![CM80], unoffered: vec![last] };
    let policy = sdp::Policy { security, ..plain() };
    let chosen = read_offer(&parse(&offer_of("RTP/SAVP", &[line(9, last)])), &policy).unwrap();
    assert_eq!((chosen.cryptos[0].tag, chosen.cryptos[0].suite), (9, last));
    let ours = text(write_offer(None, &policy, &local(&our_keys())).unwrap());
    assert_eq!(ours.matches("a=crypto").count(), 1, "{ours}");
    let answer = parse(&offer_of("RTP/SAVP", &[line(1, last)]));
    let refused = read_answer(&answer, &parse(&ours), &policy);
    assert_eq!(refused, Err(Reject::ForeignCrypto { tag: 1, suite: last }));
}

#[test]
fn an_avp_answer_to_our_savp_offer_is_refused() {
    let ours = parse(&text(write_offer(None, &secure(), &local(&our_keys())).unwrap()));
    let answer = parse(&offer_of("RTP/AVP", &[line(3, CM80)]));
    let result = read_answer(&answer, &ours, &secure());
    assert!(matches!(result, Err(Reject::Profile { .. })), "{result:?}");
}
