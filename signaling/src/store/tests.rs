//! The store as a whole: saves, refusals, the audit log, kills at every point.

mod faults;
mod greetings;
mod rig;
mod saves;
mod secrecy;

pub use rig::{Book, Scratch, log};
