//! Every time and count of a test: name, value, reason.

use std::time::Duration;

/// A trunk is tested at most this often.
pub const PAUSE: Duration = Duration::from_secs(5);
/// Tests that run at a time, over all trunks: each has a thread.
pub const AT_ONCE: usize = 4;
/// How long one connection or handshake may take.
pub const CONNECT: Duration = Duration::from_secs(4);
/// How long OPTIONS and REGISTER wait for a final answer: ten retransmissions come later.
pub const ANSWER: Duration = Duration::from_secs(5);
/// How long a test call may ring.
pub const RING: Duration = Duration::from_secs(30);
/// How long audio is exchanged.
pub const TALK: Duration = Duration::from_secs(5);
/// One packet.
pub const PACKET: Duration = Duration::from_millis(20);
/// How long late packets are waited for.
pub const TAIL: Duration = Duration::from_millis(500);
/// The whole test.
pub const WHOLE: Duration = Duration::from_secs(90);
/// Addresses that are tried.
pub const TARGETS_MAX: usize = 16;
/// Ports that are tried for the media of a test call, from the end of the range, which calls use
/// last.
pub const PORTS_TRIED: usize = 16;
/// Share of lost packets, in thousandths, from which audio suffers (G.711 with concealment).
pub const LOSS_WARN_PERMILLE: u64 = 10;
/// Jitter from which most jitter buffers grow.
pub const JITTER_WARN: Duration = Duration::from_millis(30);
