//! Lanes on a wire of their own (root only): what comes, leaves, is damaged, does not fit, and that no
//! buffer is ever lost.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::plane::Plane;
use super::program::{self, is_stamped};
use super::xsk::{Frame, Queue, Xsk};
use super::*;
use crate::io::bpf::{Map, MapKind, MapSpec, Memory};
use crate::io::frame::{self, Hop, Mac, Way};
use crate::io::neighbour::{Kernel, Link};
use crate::io::stage::{FAR, NEAR, Stage};
use crate::io::{Arrival, Batch, BufferId, Buffers, Dscp, Endpoint, SocketId};
use crate::limits::{BUFFERS, SEND_BUFFERS};

/// Ports 10000 to 10063 are open on each of our addresses, for worker 0.
const FIRST: u16 = 10_000;
const PORTS: u16 = 64;

/// The near side with lanes.
struct Near {
    lanes: Lanes,
    buffers: Buffers,
    free: Vec<BufferId>,
    spare: Vec<BufferId>,
    batch: Batch,
    plane: Arc<Plane>,
    mac: Mac,
    far_mac: Mac,
    faults: u64,
    _ports: Memory,
}

fn place(at: Endpoint) -> Option<SocketId> {
    let offset = at.port.checked_sub(FIRST).filter(|offset| *offset < PORTS)?;
    Some(SocketId::at(offset.into(), 1))
}

fn end(ip: &str, port: u16) -> Endpoint {
    SocketAddr::new(ip.parse().unwrap(), port).into()
}

fn link(name: &str) -> Link {
    Kernel::open().unwrap().link_named(name).unwrap()
}

fn plane(workers: u32) -> (Result<Plane, XdpError>, Memory) {
    let spec = MapSpec {
        kind: MapKind::Array,
        key: 4,
        value: 1 << 16,
        entries: 2,
        mapped: true,
        name: "tl_test",
    };
    let ports = Map::create(spec).unwrap();
    let memory = ports.memory().unwrap();
    for number in 0..2 {
        for port in FIRST..FIRST + PORTS {
            memory.set_octet((number << 16) + usize::from(port), 1);
        }
    }
    let addresses = NEAR.iter().zip(0..).map(|(ip, number)| (ip.parse().unwrap(), number));
    (Plane::lay(addresses.collect(), &[], workers, &ports, None), memory)
}

/// Runs a test on a thread that is at the near side of a stage of its own.
fn on_wire(test: impl FnOnce(&Stage, &mut Near) + Send) {
    let Some(stage) = Stage::build() else { return };
    let run = || {
        stage.enter_near();
        let (plane, ports) = plane(1);
        let plane = Arc::new(plane.unwrap());
        let buffers = Buffers::new(BUFFERS + SEND_BUFFERS);
        let (mut free, spare) = buffers.ids().partition(|id| id.0 < BUFFERS);
        let lane = Lane { worker: 0, plane: Arc::clone(&plane) };
        let mut near = Near {
            lanes: Lanes::open(lane, &buffers, &mut free).unwrap(),
            buffers,
            free,
            spare,
            batch: Batch::new(),
            plane,
            mac: link("near").address,
            far_mac: stage.at_far(|| link("far").address),
            faults: 0,
            _ports: ports,
        };
        near.check();
        test(&stage, &mut near);
        near.discard();
        near.settle();
        near.check();
    };
    std::thread::scope(|scope| scope.spawn(run).join()).unwrap();
}

impl Near {
    /// All buffers are where they are known to be.
    fn check(&self) {
        let batch = self.batch.arrivals.len() + self.batch.discards.len();
        let known = self.free.len() + self.spare.len() + self.lanes.held() + batch;
        assert_eq!(known, usize::from(BUFFERS + SEND_BUFFERS), "buffers");
    }

    fn turn_over(&mut self) {
        let Near { lanes, free, spare, .. } = self;
        lanes.reap(|id| if id.0 < BUFFERS { free.push(id) } else { spare.push(id) });
        lanes.fill(free);
    }

    /// Until nothing is on its way out.
    fn settle(&mut self) {
        await_that("frames have left", || {
            self.turn_over();
            let all = usize::from(BUFFERS + SEND_BUFFERS);
            let filled = usize::from(BUFFERS) / 2;
            self.lanes.held() == filled && self.free.len() + self.spare.len() == all - filled
        });
    }

    fn take(&mut self) {
        let Near { lanes, batch, buffers, .. } = self;
        self.faults += lanes.take_frames(batch, buffers, crate::clock::now_ns(), place);
    }

