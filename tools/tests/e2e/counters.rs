//! The data plane's counters, read from its shared memory while signaling uses it.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use abi::{Counter, CounterReader, Guest};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::gateway::Gateway;
use crate::lines::PATIENCE;

/// The counters of a gateway with one worker.
///
/// To attach to a region is to become its guest, which wipes what an earlier guest left; so each
/// look copies the region and attaches to the copy.
pub struct Counters(PathBuf);

/// The counters of one moment.
pub struct Moment(CounterReader);

impl Counters {
    pub fn of(gateway: &Gateway) -> Self {
        let pid = gateway.pid_of("dataplane").as_raw_nonzero();
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let region = descriptors.map(|entry| entry.unwrap().path()).find(|fd| {
            let target = fs::read_link(fd).unwrap_or_default();
            target.to_string_lossy().contains("memfd:trunkline-worker-0")
        });
        Self(region.expect("a region of the data plane"))
    }

    pub fn now(&self) -> Moment {
        let mut octets = Vec::new();
        let mut region = File::open(&self.0).unwrap();
        region.rewind().unwrap();
        region.read_to_end(&mut octets).unwrap();
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut copy = File::from(memfd_create("copy", flags).unwrap());
        copy.write_all(&octets).unwrap();
        fcntl_add_seals(&copy, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL).unwrap();
        Moment(Guest::attach(copy.into()).unwrap().counters)
    }

    /// Waits until `holds`, and returns the counters of that moment; the worker publishes every
    /// 100 ms.
    pub fn await_that(&self, what: &str, holds: impl Fn(&Moment) -> bool) -> Moment {
        let until = Instant::now() + PATIENCE;
        loop {
            let moment = self.now();
            if holds(&moment) {
                return moment;
            }
            assert!(Instant::now() < until, "{what} did not come about: {}", moment.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Moment {
    pub fn get(&self, counter: Counter) -> u64 {
        self.0.get(counter)
    }

    /// Every packet that was received and not relayed, whatever the reason.
    pub fn dropped(&self) -> u64 {
        let verdicts = Counter::ALL.iter().take(abi::counter::VERDICTS);
        verdicts.filter(|c| c.name().starts_with("drop_")).map(|c| self.get(*c)).sum()
    }

    pub fn relayed(&self) -> u64 {
        self.get(Counter::RelayedRtp) + self.get(Counter::RelayedRtcp)
    }

    /// What is not zero, for messages.
    pub fn text(&self) -> String {
        let told = self.0.iter().filter(|(_, _, value)| *value > 0);
        told.map(|(_, meta, value)| format!("{} {value}", meta.name)).collect::<Vec<_>>().join(", ")
    }
}
