//! What the gateway knows of its trunks: probes against SIPp, statuses in the log, caps under load.

use crate::gateway::{Gateway, Place};
use crate::sipp::{Run, Sipp};

/// SIPp that answers OPTIONS until it is dropped.
fn answering(place: &Place) -> Sipp {
    let arguments = vec!["-m".into(), "1000".into()];
    Sipp::run(place, Run { scenario: "options.xml", transport: "u1", arguments })
}

#[test]
fn a_trunk_is_ok_while_its_peer_answers_options() {
    let place = Place::new();
    // The provider is probed as often as can be, the PBX not at all.
    let probed = "transport = \"UDP\"\nsend_keep_alive = true\nkeep_alive_interval = 5\n";
    let config = place.config().replace("transport = \"UDP\"\nsend_keep_alive = false\n", probed);
    assert!(config.contains("keep_alive_interval"), "{config}");
    let peer = answering(&place);
    let mut gateway = Gateway::start(&place, &config);
    let ok = gateway.log.wait("status=\"OK\"");
    assert!(ok.contains("trunk=\"provider\"") && ok.contains("code=200"), "{ok}");
    drop(peer);
    let down = gateway.log.wait("status=\"UNREACHABLE\"");
    assert!(down.contains("was=\"OK\"") && down.contains("does not answer OPTIONS"), "{down}");
    let _peer = answering(&place);
    let up = gateway.log.wait("status=\"OK\"");
    assert!(up.contains("was=\"UNREACHABLE\""), "{up}");
    assert!(gateway.stop());
    let log = gateway.log.rest().join("\n");
    let pbx: Vec<&str> = log.lines().filter(|line| line.contains("trunk=\"pbx\"")).collect();
    assert!(pbx.iter().all(|line| line.contains("UNMONITORED") || line.contains("DRAINING")));
    assert!(log.contains("send_keep_alive is off"), "{log}");
}

/// A hundred calls within a second, of which the trunk may have twenty.
#[test]
fn a_trunk_carries_exactly_what_it_may_under_a_hundred_calls() {
    let place = Place::new();
    let (cap, calls) = (20, 100);
    let config = place.plain_config().replace(
        "name = \"provider\"\n",
        &format!("name = \"provider\"\nmax_concurrent_calls = {cap}\n"),
    );
    let mut gateway = Gateway::start(&place, &config);
    let mut callee = Sipp::pbx(&place, "callee.xml", cap);
    let arguments = [
        &format!("{}:5060", place.gateway),
        "-s",
        "390612345",
        "-m",
        &calls.to_string(),
        "-l",
        &calls.to_string(),
        "-r",
        &calls.to_string(),
        "-d",
        "8000",
    ];
    let arguments = arguments.map(String::from).to_vec();
    let run = Run { scenario: "caller_capped.xml", transport: "u1", arguments };
    Sipp::run(&place, run).succeed();
    callee.succeed();
    let cdrs = gateway.cdrs_when(calls);
    let full = "trunk \"provider\" has max_concurrent_calls = 20 calls";
    let refused = cdrs.iter().filter(|cdr| cdr["code"] == 503 && cdr["reason"] == full).count();
    let answered = cdrs.iter().filter(|cdr| cdr["code"] == 200).count();
    assert_eq!((answered, refused), (cap, calls - cap));
    assert!(gateway.stop());
    let log = gateway.log.rest().join("\n");
    let told = log.lines().filter(|line| line.contains("trunk is nearly full")).count();
    assert_eq!(told, 1, "18 of 20, told once");
}
