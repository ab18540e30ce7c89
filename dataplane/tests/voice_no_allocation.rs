//! Hearing and saying allocate nothing once a flow has its detectors and its voice.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use abi::FlowId;
use dataplane::dtmf::{DigitCode, EventDetector, ToneDetector};
use dataplane::g711::Law;
use dataplane::limits::VOICE_PAYLOAD_MAX;
use dataplane::pacer::Pacer;
use dataplane::prompt::{Codec, Prompts};
use dataplane::voice::{How, Ptime, Say, Voice};

thread_local! {
    static HERE: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged; counting touches neither
// the memory nor the layout.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HERE.set(HERE.get() + 1);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HERE.set(HERE.get() + 1);
        // SAFETY: the caller's promise about `memory` and `layout` is passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A second of 8 kHz audio in a WAV file.
fn wav() -> Vec<u8> {
    let mut bytes = b"RIFF\xa4\x3e\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    for word in [8000u32, 16_000, 0x0010_0002] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(b"data\x80\x3e\0\0");
    bytes.resize(bytes.len() + 16_000, 1);
    bytes
}

#[test]
fn minutes_of_prompts_and_digits_allocate_nothing() {
    let directory = std::env::temp_dir().join(format!("voice-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("busy.wav"), wav()).unwrap();
    let prompts = Prompts::load(&directory).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();

    let (mut events, mut tones) = (EventDetector::default(), ToneDetector::new());
    let mut voice = Voice::new(Ptime::DEFAULT, 0, 0);
    let mut pacer = Pacer::new(4);
    let flow = FlowId { index: 3, generation: 1 };
    let before = HERE.get();
    assert!(before > 0, "the counter counts");
    let (mut out, mut now_ns, mut heard) = ([0; VOICE_PAYLOAD_MAX], 0, 0);
    for round in 0..100 {
        let audio = prompts.audio("busy", Codec::Pcma).unwrap();
        voice.play(audio.clone(), round % 2 == 0, round, now_ns);
        let as_tones = How::Tones { payload_type: 8, law: Law::A };
        for how in [How::Events { payload_type: 101, clock_hz: 8000 }, as_tones] {
            voice.dial(DigitCode::ALL[7], 80, how, round, now_ns).unwrap();
        }
        let until_ns = now_ns + 2_000_000_000;
        pacer.set(flow, voice.due_ns().unwrap());
        while let Some(due_ns) = pacer.next_due_ns().filter(|due_ns| *due_ns < until_ns) {
            now_ns = due_ns;
            let flow = pacer.pop_due(now_ns).unwrap();
            loop {
                match voice.next(now_ns, &mut out) {
                    Say::Packet(packet) => {
                        let payload = &out[..packet.len];
                        let digit = match packet.payload_type {
                            8 => tones.note(Law::A, packet.timestamp, payload, now_ns),
                            _ => events.note(packet.timestamp, payload, 8000, now_ns),
                        };
                        heard += usize::from(digit.is_some());
                    }
                    Say::Done(_) => {}
                    Say::Wait { due_ns } => break pacer.set(flow, due_ns),
                    Say::Idle => break,
                }
            }
        }
        now_ns = until_ns;
        pacer.remove(flow);
    }
    assert_eq!(HERE.get() - before, 0, "allocations or deallocations");
    assert_eq!(heard, 200);
}
