//! `direction`, `max_cps`, `number_format_in`, `number_format_out`, `tech_prefix`, `rtp_timeout`,
//! `direct_media`, `hold_style`.

use super::by_hand::{ByHand, audio};
use super::{asked_of_sipp, config_with, ends_in_silence, header};
use crate::capture::Capture;
use crate::gateway::{Gateway, Place};
use crate::pbx::Pbx;
use crate::sipp::{Run, Sipp};

/// Two plain trunks that have these fields.
fn plain(place: &Place, fields: &str) -> String {
    let quiet = "send_keep_alive = false\n";
    place.plain_config().replace(quiet, &format!("{quiet}{fields}\n"))
}

#[test]
fn a_trunk_whose_direction_is_outbound_is_called_and_does_not_call() {
    let place = Place::new();
    let config = config_with(&place, "provider", "direction = \"outbound\"");
    let mut gateway = Gateway::start(&place, &config);
    let mut caller = ByHand::new(&place, "390612345");
    caller.ask("INVITE", &audio(&place, 1));
    caller.receive("SIP/2.0 403");
    drop(caller);
    let mut callee = Sipp::answer(&place, "u1", 1);
    let mut phones = Pbx::start(&place, &[]);
    phones.call(&place, "0612345");
    phones.events.wait("\"media\"");
    phones.hang_up();
    callee.succeed();
    let cdrs = gateway.cdrs_when(2);
    let codes: Vec<_> = cdrs.iter().map(|cdr| cdr["code"].as_u64().unwrap()).collect();
    assert_eq!(codes, [403, 200]);
    assert!(cdrs[0]["reason"].as_str().unwrap().contains("direction"), "{}", cdrs[0]);
    assert!(gateway.stop());
}

/// Two a second, and twice that at once: the burst passes, and not all of thirty calls of a second do.
#[test]
fn max_cps_lets_a_burst_of_sipp_pass_and_refuses_the_flood() {
    let place = Place::new();
    let config =
        place.plain_config().replace("name = \"provider\"\n", "name = \"provider\"\nmax_cps = 2\n");
    let mut gateway = Gateway::start(&place, &config);
    let calls = 30;
    let _callee = Sipp::pbx(&place, "callee.xml", calls);
    let target = format!("{}:5060", place.gateway);
    let count = calls.to_string();
    let arguments =
        [&target, "-s", "390612345", "-m", &count, "-l", &count, "-r", &count, "-d", "500"];
    let arguments = arguments.map(String::from).to_vec();
    Sipp::run(&place, Run { scenario: "caller_capped.xml", transport: "u1", arguments }).succeed();
    let cdrs = gateway.cdrs_when(calls);
    let paced = |cdr: &&serde_json::Value| cdr["reason"].as_str().unwrap().contains("max_cps");
    let refused = cdrs.iter().filter(paced).filter(|cdr| cdr["code"] == 503).count();
    let answered = cdrs.iter().filter(|cdr| cdr["code"] == 200).count();
    assert_eq!(answered + refused, calls, "{cdrs:#?}");
    assert!(answered >= 4 && refused > 0, "{answered} answered");
    assert!(gateway.stop());
}

/// PJSIP dials as at home; the carrier is asked in E.164 behind its prefix.
#[test]
fn numbers_are_dialled_nationally_and_leave_as_the_carrier_writes_them() {
    let place = Place::new();
    let out = "number_format_out = \"e164_bare\"\ntech_prefix = \"77\"";
    let home = "name = \"pbx\"\nnumber_format_in = \"national\"\ncountry_code = \"49\"\n";
    let config = config_with(&place, "provider", out)
        .replace("name = \"pbx\"\n", home)
        .replace("called = \"_0.\"", "called = \"/^\\\\+49/\"");
    let invite = asked_of_sipp(&place, &config, "0301234567");
    assert!(invite.starts_with("INVITE sip:7749301234567@"), "{invite}");
    assert!(header(&invite, "To").unwrap().contains("sip:7749301234567@"), "{invite}");
}

/// Neither side says anything.
#[test]
fn a_call_without_media_ends_after_the_rtp_timeout() {
    let place = Place::new();
    let gateway = Gateway::start(&place, &plain(&place, "rtp_timeout = 1"));
    let callee = Sipp::pbx(&place, "silent_callee.xml", 1);
    let mut caller = ByHand::new(&place, "390612345");
    caller.call();
    ends_in_silence(gateway, caller, callee);
}

#[test]
fn with_direct_media_each_side_is_told_of_the_other() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &plain(&place, "direct_media = \"yes\""));
    let mut callee = Sipp::pbx(&place, "silent_callee.xml", 1);
    let capture = Capture::start(&place);
    let mut caller = ByHand::new(&place, "390612345");
    let accepted = caller.call();
    assert!(accepted.contains(&format!("c=IN IP4 {}\r\n", place.pbx)), "{accepted}");
    assert!(accepted.contains("m=audio 16000 "), "{accepted}");
    caller.hang_up();
    callee.succeed();
    let wire = capture.finish();
    let asked =
        wire.iter().find(|d| d.destination.0 == place.pbx && d.payload.starts_with(b"INVITE "));
    let asked = String::from_utf8_lossy(&asked.expect("SIPp was asked").payload);
    assert!(asked.contains(&format!("c=IN IP4 {}\r\n", place.provider)), "{asked}");
    let cdr = &gateway.cdrs_when(1)[0];
    assert!(cdr["notes"].to_string().contains("direct_media"), "{cdr:#}");
    assert!(gateway.stop());
}

/// PJSIP holds by `sendonly`; the carrier wants it otherwise.
#[test]
fn a_hold_of_pjsip_is_inactive_where_the_carrier_wants_it() {
    let place = Place::new();
    let config = config_with(&place, "provider", "hold_style = \"inactive\"");
    let mut gateway = Gateway::start(&place, &config);
    let mut phones = Pbx::start(&place, &[]);
    let mut caller = ByHand::new(&place, "390612345");
    caller.call();
    phones.events.wait("\"media\"");
    phones.change("hold");
    let asked = caller.receive("INVITE ");
    assert!(asked.contains("a=inactive\r\n"), "{asked}");
    caller.accept(&asked, &(audio(&place, 2) + "a=inactive\r\n"));
    caller.receive("ACK ");
    phones.hang_up();
    caller.answer_bye();
    assert_eq!(gateway.cdrs_when(1)[0]["ended_by"], "callee");
    assert!(gateway.stop());
}
