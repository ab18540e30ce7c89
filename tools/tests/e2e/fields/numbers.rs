//! Numbers and routes between SIPp and a provider by hand: `trunk_prefix`, `international_prefix`,
//! `strip_in`, `prepend_in`, `strip_out`, `prepend_out`, `disallow`, `max_inbound_calls`,
//! `max_outbound_calls`, and the fields of a route.

use super::by_hand::{ByHand, audio};
use super::with;
use crate::capture::Capture;
use crate::gateway::{Gateway, Place};
use crate::sipp::{Run, Sipp};

/// Two plain trunks with these fields: of the provider, of the PBX.
fn plain(place: &Place, provider: &str, pbx: &str) -> String {
    with(&with(&place.plain_config(), "provider", provider), "pbx", pbx)
}

/// What SIPp is asked when the provider calls each number, one after the other; the routes of the calls.
fn asked(
    place: &Place,
    config: &str,
    numbers: &[&'static str],
) -> (Vec<String>, Vec<serde_json::Value>) {
    let mut gateway = Gateway::start(place, config);
    let mut callee = Sipp::pbx(place, "silent_callee.xml", numbers.len());
    let capture = Capture::start(place);
    for number in numbers {
        let mut caller = ByHand::new(place, number);
        caller.call();
        caller.hang_up();
    }
    callee.succeed();
    let wire = capture.finish();
    let cdrs = gateway.cdrs_when(numbers.len());
    assert!(gateway.stop());
    let invites = wire
        .iter()
        .filter(|d| d.destination == (place.pbx, 5081) && d.payload.starts_with(b"INVITE "));
    let mut texts: Vec<_> =
        invites.map(|d| String::from_utf8_lossy(&d.payload).into_owned()).collect();
    texts.dedup();
    (texts, cdrs.into_iter().map(|cdr| cdr["route"].clone()).collect())
}

const ANY: &str = "called = \"/^\\\\+/\"";

#[test]
fn numbers_come_and_leave_as_each_trunk_writes_them() {
    let place = Place::new();
    let out = "number_format_out = \"national\"\ncountry_code = \"39\"\ntrunk_prefix = \"8\"\n\
               international_prefix = \"810\"";
    let config = plain(&place, "number_format_in = \"e164_bare\"", out);
    let config = config.replace("called = \"_39.\"", ANY);
    let (invites, _) = asked(&place, &config, &["390612345", "4930123456"]);
    assert!(invites[0].starts_with("INVITE sip:80612345@"), "{invites:?}");
    assert!(invites[1].starts_with("INVITE sip:8104930123456@"), "{invites:?}");
}

#[test]
fn numbers_are_cut_and_prolonged_on_their_way_in_and_out() {
    let place = Place::new();
    let config = plain(
        &place,
        "strip_in = 2\nprepend_in = \"39\"",
        "strip_out = 3\nprepend_out = \"*7\"\ndisallow = [\"PCMU\"]",
    );
    let (invites, _) = asked(&place, &config, &["990612345"]);
    assert!(invites[0].starts_with("INVITE sip:*7612345@"), "{invites:?}");
    assert!(!invites[0].contains("PCMU"), "{invites:?}");
}

/// Each route before the named one fits but for one field.
#[test]
fn a_call_takes_the_first_route_whose_fields_all_fit() {
    let place = Place::new();
    let mut config = plain(&place, "", "");
    let at = config.find("[[route]]").unwrap();
    config.truncate(at);
    let [off, other, who, what, when, named, last] =
        ["off", "other trunk", "other caller", "other number", "other day", "named", "last"];
    for (position, name, fields) in [
        (7, last, ""),
        (6, named, "from_trunk = \"provider\"\ncaller = \"3902*\"\nstrip = 2\nprepend = \"0\""),
        (1, off, "enabled = false"),
        (2, other, "from_trunk = \"pbx\""),
        (3, who, "caller = \"111\""),
        (4, what, "called = \"555\""),
        (5, when, "schedule = \"UTC; 2001-01-01\""),
    ] {
        let called = if fields.contains("called") { "" } else { "called = \"_39.\"\n" };
        config.push_str(&format!(
            "[[route]]\nname = \"{name}\"\ndirection = \"inbound\"\nposition = {position}\n\
             {called}{fields}\ndestination = \"pbx\"\n\n"
        ));
    }
    let (invites, routes) = asked(&place, &config, &["390612345"]);
    assert_eq!(routes, [named]);
    assert!(invites[0].starts_with("INVITE sip:00612345@"), "{invites:?}");
}

/// PJSIP is not needed: SIPp rings and nobody answers.
#[test]
fn a_route_lets_it_ring_no_longer_than_it_says() {
    let place = Place::new();
    let config =
        plain(&place, "", "").replace("name = \"to pbx\"\n", "name = \"to pbx\"\nring_limit = 1\n");
    let mut gateway = Gateway::start(&place, &config);
    let mut callee = Sipp::pbx(&place, "unanswered_callee.xml", 1);
    let mut caller = ByHand::new(&place, "390612345");
    caller.ask("INVITE", &audio(&place, 1));
    caller.receive("SIP/2.0 180");
    caller.receive("SIP/2.0 4");
    callee.succeed();
    let cdr = &gateway.cdrs_when(1)[0];
    assert_eq!(cdr["attempts"][0]["reason"], "ring limit reached", "{cdr:#}");
    assert!(gateway.stop());
}

/// Three calls at once, of which the trunk may have one in this direction.
fn capped(provider: &str, pbx: &str, reason: &str) {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &plain(&place, provider, pbx));
    let mut callee = Sipp::pbx(&place, "callee.xml", 1);
    let target = format!("{}:5060", place.gateway);
    let arguments = [&target, "-s", "390612345", "-m", "3", "-l", "3", "-r", "10", "-d", "3000"];
    let arguments = arguments.map(String::from).to_vec();
    Sipp::run(&place, Run { scenario: "caller_capped.xml", transport: "u1", arguments }).succeed();
    callee.succeed();
    let cdrs = gateway.cdrs_when(3);
    let answered = cdrs.iter().filter(|cdr| cdr["code"] == 200).count();
    let full = |cdr: &&serde_json::Value| cdr["code"] == 503 && cdr.to_string().contains(reason);
    assert_eq!((answered, cdrs.iter().filter(full).count()), (1, 2), "{cdrs:#?}");
    assert!(gateway.stop());
}

