//! Large requests leave by TCP although their way is UDP (RFC 3261 §18.1.1): fragments get lost, and
//! many firewalls drop them all. A peer that takes no TCP gets the same request by UDP, and is
//! remembered, so that only the first large one waits for its refusal.
//!
//! Only the transaction changes its way: the dialog that comes of it, and what is small inside of it,
//! stay where they were, unless the peer's Contact asks for TCP ([`Hop::followed`]).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::client::Machine;
use super::schedule::Owner;
use super::{ClientId, Endpoint, Hop, Transport};
use crate::wire::{HeaderName, Method, Request};

/// From which size on requests leave by TCP, and who takes none.
#[derive(Debug)]
pub(super) struct Widen {
    above: usize,
    refusing: BTreeMap<SocketAddr, Instant>,
}

impl Default for Widen {
    fn default() -> Self {
        Self { above: usize::MAX, refusing: BTreeMap::new() }
    }
}

impl Widen {
    fn takes_none(&self, remote: SocketAddr, now: Instant) -> bool {
        self.refusing.get(&remote).is_some_and(|until| *until > now)
    }

    fn refused(&mut self, remote: SocketAddr, now: Instant) {
        if self.refusing.len() >= REFUSING_MAX {
            self.refusing.retain(|_, until| *until > now);
        }
        if self.refusing.len() >= REFUSING_MAX {
            self.refusing.pop_first();
        }
        self.refusing.insert(remote, now + REFUSED_FOR);
    }
}

impl Endpoint {
    /// From now on requests of more than so many bytes leave by TCP where their way is UDP; none do
    /// without this. The outside has to dial such a hop, and to tell a failure as for any.
    pub fn widen_above(&mut self, bytes: usize) {
        self.widen.above = bytes;
    }

    /// Turns a request that is too large for a datagram to TCP. Returns its bytes and, if it was
    /// turned, the way that it came from.
    pub(super) fn widened(
        &self,
        now: Instant,
        request: &mut Request,
        branch: &Bytes,
        hop: &mut Hop,
    ) -> (Bytes, Option<Hop>) {
        let bytes = request.to_bytes();
        let stays = hop.transport != Transport::Udp
            || bytes.len() <= self.widen.above
            || request.method == Method::Cancel
            || self.widen.takes_none(hop.remote, now);
        if stays {
            return (bytes, None);
        }
        let narrow = *hop;
        *hop = Hop { transport: Transport::Tcp, connection: 0, ..narrow };
        self.write_via(request, branch, hop);
        (request.to_bytes(), Some(narrow))
    }

    /// Sends a request that could not leave by TCP by UDP; `false` when it was not turned, or was
    /// answered already.
    pub(super) fn narrowed(&mut self, now: Instant, id: ClientId) -> bool {
        let found = self.clients.get(&id).filter(|client| client.is_unheard());
        let Some((narrow, client)) = found.and_then(|client| Some((client.narrow?, client))) else {
            return false;
        };
        let wide = client.hop;
        if wide.transport == narrow.transport {
            return false;
        }
        let via = self.via_text(&narrow, &client.branch);
        self.widen.refused(narrow.remote, now);
        let mut actions = std::mem::take(&mut self.actions);
        if let Some(client) = self.clients.get_mut(&id) {
            client.request.headers.remove(&HeaderName::Via);
            client.request.headers.push_front(HeaderName::Via, via);
            client.bytes = client.request.to_bytes();
            client.hop = narrow;
            self.schedule.disarm_all(&mut client.armed);
            let timers = self.config.timers;
            client.machine = Machine::start(&client.request.method, timers, false, &mut actions);
        }
        self.lanes.remove(wide, Owner::Client(id.0));
        self.lanes.add(narrow, Owner::Client(id.0));
        self.run_client(now, id, &mut actions, &mut None);
        self.actions = actions;
        true
    }

    fn write_via(&self, request: &mut Request, branch: &Bytes, hop: &Hop) {
        request.headers.remove(&HeaderName::Via);
        let via = self.via_text(hop, branch);
        request.headers.push_front(HeaderName::Via, via);
    }

    /// Our Via for a request on that hop.
    pub(super) fn via_text(&self, hop: &Hop, branch: &Bytes) -> String {
        let transport = hop.transport.as_str();
        let sent_by = (self.config.via)(hop);
        let text = String::from_utf8_lossy(branch);
        // `rport` lets the response come back through a NAT (RFC 3581 §3).
        let rport = if hop.transport.is_reliable() { "" } else { ";rport" };
        format!("SIP/2.0/{transport} {sent_by};branch={text}{rport}")
    }
}

/// The size above which RFC 3261 §18.1.1 asks for TCP when the path's is not known.
pub const UDP_REQUEST_BYTES_MAX: usize = 1_300;
/// How long a peer that took no TCP is not asked for it again.
const REFUSED_FOR: Duration = Duration::from_secs(3_600);
/// Peers that take no TCP and are remembered.
const REFUSING_MAX: usize = 1_024;
