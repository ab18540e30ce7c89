//! `tls_ca`, `tls_pin`: whom a trunk believes. PJSIP's certificate is not in the system's store.

use std::process::Command;

use super::by_hand::{ByHand, audio};
use super::config_with;
use crate::gateway::{Gateway, Place};
use crate::pbx::Pbx;

/// What becomes of a call to PJSIP through a trunk with these fields, where nothing else says whom to
/// trust: the code of its attempt.
fn called(place: &Place, fields: &str) -> u64 {
    let config = config_with(place, "pbx", fields).replace("tls_ca = \"ca.pem\"\nshards", "shards");
    let mut gateway = Gateway::start(place, &config);
    let _phones = Pbx::start(place, &["--refuse", "486"]);
    let mut caller = ByHand::new(place, "390612345");
    caller.ask("INVITE", &audio(place, 1));
    let cdr = gateway.cdrs_when(1).remove(0);
    assert!(gateway.stop());
    cdr["attempts"][0]["code"].as_u64().unwrap_or_else(|| panic!("{cdr:#}"))
}

/// SHA-256 of PJSIP's certificate, as `openssl x509 -fingerprint -sha256` prints it.
fn fingerprint(place: &Place) -> String {
    let script = "import ssl,hashlib,sys;\
                  print(hashlib.sha256(ssl.PEM_cert_to_DER_cert(open(sys.argv[1]).read())).hexdigest())";
    let output =
        Command::new("python3").args(["-c", script]).arg(place.file("pbx.pem")).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn pjsip_is_trusted_by_the_trunks_authority_or_by_its_pin() {
    let place = Place::new();
    assert_eq!(called(&place, "tls_ca = \"ca.pem\""), 486);
    drop(place);
    let place = Place::new();
    let pin = fingerprint(&place);
    assert_eq!(called(&place, &format!("tls_pin = \"{pin}\"")), 486);
    drop(place);
    let place = Place::new();
    let other = "00".repeat(32);
    assert_eq!(called(&place, &format!("tls_pin = \"{other}\"")), 503, "no way to it");
}
