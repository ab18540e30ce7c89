//! `bench calls`: SIP load on the whole gateway.

mod page;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;

use crate::fault::Fault;
use crate::gateway::{Launch, Legs, may_come_first};
use crate::options::beside_us;
use crate::publish::{self, Bar, Report};
use crate::screen;
use crate::sip_load::{Memory, Rig, Rung, knee};
use crate::stage::{Host, allow_files, version_of};

/// Measure signalling: calls per second to the knee, added delay, memory per call, overload
#[derive(clap::Args)]
#[command(after_help = "Example:
  bench calls                                 from UDP and RTP to TLS and SRTP: all parts
  bench calls udp tcp tls --parts ramp --seconds 2
  bench calls udp --parts overload --knee 1000 --max-cps 1000")]
pub struct Arguments {
    /// Transports of caller and callee
    #[arg(value_enum, default_value = "udp-to-tls")]
    legs: Vec<Legs>,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_value = "ramp,memory,overload")]
    parts: Vec<Part>,
    /// Calls per second of the ramp; it ends at the first that the gateway does not carry
    #[arg(long, value_delimiter = ',', default_value = RATES, value_parser = rate)]
    rates: Vec<f64>,
    /// Length of each step
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// From answer to BYE, milliseconds
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(0..=600_000))]
    hold: u32,
    /// Calls that are open at a time when memory is looked at
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=7_000))]
    live: u32,
    /// Multiples of the knee
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,6,8,10",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    overload: Vec<u32>,
    /// The knee, calls per second, when the ramp is left out
    #[arg(long, value_parser = rate)]
    knee: Option<f64>,
    /// `max_cps` of the caller's trunk: what is above it is refused with 503 [default: no limit]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max_cps: Option<u32>,
    /// Our media backend: auto, packet, uring, mmsg, xdp
    #[arg(long, default_value = "auto")]
    backend: String,
    /// Core of the peers
    #[arg(long, default_value_t = 0)]
    load_core: usize,
    /// Core of the signalling process; nothing else of the bench runs there
    #[arg(long, default_value_t = 1)]
    core: usize,
    /// Core of the data plane's worker [default: core 2 if there is one, else that of the peers]
    #[arg(long)]
    media_core: Option<usize>,
    /// The gateway's binary [default: `trunkline` beside this one]
    #[arg(long)]
    trunkline: Option<PathBuf>,
    /// The last line of the output is one JSON object
    #[arg(long)]
    json: bool,
    /// Write no report under bench/results
    #[arg(long)]
    no_report: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Part {
    Ramp,
    Memory,
    Overload,
}

/// Everything of one kind of legs.
#[derive(Serialize)]
struct Measured {
    legs: Legs,
    /// The peers without a gateway.
    straight: Option<Rung>,
    ramp: Vec<Rung>,
    memory: Option<Memory>,
    overload: Vec<Rung>,
}

