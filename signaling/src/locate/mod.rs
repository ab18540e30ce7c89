//! Where a trunk's peer is: RFC 3263 with NAPTR, SRV and addresses, every target in order.
//!
//! ```text
//!   Place ──► search (pure: records in, questions or servers out) ◄──► dns (hickory)
//!                │ servers, TTL
//!                ▼
//!             keeper (pure: when to ask again, what is retired) ──► addresses of all places
//!                                                                    │
//!             order: one draw of all addresses (RFC 2782) ◄──────────┘
//!             memory: addresses that failed lately go to the end
//! ```
//!
//! A trunk has one transport, so NAPTR and SRV select within that transport and never change it.
//! Questions are asked on the edge's own runtime; the loop only ever reads the newest table.

pub mod dns;
pub mod keeper;
pub mod memory;
pub mod order;
pub mod resolver;
pub mod restraint;
pub mod search;
#[cfg(test)]
pub(crate) mod zone;

use std::net::{IpAddr, SocketAddr};

use sip::endpoint::Transport;

use crate::trunk::Host;

pub use dns::Dns;
pub use memory::Memory;
pub use order::draw;
pub use search::{Answer, Found, Kind, Question, Record, Step, Trouble, step};

/// What is to be located: a host as configured, with the port if the operator gave one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// Address or name.
    pub host: Host,
    /// With a port, only addresses are asked for (RFC 3263 §4.2).
    pub port: Option<u16>,
    /// Which services count, and the port where the records name none.
    pub transport: Transport,
}

/// One server of a place with its addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// Servers of a lower group are tried first: the rank of NAPTR preference and SRV priority.
    pub group: u16,
    /// Share within the group (RFC 2782).
    pub weight: u16,
    /// Its own name: the SRV target, or the place's host.
    pub name: String,
    /// Where it is; tried one after the other.
    pub addresses: Vec<SocketAddr>,
}

/// What a place stands for now.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Located {
    /// Where requests go.
    pub servers: Vec<Server>,
    /// Accepted as sources only: they belonged to the place until recently.
    pub retired: Vec<IpAddr>,
}

/// Address families that we can send to on the transport: one without a listener is no use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Families {
    /// A records are asked for.
    pub v4: bool,
    /// AAAA records are asked for.
    pub v6: bool,
}

impl Families {
    /// Both.
    pub const BOTH: Self = Self { v4: true, v6: true };

    /// Those of the given listeners; both when there is none to judge by.
    pub fn of(listeners: impl Iterator<Item = SocketAddr> + Clone) -> Self {
        let v4 = listeners.clone().any(|local| local.is_ipv4());
        let v6 = listeners.clone().any(|local| local.is_ipv6());
        if v4 || v6 { Self { v4, v6 } } else { Self::BOTH }
    }
}

impl Located {
    /// A literal address: no question, no age.
    pub fn literal(address: SocketAddr) -> Self {
        let name = address.ip().to_string();
        let server = Server { group: 0, weight: 0, name, addresses: vec![address] };
        Self { servers: vec![server], retired: Vec::new() }
    }

    /// Every current address.
    pub fn current(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.servers.iter().flat_map(|server| server.addresses.iter().copied())
    }
}

impl Place {
    /// The port when no record names one.
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(self.transport.default_port())
    }
}