    /// Waits for one frame at least.
    fn until_arrival(&mut self) -> Arrival {
        await_that("a frame", || {
            let second = Timespec { tv_sec: 1, tv_nsec: 0 };
            let fds: Vec<BorrowedFd<'_>> = self.lanes.fds().collect();
            let mut fds: Vec<PollFd<'_>> =
                fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
            poll(&mut fds, Some(&second)).unwrap();
            drop(fds);
            self.take();
            !self.batch.arrivals.is_empty()
        });
        self.batch.arrivals[0]
    }

    fn discard(&mut self) -> usize {
        let Near { batch, free, .. } = self;
        let count = batch.arrivals.len();
        free.extend(batch.arrivals.drain(..).map(|arrival| arrival.buffer));
        free.append(&mut batch.discards);
        self.turn_over();
        count
    }

    fn hop(&self) -> Hop {
        let (source, target) = (self.mac, self.far_mac);
        let ifindex = self.plane.wires()[0].ifindex;
        Hop { ifindex, source, target, vlan: None, mtu: 1500 }
    }

    fn send(&mut self, buffer: BufferId, len: usize, from: Endpoint, to: Endpoint) -> Taken {
        let hop = self.hop();
        let at = self.buffers.start(buffer);
        let way = Way { from, to, dscp: Dscp::EF };
        let whole = self.buffers.whole(buffer).unwrap();
        let start = frame::write(whole, at, len, &hop, &way).unwrap();
        let Near { lanes, free, spare, .. } = self;
        lanes.send(hop.ifindex, buffer, (start, at + len), |id| {
            if id.0 < BUFFERS { free.push(id) } else { spare.push(id) }
        })
    }
}

fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "not seen: {what}");
        std::thread::yield_now();
    }
}

/// A process that another test starts has the descriptors of an earlier plane for a moment.
fn await_gone() {
    await_that("the program is gone", || link("near").xdp.is_none());
}

fn far_socket(stage: &Stage, family: usize) -> UdpSocket {
    let socket = stage.at_far(|| UdpSocket::bind((FAR[family], 0)).unwrap());
    socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    socket
}

/// The far side as a source of frames, whatever they are.
struct Injector {
    xsk: Xsk,
    buffers: Buffers,
    free: Vec<BufferId>,
}

impl Injector {
    fn new(stage: &Stage) -> Injector {
        stage.at_far(|| {
            let buffers = Buffers::new(1024);
            let queue = Queue { ifindex: link("far").ifindex, index: 0 };
            let xsk = Xsk::open_all(&[queue], &buffers).unwrap().remove(0);
            let free = buffers.ids().collect();
            Injector { xsk, buffers, free }
        })
    }

    fn send(&mut self, octets: &[u8]) {
        let buffer = self.free.pop().unwrap();
        self.buffers.whole(buffer).unwrap()[..octets.len()].copy_from_slice(octets);
        assert!(self.xsk.send(Frame { buffer, at: 0, len: octets.len() }));
    }

    fn flush(&mut self) {
        let all = 1024;
        let Injector { xsk, free, .. } = self;
        await_that("frames were injected", || {
            xsk.kick();
            xsk.reap(|id| free.push(id));
            free.len() == all
        });
    }
}

#[test]
fn what_comes_as_a_frame_leaves_in_the_same_buffer_over_either_family() {
    on_wire(|stage, near| {
        for family in [0, 1] {
            let far = far_socket(stage, family);
            let far_end = Endpoint::from(far.local_addr().unwrap());
            for n in 0..300_u16 {
                let port = FIRST + n % PORTS;
                let payload = [n as u8; 172];
                far.send_to(&payload, (NEAR[family], port)).unwrap();
                let arrival = near.until_arrival();
                assert_eq!((arrival.source, arrival.len), (far_end, 172));
                assert_eq!(arrival.socket, SocketId::at((n % PORTS).into(), 1));
                assert_eq!(arrival.age_ns.is_some(), is_stamped(port));
                assert_eq!(near.buffers.body(arrival.buffer).unwrap()[..172], payload);
                near.check();
                // Longer than it came, as protection makes it.
                near.buffers.body(arrival.buffer).unwrap()[172..188].fill(0xAA);
                near.batch.arrivals.clear();
                let home = end(NEAR[family], port);
                assert_eq!(near.send(arrival.buffer, 188, home, far_end), Taken::Queued);
                near.lanes.kick();
                let mut packet = [0; 2000];
                let (len, from) = far.recv_from(&mut packet).unwrap();
                assert_eq!((len, Endpoint::from(from)), (188, home));
                assert_eq!((&packet[..172], &packet[172..188]), (&payload[..], &[0xAA; 16][..]));
                near.turn_over();
                near.check();
            }
        }
        assert_eq!(near.faults, 0);
    });
}

