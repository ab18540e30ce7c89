//! `incoming_call_policy = challenge`, `inbound_username`, `inbound_password`, `inbound_md5`: who must
//! prove itself to us. `auth_realm`: to whom we do.

use super::config_with;
use crate::gateway::{Gateway, Place};
use crate::pbx::Pbx;
use crate::sipp::{Run, Sipp};

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

/// This PJSIP keeps an MD5 of the password in its place, as many phone systems do.
#[test]
fn pjsip_proves_by_md5_only_where_its_trunk_allows_it() {
    for (md5, code) in [(true, 200), (false, 401)] {
        let place = Place::new();
        let fields = format!("{FIELDS}\ninbound_md5 = {md5}");
        let mut gateway = Gateway::start(&place, &config_with(&place, "pbx", &fields));
        let mut callee = Sipp::answer(&place, "u1", 1);
        let realm = place.gateway.to_string();
        let account = ["--user", "pbx", "--password", "open sesame", "--realm", &realm];
        let mut phones = Pbx::start(&place, &account);
        phones.call(&place, "0612345");
        if md5 {
            phones.events.wait("\"media\"");
            phones.hang_up();
            callee.succeed();
            assert_eq!(gateway.cdrs_when(1)[0]["code"], code);
        } else {
            let end = phones.events.wait("\"disconnected\"");
            assert!(end.contains(&code.to_string()), "{end}");
        }
        assert!(gateway.stop());
    }
}

/// SIPp challenges for the realm `carrier`, and says that it is busy to who knows the password.
#[test]
fn sipp_is_given_credentials_only_for_the_trunks_realm() {
    for (realm, code) in [("carrier", 486), ("elsewhere", 401)] {
        let place = Place::new();
        let account = "username = \"account\"\npassword = \"open sesame\"";
        let fields = format!("{account}\nauth_realm = \"{realm}\"");
        let mut gateway = Gateway::start(&place, &config_with(&place, "provider", &fields));
        let arguments = vec!["-m".into(), "1".into()];
        let run = Run { scenario: "challenging_callee.xml", transport: "u1", arguments };
        let mut callee = Sipp::run(&place, run);
        let mut phones = Pbx::start(&place, &[]);
        phones.call(&place, "0612345");
        phones.events.wait("\"disconnected\"");
        let cdr = &gateway.cdrs_when(1)[0];
        assert_eq!(cdr["attempts"][0]["code"], code, "{cdr:#}");
        if code == 486 {
            callee.succeed();
        }
        assert!(gateway.stop());
    }
}
