//! `secure_rtp = preferred`.

use crate::calls::{heard_by_sipp, hears};
use crate::capture::{Capture, is_plain_tone};
use crate::gateway::{Gateway, Place};
use crate::pbx::{self, Pbx};
use crate::sipp::{self, Sipp};

fn preferring(place: &Place) -> String {
    let required = "secure = true\nencryption = true\nsecure_rtp = \"required\"";
    let preferred = "allow_mixed = true\nsecure_rtp = \"preferred\"";
    place.config().replace(required, preferred)
}

/// SIPp calls PJSIP, with SRTP or without; what PJSIP has decides what is on the wire.
fn called(arguments: &[&str], is_plain: bool) {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &preferring(&place));
    let mut phones = Pbx::start(&place, arguments);
    let capture = Capture::start(&place);
    Sipp::call(&place, "caller.xml", "u1", "390612345", 1, 3000).succeed();
    phones.events.wait("\"disconnected\"");
    let wire = capture.finish();
    let cdrs = gateway.cdrs_when(1);
    assert!(gateway.stop());
    assert!(hears(&phones.heard(), sipp::TONE_HZ), "PJSIP hears SIPp");
    assert!(hears(&heard_by_sipp(&wire, &place), pbx::TONE_HZ), "SIPp hears PJSIP");
    let to_pbx = wire.iter().filter(|d| d.destination.0 == place.pbx);
    let plain = to_pbx.filter(|d| is_plain_tone(&d.payload, sipp::TONE_HZ)).count();
    assert_eq!(plain > 50, is_plain, "{plain} plain packets");
    assert_eq!(cdrs[0]["callee_suite"].is_null(), is_plain, "{cdrs:#?}");
}

#[test]
fn a_trunk_that_prefers_srtp_encrypts_toward_pjsip_that_demands_it() {
    called(&[], false);
}

#[test]
fn a_trunk_that_prefers_srtp_talks_plainly_to_pjsip_that_has_none() {
    called(&["--plain"], true);
}

#[test]
fn pjsip_without_srtp_may_call_through_a_trunk_that_prefers_it() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &preferring(&place));
    let mut callee = Sipp::answer(&place, "u1", 1);
    let mut phones = Pbx::start(&place, &["--plain"]);
    phones.call(&place, "0612345");
    phones.events.wait("\"media\"");
    phones.hang_up();
    callee.succeed();
    assert_eq!(gateway.cdrs_when(1)[0]["code"], 200);
    assert!(gateway.stop());
}
