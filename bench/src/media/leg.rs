//! The media of one call leg: what it sends, what it expects, what it counts.
//!
//! A leg is driven by its [pump](super::pump): it has no clock and no thread. Everything that a
//! packet can be wrong about is a counter of its own, so that a report can say which promise broke.

use std::io;
use std::net::SocketAddr;

use rtp::packet::RtpPacket;
use rtp::rtcp::RtcpCompound;
use rtp::srtp::{Protect, Unprotect, UnprotectError};

use super::g711::Law;
use super::key::SrtpKey;
use super::payload::{self, Damage, Mark, PAYLOAD_LEN, Way};
use super::socket::MediaSockets;
use super::tone::Tone;

/// What signalling agreed on for one leg.
pub struct LegSetup {
    /// Number of the call within the run.
    pub call: u32,
    pub sockets: MediaSockets,
    /// Where the answer or offer of the far end wants RTP.
    pub remote: SocketAddr,
    pub law: Law,
    /// Packets to send and to expect, 20 ms each.
    pub frames: u32,
    /// `None` on an insecure leg.
    pub keys: Option<LegKeys>,
}

/// The two SDES keys of a secure leg: each side encrypts with its own.
pub struct LegKeys {
    pub ours: SrtpKey,
    pub theirs: SrtpKey,
}

/// What a leg saw. Every received packet lands in at least one of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LegCounts {
    /// Packets that the kernel took.
    pub sent: u64,
    /// Distinct intact packets of this call and way.
    pub received: u64,
    pub duplicates: u64,
    /// Packets that came after one with a higher number.
    pub reordered: u64,
    /// Payload, payload type, or the step of sequence number and timestamp is not as sent.
    pub corrupted: u64,
    /// Intact packets that belong to another call or the other way.
    pub misdelivered: u64,
    /// On a secure leg: packets that anyone can read.
    pub plain: u64,
    /// On a secure leg: packets that neither authenticate nor are plain.
    pub auth_failures: u64,
    /// Whether the tone of the far end was heard.
    pub tone_heard: bool,
    /// Number of the first packet that never came; known when the leg is finished.
    pub first_missing: Option<u32>,
}

/// One leg, ready to send and receive.
pub struct Leg {
    pub call: u32,
    pub sockets: MediaSockets,
    pub counts: LegCounts,
    sender: Sender,
    receiver: Receiver,
}

/// Why a leg cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LegError {
    #[error("the kernel gave no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    #[error("the SRTP transform refused a key of the length that its suite demands")]
    Key,
}

impl Leg {
    /// `sends` is the way of this leg's own packets; it expects the other one.
    pub fn new(setup: LegSetup, sends: Way, tone: &Tone) -> Result<Leg, LegError> {
        let (protect, unprotect) = match &setup.keys {
            None => (None, None),
            Some(keys) => (
                Some(Protect::new(&keys.ours.master().ok_or(LegError::Key)?)),
                Some(Unprotect::new(&keys.theirs.master().ok_or(LegError::Key)?)),
            ),
        };
        let mut random = [0; 10];
        getrandom::fill(&mut random)?;
        let [s0, s1, s2, s3, t0, t1, t2, t3, q0, q1] = random;
        let first_seq = if setup.call % WRAP_EVERY == WRAP_EVERY - 1 {
            u16::MAX - WRAP_AFTER
        } else {
            u16::from_be_bytes([q0, q1])
        };
        let sender = Sender {
            way: sends,
            remote: setup.remote,
            law: setup.law,
            tone: tone.clone(),
            protect,
            ssrc: [s0, s1, s2, s3],
            first_seq,
            first_timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            next_frame: 0,
            frames: setup.frames,
        };
        let receiver = Receiver {
            way: sends.opposite(),
            law: setup.law,
            unprotect,
            anchor: None,
            seen: vec![0; setup.frames.div_ceil(64) as usize],
            highest: None,
            frames: setup.frames,
        };
        let (call, sockets) = (setup.call, setup.sockets);
        Ok(Leg { call, sockets, counts: LegCounts::default(), sender, receiver })
    }

