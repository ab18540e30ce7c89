//! Headers with a grammar of their own, each by the section that defines it. Rows are `Some` with
//! what a reader sees, or `None` for what is refused.

use sip::wire::{HeaderName, Headers, ParseError};

fn with(name: &HeaderName, value: &str) -> Headers {
    let mut headers = Headers::new();
    headers.push(name.clone(), value.to_owned());
    headers
}

/// Reads each value and compares what was seen.
fn check<T>(
    name: HeaderName,
    read: impl Fn(&Headers) -> Result<T, ParseError>,
    see: impl Fn(T) -> String,
    rows: &[(&str, Option<&str>)],
) {
    for (value, expected) in rows {
        let got = read(&with(&name, value));
        match (&got, expected) {
            (Err(error), None) => assert_eq!(error.field(), name.as_str(), "{value}"),
            (Err(error), Some(_)) => panic!("{name}: {value}: {error}"),
            (Ok(_), None) => panic!("{name}: {value}: accepted"),
            (Ok(_), Some(_)) => {}
        }
        if let (Ok(got), Some(expected)) = (got, expected) {
            assert_eq!(see(got), *expected, "{name}: {value}");
        }
    }
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(bytes.as_ref()).into_owned()
}

/// RFC 3891 §6.1.
#[test]
fn replaces() {
    check(
        HeaderName::Replaces,
        |headers| headers.replaces(),
        |value| value.unwrap().to_string(),
        &[
            (
                "98732@sip.example.com;from-tag=r33th4x0r;to-tag=ff87ff",
                Some("98732@sip.example.com;to-tag=ff87ff;from-tag=r33th4x0r"),
            ),
            ("a ;to-tag=1 ; from-tag=2;early-only", Some("a;to-tag=1;from-tag=2;early-only")),
            ("a;to-tag=1;from-tag=2;x=y", Some("a;to-tag=1;from-tag=2")),
            ("a;to-tag=1", None),
            ("a;from-tag=2", None),
            ("a;to-tag=1;from-tag=2;to-tag=3", None),
            (";to-tag=1;from-tag=2", None),
            ("a b;to-tag=1;from-tag=2", None),
            ("", None),
        ],
    );
    let mut twice = with(&HeaderName::Replaces, "a;to-tag=1;from-tag=2");
    twice.push(HeaderName::Replaces, "b;to-tag=1;from-tag=2");
    assert!(twice.replaces().is_err(), "RFC 3891 §3: one only");
    assert_eq!(Headers::new().replaces(), Ok(None));
}

/// RFC 3326 §2.
#[test]
fn reason() {
    check(
        HeaderName::Reason,
        |headers| headers.reasons(),
        |all| {
            let one = |reason: &sip::wire::Reason| {
                let said = reason.text.as_ref().map(text).unwrap_or_default();
                format!("{} {:?} {said}", text(&reason.protocol), reason.cause)
            };
            all.iter().map(one).collect::<Vec<_>>().join("|")
        },
        &[
            (
                "SIP ;cause=200 ;text=\"Call completed elsewhere\"",
                Some("SIP Some(200) Call completed elsewhere"),
            ),
            ("Q.850;cause=16, SIP;cause=480", Some("Q.850 Some(16) |SIP Some(480) ")),
            ("Q.850;text=\"a, b\"", Some("Q.850 None a, b")),
            ("Q.850;cause=99999", None),
            ("Q.850;cause=x", None),
            ("Q.850;cause", None),
            (";cause=1", None),
            ("SIP cause=1", None),
        ],
    );
    let reasons = with(&HeaderName::Reason, "q.850 ;cause=16;text=\"x\"").reasons().unwrap();
    assert!(reasons[0].is_of("Q.850") && !reasons[0].is_of("SIP"));
    assert_eq!(reasons[0].to_string(), "q.850;cause=16;text=\"x\"");
}

