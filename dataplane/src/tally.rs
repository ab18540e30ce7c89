//! The worker's own counts, exact and unshared; housekeeping copies them into the region.
//!
//! A packet that was handed to the kernel counts as relayed at once and is taken back if the kernel
//! refuses it. So that an exported counter never falls, the copy keeps the larger value.

use abi::{Counter, CounterWriter};

use crate::io::Sent;
use crate::verdict::Verdict;

/// Counts since the worker started.
pub struct Tally {
    values: Vec<u64>,
    published: Vec<u64>,
}

impl Tally {
    pub fn new() -> Tally {
        Tally { values: vec![0; Counter::ALL.len()], published: vec![0; Counter::ALL.len()] }
    }

    pub fn get(&self, counter: Counter) -> u64 {
        self.values.get(counter as usize).copied().unwrap_or(0)
    }

    pub fn add(&mut self, counter: Counter, count: u64) {
        if let Some(value) = self.values.get_mut(counter as usize) {
            *value += count;
        }
    }

    pub fn set(&mut self, counter: Counter, level: u64) {
        if let Some(value) = self.values.get_mut(counter as usize) {
            *value = level;
        }
    }

    pub fn count(&mut self, verdict: Verdict) {
        self.add(verdict.counter(), 1);
    }

    pub fn received(&mut self, len: usize) {
        self.add(Counter::RxPackets, 1);
        self.add(Counter::RxBytes, len as u64);
    }

    pub fn sent(&mut self, len: usize) {
        self.add(Counter::TxPackets, 1);
        self.add(Counter::TxBytes, len as u64);
    }

    /// One packet that counted as relayed, or as said by ourselves, was not sent.
    pub fn send_failed(&mut self, sent: Sent) {
        let (counted, failed) = match sent {
            Sent::Relayed(kind) => {
                (Verdict::relayed(kind).counter(), Verdict::SendFailed.counter())
            }
            // It was never received, so it has no verdict.
            Sent::Own => (Counter::SaidPackets, Counter::SaidFailed),
        };
        for counter in [counted, Counter::TxPackets] {
            if let Some(value) = self.values.get_mut(counter as usize) {
                *value = value.saturating_sub(1);
            }
        }
        self.add(failed, 1);
    }

    /// Copies the counts into the region.
    pub fn publish(&mut self, region: &CounterWriter) {
        for (counter, (value, published)) in
            Counter::ALL.iter().zip(self.values.iter().zip(&mut self.published))
        {
            let level =
                matches!(counter, Counter::FlowsOpen | Counter::PortsOpen | Counter::PairsOwned);
            let next = if level { *value } else { (*value).max(*published) };
            if next != *published {
                *published = next;
                region.set(*counter, next);
            }
        }
    }
}

impl Default for Tally {
    fn default() -> Tally {
        Tally::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Kind;

    #[test]
    fn every_verdict_has_its_own_counter() {
        let mut tally = Tally::new();
        for verdict in Verdict::ALL {
            tally.count(verdict);
        }
        for verdict in Verdict::ALL {
            assert_eq!(tally.get(verdict.counter()), 1, "{verdict:?}");
        }
    }

    #[test]
    fn a_failed_send_moves_one_packet_between_verdicts() {
        for kind in [Kind::Rtp, Kind::Rtcp, Kind::Udptl] {
            let mut tally = Tally::new();
            tally.sent(172);
            tally.count(Verdict::relayed(kind));
            tally.send_failed(Sent::Relayed(kind));
            assert_eq!(tally.get(Verdict::relayed(kind).counter()), 0);
            assert_eq!(tally.get(Counter::DropSendFailed), 1);
            assert_eq!(tally.get(Counter::TxPackets), 0);
        }
        let mut tally = Tally::new();
        tally.sent(172);
        tally.add(Counter::SaidPackets, 1);
        tally.send_failed(Sent::Own);
        assert_eq!((tally.get(Counter::SaidPackets), tally.get(Counter::SaidFailed)), (0, 1));
        assert_eq!((tally.get(Counter::TxPackets), tally.get(Counter::DropSendFailed)), (0, 0));
    }
}
