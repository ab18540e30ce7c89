//! Ours beside a peer: the same stage, calls, packets and accounting, in alternating runs.
//!
//! A run that other programs disturbed is repeated, at most [`REPEATS`] times, by the rule of
//! [`Run::flaw`] and never by its result; the last one is kept whatever it is, and marked. Figures
//! are medians with the least and the most of all runs kept.

use serde::Serialize;

use crate::device::{Identity, Kind};
use crate::fault::Fault;
use crate::measure::{Order, Run};
use crate::workload::Workload;

/// All runs of one workload.
#[derive(Clone, Debug, Serialize)]
pub struct Pair {
    pub workload: Workload,
    pub calls: u32,
    pub ours: Vec<Run>,
    pub peer: Vec<Run>,
    /// Runs that were repeated, with the reasons.
    pub repeated: Vec<String>,
}

/// Median, least and most.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// Of no values: zeros.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) && middle > 0 {
            (at(middle - 1) + at(middle)) / 2.0
        } else {
            at(middle)
        };
        Spread { median, least: at(0), most: at(values.len().saturating_sub(1)) }
    }
}

/// One row of the JSON result; the fields are a contract with whoever reads it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    pub workload: Workload,
    pub calls: u32,
    pub ours_cpu_ns_per_packet: f64,
    pub peer: String,
    pub peer_cpu_ns_per_packet: f64,
    /// Peer's cost by ours: how many times cheaper we are.
    pub ratio: f64,
    pub loss_ours: f64,
    pub loss_peer: f64,
    /// Ours, the sink's own gathering included.
    pub added_delay_us_p99: f64,
}

/// The JSON object that ends the output.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Results {
    pub results: Vec<Row>,
}

impl Pair {
    pub fn cost(runs: &[Run]) -> Spread {
        Spread::of(runs.iter().map(Run::ns_per_packet))
    }

    pub fn loss(runs: &[Run]) -> Spread {
        Spread::of(runs.iter().map(Run::loss))
    }

    pub fn p99(runs: &[Run]) -> Spread {
        Spread::of(runs.iter().map(|run| run.delay.p99))
    }

    /// Ratio of the medians; the least and the most that single runs of either side would give.
    pub fn ratio(&self) -> Spread {
        let (ours, peer) = (Pair::cost(&self.ours), Pair::cost(&self.peer));
        let by = |peer: f64, ours: f64| if ours > 0.0 { peer / ours } else { 0.0 };
        Spread {
            median: by(peer.median, ours.median),
            least: by(peer.least, ours.most),
            most: by(peer.most, ours.least),
        }
    }

    pub fn row(&self) -> Row {
        let peer = self.peer.first().map(|run| run.device.name.clone());
        Row {
            workload: self.workload,
            calls: self.calls,
            ours_cpu_ns_per_packet: Pair::cost(&self.ours).median.round(),
            peer: peer.unwrap_or_default(),
            peer_cpu_ns_per_packet: Pair::cost(&self.peer).median.round(),
            ratio: (self.ratio().median * 100.0).round() / 100.0,
            loss_ours: Pair::loss(&self.ours).median,
            loss_peer: Pair::loss(&self.peer).median,
            added_delay_us_p99: Pair::p99(&self.ours).median,
        }
    }

    /// Runs of either side that are flawed and were kept.
    pub fn flaws(&self) -> Vec<String> {
        let of = |runs: &[Run]| -> Vec<String> {
            let flaw = |run: &Run| run.flaw().map(|why| format!("{}: {why}", run.device.name));
            runs.iter().filter_map(flaw).collect()
        };
        [of(&self.ours), of(&self.peer)].concat()
    }
}

/// Alternates `rounds` runs of ours and `peer`. `play` makes one run.
///
/// # Errors
/// The first run that could not be made at all.
pub fn alternate(
    order: &Order,
    peer: Kind,
    rounds: u32,
    play: &mut dyn FnMut(Kind, &Order, u32) -> Result<Run, Fault>,
) -> Result<Pair, Fault> {
    let mut pair = Pair {
        workload: order.workload,
        calls: order.calls,
        ours: Vec::new(),
        peer: Vec::new(),
        repeated: Vec::new(),
    };
    for round in 0..rounds {
        // Who comes first changes, so that neither always runs on a warmer machine.
        let mut sides = [Kind::Ours, peer];
        sides.rotate_left(round as usize % 2);
        for side in sides {
            let mut run = play(side, order, round)?;
            for _ in 0..REPEATS {
                let Some(flaw) = run.flaw() else { break };
                pair.repeated.push(format!("{}: {flaw}", side.name()));
                run = play(side, order, round)?;
            }
            if side == Kind::Ours { pair.ours.push(run) } else { pair.peer.push(run) }
        }
    }
    Ok(pair)
}

/// Who took part, once each.
pub fn identities(pairs: &[Pair]) -> Vec<Identity> {
    let mut found: Vec<Identity> = Vec::new();
    for run in pairs.iter().flat_map(|pair| pair.ours.iter().chain(&pair.peer)) {
        if !found.contains(&run.device) {
            found.push(run.device.clone());
        }
    }
    found
}

/// Repetitions of a flawed run.
const REPEATS: u32 = 2;

#[cfg(test)]
mod tests;
