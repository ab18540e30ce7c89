//! The exact text of what we write, for calls between peers that exist.

use std::net::{IpAddr, Ipv6Addr};

use crate::common::*;
use insta::assert_snapshot;
use sdp::{
    Audio, Codec, Local, Policy, Reject, Security, Suite, read_answer, read_offer, write_answer,
    write_offer,
};

fn provider() -> Policy {
    allowing(plain(), &[Codec::Pcma, Codec::Pcmu])
}

fn pbx() -> Policy {
    allowing(secure(), &[Codec::Pcma, Codec::Pcmu])
}

fn read(name: &str, policy: &Policy) -> Audio {
    read_offer(&parse(offer(name)), policy).unwrap()
}

fn shown(body: Result<Vec<u8>, Reject>) -> String {
    text(body.unwrap()).replace("\r\n", "\n")
}

#[test]
fn secure_pbx_calls_a_plain_provider() {
    let cucm = parse(offer("cucm_secure"));
    let chosen = read_offer(&cucm, &pbx()).unwrap();
    let to_provider = write_offer(Some(&chosen), &provider(), &local(&[]));
    assert_snapshot!(shown(to_provider.clone()), @r#"
    v=0
    o=- 77 1 IN IP4 10.99.0.1
    s=-
    c=IN IP4 10.99.0.1
    t=0 0
    m=audio 40000 RTP/AVP 8 0 101
    a=rtpmap:8 PCMA/8000
    a=rtpmap:0 PCMU/8000
    a=rtpmap:101 telephone-event/8000
    a=fmtp:101 0-15
    a=ptime:20
    a=sendrecv
    "#);

    let lines = ["m=audio 6000 RTP/AVP 8 101", "a=rtpmap:101 telephone-event/8000", "a=ptime:20"];
    let ours = parse(&text(to_provider.unwrap()));
    let far = read_answer(&parse(&with(&lines)), &ours, &provider()).unwrap();
    let keys = answer_keys(&chosen);
    let to_cucm = write_answer(&cucm, &chosen, &far, &pbx(), &local(&keys));
    assert_snapshot!(shown(to_cucm), @r#"
    v=0
    o=- 77 1 IN IP4 10.99.0.1
    s=-
    c=IN IP4 10.99.0.1
    t=0 0
    m=audio 40000 RTP/SAVP 8 101
    a=rtpmap:8 PCMA/8000
    a=rtpmap:101 telephone-event/8000
    a=crypto:1 AEAD_AES_256_GCM inline:T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT08=
    a=ptime:20
    a=sendrecv
    "#);
}

#[test]
fn plain_provider_calls_a_secure_pbx() {
    let asterisk = parse(offer("asterisk_plain"));
    let chosen = read_offer(&asterisk, &provider()).unwrap();
    let keys = our_keys();
    let to_pbx = write_offer(Some(&chosen), &pbx(), &local(&keys));
    assert_snapshot!(shown(to_pbx.clone()), @r#"
    v=0
    o=- 77 1 IN IP4 10.99.0.1
    s=-
    c=IN IP4 10.99.0.1
    t=0 0
    m=audio 40000 RTP/SAVP 8 0 101
    a=rtpmap:8 PCMA/8000
    a=rtpmap:0 PCMU/8000
    a=rtpmap:101 telephone-event/8000
    a=fmtp:101 0-16
    a=crypto:1 AEAD_AES_256_GCM inline:T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT08=
    a=crypto:2 AEAD_AES_128_GCM inline:T09PT09PT09PT09PT09PT09PT09PT09PT09PTw==
    a=crypto:3 AES_256_CM_HMAC_SHA1_80 inline:T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PTw==
    a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:T09PT09PT09PT09PT09PT09PT09PT09PT09PT09P
    a=crypto:5 AES_CM_128_HMAC_SHA1_32 inline:T09PT09PT09PT09PT09PT09PT09PT09PT09PT09P
    a=crypto:6 AES_256_CM_HMAC_SHA1_32 inline:T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PTw==
    a=ptime:20
    a=maxptime:150
    a=sendrecv
    "#);

    let suite = Suite::AeadAes128Gcm;
    let crypto = format!("a=crypto:2 {suite} inline:{}", inline(suite, THEIRS));
    let lines = ["m=audio 6000 RTP/SAVP 0 8", &crypto, "a=sendonly"];
    let ours = parse(&text(to_pbx.unwrap()));
    let far = read_answer(&parse(&with(&lines)), &ours, &pbx()).unwrap();
    let to_asterisk = write_answer(&asterisk, &chosen, &far, &provider(), &local(&[]));
    assert_snapshot!(shown(to_asterisk), @r#"
    v=0
    o=- 77 1 IN IP4 10.99.0.1
    s=-
    c=IN IP4 10.99.0.1
    t=0 0
    m=audio 40000 RTP/AVP 0 8
    a=rtpmap:0 PCMU/8000
    a=rtpmap:8 PCMA/8000
    a=sendonly
    "#);
}

#[test]
fn an_offer_that_lists_everything_once() {
    let policy = Policy { rtcp_mux: true, ..secure() };
    let keys = our_keys();
    let local = Local { rtcp_port: 40007, ..local(&keys) };
    assert_snapshot!(shown(write_offer(None, &policy, &local)), @r#"
    v=0
    o=- 77 1 IN IP4 10.99.0.1
    s=-
    c=IN IP4 10.99.0.1
    t=0 0
    m=audio 40000 RTP/SAVP 8 0 9 18 111 96 97 98 3 101 102 103
    a=rtpmap:8 PCMA/8000
    a=rtpmap:0 PCMU/8000
    a=rtpmap:9 G722/8000
    a=rtpmap:18 G729/8000
    a=rtpmap:111 opus/48000/2
    a=fmtp:111 useinbandfec=1
    a=rtpmap:96 AMR/8000
    a=fmtp:96 octet-align=1
    a=rtpmap:97 AMR-WB/16000
    a=fmtp:97 octet-align=1
    a=rtpmap:98 iLBC/8000
    a=fmtp:98 mode=30
    a=rtpmap:3 GSM/8000
    a=rtpmap:101 telephone-event/8000
    a=fmtp:101 0-16
    a=rtpmap:102 telephone-event/16000
    a=fmtp:102 0-16
    a=rtpmap:103 telephone-event/48000
    a=fmtp:103 0-16
    a=crypto:1 AEAD_AES_256_GCM inline:T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT08=
    a=crypto:2 AEAD_AES_128_GCM inline:T09PT09PT09PT09PT09PT09PT09PT09PT09PTw==
    a=crypto:3 AES_256_CM_HMAC_SHA1_80 inline:T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PTw==
    a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:T09PT09PT09PT09PT09PT09PT09PT09PT09PT09P
    a=crypto:5 AES_CM_128_HMAC_SHA1_32 inline:T09PT09PT09PT09PT09PT09PT09PT09PT09PT09P
    a=crypto:6 AES_256_CM_HMAC_SHA1_32 inline:T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PTw==
    a=rtcp:40007
    a=rtcp-mux
    a=sendrecv
    "#);
}

#[test]
fn teams_offers_an_mki_and_a_shared_port() {
    let policy = Policy { rtcp_mux: true, ..pbx() };
    let teams = parse(offer("teams"));
    let chosen = read_offer(&teams, &policy).unwrap();
    let keys = answer_keys(&chosen);
    let answer = write_answer(&teams, &chosen, &chosen, &policy, &local(&keys));
    assert_snapshot!(shown(answer), @r#"
    v=0
    o=- 77 1 IN IP4 10.99.0.1
    s=-
    c=IN IP4 10.99.0.1
    t=0 0
    m=audio 40000 RTP/SAVP 8 0 101 13
    a=rtpmap:8 PCMA/8000
    a=rtpmap:0 PCMU/8000
    a=rtpmap:101 telephone-event/8000
    a=fmtp:101 0-16
    a=rtpmap:13 CN/8000
    a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:T09PT09PT09PT09PT09PT09PT09PT09PT09PT09P
    a=ptime:20
    a=rtcp-mux
    a=sendrecv
    "#);
}

#[test]
fn a_video_phone_is_answered_with_audio_alone() {
    let phone = parse(offer("video_phone_lf"));
    let chosen = read_offer(&phone, &plain()).unwrap();
    let answer = write_answer(&phone, &chosen, &chosen, &plain(), &local(&[]));
    assert_snapshot!(shown(answer), @r#"
    v=0
    o=- 77 1 IN IP4 10.99.0.1
    s=-
    c=IN IP4 10.99.0.1
    t=0 0
    m=audio 40000 RTP/AVP 9 8 0
    a=rtpmap:9 G722/8000
    a=rtpmap:8 PCMA/8000
    a=rtpmap:0 PCMU/8000
    a=sendrecv
    m=video 0 RTP/AVP 97
    m=application 0 UDP/BFCP *
    m=application 0 RTP/AVP 0
    "#);
}

#[test]
fn a_mobile_carrier_over_ipv6() {
    let policy = allowing(plain(), &[Codec::AmrWb, Codec::Amr]);
    let carrier = read("carrier_mobile", &policy);
    let address = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9));
    let local = Local { address, origin_version: 4, ..local(&[]) };
    assert_snapshot!(shown(write_offer(Some(&carrier), &policy, &local)), @r#"
    v=0
    o=- 77 4 IN IP6 2001:db8::9
    s=-
    c=IN IP6 2001:db8::9
    t=0 0
    m=audio 40000 RTP/AVP 108 107 96 110 111 13
    a=rtpmap:108 AMR-WB/16000/1
    a=fmtp:108 mode-change-capability=2;max-red=0
    a=rtpmap:107 AMR-WB/16000/1
    a=fmtp:107 octet-align=1;mode-change-capability=2
    a=rtpmap:96 AMR/8000/1
    a=fmtp:96 mode-set=0,2,4,7;mode-change-period=2
    a=rtpmap:110 telephone-event/8000
    a=fmtp:110 0-15
    a=rtpmap:111 telephone-event/16000
    a=fmtp:111 0-15
    a=rtpmap:13 CN/8000
    a=ptime:20
    a=maxptime:40
    a=sendrecv
    "#);
}

#[test]
fn freeswitch_with_keys_without_padding() {
    let policy = Policy { allow: vec![Codec::Opus, Codec::Pcma], ..secure() };
    let freeswitch = parse(offer("freeswitch"));
    let chosen = read_offer(&freeswitch, &policy).unwrap();
    let keys = answer_keys(&chosen);
    let answer = write_answer(&freeswitch, &chosen, &chosen, &policy, &local(&keys));
    assert_snapshot!("freeswitch_answer", shown(answer));
}

#[test]
fn two_profiles_in_one_offer() {
    let offer = parse(offer("two_profiles"));
    let chosen = read_offer(&offer, &provider()).unwrap();
    let answer = write_answer(&offer, &chosen, &chosen, &provider(), &local(&[]));
    assert_snapshot!(shown(answer), @r#"
    v=0
    o=- 77 1 IN IP4 10.99.0.1
    s=-
    c=IN IP4 10.99.0.1
    t=0 0
    m=audio 0 RTP/SAVP 0 8 101
    m=audio 40000 RTP/AVP 8 0 101
    a=rtpmap:8 PCMA/8000
    a=rtpmap:0 PCMU/8000
    a=rtpmap:101 telephone-event/8000
    a=sendrecv
    "#);
    let chosen = read_offer(&offer, &pbx()).unwrap();
    let keys = answer_keys(&chosen);
    let answer = write_answer(&offer, &chosen, &chosen, &pbx(), &local(&keys));
    assert_snapshot!(shown(answer), @r#"
    v=0
    o=- 77 1 IN IP4 10.99.0.1
    s=-
    c=IN IP4 10.99.0.1
    t=0 0
    m=audio 40000 RTP/SAVP 8 0 101
    a=rtpmap:8 PCMA/8000
    a=rtpmap:0 PCMU/8000
    a=rtpmap:101 telephone-event/8000
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:T09PT09PT09PT09PT09PT09PT09PT09PT09PT09P
    a=sendrecv
    m=audio 0 RTP/AVP 0 8 101
    "#);
}

#[test]
fn reasons_as_people_read_them() {
    let gcm = Security::secure(vec![Suite::AeadAes256Gcm]);
    let refused = |name: &str, policy: &Policy| {
        let reject = read_offer(&parse(offer(name)), policy).unwrap_err();
        let (code, warning) = reject.warning().unwrap();
        format!("{name}: {} {reject}\n  Warning {code}: {warning}\n", reject.status())
    };
    let reasons = [
        refused("browser", &pbx()),
        refused("browser", &provider()),
        refused("fax", &provider()),
        refused("osrtp", &pbx()),
        refused("cucm_secure", &provider()),
        refused("asterisk_plain", &pbx()),
        refused("asterisk_plain", &allowing(plain(), &[Codec::Opus, Codec::Amr])),
        refused("twilio_secure", &Policy { security: gcm, ..pbx() }),
    ];
    assert_snapshot!("reasons", reasons.concat());
}
