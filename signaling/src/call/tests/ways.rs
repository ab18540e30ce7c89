//! What the data plane is told of each way: addresses behind NAT, formats and their numbers, hold.

use abi::{Codec, Family, Format, Learning, TelephoneEvent, Update};
use serde_json::Value;

use super::rig::{Carrier, Pbx, Rig, Who};

/// The audio of both peers' usual descriptions, as far as it is written over here.
const MEDIA: &str = " 8 0\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n";
/// Where both peers are, as they say.
const ADDRESS: &str = "198.51.100.77";

/// What a peer says instead of its usual description.
type Say<'a> = &'a dyn Fn(String) -> String;

/// A call whose caller and callee say something else in their descriptions.
fn talk(rig: &mut Rig, caller: Who, near: Say<'_>, far: Say<'_>) -> [Update; 2] {
    let offer = near(rig.peer(caller).offer());
    rig.call_with(caller, "+4930222", Some(offer));
    let callee = caller.other();
    let (id, invite) = rig.invited(callee);
    let answer = far(rig.peer(callee).accept(&invite.body));
    rig.answer(callee, id, 200, Some(answer));
    assert_eq!(rig.last_status(caller), 200);
    configured(rig)
}

/// The same with a delayed offer: the callee offers, the caller's ACK answers.
fn talk_late(rig: &mut Rig, caller: Who, near: Say<'_>, far: Say<'_>) -> [Update; 2] {
    let callee = caller.other();
    let offer = far(rig.peer(callee).offer());
    rig.peer(caller).mute = true;
    rig.call_with(caller, "+4930222", None);
    let (id, _) = rig.invited(callee);
    rig.answer(callee, id, 200, Some(offer));
    let ours = rig.last_response(caller).body;
    let answer = near(rig.peer(caller).accept(&ours));
    let dialog = rig.peer(caller).dialog.unwrap();
    let now = rig.now;
    let body = Some((super::peer::SDP, answer.into()));
    rig.peer(caller).endpoint.ack(now, dialog, body).unwrap();
    rig.turn();
    configured(rig)
}

/// Forward and backward, as configured last.
fn configured(rig: &Rig) -> [Update; 2] {
    let [.., forward, backward] = rig.plane.updates.as_slice() else { panic!("two ways") };
    [forward.clone(), backward.clone()]
}

fn same(text: String) -> String {
    text
}

fn at(address: &str) -> impl Fn(String) -> String {
    move |text| text.replace(ADDRESS, address)
}

fn pcma() -> Option<Format> {
    Some(Format { codec: Codec::Pcma, payload_type: 8, rate_hz: 8000, ptime_ms: 20 })
}

/// Both ways between a side that is reached at `known`, or may be learned, and one that is where
/// it says. Keys and names are those of `found`.
fn expected(found: &[Update; 2], known: Option<&str>, learns: bool, awaits: bool) -> [Update; 2] {
    let socket = |address: &str, port: u16| Some(format!("{address}:{port}").parse().unwrap());
    let [from, to] = found;
    let common = |way: &Update| Update {
        peer: way.peer,
        timeout_ms: 60_000,
        unprotect: way.unprotect.clone(),
        protect: way.protect.clone(),
        received: pcma(),
        sent: pcma(),
        ..Update::new(way.token, way.flow)
    };
    let (rtp, rtcp) = (known.and_then(|a| socket(a, 7000)), known.and_then(|a| socket(a, 7001)));
    [
        Update {
            relay: true,
            source_rtp: rtp,
            source_rtcp: rtcp,
            destination_rtp: socket(ADDRESS, 7000),
            destination_rtcp: socket(ADDRESS, 7001),
            learning: learns.then_some(Learning { window_ms: 5_000, within: None }),
            ..common(from)
        },
        Update {
            relay: known.is_some() || awaits,
            source_rtp: socket(ADDRESS, 7000),
            source_rtcp: socket(ADDRESS, 7001),
            destination_rtp: rtp,
            destination_rtcp: rtcp,
            await_destination: awaits,
            ..common(to)
        },
    ]
}

