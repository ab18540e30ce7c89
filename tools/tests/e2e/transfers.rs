//! Transfers (`refer = "local"`): PJSIP asks for them by REFER, SIPp is transferred and called.

use serde_json::Value;

use crate::calls::{heard_by_sipp, hears};
use crate::capture::Capture;
use crate::fields::config_with;
use crate::gateway::{Gateway, Place};
use crate::pbx::Pbx;
use crate::sipp::{self, Run, Sipp};

/// What a phone prints when its transfer went through.
const TRANSFERRED: &str = "\"transferred\", \"code\": 200";

fn gateway(place: &Place) -> Gateway {
    Gateway::start(place, &config_with(place, "pbx", "refer = \"local\""))
}

fn callees(place: &Place, scenario: &str) -> Sipp {
    let arguments = vec!["-m".into(), "2".into()];
    Sipp::run(place, Run { scenario, transport: "u1", arguments })
}

/// The record of the call that came of a transfer, and those of the calls that were given up for it.
fn split(cdrs: &[Value]) -> (&Value, Vec<&Value>) {
    let (made, given): (Vec<_>, Vec<_>) =
        cdrs.iter().partition(|cdr| cdr.get("transferred_from").is_some());
    let [made] = made.as_slice() else { panic!("one call comes of it: {cdrs:#?}") };
    assert!(given.iter().all(|cdr| cdr["transferred_to"] == made["id"]), "{cdrs:#?}");
    (made, given)
}

#[test]
fn pjsip_transfers_a_call_blindly_and_the_gateway_does_it() {
    let place = Place::new();
    let mut gateway = gateway(&place);
    let mut callees = callees(&place, "callee_moved.xml");
    let mut phones = Pbx::start(&place, &[]);
    let capture = Capture::start(&place);
    phones.call(&place, "0612345");
    phones.events.wait("\"media\"");
    phones.transfer(&place, Some("0698765"));
    phones.events.wait_each(&[TRANSFERRED, "\"disconnected\""]);
    // Who was transferred hangs up after a while, and the target is told.
    callees.succeed();
    let wire = capture.finish();
    let cdrs = gateway.cdrs_when(2);
    assert!(gateway.stop());
    assert!(hears(&heard_by_sipp(&wire, &place), sipp::TONE_HZ), "SIPp hears SIPp");
    let (made, given) = split(&cdrs);
    assert_eq!(given.len(), 1);
    assert_eq!((&made["code"], &made["from_trunk"]), (&200.into(), &"pbx".into()), "{made:#}");
    assert_eq!(made["called"], "0698765", "{made:#}");
    assert!(made["forward"]["packets"].as_u64() > Some(20), "{made:#}");
    assert!(made["backward"]["packets"].as_u64() > Some(20), "{made:#}");
}

#[test]
fn pjsip_joins_the_other_ends_of_two_calls() {
    let place = Place::new();
    let mut gateway = gateway(&place);
    let mut callees = callees(&place, "callee_joined.xml");
    let mut phones = Pbx::start(&place, &[]);
    for number in ["0612345", "0698765"] {
        phones.call(&place, number);
        phones.events.wait("\"media\"");
    }
    phones.transfer(&place, None);
    // The call on the other shard may end before the one that asked hears of it.
    phones.events.wait_each(&[TRANSFERRED, "\"disconnected\"", "\"disconnected\""]);
    let given = gateway.cdrs_when(2);
    assert!(given.iter().all(|cdr| cdr["reason"] == "transferred the call"), "{given:#?}");
    // Both talk until the gateway stops.
    assert!(gateway.stop());
    callees.succeed();
    let cdrs = gateway.cdrs_when(3);
    let (made, given) = split(&cdrs);
    assert_eq!(given.len(), 2);
    assert!(!made["answer"].is_null(), "{made:#}");
}
