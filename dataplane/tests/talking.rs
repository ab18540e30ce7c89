//! What far ends hear when the data plane talks by itself: prompts and digits, through real workers
//! and real sockets. Nothing here is judged by the time at which it came: a packet's timestamp says
//! which part of a prompt it must hold, however late the machine was.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod rig;

use std::f32::consts::TAU;
use std::path::{Path, PathBuf};
use std::time::Instant;

use abi::{
    Codec, Command, Counter, Dial, FlowId, Format, Notice, Play, PromptName, Reason, Say, Stop,
    Suite, TelephoneEvent, Update,
};
use dataplane::dtmf::{DigitCode, EventDetector, ToneDetector};
use dataplane::g711::Law;
use dataplane::limits::{DIGITS_QUEUED_MAX, SEND_BUFFERS};
use dataplane::prompt::{self, Audio, Prompts};
use rig::packet::Peer;
use rig::{Call, Far, Rig, await_that, drain, id, own_address, receive};
use rtp::packet::RtpPacket;

/// A directory of prompts: `tone` (8 kHz), `wide` (16 kHz) and `short`; it goes with the test.
struct Recordings(PathBuf);

impl Recordings {
    fn make() -> Recordings {
        let directory = std::env::temp_dir().join(format!(
            "trunkline-prompts-{}-{}",
            std::process::id(),
            own_address()
        ));
        std::fs::create_dir(&directory).unwrap();
        record(&directory, "tone", 8000, 240);
        record(&directory, "wide", 16_000, 240);
        record(&directory, "short", 8000, 50);
        Recordings(directory)
    }
}

impl Drop for Recordings {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn record(directory: &Path, name: &str, rate_hz: u32, ms: u32) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: rate_hz,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = hound::WavWriter::create(directory.join(format!("{name}.wav")), spec).unwrap();
    for n in 0..rate_hz / 1000 * ms {
        file.write_sample(tone_at(n, rate_hz)).unwrap();
    }
    file.finalize().unwrap();
}

/// A tone that moves, so that no two packets of it are alike.
fn tone_at(n: u32, rate_hz: u32) -> i16 {
    let seconds = n as f32 / rate_hz as f32;
    (8000.0 * (TAU * (700.0 + 500.0 * seconds) * seconds).sin()) as i16
}

/// A rig that has prompts, and the same prompts as the test knows them.
struct Stage {
    rig: Rig,
    prompts: Prompts,
    _recordings: Recordings,
}

impl Stage {
    fn start() -> Stage {
        let recordings = Recordings::make();
        let mut config = rig::config(own_address(), 256, 20_000..=25_999);
        config.prompts = Some(recordings.0.clone());
        let prompts = Prompts::load(&recordings.0).unwrap();
        Stage { rig: Rig::launch(config, dataplane::run), prompts, _recordings: recordings }
    }

    fn audio(&self, name: &str, codec: Codec) -> Audio {
        let codec = match codec {
            Codec::Pcma => prompt::Codec::Pcma,
            Codec::G722 => prompt::Codec::G722,
            _ => prompt::Codec::Pcmu,
        };
        self.prompts.audio(name, codec).unwrap().clone()
    }

    fn try_play(&mut self, flow: FlowId, name: &str, looped: bool) -> (u64, Notice) {
        let (token, prompt) = (self.rig.token(), PromptName::new(name).unwrap());
        (token, self.rig.ask(&Command::play(&Play { token, flow, prompt, looped })))
    }

    fn play(&mut self, flow: FlowId, name: &str, looped: bool) -> u64 {
        let (token, answer) = self.try_play(flow, name, looped);
        assert_eq!(answer, Notice::Updated { token, flow });
        token
    }

    fn stop(&mut self, flow: FlowId) {
        let token = self.rig.token();
        let answer = self.rig.ask(&Command::stop(&Stop { token, flow }));
        assert_eq!(answer, Notice::Updated { token, flow });
    }

    fn try_dial(&mut self, flow: FlowId, digit: u8, duration_ms: u16) -> (u64, Notice) {
        let token = self.rig.token();
        (token, self.rig.ask(&Command::dial(&Dial { token, flow, digit, duration_ms })))
    }

