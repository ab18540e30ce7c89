//! The receiving side.

use super::PACKET_MAX;
use super::hmac_sha1::{Midstates, Packaged};
use super::index::PacketIndex;
use super::key::MasterKey;
use super::replay::{Replayed, Window};
use super::ssrcs::{Full, Of, Ssrcs};
use super::transform::{Forged, PacketId, Transform};
use crate::packet::{Clear, Malformed};
use crate::rtcp;
use alloc::boxed::Box;
use core::fmt;

/// Verifies and decrypts the packets of one direction under one master key.
///
/// A packet that is not authentic changes nothing: no SSRC gets state, no index or window moves,
/// the buffer keeps its octets.
///
/// What an RTP packet of the first source needs lies together, in as few cache lines as its suite
/// allows; thousands of contexts take turns, and each comes back when the cache has forgotten it.
#[repr(C, align(64))]
pub struct Unprotect {
    ssrcs: Ssrcs<Received>,
    rtp: Transform<Midstates>,
    rtcp: Box<Transform<Packaged>>,
}

/// A plain packet whose tag was right. Only [`Unprotect`] makes one.
pub struct Authentic<'a>(&'a mut [u8]);

/// Why a packet was not accepted. Buffer and context are unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UnprotectError {
    /// No SRTP or SRTCP packet: no header, no room for tag and MKI, longer than [`PACKET_MAX`]; or
    /// SRTCP with its E flag clear, which would be RTCP that anybody on the path can read.
    Malformed,
    /// The tag is wrong: another key, another rollover counter, or a forgery. Or the packet does
    /// not have the key's MKI where it belongs, so that another key was meant; the tag was then
    /// not looked at.
    Authentication,
    /// The index was accepted before, or is too old to tell. The tag was not looked at.
    Replay,
    /// The packet's SSRC is one more than the context keeps state for. The tag was not looked at.
    SsrcLimit,
    /// The sequence number wraps once more than a master key may last (RFC 3711 §9.2).
    KeyExhausted,
}

impl Unprotect {
    /// Derives and expands all keys. `master` is not needed afterwards.
    #[must_use]
    pub fn new(master: &MasterKey) -> Self {
        Self {
            ssrcs: Ssrcs::new(Received::NOTHING),
            rtp: Transform::rtp(master),
            rtcp: Box::new(Transform::rtcp(master)),
        }
    }

    /// Replaces all keys and keeps all indices and windows: a sender continues its rollover counter
    /// at a re-keying (RFC 3711 §3.3.1). A sender that starts it again needs a new context.
    pub fn rekey(&mut self, master: &MasterKey) {
        self.rtp = Transform::rtp(master);
        *self.rtcp = Transform::rtcp(master);
    }

    /// Takes the SRTP packet `buf` and leaves the RTP packet at its start.
    ///
    /// # Errors
    /// [`UnprotectError`]; `buf` and the context are then unchanged.
    pub fn rtp<'a>(&mut self, buf: &'a mut [u8]) -> Result<Authentic<'a>, UnprotectError> {
        let clear = Clear::parse(protected(buf)?)?;
        if buf.len() < clear.header_len + self.rtp.rtp_overhead() {
            return Err(UnprotectError::Malformed);
        }
        let seen = self.ssrcs.peek(clear.ssrc, Received::NOTHING, Of::Rtp)?.rtp;
        let index = PacketIndex::after(seen.highest(), clear.seq);
        let index = index.ok_or(UnprotectError::KeyExhausted)?.value();
        let token = seen.check(index)?;
        let id = PacketId { ssrc: clear.ssrc, index };
        let len = self.rtp.open_rtp(buf, clear.header_len, id)?;
        self.ssrcs.entry(clear.ssrc, Of::Rtp)?.rtp.commit(token);
        Authentic::new(buf, len)
    }

    /// Takes the SRTCP packet `buf` and leaves the RTCP compound at its start.
    ///
    /// # Errors
    /// [`UnprotectError`], never `KeyExhausted`; `buf` and the context are then unchanged.
    pub fn rtcp<'a>(&mut self, buf: &'a mut [u8]) -> Result<Authentic<'a>, UnprotectError> {
        let ssrc = rtcp::clear_sender(protected(buf)?)?;
        let index = self.rtcp.rtcp_index(buf).ok_or(UnprotectError::Malformed)?;
        let seen = self.ssrcs.peek(ssrc, Received::NOTHING, Of::Rtcp)?.rtcp;
        let token = seen.check(index)?;
        let len = self.rtcp.open_rtcp(buf, PacketId { ssrc, index })?;
        self.ssrcs.entry(ssrc, Of::Rtcp)?.rtcp.commit(token);
        Authentic::new(buf, len)
    }
}

impl<'a> Authentic<'a> {
    fn new(buf: &'a mut [u8], len: usize) -> Result<Self, UnprotectError> {
        buf.get_mut(..len).map(Self).ok_or(UnprotectError::Malformed)
    }

    /// Octets of the plain packet.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a packet has a header")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The plain packet.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0
    }

    /// The plain packet, to rewrite its header in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.0
    }
}

/// The indices that one SSRC was accepted with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub(super) rtp: Window,
    pub(super) rtcp: Window,
}

impl Received {
    const NOTHING: Self = Self { rtp: Window::EMPTY, rtcp: Window::EMPTY };
}

fn protected(buf: &[u8]) -> Result<&[u8], UnprotectError> {
    if buf.len() <= PACKET_MAX { Ok(buf) } else { Err(UnprotectError::Malformed) }
}

impl From<Malformed> for UnprotectError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl From<Full> for UnprotectError {
    fn from(_: Full) -> Self {
        Self::SsrcLimit
    }
}

impl From<Replayed> for UnprotectError {
    fn from(_: Replayed) -> Self {
        Self::Replay
    }
}

impl From<Forged> for UnprotectError {
    fn from(_: Forged) -> Self {
        Self::Authentication
    }
}

impl fmt::Display for UnprotectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not an SRTP packet, or SRTCP that is not encrypted",
            Self::Authentication => "SRTP authentication tag or MKI is wrong",
            Self::Replay => "SRTP index was accepted before or is too old",
            Self::SsrcLimit => "context keeps no state for one more SSRC",
            Self::KeyExhausted => "SRTP index is past the end of the key: negotiate a new key",
        })
    }
}

impl core::error::Error for UnprotectError {}

#[cfg(test)]
mod tests;