/// RFC 3515 §2.1, RFC 3892 §2.1.
#[test]
fn refer() {
    type Read = fn(&Headers) -> Result<Option<sip::wire::NameAddr>, ParseError>;
    let readers: [(HeaderName, Read); 2] =
        [(HeaderName::ReferTo, Headers::refer_to), (HeaderName::ReferredBy, Headers::referred_by)];
    for (name, read) in readers {
        check(
            name,
            read,
            |value| value.unwrap().to_string(),
            &[
                ("sip:alice@atlanta.example.com", Some("<sip:alice@atlanta.example.com>")),
                (
                    "<sip:d@b?Replaces=1%40a%3Bto-tag%3D2>;method=INVITE",
                    Some("<sip:d@b?Replaces=1%40a%3Bto-tag%3D2>;method=INVITE"),
                ),
                (
                    "\"A\" <sip:r@ref.example>;cid=\"2@h\"",
                    Some("\"A\" <sip:r@ref.example>;cid=\"2@h\""),
                ),
                ("sip:a@b?Replaces=c", None),
                ("<sip:a@b>, <sip:c@d>", None),
                ("", None),
            ],
        );
    }
}

/// RFC 3325 §9.1 and §9.2.
#[test]
fn asserted_and_preferred_identities() {
    type Read = fn(&Headers) -> Result<Vec<sip::wire::NameAddr>, ParseError>;
    let readers: [(HeaderName, Read); 2] = [
        (HeaderName::PAssertedIdentity, Headers::asserted_identities),
        (HeaderName::PPreferredIdentity, Headers::preferred_identities),
    ];
    for (name, read) in readers {
        check(
            name,
            read,
            |all| all.len().to_string(),
            &[
                ("\"Cullen\" <sip:fluffy@cisco.com>", Some("1")),
                ("tel:+14085264000", Some("1")),
                ("<sip:a@b>, <tel:+1>", Some("2")),
                ("<sip:a@b>, <sip:c@d>", None),
                ("<tel:+1>, <tel:+2>", None),
                ("<sip:a@b>, <tel:+1>, <sips:c@d>", None),
                ("<sip:a@b>,", None),
            ],
        );
    }
}

/// RFC 3323 §4.2.
#[test]
fn privacy() {
    check(
        HeaderName::Privacy,
        |headers| headers.privacy(),
        |value| format!("{} {} {}", value.asks("id"), value.asks("header"), value.is_none()),
        &[
            ("id", Some("true false false")),
            ("ID; Header ;critical", Some("true true false")),
            ("header, id", Some("true true false")),
            ("none", Some("false false true")),
            ("", None),
            ("id;", None),
            ("id header", None),
        ],
    );
    assert!(Headers::new().privacy().unwrap().is_none());
}

/// RFC 7044 §5, RFC 5806 §4.
#[test]
fn history_and_diversion() {
    check(
        HeaderName::HistoryInfo,
        |headers| headers.history(),
        |all| format!("{:?}", all.iter().map(|one| one.index.clone()).collect::<Vec<_>>()),
        &[
            (
                "<sip:b@x?Reason=SIP%3Bcause%3D302>;index=1, <sip:c@y;cause=486>;index=1.2;mp=1",
                Some("[[1], [1, 2]]"),
            ),
            ("<sip:b@x>", None),
            ("<sip:b@x>;index=1..2", None),
            ("<sip:b@x>;index=a", None),
            ("<sip:b@x>;index=99999999999", None),
        ],
    );
    let deep = format!("<sip:b@x>;index=1{}", ".1".repeat(254));
    assert!(with(&HeaderName::HistoryInfo, &deep).history().is_ok());
    assert!(with(&HeaderName::HistoryInfo, &format!("{deep}.1")).history().is_err(), "limit");
    check(
        HeaderName::Diversion,
        |headers| headers.diversions(),
        |all| text(all[0].params.get("reason").unwrap()),
        &[
            ("<sip:+1@x>;reason=user-busy;counter=2, <sip:+2@x>", Some("user-busy")),
            ("<sip:+1@x>;reason=\"no-answer\"", Some("no-answer")),
            ("+1;reason=unknown", None),
        ],
    );
}

/// RFC 8224 §4.
#[test]
fn identity() {
    check(
        HeaderName::Identity,
        |headers| headers.identity(),
        |all| {
            let one = &all[0];
            format!("{} {} {:?}", text(&one.token), text(&one.info), one.ppt.as_ref().map(text))
        },
        &[
            (
                "eyJ.eyJ.sig_-;info=<https://c.example/a.pem>;alg=ES256;ppt=shaken",
                Some("eyJ.eyJ.sig_- https://c.example/a.pem Some(\"shaken\")"),
            ),
            ("..sig= ; info = <https://c> ; ppt=\"div\"", Some("..sig= https://c Some(\"div\")")),
            ("..sig;info=<a>;x=y;z=\"q\"", Some("..sig a None")),
            ("..sig", None),
            ("..sig;info=<a", None),
            ("..sig;info=<a>;info=<b>", None),
            (";info=<a>", None),
        ],
    );
}

