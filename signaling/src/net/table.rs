//! All live connections, found by number or by where they lead.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use sip::endpoint::{Hop, Transport};

use super::Limits;
use super::connection::Connection;

/// Connections that live or are being opened.
#[derive(Default)]
pub(super) struct Table {
    by_number: HashMap<u64, Arc<Connection>>,
    /// Connections that we opened, by place and trunk.
    opened: HashMap<(Transport, SocketAddr, u32), u64>,
    per_source: HashMap<IpAddr, usize>,
    /// Accepted from addresses that no trunk claims, in order; those that proved themselves or are
    /// gone are met and left out when a place is needed.
    strangers: VecDeque<u64>,
}

/// Why there is no room for a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// All of them together.
    Full,
    /// Those with its address.
    FullForSource,
}

impl Refusal {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Full => "the limit of connections is reached",
            Self::FullForSource => "the limit of connections with this address is reached",
        }
    }
}

/// What there is for a hop.
pub(super) enum Found {
    Live(Arc<Connection>),
    Nothing,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    pub(super) fn get(&self, number: u64) -> Option<Arc<Connection>> {
        self.by_number.get(&number).cloned()
    }

    /// The connection that the hop names, if it lives and is of that transport; else one that we
    /// opened to the same place for the same trunk.
    pub(super) fn find(&self, hop: &Hop) -> Found {
        let named = self.by_number.get(&hop.connection);
        let usable = |connection: &&Arc<Connection>| {
            connection.transport() == hop.transport && !connection.is_closing()
        };
        let opened = || {
            let number = self.opened.get(&(hop.transport, hop.remote, hop.tag))?;
            self.by_number.get(number)
        };
        match named.filter(usable).or_else(|| opened().filter(usable)) {
            Some(connection) => Found::Live(Arc::clone(connection)),
            None => Found::Nothing,
        }
    }

    /// Whether one more connection with this address is within the limits; `known` says that some
    /// trunk claims it.
    pub(super) fn admit(
        &self,
        source: IpAddr,
        known: bool,
        limits: &Limits,
    ) -> Result<(), Refusal> {
        let kept = if known { 0 } else { limits.connections_for_trunks };
        if self.by_number.len() >= limits.connections.saturating_sub(kept) {
            return Err(Refusal::Full);
        }
        let with_source = self.per_source.get(&source).copied().unwrap_or(0);
        match with_source >= limits.connections_per_source {
            true => Err(Refusal::FullForSource),
            false => Ok(()),
        }
    }

    /// Takes the place of the stranger that has been here longest without a message that belongs to a
    /// trunk; `false` when there is none.
    pub(super) fn evict(&mut self) -> bool {
        while let Some(number) = self.strangers.pop_front() {
            if let Some(oldest) = self.get(number).filter(|oldest| !oldest.is_proven()) {
                oldest.evict();
                self.remove(&oldest);
                return true;
            }
        }
        false
    }

    /// The same for one that no trunk claims yet.
    pub(super) fn insert_stranger(&mut self, connection: Arc<Connection>) {
        if self.strangers.len() >= STRANGERS_MAX {
            let live = &self.by_number;
            self.strangers.retain(|number| live.get(number).is_some_and(|one| !one.is_proven()));
        }
        self.strangers.push_back(connection.number());
        self.insert(connection);
    }

    pub(super) fn insert(&mut self, connection: Arc<Connection>) {
        *self.per_source.entry(connection.remote().ip()).or_default() += 1;
        if let Some(key) = connection.opened_key() {
            self.opened.insert(key, connection.number());
        }
        self.by_number.insert(connection.number(), connection);
    }

    pub(super) fn remove(&mut self, connection: &Connection) {
        if self.by_number.remove(&connection.number()).is_none() {
            return;
        }
        let source = connection.remote().ip();
        if let Some(count) = self.per_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.per_source.remove(&source);
            }
        }
        if let Some(key) = connection.opened_key()
            && self.opened.get(&key) == Some(&connection.number())
        {
            self.opened.remove(&key);
        }
    }

    pub(super) fn close_all(&self) {
        for connection in self.by_number.values() {
            connection.close();
        }
    }
}

/// Numbers of strangers that are noted before those that are gone are swept out: more than there are
/// connections.
const STRANGERS_MAX: usize = 16_384;
