//! How a peer's messages travel: one UDP socket, or TCP or TLS connections both accepted and made.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rsip::Transport;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::framing::Framer;
use crate::media::{Batch, enable_receive_time};

/// One message from the wire, and where its answer goes.
pub struct Inbound {
    pub source: SocketAddr,
    pub wire: Vec<u8>,
    pub path: ReplyPath,
    /// By UDP when it reached the socket, by the kernel's clock; else when it was read.
    pub at: Instant,
}

/// Responses go back the way their request came (RFC 3261 §18.2.2, RFC 3581 §4).
#[derive(Clone)]
pub enum ReplyPath {
    Udp(SocketAddr),
    Connection(UnboundedSender<Vec<u8>>),
}

/// The transport of one peer.
pub enum Link {
    Udp { local: SocketAddr, socket: Rc<UdpSocket> },
    Connected(Connections),
}

/// TCP or TLS in both roles; TLS always with certificates on both sides.
pub struct Connections {
    local: SocketAddr,
    /// `None` is TCP.
    connector: Option<TlsConnector>,
    /// Connections that this peer made, by the address they lead to.
    made: Rc<Mutex<HashMap<SocketAddr, UnboundedSender<Vec<u8>>>>>,
    inbound: UnboundedSender<Inbound>,
    faults: Faults,
}

/// What went wrong on the wire and belongs to no call.
pub type Faults = Rc<RefCell<Vec<String>>>;

impl Link {
    pub async fn udp(listen: SocketAddr, inbound: UnboundedSender<Inbound>) -> io::Result<Link> {
        let socket = Rc::new(UdpSocket::bind(listen).await?);
        let local = socket.local_addr()?;
        enable_receive_time(&*socket)?;
        // Without the right to more than the host's usual limit, that limit.
        let _ = set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER)
            .or_else(|_| set_socket_recv_buffer_size(&socket, SOCKET_BUFFER));
        spawn_local(receive(socket.clone(), inbound));
        Ok(Link::Udp { local, socket })
    }

    pub async fn tcp(
        listen: SocketAddr,
        inbound: UnboundedSender<Inbound>,
        faults: Faults,
    ) -> io::Result<Link> {
        Link::connected(listen, None, inbound, faults).await
    }

    pub async fn tls(
        listen: SocketAddr,
        server: Arc<ServerConfig>,
        client: Arc<ClientConfig>,
        inbound: UnboundedSender<Inbound>,
        faults: Faults,
    ) -> io::Result<Link> {
        let tls = (TlsAcceptor::from(server), TlsConnector::from(client));
        Link::connected(listen, Some(tls), inbound, faults).await
    }

    async fn connected(
        listen: SocketAddr,
        tls: Option<(TlsAcceptor, TlsConnector)>,
        inbound: UnboundedSender<Inbound>,
        faults: Faults,
    ) -> io::Result<Link> {
        let listener = TcpListener::bind(listen).await?;
        let local = listener.local_addr()?;
        let (acceptor, connector) = tls.unzip();
        let link = Connections {
            local,
            connector,
            made: Rc::default(),
            inbound: inbound.clone(),
            faults: faults.clone(),
        };
        spawn_local(async move {
            loop {
                let Ok((tcp, source)) = listener.accept().await else { continue };
                spawn_local(accept(acceptor.clone(), tcp, source, inbound.clone(), faults.clone()));
            }
        });
        Ok(Link::Connected(link))
    }

    pub fn local(&self) -> SocketAddr {
        match self {
            Link::Udp { local, .. } => *local,
            Link::Connected(connections) => connections.local,
        }
    }

    pub fn transport(&self) -> Transport {
        match self {
            Link::Udp { .. } => Transport::Udp,
            Link::Connected(Connections { connector: None, .. }) => Transport::Tcp,
            Link::Connected(_) => Transport::Tls,
        }
    }

    /// Sends a request towards `target`; over TCP and TLS on the connection that leads there, which
    /// is made when there is none.
    pub async fn send(&self, target: SocketAddr, wire: &[u8]) -> io::Result<()> {
        match self {
            Link::Udp { socket, .. } => socket.send_to(wire, target).await.map(|_| ()),
            Link::Connected(connections) => connections.send(target, wire).await,
        }
    }

    /// Sends a response.
    pub async fn reply(&self, path: &ReplyPath, wire: &[u8]) -> io::Result<()> {
        match (self, path) {
            (Link::Udp { socket, .. }, ReplyPath::Udp(to)) => {
                socket.send_to(wire, to).await.map(|_| ())
            }
            (_, ReplyPath::Connection(connection)) => connection
                .send(wire.to_vec())
                .map_err(|_| io::Error::from(io::ErrorKind::ConnectionReset)),
            (Link::Connected(_), ReplyPath::Udp(_)) => {
                Err(io::Error::from(io::ErrorKind::InvalidInput))
            }
        }
    }
}

