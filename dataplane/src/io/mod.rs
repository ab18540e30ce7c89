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

use abi::FlowId;

use crate::admit::Sealed;
use crate::limits::BATCH_MAX;

#[expect(unsafe_code, reason = "memory that the kernel reads and writes")]
pub mod buffer_ring;
#[expect(unsafe_code, reason = "memory that the kernel reads and writes")]
pub mod buffers;
pub mod socket;
#[expect(unsafe_code, reason = "submissions carry addresses of packet memory")]
pub mod uring;

pub use buffers::{BufferId, Buffers};

/// The backend in use. There is one so far; the next makes this an enum.
pub type Backend = uring::Uring;

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
}

/// A packet to send. Only a [`Sealed`] packet becomes one.
#[derive(Debug)]
pub struct Departure {
    /// The socket to send from.
    pub socket: SocketId,
    pub destination: Endpoint,
    pub buffer: BufferId,
    pub len: usize,
    /// The flow and kind that the packet counts for.
    pub origin: SocketId,
}

impl Departure {
    pub fn new(
        sealed: Sealed,
        buffer: BufferId,
        origin: SocketId,
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
    /// Sends of earlier rounds that the kernel refused, by origin.
    pub failed: Vec<SocketId>,
}

impl Batch {
    pub fn new() -> Batch {
        Batch {
            arrivals: Vec::with_capacity(BATCH_MAX),
            departures: Vec::with_capacity(BATCH_MAX),
            // Each arrival may be discarded, and so may what never became one.
            discards: Vec::with_capacity(2 * BATCH_MAX),
            failed: Vec::with_capacity(BATCH_MAX),
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

/// How [`Backend`]s wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wait {
    /// Longest sleep, in nanoseconds; 0 takes what is there and returns.
    pub timeout_ns: u64,
    /// How long the first packet waits for company, in microseconds.
    pub gather_us: u32,
}

/// What else a receive call found.
#[derive(Clone, Copy, Default, Debug)]
pub struct Received {
    /// The doorbell of the command ring rang.
    pub bell: bool,
    /// Receives that ended because no buffer was left.
    pub buffers_exhausted: u64,
    /// Completions were left behind for lack of room in the batch.
    pub backlog: bool,
}
