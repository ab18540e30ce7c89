//! Nothing of one leg is visible on the other: descriptions full of marked words and addresses go
//! through, and what we write is searched for them.

use crate::common::*;
use proptest::prelude::*;
use proptest::sample::subsequence;
use sdp::{Policy, Suite, read_answer, read_offer, write_answer, write_offer};

/// In every marked word.
const MARK: &str = "canary";

/// The head of a peer's description.
const HEAD: [&str; 9] = [
    "o=canary 6661 6662 IN IP4 198.18.6.61",
    "s=canary",
    "i=canary",
    "u=http://canary.example/",
    "e=canary@canary.example",
    "p=+1 666 canary",
    "b=AS:66661",
    "t=66661 66662",
    "k=clear:canary",
];

/// Attributes that a description or a media line can carry.
const ATTRIBUTES: [&str; 34] = [
    "a=tool:canary",
    "a=canary",
    "a=canary:canary",
    "a=cat:canary",
    "a=keywds:canary",
    "a=group:BUNDLE canary",
    "a=msid-semantic: WMS canary",
    "a=ice-ufrag:canary",
    "a=ice-pwd:canarycanarycanarycanary",
    "a=ice-options:canary",
    "a=candidate:1 1 UDP 2130706431 198.18.6.62 51166 typ host",
    "a=fingerprint:sha-256 CA:FE:66:61",
    "a=setup:actpass",
    "a=key-mgmt:mikey canary",
    "a=ssrc:66661 cname:canary",
    "a=mid:canary",
    "a=label:canary",
    "a=rtcp:51167 IN IP4 198.18.6.63",
    "a=rtcp-fb:8 canary",
    "a=rtcp-xr:canary",
    "a=extmap:1 urn:canary",
    "a=source-filter: incl IN IP4 * 198.18.6.64",
    "a=X-nat:canary 198.18.6.65",
    "a=direction:canary",
    "a=alt:1 1 : canary 198.18.6.66 51168",
    "a=des:qos canary",
    "a=sqn:66661",
    "a=cdsc:1 image udptl canary",
    "a=rtpmap:119 canary/8000",
    "a=fmtp:119 canary=198.18.6.67",
    "a=rtpmap:118 speex/8000",
    "a=fmtp:118 canary=1",
    "a=crypto:9 CANARY_SUITE inline:canary",
    "a=rtpmap:canary",
];

/// Media lines beside the audio.
const OTHERS: [&str; 4] = [
    "m=canary 51169 RTP/AVP 0",
    "m=video 51170 RTP/canary 97",
    "m=application 51171 TCP/BFCP canary",
    "m=audio 51172 RTP/canary 8",
];

/// Anything of the far side: the mark, its addresses, its numbers, its key.
fn leaks(body: &str) -> Option<String> {
    let key = inline(Suite::AesCm128HmacSha1_80, THEIRS);
    let lower = body.to_lowercase();
    let numbers = (51160..=51179).map(|port| port.to_string());
    let marks = [MARK, "198.18.", "666", "cafe", "ca:fe", &key.to_lowercase()[..8]];
    marks.into_iter().map(str::to_owned).chain(numbers).find(|mark| lower.contains(mark.as_str()))
}

