//! `bench compare`: ours and a peer in alternating runs.

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use crate::compare::{self, Pair, Results, Spread};
use crate::device::Kind;
use crate::fault::Fault;
use crate::measure;
use crate::options::Options;
use crate::publish::{self, Bar, Curve, Report};
use crate::screen;
use crate::stage::{Host, Stage};
use crate::workload::Workload;

/// Measure ours and rtpengine with the same calls, cores and packets, in alternating runs
#[derive(clap::Args)]
pub struct Arguments {
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "relay,cm80-out,cm80-in,gcm-in"
    )]
    workloads: Vec<Workload>,
    /// Runs of each device and workload
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    runs: u32,
    #[command(flatten)]
    options: Options,
}

pub fn run(arguments: &Arguments, stop: &AtomicBool) -> Result<ExitCode, Fault> {
    let Arguments { workloads, runs, options } = arguments;
    let stage = Stage::build(options.stage())?;
    let host = Host::read();
    let bar = screen::bar(workloads.len() as u64 * u64::from(*runs) * 2);
    let mut pairs = Vec::new();
    for workload in workloads {
        let order = options.order(*workload, Some(PPS_DEFAULT))?;
        let pair =
            compare::alternate(&order, Kind::Rtpengine, *runs, &mut |kind, order, round| {
                let name = format!("{} {} {}", workload.name(), kind.name(), round + 1);
                let say = |what: &str| bar.set_message(format!("{name}: {what}"));
                let run = measure::run(&stage, kind, order, stop, &say)?;
                bar.suspend(|| eprintln!("{}", screen::run_cells(&run).join("  ")));
                bar.inc(1);
                Ok(run)
            })?;
        pairs.push(pair);
    }
    bar.finish_and_clear();
    let page = text(&pairs, &screen::heading(&host, &stage));
    print!("{page}");
    if !options.no_report {
        let report = Report {
            name: "compare",
            host: &host,
            command: publish::command_line(),
            page: &page,
            raw: &pairs,
            bars: bars(&pairs),
            unit: "us of CPU per relayed packet",
            curves: curves(&pairs),
        };
        println!("report: {}", report.write(&publish::results_folder())?.display());
    }
    if options.json {
        let results = Results { results: pairs.iter().map(Pair::row).collect() };
        let json = serde_json::to_string(&results)
            .map_err(|error| Fault::new(format!("JSON: {error}"), ""))?;
        println!("{json}");
    }
    Ok(ExitCode::SUCCESS)
}

fn bars(pairs: &[Pair]) -> Vec<Bar> {
    let sides = pairs.iter().flat_map(|pair| [(pair, &pair.ours), (pair, &pair.peer)]);
    sides
        .filter_map(|(pair, runs)| {
            let value = Pair::cost(runs).median / 1_000.0;
            let of = runs.first()?.device.name.clone();
            Some(Bar { group: pair.workload.name().into(), of, value })
        })
        .collect()
}

/// The delay of the last run of each side of the first workload.
fn curves(pairs: &[Pair]) -> Vec<Curve> {
    let sides = pairs.first().map(|pair| [&pair.ours, &pair.peer]).into_iter().flatten();
    sides
        .filter_map(|runs| {
            let run = runs.last()?;
            let of = format!("{}, {}", run.device.name, run.workload.name());
            Some(Curve { of, points: run.delay_curve.clone() })
        })
        .collect()
}

/// The page for people.
fn text(pairs: &[Pair], heading: &str) -> String {
    let mut rows = vec![
        [
            "workload",
            "calls",
            "kpps",
            "ours us/pkt",
            "peer us/pkt",
            "ratio",
            "loss ours",
            "loss peer",
            "p99 us ours",
            "p99 us peer",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let us = |spread: Spread| {
        format!(
            "{:.2} [{:.2}-{:.2}]",
            spread.median / 1_000.0,
            spread.least / 1_000.0,
            spread.most / 1_000.0
        )
    };
    for pair in pairs {
        let ratio = pair.ratio();
        let rate = Spread::of(pair.ours.iter().chain(&pair.peer).map(|run| run.pps));
        rows.push(vec![
            pair.workload.name().into(),
            pair.calls.to_string(),
            format!("{:.1}", rate.median / 1_000.0),
            us(Pair::cost(&pair.ours)),
            us(Pair::cost(&pair.peer)),
            format!("{:.2} [{:.2}-{:.2}]", ratio.median, ratio.least, ratio.most),
            screen::percent(Pair::loss(&pair.ours).median),
            screen::percent(Pair::loss(&pair.peer).median),
            format!("{:.0}", Pair::p99(&pair.ours).median),
            format!("{:.0}", Pair::p99(&pair.peer).median),
        ]);
    }
    let mut text = format!("{heading}\n{}\n", screen::table(&rows));
    for identity in compare::identities(pairs) {
        text.push_str(&format!("{} {}: {}\n", identity.name, identity.version, identity.tuning));
    }
    for pair in pairs {
        let name = pair.workload.name();
        for repeated in &pair.repeated {
            text.push_str(&format!("{name}: repeated a run of {repeated}\n"));
        }
        for (reason, count) in pair.ours.iter().chain(&pair.peer).flat_map(|run| &run.device_drops)
        {
            text.push_str(&format!("{name}: a device says {reason} {count}\n"));
        }
        for flaw in pair.flaws() {
            text.push_str(&format!("{name}: FLAWED and kept: {flaw}\n"));
        }
    }
    text
}

/// What one core of rtpengine carries here without loss.
const PPS_DEFAULT: u32 = 60_000;
