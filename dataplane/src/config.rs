//! What the operator decides about the data plane.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// The configuration of [`run`](crate::run).
#[derive(Clone, Debug)]
pub struct Config {
    /// Unix socket where signaling fetches the regions.
    pub socket: PathBuf,
    /// Local media addresses; a command names one by its index.
    pub addresses: Vec<IpAddr>,
    /// UDP ports for media on every address, split evenly among the workers.
    pub ports: RangeInclusive<u16>,
    /// Worker threads.
    pub workers: usize,
    /// Cores of the workers, in order and repeated when there are fewer. Empty: every core that
    /// the process may use except core 0, where there is another.
    pub cores: Vec<usize>,
    /// Flows that one worker can carry; a call takes two.
    pub flows_per_worker: u32,
    /// How long a wake-up waits for further packets, in microseconds. 0: not at all.
    pub gather_us: u32,
    /// The only user id that may attach to `socket`.
    pub allowed_uid: u32,
}

/// Gathering time that saves the most CPU for the least delay, in microseconds.
pub const GATHER_US_DEFAULT: u32 = 200;

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn config() -> Config {
        Config {
            socket: PathBuf::from("/run/trunkline/dataplane.sock"),
            addresses: vec![IpAddr::from([127, 0, 0, 1])],
            ports: 10_000..=10_999,
            workers: 1,
            cores: Vec::new(),
            flows_per_worker: 64,
            gather_us: GATHER_US_DEFAULT,
            allowed_uid: 0,
        }
    }
}
