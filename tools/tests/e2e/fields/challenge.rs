//! `incoming_call_policy = challenge`, `inbound_username`, `inbound_password`.

use super::config_with;
use crate::gateway::{Gateway, Place};
use crate::pbx::Pbx;
use crate::sipp::Sipp;

const FIELDS: &str = "incoming_call_policy = \"challenge\"\ninbound_username = \"pbx\"\n\
                      inbound_password = \"open sesame\"";

#[test]
fn pjsip_proves_that_it_knows_the_inbound_password() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &config_with(&place, "pbx", FIELDS));
    let mut callee = Sipp::answer(&place, "u1", 1);
    let mut phones = Pbx::start(&place, &["--user", "pbx", "--password", "open sesame"]);
    phones.call(&place, "0612345");
    phones.events.wait("\"media\"");
    phones.hang_up();
    callee.succeed();
    assert_eq!(gateway.cdrs_when(1)[0]["code"], 200, "the challenge itself is no attempt");
    assert!(gateway.stop());
    assert!(!gateway.log.rest().join("\n").contains("sesame"));
}

#[test]
fn pjsip_without_the_inbound_password_calls_nobody() {
    for (credentials, code) in
        [(&["--user", "pbx", "--password", "open barley"][..], "403"), (&[][..], "401")]
    {
        let place = Place::new();
        let mut gateway = Gateway::start(&place, &config_with(&place, "pbx", FIELDS));
        let mut phones = Pbx::start(&place, credentials);
        phones.call(&place, "0612345");
        let end = phones.events.wait("\"disconnected\"");
        assert!(end.contains(code), "{credentials:?}: {end}");
        assert!(gateway.stop());
        assert!(gateway.cdrs().iter().all(|cdr| cdr["code"] == 403), "{:?}", gateway.cdrs());
    }
}
