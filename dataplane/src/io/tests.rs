//! The backends alone, without relay or region: what arrives, leaves, fails and closes. Each test
//! runs on all of them, which must not be told apart. The one of frames needs root; on loopback all
//! of its packets go by the kernel's way, and its frames are tested on a wire (`packet/tests.rs`).

use std::net::SocketAddr;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, Ordering};

use super::*;
use crate::limits::{BUFFERS, HOUSEKEEPING_NS, RESTARTS_MAX};

const SECOND: Wait = Wait::up_to(1_000_000_000);
const KINDS: [BackendKind; 3] = [BackendKind::Uring, BackendKind::Packet, BackendKind::Mmsg];

fn id(index: u32, generation: u32, port: Port) -> SocketId {
    SocketId { flow: FlowId { index, generation }, port }
}

/// Each backend on a thread of its own: the end of a ring interrupts the thread that owned it.
fn each(test: impl Fn(&mut Backend) + Sync) {
    for kind in KINDS {
        let bell = || abi::doorbell::create().unwrap();
        let Some(part) = part(kind) else { continue };
        let run = || test(&mut Backend::new(part, 64, bell(), bell()).unwrap());
        let passed = std::thread::scope(|scope| scope.spawn(run).join().is_ok());
        assert!(passed, "{kind:?}");
    }
}

/// What a backend on loopback is made of, with ports that no other test has; `None` where the test
/// may not.
fn part(kind: BackendKind) -> Option<Part> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    if kind == BackendKind::Packet && !rustix::process::geteuid().is_root() {
        return None;
    }
    let first = PORTS_FIRST + PORTS_EACH * NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(first < PORTS_LAST);
    let mut config = crate::config::tests::config();
    config.ports = first..=first + PORTS_EACH - 1;
    let topology = crate::topology::Topology::plan(&config, &[]).unwrap();
    Foundation::lay(kind, &topology).unwrap().next_part()
}

/// Below those that the kernel gives to whoever asks for any.
const PORTS_FIRST: u16 = 20_000;
const PORTS_LAST: u16 = 32_000;
/// Those of 64 flows, and some more.
const PORTS_EACH: u16 = 200;

