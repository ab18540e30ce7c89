//! What a trunk is told of who calls, for each of its fields.

use bytes::Bytes;
use sip::wire::{HeaderName, Message, Request, Uri};

use super::{Caller, Unshowable};
use crate::config;
use crate::trunk::Trunk;

const OWN: &str = "virtual_phone_number = \"+493010-+493019\"\n";
const ALICE: &str = "From: \"Alice\" <sip:+4940111:secret@10.0.0.1;user=phone>;tag=1\r\n";
const NOBODY: &str = "From: \"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1\r\n";
const PAI: &str =
    "P-Asserted-Identity: \"Head office\" <sip:+4940222@10.0.0.1>, <tel:+49-40-222>\r\n";

fn trunk(fields: &str) -> Trunk {
    let text = format!(
        "[sip]\nudp = [\"192.0.2.1:5060\"]\n[[trunk]]\nname = \"t\"\nhost = \"192.0.2.9\"\n{fields}"
    );
    let config = config::parse(&text, std::path::Path::new("/nowhere"));
    Trunk::clone(&config.unwrap_or_else(|error| panic!("{error}")).trunks[0])
}

fn request(headers: &str) -> Request {
    let text = format!(
        "INVITE sip:+4930222@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1\r\n\
         To: <sip:+4930222@192.0.2.1>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n{headers}\r\n"
    );
    match sip::wire::parse(Bytes::from(text)).unwrap() {
        Message::Request(request) => request,
        Message::Response(_) => panic!("a request"),
    }
}

/// What a trunk with the fields `to` is told of a request with `headers` of a trunk with `from`.
fn told(from: &str, headers: &str, to: &str) -> Result<Vec<String>, Unshowable> {
    let caller = Caller::of(&request(headers), &trunk(from).identity);
    let called = Uri::parse(b"sip:+4930222@192.0.2.9").unwrap();
    let shown = caller.toward(&trunk(to), "gw.example.com", &called)?;
    let headers = shown.headers.iter().map(|(name, value)| format!("{name}: {value}"));
    Ok(std::iter::once(shown.from).chain(headers).collect())
}

#[test]
fn send_rpid_names_the_headers() {
    let from = "\"Alice\" <sip:+4940111@gw.example.com>";
    let pai = format!("P-Asserted-Identity: {from}");
    let rpid = format!("Remote-Party-ID: {from};party=calling;screen=no;privacy=off");
    for (field, headers) in [
        ("", vec![&pai]),
        ("send_rpid = \"no\"", vec![]),
        ("send_rpid = \"pai\"", vec![&pai]),
        ("send_rpid = \"rpid\"", vec![&rpid]),
        ("send_rpid = \"both\"", vec![&pai, &rpid]),
    ] {
        let told = told("", ALICE, field).unwrap();
        assert_eq!(told[0], from, "{field}");
        assert_eq!(told[1..].iter().collect::<Vec<_>>(), headers, "{field}");
    }
}

#[test]
fn trust_inbound_identity_decides_who_is_believed() {
    let headers = format!("{ALICE}{PAI}");
    let believed = told("trust_inbound_identity = true", &headers, "send_rpid = \"both\"").unwrap();
    let office = "\"Head office\" <sip:+4940222@gw.example.com>";
    assert_eq!(
        believed,
        [
            office.to_owned(),
            format!("P-Asserted-Identity: {office}"),
            format!("Remote-Party-ID: {office};party=calling;screen=yes;privacy=off"),
        ]
    );
    let doubted = told("", &headers, "").unwrap();
    assert_eq!(doubted[0], "\"Alice\" <sip:+4940111@gw.example.com>");
    let rpid = "Remote-Party-ID: <sip:99@x>;party=called, <sip:+4940333@x>;party=calling\r\n";
    let believed = told("trust_inbound_identity = true", &format!("{ALICE}{rpid}"), "").unwrap();
    assert_eq!(believed[0], "\"Alice\" <sip:+4940333@gw.example.com>", "of who calls");
}

