//! The whole gateway on a wire of its own, over each media backend: started as root, it gives its rights
//! up and relays between peers on another host, in both families, to and from libsrtp. Frames leave
//! loopback alone, so this is where `xdp` and the frames of `packet` meet a whole gateway.

use std::fmt::Write;
use std::fs;

use abi::Counter;
use rustix::process::{Signal, kill_process};

use crate::calls::assert_cdr;
use crate::counters::Counters;
use crate::far::{Far, Role};
use crate::fields::{digits, timers, tones};
use crate::foreign::{REPORTS, SUITES_MIN, TALK, both_talk_and_hear};
use crate::gateway::{Gateway, MEDIA_PORTS, Place};
use crate::spray;
use crate::stage::Stage;

/// Runs a test at the far end of a wire of its own.
fn at_far(test: impl FnOnce(&Stage) + Send) {
    let Some(stage) = Stage::build() else {
        eprintln!("SKIPPED: only root can make a wire");
        return;
    };
    stage.at_far(|| test(&stage));
}

/// An insecure provider and a secure PBX of each family, and every call between them.
fn config(place: &Place) -> String {
    let Place { gateway, provider, pbx, six, .. } = place;
    let config = place
        .config()
        .replace(
            &format!("udp = [\"{gateway}:5060\"]"),
            &format!("udp = [\"{gateway}:5060\", \"[{}]:5060\"]", six.gateway),
        )
        .replace(
            &format!("tls = [\"{gateway}:5061\"]"),
            &format!("tls = [\"{gateway}:5061\", \"[{}]:5061\"]", six.gateway),
        )
        .replace(
            &format!("address = \"{gateway}\""),
            &format!("address = [\"{gateway}\", \"{}\"]", six.gateway),
        );
    let (head, trunks) = config.split_once("[[trunk]]").unwrap();
    let (trunks, _) = trunks.split_once("[[route]]").unwrap();
    let trunks = format!("[[trunk]]{trunks}");
    let trunks6 = trunks
        .replace(&format!("host = \"{provider}\""), &format!("host = \"{}\"", six.provider))
        .replace(&format!("host = \"{pbx}\""), &format!("host = \"{}\"", six.pbx))
        .replace("name = \"provider\"", "name = \"provider6\"")
        .replace("name = \"pbx\"", "name = \"pbx6\"");
    let mut whole = format!("{head}{trunks}{trunks6}");
    let ends = [["provider", "provider6"], ["pbx", "pbx6"]];
    for (direction, [from, to]) in [("inbound", ends), ("outbound", [ends[1], ends[0]])] {
        for from in from {
            for to in to {
                let called = number(to);
                write!(
                    whole,
                    "[[route]]\nname = \"{from} to {to}\"\ndirection = \"{direction}\"\n\
                     from_trunk = \"{from}\"\ncalled = \"{called}\"\ndestination = \"{to}\"\n\n"
                )
                .unwrap();
            }
        }
    }
    whole
}

/// What leads to a trunk.
fn number(trunk: &str) -> &'static str {
    if trunk.ends_with('6') { "0066" } else { "0044" }
}

/// What a backend must show beside the calls.
#[derive(Clone, Copy)]
struct Expected {
    backend: &'static str,
    /// A socket for each open port.
    sockets: bool,
    /// A program in the driver.
    program: bool,
}

