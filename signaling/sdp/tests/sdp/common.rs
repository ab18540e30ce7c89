//! What the tests share: policies, keys that are recognised at sight, and our own addresses.

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sdp::{Audio, Codec, Crypto, Description, Events, Key, Local, Policy, Security, Suite};

pub const OUR_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 1));

/// Fill byte of our keys and of the peer's.
pub const OURS: u8 = 0x4f;
pub const THEIRS: u8 = 0x11;

pub fn plain() -> Policy {
    Policy {
        security: Security::Plain,
        allow: Vec::new(),
        disallow: Vec::new(),
        disallow_all: false,
        rtcp_mux: false,
        events: Events::Pass,
    }
}

pub fn secure() -> Policy {
    Policy { security: Security::secure(Suite::ALL.to_vec()), ..plain() }
}

pub fn allowing(policy: Policy, allow: &[Codec]) -> Policy {
    Policy { allow: allow.to_vec(), ..policy }
}

pub fn key(suite: Suite, fill: u8) -> Key {
    Key::new(suite, &vec![fill; suite.key_len() + suite.salt_len()]).unwrap()
}

/// One key of ours for each suite.
pub fn our_keys() -> Vec<Key> {
    Suite::ALL.map(|suite| key(suite, OURS)).to_vec()
}

/// The one key that an answer to `chosen` takes; none on a plain line.
pub fn answer_keys(chosen: &Audio) -> Vec<Key> {
    chosen.cryptos.iter().take(1).map(|crypto: &Crypto| key(crypto.suite, OURS)).collect()
}

pub fn local(keys: &[Key]) -> Local<'_> {
    Local {
        address: OUR_ADDRESS,
        rtp_port: 40000,
        rtcp_port: 40001,
        origin_id: 77,
        origin_version: 1,
        keys,
    }
}

/// Base64 of a key of `suite` filled with one byte.
pub fn inline(suite: Suite, fill: u8) -> String {
    STANDARD.encode(vec![fill; suite.key_len() + suite.salt_len()])
}

pub fn parse(text: &str) -> Description {
    Description::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// A description at 192.0.2.1 with these lines after the head.
pub fn with(lines: &[&str]) -> String {
    let head = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0"];
    head.iter().chain(lines).map(|line| format!("{line}\r\n")).collect()
}

pub fn text(body: Vec<u8>) -> String {
    String::from_utf8(body).unwrap()
}

/// The formats in the short form of the tables: `8 PCMA/8000`.
pub fn formats(audio: &Audio) -> Vec<String> {
    audio.formats.iter().map(|format| format!("{} {format}", format.payload_type)).collect()
}

pub const OFFERS: [(&str, &str); 11] = [
    ("asterisk_plain", include_str!("../offers/asterisk_plain.sdp")),
    ("browser", include_str!("../offers/browser.sdp")),
    ("carrier_mobile", include_str!("../offers/carrier_mobile.sdp")),
    ("cucm_secure", include_str!("../offers/cucm_secure.sdp")),
    ("fax", include_str!("../offers/fax.sdp")),
    ("freeswitch", include_str!("../offers/freeswitch.sdp")),
    ("osrtp", include_str!("../offers/osrtp.sdp")),
    ("teams", include_str!("../offers/teams.sdp")),
    ("twilio_secure", include_str!("../offers/twilio_secure.sdp")),
    ("two_profiles", include_str!("../offers/two_profiles.sdp")),
    ("video_phone_lf", include_str!("../offers/video_phone_lf.sdp")),
];

pub fn offer(name: &str) -> &'static str {
    OFFERS.iter().find(|(known, _)| *known == name).unwrap().1
}
