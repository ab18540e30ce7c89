//! The typed readers, row by row.

use bytes::Bytes;
use sip::wire::{
    CSeq, HeaderName, Headers, Host, Message, Method, NameAddr, Request, Uri, Via, parse,
};

use crate::seeds;

fn address(text: &str) -> NameAddr {
    NameAddr::parse(&text.to_owned().into()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn addresses() {
    let rows = [
        ("<sip:a@b>", None, "sip:a@b", None),
        ("sip:a@b;tag=1", None, "sip:a@b", Some("1")),
        ("sip:a@b ; tag = 1", None, "sip:a@b", Some("1")),
        ("<sip:a@b;tag=2>;tag=1", None, "sip:a@b;tag=2", Some("1")),
        ("Bob <sip:a@b>", Some("Bob"), "sip:a@b", None),
        ("Bob<sip:a@b>;tag=x", Some("Bob"), "sip:a@b", Some("x")),
        ("\"A <x>, \\\"B\\\"\" <sip:a@b>", Some("A <x>, \"B\""), "sip:a@b", None),
        ("\"\" <sip:a@b>", Some(""), "sip:a@b", None),
        ("Bob (Sales) <sip:a@b>", Some("Bob (Sales)"), "sip:a@b", None),
        ("Jörg <sip:a@b>", Some("Jörg"), "sip:a@b", None),
        ("<tel:+49-30-1>;tag=1", None, "tel:+49-30-1", Some("1")),
        ("<urn:service:sos>", None, "urn:service:sos", None),
        ("sip:a@b;x=\"<>;tag=9\";tag=1", None, "sip:a@b", Some("1")),
        ("<sip:a@[2001:db8::1]:5070>", None, "sip:a@[2001:db8::1]:5070", None),
    ];
    for (text, display, uri, tag) in rows {
        let got = address(text);
        assert_eq!(got.display.as_deref(), display.map(str::as_bytes), "{text}");
        assert_eq!(got.uri.to_string(), uri, "{text}");
        assert_eq!(got.tag().map(|t| &t[..]), tag.map(str::as_bytes), "{text}");
    }
}

#[test]
fn malformed_addresses() {
    for text in [
        "",
        "<>",
        "<sip:a@b",
        "sip:a@b>",
        "\"Bob <sip:a@b>",
        "\"Bob\\\" <sip:a@b>",
        "Bell, Alexander <sip:a@b>",
        "\"Bob\" sip:a@b",
        "< sip:a@b >",
        "<sip:a@b> x",
        "<sip:a@b>;",
        "<sip:a@b>;;lr",
        "<sip:a@b>;tag=",
        "<sip:a@b>;tag=1;Tag=2",
        "<sip:a@b;lr;lr>",
        "<sip:a@b;x=>",
        "<sip:a@b?>",
        "<sip:a@b?x>",
        "<sip:a%4@b>",
        "<sip:[a@b>",
        "<tel:+1a>",
        "<sip:a@b>;tag=\"x",
        "sip:a@b?Route=x",
        "sip:a@b,sip:c@d",
        "<sip:a@b><sip:c@d>",
        "<sip:a@b@c>",
        "<sip:@b>",
        "<sip:a@>",
        "<sip:a@b:99999>",
        "<sip:a@b:>",
        "<sip:a@b:5060x>",
        "<sip:a@[2001:db8::1>",
        "<sip:a@2001:db8::1>",
        "<sip:a@1.2.3>",
        "<sip:a@1.2.3.4.5>",
        "<sip:a@256.1.1.1>",
        "<tel:>",
        "<tel:abc+1>",
        "<tel:xyz>",
        "<:x>",
        "<a>",
    ] {
        let got = NameAddr::parse(&text.to_owned().into());
        assert!(got.is_err(), "{text:?}: {got:?}");
    }
}

#[test]
fn the_parts_of_a_sip_uri() {
    let Uri::Sip(uri) =
        Uri::parse(b"SIPS:a:pw;x=1@Host.Example:5071;transport=TCP;lr?Subject=x").unwrap()
    else {
        panic!()
    };
    assert!(uri.secure);
    assert_eq!(uri.user.as_deref(), Some(&b"a:pw;x=1"[..]));
    assert_eq!(uri.user_text().unwrap(), "a");
    assert_eq!(uri.host, Host::Name("Host.Example".into()));
    assert_eq!(uri.port, Some(5071));
    assert_eq!(uri.params.get("TRANSPORT").unwrap(), "TCP");
    assert!(uri.params.has("lr") && uri.params.get("lr").unwrap().is_empty());
    assert_eq!(uri.headers.as_deref(), Some(&b"Subject=x"[..]));
    assert_eq!(uri.to_string(), "sips:a:pw;x=1@Host.Example:5071;transport=TCP;lr?Subject=x");
}

/// RFC 3261 §19.1.4, its own examples, and RFC 3966 §5.
#[test]
fn equivalent_uris() {
    let rows = [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp", true),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", true),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on", true),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            true,
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            true,
        ),
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP", false),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", false),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp", false),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp", false),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting", false),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4", false),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off", false),
        ("sip:bob@biloxi.com", "sips:bob@biloxi.com", false),
        ("sip:biloxi.com", "sip:bob@biloxi.com", false),
        ("sip:a%40b@c.com", "sip:a%40B@c.com", false),
        ("sip:a@[2001:DB8::1]", "sip:a@[2001:db8:0::1]", true),
        ("tel:+1-201-555-0123", "tel:+12015550123", true),
        ("tel:911;phone-context=+1", "tel:911;PHONE-CONTEXT=+1", true),
        ("tel:911;phone-context=+1", "tel:911;phone-context=+44", false),
        ("tel:12015550123", "tel:+12015550123", false),
        ("urn:a:b", "urn:a:b", true),
    ];
    for (a, b, expected) in rows {
        let (a, b) = (Uri::parse(a.as_bytes()).unwrap(), Uri::parse(b.as_bytes()).unwrap());
        assert_eq!(a.equivalent(&b), expected, "{a} {b}");
        assert_eq!(b.equivalent(&a), expected, "{b} {a}");
    }
}

