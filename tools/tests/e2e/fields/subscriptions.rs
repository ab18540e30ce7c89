//! `create_subscriptions`, and `[sip] subscriptions`, which it follows by default.

use super::by_hand::ByHand;
use crate::gateway::{Gateway, Place};
use crate::sipp::{Run, Sipp};

/// Enough that each of two shards has some.
const SUBSCRIPTIONS: &str = "12";

fn arguments(more: &[&str]) -> Vec<String> {
    more.iter().chain(&["-m", SUBSCRIPTIONS]).map(|text| (*text).to_owned()).collect()
}

/// SIPp at both ends: phones that want to know of their messages, and the voice box that keeps them.
#[test]
fn sipp_hears_of_its_messages_through_a_trunk_that_may_subscribe() {
    let place = Place::new();
    let name = "name = \"provider\"\n";
    let allow = format!("{name}create_subscriptions = \"ALLOW\"\n");
    let mut gateway = Gateway::start(&place, &place.plain_config().replace(name, &allow));
    let run = Run { scenario: "notifier.xml", transport: "u1", arguments: arguments(&[]) };
    let mut notifier = Sipp::run_at(&place, place.pbx, 5081, run);
    let target = format!("{}:5060", place.gateway);
    let arguments = arguments(&[&target, "-s", "390612345"]);
    let run = Run { scenario: "subscriber.xml", transport: "u1", arguments };
    Sipp::run(&place, run).succeed();
    notifier.succeed();
    assert_eq!(gateway.cdrs().len(), 0, "it is no call");
    assert!(gateway.stop());
}

#[test]
fn the_system_says_what_trunks_may_that_do_not() {
    for (system, status) in [("DENY", "489"), ("ALLOW", "404")] {
        let place = Place::new();
        let sip = format!("[sip]\nsubscriptions = \"{system}\"\n");
        let mut gateway = Gateway::start(&place, &place.config().replace("[sip]\n", &sip));
        // No route has this number: who may subscribe gets that far.
        let mut caller = ByHand::new(&place, "555").saying("Event: dialog\r\n");
        caller.ask("SUBSCRIBE", "");
        let refusal = caller.receive("SIP/2.0 4");
        assert!(refusal.starts_with(&format!("SIP/2.0 {status} ")), "{system}: {refusal}");
        assert!(gateway.stop());
    }
}
