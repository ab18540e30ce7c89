//! SRTP that others wrote, through the gateway: libsrtp in every suite, ffmpeg, baresip.

use abi::Counter;
use serde_json::json;

use crate::baresip::Baresip;
use crate::calls::{assert_cdr, assert_secrecy, heard_by_sipp, hears};
use crate::capture::Capture;
use crate::counters::Counters;
use crate::far::{Far, PBX_HZ, PROVIDER_HZ, Role};
use crate::ffmpeg;
use crate::gateway::{Gateway, Place};
use crate::sipp::{self, Sipp};

/// Packets of a talk: 1.4 s of audio at their own pace, sent faster.
pub const TALK: u32 = 70;
pub const REPORTS: u32 = 3;
/// Across a rollover of the sequence number (RFC 3711 §3.3.1).
const BEFORE_ROLLOVER: [&str; 2] = ["--first-seq", "65500"];

/// What the least gateway offers; it may offer more, and then libsrtp is asked for these too.
pub const SUITES_MIN: [&str; 4] =
    ["AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32", "AEAD_AES_128_GCM", "AEAD_AES_256_GCM"];

/// Both talk, both hear all of it, reports included.
pub fn both_talk_and_hear(provider: &mut Far, pbx: &mut Far) {
    for far in [&mut *provider, &mut *pbx] {
        far.talk(TALK, 1, REPORTS);
    }
    for (far, hz) in [(&mut *provider, PBX_HZ), (&mut *pbx, PROVIDER_HZ)] {
        let tally = far.reach(&json!({"distinct": TALK, "reports": REPORTS}));
        assert_eq!(tally.datagrams, u64::from(TALK + REPORTS), "{tally:?}");
        assert!(hears(&far.heard(), hz), "{hz} Hz");
    }
}

#[test]
fn libsrtp_and_the_gateway_understand_each_other_in_every_suite() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &place.config());
    let mut provider = Far::start(&place, Role::Provider, &BEFORE_ROLLOVER);
    let mut pbx = Far::start(&place, Role::SecurePbx(SUITES_MIN[0]), &BEFORE_ROLLOVER);
    let mut untried: Vec<String> = vec![SUITES_MIN[0].into()];
    let mut tried: Vec<String> = Vec::new();
    while let Some(suite) = untried.pop() {
        pbx.tell(&json!({"do": "suite", "name": suite}));
        provider.call("390612345");
        let offered = pbx.wait("incoming")["offered"].clone();
        let offered: Vec<String> = serde_json::from_value(offered).unwrap();
        provider.wait("answered");
        both_talk_and_hear(&mut provider, &mut pbx);
        provider.hang_up(&mut pbx);
        let cdr = gateway.cdrs_when(2 * tried.len() + 1).pop().unwrap();
        assert_eq!(cdr["callee_suite"], suite.as_str(), "the gateway was asked for it: {cdr:#}");
        // Now libsrtp's end offers it, and nothing else.
        pbx.call("0612345");
        provider.wait("incoming");
        pbx.wait("answered");
        both_talk_and_hear(&mut provider, &mut pbx);
        pbx.hang_up(&mut provider);
        let cdr = gateway.cdrs_when(2 * tried.len() + 2).pop().unwrap();
        assert_eq!(cdr["caller_suite"], suite.as_str(), "{cdr:#}");
        tried.push(suite);
        untried = offered.into_iter().filter(|suite| !tried.contains(suite)).collect();
    }
    for suite in SUITES_MIN {
        assert!(tried.iter().any(|t| t == suite), "{suite} was never offered: {tried:?}");
    }
    let all = 2 * 2 * tried.len() as u64 * u64::from(TALK + REPORTS);
    let counters = Counters::of(&gateway);
    let counters = counters.await_that("all that was sent", |now| now.relayed() == all);
    assert_eq!(counters.dropped(), 0, "{}", counters.text());
    assert!(gateway.stop());
}

#[test]
fn ffmpeg_plays_what_the_gateway_encrypts_and_is_heard() {
    for (suite, name) in ffmpeg::SUITES {
        let place = Place::new();
        let mut gateway = Gateway::start(&place, &place.config());
        let mut provider = Far::start(&place, Role::Provider, &[]);
        let mut pbx = Far::start(&place, Role::SecurePbx(suite), &["--no-media"]);
        provider.call("390612345");
        let agreed = pbx.wait("answered");
        provider.wait("answered");
        let receiver = ffmpeg::Receiver::start(&place, name, agreed["theirs"].as_str().unwrap());
        provider.talk(150, 4, 0);
        assert!(hears(&receiver.heard(), PROVIDER_HZ), "ffmpeg hears the provider in {suite}");
        let port = u16::try_from(agreed["port"].as_u64().unwrap()).unwrap();
        ffmpeg::send(&place, name, agreed["ours"].as_str().unwrap(), port);
        provider.reach(&json!({"distinct": ffmpeg::PACKETS}));
        assert!(hears(&provider.heard(), PBX_HZ), "the provider hears ffmpeg in {suite}");
        let counters = Counters::of(&gateway);
        let counters = counters.await_that("ffmpeg's packets and its report", |now| {
            now.get(Counter::RelayedRtp) >= 150 && now.get(Counter::RelayedRtcp) >= 1
        });
        assert_eq!(counters.get(Counter::DropAuthentication), 0, "{}", counters.text());
        provider.hang_up(&mut pbx);
        assert!(gateway.stop());
    }
}

#[test]
fn baresip_answers_with_mandatory_srtp() {
    let place = Place::with_pbx_anywhere();
    let mut gateway = Gateway::start(&place, &place.config());
    let mut phone = Baresip::start(&place);
    let capture = Capture::start(&place);
    Sipp::call(&place, "caller.xml", "u1", "390612345", 1, 2500).succeed();
    phone.log.wait("terminated");
    let wire = capture.finish();
    let cdrs = gateway.cdrs_when(1);
    assert!(gateway.stop());
    assert!(hears(&phone.heard(), sipp::TONE_HZ), "baresip hears SIPp");
    assert!(hears(&heard_by_sipp(&wire, &place), PBX_HZ), "SIPp hears baresip");
    assert_secrecy(&wire, &place);
    assert_cdr(&cdrs[0], "provider", "pbx");
    assert!(!cdrs[0]["callee_suite"].is_null(), "{cdrs:#?}");
}

#[test]
fn baresip_calls_with_mandatory_srtp() {
    let place = Place::with_pbx_anywhere();
    let mut gateway = Gateway::start(&place, &place.config());
    let mut provider = Sipp::answer(&place, "u1", 1);
    let mut phone = Baresip::start(&place);
    let capture = Capture::start(&place);
    phone.call(&place, "0612345");
    phone.log.wait("established");
    phone.hear_for_a_while();
    phone.hang_up();
    provider.succeed();
    let wire = capture.finish();
    let cdrs = gateway.cdrs_when(1);
    assert!(gateway.stop());
    assert!(hears(&phone.heard(), sipp::TONE_HZ), "baresip hears SIPp");
    assert!(hears(&heard_by_sipp(&wire, &place), PBX_HZ), "SIPp hears baresip");
    assert_secrecy(&wire, &place);
    assert_cdr(&cdrs[0], "pbx", "provider");
    assert!(!cdrs[0]["caller_suite"].is_null(), "{cdrs:#?}");
}
