//! What one flow says by itself: a prompt, and digits.
//!
//! A voice speaks in slots, one packet time apart, on the grid of [`crate::pacer`]:
//!
//! ```text
//! slot      | 0   | 20  | 40  | 60  | 80  | 100 | 120 | 140 | 160 ...    ms
//! prompt    | P M | P   | P   |                             | P M        position = time since its start
//! digit                       | E M | E   | E!  | E!  | E!  |            then the pause
//! ```
//! * The due times are the start plus a whole number of slots, so nothing drifts.
//! * Digits go before the prompt, which runs on unheard. A prompt's position follows the time: who
//!   wakes up late skips what nobody can hear in time any more. A digit is never skipped, it comes
//!   later: lost speech is a gap, a lost digit is a wrong number.
//! * A late wake-up says at most [`PACE_BURST_MAX`] packets at once.
//! * The end of a prompt is told when its last packet has been heard, not when it was sent: what
//!   follows is often a BYE.
//!
//! Sequence numbers and timestamps are the voice's own; whoever merges it with the far end's packets
//! maps them. The payload goes into the caller's buffer; after [`Voice::new`] nothing is allocated.

use std::collections::VecDeque;

use crate::dtmf::{DigitCode, EventSender, ToneSender};
use crate::g711::Law;
use crate::limits::{
    DIGIT_MS_MAX, DIGIT_MS_MIN, DIGITS_QUEUED_MAX, PACE_BURST_MAX, VOICE_PAYLOAD_MAX,
};
use crate::pacer::on_grid;
use crate::prompt::{Audio, OCTETS_PER_MS};

/// One talker.
#[derive(Debug)]
pub struct Voice {
    ptime: Ptime,
    timeline: Timeline,
    /// When the next slot begins. Kept through pauses, so that two packets are never closer than a
    /// slot.
    due_ns: u64,
    prompt: Option<Playing>,
    /// The last slot held audio of the prompt, so that the next one needs no marker.
    in_spurt: bool,
    queue: VecDeque<Dialled>,
    digit: Option<Saying>,
    /// Token of the latest digit, until the end of all digits is told.
    digits_token: Option<u64>,
}

/// What [`Voice::next`] answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Say {
    /// A packet is to be sent now; ask again.
    Packet(Packet),
    /// Nothing before this moment.
    Wait { due_ns: u64 },
    /// Something has ended; ask again.
    Done(Finished),
    /// Nothing to say until the next command.
    Idle,
}

/// A packet whose payload was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Octets of payload.
    pub len: usize,
    pub payload_type: u8,
    pub marker: bool,
    pub seq: u16,
    pub timestamp: u32,
    /// Units of the timestamp per second.
    pub rate_hz: u32,
}

/// What has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finished {
    /// The prompt of this token; not complete when it was stopped or replaced.
    Prompt { token: u64, complete: bool },
    /// Every digit that was dialled; the token is that of the latest.
    Digits { token: u64 },
}

/// How a digit is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// As telephone events (RFC 4733) of the negotiated payload type and rate.
    Events { payload_type: u8, clock_hz: u32 },
    /// As tones in place of the speech, in G.711 of the negotiated payload type.
    Tones { payload_type: u8, law: Law },
}

/// As many digits wait as may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{DIGITS_QUEUED_MAX} digits wait already")]
pub struct QueueFull;

/// Milliseconds of speech in a packet: 10 to 60, in steps of the grid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ptime(u8);

#[derive(Debug)]
struct Playing {
    audio: Audio,
    looped: bool,
    token: u64,
    /// Set by the first slot that belongs to the prompt.
    start_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Dialled {
    code: DigitCode,
    duration_ms: u32,
    how: How,
}

/// A digit that is being said, and the pause behind it.
#[derive(Clone, Copy, Debug)]
enum Saying {
    Event { sender: EventSender, payload_type: u8, clock_hz: u32, timestamp: u32, slots_left: u32 },
    Tone { sender: ToneSender, payload_type: u8, is_first: bool },
}

/// The RTP clock: a timestamp that continues through changes of the rate.
#[derive(Clone, Copy, Debug)]
struct Timeline {
    seq: u16,
    timestamp: u32,
    rate_hz: u32,
    /// The moment of `timestamp`; the first packet sets it.
    at_ns: Option<u64>,
}

impl Voice {
    /// A silent voice. `seq` and `timestamp` are where it begins to count; they should be random
    /// (RFC 3550 §5.1).
    pub fn new(ptime: Ptime, seq: u16, timestamp: u32) -> Voice {
        Voice {
            ptime,
            timeline: Timeline { seq, timestamp, rate_hz: AUDIO_HZ, at_ns: None },
            due_ns: 0,
            prompt: None,
            in_spurt: false,
            queue: VecDeque::with_capacity(DIGITS_QUEUED_MAX),
            digit: None,
            digits_token: None,
        }
    }

    /// Starts a prompt, in a loop or once, and returns the one that it replaces.
    pub fn play(
        &mut self,
        audio: Audio,
        looped: bool,
        token: u64,
        now_ns: u64,
    ) -> Option<Finished> {
        let replaced = self.stop();
        self.wake(now_ns);
        self.prompt = Some(Playing { audio, looped, token, start_ns: None });
        replaced
    }

