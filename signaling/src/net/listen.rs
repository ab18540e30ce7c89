//! Opening listeners, and choosing the one that reaches a peer.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use sip::endpoint::{Hop, Transport};
use socket2::{Domain, Protocol, Socket, Type};

use super::holder::holder;
use super::limits::{BACKLOG, SOCKET_BUFFER_BYTES};
use super::{NetError, mark};
use crate::config::Sip;

/// A listener as it is known outside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Listener {
    /// Its place among all listeners, from 0.
    pub number: u16,
    /// Its transport.
    pub transport: Transport,
    /// Its address, with the real port.
    pub local: SocketAddr,
}

/// All listeners; UDP ones with a socket to send from.
pub(super) struct Listeners {
    all: Vec<(Listener, Option<UdpSocket>)>,
    /// Keys the hash in a flow's number, so that no peer can choose its own.
    hasher: RandomState,
}

/// The sockets that tasks wait on.
pub(super) struct Sockets {
    pub(super) udp: Vec<(Listener, UdpSocket)>,
    pub(super) accepting: Vec<(Listener, TcpListener)>,
}

/// Opens every listener of `[sip]`, or none.
pub(super) fn open(sip: &Sip) -> Result<(Listeners, Sockets), NetError> {
    let mut listeners = Vec::new();
    let mut sockets = Sockets { udp: Vec::new(), accepting: Vec::new() };
    let all = [(Transport::Udp, &sip.udp), (Transport::Tcp, &sip.tcp), (Transport::Tls, &sip.tls)];
    for (transport, addresses) in all {
        for address in addresses {
            let fail = |cause: io::Error| NetError::Listen {
                transport,
                address: *address,
                holder: (cause.kind() == io::ErrorKind::AddrInUse)
                    .then(|| holder(transport, address.port()))
                    .flatten(),
                cause,
            };
            let number = u16::try_from(listeners.len()).unwrap_or(u16::MAX);
            if transport == Transport::Udp {
                let socket = open_udp(*address).map_err(fail)?;
                let local = socket.local_addr().map_err(fail)?;
                let listener = Listener { number, transport, local };
                let sender = socket.try_clone().map_err(fail)?;
                listeners.push((listener, Some(sender)));
                sockets.udp.push((listener, socket));
            } else {
                let socket = open_tcp(*address).map_err(fail)?;
                let local = socket.local_addr().map_err(fail)?;
                let listener = Listener { number, transport, local };
                listeners.push((listener, None));
                sockets.accepting.push((listener, socket));
            }
        }
    }
    Ok((Listeners { all: listeners, hasher: RandomState::new() }, sockets))
}

