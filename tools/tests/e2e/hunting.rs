//! A call that is hunted through a failover group of SIPp carriers.

use std::net::Ipv4Addr;

use serde_json::Value;

use crate::gateway::{Gateway, Place};
use crate::sipp::{Run, Sipp};

/// The address of a carrier of this place.
fn carrier(place: &Place, n: u8) -> Ipv4Addr {
    let [a, b, c, _] = place.gateway.octets();
    Ipv4Addr::new(a, b, c, 20 + n)
}

/// The provider calls a group of four carriers, in this order.
fn config(place: &Place) -> String {
    let provider = "transport = \"UDP\"\nnumber_format_in = \"e164_bare\"\n";
    let mut config = place.plain_config().replacen("transport = \"UDP\"\n", provider, 1).replace(
        "called = \"_39.\"\ndestination = \"pbx\"",
        "called = \"/^\\\\+39/\"\ndestination = \"carriers\"",
    );
    assert!(config.contains("destination = \"carriers\"") && config.contains("e164_bare"));
    config.push_str("\n[[group]]\nname = \"carriers\"\nprogress_timer = 3\n");
    let national = "number_format_out = \"national\"\ncountry_code = \"39\"\ntrunk_prefix = \"\"";
    for (n, name, lines) in
        [(1, "dead", ""), (2, "refuses", national), (3, "late", ""), (4, "answers", "")]
    {
        let host = carrier(place, n);
        config.push_str(&format!(
            "\n[[trunk]]\nname = \"{name}\"\nhost = \"{host}\"\nport = 5070\n\
             failover_group = \"carriers\"\nsend_keep_alive = false\npriority = {n}\n{lines}\n"
        ));
    }
    config
}

fn member(place: &Place, n: u8, scenario: &str) -> Sipp {
    let arguments = vec!["-m".into(), "1".into()];
    Sipp::run_at(place, carrier(place, n), 5070, Run { scenario, transport: "u1", arguments })
}

#[test]
fn a_call_goes_on_until_a_carrier_answers() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &config(&place));
    // Nobody is at the first one's address; over UDP that is silence, until reach_timer.
    let mut refuses = member(&place, 2, "refuse.xml");
    let mut late = member(&place, 3, "late.xml");
    let mut answers = member(&place, 4, "callee.xml");
    Sipp::call(&place, "caller.xml", "u1", "390200000002", 1, 1_000).succeed();
    refuses.succeed();
    answers.succeed();
    late.succeed();
    let cdrs = gateway.cdrs_when(1);
    let cdr = &cdrs[0];
    let of = |name: &str| -> Vec<Value> {
        let attempts = cdr["attempts"].as_array().expect("attempts").iter();
        attempts.map(|attempt| attempt[name].clone()).collect()
    };
    assert_eq!(of("trunk"), ["dead", "refuses", "late", "answers"], "{cdr:#}");
    assert_eq!(of("code"), [408, 503, 408, 200], "{cdr:#}");
    assert_eq!(of("reason")[2], "100 and no progress within 3s");
    assert_eq!(of("late")[2], true, "it answered when it was cancelled: {cdr:#}");
    assert_eq!((&cdr["code"], &cdr["to_trunk"]), (&Value::from(200), &Value::from("answers")));
    assert_eq!((&cdr["group"], &cdr["called"]), (&"carriers".into(), &"390200000002".into()));
    for way in ["forward", "backward"] {
        assert!(cdr[way]["packets"].as_u64().unwrap() > 20, "media of the last leg: {cdr:#}");
    }
    assert!(gateway.stop());
}

/// The group says what is no end, and how long it waits; its members know better.
#[test]
fn weights_timers_and_codes_decide_where_a_call_goes_on() {
    let place = Place::new();
    let mut config = config(&place);
    let at = config.find("\n[[group]]").unwrap();
    config.truncate(at);
    config.push_str(
        "\n[[group]]\nname = \"carriers\"\nstrategy = \"priority\"\nreach_timer = 2\n\
         progress_timer = 9\nfailover_codes = [486]\n",
    );
    for (n, name, lines) in [
        (1, "dead", "priority = 1\nreach_timer = 1"),
        (5, "dead too", "priority = 2"),
        (3, "late", "priority = 3\nprogress_timer = 2"),
        (4, "light", "priority = 4\nweight = 1"),
        (2, "heavy", "priority = 4\nweight = 200"),
    ] {
        let host = carrier(&place, n);
        config.push_str(&format!(
            "\n[[trunk]]\nname = \"{name}\"\nhost = \"{host}\"\nport = 5070\n\
             failover_group = \"carriers\"\nsend_keep_alive = false\n{lines}\n"
        ));
    }
    let mut gateway = Gateway::start(&place, &config);
    let _busy = Sipp::answering(&place, carrier(&place, 2), "INVITE", "486 Busy Here", 0);
    let mut late = member(&place, 3, "late.xml");
    let mut answers = member(&place, 4, "callee.xml");
    Sipp::call(&place, "caller.xml", "u1", "390200000002", 1, 1_000).succeed();
    answers.succeed();
    late.succeed();
    let cdr = &gateway.cdrs_when(1)[0];
    let attempts = cdr["attempts"].as_array().expect("attempts").iter();
    let of = |name: &str| -> Vec<Value> {
        attempts.clone().map(|attempt| attempt[name].clone()).collect()
    };
    assert_eq!(of("trunk"), ["dead", "dead too", "late", "heavy", "light"], "{cdr:#}");
    assert_eq!(of("code"), [408, 408, 408, 486, 200], "{cdr:#}");
    let reasons = ["no response within 1s", "no response within 2s"];
    assert_eq!(of("reason")[..2], reasons, "{cdr:#}");
    assert_eq!(of("reason")[2], "100 and no progress within 2s", "{cdr:#}");
    assert!(gateway.stop());
}

/// What a carrier played to the caller before it refused is the end, unless the group says otherwise.
#[test]
fn a_group_hunts_on_after_early_media_where_it_says_so() {
    for (fields, codes) in [("hunt_after_ringing = true\n", &[503, 200][..]), ("", &[503])] {
        let place = Place::new();
        let mut config = config(&place).replace("progress_timer = 3\n", fields);
        for name in ["dead", "late"] {
            config = config.replace(
                &format!("name = \"{name}\"\n"),
                &format!("name = \"{name}\"\nenabled = false\n"),
            );
        }
        let mut gateway = Gateway::start(&place, &config);
        let mut plays = member(&place, 2, "early_refuse.xml");
        let _answers = member(&place, 4, "callee.xml");
        Sipp::call(&place, "caller_capped.xml", "u1", "390200000002", 1, 500).succeed();
        plays.succeed();
        let cdr = &gateway.cdrs_when(1)[0];
        let attempts = cdr["attempts"].as_array().expect("attempts").iter();
        assert_eq!(attempts.map(|attempt| &attempt["code"]).collect::<Vec<_>>(), codes, "{cdr:#}");
        assert_eq!(cdr["code"], codes[codes.len() - 1], "{cdr:#}");
        assert!(gateway.stop());
    }
}
