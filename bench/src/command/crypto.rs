//! `bench crypto`: SRTP beside libsrtp. Needs no stage and no root.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::compare::Spread;
use crate::crypto::{self, Cost, Directions, Libsrtp, SUITES};
use crate::fault::Fault;
use crate::publish::{self, Bar, Report};
use crate::screen;
use crate::stage::Host;

/// Measure SRTP protect and unprotect per suite, ours and libsrtp's
#[derive(clap::Args)]
pub struct Arguments {
    /// Contexts that packets take turns among
    #[arg(long, value_delimiter = ',', default_value = "1,1000",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    contexts: Vec<u32>,
    /// Blocks of 60 rounds of 1,024 packets, alternating between both sides
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    blocks: u32,
    /// Measure ours alone
    #[arg(long)]
    no_libsrtp: bool,
    /// The last line of the output is one JSON object
    #[arg(long)]
    json: bool,
    /// Write no report under bench/results
    #[arg(long)]
    no_report: bool,
}

pub fn run(arguments: &Arguments, stop: &AtomicBool) -> Result<ExitCode, Fault> {
    let libsrtp = if arguments.no_libsrtp { None } else { Some(Libsrtp::build()?) };
    let bar = screen::bar((SUITES.len() * arguments.contexts.len()) as u64);
    let mut costs = Vec::new();
    for suite in SUITES {
        for contexts in &arguments.contexts {
            if stop.load(Ordering::Relaxed) {
                return Err(Fault::new("interrupted", ""));
            }
            costs.push(crypto::cost(suite, *contexts, arguments.blocks, libsrtp.as_ref())?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let host = Host::read();
    let page = page(&costs, &host, libsrtp.as_ref());
    print!("{page}");
    if !arguments.no_report {
        let report = Report {
            name: "crypto",
            host: &host,
            command: publish::command_line(),
            page: &page,
            raw: &costs,
            bars: bars(&costs),
            unit: "ns to protect and unprotect",
            curves: Vec::new(),
            more: Vec::new(),
        };
        println!("report: {}", report.write(&publish::results_folder())?.display());
    }
    if arguments.json {
        println!("{}", serde_json::json!({ "host": host, "crypto": costs }));
    }
    Ok(ExitCode::SUCCESS)
}

fn page(costs: &[Cost], host: &Host, libsrtp: Option<&Libsrtp>) -> String {
    let Host { name, cpu, kernel, commit, .. } = host;
    let version = libsrtp.map(|libsrtp| format!("libsrtp {}\n", libsrtp.version()));
    format!(
        "{name} | {cpu} | Linux {kernel} | commit {commit}\n{}ns per packet of 172 octets, median \
         [least-most] of rounds of 1,024 packets\n\n{}",
        version.unwrap_or_default(),
        screen::table(&rows(costs))
    )
}

fn bars(costs: &[Cost]) -> Vec<Bar> {
    let bar = |cost: &Cost, of: &str, directions: Directions| Bar {
        group: cost.suite.replace("_HMAC_SHA1", "").replace("AEAD_", ""),
        of: format!("{of}, {} contexts", cost.contexts),
        value: directions.protect.median + directions.unprotect.median,
    };
    let both = |cost: &Cost| {
        let theirs = cost.libsrtp.map(|theirs| bar(cost, "libsrtp", theirs));
        std::iter::once(bar(cost, "ours", cost.ours)).chain(theirs).collect::<Vec<_>>()
    };
    costs.iter().flat_map(both).collect()
}

fn rows(costs: &[Cost]) -> Vec<Vec<String>> {
    let head = [
        "suite",
        "contexts",
        "protect ours",
        "libsrtp",
        "ratio",
        "unprotect ours",
        "libsrtp",
        "ratio",
    ];
    let spread = |s: Spread| format!("{:.0} [{:.0}-{:.0}]", s.median, s.least, s.most);
    let pair = |ours: Spread, theirs: Option<Spread>| {
        let ratio = theirs.map(|theirs| format!("{:.1}", theirs.median / ours.median.max(1e-9)));
        let absent = || String::from("-");
        [spread(ours), theirs.map_or_else(absent, spread), ratio.unwrap_or_else(absent)]
    };
    let rows = costs.iter().map(|cost| {
        let theirs = cost.libsrtp;
        let mut row = vec![cost.suite.to_owned(), cost.contexts.to_string()];
        row.extend(pair(cost.ours.protect, theirs.map(|t| t.protect)));
        row.extend(pair(cost.ours.unprotect, theirs.map(|t| t.unprotect)));
        row
    });
    std::iter::once(head.map(str::to_owned).to_vec()).chain(rows).collect()
}
