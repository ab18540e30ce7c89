//! The trunk's Allow and Disallow: which formats pass, in which order, and what an offer without
//! a source lists.

use crate::common::*;
use sdp::{Codec, Local, Policy, Reject, read_offer, write_offer};

use Codec::{Amr, AmrWb, G722, G729, Gsm, Ilbc, Opus, Pcma, Pcmu, T38};

#[test]
fn codec_names_are_those_of_the_form() {
    let names = ["PCMA", "PCMU", "G722", "G729", "OPUS", "AMR", "AMR-WB", "ILBC", "GSM", "T38"];
    for (name, codec) in names.into_iter().zip(Codec::ALL) {
        assert_eq!((codec.name(), codec.to_string().as_str()), (name, name));
        assert_eq!(Codec::parse(name), Some(codec));
        assert_eq!(Codec::parse(&name.to_lowercase()), Some(codec));
    }
    for name in ["", "G.711", "telephone-event", "PCM"] {
        assert_eq!(Codec::parse(name), None, "{name}");
    }
}

/// What a peer with many codecs offers.
const OFFER: [&str; 9] = [
    "m=audio 5000 RTP/AVP 0 8 111 9 18 97 98 101 102 103 13",
    "a=rtpmap:111 opus/48000/2",
    "a=rtpmap:97 speex/16000",
    "a=rtpmap:98 AMR-WB/16000",
    "a=rtpmap:101 telephone-event/8000",
    "a=rtpmap:102 telephone-event/16000",
    "a=rtpmap:103 telephone-event/48000",
    "a=fmtp:101 0-16",
    "a=fmtp:111 useinbandfec=1",
];

#[test]
fn allow_orders_and_disallow_removes() {
    // allow, disallow, disallow all; payload types in order.
    let table: [(&[Codec], &[Codec], bool, &str); 14] = [
        (&[], &[], false, "0 8 111 9 18 97 98 101 102 103 13"),
        (&[Pcma, Pcmu], &[], false, "8 0 101 13"),
        (&[Pcmu, Pcma], &[], false, "0 8 101 13"),
        (&[Pcma, Pcma, Pcmu, Pcma], &[], false, "8 0 101 13"),
        (&[Opus], &[], false, "111 103"),
        (&[Opus, Pcma], &[], false, "111 8 101 103 13"),
        (&[AmrWb], &[], false, "98 102"),
        (&[Pcma, T38, Gsm], &[], false, "8 101 13"),
        (&[Pcma, Pcmu], &[Pcma], false, "0 101 13"),
        (&[], &[Pcma, Pcmu, G722, G729], false, "111 97 98 102 103"),
        (&[], &[Opus, AmrWb, Ilbc, Gsm, Amr], false, "0 8 9 18 97 101 102 13"),
        (&[Pcma], &[], true, "8 101 13"),
        (&[Pcma, G722], &[G722], true, "8 101 13"),
        (&[G729, G722], &[Opus], false, "18 9 101 13"),
    ];
    let offer = parse(&with(&OFFER));
    for (allow, disallow, disallow_all, wanted) in table {
        let disallow = disallow.to_vec();
        let policy = Policy { disallow, disallow_all, ..allowing(plain(), allow) };
        let audio = read_offer(&offer, &policy).unwrap();
        let numbers: Vec<_> = audio.formats.iter().map(|f| f.payload_type.to_string()).collect();
        assert_eq!(numbers.join(" "), wanted, "{policy:?}");
    }
}

#[test]
fn without_a_common_codec_both_lists_are_named() {
    // allow, disallow, disallow all; the end of the Warning text.
    let table: [(&[Codec], &[Codec], bool, &str); 6] = [
        (&[Gsm, Ilbc], &[], false, "allowed GSM ILBC"),
        (&[T38], &[], false, "allowed T38"),
        (&[Pcma], &[Pcma], false, "allowed none"),
        (&[], &[], true, "allowed none"),
        (&[Gsm], &[], true, "allowed GSM"),
        (&[], &[Pcma, Pcmu], false, "allowed any codec except PCMA except PCMU"),
    ];
    let body = with(&["m=audio 5000 RTP/AVP 8 0 101", "a=rtpmap:101 telephone-event/8000"]);
    for (allow, disallow, disallow_all, end) in table {
        let disallow = disallow.to_vec();
        let policy = Policy { disallow, disallow_all, ..allowing(plain(), allow) };
        let reject = read_offer(&parse(&body), &policy).unwrap_err();
        let (code, warning) = reject.warning().unwrap();
        let start = "Incompatible media format: offered PCMA/8000 PCMU/8000 telephone-event/8000; ";
        assert_eq!((reject.status(), code), (488, 305));
        assert_eq!(warning, format!("{start}{end}"));
        assert!(reject.to_string().contains("allow list"), "the remedy: {reject}");
    }
}

#[test]
fn an_offer_without_a_source_lists_what_the_policy_names() {
    // allow, disallow; payload types in order.
    let table: [(&[Codec], &[Codec], &str); 7] = [
        (&[], &[], "8 0 9 18 111 96 97 98 3 101 102 103"),
        (&[Pcma, Pcmu], &[], "8 0 101"),
        (&[Pcmu, Pcmu, Pcma], &[], "0 8 101"),
        (&[Opus], &[], "111 103"),
        (&[AmrWb, Amr], &[], "97 96 101 102"),
        (&[], &[Opus, AmrWb], "8 0 9 18 96 98 3 101"),
        (&[Pcma, T38], &[], "8 101"),
    ];
    for (allow, disallow, wanted) in table {
        let policy = Policy { disallow: disallow.to_vec(), ..allowing(plain(), allow) };
        let body = text(write_offer(None, &policy, &local(&[])).unwrap());
        assert!(body.contains(&format!("m=audio 40000 RTP/AVP {wanted}\r\n")), "{body}");
    }
    for policy in [allowing(plain(), &[T38]), Policy { disallow_all: true, ..plain() }] {
        let result = write_offer(None, &policy, &local(&[]));
        assert!(matches!(result, Err(Reject::NoCommonFormat { .. })), "{result:?}");
    }
}

#[test]
fn an_offer_for_a_leg_without_the_codecs_of_the_other_is_not_written() {
    let source = read_offer(&parse(&with(&["m=audio 5000 RTP/AVP 8"])), &plain()).unwrap();
    let result = write_offer(Some(&source), &allowing(plain(), &[Pcmu]), &local(&[]));
    assert_eq!(result.unwrap_err().warning().unwrap().0, 305);
}

#[test]
fn our_own_address_must_be_one() {
    for (rtp_port, rtcp_port, address) in
        [(0, 40001, "10.0.0.1"), (40000, 0, "10.0.0.1"), (4, 5, "0.0.0.0"), (4, 5, "ff02::1")]
    {
        let local = Local { rtp_port, rtcp_port, address: address.parse().unwrap(), ..local(&[]) };
        assert_eq!(write_offer(None, &plain(), &local).unwrap_err().status(), 500);
    }
}
