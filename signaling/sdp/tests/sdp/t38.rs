//! ITU-T T.38 annex D: fax over UDPTL in a call.

use crate::common::*;
use sdp::{
    Codec, Description, Fax, Reject, read_fax_answer, read_fax_offer, read_offer, write_answer,
    write_fax_answer, write_fax_offer,
};

/// What gateways offer, in the order of T.38's table.
const PARAMETERS: [&str; 8] = [
    "a=T38FaxVersion:0",
    "a=T38MaxBitRate:14400",
    "a=T38FaxFillBitRemoval",
    "a=T38FaxTranscodingMMR:0",
    "a=T38FaxRateManagement:transferredTCF",
    "a=T38FaxMaxBuffer:260",
    "a=T38FaxMaxDatagram:160",
    "a=T38FaxUdpEC:t38UDPRedundancy",
];

fn fax_lines(media: &str) -> String {
    let mut lines = vec![media];
    lines.extend(PARAMETERS);
    with(&lines)
}

fn read(text: &str) -> Result<Fax, Reject> {
    read_fax_offer(&parse(text), &plain())
}

/// The lines of a body from its first media line on.
fn media_of(body: Vec<u8>) -> Vec<String> {
    let body = text(body);
    body.lines().skip_while(|line| !line.starts_with("m=")).map(str::to_owned).collect()
}

#[test]
fn parameters_pass_as_they_were_said_and_addresses_are_ours() {
    let offer = fax_lines("m=image 4820 udptl t38");
    let fax = read(&offer).unwrap();
    assert_eq!(fax.address, "192.0.2.1:4820".parse().unwrap());
    let mut expected = vec!["m=image 40000 udptl t38"];
    expected.extend(PARAMETERS);
    let ours = write_fax_offer(&fax, &plain(), &local(&[])).unwrap();
    assert!(text(ours.clone()).contains("c=IN IP4 10.99.0.1"));
    assert_eq!(media_of(ours.clone()), expected);
    let answer = with(&["m=image 5000 udptl t38", "a=T38FaxVersion:0", "a=T38MaxBitRate:9600"]);
    let far = read_fax_answer(&parse(&answer), &Description::parse(&ours).unwrap()).unwrap();
    let told = write_fax_answer(&parse(&offer), &fax, &far, &plain(), &local(&[])).unwrap();
    let expected = ["m=image 40000 udptl t38", "a=T38FaxVersion:0", "a=T38MaxBitRate:9600"];
    assert_eq!(media_of(told), expected);
}

#[test]
fn what_is_a_fax_line() {
    for (line, is_fax) in [
        ("m=image 4820 udptl t38", true),
        ("m=IMAGE 4820 UDPTL T38", true),
        ("m=image 4820 udptl t38 x", true),
        ("m=image 0 udptl t38", false),
        ("m=image 4820 tcp t38", false),
        ("m=image 4820 udptl x", false),
        ("m=audio 4820 udptl t38", false),
    ] {
        assert_eq!(parse(&with(&[line])).has_fax(), is_fax, "{line}");
        assert_eq!(read(&with(&[line])).is_ok(), is_fax, "{line}");
    }
}

#[test]
fn an_answer_repeats_the_lines_of_the_offer() {
    let offer = with(&[
        "m=audio 0 RTP/AVP 8",
        "m=Image 4820 UDPTL T38",
        "a=T38FaxVersion:0",
        "m=video 5000 RTP/AVP 99",
    ]);
    let fax = read(&offer).unwrap();
    assert_eq!(fax.index, 1);
    let told = write_fax_answer(&parse(&offer), &fax, &fax, &plain(), &local(&[])).unwrap();
    let expected = [
        "m=audio 0 RTP/AVP 8",
        "m=Image 40000 UDPTL T38",
        "a=T38FaxVersion:0",
        "m=video 0 RTP/AVP 99",
    ];
    assert_eq!(media_of(told), expected);
}

