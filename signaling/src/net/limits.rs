//! Every limit of the edge: name, value, reason.

use std::time::Duration;

/// Limits of the edge; the defaults are for production, tests lower them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// TCP and TLS connections, all together. Trunks have few; the rest is somebody trying.
    pub connections: usize,
    /// Of these, how many are kept for addresses that some trunk claims.
    pub connections_for_trunks: usize,
    /// Connections with one address, either direction.
    pub connections_per_source: usize,
    /// From accept to the first complete message.
    pub first_message: Duration,
    /// From accept, or from connect, to the end of the TLS handshake.
    pub tls_handshake: Duration,
    /// From dialling to the connection.
    pub connect: Duration,
    /// Without a complete message or ping from the peer. Bytes alone do not count, so that a peer
    /// cannot hold a connection by dripping.
    pub idle: Duration,
    /// How long a pong may take (RFC 5626 §4.4.1).
    pub pong: Duration,
    /// How often files of certificates are looked at for newer ones.
    pub certificates: Duration,
    /// Bytes waiting on one connection.
    pub write_queue_bytes: usize,
    /// How long one write may make no progress.
    pub write: Duration,
    /// How long a start waits for the DNS; what it does not know then comes later.
    pub first_lookup: Duration,
    /// How long stopping waits for queues to drain.
    pub stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            connections_for_trunks: 1_024,
            connections_per_source: 64,
            first_message: Duration::from_secs(10),
            tls_handshake: Duration::from_secs(5),
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(900),
            pong: Duration::from_secs(10),
            certificates: Duration::from_secs(30),
            write_queue_bytes: 1 << 20,
            write: Duration::from_secs(10),
            first_lookup: Duration::from_secs(2),
            stop: Duration::from_secs(1),
        }
    }
}

/// Datagrams taken from one socket before other tasks get a turn.
pub(super) const DATAGRAMS_PER_TURN: usize = 256;
/// Largest UDP payload.
pub(super) const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Kernel buffers asked for UDP listeners: a burst of some thousand messages.
pub(super) const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Connections waiting to be accepted.
pub(super) const BACKLOG: i32 = 1_024;
/// Bytes read from a connection at a time.
pub(super) const READ_BYTES: usize = 16 << 10;
/// Bytes gathered into one write.
pub(super) const WRITE_BYTES: usize = 64 << 10;
/// Different hops remembered per connection for telling failures.
pub(super) const HOPS_MAX: usize = 16;
