//! Opening a connection for messages that wait for it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use sip::endpoint::{Hop, Transport};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::connection::{Connection, Queue, serve};
use super::counters::Counters;
use super::{Core, Inbound, mark};
use crate::trunk::health::Fault;
use crate::trunk::{Origin, TrunkId};

/// Connects, shakes hands, and serves the connection; what waits in the queue is told when it
/// cannot be had.
pub(super) async fn dial(core: Arc<Core>, connection: Arc<Connection>, queue: Queue) {
    let remote = connection.remote();
    let fault = match open(&core, &connection).await {
        Ok(Opened::Plain(socket, origin)) => {
            return serve(core, connection, queue, socket, origin).await;
        }
        Ok(Opened::Tls(socket, origin)) => {
            return serve(core, connection, queue, socket, origin).await;
        }
        Err(fault) => fault,
    };
    Counters::count(&core.counters.dials_failed);
    let table = core.plan.table();
    let trunk = TrunkId::from_tag(connection.tag()).and_then(|id| table.get(id));
    let trunk = trunk.map_or("none", |trunk| trunk.name.as_str());
    let transport = connection.transport().as_str();
    tracing::warn!(trunk, %remote, transport, problem = fault.text, "connection not opened");
    let hop =
        Hop { transport: connection.transport(), remote, connection: 0, tag: connection.tag() };
    core.inboxes.deliver(0, Inbound::Undialled { hop, fault }).await;
    connection.bury(&core, false).await;
}

enum Opened {
    Plain(TcpStream, Origin),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>, Origin),
}

async fn open(core: &Core, connection: &Connection) -> Result<Opened, Fault> {
    let remote = connection.remote();
    let trunk = TrunkId::from_tag(connection.tag());
    let connecting = timeout(core.limits.connect, connect(core, remote, connection));
    let socket = match connecting.await {
        Ok(Ok(socket)) => socket,
        Ok(Err(cause)) if cause.kind() == io::ErrorKind::ConnectionRefused => {
            return Err(plain("the peer refuses connections; check its port"));
        }
        Ok(Err(cause)) => return Err(plain(cause)),
        Err(_) => return Err(plain("the peer does not answer; check address and port")),
    };
    let _slower = socket.set_nodelay(true);
    let local = socket.local_addr().map_err(plain)?;
    let transport = connection.transport();
    let mut origin = Origin { transport, local, source: remote, peer: None, opened_for: trunk };
    if transport != Transport::Tls {
        return Ok(Opened::Plain(socket, origin));
    }
    let table = core.plan.table();
    let hop = trunk.and_then(|id| Some((id, table.host_at(id, remote)?)));
    let handshake = timeout(core.limits.tls_handshake, core.tls.connect(hop, socket));
    match handshake.await {
        Ok(Ok((socket, peer))) => {
            origin.peer = peer.map(Arc::new);
            Ok(Opened::Tls(Box::new(socket), origin))
        }
        Ok(Err(cause)) => Err(Fault { is_tls: true, text: super::tls::explain(&cause) }),
        Err(_) => {
            Err(Fault { is_tls: true, text: String::from("the TLS handshake took too long") })
        }
    }
}

/// A fault below TLS.
fn plain(cause: impl ToString) -> Fault {
    Fault { is_tls: false, text: cause.to_string() }
}

/// Connects from the address of our listener, because peers know us by it.
async fn connect(
    core: &Core,
    remote: SocketAddr,
    connection: &Connection,
) -> io::Result<TcpStream> {
    let socket = match remote {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    let dscp = core.dscp(TrunkId::from_tag(connection.tag())).unwrap_or(mark::USUAL);
    mark::mark(&socket, remote.is_ipv4(), dscp);
    let hop = Hop { transport: connection.transport(), remote, connection: 0, tag: 0 };
    let listener = core.listeners.choose(&hop).map(|listener| listener.local.ip());
    if let Some(address) = listener.filter(|address| !address.is_unspecified()) {
        socket.bind(SocketAddr::new(address, 0))?;
    }
    socket.connect(remote).await
}
