//! The data plane: pinned workers that receive, unprotect, protect and send media.
//!
//! Each worker is one thread with its own ports, flows and ring; it shares memory with signaling
//! (crate [`abi`]) and nothing with other workers but the ports that change hands. It knows packets, addresses and keys, and nothing
//! of calls. See `README.md` for the map.
//!
//! ```no_run
//! use dataplane::{BackendChoice, Config, DSCP_DEFAULT, GATHER_US_DEFAULT, Stop};
//!
//! let stop = Stop::new()?; // a clone of it goes to the signal handler
//! let config = Config {
//!     socket: "/run/trunkline/dataplane.sock".into(),
//!     networks: vec![vec!["192.0.2.10".parse()?, "2001:db8::10".parse()?]],
//!     ports: 20_000..=39_999,
//!     workers: 1,
//!     standby: 1,
//!     cores: vec![],
//!     flows_per_worker: 4096,
//!     gather_us: GATHER_US_DEFAULT,
//!     spin_us: 0,
//!     backend: BackendChoice::Auto,
//!     interfaces: vec![],
//!     takes_xdp: vec![],
//!     xdp_tx: vec![],
//!     dscp: DSCP_DEFAULT,
//!     prompts: None,
//!     allowed_uid: 990,
//! };
//! dataplane::run(config, stop)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(unsafe_code)]

pub mod admit;
pub mod aim;
pub mod alive;
mod clock;
mod commons;
mod config;
pub mod continuity;
mod control;
pub mod dtmf;
mod duty;
pub mod emodel;
mod environment;
mod error;
pub mod far_view;
pub mod flow;
pub mod flows;
mod gathering;
mod harden;
mod hearing;
mod host;
pub mod io;
mod keys;
#[expect(unsafe_code, reason = "advice about memory takes an address")]
mod large_pages;
pub mod latch;
pub mod limits;
pub mod pacer;
mod ports;
#[expect(unsafe_code, reason = "a processor hint that takes an address")]
mod prefetch;
pub mod prompt;
mod pulse;
pub mod quality;
mod rating;
pub mod relay;
mod residue;
mod shortcut;
mod stop;
mod sweep;
mod talk;
pub mod tally;
mod topology;
pub mod verdict;
pub mod voice;
mod worker;

pub use recording::g711;

pub use config::{BackendChoice, Config, DSCP_DEFAULT, GATHER_US_DEFAULT};
pub use environment::{Finding, Level, probe};
pub use error::StartError;
pub use harden::{Hardening, Report};
pub use host::{check, run, run_hardened};
pub use ports::Lease;
pub use pulse::{Life, Pulse};
pub use stop::Stop;
pub use topology::{Placement, PortPairs, Topology, WorkerId};