    /// Sends the next packet, stamped with `now_ns`. `false` when all have been sent.
    pub fn send_next(&mut self, now_ns: u64) -> bool {
        match self.sender.send_next(self.call, &self.sockets, now_ns) {
            Some(Ok(())) => self.counts.sent += 1,
            Some(Err(_)) => {}
            None => return false,
        }
        self.sender.next_frame < self.sender.frames
    }

    /// Takes a datagram of the RTP port. A first intact packet gives its time of sending.
    pub fn take_rtp(&mut self, datagram: &mut [u8]) -> Option<u64> {
        self.receiver.take_rtp(self.call, datagram, &mut self.counts)
    }

    /// Takes a datagram of the RTCP port: on a secure leg it must be SRTCP.
    pub fn take_rtcp(&mut self, datagram: &mut [u8]) {
        let Some(unprotect) = &mut self.receiver.unprotect else { return };
        if unprotect.rtcp(datagram).is_err() {
            if RtcpCompound::parse(datagram).is_ok() {
                self.counts.plain += 1;
            } else {
                self.counts.auth_failures += 1;
            }
        }
    }

    /// Closes the sockets and gives what the leg saw.
    pub fn finish(self) -> LegCounts {
        LegCounts { first_missing: self.receiver.first_missing(), ..self.counts }
    }

    /// Whether every expected packet has come.
    pub fn is_complete(&self) -> bool {
        self.counts.received == u64::from(self.receiver.frames)
    }
}

struct Sender {
    way: Way,
    remote: SocketAddr,
    law: Law,
    tone: Tone,
    protect: Option<Protect>,
    ssrc: [u8; 4],
    first_seq: u16,
    first_timestamp: u32,
    next_frame: u32,
    frames: u32,
}

impl Sender {
    fn send_next(
        &mut self,
        call: u32,
        sockets: &MediaSockets,
        sent_ns: u64,
    ) -> Option<io::Result<()>> {
        let frame = self.next_frame;
        if frame >= self.frames {
            return None;
        }
        self.next_frame += 1;
        let mut packet = [0; PACKET_MAX];
        let (header, rest) = packet.split_first_chunk_mut::<HEADER_LEN>()?;
        *header = self.header(frame);
        let (payload, _) = rest.split_first_chunk_mut::<PAYLOAD_LEN>()?;
        payload::write(payload, &self.tone, Mark { way: self.way, call, frame, sent_ns });
        let mut length = HEADER_LEN + PAYLOAD_LEN;
        if let Some(protect) = &mut self.protect {
            length = match protect.rtp(&mut packet, length) {
                Ok(length) => length,
                Err(error) => return Some(Err(io::Error::other(format!("SRTP: {error:?}")))),
            };
        }
        let packet = packet.get(..length)?;
        Some(sockets.rtp.send_to(packet, self.remote).map(|_| ()))
    }

    fn header(&self, frame: u32) -> [u8; HEADER_LEN] {
        let marker = if frame == 0 { 0x80 } else { 0 };
        let [q0, q1] = self.first_seq.wrapping_add(frame as u16).to_be_bytes();
        let timestamp = self.first_timestamp.wrapping_add(frame.wrapping_mul(FRAME_SAMPLES));
        let [t0, t1, t2, t3] = timestamp.to_be_bytes();
        let [s0, s1, s2, s3] = self.ssrc;
        [VERSION_2, marker | self.law.payload_type(), q0, q1, t0, t1, t2, t3, s0, s1, s2, s3]
    }
}

struct Receiver {
    way: Way,
    law: Law,
    unprotect: Option<Unprotect>,
    /// SSRC, and sequence number and timestamp of frame 0, as the first packet implies them: all
    /// later packets must agree, or a receiver's playout would jump.
    anchor: Option<(u32, u16, u32)>,
    seen: Vec<u64>,
    highest: Option<u32>,
    frames: u32,
}

