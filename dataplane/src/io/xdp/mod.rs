//! AF_XDP: media is taken out of the driver and put back into it, in the buffers in which the relay
//! works. It is the fast way in and out of the backend of frames ([`packet`](super::packet)), which
//! has the others.
//!
//! ```text
//!  driver --XDP program--> receive ring --> Batch::arrivals ... Batch::departures --> transmit ring
//!     |                        ^ fill ring <------ free buffers <------ completion ring
//!     '--XDP_PASS--> kernel --> fan-in socket --> Batch::arrivals     no next hop: raw socket
//! ```
//! A worker has one socket ([`xsk`]) for each queue that it serves, all over the same buffers, so that
//! what came by one may leave by another; together they are its [`Lanes`]. What the program passes (a
//! fragment, a frame that came by another worker's queue or by an interface without XDP) and
//! everything after somebody detached the program comes by the fan-in socket, and what has no next
//! hop leaves by the raw socket. So media never depends on XDP being there; it costs more without.
//!
//! Own code on rustix, not the crate `xdp` 0.8: it has no memory shared by several sockets, which two
//! queues or interfaces need, brings its own packet memory in place of the relay's, and does not load
//! programs.

mod lanes;
mod plane;
mod program;
#[expect(unsafe_code, reason = "cursors and entries are memory shared with the kernel")]
mod rings;
mod sentry;
mod shortcut;
#[expect(unsafe_code, reason = "fork(2), close_range(2) and _exit(2) have no safe form")]
mod warden;
mod way_back;
mod xsk;

pub use lanes::{Lane, Lanes, Taken};
pub use plane::{Plane, XdpError, deaf_ends, drivers};
pub use shortcut::{Passage, Plan, Position, Progress, Shortcut, Table};
pub use xsk::probe;

#[cfg(test)]
mod tests;
