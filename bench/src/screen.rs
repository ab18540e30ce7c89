//! What a person sees: progress while it runs, tables afterwards.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::account::Accounting;
use crate::measure::Run;
use crate::stage::{Host, SINK_NS, Stage};

/// A bar over all runs of a command, on stderr; silent when stderr is no terminal.
pub fn bar(runs: u64) -> ProgressBar {
    let bar = ProgressBar::new(runs);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Machine and rules of measurement: what every table is headed with.
pub fn heading(host: &Host, stage: &Stage) -> String {
    let plan = &stage.plan;
    let wire = match &plan.interfaces {
        Some((load, device)) => format!("interfaces {load} and {device}"),
        None => "veth pair".into(),
    };
    format!(
        "{} | {} x {} | Linux {} | commit {}\n\
         load on core {}, device on {:?}, {wire}, receive mode {:?}\n\
         CPU = {}\n\
         delay = generator's send call to the sink's kernel; up to {} us of it is the sink's own \
         gathering\n\
         payload of one flow in 16 compared octet by octet, decrypted by the `rtp` crate\n",
        host.name,
        host.cores,
        host.cpu,
        host.kernel,
        host.commit,
        plan.load_core,
        plan.device_cores,
        plan.receive,
        match plan.accounting {
            Accounting::Core => {
                "everything on the device's cores: wall - (idle + iowait) of /proc/stat; process, \
                 softirq, interrupts, receive threads"
            }
            Accounting::Threads => {
                "the device's threads and the kernel's receive thread, at fixed priority, WITHOUT \
                 interrupts and wake-ups: the machine was not quiet"
            }
        },
        SINK_NS / 1_000,
    )
}

/// Rows of equal columns, the first left-aligned.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let cell =
                if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
            text.push_str(gap);
            text.push_str(&cell);
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

/// The columns of [`run_cells`].
pub fn run_columns() -> Vec<String> {
    [
        "workload",
        "device",
        "calls",
        "kpps",
        "us/pkt",
        "busy",
        "threads",
        "lost",
        "ring full",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "load core",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// One run as a row.
pub fn run_cells(run: &Run) -> Vec<String> {
    let usage = &run.usage;
    let share = |ns: u64| format!("{:.1}%", ns as f64 * 100.0 / usage.wall_ns.max(1) as f64);
    vec![
        run.workload.name().into(),
        run.device.name.clone(),
        run.calls.to_string(),
        format!("{:.1}", run.pps / 1_000.0),
        format!("{:.2}", run.ns_per_packet() / 1_000.0),
        share(usage.busy_ns),
        share(usage.process_ns + usage.receivers_ns),
        percent(run.loss()),
        run.ring_full.to_string(),
        format!("{:.0}", run.delay.p50),
        format!("{:.0}", run.delay.p99),
        format!("{:.0}", run.delay.p999),
        format!("{:.0}%", run.load_share * 100.0),
    ]
}

/// A share as a percentage that does not round a loss away.
pub fn percent(share: f64) -> String {
    if share == 0.0 { "0".into() } else { format!("{:.4}%", share * 100.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let text = table(&[row(["name", "n"]), row(["x", "1000"])]);
        assert_eq!(text, "name     n\nx     1000\n");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn a_small_loss_stays_visible() {
        assert_eq!(percent(0.0), "0");
        assert_eq!(percent(0.000_004), "0.0004%");
    }
}