fn calls_of_both_families(expected: Expected) {
    at_far(|stage| {
        let place = Place::on_wire(stage, expected.backend);
        let mut gateway = Gateway::start(&place, &config(&place));
        assert_has_no_rights(&gateway);
        let program = program(stage);
        assert_eq!(program.is_some(), expected.program, "{program:?}");
        let mut providers = [Role::Provider, Role::ProviderV6].map(|r| Far::start(&place, r, &[]));
        let [four, six] = [Role::SecurePbx(SUITES_MIN[0]), Role::SecurePbxV6(SUITES_MIN[0])];
        let mut phones = [four, six].map(|role| Far::start(&place, role, &[]));
        let mut ended = 0;
        for (suite, [at, to]) in SUITES_MIN.into_iter().zip([[0, 0], [1, 0], [0, 1], [1, 1]]) {
            let (provider, pbx) = (&mut providers[at], &mut phones[to]);
            let names = (["provider", "provider6"][at], ["pbx", "pbx6"][to]);
            pbx.tell(&serde_json::json!({"do": "suite", "name": suite}));
            provider.call(number(names.1));
            pbx.wait("incoming");
            provider.wait("answered");
            let ports = media_sockets(&place);
            assert_eq!(ports, if expected.sockets { 4 } else { 0 }, "{}", expected.backend);
            both_talk_and_hear(provider, pbx);
            provider.hang_up(pbx);
            ended += 1;
            let cdr = gateway.cdrs_when(ended).pop().unwrap();
            assert_cdr(&cdr, names.0, names.1);
            assert_eq!(cdr["callee_suite"], suite, "{cdr:#}");
            pbx.call(number(names.0));
            provider.wait("incoming");
            pbx.wait("answered");
            both_talk_and_hear(provider, pbx);
            pbx.hang_up(provider);
            ended += 1;
            let cdr = gateway.cdrs_when(ended).pop().unwrap();
            assert_cdr(&cdr, names.1, names.0);
            assert_eq!(cdr["caller_suite"], suite, "{cdr:#}");
        }
        let all = ended as u64 * 2 * u64::from(TALK + REPORTS);
        let counters = Counters::of(&gateway);
        let counters = counters.await_that("all that was sent", |now| now.relayed() == all);
        let text = counters.text();
        assert_eq!(counters.dropped(), 0, "{text}");
        assert_eq!(counters.get(Counter::BuffersMissing), 0, "{text}");
        assert_eq!(counters.get(Counter::PassedPackets), 0, "by the way of its backend: {text}");

        // Killed, it leaves nothing behind that would stop the next one.
        kill_process(gateway.pid_of("dataplane"), Signal::KILL).unwrap();
        gateway.log.wait("attached to the data plane again");
        let next = self::program(stage);
        assert_eq!(next.is_some(), expected.program);
        assert!(next.is_none() || next != program, "a program of the new process");
        assert_has_no_rights(&gateway);
        providers[0].call(number("pbx"));
        phones[0].wait("incoming");
        providers[0].wait("answered");
        both_talk_and_hear(&mut providers[0], &mut phones[0]);
        assert!(gateway.stop());
        assert_eq!(self::program(stage), None, "nothing stays behind");
    });
}

/// The identifier of the program in the near driver; one elsewhere, as in generic mode, is an error.
fn program(stage: &Stage) -> Option<u32> {
    let said = stage.ask_near("-d link show near");
    assert!(!said.contains("xdpgeneric"), "{said}");
    let (_, rest) = said.split_once("prog/xdp id ")?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// UDP sockets at media ports, on the gateway's host.
fn media_sockets(place: &Place) -> usize {
    let read = || {
        ["udp", "udp6"].map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")))
    };
    let tables = place.at_gateway(read).map(Result::unwrap);
    let ports = tables.iter().flat_map(|table| {
        table.lines().filter_map(|line| line.split_whitespace().nth(1)?.rsplit_once(':'))
    });
    let ports = ports.filter_map(|(_, port)| u16::from_str_radix(port, 16).ok());
    ports.filter(|port| MEDIA_PORTS.contains(port)).count()
}

/// Each thread of the data plane is an ordinary user's, behind a filter.
fn assert_has_no_rights(gateway: &Gateway) {
    let pid = gateway.pid_of("dataplane").as_raw_nonzero();
    let mut threads = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name}")).trim().to_owned()
        };
        assert_eq!(field("Seccomp:"), "2", "{status}");
        for set in ["CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(set), "0000000000000000", "{status}");
        }
        assert!(field("Uid:").split_whitespace().all(|id| id != "0"), "{status}");
        threads += 1;
    }
    assert!(threads >= 3, "main thread, worker, pulse or signals");
}

#[test]
fn calls_of_both_families_cross_a_hardened_gateway_over_uring() {
    calls_of_both_families(Expected { backend: "uring", sockets: true, program: false });
}

#[test]
fn calls_of_both_families_cross_a_hardened_gateway_over_mmsg() {
    calls_of_both_families(Expected { backend: "mmsg", sockets: true, program: false });
}

#[test]
fn calls_of_both_families_cross_a_hardened_gateway_over_packet() {
    calls_of_both_families(Expected { backend: "packet", sockets: false, program: false });
}

#[test]
fn calls_of_both_families_cross_a_hardened_gateway_over_xdp() {
    calls_of_both_families(Expected { backend: "xdp", sockets: false, program: true });
}

/// What the same test shows on loopback, where frames are not, on a wire over each backend of frames.
fn over_frames(test: fn(&Place)) {
    for backend in ["packet", "xdp"] {
        at_far(|stage| test(&Place::on_wire(stage, backend)));
    }
}

#[test]
fn what_strangers_spray_on_a_wire_is_not_relayed_and_attracts_nothing() {
    over_frames(spray::what_strangers_spray_is_not_relayed);
}

#[test]
fn a_prompt_on_a_wire_is_heard() {
    over_frames(tones::an_unknown_number_is_told_by_early_media);
}

#[test]
fn a_call_on_a_wire_is_held_and_resumed() {
    over_frames(timers::a_call_is_held_and_resumed);
}

#[test]
fn digits_on_a_wire_pass_between_events_and_info_and_are_said_as_tones() {
    over_frames(digits::digits_pass_between_events_and_info);
    over_frames(digits::digits_are_said_as_tones);
}
