//! `bench media`: our data plane alone.

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use crate::compare::Spread;
use crate::device::Kind;
use crate::fault::Fault;
use crate::measure::{self, Run};
use crate::options::Options;
use crate::publish::{self, Bar, Curve, Report};
use crate::screen;
use crate::stage::{Host, Stage};
use crate::workload::Workload;

/// Measure our data plane: calls per core, CPU per packet, then every workload
#[derive(clap::Args)]
pub struct Arguments {
    /// Workloads to run [default: all]
    #[arg(value_enum)]
    workloads: Vec<Workload>,
    /// Runs of each workload; figures are medians
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=50))]
    runs: u32,
    /// Measure rtpengine instead
    #[arg(long)]
    peer: bool,
    #[command(flatten)]
    options: Options,
}

pub fn run(arguments: &Arguments, stop: &AtomicBool) -> Result<ExitCode, Fault> {
    let Arguments { workloads, runs, peer, options } = arguments;
    let all = workloads.is_empty();
    let workloads = if all { Workload::ALL.to_vec() } else { workloads.clone() };
    let stage = Stage::build(options.stage())?;
    let host = Host::read();
    let bar = screen::bar(workloads.len() as u64 * u64::from(*runs));
    let kind = if *peer { Kind::Rtpengine } else { Kind::Ours };
    let mut done: Vec<Run> = Vec::new();
    for workload in &workloads {
        let order = options.order(*workload, None)?;
        for _ in 0..*runs {
            let say = |what: &str| bar.set_message(format!("{}: {what}", workload.name()));
            done.push(measure::run(&stage, kind, &order, stop, &say)?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let page = page(&done, &screen::heading(&host, &stage));
    print!("{page}");
    if !options.no_report {
        let report = Report {
            name: "media",
            host: &host,
            command: publish::command_line(),
            page: &page,
            raw: &done,
            bars: bars(&done),
            unit: "us of CPU per relayed packet",
            curves: curves(&done),
            more: Vec::new(),
        };
        println!("report: {}", report.write(&publish::results_folder())?.display());
    }
    if options.json {
        let json = serde_json::json!({ "runs": done });
        println!("{json}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Two headline numbers, then the table, then whatever was wrong.
fn page(done: &[Run], heading: &str) -> String {
    let rows = std::iter::once(screen::run_columns()).chain(done.iter().map(screen::run_cells));
    let table = screen::table(&rows.collect::<Vec<_>>());
    let mut text = format!("{}\n{heading}\n{table}\n", headlines(done));
    for run in done {
        let name = run.workload.name();
        for (reason, count) in &run.device_drops {
            text.push_str(&format!("{name}: the device says {reason} {count}\n"));
        }
        if run.replaced > 0 {
            text.push_str(&format!("{name}: {} calls replaced in the window\n", run.replaced));
        }
        if let Some(flaw) = run.flaw() {
            text.push_str(&format!("{name}: FLAWED: {flaw}\n"));
        }
    }
    text
}

fn bars(done: &[Run]) -> Vec<Bar> {
    let bar = |run: &Run| Bar {
        group: run.workload.name().into(),
        of: run.device.name.clone(),
        value: run.ns_per_packet() / 1_000.0,
    };
    done.iter().map(bar).collect()
}

fn curves(done: &[Run]) -> Vec<Curve> {
    let curve =
        |run: &Run| Curve { of: run.workload.name().into(), points: run.delay_curve.clone() };
    done.iter().map(curve).collect()
}

/// Calls per core, and CPU per packet from SRTP to RTP.
fn headlines(runs: &[Run]) -> String {
    let cost = |workload| {
        let of: Vec<f64> =
            runs.iter().filter(|r| r.workload == workload).map(Run::ns_per_packet).collect();
        (!of.is_empty()).then(|| Spread::of(of).median)
    };
    let mut text = String::new();
    if let (Some(decrypt), Some(encrypt)) = (cost(Workload::Cm80In), cost(Workload::Cm80Out)) {
        let calls = calls_per_core(decrypt, encrypt);
        text.push_str(&format!(
            "{calls:>8.0}  calls per core, RTP to SRTP CM-80 and back, at {:.0} % of the core \
             (from the two costs below, not from a run at that number)\n",
            FULL * 100.0
        ));
    }
    if let Some(decrypt) = cost(Workload::Cm80In) {
        text.push_str(&format!(
            "{:>8.2}  us of CPU per packet relayed from SRTP CM-80 to RTP\n",
            decrypt / 1_000.0
        ));
    }
    text
}

/// Calls that one core carries: each has 50 packets a second to decrypt and 50 to encrypt.
fn calls_per_core(decrypt_ns: f64, encrypt_ns: f64) -> f64 {
    (FULL * 1e9 / (PACKETS_EACH_WAY * (decrypt_ns + encrypt_ns))).floor()
}

/// Share of a core that calls may take; the rest is for bursts.
const FULL: f64 = 0.75;
/// Packets per second and direction of a call with 20 ms of voice in each.
const PACKETS_EACH_WAY: f64 = 50.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_per_core_follow_from_the_costs() {
        // 100 packets a second of 5 us are 0.5 ms: 1,500 calls fill three quarters of a second.
        assert_eq!(calls_per_core(5_000.0, 5_000.0), 1_500.0);
        assert_eq!(calls_per_core(4_000.0, 2_000.0), 2_500.0);
        assert_eq!(headlines(&[]), "");
    }
}
