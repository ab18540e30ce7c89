//! All live connections, found by number or by where they lead.

use std::collections::HashMap;
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
    ) -> Result<(), &'static str> {
        let kept = if known { 0 } else { limits.connections_for_trunks };
        if self.by_number.len() >= limits.connections.saturating_sub(kept) {
            return Err("the limit of connections is reached");
        }
        let with_source = self.per_source.get(&source).copied().unwrap_or(0);
        match with_source >= limits.connections_per_source {
            true => Err("the limit of connections with this address is reached"),
            false => Ok(()),
        }
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