fn description(
    proto: &str,
    head: &[&str],
    attributes: &[&str],
    others: &[&str],
    audio: &[String],
) -> String {
    let mut lines = vec![String::from("v=0")];
    lines.extend(head.iter().map(|line| line.to_string()));
    lines.push(String::from("c=IN IP4 198.18.6.60"));
    lines.extend(attributes.iter().map(|line| line.to_string()));
    lines.push(format!("m=audio 51160 {proto} 8 101 118 119"));
    lines.push(String::from("a=rtpmap:101 telephone-event/8000"));
    lines.extend(attributes.iter().map(|line| line.to_string()));
    lines.extend(audio.iter().cloned());
    for other in others {
        lines.push(other.to_string());
        lines.extend(attributes.iter().map(|line| line.to_string()));
    }
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

fn policies() -> [Policy; 2] {
    let allow = [sdp::Codec::Pcma];
    [plain(), secure()].map(|policy| Policy { rtcp_mux: true, ..allowing(policy, &allow) })
}

fn proto(policy: &Policy) -> &'static str {
    if *policy == policies()[0] { "RTP/AVP" } else { "RTP/SAVP" }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn nothing_of_one_leg_is_visible_on_the_other(
        head in subsequence(HEAD.to_vec(), 0..=HEAD.len()),
        attributes in subsequence(ATTRIBUTES.to_vec(), 0..=ATTRIBUTES.len()).prop_shuffle(),
        others in subsequence(OTHERS.to_vec(), 0..=OTHERS.len()),
        near in 0_usize..2, far in 0_usize..2, shares in any::<bool>(),
    ) {
        let (near, far) = (&policies()[near], &policies()[far]);
        let suite = Suite::AesCm128HmacSha1_80;
        let mut audio = vec![format!("a=crypto:4 {suite} inline:{}", inline(suite, THEIRS))];
        audio.extend(shares.then(|| String::from("a=rtcp-mux")));

        // A speaks: what B is offered.
        let offer = parse(&description(proto(near), &head, &attributes, &others, &audio));
        let chosen = read_offer(&offer, near).unwrap();
        let keys = our_keys();
        let to_b = text(write_offer(Some(&chosen), far, &local(&keys)).unwrap());
        prop_assert_eq!(leaks(&to_b), None, "{}", to_b);

        // B answers, marked: what A, which offered in plain words, is told.
        let answer = description(proto(far), &head, &attributes, &[], &audio);
        let accepted = read_answer(&parse(&answer), &parse(&to_b), far).unwrap();
        let bare = format!("a=crypto:4 {suite} inline:{}", inline(suite, 0x33));
        let quiet = parse(&with(&[&format!("m=audio 5000 {} 8 101", proto(near)), &bare,
            "a=rtpmap:101 telephone-event/8000"]));
        let chosen = read_offer(&quiet, near).unwrap();
        let keys = answer_keys(&chosen);
        let to_a = text(write_answer(&quiet, &chosen, &accepted, near, &local(&keys)).unwrap());
        prop_assert_eq!(leaks(&to_a), None, "{}", to_a);
    }
}

#[test]
fn the_search_finds_what_passes_by_design() {
    // Positive control: parameters of a kept format are the peer's own words, and they pass.
    let offer = parse(&with(&["m=audio 5000 RTP/AVP 8", "a=fmtp:8 x=canary"]));
    let chosen = read_offer(&offer, &plain()).unwrap();
    let to_b = text(write_offer(Some(&chosen), &plain(), &local(&[])).unwrap());
    assert_eq!(leaks(&to_b).as_deref(), Some(MARK));
    let whole = description("RTP/SAVP", &HEAD, &ATTRIBUTES, &OTHERS, &[]);
    assert!(leaks(&whole).is_some());
}

#[test]
fn every_line_that_we_write_is_one_that_we_know() {
    // An allow list of what can appear at all: no line is copied by accident.
    let known = [
        "v=0",
        "o=- 77 1 IN IP4 10.99.0.1",
        "s=-",
        "c=IN IP4 10.99.0.1",
        "t=0 0",
        "m=audio 40000 ",
        "a=rtpmap:",
        "a=fmtp:",
        "a=crypto:",
        "a=ptime:",
        "a=maxptime:",
        "a=rtcp:",
        "a=rtcp-mux",
        "a=sendrecv",
        "a=sendonly",
        "a=recvonly",
        "a=inactive",
    ];
    for (name, body) in OFFERS {
        for near in [plain(), secure()] {
            let Ok(chosen) = read_offer(&parse(body), &near) else { continue };
            for far in [plain(), secure()] {
                let ours = text(write_offer(Some(&chosen), &far, &local(&our_keys())).unwrap());
                for line in ours.lines() {
                    assert!(known.iter().any(|k| line.starts_with(k)), "{name}: {line}");
                }
            }
        }
    }
}

#[test]
fn warnings_say_no_address_and_break_no_header() {
    let bodies = [
        with(&["m=audio 5000 RTP/\"AVP\\ 8"]),
        with(&["m=image 5000 ud\"ptl t38"]),
        with(&["m=audio 5000 RTP/AVP 96", "a=rtpmap:96 q\"x\\/8000"]),
        with(&["m=audio 5000 RTP/AVP 96", "a=rtpmap:96 caf\u{e9}/8000"]),
        with(&["m=audio 5000 RTP/AVP 8", "c=IN IP4 198.18.6.60.canary.example"]),
        with(&["m=audio 5000 RTP/AVP 8", "c=IN IP4 224.0.1.1"]),
        with(&["m=audio 5000 RTP/SAVP 8", "a=crypto:1 CANARY inline:canary"]),
    ];
    for body in bodies {
        for policy in policies() {
            let Err(reject) = read_offer(&parse(&body), &policy) else { continue };
            let (code, text) = reject.warning().unwrap();
            assert!((300..400).contains(&code));
            let safe = |b: u8| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\';
            assert!(text.bytes().all(safe), "{text:?}");
            assert!(!text.contains("198.") && !text.contains("224."), "{text}");
            assert!(reject.to_string().bytes().all(|b| matches!(b, b' '..=b'~')), "{reject}");
        }
    }
}
