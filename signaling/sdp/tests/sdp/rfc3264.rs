//! Offer/answer rules of RFC 3264, one table for each.

use crate::common::*;
use sdp::{
    Audio, Direction, Policy, Reject, Suite, read_answer, read_offer, succeed, write_answer,
    write_offer,
};

/// Offer of A, answer of B, both as said, through the gateway: our offer to B and our answer to A.
fn through(a: &str, b: &str, pa: &Policy, pb: &Policy) -> Result<(String, String), Reject> {
    let offer = parse(a);
    let chosen = read_offer(&offer, pa)?;
    let keys = our_keys();
    let to_b = write_offer(Some(&chosen), pb, &local(&keys))?;
    let far = read_answer(&parse(b), &parse(&text(to_b.clone())), pb)?;
    let keys = answer_keys(&chosen);
    let to_a = write_answer(&offer, &chosen, &far, pa, &local(&keys))?;
    Ok((text(to_b), text(to_a)))
}

fn direction_of(body: &str) -> Direction {
    read_offer(&parse(body), &plain()).unwrap().direction
}

/// RFC 3264 §8: a new offer has the lines of the last description, those that are refused too.
#[test]
fn lines_never_go_away() {
    let media = |body: &[u8]| -> Vec<String> {
        let text = String::from_utf8(body.to_vec()).unwrap();
        text.lines().filter(|line| line.starts_with("m=")).map(str::to_owned).collect()
    };
    let last = ["m=video 0 RTP/AVP 99 100", "m=audio 40000 RTP/SAVP 8", "m=image 0 udptl t38"];
    for lines in [&last[..], &last[1..], &last[..2], &last[1..2]] {
        let keys = our_keys();
        let policy = allowing(secure(), &[sdp::Codec::Pcmu]);
        let ours = write_offer(None, &policy, &local(&keys)).unwrap();
        let whole = succeed(&parse(&with(lines)), ours.clone());
        let mut expected: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
        let live = expected.iter_mut().find(|line| line.starts_with("m=audio")).unwrap();
        *live = media(&ours).remove(0);
        assert_eq!(media(&whole), expected);
        let whole = parse(&text(whole));
        let read = read_offer(&whole, &policy).unwrap();
        let alone = read_offer(&parse(&text(ours)), &policy).unwrap();
        assert_eq!(read.cryptos, alone.cryptos, "the keys stay with their line");
        assert_eq!(read.cryptos.len(), Suite::ALL.len());
    }
}

#[test]
fn directions_pass_as_said_and_answers_fit_the_offer() {
    use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    // RFC 3264 §5.1, §6.1, §8.4: A's attribute, B's attribute; what B reads, what A reads.
    let table = [
        ("a=sendrecv", "a=sendrecv", SendRecv, SendRecv),
        ("", "", SendRecv, SendRecv),
        ("a=sendonly", "a=recvonly", SendOnly, RecvOnly),
        ("a=recvonly", "a=sendonly", RecvOnly, SendOnly),
        ("a=inactive", "a=inactive", Inactive, Inactive),
        ("a=sendrecv", "a=sendonly", SendRecv, SendOnly),
        ("a=sendrecv", "a=recvonly", SendRecv, RecvOnly),
        ("a=sendrecv", "a=inactive", SendRecv, Inactive),
        // B forgets the attribute or answers more than was offered: §6.1 decides.
        ("a=sendonly", "", SendOnly, RecvOnly),
        ("a=recvonly", "", RecvOnly, SendOnly),
        ("a=inactive", "", Inactive, Inactive),
        ("a=sendonly", "a=sendonly", SendOnly, Inactive),
        ("a=recvonly", "a=recvonly", RecvOnly, Inactive),
        // Letters of any case.
        ("a=SendOnly", "a=RecvOnly", SendOnly, RecvOnly),
    ];
    for (said, answered, to_b, to_a) in table {
        let a = with(&["m=audio 5000 RTP/AVP 8", said]);
        let b = with(&["m=audio 6000 RTP/AVP 8", answered]);
        let (offer, answer) = through(&a, &b, &plain(), &plain()).unwrap();
        assert_eq!(direction_of(&offer), to_b, "to B: {said} {answered}");
        assert_eq!(direction_of(&answer), to_a, "to A: {said} {answered}");
    }
}

#[test]
fn direction_of_the_media_line_overrides_that_of_the_whole() {
    // RFC 4566 §6: attribute before the first m= line, attribute after it, meaning.
    let table = [
        ("a=sendonly", "", Direction::SendOnly),
        ("a=sendonly", "a=sendrecv", Direction::SendRecv),
        ("a=inactive", "a=recvonly", Direction::RecvOnly),
        ("", "a=inactive", Direction::Inactive),
    ];
    for (whole, line, wanted) in table {
        assert_eq!(direction_of(&with(&[whole, "m=audio 5000 RTP/AVP 8", line])), wanted);
    }
}