    fn await_played(&mut self, token: u64, flow: FlowId, complete: bool) {
        assert_eq!(self.rig.event(), Notice::Played { token, flow, complete });
    }
}

fn format(codec: Codec, ptime_ms: u8) -> Option<Format> {
    let payload_type = match codec {
        Codec::Pcmu => 0,
        Codec::Pcma => 8,
        Codec::G722 => 9,
        _ => 18,
    };
    Some(Format { codec, payload_type, rate_hz: 8000, ptime_ms })
}

/// How the B side of a call is protected.
#[derive(Clone, Copy, Debug)]
enum Side {
    Plain,
    Secure(Suite),
}

const SIDES: [Side; 3] =
    [Side::Plain, Side::Secure(Suite::AesCm128HmacSha1_80), Side::Secure(Suite::AeadAes128Gcm)];

/// Joins a call whose flow A can talk to B in `sent`; what B then hears with.
fn join(rig: &mut Rig, call: &Call, side: Side, sent: Option<Format>) -> Ear {
    let (mut forward, mut backward) = (call.update_a(), call.update_b());
    forward.sent = sent;
    let mut peer = None;
    if let Side::Secure(suite) = side {
        forward.protect = Some(rig::key(suite, 1));
        backward.unprotect = Some(rig::key(suite, 2));
        peer = Some(Peer::new(suite));
    }
    rig.update(forward);
    rig.update(backward);
    Ear { peer, last: None }
}

/// A far end's ear. A secure one refuses an index that comes twice.
struct Ear {
    peer: Option<Peer>,
    last: Option<Packet>,
}

/// A packet as it was heard.
#[derive(Clone, Debug)]
struct Packet {
    ssrc: u32,
    seq: u16,
    timestamp: u32,
    marker: bool,
    payload_type: u8,
    payload: Vec<u8>,
}

impl Ear {
    /// Takes the next packet, which has to continue the one before: one SSRC, no number left out.
    fn hear(&mut self, bytes: &[u8]) -> Packet {
        let plain = match &mut self.peer {
            Some(peer) => peer.unprotect_rtp(bytes),
            None => bytes.to_vec(),
        };
        let view = RtpPacket::parse(&plain).unwrap();
        assert_eq!(view.header_len(), 12);
        let packet = Packet {
            ssrc: view.ssrc().0,
            seq: view.seq().0,
            timestamp: view.timestamp(),
            marker: view.marker(),
            payload_type: view.payload_type().value(),
            payload: view.payload().to_vec(),
        };
        if let Some(last) = &self.last {
            assert_eq!(packet.ssrc, last.ssrc, "one source");
            assert_eq!(packet.seq, last.seq.wrapping_add(1), "no number left out or used twice");
        }
        self.last = Some(packet.clone());
        packet
    }

    fn hear_all(&mut self, packets: &[Vec<u8>]) -> Vec<Packet> {
        packets.iter().map(|bytes| self.hear(bytes)).collect()
    }
}

/// Packets of a prompt from its beginning: each holds what its timestamp says, only the first one is
/// marked.
#[track_caller]
fn check_prompt(packets: &[Packet], audio: &Audio, looped: bool, ptime_ms: usize) {
    let first = packets.first().expect("something was said");
    let mut before = None;
    for packet in packets {
        let at = packet.timestamp.wrapping_sub(first.timestamp);
        assert!(before.is_none_or(|before| at > before), "time goes on");
        assert_eq!(at as usize % (8 * ptime_ms), 0, "whole packets");
        let mut expected = vec![0; 8 * ptime_ms];
        audio.write(at.into(), looped, &mut expected);
        assert!(packet.payload == expected, "what the prompt says at {at}");
        assert_eq!(packet.payload_type, audio.codec().payload_type());
        assert_eq!(packet.marker, before.is_none(), "marked at its beginning alone");
        assert!(looped || (at as usize) < audio.len(), "nothing behind the end");
        before = Some(at);
    }
}

/// Ticks of 8 kHz since `then`, at most.
fn ticks_since(then: Instant) -> u32 {
    (then.elapsed().as_micros() * 8 / 1000) as u32 + 1
}