#[test]
fn what_a_side_behind_nat_does_to_both_ways() {
    // The carrier signals from 192.0.2.10. Its mode and address; where it is reached, whether it is
    // learned, and awaited.
    let (same_ip, public, private) = ("192.0.2.10", "203.0.113.7", "10.1.2.3");
    let table = [
        ("NO", same_ip, Some(same_ip), false, false),
        ("NO", public, Some(public), false, false),
        ("NO", private, None, false, false),
        ("FORCE_RPORT", same_ip, Some(same_ip), false, false),
        ("FORCE_RPORT", public, Some(public), false, false),
        ("FORCE_RPORT", private, None, false, false),
        ("COMEDIA", same_ip, Some(same_ip), true, false),
        ("COMEDIA", public, Some(public), true, false),
        ("COMEDIA", private, None, true, true),
        ("YES", same_ip, Some(same_ip), true, false),
        ("YES", public, Some(public), true, false),
        ("YES", private, None, true, true),
        ("AUTO", same_ip, Some(same_ip), false, false),
        ("AUTO", public, Some(public), true, false),
        ("AUTO", private, None, true, true),
    ];
    for (mode, said, known, learns, awaits) in table {
        for (caller, late) in [(Carrier, false), (Pbx, false), (Carrier, true), (Pbx, true)] {
            let mut rig = Rig::with("nat", &format!("nat = \"{mode}\""), "", "");
            let way = if late { talk_late } else { talk };
            let found = match caller {
                Carrier => way(&mut rig, caller, &at(said), &same),
                _ => way(&mut rig, caller, &same, &at(said)),
            };
            // From the carrier, to the carrier.
            let found = match (caller, found) {
                (Carrier, ways) => ways,
                (_, [forward, backward]) => [backward, forward],
            };
            assert_eq!((found[0].protect.is_some(), found[0].unprotect.is_some()), (true, false));
            assert_eq!((found[1].protect.is_some(), found[1].unprotect.is_some()), (false, true));
            let context = format!("{mode} {said} {caller:?} late {late}");
            let mut expected = expected(&found, known, learns, awaits);
            // A trunk behind a translator has its way kept open, by a number that no format has.
            let keepalive = abi::Keepalive { interval_ms: 15_000, payload_type: 127 };
            expected[1].keepalive = (mode != "NO").then_some(keepalive);
            assert_eq!(found, expected, "{context}");
            rig.hang_up(caller);
            let record = rig.finish_one(200);
            let warned = record["notes"].to_string().contains("no media to the ");
            assert_eq!(warned, known.is_none() && !awaits, "{context}: {record}");
        }
    }
}

#[test]
fn rtcp_comes_by_the_port_of_rtp_where_trunk_and_peer_want_it() {
    let muxed = |text: String| text + "a=rtcp-mux\r\n";
    let rtcp_of = |way: &Update| (way.rtcp_mux_in, way.source_rtcp.unwrap().port());
    for (field, said) in [(true, true), (true, false), (false, true), (false, false)] {
        let say: Say<'_> = if said { &muxed } else { &same };
        for (caller, late) in [(Carrier, false), (Pbx, false), (Carrier, true), (Pbx, true)] {
            let mut rig = Rig::with("mux", &format!("rtcp_mux = {field}"), "", "");
            let way = if late { talk_late } else { talk };
            // From the carrier, to the carrier. The other side wants it, and its trunk does not.
            let [from, to] = match caller {
                Carrier => way(&mut rig, caller, say, &muxed),
                _ => {
                    let [forward, backward] = way(&mut rig, caller, &muxed, say);
                    [backward, forward]
                }
            };
            let context = format!("{field} {said} {caller:?} late {late}");
            let port = if field && said { 7000 } else { 7001 };
            assert_eq!(rtcp_of(&from), (field && said, port), "{context}");
            assert_eq!(from.destination_rtcp.unwrap().port(), 7001, "{context}");
            assert_eq!(rtcp_of(&to), (false, 7001), "{context}");
            assert_eq!(to.destination_rtcp.unwrap().port(), port, "{context}");
            assert_eq!((from.rtcp_mux_out, to.rtcp_mux_out), (false, field && said), "{context}");
            rig.hang_up(caller);
            rig.finish_one(200);
        }
    }
}

#[test]
fn learning_within_the_network_of_the_signalling() {
    let carrier = "nat = \"YES\"\nlearn_from = \"signalling\"";
    let mut rig = Rig::with("learn-from", carrier, "", "");
    let [forward, backward] = talk(&mut rig, Carrier, &same, &same);
    let within = Some(("192.0.2.0".parse().unwrap(), 24));
    assert_eq!(forward.learning, Some(Learning { window_ms: 5_000, within }));
    assert_eq!(backward.learning, None, "the other trunk has no NAT");
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

/// Formats as a description lists them: number and `a=rtpmap`.
type List = &'static [(u8, &'static str)];

