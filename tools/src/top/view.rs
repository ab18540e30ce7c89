//! What is shown: differences of two samples, as rates, shares and percentiles.

use std::collections::BTreeMap;

use serde::Serialize;

use super::sample::{Call, Histogram, Sample, Trunk, Way, Worker};

/// Everything that is shown.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct View {
    pub calls: u64,
    pub workers: Vec<WorkerView>,
    /// By reason, those that dropped anything since the start; most of the interval first.
    pub drops: Vec<Drop>,
    pub trunks: Vec<TrunkView>,
    /// The calls that sound worst, the worst first.
    pub worst: Vec<CallView>,
}

/// One worker. Rates and shares are absent when it did not publish anew between the looks, or was
/// started between them.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct WorkerView {
    pub id: u32,
    pub state: String,
    pub core: Option<u32>,
    pub flows: u64,
    pub flows_max: u64,
    pub rates: Option<Rates>,
    /// Added delay of sampled packets within the interval, in microseconds.
    pub delay_us: Percentiles,
}

#[derive(Clone, Copy, PartialEq, Serialize, Debug)]
pub struct Rates {
    /// Packets received.
    pub packets_per_second: f64,
    /// Of those wake-ups that brought any.
    pub packets_per_wakeup: Option<f64>,
    pub drops_per_second: f64,
    /// Shares of the time, 0 to 1: asleep, waiting for company, looking without sleeping.
    pub sleep: f64,
    pub gather: f64,
    pub spin: f64,
    /// CPU time, the kernel's work for it included; also that of spinning.
    pub busy: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Debug)]
pub struct Percentiles {
    pub count: u64,
    pub p50: Option<u64>,
    pub p99: Option<u64>,
    pub p999: Option<u64>,
}

#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Drop {
    pub reason: String,
    pub per_second: f64,
    pub total: u64,
}

#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct TrunkView {
    pub name: String,
    pub status: Option<String>,
    pub inbound: u32,
    pub outbound: u32,
    pub max_concurrent_calls: Option<u32>,
}

#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct CallView {
    pub id: String,
    pub state: String,
    pub from_trunk: Option<String>,
    pub to_trunk: Option<String>,
    pub worker: Option<u32>,
    /// What the caller sends, and what the callee sends.
    pub from_caller: WayView,
    pub from_callee: WayView,
}

#[derive(Clone, Copy, PartialEq, Default, Serialize, Debug)]
pub struct WayView {
    pub mos: Option<f64>,
    pub lost: u64,
    pub packets: u64,
    pub jitter_ms: Option<f64>,
}

impl View {
    /// What happened between two looks.
    pub fn between(before: &Sample, now: &Sample) -> View {
        let mut workers = Vec::with_capacity(now.workers.len());
        let mut drops: BTreeMap<&str, (f64, u64)> = BTreeMap::new();
        for worker in &now.workers {
            let earlier = before.workers.iter().find(|earlier| earlier.id == worker.id);
            let span = earlier.and_then(|earlier| Span::of(earlier, worker));
            workers.push(WorkerView::new(worker, span.as_ref()));
            for (name, total) in worker.counters.iter().filter(|(name, _)| is_drop(name)) {
                let (rate, sum) = drops.entry(name).or_default();
                *rate += span.as_ref().map_or(0.0, |span| span.rate(name));
                *sum += total;
            }
        }
        let mut drops: Vec<Drop> = drops
            .into_iter()
            .filter(|(_, (_, total))| *total > 0)
            .map(|(name, (per_second, total))| {
                let reason = name.trim_start_matches(DROP).replace('_', " ");
                Drop { reason, per_second, total }
            })
            .collect();
        drops.sort_by(|a, b| b.per_second.total_cmp(&a.per_second).then(b.total.cmp(&a.total)));
        View {
            calls: now.calls,
            workers,
            drops,
            trunks: now.trunks.iter().map(TrunkView::new).collect(),
            worst: now.worst.iter().map(CallView::new).collect(),
        }
    }
}

/// One worker between two looks.
struct Span<'a> {
    earlier: &'a Worker,
    later: &'a Worker,
    seconds: f64,
}

