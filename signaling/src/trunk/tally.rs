//! What became of each trunk's attempts: counts since the start and over the last 24 hours, for
//! metrics and lists. Pure; one fixed amount of memory for a trunk.
//!
//! ASR, ACD and NER are those of ITU-T E.411 and E.425, as SIP sees them (RFC 6076): answered attempts
//! of all; their mean length; attempts that the network did its part for of all, which are the answered
//! ones and those that the called party ended or left unanswered.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::TrunkId;
use crate::admission::Bound;

/// One trunk's attempts in one direction.
#[derive(Clone, Default, Debug)]
pub struct Tally {
    total: Counts,
    hours: [Hour; HOURS],
    codes: BTreeMap<u16, u64>,
    delays: Delays,
}

/// All trunks.
#[derive(Default, Debug)]
pub struct Tallies(HashMap<TrunkId, [Tally; 2]>);

impl Tallies {
    /// Counts an attempt that is over, on the trunk that it came from or went to.
    pub fn count(&mut self, trunk: TrunkId, bound: Bound, now: Timestamp, outcome: &Outcome) {
        let [inbound, outbound] = self.0.entry(trunk).or_default();
        let tally = if bound == Bound::In { inbound } else { outbound };
        tally.count(now, outcome);
    }

    /// What became of attempts from and to the trunk.
    pub fn report(&self, trunk: TrunkId, now: Timestamp) -> Option<[Report; 2]> {
        self.0.get(&trunk).map(|both| both.each_ref().map(|tally| tally.report(now)))
    }

    /// Forgets trunks that are gone.
    pub fn retain(&mut self, is_known: impl Fn(TrunkId) -> bool) {
        self.0.retain(|id, _| is_known(*id));
    }
}

/// Plain sums.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Debug)]
pub struct Counts {
    /// Attempts that are over.
    pub attempts: u64,
    /// Answered ones.
    pub answered: u64,
    /// Answered ones, and those that the called party refused or let ring.
    pub effective: u64,
    /// Their conversations, together.
    pub talk_seconds: u64,
}

#[derive(Clone, Copy, Default, Debug)]
struct Hour {
    number: i64,
    counts: Counts,
}

/// Post-dial delays: from the INVITE to the first ringing, or to the answer.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Debug)]
pub struct Delays {
    /// As many as were at most [`DELAY_BOUNDS_MS`] of the same place, and not less than the one
    /// before; the last is without bound.
    pub counts: [u64; DELAY_BOUNDS_MS.len() + 1],
    pub sum_ms: u64,
}

/// How one attempt went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Final status toward the caller.
    pub code: u16,
    /// Length of the conversation, if there was one.
    pub talked: Option<Duration>,
    /// From the INVITE to ringing or answer.
    pub delay: Option<Duration>,
}

/// What a tally says.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Report {
    pub total: Counts,
    pub day: Counts,
    /// Of the last 24 hours: answer seizure ratio, 0 to 1; `None` without an attempt.
    pub asr: Option<f64>,
    /// Network effectiveness ratio, the same way.
    pub ner: Option<f64>,
    /// Average call duration in seconds.
    pub acd: Option<f64>,
    /// Final statuses since the start.
    pub codes: BTreeMap<u16, u64>,
    pub delays: Delays,
}

impl Report {
    /// What two shards counted, as one.
    pub fn add(&mut self, more: &Self) {
        self.total.add(&more.total);
        let mut day = self.day;
        day.add(&more.day);
        let mut codes = std::mem::take(&mut self.codes);
        for (code, count) in &more.codes {
            *codes.entry(*code).or_default() += count;
        }
        let mut delays = self.delays;
        delays.add(&more.delays);
        *self = Self::of(self.total, day, codes, delays);
    }

    fn of(total: Counts, day: Counts, codes: BTreeMap<u16, u64>, delays: Delays) -> Self {
        let ratio = |part: u64, of: u64| (of > 0).then(|| part as f64 / of as f64);
        Self {
            total,
            day,
            asr: ratio(day.answered, day.attempts),
            ner: ratio(day.effective, day.attempts),
            acd: ratio(day.talk_seconds, day.answered),
            codes,
            delays,
        }
    }
}

impl Tally {
    /// Counts an attempt that is over.
    pub fn count(&mut self, now: Timestamp, outcome: &Outcome) {
        let one = Counts {
            attempts: 1,
            answered: outcome.talked.is_some().into(),
            effective: (outcome.talked.is_some() || EFFECTIVE.contains(&outcome.code)).into(),
            talk_seconds: outcome.talked.unwrap_or_default().as_secs(),
        };
        self.total.add(&one);
        let number = hour(now);
        if let Some(slot) = self.hours.get_mut(slot(number)) {
            if slot.number != number {
                *slot = Hour { number, counts: Counts::default() };
            }
            slot.counts.add(&one);
        }
        // Peers' codes are within three digits, so the table stays small.
        *self.codes.entry(outcome.code.min(999)).or_default() += 1;
        if let Some(delay) = outcome.delay {
            self.delays.count(delay);
        }
    }

