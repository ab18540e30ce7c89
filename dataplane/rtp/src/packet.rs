//! RTP packet views (RFC 3550 §5.1).
//!
//! ```text
//!  0                   1                   2                   3
//!  |V=2|P|X|  CC   |M|     PT      |       sequence number         |
//!  |                           timestamp                           |
//!  |                             SSRC                              |
//!  |            CSRC (CC words)            |
//!  |  profile id   |  length in words      |  extension (X)        |
//!  |  payload ...                          |  padding ... | count  |
//! ```
//!
//! [`RtpPacket::parse`] checks every length once; what it returns cannot fail afterwards.

use core::fmt;

/// Octets of the fixed part of an RTP header (RFC 3550 §5.1).
pub const RTP_HEADER_MIN: usize = 12;

/// A synchronisation source identifier (RFC 3550 §3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ssrc(pub u32);

/// A 16-bit RTP sequence number; it wraps (RFC 3550 §5.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Seq(pub u16);

impl Seq {
    /// Steps from `earlier` to `self` on the shortest way around the ring: positive when `self` is
    /// newer, negative when it is older, 0 when equal.
    #[must_use]
    pub fn steps_from(self, earlier: Seq) -> i16 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }
}

/// A 7-bit RTP payload type (RFC 3550 §5.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct PayloadType(u8);

impl PayloadType {
    /// `None` when `value` is above 127.
    #[must_use]
    pub const fn new(value: u8) -> Option<Self> {
        if value < 128 { Some(Self(value)) } else { None }
    }

    /// The number, 0 to 127.
    #[must_use]
    pub const fn value(self) -> u8 {
        self.0
    }
}

/// A checked view of one plain RTP packet.
#[derive(Clone, Copy)]
pub struct RtpPacket<'a> {
    fixed: &'a [u8; RTP_HEADER_MIN],
    header: &'a [u8],
    payload: &'a [u8],
    padding: u8,
}

impl<'a> RtpPacket<'a> {
    /// Checks version, CSRC list, header extension and padding (RFC 3550 §5.1, §5.3.1).
    ///
    /// # Errors
    /// [`Malformed`] names the first field that does not fit the octets at hand.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let header_len = header_len(bytes)?;
        let fixed = bytes.first_chunk().ok_or(Malformed::Short)?;
        let (header, rest) = bytes.split_at_checked(header_len).ok_or(Malformed::Short)?;
        let padding = if fixed[0] & PADDING == 0 { 0 } else { padding_len(rest)? };
        let payload_len = rest.len() - usize::from(padding);
        let payload = rest.get(..payload_len).ok_or(Malformed::Padding)?;
        Ok(Self { fixed, header, payload, padding })
    }

    /// Synchronisation source.
    #[must_use]
    pub fn ssrc(&self) -> Ssrc {
        let [.., a, b, c, d] = *self.fixed;
        Ssrc(u32::from_be_bytes([a, b, c, d]))
    }

    /// Sequence number.
    #[must_use]
    pub fn seq(&self) -> Seq {
        let [_, _, hi, lo, ..] = *self.fixed;
        Seq(u16::from_be_bytes([hi, lo]))
    }

    /// Sampling instant of the first octet of the payload, in units of the payload type's clock.
    #[must_use]
    pub fn timestamp(&self) -> u32 {
        let [_, _, _, _, a, b, c, d, ..] = *self.fixed;
        u32::from_be_bytes([a, b, c, d])
    }

    /// The marker bit; its meaning belongs to the payload format.
    #[must_use]
    pub fn marker(&self) -> bool {
        self.fixed[1] & MARKER != 0
    }

    /// Payload type.
    #[must_use]
    pub fn payload_type(&self) -> PayloadType {
        PayloadType(self.fixed[1] & !MARKER)
    }

    /// Octets before the payload: fixed part, CSRC list and header extension.
    #[must_use]
    pub fn header_len(&self) -> usize {
        self.header.len()
    }

    /// The payload without its padding.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Octets of padding after the payload, the count octet included.
    #[must_use]
    pub fn padding_len(&self) -> usize {
        usize::from(self.padding)
    }

    /// Contributing sources, at most 15.
    pub fn csrcs(&self) -> impl Iterator<Item = Ssrc> + use<'a> {
        let count = csrc_count(self.fixed[0]);
        let words = self.header.get(RTP_HEADER_MIN..).unwrap_or_default().as_chunks::<4>().0;
        words.iter().take(count).map(|word| Ssrc(u32::from_be_bytes(*word)))
    }

    /// The header extension: its 16-bit "defined by profile" field and its octets, a multiple of
    /// 4 (RFC 3550 §5.3.1).
    #[must_use]
    pub fn extension(&self) -> Option<(u16, &'a [u8])> {
        if self.fixed[0] & EXTENSION == 0 {
            return None;
        }
        let start = RTP_HEADER_MIN + 4 * csrc_count(self.fixed[0]);
        let ([p, q, _, _], data) = self.header.get(start..)?.split_first_chunk()?;
        Some((u16::from_be_bytes([*p, *q]), data))
    }
}

/// Writes the rewritable fields of a packet's fixed header in place. Lengths never change.
pub struct RtpHeaderMut<'a> {
    fixed: &'a mut [u8; RTP_HEADER_MIN],
}

impl<'a> RtpHeaderMut<'a> {
    /// The header of a packet that [`RtpPacket::parse`] accepts.
    ///
    /// # Errors
    /// [`Malformed`] when the header does not fit `packet`.
    pub fn parse(packet: &'a mut [u8]) -> Result<Self, Malformed> {
        header_len(packet)?;
        let fixed = packet.first_chunk_mut().ok_or(Malformed::Short)?;
        Ok(Self { fixed })
    }

