//! What the operator decides about the data plane.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// The configuration of [`run`](crate::run).
#[derive(Clone, Debug)]
pub struct Config {
    /// Unix socket where signaling fetches the regions.
    pub socket: PathBuf,
    /// Media networks, each with its local addresses of either family; a command names a network by
    /// its index.
    pub networks: Vec<Vec<IpAddr>>,
    /// UDP ports for media on every address, split evenly among the workers.
    pub ports: RangeInclusive<u16>,
    /// Worker threads.
    pub workers: usize,
    /// Worker threads beside them that have no ports and take no flows until they are told to. No
    /// thread can be started later.
    pub standby: usize,
    /// Cores of the workers, in order and repeated when there are fewer. Empty: every core that
    /// the process may use except core 0, where there is another.
    pub cores: Vec<usize>,
    /// Flows that one worker can carry; a call takes two.
    pub flows_per_worker: u32,
    /// How long a wake-up waits for further packets, in microseconds. 0: not at all.
    pub gather_us: u32,
    /// How long a worker polls before it sleeps, in microseconds. 0: not at all.
    pub spin_us: u32,
    /// How packets are received and sent.
    pub backend: BackendChoice,
    /// Interfaces that `Xdp` takes frames from; empty: those that carry a media address.
    pub interfaces: Vec<String>,
    /// Networks, by their index, whose packets `Xdp` takes from the driver; those that are not named
    /// here: it does. The others are served as `Packet` does.
    pub takes_xdp: Vec<bool>,
    /// Networks, by their index, between which `Xdp` lets the kernel relay plain RTP by itself
    /// (`XDP_TX`); those that are not named here: never.
    pub xdp_tx: Vec<bool>,
    /// Differentiated services code point of media packets, 0 to 63 (RFC 2474).
    pub dscp: u8,
    /// Directory of the prompts; none: nothing can be played.
    pub prompts: Option<PathBuf>,
    /// The only user id that may attach to `socket`.
    pub allowed_uid: u32,
}

/// Which backend the workers use.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum BackendChoice {
    /// The best that the host allows: `Packet`, `Uring`, `Mmsg`.
    #[default]
    Auto,
    /// One socket per worker and frames of our own: needs privileges at the start.
    Packet,
    /// As `Packet`, and frames are taken from the driver before the kernel sees them: needs drivers
    /// with XDP too. Never chosen by `Auto`, for it passes by the host's filters.
    Xdp,
    /// io_uring or nothing.
    Uring,
    /// epoll, recvmmsg and sendmmsg: on every host, for somewhat more CPU time.
    Mmsg,
}

/// Expedited forwarding, what RFC 4594 §2 asks for voice.
pub const DSCP_DEFAULT: u8 = 46;

/// Gathering time that saves the most CPU for the least delay, in microseconds.
pub const GATHER_US_DEFAULT: u32 = 200;

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn config() -> Config {
        Config {
            socket: PathBuf::from("/run/trunkline/dataplane.sock"),
            networks: vec![vec![IpAddr::from([127, 0, 0, 1])]],
            ports: 10_000..=10_999,
            workers: 1,
            standby: 0,
            cores: Vec::new(),
            flows_per_worker: 64,
            gather_us: GATHER_US_DEFAULT,
            spin_us: 0,
            backend: BackendChoice::Auto,
            interfaces: Vec::new(),
            takes_xdp: Vec::new(),
            xdp_tx: Vec::new(),
            dscp: DSCP_DEFAULT,
            prompts: None,
            allowed_uid: 0,
        }
    }
}
