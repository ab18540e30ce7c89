//! The page of `bench calls`.

use super::Measured;
use crate::publish::Bar;
use crate::screen;
use crate::sip_load::{Rung, knee};

/// What "carried" means, for the heading; see `sip_load.rs`.
pub const SUCCESS_PERCENT: f64 = 99.9;
pub const DELAY_MS: f64 = 50.0;

/// Headlines, one table of all steps, then what failed and why.
pub fn page(done: &[Measured], heading: &str) -> String {
    let mut text = String::new();
    for of in done {
        text.push_str(&headlines(of));
    }
    text.push_str(&format!("\n{heading}\n"));
    let mut rows = vec![columns()];
    for of in done {
        let name = of.legs.name();
        rows.extend(of.straight.iter().map(|rung| cells(&format!("{name}, no gateway"), rung)));
        rows.extend(of.ramp.iter().map(|rung| cells(name, rung)));
        rows.extend(of.overload.iter().map(|rung| cells(&format!("{name}, overload"), rung)));
    }
    if rows.len() > 1 {
        text.push_str(&screen::table(&rows));
    }
    for of in done {
        let parts = of.straight.iter().chain(&of.ramp).chain(&of.overload);
        parts.for_each(|rung| text.push_str(&remarks(of.legs.name(), rung)));
    }
    text
}

fn headlines(of: &Measured) -> String {
    let name = of.legs.name();
    let mut text = String::new();
    if let Some(last) = of.ramp.last() {
        let carried = knee(&of.ramp);
        let rate = carried.map_or(0.0, |rung| rung.rate);
        let end = match last.failing() {
            None => "the end of the ramp, not of the gateway".to_owned(),
            Some(why) if last.load_bound() => {
                format!("above it: {why}; the load itself was at its limit")
            }
            Some(why) => format!("above it: {why}"),
        };
        text.push_str(&format!("{rate:>8.0}  calls/s carried, {name} ({end})\n"));
        if let Some(rung) = carried {
            text.push_str(&format!(
                "{:>8.0}  calls/s per core of signaling, {name}, by the cost of a call at {rate:.0}: \
                 {:.0} us\n{:>8.2}  ms of added delay at p99 there: INVITE {:.2}, 200 {:.2}\n",
                rung.per_core(),
                rung.core_ns / 1_000.0,
                rung.outcome.invite.p99.max(rung.outcome.answer.p99) / 1_000.0,
                rung.outcome.invite.p99 / 1_000.0,
                rung.outcome.answer.p99 / 1_000.0,
            ));
        }
    }
    if let Some(memory) = &of.memory {
        text.push_str(&format!(
            "{:>8.1}  kB of signaling's own memory per live call, {name}: {} calls, {:.1} MB before, \
             {:.1} with them, {:.1} after\n",
            memory.per_call() / 1_000.0,
            memory.calls,
            memory.before as f64 / 1e6,
            memory.with_calls as f64 / 1e6,
            memory.after as f64 / 1e6,
        ));
    }
    text
}

fn columns() -> Vec<String> {
    [
        "legs",
        "asked/s",
        "offered/s",
        "good/s",
        "failed",
        "us/call",
        "threads",
        "media",
        "INVITE p50 ms",
        "p99",
        "200 p50 ms",
        "p99",
        "setup p99 ms",
        "resent",
        "repeated",
        "late ms",
        "load core",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn cells(name: &str, rung: &Rung) -> Vec<String> {
    let outcome = &rung.outcome;
    let ms = |us: f64| format!("{:.2}", us / 1_000.0);
    let us = |ns: f64| format!("{:.0}", ns / 1_000.0);
    vec![
        name.into(),
        format!("{:.0}", rung.rate),
        format!("{:.0}", outcome.offered_rate()),
        format!("{:.0}", outcome.goodput()),
        outcome.failures.values().sum::<u32>().to_string(),
        us(rung.core_ns),
        us(rung.signaling_ns),
        us(rung.dataplane_ns),
        ms(outcome.invite.p50),
        ms(outcome.invite.p99),
        ms(outcome.answer.p50),
        ms(outcome.answer.p99),
        ms(outcome.setup.p99),
        outcome.resent.to_string(),
        outcome.repeated.to_string(),
        ms(outcome.late_max_us),
        format!("{:.0}%", rung.load_share * 100.0),
    ]
}

/// Failures by cause, and what spoils the figures.
fn remarks(name: &str, rung: &Rung) -> String {
    let mut text = String::new();
    for (cause, count) in &rung.outcome.failures {
        text.push_str(&format!("{name} at {:.0}/s: {count} calls: {cause}\n", rung.rate));
    }
    if rung.foreign_share > FOREIGN_SHARE {
        text.push_str(&format!(
            "{name} at {:.0}/s: FLAWED: other programs took {:.1} % of signaling's core\n",
            rung.rate,
            rung.foreign_share * 100.0
        ));
    }
    if rung.load_bound() {
        text.push_str(&format!(
            "{name} at {:.0}/s: the load itself was at its limit: delays and failures may be its own\n",
            rung.rate
        ));
    }
    text
}

/// What was offered and what came to a clean end, for each step above the knee.
pub fn goodput_bars(of: &Measured) -> Vec<Bar> {
    let bars = |rung: &Rung| {
        let group = format!("{:.0}", rung.outcome.offered_rate());
        let value = rung.outcome.goodput();
        [
            Bar { group: group.clone(), of: format!("{} good", of.legs.name()), value },
            Bar {
                group,
                of: format!("{} failed", of.legs.name()),
                value: rung.outcome.offered_rate() - value,
            },
        ]
    };
    of.overload.iter().flat_map(bars).collect()
}

/// Foreign time above this share of the core spoils a figure, as with media.
const FOREIGN_SHARE: f64 = 0.02;
