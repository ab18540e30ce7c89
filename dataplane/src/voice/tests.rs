//! Voices and the pacer in virtual time.

use abi::FlowId;

use super::*;
use crate::dtmf::{EventDetector, ToneDetector};
use crate::pacer::Pacer;
use crate::prompt::Codec;

const EVENTS: How = How::Events { payload_type: 101, clock_hz: 8000 };

fn tones(law: Law) -> How {
    How::Tones { payload_type: 100, law }
}

/// A packet with the moment of its sending and its payload.
struct Sent {
    at_ns: u64,
    packet: Packet,
    payload: Vec<u8>,
}

/// Every answer until `until_ns`, the voice being asked when it said and not earlier.
fn run(voice: &mut Voice, from_ns: u64, until_ns: u64) -> (Vec<Sent>, Vec<(u64, Finished)>) {
    let (mut sent, mut finished) = (Vec::new(), Vec::new());
    let mut now_ns = from_ns;
    loop {
        match say(voice, now_ns) {
            (Say::Packet(packet), payload) => sent.push(Sent { at_ns: now_ns, packet, payload }),
            (Say::Done(what), _) => finished.push((now_ns, what)),
            (Say::Wait { due_ns }, _) if due_ns < until_ns => {
                assert!(due_ns > now_ns, "a wait that is over");
                now_ns = due_ns;
            }
            _ => return (sent, finished),
        }
    }
}

fn say(voice: &mut Voice, now_ns: u64) -> (Say, Vec<u8>) {
    let mut out = [0; VOICE_PAYLOAD_MAX];
    let say = voice.next(now_ns, &mut out);
    let len = if let Say::Packet(packet) = say { packet.len } else { 0 };
    (say, out[..len].to_vec())
}

fn voice(ptime_ms: u32) -> Voice {
    Voice::new(Ptime::new(ptime_ms).unwrap(), 65_530, u32::MAX - 100)
}

/// Octets that tell their place: n-th octet is n modulo 251.
fn numbered(ms: usize) -> Audio {
    Audio::of(Codec::Pcma, (0..ms * 8).map(|n| (n % 251) as u8).collect())
}

fn code(key: char) -> DigitCode {
    DigitCode::of_char(key).unwrap()
}

#[test]
fn a_prompt_is_said_once_and_its_end_told_when_it_was_heard() {
    for ptime in [10, 20, 30, 40, 60] {
        let mut voice = voice(ptime);
        assert_eq!(voice.play(numbered(100), false, 7, 3 * MS), None);
        let (sent, finished) = run(&mut voice, 3 * MS, u64::MAX);
        assert_eq!(sent.len(), 100usize.div_ceil(ptime as usize));
        let octets: Vec<u8> = sent.iter().flat_map(|sent| sent.payload.clone()).collect();
        assert!(octets[..800].iter().enumerate().all(|(n, octet)| *octet == (n % 251) as u8));
        assert!(octets[800..].iter().all(|octet| *octet == 0xff));
        for (n, sent) in sent.iter().enumerate() {
            assert_eq!(sent.at_ns, (5 + n as u64 * u64::from(ptime)) * MS, "on the grid");
            assert_eq!(sent.packet.marker, n == 0);
            assert_eq!(sent.packet.payload_type, 8);
            assert_eq!(sent.packet.seq, 65_530u16.wrapping_add(n as u16));
            let timestamp = (u32::MAX - 100).wrapping_add(n as u32 * ptime * 8);
            assert_eq!(sent.packet.timestamp, timestamp);
        }
        assert_eq!(finished, [(105 * MS, Finished::Prompt { token: 7, complete: true })]);
        assert_eq!(say(&mut voice, u64::MAX).0, Say::Idle);
    }
}

#[test]
fn a_prompt_that_is_stopped_or_replaced_is_not_complete() {
    let mut voice = voice(20);
    voice.play(numbered(100), true, 1, 0);
    let replaced = voice.play(numbered(100), false, 2, 10 * MS);
    assert_eq!(replaced, Some(Finished::Prompt { token: 1, complete: false }));
    assert_eq!(voice.stop(), Some(Finished::Prompt { token: 2, complete: false }));
    assert_eq!(voice.stop(), None);
    assert_eq!(say(&mut voice, 20 * MS).0, Say::Idle);
}

#[test]
fn two_packets_are_never_closer_than_a_slot() {
    let mut voice = voice(20);
    voice.play(numbered(100), false, 1, 0);
    assert!(matches!(say(&mut voice, 0).0, Say::Packet(_)));
    voice.stop();
    voice.play(numbered(100), false, 2, 5 * MS);
    assert_eq!(say(&mut voice, 5 * MS).0, Say::Wait { due_ns: 20 * MS });
}

