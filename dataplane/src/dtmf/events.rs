//! Digits as telephone events (RFC 4733 §2).
//!
//! One event is a run of packets with one timestamp, its start, and a growing duration; the last is
//! sent three times. What the receiver relies on is therefore the timestamp alone:
//!
//! ```text
//! ts 1000, 160   M    start                        the marker may be missing: not looked at
//! ts 1000, 320
//! ts 1000, 480   E    end -> told                  lost: told 200 ms later, or by the next event
//! ts 1000, 480   E    same event: nothing          late ones after the next event: nothing
//! ts 2760, 160   M    next
//! ```
//! An event that starts where the known part of the last one had not ended yet is the same event:
//! that covers segments of long events (§2.5.1.3) and senders that move the timestamp with each
//! packet. Digits are apart by a pause, so no two of them touch (§2.5.1.5 has nothing to pack), and
//! the first event of a payload is the only one.

use crate::dtmf::digit::{Digit, DigitCode};
use crate::limits::{DIGIT_MS_MAX, DIGIT_MS_MIN};

/// Hears the digits in telephone-event payloads.
#[derive(Clone, Copy, Default, Debug)]
pub struct EventDetector {
    event: Option<Event>,
}

/// The newest event: running, or kept to know its repetitions.
#[derive(Clone, Copy, Debug)]
struct Event {
    code: DigitCode,
    state: State,
    clock_hz: u32,
    /// Start of the newest segment.
    timestamp: u32,
    /// Known length of the newest segment, and of those before it.
    duration: u16,
    before: u32,
    last_ns: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Running,
    /// Ended, and the digit is still to be told.
    Ended,
    Told,
}

impl EventDetector {
    /// Takes note of an admitted telephone-event payload; what is not a digit changes nothing.
    /// `clock_hz` is the negotiated rate of the timestamps.
    ///
    /// A packet can end two digits, the one before it and its own; the later one comes with the
    /// next call of either method.
    pub fn note(
        &mut self,
        timestamp: u32,
        payload: &[u8],
        clock_hz: u32,
        now_ns: u64,
    ) -> Option<Digit> {
        let block = Block::parse(payload)?;
        match &mut self.event {
            Some(event) if event.is_stale(timestamp) => None,
            Some(event) if event.covers(timestamp, block.code) => {
                event.grow(timestamp, block, now_ns);
                event.tell()
            }
            _ => {
                let before = self.event.as_mut().and_then(Event::finish);
                let event = self.event.insert(Event::new(timestamp, block, clock_hz, now_ns));
                before.or_else(|| event.tell())
            }
        }
    }

    /// Whether a digit of `code` is running or was a moment ago. Its tone may be heard too, in audio
    /// that the sender muted late.
    pub fn is_recent(&self, code: DigitCode, now_ns: u64) -> bool {
        let recent = |event: &Event| now_ns.saturating_sub(event.last_ns) < LEAK_NS;
        self.event.as_ref().is_some_and(|event| event.code == code && recent(event))
    }

    /// Ends a digit whose end was lost. To be called every 100 ms or so.
    pub fn expire(&mut self, now_ns: u64) -> Option<Digit> {
        let event = self.event.as_mut()?;
        if now_ns.saturating_sub(event.last_ns) >= SILENCE_NS {
            event.finish()
        } else {
            event.tell()
        }
    }
}

impl Event {
    fn new(timestamp: u32, block: Block, clock_hz: u32, now_ns: u64) -> Event {
        Event {
            code: block.code,
            state: if block.end { State::Ended } else { State::Running },
            clock_hz: if clock_hz == 0 { CLOCK_HZ_DEFAULT } else { clock_hz },
            timestamp,
            duration: block.duration,
            before: 0,
            last_ns: now_ns,
        }
    }

    /// A packet from before this segment. A timestamp from long before is not late: it counts from
    /// another origin, because the source has changed.
    fn is_stale(&self, timestamp: u32) -> bool {
        let age = self.timestamp.wrapping_sub(timestamp);
        age > 0 && age < self.clock_hz.saturating_mul(LATE_SECONDS)
    }

    /// Whether an event of `code` that starts at `timestamp`, not stale, is this one.
    fn covers(&self, timestamp: u32, code: DigitCode) -> bool {
        let step = timestamp.wrapping_sub(self.timestamp);
        let rolled_over = self.state == State::Running && step == SEGMENT;
        step == 0 || (code == self.code && (step <= u32::from(self.duration) || rolled_over))
    }

    fn grow(&mut self, timestamp: u32, block: Block, now_ns: u64) {
        let step = timestamp.wrapping_sub(self.timestamp);
        if step > 0 && block.duration < self.duration {
            self.before = self.before.saturating_add(step);
            self.duration = block.duration;
        }
        self.timestamp = timestamp;
        self.duration = self.duration.max(block.duration);
        self.last_ns = now_ns;
        if block.end && self.state == State::Running {
            self.state = State::Ended;
        }
    }

