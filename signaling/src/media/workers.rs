//! The workers themselves: what they do, and what operators tell them to do.
//!
//! ```text
//! trunkline workers ─► REST ─► Ask ─► Media::order ─► command ring ─► worker ─► event ─► the reply
//! ```
//! An order is a command like any other and goes the same way: signaling is the only guest, so nothing
//! else can move a worker, and a worker that was told to drain finds no OPEN behind the order.

use std::collections::{BTreeMap, HashMap};

use abi::histogram::{BUCKETS, quantile, upper_bound};
use abi::{Command, Duty, Histogram, HistogramReader, Order, Reason, WorkerState};
use serde::Serialize;

use super::{Media, MediaError, Worker};
use crate::ask::Reply;

/// Orders that wait for their answer.
pub(super) type Orders = HashMap<u64, Pending>;

pub(super) struct Pending {
    worker: usize,
    /// It was a drain: until it is answered, nothing is leased there.
    drains: bool,
    reply: Reply<Ordered>,
}

/// The worker that did it, or why not.
pub type Ordered = Result<u32, OrderError>;

/// Why a worker did not do as it was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OrderError {
    #[error("there is no worker {0}")]
    NoSuchWorker(u32),
    #[error("no worker stands by")]
    NoneStandsBy,
    #[error("{0}")]
    Refused(Reason),
    #[error("the worker's command ring is full")]
    RingFull,
    #[error("there is no data plane")]
    Detached,
}

/// One worker now.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct WorkerReport {
    pub id: u32,
    /// `starting`, `running`, `draining`, `standby`, `stopped`.
    pub state: &'static str,
    /// The core that it is pinned to; `None`: the scheduler places it.
    pub core: Option<u32>,
    pub flows: u64,
    pub flows_max: u32,
    /// CLOCK_MONOTONIC nanoseconds of the counters below: what they grew by between two reports,
    /// divided by the difference of this, is a rate.
    pub at_ns: u64,
    pub counters: BTreeMap<&'static str, u64>,
    pub histograms: BTreeMap<&'static str, HistogramReport>,
}

/// One histogram, since the worker started.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct HistogramReport {
    pub count: u64,
    pub p50: Option<u64>,
    pub p90: Option<u64>,
    pub p99: Option<u64>,
    pub p999: Option<u64>,
    /// Largest value and count of each bucket, in order; the last one has no largest value.
    pub buckets: Vec<(Option<u64>, u64)>,
}

impl Media {
    /// Every worker.
    pub fn reports(&self) -> Vec<WorkerReport> {
        self.workers.iter().map(Worker::report).collect()
    }

    /// Tells a worker what to do, or the first that stands by; `reply` gets the worker's answer.
    pub fn order(&mut self, which: Option<u32>, duty: Duty, reply: Reply<Ordered>) {
        match self.try_order(which, duty) {
            Ok((token, worker)) => {
                let drains = duty == Duty::Drain;
                self.orders.insert(token, Pending { worker, drains, reply });
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn try_order(&mut self, which: Option<u32>, duty: Duty) -> Result<(u64, usize), OrderError> {
        if self.workers.is_empty() {
            return Err(OrderError::Detached);
        }
        let found = self.workers.iter_mut().enumerate().find(|(_, worker)| match which {
            Some(id) => worker.guest.worker() == id,
            None => worker.guest.state() == Some(WorkerState::Standby) && !worker.called,
        });
        let (index, worker) = found
            .ok_or_else(|| which.map_or(OrderError::NoneStandsBy, OrderError::NoSuchWorker))?;
        self.last_serial += 1;
        let token = self.last_serial;
        worker.push(&Command::order(&Order { token, duty })).map_err(|full| match full {
            MediaError::RingFull | MediaError::NoSlots | MediaError::ShelfFull => {
                OrderError::RingFull
            }
        })?;
        match duty {
            Duty::Pin { .. } => {}
            Duty::Drain => worker.leaves = true,
            Duty::Serve { .. } => worker.called = true,
        }
        Ok((token, index))
    }

    /// A worker has answered an order.
    pub(super) fn ordered(&mut self, token: u64, outcome: Result<(), Reason>) {
        let Some(Pending { worker: index, drains, reply }) = self.orders.remove(&token) else {
            return;
        };
        let Some(worker) = self.workers.get_mut(index) else { return };
        if drains {
            worker.leaves = false;
        }
        worker.called = false;
        let id = worker.guest.worker();
        let _gave_up = reply.send(outcome.map(|()| id).map_err(OrderError::Refused));
    }

    /// The data plane is gone: nobody will answer.
    pub fn abandon_orders(&mut self) {
        for (_, Pending { reply, .. }) in self.orders.drain() {
            let _gave_up = reply.send(Err(OrderError::Detached));
        }
    }
}

impl Worker {
    /// Whether new flows may be leased here.
    pub(super) fn takes_flows(&self) -> bool {
        let state = self.guest.state();
        !self.leaves && matches!(state, Some(WorkerState::Running | WorkerState::Starting))
    }

    fn report(&self) -> WorkerReport {
        let guest = &self.guest;
        let at_ns = guest.heartbeat_ns();
        let counters: BTreeMap<_, _> =
            guest.counters.iter().map(|(_, meta, value)| (meta.name, value)).collect();
        let histograms = Histogram::ALL.map(|one| (one.name(), report(&guest.histograms, one)));
        WorkerReport {
            id: guest.worker(),
            state: guest.state().map_or("unknown", name),
            core: guest.core(),
            flows: counters.get("flows_open").copied().unwrap_or(0),
            flows_max: guest.flows.capacity(),
            at_ns,
            counters,
            histograms: histograms.into(),
        }
    }
}

fn name(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Starting => "starting",
        WorkerState::Running => "running",
        WorkerState::Draining => "draining",
        WorkerState::Standby => "standby",
        WorkerState::Stopped => "stopped",
    }
}

fn report(reader: &HistogramReader, which: Histogram) -> HistogramReport {
    let counts: [u64; BUCKETS] = reader.counts(which);
    HistogramReport {
        count: counts.iter().fold(0, |sum, count| sum.wrapping_add(*count)),
        p50: quantile(&counts, 0.5),
        p90: quantile(&counts, 0.9),
        p99: quantile(&counts, 0.99),
        p999: quantile(&counts, 0.999),
        buckets: counts.iter().enumerate().map(|(at, n)| (upper_bound(at), *n)).collect(),
    }
}

#[cfg(test)]
mod tests;
