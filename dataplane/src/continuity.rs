//! One talker at a time on an egress: whoever talks, the receiver sees one SSRC, sequence numbers
//! without holes of our making, and timestamps that run with time.
//!
//! A receiver that meets a second SSRC or a jump in the numbers drops packets, resets its jitter
//! buffer or goes silent, and an SRTP egress must never encrypt two packets under one number. So the
//! packets of each *numbering* (one talker, one SSRC, one unbroken run of sequence numbers) leave
//! with two constants added, and a change of numbering chooses the constants so that the receiver
//! notices nothing but the marker:
//!
//! ```text
//! ingress   far 71 72 73 74 | own 0 1 2 | far 75 77       (76 was lost)
//! egress        71 72 73 74 |   75 76 77|     78 80       same SSRC, marker on 75 and 78
//! ```
//! Before the first change both constants are 0 and headers pass as they are.
//!
//! - Egress numbers only rise: a change takes the next one. Nothing is ever numbered into the range of
//!   an earlier numbering: late packets of a replaced one are refused, and so are those from before a
//!   numbering's first packet. A duplicate keeps its number, which the SRTP egress refuses.
//! - A talker that comes back keeps its clock while it still tells the right time, so that short
//!   interjections leave no trace in the timestamps. A telephone event is why: its packets share one
//!   timestamp (RFC 4733 §2.2.1), and when some of them travel between audio of another SSRC, a new
//!   timestamp for each would make each a new digit.
//! - A sequence jump far outside of reordering is a restarted source. Inside the range where a very
//!   late packet is as likely, it takes two consecutive packets (RFC 3550 §A.1).
//! - Our own packets come from no network, so whatever number follows oddly starts a new numbering and
//!   none of them is ever refused.
//!
//! Who may talk is not decided here: two talkers at once alternate, continuously and uselessly.
//!
//! RTCP about the far source is translated by the same constants, see [`Continuity::translation`].

use rtp::packet::Ssrc;
use rtp::rtcp::Translation;

use crate::limits::{CLOCK_TOLERANCE_MS, DROPOUT_MAX, EVENT_TICKS_MAX, MISORDER_MAX};

/// Whose packet it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Talker {
    /// The far end of the opposite leg.
    Far,
    /// We: announcements, digits.
    Own,
}

/// The fields of an RTP header that have to fit together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub ssrc: u32,
    pub seq: u16,
    pub timestamp: u32,
    pub marker: bool,
}

/// The packet belongs to a numbering that has been replaced, or is too late to have a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Superseded;

/// The numbering of one egress: what each packet touches first, within one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Continuity {
    current: Numbering,
    /// Of the egress, from the first packet of all.
    ssrc: u32,
    /// The newest egress timestamp, and when it first left.
    newest: u32,
    newest_ns: u64,
    /// Of a restart that one more packet would confirm.
    restart: Option<u16>,
    changed: bool,
    /// What was replaced, the latest first.
    replaced: [Numbering; REMEMBERED],
}

/// One unbroken run of numbers of one source.
#[derive(Clone, Copy, Debug)]
struct Numbering {
    /// `None`: nothing was numbered yet.
    talker: Option<Talker>,
    /// Numbers before `highest` that belong to it, as far as it matters.
    span: u8,
    /// As they come in.
    ssrc: u32,
    highest: u16,
    timestamp: u32,
    /// Added on the way out.
    seq_offset: u16,
    timestamp_offset: u32,
}

/// Where a number lies, seen from the highest of a numbering.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Ahead,
    /// The highest itself, or one that reordering explains.
    Behind,
    /// Very late, or restarted.
    Doubtful,
    Elsewhere,
}

impl Continuity {
    pub const fn new() -> Continuity {
        Continuity {
            current: Numbering::NONE,
            ssrc: 0,
            newest: 0,
            newest_ns: 0,
            restart: None,
            changed: false,
            replaced: [Numbering::NONE; REMEMBERED],
        }
    }

    /// The header with which a packet leaves. `rate_hz` is the clock of its timestamps, 0 when it is
    /// not known.
    ///
    /// # Errors
    /// [`Superseded`]: the packet must not leave.
    pub fn follow(
        &mut self,
        talker: Talker,
        header: Header,
        rate_hz: u32,
        now_ns: u64,
    ) -> Result<Header, Superseded> {
        if self.current.is_of(talker, header.ssrc) {
            let step = self.current.step(header.seq);
            match (talker, step) {
                (Talker::Far, 1..=MISORDER_MAX) | (Talker::Own, 1) => {
                    return Ok(self.advance(step, header, now_ns));
                }
                // After a turn of numbers that were held they are new, not late.
                (Talker::Far, NEAR_MIN..=0) if now_ns.saturating_sub(self.newest_ns) > LATE_NS => {
                    return Ok(self.change(talker, header, None, rate_hz, now_ns));
                }
                (Talker::Far, NEAR_MIN..=0) => {
                    let age = step.unsigned_abs();
                    let counted = age <= u16::from(self.current.span);
                    return if counted { Ok(self.leave(header)) } else { Err(Superseded) };
                }
                _ => {}
            }
        }
        self.turn(talker, header, rate_hz, now_ns)
    }

