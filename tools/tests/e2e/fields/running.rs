//! `hold_timeout`, `offer_mode`, `update`, `session_timer`, `session_min_se`: what holds of a call that is
//! made or runs.

use super::by_hand::{ByHand, audio};
use super::{ends_in_silence, header, with};
use crate::capture::Capture;
use crate::gateway::{Gateway, Place};
use crate::sipp::Sipp;

/// SIPp in the PBX's place.
fn callee(place: &Place) -> Sipp {
    Sipp::pbx(place, "silent_callee.xml", 1)
}

/// Two plain trunks; the provider's has these fields.
fn plain(place: &Place, fields: &str) -> String {
    with(&place.plain_config(), "provider", fields)
}

/// Held from its beginning: `rtp_timeout` would let it be for a minute, longer than this waits.
#[test]
fn a_held_call_without_media_ends_after_the_hold_timeout() {
    let place = Place::new();
    let gateway = Gateway::start(&place, &plain(&place, "hold_timeout = 1"));
    let callee = callee(&place);
    let mut caller = ByHand::new(&place, "390612345");
    caller.ask("INVITE", &(audio(&place, 1) + "a=inactive\r\n"));
    let accepted = caller.accepted();
    assert!(accepted.contains("a=inactive\r\n"), "{accepted}");
    ends_in_silence(gateway, caller, callee);
}

/// The provider offers nothing; SIPp is offered something where its trunk wants that.
#[test]
fn a_trunk_that_wants_an_early_offer_is_made_one() {
    for (mode, is_offered) in [("force_early", true), ("as_is", false)] {
        let place = Place::new();
        let config = with(&place.plain_config(), "pbx", &format!("offer_mode = \"{mode}\""));
        let mut gateway = Gateway::start(&place, &config);
        let mut callee = callee(&place);
        let capture = Capture::start(&place);
        let mut caller = ByHand::new(&place, "390612345");
        caller.ask("INVITE", "");
        let accepted = caller.accepted_with(&audio(&place, 1));
        assert!(accepted.contains("m=audio "), "an offer either way: {accepted}");
        caller.hang_up();
        callee.succeed();
        let wire = capture.finish();
        let mut to_callee = wire.iter().filter(|d| d.destination.0 == place.pbx);
        let asked = to_callee.find(|d| d.payload.starts_with(b"INVITE ")).expect("SIPp was asked");
        let asked = String::from_utf8_lossy(&asked.payload);
        assert_eq!(asked.contains("m=audio "), is_offered, "{mode}: {asked}");
        assert_eq!(gateway.cdrs_when(1)[0]["code"], 200);
        assert!(gateway.stop());
    }
}

#[test]
fn a_trunk_without_update_is_told_so_and_refused_one() {
    for (update, code) in [(false, "405"), (true, "200")] {
        let place = Place::new();
        let mut gateway = Gateway::start(&place, &plain(&place, &format!("update = {update}")));
        let mut callee = callee(&place);
        let mut caller = ByHand::new(&place, "390612345");
        let accepted = caller.call();
        let allowed = header(&accepted, "Allow").unwrap();
        assert_eq!(allowed.contains("UPDATE"), update, "{accepted}");
        caller.ask("UPDATE", "");
        caller.receive(&format!("SIP/2.0 {code} "));
        caller.hang_up();
        callee.succeed();
        assert_eq!(gateway.cdrs_when(1)[0]["code"], 200);
        assert!(gateway.stop());
    }
}

/// What a call that demands a session timer gets.
fn refusal_of_a_timer(fields: &str, headers: &str) -> String {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &plain(&place, fields));
    let mut caller = ByHand::new(&place, "390612345").saying(headers);
    caller.ask("INVITE", &audio(&place, 1));
    let refusal = caller.receive("SIP/2.0 4");
    assert!(gateway.stop());
    refusal
}

#[test]
fn a_trunk_that_refuses_session_timers_refuses_who_demands_one() {
    let demand = "Require: timer\r\nSupported: timer\r\nSession-Expires: 100\r\n";
    let refusal = refusal_of_a_timer("session_timer = \"refuse\"", demand);
    assert!(refusal.starts_with("SIP/2.0 420 "), "{refusal}");
    assert_eq!(header(&refusal, "Unsupported"), Some("timer"));
    let refusal = refusal_of_a_timer("session_min_se = 120", demand);
    assert!(refusal.starts_with("SIP/2.0 422 "), "{refusal}");
    assert_eq!(header(&refusal, "Min-SE"), Some("120"));
}
