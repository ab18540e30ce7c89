//! CPU time of the data plane's worker threads, as the scheduler accounts it.

use std::fs;

/// Name prefix of the worker threads.
const WORKER: &str = "media-";

/// Nanoseconds on a core of all worker threads of one process: system calls included, receive
/// interrupts that ran on other threads' account not.
#[derive(Clone, Copy, Default)]
pub struct WorkerCpu(u64);

impl WorkerCpu {
    pub fn read(pid: u32) -> Self {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let total = tasks.filter_map(|task| {
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            let schedstat = fs::read_to_string(task.path().join("schedstat")).ok()?;
            let ns = schedstat.split_whitespace().next()?.parse::<u64>().ok()?;
            name.starts_with(WORKER).then_some(ns)
        });
        Self(total.sum())
    }

    pub fn ns_since(self, before: &Self) -> u64 {
        self.0.saturating_sub(before.0)
    }
}
