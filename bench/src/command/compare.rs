//! `bench compare`: ours and a peer in alternating runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::compare::{self, Book, Contender, Pair, Plan, Results, Spread};
use crate::device::{CALLS_MAX, Kind};
use crate::fault::Fault;
use crate::measure;
use crate::options::Options;
use crate::publish::{self, Bar, Curve, Report};
use crate::screen;
use crate::stage::{Host, Stage};
use crate::workload::Workload;

/// Measure ours and rtpengine with the same calls, cores and packets, in alternating runs
#[derive(clap::Args)]
#[command(after_help = "Examples:
  bench compare
  bench compare --backends uring,packet,xdp,mmsg --json
  bench compare --alone --workloads relay --call-counts 100,1000,4000
  while bench compare --resume book.json --at-most 80; [ $? = 3 ]; do :; done     in pieces")]
pub struct Arguments {
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "relay,cm80-out,cm80-in,gcm-in"
    )]
    workloads: Vec<Workload>,
    /// Several media backends of ours, each beside the peer [default: --backend]
    #[arg(long, value_delimiter = ',')]
    backends: Vec<String>,
    /// Several numbers of calls, the packets per second staying the same [default: --calls]
    #[arg(long, value_delimiter = ',', conflicts_with = "calls",
          value_parser = clap::value_parser!(u32).range(1..=CALLS_MAX as i64))]
    call_counts: Vec<u32>,
    /// Without rtpengine: how ours grows, or differs by backend
    #[arg(long)]
    alone: bool,
    /// Runs of each device and workload
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    runs: u32,
    /// Keep the runs in this file, and make only those that are missing there
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Begin no run after so many seconds; exit code 3 when some are missing. Needs --resume
    #[arg(long, value_name = "SECONDS", requires = "resume")]
    at_most: Option<u64>,
    #[command(flatten)]
    options: Options,
}

pub fn run(arguments: &Arguments, stop: &AtomicBool) -> Result<ExitCode, Fault> {
    let Arguments { options, resume, .. } = arguments;
    let stage = Stage::build(options.stage())?;
    let host = Host::read();
    let of = format!("commit {} on {}, {}", host.commit, host.name, host.kernel);
    let mut book = open(resume.as_deref(), &of)?;
    let plan = arguments.plan()?;
    let runs = plan.orders.len() as u64 * plan.contenders.len() as u64 * u64::from(plan.rounds);
    let bar = screen::bar(runs);
    bar.inc(book.cells.iter().map(|cell| cell.runs.len() as u64).sum());
    let start = Instant::now();
    let limit = arguments.at_most.map(Duration::from_secs);
    let mut go_on = |book: &Book| {
        resume.as_deref().map_or(Ok(()), |path| keep(path, book))?;
        Ok(limit.is_none_or(|limit| start.elapsed() < limit))
    };
    let filled = book.fill(&plan, &mut go_on, &mut |contender, order, round| {
        let name = format!("{} {} {}", order.workload.name(), contender.name, round + 1);
        let say = |what: &str| bar.set_message(format!("{name}: {what}"));
        let mut order = order.clone();
        if contender.kind == Kind::Ours {
            order.launch.backend.clone_from(&contender.name);
        }
        let run = measure::run(&stage, contender.kind, &order, stop, &say)?;
        bar.suspend(|| eprintln!("{name}: {}", screen::run_cells(&run).join("  ")));
        bar.inc(1);
        Ok(run)
    });
    bar.finish_and_clear();
    let missing = filled?;
    let heading = screen::heading(&host, &stage);
    arguments.tell(&book, &host, &heading, missing)?;
    Ok(if missing == 0 { ExitCode::SUCCESS } else { ExitCode::from(MORE) })
}

impl Arguments {
    fn plan(&self) -> Result<Plan, Fault> {
        let mut counts: Vec<_> = self.call_counts.iter().copied().map(Some).collect();
        if counts.is_empty() {
            counts.push(self.options.calls);
        }
        let mut orders = Vec::new();
        for workload in &self.workloads {
            for calls in &counts {
                let options = Options { calls: *calls, ..self.options.clone() };
                orders.push(options.order(*workload, Some(PPS_DEFAULT))?);
            }
        }
        let mut backends = self.backends.clone();
        if backends.is_empty() {
            backends.push(self.options.backend.clone());
        }
        let ours = |name| Contender { kind: Kind::Ours, name };
        let mut contenders: Vec<_> = backends.into_iter().map(ours).collect();
        if !self.alone {
            let name = Kind::Rtpengine.name().to_owned();
            contenders.push(Contender { kind: Kind::Rtpengine, name });
        }
        Ok(Plan { orders, contenders, rounds: self.runs })
    }