#[test]
fn an_hour_in_a_loop_has_one_packet_per_ptime_and_no_drift() {
    for ptime in [10, 20, 30, 60] {
        let mut voice = voice(ptime);
        voice.play(numbered(970), true, 1, 1);
        let mut out = [0; VOICE_PAYLOAD_MAX];
        let (mut now_ns, mut count) = (1, 0u64);
        while now_ns < 3600 * 1000 * MS {
            match voice.next(now_ns, &mut out) {
                Say::Packet(packet) => {
                    assert_eq!(now_ns, (5 + count * u64::from(ptime)) * MS);
                    let timestamp = (u32::MAX - 100).wrapping_add(count as u32 * ptime * 8);
                    assert_eq!((packet.timestamp, packet.marker), (timestamp, count == 0));
                    let at = count * u64::from(ptime) * 8 % (970 * 8);
                    assert_eq!(out[0], (at % 251) as u8);
                    count += 1;
                }
                Say::Wait { due_ns } => now_ns = due_ns,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(count, 3_600_000 / u64::from(ptime));
    }
}

#[test]
fn a_late_wake_up_says_a_burst_and_skips_what_is_older() {
    let mut voice = voice(20);
    voice.play(numbered(1000), false, 1, 0);
    assert!(matches!(say(&mut voice, 0).0, Say::Packet(_)));
    let (sent, _) = run(&mut voice, 310 * MS, 311 * MS);
    assert_eq!(sent.len() as u64, PACE_BURST_MAX);
    // The position follows the time: slots 260, 280 and 300.
    for (sent, ms) in sent.iter().zip([260, 280, 300]) {
        assert_eq!(sent.payload[0], (ms * 8 % 251) as u8);
        assert_eq!(sent.packet.timestamp, (u32::MAX - 100).wrapping_add(ms as u32 * 8));
    }
    assert_eq!(say(&mut voice, 310 * MS).0, Say::Wait { due_ns: 320 * MS });
    let (_, finished) = run(&mut voice, 320 * MS, u64::MAX);
    assert_eq!(finished, [(1000 * MS, Finished::Prompt { token: 1, complete: true })]);
}

#[test]
fn whoever_wakes_up_after_the_end_hears_of_the_end() {
    let mut voice = voice(20);
    voice.play(numbered(100), false, 1, 0);
    assert!(matches!(say(&mut voice, 0).0, Say::Packet(_)));
    let (sent, finished) = run(&mut voice, 10_000 * MS, u64::MAX);
    assert!(sent.is_empty());
    assert_eq!(finished, [(10_000 * MS, Finished::Prompt { token: 1, complete: true })]);
}

#[test]
fn digits_as_events_arrive_in_order_with_their_pauses() {
    for (ptime, clock_hz) in [(10, 8000), (20, 8000), (30, 16_000), (40, 48_000), (60, 8000)] {
        let mut voice = voice(ptime);
        for (n, key) in "1593#".chars().enumerate() {
            let how = How::Events { payload_type: 96, clock_hz };
            voice.dial(code(key), 100, how, n as u64, 0).unwrap();
        }
        let (sent, finished) = run(&mut voice, 0, u64::MAX);
        let mut detector = EventDetector::default();
        let heard: Vec<_> = sent
            .iter()
            .filter_map(|sent| {
                assert_eq!((sent.packet.payload_type, sent.packet.rate_hz), (96, clock_hz));
                detector.note(sent.packet.timestamp, &sent.payload, clock_hz, sent.at_ns)
            })
            .collect();
        let keys: String = heard.iter().map(|digit| digit.code.as_char()).collect();
        assert_eq!(keys, "1593#");
        assert!(heard.iter().all(|digit| digit.duration_ms == 100));
        assert_eq!(sent.iter().filter(|sent| sent.packet.marker).count(), 5);
        let starts: Vec<u64> =
            sent.iter().filter(|sent| sent.packet.marker).map(|sent| sent.at_ns).collect();
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= 150 * MS), "{starts:?}");
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] <= 300 * MS), "{starts:?}");
        let (end_ns, end) = finished[0];
        assert_eq!((end, finished.len()), (Finished::Digits { token: 4 }, 1));
        assert!(end_ns >= starts[4] + 150 * MS);
    }
}

#[test]
fn digits_as_tones_arrive_without_a_gap() {
    for ptime in [10, 20, 30, 60] {
        for law in [Law::Mu, Law::A] {
            let mut voice = voice(ptime);
            for key in "2580AB".chars() {
                voice.dial(code(key), 70, tones(law), 9, 0).unwrap();
            }
            let (sent, finished) = run(&mut voice, 0, u64::MAX);
            let mut detector = ToneDetector::new();
            let mut keys = String::new();
            for (n, sent) in sent.iter().enumerate() {
                assert_eq!(sent.at_ns, n as u64 * u64::from(ptime) * MS);
                assert_eq!(sent.packet.payload_type, 100);
                let digit = detector.note(law, sent.packet.timestamp, &sent.payload, sent.at_ns);
                keys.extend(digit.map(|digit| digit.code.as_char()));
            }
            keys.extend(detector.expire(u64::MAX).map(|digit| digit.code.as_char()));
            assert_eq!(keys, "2580AB", "{ptime} {law:?}");
            assert_eq!(finished.len(), 1);
        }
    }
}

