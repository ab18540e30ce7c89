//! What all commands that use the stage understand.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::account::Accounting;
use crate::device::{CALLS_MAX, Launch};
use crate::fault::Fault;
use crate::measure::Order;
use crate::stage::{Plan, Receive};
use crate::workload::Workload;

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Calls that are open at a time [default: 3,000 directions with packets: 1500 calls both ways,
    /// 3000 one way]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=CALLS_MAX as i64))]
    pub calls: Option<u32>,
    /// Packets per second through the device, all calls together [default: one packet for each
    /// --ptime of each direction]
    #[arg(long, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub pps: Option<u32>,
    /// Length of the measured window
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: u32,
    /// Seconds of traffic before the window
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=60))]
    pub warmup: u32,
    /// Threads of the device that relay, one core each
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: u32,
    /// Milliseconds of voice in a packet
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(5..=20))]
    pub ptime: u32,
    /// Calls that are replaced each second in `churn`
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub churn: u32,
    /// How the device's packets are received; the same for every device [default: coal200; asis
    /// with --interfaces]
    #[arg(long, value_enum)]
    pub receive: Option<Receive>,
    /// For a machine that is never quiet: the device and its receive thread run above ordinary
    /// programs (SCHED_FIFO), receive mode threaded, and a packet is charged with their time alone
    #[arg(long)]
    pub threads_only: bool,
    /// Core of generator and sink
    #[arg(long, default_value_t = 0)]
    pub load_core: usize,
    /// Cores of the device [default: those above --load-core, one for each worker]
    #[arg(long, value_delimiter = ',')]
    pub device_cores: Vec<usize>,
    /// Two real interfaces joined by a cable, load side first, instead of a veth pair. They move
    /// into namespaces of the bench and come back
    #[arg(long, num_args = 2, value_names = ["LOAD", "DEVICE"])]
    pub interfaces: Option<Vec<String>>,
    /// Our media backend: auto, packet, uring, mmsg, xdp, or xdp-tx: the kernel relays what it may
    #[arg(long, default_value = "auto")]
    pub backend: String,
    /// The gateway's binary [default: `trunkline` beside this one]
    #[arg(long)]
    pub trunkline: Option<PathBuf>,
    #[arg(long, default_value = "/usr/bin/rtpengine")]
    pub rtpengine: PathBuf,
    /// Before each run, wait up to this many seconds for the device's cores to be idle
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub wait_quiet: u32,
    /// The last line of the output is one JSON object
    #[arg(long)]
    pub json: bool,
    /// Write no report under bench/results
    #[arg(long)]
    pub no_report: bool,
}

impl Options {
    pub fn stage(&self) -> Plan {
        let workers = self.workers as usize;
        let above = (self.load_core + 1..).take(workers).collect();
        let named = self.device_cores.clone();
        let interfaces = self.interfaces.as_deref().and_then(|names| match names {
            [load, device] => Some((load.clone(), device.clone())),
            _ => None,
        });
        let usual = match (&interfaces, self.threads_only) {
            (_, true) => Receive::Threaded,
            (Some(_), false) => Receive::Asis,
            (None, false) => Receive::Coal200,
        };
        Plan {
            receive: self.receive.unwrap_or(usual),
            accounting: if self.threads_only { Accounting::Threads } else { Accounting::Core },
            load_core: self.load_core,
            device_cores: if named.is_empty() { above } else { named },
            interfaces,
        }
    }

    /// One run of `workload`. `pps_default` is used when none was asked for.
    ///
    /// # Errors
    /// More workers than cores for them; a receive mode whose time belongs to no thread.
    pub fn order(&self, workload: Workload, pps_default: Option<u32>) -> Result<Order, Fault> {
        let cores = self.stage().device_cores.len();
        if cores < self.workers as usize {
            let what = format!("{} workers, but {cores} --device-cores", self.workers);
            return Err(Fault::new(what, "name one core for each worker"));
        }
        if self.threads_only && !self.stage().receive.is_threaded() {
            return Err(Fault::new(
                "--threads-only charges the receive thread, and this receive mode has none",
                "leave out --receive, or choose --receive threaded",
            ));
        }
        let calls = self.calls.unwrap_or_else(|| workload.calls_default());
        let natural = calls * workload.ways().len() as u32 * 1_000 / self.ptime;
        Ok(Order {
            workload,
            calls,
            pps: self.pps.or(pps_default).unwrap_or(natural),
            seconds: self.seconds,
            warmup: Duration::from_secs(self.warmup.into()),
            ptime: self.ptime,
            churn: self.churn,
            wait_quiet: Duration::from_secs(self.wait_quiet.into()),
            launch: Launch {
                workers: self.workers as usize,
                calls,
                backend: self.backend.clone(),
                trunkline: self.trunkline.clone().unwrap_or_else(beside_us),
                rtpengine: self.rtpengine.clone(),
            },
        })
    }
}

pub fn beside_us() -> PathBuf {
    let us = std::env::current_exe().unwrap_or_default();
    us.with_file_name("trunkline")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(words: &str) -> Result<Options, clap::Error> {
        let words = std::iter::once("bench").chain(words.split_ascii_whitespace());
        Line::try_parse_from(words).map(|line| line.options)
    }

    #[test]
    fn fifty_packets_a_second_each_way_unless_told_otherwise() {
        let options = parse("").unwrap();
        let order = options.order(Workload::Relay, None).unwrap();
        assert_eq!((order.calls, order.pps), (1_500, 150_000));
        let order = options.order(Workload::Cm80In, None).unwrap();
        assert_eq!((order.calls, order.pps), (3_000, 150_000));
        assert_eq!(options.order(Workload::Relay, Some(60_000)).unwrap().pps, 60_000);
        let options = parse("--calls 10 --ptime 10 --seconds 3").unwrap();
        let order = options.order(Workload::Relay, None).unwrap();
        assert_eq!((order.pps, order.seconds, order.ptime), (2_000, 3, 10));
        let options = parse("--pps 80000").unwrap();
        assert_eq!(options.order(Workload::Relay, Some(60_000)).unwrap().pps, 80_000);
    }

    #[test]
    fn cores_follow_workers_or_are_named() {
        assert_eq!(parse("").unwrap().stage().device_cores, [1]);
        assert_eq!(parse("--workers 3").unwrap().stage().device_cores, [1, 2, 3]);
        let options = parse("--load-core 1 --device-cores 0 --receive threaded").unwrap();
        let stage = options.stage();
        assert_eq!((stage.load_core, stage.device_cores), (1, vec![0]));
        assert_eq!(stage.receive, Receive::Threaded);
        assert_eq!(parse("--receive coal400").unwrap().stage().receive, Receive::Coal400);
        assert_eq!(parse("--threads-only").unwrap().stage().receive, Receive::Threaded);
        let softirq = parse("--threads-only --receive coal200").unwrap();
        assert!(softirq.order(Workload::Relay, None).is_err());
        let too_many = parse("--workers 2 --device-cores 1").unwrap();
        assert!(too_many.order(Workload::Relay, None).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            "--calls 0",
            "--calls 99999",
            "--seconds 0",
            "--pps 1",
            "--receive x",
            "--ptime 100",
            "--interfaces eth1",
            "--workers 0",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
        let real = parse("--interfaces eth1 eth2").unwrap().stage();
        assert_eq!(real.interfaces, Some(("eth1".into(), "eth2".into())));
        assert_eq!(real.receive, Receive::Asis);
        assert_eq!(parse("").unwrap().stage().receive, Receive::Coal200);
    }
}
