//! The media of the peers: paced G.711 with real audio in it, every packet identified and checked.

pub mod g711;
mod key;
mod leg;
mod payload;
mod pump;
#[expect(unsafe_code, reason = "the kernel's receive time has no safe binding")]
mod socket;
pub mod tone;

pub use key::{SUITES, SrtpKey, suite_name, suite_of_name};
pub(crate) use leg::{LegCounts, LegError, LegKeys, LegSetup};
pub use payload::Way;
pub(crate) use pump::{MediaEvent, MediaMark, Pump};
pub(crate) use socket::{Batch, MediaSockets, enable_receive_time};
