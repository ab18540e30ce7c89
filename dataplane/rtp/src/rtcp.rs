//! RTCP compound packets (RFC 3550 §6, RFC 5506 reduced size, RFC 4585 feedback).
//!
//! ```text
//!  |V=2|P|  count  |  packet type  |  length in words, minus one   |   repeated until the
//!  |  body: length words                                           |   datagram ends
//! ```
//!
//! [`RtcpCompound::parse`] walks every packet, report block, chunk and item once with checked
//! lengths; the iterators walk the same way again and therefore end exactly where the octets do.
//! Lengths and counts are never trusted further than the octets at hand.

mod report;
mod sdes;
mod translate;

use crate::packet::{Malformed, PADDING, Ssrc, VERSION, padding_len};
pub use report::{ReceiverReport, ReportBlock, SenderInfo, SenderReport};
pub use sdes::{Sdes, SdesChunk, SdesItem};
pub use translate::{Translation, translate};

/// Fewest octets of a datagram of ours: one packet header and one SSRC, which is also the part
/// that SRTCP leaves in the clear (RFC 3711 §3.4).
pub const RTCP_PACKET_MIN: usize = 8;

/// A checked view of all RTCP packets of one datagram.
#[derive(Clone, Copy)]
pub struct RtcpCompound<'a> {
    bytes: &'a [u8],
    sender: Ssrc,
}

impl<'a> RtcpCompound<'a> {
    /// Checks all packets. Any packet may come first: compound order (RFC 3550 §6.1) is not
    /// demanded because reduced-size RTCP (RFC 5506) has none. The first one must name its
    /// sender, so an empty BYE alone is refused.
    ///
    /// # Errors
    /// [`Malformed`] of the first packet that does not fit.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (first, _) = split_packet(bytes)?;
        let sender = first.body.first_chunk().map(read_ssrc).ok_or(Malformed::Short)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (raw, after) = split_packet(rest)?;
            if raw.padded && !after.is_empty() {
                return Err(Malformed::Padding);
            }
            RtcpPacket::read(raw)?;
            rest = after;
        }
        Ok(Self { bytes, sender })
    }

    /// The SSRC in the first packet's first word: the sender of the datagram.
    #[must_use]
    pub fn sender_ssrc(&self) -> Ssrc {
        self.sender
    }

    /// The packets in order.
    #[must_use]
    pub fn iter(&self) -> RtcpPackets<'a> {
        RtcpPackets { rest: self.bytes }
    }
}

impl<'a> IntoIterator for &RtcpCompound<'a> {
    type Item = RtcpPacket<'a>;
    type IntoIter = RtcpPackets<'a>;

    fn into_iter(self) -> RtcpPackets<'a> {
        self.iter()
    }
}

/// Iterator over the packets of an [`RtcpCompound`].
#[derive(Clone)]
pub struct RtcpPackets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for RtcpPackets<'a> {
    type Item = RtcpPacket<'a>;

    fn next(&mut self) -> Option<RtcpPacket<'a>> {
        let (raw, rest) = split_packet(self.rest).ok()?;
        self.rest = rest;
        RtcpPacket::read(raw).ok()
    }
}

/// One RTCP packet.
#[derive(Clone, Copy)]
pub enum RtcpPacket<'a> {
    /// SR, packet type 200 (RFC 3550 §6.4.1).
    SenderReport(SenderReport<'a>),
    /// RR, packet type 201 (RFC 3550 §6.4.2).
    ReceiverReport(ReceiverReport<'a>),
    /// SDES, packet type 202 (RFC 3550 §6.5).
    Sdes(Sdes<'a>),
    /// BYE, packet type 203 (RFC 3550 §6.6).
    Bye(Bye<'a>),
    /// APP, packet type 204 (RFC 3550 §6.7).
    App(App<'a>),
    /// RTPFB and PSFB, packet types 205 and 206 (RFC 4585 §6.1).
    Feedback(Feedback<'a>),
    /// XR, packet type 207 (RFC 3611 §2).
    ExtendedReport(ExtendedReport<'a>),
    /// Any other packet type.
    Unknown(Unknown<'a>),
}

/// BYE: the sources that leave, and why.
#[derive(Clone, Copy)]
pub struct Bye<'a> {
    sources: &'a [[u8; 4]],
    reason: Option<&'a [u8]>,
}

impl<'a> Bye<'a> {
    /// The sources that leave, at most 31.
    pub fn sources(&self) -> impl Iterator<Item = Ssrc> + use<'a> {
        self.sources.iter().map(read_ssrc)
    }

    /// The reason for leaving: text meant to be UTF-8, unchecked.
    #[must_use]
    pub fn reason(&self) -> Option<&'a [u8]> {
        self.reason
    }
}

/// APP: application-defined.
#[derive(Clone, Copy)]
pub struct App<'a> {
    /// 5-bit subtype.
    pub subtype: u8,
    /// Its sender.
    pub ssrc: Ssrc,
    /// Four ASCII characters.
    pub name: [u8; 4],
    /// Application-dependent data.
    pub data: &'a [u8],
}

/// RTPFB (NACK, transport-wide) or PSFB (PLI, FIR, REMB).
#[derive(Clone, Copy)]
pub struct Feedback<'a> {
    /// True for PSFB, false for RTPFB.
    pub payload_specific: bool,
    /// 5-bit feedback message type.
    pub format: u8,
    /// Who sends the feedback.
    pub sender: Ssrc,
    /// The source that it is about.
    pub media: Ssrc,
    /// Feedback control information.
    pub fci: &'a [u8],
}

/// XR: extended report, its blocks unread.
#[derive(Clone, Copy)]
pub struct ExtendedReport<'a> {
    /// Its sender.
    pub ssrc: Ssrc,
    /// The report blocks.
    pub blocks: &'a [u8],
}

/// A packet type that this crate gives no meaning to.
#[derive(Clone, Copy)]
pub struct Unknown<'a> {
    /// Packet type.
    pub packet_type: u8,
    /// The 5-bit count field.
    pub count: u8,
    /// Everything after the 4-octet header.
    pub body: &'a [u8],
}

