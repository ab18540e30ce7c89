//! The data plane's workers as metrics: a metric for each row of the table of counters, two
//! histograms, state and core.

use std::fmt;

use abi::{COUNTERS, Metric};
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::{Labels, counter, flag, gauge};
use crate::media::{HistogramReport, WorkerReport};

/// One worker.
#[derive(Debug)]
pub struct Row {
    id: String,
    report: WorkerReport,
}

impl Row {
    /// A worker's row.
    pub fn new(report: WorkerReport) -> Self {
        Self { id: report.id.to_string(), report }
    }

    fn labels(&self) -> Labels<'_> {
        vec![("worker", self.id.as_str())]
    }

    fn value(&self, name: &str) -> u64 {
        self.report.counters.get(name).copied().unwrap_or(0)
    }
}

/// Writes all workers.
pub fn encode(e: &mut DescriptorEncoder<'_>, rows: &[Row]) -> fmt::Result {
    let states = rows.iter().flat_map(|row| {
        STATES.into_iter().map(move |state| {
            let mut labels = row.labels();
            labels.push(("state", state));
            (labels, flag(row.report.state == state))
        })
    });
    let help = "1 for the state that the worker is in, 0 for the others";
    gauge(e, "trunkline_worker_state", help, states)?;
    let cores = rows.iter().map(|row| (row.labels(), row.report.core.map(f64::from)));
    gauge(e, "trunkline_worker_core", "Core that the worker is pinned to", cores)?;
    for meta in COUNTERS {
        let (name, help) = (meta.name, meta.help.trim_end_matches('.'));
        match (meta.metric, name.strip_suffix("_ns")) {
            (Metric::Level, _) => {
                let rows = rows.iter().map(|row| (row.labels(), Some(row.value(name) as f64)));
                gauge(e, &format!("trunkline_worker_{name}"), help, rows)?;
            }
            (Metric::Total, None) => {
                let rows = rows.iter().map(|row| (row.labels(), row.value(name)));
                counter(e, &format!("trunkline_worker_{name}"), help, rows)?;
            }
            (Metric::Total, Some(base)) => {
                let name_of = format!("trunkline_worker_{base}_seconds");
                let mut metric = e.encode_descriptor(&name_of, help, None, MetricType::Counter)?;
                for row in rows {
                    let seconds = row.value(name) as f64 / 1e9;
                    let labels = row.labels();
                    let mut one = metric.encode_family(&labels)?;
                    one.encode_counter::<NoLabelSet, _, u64>(&seconds, None)?;
                }
            }
        }
    }
    let delay = ("added_delay_microseconds", "trunkline_worker_added_delay_seconds", 1e6);
    let help =
        "From receipt to sending, of sampled packets; the sum takes each for its bucket's most";
    histogram(e, delay, help, rows)?;
    let packets = ("packets_per_wakeup", "trunkline_worker_packets_per_wakeup", 1.0);
    let help = "Packets that one wake-up moved; the sum takes each for its bucket's most";
    histogram(e, packets, help, rows)
}

fn histogram(
    e: &mut DescriptorEncoder<'_>,
    (source, name, scale): (&str, &str, f64),
    help: &str,
    rows: &[Row],
) -> fmt::Result {
    let mut metric = e.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for row in rows {
        let Some(found) = row.report.histograms.get(source) else { continue };
        let (sum, buckets) = coarse(found, scale);
        let labels = row.labels();
        let mut one = metric.encode_family(&labels)?;
        one.encode_histogram::<NoLabelSet>(sum, found.count, &buckets, None)?;
    }
    Ok(())
}

/// The sum, at most a quarter too high, and one bucket for each power of two instead of four.
fn coarse(found: &HistogramReport, scale: f64) -> (f64, Vec<(f64, u64)>) {
    let mut sum = 0.0;
    let mut buckets = Vec::with_capacity(found.buckets.len() / 4 + 1);
    for four in found.buckets.chunks(4) {
        for (most, count) in four {
            let value = most.map_or(LAST_FROM, |most| most as f64);
            sum += value * *count as f64;
        }
        let most = four.last().and_then(|(most, _)| *most);
        let bound = most.map_or(f64::INFINITY, |most| most as f64 / scale);
        buckets.push((bound, four.iter().map(|(_, count)| count).sum()));
    }
    (sum / scale, buckets)
}

const STATES: [&str; 5] = ["starting", "running", "draining", "standby", "stopped"];
/// The least value of the last bucket, which has no most.
const LAST_FROM: f64 = (1 << 21) as f64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_buckets_become_one_and_none_is_lost() {
        let counts = (0..abi::histogram::BUCKETS as u64).map(|n| n % 3);
        let bounds = (0..abi::histogram::BUCKETS).map(abi::histogram::upper_bound);
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, n)| n).sum();
        let found = HistogramReport { count, p50: None, p90: None, p99: None, p999: None, buckets };
        let (sum, coarse) = coarse(&found, 1.0);
        assert_eq!(coarse.len(), abi::histogram::BUCKETS / 4);
        assert_eq!(coarse.iter().map(|(_, n)| n).sum::<u64>(), count);
        assert_eq!((coarse[0].0, coarse[1].0, coarse[2].0), (3.0, 7.0, 15.0));
        assert_eq!(coarse.last().unwrap().0, f64::INFINITY);
        let most = found.buckets[1].0.unwrap() as f64;
        assert!(sum >= most, "{sum}");
    }
}