#[test]
fn a_joined_via_is_split_when_its_top_is_popped() {
    let mut headers = Headers::new();
    headers.push(
        HeaderName::Via,
        "SIP/2.0/UDP a.example;branch=z9hG4bK1;x=\",\" , SIP/2.0/TCP b.example ;branch=z9hG4bK2",
    );
    headers.push(HeaderName::Via, "SIP/2.0/TLS c.example:5061;branch=z9hG4bK3");
    let mut top = headers.via().unwrap();
    top.params.set("received", "192.0.2.1");
    top.params.set("rport", "5062");
    headers.set_top_via(&top).unwrap();
    assert_eq!(headers.len(), 2);
    let all = headers.vias().unwrap();
    assert_eq!(all.len(), 3);
    assert_eq!(all[0].received(), "192.0.2.1".parse().ok());
    assert_eq!(all[0].rport(), Some(5062));
    let popped: Vec<_> = std::iter::from_fn(|| headers.pop_via().ok()).collect();
    assert_eq!(popped, all);
    assert!(headers.is_empty());
    assert!(headers.pop_via().is_err());
}

#[test]
fn via_values() {
    let via = |text: &str| Via::parse(&text.to_owned().into());
    let full = via("sip / 2.0 / UDP  [2001:db8::1] : 5070 ; branch = z9hG4bKx ; rport").unwrap();
    assert_eq!(full.to_string(), "SIP/2.0/UDP [2001:db8::1]:5070;branch=z9hG4bKx;rport");
    assert!(full.wants_rport() && full.rport().is_none() && full.has_cookie());
    for text in [
        "",
        "SIP/2.0 a.example",
        "SIP/2.0/UDP",
        "SIP/2.0/UDPa.example",
        "SIP/3.0/UDP a.example",
        "HTTP/2.0/UDP a.example",
        "SIP/2.0/UDP a.example:99999",
        "SIP/2.0/UDP a.example x",
        "SIP/2.0/UDP 192.0.2.15;;,;,,",
        "SIP/2.0/UDP a.example;branch",
    ] {
        let got = via(text);
        let harmless = got.as_ref().is_ok_and(|via| via.branch().is_none() && !via.has_cookie());
        assert!(got.is_err() || harmless, "{text}");
    }
}

