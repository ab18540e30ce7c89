//! PJSIP and baresip by TCP, as insecure as the provider: their connections serve both directions.

use crate::baresip::Baresip;
use crate::calls::{assert_cdr, heard_by_sipp, hears};
use crate::capture::Capture;
use crate::gateway::{Gateway, Place};
use crate::pbx::{self, Pbx};
use crate::sipp::{self, Sipp};

fn by_tcp(place: &Place) -> String {
    let udp = "port = 5081\ntransport = \"UDP\"";
    let config = place.plain_config();
    assert!(config.contains(udp));
    config.replace(udp, "port = 5081\ntransport = \"TCP\"")
}

const PLAIN: &[&str] = &["--tcp", "--plain"];

#[test]
fn pjsip_is_called_by_tcp() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &by_tcp(&place));
    let mut phones = Pbx::start(&place, PLAIN);
    let capture = Capture::start(&place);
    Sipp::call(&place, "caller.xml", "u1", "390612345", 1, 2500).succeed();
    phones.events.wait("\"disconnected\"");
    let wire = capture.finish();
    assert_cdr(&gateway.cdrs_when(1)[0], "provider", "pbx");
    assert!(gateway.stop());
    assert!(hears(&phones.heard(), sipp::TONE_HZ), "PJSIP hears SIPp");
    assert!(hears(&heard_by_sipp(&wire, &place), pbx::TONE_HZ), "SIPp hears PJSIP");
}

#[test]
fn pjsip_calls_by_tcp_and_is_hung_up_on_its_connection() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &by_tcp(&place));
    let mut callee = Sipp::answer(&place, "u1", 1);
    let mut phones = Pbx::start(&place, PLAIN);
    phones.call_over_tcp(&place, "0612345");
    phones.events.wait("\"media\"");
    phones.hang_up();
    callee.succeed();
    assert_cdr(&gateway.cdrs_when(1)[0], "pbx", "provider");
    assert!(gateway.stop());
}

#[test]
fn baresip_is_called_by_tcp() {
    let place = Place::with_pbx_anywhere();
    let mut gateway = Gateway::start(&place, &by_tcp(&place));
    let mut phone = Baresip::start_over_tcp(&place);
    Sipp::call(&place, "caller.xml", "u1", "390612345", 1, 2500).succeed();
    phone.log.wait("terminated");
    assert_cdr(&gateway.cdrs_when(1)[0], "provider", "pbx");
    assert!(gateway.stop());
    assert!(hears(&phone.heard(), sipp::TONE_HZ), "baresip hears SIPp");
}

#[test]
fn baresip_calls_by_tcp() {
    let place = Place::with_pbx_anywhere();
    let mut gateway = Gateway::start(&place, &by_tcp(&place));
    let mut callee = Sipp::answer(&place, "u1", 1);
    let mut phone = Baresip::start_over_tcp(&place);
    phone.call_over_tcp(&place, "0612345");
    phone.hear_for_a_while();
    phone.hang_up();
    callee.succeed();
    assert_cdr(&gateway.cdrs_when(1)[0], "pbx", "provider");
    assert!(gateway.stop());
}
