//! What a run found out.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::media::{LegCounts, Way};

/// The result of a run. [`Report::passed`] says whether every promise held.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Calls that were to be placed.
    pub calls: u32,
    /// Calls whose caller got a 200 and whose callee got the ACK.
    pub answered: u32,
    /// Calls that were answered, carried all their packets both ways and ended with an answered BYE
    /// on both legs.
    pub ended_cleanly: u32,
    /// Calls that did not, each with its cause.
    pub failed: Vec<Failure>,
    pub insecure_to_secure: Direction,
    pub secure_to_insecure: Direction,
    /// Of all packets.
    pub added_delay: Delay,
    /// Packets on the media ports of the PBX that anyone on the path could have read; must be 0.
    pub plain_rtp_on_secure: u64,
    /// Packets on the media ports of the PBX that neither authenticate nor are plain.
    pub srtp_auth_failures: u64,
    /// Calls by SRTP suite, as `a=crypto` names it.
    pub suites: BTreeMap<String, u32>,
    /// Messages and connections that the peers could not make sense of; empty in a good run.
    pub signalling_faults: Vec<String>,
}

/// A call that failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Failure {
    /// Number of the call within the run, from 0; even calls go from the provider to the PBX.
    pub call: u32,
    pub cause: String,
}

/// The packets of all calls in one direction.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Direction {
    pub rtp_sent: u64,
    /// Distinct intact packets.
    pub rtp_received: u64,
    /// Sent and not received.
    pub lost: u64,
    pub duplicates: u64,
    /// Received after one that was sent later.
    pub reordered: u64,
    /// Payload, payload type, or the step of sequence number and timestamp was not as sent.
    pub corrupted: u64,
    /// Intact packets that came out of another call or the other direction.
    pub misdelivered: u64,
    /// Calls in which the sender's tone was heard at the other end.
    pub tones_heard: u32,
    pub added_delay: Delay,
}

/// From the sender's `sendto` to the arrival at the receiver's socket: what the gateway adds, and
/// twice the loopback.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Delay {
    pub packets: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

impl Report {
    /// Whether every call, every packet and every secrecy check held.
    pub fn passed(&self) -> bool {
        let directions = [&self.insecure_to_secure, &self.secure_to_insecure];
        self.answered == self.calls
            && self.ended_cleanly == self.calls
            && self.failed.is_empty()
            && self.plain_rtp_on_secure == 0
            && self.srtp_auth_failures == 0
            && self.signalling_faults.is_empty()
            && directions
                .iter()
                .all(|direction| direction.is_perfect() && direction.tones_heard == self.calls)
    }

    /// Packets sent, both directions summed, like the six counts below.
    pub fn rtp_sent(&self) -> u64 {
        self.sum(|direction| direction.rtp_sent)
    }

    pub fn rtp_received(&self) -> u64 {
        self.sum(|direction| direction.rtp_received)
    }

    pub fn lost(&self) -> u64 {
        self.sum(|direction| direction.lost)
    }

    pub fn duplicates(&self) -> u64 {
        self.sum(|direction| direction.duplicates)
    }

    pub fn reordered(&self) -> u64 {
        self.sum(|direction| direction.reordered)
    }

    pub fn corrupted(&self) -> u64 {
        self.sum(|direction| direction.corrupted)
    }

    pub fn misdelivered(&self) -> u64 {
        self.sum(|direction| direction.misdelivered)
    }

    fn sum(&self, count: fn(&Direction) -> u64) -> u64 {
        count(&self.insecure_to_secure) + count(&self.secure_to_insecure)
    }

    pub(crate) fn direction_mut(&mut self, way: Way) -> &mut Direction {
        match way {
            Way::InsecureToSecure => &mut self.insecure_to_secure,
            Way::SecureToInsecure => &mut self.secure_to_insecure,
        }
    }

    /// Adds the counts of one leg, whose own packets go `sends`.
    pub(crate) fn add_leg(&mut self, sends: Way, counts: &LegCounts) {
        self.direction_mut(sends).rtp_sent += counts.sent;
        let direction = self.direction_mut(sends.opposite());
        direction.rtp_received += counts.received;
        direction.duplicates += counts.duplicates;
        direction.reordered += counts.reordered;
        direction.corrupted += counts.corrupted;
        direction.misdelivered += counts.misdelivered;
        direction.tones_heard += u32::from(counts.tone_heard);
        self.plain_rtp_on_secure += counts.plain;
        self.srtp_auth_failures += counts.auth_failures;
    }
}

impl Direction {
    /// Every packet arrived once, in order and intact.
    pub fn is_perfect(&self) -> bool {
        let faults =
            self.lost + self.duplicates + self.reordered + self.corrupted + self.misdelivered;
        faults == 0 && self.rtp_received == self.rtp_sent
    }
}

impl Delay {
    pub(crate) fn of(nanoseconds: &Histogram<u64>) -> Delay {
        let us = |value: u64| value as f64 / 1000.0;
        Delay {
            packets: nanoseconds.len(),
            p50_us: us(nanoseconds.value_at_quantile(0.5)),
            p99_us: us(nanoseconds.value_at_quantile(0.99)),
            max_us: us(nanoseconds.max()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {}: {}", self.call, self.cause)
    }
}
