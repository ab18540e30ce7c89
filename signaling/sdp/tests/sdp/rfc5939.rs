//! Capability negotiation (RFC 5939): RTP/AVP that could be RTP/SAVP.

use crate::common::*;
use sdp::limits::CAPABILITIES_MAX;
use sdp::{Description, Policy, Reject, Security, Suite, read_offer, write_answer};

const CM80: Suite = Suite::AesCm128HmacSha1_80;
const G256: Suite = Suite::AeadAes256Gcm;

fn acap(number: u32, tag: u32, suite: Suite) -> String {
    format!("a=acap:{number} crypto:{tag} {} inline:{}", suite.name(), inline(suite, THEIRS))
}

/// The example of RFC 5939 §4.1 in form: SRTP if the peer can, else RTP.
pub fn offer() -> String {
    lines(&["a=tcap:1 RTP/SAVP", &acap(1, 1, CM80), "a=pcfg:1 t=1 a=1"])
}

fn lines(capabilities: &[&str]) -> String {
    let line = ["m=audio 7000 RTP/AVP 8 101", "a=rtpmap:101 telephone-event/8000"];
    with(&[&line[..], capabilities].concat())
}

/// Our answer under this policy, or why there is none.
fn answer(offer: &str, policy: &Policy) -> Result<String, Reject> {
    let offer = parse(offer);
    let chosen = read_offer(&offer, policy)?;
    let keys = answer_keys(&chosen);
    write_answer(&offer, &chosen, &chosen, policy, &local(&keys)).map(text)
}

#[test]
fn the_secure_configuration_is_taken_and_named() {
    let said = answer(&offer(), &secure()).unwrap();
    assert!(said.contains("m=audio 40000 RTP/SAVP 8 101\r\n"), "{said}");
    let key = inline(CM80, OURS);
    assert!(said.contains(&format!("a=crypto:1 {} inline:{key}\r\n", CM80.name())), "{said}");
    assert!(said.contains("a=acfg:1 t=1 a=1\r\n"), "{said}");
    let chosen = read_offer(&parse(&offer()), &secure()).unwrap();
    assert!(chosen.secure && chosen.cryptos[0].key == key_of_theirs());
}

fn key_of_theirs() -> sdp::Key {
    key(CM80, THEIRS)
}

#[test]
fn who_takes_no_srtp_sees_the_actual_configuration() {
    let said = answer(&offer(), &plain()).unwrap();
    assert!(said.contains("m=audio 40000 RTP/AVP 8 101\r\n"), "{said}");
    assert!(!said.contains("acfg") && !said.contains("crypto"), "{said}");
    // Best effort means keys on the line itself.
    let suites = Suite::ALL.to_vec();
    let best =
        Policy { security: Security::BestEffort { suites, unoffered: Vec::new() }, ..plain() };
    assert!(matches!(answer(&offer(), &best), Err(Reject::NoCrypto { .. })));
}

#[test]
fn configurations_that_are_taken() {
    let (one, two, tcap) = (acap(1, 5, CM80), acap(2, 6, G256), "a=tcap:1 RTP/SAVP RTP/SAVPF");
    let other = "a=acap:3 rtcp-mux";
    let cases: [(&[&str], &str, &str); 9] = [
        (&[tcap, &one, "a=pcfg:1 t=1 a=1"], "RTP/SAVP", "1 t=1 a=1"),
        (&[tcap, &one, "a=pcfg:7 t=2 a=1"], "RTP/SAVPF", "7 t=2 a=1"),
        (&[tcap, &one, "a=pcfg:1  t=9|2|1  a=1 "], "RTP/SAVPF", "1 t=2 a=1"),
        (&[tcap, &one, &two, "a=pcfg:1 t=1 a=1,2"], "RTP/SAVP", "1 t=1 a=1,2"),
        (&[tcap, &one, &two, "a=pcfg:1 t=1 a=9|2"], "RTP/SAVP", "1 t=1 a=2"),
        (&[tcap, &one, other, "a=pcfg:1 t=1 a=1,[3]"], "RTP/SAVP", "1 t=1 a=1"),
        (&[tcap, &one, other, "a=pcfg:1 t=1 a=3|1"], "RTP/SAVP", "1 t=1 a=1"),
        // The lowest number is preferred, whichever comes first.
        (&[tcap, &one, &two, "a=pcfg:2 t=1 a=1", "a=pcfg:1 t=1 a=2"], "RTP/SAVP", "1 t=1 a=2"),
        (&[tcap, &one, "a=creq:cap-v0", "a=pcfg:1 t=1 a=1 x=1"], "RTP/SAVP", "1 t=1 a=1"),
    ];
    for (capabilities, proto, chosen) in cases {
        let said = answer(&lines(capabilities), &secure()).unwrap_or_else(|e| panic!("{e}"));
        assert!(said.contains(&format!("m=audio 40000 {proto} ")), "{capabilities:?}: {said}");
        assert!(said.contains(&format!("a=acfg:{chosen}\r\n")), "{capabilities:?}: {said}");
    }
}

