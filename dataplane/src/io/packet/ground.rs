//! What the workers of a process share, made before them and with the privileges of the start:
//! steering, sockets, the keeper of next hops.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::sync::Arc;

use rustix::net::sockopt::{set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force};
use socket2::{Domain, Protocol, Socket, Type};

use super::options;
use super::others::Others;
use super::steering::{Maps, Steering};
use crate::io::neighbour::{Hops, Keeper};
use crate::io::xdp::{Lane, Plane, Table};
use crate::io::{Endpoint, stamp};
use crate::limits::{FAN_IN_BUFFER, WIRE_BUFFER};
use crate::topology::{PortPairs, Topology};

/// Shared by all workers.
pub struct Ground {
    pub steering: Steering,
    pub others: Others,
    _keeper: Keeper,
    _claims: Vec<UnixDatagram>,
}

/// What one worker gets of it.
pub struct Share {
    pub worker: usize,
    /// Those of all workers: which of them are this one's changes while it runs.
    pub pairs: PortPairs,
    pub ground: Arc<Ground>,
    pub hops: Hops,
    /// Where datagrams come in, of IPv4 and of IPv6.
    pub fan_in: [Option<UdpSocket>; 2],
    /// Where frames leave.
    pub wire: OwnedFd,
    /// Where datagrams leave that the kernel is to find the way for.
    pub raw: [Option<Socket>; 2],
    /// The way past the kernel, with XDP.
    pub lane: Option<Lane>,
}

/// Makes the ground and each worker's share of it.
///
/// # Errors
/// What the kernel refused; it names the step.
pub fn lay(topology: &Topology) -> io::Result<Vec<Share>> {
    let addresses: Vec<IpAddr> = topology.networks.iter().flatten().copied().collect();
    let workers = topology.placements.len();
    let claims = claim(topology, &addresses)
        .map_err(at("claim the media ports, which another data plane of this host may have"))?;
    let others = Others::read();
    let maps = Maps::create(&addresses, workers).map_err(at("create a BPF map"))?;
    let families = [true, false].map(|v4| addresses.iter().any(|ip| ip.is_ipv4() == v4));
    let mut sockets = Vec::with_capacity(workers);
    for worker in 0..workers {
        let [four, six] = families;
        let fan_in = [
            four.then(|| fan_in(Ipv4Addr::UNSPECIFIED.into())).transpose(),
            six.then(|| fan_in(Ipv6Addr::UNSPECIFIED.into())).transpose(),
        ];
        let [four, six] = fan_in;
        let fan_in = [four, six].into_iter().collect::<io::Result<Vec<_>>>();
        let fan_in = fan_in.map_err(at("open a fan-in socket"))?;
        for (socket, v4) in fan_in.iter().zip([true, false]) {
            if let Some(socket) = socket {
                maps.put(worker, v4, socket).map_err(at("put a socket into a BPF map"))?;
            }
        }
        sockets.push(fan_in);
    }
    let steering = maps.attach().map_err(at("attach the sk_lookup program"))?;
    let (keeper, views) = Keeper::start(workers).map_err(at("open rtnetlink"))?;
    let all = PortPairs {
        first_even: first_port(topology),
        count: u16::try_from(topology.pairs()).unwrap_or(u16::MAX),
    };
    let ground = Ground { steering, others, _keeper: keeper, _claims: claims };
    let ground = Arc::new(ground);
    let shares = sockets.into_iter().zip(views).enumerate();
    shares
        .map(|(worker, (fan_in, hops))| {
            let mut fan_in = fan_in.into_iter();
            Ok(Share {
                worker,
                pairs: all,
                ground: Arc::clone(&ground),
                hops,
                fan_in: [fan_in.next().flatten(), fan_in.next().flatten()],
                wire: wire().map_err(at("open a packet socket"))?,
                raw: raw(families).map_err(at("open a raw socket"))?,
                lane: None,
            })
        })
        .collect()
}

fn first_port(topology: &Topology) -> u16 {
    topology.placements.first().map_or(0, |placement| placement.pairs.first_even)
}

/// Names that only one data plane of a network namespace can have: no port is bound that would keep a
/// second one from the same ports by mistake.
fn claim(topology: &Topology, addresses: &[IpAddr]) -> io::Result<Vec<UnixDatagram>> {
    let first = first_port(topology);
    let mut names: Vec<String> =
        addresses.iter().map(|address| format!("trunkline-media/{address}/{first}")).collect();
    names.sort_unstable();
    names.dedup();
    let bind = |name| UnixDatagram::bind_addr(&UnixAddress::from_abstract_name(name)?);
    names.iter().map(bind).collect()
}

