//! The seam between the relay and the ways packets come and go.
//!
//! A backend only receives and transmits batches; the relay works in place between the two:
//!
//! ```text
//! backend.receive(&mut batch)     arrivals: socket, source, buffer
//! relay(&mut batch, …)            departures: socket, destination, buffer  + discards: buffer
//! backend.transmit(&mut batch)    buffers go back when they have left
//! ```
//! No type of a backend appears outside this folder except by the name [`Backend`].

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use abi::{Event, FlowId};

use crate::admit::Sealed;
use crate::limits::{BATCH_MAX, DELAY_SAMPLE_FLOWS, SEND_BUFFERS};
use crate::verdict::Kind;

mod backend;
#[expect(unsafe_code, reason = "memory that the kernel reads and writes")]
pub mod buffer_ring;
#[expect(unsafe_code, reason = "memory that the kernel reads and writes")]
pub mod buffers;
mod foundation;
pub mod frame;
mod head;
pub mod mmsg;
pub mod neighbour;
pub mod packet;
mod restarts;
pub mod socket;
#[expect(unsafe_code, reason = "a socket option that no crate sets")]
mod stamp;
#[expect(unsafe_code, reason = "submissions carry addresses of packet memory")]
pub mod uring;
#[expect(unsafe_code, reason = "submissions carry addresses")]
mod watch;
pub mod xdp;

pub use ::bpf;
pub use backend::{Backend, BackendKind, Bound, Part};
pub use buffers::{BufferId, Buffers};
pub use foundation::Foundation;
pub use socket::Dscp;
pub use xdp::{Passage, Plan, Position, Progress, Shortcut};

/// Which port of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Port {
    Rtp,
    Rtcp,
}

/// A socket, by the flow whose ingress it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SocketId {
    pub flow: FlowId,
    pub port: Port,
}

impl SocketId {
    /// Its place in a table of all sockets: `2i` is the RTP port of flow `i`, `2i + 1` its RTCP port.
    fn place(self) -> u32 {
        2 * self.flow.index + u32::from(self.port == Port::Rtcp)
    }

    /// The socket at `place`, in its life of `generation`.
    fn at(place: u32, generation: u32) -> SocketId {
        let port = if place.is_multiple_of(2) { Port::Rtp } else { Port::Rtcp };
        SocketId { flow: FlowId { index: place / 2, generation }, port }
    }

    /// Whether the kernel stamps its packets.
    fn is_sampled(self) -> bool {
        self.port == Port::Rtp && self.flow.index.is_multiple_of(DELAY_SAMPLE_FLOWS)
    }
}

/// A transport address in the form that compares fastest: IPv4 is mapped (`::ffff:a.b.c.d`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endpoint {
    pub ip: u128,
    pub port: u16,
}

impl Endpoint {
    pub fn is_ipv4(self) -> bool {
        self.ip >> 32 == 0xffff
    }

    pub fn socket_addr(self) -> SocketAddr {
        let ip = Ipv6Addr::from(self.ip);
        let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
        SocketAddr::new(ip, self.port)
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Endpoint {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Endpoint { ip: ip.into(), port: address.port() }
    }
}

/// A packet that came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub socket: SocketId,
    pub source: Endpoint,
    pub buffer: BufferId,
    /// Payload bytes in the buffer's body.
    pub len: usize,
    /// The datagram was longer than the buffer.
    pub truncated: bool,
    /// From the kernel's receipt to ours, in nanoseconds; told of one flow's RTP in
    /// [`DELAY_SAMPLE_FLOWS`].
    pub age_ns: Option<u64>,
}

/// A packet to send. Only a [`Sealed`] packet becomes one.
#[derive(Debug)]
pub struct Departure {
    /// The socket to send from.
    pub socket: SocketId,
    pub destination: Endpoint,
    pub buffer: BufferId,
    pub len: usize,
    /// What the packet counts as, should it not be sent.
    pub origin: Origin,
}

