//! The signalling process: trunks, calls, transports. It negotiates media and carries none.
//!
//! Entry: [`run`]. The loop is `driver.rs`; protocol lives in the crates `sip` and `sdp`, policy in
//! `trunk`, `route`, `group` and `call`, sockets in `net`.

pub mod admission;
pub mod api;
pub mod ask;
mod away;
pub mod call;
pub mod cdr;
pub mod config;
pub mod drain;
pub mod driver;
pub mod feed;
mod gate;
pub mod group;
pub mod homes;
pub mod locate;
pub mod media;
pub mod net;
pub mod plan;
pub mod planner;
mod post;
pub mod probe;
mod pulse;
pub mod report;
pub mod route;
pub mod secret;
pub mod shard;
pub mod start;
pub mod store;
pub mod subscription;
pub mod ties;
pub mod trunk;
mod watch;
pub mod webhook;

pub use pulse::{Life, Pulse};
pub use start::{End, StartError, Stop, run, stop};

/// Fills a buffer with bytes that nobody can guess.
pub type Entropy = Box<dyn FnMut(&mut [u8]) + Send>;

#[cfg(test)]
mod sim;