fn listing(formats: List, more: &'static str) -> impl Fn(String) -> String {
    move |text| {
        let numbers: Vec<_> = formats.iter().map(|(n, _)| format!(" {n}")).collect();
        let maps: Vec<_> = formats.iter().map(|(n, f)| format!("a=rtpmap:{n} {f}\r\n")).collect();
        assert!(text.contains(MEDIA), "{text}");
        text.replace(MEDIA, &format!("{}\r\n{}{more}", numbers.concat(), maps.concat()))
    }
}

/// One agreement: what offerer and answerer list; the voice and the events that arrive and that
/// leave toward the answerer; what is renumbered on the way to the answerer and to the offerer.
struct Case {
    offer: List,
    answer: List,
    codec: Codec,
    rate_hz: u32,
    voice: (u8, u8),
    events: Option<(u8, u8, u32)>,
    to_answerer: &'static [(u8, u8)],
    to_offerer: &'static [(u8, u8)],
}

const CASES: [Case; 7] = [
    Case {
        offer: &[(8, "PCMA/8000"), (101, "telephone-event/8000")],
        answer: &[(8, "PCMA/8000"), (101, "telephone-event/8000")],
        codec: Codec::Pcma,
        rate_hz: 8000,
        voice: (8, 8),
        events: Some((101, 101, 8000)),
        to_answerer: &[],
        to_offerer: &[],
    },
    Case {
        offer: &[(8, "PCMA/8000"), (101, "telephone-event/8000")],
        answer: &[(8, "PCMA/8000"), (96, "telephone-event/8000")],
        codec: Codec::Pcma,
        rate_hz: 8000,
        voice: (8, 8),
        events: Some((101, 96, 8000)),
        to_answerer: &[(101, 96)],
        to_offerer: &[(96, 101)],
    },
    Case {
        offer: &[(8, "PCMA/8000"), (96, "telephone-event/8000")],
        answer: &[(8, "PCMA/8000"), (101, "telephone-event/8000")],
        codec: Codec::Pcma,
        rate_hz: 8000,
        voice: (8, 8),
        events: Some((96, 101, 8000)),
        to_answerer: &[(96, 101)],
        to_offerer: &[(101, 96)],
    },
    Case {
        offer: &[
            (111, "opus/48000/2"),
            (8, "PCMA/8000"),
            (101, "telephone-event/8000"),
            (110, "telephone-event/48000"),
        ],
        answer: &[
            (96, "opus/48000/2"),
            (97, "telephone-event/48000"),
            (101, "telephone-event/8000"),
            (8, "PCMA/8000"),
        ],
        codec: Codec::Opus,
        rate_hz: 48_000,
        voice: (111, 96),
        events: Some((110, 97, 48_000)),
        to_answerer: &[(111, 96), (110, 97)],
        to_offerer: &[(96, 111), (97, 110)],
    },
    // Numbers that change places: only the offer's say what arrives.
    Case {
        offer: &[(96, "AMR/8000"), (97, "AMR-WB/16000")],
        answer: &[(96, "AMR-WB/16000"), (97, "AMR/8000")],
        codec: Codec::AmrWb,
        rate_hz: 16_000,
        voice: (97, 96),
        events: None,
        to_answerer: &[(97, 96), (96, 97)],
        to_offerer: &[],
    },
    Case {
        offer: &[(96, "AMR/8000"), (97, "AMR-WB/16000"), (8, "PCMA/8000")],
        answer: &[(104, "AMR/8000"), (8, "PCMA/8000")],
        codec: Codec::Amr,
        rate_hz: 8000,
        voice: (96, 104),
        events: None,
        to_answerer: &[(96, 104)],
        to_offerer: &[(104, 96)],
    },
    // The number that the answer gives away belonged to a format that it does not take.
    Case {
        offer: &[(8, "PCMA/8000"), (96, "AMR/8000"), (101, "telephone-event/8000")],
        answer: &[(8, "PCMA/8000"), (96, "telephone-event/8000")],
        codec: Codec::Pcma,
        rate_hz: 8000,
        voice: (8, 8),
        events: Some((101, 96, 8000)),
        to_answerer: &[(101, 96)],
        to_offerer: &[(96, 101)],
    },
];

