//! A shard's way out, and what we call ourselves on it.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use sip::endpoint::{Hop, Transport};

use super::counters::Counters;
use super::{Command, Core, Net};
use crate::plan::Reader;
use crate::shard::Edge;
use crate::trunk::attribution::TOKEN_PARAMETER;
use crate::trunk::{TrunkId, TrunkTable, nat};

/// One shard's way out. It keeps the edge running.
pub struct Outlet {
    net: Net,
    names: Names,
    shard: usize,
}

/// What we call ourselves in Via and Contact.
pub struct Names {
    core: Arc<Core>,
    plan: RefCell<Reader>,
}

impl Names {
    pub(super) fn new(core: Arc<Core>) -> Self {
        let plan = RefCell::new(core.plan.reader());
        Self { core, plan }
    }

    fn table(&self) -> Arc<TrunkTable> {
        Arc::clone(&self.plan.borrow_mut().view().table)
    }

    /// How SIP on that hop is marked, where its trunk wants it otherwise than usual.
    fn dscp(&self, hop: &Hop) -> Option<u8> {
        self.table().get(TrunkId::from_tag(hop.tag)?)?.manner.signalling_dscp
    }

    /// Our `host:port` for Via on the way to `hop` (RFC 3261 §18.1.1).
    pub fn sent_by(&self, hop: &Hop) -> String {
        let local = self.core.listeners.local(hop);
        let port = local.map_or(hop.transport.default_port(), |local| local.port());
        let table = self.table();
        let trunk = TrunkId::from_tag(hop.tag).and_then(|id| table.get(id));
        let own = trunk.and_then(|trunk| trunk.external_address.as_ref());
        match (own.or(self.core.advertise.as_ref()), local.map(|local| local.ip())) {
            (Some(host), _) => format!("{host}:{port}"),
            (None, Some(IpAddr::V6(ip))) => format!("[{ip}]:{port}"),
            (None, Some(ip)) => format!("{ip}:{port}"),
            (None, None) => format!("localhost:{port}"),
        }
    }

    /// Our Contact URI for a dialog on that hop. On a trunk that registers it carries the token
    /// that tells the trunk's requests from guesses.
    pub fn contact(&self, hop: &Hop) -> String {
        let table = self.table();
        let trunk = TrunkId::from_tag(hop.tag).and_then(|id| table.get(id));
        let token = trunk.and_then(|trunk| trunk.registration_token.as_ref());
        let plain = self.plain_contact(hop);
        match token {
            Some(token) => format!("{plain};{TOKEN_PARAMETER}={}", token.expose()),
            None => plain,
        }
    }

    /// Whether requests of a dialog stay on its hop although the peer gave this address for itself:
    /// a private one, on a trunk whose addresses are repaired (`sip_alg`).
    pub fn stays(&self, hop: &Hop, said: IpAddr) -> bool {
        let table = self.table();
        let trunk = TrunkId::from_tag(hop.tag).and_then(|id| table.get(id));
        let repairs = trunk.is_some_and(|trunk| trunk.external_address.is_some());
        repairs && said != hop.remote.ip() && nat::is_private(said, hop.remote.ip())
    }

    /// The same without a token.
    pub fn plain_contact(&self, hop: &Hop) -> String {
        let parameter = match hop.transport {
            Transport::Udp => "",
            Transport::Tcp => ";transport=tcp",
            Transport::Tls => ";transport=tls",
        };
        format!("sip:{}{parameter}", self.sent_by(hop))
    }
}

impl Edge for Outlet {
    /// Never blocks and takes no lock. UDP leaves at once from the listener that `hop.connection`
    /// names, else from the one that reaches `hop.remote`. TCP and TLS are queued on
    /// `hop.connection` if it lives, else on a connection that we opened to the same place for the
    /// same trunk, else on a new one. What cannot be sent comes back as [`Inbound::Failed`].
    fn send(&self, hop: Hop, bytes: Bytes) {
        let (core, commands) = (&self.net.0.core, &self.net.0.commands);
        let shard = self.shard;
        let dscp = self.names.dscp(&hop);
        // When the edge is gone there is nobody to tell.
        let _ended = match hop.transport {
            Transport::Tcp | Transport::Tls => commands.send(Command::Send { shard, hop, bytes }),
            Transport::Udp => match core.listeners.send_datagram(&hop, &bytes, dscp) {
                Ok(()) => {
                    Counters::count(&core.counters.messages_out);
                    Ok(())
                }
                Err(cause) => {
                    core.unsent(&hop, cause);
                    commands.send(Command::Tell { shard, hop })
                }
            },
        };
    }

    /// Numbers of UDP flows and of connections that are gone are ignored.
    fn close(&self, connection: u64) {
        let _ended = self.net.0.commands.send(Command::Close(connection));
    }

    fn contact(&self, hop: &Hop) -> String {
        self.names.contact(hop)
    }

    fn plain_contact(&self, hop: &Hop) -> String {
        self.names.plain_contact(hop)
    }

    fn sent_by(&self, hop: &Hop) -> Option<String> {
        Some(self.names.sent_by(hop))
    }
}

impl Outlet {
    pub(super) fn new(net: Net, shard: usize) -> Self {
        Self { names: net.names(), net, shard }
    }

    /// The edge that it belongs to.
    pub fn net(&self) -> &Net {
        &self.net
    }
}