#[test]
fn an_unspecified_address_is_hold() {
    // RFC 3264 §8.4: connection lines, attribute, how it reads.
    let table = [
        ("c=IN IP4 0.0.0.0", "", Direction::SendOnly),
        ("c=IN IP4 0.0.0.0", "a=sendrecv", Direction::SendOnly),
        ("c=IN IP4 0.0.0.0", "a=sendonly", Direction::SendOnly),
        ("c=IN IP4 0.0.0.0", "a=recvonly", Direction::Inactive),
        ("c=IN IP4 0.0.0.0", "a=inactive", Direction::Inactive),
        ("c=IN IP6 ::", "", Direction::SendOnly),
        ("c=IN IP6 ::ffff:0.0.0.0", "", Direction::SendOnly),
    ];
    for (connection, attribute, wanted) in table {
        let hold = with(&["m=audio 5000 RTP/AVP 8", connection, attribute]);
        let audio = read_offer(&parse(&hold), &plain()).unwrap();
        assert_eq!(audio.direction, wanted, "{connection} {attribute}");
        assert!(audio.rtp.ip().is_unspecified() && audio.rtcp.ip().is_unspecified());
        let forwarded = text(write_offer(Some(&audio), &plain(), &local(&[])).unwrap());
        assert!(!forwarded.contains("0.0.0.0"), "our own address stands in the offer");
    }
}

#[test]
fn every_line_of_the_offer_is_answered_in_order() {
    // RFC 3264 §6: lines of the offer, lines of the answer.
    let table: [(&[&str], &[&str]); 5] = [
        (&["m=audio 5000 RTP/AVP 8"], &["m=audio 40000 RTP/AVP 8"]),
        (
            &["m=audio 5000 RTP/AVP 8", "m=video 5002 RTP/AVP 97 98"],
            &["m=audio 40000 RTP/AVP 8", "m=video 0 RTP/AVP 97 98"],
        ),
        (
            &["m=image 5002 udptl t38", "m=audio 5000 RTP/AVPF 8"],
            &["m=image 0 udptl t38", "m=audio 40000 RTP/AVPF 8"],
        ),
        (
            &["m=audio 0 RTP/AVP 8", "m=audio 5000 RTP/AVP 8", "m=audio 5002 RTP/AVP 8"],
            &["m=audio 0 RTP/AVP 8", "m=audio 40000 RTP/AVP 8", "m=audio 0 RTP/AVP 8"],
        ),
        (
            &["m=message 0 TCP/MSRP *", "m=application 9 UDP/BFCP *", "m=audio 5000 RTP/AVP 8"],
            &["m=message 0 TCP/MSRP *", "m=application 0 UDP/BFCP *", "m=audio 40000 RTP/AVP 8"],
        ),
    ];
    for (offered, wanted) in table {
        let offer = parse(&with(offered));
        let chosen = read_offer(&offer, &plain()).unwrap();
        let body = text(write_answer(&offer, &chosen, &chosen, &plain(), &local(&[])).unwrap());
        let lines: Vec<_> = body.lines().filter(|line| line.starts_with("m=")).collect();
        assert_eq!(lines, wanted);
    }
}

#[test]
fn an_answer_must_have_the_lines_of_the_offer() {
    // RFC 3264 §6: answer lines to our one audio line, what comes of it.
    type Holds = fn(&Result<Audio, Reject>) -> bool;
    let table: [(&[&str], Holds); 6] = [
        (&["m=audio 6000 RTP/AVP 8"], Result::is_ok),
        (&[], |r| matches!(r, Err(Reject::MediaLines { wanted: 1, found: 0 }))),
        (&["m=audio 6000 RTP/AVP 8", "m=video 0 RTP/AVP 97"], |r| {
            matches!(r, Err(Reject::MediaLines { wanted: 1, found: 2 }))
        }),
        (&["m=audio 0 RTP/AVP 8"], |r| matches!(r, Err(Reject::Refused))),
        (&["m=image 6000 udptl t38"], |r| matches!(r, Err(Reject::Refused))),
        (&["m=audio 6000 RTP/SAVP 8"], |r| matches!(r, Err(Reject::Profile { .. }))),
    ];
    let ours = parse(&text(write_offer(None, &plain(), &local(&[])).unwrap()));
    for (lines, holds) in table {
        let result = read_answer(&parse(&with(lines)), &ours, &plain());
        assert!(holds(&result), "{lines:?}: {result:?}");
    }
}