impl Case {
    /// Checks the way to the answerer and the way to the offerer, whose packet times are given.
    fn check(&self, to_answerer: &Update, to_offerer: &Update, ptime: [u8; 2]) {
        let [offerer_ms, answerer_ms] = ptime;
        let (theirs, own) = self.voice;
        let voice = |payload_type, ptime_ms| {
            Some(Format { codec: self.codec, payload_type, rate_hz: self.rate_hz, ptime_ms })
        };
        assert_eq!(to_answerer.received, voice(theirs, offerer_ms));
        assert_eq!(to_answerer.sent, voice(own, answerer_ms));
        assert_eq!(to_offerer.received, voice(theirs, answerer_ms));
        assert_eq!(to_offerer.sent, voice(theirs, offerer_ms));
        let event = |offers: bool| {
            self.events.map(|(theirs, own, rate_hz)| TelephoneEvent {
                payload_type: if offers { theirs } else { own },
                rate_hz,
            })
        };
        assert_eq!(
            (to_answerer.events_received, to_answerer.events_sent),
            (event(true), event(false))
        );
        assert_eq!(
            (to_offerer.events_received, to_offerer.events_sent),
            (event(true), event(true))
        );
        assert_eq!(to_answerer.payloads.pairs().collect::<Vec<_>>(), self.to_answerer);
        assert_eq!(to_offerer.payloads.pairs().collect::<Vec<_>>(), self.to_offerer);
        for way in [to_answerer, to_offerer] {
            assert!(!way.report_digits && !way.detect_tones);
        }
    }
}

#[test]
fn each_side_is_sent_its_own_numbers() {
    let any = "allow = []";
    for case in &CASES {
        for caller in [Carrier, Pbx] {
            let mut rig = Rig::with("numbers", any, any, "");
            let (offer, answer) = (listing(case.offer, ""), listing(case.answer, ""));
            let [forward, backward] = talk(&mut rig, caller, &offer, &answer);
            case.check(&forward, &backward, [20, 20]);
            // The caller is answered in its own numbers.
            let told = rig.last_response(caller).body;
            let told = String::from_utf8(told.to_vec()).unwrap();
            for (number, name) in case.offer {
                let taken = case.answer.iter().any(|(_, other)| other == name);
                assert_eq!(
                    told.contains(&format!("a=rtpmap:{number} {name}\r\n")),
                    taken,
                    "{told}"
                );
            }
            rig.hang_up(caller);
            let record = rig.finish_one(200);
            let noted = record["notes"].to_string().contains("telephone-event");
            assert_eq!(noted, case.events.is_none(), "{record}");

            let mut rig = Rig::with("numbers-late", any, any, "");
            let [forward, backward] = talk_late(&mut rig, caller, &answer, &offer);
            case.check(&backward, &forward, [20, 20]);
            rig.hang_up(caller);
            rig.finish_one(200);
        }
    }
}

#[test]
fn packet_times_are_those_that_each_side_asks_for() {
    for (offered, answered, wanted) in [
        ("a=ptime:30\r\n", "a=ptime:10\r\n", [30, 10]),
        ("a=ptime:30\r\n", "", [30, 20]),
        ("", "a=ptime:500\r\n", [20, 120]),
        ("a=ptime:0\r\n", "a=ptime:x\r\n", [20, 20]),
    ] {
        let mut rig = Rig::new("ptime");
        let case = &CASES[0];
        let (offer, answer) = (listing(case.offer, offered), listing(case.answer, answered));
        let [forward, backward] = talk(&mut rig, Carrier, &offer, &answer);
        case.check(&forward, &backward, wanted);
        rig.hang_up(Carrier);
        rig.finish_one(200);
    }
}

