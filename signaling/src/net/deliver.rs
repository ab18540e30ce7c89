//! Handing things to the shard through its bounded queue.

use std::time::Duration;

use crossbeam::channel::{Sender, TrySendError};

use super::Inbound;

/// The shard's queue, seen from the edge.
pub(super) struct Inbox(Sender<Inbound>);

impl Inbox {
    pub(super) fn new(sender: Sender<Inbound>) -> Self {
        Self(sender)
    }

    /// Whether what comes from addresses that no trunk claims has to wait outside: the queue is
    /// for trunks, and a flood from elsewhere gets an eighth of it.
    pub(super) fn is_crowded(&self) -> bool {
        self.0.capacity().is_some_and(|all| self.0.len() >= all.div_ceil(STRANGERS_SHARE))
    }

    /// Hands over if there is room at once.
    pub(super) fn offer(&self, inbound: Inbound) -> bool {
        self.0.try_send(inbound).is_ok()
    }

    /// Lets the shard catch up before a connection is read further: one that asks and asks gets slow
    /// instead of filling the queue, in which new calls of everybody would be refused then.
    pub(super) async fn breathe(&self) {
        if self.is_crowded() {
            tokio::time::sleep(FULL_PAUSE).await;
        }
    }

    /// Hands over, waiting for room. When the shard is gone the thing is dropped.
    pub(super) async fn deliver(&self, mut inbound: Inbound) {
        loop {
            match self.0.try_send(inbound) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(back)) => inbound = back,
            }
            // The queue has no waker for us; full means overload, where a millisecond is little.
            tokio::time::sleep(FULL_PAUSE).await;
        }
    }
}

/// Part of the queue, one in so many, that is open to everybody.
const STRANGERS_SHARE: usize = 8;
const FULL_PAUSE: Duration = Duration::from_millis(1);