    /// Page, report and JSON.
    fn tell(&self, book: &Book, host: &Host, heading: &str, missing: usize) -> Result<(), Fault> {
        let pairs = book.pairs();
        let mut page = text(&pairs, heading);
        if missing > 0 {
            page.push_str(&format!("{missing} runs are missing: the same command makes them\n"));
        }
        print!("{page}");
        if !self.options.no_report {
            let report = Report {
                name: if self.alone { "alone" } else { "compare" },
                host,
                command: publish::command_line(),
                page: &page,
                raw: book,
                bars: bars(&pairs),
                unit: "us of CPU per relayed packet",
                curves: curves(book),
                more: Vec::new(),
            };
            println!("report: {}", report.write(&publish::results_folder())?.display());
        }
        if self.options.json {
            let results = Results { results: pairs.iter().map(Pair::row).collect() };
            println!("{}", json(&results)?);
        }
        Ok(())
    }
}

fn json<T: serde::Serialize>(of: &T) -> Result<String, Fault> {
    serde_json::to_string(of).map_err(|error| Fault::new(format!("JSON: {error}"), ""))
}

/// The book of an earlier run, or a new one.
fn open(path: Option<&Path>, of: &str) -> Result<Book, Fault> {
    let new = Book { of: of.to_owned(), ..Book::default() };
    let Some(path) = path.filter(|path| path.exists()) else { return Ok(new) };
    let text = fs::read_to_string(path).map_err(Fault::io(path.display()))?;
    let book: Book = serde_json::from_str(&text).map_err(|error| {
        Fault::new(format!("{}: {error}", path.display()), "name another file with --resume")
    })?;
    if book.of != of {
        let what = format!("{} holds runs of {}, this is {of}", path.display(), book.of);
        return Err(Fault::new(what, "runs of different builds are not mixed: name another file"));
    }
    Ok(book)
}

fn keep(path: &Path, book: &Book) -> Result<(), Fault> {
    let aside = path.with_extension("new");
    fs::write(&aside, json(book)?).map_err(Fault::io(aside.display()))?;
    fs::rename(&aside, path).map_err(Fault::io(path.display()))
}

fn bars(pairs: &[Pair]) -> Vec<Bar> {
    let mut bars: Vec<Bar> = Vec::new();
    for pair in pairs {
        let group = format!("{} {}", pair.workload.name(), pair.calls);
        let peer = pair.peer.first().map(|run| run.device.name.clone());
        let ours = (pair.backend.clone(), &pair.ours);
        for (of, runs) in [Some(ours), peer.map(|name| (name, &pair.peer))].into_iter().flatten() {
            let value = Pair::cost(runs).median / 1_000.0;
            if !bars.iter().any(|bar| (&bar.group, &bar.of) == (&group, &of)) {
                bars.push(Bar { group: group.clone(), of, value });
            }
        }
    }
    bars
}

/// The delay of the last run of each contender under the first order; runs of an earlier piece have
/// no curve any more.
fn curves(book: &Book) -> Vec<Curve> {
    let Some(first) = book.cells.first() else { return Vec::new() };
    let same = |cell: &&compare::Cell| (cell.workload, cell.calls) == (first.workload, first.calls);
    let last = |cell: &compare::Cell| {
        let points = cell.runs.last()?.delay_curve.clone();
        let of = format!("{}, {}", cell.name, cell.workload.name());
        (!points.is_empty()).then_some(Curve { of, points })
    };
    book.cells.iter().filter(same).filter_map(last).collect()
}

/// The page for people.
fn text(pairs: &[Pair], heading: &str) -> String {
    let mut rows = vec![columns()];
    rows.extend(pairs.iter().map(cells));
    let mut text = format!("{heading}\n{}\n", screen::table(&rows));
    for identity in compare::identities(pairs) {
        text.push_str(&format!("{} {}: {}\n", identity.name, identity.version, identity.tuning));
    }
    for pair in pairs {
        let name = format!("{} {} {}", pair.workload.name(), pair.calls, pair.backend);
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

fn columns() -> Vec<String> {
    [
        "workload",
        "calls",
        "backend",
        "runs",
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
    .to_vec()
}

fn cells(pair: &Pair) -> Vec<String> {
    let us = |spread: Spread| {
        format!(
            "{:.2} [{:.2}-{:.2}]",
            spread.median / 1_000.0,
            spread.least / 1_000.0,
            spread.most / 1_000.0
        )
    };
    let ratio = pair.ratio();
    let rate = Spread::of(pair.ours.iter().chain(&pair.peer).map(|run| run.pps));
    let of_peer = |text: String| if pair.peer.is_empty() { "-".to_owned() } else { text };
    vec![
        pair.workload.name().into(),
        pair.calls.to_string(),
        pair.backend.clone(),
        pair.ours.len().to_string(),
        format!("{:.1}", rate.median / 1_000.0),
        us(Pair::cost(&pair.ours)),
        of_peer(us(Pair::cost(&pair.peer))),
        of_peer(format!("{:.2} [{:.2}-{:.2}]", ratio.median, ratio.least, ratio.most)),
        screen::percent(Pair::loss(&pair.ours).median),
        of_peer(screen::percent(Pair::loss(&pair.peer).median)),
        format!("{:.0}", Pair::p99(&pair.ours).median),
        of_peer(format!("{:.0}", Pair::p99(&pair.peer).median)),
    ]
}

/// What one core of rtpengine carries here without loss.
const PPS_DEFAULT: u32 = 60_000;
/// Exit code: runs are missing.
const MORE: u8 = 3;