pub fn run(arguments: &Arguments, stop: &AtomicBool) -> Result<ExitCode, Fault> {
    // TCP and TLS take few descriptors; media backends with a socket per port take four for a call.
    allow_files(u64::from(arguments.live) * 4 + 1_000)?;
    let host = Host::read();
    let bar = screen::bar(arguments.legs.len() as u64 * arguments.parts.len() as u64);
    let mut done = Vec::new();
    for legs in &arguments.legs {
        let say = |what: &str| bar.set_message(format!("{}: {what}", legs.name()));
        let rig = Rig {
            launch: arguments.launch(&host),
            legs: *legs,
            load_core: arguments.load_core,
            hold: Duration::from_millis(arguments.hold.into()),
            seconds: arguments.seconds,
            stop,
            say: &say,
        };
        done.push(arguments.measure(&rig, &|| bar.inc(1))?);
    }
    bar.finish_and_clear();
    let page = page::page(&done, &arguments.heading(&host));
    print!("{page}");
    if !arguments.no_report {
        println!("report: {}", arguments.publish(&host, &page, &done)?);
    }
    if arguments.json {
        println!("{}", serde_json::json!({ "calls": done }));
    }
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn launch(&self, host: &Host) -> Launch {
        let free = if host.cores > 2 { 2 } else { self.load_core };
        let media_core = self.media_core.unwrap_or(free);
        Launch {
            trunkline: self.trunkline.clone().unwrap_or_else(beside_us),
            core: self.core,
            media_core,
            backend: self.backend.clone(),
            comes_first: media_core == self.load_core && may_come_first(),
            max_cps: self.max_cps,
        }
    }

    fn measure(&self, rig: &Rig<'_>, done: &dyn Fn()) -> Result<Measured, Fault> {
        let has = |part| self.parts.contains(&part);
        let (mut straight, mut ramp) = (None, Vec::new());
        if has(Part::Ramp) {
            straight = Some(rig.straight(STRAIGHT_RATE)?);
            ramp = rig.ramp(&self.rates)?;
            done();
        }
        let mut memory = None;
        if has(Part::Memory) {
            memory = Some(rig.memory(self.live, MEMORY_RATE)?);
            done();
        }
        let mut overload = Vec::new();
        if has(Part::Overload) {
            let found = knee(&ramp).map(|rung| rung.rate);
            let knee = self.knee.or(found).ok_or_else(|| {
                Fault::new(
                    "no knee to take multiples of",
                    "name it with --knee, or add --parts ramp",
                )
            })?;
            overload = rig.overload(knee, &self.overload)?;
            done();
        }
        Ok(Measured { legs: rig.legs, straight, ramp, memory, overload })
    }

    /// Machine and rules of measurement.
    fn heading(&self, host: &Host) -> String {
        let launch = self.launch(host);
        format!(
            "{} | {} x {} | Linux {} | commit {} | {}\n\
             peers on core {}, signaling on core {}, data plane ({}) on core {}{}; loopback; calls of \
             {} ms without media packets\n\
             delay = a peer hands the message to its transport, until the other peer receives it: by \
             the kernel's clock (UDP), when it is read (TCP, TLS)\n\
             CPU = everything on the core of signaling by offered call, wall - (idle + iowait); \
             threads = the process's own\n\
             carried = {:.1} % of the calls end cleanly, p99 of both delays under {:.0} ms\n",
            host.name,
            host.cores,
            host.cpu,
            host.kernel,
            host.commit,
            version_of(Command::new(&launch.trunkline).arg("--version")),
            self.load_core,
            launch.core,
            launch.backend,
            launch.media_core,
            if launch.comes_first { ", before the peers" } else { "" },
            self.hold,
            page::SUCCESS_PERCENT,
            page::DELAY_MS,
        )
    }

    fn publish(&self, host: &Host, page: &str, done: &[Measured]) -> Result<String, Fault> {
        let cost = |of: &Measured| of.ramp.iter().map(cost_bar(of.legs)).collect::<Vec<_>>();
        let goodput: Vec<Bar> = done.iter().flat_map(page::goodput_bars).collect();
        let report = Report {
            name: "calls",
            host,
            command: publish::command_line(),
            page,
            raw: &done,
            bars: done.iter().flat_map(cost).collect(),
            unit: "us of CPU per call, by calls/s",
            curves: Vec::new(),
            more: vec![("goodput", goodput, "calls/s, by calls/s offered")],
        };
        let folder = report.write(&publish::results_folder())?;
        Ok(folder.display().to_string())
    }
}

fn cost_bar(legs: Legs) -> impl Fn(&Rung) -> Bar {
    move |rung| Bar {
        group: format!("{:.0}", rung.rate),
        of: legs.name().into(),
        value: rung.core_ns / 1_000.0,
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (1.0..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("calls per second, 1 to 100000".into()),
    }
}

const RATES: &str = "100,200,400,600,800,1000,1250,1500,1750,2000,2500,3000";
/// A rate at which the peers have time to spare.
const STRAIGHT_RATE: f64 = 200.0;
/// How fast calls are opened whose memory is looked at.
const MEMORY_RATE: f64 = 300.0;