    /// Whether packets of this source of the far end leave numbered as they come.
    pub fn passes(&self, ssrc: u32) -> bool {
        let current = &self.current;
        current.is_of(Talker::Far, ssrc)
            && self.ssrc == ssrc
            && current.seq_offset == 0
            && current.timestamp_offset == 0
    }

    /// Takes account of packets of the far end that somebody else relayed, up to this one.
    pub fn skip(&mut self, seq: u16, timestamp: u32, now_ns: u64) {
        if self.current.talker != Some(Talker::Far) || self.current.step(seq) <= 0 {
            return;
        }
        let current = &mut self.current;
        (current.span, current.highest, current.timestamp) = (u8::MAX, seq, timestamp);
        let newest = timestamp.wrapping_add(current.timestamp_offset);
        self.note_time(newest, now_ns);
    }

    /// When the newest timestamp left, in nanoseconds; 0 before any.
    pub fn newest_ns(&self) -> u64 {
        self.newest_ns
    }

    /// The one source that the receiver meets, once anything left.
    pub fn ssrc(&self) -> Option<Ssrc> {
        self.current.talker.map(|_| Ssrc(self.ssrc))
    }

    /// For RTCP of the far source: how its packets leave, of its current numbering or, while we
    /// talk, of its last one. `None` while they leave as they are.
    pub fn translation(&self) -> Option<Translation> {
        if !self.changed {
            return None;
        }
        let mut known = std::iter::once(&self.current).chain(&self.replaced);
        let far = known.find(|numbering| numbering.talker == Some(Talker::Far))?;
        Some(Translation {
            from_ssrc: Ssrc(far.ssrc),
            to_ssrc: Ssrc(self.ssrc),
            seq_offset: far.seq_offset,
            timestamp_offset: far.timestamp_offset,
        })
    }

    /// Whatever is not simply the next packet, or one that was reordered.
    fn turn(
        &mut self,
        talker: Talker,
        header: Header,
        rate_hz: u32,
        now_ns: u64,
    ) -> Result<Header, Superseded> {
        if self.current.talker.is_none() {
            return Ok(self.begin(talker, header, now_ns));
        }
        if talker == Talker::Own {
            let back = self.recall(talker, header);
            let back = back.filter(|place| self.is_next(*place, header));
            return Ok(self.change(talker, header, back, rate_hz, now_ns));
        }
        let is_current = self.current.is_of(talker, header.ssrc);
        let back = self.recall(talker, header);
        let place = match back.and_then(|back| self.replaced.get(back)) {
            // A run of the current source before its restart is believed about its own range only.
            Some(old) if !is_current || old.step(header.seq).unsigned_abs() <= NEAR => {
                old.place(header.seq)
            }
            _ if is_current => match self.current.place(header.seq) {
                Place::Ahead => {
                    let step = self.current.step(header.seq);
                    return Ok(self.advance(step, header, now_ns));
                }
                place => place,
            },
            _ => Place::Elsewhere,
        };
        match place {
            Place::Behind => Err(Superseded),
            Place::Doubtful if self.restart != Some(header.seq) => {
                self.restart = Some(header.seq.wrapping_add(1));
                Err(Superseded)
            }
            Place::Doubtful | Place::Elsewhere => {
                Ok(self.change(talker, header, None, rate_hz, now_ns))
            }
            Place::Ahead => Ok(self.change(talker, header, back, rate_hz, now_ns)),
        }
    }

    fn begin(&mut self, talker: Talker, header: Header, now_ns: u64) -> Header {
        self.ssrc = header.ssrc;
        self.newest = header.timestamp;
        self.newest_ns = now_ns;
        self.current = Numbering {
            talker: Some(talker),
            // Its earlier packets have a number too, down to 0: before that a receiver of SRTP has
            // no index, and takes them for ones of the next turn.
            span: u8::try_from(header.seq).unwrap_or(u8::MAX),
            ssrc: header.ssrc,
            highest: header.seq,
            timestamp: header.timestamp,
            seq_offset: 0,
            timestamp_offset: 0,
        };
        header
    }

    fn advance(&mut self, step: i16, header: Header, now_ns: u64) -> Header {
        let step = u8::try_from(step).unwrap_or(u8::MAX);
        let current = &mut self.current;
        current.span = current.span.saturating_add(step);
        current.highest = header.seq;
        current.timestamp = header.timestamp;
        let out = self.leave(header);
        self.note_time(out.timestamp, now_ns);
        out
    }

    fn leave(&self, header: Header) -> Header {
        Header {
            ssrc: self.ssrc,
            seq: header.seq.wrapping_add(self.current.seq_offset),
            timestamp: header.timestamp.wrapping_add(self.current.timestamp_offset),
            marker: header.marker,
        }
    }

