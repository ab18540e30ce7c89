//! Peers that are not where they say (NAT), and peers of another address family.

use std::net::Ipv4Addr;

use abi::Counter;
use serde_json::json;

use crate::calls::{assert_cdr, hears};
use crate::counters::Counters;
use crate::far::{Far, PBX_HZ, PROVIDER_HZ, Role};
use crate::foreign::{REPORTS, TALK, both_talk_and_hear};
use crate::gateway::{Gateway, Place};

const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";

/// A call with a peer whose description names an address where nobody is.
struct Natted {
    place: Place,
    gateway: Gateway,
    counters: Counters,
    /// The one behind NAT, and the other one.
    parties: [Far; 2],
    is_provider: bool,
}

impl Natted {
    fn call(nat: &str, is_provider: bool) -> Self {
        Self::call_with(nat, |_| String::new(), is_provider)
    }

    /// The same, the provider's trunk with more fields.
    fn call_with(nat: &str, more: impl Fn(&Place) -> String, is_provider: bool) -> Self {
        let place = Place::new();
        let nat = format!("nat = \"{nat}\"\nhost =");
        let name = "name = \"provider\"\n";
        let config = place.config().replace(name, &format!("{name}{}", more(&place)));
        let gateway = Gateway::start(&place, &config.replace("host =", &nat));
        let counters = Counters::of(&gateway);
        let [_, _, n, _] = place.gateway.octets();
        let nowhere = format!("{}:40000", Ipv4Addr::new(127, 9, n, 5));
        let says = ["--says", nowhere.as_str()];
        let options = |natted: bool| if natted { &says[..] } else { &[] };
        let mut provider = Far::start(&place, Role::Provider, options(is_provider));
        let mut pbx = Far::start(&place, Role::SecurePbx(SUITE), options(!is_provider));
        provider.call("390612345");
        pbx.wait("answered");
        provider.wait("answered");
        let parties = if is_provider { [provider, pbx] } else { [pbx, provider] };
        Self { place, gateway, counters, parties, is_provider }
    }

    /// Ends the call; returns where its CDR says that the natted side's media came from.
    fn source(mut self) -> Option<String> {
        let [natted, other] = &mut self.parties;
        natted.hang_up(other);
        let cdr = self.gateway.cdrs_when(1).remove(0);
        assert_cdr(&cdr, "provider", "pbx");
        let [source, strange] = match self.is_provider {
            true => ["caller_source", "callee_source"],
            false => ["callee_source", "caller_source"],
        };
        let said = format!(":{}", if self.is_provider { 17_000 } else { 16_000 });
        let strange = cdr[strange].as_str().unwrap_or(&said);
        assert!(strange.ends_with(&said), "the other side is where it says: {cdr:#}");
        assert!(self.gateway.stop());
        cdr[source].as_str().map(str::to_owned)
    }
}

#[test]
fn a_peer_behind_nat_is_heard_and_hears_where_its_trunk_allows_it() {
    for (nat, is_provider) in
        [("COMEDIA", true), ("YES", true), ("AUTO", true), ("COMEDIA", false), ("AUTO", false)]
    {
        let mut call = Natted::call(nat, is_provider);
        let tones = if is_provider { [PROVIDER_HZ, PBX_HZ] } else { [PBX_HZ, PROVIDER_HZ] };
        // Who is behind NAT has to speak first: before that nobody can tell where it is.
        for (speaker, hz) in [0, 1].into_iter().zip(tones) {
            call.parties[speaker].talk(TALK, 1, REPORTS);
            let listener = &mut call.parties[1 - speaker];
            listener.reach(&json!({"distinct": TALK, "reports": REPORTS}));
            assert!(hears(&listener.heard(), hz), "{nat}: {hz} Hz");
        }
        let spoken = u64::from(2 * (TALK + REPORTS));
        let counters = call.counters.await_that("all", |now| now.relayed() == spoken);
        assert_eq!(counters.dropped(), 0, "{nat}: {}", counters.text());
        let expected = match is_provider {
            true => format!("{}:16000", call.place.provider),
            false => format!("{}:17000", call.place.pbx),
        };
        assert_eq!(call.source(), Some(expected), "{nat}");
    }
}