/// A first offer of both: the call begins as audio.
#[test]
fn fax_beside_audio_is_refused_in_its_place() {
    let lines = ["m=audio 4000 RTP/AVP 8", "m=image 4820 udptl t38", "a=T38FaxVersion:0"];
    let offer = parse(&with(&lines));
    assert!(offer.has_audio() && offer.has_fax());
    let policy = allowing(plain(), &[Codec::Pcma, Codec::T38]);
    let audio = read_offer(&offer, &policy).unwrap();
    let told = write_answer(&offer, &audio, &audio, &policy, &local(&[])).unwrap();
    let lines: Vec<_> = media_of(told).into_iter().filter(|l| l.starts_with("m=")).collect();
    assert_eq!(lines, ["m=audio 40000 RTP/AVP 8", "m=image 0 udptl t38"]);
}

#[test]
fn fax_passes_where_it_is_allowed_and_nothing_must_be_encrypted() {
    let offer = parse(&fax_lines("m=image 4820 udptl t38"));
    let fax = read_fax_offer(&offer, &plain()).unwrap();
    let allowed = allowing(plain(), &[Codec::Pcma, Codec::T38]);
    assert!(read_fax_offer(&offer, &allowed).is_ok());
    let unwanted = allowing(plain(), &[Codec::Pcma]);
    let barred = sdp::Policy { disallow: vec![Codec::T38], ..allowed };
    for (policy, code) in [(unwanted, 305), (barred, 305), (secure(), 302)] {
        let local = local(&[]);
        let refusals = [
            read_fax_offer(&offer, &policy).unwrap_err(),
            write_fax_offer(&fax, &policy, &local).unwrap_err(),
            write_fax_answer(&offer, &fax, &fax, &policy, &local).unwrap_err(),
        ];
        for reject in refusals {
            assert_eq!(reject.status(), 488);
            assert_eq!(reject.warning().unwrap().0, code, "{reject}");
        }
    }
    let why = read_fax_offer(&offer, &secure()).unwrap_err().to_string();
    assert!(why.contains("no encryption"), "{why}");
}

#[test]
fn a_refused_fax_line_is_no_answer() {
    let fax = read(&fax_lines("m=image 4820 udptl t38")).unwrap();
    let ours = write_fax_offer(&fax, &plain(), &local(&[])).unwrap();
    let ours = Description::parse(&ours).unwrap();
    let answered = |lines: &[&str]| read_fax_answer(&parse(&with(lines)), &ours);
    assert!(answered(&["m=image 5000 udptl t38"]).is_ok(), "positive control");
    assert_eq!(answered(&["m=image 0 udptl t38"]), Err(Reject::FaxRefused));
    let two = answered(&["m=audio 4000 RTP/AVP 8", "m=image 5000 udptl t38"]);
    assert_eq!(two, Err(Reject::MediaLines { wanted: 1, found: 2 }));
    assert_eq!(answered(&["m=audio 4000 RTP/AVP 8"]), Err(Reject::FaxRefused));
}

/// Nothing that could name a place or a vendor goes to the other side.
#[test]
fn parameters_are_words_and_numbers() {
    let longest = "x".repeat(sdp::limits::FAX_VALUE_BYTES_MAX);
    let lines = [
        "m=image 4820 udptl t38".to_owned(),
        "a=t38faxversion:3".to_owned(),
        "a=T38VendorInfo:0 0 37".to_owned(),
        "a=T38FaxMaxBuffer:198.51.100.1".to_owned(),
        "a=T38FaxMaxDatagram:".to_owned(),
        format!("a=T38FaxUdpEC:{longest}"),
        format!("a=T38ModemType:{longest}x"),
        "a=canary:1".to_owned(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let fax = read(&with(&lines)).unwrap();
    let expected = [("T38FaxVersion", Some("3".to_owned())), ("T38FaxUdpEC", Some(longest))];
    assert_eq!(fax.parameters, expected);
}