/// The flow that a departing packet belongs to, and what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    pub flow: FlowId,
    pub sent: Sent,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    Relayed(Kind),
    /// An announcement or a digit of ours.
    Own,
}

impl Departure {
    pub fn new(
        sealed: Sealed,
        buffer: BufferId,
        origin: Origin,
        socket: SocketId,
        destination: Endpoint,
    ) -> Departure {
        Departure { socket, destination, buffer, len: sealed.len(), origin }
    }
}

/// What one round moves. Reserved once, reused for ever.
pub struct Batch {
    pub arrivals: Vec<Arrival>,
    pub departures: Vec<Departure>,
    /// Buffers of packets that go nowhere.
    pub discards: Vec<BufferId>,
    /// Sends that the kernel refused, by origin; each backend tells them by the end of the next
    /// receive call.
    pub failed: Vec<Origin>,
    /// What signaling is to be told of the packets.
    pub notices: Vec<Event>,
    /// Ages of the stamped packets that are relayed.
    pub ages_ns: Vec<u64>,
}

impl Batch {
    pub fn new() -> Batch {
        let outward = BATCH_MAX + usize::from(SEND_BUFFERS);
        Batch {
            arrivals: Vec::with_capacity(BATCH_MAX),
            departures: Vec::with_capacity(outward),
            // Each arrival may be discarded, and so may what never became one.
            discards: Vec::with_capacity(BATCH_MAX + outward),
            failed: Vec::with_capacity(BATCH_MAX + outward),
            // A packet may bring a digit and a newly learned source.
            notices: Vec::with_capacity(2 * BATCH_MAX),
            ages_ns: Vec::with_capacity(BATCH_MAX),
        }
    }

    /// Whether one more completion of any kind has room.
    pub fn has_room(&self) -> bool {
        let fullest = self.arrivals.len().max(self.failed.len()).max(self.discards.len());
        fullest < BATCH_MAX
    }
}

impl Default for Batch {
    fn default() -> Batch {
        Batch::new()
    }
}

/// How [`Backend`]s wait. After a round that brought packets a backend first polls, for at most
/// `spin_us`; then it sleeps, and what comes within `gather_us` makes one wake-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wait {
    /// Longest wait, in nanoseconds; 0 takes what is there and returns.
    pub timeout_ns: u64,
    /// How long packets wait for company while the worker sleeps, in microseconds; 0: not at all.
    pub gather_us: u32,
    /// How long to poll before sleeping, in microseconds; 0: not at all.
    pub spin_us: u32,
}

impl Wait {
    /// Takes what is there.
    pub const NONE: Wait = Wait { timeout_ns: 0, gather_us: 0, spin_us: 0 };

    /// Sleeps until something comes, at most so long.
    pub const fn up_to(timeout_ns: u64) -> Wait {
        Wait { timeout_ns, gather_us: 0, spin_us: 0 }
    }
}

/// What else a receive call found, and where its time went.
#[derive(Clone, Copy, Default, Debug)]
pub struct Received {
    /// The doorbell of the command ring rang.
    pub bell: bool,
    /// Receives that ended because no buffer was left.
    pub buffers_exhausted: u64,
    /// Frames that were damaged, or whose port is closed.
    pub frame_faults: u64,
    /// Packets that came by sockets although frames are taken from a driver.
    pub passed: u64,
    /// Buffers that are in no known place; more than 0 is a defect.
    pub buffers_missing: u64,
    /// Packets were left behind for lack of room in the batch.
    pub backlog: bool,
    /// CLOCK_MONOTONIC when the wait was over.
    pub now_ns: u64,
    /// Wall time of the wait, by regime, in nanoseconds. The kernel's work for us in it (sending,
    /// copying) is not told apart; CPU time tells.
    pub sleep_ns: u64,
    pub gather_ns: u64,
    pub spin_ns: u64,
}

#[cfg(test)]
mod stage;
#[cfg(test)]
mod tests;