impl<'a> RtcpPacket<'a> {
    fn read(raw: Raw<'a>) -> Result<Self, Malformed> {
        let Raw { packet_type, count, body, .. } = raw;
        Ok(match packet_type {
            200 => Self::SenderReport(SenderReport::read(count, body)?),
            201 => Self::ReceiverReport(ReceiverReport::read(count, body)?),
            202 => Self::Sdes(Sdes::read(count, body)?),
            203 => Self::Bye(read_bye(count, body)?),
            204 => Self::App(read_app(count, body)?),
            205 | 206 => Self::Feedback(read_feedback(packet_type == 206, count, body)?),
            207 => {
                let (ssrc, blocks) = split_ssrc(body)?;
                Self::ExtendedReport(ExtendedReport { ssrc, blocks })
            }
            _ => Self::Unknown(Unknown { packet_type, count, body }),
        })
    }
}

fn read_bye(count: u8, body: &[u8]) -> Result<Bye<'_>, Malformed> {
    let (sources, rest) = body.split_at_checked(4 * usize::from(count)).ok_or(Malformed::Count)?;
    let reason = match rest.split_first() {
        None => None,
        Some((&len, text)) => Some(text.get(..usize::from(len)).ok_or(Malformed::Length)?),
    };
    Ok(Bye { sources: sources.as_chunks().0, reason })
}

fn read_app(subtype: u8, body: &[u8]) -> Result<App<'_>, Malformed> {
    let (ssrc, rest) = split_ssrc(body)?;
    let (name, data) = rest.split_first_chunk().ok_or(Malformed::Length)?;
    Ok(App { subtype, ssrc, name: *name, data })
}

fn read_feedback(
    payload_specific: bool,
    format: u8,
    body: &[u8],
) -> Result<Feedback<'_>, Malformed> {
    let (sender, rest) = split_ssrc(body)?;
    let (media, fci) = split_ssrc(rest)?;
    Ok(Feedback { payload_specific, format, sender, media, fci })
}

/// The sender's SSRC of a compound whose rest may be encrypted (RFC 3711 §3.4).
pub(crate) fn clear_sender(packet: &[u8]) -> Result<Ssrc, Malformed> {
    let [first, _, _, _, ssrc @ ..] =
        packet.first_chunk::<RTCP_PACKET_MIN>().ok_or(Malformed::Short)?;
    if first >> 6 != VERSION { Err(Malformed::Version) } else { Ok(read_ssrc(ssrc)) }
}

/// One packet cut out of a compound by its own length field, its padding taken off.
#[derive(Clone, Copy)]
struct Raw<'a> {
    packet_type: u8,
    count: u8,
    padded: bool,
    body: &'a [u8],
}

fn split_packet(bytes: &[u8]) -> Result<(Raw<'_>, &[u8]), Malformed> {
    let (header, rest) = bytes.split_first_chunk::<4>().ok_or(Malformed::Short)?;
    let [first, packet_type, hi, lo] = *header;
    if first >> 6 != VERSION {
        return Err(Malformed::Version);
    }
    let octets = 4 * usize::from(u16::from_be_bytes([hi, lo]));
    let (mut body, rest) = rest.split_at_checked(octets).ok_or(Malformed::Length)?;
    let padded = first & PADDING != 0;
    if padded {
        let count = usize::from(padding_len(body)?);
        if !count.is_multiple_of(4) {
            return Err(Malformed::Padding);
        }
        body = body.get(..body.len() - count).ok_or(Malformed::Padding)?;
    }
    Ok((Raw { packet_type, count: first & 0x1f, padded, body }, rest))
}

fn split_ssrc(bytes: &[u8]) -> Result<(Ssrc, &[u8]), Malformed> {
    let (word, rest) = bytes.split_first_chunk().ok_or(Malformed::Length)?;
    Ok((read_ssrc(word), rest))
}

fn read_ssrc(word: &[u8; 4]) -> Ssrc {
    Ssrc(u32::from_be_bytes(*word))
}

#[cfg(test)]
mod tests;
