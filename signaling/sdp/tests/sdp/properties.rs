//! What holds for every offer, every policy and every answer, over generated calls.

use std::collections::HashSet;
use std::fmt::Write;

use crate::common::*;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use sdp::{
    Audio, Codec, Description, Direction, Events, Format, Local, Policy, Security, Suite,
    read_answer, read_offer, write_answer, write_offer,
};

/// Formats that generated descriptions draw from: payload type and `a=rtpmap`, `a=fmtp` values.
const FORMATS: [(u8, &str, &str); 14] = [
    (0, "", ""),
    (3, "", ""),
    (8, "PCMA/8000", ""),
    (9, "G722/8000", ""),
    (13, "", ""),
    (18, "G729/8000", "annexb=no"),
    (77, "speex/16000", ""),
    (96, "AMR/8000", "octet-align=1"),
    (97, "AMR-WB/16000/1", ""),
    (98, "iLBC/8000", "mode=20"),
    (101, "telephone-event/8000", "0-15"),
    (102, "telephone-event/16000", "0-15"),
    (111, "opus/48000/2", "useinbandfec=1"),
    (112, "telephone-event/48000", ""),
];

const PROTOS: [&str; 6] = ["RTP/AVP", "RTP/AVP", "RTP/SAVP", "RTP/SAVP", "RTP/AVPF", "RTP/SAVPF"];

/// One `m=` line with its attributes.
fn media() -> impl Strategy<Value = String> {
    let kind = prop_oneof![5 => Just("audio"), 1 => Just("video"), 1 => Just("image")];
    let proto = prop_oneof![9 => select(&PROTOS[..]), 1 => Just("udptl")];
    let port = prop_oneof![5 => 1024_u16..65535, 1 => Just(0)];
    let formats = subsequence(&FORMATS[..], 1..=FORMATS.len()).prop_shuffle();
    let cryptos = prop::collection::vec((0_u32..20, select(Suite::ALL.to_vec())), 0..4);
    let others = subsequence(
        vec!["a=rtcp-mux", "a=rtcp:5555", "a=ptime:20", "a=maxptime:60", "c=IN IP4 0.0.0.0"],
        0..=5,
    );
    let direction = select(&["", "a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"][..]);
    (kind, port, proto, formats, cryptos, others, direction).prop_map(
        |(kind, port, proto, formats, cryptos, others, direction)| {
            let numbers: Vec<_> = formats.iter().map(|(number, ..)| number.to_string()).collect();
            let mut text = format!("m={kind} {port} {proto} {}\r\n", numbers.join(" "));
            for (number, rtpmap, fmtp) in formats {
                if !rtpmap.is_empty() {
                    let _ = write!(text, "a=rtpmap:{number} {rtpmap}\r\n");
                }
                if !fmtp.is_empty() {
                    let _ = write!(text, "a=fmtp:{number} {fmtp}\r\n");
                }
            }
            for (tag, suite) in cryptos {
                let key = inline(suite, THEIRS);
                let _ = write!(text, "a=crypto:{tag} {suite} inline:{key}\r\n");
            }
            for other in others.into_iter().chain([direction]) {
                let _ = write!(text, "{other}\r\n");
            }
            text
        },
    )
}

fn offer() -> impl Strategy<Value = String> {
    prop::collection::vec(media(), 0..6).prop_map(|lines| with(&[]) + &lines.concat())
}

fn policy() -> impl Strategy<Value = Policy> {
    let suites = subsequence(Suite::ALL.to_vec(), 1..=6).prop_shuffle();
    let security = prop_oneof![Just(Security::Plain), suites.prop_map(Security::secure)];
    let codecs = || subsequence(Codec::ALL.to_vec(), 0..=Codec::ALL.len()).prop_shuffle();
    let allow = prop_oneof![1 => Just(Vec::new()), 2 => codecs()];
    let disallow = prop_oneof![3 => Just(Vec::new()), 1 => codecs()];
    // Those that end at us come from no other leg: `legs.rs`.
    let events = prop_oneof![Just(Events::Pass), Just(Events::None)];
    (security, allow, disallow, any::<bool>(), any::<bool>(), events).prop_map(
        |(security, allow, disallow, disallow_all, rtcp_mux, events)| {
            let disallow_all = disallow_all && !allow.is_empty();
            Policy { security, allow, disallow, disallow_all, rtcp_mux, events }
        },
    )
}

/// What a media line of a description of ours or of a peer says, read without the crate.
#[derive(Debug)]
struct Line {
    kind: String,
    port: u16,
    proto: String,
    numbers: Vec<String>,
    attributes: Vec<String>,
}

fn lines_of(body: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for line in body.lines().map(str::trim_end) {
        if let Some(media) = line.strip_prefix("m=") {
            let mut words = media.split(' ').map(str::to_owned);
            lines.push(Line {
                kind: words.next().unwrap(),
                port: words.next().unwrap().parse().unwrap(),
                proto: words.next().unwrap(),
                numbers: words.collect(),
                attributes: Vec::new(),
            });
        } else if let Some(last) = lines.last_mut() {
            last.attributes.push(line.to_owned());
        }
    }
    lines
}

