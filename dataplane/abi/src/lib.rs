//! The shared-memory contract between signaling and dataplane.
//!
//! One **region** per worker: a sealed memfd that the dataplane (the *host*) creates and signaling
//! (the *guest*) maps. It carries commands to the worker, events back, the flow table and the
//! counters:
//!
//! ```text
//!   guest (signaling)                  region of worker n                    host (dataplane)
//!   Producer<Command>  ────────────▶  command ring   ────────────▶  Consumer<Command>::decode
//!   Consumer<Event>    ◀────────────  event ring     ◀────────────  Producer<Event>
//!   FlowReader         ◀────────────  flow table     ◀────────────  FlowWriter
//!   CounterReader      ◀────────────  counters       ◀────────────  CounterWriter
//!   HistogramReader    ◀────────────  histograms     ◀────────────  HistogramWriter
//! ```
//!
//! The guest may be killed at any instruction, may come back, and is untrusted input to the host
//! at all times. Three rules follow and every file here keeps them:
//!
//! 1. All shared memory is seen as a slice of `AtomicU64` ([`memory`]), so that a racing or
//!    malicious peer is a wrong *value* and never undefined behaviour.
//! 2. The host never reads back what it wrote: cursors, counters and flow entries have a private
//!    copy, which is the truth and from which the shared one is repaired.
//! 3. What the guest wrote is copied out, then validated, then used. Nonsense is a counted fault.
//!
//! Unsafe code lives in `memory.rs` alone.
#![deny(unsafe_code)]
// A model build contains the rings alone.
#![cfg_attr(loom, allow(dead_code))]

pub mod address;
pub mod command;
pub mod counter;
#[cfg(not(loom))]
pub mod doorbell;
pub mod event;
pub mod flow;
pub mod format;
#[cfg(not(loom))]
pub mod handover;
pub mod histogram;
pub mod keepalive;
pub mod key;
pub mod layout;
pub mod learning;
#[expect(unsafe_code, reason = "the one place where a mapping becomes a slice of atomics")]
mod memory;
#[cfg(any(test, fuzzing))]
pub mod oracle;
#[cfg(not(loom))]
pub mod region;
pub mod request;
pub mod ring;
mod seqlock;
pub mod shelf;

pub use address::Address;
pub use command::{Command, Fault};
pub use counter::{COUNTERS, Counter, CounterReader, CounterWriter, Meta, Metric};
pub use event::{Event, Heard, Notice, Reason};
pub use flow::{FlowId, FlowReader, FlowSnapshot, FlowState, FlowTally, FlowWriter};
pub use format::{Codec, Format, PayloadMap, TelephoneEvent};
pub use histogram::{Histogram, HistogramReader, HistogramWriter};
pub use keepalive::Keepalive;
pub use key::{Key, KeySlot, Suite};
pub use learning::Learning;
#[cfg(not(loom))]
pub use region::{AttachError, Guest, Host, RegionError, Shape, WorkerState};
pub use request::{
    CORES_MAX, Close, DIGIT_MS_MAX, DIGIT_MS_MIN, DSCP_MAX, Dial, Duty, Family, Open, Order, Play,
    PromptName, Request, Say, Stop, Update,
};
pub use ring::{Consumer, Full, Producer};
pub use shelf::{ShelfReader, ShelfWriter};