#[test]
fn a_prompt_is_heard_as_it_was_encoded_in_each_codec_plain_and_encrypted() {
    let mut stage = Stage::start();
    let mut calls = Vec::new();
    for codec in [Codec::Pcmu, Codec::Pcma, Codec::G722] {
        for side in SIDES {
            let call = Call::place(&mut stage.rig, 2 * calls.len() as u32, 1);
            let ear = join(&mut stage.rig, &call, side, format(codec, 20));
            calls.push((call, codec, ear));
        }
    }
    for name in ["tone", "wide"] {
        let mut expected: Vec<Notice> = Vec::new();
        for (call, ..) in &calls {
            let token = stage.play(call.a, name, false);
            expected.push(Notice::Played { token, flow: call.a, complete: true });
        }
        for _ in &calls {
            let played = stage.rig.event();
            let place = expected.iter().position(|awaited| *awaited == played);
            expected.remove(place.unwrap_or_else(|| panic!("{played:?} once")));
        }
        for (call, codec, ear) in &mut calls {
            let packets = ear.hear_all(&drain(&call.far_b.rtp));
            check_prompt(&packets, &stage.audio(name, *codec), false, 20);
        }
    }
    let last = calls.len() as u64;
    stage.rig.await_counter(Counter::PromptsPlayed, 2 * last);
    assert_eq!(stage.rig.counter(Counter::RxPackets), 0);
    let said = stage.rig.counter(Counter::SaidPackets);
    assert_eq!(stage.rig.counter(Counter::TxPackets), said);
    assert!(calls.iter().all(|(call, ..)| rig::nothing_in(&call.far_b.rtcp)));
}

#[test]
fn what_signaling_put_on_the_shelf_is_said_in_each_codec_plain_and_encrypted() {
    let mut stage = Stage::start();
    let wav = std::fs::read(stage._recordings.0.join("tone.wav")).unwrap();
    let octets = recording::encode(&recording::read(&wav, 60).unwrap()).concat();
    let each = (octets.len() / 3 - recording::TAIL) as u32;
    // At the very end of the shelf.
    let at = abi::shelf::SHELF_OCTETS - octets.len();
    assert!(stage.rig.guest().shelf.write(at, &octets));
    let mut slot = 0;
    for codec in [Codec::Pcmu, Codec::Pcma, Codec::G722] {
        for side in SIDES {
            let call = Call::place(&mut stage.rig, slot, 1);
            slot += 2;
            let mut ear = join(&mut stage.rig, &call, side, format(codec, 20));
            let (token, flow) = (stage.rig.token(), call.a);
            let say = Say { token, flow, at: at as u32, octets: each };
            assert_eq!(stage.rig.ask(&Command::say(&say)), Notice::Updated { token, flow });
            stage.await_played(token, flow, true);
            let packets = ear.hear_all(&drain(&call.far_b.rtp));
            check_prompt(&packets, &stage.audio("tone", codec), false, 20);
        }
    }
}

/// The octets are not only those of our own encoder: decoded, they are what was recorded.
#[test]
fn a_prompt_decodes_to_what_was_recorded() {
    let mut stage = Stage::start();
    for (n, (codec, law)) in [(Codec::Pcmu, Law::Mu), (Codec::Pcma, Law::A)].into_iter().enumerate()
    {
        let call = Call::place(&mut stage.rig, 2 * n as u32, 1);
        let mut ear = join(&mut stage.rig, &call, Side::Plain, format(codec, 20));
        let token = stage.play(call.a, "tone", false);
        stage.await_played(token, call.a, true);
        let packets = ear.hear_all(&drain(&call.far_b.rtp));
        for packet in &packets {
            let at = packet.timestamp.wrapping_sub(packets[0].timestamp);
            for (n, octet) in (at..).zip(&packet.payload) {
                let (heard, said) = (i32::from(law.decode(*octet)), i32::from(tone_at(n, 8000)));
                assert!((heard - said).abs() <= 16 + said.abs() / 16, "{n}: {heard} for {said}");
            }
        }
    }
}

