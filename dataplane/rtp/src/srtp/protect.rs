//! The sending side.

use super::PACKET_MAX;
use super::hmac_sha1::{Midstates, Packaged};
use super::index::PacketIndex;
use super::key::MasterKey;
use super::replay::{Replayed, Window};
use super::ssrcs::{Full, Of, Ssrcs};
use super::transform::{PacketId, RTCP_INDEX_MAX, Transform};
use crate::packet::{Clear, Malformed};
use crate::rtcp;
use alloc::boxed::Box;
use core::fmt;

/// Protects the packets of one direction under one master key.
///
/// Two packets are never encrypted under one index of one SSRC. RTP sequence numbers come from
/// whoever sent the packet to us, so indices are estimated as a receiver would estimate them, and a
/// window of used ones is kept: a duplicate or a packet older than the window is refused.
///
/// What an RTP packet of the first source needs lies together, in as few cache lines as its suite
/// allows; thousands of contexts take turns, and each comes back when the cache has forgotten it.
#[repr(C, align(64))]
pub struct Protect {
    ssrcs: Ssrcs<Sent>,
    rtp: Transform<Midstates>,
    rtcp: Box<Transform<Packaged>>,
}

/// Why a packet was not protected. Buffer and context are unchanged, and nothing may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ProtectError {
    /// No RTP or RTCP header, or longer than [`PACKET_MAX`].
    Malformed,
    /// The buffer has no room for tag and MKI after the packet.
    NoRoom,
    /// The index was used before, or is too old to tell: a duplicate, or late by 128 or more.
    IndexReused,
    /// The packet's SSRC is one more than the context keeps state for.
    SsrcLimit,
    /// The last index of the master key is used (RFC 3711 §9.2): a new key must be negotiated.
    KeyExhausted,
}

impl Protect {
    /// Derives and expands all keys. `master` is not needed afterwards.
    #[must_use]
    pub fn new(master: &MasterKey) -> Self {
        Self {
            ssrcs: Ssrcs::new(Sent::NOTHING),
            rtp: Transform::rtp(master),
            rtcp: Box::new(Transform::rtcp(master)),
        }
    }

    /// Replaces all keys and keeps all indices: neither the rollover counter nor the SRTCP index
    /// starts again at a re-keying (RFC 3711 §3.3.1, §3.4). Harmless when the key is the old one,
    /// where a new context would encrypt under used indices.
    pub fn rekey(&mut self, master: &MasterKey) {
        self.rtp = Transform::rtp(master);
        *self.rtcp = Transform::rtcp(master);
    }

    /// Protects the RTP packet `buf[..len]` in place and returns its new length, at most
    /// [`Suite::OVERHEAD_MAX`](super::Suite::OVERHEAD_MAX) more.
    ///
    /// # Errors
    /// [`ProtectError`]; `buf` and the context are then unchanged.
    pub fn rtp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, ProtectError> {
        let clear = Clear::parse(plain(buf, len)?)?;
        let used = self.ssrcs.peek(clear.ssrc, Sent::NOTHING, Of::Rtp)?.rtp;
        let index = PacketIndex::after(used.highest(), clear.seq);
        let index = index.ok_or(ProtectError::KeyExhausted)?.value();
        let token = used.check(index)?;
        let id = PacketId { ssrc: clear.ssrc, index };
        let end = self.rtp.seal_rtp(buf, clear.header_len, len, id).ok_or(ProtectError::NoRoom)?;
        self.ssrcs.entry(clear.ssrc, Of::Rtp)?.rtp.commit(token);
        Ok(end)
    }

    /// Protects the RTCP compound `buf[..len]` in place, under the next SRTCP index of its first
    /// sender, and returns its new length.
    ///
    /// # Errors
    /// [`ProtectError`], never `IndexReused`; `buf` and the context are then unchanged.
    pub fn rtcp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, ProtectError> {
        let ssrc = rtcp::clear_sender(plain(buf, len)?)?;
        let next = self.ssrcs.peek(ssrc, Sent::NOTHING, Of::Rtcp)?.rtcp_next;
        if next > RTCP_INDEX_MAX {
            return Err(ProtectError::KeyExhausted);
        }
        let id = PacketId { ssrc, index: u64::from(next) };
        let end = self.rtcp.seal_rtcp(buf, len, id).ok_or(ProtectError::NoRoom)?;
        self.ssrcs.entry(ssrc, Of::Rtcp)?.rtcp_next = next + 1;
        Ok(end)
    }
}

/// The indices that one SSRC has used.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    pub(super) rtp: Window,
    /// Starts at 0 (RFC 3711 §3.4).
    pub(super) rtcp_next: u32,
}

impl Sent {
    const NOTHING: Self = Self { rtp: Window::EMPTY, rtcp_next: 0 };
}

fn plain(buf: &[u8], len: usize) -> Result<&[u8], ProtectError> {
    match buf.get(..len) {
        Some(packet) if len <= PACKET_MAX => Ok(packet),
        _ => Err(ProtectError::Malformed),
    }
}

impl From<Malformed> for ProtectError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl From<Full> for ProtectError {
    fn from(_: Full) -> Self {
        Self::SsrcLimit
    }
}

impl From<Replayed> for ProtectError {
    fn from(_: Replayed) -> Self {
        Self::IndexReused
    }
}

impl fmt::Display for ProtectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "packet to protect has no valid header or is too long",
            Self::NoRoom => "buffer has no room for the tag after the packet",
            Self::IndexReused => "SRTP index was used before or is too old",
            Self::SsrcLimit => "context keeps no state for one more SSRC",
            Self::KeyExhausted => "last SRTP index of the key is used: negotiate a new key",
        })
    }
}

impl core::error::Error for ProtectError {}

#[cfg(test)]
mod tests;