#[test]
fn formats_of_an_answer_are_those_of_the_offer() {
    // RFC 3264 §6.1: formats of A, formats of B's answer, formats of our answer to A.
    let opus = "a=rtpmap:111 opus/48000/2";
    let event = "a=rtpmap:101 telephone-event/8000";
    let table: [(&[&str], &[&str], &str); 8] = [
        (&["m=audio 5000 RTP/AVP 8 0"], &["m=audio 6000 RTP/AVP 8 0"], "8 0"),
        (&["m=audio 5000 RTP/AVP 8 0"], &["m=audio 6000 RTP/AVP 0"], "0"),
        (&["m=audio 5000 RTP/AVP 8 0"], &["m=audio 6000 RTP/AVP 0 8"], "0 8"),
        // B adds what was not offered.
        (&["m=audio 5000 RTP/AVP 8"], &["m=audio 6000 RTP/AVP 8 9 18"], "8"),
        (&["m=audio 5000 RTP/AVP 8 101", event], &["m=audio 6000 RTP/AVP 8 101", event], "8 101"),
        (&["m=audio 5000 RTP/AVP 8 101", event], &["m=audio 6000 RTP/AVP 8"], "8"),
        // B uses another payload type for the same format: A keeps its own.
        (
            &["m=audio 5000 RTP/AVP 111 8", opus],
            &["m=audio 6000 RTP/AVP 96 8", "a=rtpmap:96 OPUS/48000/2"],
            "111 8",
        ),
        (&["m=audio 5000 RTP/AVP 8"], &["m=audio 6000 RTP/AVP 98", "a=rtpmap:98 PCMA/8000/1"], "8"),
    ];
    for (offered, answered, wanted) in table {
        let (_, answer) = through(&with(offered), &with(answered), &plain(), &plain()).unwrap();
        let line = answer.lines().find(|line| line.starts_with("m=audio")).unwrap();
        assert_eq!(line, format!("m=audio 40000 RTP/AVP {wanted}"), "{offered:?} {answered:?}");
    }
}

#[test]
fn an_answer_without_a_common_codec_is_refused() {
    let answers: [&[&str]; 3] = [
        &["m=audio 6000 RTP/AVP 18"],
        // The number of an offered format with another meaning is another format.
        &["m=audio 6000 RTP/AVP 8", "a=rtpmap:8 iLBC/8000"],
        &["m=audio 6000 RTP/AVP 101", "a=rtpmap:101 telephone-event/8000"],
    ];
    let a = with(&["m=audio 5000 RTP/AVP 8 101", "a=rtpmap:101 telephone-event/8000"]);
    for lines in answers {
        let reject = through(&a, &with(lines), &plain(), &plain()).unwrap_err();
        assert!(matches!(reject, Reject::NoCommonFormat { .. }), "{lines:?}: {reject:?}");
        assert_eq!(reject.status(), 488);
    }
}

#[test]
fn several_formats_of_one_codec_stay_apart() {
    let modes = ["a=rtpmap:96 AMR/8000", "a=rtpmap:97 AMR/8000", "a=fmtp:97 octet-align=1"];
    let a = with(&[&["m=audio 5000 RTP/AVP 96 97"][..], &modes].concat());
    // B takes the second of the two, first under the number offered, then under its own.
    let same = ["m=audio 6000 RTP/AVP 97", "a=rtpmap:97 AMR/8000", "a=fmtp:97 octet-align=1"];
    let own = ["m=audio 6000 RTP/AVP 120", "a=rtpmap:120 AMR/8000", "a=fmtp:120 octet-align=1"];
    for b in [same, own] {
        let (_, answer) = through(&a, &with(&b), &plain(), &plain()).unwrap();
        assert!(answer.contains("m=audio 40000 RTP/AVP 97\r\n"), "{answer}");
        assert!(answer.contains("a=fmtp:97 octet-align=1\r\n"), "{answer}");
    }
}

#[test]
fn packet_times_pass_and_nonsense_does_not() {
    // RFC 4566 §6: attribute, ptime and maxptime as read.
    let table = [
        ("a=ptime:20", (Some(20), None)),
        ("a=ptime: 30 ", (Some(30), None)),
        ("a=maxptime:150", (None, Some(150))),
        ("a=ptime:0", (None, None)),
        ("a=ptime:1000", (Some(1000), None)),
        ("a=ptime:1001", (None, None)),
        ("a=ptime:-20", (None, None)),
        ("a=ptime:4294967316", (None, None)),
        ("a=ptime", (None, None)),
        ("a=ptime:twenty", (None, None)),
    ];
    for (attribute, wanted) in table {
        let offer = parse(&with(&["m=audio 5000 RTP/AVP 8", attribute]));
        let audio = read_offer(&offer, &plain()).unwrap();
        assert_eq!((audio.ptime, audio.maxptime), wanted, "{attribute}");
        let ours = text(write_offer(Some(&audio), &plain(), &local(&[])).unwrap());
        let again = read_offer(&parse(&ours), &plain()).unwrap();
        assert_eq!((again.ptime, again.maxptime), wanted, "{attribute}");
    }
}

