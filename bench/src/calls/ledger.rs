//! What is noted of each call, and the sum of it.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Outcome;

/// One call. Each time is noted once; the later of two copies of a message does not count.
#[derive(Clone, Default, Debug)]
pub struct Record {
    pub late: Duration,
    pub sent: Option<Instant>,
    pub seen: Option<Instant>,
    pub said: Option<Instant>,
    pub heard: Option<Instant>,
    pub clean: bool,
    /// The first thing that went wrong, at either side.
    pub failure: Option<String>,
}

/// The calls of one step; both peers write into it.
#[derive(Default)]
pub struct Ledger(RefCell<(u32, Vec<Record>)>);

impl Ledger {
    /// Forgets the last step; calls `first` and up are noted from here on.
    pub fn begin(&self, first: u32, calls: u32) {
        *self.0.borrow_mut() = (first, vec![Record::default(); calls as usize]);
    }

    /// Notes something of a call; stragglers of an earlier step are passed over.
    pub fn note(&self, call: u32, note: impl FnOnce(&mut Record)) {
        let (first, records) = &mut *self.0.borrow_mut();
        if let Some(record) = records.get_mut(call.wrapping_sub(*first) as usize) {
            note(record);
        }
    }

    pub fn fail(&self, call: u32, cause: String) {
        self.note(call, |record| {
            record.failure.get_or_insert(cause);
        });
    }

    pub fn outcome(&self) -> Outcome {
        let records = &self.0.borrow().1;
        let between = |from: fn(&Record) -> Option<Instant>, to: fn(&Record) -> Option<Instant>| {
            let delay =
                |record: &Record| Some(to(record)?.saturating_duration_since(from(record)?));
            Percentiles::of(records.iter().filter_map(delay))
        };
        let mut outcome = Outcome {
            invite: between(|record| record.sent, |record| record.seen),
            answer: between(|record| record.said, |record| record.heard),
            setup: between(|record| record.sent, |record| record.heard),
            ..Outcome::default()
        };
        for record in records {
            outcome.offered += u32::from(record.sent.is_some() || record.failure.is_some());
            outcome.answered += u32::from(record.heard.is_some());
            outcome.clean += u32::from(record.clean && record.failure.is_none());
            outcome.late_max_us = outcome.late_max_us.max(micros(record.late));
            if let Some(cause) = &record.failure {
                *outcome.failures.entry(cause.clone()).or_insert(0) += 1;
            }
        }
        outcome
    }
}

/// Exact percentiles, microseconds.
#[derive(Clone, Copy, Default, PartialEq, Debug, Serialize)]
pub struct Percentiles {
    pub count: usize,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

impl Percentiles {
    /// Of no values: zeros.
    pub fn of(delays: impl Iterator<Item = Duration>) -> Percentiles {
        let mut sorted: Vec<f64> = delays.map(micros).collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * sorted.len() as f64).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        Percentiles { count: sorted.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1.0) }
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let delays = (1..=100).rev().map(Duration::from_micros);
        let of = Percentiles::of(delays);
        assert_eq!((of.count, of.p50, of.p90), (100, 50.0, 90.0));
        assert_eq!((of.p99.round(), of.max.round()), (99.0, 100.0));
        assert_eq!(Percentiles::of(std::iter::empty()), Percentiles::default());
    }

    #[test]
    fn a_call_counts_once_under_its_first_failure() {
        let ledger = Ledger::default();
        ledger.begin(7, 2);
        let now = Instant::now();
        for call in [6, 7, 8, 9] {
            ledger.note(call, |record| record.sent = Some(now));
        }
        ledger.note(7, |record| {
            record.seen = Some(now + Duration::from_micros(300));
            (record.heard, record.clean) = (Some(now), true);
        });
        ledger.fail(8, "INVITE 503".into());
        ledger.fail(8, "later".into());
        let outcome = ledger.outcome();
        assert_eq!((outcome.offered, outcome.answered, outcome.clean), (2, 1, 1));
        assert_eq!(outcome.failures, [("INVITE 503".to_owned(), 1)].into());
        assert_eq!((outcome.invite.count, outcome.invite.p50), (1, 300.0));
    }
}
