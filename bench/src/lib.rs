//! Real SIP and media peers on either side of a gateway: an insecure provider and a secure PBX that
//! place calls through it with audio, and check every packet that comes out.
//!
//! ```text
//!   provider (UDP, RTP)  <-->  gateway  <-->  (TLS, SRTP) pbx
//! ```
//!
//! [`certs::write`] makes the certificates, [`run`] runs the calls of a [`Plan`] and gives a
//! [`Report`]. [`calls`] places calls without audio, at any rate. The gateway is seen only through its sockets: SIP is read and written with `rsip`, and
//! no code of the gateway's signalling is used.
#![deny(unsafe_code)]

pub mod calls;
pub mod certs;
pub mod media;
mod peer;
mod report;
mod run;

pub use report::{Delay, Direction, Failure, Report};
pub use run::{BenchError, Plan, Progress, run};
