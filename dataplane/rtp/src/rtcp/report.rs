//! Sender and receiver reports and their report blocks (RFC 3550 §6.4).

use super::split_ssrc;
use crate::packet::{Malformed, Ssrc};

/// SR: what its sender has sent, and how it receives others.
#[derive(Clone, Copy)]
pub struct SenderReport<'a> {
    /// Its sender.
    pub ssrc: Ssrc,
    /// What the sender has sent.
    pub info: SenderInfo,
    blocks: &'a [[u8; REPORT_BLOCK]],
}

/// The sender information of an SR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SenderInfo {
    /// NTP time of the report: seconds since 1900 in the upper 32 bits, fraction in the lower.
    pub ntp: u64,
    /// The same instant in units of the RTP timestamp.
    pub rtp_timestamp: u32,
    /// RTP packets sent so far.
    pub packets: u32,
    /// Payload octets sent so far.
    pub octets: u32,
}

impl SenderInfo {
    /// The middle 32 bits of the NTP time, in units of 1/65536 s: what a receiver of this report
    /// sends back as [`ReportBlock::last_sr`].
    #[must_use]
    pub fn ntp_middle(&self) -> u32 {
        (self.ntp >> 16) as u32
    }
}

/// RR: how its sender receives others.
#[derive(Clone, Copy)]
pub struct ReceiverReport<'a> {
    /// Its sender.
    pub ssrc: Ssrc,
    blocks: &'a [[u8; REPORT_BLOCK]],
}

/// Reception of one source since the last report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReportBlock {
    /// The source that is reported on.
    pub ssrc: Ssrc,
    /// Packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning, 24 bits signed: negative when duplicates outnumber losses.
    pub cumulative_lost: i32,
    /// Highest sequence number received, extended by its count of wraps in the upper 16 bits.
    pub highest_seq: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last SR, 0 when none was received.
    pub last_sr: u32,
    /// Delay since that SR in units of 1/65536 s.
    pub delay_since_last_sr: u32,
}

impl<'a> SenderReport<'a> {
    /// Report blocks, at most 31.
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        self.blocks.iter().map(read_block)
    }

    pub(super) fn read(count: u8, body: &'a [u8]) -> Result<Self, Malformed> {
        let (ssrc, rest) = split_ssrc(body)?;
        let (info, rest) = rest.split_first_chunk::<20>().ok_or(Malformed::Length)?;
        let (ntp, words) = info.split_first_chunk().ok_or(Malformed::Length)?;
        let [rtp_timestamp, packets, octets] = read_words(words);
        let info = SenderInfo { ntp: u64::from_be_bytes(*ntp), rtp_timestamp, packets, octets };
        Ok(Self { ssrc, info, blocks: split_blocks(count, rest)? })
    }
}

impl<'a> ReceiverReport<'a> {
    /// Report blocks, at most 31.
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        self.blocks.iter().map(read_block)
    }

    pub(super) fn read(count: u8, body: &'a [u8]) -> Result<Self, Malformed> {
        let (ssrc, rest) = split_ssrc(body)?;
        Ok(Self { ssrc, blocks: split_blocks(count, rest)? })
    }
}

/// The blocks; what follows them is a profile-specific extension and is left alone.
fn split_blocks(count: u8, bytes: &[u8]) -> Result<&[[u8; REPORT_BLOCK]], Malformed> {
    let octets = REPORT_BLOCK * usize::from(count);
    Ok(bytes.get(..octets).ok_or(Malformed::Count)?.as_chunks().0)
}

fn read_block(block: &[u8; REPORT_BLOCK]) -> ReportBlock {
    let [ssrc, lost, highest_seq, jitter, last_sr, delay_since_last_sr] = read_words(block);
    let [fraction_lost, ..] = lost.to_be_bytes();
    ReportBlock {
        ssrc: Ssrc(ssrc),
        fraction_lost,
        // Shifted up and back down so that bit 23 becomes the sign.
        cumulative_lost: (lost << 8).cast_signed() >> 8,
        highest_seq,
        jitter,
        last_sr,
        delay_since_last_sr,
    }
}

fn read_words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = bytes.as_chunks().0.iter().map(|word| u32::from_be_bytes(*word));
    core::array::from_fn(|_| words.next().unwrap_or_default())
}

const REPORT_BLOCK: usize = 24;
