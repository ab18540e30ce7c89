//! Why the data plane does not start (or had to stop), in the operator's words: the thing, the
//! cause, the remedy. Each has an exit code that service managers and scripts can tell apart.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::prompt::PromptError;
use crate::topology::WorkerId;

/// A reason not to run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{name}: {what}; {remedy}")]
    Configuration { name: &'static str, what: String, remedy: String },

    #[error(transparent)]
    Prompts(#[from] PromptError),

    #[error(
        "media.cores names core {core}, which this process may not use; \
         choose among {} or widen the service's CPU affinity",
        list(allowed)
    )]
    NoSuchCore { core: usize, allowed: Vec<usize> },

    #[error(
        "io_uring is forbidden by the system (kernel.io_uring_disabled = {sysctl}); \
         allow it with `sysctl -w kernel.io_uring_disabled=0`{}",
        if *sysctl == 1 { ", or put this user's group into kernel.io_uring_group" } else { "" }
    )]
    RingDisabled { sysctl: u32 },

    #[error(
        "io_uring is refused although the system allows it ({cause}): most likely a container's \
         seccomp profile; run the container with a profile that permits io_uring_setup, \
         io_uring_enter and io_uring_register (or --security-opt seccomp=unconfined)"
    )]
    RingFiltered { cause: io::Error },

    #[error(
        "kernel {found} lacks {lacks}; upgrade to Linux 6.1 or later (6.12 or later saves the \
         most CPU)"
    )]
    KernelTooOld { found: String, lacks: &'static str },

    #[error("media.backend = \"{name}\" cannot be used: {what}; {remedy}")]
    Backend { name: &'static str, what: String, remedy: String },

    #[error(
        "{worker}: cannot reserve ring memory ({cause}); free memory, lower media.workers or \
         raise the service's memory limit"
    )]
    NoMemory { worker: WorkerId, cause: io::Error },

    #[error(
        "media address {address} is not an address of this host ({cause}); set media.address to \
         an address that `ip address` shows, and use media.advertise for the public one"
    )]
    AddressNotLocal { address: IpAddr, cause: io::Error },

    #[error(
        "every media port from {first} to {last} on {address} is held by another program; see \
         `ss -lunp` for the holder or choose another media.ports range"
    )]
    PortsOccupied { address: IpAddr, first: u16, last: u16 },

    #[error(
        "the limit of open files is {limit}, but media.flows_per_worker and media.ports need \
         {needed}; raise it (LimitNOFILE={needed} in the service unit, `ulimit -n {needed}` in a \
         shell) or lower media.flows_per_worker"
    )]
    TooFewDescriptors { limit: u64, needed: u64 },

    #[error(
        "hardening failed at {what} ({cause}); this kernel or container offers it and refuses it: \
         allow it there"
    )]
    Hardening { what: &'static str, cause: io::Error },

    #[error("handover socket {}: {what}", path.display())]
    Socket { path: PathBuf, what: String },

    #[error("{worker}: {what}; {remedy}")]
    Worker { worker: WorkerId, what: String, remedy: &'static str },
}

impl StartError {
    /// The exit code of the process, after `sysexits.h` where it has a fitting one.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Configuration { .. }
            | StartError::Prompts(_)
            | StartError::NoSuchCore { .. } => 78,
            StartError::AddressNotLocal { .. } | StartError::PortsOccupied { .. } => 69,
            StartError::Socket { .. } => 73,
            StartError::RingDisabled { .. }
            | StartError::RingFiltered { .. }
            | StartError::Backend { .. }
            | StartError::Hardening { .. } => 77,
            StartError::KernelTooOld { .. } => 72,
            StartError::TooFewDescriptors { .. } | StartError::NoMemory { .. } => 71,
            StartError::Worker { .. } => 70,
        }
    }
}

fn list(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}