/// Across a rollover of the sequence number; a secure ear refuses an index that comes twice, and one
/// whose rollover counter is not what it expects.
#[test]
fn the_far_end_gives_way_to_a_prompt_and_comes_back_under_one_numbering() {
    for side in SIDES {
        let mut stage = Stage::start();
        let call = Call::place(&mut stage.rig, 0, 1);
        let mut ear = join(&mut stage.rig, &call, side, format(Codec::Pcmu, 20));
        let send = |seq: u16| {
            call.far_a.rtp.send_to(&rig::packet::rtp(seq), call.at_a.0).unwrap();
        };
        let mut began = Instant::now();
        for seq in 65_528..=65_533 {
            began = Instant::now();
            send(seq);
            let heard = ear.hear(&receive(&call.far_b.rtp).0);
            assert_eq!((heard.seq, heard.ssrc, heard.marker), (seq, rig::packet::SSRC, false));
        }
        let before = ear.last.clone().unwrap();
        let heard_far = Instant::now();
        let token = stage.play(call.a, "short", true);
        let asked_after = heard_far.elapsed().as_micros() as u32 * 8 / 1000;
        let mut said = vec![ear.hear(&receive(&call.far_b.rtp).0)];
        let passed = said[0].timestamp.wrapping_sub(before.timestamp);
        assert!((1..=ticks_since(began)).contains(&passed), "{passed}: time went on");
        assert!(asked_after < passed + 160, "{passed}: as long as it took to ask");
        // What comes meanwhile is not heard.
        for seq in 65_534..=65_535 {
            send(seq);
        }
        (0..6).for_each(send);
        stage.rig.await_counter(Counter::DropSuperseded, 8);
        await_that("a turn of the numbers while the prompt is said", || {
            said.extend(ear.hear_all(&drain(&call.far_b.rtp)));
            said.len() >= 6
        });
        stage.stop(call.a);
        stage.await_played(token, call.a, false);
        said.extend(ear.hear_all(&drain(&call.far_b.rtp)));
        check_prompt(&said, &stage.audio("short", Codec::Pcmu), true, 20);
        // The far end is heard again: its audio, our numbers.
        for seq in 6..12 {
            let last = ear.last.clone().unwrap();
            send(seq);
            let heard = ear.hear(&receive(&call.far_b.rtp).0);
            assert_eq!(heard.payload, rig::packet::rtp(seq)[12..]);
            assert_eq!(heard.marker, seq == 6, "the change is marked");
            let passed = heard.timestamp.wrapping_sub(last.timestamp);
            assert!((1..=ticks_since(began) + 800).contains(&passed), "{passed}");
        }
        let rig = &mut stage.rig;
        rig.await_counter(Counter::RelayedRtp, 12);
        rig.check_books();
        let flow = rig.snapshot(call.a).unwrap();
        let said = rig.counter(Counter::SaidPackets);
        await_that("the flow's own count", || {
            rig.snapshot(call.a).unwrap().packets_out == 12 + said
        });
        assert_eq!(flow.id, call.a);
        assert_eq!(rig.counter(Counter::TxPackets), 12 + said);
        assert!(rig.unread().is_empty(), "told once");
    }
}

/// A greeting to a caller while the callee's leg is but two ports: nothing has come, nothing may.
#[test]
fn a_greeting_is_heard_before_the_callee_exists() {
    for side in SIDES {
        let mut stage = Stage::start();
        let call = Call::place(&mut stage.rig, 0, 1);
        let mut greeting = Update {
            relay: false,
            source_rtp: None,
            source_rtcp: None,
            sent: format(Codec::Pcma, 20),
            ..call.update_a()
        };
        let mut ear = Ear { peer: None, last: None };
        if let Side::Secure(suite) = side {
            greeting.protect = Some(rig::key(suite, 1));
            ear.peer = Some(Peer::new(suite));
        }
        stage.rig.update(greeting.clone());
        let token = stage.play(call.a, "wide", false);
        stage.await_played(token, call.a, true);
        let (first, from) = receive(&call.far_b.rtp);
        assert_eq!(from, call.at_b.0, "from the port that the caller sends to");
        let mut said = vec![ear.hear(&first)];
        said.extend(ear.hear_all(&drain(&call.far_b.rtp)));
        check_prompt(&said, &stage.audio("wide", Codec::Pcma), false, 20);
        // The callee answers: under the source and the numbers that the caller knows.
        stage.rig.update(Update {
            relay: true,
            source_rtp: Some(call.far_a.rtp_addr()),
            ..greeting.clone()
        });
        for seq in 9000..9003 {
            call.far_a.rtp.send_to(&rig::packet::rtp(seq), call.at_a.0).unwrap();
            let heard = ear.hear(&receive(&call.far_b.rtp).0);
            assert_eq!(heard.payload, rig::packet::rtp(seq)[12..]);
            assert_ne!(heard.ssrc, rig::packet::SSRC);
            assert_eq!(heard.marker, seq == 9000);
        }
        assert!(stage.rig.unread().is_empty());
    }
}