    /// What it says at `now`.
    pub fn report(&self, now: Timestamp) -> Report {
        let oldest = hour(now) - HOURS as i64;
        let mut day = Counts::default();
        for hour in self.hours.iter().filter(|hour| hour.number > oldest) {
            day.add(&hour.counts);
        }
        Report::of(self.total, day, self.codes.clone(), self.delays)
    }
}

impl Counts {
    fn add(&mut self, more: &Self) {
        self.attempts += more.attempts;
        self.answered += more.answered;
        self.effective += more.effective;
        self.talk_seconds += more.talk_seconds;
    }
}

impl Delays {
    fn add(&mut self, more: &Self) {
        for (count, more) in self.counts.iter_mut().zip(more.counts) {
            *count += more;
        }
        self.sum_ms = self.sum_ms.saturating_add(more.sum_ms);
    }

    fn count(&mut self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let place = DELAY_BOUNDS_MS.partition_point(|bound| *bound < millis);
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.sum_ms = self.sum_ms.saturating_add(millis);
    }
}

fn hour(at: Timestamp) -> i64 {
    at.as_second().div_euclid(3_600)
}

fn slot(number: i64) -> usize {
    usize::try_from(number.rem_euclid(HOURS as i64)).unwrap_or_default()
}

/// Hours that are kept one by one.
const HOURS: usize = 24;
/// Upper bounds of the post-dial delays that are counted together.
pub const DELAY_BOUNDS_MS: [u64; 10] =
    [100, 250, 500, 1_000, 2_000, 3_000, 5_000, 8_000, 12_000, 20_000];
/// Failures that are the called party's, or the caller's patience: busy, no answer, number that is
/// not there, hung up while it rang, declined.
const EFFECTIVE: [u16; 8] = [404, 410, 480, 484, 486, 487, 600, 603];

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 / 3_600 * 3_600 + hours * 3_600).unwrap()
    }

    fn talked(seconds: u64) -> Outcome {
        let delay = Some(Duration::from_millis(240));
        Outcome { code: 200, talked: Some(Duration::from_secs(seconds)), delay }
    }

    fn failed(code: u16) -> Outcome {
        Outcome { code, talked: None, delay: None }
    }

    #[test]
    fn ratios_are_those_of_a_day() {
        let mut tally = Tally::default();
        tally.count(at(0), &talked(60));
        tally.count(at(1), &talked(120));
        tally.count(at(1), &failed(486));
        tally.count(at(2), &failed(503));
        let report = tally.report(at(2));
        assert_eq!((report.asr, report.ner, report.acd), (Some(0.5), Some(0.75), Some(90.0)));
        assert_eq!(report.codes, BTreeMap::from([(200, 2), (486, 1), (503, 1)]));
        let report = tally.report(at(24));
        assert_eq!((report.day.attempts, report.total.attempts), (3, 4), "the first hour is over");
        tally.count(at(25), &failed(404));
        let report = tally.report(at(25));
        assert_eq!((report.day.attempts, report.day.effective), (2, 1), "its place is taken");
        let report = tally.report(at(100));
        assert_eq!((report.asr, report.acd, report.total.attempts), (None, None, 5));
    }

    #[test]
    fn what_shards_counted_apart_is_what_one_would_have_counted() {
        let (mut all, mut shards) = (Tally::default(), [Tally::default(), Tally::default()]);
        let outcomes = [talked(60), talked(120), failed(486), failed(503), talked(1)];
        for (number, outcome) in outcomes.iter().enumerate() {
            all.count(at(0), outcome);
            shards[number % 2].count(at(0), outcome);
        }
        let [mut sum, more] = shards.map(|shard| shard.report(at(0)));
        sum.add(&more);
        assert_eq!(sum, all.report(at(0)));
        sum.add(&Tally::default().report(at(0)));
        assert_eq!(sum, all.report(at(0)), "who counted nothing adds nothing");
    }

    #[test]
    fn delays_fall_where_they_belong() {
        let mut delays = Delays::default();
        for millis in [0, 100, 101, 20_000, 20_001] {
            delays.count(Duration::from_millis(millis));
        }
        assert_eq!(delays.counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(delays.sum_ms, 40_202);
    }
}
