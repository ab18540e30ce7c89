//! RTCP that follows renumbered RTP, in place (RFC 3550 §7: what a translator owes its RTCP).
//!
//! ```text
//!  A --- RTP, ssrc a ---> relay --- RTP, ssrc b, seq + n, timestamp + t ---> B
//!  A --- SR of a -------> sent  --- SR of b, timestamp + t ----------------> B
//!  A <-- RR about a ----- reported <--- RR about b, highest seq ------------ B
//! ```
//!
//! One compound speaks of both directions: it is `sent` by the source of one flow and reports on
//! the source of the opposite one. The compound is checked whole before the first octet is written.

use super::{RtcpCompound, RtcpPacket, Ssrc, sdes, split_packet};
use crate::packet::Malformed;

/// What a relay changed in the packets of one RTP source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The source as its sender numbers it.
    pub from_ssrc: Ssrc,
    /// The source as the receiver sees it.
    pub to_ssrc: Ssrc,
    /// Added to each sequence number, wrapping.
    pub seq_offset: u16,
    /// Added to each RTP timestamp, wrapping.
    pub timestamp_offset: u32,
}

/// Rewrites the plain RTCP compound `packet` on its way from the source that `sent` describes to
/// the source that `reported` describes.
///
/// * Of `sent`: the sender's SSRC in SR, RR, SDES, BYE, APP, XR and feedback, and the RTP timestamp
///   of its SR.
/// * Of `reported`, backwards: the SSRC in report blocks, in the media source of feedback and in XR
///   blocks 1 to 3 and 5 to 7 (RFC 3611 §4), with the sequence numbers that go with it: highest
///   one received, range of an XR block, packets of a generic NACK (RFC 4585 §6.2.1).
///
/// Everything else passes as it is: other SSRCs, unknown packet types and XR blocks, packet counts,
/// receipt times, and feedback control information other than NACK's.
///
/// # Errors
/// [`Malformed`] when the compound or the blocks of an XR do not fit; nothing is written then.
pub fn translate(
    packet: &mut [u8],
    sent: Option<&Translation>,
    reported: Option<&Translation>,
) -> Result<(), Malformed> {
    for packet in &RtcpCompound::parse(packet)? {
        if let RtcpPacket::ExtendedReport(report) = packet {
            check_xr_blocks(report.blocks.as_chunks().0)?;
        }
    }
    let edit = Edit { sent, reported };
    let mut rest = packet;
    while let Ok((raw, after)) = split_packet(rest) {
        let (packet_type, count, body_len) = (raw.packet_type, raw.count, raw.body.len());
        let (packet, after) = rest.split_at_mut(rest.len() - after.len());
        let body = packet.get_mut(HEADER..HEADER + body_len).unwrap_or_default();
        edit.packet(packet_type, usize::from(count), body);
        rest = after;
    }
    Ok(())
}

/// Both directions of one compound. All methods take octets that were checked; where one does not
/// find what it looks for, it leaves them alone.
struct Edit<'a> {
    sent: Option<&'a Translation>,
    reported: Option<&'a Translation>,
}

/// Every field of RTCP that is rewritten lies in words of its own.
type Word = [u8; 4];