fn open_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    mark::mark(&socket, address.is_ipv4(), mark::USUAL);
    // The kernel may grant less; what it grants is what there is.
    let _granted = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _granted = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn open_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // What is accepted inherits it.
    mark::mark(&socket, address.is_ipv4(), mark::USUAL);
    // Lets a restart take the port while old connections linger; it never shares a live port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Listeners {
    pub(super) fn iter(&self) -> impl Iterator<Item = Listener> + '_ {
        self.all.iter().map(|(listener, _)| *listener)
    }

    /// The connection number of datagrams between a UDP listener and a peer. It leads answers back
    /// to the listener, and keeps the failure of one peer apart from all others.
    pub(super) fn flow(&self, listener: Listener, remote: SocketAddr) -> u64 {
        let peer = self.hasher.hash_one(remote) & FLOW_PEER;
        FLOW | (u64::from(listener.number) << LISTENER_SHIFT) | peer
    }

    /// Sends a datagram from the listener that the hop names or, failing that, one that reaches
    /// the hop's remote, marked with the code point `dscp` if it is to be another than the usual
    /// one. A full socket buffer loses the datagram, as a full queue on the way would:
    /// retransmission repairs it.
    pub(super) fn send_datagram(
        &self,
        hop: &Hop,
        bytes: &[u8],
        dscp: Option<u8>,
    ) -> Result<(), &'static str> {
        let chosen = self.choose(hop).ok_or("there is no UDP listener of this address family")?;
        let found = self.all.iter().find(|(listener, _)| listener.number == chosen.number);
        let Some((_, Some(socket))) = found else { return Err("there is no UDP listener") };
        let sent = match dscp {
            None => socket.send_to(bytes, hop.remote),
            Some(dscp) => mark::send_marked(socket, bytes, hop.remote, dscp),
        };
        match sent {
            Ok(_) => Ok(()),
            Err(cause) => match cause.kind() {
                io::ErrorKind::WouldBlock => Ok(()),
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    Err("there is no route to the peer; check addresses and routing")
                }
                io::ErrorKind::PermissionDenied => Err("a local firewall rule forbids it"),
                _ if bytes.len() > 65_507 => Err("the message is larger than a datagram can be"),
                _ => Err("the kernel refuses the datagram"),
            },
        }
    }

    /// Our address toward the hop: the listener's, with the interface's address in place of a
    /// wildcard.
    pub(super) fn local(&self, hop: &Hop) -> Option<SocketAddr> {
        let listener = self.choose(hop)?;
        match listener.local.ip().is_unspecified() {
            false => Some(listener.local),
            true => {
                let ip = source_toward(hop.remote).unwrap_or(listener.local.ip());
                Some(SocketAddr::new(ip, listener.local.port()))
            }
        }
    }

    /// The listener that stands for us toward a hop: the one that the hop's flow or connection
    /// came in by, else one of its transport and address family, preferably the one whose address
    /// the kernel would send from.
    pub(super) fn choose(&self, hop: &Hop) -> Option<Listener> {
        let fits = |listener: &Listener| {
            listener.transport == hop.transport && listener.local.is_ipv4() == hop.remote.is_ipv4()
        };
        let named = listener_of(hop).and_then(|number| {
            self.iter().find(|listener| u64::from(listener.number) == number && fits(listener))
        });
        if named.is_some() {
            return named;
        }
        let mut fitting = self.iter().filter(fits);
        let first = fitting.next()?;
        if fitting.next().is_none() {
            return Some(first);
        }
        let source = source_toward(hop.remote);
        let exact = self.iter().find(|l| fits(l) && Some(l.local.ip()) == source);
        let wildcard = || self.iter().find(|l| fits(l) && l.local.ip().is_unspecified());
        exact.or_else(wildcard).or(Some(first))
    }
}

/// The number of a connection, its `serial` the how manieth of all: it says which listener accepted
/// it, so that who answers on it knows our name there without looking the connection up.
pub(super) fn connection_number(serial: u64, accepted_by: Option<Listener>) -> u64 {
    let listener = accepted_by.map_or(0, |listener| u64::from(listener.number) + 1);
    (listener << LISTENER_SHIFT) | (serial & FLOW_PEER)
}

/// The listener that a hop's flow or connection came in by.
fn listener_of(hop: &Hop) -> Option<u64> {
    let is_flow = hop.connection & FLOW != 0;
    let number = (hop.connection & !FLOW) >> LISTENER_SHIFT;
    match hop.transport {
        Transport::Udp => is_flow.then_some(number),
        Transport::Tcp | Transport::Tls if is_flow => None,
        Transport::Tcp | Transport::Tls => number.checked_sub(1),
    }
}

/// Marks the number of a flow, which no connection ever has.
const FLOW: u64 = 1 << 63;
/// Where the listener stands: in a flow's number its own, in a connection's one more, 0 for those
/// that we opened.
const LISTENER_SHIFT: u32 = 47;
/// The part of a flow's number that is the peer's, and of a connection's its serial.
const FLOW_PEER: u64 = (1 << LISTENER_SHIFT) - 1;

/// The address that the kernel would send from. Connecting a UDP socket sends nothing.
fn source_toward(remote: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let probe = UdpSocket::bind((any, 0)).ok()?;
    probe.connect(remote).ok()?;
    probe.local_addr().ok().map(|local| local.ip())
}