#[test]
fn privacy_is_kept_from_all_but_trusted_trunks() {
    let trusting = "trust_inbound_identity = true";
    let anonymous = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";
    for asks in ["Privacy: id\r\n", "Privacy: header;user;critical\r\n", "Privacy: none , ID\r\n"] {
        let told = told("", &format!("{ALICE}{asks}"), "send_rpid = \"both\"").unwrap();
        assert_eq!(told, [anonymous], "{asks}: nothing of the caller");
    }
    let restricted = "Remote-Party-ID: <sip:+4940333@x>;privacy=full\r\n";
    let asks = format!("{ALICE}{restricted}");
    assert_eq!(told(trusting, &asks, "send_rpid = \"both\"").unwrap(), [anonymous]);
    for none in ["", "Privacy: none\r\n", "Privacy: session\r\n"] {
        let told = told("", &format!("{ALICE}{none}"), "").unwrap();
        assert_eq!(told.len(), 2, "{none}: positive control");
    }
    let hidden = format!("{NOBODY}{PAI}Privacy: id\r\n");
    let trusted = "send_rpid = \"both\"\ntrust_identity = true";
    let office = "\"Head office\" <sip:+4940222@gw.example.com>";
    assert_eq!(
        told(trusting, &hidden, trusted).unwrap(),
        [
            anonymous.to_owned(),
            format!("P-Asserted-Identity: {office}"),
            String::from("Privacy: id"),
            format!("Remote-Party-ID: {office};party=calling;screen=yes;privacy=full"),
        ]
    );
    assert_eq!(told(trusting, &hidden, "send_rpid = \"both\"").unwrap(), [anonymous]);
}

#[test]
fn caller_id_policy_chooses_the_number() {
    let own = "<sip:+493010@gw.example.com>";
    let policy = |policy: &str| format!("{OWN}caller_id_policy = \"{policy}\"");
    let asserted = |from: &str| [from.to_owned(), format!("P-Asserted-Identity: {from}")];
    assert_eq!(told("", ALICE, &policy("trunk")).unwrap(), asserted(own), "and no foreign name");
    let alice = "\"Alice\" <sip:+4940111@gw.example.com>";
    assert_eq!(told("", ALICE, &policy("pass")).unwrap(), asserted(alice));
    assert_eq!(told("", ALICE, &policy("deny_foreign")), Err(Unshowable::Foreign));
    let bob = "From: Bob <sip:+493015@10.0.0.1>;tag=1\r\n";
    let shown = asserted("\"Bob\" <sip:+493015@gw.example.com>");
    assert_eq!(told("", bob, &policy("deny_foreign")).unwrap(), shown);
    let without = "From: <sip:10.0.0.1>;tag=1\r\n";
    assert_eq!(told("", without, &policy("pass")).unwrap(), asserted(own), "none of its own");
    assert_eq!(told("", without, "").unwrap(), ["<sip:anonymous@gw.example.com>"]);
}

#[test]
fn from_user_and_from_domain_are_the_account_not_the_caller() {
    let fields = "from_user = \"account\"\nfrom_domain = \"carrier.example.com\"";
    let told = told("", ALICE, fields).unwrap();
    assert_eq!(told[0], "\"Alice\" <sip:account@carrier.example.com>");
    assert_eq!(told[1], "P-Asserted-Identity: \"Alice\" <sip:+4940111@carrier.example.com>");
}

#[test]
fn user_phone_marks_telephone_numbers_alone() {
    let marked = told("", ALICE, "user_phone = true").unwrap();
    assert_eq!(marked[0], "\"Alice\" <sip:+4940111@gw.example.com;user=phone>");
    let user = "From: <sip:alice@10.0.0.1>;tag=1\r\n";
    assert_eq!(told("", user, "user_phone = true").unwrap()[0], "<sip:alice@gw.example.com>");
}

