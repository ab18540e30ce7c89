//! `allow` with T38: fax in the place of a call's audio.

use std::net::UdpSocket;

use abi::Counter;

use super::by_hand::{ByHand, audio, description};
use super::config_with;
use crate::counters::Counters;
use crate::gateway::{Gateway, Place};
use crate::lines::PATIENCE;
use crate::pbx::Pbx;
use crate::sipp::Sipp;

/// Where both fax machines take datagrams; `fax_callee.xml` names it too.
const FAX_PORT: u16 = 16_100;
/// Datagrams that each machine says.
const SAID: u64 = 50;
const ALLOW: &str = "allow = [\"PCMA\", \"T38\"]\n";

/// The provider's fax.
fn fax(place: &Place, version: u32) -> String {
    let media = format!(
        "m=image {FAX_PORT} udptl t38\r\na=T38FaxVersion:0\r\na=T38MaxBitRate:9600\r\n\
         a=T38FaxRateManagement:transferredTCF\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n"
    );
    description(place, version, &media)
}

/// Datagram `n` of a machine: UDPTL with one indicator and no redundancy.
fn datagram(n: u64) -> [u8; 6] {
    let [high, low] = u16::try_from(n).unwrap().to_be_bytes();
    [high, low, 1, 0x06, 0, 0]
}

/// Takes all that the other machine said; where the last datagram came from.
fn hear(machine: &UdpSocket) -> std::net::SocketAddr {
    let mut buffer = [0; 64];
    let mut heard = Vec::new();
    let mut from = None;
    while heard.len() < usize::try_from(SAID).unwrap() {
        let (length, source) = machine.recv_from(&mut buffer).unwrap();
        heard.push(buffer[..length].to_vec());
        from = Some(source);
    }
    let said: Vec<_> = (0..SAID).map(|n| datagram(n).to_vec()).collect();
    assert_eq!(heard, said, "to the octet");
    from.unwrap()
}

/// SIPp hears a fax, as a gateway of fax machines does, and asks for T.38; afterwards its caller goes
/// back to audio.
#[test]
fn a_fax_passes_to_sipp_in_a_call_that_began_as_audio() {
    let place = Place::new();
    let quiet = "send_keep_alive = false\n";
    let config = place.plain_config().replace(quiet, &format!("{quiet}{ALLOW}"));
    let mut gateway = Gateway::start(&place, &config);
    let counters = Counters::of(&gateway);
    let mut callee = Sipp::pbx(&place, "fax_callee.xml", 1);
    let machines = [place.provider, place.pbx].map(|host| {
        let machine = UdpSocket::bind((host, FAX_PORT)).unwrap();
        machine.set_read_timeout(Some(PATIENCE)).unwrap();
        machine
    });
    let mut caller = ByHand::new(&place, "390612345");
    caller.call();
    let asked = caller.receive("INVITE ");
    assert!(asked.contains("a=T38MaxBitRate:14400\r\n"), "{asked}");
    assert!(!asked.contains(&place.pbx.to_string()), "the addresses are ours: {asked}");
    let line = asked.lines().find(|line| line.starts_with("m=image ")).unwrap();
    let port: u16 = line.split(' ').nth(1).unwrap().parse().unwrap();
    caller.accept(&asked, &fax(&place, 2));
    // The data plane does what the answers say when they are acknowledged.
    caller.receive("ACK ");
    let [near, far] = &machines;
    for n in 0..SAID {
        near.send_to(&datagram(n), (place.gateway, port)).unwrap();
    }
    let gateway_toward_callee = hear(far);
    for n in 0..SAID {
        far.send_to(&datagram(n), gateway_toward_callee).unwrap();
    }
    assert_eq!(hear(near), (place.gateway, port).into());
    let moment = counters.await_that("faxes", |now| now.get(Counter::RelayedUdptl) == 2 * SAID);
    assert_eq!(moment.dropped(), 0, "{}", moment.text());
    caller.ask("INVITE", &audio(&place, 3));
    let back = caller.accepted();
    assert!(back.contains("m=audio "), "{back}");
    caller.hang_up();
    callee.succeed();
    let cdr = &gateway.cdrs_when(1)[0];
    assert_eq!(cdr["code"], 200, "{cdr:#}");
    assert!(cdr["notes"].to_string().contains("fax (T.38) passed"), "{cdr:#}");
    assert!(gateway.stop());
}

/// T.38 has no encryption: the call with PJSIP stays what it is.
#[test]
fn a_fax_is_refused_where_the_other_trunk_must_encrypt() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &config_with(&place, "provider", ALLOW));
    let mut phones = Pbx::start(&place, &[]);
    let mut caller = ByHand::new(&place, "390612345");
    caller.call();
    phones.events.wait("\"media\"");
    caller.ask("INVITE", &fax(&place, 2));
    let refusal = caller.receive("SIP/2.0 488");
    assert!(refusal.contains("T.38 has no encryption"), "{refusal}");
    phones.hang_up();
    caller.answer_bye();
    let cdr = &gateway.cdrs_when(1)[0];
    assert!(cdr["notes"].to_string().contains("a trunk must encrypt"), "{cdr:#}");
    assert!(gateway.stop());
}