#[test]
fn a_digit_interrupts_a_prompt_which_runs_on_beneath() {
    let mut voice = voice(20);
    voice.play(numbered(1000), false, 1, 0);
    let (before, _) = run(&mut voice, 0, 95 * MS);
    assert_eq!(before.len(), 5);
    voice.dial(code('5'), 100, EVENTS, 2, 95 * MS).unwrap();
    let (sent, finished) = run(&mut voice, 95 * MS, u64::MAX);
    let digits = sent.iter().take_while(|sent| sent.packet.payload_type == 101).count();
    assert_eq!((digits, sent[0].at_ns), (7, 100 * MS));
    let back = &sent[digits];
    assert!(back.packet.marker && back.at_ns == 260 * MS);
    assert_eq!(back.payload[0], (260 * 8 % 251) as u8);
    assert!(!sent[digits + 1].packet.marker);
    assert_eq!(
        finished,
        [
            (260 * MS, Finished::Digits { token: 2 }),
            (1000 * MS, Finished::Prompt { token: 1, complete: true })
        ]
    );
}

#[test]
fn a_late_wake_up_delays_digits_but_loses_none() {
    for how in [EVENTS, tones(Law::A)] {
        let mut voice = voice(20);
        for key in "12".chars() {
            voice.dial(code(key), 40, how, 0, 0).unwrap();
        }
        let (mut events, mut detector) = (EventDetector::default(), ToneDetector::new());
        let mut keys = String::new();
        let mut now_ns = 0;
        // Woken every 170 ms instead of every 20.
        for _ in 0..20 {
            let (sent, _) = run(&mut voice, now_ns, now_ns + 1);
            assert!(sent.len() as u64 <= PACE_BURST_MAX);
            for Sent { packet, payload, .. } in sent {
                let digit = match how {
                    How::Events { .. } => events.note(packet.timestamp, &payload, 8000, now_ns),
                    How::Tones { law, .. } => {
                        // The line without the gaps that waking late makes.
                        let timestamp = u32::from(packet.seq.wrapping_sub(65_530)) * 160;
                        detector.note(law, timestamp, &payload, now_ns)
                    }
                };
                keys.extend(digit.map(|digit| digit.code.as_char()));
            }
            now_ns += 170 * MS;
        }
        keys.extend(detector.expire(u64::MAX).map(|digit| digit.code.as_char()));
        assert_eq!(keys, "12", "{how:?}");
    }
}

/// At 48 kHz one segment says 1,365 ms; the caller is heard again after that.
#[test]
fn a_digit_that_no_segment_can_say_ends_earlier() {
    for (clock_hz, ms) in [(8_000, 6000), (48_000, 1365)] {
        let mut voice = voice(20);
        let how = How::Events { payload_type: 96, clock_hz };
        voice.dial(code('1'), DIGIT_MS_MAX, how, 9, 0).unwrap();
        let (_, finished) = run(&mut voice, 0, u64::MAX);
        let [(at_ns, Finished::Digits { token: 9 })] = finished[..] else { panic!("{finished:?}") };
        let end_ms = ms + u64::from(PAUSE_MS);
        assert!((end_ms..=end_ms + 20).contains(&(at_ns / MS)), "{clock_hz}: {at_ns}");
    }
}

#[test]
fn digits_that_wait_change_with_what_the_far_side_takes() {
    let mut voice = voice(20);
    for key in "12".chars() {
        voice.dial(code(key), 40, EVENTS, 0, 0).unwrap();
    }
    let (mut sent, _) = run(&mut voice, 0, 1);
    voice.dial_as(How::Events { payload_type: 96, clock_hz: 8000 });
    sent.extend(run(&mut voice, 20 * MS, u64::MAX).0);
    let types: Vec<_> = sent.iter().map(|sent| sent.packet.payload_type).collect();
    let (old, new) = types.split_at(types.len() / 2);
    assert!(old.iter().all(|at| *at == 101) && new.iter().all(|at| *at == 96), "{types:?}");
}