#[test]
fn a_loop_goes_on_until_another_prompt_or_stop_ends_it() {
    let mut stage = Stage::start();
    let call = Call::place(&mut stage.rig, 0, 1);
    let mut ear = join(&mut stage.rig, &call, Side::Plain, format(Codec::G722, 30));
    let (short, tone) = (stage.audio("short", Codec::G722), stage.audio("tone", Codec::G722));
    let first = stage.play(call.a, "short", true);
    let mut said: Vec<Packet> = Vec::new();
    await_that("three turns of the loop", || {
        said.extend(ear.hear_all(&drain(&call.far_b.rtp)));
        let passed = |packet: &Packet| packet.timestamp.wrapping_sub(said[0].timestamp) as usize;
        said.last().is_some_and(|last| passed(last) > 3 * short.len())
    });
    // Replaced by one that is said once: both ends are told, each once, in their order.
    let second = stage.play(call.a, "tone", false);
    stage.await_played(first, call.a, false);
    stage.await_played(second, call.a, true);
    said.extend(ear.hear_all(&drain(&call.far_b.rtp)));
    let begins: Vec<usize> = (0..said.len()).filter(|n| said[*n].marker).collect();
    assert_eq!(begins.len(), 2, "one beginning each");
    check_prompt(&said[..begins[1]], &short, true, 30);
    check_prompt(&said[begins[1]..], &tone, false, 30);
    // Nothing is being said: STOP is obeyed and ends nothing.
    stage.stop(call.a);
    let third = stage.play(call.a, "tone", true);
    stage.stop(call.a);
    stage.stop(call.a);
    stage.await_played(third, call.a, false);
    assert!(stage.rig.unread().is_empty(), "told once");
    stage.rig.await_counter(Counter::PromptsPlayed, 3);
    ear.hear_all(&drain(&call.far_b.rtp));
    let said = stage.rig.counter(Counter::SaidPackets);
    call.far_a.rtp.send_to(&rig::packet::rtp(1), call.at_a.0).unwrap();
    let heard = ear.hear(&receive(&call.far_b.rtp).0);
    assert_eq!(heard.payload, rig::packet::rtp(1)[12..], "and nothing in between");
    stage.rig.await_counter(Counter::RelayedRtp, 1);
    assert_eq!(stage.rig.counter(Counter::SaidPackets), said);
}