impl Edit<'_> {
    fn packet(&self, packet_type: u8, count: usize, body: &mut [u8]) {
        if packet_type == 202 {
            return self.sdes(count, body);
        }
        let words = body.as_chunks_mut().0;
        match (packet_type, words) {
            (200, [sender, _, _, timestamp, _, _, blocks @ ..]) => {
                if let Some(sent) = self.sender(sender) {
                    add(timestamp, sent.timestamp_offset);
                }
                self.report_blocks(count, blocks);
            }
            (201, [sender, blocks @ ..]) => {
                self.sender(sender);
                self.report_blocks(count, blocks);
            }
            (203, sources) => sources.iter_mut().take(count).for_each(|source| {
                self.sender(source);
            }),
            (204, [sender, ..]) => {
                self.sender(sender);
            }
            (205 | 206, [sender, media, fci @ ..]) => {
                self.sender(sender);
                let about = self.subject(media);
                if let Some(reported) = about.filter(|_| (packet_type, count) == (205, NACK)) {
                    fci.iter_mut().for_each(|lost| take_seqs(lost, [reported.seq_offset, 0]));
                }
            }
            (207, [sender, blocks @ ..]) => {
                self.sender(sender);
                self.xr_blocks(blocks);
            }
            _ => {}
        }
    }

    fn sdes(&self, count: usize, body: &mut [u8]) {
        let mut rest = body;
        for _ in 0..count {
            let Ok(chunk_len) = sdes::chunk_len(rest) else { return };
            let (chunk, after) = rest.split_at_mut(chunk_len);
            if let Some(source) = chunk.first_chunk_mut() {
                self.sender(source);
            }
            rest = after;
        }
    }

    fn report_blocks(&self, count: usize, words: &mut [Word]) {
        for block in words.as_chunks_mut::<6>().0.iter_mut().take(count) {
            let [source, _, highest, ..] = block;
            if let Some(reported) = self.subject(source) {
                *highest = take_extended(u32::from_be_bytes(*highest), reported.seq_offset);
            }
        }
    }

    fn xr_blocks(&self, words: &mut [Word]) {
        let mut rest = words;
        while let Some(([block_type, _, hi, lo], body)) = rest.split_first_mut() {
            let len = usize::from(u16::from_be_bytes([*hi, *lo]));
            let Some((block, after)) = body.split_at_mut_checked(len) else { return };
            match (*block_type, block) {
                // Loss RLE, duplicate RLE, receipt times, statistics summary.
                (1 | 2 | 3 | 6, [source, range, ..]) => {
                    if let Some(reported) = self.subject(source) {
                        take_seqs(range, [reported.seq_offset; 2]);
                    }
                }
                // DLRR: who sent the reference time that is answered.
                (5, block) => block.as_chunks_mut().0.iter_mut().for_each(|[source, _, _]| {
                    self.subject(source);
                }),
                // VoIP metrics.
                (7, [source, ..]) => {
                    self.subject(source);
                }
                _ => {}
            }
            rest = after;
        }
    }

    /// Renames `word` if it is the sender.
    fn sender(&self, word: &mut Word) -> Option<&Translation> {
        let sent = self.sent.filter(|sent| sent.from_ssrc.0.to_be_bytes() == *word)?;
        *word = sent.to_ssrc.0.to_be_bytes();
        Some(sent)
    }

    /// Renames `word` if it is the source that is reported on.
    fn subject(&self, word: &mut Word) -> Option<&Translation> {
        let about = self.reported.filter(|about| about.to_ssrc.0.to_be_bytes() == *word)?;
        *word = about.from_ssrc.0.to_be_bytes();
        Some(about)
    }
}

/// Whether the blocks of an XR fill it exactly and hold what [`Edit::xr_blocks`] reads.
fn check_xr_blocks(words: &[Word]) -> Result<(), Malformed> {
    let mut rest = words;
    while let Some(([block_type, _, hi, lo], body)) = rest.split_first() {
        let len = usize::from(u16::from_be_bytes([*hi, *lo]));
        let (block, after) = body.split_at_checked(len).ok_or(Malformed::Length)?;
        let fits = match block_type {
            1 | 2 | 3 | 6 => block.len() >= 2,
            5 => block.len().is_multiple_of(3),
            7 => !block.is_empty(),
            _ => true,
        };
        if !fits {
            return Err(Malformed::Length);
        }
        rest = after;
    }
    Ok(())
}

fn add(word: &mut Word, offset: u32) {
    *word = u32::from_be_bytes(*word).wrapping_add(offset).to_be_bytes();
}

/// Takes an offset out of each of two 16-bit numbers.
fn take_seqs(word: &mut Word, offsets: [u16; 2]) {
    let [a, b, c, d] = *word;
    let [first, second] = [[a, b], [c, d]].map(u16::from_be_bytes);
    let [[a, b], [c, d]] =
        [first.wrapping_sub(offsets[0]), second.wrapping_sub(offsets[1])].map(u16::to_be_bytes);
    *word = [a, b, c, d];
}

/// Takes `offset` out of an extended sequence number, the short way around: +65535 is -1. The lower
/// 16 bits are exact. The cycles are counted by the receiver from its first packet, where we do
/// not know the count of the sender: they follow the carry, and stay at 0 rather than fall
/// below it.
fn take_extended(highest: u32, offset: u16) -> Word {
    let moved = i64::from(highest) - i64::from(offset.cast_signed());
    let cycle = 1 << 16;
    let counted = if moved < 0 { moved + cycle } else { moved };
    (counted as u32).to_be_bytes()
}

/// Octets before the body of an RTCP packet.
const HEADER: usize = 4;
/// Feedback message type of the generic NACK (RFC 4585 §6.2.1).
const NACK: usize = 1;

#[cfg(test)]
mod tests;