#[test]
fn a_codec_that_the_data_plane_does_not_know_passes_all_the_same() {
    let list: List = &[(97, "speex/16000"), (8, "PCMA/8000")];
    let mut rig = Rig::with("unknown", "allow = []", "allow = []", "");
    let said = listing(list, "");
    let [forward, backward] = talk(&mut rig, Carrier, &said, &said);
    for way in [&forward, &backward] {
        assert!(way.relay && way.payloads.is_identity());
        assert_eq!((way.received, way.sent), (None, None));
    }
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn an_answer_that_renumbers_too_much_is_refused() {
    const NAMES: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let list = |first: usize, count: usize| {
        move |text: String| {
            let numbers: Vec<_> = (first..first + count).map(|n| format!(" {n}")).collect();
            let names = NAMES.iter().take(count).enumerate();
            let maps: Vec<_> =
                names.map(|(i, n)| format!("a=rtpmap:{} {n}/8000\r\n", first + i)).collect();
            text.replace(MEDIA, &format!("{}\r\n{}", numbers.concat(), maps.concat()))
        }
    };
    for (count, status) in [(8, 200), (9, 488)] {
        let mut rig = Rig::with("renumber", "allow = []", "allow = []", "");
        let offer = list(96, count)(rig.carrier.offer());
        rig.call_with(Carrier, "+4930222", Some(offer));
        let (id, invite) = rig.invited(Pbx);
        let answer = list(110, count)(rig.pbx.accept(&invite.body));
        rig.answer(Pbx, id, 200, Some(answer));
        assert_eq!(rig.last_status(Carrier), status);
        if status == 200 {
            rig.hang_up(Carrier);
        }
        rig.finish_one(status);
    }
    // Early, it costs that phone its early media; the caller keeps its answer, and the key in it.
    let mut rig = Rig::with("renumber-early", "allow = []", "allow = []", "");
    let offer = list(96, 9)(rig.pbx.offer());
    rig.call_with(Pbx, "+4930222", Some(offer));
    let (id, invite) = rig.invited(Carrier);
    let [usual, renumbered] = [96, 110].map(|n| list(n, 9)(rig.carrier.accept(&invite.body)));
    for (status, answer) in [(183, &usual), (183, &renumbered), (200, &usual)] {
        rig.answer(Carrier, id, status, Some(answer.clone()));
    }
    let bodies: Vec<_> = rig.pbx.responses.iter().map(|(_, told)| told.body.clone()).collect();
    assert!(!bodies[0].is_empty() && bodies[1].is_empty());
    assert_eq!(bodies[2], bodies[0], "one dialog has one answer");
    rig.hang_up(Pbx);
    rig.finish_one(200);
}

#[test]
fn a_direction_is_held_when_one_side_does_not_want_it() {
    // What A offers and B answers; whether media passes from A and from B; what A is answered.
    let table = [
        ("sendrecv", "sendrecv", true, true, "sendrecv"),
        ("sendrecv", "recvonly", true, false, "recvonly"),
        ("sendrecv", "sendonly", false, true, "sendonly"),
        ("sendrecv", "inactive", false, false, "inactive"),
        ("sendonly", "recvonly", true, false, "recvonly"),
        ("sendonly", "sendrecv", true, false, "recvonly"),
        ("sendonly", "inactive", false, false, "inactive"),
        ("recvonly", "sendonly", false, true, "sendonly"),
        ("recvonly", "recvonly", false, false, "inactive"),
        ("inactive", "inactive", false, false, "inactive"),
        ("inactive", "sendrecv", false, false, "inactive"),
        // c=0.0.0.0 (RFC 3264 §8.4).
        ("0.0.0.0", "sendrecv", true, false, "recvonly"),
        ("0.0.0.0", "recvonly", true, false, "recvonly"),
        ("sendrecv", "0.0.0.0", false, true, "sendonly"),
        ("0.0.0.0", "0.0.0.0", false, false, "inactive"),
    ];
    let saying = |word: &'static str| {
        move |text: String| match word {
            "0.0.0.0" => text.replace(&format!("c=IN IP4 {ADDRESS}"), "c=IN IP4 0.0.0.0"),
            word => text.replace("a=sendrecv", &format!("a={word}")),
        }
    };
    for (offered, answered, from_a, from_b, told) in table {
        for caller in [Carrier, Pbx] {
            let mut rig = Rig::new("hold");
            let ways = talk(&mut rig, caller, &saying(offered), &saying(answered));
            let context = format!("{offered} {answered}");
            assert_eq!((ways[0].relay, ways[1].relay), (from_a, from_b), "{context}");
            for way in &ways {
                let wanted = if way.relay { 60_000 } else { 300_000 };
                assert_eq!(way.timeout_ms, wanted, "{context}");
            }
            let answer = rig.last_response(caller).body;
            let answer = String::from_utf8(answer.to_vec()).unwrap();
            assert!(answer.contains(&format!("\r\na={told}\r\n")), "{context}: {answer}");
            assert!(!answer.contains("0.0.0.0"), "hold is said by the direction: {answer}");
            rig.hang_up(caller);
            rig.finish_one(200);
        }
    }
}

