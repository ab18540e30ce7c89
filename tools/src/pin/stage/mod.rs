//! The settings of a host that media workers care about, one file each.
//!
//! A stage says what it wants where (`scope`), in one sentence why, and which privilege changing it
//! takes. How settings are checked, applied, undone and recorded is the same for all (`act.rs`).

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::host::Host;
use super::plan::Plan;
use super::setting::Setting;
use super::topology::Topology;

mod buffers;
mod coalescing;
mod conntrack;
mod cores;
mod governor;
mod huge_pages;
mod interrupts;
mod memlock;
mod nofile;
mod permanent;
mod queues;
mod reserved_ports;
mod rings;
mod steering;

/// One kind of setting.
pub struct Stage {
    /// What the operator calls it.
    pub name: &'static str,
    /// Why it matters, in one sentence.
    pub explanation: &'static str,
    /// What changing it takes.
    pub privilege: &'static str,
    pub scope: fn(&Context<'_>) -> Scope,
}

/// What a stage decides by.
pub struct Context<'a> {
    pub host: &'a Host,
    pub topology: &'a Topology,
    pub plan: &'a Plan,
    pub needs: &'a Needs,
}

/// What the installation needs of the host.
#[derive(Clone, Debug)]
pub struct Needs {
    /// Media ports.
    pub ports: RangeInclusive<u16>,
    /// Open files of the data plane, at most.
    pub descriptors: u64,
    /// How long a wake-up waits for further packets, in microseconds.
    pub gather_us: u32,
    /// The configuration file: it tells our processes from those of other installations.
    pub config: Option<PathBuf>,
    /// Whether the units of systemd are to carry it over the next boot.
    pub permanent: bool,
}

/// What a stage wants.
pub enum Scope {
    Settings(Vec<Setting>),
    /// Nothing here, and why.
    Nothing(String),
}

impl Scope {
    fn of(settings: Vec<Setting>, else_why: &str) -> Scope {
        if settings.is_empty() {
            Scope::Nothing(else_why.to_owned())
        } else {
            Scope::Settings(settings)
        }
    }
}

/// In the order in which they are applied: an interface makes its interrupts anew when the number or
/// size of its queues changes.
pub const ALL: [&Stage; 14] = [
    &queues::STAGE,
    &rings::STAGE,
    &interrupts::STAGE,
    &steering::STAGE,
    &coalescing::STAGE,
    &governor::STAGE,
    &huge_pages::STAGE,
    &buffers::STAGE,
    &reserved_ports::STAGE,
    &conntrack::STAGE,
    &memlock::STAGE,
    &nofile::STAGE,
    &cores::STAGE,
    &permanent::STAGE,
];

/// For stages of the interface that media comes by.
const NO_INTERFACE: &str = "no interface is known to carry media; name it by --interface";