    /// Replaces the synchronisation source.
    pub fn set_ssrc(&mut self, ssrc: Ssrc) {
        let [a, b, c, d] = ssrc.0.to_be_bytes();
        let [.., w, x, y, z] = &mut *self.fixed;
        (*w, *x, *y, *z) = (a, b, c, d);
    }

    /// Replaces the sequence number.
    pub fn set_seq(&mut self, seq: Seq) {
        let [a, b] = seq.0.to_be_bytes();
        let [_, _, y, z, ..] = &mut *self.fixed;
        (*y, *z) = (a, b);
    }

    /// Replaces the timestamp.
    pub fn set_timestamp(&mut self, timestamp: u32) {
        let [a, b, c, d] = timestamp.to_be_bytes();
        let [_, _, _, _, w, x, y, z, ..] = &mut *self.fixed;
        (*w, *x, *y, *z) = (a, b, c, d);
    }

    /// Sets or clears the marker bit.
    pub fn set_marker(&mut self, marker: bool) {
        self.fixed[1] = (self.fixed[1] & !MARKER) | if marker { MARKER } else { 0 };
    }

    /// Replaces the payload type and keeps the marker.
    pub fn set_payload_type(&mut self, payload_type: PayloadType) {
        self.fixed[1] = (self.fixed[1] & MARKER) | payload_type.0;
    }
}

/// The first reason why octets are no RTP or RTCP packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Malformed {
    /// Fewer octets than the fixed header.
    Short,
    /// The version field is not 2.
    Version,
    /// The CSRC list runs past the end.
    Csrc,
    /// The header extension runs past the end.
    Extension,
    /// The padding count is 0, larger than what it pads, or stands where none is allowed.
    Padding,
    /// An RTCP length field runs past the end, or is too small for its packet type.
    Length,
    /// An RTCP count field (reports, sources, chunks) promises more than the packet holds.
    Count,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "packet is shorter than its fixed header",
            Self::Version => "version is not 2",
            Self::Csrc => "CSRC list runs past the end of the packet",
            Self::Extension => "header extension runs past the end of the packet",
            Self::Padding => "padding count does not fit the packet",
            Self::Length => "RTCP length field does not fit the packet",
            Self::Count => "RTCP count field promises more than the packet holds",
        })
    }
}

impl core::error::Error for Malformed {}

impl fmt::Debug for Ssrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ssrc({:#010x})", self.0)
    }
}

impl fmt::Display for Ssrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl fmt::Debug for RtpPacket<'_> {
    /// Header fields and sizes only: payload is somebody's voice.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RtpPacket")
            .field("ssrc", &self.ssrc())
            .field("seq", &self.seq())
            .field("timestamp", &self.timestamp())
            .field("marker", &self.marker())
            .field("payload_type", &self.payload_type())
            .field("header_len", &self.header_len())
            .field("payload_len", &self.payload.len())
            .finish()
    }
}

/// What SRTP reads of a header; payload and padding stay unread.
pub(crate) struct Clear {
    pub(crate) ssrc: Ssrc,
    pub(crate) seq: Seq,
    pub(crate) header_len: usize,
}

impl Clear {
    pub(crate) fn parse(packet: &[u8]) -> Result<Self, Malformed> {
        let header_len = header_len(packet)?;
        let [_, _, s, t, _, _, _, _, a, b, c, d] =
            *packet.first_chunk::<RTP_HEADER_MIN>().ok_or(Malformed::Short)?;
        let ssrc = Ssrc(u32::from_be_bytes([a, b, c, d]));
        Ok(Self { ssrc, seq: Seq(u16::from_be_bytes([s, t])), header_len })
    }
}

/// Octets of fixed header, CSRC list and extension. It does not look at the padding, whose count
/// octet is encrypted in an SRTP packet (RFC 3711 §3.1).
fn header_len(bytes: &[u8]) -> Result<usize, Malformed> {
    let fixed: &[u8; RTP_HEADER_MIN] = bytes.first_chunk().ok_or(Malformed::Short)?;
    if fixed[0] >> 6 != VERSION {
        return Err(Malformed::Version);
    }
    let csrc_end = RTP_HEADER_MIN + 4 * csrc_count(fixed[0]);
    let Some((_, rest)) = bytes.split_at_checked(csrc_end) else {
        return Err(Malformed::Csrc);
    };
    if fixed[0] & EXTENSION == 0 {
        return Ok(csrc_end);
    }
    let ([_, _, hi, lo], data) = rest.split_first_chunk().ok_or(Malformed::Extension)?;
    let octets = 4 * usize::from(u16::from_be_bytes([*hi, *lo]));
    if octets > data.len() {
        return Err(Malformed::Extension);
    }
    Ok(csrc_end + 4 + octets)
}

/// The count octet at the end of `padded`: at least 1, at most all of it.
pub(crate) fn padding_len(padded: &[u8]) -> Result<u8, Malformed> {
    match padded.last() {
        Some(&count) if count > 0 && usize::from(count) <= padded.len() => Ok(count),
        _ => Err(Malformed::Padding),
    }
}

fn csrc_count(first: u8) -> usize {
    usize::from(first & 0x0f)
}

pub(crate) const VERSION: u8 = 2;
pub(crate) const PADDING: u8 = 0x20;
const EXTENSION: u8 = 0x10;
const MARKER: u8 = 0x80;

#[cfg(test)]
mod tests;
