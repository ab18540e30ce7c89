//! Cost of hearing and saying on this machine: `cargo run --release -p dataplane --example voice_cost`.
//!
//! Prints the best of several rounds, in nanoseconds for one packet of 20 ms. Figures of one run
//! compare with each other; figures of two machines do not.

use std::hint::black_box;
use std::time::Instant;

use dataplane::dtmf::{DigitCode, EventDetector, ToneDetector, ToneSender};
use dataplane::g711::Law;
use dataplane::limits::VOICE_PAYLOAD_MAX;
use dataplane::voice::{How, Ptime, Say, Voice};

fn main() {
    println!("tone detector: {} octets per flow", size_of::<ToneDetector>());
    let mut noise = vec![0; PACKETS * OCTETS];
    let mut seed = 1_u64;
    for octet in &mut noise {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *octet = (seed >> 56) as u8;
    }
    let mut tone = vec![0; PACKETS * OCTETS];
    let digit = DigitCode::ALL[5];
    for part in tone.chunks_mut(10 * OCTETS) {
        ToneSender::new(digit, 150, Law::A).write(part);
    }
    let silence = vec![0xd5; PACKETS * OCTETS];
    for (name, octets) in [("silence", &silence), ("noise", &noise), ("digits", &tone)] {
        print("hear tones in ".to_owned() + name, || {
            let mut detector = ToneDetector::new();
            for (n, payload) in octets.chunks(OCTETS).enumerate() {
                black_box(detector.note(Law::A, (n * OCTETS) as u32, payload, 0));
            }
        });
    }
    print("hear events".into(), || {
        let mut detector = EventDetector::default();
        for n in 0..PACKETS as u32 {
            let payload = black_box([5, 10, 0, 160]);
            black_box(detector.note(n / 10 * 1600, &payload, 8000, u64::from(n)));
        }
    });
    for (name, how) in [
        ("tones", How::Tones { payload_type: 8, law: Law::A }),
        ("events", How::Events { payload_type: 101, clock_hz: 8000 }),
    ] {
        print("say ".to_owned() + name, || say(digit, how));
    }
}

/// Says digits until as many packets were made.
fn say(digit: DigitCode, how: How) {
    let mut voice = Voice::new(Ptime::DEFAULT, 0, 0);
    let mut out = [0; VOICE_PAYLOAD_MAX];
    let (mut now_ns, mut packets) = (0, 0);
    while packets < PACKETS {
        match voice.next(now_ns, &mut out) {
            Say::Packet(packet) => {
                black_box((packet, &out));
                packets += 1;
            }
            Say::Wait { due_ns } => now_ns = due_ns,
            Say::Done(_) => {}
            Say::Idle => while voice.dial(digit, 2000, how, 0, now_ns).is_ok() {},
        }
    }
}

/// Times `work`, which handles as many packets as there are.
fn print(name: String, mut work: impl FnMut()) {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_nanos() as f64 / PACKETS as f64);
    }
    println!("{name:<24} {best:>8.0} ns");
}

const ROUNDS: usize = 20;
const PACKETS: usize = 2000;
const OCTETS: usize = 160;