impl Receiver {
    fn take_rtp(&mut self, call: u32, datagram: &mut [u8], counts: &mut LegCounts) -> Option<u64> {
        let Some(unprotect) = &mut self.unprotect else {
            return self.read(call, datagram, counts);
        };
        let refusal = match unprotect.rtp(datagram) {
            Ok(packet) => {
                // Ends the borrow of the context before the packet is read.
                let length = packet.len();
                let packet = datagram.get(..length)?;
                return self.read(call, packet, counts);
            }
            Err(refusal) => refusal,
        };
        // Readable first: a plain packet whose number was seen before is refused as a replay.
        if is_plain(datagram) {
            counts.plain += 1;
        } else if refusal == UnprotectError::Replay {
            counts.duplicates += 1;
        } else {
            counts.auth_failures += 1;
        }
        None
    }

    fn read(&mut self, call: u32, packet: &[u8], counts: &mut LegCounts) -> Option<u64> {
        let Ok(packet) = RtpPacket::parse(packet) else {
            counts.corrupted += 1;
            return None;
        };
        let mark = match payload::read(packet.payload()) {
            Ok(mark) => mark,
            Err(Damage::Foreign | Damage::Corrupted) => {
                counts.corrupted += 1;
                return None;
            }
        };
        if mark.call != call || mark.way != self.way || mark.frame >= self.frames {
            counts.misdelivered += 1;
            return None;
        }
        if !self.first_sight(mark.frame) {
            counts.duplicates += 1;
            return None;
        }
        counts.received += 1;
        if self.highest.is_some_and(|highest| mark.frame < highest) {
            counts.reordered += 1;
        }
        self.highest = self.highest.max(Some(mark.frame));
        if !self.is_in_step(&packet, mark.frame) {
            counts.corrupted += 1;
        }
        if !counts.tone_heard {
            counts.tone_heard = payload::tone_is_heard(self.way, self.law, packet.payload());
        }
        Some(mark.sent_ns)
    }

    fn first_sight(&mut self, frame: u32) -> bool {
        let bit = 1 << (frame % 64);
        let Some(word) = self.seen.get_mut((frame / 64) as usize) else { return false };
        let first = *word & bit == 0;
        *word |= bit;
        first
    }

    fn first_missing(&self) -> Option<u32> {
        let (at, word) = self.seen.iter().enumerate().find(|(_, word)| **word != u64::MAX)?;
        let frame = at as u32 * 64 + word.trailing_ones();
        (frame < self.frames).then_some(frame)
    }

    fn is_in_step(&mut self, packet: &RtpPacket<'_>, frame: u32) -> bool {
        let anchor = (
            packet.ssrc().0,
            packet.seq().0.wrapping_sub(frame as u16),
            packet.timestamp().wrapping_sub(frame.wrapping_mul(FRAME_SAMPLES)),
        );
        packet.payload_type().value() == self.law.payload_type()
            && *self.anchor.get_or_insert(anchor) == anchor
    }
}

/// Whether a datagram that came to a secure port is RTP that anyone can read.
fn is_plain(datagram: &[u8]) -> bool {
    RtpPacket::parse(datagram).is_ok_and(|packet| payload::is_plain_audio(packet.payload()))
}

const HEADER_LEN: usize = 12;
const VERSION_2: u8 = 0x80;
/// Header, payload, and room for the longest tag (16 octets of GCM) and then some.
const PACKET_MAX: usize = HEADER_LEN + PAYLOAD_LEN + 36;
/// 20 ms at 8 kHz.
const FRAME_SAMPLES: u32 = PAYLOAD_LEN as u32;
/// Each eighth call starts shortly before the wrap of its sequence number, so that every run passes
/// SRTP's rollover counter; half a second in, so that no first loss can make the wrap ambiguous.
const WRAP_EVERY: u32 = 8;
const WRAP_AFTER: u16 = 25;

#[cfg(test)]
mod tests;