/// RFC 3327 §4, RFC 3608 §5.
#[test]
fn path_and_service_route() {
    let rows: &[(&str, Option<&str>)] = &[
        ("<sip:P1.example.com;lr>,<sip:P2.example.com;lr>", Some("<sip:P1.example.com;lr> 2")),
        ("<sip:P1;lr>;x=y", Some("<sip:P1;lr>;x=y 1")),
        ("<sip:P1;lr>,,<sip:P2>", None),
        ("P1", None),
    ];
    let see = |all: Vec<sip::wire::NameAddr>| format!("{} {}", all[0], all.len());
    check(HeaderName::Path, |headers| headers.path(), see, rows);
    check(HeaderName::ServiceRoute, |headers| headers.service_route(), see, rows);
}

/// RFC 3261 §20.33.
#[test]
fn retry_after() {
    check(
        HeaderName::RetryAfter,
        |headers| headers.retry_after_value(),
        |value| {
            let value = value.unwrap();
            format!("{} {:?} {}", value.seconds, value.comment.map(text), value.params.len())
        },
        &[
            ("18000;duration=3600", Some("18000 None 1")),
            ("120 (I'm in a meeting)", Some("120 Some(\"I'm in a meeting\") 0")),
            ("5 (a (b) \\) c) ;duration=1", Some("5 Some(\"a (b) \\\\) c\") 1")),
            ("4294967296", None),
            ("5 (open", None),
            ("5 x", None),
            ("-1", None),
        ],
    );
}

/// RFC 3261 §20.43.
#[test]
fn warning() {
    check(
        HeaderName::Warning,
        |headers| headers.warnings(),
        |all| {
            let one =
                |w: &sip::wire::Warning| format!("{} {} {}", w.code, text(&w.agent), text(&w.text));
            all.iter().map(one).collect::<Vec<_>>().join("|")
        },
        &[
            (
                "307 isi.edu \"Session parameter 'foo' not understood\"",
                Some("307 isi.edu Session parameter 'foo' not understood"),
            ),
            ("301 a:5060 \"x, y\", 399 b \"z\"", Some("301 a:5060 x, y|399 b z")),
            ("370 [2001:db8::1] \"q\\\"\"", Some("370 [2001:db8::1] q\"")),
            ("99 a \"b\"", None),
            ("1000 a \"b\"", None),
            ("399 a b", None),
            ("399 \"b\"", None),
        ],
    );
}

/// RFC 6665 §8.2.1 and §8.2.3.
#[test]
fn subscriptions() {
    check(
        HeaderName::SubscriptionState,
        |headers| headers.subscription_state(),
        |value| {
            let value = value.unwrap();
            format!("{} {:?} {}", text(&value.state), value.expires, value.is_terminated())
        },
        &[
            ("active;expires=3600", Some("active Some(3600) false")),
            ("Terminated ;reason=timeout;retry-after=5", Some("Terminated None true")),
            ("pending;expires=x", None),
            ("", None),
        ],
    );
    check(
        HeaderName::Event,
        |headers| headers.event(),
        |value| {
            let value = value.unwrap();
            format!("{} {:?}", text(&value.package), value.id.map(text))
        },
        &[
            ("presence.winfo;id=7;x", Some("presence.winfo Some(\"7\")")),
            ("refer", Some("refer None")),
            ("a b", None),
            ("", None),
        ],
    );
}

/// Supported, Require, Unsupported: option tags (RFC 3261 §20.32, §20.37, §20.40).
#[test]
fn option_tags() {
    for name in [HeaderName::Supported, HeaderName::Require, HeaderName::Unsupported] {
        let headers = with(&name, "100rel, Timer,,replaces");
        assert_eq!(headers.list(&name).unwrap().len(), 3, "{name}");
        assert!(headers.has_token(&name, "timer") && !headers.has_token(&name, "time"));
    }
}
