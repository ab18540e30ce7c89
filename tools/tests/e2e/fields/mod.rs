//! The fields of a trunk, each with real peers: one file for each group of fields.

mod belonging;
pub mod by_hand;
mod challenge;
pub mod digits;
mod encryption;
mod fax;
mod identity;
mod numbers;
mod reach;
mod running;
mod subscriptions;
pub mod timers;
pub mod tones;
mod traffic;
mod trust;

use by_hand::ByHand;

use crate::capture::{Capture, Datagram};
use crate::gateway::{Gateway, Place};
use crate::pbx::Pbx;
use crate::sipp::Sipp;

/// The configuration that most tests use, with more fields of one trunk.
pub fn config_with(place: &Place, trunk: &str, fields: &str) -> String {
    with(&place.config(), trunk, fields)
}

/// A configuration with more fields of one trunk.
fn with(config: &str, trunk: &str, fields: &str) -> String {
    let name = format!("name = \"{trunk}\"\n");
    assert!(config.contains(&name), "{trunk} is a trunk");
    config.replace(&name, &format!("{name}{fields}\n"))
}

/// The gateway ends a call in which nobody speaks.
fn ends_in_silence(mut gateway: Gateway, caller: ByHand<'_>, mut callee: Sipp) {
    caller.answer_bye();
    callee.succeed();
    let cdr = &gateway.cdrs_when(1)[0];
    assert_eq!(cdr["ended_by"], "gateway", "{cdr:#}");
    assert_eq!(cdr["reason"], "no media in either direction", "{cdr:#}");
    assert!(gateway.stop());
}

/// The first captured message that begins so and went to the provider.
pub fn told_provider<'a>(wire: &'a [Datagram], place: &Place, start: &str) -> Option<&'a str> {
    let mut to_provider = wire.iter().filter(|d| d.destination.0 == place.provider);
    let found = to_provider.find(|d| d.payload.starts_with(start.as_bytes()))?;
    Some(std::str::from_utf8(&found.payload).expect("SIP of the gateway is text"))
}

/// The INVITE that SIPp gets, in the provider's place, when PJSIP calls this number.
pub fn asked_of_sipp(place: &Place, config: &str, number: &str) -> String {
    let mut gateway = Gateway::start(place, config);
    let mut callee = Sipp::answer(place, "u1", 1);
    let mut phones = Pbx::start(place, &[]);
    let capture = Capture::start(place);
    phones.call(place, number);
    phones.events.wait("\"media\"");
    phones.hang_up();
    callee.succeed();
    let wire = capture.finish();
    assert!(gateway.stop());
    told_provider(&wire, place, "INVITE ").expect("SIPp was asked").to_owned()
}

/// A header's value.
pub fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = message.lines().take_while(|line| !line.is_empty());
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}