#[test]
fn what_cannot_be_said_is_refused_with_its_reason() {
    let mut stage = Stage::start();
    let call = Call::place(&mut stage.rig, 0, 1);
    let refused = |(token, answer): (u64, Notice), flow, reason| {
        assert_eq!(answer, Notice::Refused { token, flow, reason });
    };
    let (a, none) = (call.a, id(9, 1));
    // Before its first UPDATE a flow knows no format.
    refused(stage.try_play(a, "tone", false), a, Reason::NoFormat);
    refused(stage.try_dial(a, 5, 100), a, Reason::NoFormat);
    join(&mut stage.rig, &call, Side::Plain, format(Codec::G729, 20));
    refused(stage.try_play(a, "tone", false), a, Reason::NoFormat);
    refused(stage.try_dial(a, 5, 100), a, Reason::NoFormat);
    join(&mut stage.rig, &call, Side::Plain, format(Codec::G722, 20));
    refused(stage.try_dial(a, 5, 100), a, Reason::NoFormat);
    for name in ["tones", "ton", "t", "tone.wav", "absent"] {
        refused(stage.try_play(a, name, false), a, Reason::NoPrompt);
    }
    refused(stage.try_play(none, "tone", false), none, Reason::NoSuchFlow);
    refused(stage.try_dial(none, 5, 100), none, Reason::NoSuchFlow);
    stage.rig.close(a);
    stage.rig.open(id(0, 2));
    refused(stage.try_play(a, "tone", false), a, Reason::Stale);
    // A codec that only relays still carries digits as events.
    let sent = Update {
        sent: format(Codec::G729, 20),
        events_sent: Some(TelephoneEvent { payload_type: 101, rate_hz: 8000 }),
        ..call.update_a()
    };
    stage.rig.update(Update { flow: id(0, 2), ..sent });
    let (token, answer) = stage.try_dial(id(0, 2), 5, 40);
    assert_eq!(answer, Notice::Updated { token, flow: id(0, 2) });
    assert_eq!(stage.rig.event(), Notice::Dialled { token, flow: id(0, 2) });
    assert_eq!(stage.rig.counter(Counter::CommandFaults), 0);
    assert!(stage.rig.unread().is_empty());
}

/// Far ends may have given a codec another payload type than the static one (RFC 3551 §3).
#[test]
fn prompts_and_tones_leave_under_the_payload_type_that_was_agreed() {
    let mut stage = Stage::start();
    let call = Call::place(&mut stage.rig, 0, 1);
    let agreed = format(Codec::Pcmu, 20).map(|sent| Format { payload_type: 97, ..sent });
    let mut ear = join(&mut stage.rig, &call, Side::Plain, agreed);
    let token = stage.play(call.a, "short", false);
    stage.await_played(token, call.a, true);
    let (token, _) = stage.try_dial(call.a, 1, 40);
    assert_eq!(stage.rig.event(), Notice::Dialled { token, flow: call.a });
    let said = ear.hear_all(&drain(&call.far_b.rtp));
    assert!(said.len() > 3 && said.iter().all(|packet| packet.payload_type == 97), "{said:?}");
}

/// More closes in mid-sentence than there are buffers to say anything with, then much to say.
#[test]
fn closing_a_flow_that_talks_gives_everything_back() {
    let mut stage = Stage::start();
    let ear = Far::new(own_address());
    let talker = |rig: &mut Rig, index: u32, generation: u32| {
        let (flow, peer) = (id(index, generation), id(index + 1, generation));
        rig.open(flow);
        rig.open(peer);
        rig.update(Update {
            peer: Some(peer),
            destination_rtp: Some(ear.rtp_addr()),
            sent: format(Codec::Pcmu, 10),
            ..Update::new(0, flow)
        });
        (flow, peer)
    };
    const ROUNDS: u32 = 20;
    const TALKERS: u32 = 32;
    assert!(ROUNDS * TALKERS > u32::from(SEND_BUFFERS));
    for generation in 1..=ROUNDS {
        let begun = stage.rig.counter(Counter::SaidPackets);
        let flows: Vec<_> =
            (0..TALKERS).map(|n| talker(&mut stage.rig, 2 * n, generation)).collect();
        for (flow, _) in &flows {
            stage.play(*flow, "tone", true);
        }
        await_that("a word of each", || {
            stage.rig.counter(Counter::SaidPackets) >= begun + u64::from(TALKERS)
        });
        // Either end of a direction may go first.
        for (n, (flow, peer)) in flows.into_iter().enumerate() {
            let order = if n % 2 == 0 { [flow, peer] } else { [peer, flow] };
            for flow in order {
                stage.rig.close(flow);
            }
        }
    }
    await_that("nothing open", || {
        [Counter::FlowsOpen, Counter::PortsOpen].map(|level| stage.rig.counter(level)) == [0, 0]
    });
    assert!(stage.rig.unread().is_empty(), "CLOSED says that a prompt has ended");
    drain(&ear.rtp);
    // Some slots fell between the end of a peer and that of its flow.
    let failed = stage.rig.counter(Counter::SaidFailed);
    let begun = stage.rig.counter(Counter::SaidPackets);
    for n in 0..TALKERS {
        let (flow, _) = talker(&mut stage.rig, 2 * n, ROUNDS + 1);
        stage.play(flow, "tone", true);
    }
    let goal = begun + 5 * u64::from(SEND_BUFFERS);
    await_that("thousands of packets", || {
        drain(&ear.rtp);
        stage.rig.counter(Counter::SaidPackets) >= goal
    });
    assert_eq!(stage.rig.counter(Counter::SaidFailed), failed);
    assert!(stage.rig.counter(Counter::TxPackets) >= goal);
}

