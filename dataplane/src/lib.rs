//! The data plane: pinned workers that receive, unprotect, protect and send media.
//!
//! Each worker is one thread with its own ports, flows and ring; it shares memory with signaling
//! (crate [`abi`]) and nothing with other workers. It knows packets, addresses and keys, and nothing
//! of calls. See `README.md` for the map.
//!
//! ```no_run
//! use dataplane::{Config, GATHER_US_DEFAULT, Stop};
//!
//! let stop = Stop::new()?; // a clone of it goes to the signal handler
//! let config = Config {
//!     socket: "/run/trunkline/dataplane.sock".into(),
//!     addresses: vec!["192.0.2.10".parse()?],
//!     ports: 20_000..=39_999,
//!     workers: 1,
//!     cores: vec![],
//!     flows_per_worker: 4096,
//!     gather_us: GATHER_US_DEFAULT,
//!     allowed_uid: 990,
//! };
//! dataplane::run(config, stop)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(unsafe_code)]

pub mod admit;
mod clock;
mod config;
mod control;
mod environment;
mod error;
pub mod flow;
mod host;
pub mod io;
mod keys;
pub mod latch;
pub mod limits;
mod ports;
pub mod quality;
pub mod relay;
mod stop;
pub mod tally;
mod topology;
pub mod verdict;
mod worker;

pub use config::{Config, GATHER_US_DEFAULT};
pub use environment::{Finding, Level, probe};
pub use error::StartError;
pub use host::{check, run};
pub use ports::Lease;
pub use stop::Stop;
pub use topology::{Placement, PortPairs, Topology, WorkerId};
