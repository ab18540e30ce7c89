//! Calls that must work, with audio both ways.

use bench::media::g711::Law;
use bench::media::tone;

use crate::capture::{Capture, Datagram, is_plain_tone};
use crate::gateway::{Gateway, Place};
use crate::pbx::{self, Pbx};
use crate::sipp::{self, Sipp};

/// A text in every session description of SIPp, which must not reach the other side.
const CANARY: &[u8] = b"secret-topology-canary";

/// Whether one second of `samples` somewhere in the middle is the tone.
pub fn hears(samples: &[i16], hz: u32) -> bool {
    samples.len() >= 8000 && {
        let from = samples.len() / 2 - 4000;
        tone::share_at(hz, samples[from..from + 8000].iter().copied()) > 0.8
    }
}

/// What arrived at SIPp, as samples: one second from the middle of the call.
pub fn heard_by_sipp(wire: &[Datagram], place: &Place) -> Vec<i16> {
    wire.iter()
        .filter(|d| d.destination.0 == place.provider && d.payload.len() == 172)
        .filter(|d| d.source.0 == place.gateway && d.payload[0] >> 6 == 2)
        .flat_map(|d| d.payload[12..].iter().map(|octet| Law::A.decode(*octet)).collect::<Vec<_>>())
        .collect()
}

/// Media datagrams between the gateway and the PBX.
fn secure_side<'a>(wire: &'a [Datagram], place: &'a Place) -> impl Iterator<Item = &'a Datagram> {
    wire.iter().filter(|d| d.source.0 == place.pbx || d.destination.0 == place.pbx)
}

pub fn assert_secrecy(wire: &[Datagram], place: &Place) {
    let secure = secure_side(wire, place).count();
    assert!(secure > 100, "only {secure} datagrams on the secure side: was there a call?");
    for tone in [sipp::TONE_HZ, pbx::TONE_HZ] {
        let plain = secure_side(wire, place).filter(|d| is_plain_tone(&d.payload, tone)).count();
        assert_eq!(plain, 0, "plain RTP with {tone} Hz on the secure side");
    }
    let insecure = wire.iter().filter(|d| d.destination.0 == place.provider);
    let control = insecure.filter(|d| is_plain_tone(&d.payload, pbx::TONE_HZ)).count();
    assert!(control > 50, "positive control: the same look finds the tone on the insecure side");
}

pub fn assert_cdr(cdr: &serde_json::Value, from: &str, to: &str) {
    assert_eq!(cdr["from_trunk"], from, "{cdr:#}");
    assert_eq!(cdr["to_trunk"], to, "{cdr:#}");
    assert_eq!(cdr["code"], 200, "{cdr:#}");
}

/// One call from SIPp to PJSIP; `scenario` is an early or a delayed offer.
fn insecure_to_secure(scenario: &str, transport: &str, adapt: impl Fn(String) -> String) {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &adapt(place.config()));
    let mut phones = Pbx::start(&place, &[]);
    let capture = Capture::start(&place);
    Sipp::call(&place, scenario, transport, "390612345", 1, 4000).succeed();
    phones.events.wait("\"incoming\"");
    phones.events.wait("\"disconnected\"");
    let wire = capture.finish();
    let cdrs = gateway.cdrs_when(1);
    assert!(gateway.stop(), "the gateway ends with success");
    assert!(hears(&phones.heard(), sipp::TONE_HZ), "PJSIP hears SIPp");
    assert!(hears(&heard_by_sipp(&wire, &place), pbx::TONE_HZ), "SIPp hears PJSIP");
    assert_secrecy(&wire, &place);
    assert_cdr(&cdrs[0], "provider", "pbx");
}

#[test]
fn sipp_calls_pjsip_with_an_early_offer() {
    insecure_to_secure("caller.xml", "u1", |config| config);
}

#[test]
fn sipp_calls_pjsip_with_a_delayed_offer() {
    insecure_to_secure("caller_late.xml", "u1", |config| config);
}

#[test]
fn sipp_calls_pjsip_over_tcp() {
    let tcp = |config: String| config.replace("transport = \"UDP\"", "transport = \"TCP\"");
    insecure_to_secure("caller.xml", "t1", tcp);
}

