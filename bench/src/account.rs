//! CPU accounting of the cores that carry the device under test.
//!
//! ```text
//! busy of a core = wall - (idle + iowait)          /proc/stat, exact with NO_HZ idle
//!   of which: process (every thread of the device, /proc/PID/task/*/schedstat)
//!             receive threads (threaded NAPI kthread, ksoftirqd of the core)
//!             rest (interrupts and softirq that hit the idle core, tasks of others)
//! ```
//! Everything on the core is billed to the device, because the receive path of a packet runs in
//! interrupts that no process pays for. iowait counts as idle: a thread that waits in an io_uring
//! sleeps there. The rule is the same for every device.
//!
//! `user` time on the core that the device did not spend is somebody else's program; it cannot be
//! subtracted honestly, so a run that has much of it is marked as disturbed.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// What a packet is charged with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accounting {
    /// Everything that ran on the device's cores. Needs cores that nobody else uses.
    #[default]
    Core,
    /// The device's threads and the kernel's receive threads, at a priority that other programs do
    /// not interrupt. It leaves out interrupts and wake-ups from idle, and so flatters every device
    /// alike; for machines that are never quiet.
    Threads,
}

/// One `cpuN` line of /proc/stat, in ticks of 1/100 s.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CoreTicks {
    pub user: u64,
    pub nice: u64,
    pub system: u64,
    pub idle: u64,
    pub iowait: u64,
    pub irq: u64,
    pub softirq: u64,
    pub steal: u64,
}

impl CoreTicks {
    /// The line of `core` in the text of /proc/stat.
    pub fn parse(text: &str, core: usize) -> Option<CoreTicks> {
        let name = format!("cpu{core}");
        let line = text.lines().find(|line| line.split(' ').next() == Some(&name))?;
        let mut numbers = line.split_ascii_whitespace().skip(1).map(|word| word.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(CoreTicks {
            user: next()?,
            nice: next()?,
            system: next()?,
            idle: next()?,
            iowait: next()?,
            irq: next()?,
            softirq: next()?,
            steal: next()?,
        })
    }

    fn asleep(&self) -> u64 {
        self.idle + self.iowait
    }
}

/// CPU time of a thread in nanoseconds: the first number of its schedstat.
pub fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// utime of /proc/PID/stat in ticks. The command name may hold spaces and parentheses.
pub fn parse_utime(text: &str) -> Option<u64> {
    let (_, after_name) = text.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(UTIME_AFTER_NAME)?.parse().ok()
}

/// What is accounted as the device's own execution.
#[derive(Clone, Debug)]
pub enum Executor {
    /// Every thread of a process.
    Process(u32),
    /// One thread of this process.
    Thread(u32),
}

/// What is watched.
#[derive(Clone, Debug)]
pub struct Watch {
    pub cores: Vec<usize>,
    pub device: Executor,
    /// Threads of the kernel that receive for the device: NAPI kthreads and ksoftirqd.
    pub receivers: Vec<u32>,
}

/// All clocks at one instant.
#[derive(Clone, Debug)]
pub struct Sample {
    at: Instant,
    cores: Vec<CoreTicks>,
    device_ns: u64,
    device_user: u64,
    receivers_ns: u64,
}

impl Sample {
    /// Reads everything that `watch` names.
    pub fn take(watch: &Watch) -> io::Result<Sample> {
        let stat = fs::read_to_string("/proc/stat")?;
        let at = Instant::now();
        let missing = || io::Error::other("/proc/stat has no line for a watched core");
        let cores: Option<Vec<_>> =
            watch.cores.iter().map(|core| CoreTicks::parse(&stat, *core)).collect();
        let (device_ns, device_user) = executed(&watch.device)?;
        let receivers_ns = watch.receivers.iter().map(|pid| thread_ns(*pid, *pid)).sum();
        Ok(Sample { at, cores: cores.ok_or_else(missing)?, device_ns, device_user, receivers_ns })
    }

