//! How the guest gets the regions: descriptors over a Unix socket.
//!
//! ```text
//!   guest                                   host
//!   connect ───────────────────────────▶   SO_PEERCRED: the allowed user?  nobody attached?
//!           ◀─── HELLO (magic, version, layout hash, workers, pid)
//!           ◀─── WORKER + memfd, command doorbell, event doorbell          (one per worker)
//!           ◀─── or instead BUSY (pid of the guest that is attached), DENIED (allowed uid)
//!   the connection stays open: its end tells either side that the other has gone
//! ```
//!
//! The socket is SOCK_SEQPACKET, so every message is whole. Nothing is ever read from the guest.

mod connect;
mod listen;

use std::path::Path;
use std::time::Duration;

use bytemuck::{Pod, Zeroable};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use crate::layout::{LAYOUT_HASH, MAGIC, VERSION};

pub use connect::{ConnectError, Worker, connect};
pub use listen::{HandoverError, Link, Listener, Offer};

/// Workers of one dataplane: more than a machine that this runs on has cores.
pub const WORKERS_MAX: u32 = 1_024;

/// Every message of the handover, with or without descriptors beside it.
#[repr(C)]
#[derive(Pod, Zeroable, Copy, Clone, PartialEq, Eq, Debug)]
struct Greeting {
    magic: u64,
    version: u32,
    kind: u32,
    layout_hash: u64,
    /// HELLO: number of workers. WORKER: which one.
    worker: u32,
    /// HELLO: pid of the host. BUSY: pid of the guest that is attached. DENIED: the allowed uid.
    id: u32,
}

impl Greeting {
    fn new(kind: u32, worker: u32, id: u32) -> Self {
        Self { magic: MAGIC, version: VERSION, kind, layout_hash: LAYOUT_HASH, worker, id }
    }
}

mod kind {
    pub(super) const HELLO: u32 = 1;
    pub(super) const WORKER: u32 = 2;
    pub(super) const BUSY: u32 = 3;
    pub(super) const DENIED: u32 = 4;
}

/// Memfd, command doorbell, event doorbell.
const DESCRIPTORS: usize = 3;

/// How long a peer may take over one message before it counts as gone. Messages are a few bytes
/// on a local socket, so only a stopped or hostile peer comes near this.
const PATIENCE: Duration = Duration::from_secs(5);

fn unix_socket(path: &Path) -> rustix::io::Result<(OwnedFd, SocketAddrUnix)> {
    let addr = SocketAddrUnix::new(path)?;
    let kind = SocketType::SEQPACKET;
    Ok((socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?, addr))
}

/// Whether the other end has closed. Both ends only ever wait for that after the handover.
fn has_ended(socket: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&socket, PollFlags::RDHUP)];
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(ready) => ready > 0,
        Err(errno) => errno != Errno::INTR,
    }
}

#[cfg(test)]
mod tests;
