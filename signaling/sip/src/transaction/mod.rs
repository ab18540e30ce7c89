//! The four transaction machines of RFC 3261 §17, corrected by RFC 6026.
//!
//! Each machine is one file, one figure and one `match (state, event)`. A machine knows states and
//! timers only: it holds no message, no address and no clock. What it wants done comes out as
//! [`Action`]s, in the order in which they must happen; its owner keeps the serialised bytes and
//! the deadlines. That is why every arrow of the four figures can be tested as a row of a table.
//!
//! ```text
//!   client_invite      figure 5    Calling  -> Proceeding -> Completed | Accepted
//!   client_non_invite  figure 6    Trying   -> Proceeding -> Completed
//!   server_invite      figure 7    Proceeding -> Completed -> Confirmed | Accepted
//!   server_non_invite  figure 8    Trying   -> Proceeding -> Completed
//! ```
//!
//! A state that is left for "Terminated" is announced by [`Action::Terminate`], always last.

pub mod client_invite;
pub mod client_non_invite;
pub mod server_invite;
pub mod server_non_invite;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::wire::StatusCode;

pub use client_invite::ClientInvite;
pub use client_non_invite::ClientNonInvite;
pub use server_invite::ServerInvite;
pub use server_non_invite::ServerNonInvite;

/// The three numbers that all timers derive from (RFC 3261 §17.1.1.1, table 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timers {
    /// Estimate of the round trip; first retransmission interval.
    pub t1: Duration,
    /// Largest retransmission interval of a non-INVITE request and of an INVITE response.
    pub t2: Duration,
    /// Longest time a message stays in the network.
    pub t4: Duration,
}

impl Default for Timers {
    /// The values of RFC 3261 table 4: 500 ms, 4 s, 5 s.
    fn default() -> Self {
        Timers {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
        }
    }
}

impl Timers {
    /// 64*T1: how long a transaction tries, and how long a finished one absorbs repetitions.
    pub fn give_up(&self) -> Duration {
        self.t1.saturating_mul(64)
    }

    /// The next interval of a retransmission that doubles up to T2.
    pub(crate) fn back_off(&self, interval: Duration) -> Duration {
        interval.saturating_mul(2).min(self.t2)
    }
}

/// A timer of RFC 3261 table 4, of RFC 6026 (L, M), or one that the text of RFC 3261 asks for
/// without giving it a letter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Timer {
    /// INVITE request retransmission.
    A,
    /// INVITE client gives up waiting for any response.
    B,
    /// INVITE client absorbs repeated final responses.
    D,
    /// Non-INVITE request retransmission.
    E,
    /// Non-INVITE client gives up.
    F,
    /// INVITE final response retransmission.
    G,
    /// INVITE server gives up waiting for the ACK.
    H,
    /// INVITE server absorbs repeated ACKs.
    I,
    /// Non-INVITE server absorbs repeated requests.
    J,
    /// Non-INVITE client absorbs repeated responses.
    K,
    /// INVITE server absorbs repeated INVITEs after a 2xx.
    L,
    /// INVITE client passes on 2xx of further forks.
    M,
    /// 100 Trying is due unless the user answered first (RFC 3261 §17.2.1).
    Trying,
}

/// What kind of response a status code is, as far as a machine distinguishes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// 1xx.
    Provisional,
    /// 2xx.
    Success,
    /// 3xx to 6xx.
    Failure,
}

impl From<StatusCode> for Class {
    fn from(status: StatusCode) -> Self {
        if status.is_provisional() {
            Class::Provisional
        } else if status.is_success() {
            Class::Success
        } else {
            Class::Failure
        }
    }
}

/// What a machine asks its owner to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Send the kept bytes: the request of a client, the last response of a server.
    Transmit,
    /// Send the ACK for a final response other than 2xx; the same bytes each time.
    Acknowledge,
    /// Send 100 Trying and keep it as the last response.
    Trying,
    /// Set a timer, replacing the same timer if it runs.
    Arm(Timer, Duration),
    /// Stop a timer that may run.
    Disarm(Timer),
    /// Hand the message that caused this step to the transaction user.
    Deliver,
    /// Tell the transaction user that B, F or H fired.
    Timeout,
    /// Tell the transaction user that the transport failed.
    TransportFailed,
    /// The transaction is over; forget it and its timers.
    Terminate,
}

/// The actions of one step. One allocation is reused for every step of every transaction.
pub type Actions = Vec<Action>;

/// The longest wait before an INVITE server transaction sends 100 itself (RFC 3261 §17.2.1).
pub const TRYING_AFTER: Duration = Duration::from_millis(200);

/// Timer D of an unreliable transport: at least 32 s (RFC 3261 §17.1.1.2).
pub const TIMER_D: Duration = Duration::from_secs(32);