    /// What happened between `earlier` and this one.
    pub fn since(&self, earlier: &Sample) -> Usage {
        let wall = self.at.duration_since(earlier.at);
        let pairs = || self.cores.iter().zip(&earlier.cores);
        let ticks = |of: fn(&CoreTicks) -> u64| -> u64 {
            pairs().map(|(now, then)| of(now).saturating_sub(of(then))).sum()
        };
        let wall_ns = nanos(wall) * self.cores.len() as u64;
        let asleep = ticks(CoreTicks::asleep) * TICK_NS;
        let others = ticks(|core| core.user + core.nice)
            .saturating_sub(self.device_user.saturating_sub(earlier.device_user));
        Usage {
            wall_ns,
            busy_ns: wall_ns.saturating_sub(asleep),
            process_ns: self.device_ns.saturating_sub(earlier.device_ns),
            receivers_ns: self.receivers_ns.saturating_sub(earlier.receivers_ns),
            foreign_ns: others * TICK_NS,
            steal_ns: ticks(|core| core.steal) * TICK_NS,
        }
    }
}

/// CPU time between two samples, in nanoseconds, summed over the device's cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    pub wall_ns: u64,
    /// All that ran on the cores: what a packet is charged with.
    pub busy_ns: u64,
    pub process_ns: u64,
    pub receivers_ns: u64,
    /// User time of programs that are not the device, by tick sampling.
    pub foreign_ns: u64,
    pub steal_ns: u64,
}

impl Usage {
    /// Whether other programs or the hypervisor took so much that the figure says nothing.
    pub fn disturbed(&self) -> bool {
        (self.foreign_ns + self.steal_ns) as f64 > DISTURBED_SHARE * self.wall_ns as f64
    }
}

/// The kernel's receive threads that run for a device: by their names.
pub fn receivers(interface: &str, cores: &[usize]) -> Vec<u32> {
    let softirq: Vec<String> = cores.iter().map(|core| format!("ksoftirqd/{core}")).collect();
    // The kernel cuts names to 15 octets.
    let napi: String = format!("napi/{interface}-").chars().take(15).collect();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| {
                let name = name.trim_end();
                softirq.iter().any(|softirq| softirq == name) || name.starts_with(&napi)
            })
        })
        .collect()
}

/// Waits until `cores` were idle for a second, at most for `patience`; runs that are disturbed all
/// the same are marked by [`Usage::disturbed`].
///
/// # Errors
/// The bench is to stop.
pub fn wait_quiet(cores: &[usize], patience: Duration, stop: &AtomicBool) -> Result<(), Fault> {
    let asleep = || {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let of = |core: &usize| CoreTicks::parse(&stat, *core).map_or(0, |ticks| ticks.asleep());
        cores.iter().map(of).sum::<u64>() * TICK_NS
    };
    let start = Instant::now();
    while start.elapsed() < patience {
        let (before, from) = (asleep(), Instant::now());
        std::thread::sleep(QUIET);
        let wall = nanos(from.elapsed()) * cores.len() as u64;
        if asleep().saturating_sub(before) as f64 > QUIET_SHARE * wall as f64 {
            return Ok(());
        }
        if stop.load(Ordering::Relaxed) {
            return Err(Fault::interrupted());
        }
    }
    Ok(())
}

/// CPU time of one thread of this process or another, in nanoseconds; 0 when it is gone.
pub fn thread_ns(pid: u32, thread: u32) -> u64 {
    fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat"))
        .ok()
        .and_then(|text| parse_schedstat(&text))
        .unwrap_or(0)
}

/// CPU time of a process with all its threads, in nanoseconds; 0 when it is gone.
pub fn process_ns(pid: u32) -> u64 {
    executed(&Executor::Process(pid)).map_or(0, |(ns, _)| ns)
}