fn media_socket() -> (UdpSocket, SocketAddr) {
    let socket = socket::open("127.0.0.1:0".parse().unwrap(), Dscp::EF).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn open(io: &mut Backend, id: SocketId) -> SocketAddr {
    let bound = match io {
        Backend::Packet(_) => (PORTS_FIRST..PORTS_LAST)
            .find_map(|port| io.bind(SocketAddr::from(([127, 0, 0, 1], port)), Dscp::EF).ok()),
        Backend::Uring(_) | Backend::Mmsg(_) => {
            io.bind("127.0.0.1:0".parse().unwrap(), Dscp::EF).ok()
        }
    };
    let bound = bound.expect("a port");
    let address = match &bound {
        Bound::Socket(socket) => socket.local_addr().unwrap(),
        Bound::Port(address, _) => *address,
    };
    io.open(id, bound).unwrap();
    address
}

fn far() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

fn until_arrival(io: &mut Backend, batch: &mut Batch) {
    for _ in 0..100 {
        io.receive(batch, SECOND).unwrap();
        if !batch.arrivals.is_empty() {
            return;
        }
    }
    panic!("nothing arrived");
}

/// Returns the buffers of all arrivals.
fn discard(io: &mut Backend, batch: &mut Batch) -> usize {
    let buffers: Vec<BufferId> = batch.arrivals.drain(..).map(|arrival| arrival.buffer).collect();
    batch.discards.extend(&buffers);
    io.transmit(batch).unwrap();
    buffers.len()
}

fn depart(from: SocketId, to: SocketAddr, buffer: BufferId, len: usize) -> Departure {
    let kind = if from.port == Port::Rtp { Kind::Rtp } else { Kind::Rtcp };
    let origin = Origin { flow: from.flow, sent: Sent::Relayed(kind) };
    Departure { socket: from, destination: to.into(), buffer, len, origin }
}

#[test]
fn the_two_ports_of_every_flow_have_their_own_place() {
    let mut seen = std::collections::BTreeSet::new();
    for index in 0..100 {
        for port in [Port::Rtp, Port::Rtcp] {
            let id = id(index, 7, port);
            assert!(seen.insert(id.place()));
            assert_eq!(SocketId::at(id.place(), 7), id);
        }
    }
    assert_eq!(seen.last(), Some(&199));
}

#[test]
fn more_packets_than_buffers_all_arrive_in_the_end() {
    each(|io| {
        let mut batch = Batch::new();
        let address = open(io, id(0, 1, Port::Rtp));
        let far = far();
        let (rounds, burst) = (3 * u32::from(BUFFERS) / 64, 64);
        for round in 0..rounds {
            for n in 0..burst {
                far.send_to(&(round * burst + n).to_be_bytes(), address).unwrap();
            }
            let mut arrived = 0;
            while arrived < burst {
                until_arrival(io, &mut batch);
                for arrival in std::mem::take(&mut batch.arrivals) {
                    let expected = (round * burst + arrived).to_be_bytes();
                    assert_eq!(io.buffers().body(arrival.buffer).unwrap()[..4], expected);
                    assert_eq!(arrival.source.socket_addr(), far.local_addr().unwrap());
                    batch.discards.push(arrival.buffer);
                    arrived += 1;
                }
                io.transmit(&mut batch).unwrap();
            }
        }
    });
}

#[test]
fn receiving_goes_on_after_every_buffer_was_taken() {
    each(|io| {
        let mut batch = Batch::new();
        let sockets = 40;
        let addresses: Vec<_> = (0..sockets).map(|n| open(io, id(n, 1, Port::Rtp))).collect();
        let far = far();
        let (mut held, mut exhausted, mut sent) = (Vec::new(), 0, 0_u32);
        while exhausted == 0 {
            far.send_to(&[0x80; 20], addresses[(sent % sockets) as usize]).unwrap();
            sent += 1;
            assert!(sent < 2 * u32::from(BUFFERS), "the buffers never ran out");
            let received = io.receive(&mut batch, SECOND).unwrap();
            exhausted += received.buffers_exhausted;
            held.extend(batch.arrivals.drain(..).map(|arrival| arrival.buffer));
        }
        assert_eq!(held.len(), usize::from(BUFFERS));
        // While there is none, asking again finds none and fails nothing; packets wait, at every
        // socket.
        for address in &addresses {
            far.send_to(&[0x80; 20], address).unwrap();
        }
        for _ in 0..10 {
            io.receive(&mut batch, Wait::NONE).unwrap();
            assert!(batch.arrivals.is_empty());
        }
        for chunk in held.chunks(BATCH_MAX) {
            batch.discards.extend(chunk);
            io.transmit(&mut batch).unwrap();
        }
        let waiting = sent as usize - held.len() + addresses.len();
        let mut arrived = 0;
        while arrived < waiting {
            until_arrival(io, &mut batch);
            arrived += discard(io, &mut batch);
        }
        assert_eq!(arrived, waiting);
    });
}

#[test]
fn one_look_takes_all_that_is_there() {
    each(|io| {
        let mut batch = Batch::new();
        let addresses: Vec<_> = (0..50)
            .flat_map(|n| [Port::Rtp, Port::Rtcp].map(|port| open(io, id(n, 1, port))))
            .collect();
        let far = far();
        io.receive(&mut batch, Wait::NONE).unwrap();
        for round in 0..3 {
            for address in &addresses {
                far.send_to(&[0x80; 20], address).unwrap();
                far.send_to(&[0x80; 20], address).unwrap();
            }
            io.receive(&mut batch, Wait::NONE).unwrap();
            assert_eq!(discard(io, &mut batch), 200, "round {round}");
        }
    });
}

#[test]
fn a_batch_is_never_larger_than_its_limit_and_nothing_is_left() {
    each(|io| {
        let mut batch = Batch::new();
        let addresses: Vec<_> = (0..64).map(|n| open(io, id(n, 1, Port::Rtp))).collect();
        let far = far();
        let sent = 2 * BATCH_MAX + 64;
        for n in 0..sent {
            far.send_to(&[0x80; 20], addresses[n % 64]).unwrap();
        }
        let mut arrived = 0;
        while arrived < sent {
            // Company for packets that are here already is not waited for.
            io.receive(&mut batch, Wait { gather_us: 1000, ..SECOND }).unwrap();
            assert!(batch.arrivals.len() <= BATCH_MAX && !batch.arrivals.is_empty());
            arrived += discard(io, &mut batch);
        }
        assert_eq!(arrived, sent);
    });
}

#[test]
fn a_closed_socket_frees_its_port_and_its_place() {
    each(|io| {
        let mut batch = Batch::new();
        for generation in 1..20 {
            let id = id(0, generation, Port::Rtcp);
            let address = open(io, id);
            far().send_to(&[0x80; 20], address).unwrap();
            until_arrival(io, &mut batch);
            assert_eq!(batch.arrivals[0].socket, id);
            discard(io, &mut batch);
            // Closed with a packet in it, and with a send on its way.
            far().send_to(&[0x80; 20], address).unwrap();
            let buffer = io.take_buffer().unwrap();
            batch.departures.push(depart(id, address, buffer, 20));
            io.transmit(&mut batch).unwrap();
            io.close(id).unwrap();
            io.receive(&mut batch, Wait::NONE).unwrap();
            discard(io, &mut batch);
            socket::open(address, Dscp::EF).expect("the port is free again");
            io.bind(address, Dscp::EF).map(drop).expect("for us too");
        }
    });
}

#[test]
fn closing_an_older_life_leaves_the_newer_alone() {
    each(|io| {
        let mut batch = Batch::new();
        let address = open(io, id(0, 2, Port::Rtp));
        io.close(id(0, 1, Port::Rtp)).unwrap();
        far().send_to(&[0x80; 20], address).unwrap();
        until_arrival(io, &mut batch);
    });
}

#[test]
fn the_bell_wakes_and_the_other_bell_rings() {
    for kind in KINDS {
        let (command, event) = (abi::doorbell::create().unwrap(), abi::doorbell::create().unwrap());
        let clone = |bell: &OwnedFd| bell.try_clone().unwrap();
        let Some(part) = part(kind) else { continue };
        let mut io = Backend::new(part, 1, clone(&command), clone(&event)).unwrap();
        let mut batch = Batch::new();
        for _ in 0..3 {
            abi::doorbell::ring(&command).unwrap();
            let mut rang = false;
            while !rang {
                rang = io.receive(&mut batch, SECOND).unwrap().bell;
            }
            io.silence_bell();
            io.ring_bell().unwrap();
            io.receive(&mut batch, Wait::NONE).unwrap();
            let second = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
            let flags = rustix::event::PollFlags::IN;
            let mut rung = [rustix::event::PollFd::new(&event, flags)];
            assert_eq!(rustix::event::poll(&mut rung, Some(&second)), Ok(1));
            assert!(abi::doorbell::silence(&event).unwrap());
        }
    }
}

#[test]
fn a_guest_that_fills_its_bell_and_makes_it_block_stops_no_media() {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    for kind in KINDS {
        let event = abi::doorbell::create().unwrap();
        fcntl_setfl(&event, fcntl_getfl(&event).unwrap() - OFlags::NONBLOCK).unwrap();
        rustix::io::write(&event, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        let bell = abi::doorbell::create().unwrap();
        let Some(part) = part(kind) else { continue };
        let mut io = Backend::new(part, 1, bell, event.try_clone().unwrap()).unwrap();
        let mut batch = Batch::new();
        let address = open(&mut io, id(0, 1, Port::Rtp));
        for _ in 0..10 {
            io.ring_bell().unwrap();
            far().send_to(&[0x80; 20], address).unwrap();
            until_arrival(&mut io, &mut batch);
            discard(&mut io, &mut batch);
        }
        // Lets whoever waits on the bell go.
        abi::doorbell::silence(&event).unwrap();
    }
}

#[test]
fn packets_of_our_own_leave_from_a_pool_that_refills() {
    each(|io| {
        let mut batch = Batch::new();
        let from = id(3, 1, Port::Rtp);
        let local = open(io, from);
        let far = far();
        for round in 0..4_u8 {
            let mut taken = Vec::new();
            while let Some(buffer) = io.take_buffer() {
                assert!(buffer.0 >= BUFFERS, "not of those that the kernel may write to");
                io.buffers().body(buffer).unwrap()[..20].fill(round);
                taken.push(buffer);
            }
            assert_eq!(taken.len(), usize::from(SEND_BUFFERS), "round {round}");
            // Some are sent, the others were not needed after all.
            let (sent, unused) = taken.split_at(100);
            let to = far.local_addr().unwrap();
            batch.departures.extend(sent.iter().map(|buffer| depart(from, to, *buffer, 20)));
            batch.discards.extend(unused);
            io.transmit(&mut batch).unwrap();
            io.receive(&mut batch, Wait::NONE).unwrap();
            assert!(batch.failed.is_empty());
            for _ in 0..sent.len() {
                let mut packet = [0; 100];
                assert_eq!(far.recv_from(&mut packet).unwrap(), (20, local));
                assert_eq!(packet[..20], [round; 20]);
            }
        }
    });
}

#[test]
fn sends_keep_their_order_and_only_the_refused_fail() {
    each(|io| {
        let mut batch = Batch::new();
        let froms = [id(0, 1, Port::Rtp), id(1, 1, Port::Rtcp), id(2, 1, Port::Rtp)];
        let locals = froms.map(|from| open(io, from));
        let far = far();
        let (to, outside) = (far.local_addr().unwrap(), "192.0.2.1:9".parse().unwrap());
        let mut refused = Vec::new();
        for n in 0..150_u8 {
            let buffer = io.take_buffer().unwrap();
            io.buffers().body(buffer).unwrap()[0] = n;
            let from = froms[usize::from(n) % 3];
            let to = if n % 10 == 7 { outside } else { to };
            if to == outside {
                refused.push(from.flow.index);
            }
            batch.departures.push(depart(from, to, buffer, 1));
        }
        io.transmit(&mut batch).unwrap();
        io.receive(&mut batch, Wait::NONE).unwrap();
        let mut failed: Vec<u32> = batch.failed.drain(..).map(|origin| origin.flow.index).collect();
        failed.sort_unstable();
        refused.sort_unstable();
        assert_eq!(failed, refused);
        let mut last = [None; 3];
        for _ in 0..150 - refused.len() {
            let mut packet = [0; 2];
            let (_, source) = far.recv_from(&mut packet).unwrap();
            let from = locals.iter().position(|local| *local == source).unwrap();
            assert_eq!(usize::from(packet[0]) % 3, from);
            assert!(last[from] < Some(packet[0]), "order");
            last[from] = Some(packet[0]);
        }
    });
}

#[test]
fn only_sampled_flows_tell_the_age_of_their_packets() {
    each(|io| {
        let mut batch = Batch::new();
        let sockets = [
            (id(0, 1, Port::Rtp), true),
            (id(0, 1, Port::Rtcp), false),
            (id(1, 1, Port::Rtp), false),
            (id(DELAY_SAMPLE_FLOWS, 1, Port::Rtp), true),
        ];
        for (id, sampled) in sockets {
            let address = open(io, id);
            far().send_to(&[0x80; 20], address).unwrap();
            let begun_ns = crate::clock::now_ns();
            until_arrival(io, &mut batch);
            let arrival = batch.arrivals[0];
            assert_eq!((arrival.socket, arrival.len), (id, 20));
            match arrival.age_ns {
                Some(age_ns) => {
                    assert!(sampled, "{id:?}");
                    // Sent a moment before `begun_ns`; the bound is the test's patience.
                    assert!(age_ns < crate::clock::now_ns() - begun_ns + 1_000_000_000);
                }
                None => assert!(!sampled, "{id:?}"),
            }
            assert_eq!(io.buffers().body(arrival.buffer).unwrap()[..20], [0x80; 20]);
            discard(io, &mut batch);
        }
    });
}

/// A connected socket gets the ICMP answers to what it sends as errors of its receive.
#[test]
fn socket_errors_never_stop_a_receive_for_good() {
    each(|io| {
        if matches!(io, Backend::Packet(_)) {
            // Its socket is nobody's partner: the kernel tells it no such errors.
            return;
        }
        let mut batch = Batch::new();
        let (socket, address) = media_socket();
        let partner = far();
        let partner_address = partner.local_addr().unwrap();
        socket.connect(partner_address).unwrap();
        let from = id(0, 1, Port::Rtp);
        io.open(from, Bound::Socket(socket)).unwrap();
        drop(partner);
        let mut failed = 0;
        for _ in 0..4 * usize::from(RESTARTS_MAX) {
            // Nobody listens: the answer is "port unreachable".
            let buffer = io.take_buffer().unwrap();
            batch.departures.push(depart(from, partner_address, buffer, 20));
            io.transmit(&mut batch).unwrap();
            for _ in 0..3 {
                io.receive(&mut batch, Wait::NONE).unwrap();
                failed += batch.failed.drain(..).count();
            }
        }
        let partner = UdpSocket::bind(partner_address).unwrap();
        io.retry_faulted().unwrap();
        partner.send_to(&[0x80; 20], address).unwrap();
        until_arrival(io, &mut batch);
        assert!(failed < 4 * usize::from(RESTARTS_MAX), "some sends met no pending error");
    });
}

#[test]
fn the_time_of_a_wait_is_booked_by_regime() {
    each(|io| {
        let mut batch = Batch::new();
        let address = open(io, id(1, 1, Port::Rtp));
        let far = far();
        let nap = Wait::up_to(HOUSEKEEPING_NS / 10);
        let quiet = io.receive(&mut batch, nap).unwrap();
        assert!(quiet.sleep_ns >= nap.timeout_ns, "{quiet:?}");
        assert_eq!((quiet.gather_ns, quiet.spin_ns), (0, 0), "{quiet:?}");
        assert!(quiet.now_ns > 0);

        far.send_to(&[0x80; 20], address).unwrap();
        until_arrival(io, &mut batch);
        discard(io, &mut batch);
        // After a packet: poll for 2 ms, then sleep the rest, if the host lets us be in time.
        let spun = io.receive(&mut batch, Wait { spin_us: 2000, ..nap }).unwrap();
        assert!(spun.spin_ns >= 2_000_000, "{spun:?}");
        assert!(spun.spin_ns + spun.sleep_ns >= nap.timeout_ns, "{spun:?}");
        // After silence: no polling.
        let slept = io.receive(&mut batch, Wait { spin_us: 2000, ..nap }).unwrap();
        assert_eq!(slept.spin_ns, 0, "{slept:?}");
        assert!(slept.sleep_ns >= nap.timeout_ns, "{slept:?}");

        far.send_to(&[0x80; 20], address).unwrap();
        until_arrival(io, &mut batch);
        discard(io, &mut batch);
        let gathered = io.receive(&mut batch, Wait { gather_us: 1000, ..nap }).unwrap();
        if !io.gathers() {
            return;
        }
        assert!(gathered.gather_ns >= 1_000_000, "{gathered:?}");
        assert!(gathered.gather_ns + gathered.sleep_ns >= nap.timeout_ns, "{gathered:?}");
        let nothing = io.receive(&mut batch, Wait::NONE).unwrap();
        assert_eq!((nothing.sleep_ns, nothing.gather_ns, nothing.spin_ns), (0, 0, 0));
    });
}

#[test]
fn polling_ends_with_the_first_packet() {
    each(|io| {
        let mut batch = Batch::new();
        let address = open(io, id(1, 1, Port::Rtp));
        let far = far();
        far.send_to(&[0x80; 20], address).unwrap();
        until_arrival(io, &mut batch);
        discard(io, &mut batch);
        for _ in 0..100 {
            far.send_to(&[0x80; 20], address).unwrap();
            // Were it not noticed while polling, there would be some sleep.
            let spun = io.receive(&mut batch, Wait { spin_us: 20_000_000, ..SECOND }).unwrap();
            assert_eq!(batch.arrivals.len(), 1);
            assert_eq!((spun.sleep_ns, spun.gather_ns), (0, 0), "{spun:?}");
            discard(io, &mut batch);
        }
    });
}