/// The same, and frames are taken out of the drivers.
///
/// # Errors
/// As [`lay`], and why XDP cannot be used.
pub fn lay_with_lanes(topology: &Topology) -> io::Result<Vec<Share>> {
    let mut shares = lay(topology)?;
    let Some(first) = shares.first() else { return Ok(shares) };
    let steering = &first.ground.steering;
    let ip = |ip: &u128| Endpoint { ip: *ip, port: 0 }.socket_addr().ip();
    let addresses: Vec<IpAddr> = steering.addresses().iter().map(ip).collect();
    // Who stands by has no queue: a frame would wait there for a worker without flows.
    let workers = topology.serving().count();
    let table = table(topology, addresses.len())
        .map_err(at("create the BPF map of what the kernel relays (media.xdp_tx)"))?;
    let under = topology.under_xdp();
    let taken = addresses.iter().copied().zip(0..).filter(|(ip, _)| under.contains(ip)).collect();
    let (named, ports) = (&topology.interfaces, steering.ports());
    let plane = Plane::lay(taken, named, workers as u32, ports, table);
    let plane = Arc::new(plane.map_err(io::Error::other)?);
    for (share, worker) in shares.iter_mut().zip(0..).take(workers) {
        share.lane = Some(Lane { worker, plane: Arc::clone(&plane) });
    }
    Ok(shares)
}

/// Entries for every port pair of all workers, if any network's flows may be relayed by the kernel.
fn table(topology: &Topology, addresses: usize) -> io::Result<Option<Table>> {
    if !topology.xdp_tx.contains(&true) {
        return Ok(None);
    }
    let pairs = topology.placements.iter().map(|placement| u32::from(placement.pairs.count)).sum();
    Table::create(addresses, first_port(topology), pairs, topology.xdp_tx.clone()).map(Some)
}

/// Whether this process may do all that, and this kernel can. Leaves nothing behind.
///
/// # Errors
/// As [`lay`].
pub fn probe() -> io::Result<()> {
    let maps = Maps::create(&[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()], 1)
        .map_err(at("create a BPF map"))?;
    maps.load().map_err(|error| at("load an sk_lookup program")(error.into()))?;
    let socket = fan_in(Ipv4Addr::UNSPECIFIED.into()).map_err(at("open a fan-in socket"))?;
    maps.put(0, true, &socket).map_err(at("put a socket into a BPF map"))?;
    wire().map_err(at("open a packet socket"))?;
    raw([true, false]).map_err(at("open a raw socket"))?;
    Ok(())
}

/// A socket that datagrams are steered to. It must be bound somewhere to be steered to; the port
/// is one that the kernel chooses, and nobody is told of it.
fn fan_in(any: IpAddr) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(any, 0);
    let kind = Type::DGRAM.cloexec().nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    options::tell_destination(&socket, address.is_ipv4())?;
    if set_socket_recv_buffer_size_force(&socket, FAN_IN_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(FAN_IN_BUFFER);
    }
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);
    let _ = stamp::enable(&socket);
    Ok(socket)
}

fn wire() -> io::Result<OwnedFd> {
    // Without a protocol it receives nothing.
    let socket = Socket::new(Domain::PACKET, Type::RAW.cloexec().nonblocking(), None)?;
    options::bypass_queues(&socket)?;
    if set_socket_send_buffer_size_force(&socket, WIRE_BUFFER).is_err() {
        let _ = socket.set_send_buffer_size(WIRE_BUFFER);
    }
    Ok(socket.into())
}

/// Sockets that put an IP header before our UDP headers. A raw socket also gets a copy of each
/// datagram that comes, so each of these is tied to an address pair that nothing comes from.
fn raw([four, six]: [bool; 2]) -> io::Result<[Option<Socket>; 2]> {
    let open = |domain| {
        let socket = Socket::new(domain, Type::RAW.cloexec().nonblocking(), Some(Protocol::UDP))?;
        let _ = set_socket_send_buffer_size_force(socket.as_fd(), WIRE_BUFFER);
        let _ = socket.set_recv_buffer_size(0);
        Ok::<_, io::Error>(socket)
    };
    let deaf = |socket: &Socket, near: IpAddr, far: IpAddr| {
        socket.bind(&SocketAddr::new(near, 0).into())?;
        socket.connect(&SocketAddr::new(far, 0).into())
    };
    let four = if four {
        let socket = open(Domain::IPV4)?;
        deaf(&socket, UNUSED_V4.into(), UNUSED_V4.into())?;
        Some(socket)
    } else {
        None
    };
    let six = if six {
        let socket = open(Domain::IPV6)?;
        deaf(&socket, Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into())?;
        Some(socket)
    } else {
        None
    };
    Ok([four, six])
}

fn at(step: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("cannot {step}: {error}"))
}

/// One of the host's own that no program uses.
const UNUSED_V4: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 254);