/// What the kernel refuses to send of ours is no relayed packet that failed.
#[test]
fn a_prompt_that_cannot_be_sent_is_counted_as_such() {
    let mut stage = Stage::start();
    let call = Call::place(&mut stage.rig, 0, 1);
    join(&mut stage.rig, &call, Side::Plain, None);
    for seq in 0..5 {
        call.far_b.rtp.send_to(&rig::packet::rtp(seq), call.at_b.0).unwrap();
        receive(&call.far_a.rtp);
    }
    // A socket on loopback cannot reach out.
    let outside = Some("192.0.2.1:9".parse().unwrap());
    stage.rig.update(Update {
        destination_rtp: outside,
        sent: format(Codec::Pcmu, 20),
        ..call.update_a()
    });
    let token = stage.play(call.a, "tone", false);
    stage.await_played(token, call.a, true);
    call.far_b.rtp.send_to(&rig::packet::rtp(5), call.at_b.0).unwrap();
    receive(&call.far_a.rtp);
    stage.rig.await_counter(Counter::RelayedRtp, 6);
    await_that("what failed", || stage.rig.counter(Counter::SaidFailed) > 0);
    stage.rig.check_books();
    assert_eq!(stage.rig.counter(Counter::DropSendFailed), 0);
    // What is said again afterwards counts alone.
    stage.rig.update(Update { sent: format(Codec::Pcmu, 20), ..call.update_a() });
    let token = stage.play(call.a, "tone", false);
    stage.await_played(token, call.a, true);
    let said = drain(&call.far_b.rtp).len() as u64;
    stage.rig.await_counter(Counter::SaidPackets, said);
    stage.rig.await_counter(Counter::TxPackets, 6 + said);
}

#[test]
fn every_digit_is_dialled_as_telephone_event() {
    let mut stage = Stage::start();
    let mut calls = Vec::new();
    for side in [Side::Plain, Side::Secure(Suite::AeadAes128Gcm)] {
        let call = Call::place(&mut stage.rig, 2 * calls.len() as u32, 1);
        let ear = join(&mut stage.rig, &call, side, None);
        let protect = match side {
            Side::Plain => None,
            Side::Secure(suite) => Some(rig::key(suite, 1)),
        };
        stage.rig.update(Update {
            protect,
            sent: format(Codec::G729, 20),
            events_sent: Some(TelephoneEvent { payload_type: 96, rate_hz: 8000 }),
            ..call.update_a()
        });
        calls.push((call, ear));
    }
    for packets in dial_all(&mut stage, &mut calls) {
        let mut detector = EventDetector::default();
        let heard: Vec<_> = packets
            .iter()
            .filter_map(|packet| detector.note(packet.timestamp, &packet.payload, 8000, 0))
            .collect();
        assert_eq!(heard.iter().map(|digit| digit.code).collect::<Vec<_>>(), DigitCode::ALL);
        assert!(heard.iter().all(|digit| digit.duration_ms == 60), "{heard:?}");
        // And by hand, RFC 4733 §2.3 and §2.5.1: one timestamp, a growing duration, three ends.
        for (code, event) in packets.chunk_by(|a, b| a.timestamp == b.timestamp).enumerate() {
            let durations: Vec<u16> = event
                .iter()
                .map(|packet| u16::from_be_bytes([packet.payload[2], packet.payload[3]]))
                .collect();
            assert_eq!(durations, [160, 320, 480, 480, 480]);
            for (n, packet) in event.iter().enumerate() {
                assert_eq!((packet.payload.len(), packet.payload_type), (4, 96));
                assert_eq!(usize::from(packet.payload[0]), code);
                assert_eq!((packet.marker, packet.payload[1] & 0x80 != 0), (n == 0, n >= 2));
            }
        }
    }
}