#[test]
fn numbers() {
    let headers = |name: HeaderName, value: &str| {
        let mut headers = Headers::new();
        headers.push(name, value.to_owned());
        headers
    };
    let forwards = |value: &str| headers(HeaderName::MaxForwards, value).max_forwards().ok();
    assert_eq!(forwards("0"), Some(Some(0)));
    assert_eq!(forwards("255"), Some(Some(255)));
    for bad in ["256", "-1", "", "1 2", "+1", "1x", "99999999999999999999999"] {
        assert_eq!(forwards(bad), None, "{bad}");
    }
    assert_eq!(headers(HeaderName::Expires, "4294967295").expires().unwrap(), Some(u32::MAX));
    assert!(headers(HeaderName::Expires, "4294967296").expires().is_err());
    assert_eq!(headers(HeaderName::RetryAfter, "120 (busy)").retry_after().unwrap(), Some(120));
    assert_eq!(headers(HeaderName::RetryAfter, "18;duration=3").retry_after().unwrap(), Some(18));
    assert_eq!(headers(HeaderName::MinSe, "90;x=y").min_se().unwrap(), Some(90));
    assert_eq!(headers(HeaderName::RSeq, "988789").rseq().unwrap(), Some(988_789));
    assert_eq!(headers(HeaderName::MinExpires, "60").min_expires().unwrap(), Some(60));
    let (seconds, params) = headers(HeaderName::SessionExpires, "1800;refresher=uas")
        .session_expires()
        .unwrap()
        .unwrap();
    assert_eq!((seconds, &params.get("refresher").unwrap()[..]), (1800, &b"uas"[..]));
    let (number, cseq) = headers(HeaderName::RAck, "776656 1 INVITE").rack().unwrap().unwrap();
    assert_eq!((number, cseq), (776_656, CSeq { number: 1, method: Method::Invite }));
    assert!(headers(HeaderName::RAck, "776656 INVITE").rack().is_err());
}

#[test]
fn names_compare_without_case_and_in_compact_form() {
    let mut headers = Headers::new();
    headers.push(HeaderName::from("m"), "<sip:a@b>");
    headers.push(HeaderName::Other("X-thing".into()), "1");
    headers.push(HeaderName::Other("via".into()), "SIP/2.0/UDP a");
    assert_eq!(headers.contacts().unwrap().len(), 1);
    assert_eq!(headers.get(&HeaderName::from("x-THING")).unwrap(), "1");
    assert!(headers.via().is_ok(), "a known name under Other is folded in");
    headers.set(HeaderName::from("X-THING"), "2");
    assert_eq!(headers.all(&HeaderName::from("X-Thing")).collect::<Vec<_>>(), ["2"]);
    assert!(headers.remove(&HeaderName::from("X-Thing")));
    assert!(!headers.remove(&HeaderName::from("X-Thing")));
    assert_eq!(HeaderName::from("T").as_str(), "To");
    assert_eq!(HeaderName::from("z"), HeaderName::Other("Z".into()));
}

#[test]
fn lists() {
    let mut headers = Headers::new();
    headers.push(HeaderName::Supported, "timer, 100rel,,");
    headers.push(HeaderName::Supported, " replaces");
    headers.push(HeaderName::Require, "");
    assert_eq!(headers.list(&HeaderName::Supported).unwrap(), ["timer", "100rel", "replaces"]);
    assert!(headers.has_token(&HeaderName::Supported, "TIMER"));
    assert!(!headers.has_token(&HeaderName::Supported, "time"));
    assert!(headers.list(&HeaderName::Require).unwrap().is_empty());
    headers.set(HeaderName::Contact, "\"a, b\" <sip:a,1@b>;q=\"0,5\" , <sip:c@d>");
    assert_eq!(headers.contacts().unwrap().len(), 2);
    headers.set(HeaderName::Contact, "*");
    assert_eq!(headers.contacts().unwrap()[0].uri, Uri::Other("*".into()));
    headers.set(HeaderName::Route, "<sip:a@b>,");
    assert!(headers.route().is_err(), "an empty element of a routing list");
    headers.set(HeaderName::Route, "\"unclosed <sip:a@b>");
    assert!(headers.route().is_err());
}