#[test]
fn a_peer_behind_nat_is_not_believed_where_its_trunk_does_not_allow_it() {
    for (nat, is_provider) in [("NO", true), ("FORCE_RPORT", true), ("NO", false)] {
        let mut call = Natted::call(nat, is_provider);
        for far in &mut call.parties {
            far.talk(TALK, 1, REPORTS);
        }
        // What the one behind NAT says is refused for its source; the other one talks to nobody.
        let each = u64::from(TALK + REPORTS);
        let counters = call.counters.await_that("all", |now| {
            now.get(Counter::DropOffPath) == each && now.relayed() == each
        });
        assert_eq!(counters.dropped(), each, "{nat}: {}", counters.text());
        for far in &mut call.parties {
            assert_eq!(far.tally().datagrams, 0, "{nat}");
        }
        assert_eq!(call.source(), None, "{nat}");
    }
}

#[test]
fn a_peer_behind_nat_is_believed_from_the_network_that_its_trunk_names() {
    for is_within in [true, false] {
        let more = |place: &Place| match is_within {
            true => format!("learn_from = \"{}/32\"\n", place.provider),
            false => String::from("learn_from = \"192.0.2.0/24\"\n"),
        };
        let mut call = Natted::call_with("COMEDIA", more, true);
        call.parties[0].talk(TALK, 1, REPORTS);
        let each = u64::from(TALK + REPORTS);
        if is_within {
            call.parties[1].reach(&json!({"distinct": TALK, "reports": REPORTS}));
            let expected = format!("{}:16000", call.place.provider);
            assert_eq!(call.source(), Some(expected));
        } else {
            call.counters.await_that("all", |now| now.get(Counter::DropOffPath) == each);
            assert_eq!(call.parties[1].tally().datagrams, 0);
            assert_eq!(call.source(), None);
        }
    }
}

#[test]
fn calls_cross_between_an_ipv6_trunk_and_an_ipv4_one() {
    let place = Place::new();
    let (gateway, provider) = (place.gateway, place.provider);
    let config = place
        .config()
        .replace(&format!("udp = [\"{gateway}:5060\"]"), "udp = [\"[::1]:5060\"]")
        .replace(
            &format!("address = \"{gateway}\""),
            &format!("address = [\"{gateway}\", \"::1\"]"),
        )
        .replace(&format!("host = \"{provider}\""), "host = \"::1\"");
    let mut gateway = Gateway::start(&place, &config);
    let mut provider = Far::start(&place, Role::ProviderV6, &[]);
    let mut pbx = Far::start(&place, Role::SecurePbx(SUITE), &[]);
    let told = |far: &mut Far| far.wait("answered")["address"].as_str().unwrap().to_owned();
    for (calls, from) in ["provider", "pbx"].into_iter().enumerate() {
        if from == "provider" {
            provider.call("390612345");
        } else {
            pbx.call("0612345");
        }
        assert_eq!(told(&mut provider), "::1");
        assert_eq!(told(&mut pbx), place.gateway.to_string());
        both_talk_and_hear(&mut provider, &mut pbx);
        provider.hang_up(&mut pbx);
        let cdr = gateway.cdrs_when(calls + 1).remove(calls);
        assert_cdr(&cdr, from, if from == "pbx" { "provider" } else { "pbx" });
    }
    let spoken = u64::from(2 * 2 * (TALK + REPORTS));
    let counters = Counters::of(&gateway).await_that("all", |now| now.relayed() == spoken);
    assert_eq!(counters.dropped(), 0, "{}", counters.text());
    assert!(gateway.stop());
}
