//! Signaling may die: media goes on, the supervisor brings signaling back, flows without a call
//! are cleaned up.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use crate::capture::{Capture, Datagram};
use crate::gateway::{Gateway, Place};
use crate::pbx::Pbx;
use crate::sipp::Sipp;

#[test]
fn killing_signaling_loses_no_packet() {
    let place = Place::new();
    let config = place.config().replace("[log]", "orphan_grace = 3\n\n[log]");
    let mut gateway = Gateway::start(&place, &config);
    let mut phones = Pbx::start(&place, &[]);
    let capture = Capture::start(&place);
    let _caller = Sipp::call(&place, "caller.xml", "u1", "390612345", 1, 20_000);
    phones.events.wait("\"media\"");
    std::thread::sleep(Duration::from_secs(2));
    kill_process(gateway.pid_of("signaling"), Signal::KILL).unwrap();
    gateway.log.wait("found flows without a call");
    gateway.log.wait("ready");
    gateway.log.wait("releasing flows that no call claimed");
    let wire = capture.finish();
    // What leaves the gateway, plain or encrypted: RTP sequence numbers without a gap until the
    // flows are released.
    for receiver in [place.provider, place.pbx] {
        let numbers = sequence_numbers(&wire, &place, receiver);
        let gaps = numbers.windows(2).filter(|w| w[1].wrapping_sub(w[0]) != 1).count();
        assert!(numbers.len() > 200, "media went on to {receiver}: {} packets", numbers.len());
        assert_eq!(gaps, 0, "no packet to {receiver} is lost while signaling is dead");
    }
    let cdrs = gateway.cdrs_when(1);
    let text = cdrs[0].to_string();
    assert!(text.contains("signaling died"), "the killed call leaves its CDR: {text}");
    assert!(!cdrs[0]["answer"].is_null(), "{text}");
    assert!(gateway.stop());
}

/// RTP sequence numbers of what the gateway sends to a receiver, as they left.
pub fn sequence_numbers(wire: &[Datagram], place: &Place, receiver: Ipv4Addr) -> Vec<u16> {
    wire.iter()
        .filter(|d| d.source.0 == place.gateway && d.destination.0 == receiver)
        .filter(|d| d.payload.len() >= 172 && d.payload[0] == 0x80 && d.payload[1] & 0x7f == 8)
        .map(|d| u16::from_be_bytes([d.payload[2], d.payload[3]]))
        .collect()
}

#[test]
fn a_broken_configuration_does_not_end_media() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &place.config());
    let mut phones = Pbx::start(&place, &[]);
    let _caller = Sipp::call(&place, "caller.xml", "u1", "390612345", 1, 20_000);
    phones.events.wait("\"media\"");
    std::thread::sleep(Duration::from_secs(3));
    let dataplane = gateway.pid_of("dataplane");
    fs::write(place.file("gateway.toml"), "[sip]\nupd = []\n").unwrap();
    kill_process(gateway.pid_of("signaling"), Signal::KILL).unwrap();
    gateway.log.wait("cannot start again");
    assert_eq!(gateway.pid_of("dataplane"), dataplane, "the data plane goes on");
    fs::write(place.file("gateway.toml"), place.config()).unwrap();
    gateway.log.wait("ready");
    assert!(gateway.stop());
}

#[test]
fn killing_the_data_plane_ends_calls_and_new_ones_work() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &place.config());
    let mut phones = Pbx::start(&place, &[]);
    let mut caller = Sipp::call(&place, "caller.xml", "u1", "390612345", 1, 20_000);
    phones.events.wait("\"media\"");
    kill_process(gateway.pid_of("dataplane"), Signal::KILL).unwrap();
    phones.events.wait("\"disconnected\"");
    caller.wait();
    gateway.log.wait("attached to the data plane again");
    Sipp::call(&place, "caller.xml", "u1", "390612345", 1, 500).succeed();
    let cdrs = gateway.cdrs_when(2);
    assert!(cdrs[0].to_string().contains("the data plane is gone"), "{cdrs:#?}");
    assert!(gateway.stop());
}