#[test]
fn a_trunk_invite_is_read_and_written() {
    let message = parse(seeds::MESSAGES[0].1.into()).unwrap();
    let headers = message.headers();
    assert_eq!(headers.from().unwrap().display.unwrap(), "Müller, \"Bob\"");
    assert_eq!(headers.record_route().unwrap().len(), 2);
    let asserted = headers.name_addrs(&HeaderName::PAssertedIdentity).unwrap();
    assert!(matches!(&asserted[1].uri, Uri::Tel(tel) if tel.digits() == "+493098765"));
    let instance = headers.contacts().unwrap()[0].params.get("+sip.instance").cloned();
    assert_eq!(instance.unwrap(), "<urn:uuid:00000000-0000-1000-8000-000A95A0E128>");
    let Message::Request(request) = &message else { panic!() };
    let uri = request.uri.as_sip().unwrap();
    assert_eq!(uri.user.as_deref(), Some(&b"+4930123456;phone-context=example.com"[..]));
    assert_eq!(
        &message.to_bytes()[..],
        seeds::MESSAGES[0].1,
        "canonical input is written as it came"
    );
}

/// The compact, folded message in full names on single lines.
#[test]
fn a_compact_folded_message_is_written_in_full() {
    let message = parse(seeds::MESSAGES[1].1.into()).unwrap();
    let text = String::from_utf8(message.to_bytes().to_vec()).unwrap();
    insta::assert_snapshot!(text.replace('\r', ""), @r"
    INVITE sip:bob@192.0.2.4 SIP/2.0
    Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK1, SIP / 2.0 / TCP 192.0.2.8 ; branch = z9hG4bK2
    Via: SIP/2.0/UDP [2001:db8::9];branch=z9hG4bK3;received=2001:db8::10
    From: Alice <sip:alice@example.com>;tag=1
    To: <sip:bob@192.0.2.4>
    Call-ID: folded-1
    CSeq: 1 INVITE
    Contact: <sip:alice@192.0.2.9>
    Supported: timer
    Subject: one two three
    Content-Type: application/sdp
    Content-Length: 0
    ");
}

#[test]
fn a_binary_body_and_an_opaque_header_pass_unchanged() {
    let isup = seeds::MESSAGES[4].1;
    let body = parse(isup.into()).unwrap().body().clone();
    assert!(isup.ends_with(&body) && body.contains(&0) && std::str::from_utf8(&body).is_err());
    let prack = parse(seeds::MESSAGES[3].1.into()).unwrap();
    assert!(prack.headers().get(&HeaderName::from("X-Unknown")).unwrap().ends_with(b", ;;\""));
}

#[test]
fn debug_shows_neither_credentials_nor_bodies() {
    let register = format!("{:?}", parse(seeds::MESSAGES[5].1.into()).unwrap());
    assert!(!register.contains("6629fae4") && register.contains("redacted"), "{register}");
    assert!(register.contains("REGISTER") || register.contains("Register"), "control");
    let invite = format!("{:?}", parse(seeds::MESSAGES[0].1.into()).unwrap());
    assert!(!invite.contains("WVNfX19z"), "{invite}");
}

#[test]
fn content_length_is_written_from_the_body() {
    let mut request = Request::new(Method::Info, Uri::parse(b"sip:a@b").unwrap());
    request.headers.push(HeaderName::ContentLength, "999");
    request.body = Bytes::from_static(b"12345");
    let text = String::from_utf8(request.to_bytes().to_vec()).unwrap();
    assert_eq!(text, "INFO sip:a@b SIP/2.0\r\nContent-Length: 5\r\n\r\n12345");
    assert_eq!(request.headers.get(&HeaderName::ContentLength).unwrap(), "999", "not changed");
}
