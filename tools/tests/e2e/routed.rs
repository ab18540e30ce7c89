//! Debian's Kamailio as a proxy in front of a trunk's phones: it puts itself into the path by
//! Record-Route, and refuses what does not follow the route set.

use std::net::Ipv4Addr;

use crate::calls::hears;
use crate::capture::Capture;
use crate::gateway::{Gateway, Place};
use crate::kamailio::Kamailio;
use crate::pbx::Pbx;
use crate::sipp::{Run, Sipp};

/// Where the provider's trunk is in the common configuration.
const PORT: u16 = 5070;
const BEHIND_PORT: u16 = 5090;

/// Stands at the provider's address, in front of `behind`; returns when it answers.
fn start(place: &Place, behind: Ipv4Addr) -> Kamailio {
    let words = [
        ("@ADDRESS@", place.provider.to_string()),
        ("@PORT@", PORT.to_string()),
        ("@GATEWAY@", place.gateway.to_string()),
        ("@BEHIND@", format!("{behind}:{BEHIND_PORT}")),
    ];
    let words = words.each_ref().map(|(word, value)| (*word, value.as_str()));
    let mut proxy = Kamailio::run(place, "proxy.cfg", &words);
    proxy.await_answer(place, place.provider, PORT);
    proxy
}

/// An address of the place's network that is nobody's yet.
fn behind(place: &Place) -> Ipv4Addr {
    let [a, b, c, _] = place.gateway.octets();
    Ipv4Addr::new(a, b, c, 4)
}

#[test]
fn a_call_to_a_phone_behind_a_proxy_follows_its_route() {
    let place = Place::new();
    let behind = behind(&place);
    let mut gateway = Gateway::start(&place, &place.config());
    let mut proxy = start(&place, behind);
    let run = Run { scenario: "routed_callee.xml", transport: "u1", arguments: one_call() };
    let mut callee = Sipp::run_at(&place, behind, BEHIND_PORT, run);
    let mut phones = Pbx::start(&place, &[]);
    let capture = Capture::start(&place);
    phones.call(&place, "0612345");
    phones.events.wait("\"media\"");
    phones.change("hold");
    phones.events.wait("\"direction\": 1");
    phones.hang_up();
    callee.succeed();
    let wire = capture.finish();
    let cdrs = gateway.cdrs_when(1);
    assert!(gateway.stop());
    assert_eq!(cdrs[0]["code"], 200, "{cdrs:#?}");
    for method in ["carried INVITE", "routed ACK", "routed INVITE", "routed BYE"] {
        let line = proxy.log.wait(method);
        assert!(line.contains(&place.gateway.to_string()), "{line}");
    }
    let past = |d: &&crate::capture::Datagram| {
        d.source.0 == place.gateway && d.destination == (behind, BEHIND_PORT)
    };
    assert_eq!(wire.iter().filter(past).count(), 0, "nothing goes past the proxy");
}

#[test]
fn a_call_from_a_phone_behind_a_proxy_is_answered_and_hung_up_through_it() {
    let place = Place::new();
    let behind = behind(&place);
    let mut gateway = Gateway::start(&place, &place.config());
    let mut proxy = start(&place, behind);
    let mut phones = Pbx::start(&place, &[]);
    let arguments = [format!("{}:{PORT}", place.provider)].into_iter();
    let arguments = arguments.chain(["-s", "390612345", "-d", "2000"].map(String::from));
    let arguments = arguments.chain(one_call()).collect();
    let run = Run { scenario: "caller.xml", transport: "u1", arguments };
    Sipp::run_at(&place, behind, BEHIND_PORT, run).succeed();
    phones.events.wait("\"disconnected\"");
    let cdrs = gateway.cdrs_when(1);
    assert!(gateway.stop());
    assert_eq!((&cdrs[0]["code"], &cdrs[0]["ended_by"]), (&200.into(), &"caller".into()));
    assert_eq!(cdrs[0]["from_trunk"], "provider", "{cdrs:#?}");
    for method in ["carried INVITE", "routed ACK", "routed BYE"] {
        let line = proxy.log.wait(method);
        assert!(line.contains(&behind.to_string()), "{line}");
    }
    assert!(hears(&phones.heard(), crate::sipp::TONE_HZ), "PJSIP hears the phone");
}

fn one_call() -> Vec<String> {
    ["-m", "1"].map(String::from).to_vec()
}
