//! The RFCs' examples, then each attack on the server with its positive control: the same answer,
//! unattacked, is accepted.

use super::algorithm::{Algorithm, Hash, hex};
use super::response::{Covered, Protection, response};
use super::server::{
    NONCE_LIFETIME_S, NONCES_MAX, Peer, Refusal, Subject, Verifier, claimed_user, covers,
};
use super::{Credentials, client};
use crate::wire::{HeaderName, Headers, Method, Uri};

/// Source, inputs, expected response.
struct Vector {
    name: &'static str,
    algorithm: &'static str,
    user: [&'static str; 3],
    nonce: &'static str,
    request: [&'static str; 2],
    protection: Protection<'static>,
    cnonce: &'static str,
    expected: &'static str,
}

const AUTH: Protection<'static> = Protection::Auth { nc: b"00000001" };
const AUTH_10: Protection<'static> = Protection::Auth { nc: b"0000000a" };
const INT: Protection<'static> = Protection::AuthInt { nc: b"00000001", body: b"v=0\r\n" };
const INT_10: Protection<'static> = Protection::AuthInt { nc: b"0000000a", body: b"v=0\r\n" };

#[test]
fn the_examples_of_the_rfcs() {
    let rfc7616 = ["Mufasa", "http-auth@example.org", "Circle of Life"];
    let rows = [
        Vector {
            name: "RFC 2617 §3.5",
            algorithm: "MD5",
            user: ["Mufasa", "testrealm@host.com", "Circle Of Life"],
            nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            request: ["GET", "/dir/index.html"],
            protection: AUTH,
            cnonce: "0a4f113b",
            expected: "6629fae49393a05397450978507c4ef1",
        },
        Vector {
            name: "RFC 7616 §3.9.1, MD5",
            algorithm: "MD5",
            user: rfc7616,
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            request: ["GET", "/dir/index.html"],
            protection: AUTH,
            cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            expected: "8ca523f5e9506fed4657c9700eebdbec",
        },
        Vector {
            name: "RFC 7616 §3.9.1, SHA-256",
            algorithm: "SHA-256",
            user: rfc7616,
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            request: ["GET", "/dir/index.html"],
            protection: AUTH,
            cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            expected: "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        },
        Vector {
            name: "RFC 7616 §3.9.2 with erratum 4897: the printed value is not of its inputs",
            algorithm: "SHA-512-256",
            user: ["J\u{e4}s\u{f8}n Doe", "api@example.org", "Secret, or not?"],
            nonce: "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
            request: ["GET", "/doe.json"],
            protection: AUTH,
            cnonce: "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
            expected: "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5",
        },
    ];
    rows.iter().for_each(check);
}

/// The SIP example of draft-smith-sipping-auth-examples §3 in each algorithm and protection. Its
/// MD5 values are printed there; the others were computed by Python's hashlib.
#[test]
fn one_sip_request_in_each_algorithm_and_protection() {
    let rows = [
        ("MD5", Protection::None, "bf57e4e0d0bffc0fbaedce64d59add5e"),
        ("MD5", AUTH, "89eb0059246c02b2f6ee02c7961d5ea3"),
        ("MD5", INT, "77226bb823dc077c1ad3537415667bae"),
        ("MD5-sess", AUTH_10, "c0a5870829c575198432ba651b8a41de"),
        ("MD5-sess", INT_10, "00ee96738abb1ce19ad845eae2775d15"),
        (
            "SHA-256",
            Protection::None,
            "38aad98c50c33abe72c5f88dd17246ffcfa6b1f68852c855719ff0659386c0ca",
        ),
        ("SHA-256", AUTH, "b3b5a6c69453abafaab9ae4dccdac90a076b6c80615d5f3498e7433b6e93bf4f"),
        ("SHA-256", INT, "554a9ffe79ce71c3cb6c9630deddd2787d8033f895e5cdef6a73c8e84ed4c979"),
        (
            "SHA-256-sess",
            AUTH_10,
            "8a60b78646a6e353ae8f4bfb727dca7b5f00f7f94f9ff2fc2aff7e192999cc04",
        ),
        (
            "SHA-256-sess",
            INT_10,
            "7dcf1cf1b00925794110d603812151ab9c4ca20a747c9d6c4a97fdc321ca8445",
        ),
        (
            "SHA-512-256",
            Protection::None,
            "9e960b3a01beb63f1ea5d45d43bd8a2178879d3c9ddbbdb0624187ca823c6eca",
        ),
        ("SHA-512-256", AUTH, "7f1a09de0f19af0a1eac2b28d33e3f2fb89cca1ad8fb01bba5e1883b288bac14"),
        ("SHA-512-256", INT, "e9a7fbc1c80a10421c59a0c982f28d40e0ddc7b62ef3dc4faf68f179c6e05922"),
        (
            "SHA-512-256-sess",
            AUTH_10,
            "5c0c917e253d4a780e6d74d73289871f2f438a8e4c4282dd44c3c08912c59022",
        ),
        (
            "SHA-512-256-sess",
            INT_10,
            "af6b68faaa8a05d5ea6dd24a13d627408fd16e36e90d74a0c567d1484cbb3ee0",
        ),
    ];
    for (algorithm, protection, expected) in rows {
        check(&Vector {
            name: algorithm,
            algorithm,
            user: ["bob", "biloxi.com", "zanzibar"],
            nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            request: ["INVITE", "sip:bob@biloxi.com"],
            protection,
            cnonce: "0a4f113b",
            expected,
        });
    }
}

fn check(row: &Vector) {
    let [user, realm, password] = row.user;
    let covered = Covered {
        algorithm: Algorithm::from_name(row.algorithm.as_bytes()).unwrap(),
        realm: realm.as_bytes(),
        nonce: row.nonce.as_bytes(),
        method: row.request[0],
        uri: row.request[1].as_bytes(),
        protection: row.protection,
        cnonce: row.cnonce.as_bytes(),
    };
    let got = response(&covered, &Credentials::new(user, password));
    assert_eq!(got.as_str(), row.expected, "{}", row.name);
}

fn challenged_by(lines: &[&str]) -> Headers {
    let mut headers = Headers::new();
    for line in lines {
        headers.push(HeaderName::WwwAuthenticate, line.as_bytes().to_vec());
    }
    headers
}

fn bob() -> Credentials {
    Credentials::new("bob", "zanzibar")
}

const URI: &str = "sip:bob@biloxi.com";

fn answer_to(challenges: &Headers, nc: u32) -> Option<(HeaderName, String)> {
    let any = |_: &str| true;
    let method = Method::Invite;
    let (name, value) =
        client::answer(challenges, &bob(), &method, URI, b"", "0a4f113b", nc, &any)?;
    Some((name, String::from_utf8(value.to_vec()).unwrap()))
}

#[test]
fn the_answer_as_it_is_written() {
    let challenges = challenged_by(&[
        "Digest realm=\"biloxi.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
         algorithm=SHA-256, qop=\"auth-int,auth\", opaque=\"5ccc069c\"",
    ]);
    let (name, value) = answer_to(&challenges, 1).unwrap();
    assert_eq!(name, HeaderName::Authorization);
    insta::assert_snapshot!(value, @r#"Digest username="bob", realm="biloxi.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="sip:bob@biloxi.com", response="b3b5a6c69453abafaab9ae4dccdac90a076b6c80615d5f3498e7433b6e93bf4f", algorithm=SHA-256, cnonce="0a4f113b", qop=auth, nc=00000001, opaque="5ccc069c""#);
}

#[test]
fn the_count_is_hexadecimal_from_the_tenth_use_on_too() {
    let challenges = challenged_by(&["Digest realm=\"r\", nonce=\"n\", qop=\"auth\""]);
    assert!(answer_to(&challenges, 10).unwrap().1.contains("nc=0000000a"));
}

#[test]
fn the_strongest_algorithm_is_chosen_whatever_the_order() {
    let md5 = "Digest realm=\"r\", nonce=\"a\", algorithm=MD5, qop=\"auth\"";
    let sha = "Digest realm=\"r\", nonce=\"b\", algorithm=SHA-256, qop=\"auth\"";
    let longest = "Digest realm=\"r\", nonce=\"c\", algorithm=SHA-512-256, qop=\"auth\"";
    let unknown = "Digest realm=\"r\", nonce=\"d\", algorithm=SHA3-512, qop=\"auth\"";
    for (lines, nonce) in [
        (vec![md5, sha], "nonce=\"b\""),
        (vec![sha, md5], "nonce=\"b\""),
        (vec![md5, longest, sha], "nonce=\"c\""),
        (vec![unknown, md5], "nonce=\"a\""),
        (vec!["Basic realm=\"r\"", md5], "nonce=\"a\""),
    ] {
        assert!(answer_to(&challenged_by(&lines), 1).unwrap().1.contains(nonce), "{lines:?}");
    }
    assert!(answer_to(&challenged_by(&[unknown, "Basic realm=\"r\""]), 1).is_none());
}

#[test]
fn a_realm_that_is_not_the_trunks_gets_nothing() {
    let challenges = challenged_by(&["Digest realm=\"evil\", nonce=\"n\", qop=\"auth\""]);
    let ask = |allowed: &dyn Fn(&str) -> bool| {
        client::answer(&challenges, &bob(), &Method::Bye, URI, b"", "c", 1, allowed)
    };
    assert!(ask(&|realm| realm == "biloxi.com").is_none());
    assert!(ask(&|realm| realm == "evil").is_some(), "control");
}

#[test]
fn a_proxys_challenge_is_answered_to_the_proxy_and_stale_is_read() {
    let mut challenges = Headers::new();
    challenges.push(HeaderName::ProxyAuthenticate, "Digest realm=\"r\", nonce=\"n\", STALE=TRUE");
    assert_eq!(answer_to(&challenges, 1).unwrap().0, HeaderName::ProxyAuthorization);
    assert!(client::is_stale(&challenges));
    let fresh = challenged_by(&["Digest realm=\"r\", nonce=\"n\", stale=false"]);
    assert!(!client::is_stale(&fresh));
}

#[test]
fn malformed_challenges_are_passed_over() {
    for line in [
        "Digest",
        "Digest ",
        "Digestrealm=\"r\", nonce=\"n\"",
        "Digest realm=\"r",
        "Digest realm=\"r\" nonce=\"n\"",
        "Digest realm=\"r\", nonce=\"n\", nonce=\"m\"",
        "Digest realm=\"r\", nonce=\"n\", qop=\"auth-conf\"",
        "Digest nonce=\"n\"",
        "Digest realm=\"r\"",
        "Digest =\"r\"",
    ] {
        assert!(answer_to(&challenged_by(&[line]), 1).is_none(), "{line}");
    }
}

#[test]
fn a_hostile_user_name_stays_inside_its_quotes() {
    let challenges = challenged_by(&["Digest realm=\"r\", nonce=\"n\", qop=\"auth\""]);
    let user = Credentials::new("b\"ob\", realm=\"x\r\nEvil: 1", "p");
    let (name, value) =
        client::answer(&challenges, &user, &Method::Bye, URI, b"", "c", 1, &|_| true).unwrap();
    let mut headers = Headers::new();
    headers.push(name.clone(), value.clone());
    assert_eq!(headers.get(&name).unwrap(), &value, "nothing to neutralise");
    assert_eq!(claimed_user(&value).unwrap(), &b"b\\\"ob\\\", realm=\\\"x  Evil: 1"[..]);
}

#[test]
fn the_password_is_never_shown() {
    assert!(!format!("{:?}", bob()).contains("zanzibar"));
    assert!(format!("{:?}", bob()).contains("bob"), "control");
}

// The server.

const NOW: u64 = 1_790_000_000;
const PEER: &str = "udp:192.0.2.7";

fn verifier() -> Verifier {
    Verifier::new([7; 32])
}

/// A challenge as headers.
fn challenge(verifier: &mut Verifier, now: u64, source: &str) -> Headers {
    let values = verifier.challenge(now, "biloxi.com", source, false);
    let mut headers = Headers::new();
    values.into_iter().for_each(|value| headers.push(HeaderName::WwwAuthenticate, value));
    headers
}

fn verify(verifier: &mut Verifier, now: u64, value: &str, source: &str) -> Result<(), Refusal> {
    verifier.verify(now, &Method::Invite, value.as_bytes(), &bob(), source)
}

/// The client's answer to a new challenge for `PEER`.
fn fresh_answer(verifier: &mut Verifier) -> String {
    let challenges = challenge(verifier, NOW, PEER);
    answer_to(&challenges, 1).unwrap().1
}

#[test]
fn a_right_answer_is_accepted_once() {
    let mut server = verifier();
    let answer = fresh_answer(&mut server);
    assert_eq!(verify(&mut server, NOW + 1, &answer, PEER), Ok(()));
    for _ in 0..3 {
        assert_eq!(verify(&mut server, NOW + 1, &answer, PEER), Err(Refusal::Replayed));
    }
}

#[test]
fn the_challenge_as_it_is_written() {
    let written = |md5, stale| -> Vec<String> {
        let peer = Peer { source: PEER, md5 };
        let values = verifier().challenge(NOW, "biloxi.com", peer, stale);
        values.iter().map(|v| String::from_utf8(v.to_vec()).unwrap()).collect()
    };
    let sha_only = written(false, true);
    assert_eq!(sha_only.len(), 1);
    insta::assert_snapshot!(sha_only[0], @r#"Digest realm="biloxi.com", nonce="000000006ab13b8000000000000000012ac845ced030a8280bc8e45a5d873fc5", algorithm=SHA-256, qop="auth,auth-int", stale=true"#);
    let both = written(true, false);
    assert!(both[0].contains("algorithm=SHA-256") && both[1].contains("algorithm=MD5"));
    assert!(both.iter().all(|value| !value.contains("stale")));
}

#[test]
fn two_challenges_of_one_second_do_not_share_a_nonce() {
    let mut server = verifier();
    let (first, second) = (fresh_answer(&mut server), fresh_answer(&mut server));
    assert_eq!(verify(&mut server, NOW, &first, PEER), Ok(()));
    assert_eq!(verify(&mut server, NOW, &second, PEER), Ok(()));
}

#[test]
fn counts_may_come_out_of_order_but_each_once() {
    let mut server = verifier();
    let challenges = challenge(&mut server, NOW, PEER);
    let mut send = |nc| {
        let value = answer_to(&challenges, nc).unwrap().1;
        verify(&mut server, NOW, &value, PEER)
    };
    for nc in [1, 3, 2, 70, 7, 134, u32::MAX] {
        assert_eq!(send(nc), Ok(()), "{nc}");
    }
    // Used, or further back than the window knows.
    for nc in [1, 2, 3, 7, 70, 134, u32::MAX, 4] {
        assert_eq!(send(nc), Err(Refusal::Replayed), "{nc}");
    }
}

#[test]
fn the_source_that_was_challenged_must_answer() {
    let mut server = verifier();
    let answer = fresh_answer(&mut server);
    for source in ["udp:192.0.2.8", "tcp:192.0.2.7", "", "udp:192.0.2.77"] {
        assert_eq!(verify(&mut server, NOW, &answer, source), Err(Refusal::ForeignNonce));
    }
    assert_eq!(verify(&mut server, NOW, &answer, PEER), Ok(()), "control");
}

#[test]
fn a_nonce_expires_and_the_peer_is_told_so() {
    let mut server = verifier();
    let (late, last) = (fresh_answer(&mut server), fresh_answer(&mut server));
    let refusal = verify(&mut server, NOW + NONCE_LIFETIME_S + 1, &late, PEER).unwrap_err();
    assert_eq!(refusal, Refusal::Stale);
    assert!(refusal.is_stale());
    assert_eq!(verify(&mut server, NOW + NONCE_LIFETIME_S, &last, PEER), Ok(()), "control");
}

#[test]
fn a_wrong_password_is_never_told_to_be_stale() {
    let mut server = verifier();
    let answer = fresh_answer(&mut server);
    let other = Credentials::new("bob", "wrong");
    for now in [NOW, NOW + 10 * NONCE_LIFETIME_S] {
        let refusal =
            server.verify(now, &Method::Invite, answer.as_bytes(), &other, PEER).unwrap_err();
        assert_eq!(refusal, Refusal::WrongCredentials);
        assert!(!refusal.is_stale());
    }
    let other = Credentials::new("bobby", "zanzibar");
    let result = server.verify(NOW, &Method::Invite, answer.as_bytes(), &other, PEER);
    assert_eq!(result, Err(Refusal::WrongCredentials));
    assert_eq!(server.remembered(), 0, "a failed answer leaves no state");
    assert_eq!(verify(&mut server, NOW, &answer, PEER), Ok(()), "control");
    assert_eq!(server.remembered(), 1);
}

#[test]
fn another_method_and_a_changed_field_are_refused() {
    let mut server = verifier();
    let answer = fresh_answer(&mut server);
    let result = server.verify(NOW, &Method::Register, answer.as_bytes(), &bob(), PEER);
    assert_eq!(result, Err(Refusal::WrongCredentials));
    let changes = [
        ("uri=\"sip:bob", "uri=\"sip:900", Refusal::WrongCredentials),
        ("nc=00000001", "nc=00000002", Refusal::WrongCredentials),
        ("nc=00000001", "nc=00000000", Refusal::Malformed),
        ("nc=00000001", "nc=1", Refusal::Malformed),
        ("nc=00000001", "nc=+0000001", Refusal::Malformed),
        ("cnonce=\"0a", "cnonce=\"0b", Refusal::WrongCredentials),
        ("realm=\"biloxi.com\"", "realm=\"atlanta.com\"", Refusal::ForeignNonce),
        ("qop=auth", "qop=auth-int", Refusal::WrongCredentials),
        ("qop=auth", "qop=auth-conf", Refusal::NotOffered),
        ("Digest ", "Basic ", Refusal::Malformed),
    ];
    for (from, to, refusal) in changes {
        assert!(answer.contains(from), "{from}");
        let changed = answer.replace(from, to);
        assert_eq!(verify(&mut server, NOW, &changed, PEER), Err(refusal), "{to}");
    }
    assert_eq!(verify(&mut server, NOW, &answer, PEER), Ok(()), "control");
}

/// Each digit of the nonce is covered: time, counter and MAC.
#[test]
fn no_digit_of_a_nonce_can_be_changed() {
    let mut server = verifier();
    let answer = fresh_answer(&mut server);
    let start = answer.find("nonce=\"").unwrap() + 7;
    for at in start..start + 64 {
        let mut changed = answer.clone().into_bytes();
        changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
        let changed = String::from_utf8(changed).unwrap();
        assert_eq!(verify(&mut server, NOW, &changed, PEER), Err(Refusal::ForeignNonce), "{at}");
    }
    assert_eq!(verify(&mut server, NOW, &answer, PEER), Ok(()), "control");
}

#[test]
fn a_nonce_of_another_process_is_foreign() {
    let mut before = verifier();
    let answer = fresh_answer(&mut before);
    let mut after_restart = Verifier::new([8; 32]);
    assert_eq!(verify(&mut after_restart, NOW, &answer, PEER), Err(Refusal::ForeignNonce));
    assert_eq!(verify(&mut before, NOW, &answer, PEER), Ok(()), "control");
}

/// The peer answers rightly, but by MD5, to a nonce of ours.
#[test]
fn the_algorithm_cannot_be_downgraded() {
    let md5_answer = |server: &mut Verifier| {
        let value = server.challenge(NOW, "biloxi.com", PEER, false).remove(0);
        let value = String::from_utf8(value.to_vec()).unwrap();
        let weak = value.replace("algorithm=SHA-256", "algorithm=MD5");
        let unnamed = value.replace("algorithm=SHA-256, ", "");
        [weak, unnamed].map(|line| answer_to(&challenged_by(&[&line]), 1).unwrap().1)
    };
    let mut strict = verifier();
    for answer in md5_answer(&mut strict) {
        assert_eq!(verify(&mut strict, NOW, &answer, PEER), Err(Refusal::NotOffered));
    }
    let mut lenient = verifier();
    let weak = Peer { source: PEER, md5: true };
    for answer in [0, 1] {
        let value = md5_answer(&mut lenient)[answer].clone();
        let taken = lenient.verify(NOW, &Method::Invite, value.as_bytes(), &bob(), weak);
        assert_eq!(taken, Ok(()), "control: opted in");
    }
}

/// A peer that knows no `qop` has no count, so its nonce serves once.
#[test]
fn without_qop_a_nonce_serves_once() {
    let mut server = verifier();
    let value = server.challenge(NOW, "biloxi.com", PEER, false).remove(0);
    let old = String::from_utf8(value.to_vec()).unwrap().replace(", qop=\"auth,auth-int\"", "");
    let answer = answer_to(&challenged_by(&[&old]), 1).unwrap().1;
    assert!(!answer.contains("qop"));
    assert_eq!(verify(&mut server, NOW, &answer, PEER), Ok(()));
    assert_eq!(verify(&mut server, NOW, &answer, PEER), Err(Refusal::Replayed));
}

/// The table is bounded, and what left it cannot be replayed.
#[test]
fn a_full_table_forgets_no_replay() {
    let mut server = verifier();
    let first = fresh_answer(&mut server);
    assert_eq!(verify(&mut server, NOW, &first, PEER), Ok(()));
    for _ in 0..NONCES_MAX {
        let answer = fresh_answer(&mut server);
        assert_eq!(verify(&mut server, NOW, &answer, PEER), Ok(()));
    }
    assert_eq!(server.remembered(), NONCES_MAX);
    assert_eq!(verify(&mut server, NOW, &first, PEER), Err(Refusal::Stale));
    let newest = fresh_answer(&mut server);
    assert_eq!(verify(&mut server, NOW, &newest, PEER), Ok(()), "control");
    let later = NOW + NONCE_LIFETIME_S + 1;
    let challenges = challenge(&mut server, later, PEER);
    let answer = answer_to(&challenges, 1).unwrap().1;
    assert_eq!(verify(&mut server, later, &answer, PEER), Ok(()));
    assert_eq!(server.remembered(), 1, "expired nonces leave the table");
}

#[test]
fn the_covered_uri_can_be_insisted_on() {
    let answer = fresh_answer(&mut verifier());
    assert!(covers(answer.as_bytes(), &Uri::parse(b"sip:%62ob@BILOXI.com").unwrap()));
    assert!(!covers(answer.as_bytes(), &Uri::parse(b"sip:900@biloxi.com").unwrap()));
    assert_eq!(claimed_user(answer.as_bytes()).unwrap(), "bob");
}

/// Every cut and every flipped byte of an answer is refused without a panic.
#[test]
fn damaged_answers_are_refused() {
    let mut server = verifier();
    let answer = fresh_answer(&mut server);
    for end in 0..answer.len() {
        assert!(verify(&mut server, NOW, &answer[..end], PEER).is_err(), "{end}");
    }
    for at in 0..answer.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut changed = answer.clone().into_bytes();
            changed[at] ^= mask;
            let result = server.verify(NOW, &Method::Invite, &changed, &bob(), PEER);
            let same = changed.eq_ignore_ascii_case(answer.as_bytes());
            assert!(result.is_err() || same, "{at} {mask}");
        }
    }
}

#[test]
fn hexadecimal_digits() {
    assert_eq!(hex(&[0, 1, 0x9f, 0xff]), "00019fff");
    assert_eq!(Hash::Md5.hex(&[b""]).as_str(), "d41d8cd98f00b204e9800998ecf8427e");
}

// One challenge, answered more than once.

fn text(answer: (HeaderName, bytes::Bytes)) -> String {
    String::from_utf8(answer.1.to_vec()).unwrap()
}

#[test]
fn each_answer_to_one_challenge_counts() {
    let mut server = verifier();
    let challenges = challenge(&mut server, NOW, PEER);
    let mut known = client::Challenge::strongest(&challenges, "c0", &|_| true).unwrap();
    let asked = client::Asked { method: &Method::Invite, uri: URI, body: b"" };
    for nth in 1..=20_u32 {
        let answer = text(known.answer(&asked, &bob()));
        assert!(answer.contains(&format!("nc={nth:08x}")), "{answer}");
        assert_eq!(verify(&mut server, NOW, &answer, PEER), Ok(()), "{nth}");
    }
    assert!(known.is_reusable());
    let unprotected = challenged_by(&["Digest realm=\"r\", nonce=\"n\""]);
    let once = client::Challenge::strongest(&unprotected, "c0", &|_| true).unwrap();
    assert!(!once.is_reusable(), "without a qop nothing counts");
}

#[test]
fn the_next_nonce_begins_anew() {
    for (asks, name) in [
        (HeaderName::WwwAuthenticate, "Authentication-Info"),
        (HeaderName::ProxyAuthenticate, "Proxy-Authentication-Info"),
    ] {
        let mut challenges = Headers::new();
        challenges.push(asks, "Digest realm=\"r\", nonce=\"first\", qop=\"auth\"");
        let mut known = client::Challenge::strongest(&challenges, "c0", &|_| true).unwrap();
        let asked = client::Asked { method: &Method::Register, uri: URI, body: b"" };
        known.answer(&asked, &bob());
        let mut accepted = Headers::new();
        accepted.push(HeaderName::from(name), "nextnonce=\"second\", qop=auth, nc=00000001");
        known.renew(&accepted);
        let answer = text(known.answer(&asked, &bob()));
        assert!(answer.contains("nonce=\"second\"") && answer.contains("nc=00000001"), "{answer}");
        let mut other = Headers::new();
        other.push(HeaderName::from(name), "rspauth=\"x\"");
        known.renew(&other);
        assert!(text(known.answer(&asked, &bob())).contains("nonce=\"second\""));
    }
}

/// Where a challenge wants it, the body is covered: another body has another answer.
#[test]
fn auth_int_covers_the_body() {
    let challenges = challenged_by(&["Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\""]);
    let answer = |body: &[u8]| {
        let mut known = client::Challenge::strongest(&challenges, "c0", &|_| true).unwrap();
        let asked = client::Asked { method: &Method::Invite, uri: URI, body };
        text(known.answer(&asked, &bob()))
    };
    assert!(answer(b"v=0").contains("qop=auth-int"));
    assert_eq!(answer(b"v=0"), answer(b"v=0"));
    assert_ne!(answer(b"v=0"), answer(b"v=1"));
}

/// RFC 7616 §3.4.3: a body that was changed on the way is not the one that was answered for. With
/// `auth` it passes, which is what `auth-int` is for.
#[test]
fn a_peer_that_chooses_auth_int_has_its_body_checked() {
    for (qop, changed) in [("auth-int", Err(Refusal::WrongCredentials)), ("auth", Ok(()))] {
        let mut server = verifier();
        let mut asked = |sent: &[u8], came: &[u8]| {
            let value = server.challenge(NOW, "biloxi.com", PEER, false).remove(0);
            let value = String::from_utf8(value.to_vec()).unwrap();
            // The peer knows this protection alone.
            let value = value.replace("auth,auth-int", qop);
            let known = challenged_by(&[&value]);
            let mut known = client::Challenge::strongest(&known, "c0", &|_| true).unwrap();
            let asked = client::Asked { method: &Method::Invite, uri: URI, body: sent };
            let answer = text(known.answer(&asked, &bob()));
            assert!(answer.contains(&format!("qop={qop},")), "{answer}");
            let subject = Subject { method: &Method::Invite, body: came };
            let mut verify = || server.verify(NOW, subject, answer.as_bytes(), &bob(), PEER);
            let first = verify();
            if first.is_ok() {
                assert_eq!(verify(), Err(Refusal::Replayed), "once, as any");
            }
            first
        };
        for body in [&b"v=0\r\nc=IN IP4 192.0.2.7\r\n"[..], b""] {
            assert_eq!(asked(body, body), Ok(()), "{qop}");
            assert_eq!(asked(body, b"v=0\r\nc=IN IP4 203.0.113.9\r\n"), changed, "{qop}");
        }
    }
}