#[test]
fn a_frame_changes_its_family_on_the_way() {
    on_wire(|stage, near| {
        for (inward, outward) in [(0, 1), (1, 0)] {
            let (from, to) = (far_socket(stage, inward), far_socket(stage, outward));
            from.send_to(&[7; 172], (NEAR[inward], FIRST)).unwrap();
            let arrival = near.until_arrival();
            near.batch.arrivals.clear();
            let (home, to_end) = (end(NEAR[outward], FIRST + 2), to.local_addr().unwrap().into());
            assert_eq!(near.send(arrival.buffer, 172, home, to_end), Taken::Queued);
            near.lanes.kick();
            let mut packet = [0; 2000];
            let (len, source) = to.recv_from(&mut packet).unwrap();
            assert_eq!((&packet[..len], Endpoint::from(source)), (&[7; 172][..], home));
            near.settle();
        }
    });
}

/// What shall arrive of a frame: what is whole, intact, for our MAC, addresses and open ports.
fn shall_arrive(octets: &[u8], mac: Mac) -> bool {
    let Some(parsed) = frame::parse(octets) else { return false };
    let ours = NEAR.map(|ip| end(ip, 0).ip).contains(&parsed.to.ip);
    let open = place(parsed.to).is_some();
    parsed.target == mac
        && parsed.vlan.is_none()
        && ours
        && open
        && frame::is_intact(octets, &parsed)
}

#[test]
fn every_truncation_and_every_change_of_a_header_is_judged_and_loses_no_buffer() {
    on_wire(|stage, near| {
        let mut injector = Injector::new(stage);
        let mut total = 0;
        for (family, vlan) in [(0, None), (1, None), (0, Some(7))] {
            let way = Way {
                from: end(FAR[family], 4000),
                to: end(NEAR[family], FIRST + 48),
                dscp: Dscp::EF,
            };
            let hop = Hop { source: near.far_mac, target: near.mac, vlan, ..near.hop() };
            let mut space = vec![0x5a; 128 + 40];
            let start = frame::write(&mut space, 128, 40, &hop, &way).unwrap();
            let good = space.split_off(start);
            let headers = good.len() - 40;
            let truncated = (14..=good.len()).map(|len| good[..len].to_vec());
            let changed = (0..headers).flat_map(|at| {
                let good = good.clone();
                (0..=u8::MAX).map(move |octet| {
                    let mut changed = good.clone();
                    changed[at] = octet;
                    changed
                })
            });
            let frames: Vec<Vec<u8>> = truncated.chain(changed).collect();
            for chunk in frames.chunks(128) {
                chunk.iter().for_each(|octets| injector.send(octets));
                injector.flush();
                let expected = chunk.iter().filter(|octets| shall_arrive(octets, near.mac)).count();
                await_that("what shall arrive", || {
                    near.take();
                    near.batch.arrivals.len() >= expected
                });
                assert_eq!(near.batch.arrivals.len(), expected);
                near.check();
                total += near.discard();
            }
        }
        assert!(total > 1000, "most octets that do not matter were changed: {total}");
        assert!(near.faults > 0, "the program lets checksums pass");
    });
}

#[test]
fn a_flood_beyond_the_rings_is_dropped_and_receiving_goes_on() {
    on_wire(|stage, near| {
        let far = far_socket(stage, 0);
        for _ in 0..3 {
            for _ in 0..3 * u32::from(BUFFERS) {
                far.send_to(&[1; 172], (NEAR[0], FIRST)).unwrap();
            }
            let mut arrived = 0;
            await_that("the rings were full", || {
                near.take();
                near.check();
                arrived += near.discard();
                arrived >= usize::from(BUFFERS) / 2
            });
            while near.lanes.have_frames() {
                near.take();
                near.discard();
            }
            near.check();
            far.send_to(&[2; 20], (NEAR[0], FIRST + 1)).unwrap();
            assert_eq!(near.until_arrival().len, 20);
            near.discard();
        }
    });
}

#[test]
fn more_frames_than_a_ring_holds_all_leave() {
    on_wire(|stage, near| {
        let far = far_socket(stage, 0);
        let to = Endpoint::from(far.local_addr().unwrap());
        let mut taken = 0;
        while taken < 3 * u32::from(BUFFERS) {
            let Some(buffer) = near.free.pop().or_else(|| near.spare.pop()) else {
                near.turn_over();
                continue;
            };
            near.buffers.begin_at(buffer, 300);
            let sent = near.send(buffer, 20, end(NEAR[0], FIRST), to);
            assert_eq!(sent, Taken::Queued, "a full ring makes room by itself");
            taken += 1;
        }
        near.lanes.kick();
        near.settle();
    });
}