#[test]
fn each_direction_of_sipps_trunks_has_its_own_cap() {
    capped("max_inbound_calls = 1\nmax_outbound_calls = 9", "", "max_inbound_calls = 1");
    capped("", "max_outbound_calls = 1\nmax_inbound_calls = 9", "max_outbound_calls = 1");
}

/// The only call that either trunk may have is up.
#[test]
fn an_emergency_call_reaches_sipp_through_trunks_that_are_full() {
    let place = Place::new();
    let full = "max_concurrent_calls = 1";
    let config = plain(&place, full, full)
        + "\n[[route]]\nname = \"rescue\"\ndirection = \"inbound\"\ncalled = \"112\"\n\
           emergency = true\ndestination = \"pbx\"\n";
    let mut gateway = Gateway::start(&place, &config);
    let mut callee = Sipp::pbx(&place, "silent_callee.xml", 2);
    let mut first = ByHand::new(&place, "390612345");
    first.call();
    let mut second = first.beside("390612346");
    second.ask("INVITE", &audio(&place, 1));
    second.receive("SIP/2.0 503");
    let mut rescue = first.beside("112");
    rescue.call();
    rescue.hang_up();
    first.hang_up();
    callee.succeed();
    let cdrs = gateway.cdrs_when(3);
    let ends = |cdr: &serde_json::Value| format!("{} {}", cdr["called"], cdr["code"]);
    let ends: Vec<_> = cdrs.iter().map(ends).collect();
    assert_eq!(ends, ["\"390612346\" 503", "\"112\" 200", "\"390612345\" 200"]);
    assert!(gateway.stop());
}