    /// Ends the prompt, and returns the one that was being said. Digits go on.
    pub fn stop(&mut self) -> Option<Finished> {
        self.in_spurt = false;
        let token = self.prompt.take()?.token;
        Some(Finished::Prompt { token, complete: false })
    }

    /// Keeps another packet time from now on, unless something is being said.
    pub fn set_ptime(&mut self, ptime: Ptime) {
        if self.due_ns().is_none() {
            self.ptime = ptime;
        }
    }

    /// Says the digits that wait in another way: what the far side takes has changed.
    pub fn dial_as(&mut self, how: How) {
        self.queue.iter_mut().for_each(|dialled| dialled.how = how);
    }

    /// Appends a digit. The duration is forced into [`DIGIT_MS_MIN`] to [`DIGIT_MS_MAX`];
    /// [`DIGIT_MS_DEFAULT`] is usual.
    pub fn dial(
        &mut self,
        code: DigitCode,
        duration_ms: u32,
        how: How,
        token: u64,
        now_ns: u64,
    ) -> Result<(), QueueFull> {
        if self.queue.len() >= DIGITS_QUEUED_MAX {
            return Err(QueueFull);
        }
        self.wake(now_ns);
        let duration_ms = duration_ms.clamp(DIGIT_MS_MIN, DIGIT_MS_MAX);
        self.queue.push_back(Dialled { code, duration_ms, how });
        self.digits_token = Some(token);
        Ok(())
    }

    /// The next packet due, or why there is none. To be asked until the answer is to wait.
    pub fn next(&mut self, now_ns: u64, out: &mut [u8; VOICE_PAYLOAD_MAX]) -> Say {
        // Each round of the loop says something or passes a slot that has begun; of these, few are
        // left after skipping.
        loop {
            if let Some(finished) = self.finished(now_ns) {
                return Say::Done(finished);
            }
            let Some(due_ns) = self.due_ns() else { return Say::Idle };
            if now_ns < due_ns {
                return Say::Wait { due_ns };
            }
            if !self.skip(now_ns)
                && let Some(packet) = self.slot(out)
            {
                return Say::Packet(packet);
            }
        }
    }

    /// When [`Voice::next`] has something to say, if ever.
    pub fn due_ns(&self) -> Option<u64> {
        if self.prompt.is_none() && self.digits_token.is_none() {
            return None;
        }
        let end_ns = self.prompt.as_ref().and_then(Playing::end_ns);
        Some(self.due_ns.min(end_ns.unwrap_or(u64::MAX)))
    }

    /// After a silence the slots begin anew.
    fn wake(&mut self, now_ns: u64) {
        if self.due_ns().is_none() {
            self.due_ns = self.due_ns.max(on_grid(now_ns));
        }
    }

    fn finished(&mut self, now_ns: u64) -> Option<Finished> {
        let has_ended = |prompt: &mut Playing| prompt.end_ns().is_some_and(|end| end <= now_ns);
        if let Some(prompt) = self.prompt.take_if(has_ended) {
            self.in_spurt = false;
            return Some(Finished::Prompt { token: prompt.token, complete: true });
        }
        let is_digit_left = self.digit.is_some() || !self.queue.is_empty();
        if is_digit_left || now_ns < self.due_ns {
            return None;
        }
        self.digits_token.take().map(|token| Finished::Digits { token })
    }

    /// Passes the slots that can no longer be said; true when there were any.
    fn skip(&mut self, now_ns: u64) -> bool {
        let begun = now_ns.saturating_sub(self.due_ns) / self.ptime.ns() + 1;
        let passed = begun.saturating_sub(PACE_BURST_MAX);
        self.due_ns = self.due_ns.saturating_add(passed.saturating_mul(self.ptime.ns()));
        passed > 0
    }

    /// Says what belongs into the slot that has begun, which may be nothing.
    fn slot(&mut self, out: &mut [u8; VOICE_PAYLOAD_MAX]) -> Option<Packet> {
        if self.digit.is_none()
            && let Some(dialled) = self.queue.pop_front()
        {
            let saying = Saying::new(dialled, self.ptime, &mut self.timeline, self.due_ns);
            self.digit = Some(saying);
        }
        let out = out.get_mut(..self.ptime.octets())?;
        let packet = match &mut self.digit {
            Some(saying) => {
                self.in_spurt = false;
                let packet = saying.slot(&mut self.timeline, self.due_ns, out);
                if saying.is_over() {
                    self.digit = None;
                }
                packet
            }
            None => self.speak(out),
        };
        self.due_ns = self.due_ns.saturating_add(self.ptime.ns());
        packet
    }