/// Hands on what reaches the UDP socket, until nobody wants it any more.
async fn receive(socket: Rc<UdpSocket>, inbound: UnboundedSender<Inbound>) {
    let mut batch = Batch::<DATAGRAM_MAX>::new();
    loop {
        let read = || {
            batch.receive(&*socket)?;
            if batch.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        };
        // An error is a pending ICMP answer; there is nothing to read in it.
        if socket.async_io(Interest::READABLE, read).await.is_err() {
            continue;
        }
        let now = Instant::now();
        for (wire, source, age) in batch.datagrams_with_source() {
            let at = now.checked_sub(age).unwrap_or(now);
            let path = ReplyPath::Udp(source);
            if inbound.send(Inbound { source, wire: wire.to_vec(), path, at }).is_err() {
                return;
            }
        }
    }
}

impl Connections {
    async fn send(&self, target: SocketAddr, wire: &[u8]) -> io::Result<()> {
        let mut made = self.made.lock().await;
        if let Some(connection) = made.get(&target)
            && connection.send(wire.to_vec()).is_ok()
        {
            return Ok(());
        }
        let tcp = timeout(HANDSHAKE_MAX, self.dial(target)).await??;
        let (connection, outgoing) = unbounded_channel();
        let _ = connection.send(wire.to_vec());
        made.insert(target, connection.clone());
        let (inbound, faults) = (self.inbound.clone(), self.faults.clone());
        match &self.connector {
            None => drop(spawn_local(serve(tcp, target, inbound, connection, outgoing, faults))),
            Some(connector) => {
                let handshake = connector.connect(ServerName::from(target.ip()), tcp);
                let tls = timeout(HANDSHAKE_MAX, handshake).await;
                if !matches!(tls, Ok(Ok(_))) {
                    made.remove(&target);
                }
                spawn_local(serve(tls??, target, inbound, connection, outgoing, faults));
            }
        }
        Ok(())
    }

    /// From the address that we listen at: it is what the far end knows us by.
    async fn dial(&self, target: SocketAddr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(self.local.ip(), 0))?;
        let tcp = socket.connect(target).await?;
        tcp.set_nodelay(true)?;
        Ok(tcp)
    }
}

async fn accept(
    acceptor: Option<TlsAcceptor>,
    tcp: TcpStream,
    source: SocketAddr,
    inbound: UnboundedSender<Inbound>,
    faults: Faults,
) {
    let _ = tcp.set_nodelay(true);
    let (connection, outgoing) = unbounded_channel();
    let Some(acceptor) = acceptor else {
        return serve(tcp, source, inbound, connection, outgoing, faults).await;
    };
    let refusal = match timeout(HANDSHAKE_MAX, acceptor.accept(tcp)).await {
        Ok(Ok(tls)) => return serve(tls, source, inbound, connection, outgoing, faults).await,
        // A probe of the port, such as a health check.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("not done after {} s", HANDSHAKE_MAX.as_secs()),
    };
    faults.borrow_mut().push(format!("TLS handshake with {source}: {refusal}"));
}

/// One connection, until either side closes it.
async fn serve(
    mut wire: impl AsyncRead + AsyncWrite + Unpin,
    source: SocketAddr,
    inbound: UnboundedSender<Inbound>,
    connection: UnboundedSender<Vec<u8>>,
    mut outgoing: UnboundedReceiver<Vec<u8>>,
    faults: Faults,
) {
    let (mut framer, mut octets) = (Framer::default(), vec![0; 16_384]);
    loop {
        tokio::select! {
            read = wire.read(&mut octets) => {
                let Ok(length @ 1..) = read else { return };
                framer.push(octets.get(..length).unwrap_or_default());
            }
            message = outgoing.recv() => {
                let Some(message) = message else { return };
                if wire.write_all(&message).await.is_err() || wire.flush().await.is_err() {
                    return;
                }
            }
        }
        let at = Instant::now();
        loop {
            match framer.next_message() {
                Ok(Some(wire)) => {
                    let path = ReplyPath::Connection(connection.clone());
                    let _ = inbound.send(Inbound { source, wire, path, at });
                }
                Ok(None) => break,
                Err(error) => {
                    faults.borrow_mut().push(format!("connection with {source}: {error}"));
                    return;
                }
            }
        }
    }
}

const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Longest UDP payload.
const DATAGRAM_MAX: usize = 65_535;
/// Room for the answers of a few thousand calls that come at once.
const SOCKET_BUFFER: usize = 8 << 20;
