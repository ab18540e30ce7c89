//! Test calls and their audio.

use super::peer::{Audio, Peer, accept, answerer, pick_up, reply};
use super::*;

const MIXED: &str = "encryption = true\nallow_mixed = true\n";

fn media(audio: Audio, fields: &str) -> (Report, Peer) {
    let peer = Peer::answering(answerer(audio));
    let report = Scene::toward(&peer, fields).run(Some("9196"));
    (report, peer)
}

fn number(report: &Report, name: &str) -> u64 {
    let facts = &step(report, Stage::Media).facts;
    facts.iter().find(|(n, _)| n == name).unwrap().1.parse().unwrap()
}

#[test]
fn an_echo_is_heard_plain_and_encrypted() {
    for (fields, over) in [("", "RTP"), (MIXED, "AES_CM_128_HMAC_SHA1_80")] {
        let (report, peer) = media(Audio::Echo, fields);
        let want = [
            (Stage::Dns, Verdict::Skip),
            (Stage::Tcp, Verdict::Skip),
            (Stage::Options, Verdict::Pass),
            (Stage::Call, Verdict::Pass),
            (Stage::Media, Verdict::Pass),
        ];
        assert_eq!(verdicts(&report), want, "{report:#?}");
        assert!(step(&report, Stage::Call).text.contains(over), "{report:#?}");
        let sent = number(&report, "sent");
        assert!(sent >= 20, "{report:#?}");
        for name in ["received", "echoed"] {
            assert_eq!(number(&report, name), sent, "{report:#?}");
        }
        assert_eq!((number(&report, "lost"), number(&report, "srtp_refused")), (0, 0));
        assert_eq!((peer.wait("ACK", 1).len(), peer.wait("BYE", 1).len()), (1, 1));
        let invite = &peer.heard("INVITE")[0];
        assert!(invite.starts_with("INVITE sip:9196@127.0.0.1"), "{invite}");
        // Keys went to the peer and are in no report.
        let text = serde_json::to_string(&report).unwrap();
        let keys: Vec<&str> = invite.split("inline:").skip(1).map(|rest| &rest[..16]).collect();
        assert_eq!(keys.is_empty(), fields.is_empty(), "positive control");
        assert!(keys.iter().all(|key| !text.contains(key)), "{text}");
    }
}

#[test]
fn no_audio_one_way() {
    for fields in ["", MIXED] {
        let (report, peer) = media(Audio::Mute, fields);
        failed(&report, Stage::Media, Failure::OneWayAudio);
        assert_eq!(number(&report, "received"), 0);
        assert_eq!(peer.wait("BYE", 1).len(), 1, "the call ends all the same");
    }
    // Audio comes, but nothing of ours: they may not hear us.
    let (report, _) = media(Audio::Monologue, "");
    let last = step(&report, Stage::Media);
    assert_eq!((last.verdict, last.failure), (Verdict::Warn, Some(Failure::OneWayAudio)));
}

#[test]
fn srtp_that_does_not_authenticate() {
    let (report, _) = media(Audio::WrongKey, MIXED);
    failed(&report, Stage::Media, Failure::SrtpAuthentication);
    assert!(number(&report, "srtp_refused") > 0);
}

#[test]
fn lost_packets_are_counted() {
    let (report, _) = media(Audio::Lossy, "");
    let last = step(&report, Stage::Media);
    assert_eq!((last.verdict, last.failure), (Verdict::Warn, Some(Failure::MediaLoss)));
    let (sent, lost) = (number(&report, "sent"), number(&report, "lost"));
    assert!(lost > 0 && lost <= sent / 5, "{lost} of {sent}");
}

#[test]
fn a_call_that_is_not_taken() {
    for (code, failure) in [
        (403, Failure::Forbidden),
        (404, Failure::NotFound),
        (484, Failure::NotFound),
        (486, Failure::Declined),
        (488, Failure::OfferRefused),
        (503, Failure::Declined),
        (407, Failure::Unauthorized),
    ] {
        let peer = Peer::answering(move |request| match request.method.as_str() {
            "INVITE" => vec![reply(request, code, "", "")],
            "ACK" => Vec::new(),
            _ => vec![reply(request, 200, "", "")],
        });
        failed(&Scene::toward(&peer, "").run(Some("100")), Stage::Call, failure);
        assert_eq!(peer.wait("ACK", 1).len(), 1, "{code}");
    }
}

