//! Accepting connections: limits first, then the TLS handshake, then service.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sip::endpoint::Transport;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::{Connection, Queue, serve};
use super::counters::Counters;
use super::table::Refusal;
use super::{Core, Listener, mark};
use crate::trunk::{Called, Origin, Unattributed, attribute};

/// Accepts until the runtime ends.
pub(super) async fn accept(core: Arc<Core>, listener: Listener, socket: TcpListener) {
    let socket = match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(cause) => {
            tracing::error!(listener = %listener.local, %cause, "listener lost; restart");
            return;
        }
    };
    loop {
        for _ in 0..ACCEPTS_PER_TURN {
            match socket.accept().await {
                Ok((socket, remote)) => take(&core, listener, socket, remote),
                Err(cause) => {
                    // Out of descriptors, mostly: what is open goes on, and room may come.
                    tracing::warn!(listener = %listener.local, %cause, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Those that are here already come first.
        tokio::task::yield_now().await;
    }
}

fn take(core: &Arc<Core>, listener: Listener, socket: TcpStream, remote: SocketAddr) {
    let known = core.plan.table().knows(remote.ip());
    if !known && core.knocking.is_too_fast(Instant::now(), remote.ip()) {
        Counters::count(&core.counters.connections_refused);
        // A reset: it costs neither side a wait for the other's end.
        let _slower = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        return;
    }
    admit(core, listener, socket, remote, known);
}

fn admit(core: &Arc<Core>, listener: Listener, socket: TcpStream, remote: SocketAddr, known: bool) {
    let mut table = core.table();
    let mut admitted = table.admit(remote.ip(), known, &core.limits);
    if admitted == Err(Refusal::Full) && table.evict() {
        Counters::count(&core.counters.connections_evicted);
        admitted = table.admit(remote.ip(), known, &core.limits);
    }
    if let Err(cause) = admitted {
        drop(table);
        Counters::count(&core.counters.connections_refused);
        tracing::debug!(%remote, cause = cause.text(), "connection refused");
        return;
    }
    let number = core.next_connection(Some(listener));
    let (connection, queue) = Connection::accepted(number, listener, remote);
    match known {
        true => table.insert(Arc::clone(&connection)),
        false => table.insert_stranger(Arc::clone(&connection)),
    }
    drop(table);
    // SIP messages are small and each waits for an answer.
    let _slower = socket.set_nodelay(true);
    tokio::spawn(greet(Arc::clone(core), listener, connection, queue, socket));
}

async fn greet(
    core: Arc<Core>,
    listener: Listener,
    connection: Arc<Connection>,
    queue: Queue,
    socket: TcpStream,
) {
    let mut origin = Origin {
        transport: listener.transport,
        local: socket.local_addr().unwrap_or(listener.local),
        source: connection.remote(),
        peer: None,
        opened_for: None,
    };
    // The trunk that the address alone tells; a certificate comes too late for the handshake's mark.
    let trunk = match attribute(&core.plan.table(), &origin, Called::default()) {
        Ok(id) | Err(Unattributed::TlsIdentity(id) | Unattributed::Token(id)) => Some(id),
        Err(_) => None,
    };
    if let Some(dscp) = core.dscp(trunk) {
        mark::mark(&socket, origin.source.is_ipv4(), dscp);
    }
    if listener.transport != Transport::Tls {
        return serve(core, connection, queue, socket, origin).await;
    }
    let handshake = timeout(core.limits.tls_handshake, core.tls.accept(socket));
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        () = connection.aborted() => return connection.bury(&core, false).await,
    };
    let problem = match shaken {
        Ok(Ok((socket, peer))) => {
            origin.peer = peer.map(Arc::new);
            return serve(core, connection, queue, socket, origin).await;
        }
        // Somebody looked whether the port is open and went away: no news about a peer.
        Ok(Err(cause)) if cause.kind() == std::io::ErrorKind::UnexpectedEof => {
            return connection.bury(&core, false).await;
        }
        Ok(Err(cause)) => super::tls::explain(&cause),
        Err(_) => String::from("the handshake took too long"),
    };
    Counters::count(&core.counters.handshakes_failed);
    // Only a peer that we know is worth a line that everybody sees.
    let address = origin.source.ip();
    match core.plan.table().knows(address) {
        true => tracing::warn!(peer = %origin.source, problem, "TLS handshake failed"),
        false => tracing::debug!(peer = %origin.source, problem, "TLS handshake failed"),
    }
    connection.bury(&core, false).await;
}

/// Connections accepted before other tasks get a turn.
const ACCEPTS_PER_TURN: usize = 16;
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
