//! Core pinning: what the host is made of, where workers go, and the settings that follow.
//!
//! ```text
//!   host (files, programs) ──► topology ──► plan ──► stages ──► settings ──► act: check
//!                                                                            │    apply ──► journal
//!                                                                            └─   undo ◄──────┘
//! ```
//! Everything is read below one directory, so that a recorded machine is planned for like this one.

mod act;
pub mod bypass;
mod confinement;
mod cpus;
mod draw;
mod host;
mod interfaces;
mod interrupts;
mod journal;
mod plan;
pub mod ports;
mod service;
mod setting;
mod stage;
mod topology;

pub use act::{Outcome, Report, State, apply, check, undo};
pub use draw::{host as draw_host, plan as draw_plan};
pub use host::Host;
pub use journal::{JOURNAL, Journal};
pub use plan::{Plan, Request, media_interface};
pub use stage::{ALL, Context, Needs, Stage};
pub use topology::Topology;

#[cfg(test)]
mod fixture;
#[cfg(test)]
pub use fixture::Laid;
#[cfg(test)]
mod tests;
