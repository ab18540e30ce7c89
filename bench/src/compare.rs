//! Ours beside a peer: the same stage, calls, packets and accounting, in alternating runs.
//!
//! A run that other programs disturbed is repeated, at most [`REPEATS`] times, by the rule of
//! [`Run::flaw`] and never by its result; the last one is kept whatever it is, and marked. Figures
//! are medians with the least and the most of all runs kept.

use serde::{Deserialize, Serialize};

use crate::device::{Identity, Kind};
use crate::fault::Fault;
use crate::measure::{Order, Run};
use crate::workload::Workload;

/// A backend of ours beside the peer, at one workload and number of calls.
#[derive(Clone, Debug, Serialize)]
pub struct Pair {
    pub workload: Workload,
    pub calls: u32,
    pub backend: String,
    pub ours: Vec<Run>,
    /// Empty when ours is measured alone.
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
    /// Our media backend.
    pub backend: String,
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
            backend: self.backend.clone(),
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

/// Who runs: a media backend of ours, or a peer.
#[derive(Clone, PartialEq, Debug)]
pub struct Contender {
    pub kind: Kind,
    /// The backend, or the peer's name.
    pub name: String,
}

/// Everything that is to be measured in one run of the command.
pub struct Plan {
    /// Workloads with their numbers of calls.
    pub orders: Vec<Order>,
    pub contenders: Vec<Contender>,
    /// Runs of each contender under each order.
    pub rounds: u32,
}

/// The runs of one contender under one order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    pub workload: Workload,
    pub calls: u32,
    pub name: String,
    pub ours: bool,
    pub runs: Vec<Run>,
    /// Runs that were repeated, with the reasons.
    pub repeated: Vec<String>,
}

/// All runs, also across interruptions: what a `--resume` file holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Book {
    /// Of what the figures are; runs of different commits or machines are not mixed.
    pub of: String,
    pub cells: Vec<Cell>,
}

/// Makes one run.
pub type Play<'a> = dyn FnMut(&Contender, &Order, u32) -> Result<Run, Fault> + 'a;

/// Keeps what is there, and says whether there is time for another run.
pub type GoOn<'a> = dyn FnMut(&Book) -> Result<bool, Fault> + 'a;

impl Book {
    /// Makes the runs that are missing, as long as `go_on` says so, which is shown the book before
    /// each run and after the last; gives how many are still missing. The contenders alternate, and another one comes first in each round, so that none always runs
    /// on a warmer machine.
    ///
    /// # Errors
    /// The first run that could not be made at all, or what `go_on` met; the runs before are kept.
    pub fn fill(
        &mut self,
        plan: &Plan,
        go_on: &mut GoOn<'_>,
        play: &mut Play<'_>,
    ) -> Result<usize, Fault> {
        let mut missing = 0;
        for order in &plan.orders {
            for round in 0..plan.rounds {
                for turn in 0..plan.contenders.len() {
                    let turn = (turn + round as usize) % plan.contenders.len();
                    let Some(contender) = plan.contenders.get(turn) else { continue };
                    if self.cell(order, contender).runs.len() > round as usize {
                        continue;
                    }
                    if missing > 0 || !go_on(self)? {
                        missing += 1;
                        continue;
                    }
                    let (run, repeated) = undisturbed(contender, order, round, play)?;
                    let cell = self.cell(order, contender);
                    cell.runs.push(run);
                    cell.repeated.extend(repeated);
                }
            }
        }
        go_on(self)?;
        Ok(missing)
    }

    fn cell(&mut self, order: &Order, contender: &Contender) -> &mut Cell {
        let (workload, calls) = (order.workload, order.calls);
        let is = |cell: &Cell| {
            (cell.workload, cell.calls, &cell.name) == (workload, calls, &contender.name)
        };
        let at = self.cells.iter().position(is).unwrap_or(self.cells.len());
        if at == self.cells.len() {
            let (name, ours) = (contender.name.clone(), contender.kind == Kind::Ours);
            let (runs, repeated) = (Vec::new(), Vec::new());
            self.cells.push(Cell { workload, calls, name, ours, runs, repeated });
        }
        // Just found or pushed.
        #[expect(clippy::indexing_slicing, reason = "`at` is a position of this vector")]
        &mut self.cells[at]
    }

    /// Each backend of ours beside the peer, under each order; without a peer alone.
    pub fn pairs(&self) -> Vec<Pair> {
        let pair = |ours: &Cell| {
            let beside = |cell: &&Cell| {
                !cell.ours && (cell.workload, cell.calls) == (ours.workload, ours.calls)
            };
            let peer = self.cells.iter().find(beside);
            let repeated = peer.map(|peer| peer.repeated.clone()).unwrap_or_default();
            Pair {
                workload: ours.workload,
                calls: ours.calls,
                backend: ours.name.clone(),
                ours: ours.runs.clone(),
                peer: peer.map(|peer| peer.runs.clone()).unwrap_or_default(),
                repeated: [ours.repeated.clone(), repeated].concat(),
            }
        };
        let started = |cell: &&Cell| cell.ours && !cell.runs.is_empty();
        self.cells.iter().filter(started).map(pair).collect()
    }
}

/// One run, and the reasons for which earlier tries of it do not count.
fn undisturbed(
    contender: &Contender,
    order: &Order,
    round: u32,
    play: &mut Play<'_>,
) -> Result<(Run, Vec<String>), Fault> {
    let mut repeated = Vec::new();
    let mut run = play(contender, order, round)?;
    for _ in 0..REPEATS {
        let Some(flaw) = run.flaw() else { break };
        repeated.push(format!("{}: {flaw}", contender.name));
        run = play(contender, order, round)?;
    }
    Ok((run, repeated))
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
