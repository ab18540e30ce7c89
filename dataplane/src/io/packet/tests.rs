//! Frames on a wire between two namespaces (root only): what really leaves, by a capture at the far
//! end; what happens when the way is unknown, changes, or is cut.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant};

use abi::FlowId;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use socket2::{Domain, Protocol, Socket, Type};

use super::*;
use crate::io::stage::{FAR, NEAR, Stage};
use crate::io::{Backend, BackendKind, Dscp, Foundation, Kind, Port, Sent};
use crate::topology::Topology;

const PORT: u16 = 20_000;
/// For all that is sent while the kernel asks for a neighbour, which takes a second on a new link.
const ROOM: usize = 8 << 20;

struct Rig<'a> {
    stage: &'a Stage,
    io: Backend,
    batch: Batch,
    /// Every frame that reaches the far end.
    tap: Socket,
}

/// Runs `test` on the near side, with the backend open on both addresses there.
fn on_a_wire(test: impl FnOnce(&mut Rig<'_>) + Send) {
    on_a_wire_beside(|| (), |rig, ()| test(rig));
}

/// The same beside what was there before the backend.
fn on_a_wire_beside<T>(
    there: impl FnOnce() -> T + Send,
    test: impl FnOnce(&mut Rig<'_>, T) + Send,
) {
    let Some(stage) = Stage::build() else { return };
    let tap = stage.at_far(tap);
    std::thread::scope(|scope| {
        let passed = scope.spawn(|| {
            stage.enter_near();
            let there = there();
            let io = backend();
            test(&mut Rig { stage: &stage, io, batch: Batch::new(), tap }, there);
        });
        passed.join().unwrap();
    });
}

fn backend() -> Backend {
    let mut config = crate::config::tests::config();
    config.networks = vec![NEAR.iter().map(|text| text.parse().unwrap()).collect()];
    config.ports = PORT..=PORT + 99;
    let topology = Topology::plan(&config, &[]).unwrap();
    let part = Foundation::lay(BackendKind::Packet, &topology).unwrap().next_part().unwrap();
    let bell = || abi::doorbell::create().unwrap();
    Backend::new(part, 64, bell(), bell()).unwrap()
}

/// A socket that sees all that comes to "far".
fn tap() -> Socket {
    let all = Protocol::from(i32::from((libc::ETH_P_ALL as u16).to_be()));
    let tap = Socket::new(Domain::PACKET, Type::RAW, Some(all)).unwrap();
    set_socket_recv_buffer_size_force(&tap, ROOM).unwrap();
    tap.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    tap
}

fn id(index: u32) -> SocketId {
    SocketId { flow: FlowId { index, generation: 1 }, port: Port::Rtp }
}

impl Rig<'_> {
    fn open(&mut self, index: u32, ip: &str) -> SocketAddr {
        let address = SocketAddr::new(ip.parse().unwrap(), PORT + 2 * index as u16);
        let bound = self.io.bind(address, Dscp::EF).unwrap();
        self.io.open(id(index), bound).unwrap();
        address
    }

    /// Sends `payload` from flow `index`; what the backend says of it.
    fn send(&mut self, index: u32, to: SocketAddr, payload: &[u8]) -> usize {
        let buffer = self.io.take_buffer().unwrap();
        self.io.buffers().body(buffer).unwrap()[..payload.len()].copy_from_slice(payload);
        let origin = Origin { flow: id(index).flow, sent: Sent::Relayed(Kind::Rtp) };
        let (socket, destination, len) = (id(index), to.into(), payload.len());
        let departure = Departure { socket, destination, buffer, len, origin };
        self.batch.departures.push(departure);
        self.io.transmit(&mut self.batch).unwrap();
        self.io.receive(&mut self.batch, Wait::NONE).unwrap();
        let buffers = self.batch.arrivals.drain(..).map(|arrival| arrival.buffer);
        self.batch.discards.extend(buffers);
        self.batch.failed.drain(..).count()
    }

    /// How many frames have left so far, and how many datagrams.
    fn counts(&self) -> (u64, u64) {
        match &self.io {
            Backend::Packet(packet) => (packet.frames_sent, packet.datagrams_sent),
            _ => unreachable!(),
        }
    }

    /// Sends until a packet leaves as a frame; how many it took.
    fn until_frame(&mut self, index: u32, to: SocketAddr) -> u32 {
        let deadline = Instant::now() + Duration::from_secs(20);
        for sent in 1.. {
            let (before, _) = self.counts();
            self.send(index, to, b"warm");
            if self.counts().0 > before {
                return sent;
            }
            assert!(Instant::now() < deadline, "no frame to {to}");
            std::thread::sleep(Duration::from_millis(1));
        }
        0
    }

    /// The next frame at the far end that carries this payload.
    fn frame(&self, payload: &[u8]) -> (Vec<u8>, frame::Parsed) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            assert!(Instant::now() < deadline, "no frame of {} octets came", payload.len());
            let mut octets = [0; 4096];
            let len = (&self.tap).read(&mut octets).unwrap();
            let seen = octets[..len].to_vec();
            if let Some(parsed) = frame::parse(&seen)
                && &seen[parsed.payload.clone()] == payload
            {
                return (seen, parsed);
            }
        }
    }
}