#[test]
fn an_interface_that_goes_down_takes_nothing_and_comes_back() {
    on_wire(|stage, near| {
        let far = far_socket(stage, 0);
        let to = Endpoint::from(far.local_addr().unwrap());
        stage.near("link set near down");
        let home = end(NEAR[0], FIRST);
        let mut silent = false;
        for _ in 0..10 {
            let buffer = near.spare.pop().unwrap();
            match near.send(buffer, 20, home, to) {
                Taken::Queued => near.lanes.kick(),
                _ => {
                    near.spare.push(buffer);
                    silent = true;
                }
            }
            near.turn_over();
            near.check();
        }
        assert!(silent, "frames still went nowhere");
        stage.near("link set near up");
        stage.far(&format!("neigh replace {} lladdr {} dev far", NEAR[0], text(near.mac)));
        await_that("the interface takes frames again", || {
            near.lanes.retry();
            near.turn_over();
            let buffer = near.spare.pop().unwrap();
            let taken = near.send(buffer, 20, home, to);
            if taken != Taken::Queued {
                near.spare.push(buffer);
            }
            near.lanes.kick();
            taken == Taken::Queued
        });
        assert_eq!(far.recv_from(&mut [0; 100]).unwrap().0, 20);
        far.send_to(&[5; 30], (NEAR[0], FIRST)).unwrap();
        assert_eq!(near.until_arrival().len, 30);
    });
}

fn text(mac: Mac) -> String {
    mac.0.map(|octet| format!("{octet:02x}")).join(":")
}

#[test]
fn the_program_goes_with_the_last_who_has_it() {
    let Some(stage) = Stage::build() else { return };
    let run = || {
        stage.enter_near();
        assert_eq!(link("near").xdp, None);
        let (laid, _ports) = plane(1);
        let laid = laid.unwrap();
        assert_eq!(link("near").xdp, laid.wires()[0].program);
        assert!(laid.wires()[0].program.is_some());
        // Another is refused as long as ours is there, and told why.
        let (second, _more) = plane(1);
        let refused = second.err().unwrap().to_string();
        assert!(refused.contains("near") && refused.contains("another XDP program"), "{refused}");
        drop(laid);
        await_gone();
    };
    std::thread::scope(|scope| scope.spawn(run).join()).unwrap();
}

#[test]
fn an_interface_without_native_xdp_is_refused_with_the_reason() {
    let Some(stage) = Stage::build() else { return };
    stage.near("address flush dev near");
    stage.near("link add link near name over type macvlan mode bridge");
    stage.near(&format!("address add {}/24 dev over", NEAR[0]));
    stage.near("link set over up");
    let run = || {
        stage.enter_near();
        let refused = plane(1).0.err().unwrap().to_string();
        for word in ["over", "natively", "no XDP", "generic"] {
            assert!(refused.contains(word), "{refused}");
        }
        stage.near("address flush dev over");
        let refused = plane(1).0.err().unwrap().to_string();
        assert!(refused.contains("no media address is on"), "{refused}");
    };
    std::thread::scope(|scope| scope.spawn(run).join()).unwrap();
}

#[test]
fn queues_are_dealt_out_in_turn() {
    let Some(stage) = Stage::build() else { return };
    let run = || {
        stage.enter_near();
        let set = std::process::Command::new("ethtool")
            .args(["-L", "near", "rx", "2", "tx", "2"])
            .status();
        assert!(set.unwrap().success());
        let ifindex = link("near").ifindex;
        let queue = |index| Queue { ifindex, index };
        for (workers, shares) in [
            (1, vec![vec![queue(0), queue(1)]]),
            (2, vec![vec![queue(0)], vec![queue(1)]]),
            (3, vec![vec![queue(0)], vec![queue(1)], vec![]]),
        ] {
            await_gone();
            let (laid, _ports) = plane(workers);
            let laid = laid.unwrap();
            assert_eq!(laid.wires()[0].queues, 2);
            for (worker, share) in shares.into_iter().enumerate() {
                assert_eq!(laid.queues_of(worker as u32), share, "{worker} of {workers}");
            }
        }
        assert_ne!(program::place(0, 1), program::place(1, 0));
    };
    std::thread::scope(|scope| scope.spawn(run).join()).unwrap();
}
