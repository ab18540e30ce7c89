//! A worker's histograms: how much delay it adds, and how many packets one wake-up moves.
//!
//! Buckets are log-linear: four to each power of two, so that a value is known within 25 %.
//!
//! ```text
//! index   0 1 2 3 4 5 6 7 8  9  10 11 12 ...
//! up to   0 1 2 3 4 5 6 7 9 11 13 15 19 ...   (inclusive; the last bucket takes the rest)
//! ```

use std::cell::Cell;

use crate::memory::{Words, sync::Ordering};

/// Which histogram of a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Histogram {
    /// From the kernel's receive time to the hand-over for sending, in microseconds, of packets of
    /// sampled flows.
    AddedDelayUs,
    /// Packets that one round of the worker moved; rounds without packets do not count.
    PacketsPerWakeup,
}

impl Histogram {
    /// Both, in the order of the region.
    pub const ALL: [Self; 2] = [Self::AddedDelayUs, Self::PacketsPerWakeup];

    /// Name as in the exporter, without prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AddedDelayUs => "added_delay_microseconds",
            Self::PacketsPerWakeup => "packets_per_wakeup",
        }
    }

    const fn start(self) -> usize {
        match self {
            Self::AddedDelayUs => 0,
            Self::PacketsPerWakeup => BUCKETS,
        }
    }
}

/// The bucket that counts `value`.
#[must_use]
pub fn bucket(value: u64) -> usize {
    if value < 4 {
        return value as usize;
    }
    let power = value.ilog2() as usize;
    let quarter = (value >> (power - 2)) as usize & 3;
    (4 * (power - 1) + quarter).min(BUCKETS - 1)
}

/// The largest value that bucket `index` counts; the last bucket has none.
#[must_use]
pub fn upper_bound(index: usize) -> Option<u64> {
    match index {
        0..4 => Some(index as u64),
        _ if index + 1 >= BUCKETS => None,
        _ => {
            let (power, quarter) = (index / 4 + 1, index % 4);
            Some(((5 + quarter as u64) << (power - 2)) - 1)
        }
    }
}

/// The host's side: the only writer.
pub struct HistogramWriter {
    shared: Words,
    /// The truth; the shared words are copies that a guest may ruin for itself.
    private: Vec<Cell<u64>>,
}

impl HistogramWriter {
    pub(crate) fn new(shared: Words) -> Self {
        Self { shared, private: vec![Cell::new(0); HISTOGRAM_WORDS] }
    }

    /// Counts one value: one private addition and one plain store.
    pub fn note(&self, histogram: Histogram, value: u64) {
        let word = histogram.start() + bucket(value);
        if let (Some(private), Some(shared)) = (self.private.get(word), self.shared.get(word)) {
            private.set(private.get().wrapping_add(1));
            shared.store(private.get(), Ordering::Relaxed);
        }
    }

    /// Writes every bucket again from the private copy.
    pub fn restore(&self) {
        for (private, shared) in self.private.iter().zip(self.shared.iter()) {
            shared.store(private.get(), Ordering::Relaxed);
        }
    }
}

/// The guest's side. Cheap to clone, may be shared between threads.
#[derive(Clone)]
pub struct HistogramReader {
    shared: Words,
}

impl HistogramReader {
    pub(crate) fn new(shared: Words) -> Self {
        Self { shared }
    }

    /// The counts now, by bucket.
    #[must_use]
    pub fn counts(&self, histogram: Histogram) -> [u64; BUCKETS] {
        let mut counts = [0; BUCKETS];
        let words = self.shared.iter().skip(histogram.start());
        for (count, word) in counts.iter_mut().zip(words) {
            *count = word.load(Ordering::Relaxed);
        }
        counts
    }
}

/// The value below or at which `share` (0 to 1) of `counts` lies: a bucket's upper bound, `None`
/// when nothing was counted or the last bucket is reached.
#[must_use]
pub fn quantile(counts: &[u64; BUCKETS], share: f64) -> Option<u64> {
    let total: u64 = counts.iter().fold(0, |sum, count| sum.wrapping_add(*count));
    let rank = (total as f64 * share).ceil().max(1.0);
    let mut sum = 0_u64;
    let place = counts.iter().position(|count| {
        sum = sum.wrapping_add(*count);
        sum as f64 >= rank
    });
    if total == 0 { None } else { upper_bound(place?) }
}

/// Buckets of one histogram: values up to 2^21, two seconds in microseconds.
pub const BUCKETS: usize = 80;
pub(crate) const HISTOGRAM_WORDS: usize = BUCKETS * Histogram::ALL.len();

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_ends_where_the_next_begins() {
        for index in 0..BUCKETS - 1 {
            let bound = upper_bound(index).unwrap();
            assert_eq!((bucket(bound), bucket(bound + 1)), (index, index + 1), "{bound}");
        }
        assert_eq!(upper_bound(BUCKETS - 1), None);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert!((1_800_000..2_200_000).contains(&upper_bound(BUCKETS - 2).unwrap()));
    }

    #[test]
    fn a_bucket_is_narrower_than_a_quarter_of_its_values() {
        for index in 4..BUCKETS - 1 {
            let (low, high) = (upper_bound(index - 1).unwrap() + 1, upper_bound(index).unwrap());
            assert!(high - low <= low / 4, "{low}..{high}");
        }
    }

    #[test]
    fn both_histograms_are_apart_and_the_private_copy_is_the_truth() {
        let words = Words::heap(HISTOGRAM_WORDS);
        let (writer, reader) =
            (HistogramWriter::new(words.clone()), HistogramReader::new(words.clone()));
        for value in 1..=100 {
            writer.note(Histogram::AddedDelayUs, value);
        }
        writer.note(Histogram::PacketsPerWakeup, 7);
        words.iter().for_each(|word| word.store(9, Ordering::Relaxed));
        writer.restore();
        let delays = reader.counts(Histogram::AddedDelayUs);
        assert_eq!(delays.iter().sum::<u64>(), 100);
        assert_eq!(quantile(&delays, 0.5), Some(55));
        assert_eq!(quantile(&delays, 1.0), Some(111));
        let packets = reader.counts(Histogram::PacketsPerWakeup);
        assert_eq!((packets.iter().sum::<u64>(), packets[bucket(7)]), (1, 1));
        assert_eq!(quantile(&[0; BUCKETS], 0.5), None);
    }
}