/// The rule of allow, disallow and companions, said a second time in another way.
fn may_pass(policy: &Policy, format: &Format, all: &[Format]) -> bool {
    let name = format.encoding.to_lowercase();
    if ["telephone-event", "cn"].contains(&name.as_str()) {
        return all.iter().any(|codec| {
            codec.clock == format.clock && !codec.is_companion() && may_pass(policy, codec, all)
        });
    }
    let listed = |list: &[Codec]| list.iter().any(|codec| codec.name().to_lowercase() == name);
    (policy.allow.is_empty() || listed(&policy.allow)) && !listed(&policy.disallow)
}

fn answer_to(offer: &Description, chosen: &Audio, far: &Audio, p: &Policy) -> String {
    let keys = answer_keys(chosen);
    text(write_answer(offer, chosen, far, p, &local(&keys)).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn what_is_read_fits_the_policy(body in offer(), policy in policy()) {
        let Ok(audio) = read_offer(&parse(&body), &policy) else { return Ok(()) };
        for format in &audio.formats {
            prop_assert!(may_pass(&policy, format, &audio.formats), "{format} {policy:?}");
        }
        let secure = policy.security != Security::Plain;
        prop_assert_eq!((audio.secure, audio.cryptos.is_empty()), (secure, !secure));
        if let Security::Secure { suites, .. } = &policy.security {
            prop_assert!(audio.cryptos.iter().all(|crypto| suites.contains(&crypto.suite)));
        }
        // Codecs in the order of the policy, companions behind them.
        let place = |f: &Format| f.codec().and_then(|c| policy.allow.iter().position(|&a| a == c));
        let places: Vec<_> = audio
            .formats
            .iter()
            .map(|f| if f.is_companion() { (1, None) } else { (0, place(f)) })
            .collect();
        prop_assert!(places.is_sorted(), "{:?}", formats(&audio));
    }

    #[test]
    fn a_refusal_is_really_due(body in offer(), policy in policy()) {
        let Err(reject) = read_offer(&parse(&body), &policy) else { return Ok(()) };
        prop_assert_eq!(reject.status(), 488);
        prop_assert!(reject.warning().is_some());
        let secure = policy.security != Security::Plain;
        for Line { kind, port, proto, numbers, attributes } in lines_of(&body) {
            let fits = if secure { proto.contains("SAVP") } else { proto.starts_with("RTP/AVP") };
            if kind != "audio" || port == 0 || !fits {
                continue;
            }
            let names = numbers.iter().map(|number| {
                let rtpmap = attributes.iter().find_map(|line| {
                    line.strip_prefix(&format!("a=rtpmap:{number} "))
                });
                match (number.as_str(), rtpmap) {
                    (_, Some(name)) => name.split('/').next().unwrap().to_lowercase(),
                    ("0", _) => "pcmu".into(),
                    ("3", _) => "gsm".into(),
                    _ => "cn".into(),
                }
            });
            let listed = |list: &[Codec], name: &str| {
                list.iter().any(|codec| codec.name().to_lowercase() == name)
            };
            let usable = names.filter(|name| !["cn", "telephone-event"].contains(&name.as_str()))
                .any(|name| {
                    (policy.allow.is_empty() || listed(&policy.allow, &name))
                        && !listed(&policy.disallow, &name)
                });
            let keyed = match &policy.security {
                Security::Plain => true,
                Security::Secure { suites, .. } | Security::BestEffort { suites, .. } => suites.iter().any(|suite| {
                    attributes.iter().any(|line| line.contains(&format!(" {suite} inline:")))
                }),
            };
            prop_assert!(!(usable && keyed), "{reject}\n{body}");
        }
    }

    #[test]
    fn an_answer_mirrors_the_lines_of_the_offer(body in offer(), policy in policy()) {
        let offer = parse(&body);
        let Ok(chosen) = read_offer(&offer, &policy) else { return Ok(()) };
        let answer = answer_to(&offer, &chosen, &chosen, &policy);
        let (offered, answered) = (lines_of(&body), lines_of(&answer));
        prop_assert_eq!(offered.len(), answered.len());
        for (index, (o, a)) in offered.iter().zip(&answered).enumerate() {
            prop_assert_eq!((&o.kind, &o.proto), (&a.kind, &a.proto), "kind and protocol");
            prop_assert!(o.proto != "RTP/SAVP" || a.proto != "RTP/AVP");
            prop_assert_eq!(a.port != 0, index == chosen.index, "only the chosen line lives");
            prop_assert!(!a.numbers.is_empty() && a.numbers.iter().all(|number| o.numbers.contains(number)));
            let cryptos: Vec<_> =
                a.attributes.iter().filter_map(|line| line.strip_prefix("a=crypto:")).collect();
            let secure = index == chosen.index && policy.security != Security::Plain;
            prop_assert_eq!(cryptos.len(), usize::from(secure));
            for crypto in cryptos {
                let named = crypto.rsplit_once(' ').unwrap().0;
                let start = format!("a=crypto:{named} ");
                let echoed = o.attributes.iter().any(|line| line.starts_with(&start));
                prop_assert!(echoed, "{named}");
                prop_assert!(crypto.ends_with(&inline(chosen.cryptos[0].suite, OURS)));
            }
        }
    }

    #[test]
    fn our_offer_is_within_source_and_policy(
        body in offer(), near in policy(), far in policy(), rtcp_port in 1_u16..,
    ) {
        let Ok(source) = read_offer(&parse(&body), &near) else { return Ok(()) };
        let keys = our_keys();
        let local = Local { rtcp_port, ..local(&keys) };
        let Ok(ours) = write_offer(Some(&source), &far, &local) else { return Ok(()) };
        let ours = text(ours);
        let [Line { kind, port, proto, numbers, attributes }] = &lines_of(&ours)[..] else {
            panic!("one media line: {ours}");
        };
        let secure = far.security != Security::Plain;
        prop_assert_eq!((kind.as_str(), *port), ("audio", local.rtp_port));
        prop_assert_eq!(proto, if secure { "RTP/SAVP" } else { "RTP/AVP" });
        let known: HashSet<_> = source.formats.iter().map(|f| f.payload_type.to_string()).collect();
        prop_assert!(numbers.iter().all(|number| known.contains(number)));
        prop_assert_eq!(attributes.iter().any(|line| line.contains("crypto")), secure);
        // Our own reader agrees with our writer.
        let again = read_offer(&parse(&ours), &far).unwrap();
        prop_assert_eq!(again.direction, source.direction);
        prop_assert_eq!((again.ptime, again.maxptime), (source.ptime, source.maxptime));
        for format in &again.formats {
            prop_assert!(source.formats.contains(format), "passed unchanged: {format:?}");
            prop_assert!(may_pass(&far, format, &again.formats));
        }
    }

    #[test]
    fn a_call_through_the_gateway_agrees_on_both_legs(
        body in offer(), near in policy(), far in policy(),
        kept in prop::collection::vec(any::<bool>(), 14), renumber in any::<bool>(),
        direction in select(&["sendrecv", "sendonly", "recvonly", "inactive"][..]),
    ) {
        let offer = parse(&body);
        let Ok(chosen) = read_offer(&offer, &near) else { return Ok(()) };
        let keys = our_keys();
        let Ok(ours) = write_offer(Some(&chosen), &far, &local(&keys)) else { return Ok(()) };
        // B takes some of the formats, under other dynamic numbers if it likes.
        let sent = read_offer(&parse(&text(ours.clone())), &far).unwrap();
        let taken: Vec<_> =
            sent.formats.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(f, _)| f).collect();
        let number = |f: &Format| match f.payload_type {
            dynamic @ 96.. if renumber => 223 - dynamic,
            same => same,
        };
        let numbers: Vec<_> = taken.iter().map(|f| number(f).to_string()).collect();
        let proto = if far.security == Security::Plain { "RTP/AVP" } else { "RTP/SAVP" };
        let mut answer = with(&[&format!("m=audio 6000 {proto} {}", numbers.join(" "))]);
        for format in &taken {
            let _ = write!(answer, "a=rtpmap:{} {format}\r\n", number(format));
        }
        if let Some(crypto) = sent.cryptos.last() {
            let key = inline(crypto.suite, THEIRS);
            let _ = write!(answer, "a=crypto:{} {} inline:{key}\r\n", crypto.tag, crypto.suite);
        }
        let _ = write!(answer, "a={direction}\r\n");
        let Ok(answer) = Description::parse(answer.as_bytes()) else { return Ok(()) };
        let accepted = read_answer(&answer, &parse(&text(ours)), &far);
        let has_codec = taken.iter().any(|format| !format.is_companion());
        prop_assert_eq!(accepted.is_ok(), has_codec, "{:?}", accepted);
        let Ok(accepted) = accepted else { return Ok(()) };
        // B's answer suits what B was offered, ours to A suits what A offered.
        let suits = |answer: Direction, offer: Direction| answer.and(offer.reversed()) == answer;
        prop_assert!(suits(accepted.direction, sent.direction));
        let to_a = answer_to(&offer, &chosen, &accepted, &near);
        let read = read_answer(&parse(&to_a), &offer, &near);
        let read = read.unwrap_or_else(|e| panic!("{e}\n{body}\n{to_a}"));
        prop_assert!(suits(read.direction, chosen.direction));
        prop_assert_eq!(read.index, chosen.index);
        for format in &read.formats {
            let same = |f: &Format| f.payload_type == format.payload_type && f.is_same_as(format);
            prop_assert!(chosen.formats.iter().any(same));
            prop_assert!(accepted.formats.iter().any(|f| f.is_same_as(format)));
        }
    }
}