    fn speak(&mut self, out: &mut [u8]) -> Option<Packet> {
        let prompt = self.prompt.as_mut()?;
        let start_ns = *prompt.start_ns.get_or_insert(self.due_ns);
        let at = self.due_ns.saturating_sub(start_ns) / MS * OCTETS_PER_MS as u64;
        prompt.audio.write(at, prompt.looped, out);
        let marker = !std::mem::replace(&mut self.in_spurt, true);
        let payload_type = prompt.audio.payload_type();
        let timestamp = self.timeline.at(self.due_ns, AUDIO_HZ);
        Some(self.timeline.packet(out.len(), payload_type, marker, timestamp))
    }
}

impl Playing {
    /// When the last of it has been heard; `None` before the start and in a loop.
    fn end_ns(&self) -> Option<u64> {
        let ms = (self.audio.len() / OCTETS_PER_MS) as u64;
        self.start_ns.filter(|_| !self.looped).map(|start_ns| start_ns.saturating_add(ms * MS))
    }
}

impl Saying {
    fn new(dialled: Dialled, ptime: Ptime, timeline: &mut Timeline, due_ns: u64) -> Saying {
        let Dialled { code, duration_ms, how } = dialled;
        match how {
            How::Events { payload_type, clock_hz } => {
                // What follows the end is the pause, however long the digit was to be.
                let duration_ms = duration_ms.min(EventSender::longest_ms(clock_hz));
                Saying::Event {
                    sender: EventSender::new(code, duration_ms, clock_hz, ptime.ms()),
                    payload_type,
                    clock_hz,
                    timestamp: timeline.at(due_ns, clock_hz),
                    slots_left: (duration_ms + PAUSE_MS).div_ceil(ptime.ms()),
                }
            }
            How::Tones { payload_type, law } => {
                let sender = ToneSender::new(code, duration_ms, law);
                Saying::Tone { sender, payload_type, is_first: true }
            }
        }
    }

    /// The packet of one slot; `out` is as long as a slot of audio.
    fn slot(&mut self, timeline: &mut Timeline, due_ns: u64, out: &mut [u8]) -> Option<Packet> {
        match self {
            Saying::Event { sender, payload_type, clock_hz, timestamp, slots_left } => {
                *slots_left = slots_left.saturating_sub(1);
                let packet = sender.next_packet()?;
                let payload = out.first_chunk_mut()?;
                *payload = packet.payload;
                let len = payload.len();
                timeline.at(due_ns, *clock_hz);
                Some(timeline.packet(len, *payload_type, packet.marker, *timestamp))
            }
            Saying::Tone { sender, payload_type, is_first } => {
                sender.write(out);
                let marker = std::mem::replace(is_first, false);
                let timestamp = timeline.at(due_ns, AUDIO_HZ);
                Some(timeline.packet(out.len(), *payload_type, marker, timestamp))
            }
        }
    }

    /// Whether the digit and the pause behind it are said.
    fn is_over(&self) -> bool {
        match self {
            Saying::Event { sender, slots_left, .. } => *slots_left == 0 && sender.is_done(),
            Saying::Tone { sender, .. } => sender.silence() >= PAUSE_MS * OCTETS_PER_MS as u32,
        }
    }
}

impl Timeline {
    /// The timestamp of a moment at a rate, which becomes the rate from then on.
    fn at(&mut self, due_ns: u64, rate_hz: u32) -> u32 {
        if rate_hz != self.rate_hz || self.at_ns.is_none() {
            self.timestamp = self.value(due_ns);
            self.at_ns = Some(due_ns);
            self.rate_hz = rate_hz;
        }
        self.value(due_ns)
    }

    fn value(&self, due_ns: u64) -> u32 {
        let elapsed_ns = due_ns.saturating_sub(self.at_ns.unwrap_or(due_ns));
        let units = u128::from(elapsed_ns) * u128::from(self.rate_hz) / u128::from(1000 * MS);
        self.timestamp.wrapping_add(units as u32)
    }

    fn packet(&mut self, len: usize, payload_type: u8, marker: bool, timestamp: u32) -> Packet {
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        Packet { len, payload_type, marker, seq, timestamp, rate_hz: self.rate_hz }
    }
}

impl Ptime {
    /// What nearly everybody uses.
    pub const DEFAULT: Ptime = Ptime(20);

    /// A packet time that a voice can keep: 10 to 60 ms, in steps of 5.
    pub const fn new(ms: u32) -> Option<Ptime> {
        if ms >= 10 && ms <= 60 && ms.is_multiple_of(5) { Some(Ptime(ms as u8)) } else { None }
    }

    pub const fn ms(self) -> u32 {
        self.0 as u32
    }

    const fn ns(self) -> u64 {
        self.0 as u64 * MS
    }

    const fn octets(self) -> usize {
        self.0 as usize * OCTETS_PER_MS
    }
}

impl Default for Ptime {
    fn default() -> Ptime {
        Ptime::DEFAULT
    }
}

/// A digit of usual length.
pub const DIGIT_MS_DEFAULT: u32 = 100;
/// Behind each digit; Q.24 asks receivers to accept 40.
const PAUSE_MS: u32 = 50;
/// RTP clock of every codec of [`Audio`].
const AUDIO_HZ: u32 = 8000;
const MS: u64 = 1_000_000;

const _: () = assert!(Ptime(60).octets() <= VOICE_PAYLOAD_MAX);
const _: () = assert!((Ptime(5).ns()).is_multiple_of(crate::limits::PACE_GRID_NS));

#[cfg(test)]
mod tests;
