//! Handing things to the shards through their bounded queues.

use std::time::Duration;

use crossbeam::channel::{Sender, TrySendError};
use sip::wire::Message;

use super::Inbound;
use crate::homes::Homes;

/// The shards' queues, seen from the edge.
pub struct Inboxes {
    shards: Vec<Sender<Inbound>>,
    homes: Homes,
}

impl Inboxes {
    /// The queues of all shards, in their order.
    pub fn new(shards: Vec<Sender<Inbound>>, homes: Homes) -> Self {
        Self { shards, homes }
    }

    /// Whether what comes from addresses that no trunk claims has to wait outside: the queues are
    /// for trunks, and a flood from elsewhere gets an eighth of each.
    pub(super) fn are_crowded(&self) -> bool {
        self.shards.iter().any(is_crowded)
    }

    /// The shard that a message is for.
    pub(super) fn home(&self, message: &Message) -> usize {
        self.homes.of_message(message)
    }

    /// Hands over if there is room at once.
    pub(super) fn offer(&self, shard: usize, inbound: Inbound) -> bool {
        self.shards.get(shard).is_some_and(|inbox| inbox.try_send(inbound).is_ok())
    }

    /// Lets the shard catch up before a connection is read further: one that asks and asks gets slow
    /// instead of filling the queue, in which new calls of everybody would be refused then.
    pub(super) async fn breathe(&self, shard: usize) {
        if self.shards.get(shard).is_some_and(is_crowded) {
            tokio::time::sleep(FULL_PAUSE).await;
        }
    }

    /// Hands over, waiting for room. When the shard is gone the thing is dropped.
    pub(super) async fn deliver(&self, shard: usize, inbound: Inbound) {
        if let Some(inbox) = self.shards.get(shard) {
            wait_for_room(inbox, inbound).await;
        }
    }

    /// Hands over to every shard what concerns all.
    pub(super) async fn deliver_all(&self, inbound: impl Fn() -> Inbound) {
        for inbox in &self.shards {
            wait_for_room(inbox, inbound()).await;
        }
    }

    /// Hands over without having anybody wait for it: what others want of the edge goes on.
    pub(super) fn tell(&self, shard: usize, inbound: Inbound) {
        let Some(inbox) = self.shards.get(shard) else { return };
        if let Err(TrySendError::Full(back)) = inbox.try_send(inbound) {
            let inbox = inbox.clone();
            tokio::spawn(async move { wait_for_room(&inbox, back).await });
        }
    }
}

fn is_crowded(inbox: &Sender<Inbound>) -> bool {
    inbox.capacity().is_some_and(|all| inbox.len() >= all.div_ceil(STRANGERS_SHARE))
}

async fn wait_for_room(inbox: &Sender<Inbound>, mut inbound: Inbound) {
    loop {
        match inbox.try_send(inbound) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => return,
            Err(TrySendError::Full(back)) => inbound = back,
        }
        // The queue has no waker for us; full means overload, where a millisecond is little.
        tokio::time::sleep(FULL_PAUSE).await;
    }
}

/// Part of a queue, one in so many, that is open to everybody.
const STRANGERS_SHARE: usize = 8;
const FULL_PAUSE: Duration = Duration::from_millis(1);