/// A socket at the far end that media is sent to.
fn far_end(stage: &Stage, ip: &str) -> (UdpSocket, SocketAddr) {
    let ip: IpAddr = ip.parse().unwrap();
    let socket = stage.at_far(|| UdpSocket::bind((ip, 0)).unwrap());
    set_socket_recv_buffer_size_force(&socket, ROOM).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (len, from) = socket.recv_from(&mut buffer).expect("a packet");
    (buffer[..len].to_vec(), from)
}

#[test]
fn frames_leave_with_right_checksums_and_marks_and_are_accepted_by_a_socket() {
    on_a_wire(|rig| {
        for (index, (near, far)) in NEAR.into_iter().zip(FAR).enumerate() {
            let local = rig.open(index as u32, near);
            let (socket, to) = far_end(rig.stage, far);
            rig.until_frame(index as u32, to);
            for len in [0, 1, 12, 171, 172, 173, 1400] {
                let payload: Vec<u8> = (0..len).map(|n| n as u8 ^ 0x5a).collect();
                let (before, _) = rig.counts();
                assert_eq!(rig.send(index as u32, to, &payload), 0);
                assert_eq!(rig.counts().0, before + 1, "as a frame");
                let (octets, parsed) = rig.frame(&payload);
                assert!(frame::verify(&octets, &parsed), "{len}: {octets:02x?}");
                assert_eq!((parsed.from, parsed.to), (local.into(), to.into()));
                let (mark, limit) = match local {
                    SocketAddr::V4(_) => (octets[15], octets[22]),
                    SocketAddr::V6(_) => (octets[14] << 4 | octets[15] >> 4, octets[21]),
                };
                assert_eq!((mark, limit), (46 << 2, 64));
                while receive(&socket) != (payload.clone(), local) {}
            }
        }
    });
}