    /// The digit, if it has ended and was not told yet.
    fn tell(&mut self) -> Option<Digit> {
        if self.state != State::Ended {
            return None;
        }
        self.state = State::Told;
        let units = u64::from(self.before) + u64::from(self.duration);
        let ms = units * 1000 / u64::from(self.clock_hz);
        Some(Digit { code: self.code, duration_ms: u32::try_from(ms).unwrap_or(u32::MAX) })
    }

    fn finish(&mut self) -> Option<Digit> {
        if self.state == State::Running {
            self.state = State::Ended;
        }
        self.tell()
    }
}

/// The first event of a payload (RFC 4733 §2.3).
#[derive(Clone, Copy, Debug)]
struct Block {
    code: DigitCode,
    end: bool,
    duration: u16,
}

impl Block {
    fn parse(payload: &[u8]) -> Option<Block> {
        let &[event, flags, high, low] = payload.first_chunk()?;
        Some(Block {
            code: DigitCode::new(event)?,
            end: flags & END != 0,
            duration: u16::from_be_bytes([high, low]),
        })
    }
}

/// Says one digit: a packet per ptime from its start, three with the end (RFC 4733 §2.5.1).
///
/// A packet stands for the ptime that begins with it, as a packet of audio does, so the first one
/// reports one ptime and the end is told up to a ptime before it is reached. Packets of one event
/// share the timestamp of its start, which the caller keeps.
#[derive(Clone, Copy, Debug)]
pub struct EventSender {
    code: DigitCode,
    /// In timestamp units.
    duration: u16,
    step: u16,
    reported: u16,
    ends_left: u8,
}

/// A packet to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventPacket {
    pub payload: [u8; 4],
    /// Set on the first packet of an event only (§2.5.1.1).
    pub marker: bool,
}

impl EventSender {
    /// A digit of `duration_ms`, forced into the limits of a digit and of one segment.
    pub fn new(code: DigitCode, duration_ms: u32, clock_hz: u32, ptime_ms: u32) -> EventSender {
        let duration_ms = duration_ms.clamp(DIGIT_MS_MIN, DIGIT_MS_MAX);
        EventSender {
            code,
            duration: units(duration_ms, clock_hz),
            step: units(ptime_ms, clock_hz).max(1),
            reported: 0,
            ends_left: ENDS,
        }
    }

    /// The longest digit that one segment can say: 8,191 ms at 8 kHz, 1,365 ms at 48 kHz.
    pub fn longest_ms(clock_hz: u32) -> u32 {
        u32::from(u16::MAX) * 1000 / clock_hz.max(1)
    }

    /// The packet of the next ptime; `None` after the third end.
    pub fn next_packet(&mut self) -> Option<EventPacket> {
        if self.ends_left == 0 {
            return None;
        }
        let marker = self.reported == 0;
        self.reported = self.reported.saturating_add(self.step).min(self.duration);
        let end = self.reported == self.duration;
        if end {
            self.ends_left -= 1;
        }
        let [high, low] = self.reported.to_be_bytes();
        let flags = if end { END | VOLUME } else { VOLUME };
        Some(EventPacket { payload: [self.code.value(), flags, high, low], marker })
    }

    /// Whether the third end is sent.
    pub fn is_done(&self) -> bool {
        self.ends_left == 0
    }
}

fn units(ms: u32, clock_hz: u32) -> u16 {
    u16::try_from(u64::from(ms) * u64::from(clock_hz) / 1000).unwrap_or(u16::MAX)
}

/// Updates come every 50 ms at least (RFC 4733 §2.5.1.2); four lost ones in a row are an end.
pub(super) const SILENCE_NS: u64 = 200_000_000;
/// After the last packet of an event for so long its tone may still be told: the pause that ends a
/// tone, its expiry, and a jitter of three packets.
const LEAK_NS: u64 = 300_000_000;
/// A packet may come this late and be known as late; longer than the longest segment of 8 kHz.
const LATE_SECONDS: u32 = 15;
/// Length of a full segment (RFC 4733 §2.5.1.3).
const SEGMENT: u32 = 0xffff;
/// Where a peer left the rate out (RFC 4733 §2.1).
const CLOCK_HZ_DEFAULT: u32 = 8000;
const END: u8 = 0x80;
/// -10 dBm0 (RFC 4733 §2.3.4): the level of our tones.
const VOLUME: u8 = 10;
/// Times that the end is sent (RFC 4733 §2.5.1.4).
const ENDS: u8 = 3;

#[cfg(test)]
mod tests;