/// One call from PJSIP to SIPp, which hangs up or is hung up on.
#[test]
fn pjsip_calls_sipp_and_hangs_up() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &place.config());
    let mut callee = Sipp::answer(&place, "u1", 1);
    let mut phones = Pbx::start(&place, &[]);
    let capture = Capture::start(&place);
    phones.call(&place, "0612345");
    phones.events.wait("\"media\"");
    std::thread::sleep(std::time::Duration::from_secs(4));
    phones.hang_up();
    callee.succeed();
    let wire = capture.finish();
    let cdrs = gateway.cdrs_when(1);
    assert!(gateway.stop());
    assert!(hears(&phones.heard(), sipp::TONE_HZ), "PJSIP hears SIPp");
    assert!(hears(&heard_by_sipp(&wire, &place), pbx::TONE_HZ), "SIPp hears PJSIP");
    assert_secrecy(&wire, &place);
    assert_cdr(&cdrs[0], "pbx", "provider");
    let invite = wire.iter().find(|d| d.payload.starts_with(b"INVITE "));
    let invite = invite.expect("the INVITE to the provider is in the capture");
    let text = String::from_utf8_lossy(&invite.payload);
    assert!(!text.contains(&place.pbx.to_string()), "the PBX's address leaks:\n{text}");
    assert!(!text.contains("a=crypto"), "a key is sent over UDP:\n{text}");
}

#[test]
fn topology_stays_hidden() {
    let place = Place::new();
    // Both trunks insecure, so that the wire can be read on both sides.
    let config = place.plain_config();
    let mut gateway = Gateway::start(&place, &config);
    let capture = Capture::start(&place);
    let listener = std::net::UdpSocket::bind((place.pbx, 5081)).unwrap();
    let mut caller = Sipp::call(&place, "caller.xml", "u1", "390612345", 1, 100);
    let mut buffer = [0_u8; 4096];
    listener.set_read_timeout(Some(crate::lines::PATIENCE)).unwrap();
    let (length, _) = listener.recv_from(&mut buffer).unwrap();
    let invite = buffer[..length].to_vec();
    let text = String::from_utf8_lossy(&invite);
    assert!(invite.starts_with(b"INVITE "), "{text}");
    assert!(!text.contains(&place.provider.to_string()), "the provider's address leaks:\n{text}");
    assert!(!invite.windows(CANARY.len()).any(|w| w == CANARY), "its SDP leaks:\n{text}");
    assert!(text.contains("390200000001"), "the caller's number is passed:\n{text}");
    let busy = text.split_once("\r\n").unwrap().1;
    let busy: String = busy
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| {
            ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|h| line.starts_with(h))
        })
        .map(|line| match line.starts_with("To:") {
            true => format!("{line};tag=busy\r\n"),
            false => format!("{line}\r\n"),
        })
        .collect();
    let busy = format!("SIP/2.0 486 Busy Here\r\n{busy}Content-Length: 0\r\n\r\n");
    listener.send_to(busy.as_bytes(), (place.gateway, 5060)).unwrap();
    assert!(!caller.wait().success(), "the caller's scenario expects an answer");
    drop(capture);
    let cdrs = gateway.cdrs_when(1);
    assert_eq!(cdrs[0]["code"], 486, "{cdrs:#?}");
    assert!(gateway.stop());
}

#[test]
fn a_sip_account_registers_with_digest_and_goes() {
    let place = Place::new();
    let account = "register = true\nusername = \"trunkline\"\npassword = \"open sesame\"\n";
    let config =
        place.config().replace("transport = \"UDP\"\n", &format!("transport = \"UDP\"\n{account}"));
    let arguments = vec!["-m".into(), "1".into()];
    let run = sipp::Run { scenario: "registrar.xml", transport: "u1", arguments };
    let mut registrar = Sipp::run(&place, run);
    let mut gateway = Gateway::start(&place, &config);
    gateway.log.wait("registered");
    assert!(gateway.stop());
    registrar.succeed();
    let log = gateway.log.rest().join("\n");
    assert!(!log.contains("open sesame"), "the password is in the log:\n{log}");
}