#[test]
fn nothing_is_lost_before_the_neighbour_is_known_nor_when_it_moves() {
    on_a_wire(|rig| {
        let local = rig.open(0, NEAR[0]);
        let (socket, to) = far_end(rig.stage, FAR[0]);
        // No neighbour, no answer about the way yet: all arrive, in order.
        for n in 0..20_u8 {
            assert_eq!(rig.send(0, to, &[n]), 0);
        }
        for n in 0..20_u8 {
            assert_eq!(receive(&socket), (vec![n], local));
        }
        rig.until_frame(0, to);
        // A host that moves says so: a gratuitous ARP.
        rig.stage.at_far(|| {
            std::fs::write("/proc/sys/net/ipv4/conf/far/arp_notify", "1").unwrap();
        });
        rig.stage.far("link set far down");
        rig.stage.far("link set far address 02:00:00:00:07:07");
        rig.stage.far("link set far up");
        let deadline = Instant::now() + Duration::from_secs(20);
        for n in 0.. {
            rig.until_frame(0, to);
            let payload = format!("moved {n}");
            rig.send(0, to, payload.as_bytes());
            let (_, parsed) = rig.frame(payload.as_bytes());
            if parsed.target == frame::Mac([2, 0, 0, 0, 7, 7]) {
                break;
            }
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

#[test]
fn a_cut_wire_and_its_repair_are_followed() {
    on_a_wire(|rig| {
        rig.open(0, NEAR[0]);
        let (socket, to) = far_end(rig.stage, FAR[0]);
        rig.until_frame(0, to);
        rig.stage.near("link set near down");
        // Whatever is sent now is counted, not lost unseen, and nothing fails for good.
        let mut failed = 0;
        for n in 0..50_u8 {
            failed += rig.send(0, to, &[n]);
        }
        assert!(failed > 0, "there is no way");
        rig.stage.near("link set near up");
        rig.until_frame(0, to);
        rig.send(0, to, b"again");
        while receive(&socket).0 != b"again" {}
    });
}

#[test]
fn a_second_interface_and_one_made_anew_are_found() {
    on_a_wire(|rig| {
        rig.open(0, NEAR[0]);
        let (socket, to) = far_end(rig.stage, FAR[0]);
        rig.until_frame(0, to);
        // The same far end by another wire.
        let second = "link add near2 type veth peer name far2";
        rig.stage.near(second);
        rig.stage.near("link set near2 up");
        rig.stage.near("link set far2 up");
        rig.stage.near("route add 198.51.100.0/24 dev near2");
        rig.stage.near("neigh replace 198.51.100.9 lladdr 02:00:00:00:00:09 dev near2");
        let before = octets_sent("near2");
        rig.until_frame(0, "198.51.100.9:9".parse().unwrap());
        assert!(octets_sent("near2") > before);
        rig.send(0, to, b"first wire");
        while receive(&socket).0 != b"first wire" {}
        // The first one goes, with its address, and comes back as another.
        rig.stage.near("link del near");
        assert_eq!(rig.send(0, to, b"x"), 1, "there is no way");
        rig.stage.near("link add near type veth peer name far3");
        rig.stage.near("link set far3 up");
        rig.stage.near("link set near up");
        rig.stage.near(&format!("address add {}/24 dev near", NEAR[0]));
        rig.stage.near(&format!("neigh replace {} lladdr 02:00:00:00:00:03 dev near", FAR[0]));
        let before = octets_sent("near");
        rig.until_frame(0, to);
        assert!(octets_sent("near") > before);
    });
}

/// Octets that have left by an interface of this thread's namespace.
fn octets_sent(link: &str) -> u64 {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = table.lines().find_map(|line| line.trim().strip_prefix(&format!("{link}:")));
    line.unwrap().split_ascii_whitespace().nth(8).unwrap().parse().unwrap()
}

#[test]
fn what_is_too_long_for_the_wire_is_fragmented_by_the_kernel() {
    on_a_wire(|rig| {
        for (index, (near, far)) in NEAR.into_iter().zip(FAR).enumerate() {
            let local = rig.open(index as u32, near);
            let (socket, to) = far_end(rig.stage, far);
            rig.until_frame(index as u32, to);
            let long = vec![0x77; 1500];
            let (frames, datagrams) = rig.counts();
            assert_eq!(rig.send(index as u32, to, &long), 0);
            assert_eq!(rig.counts(), (frames, datagrams + 1));
            while receive(&socket) != (long.clone(), local) {}
        }
    });
}

#[test]
fn fragments_that_come_are_put_together_and_lost_ones_disturb_nothing() {
    on_a_wire(|rig| {
        for (index, (near, far)) in NEAR.into_iter().zip(FAR).enumerate() {
            let local = rig.open(index as u32, near);
            let (socket, _) = far_end(rig.stage, far);
            let long = vec![0x33; 1480];
            socket.send_to(&long, local).unwrap();
            while rig.batch.arrivals.is_empty() {
                rig.io.receive(&mut rig.batch, Wait::up_to(1_000_000_000)).unwrap();
            }
            let arrival = rig.batch.arrivals.remove(0);
            assert_eq!((arrival.len, arrival.socket), (1480, id(index as u32)));
            rig.batch.discards.push(arrival.buffer);
            rig.io.transmit(&mut rig.batch).unwrap();
        }
    });
}

#[test]
fn others_keep_their_ports_and_closed_ports_answer_as_closed() {
    on_a_wire(|rig| {
        let local = rig.open(0, NEAR[0]);
        let other: SocketAddr = format!("{}:{}", NEAR[0], PORT + 50).parse().unwrap();
        let theirs = UdpSocket::bind(other).unwrap();
        theirs.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (socket, far) = far_end(rig.stage, FAR[0]);
        socket.send_to(b"theirs", other).unwrap();
        assert_eq!(receive(&theirs), (b"theirs".to_vec(), far));
        // Neither on another address of this host.
        let elsewhere = UdpSocket::bind(("127.0.0.1", local.port())).unwrap();
        elsewhere.send_to(b"self", elsewhere.local_addr().unwrap()).unwrap();
        assert_eq!(receive(&elsewhere).0, b"self");
        // A port of ours that is not open is as closed as any.
        let closed: SocketAddr = format!("{}:{}", NEAR[0], PORT + 60).parse().unwrap();
        socket.connect(closed).unwrap();
        socket.send(b"x").unwrap();
        let refused = socket.recv(&mut [0; 10]).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        rig.io.receive(&mut rig.batch, Wait::NONE).unwrap();
        assert!(rig.batch.arrivals.is_empty());
    });
}

#[test]
fn a_port_that_another_program_holds_is_in_use() {
    let address: SocketAddr = format!("{}:{}", NEAR[0], PORT + 10).parse().unwrap();
    let bind = || UdpSocket::bind(address).unwrap();
    on_a_wire_beside(bind, |rig, _theirs| {
        let error = |io: &Backend, address| io.bind(address, Dscp::EF).err().unwrap().kind();
        assert_eq!(error(&rig.io, address), io::ErrorKind::AddrInUse);
        let local = rig.open(1, NEAR[0]);
        assert_eq!(error(&rig.io, local), io::ErrorKind::AddrInUse, "a flow of ours has it");
        for text in ["10.99.0.1:19998", "10.99.0.1:20100", "10.99.0.77:20000", "[fd99::9]:20000"] {
            let foreign = text.parse().unwrap();
            assert_eq!(error(&rig.io, foreign), io::ErrorKind::AddrNotAvailable, "{text}");
        }
    });
}

#[test]
fn twenty_thousand_calls_take_no_descriptor() {
    let Some(stage) = Stage::build() else { return };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            stage.enter_near();
            stage.near("address add 10.99.0.3/24 dev near");
            let mut config = crate::config::tests::config();
            let addresses = [NEAR[0], "10.99.0.3"];
            config.networks = vec![addresses.iter().map(|text| text.parse().unwrap()).collect()];
            config.ports = 20_000..=65_535;
            config.flows_per_worker = 40_000;
            let topology = Topology::plan(&config, &[]).unwrap();
            let foundation = Foundation::lay(BackendKind::Packet, &topology);
            let part = foundation.unwrap().next_part().unwrap();
            let bell = || abi::doorbell::create().unwrap();
            let mut io = Backend::new(part, 40_000, bell(), bell()).unwrap();
            let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
            let mut index = 0;
            let before = descriptors();
            'all: for address in addresses {
                let ip: Ipv4Addr = address.parse().unwrap();
                for even in (20_000..=65_534_u16).step_by(2) {
                    if index == 40_000 {
                        break 'all;
                    }
                    for (port, number) in [(Port::Rtp, even), (Port::Rtcp, even + 1)] {
                        let at = SocketAddr::new(ip.into(), number);
                        let flow = FlowId { index, generation: 1 };
                        let bound = io.bind(at, Dscp::EF).unwrap();
                        io.open(SocketId { flow, port }, bound).unwrap();
                    }
                    index += 1;
                }
            }
            assert_eq!(index, 40_000);
            // Other tests of this binary open and close some.
            assert!(descriptors() < before + 100, "{before} before");
            let (socket, _) = far_end(&stage, FAR[0]);
            socket.send_to(b"x", ("10.99.0.3", 20_001)).unwrap();
            let mut batch = Batch::new();
            while batch.arrivals.is_empty() {
                io.receive(&mut batch, Wait::up_to(1_000_000_000)).unwrap();
            }
            let socket = batch.arrivals[0].socket;
            assert_eq!((socket.flow.index, socket.port), (22_768, Port::Rtcp));
        });
    });
}

#[test]
fn datagrams_of_ourselves_and_of_loopback_arrive_in_both_families() {
    on_a_wire(|rig| {
        for (index, near) in NEAR.into_iter().enumerate() {
            let local = rig.open(index as u32, near);
            let socket = UdpSocket::bind((near, 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let to = socket.local_addr().unwrap();
            for n in 0..3_u8 {
                assert_eq!(rig.send(index as u32, to, &[n; 100]), 0);
                assert_eq!(receive(&socket), (vec![n; 100], local));
            }
            assert_eq!(rig.counts().0, 0, "no frame goes to ourselves");
        }
        let six = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 9);
        assert_eq!(rig.send(0, six, b"x"), 1, "two families make no packet");
    });
}