/// CPU nanoseconds and user ticks.
fn executed(device: &Executor) -> io::Result<(u64, u64)> {
    match device {
        Executor::Process(pid) => {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            let mut sum = 0;
            for entry in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
                let thread = entry.file_name().to_str().and_then(|name| name.parse().ok());
                sum += thread.map_or(0, |thread| thread_ns(*pid, thread));
            }
            Ok((sum, parse_utime(&stat).unwrap_or(0)))
        }
        Executor::Thread(thread) => {
            let path: PathBuf = format!("/proc/self/task/{thread}/stat").into();
            let stat = fs::read_to_string(path)?;
            Ok((thread_ns(std::process::id(), *thread), parse_utime(&stat).unwrap_or(0)))
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// /proc/stat counts in 1/100 s on every architecture that Linux exports USER_HZ = 100 for.
const TICK_NS: u64 = 10_000_000;
/// Fields between the command name and utime in /proc/PID/stat (proc(5)).
const UTIME_AFTER_NAME: usize = 11;
/// A core that slept for this share of so long has nothing to do now. The stage's own timers take
/// a few percent.
const QUIET: Duration = Duration::from_millis(1_000);
const QUIET_SHARE: f64 = 0.85;
/// Foreign user time and steal above this share of the cores spoil a run: at 20 % busy it is 10 %
/// of the figure.
const DISTURBED_SHARE: f64 = 0.02;

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded on the development machine.
    const STAT: &str = "cpu  1041563 29283 215103 1606843 29498 0 23018 5573 0 0\n\
        cpu0 509361 14903 111207 801327 15571 0 12471 2725 0 0\n\
        cpu1 532202 14379 103896 805515 13927 0 10547 2848 0 0\n\
        intr 51473183 0 25 0\nctxt 90611113\nbtime 1795400000\nprocesses 1200312\n";

    #[test]
    fn a_recorded_stat_is_read_by_core() {
        let ticks = CoreTicks::parse(STAT, 1).unwrap();
        assert_eq!((ticks.user, ticks.nice, ticks.system), (532_202, 14_379, 103_896));
        assert_eq!((ticks.idle, ticks.iowait, ticks.softirq), (805_515, 13_927, 10_547));
        assert_eq!(ticks.steal, 2_848);
        assert_eq!(ticks.asleep(), 819_442, "iowait is idle");
        assert_eq!(CoreTicks::parse(STAT, 2), None);
        assert_eq!(CoreTicks::parse("cpu1 1 2 3", 1), None, "a short line is no line");
        for len in 0..STAT.len() {
            let _ = CoreTicks::parse(&STAT[..len], 1);
        }
    }

    #[test]
    fn thread_times_are_read_past_odd_names() {
        let stat = "4242 (a) b (c)) S 1 4242 4242 0 -1 4194560 100 0 0 0 731 42 0 0 20 0 3 0";
        assert_eq!(parse_utime(stat), Some(731));
        assert_eq!(parse_utime("4242 (x) S 1"), None);
        assert_eq!(parse_utime(""), None);
        assert_eq!(parse_schedstat("58921 17 1\n"), Some(58_921));
        assert_eq!(parse_schedstat("x"), None);
    }

    #[test]
    fn busy_is_wall_less_idle_and_iowait() {
        let earlier = Sample {
            at: Instant::now(),
            cores: vec![CoreTicks { idle: 100, iowait: 50, user: 10, ..CoreTicks::default() }],
            device_ns: 7,
            device_user: 5,
            receivers_ns: 1,
        };
        let later = Sample {
            at: earlier.at + Duration::from_secs(1),
            cores: vec![CoreTicks { idle: 130, iowait: 95, user: 26, ..CoreTicks::default() }],
            device_ns: 150_000_007,
            device_user: 17,
            receivers_ns: 11,
        };
        let usage = later.since(&earlier);
        assert_eq!(usage.wall_ns, 1_000_000_000);
        assert_eq!(usage.busy_ns, 250_000_000);
        assert_eq!((usage.process_ns, usage.receivers_ns), (150_000_000, 10));
        assert_eq!(usage.foreign_ns, 40_000_000, "16 ticks of user time, 12 of them the device's");
        assert!(usage.disturbed());
        assert!(!Usage { foreign_ns: 10_000_000, ..usage }.disturbed());
    }

    #[test]
    fn waiting_for_quiet_ends_when_told_or_out_of_patience() {
        let stop = AtomicBool::new(true);
        assert!(wait_quiet(&[0], Duration::ZERO, &stop).is_ok(), "no patience, no wait");
        // A core that does not exist never sleeps.
        let told = wait_quiet(&[9_999], Duration::from_secs(3_600), &stop);
        assert!(told.is_err());
    }

    #[test]
    fn this_process_can_be_watched() {
        let watch = Watch {
            cores: vec![0],
            device: Executor::Process(std::process::id()),
            receivers: receivers("none", &[0]),
        };
        assert_eq!(watch.receivers.len(), 1, "ksoftirqd/0 and nothing else");
        let before = Sample::take(&watch).unwrap();
        let mut sum = 0_u64;
        while Sample::take(&watch).unwrap().device_ns < before.device_ns + 1_000_000 {
            sum = sum.wrapping_add(1);
        }
        let usage = Sample::take(&watch).unwrap().since(&before);
        assert!(usage.process_ns >= 1_000_000 && usage.wall_ns > 0, "{usage:?} {sum}");
    }
}
