//! How a peer's messages travel: one UDP socket, or TLS connections both accepted and made.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rsip::Transport;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::framing::Framer;

/// One message from the wire, and where its answer goes.
pub struct Inbound {
    pub source: SocketAddr,
    pub wire: Vec<u8>,
    pub path: ReplyPath,
}

/// Responses go back the way their request came (RFC 3261 §18.2.2, RFC 3581 §4).
#[derive(Clone)]
pub enum ReplyPath {
    Udp(SocketAddr),
    Tls(UnboundedSender<Vec<u8>>),
}

/// The transport of one peer.
pub enum Link {
    Udp { local: SocketAddr, socket: Rc<UdpSocket> },
    Tls(TlsLink),
}

/// TLS in both roles, always with certificates on both sides.
pub struct TlsLink {
    local: SocketAddr,
    connector: TlsConnector,
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
        let receiving = socket.clone();
        spawn_local(async move {
            let mut datagram = vec![0; 65_536];
            loop {
                // An error is a pending ICMP answer; there is nothing to read in it.
                let Ok((length, source)) = receiving.recv_from(&mut datagram).await else {
                    continue;
                };
                let wire = datagram.get(..length).unwrap_or_default().to_vec();
                if inbound.send(Inbound { source, wire, path: ReplyPath::Udp(source) }).is_err() {
                    return;
                }
            }
        });
        Ok(Link::Udp { local, socket })
    }

    pub async fn tls(
        listen: SocketAddr,
        server: Arc<ServerConfig>,
        client: Arc<ClientConfig>,
        inbound: UnboundedSender<Inbound>,
        faults: Faults,
    ) -> io::Result<Link> {
        let listener = TcpListener::bind(listen).await?;
        let local = listener.local_addr()?;
        let link = TlsLink {
            local,
            connector: TlsConnector::from(client),
            made: Rc::default(),
            inbound: inbound.clone(),
            faults: faults.clone(),
        };
        let acceptor = TlsAcceptor::from(server);
        spawn_local(async move {
            loop {
                let Ok((tcp, source)) = listener.accept().await else { continue };
                spawn_local(accept(acceptor.clone(), tcp, source, inbound.clone(), faults.clone()));
            }
        });
        Ok(Link::Tls(link))
    }

    pub fn local(&self) -> SocketAddr {
        match self {
            Link::Udp { local, .. } => *local,
            Link::Tls(tls) => tls.local,
        }
    }

    pub fn transport(&self) -> Transport {
        match self {
            Link::Udp { .. } => Transport::Udp,
            Link::Tls(_) => Transport::Tls,
        }
    }

    /// Sends a request towards `target`; over TLS on the connection that leads there, which is made
    /// when there is none.
    pub async fn send(&self, target: SocketAddr, wire: &[u8]) -> io::Result<()> {
        match self {
            Link::Udp { socket, .. } => socket.send_to(wire, target).await.map(|_| ()),
            Link::Tls(tls) => tls.send(target, wire).await,
        }
    }

    /// Sends a response.
    pub async fn reply(&self, path: &ReplyPath, wire: &[u8]) -> io::Result<()> {
        match (self, path) {
            (Link::Udp { socket, .. }, ReplyPath::Udp(to)) => {
                socket.send_to(wire, to).await.map(|_| ())
            }
            (_, ReplyPath::Tls(connection)) => connection
                .send(wire.to_vec())
                .map_err(|_| io::Error::from(io::ErrorKind::ConnectionReset)),
            (Link::Tls(_), ReplyPath::Udp(_)) => Err(io::Error::from(io::ErrorKind::InvalidInput)),
        }
    }
}

impl TlsLink {
    async fn send(&self, target: SocketAddr, wire: &[u8]) -> io::Result<()> {
        let mut made = self.made.lock().await;
        if let Some(connection) = made.get(&target)
            && connection.send(wire.to_vec()).is_ok()
        {
            return Ok(());
        }
        let name = ServerName::from(target.ip());
        let handshake = async {
            let tcp = TcpStream::connect(target).await?;
            tcp.set_nodelay(true)?;
            self.connector.connect(name, tcp).await
        };
        let tls = timeout(HANDSHAKE_MAX, handshake).await??;
        let (connection, outgoing) = unbounded_channel();
        let _ = connection.send(wire.to_vec());
        made.insert(target, connection.clone());
        let (inbound, faults) = (self.inbound.clone(), self.faults.clone());
        spawn_local(serve(tls.into(), target, inbound, connection, outgoing, faults));
        Ok(())
    }
}

async fn accept(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    source: SocketAddr,
    inbound: UnboundedSender<Inbound>,
    faults: Faults,
) {
    let _ = tcp.set_nodelay(true);
    let refusal = match timeout(HANDSHAKE_MAX, acceptor.accept(tcp)).await {
        Ok(Ok(tls)) => {
            let (connection, outgoing) = unbounded_channel();
            return serve(tls.into(), source, inbound, connection, outgoing, faults).await;
        }
        // A probe of the port, such as a health check.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("not done after {} s", HANDSHAKE_MAX.as_secs()),
    };
    faults.borrow_mut().push(format!("TLS handshake with {source}: {refusal}"));
}

/// One connection, until either side closes it.
async fn serve(
    mut tls: TlsStream<TcpStream>,
    source: SocketAddr,
    inbound: UnboundedSender<Inbound>,
    connection: UnboundedSender<Vec<u8>>,
    mut outgoing: UnboundedReceiver<Vec<u8>>,
    faults: Faults,
) {
    let (mut framer, mut octets) = (Framer::default(), vec![0; 16_384]);
    loop {
        tokio::select! {
            read = tls.read(&mut octets) => {
                let Ok(length @ 1..) = read else { return };
                framer.push(octets.get(..length).unwrap_or_default());
            }
            wire = outgoing.recv() => {
                let Some(wire) = wire else { return };
                if tls.write_all(&wire).await.is_err() || tls.flush().await.is_err() {
                    return;
                }
            }
        }
        loop {
            match framer.next_message() {
                Ok(Some(wire)) => {
                    let path = ReplyPath::Tls(connection.clone());
                    let _ = inbound.send(Inbound { source, wire, path });
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