impl Span<'_> {
    /// `None` when the later one is no continuation of the earlier one.
    fn of<'a>(earlier: &'a Worker, later: &'a Worker) -> Option<Span<'a>> {
        let ns = later.at_ns.checked_sub(earlier.at_ns).filter(|ns| *ns > 0)?;
        let wakeups = |worker: &Worker| worker.counters.get("wakeups").copied().unwrap_or(0);
        let goes_on = wakeups(later) >= wakeups(earlier);
        goes_on.then_some(Span { earlier, later, seconds: ns as f64 / 1e9 })
    }

    fn grown(&self, name: &str) -> u64 {
        let of = |worker: &Worker| worker.counters.get(name).copied().unwrap_or(0);
        of(self.later).saturating_sub(of(self.earlier))
    }

    fn rate(&self, name: &str) -> f64 {
        self.grown(name) as f64 / self.seconds
    }

    /// Of the time.
    fn share(&self, name: &str) -> f64 {
        (self.rate(name) / 1e9).clamp(0.0, 1.0)
    }

    /// What a histogram counted meanwhile.
    fn counted(&self, name: &str) -> Vec<(Option<u64>, u64)> {
        let Some(later) = self.later.histograms.get(name) else { return Vec::new() };
        let none = Histogram { buckets: Vec::new() };
        let earlier = self.earlier.histograms.get(name).unwrap_or(&none);
        let before = earlier.buckets.iter().map(|(_, count)| *count).chain(std::iter::repeat(0));
        let grown = later.buckets.iter().zip(before);
        grown.map(|((most, count), before)| (*most, count.saturating_sub(before))).collect()
    }
}

impl WorkerView {
    fn new(worker: &Worker, span: Option<&Span<'_>>) -> WorkerView {
        WorkerView {
            id: worker.id,
            state: worker.state.clone(),
            core: worker.core,
            flows: worker.flows,
            flows_max: worker.flows_max,
            rates: span.map(Rates::of),
            delay_us: span.map(|span| percentiles(&span.counted(DELAY))).unwrap_or_default(),
        }
    }
}

impl Rates {
    fn of(span: &Span<'_>) -> Rates {
        let wakeups: u64 = span.counted(PER_WAKEUP).iter().map(|(_, count)| count).sum();
        let drops = span.later.counters.keys().filter(|name| is_drop(name));
        Rates {
            packets_per_second: span.rate("rx_packets"),
            packets_per_wakeup: (wakeups > 0)
                .then(|| span.grown("rx_packets") as f64 / wakeups as f64),
            drops_per_second: drops.map(|name| span.rate(name)).sum(),
            sleep: span.share("sleep_ns"),
            gather: span.share("gather_ns"),
            spin: span.share("spin_ns"),
            busy: span.share("busy_ns"),
        }
    }
}

fn percentiles(buckets: &[(Option<u64>, u64)]) -> Percentiles {
    let count: u64 = buckets.iter().map(|(_, count)| count).sum();
    let at = |share: f64| {
        let rank = (count as f64 * share).ceil().max(1.0);
        let mut sum = 0.0;
        let found = buckets.iter().find(|(_, count)| {
            sum += *count as f64;
            sum >= rank
        });
        found.and_then(|(most, _)| *most)
    };
    Percentiles { count, p50: at(0.5), p99: at(0.99), p999: at(0.999) }
}

impl TrunkView {
    fn new(trunk: &Trunk) -> TrunkView {
        TrunkView {
            name: trunk.name.clone(),
            status: trunk.status.clone(),
            inbound: trunk.calls.inbound,
            outbound: trunk.calls.outbound,
            max_concurrent_calls: trunk.max_concurrent_calls,
        }
    }
}

impl CallView {
    fn new(call: &Call) -> CallView {
        let media = call.media.as_ref();
        let way = |way: Option<Way>| way.map(WayView::new).unwrap_or_default();
        CallView {
            id: call.id.clone(),
            state: call.state.clone(),
            from_trunk: call.from_trunk.clone(),
            to_trunk: call.to_trunk.clone(),
            worker: media.map(|media| media.worker),
            from_caller: way(media.and_then(|media| media.from_caller)),
            from_callee: way(media.and_then(|media| media.from_callee)),
        }
    }
}

impl WayView {
    fn new(way: Way) -> WayView {
        let Way { packets, lost, jitter_ms, mos } = way;
        WayView { mos, lost, packets, jitter_ms }
    }
}

fn is_drop(name: &str) -> bool {
    name.starts_with(DROP)
}

const DROP: &str = "drop_";
const DELAY: &str = "added_delay_microseconds";
const PER_WAKEUP: &str = "packets_per_wakeup";

#[cfg(test)]
pub(super) mod tests;