#[test]
fn ports_are_leased_in_the_family_of_each_side() {
    let v6 = |text: String| text.replace(&format!("c=IN IP4 {ADDRESS}"), "c=IN IP6 2001:db8::7");
    let held = |text: String| text.replace(&format!("c=IN IP4 {ADDRESS}"), "c=IN IP6 ::");
    // What the caller offers; the family that it is leased. The callee is known by its trunk.
    type Change = fn(String) -> String;
    let table: [(Change, Family); 3] = [(same, Family::V4), (v6, Family::V6), (held, Family::V4)];
    for (offer, family) in table {
        let mut rig = Rig::new("family");
        let offer = offer(rig.carrier.offer());
        rig.call_with(Carrier, "+4930222", Some(offer));
        let families: Vec<_> = rig.plane.opens.iter().map(|open| open.family).collect();
        assert_eq!(families, [family, Family::V4]);
        let (id, invite) = rig.invited(Pbx);
        rig.accept(Pbx, id, &invite);
        rig.hang_up(Carrier);
        let record = rig.finish_one(200);
        assert_eq!(record["code"], Value::from(200));
    }
}

/// Our offer's keys, each as the rest of its line after the tag.
fn keys(offer: &[u8]) -> Vec<(String, String)> {
    let offer = std::str::from_utf8(offer).unwrap();
    let lines = offer.lines().filter_map(|line| line.strip_prefix("a=crypto:"));
    let parts = lines.map(|line| line.split(' ').map(String::from).collect::<Vec<_>>());
    parts.map(|parts| (parts[1].clone(), parts[2].clone())).collect()
}

const THEIRS: &str = "inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

#[test]
fn a_peer_that_gives_our_own_key_back_gets_no_media() {
    for suite in ["AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"] {
        for status in [200, 183] {
            let mut rig = Rig::new("echo");
            rig.call(Carrier);
            let (id, invite) = rig.invited(Pbx);
            let keys = keys(&invite.body);
            let (_, ours) = keys.iter().find(|(name, _)| name == suite).expect("it is offered");
            let honest = rig.pbx.accept(&invite.body);
            assert!(honest.contains(THEIRS), "{honest}");
            rig.answer(Pbx, id, status, Some(honest.replace(THEIRS, ours)));
            assert!(rig.plane.updates.is_empty(), "the data plane is not told");
            if status == 183 {
                assert!(rig.last_response(Carrier).body.is_empty());
                rig.answer(Pbx, id, 200, Some(honest));
                rig.hang_up(Carrier);
                rig.finish_one(200);
                continue;
            }
            assert_eq!(rig.last_status(Carrier), 488);
            assert_eq!((rig.pbx.acks.len(), rig.pbx.byes), (1, 1));
            let record = rig.finish_one(488);
            assert!(record["reason"].to_string().contains("the very key that we sent"), "{record}");
        }
    }
}

#[test]
fn a_caller_whose_late_answer_gives_our_own_key_back_is_hung_up() {
    let mut rig = Rig::new("echo-late");
    rig.pbx.mute = true;
    rig.call_with(Pbx, "+4930222", None);
    let (id, _) = rig.invited(Carrier);
    let offer = rig.carrier.offer();
    rig.answer(Carrier, id, 200, Some(offer));
    let ours = rig.last_response(Pbx).body;
    let (_, echo) = keys(&ours).into_iter().find(|(name, _)| name.contains("CM_128")).unwrap();
    let answer = rig.pbx.accept(&ours).replace(THEIRS, &echo);
    let (dialog, now) = (rig.pbx.dialog.unwrap(), rig.now);
    rig.pbx.endpoint.ack(now, dialog, Some((super::peer::SDP, answer.into()))).unwrap();
    rig.turn();
    assert_eq!((rig.carrier.byes, rig.pbx.byes), (1, 1));
    assert!(rig.plane.updates.is_empty());
    rig.finish_one(488);
}

#[test]
fn the_key_of_a_peer_carries_its_mki() {
    for (more, mki) in [("|2^31|1:1", Some((1, 1))), ("|258:4", Some((258, 4))), ("", None)] {
        let key = "CnVubGVz";
        let named = move |text: String| text.replace(key, &format!("{key}{more}"));
        let mut rig = Rig::new("mki");
        let [forward, backward] = talk(&mut rig, Pbx, &named, &same);
        assert_eq!(forward.unprotect.as_ref().unwrap().mki(), mki, "{more}");
        assert_eq!(backward.protect.as_ref().unwrap().mki(), None, "ours has none");
        let answer = rig.last_response(Pbx).body;
        let answer = String::from_utf8(answer.to_vec()).unwrap();
        assert!(!answer.contains('|'), "{answer}");
        rig.hang_up(Pbx);
        rig.finish_one(200);
    }
}
