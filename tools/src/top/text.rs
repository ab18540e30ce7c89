//! A view as tables, for `--once`.

use std::fmt::Write;

use super::view::{Rates, View, WayView, WorkerView};
use crate::grid::Grid;

/// The whole view.
pub fn text(view: &View) -> String {
    let mut out = String::new();
    let _infallible = writeln!(out, "{} calls\n", view.calls);
    let mut grid = Grid::new(&WORKERS);
    view.workers.iter().for_each(|worker| grid.row(worker_cells(worker).to_vec()));
    out.push_str(&grid.text());
    let mut grid = Grid::new(&["dropped", "per s", "total"]);
    for drop in &view.drops {
        grid.row(vec![drop.reason.clone(), number(drop.per_second), drop.total.to_string()]);
    }
    section(&mut out, &grid, view.drops.is_empty());
    let mut grid = Grid::new(&TRUNKS);
    view.trunks.iter().for_each(|trunk| grid.row(trunk_cells(trunk).to_vec()));
    section(&mut out, &grid, view.trunks.is_empty());
    let mut grid = Grid::new(&CALLS);
    view.worst.iter().for_each(|call| grid.row(call_cells(call).to_vec()));
    section(&mut out, &grid, view.worst.is_empty());
    out
}

fn section(out: &mut String, grid: &Grid, is_empty: bool) {
    if !is_empty {
        out.push('\n');
        out.push_str(&grid.text());
    }
}

pub(super) const WORKERS: [&str; 13] = [
    "w", "state", "core", "flows", "pkt/s", "/wake", "sleep", "gath", "spin", "busy", "p50us",
    "p99us", "drop/s",
];
pub(super) const TRUNKS: [&str; 5] = ["trunk", "status", "in", "out", "max"];
pub(super) const CALLS: [&str; 8] =
    ["worst calls", "from", "to", "w", "mos caller", "mos callee", "lost", "jitter ms"];

pub(super) fn worker_cells(worker: &WorkerView) -> [String; 13] {
    let rates = worker.rates.as_ref();
    let rate = |of: fn(&Rates) -> f64| rates.map_or_else(dash, |rates| number(of(rates)));
    let share = |of: fn(&Rates) -> f64| rates.map_or_else(dash, |rates| percent(of(rates)));
    let delay = |value: Option<u64>| value.map_or_else(dash, |us| us.to_string());
    [
        worker.id.to_string(),
        worker.state.clone(),
        worker.core.map_or_else(dash, |core| core.to_string()),
        worker.flows.to_string(),
        rate(|rates| rates.packets_per_second),
        rates.and_then(|rates| rates.packets_per_wakeup).map_or_else(dash, number),
        share(|rates| rates.sleep),
        share(|rates| rates.gather),
        share(|rates| rates.spin),
        share(|rates| rates.busy),
        delay(worker.delay_us.p50),
        delay(worker.delay_us.p99),
        rate(|rates| rates.drops_per_second),
    ]
}

pub(super) fn trunk_cells(trunk: &super::view::TrunkView) -> [String; 5] {
    [
        trunk.name.clone(),
        trunk.status.clone().unwrap_or_else(dash),
        trunk.inbound.to_string(),
        trunk.outbound.to_string(),
        trunk.max_concurrent_calls.map_or_else(dash, |most| most.to_string()),
    ]
}

pub(super) fn call_cells(call: &super::view::CallView) -> [String; 8] {
    let mos = |way: &WayView| way.mos.map_or_else(dash, |mos| format!("{mos:.2}"));
    let both = [call.from_caller, call.from_callee];
    let lost: u64 = both.iter().map(|way| way.lost).sum();
    let jitter = both.iter().filter_map(|way| way.jitter_ms).max_by(f64::total_cmp);
    [
        call.id.chars().take(SHORT_ID).collect(),
        call.from_trunk.clone().unwrap_or_else(dash),
        call.to_trunk.clone().unwrap_or_else(dash),
        call.worker.map_or_else(dash, |worker| worker.to_string()),
        mos(&call.from_caller),
        mos(&call.from_callee),
        lost.to_string(),
        jitter.map_or_else(dash, |ms| format!("{ms:.1}")),
    ]
}

fn dash() -> String {
    String::from("-")
}

/// Three digits or so: 0.5, 12, 3400, 1.2M.
fn number(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.1}M", v / 1e6),
        v if v >= 10.0 || v == 0.0 => format!("{v:.0}"),
        v => format!("{v:.1}"),
    }
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 10.0 || percent == 0.0 {
        format!("{percent:.0}%")
    } else {
        format!("{percent:.1}%")
    }
}

/// Of a call's name, as many characters as tell calls apart for a person.
const SHORT_ID: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::view::tests::view;

    #[test]
    fn a_view_is_four_tables() {
        let text = text(&view());
        for line in [
            "3 calls",
            "W  STATE    CORE  FLOWS  PKT/S  /WAKE  SLEEP  GATH  SPIN  BUSY  P50US  P99US  DROP/S",
            "0  running  2     4      200    8.0    75%    10%   0%    5.0%  7      15     20",
            "1  standby  -     0      -      -      -      -     -     -     -      -      -",
            "DROPPED   PER S  TOTAL",
            "off path  20     40",
            "TRUNK     STATUS  IN  OUT  MAX",
            "provider  OK      2   1    30",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        let call = text.lines().last().unwrap();
        assert!(call.starts_with("0123456789ab ") && call.contains("2.10"), "{call}");
    }

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 0.25, 9.94, 10.0, 3_400.4, 1_234_567.0].map(number);
        assert_eq!(texts, ["0", "0.2", "9.9", "10", "3400", "1.2M"]);
        assert_eq!([0.0, 0.004, 0.5, 1.0].map(percent), ["0%", "0.4%", "50%", "100%"]);
    }
}
