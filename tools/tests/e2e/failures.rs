//! Bad input at start: each error names the thing, the cause and the remedy.

use std::fs;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use crate::gateway::{Gateway, Place, trunkline};

/// Runs `trunkline up` with a configuration that cannot work; returns code and text.
fn refused(place: &Place, config: &str) -> (i32, String) {
    let mut gateway = Gateway::spawn(place, config);
    let code = gateway.wait().code().expect("an exit code");
    (code, gateway.log.rest().join("\n"))
}

fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in:\n{text}");
    }
}

/// Replaces the gateway's certificate by one that ended in 2020.
fn expire(place: &Place) {
    let mut parameters = rcgen::CertificateParams::new(vec!["gateway.test".into()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2019, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    fs::write(place.file("gateway.pem"), parameters.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(place.file("gateway.key"), key.serialize_pem()).unwrap();
}

#[test]
fn wrong_keys_get_a_suggestion() {
    let place = Place::new();
    let (code, text) =
        refused(&place, &place.config().replace("transport = \"UDP\"", "transprot = \"UDP\""));
    assert_eq!(code, 78, "{text}");
    assert_says(&text, &["transprot", "transport", "line"]);
}

#[test]
fn an_occupied_port_is_named() {
    let place = Place::new();
    let _holder = UdpSocket::bind((place.gateway, 5060)).unwrap();
    let (code, text) = refused(&place, &place.config());
    assert_ne!(code, 0);
    assert_says(&text, &[&format!("{}:5060", place.gateway), "is taken"]);
}

#[test]
fn a_missing_certificate_is_named() {
    let place = Place::new();
    fs::remove_file(place.file("gateway.pem")).unwrap();
    let (code, text) = refused(&place, &place.config());
    assert_ne!(code, 0);
    assert_says(&text, &["gateway.pem"]);
}

#[test]
fn an_expired_certificate_is_named() {
    let place = Place::new();
    expire(&place);
    let (code, text) = refused(&place, &place.config());
    assert_ne!(code, 0);
    assert_says(&text, &["gateway.pem", "expired"]);
}

#[test]
fn a_missing_configuration_file_is_named() {
    let output =
        trunkline().args(["up", "--config", "/nonexistent/gateway.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert_says(
        &String::from_utf8_lossy(&output.stderr),
        &["/nonexistent/gateway.toml", "create it"],
    );
}

#[test]
fn check_tells_before_start() {
    let place = Place::new();
    let file = place.file("gateway.toml");
    fs::write(&file, place.config()).unwrap();
    let check = |extra: &[&str]| {
        trunkline().arg("check").arg("--config").arg(&file).args(extra).output().unwrap()
    };
    let good = check(&["--json"]);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stdout));
    let findings: serde_json::Value = serde_json::from_slice(&good.stdout).unwrap();
    assert!(findings["findings"].as_array().unwrap().len() > 3);
    let _holder = UdpSocket::bind((place.gateway, 5060)).unwrap();
    let bad = check(&[]);
    assert_eq!(bad.status.code(), Some(1), "an occupied port is a finding");
    assert_says(&String::from_utf8_lossy(&bad.stdout), &["5060"]);
}

/// A data plane of another build: its region carries another layout hash.
#[test]
fn another_builds_data_plane_is_refused_with_both_values() {
    let place = Place::new();
    let file = place.file("gateway.toml");
    fs::write(&file, place.config()).unwrap();
    let host = abi::Host::create(0, abi::Shape { flows: 16, commands: 16, events: 16 }).unwrap();
    let (ours, theirs) = (abi::layout::LAYOUT_HASH, abi::layout::LAYOUT_HASH ^ 1);
    let region = fs::File::from(host.fd().try_clone_to_owned().unwrap());
    let mut header = [0; 4096];
    region.read_exact_at(&mut header, 0).unwrap();
    let at = header.windows(8).position(|w| w == ours.to_ne_bytes()).expect("the hash");
    region.write_all_at(&theirs.to_ne_bytes(), at as u64).unwrap();
    let uid = rustix::process::geteuid().as_raw();
    let socket = place.file("dataplane.sock");
    let listener = abi::handover::Listener::bind(&socket, uid).unwrap();
    let bells = [abi::doorbell::create().unwrap(), abi::doorbell::create().unwrap()];
    let signaling = std::thread::spawn(move || {
        trunkline().arg("signaling").arg("--config").arg(&file).output().unwrap()
    });
    let offer = abi::handover::Offer {
        region: host.fd(),
        command_bell: bells[0].as_fd(),
        event_bell: bells[1].as_fd(),
    };
    let _link = listener.accept(&[offer]);
    let output = signaling.join().unwrap();
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_says(&text, &[&format!("{ours:#018x}"), &format!("{theirs:#018x}"), "same build"]);
}