#[test]
fn a_transport_of_the_whole_description_counts_and_another_lines_does_not() {
    let head = offer().replace("a=tcap:1 RTP/SAVP\r\n", "");
    let common = head.replace("t=0 0\r\n", "t=0 0\r\na=tcap:1 RTP/SAVP\r\n");
    assert!(answer(&common, &secure()).unwrap().contains("acfg"));
    let foreign = format!("{head}m=video 7002 RTP/AVP 31\r\na=tcap:1 RTP/SAVP\r\n");
    assert!(matches!(answer(&foreign, &secure()), Err(Reject::Profile { .. })));
}

#[test]
fn what_is_not_wholly_understood_is_passed_over() {
    let (one, tcap) = (acap(1, 1, CM80), "a=tcap:1 RTP/SAVP");
    let good = "a=pcfg:1 t=1 a=1";
    let bad: [&[&str]; 12] = [
        &[tcap, &one],
        &[&one, good],
        &[tcap, good],
        &["a=tcap:1 RTP/AVPF", &one, good],
        &["a=tcap:1 UDP/TLS/RTP/SAVP", &one, good],
        &[tcap, &one, "a=pcfg:1 t=1"],
        &[tcap, &one, "a=pcfg:1 a=1"],
        &[tcap, &one, "a=pcfg:1 t=1 a=-m:1"],
        &[tcap, &one, "a=pcfg:1 t=1 a=1 +x=1"],
        &[tcap, &one, "a=acap:2 rtcp-mux", "a=pcfg:1 t=1 a=1,2"],
        &[tcap, &one, good, "a=creq:cap-v0,cap-v1"],
        &[tcap, &one, "a=pcfg:x t=1 a=1"],
    ];
    for capabilities in bad {
        let said = answer(&lines(capabilities), &secure());
        assert!(matches!(said, Err(Reject::Profile { .. })), "{capabilities:?}: {said:?}");
    }
    // Keys that cannot be used: the line is secure, and nothing fits.
    let unusable = "a=acap:1 crypto:1 F8_128_HMAC_SHA1_80 inline:AAAA";
    let said = answer(&lines(&[tcap, unusable, good]), &secure());
    assert!(matches!(said, Err(Reject::NoCrypto { .. })), "{said:?}");
}

#[test]
fn an_offer_of_srtp_alone_needs_no_configuration() {
    let secure_line = offer().replace("RTP/AVP", "RTP/SAVP");
    let crypto = format!("a=crypto:4 {} inline:{}\r\n", CM80.name(), inline(CM80, THEIRS));
    let said = answer(&format!("{secure_line}{crypto}"), &secure()).unwrap();
    assert!(said.contains("a=crypto:4 ") && !said.contains("acfg"), "{said}");
}

#[test]
fn capabilities_are_limited() {
    let many = |count: usize| vec!["a=pcfg:1 t=1 a=1"; count];
    assert!(Description::parse(lines(&many(CAPABILITIES_MAX)).as_bytes()).is_ok());
    assert!(Description::parse(lines(&many(CAPABILITIES_MAX + 1)).as_bytes()).is_err());
    let protos = "RTP/SAVP ".repeat(CAPABILITIES_MAX + 1);
    assert!(Description::parse(lines(&[&format!("a=tcap:1 {protos}")]).as_bytes()).is_err());
}

/// Keys in capabilities are as secret as others.
#[test]
fn no_key_of_a_capability_is_shown() {
    let shown = format!("{:?}", parse(&offer()));
    assert!(!shown.contains(&inline(CM80, THEIRS)), "{shown}");
}
