//! `bench selftest`: does the bench itself lose, delay or overlook anything?

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use crate::device::Kind;
use crate::device::mirror::Damage;
use crate::fault::Fault;
use crate::measure::{self, Run};
use crate::options::Options;
use crate::screen;
use crate::stage::{Host, Stage};
use crate::workload::Workload;

/// Prove the bench: no loss of its own at the rate asked for, and every injected fault reported
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    options: Options,
}

pub fn run(arguments: &Arguments, stop: &AtomicBool) -> Result<ExitCode, Fault> {
    let options = &arguments.options;
    let stage = Stage::build(options.stage())?;
    let host = Host::read();
    let bar = screen::bar(LOOPED.len() as u64 + CONTROLS.len() as u64);
    let say = |what: &str| bar.set_message(what.to_owned());
    let mut rows = vec![screen::run_columns()];
    let mut findings = Vec::new();
    for workload in LOOPED {
        let run = measure::run_looped(&stage, &options.order(workload, None)?, stop, &say)?;
        findings.push((format!("loop {}", workload.name()), judge_loop(&run)));
        rows.push(screen::run_cells(&run));
        bar.inc(1);
    }
    let mut bare = 0.0;
    for (damage, judge) in CONTROLS {
        let order = options.order(Workload::Relay, Some(CONTROL_PPS))?;
        let run = measure::run(&stage, Kind::Mirror(damage), &order, stop, &say)?;
        if damage == Damage::None {
            bare = run.delay.p50;
        }
        findings.push((format!("control {damage:?}"), judge(&run, bare)));
        rows.push(screen::run_cells(&run));
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!("{}\n{}", screen::heading(&host, &stage), screen::table(&rows));
    let mut failed = 0;
    for (name, finding) in &findings {
        let (mark, text) = match finding {
            Ok(text) => ("pass", text),
            Err(text) => ("FAIL", text),
        };
        failed += usize::from(finding.is_err());
        println!("{mark}  {name}: {text}");
    }
    if options.json {
        let all: Vec<_> = findings
            .iter()
            .map(|(name, finding)| serde_json::json!({"name": name, "passed": finding.is_ok()}))
            .collect();
        println!("{}", serde_json::json!({ "selftest": all }));
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

type Finding = Result<String, String>;
/// Takes the run and the mirror's median delay without damage.
type Judge = fn(&Run, f64) -> Finding;

/// Without a device nothing may be missing.
fn judge_loop(run: &Run) -> Finding {
    let text = format!(
        "{} of {} packets at {:.1} kpps, {} compared whole; load thread {:.0} % of its core; delay \
         p50 {:.0} us, p99 {:.0} us{}",
        run.counts.delivered,
        run.sent,
        run.pps / 1_000.0,
        run.counts.checked,
        run.load_share * 100.0,
        run.delay.p50,
        run.delay.p99,
        wrongs(run),
    );
    let clean = run.lost == 0 && run.sink_dropped == 0 && clean_but(run, |_| 0);
    if clean && run.sent > 0 && run.counts.checked > 0 { Ok(text) } else { Err(text) }
}

fn judge_none(run: &Run, _: f64) -> Finding {
    let text = format!("{} lost of {}{}", run.lost, run.sent, wrongs(run));
    if run.loss() < TOLERATED && clean_but(run, |_| 0) { Ok(text) } else { Err(text) }
}

fn judge_loss(run: &Run, _: f64) -> Finding {
    let text =
        format!("1 % was dropped, {} is reported{}", screen::percent(run.loss()), wrongs(run));
    let seen = (0.0085..0.0115).contains(&run.loss()) && clean_but(run, |_| 0);
    if seen { Ok(text) } else { Err(text) }
}

/// `bare` is the median delay of the mirror without damage.
fn judge_delay(run: &Run, bare: f64) -> Finding {
    let added = (run.delay.p50 - bare) / 1e3;
    let text = format!("5 ms were added, {added:.2} ms are reported{}", wrongs(run));
    // The mirror looks at the clock every 0.1 ms, and a busy machine makes it look later.
    let seen = (4.5..7.0).contains(&added) && run.loss() < TOLERATED;
    if seen { Ok(text) } else { Err(text) }
}

fn judge_corruption(run: &Run, _: f64) -> Finding {
    let share =
        run.counts.corrupted as f64 / (run.counts.checked + run.counts.corrupted).max(1) as f64;
    let text = format!(
        "1 % was spoilt, {} of the packets compared whole are reported{}",
        screen::percent(share),
        wrongs(run)
    );
    let seen = (0.007..0.013).contains(&share) && clean_but(run, |run| run.counts.corrupted);
    if seen { Ok(text) } else { Err(text) }
}

fn judge_repetition(run: &Run, _: f64) -> Finding {
    let share = run.counts.duplicates as f64 / run.counts.delivered.max(1) as f64;
    let text = format!("1 % was sent twice, {} is reported{}", screen::percent(share), wrongs(run));
    // Counted over the whole run, the window is a part of it.
    let seen = share > 0.009 && clean_but(run, |run| run.counts.duplicates);
    if seen { Ok(text) } else { Err(text) }
}

fn judge_misdelivery(run: &Run, _: f64) -> Finding {
    let wrong = run.counts.misdelivered;
    let share = wrong as f64 / (run.counts.delivered + wrong).max(1) as f64;
    let text = format!("1 % went astray, {} is reported{}", screen::percent(share), wrongs(run));
    let seen = share > 0.009 && clean_but(run, |run| run.counts.misdelivered);
    if seen { Ok(text) } else { Err(text) }
}

/// Whether nothing is wrong but what `wanted` counts.
fn clean_but(run: &Run, wanted: fn(&Run) -> u64) -> bool {
    let counts = run.counts;
    let wrong = counts.corrupted
        + counts.unauthentic
        + counts.misdelivered
        + counts.duplicates
        + counts.reordered;
    wrong == wanted(run)
}

fn wrongs(run: &Run) -> String {
    let counts = run.counts;
    format!(
        "; {} corrupted, {} unauthentic, {} misdelivered, {} twice, {} reordered",
        counts.corrupted,
        counts.unauthentic,
        counts.misdelivered,
        counts.duplicates,
        counts.reordered
    )
}

/// Plain, and with the decryption that the sink does on secure legs.
const LOOPED: [Workload; 3] = [Workload::Relay, Workload::Cm80Out, Workload::Dtmf];
const CONTROLS: [(Damage, Judge); 6] = [
    (Damage::None, judge_none),
    (Damage::Loss, judge_loss),
    (Damage::Delay, judge_delay),
    (Damage::Corruption, judge_corruption),
    (Damage::Repetition, judge_repetition),
    (Damage::Misdelivery, judge_misdelivery),
];
/// The mirror is a simple relay; its rate is not a claim.
const CONTROL_PPS: u32 = 20_000;
/// Loss that a busy machine may cause in a control, far below what is injected.
const TOLERATED: f64 = 0.001;

#[cfg(test)]
mod tests;
