//! What an endpoint is built from, and what it counts.

use std::fmt;
use std::net::IpAddr;

use super::Hop;
use crate::transaction::Timers;

/// Text that depends on the way of a message: our sent-by or our Contact.
pub type PerHop = Box<dyn Fn(&Hop) -> String + Send>;

/// Decides about an address that the peer on a hop gave for itself.
pub type Stays = Box<dyn Fn(&Hop, IpAddr) -> bool + Send>;

/// The settings of one endpoint.
pub struct Config {
    /// Makes branches, tags and Call-IDs unguessable. 32 bytes from the kernel's generator, new for
    /// each endpoint: the same seed yields the same identifiers.
    pub seed: [u8; 32],
    pub timers: Timers,
    /// Transactions of both kinds beyond which new work is refused with 503.
    pub transactions_max: usize,
    /// Dialogs, early ones included, beyond which no INVITE is taken or sent.
    pub dialogs_max: usize,
    /// Value of User-Agent and Server; empty for none.
    pub user_agent: String,
    /// Our `host:port` as seen from a hop: sent-by of the Via.
    pub via: PerHop,
    /// Our URI as seen from a hop: Contact of dialogs.
    pub contact: PerHop,
    /// Whether a dialog's requests stay on the way that it was made on, although its peer names this
    /// address: one that means something behind a translator only.
    pub stays: Stays,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("timers", &self.timers)
            .field("transactions_max", &self.transactions_max)
            .field("dialogs_max", &self.dialogs_max)
            .field("user_agent", &self.user_agent)
            .finish_non_exhaustive()
    }
}

/// What lives in an endpoint now.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Client and server transactions, finished ones that still absorb repetitions included.
    pub transactions: usize,
    /// Early and confirmed dialogs.
    pub dialogs: usize,
}
