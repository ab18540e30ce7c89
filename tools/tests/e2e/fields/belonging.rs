//! `enabled`, `source_acl`, `virtual_phone_number`, `incoming_call_policy`, `tls_peer_names`: whose calls
//! belong to a trunk, and which of them it takes. `outbound_proxy`: where its own go.

use super::by_hand::{ByHand, audio};
use super::{asked_of_sipp, config_with, header};
use crate::gateway::{Gateway, Place};
use crate::pbx::Pbx;
use crate::sipp::Sipp;
use crate::stored::{Operator, add_trunks_and_route, start};

/// The trunk's own host is elsewhere.
#[test]
fn a_network_of_the_acl_belongs_to_its_trunk() {
    for acl in [true, false] {
        let place = Place::new();
        let [a, b, c, _] = place.provider.octets();
        let fields = match acl {
            true => format!("source_acl = [\"{a}.{b}.{c}.0/29\"]\n"),
            false => String::new(),
        };
        let host = |address| format!("host = \"{address}\"\n");
        let moved = format!("{}{fields}", host(place.stranger));
        let config = place.config().replace(&host(place.provider), &moved);
        let mut gateway = Gateway::start(&place, &config);
        let mut phones = Pbx::start(&place, &["--refuse", "486"]);
        let mut caller = ByHand::new(&place, "390612345");
        caller.ask("INVITE", &audio(&place, 1));
        if acl {
            caller.receive("SIP/2.0 486");
            phones.events.wait("\"incoming\"");
            assert_eq!(gateway.cdrs_when(1)[0]["from_trunk"], "provider");
        } else {
            gateway.log.wait("belongs to no trunk");
        }
        assert!(gateway.stop());
        assert_eq!(gateway.cdrs().len(), usize::from(acl));
    }
}

/// What the provider's INVITE for each number gets from a trunk with these fields.
fn verdicts(fields: &str, numbers: [&'static str; 2]) -> [String; 2] {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &config_with(&place, "provider", fields));
    let _phones = Pbx::start(&place, &["--refuse", "486"]);
    let verdicts = numbers.map(|number| {
        let mut caller = ByHand::new(&place, number);
        caller.ask("INVITE", &audio(&place, 1));
        caller.receive("SIP/2.0 4")[8..11].to_owned()
    });
    assert!(gateway.stop());
    verdicts
}

#[test]
fn the_policy_says_which_calls_of_its_own_a_trunk_takes() {
    let numbers = ["390612345", "390612346"];
    let known = "incoming_call_policy = \"known_numbers\"\nvirtual_phone_number = \"390612345\"";
    assert_eq!(verdicts(known, numbers), ["486", "404"]);
    assert_eq!(verdicts("incoming_call_policy = \"reject\"", numbers), ["403", "403"]);
    assert_eq!(verdicts("incoming_call_policy = \"allow\"", numbers), ["486", "486"]);
}

/// Two trunks of one address: the number says which one is called.
#[test]
fn a_number_tells_the_trunks_of_one_address_apart() {
    let place = Place::new();
    let config = config_with(&place, "provider", "virtual_phone_number = \"390612345\"");
    let config = format!(
        "{config}\n[[trunk]]\nname = \"second\"\nhost = \"{}\"\nport = 5070\n\
         send_keep_alive = false\nvirtual_phone_number = \"390612346\"\n\
         incoming_call_policy = \"reject\"\n",
        place.provider
    );
    let mut gateway = Gateway::start(&place, &config);
    let _phones = Pbx::start(&place, &["--refuse", "486"]);
    for (number, code, trunk) in [("390612345", 486, "provider"), ("390612346", 403, "second")] {
        let mut caller = ByHand::new(&place, number);
        caller.ask("INVITE", &audio(&place, 1));
        caller.receive(&format!("SIP/2.0 {code}"));
        drop(caller);
        let cdrs = gateway.cdrs_when(usize::from(code == 403) + 1);
        let cdr = cdrs.last().unwrap();
        assert_eq!((&cdr["from_trunk"], &cdr["code"]), (&trunk.into(), &code.into()), "{cdr:#}");
    }
    assert!(gateway.stop());
}

/// The call of SIPp goes on and can be hung up; its next one comes from nobody.
#[test]
fn a_trunk_that_is_switched_off_keeps_its_call_and_takes_no_other() {
    let place = Place::new();
    let mut gateway = start(&place, "info");
    let operator = Operator::new(&place);
    add_trunks_and_route(&place, &operator);
    let mut callee = Sipp::pbx(&place, "silent_callee.xml", 1);
    let mut caller = ByHand::new(&place, "390612345");
    caller.call();
    operator.ask(&["trunks", "set", "provider", "enabled=false"]);
    caller.ask("OPTIONS", "");
    caller.receive("SIP/2.0 200");
    caller.hang_up();
    callee.succeed();
    drop(caller);
    assert_eq!(gateway.cdrs_when(1)[0]["ended_by"], "caller");
    let status = operator.ask(&["trunks", "show", "provider"]);
    assert_eq!(status["enabled"], false, "{status}");
    let mut caller = ByHand::new(&place, "390612345");
    caller.ask("INVITE", &audio(&place, 1));
    gateway.log.wait("belongs to no trunk");
    operator.ask(&["trunks", "set", "provider", "enabled=true"]);
    // The INVITE again, as on any lost datagram: now it is the trunk's. Nobody is at the PBX any more.
    caller.ask("INVITE", &audio(&place, 1));
    caller.receive("SIP/2.0 100");
    assert!(gateway.stop());
}

/// PJSIP's certificate has its address as a name.
#[test]
fn pjsip_belongs_to_the_trunk_that_names_its_certificate() {
    for named in [true, false] {
        let place = Place::new();
        let name = if named { place.pbx } else { place.stranger };
        let fields = format!("tls_peer_names = [\"{name}\"]");
        let mut gateway = Gateway::start(&place, &config_with(&place, "pbx", &fields));
        let mut callee = Sipp::answer(&place, "u1", 1);
        let mut phones = Pbx::start(&place, &[]);
        phones.call(&place, "0612345");
        if named {
            phones.events.wait("\"media\"");
            phones.hang_up();
            callee.succeed();
            assert_eq!(gateway.cdrs_when(1)[0]["from_trunk"], "pbx");
        } else {
            let end = phones.events.wait("\"disconnected\"");
            assert!(end.contains("403"), "{end}");
            gateway.log.wait("belongs to no trunk");
        }
        assert!(gateway.stop());
        assert_eq!(gateway.cdrs().len(), usize::from(named));
    }
}

/// Host is nobody here: it names the domain, and the proxy is where requests go.
#[test]
fn calls_leave_by_the_outbound_proxy_with_a_route() {
    let place = Place::new();
    let proxy = format!("outbound_proxy = \"sip:{}:5070;lr\"", place.provider);
    let host = format!("host = \"{}\"\nport = 5070", place.provider);
    let config = place.config().replace(&host, &format!("host = \"198.51.100.77\"\n{proxy}"));
    assert!(config.contains("outbound_proxy"), "{config}");
    let invite = asked_of_sipp(&place, &config, "0612345");
    assert!(invite.starts_with("INVITE sip:0612345@198.51.100.77"), "{invite}");
    assert!(header(&invite, "To").unwrap().contains("@198.51.100.77"), "{invite}");
    let route = format!("<sip:{}:5070;lr>", place.provider);
    assert_eq!(header(&invite, "Route"), Some(route.as_str()));
}