#[test]
fn the_first_audio_line_that_fits_is_chosen() {
    let lines = [
        "m=audio 0 RTP/AVP 8",
        "m=audio 5000 RTP/SAVP 8",
        "m=audio 5002 RTP/AVP 96",
        "m=audio 5004 RTP/AVP 0",
        "m=audio 5006 RTP/AVP 8",
    ];
    let audio = read_offer(&parse(&with(&lines)), &plain()).unwrap();
    assert_eq!((audio.index, audio.rtp.port()), (3, 5004));
    // None fits: the reason is that of the first line with the right profile.
    let reject = read_offer(&parse(&with(&lines[..3])), &plain()).unwrap_err();
    assert!(matches!(reject, Reject::NoCommonFormat { .. }), "{reject:?}");
    let reject = read_offer(&parse(&with(&lines[..2])), &plain()).unwrap_err();
    assert!(matches!(reject, Reject::Profile { .. }), "{reject:?}");
    let reject = read_offer(&parse(&with(&lines[..1])), &plain()).unwrap_err();
    assert_eq!(reject.warning().unwrap().0, 304);
}

#[test]
fn an_unchanged_origin_says_that_nothing_changed() {
    // RFC 3264 §8.
    let a = parse("v=0\no=- 1 1 IN IP4 192.0.2.1\n");
    let same = parse("v=0\r\no=- 1 1 IN IP4 192.0.2.1 \r\n");
    let next = parse("v=0\no=- 1 2 IN IP4 192.0.2.1\n");
    assert!(a.is_same_version(&same) && !a.is_same_version(&next));
    assert!(!parse("v=0\n").is_same_version(&parse("v=0\n")), "without o= nothing is known");
}

#[test]
fn an_answer_may_number_formats_otherwise() {
    type Formats = &'static [(u8, &'static str)];
    type Numbers = &'static [(u8, u8)];
    // RFC 3264 §6.1: formats of the offer; of the answer; offer's and answer's number of each pair.
    let table: [(Formats, Formats, Numbers); 6] = [
        (
            &[(8, "PCMA/8000"), (101, "telephone-event/8000")],
            &[(8, "PCMA/8000"), (96, "telephone-event/8000")],
            &[(8, 8), (101, 96)],
        ),
        (&[(111, "opus/48000/2")], &[(96, "opus/48000/2")], &[(111, 96)]),
        // Numbers that change places.
        (
            &[(96, "AMR/8000"), (97, "AMR-WB/16000")],
            &[(96, "AMR-WB/16000"), (97, "AMR/8000")],
            &[(97, 96), (96, 97)],
        ),
        // The answer's order counts, and what it leaves out.
        (
            &[(8, "PCMA/8000"), (0, "PCMU/8000"), (101, "telephone-event/8000")],
            &[(0, "PCMU/8000")],
            &[(0, 0)],
        ),
        // Two for one: the first counts.
        (&[(96, "AMR/8000")], &[(97, "AMR/8000"), (98, "AMR/8000")], &[(96, 97)]),
        // Another clock rate is another format.
        (
            &[(111, "opus/48000/2"), (101, "telephone-event/8000"), (110, "telephone-event/48000")],
            &[(96, "opus/48000/2"), (97, "telephone-event/48000")],
            &[(111, 96), (110, 97)],
        ),
    ];
    let described = |formats: Formats| {
        let numbers: Vec<_> = formats.iter().map(|(number, _)| number.to_string()).collect();
        let media = format!("m=audio 5000 RTP/AVP {}", numbers.join(" "));
        let maps = formats.iter().map(|(number, name)| format!("a=rtpmap:{number} {name}"));
        let lines: Vec<_> = std::iter::once(media).chain(maps).collect();
        parse(&with(&lines.iter().map(String::as_str).collect::<Vec<_>>()))
    };
    for (offered, answered, wanted) in table {
        let offer = read_offer(&described(offered), &plain()).unwrap();
        let answer = read_answer(&described(answered), &described(offered), &plain()).unwrap();
        let numbers: Vec<_> =
            offer.agreed(&answer).iter().map(|(o, a)| (o.payload_type, a.payload_type)).collect();
        assert_eq!(numbers, wanted, "{offered:?} {answered:?}");
    }
}
