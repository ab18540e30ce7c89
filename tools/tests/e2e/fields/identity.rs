//! `send_rpid`, `trust_identity`, `trust_inbound_identity`, `caller_id_policy`, `from_user`,
//! `from_domain`, `user_phone`, `diversion`.

use super::by_hand::{ByHand, audio};
use super::{asked_of_sipp, config_with, header};
use crate::capture::Capture;
use crate::gateway::{Gateway, Place};
use crate::pbx::Pbx;
use crate::sipp::Sipp;

/// The INVITE that SIPp gets when PJSIP calls it through a provider with these fields.
fn asked_with(fields: &str) -> String {
    let place = Place::new();
    asked_of_sipp(&place, &config_with(&place, "provider", fields), "0612345")
        .replace(&place.gateway.to_string(), "GATEWAY")
}

#[test]
fn send_rpid_tells_sipp_who_calls() {
    let invite = asked_with("send_rpid = \"both\"\nuser_phone = true");
    assert_eq!(header(&invite, "P-Asserted-Identity"), Some("<sip:pbx@GATEWAY>"));
    let rpid = "<sip:pbx@GATEWAY>;party=calling;screen=no;privacy=off";
    assert_eq!(header(&invite, "Remote-Party-ID"), Some(rpid));
    assert!(header(&invite, "To").unwrap().contains(";user=phone>"), "{invite}");
    assert_eq!(header(&invite, "Privacy"), None);
}

#[test]
fn caller_id_policy_and_account_shape_what_sipp_sees() {
    let invite = asked_with(
        "virtual_phone_number = \"+390612345\"\ncaller_id_policy = \"trunk\"\n\
         from_user = \"account\"\nfrom_domain = \"carrier.example.com\"",
    );
    let from = header(&invite, "From").unwrap();
    assert!(from.starts_with("<sip:account@carrier.example.com>;tag="), "{from}");
    let pai = header(&invite, "P-Asserted-Identity");
    assert_eq!(pai, Some("<sip:+390612345@carrier.example.com>"));
}

/// Who PJSIP thinks calls, when the provider sends an INVITE with these headers.
fn seen_by_pjsip(fields: &str, headers: &str) -> String {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &config_with(&place, "provider", fields));
    let mut phones = Pbx::start(&place, &["--refuse", "486"]);
    let mut caller = ByHand::new(&place, "390612345").saying(headers);
    caller.ask("INVITE", &audio(&place, 1));
    let event = phones.events.wait("\"incoming\"");
    assert_eq!(gateway.cdrs_when(1)[0]["code"], 486);
    assert!(gateway.stop());
    let event: serde_json::Value = serde_json::from_str(&event).unwrap();
    event["remote"].as_str().unwrap().replace(&place.gateway.to_string(), "GATEWAY")
}

/// What SIPp in the PBX's place is asked when the provider, which is believed, calls with privacy after
/// a diversion.
fn asked_privately(fields: &str) -> String {
    let place = Place::new();
    let quiet = "send_keep_alive = false\n";
    let believed = format!("{quiet}trust_inbound_identity = true\n{fields}\n");
    let mut gateway = Gateway::start(&place, &place.plain_config().replace(quiet, &believed));
    let mut callee = Sipp::pbx(&place, "silent_callee.xml", 1);
    let capture = Capture::start(&place);
    let mut caller = ByHand::new(&place, "390612345").saying(
        "P-Asserted-Identity: <sip:+390299999999@example.com>\r\nPrivacy: id\r\n\
         Diversion: <sip:+390688888888@example.com>;reason=user-busy\r\n",
    );
    caller.call();
    caller.hang_up();
    callee.succeed();
    let wire = capture.finish();
    assert!(gateway.stop());
    let mut to_callee = wire.iter().filter(|d| d.destination.0 == place.pbx);
    let asked = to_callee.find(|d| d.payload.starts_with(b"INVITE ")).expect("SIPp was asked");
    String::from_utf8_lossy(&asked.payload).replace(&place.gateway.to_string(), "GATEWAY")
}

#[test]
fn trust_and_diversion_styles_decide_what_sipp_is_told() {
    let told = asked_privately("trust_identity = true\ndiversion = \"diversion\"");
    assert!(header(&told, "From").unwrap().contains("anonymous.invalid"), "{told}");
    let asserted = header(&told, "P-Asserted-Identity").unwrap();
    assert!(asserted.contains("<sip:+390299999999@GATEWAY>"), "{told}");
    assert_eq!(header(&told, "Privacy"), Some("id"));
    let diversion = header(&told, "Diversion").unwrap();
    assert!(
        diversion.contains("+390688888888@GATEWAY") && diversion.contains("user-busy"),
        "{told}"
    );
    let told = asked_privately("");
    assert!(header(&told, "From").unwrap().contains("anonymous.invalid"), "{told}");
    for hidden in ["P-Asserted-Identity", "Diversion", "History-Info"] {
        assert_eq!(header(&told, hidden), None, "{told}");
    }
    assert!(!told.contains("390299999999"), "{told}");
}

#[test]
fn a_caller_who_asks_for_privacy_is_unknown_to_pjsip() {
    let asserts = "P-Asserted-Identity: <sip:+390299999999@example.com>\r\n";
    let seen = seen_by_pjsip("", asserts);
    assert_eq!(seen, "\"Alice\" <sip:390200000001@GATEWAY>", "not believed");
    let seen = seen_by_pjsip("trust_inbound_identity = true", asserts);
    assert_eq!(seen, "\"Alice\" <sip:+390299999999@GATEWAY>", "believed");
    let seen = seen_by_pjsip("trust_inbound_identity = true", &format!("{asserts}Privacy: id\r\n"));
    assert_eq!(seen, "\"Anonymous\" <sip:anonymous@anonymous.invalid>");
}