    /// Lets another numbering take over; `back` is its place among the replaced if it returns.
    fn change(
        &mut self,
        talker: Talker,
        header: Header,
        back: Option<usize>,
        rate_hz: u32,
        now_ns: u64,
    ) -> Header {
        let back = back.and_then(|back| self.replaced.get_mut(back));
        let old = back.map(|old| std::mem::replace(old, Numbering::NONE));
        let rate_hz = if rate_hz == 0 { RATE_UNKNOWN_HZ } else { rate_hz };
        let elapsed = ticks(now_ns.saturating_sub(self.newest_ns), rate_hz);
        let expected = self.newest.wrapping_add(elapsed.max(1));
        let resumed = old.is_some_and(|old| old.timestamp == header.timestamp);
        let kept = old.map(|old| header.timestamp.wrapping_add(old.timestamp_offset));
        let tolerance = rate_hz / 1000 * CLOCK_TOLERANCE_MS;
        let in_step = |kept: &u32| {
            kept.wrapping_sub(self.newest).cast_signed() > 0
                && kept.wrapping_sub(expected).cast_signed().unsigned_abs() <= tolerance
        };
        let timestamp = kept.filter(|kept| resumed || in_step(kept)).unwrap_or(expected);
        let next = self.current.highest.wrapping_add(self.current.seq_offset).wrapping_add(1);
        self.remember();
        self.current = Numbering {
            talker: Some(talker),
            span: 0,
            ssrc: header.ssrc,
            highest: header.seq,
            timestamp: header.timestamp,
            seq_offset: next.wrapping_sub(header.seq),
            timestamp_offset: timestamp.wrapping_sub(header.timestamp),
        };
        self.changed = true;
        self.restart = None;
        self.note_time(timestamp, now_ns);
        // A marker within an event would begin another one (RFC 4733 §2.5.1.2).
        Header { marker: header.marker || !resumed, ..self.leave(header) }
    }

    /// Moves the current numbering to the front of the replaced; the hole that a returning one left,
    /// or the oldest, makes room.
    fn remember(&mut self) {
        let hole = self.replaced.iter().position(|old| old.talker.is_none());
        let last = hole.unwrap_or(REMEMBERED - 1);
        if let Some(moved) = self.replaced.get_mut(..=last) {
            moved.rotate_right(1);
        }
        if let Some(front) = self.replaced.first_mut() {
            *front = self.current;
        }
    }

    /// The replaced numbering of a source that lies nearest to a packet of it.
    fn recall(&self, talker: Talker, header: Header) -> Option<usize> {
        let known = self.replaced.iter().enumerate();
        let same = known.filter(|(_, old)| old.is_of(talker, header.ssrc));
        same.min_by_key(|(_, old)| old.step(header.seq).unsigned_abs()).map(|(place, _)| place)
    }

    fn is_next(&self, place: usize, header: Header) -> bool {
        self.replaced.get(place).is_some_and(|old| old.step(header.seq) == 1)
    }

    /// Keeps the newest timestamp. One that repeats or goes back a little (an event, video frames out
    /// of display order) does not stop the clock; one far back is a new clock.
    fn note_time(&mut self, timestamp: u32, now_ns: u64) {
        let ahead = timestamp.wrapping_sub(self.newest).cast_signed();
        if !(-EVENT_TICKS_MAX..=0).contains(&ahead) {
            self.newest = timestamp;
            self.newest_ns = now_ns;
        }
    }
}

impl Default for Continuity {
    fn default() -> Continuity {
        Continuity::new()
    }
}

impl Numbering {
    const NONE: Numbering = Numbering {
        talker: None,
        span: 0,
        ssrc: 0,
        highest: 0,
        timestamp: 0,
        seq_offset: 0,
        timestamp_offset: 0,
    };

    fn is_of(&self, talker: Talker, ssrc: u32) -> bool {
        self.ssrc == ssrc && self.talker == Some(talker)
    }

    fn step(&self, seq: u16) -> i16 {
        seq.wrapping_sub(self.highest).cast_signed()
    }

    fn place(&self, seq: u16) -> Place {
        match self.step(seq) {
            1..=DROPOUT_MAX => Place::Ahead,
            NEAR_MIN..=0 => Place::Behind,
            DOUBTFUL_MIN..NEAR_MIN => Place::Doubtful,
            _ => Place::Elsewhere,
        }
    }
}

/// Modulo 2^32, as timestamps are.
fn ticks(duration_ns: u64, rate_hz: u32) -> u32 {
    let rate = u64::from(rate_hz);
    let (seconds, rest) = (duration_ns / SECOND_NS, duration_ns % SECOND_NS);
    seconds.wrapping_mul(rate).wrapping_add(rest * rate / SECOND_NS) as u32
}

const SECOND_NS: u64 = 1_000_000_000;
/// No packet is so late; longer than the longest event, whose packets share one timestamp, and far
/// shorter than a turn of sequence numbers.
const LATE_NS: u64 = 10 * SECOND_NS;
/// The clock of telephone audio, RFC 3551 §6.
const RATE_UNKNOWN_HZ: u32 = 8_000;
const NEAR: u16 = MISORDER_MAX.unsigned_abs();
const NEAR_MIN: i16 = -MISORDER_MAX;
const DOUBTFUL_MIN: i16 = -DROPOUT_MAX;
/// Replaced numberings whose late packets are told from new ones.
const REMEMBERED: usize = 4;

#[cfg(test)]
mod tests;
