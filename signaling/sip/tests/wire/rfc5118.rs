//! RFC 5118: IPv6 references, one row for each message with the verdict of its section.

use std::net::IpAddr;

use sip::wire::{Host, Message, StatusCode, parse};
use sipx_testkit::rfc5118;

/// Host and port of the Request-URI; `None`: 400.
type Verdict = Option<(&'static str, Option<u16>)>;

/// Message, section, verdict.
const TABLE: [(&str, &str, Verdict); 12] = [
    ("ipv6-good", "4.1", Some(("[2001:db8::10]", None))),
    ("ipv6-bad", "4.2", None),
    // The port is inside the brackets: well-formed, and part of the address.
    ("port-ambiguous", "4.3", Some(("[2001:db8::10:5070]", None))),
    ("port-unambiguous", "4.4", Some(("[2001:db8::10]", Some(5070)))),
    ("via-received-param-with-delim", "4.5", Some(("[2001:db8::10]", None))),
    ("via-received-param-no-delim", "4.5", Some(("[2001:db8::10]", None))),
    ("ipv6-in-sdp", "4.6", Some(("[2001:db8::10]", None))),
    ("mult-ip-in-header", "4.7", Some(("host.example.net", None))),
    ("mult-ip-in-sdp", "4.8", Some(("[2001:db8::10]", None))),
    ("ipv4-mapped-ipv6", "4.9", Some(("example.com", None))),
    ("ipv6-bug-abnf-3-colons", "4.10", Some(("[2001:db8::c000:201]", None))),
    ("ipv6-correct-abnf-2-colons", "4.10", Some(("[2001:db8::c000:201]", None))),
];

#[test]
fn each_message_gets_its_verdict() {
    assert_eq!(TABLE.len(), rfc5118::CASES.len());
    for (name, section, expected) in TABLE {
        let case = rfc5118::case(name).unwrap();
        assert_eq!(case.section, section, "{name}");
        match (parse(case.wire()), expected) {
            (Ok(Message::Request(request)), Some((host, port))) => {
                let uri = request.uri.as_sip().unwrap_or_else(|| panic!("{name}: no SIP URI"));
                assert_eq!((uri.host.to_string().as_str(), uri.port), (host, port), "{name}");
            }
            (Err(error), None) => assert_eq!(error.status(), Some(StatusCode::BAD_REQUEST)),
            (got, _) => panic!("{name}: {got:?}"),
        }
    }
}

/// RFC 5118 §4.5: `received` with and without brackets is the same address.
#[test]
fn received_with_and_without_brackets() {
    let received = |name| {
        let message = parse(rfc5118::case(name).unwrap().wire()).unwrap();
        message.headers().via().unwrap().received()
    };
    let expected: Option<IpAddr> = "2001:db8::9:255".parse().ok();
    assert_eq!(received("via-received-param-with-delim"), expected);
    assert_eq!(received("via-received-param-no-delim"), expected);
}

/// RFC 5118 §4.7 and §4.9: both families, and mapped addresses, in one message.
#[test]
fn several_families_in_one_message() {
    let message = parse(rfc5118::case("mult-ip-in-header").unwrap().wire()).unwrap();
    let vias = message.headers().vias().unwrap();
    assert_eq!(vias[0].host, Host::V6("2001:db8::9:1".parse().unwrap()));
    assert_eq!(vias[0].port, Some(6050));
    assert_eq!(vias[1].host, Host::V4([192, 0, 2, 1].into()));
    assert_eq!(vias[2].received(), "192.0.2.200".parse().ok());
    let message = parse(rfc5118::case("ipv4-mapped-ipv6").unwrap().wire()).unwrap();
    let via = message.headers().via().unwrap();
    assert_eq!(via.host, Host::V6("::ffff:192.0.2.10".parse().unwrap()));
}

/// The archive holds bare line feeds. RFC 3261 §7 wants CRLF; a parser that takes both can be made
/// to see a header that another one does not.
#[test]
fn bare_line_feeds_are_refused() {
    for case in rfc5118::CASES {
        assert!(parse(case.bytes.into()).is_err(), "{}", case.name);
    }
}
