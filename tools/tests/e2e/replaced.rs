//! A place in a call is taken by an INVITE with Replaces (RFC 3891), with SIPp on all sides: that of
//! somebody who talks, and that of a phone that rings.

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bench::media::g711::Law;
use serde_json::Value;

use crate::calls::hears;
use crate::capture::{Capture, Datagram};
use crate::gateway::{Gateway, Place};
use crate::lines::PATIENCE;
use crate::sipp::{self, Run, SECOND_MEDIA_PORT, SECOND_PORT, Sipp};

const PBX_PORT: u16 = 5081;
/// What a SIPp writes its dialog's name to.
const NAMES: &str = "dialogs.log";

fn gateway(place: &Place) -> Gateway {
    Gateway::start(place, &place.plain_config())
}

/// One call, whose name is written.
fn named(place: &Place) -> Vec<String> {
    let log = place.file(NAMES).display().to_string();
    ["-m", "1", "-trace_logs", "-log_file", &log].map(str::to_owned).to_vec()
}

/// The dialog that a SIPp wrote, as Replaces names it.
fn dialog(place: &Place) -> String {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let text = fs::read_to_string(place.file(NAMES)).unwrap_or_default();
        if let Some((line, _)) = text.split_once('\n') {
            return line.to_owned();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("SIPp never wrote how its dialog is named");
}

fn caller(place: &Place, number: &str, more: Vec<String>) -> Vec<String> {
    let call = [format!("{}:5060", place.gateway), "-s".into(), number.into()];
    call.into_iter().chain(more).collect()
}

/// Takes the place in that dialog, from another port of that address; talks, and hangs up.
fn take_over(place: &Place, address: Ipv4Addr, number: &str, dialog: &str) -> Sipp {
    let more = ["-m", "1", "-d", "3000", "-key", "replaces", dialog].map(str::to_owned);
    let run = Run {
        scenario: "replacing_caller.xml",
        transport: "u1",
        arguments: caller(place, number, more.to_vec()),
    };
    Sipp::run_at(place, address, SECOND_PORT, run)
}

/// What the gateway sent there, as samples.
fn heard(wire: &[Datagram], place: &Place, at: (Ipv4Addr, u16)) -> Vec<i16> {
    wire.iter()
        .filter(|d| d.source.0 == place.gateway && d.destination == at)
        .filter(|d| d.payload.len() == 172 && d.payload[0] >> 6 == 2)
        .flat_map(|d| d.payload[12..].iter().map(|octet| Law::A.decode(*octet)))
        .collect()
}

fn media_flowed(cdr: &Value) {
    for way in ["forward", "backward"] {
        assert!(cdr[way]["packets"].as_u64() > Some(50), "{way}: {cdr:#}");
    }
}

#[test]
fn sipp_takes_the_place_of_a_caller_and_media_follows() {
    let place = Place::new();
    let mut gateway = gateway(&place);
    let mut callee = Sipp::run_at(
        &place,
        place.pbx,
        PBX_PORT,
        Run { scenario: "callee.xml", transport: "u1", arguments: vec!["-m".into(), "1".into()] },
    );
    let capture = Capture::start(&place);
    let arguments = caller(&place, "390612345", named(&place));
    let first = Run { scenario: "replaced_caller.xml", transport: "u1", arguments };
    let mut first = Sipp::run(&place, first);
    let mut second = take_over(&place, place.provider, "anybody", &dialog(&place));
    // The first is sent away, the second hangs up, the callee hears it.
    for peer in [&mut first, &mut second, &mut callee] {
        peer.succeed();
    }
    let wire = capture.finish();
    let cdrs = gateway.cdrs_when(2);
    assert!(gateway.stop());
    let at = (place.provider, SECOND_MEDIA_PORT);
    assert!(hears(&heard(&wire, &place, at), sipp::TONE_HZ), "who came hears the callee");
    let [old, new] = cdrs.as_slice() else { panic!("{cdrs:#?}") };
    assert_eq!((&old["replaced_by"], &new["replaces"]), (&new["id"], &old["id"]), "{cdrs:#?}");
    assert_eq!((&old["code"], &new["code"]), (&200.into(), &200.into()), "{cdrs:#?}");
    assert_eq!(new["ended_by"], "caller", "{new:#}");
    media_flowed(new);
}

#[test]
fn sipp_picks_up_a_call_that_rings_elsewhere() {
    let place = Place::new();
    let mut gateway = gateway(&place);
    let ringing = Run { scenario: "ringing_callee.xml", transport: "u1", arguments: named(&place) };
    let mut ringing = Sipp::run_at(&place, place.pbx, PBX_PORT, ringing);
    let capture = Capture::start(&place);
    let more = ["-m", "1"].map(str::to_owned).to_vec();
    let arguments = caller(&place, "390612345", more);
    // It is hung up by who picks up.
    let run = Run { scenario: "picked_up_caller.xml", transport: "u1", arguments };
    let mut waiting = Sipp::run(&place, run);
    let mut phone = take_over(&place, place.pbx, "anybody", &dialog(&place));
    for peer in [&mut ringing, &mut waiting, &mut phone] {
        peer.succeed();
    }
    let wire = capture.finish();
    let cdrs = gateway.cdrs_when(2);
    assert!(gateway.stop());
    for at in [(place.pbx, SECOND_MEDIA_PORT), (place.provider, sipp::MEDIA_PORT)] {
        assert!(hears(&heard(&wire, &place, at), sipp::TONE_HZ), "{at:?} hears the other side");
    }
    let (own, call) = (&cdrs[0], &cdrs[1]);
    assert_eq!(own["replaces"], call["id"], "{cdrs:#?}");
    assert_eq!((&own["code"], &call["code"]), (&200.into(), &200.into()), "{cdrs:#?}");
    assert_eq!((&call["from_trunk"], &call["ended_by"]), (&"provider".into(), &"callee".into()));
    media_flowed(call);
}
