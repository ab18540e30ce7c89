//! What came back, judged packet by packet. Pure: frames and times in, counts out.

use std::collections::HashMap;
use std::net::SocketAddrV4;

use hdrhistogram::Histogram;
use rtp::packet::RTP_HEADER_MIN;
use rtp::srtp::{Suite, Unprotect};
use serde::{Deserialize, Serialize};

use super::frame;
use super::packet::{self, RTP_MAX, Shape};
use super::script::Flow;
use crate::fault::Fault;

/// Judges the packets of one run.
pub struct Verifier {
    shape: Shape,
    flows: Vec<Expected>,
    by_address: HashMap<SocketAddrV4, u32>,
    /// One bit for each ordinal: it has come.
    seen: Vec<u64>,
    window: std::ops::Range<usize>,
    counts: Counts,
    delays: Histogram<u64>,
}

struct Expected {
    arrives_from: Option<SocketAddrV4>,
    tag: usize,
    secure: bool,
    /// On sampled flows of a secure leg.
    unprotect: Option<Unprotect>,
    sampled: bool,
    /// One more than the highest number seen.
    next: u32,
}

/// Packets of the measured window, and what was wrong with any.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Distinct packets of the window that came back.
    pub delivered: u64,
    pub duplicates: u64,
    /// Came after a later one of its flow.
    pub reordered: u64,
    /// SSRC of another flow, or not from the device's address of that leg.
    pub misdelivered: u64,
    /// Header, length or payload not as it should be.
    pub corrupted: u64,
    /// On a secure leg: the tag is wrong for the key that was agreed on.
    pub unauthentic: u64,
    /// Packets whose whole payload was compared; on secure legs after decryption.
    pub checked: u64,
    /// Datagrams of the device to nobody we know, RTCP among them.
    pub strangers: u64,
}