/// A peer of a trunk that prefers encryption has it, or is called without; and is never called a
/// third time.
#[test]
fn a_peer_without_the_encryption_that_is_preferred() {
    const PREFERRED: &str = "secure_rtp = \"preferred\"\nallow_mixed = true\n";
    for (refuses, over, invites) in [
        ("nothing", Some("AES_CM_128_HMAC_SHA1_80"), 1),
        ("RTP/SAVP", Some("over RTP"), 2),
        ("RTP/", None, 2),
    ] {
        let talks = answerer(Audio::Echo);
        let peer = Peer::answering(move |request| {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            match request.method.as_str() {
                "INVITE" if body.contains(refuses) => vec![reply(request, 488, "", "")],
                _ => talks(request),
            }
        });
        let report = Scene::toward(&peer, PREFERRED).run(Some("9196"));
        assert_eq!(peer.heard("INVITE").len(), invites, "{report:#?}");
        let Some(over) = over else {
            failed(&report, Stage::Call, Failure::OfferRefused);
            continue;
        };
        assert_eq!(step(&report, Stage::Media).verdict, Verdict::Pass, "{report:#?}");
        assert!(step(&report, Stage::Call).text.contains(over), "{report:#?}");
    }
}

/// `sip_alg`: the peer is told our outer address.
#[test]
fn a_trunk_whose_addresses_are_repaired() {
    let peer = Peer::answering(answerer(Audio::Echo));
    let fields = "sip_alg = true\nexternal_address = \"203.0.113.7\"\n";
    Scene::toward(&peer, fields).run(Some("9196"));
    let invite = &peer.wait("INVITE", 1)[0];
    for line in ["Via: SIP/2.0/UDP 203.0.113.7:", "Contact: <sip:203.0.113.7:"] {
        assert!(invite.contains(line), "{invite}");
    }
    assert!(invite.contains("c=IN IP4 203.0.113.7\r\n"), "{invite}");
}

#[test]
fn an_answer_that_calls_could_not_use() {
    // RTP/AVP to an offer of RTP/SAVP.
    let peer = Peer::answering(|request| match request.method.as_str() {
        "INVITE" => {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let sdp = pick_up(&body.replace("a=crypto", "a=x-crypto"), Audio::Mute);
            vec![accept(request, &sdp)]
        }
        "ACK" => Vec::new(),
        _ => vec![reply(request, 200, "", "")],
    });
    failed(&Scene::toward(&peer, MIXED).run(Some("100")), Stage::Call, Failure::OfferRefused);
    assert_eq!(peer.wait("BYE", 1).len(), 1, "what was answered is ended");
}

#[test]
fn nobody_picks_up() {
    let peer = Peer::answering(|request| match request.method.as_str() {
        "INVITE" => vec![reply(request, 180, "", "")],
        "ACK" => Vec::new(),
        _ => vec![reply(request, 200, "", "")],
    });
    let short = Duration::from_millis(300);
    let patience = Patience { ring: short, answer: short, ..PATIENCE };
    let scene = Scene::with(&peer.fields(), Path::new("."), &[], patience);
    failed(&scene.run(Some("100")), Stage::Call, Failure::Timeout);
    assert!(!peer.wait("CANCEL", 1).is_empty(), "the call is given up in order");
}

#[test]
fn no_media_port_is_left() {
    let peer = Peer::answering(answerer(Audio::Echo));
    let taken: Vec<_> = (31_500..31_504_u16)
        .map(|port| std::net::UdpSocket::bind(("127.0.0.1", port)).unwrap())
        .collect();
    let scene = Scene::toward(&peer, "");
    let kit = Arc::clone(&scene.probes.0.kit);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let small = |ports| {
        let media = config::Media { ports, ..kit.media.clone() };
        Kit { media, dns: kit.dns.clone(), sip: kit.sip.clone(), listeners: Vec::new(), ..*kit }
    };
    let open = |kit: &Kit| {
        let opened = runtime.block_on(media::Ports::open(kit, 0, peer.address));
        opened.map(|ports| (ports.rtp, ports.rtcp)).map_err(|text| text.contains("are taken"))
    };
    assert_eq!(open(&small(31_500..=31_503)), Err(true));
    assert_eq!(open(&small(31_500..=31_505)), Ok((31_504, 31_505)), "positive control");
    drop(taken);
    assert_eq!(open(&small(31_500..=31_503)), Ok((31_502, 31_503)), "from the end");
}