#[test]
fn as_many_digits_wait_as_the_limit_says() {
    let mut voice = voice(20);
    let reserved = voice.queue.capacity();
    for _ in 0..DIGITS_QUEUED_MAX {
        voice.dial(code('1'), 40, EVENTS, 0, 0).unwrap();
    }
    assert_eq!(voice.dial(code('1'), 40, EVENTS, 0, 0), Err(QueueFull));
    assert_eq!(voice.queue.capacity(), reserved);
    let (sent, finished) = run(&mut voice, 0, u64::MAX);
    let starts = sent.iter().filter(|sent| sent.packet.marker).count();
    assert_eq!((starts, finished.len()), (DIGITS_QUEUED_MAX, 1));
}

#[test]
fn packet_times_are_those_of_the_grid() {
    for ms in 0..100 {
        let fits = (10..=60).contains(&ms) && ms % 5 == 0;
        assert_eq!(Ptime::new(ms).is_some(), fits, "{ms}");
    }
    assert_eq!(Ptime::default().ms(), 20);
}

/// What a voice may be told in the property test.
#[derive(Clone, Copy, Debug)]
enum Command {
    Play(bool),
    Stop,
    Dial(bool),
    Nothing,
}

fn command() -> impl proptest::strategy::Strategy<Value = Command> {
    use proptest::prelude::*;
    prop_oneof![
        any::<bool>().prop_map(Command::Play),
        Just(Command::Stop),
        any::<bool>().prop_map(Command::Dial),
        Just(Command::Nothing),
        Just(Command::Nothing),
    ]
}

proptest::proptest! {
    /// Whatever is commanded and however late the wake-ups: numbers rise by one, timestamps never
    /// fall, no more packets than slots and one burst, and each token is told about once.
    #[test]
    fn any_commands_at_any_times_keep_the_pace(
        ptime in 2..=12u32,
        steps in proptest::collection::vec((command(), 0..400_000_000u64), 1..60),
    ) {
        let mut voice = voice(ptime * 5);
        let (mut now_ns, mut packets, mut tokens, mut told) = (0, 0u64, 0, 0);
        let mut last: Option<Packet> = None;
        let mut started = 0;
        for (command, pass_ns) in steps {
            now_ns += pass_ns;
            match command {
                Command::Play(looped) => {
                    told += usize::from(voice.play(numbered(95), looped, tokens, now_ns).is_some());
                    tokens += 1;
                    started += 1;
                }
                Command::Stop => told += usize::from(voice.stop().is_some()),
                Command::Dial(as_tones) => {
                    let how = if as_tones { tones(Law::Mu) } else { EVENTS };
                    let _ = voice.dial(code('4'), 60, how, tokens, now_ns);
                }
                Command::Nothing => {}
            }
            let (sent, finished) = run(&mut voice, now_ns, now_ns + 1);
            proptest::prop_assert!(sent.len() as u64 <= PACE_BURST_MAX);
            let prompts = finished.iter().filter(|f| matches!(f.1, Finished::Prompt { .. }));
            told += prompts.count();
            for Sent { packet, .. } in sent {
                packets += 1;
                if let Some(last) = last {
                    proptest::prop_assert_eq!(packet.seq, last.seq.wrapping_add(1));
                    proptest::prop_assert!(packet.timestamp.wrapping_sub(last.timestamp) < 1 << 31);
                }
                last = Some(packet);
            }
            proptest::prop_assert!(packets <= now_ns / (u64::from(ptime) * 5 * MS) + 2);
        }
        told += usize::from(voice.stop().is_some());
        proptest::prop_assert_eq!(told, started);
    }

    /// Many voices under one pacer: each is asked on time, and between wake-ups nobody is due.
    #[test]
    fn one_timer_serves_all_voices(starts in proptest::collection::vec(0..50_000_000u64, 1..20)) {
        let mut pacer = Pacer::new(starts.len() as u32);
        let mut voices: Vec<Voice> = starts.iter().map(|_| voice(20)).collect();
        for (index, (voice, start)) in voices.iter_mut().zip(&starts).enumerate() {
            voice.play(numbered(200), false, 0, *start);
            let flow = FlowId { index: index as u32, generation: 1 };
            pacer.set(flow, voice.due_ns().unwrap());
        }
        let (mut packets, mut wake_ups) = (0, 0);
        let mut out = [0; VOICE_PAYLOAD_MAX];
        while let Some(now_ns) = pacer.next_due_ns() {
            wake_ups += 1;
            while let Some(flow) = pacer.pop_due(now_ns) {
                let voice = &mut voices[flow.index as usize];
                loop {
                    match voice.next(now_ns, &mut out) {
                        Say::Packet(_) => packets += 1,
                        Say::Done(_) => {}
                        Say::Wait { due_ns } => break pacer.set(flow, due_ns),
                        Say::Idle => break,
                    }
                }
            }
        }
        proptest::prop_assert_eq!(packets, 10 * starts.len());
        // Voices share the grid: 250 ms have 51 of its moments, whatever the number of voices.
        proptest::prop_assert!(wake_ups <= 52);
    }
}