/// Delay from the generator's send call to the sink's kernel, in microseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Delay {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Verifier {
    /// `window` are the ordinals that count; `fixed_source` says that a leg keeps its address.
    ///
    /// # Errors
    /// A key that does not fit its suite.
    pub fn new(
        flows: &[Flow],
        shape: Shape,
        packets: usize,
        window: std::ops::Range<usize>,
        fixed_source: bool,
    ) -> Result<Verifier, Fault> {
        let mut expected = Vec::new();
        for (index, flow) in flows.iter().enumerate() {
            let sampled = index % SAMPLED == 0;
            let unfit = || Fault::new("the device's key does not fit its suite", "");
            let master = flow.receives.as_ref().filter(|_| sampled).map(|key| key.master());
            let master = master.map(|master| master.ok_or_else(unfit)).transpose()?;
            expected.push(Expected {
                arrives_from: fixed_source.then_some(flow.arrives_from),
                tag: flow.receives.as_ref().map_or(0, |key| key.suite().rtp_tag_len()),
                secure: flow.receives.is_some(),
                unprotect: master.map(|master| Unprotect::new(&master)),
                sampled,
                next: 0,
            });
        }
        let addresses = flows.iter().zip(0..).map(|(flow, index)| (flow.arrives_at, index));
        let failed = |error| Fault::new(format!("delay histogram: {error}"), "");
        Ok(Verifier {
            shape,
            flows: expected,
            by_address: addresses.collect(),
            seen: vec![0; packets.div_ceil(64)],
            window,
            counts: Counts::default(),
            delays: Histogram::new_with_bounds(1, DELAY_MAX_NS, 3).map_err(failed)?,
        })
    }

    /// Judges one frame that the kernel saw at `at_ns`. `sent_at` gives the time of sending of an
    /// ordinal, 0 when it was never sent.
    pub fn take(&mut self, frame: &[u8], at_ns: u64, sent_at: impl Fn(usize) -> u64) {
        let Some(datagram) = frame::parse(frame) else { return };
        let Some(index) = self.by_address.get(&datagram.to).copied() else {
            self.counts.strangers += 1;
            return;
        };
        let flows = self.flows.len();
        let Some(flow) = self.flows.get_mut(index as usize) else { return };
        let Some(header) = datagram.payload.first_chunk::<RTP_HEADER_MIN>() else {
            self.counts.corrupted += 1;
            return;
        };
        let [_, _, s_hi, s_lo, _, _, _, _, a, b, c, d] = *header;
        let from_elsewhere = flow.arrives_from.is_some_and(|from| from != datagram.from);
        if u32::from_be_bytes([a, b, c, d]) != packet::ssrc(index) || from_elsewhere {
            self.counts.misdelivered += 1;
            return;
        }
        let number = packet::number(u16::from_be_bytes([s_hi, s_lo]), flow.next);
        let ordinal = number.map(|number| number as usize * flows + index as usize);
        let (Some(number), Some(n)) = (number, ordinal) else {
            self.counts.corrupted += 1;
            return;
        };
        let sent = sent_at(n);
        let Some(word) = self.seen.get_mut(n / 64).filter(|_| sent != 0) else {
            self.counts.corrupted += 1;
            return;
        };
        if *word >> (n % 64) & 1 == 1 {
            self.counts.duplicates += 1;
            return;
        }
        match check(flow, self.shape, index, number, datagram.payload) {
            Checked::Right { whole } => self.counts.checked += u64::from(whole),
            Checked::Corrupted => {
                self.counts.corrupted += 1;
                return;
            }
            Checked::Unauthentic => {
                self.counts.unauthentic += 1;
                return;
            }
        }
        *word |= 1 << (n % 64);
        self.counts.reordered += u64::from(number < flow.next);
        flow.next = flow.next.max(number + 1);
        if self.window.contains(&n) {
            self.counts.delivered += 1;
            self.delays.saturating_record(at_ns.saturating_sub(sent).max(1));
        }
    }

    /// The window's counts.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The window's delays.
    pub fn delay(&self) -> Delay {
        let us = |quantile| self.delays.value_at_quantile(quantile) as f64 / 1_000.0;
        let max = self.delays.max() as f64 / 1_000.0;
        Delay { p50: us(0.5), p90: us(0.9), p99: us(0.99), p999: us(0.999), max }
    }

    /// Delay in microseconds at each of `quantiles`, for a figure.
    pub fn delay_curve(&self, quantiles: &[f64]) -> Vec<(f64, f64)> {
        let us = |q: &f64| (*q, self.delays.value_at_quantile(*q) as f64 / 1_000.0);
        quantiles.iter().map(us).collect()
    }
}

enum Checked {
    /// `whole`: every octet was compared.
    Right {
        whole: bool,
    },
    Corrupted,
    Unauthentic,
}

/// Compares a packet with what the flow's far end sent.
fn check(flow: &mut Expected, shape: Shape, index: u32, number: u32, got: &[u8]) -> Checked {
    let mut expected = [0; RTP_MAX];
    if !flow.sampled {
        return if got.len() == RTP_HEADER_MIN + shape.voice + flow.tag || shape.events {
            Checked::Right { whole: false }
        } else {
            Checked::Corrupted
        };
    }
    let len = packet::write(shape, index, number, &mut expected);
    let expected = expected.get(..len).unwrap_or_default();
    let same = |right| if right { Checked::Right { whole: true } } else { Checked::Corrupted };
    let Some(unprotect) = flow.unprotect.as_mut().filter(|_| flow.secure) else {
        return same(got == expected);
    };
    let mut buffer = [0; RTP_MAX + Suite::OVERHEAD_MAX];
    let Some(place) = buffer.get_mut(..got.len()) else { return Checked::Corrupted };
    place.copy_from_slice(got);
    match unprotect.rtp(place) {
        Ok(authentic) => same(authentic.bytes() == expected),
        Err(_) => Checked::Unauthentic,
    }
}

/// One flow in this many is compared octet by octet, on secure legs after decryption.
const SAMPLED: usize = 16;
/// Longer delays count as this long.
const DELAY_MAX_NS: u64 = 10_000_000_000;

#[cfg(test)]
mod tests;