#[test]
fn diversions_are_told_in_the_trunks_style() {
    let trusting = "trust_inbound_identity = true";
    let diversion = "Diversion: <tel:+4940902>;reason=user-busy;counter=2;privacy=off, \
                     \"B\" <sip:+4940901@10.0.0.1>;reason=\"made up\"\r\n";
    let history = "History-Info: <sip:+4940901@10.0.0.1?Reason=SIP%3Bcause%3D404>;index=1, \
                   <sip:+4940902@10.0.0.1>;index=1.1, \
                   <sip:+4930222@10.0.0.1;cause=486>;index=1.1.1\r\n";
    let as_diversion = |counter| {
        [
            format!("Diversion: <sip:+4940902@gw.example.com>;reason=user-busy;counter={counter}"),
            String::from("Diversion: <sip:+4940901@gw.example.com>;reason=unknown;counter=1"),
        ]
    };
    let as_history = "History-Info: <sip:+4940901@gw.example.com>;index=1, \
                      <sip:+4940902@gw.example.com;cause=404>;index=1.1, \
                      <sip:+4930222@192.0.2.9;cause=486>;index=1.1.1";
    for (headers, counter) in [(diversion, 2), (history, 1)] {
        let headers = format!("{ALICE}{headers}");
        let told = |from, style: &str| {
            told(from, &headers, &format!("send_rpid = \"no\"\ndiversion = \"{style}\"")).unwrap()
        };
        assert_eq!(told(trusting, "diversion")[1..], as_diversion(counter));
        assert_eq!(told(trusting, "history-info")[1..], [as_history]);
        assert_eq!(told(trusting, "none").len(), 1);
        assert_eq!(told("", "diversion").len(), 1, "not believed");
    }
    let hidden = format!("{ALICE}Diversion: <sip:+4940902@x>;reason=no-answer;privacy=full\r\n");
    let style = "send_rpid = \"no\"\ndiversion = \"diversion\"\n";
    assert_eq!(told(trusting, &hidden, style).unwrap().len(), 1, "nobody is told");
    let trusted = told(trusting, &hidden, &format!("{style}trust_identity = true")).unwrap();
    assert!(trusted[1].ends_with(";reason=no-answer;counter=1;privacy=full"), "{trusted:?}");
}

#[test]
fn more_diversions_than_any_network_makes_are_cut_off() {
    let one = "Diversion: <sip:1@x>;reason=no-answer\r\n";
    let headers = format!("{ALICE}{}", one.repeat(super::diversion::DIVERSIONS_MAX + 1));
    let told = told("trust_inbound_identity = true", &headers, "diversion = \"diversion\"");
    assert_eq!(told.unwrap().len(), 2 + super::diversion::DIVERSIONS_MAX);
}

/// Whatever a peer writes, the callee's trunk gets lines that a parser reads, at our host.
#[test]
fn hostile_identities_stay_inside_their_header() {
    let parts =
        ["\"", "<", ">", ";", ",", "sip:", "tel:", "@", "%00", "a b", "=", "\\", "[", "\u{e9}"];
    let mut state = 7_u64;
    let mut next = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % n
    };
    let mut read = 0;
    for _ in 0..20_000 {
        let mut value = || (0..next(9)).map(|_| parts[next(parts.len())]).collect::<String>();
        let mut request = request(ALICE);
        for name in [
            HeaderName::PAssertedIdentity,
            HeaderName::RemotePartyId,
            HeaderName::Privacy,
            HeaderName::Diversion,
            HeaderName::HistoryInfo,
        ] {
            request.headers.push(name, format!("{}<sip:{}1@h>{}", value(), value(), value()));
        }
        let caller = Caller::of(&request, &trunk_that_believes().identity);
        let called = Uri::parse(b"sip:1@h").unwrap();
        let Ok(shown) = caller.toward(&trunk_that_believes(), "gw.example.com", &called) else {
            continue;
        };
        for (name, text) in shown.headers {
            let mut headers = sip::wire::Headers::new();
            headers.push(name.clone(), text.clone());
            if name != HeaderName::Privacy {
                let values = headers.name_addrs(&name).unwrap_or_else(|e| panic!("{text}: {e}"));
                let host = |uri: &Uri| uri.as_sip().unwrap().host.to_string();
                assert!(values.iter().all(|v| ["gw.example.com", "h"].contains(&&*host(&v.uri))));
                read += 1;
            }
        }
    }
    assert!(read > 20_000, "the sweep reaches what it is for: {read}");
}

fn trunk_that_believes() -> Trunk {
    use std::sync::OnceLock;
    static TRUNK: OnceLock<Trunk> = OnceLock::new();
    let fields = "send_rpid = \"both\"\ntrust_inbound_identity = true\ntrust_identity = true\n\
                  diversion = \"history-info\"";
    TRUNK.get_or_init(|| trunk(fields)).clone()
}