#[test]
fn every_digit_is_dialled_as_tone() {
    let laws = [(Codec::Pcmu, Law::Mu), (Codec::Pcma, Law::A)];
    let mut stage = Stage::start();
    let mut calls = Vec::new();
    for (codec, _) in laws {
        let call = Call::place(&mut stage.rig, 2 * calls.len() as u32, 1);
        let ear = join(&mut stage.rig, &call, Side::Plain, format(codec, 20));
        calls.push((call, ear));
    }
    for (packets, (_, law)) in dial_all(&mut stage, &mut calls).into_iter().zip(laws) {
        // Samples in the order in which they came: a pause of this machine is no pause of the tone.
        let mut detector = ToneDetector::new();
        let mut heard: Vec<_> = (0..)
            .zip(&packets)
            .filter_map(|(n, packet)| detector.note(law, 160 * n, &packet.payload, 0))
            .collect();
        heard.extend(detector.expire(u64::MAX));
        assert_eq!(heard.iter().map(|digit| digit.code).collect::<Vec<_>>(), DigitCode::ALL);
        for digit in heard {
            assert!((50..=70).contains(&digit.duration_ms), "{digit:?}");
        }
        assert!(packets.iter().all(|packet| packet.payload_type == payload_type_of(law)));
    }
}

/// All sixteen digits at once on each call, while its far end goes on talking: what each B hears until
/// DIALLED, which is told once, of the last.
fn dial_all(stage: &mut Stage, calls: &mut [(Call, Ear)]) -> Vec<Vec<Packet>> {
    let send = |call: &Call, seq| {
        call.far_a.rtp.send_to(&rig::packet::rtp(seq), call.at_a.0).unwrap();
    };
    let mut expected = Vec::new();
    for (call, ear) in &mut *calls {
        send(call, 1);
        ear.hear(&receive(&call.far_b.rtp).0);
        let tokens = DigitCode::ALL.map(|code| {
            let (token, answer) = stage.try_dial(call.a, code.value(), 60);
            assert_eq!(answer, Notice::Updated { token, flow: call.a });
            token
        });
        expected.push(Notice::Dialled { token: tokens[15], flow: call.a });
        (2..10).for_each(|seq| send(call, seq));
    }
    stage.rig.await_counter(Counter::DropSuperseded, 8 * calls.len() as u64);
    for _ in &*calls {
        let dialled = stage.rig.event();
        let place = expected.iter().position(|awaited| *awaited == dialled);
        expected.remove(place.unwrap_or_else(|| panic!("{dialled:?} once")));
    }
    let heard = calls.iter_mut().map(|(call, ear)| {
        let packets = ear.hear_all(&drain(&call.far_b.rtp));
        send(call, 10);
        let resumed = ear.hear(&receive(&call.far_b.rtp).0);
        assert!(resumed.marker && resumed.payload == rig::packet::rtp(10)[12..]);
        packets
    });
    let heard = heard.collect();
    assert!(stage.rig.unread().is_empty());
    heard
}

#[test]
fn digits_beyond_the_queue_are_refused() {
    let mut stage = Stage::start();
    let call = Call::place(&mut stage.rig, 0, 1);
    join(&mut stage.rig, &call, Side::Plain, format(Codec::Pcmu, 20));
    let mut accepted = 0;
    let answer = loop {
        match stage.try_dial(call.a, 1, 6000).1 {
            Notice::Updated { .. } => accepted += 1,
            other => break other,
        }
    };
    assert!(matches!(answer, Notice::Refused { reason: Reason::Capacity, .. }), "{answer:?}");
    // The one that is being said waits no more.
    assert!((DIGITS_QUEUED_MAX..=DIGITS_QUEUED_MAX + 1).contains(&accepted), "{accepted}");
    receive(&call.far_b.rtp);
    stage.rig.close(call.a);
    assert!(stage.rig.unread().is_empty());
}

/// RFC 3551 §6.
fn payload_type_of(law: Law) -> u8 {
    match law {
        Law::Mu => 0,
        Law::A => 8,
    }
}
