//! What the edge counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the start, and the connections that live now.
#[derive(Clone, Copy, PartialEq, Eq, Default, serde::Serialize, Debug)]
pub struct Counts {
    /// Messages given to the shard.
    pub messages_in: u64,
    /// Messages sent or queued.
    pub messages_out: u64,
    /// Messages that could not be sent.
    pub sends_failed: u64,
    /// Things that were no message.
    pub malformed: u64,
    /// Datagrams dropped because the shard's queue was full.
    pub datagrams_dropped: u64,
    /// Connections refused by a limit.
    pub connections_refused: u64,
    /// Connections of nobody known that made room for others.
    pub connections_evicted: u64,
    /// TLS handshakes that failed or took too long.
    pub handshakes_failed: u64,
    /// Connections closed because the first message did not come in time.
    pub first_message_missed: u64,
    /// Connections closed because they were idle.
    pub idle_closed: u64,
    /// Connections closed because the peer stopped answering pings.
    pub pongs_missed: u64,
    /// Connections closed because their write queue was full or stuck.
    pub writes_stuck: u64,
    /// Connections that could not be opened.
    pub dials_failed: u64,
    /// Connections that live now.
    pub connections: usize,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) messages_in: AtomicU64,
    pub(super) messages_out: AtomicU64,
    pub(super) sends_failed: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) datagrams_dropped: AtomicU64,
    pub(super) connections_refused: AtomicU64,
    pub(super) connections_evicted: AtomicU64,
    pub(super) handshakes_failed: AtomicU64,
    pub(super) first_message_missed: AtomicU64,
    pub(super) idle_closed: AtomicU64,
    pub(super) pongs_missed: AtomicU64,
    pub(super) writes_stuck: AtomicU64,
    pub(super) dials_failed: AtomicU64,
}

impl Counters {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, connections: usize) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            messages_in: of(&self.messages_in),
            messages_out: of(&self.messages_out),
            sends_failed: of(&self.sends_failed),
            malformed: of(&self.malformed),
            datagrams_dropped: of(&self.datagrams_dropped),
            connections_refused: of(&self.connections_refused),
            connections_evicted: of(&self.connections_evicted),
            handshakes_failed: of(&self.handshakes_failed),
            first_message_missed: of(&self.first_message_missed),
            idle_closed: of(&self.idle_closed),
            pongs_missed: of(&self.pongs_missed),
            writes_stuck: of(&self.writes_stuck),
            dials_failed: of(&self.dials_failed),
            connections,
        }
    }
}
