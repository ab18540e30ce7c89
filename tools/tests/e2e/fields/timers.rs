//! `session_timer`, `session_expires`, and hold: what changes and refreshes a running call.

use super::{asked_of_sipp, config_with, header, told_provider};
use crate::calls::{assert_secrecy, heard_by_sipp, hears};
use crate::capture::{Capture, is_plain_tone};
use crate::gateway::{Gateway, Place};
use crate::pbx::{self, Pbx};
use crate::sipp::{Run, Sipp};

#[test]
fn pjsip_holds_and_resumes_a_call_with_sipp() {
    a_call_is_held_and_resumed(&Place::new());
}

pub fn a_call_is_held_and_resumed(place: &Place) {
    let mut gateway = Gateway::start(place, &place.config());
    let arguments = vec!["-m".into(), "1".into()];
    let run = Run { scenario: "callee_held.xml", transport: "u1", arguments };
    let mut callee = Sipp::run(place, run);
    let mut phones = Pbx::start(place, &[]);
    phones.call(place, "0612345");
    phones.events.wait("\"media\"");
    let capture = Capture::start(place);
    phones.change("hold");
    // PJSIP tells of each new direction: 1 is to send only.
    phones.events.wait("\"direction\": 1");
    let silent = capture.finish();
    let capture = Capture::start(place);
    phones.change("resume");
    phones.events.wait("\"direction\": 3");
    std::thread::sleep(std::time::Duration::from_secs(2));
    phones.hang_up();
    callee.succeed();
    let wire = capture.finish();
    let cdrs = gateway.cdrs_when(1);
    assert!(gateway.stop());
    assert!(hears(&heard_by_sipp(&wire, place), pbx::TONE_HZ), "SIPp hears PJSIP again");
    assert_secrecy(&wire, place);
    assert_eq!(cdrs[0]["code"], 200, "{cdrs:#?}");
    let held = told_provider(&silent, place, "INVITE ").expect("SIPp was told of the hold");
    assert!(held.contains("a=sendonly"), "{held}");
    let tone = |wire: &[_]| {
        let sent = |d: &&crate::capture::Datagram| d.destination.0 == place.provider;
        let heard = wire.iter().filter(sent).filter(|d| is_plain_tone(&d.payload, pbx::TONE_HZ));
        heard.count()
    };
    assert!(tone(&wire) > 50, "{} packets", tone(&wire));
}

#[test]
fn pjsip_refreshes_a_call_by_update_and_by_invite() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &place.config());
    let mut callee = Sipp::answer(&place, "u1", 1);
    let mut phones = Pbx::start(&place, &["--timer", "90"]);
    phones.call(&place, "0612345");
    phones.events.wait("\"media\"");
    phones.change("update");
    phones.change("resume");
    std::thread::sleep(std::time::Duration::from_secs(2));
    phones.hang_up();
    callee.succeed();
    let cdrs = gateway.cdrs_when(1);
    assert!(gateway.stop());
    assert_eq!(cdrs[0]["code"], 200, "{cdrs:#?}");
    assert_eq!(cdrs[0]["ended_by"], "caller", "{cdrs:#?}");
    let errors = phones.events.seen.iter().filter(|event| event.contains("\"code\": 4")).count();
    assert_eq!(errors, 0, "{:#?}", phones.events.seen);
}

#[test]
fn a_required_session_timer_is_asked_of_sipp() {
    let place = Place::new();
    let fields = "session_timer = \"require\"\nsession_expires = 120";
    let invite = asked_of_sipp(&place, &config_with(&place, "provider", fields), "0612345");
    assert_eq!(header(&invite, "Session-Expires"), Some("120"));
    assert_eq!(header(&invite, "Supported"), Some("timer"));
}
