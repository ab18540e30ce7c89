//! The backend of frames: one UDP socket per worker takes the datagrams of all its ports, and what
//! leaves are frames that we build.
//!
//! ```text
//! sk_lookup: address, port --> fan-in socket --recvmmsg until short--> Batch::arrivals
//!   ^ octets that workers write                                          relay
//! open, close: one store                    .-- next hop known: frame --> AF_PACKET, one sendmmsg
//!                     Batch::departures ----'-- else: datagram ---------> raw socket, kernel's way
//! ```
//! What it saves is the socket layer on the way out and a receive call per call: many calls share
//! each system call in both directions. No port has a descriptor. What comes is received by UDP as
//! ever, so that fragments, ICMP and filters are the kernel's business.
//!
//! Frames pass no routing, no neighbour table, no filter and no queue of the kernel
//! ([`neighbour`](super::neighbour) finds their way). A destination whose neighbour is not known yet,
//! that is this host itself or not on Ethernet, or a packet that is too long for its way, goes by a
//! raw socket: the kernel adds the IP header, asks for the neighbour, fragments.
//!
//! With XDP ([`xdp`](super::xdp)) frames also come and leave by [`Lanes`], past the kernel, in the same
//! buffers; all of the above is then for what does not.
//!
//! The ring stays the worker's event loop ([`Watch`]).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::frame::{self, Way};
use super::neighbour::{HopHint, Pair};
use super::restarts::Restarts;
use super::stamp::Ages;
use super::watch::Watch;
use super::xdp::{Lanes, Passage, Plan, Taken};
use super::{
    Arrival, Batch, BufferId, Buffers, Departure, Dscp, Endpoint, Origin, Received, SocketId, Wait,
};
use crate::limits::{BATCH_MAX, BUFFER_SIZE, BUFFERS, HEAD_ROOM, SEND_BUFFERS, WATCHED_MAX};
pub use ground::{Share, lay, lay_with_lanes, probe};
use messages::{Messages, Piece, Toward};

mod ground;
#[expect(unsafe_code, reason = "message headers carry addresses of packet memory")]
mod messages;
#[expect(unsafe_code, reason = "socket options that no crate sets")]
mod options;
mod others;
mod steering;

/// The backend of one worker.
pub struct Packet {
    lanes: Lanes,
    watch: Watch,
    share: Share,
    fan_in: [FanIn; 2],
    places: Places,
    slots: Vec<Slot>,
    messages: Box<Messages>,
    buffers: Buffers,
    /// Free buffers for what comes, and for packets of our own.
    free: Vec<BufferId>,
    spare: Vec<BufferId>,
    /// What leaves in a round: frames, and datagrams for the kernel.
    frames: Outgoing,
    datagrams: [Outgoing; 2],
    /// The interface that frames leave by unless they name another: the one that most do, so that
    /// the kernel need not look for it with each.
    bound: Option<u32>,
    /// Frames that the interface refused: they go by the kernel's way.
    refused: Vec<usize>,
    /// Housekeeping steps so far.
    step: u32,
    /// The last round brought packets.
    lively: bool,
    /// What left, by the way it took.
    #[cfg(test)]
    frames_sent: u64,
    #[cfg(test)]
    datagrams_sent: u64,
}

/// What was found when a fan-in socket was read last.
#[derive(Default)]
struct FanIn {
    /// There may be more: it is read again without waiting.
    more: bool,
    /// Failed too often; it waits for the next housekeeping step.
    faulted: bool,
    restarts: Restarts,
}

/// Pieces to send, and which departures they are.
#[derive(Default)]
struct Outgoing {
    pieces: Vec<Piece>,
    departures: Vec<u32>,
}

impl Outgoing {
    fn with_capacity(pieces: usize) -> Outgoing {
        Outgoing { pieces: Vec::with_capacity(pieces), departures: Vec::with_capacity(pieces) }
    }

    fn push(&mut self, piece: Piece, departure: usize) {
        self.pieces.push(piece);
        self.departures.push(departure as u32);
    }

    fn clear(&mut self) {
        self.pieces.clear();
        self.departures.clear();
    }
}

/// One open port. By default none.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// Of the flow whose port it is; 0: closed.
    generation: u32,
    /// Number of its address.
    address: u16,
    port: u16,
    /// Of what leaves from it.
    dscp: Dscp,
    hint: HopHint,
}

/// Which slot each port belongs to, for the ports of this worker on each address.
struct Places {
    first: u16,
    /// Ports of one address.
    count: usize,
    /// Place of a slot + 1; 0: closed.
    places: Vec<u32>,
}

impl Places {
    fn at(&mut self, address: usize, port: u16) -> Option<&mut u32> {
        let index = self.index(address, port)?;
        self.places.get_mut(index)
    }

    /// The place of the slot whose port it is.
    fn slot(&self, address: usize, port: u16) -> Option<u32> {
        self.places.get(self.index(address, port)?)?.checked_sub(1)
    }

    fn index(&self, address: usize, port: u16) -> Option<usize> {
        let offset = usize::from(port.checked_sub(self.first)?);
        (offset < self.count).then_some(address * self.count + offset)
    }
}

/// How reading a socket ended.
enum Read {
    Drained,
    More,
    NoBuffer,
    Failed,
}

impl Packet {
    /// Makes the backend with room for `flows` flows.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn new(
        mut share: Share,
        flows: u32,
        command_bell: OwnedFd,
        event_bell: OwnedFd,
    ) -> io::Result<Packet> {
        let buffers = Buffers::new(BUFFERS + SEND_BUFFERS);
        let (mut free, spare) = buffers.ids().partition(|id| id.0 < BUFFERS);
        let lanes = match share.lane.take() {
            Some(lane) => Lanes::open(lane, &buffers, &mut free)?,
            None => Lanes::default(),
        };
        let addresses = share.ground.steering.addresses().len();
        let count = 2 * usize::from(share.pairs.count);
        let places =
            Places { first: share.pairs.first_even, count, places: vec![0; addresses * count] };
        let outward = BATCH_MAX + usize::from(SEND_BUFFERS);
        let outgoing = || Outgoing::with_capacity(outward);
        Ok(Packet {
            lanes,
            watch: Watch::new(command_bell, event_bell)?,
            share,
            fan_in: Default::default(),
            places,
            slots: vec![Slot::default(); 2 * flows as usize],
            messages: Messages::new(),
            buffers,
            free,
            spare,
            frames: outgoing(),
            bound: None,
            datagrams: [outgoing(), outgoing()],
            refused: Vec::with_capacity(outward),
            step: 0,
            lively: false,
            #[cfg(test)]
            frames_sent: 0,
            #[cfg(test)]
            datagrams_sent: 0,
        })
    }

    /// Whether flows may be relayed without a worker.
    pub fn has_shortcuts(&self) -> bool {
        self.lanes.plane().is_some_and(|plane| plane.table().is_some())
    }

    /// How the kernel would relay a flow, in the driver that its packets come by; `None` when it may
    /// or can not.
    pub fn plan(&mut self, passage: &Passage) -> Option<Plan> {
        let number = self.number(passage.local.ip)?;
        let out = self.places.slot(self.number(passage.from.ip)?, passage.from.port)?;
        let dscp = self.slots.get(out as usize)?.dscp;
        let Packet { lanes, share, .. } = self;
        let plane = lanes.plane()?;
        let table = plane.table()?;
        let hop = share.hops.peek(Pair { from: passage.from.ip, to: passage.to.ip })?;
        let way = plane.way_out(number, hop.ifindex)?;
        table.plan(number, passage, (&hop, way), dscp)
    }

    /// The packet memory, for the relay.
    pub fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }

    /// A buffer for a packet of our own; it comes back when it was sent or discarded.
    pub fn take_buffer(&mut self) -> Option<BufferId> {
        self.spare.pop()
    }

    /// Whether [`Packet::take_buffer`] has one.
    pub fn has_buffer(&self) -> bool {
        !self.spare.is_empty()
    }

    /// Whether the kernel can gather.
    pub fn gathers(&self) -> bool {
        self.watch.gathers()
    }

    /// Whether a port could be opened now.
    ///
    /// # Errors
    /// "In use" when another flow or another program has it, "not available" when it is no media
    /// port of ours.
    pub fn check(&self, address: SocketAddr) -> io::Result<()> {
        let at = Endpoint::from(address);
        let number = self.number(at.ip).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let ground = &self.share.ground;
        let ours = address.port().checked_sub(self.places.first);
        if ours.is_none_or(|offset| usize::from(offset) >= self.places.count) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        if ground.steering.is_open(number, at.port) || ground.others.hold(at.ip, at.port) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(())
    }

    /// Starts receiving at a port.
    ///
    /// # Errors
    /// As [`Packet::check`].
    pub fn open(&mut self, id: SocketId, address: SocketAddr, dscp: Dscp) -> io::Result<()> {
        self.check(address)?;
        let at = Endpoint::from(address);
        let number = self.number(at.ip).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let place = id.place();
        let slot = self.slots.get_mut(place as usize).ok_or(io::ErrorKind::AddrNotAvailable)?;
        *slot = Slot {
            generation: id.flow.generation,
            address: number as u16,
            port: at.port,
            dscp,
            hint: HopHint::default(),
        };
        if let Some(entry) = self.places.at(number, at.port) {
            *entry = place + 1;
        }
        self.share.ground.steering.open(number, at.port, self.share.worker);
        Ok(())
    }

    /// Stops receiving. Packets of the port that wait are dropped when they are read.
    pub fn close(&mut self, id: SocketId) {
        let slot = self.slots.get_mut(id.place() as usize);
        let Some(slot) = slot.filter(|slot| slot.generation == id.flow.generation) else { return };
        let closed = std::mem::take(slot);
        let number = usize::from(closed.address);
        self.share.ground.steering.close(number, closed.port);
        if let Some(entry) = self.places.at(number, closed.port) {
            *entry = 0;
        }
    }

    /// Waits, and fills `batch` with what came.
    ///
    /// # Errors
    /// Those of a broken ring.
    pub fn receive(&mut self, batch: &mut Batch, wait: Wait) -> io::Result<Received> {
        let mut received = Received::default();
        self.turn_over();
        received.buffers_missing = self.missing();
        let ready = self.wait(wait, &mut received)?;
        self.share.hops.take_answers();
        self.take_frames(batch, &mut received);
        let by_frames = batch.arrivals.len();
        let mut ages = Ages::default();
        for family in [0, 1] {
            if ready & 1 << family != 0 || self.fan_in.get(family).is_some_and(|it| it.more) {
                self.drain(family, batch, &mut received, &mut ages);
            }
        }
        if !self.lanes.is_empty() {
            received.passed = (batch.arrivals.len() - by_frames) as u64;
        }
        received.backlog = self.has_backlog();
        self.lively = !batch.arrivals.is_empty();
        Ok(received)
    }

    /// Waits; says which fan-in sockets may have something, one bit each.
    fn wait(&mut self, wait: Wait, received: &mut Received) -> io::Result<u32> {
        let wait = if self.has_backlog() { Wait::NONE } else { wait };
        let Packet { watch, share, lanes, .. } = self;
        let mut fds = [share.wire.as_fd(); WATCHED_MAX];
        // The fan-in sockets come first, so that the first bits are theirs.
        let watched = share.fan_in.iter().flatten().map(AsFd::as_fd).chain(lanes.fds());
        let mut count = 0;
        for (place, fd) in fds.iter_mut().zip(watched) {
            *place = fd;
            count += 1;
        }
        let watched = fds.get(..count).unwrap_or_default();
        let ready = watch.wait(watched, wait, self.lively, received)?;
        // The only one is the first that is watched, and the second here.
        let only_six = matches!(share.fan_in, [None, Some(_)]);
        Ok(if only_six { ready << 1 } else { ready })
    }

    fn has_backlog(&mut self) -> bool {
        self.fan_in.iter().any(|fan_in| fan_in.more) || self.lanes.have_frames()
    }

    /// Takes what came by the lanes.
    fn take_frames(&mut self, batch: &mut Batch, received: &mut Received) {
        if self.lanes.is_empty() {
            return;
        }
        let Packet { lanes, buffers, share, places, slots, .. } = self;
        let addresses = share.ground.steering.addresses();
        let door = |at: Endpoint| {
            let number = addresses.iter().position(|ours| *ours == at.ip)?;
            let place = places.slot(number, at.port)?;
            Some(SocketId::at(place, slots.get(place as usize)?.generation))
        };
        received.frame_faults = lanes.take_frames(batch, buffers, received.now_ns, door);
    }

    /// Takes back the buffers of frames that have left, and offers free ones for what comes.
    fn turn_over(&mut self) {
        let Packet { lanes, free, spare, .. } = self;
        lanes.reap(|id| give_back(id, free, spare));
        lanes.fill(free);
    }

    /// Buffers that are in no known place while the batch holds none: 0, or there is a defect.
    fn missing(&self) -> u64 {
        let known = self.free.len() + self.spare.len() + self.lanes.held();
        known.abs_diff(usize::from(BUFFERS + SEND_BUFFERS)) as u64
    }

    /// Sends the departures; every buffer is free afterwards, or on its way by a lane.
    pub fn transmit(&mut self, batch: &mut Batch) {
        if !batch.departures.is_empty() {
            self.send_all(batch);
        }
        let sent = batch.departures.drain(..).map(|departure| departure.buffer);
        for id in sent.chain(batch.discards.drain(..)).filter(|id| *id != BufferId::AWAY) {
            give_back(id, &mut self.free, &mut self.spare);
        }
    }

    /// Wakes the guest.
    ///
    /// # Errors
    /// Those of a broken ring.
    pub fn ring_bell(&mut self) -> io::Result<()> {
        self.watch.ring_bell()
    }

    /// Takes back the rings of the command bell.
    pub fn silence_bell(&self) {
        self.watch.silence_bell();
    }

    /// Starts again what failed too often. To be called with each housekeeping step.
    pub fn retry_faulted(&mut self) {
        self.step = self.step.wrapping_add(1);
        for fan_in in &mut self.fan_in {
            fan_in.more |= std::mem::take(&mut fan_in.faulted);
        }
        self.share.hops.keep_house();
        self.lanes.retry();
    }

    fn number(&self, ip: u128) -> Option<usize> {
        self.share.ground.steering.addresses().iter().position(|ours| *ours == ip)
    }

    /// Reads one family's socket until it is empty, the batch is full or no buffer is left.
    fn drain(
        &mut self,
        family: usize,
        batch: &mut Batch,
        received: &mut Received,
        ages: &mut Ages,
    ) {
        let end = loop {
            match self.read(family, batch, ages) {
                Read::More if batch.arrivals.len() < BATCH_MAX => {}
                end => break end,
            }
        };
        let step = self.step;
        let Some(fan_in) = self.fan_in.get_mut(family) else { return };
        fan_in.more = match end {
            Read::Drained => false,
            Read::More => true,
            Read::NoBuffer => {
                received.buffers_exhausted += 1;
                true
            }
            Read::Failed => {
                let soon = fan_in.restarts.allow(step);
                fan_in.faulted = !soon;
                soon
            }
        };
    }

    fn read(&mut self, family: usize, batch: &mut Batch, ages: &mut Ages) -> Read {
        let socket = self.share.fan_in.get(family).and_then(Option::as_ref);
        let Some(socket) = socket else { return Read::Drained };
        if self.free.is_empty() {
            return Read::NoBuffer;
        }
        let room = BATCH_MAX - batch.arrivals.len();
        let (asked, got) =
            match self.messages.receive(socket.as_fd(), &mut self.buffers, &self.free, room) {
                Ok(counts) => counts,
                Err(Errno::AGAIN) => return Read::Drained,
                Err(Errno::INTR) => return Read::More,
                Err(_) => return Read::Failed,
            };
        for index in 0..got {
            let Some(buffer) = self.free.pop() else { break };
            match self.arrival(index, buffer, ages) {
                Some(arrival) => batch.arrivals.push(arrival),
                // For a port that was closed meanwhile.
                None => batch.discards.push(buffer),
            }
        }
        if got < asked { Read::Drained } else { Read::More }
    }

    fn arrival(&mut self, index: usize, buffer: BufferId, ages: &mut Ages) -> Option<Arrival> {
        let came = self.messages.received(index)?;
        let number = self.number(came.to.ip)?;
        let place = self.places.slot(number, came.to.port)?;
        let generation = self.slots.get(place as usize)?.generation;
        let socket = SocketId::at(place, generation);
        let stamp_ns = came.stamp_ns.filter(|_| socket.is_sampled());
        let age_ns = stamp_ns.and_then(|stamp_ns| ages.age_ns(stamp_ns));
        // A frame may have been in it before.
        self.buffers.begin_at(buffer, HEAD_ROOM as u16);
        let (source, len, truncated) = (came.source, came.len, came.truncated);
        Some(Arrival { socket, source, buffer, len, truncated, age_ns })
    }

    /// Sends what goes by the kernel's way first: a packet that confirms a neighbour is the first of
    /// those to it, and must not be overtaken.
    fn send_all(&mut self, batch: &mut Batch) {
        self.frames.clear();
        self.datagrams.iter_mut().for_each(Outgoing::clear);
        let now_ns = crate::clock::now_ns();
        let Batch { departures, failed, .. } = batch;
        for (index, departure) in departures.iter().enumerate() {
            if self.prepare(departure, index, now_ns).is_none() {
                failed.push(departure.origin);
            }
        }
        self.share.hops.ask();
        #[cfg(test)]
        self.count();
        self.send_datagrams(departures, failed);
        if !self.lanes.is_empty() {
            self.send_by_lanes(departures, failed);
        }
        self.send_frames(departures, failed);
    }

    /// Queues the frames whose interface has a lane; leaves the others.
    fn send_by_lanes(&mut self, departures: &mut [Departure], failed: &mut Vec<Origin>) {
        let Packet { lanes, frames, free, spare, bound, .. } = self;
        let mut kept = 0;
        for at in 0..frames.pieces.len() {
            let (Some(piece), Some(index)) = (frames.pieces.get(at), frames.departures.get(at))
            else {
                break;
            };
            let (piece, index) = (*piece, *index);
            let ifindex = match piece.toward {
                Toward::Interface(ifindex) => Some(ifindex),
                Toward::Bound => *bound,
                Toward::Address { .. } => None,
            };
            let span = (piece.start, piece.end);
            let taken = ifindex.map_or(Taken::NoLane, |ifindex| {
                lanes.send(ifindex, piece.buffer, span, |id| give_back(id, free, spare))
            });
            let departure = departures.get_mut(index as usize);
            match (taken, departure) {
                (Taken::Queued, Some(departure)) => departure.buffer = BufferId::AWAY,
                (Taken::Full, Some(departure)) => failed.push(departure.origin),
                (_, _) => {
                    if let Some(place) = frames.pieces.get_mut(kept) {
                        *place = piece;
                    }
                    if let Some(place) = frames.departures.get_mut(kept) {
                        *place = index;
                    }
                    kept += 1;
                }
            }
        }
        frames.pieces.truncate(kept);
        frames.departures.truncate(kept);
        lanes.kick();
    }

    #[cfg(test)]
    fn count(&mut self) {
        self.frames_sent += self.frames.pieces.len() as u64;
        self.datagrams_sent += self.datagrams.iter().map(|d| d.pieces.len() as u64).sum::<u64>();
    }

    /// Builds a frame, or else a datagram, in front of a departure's payload; `None` when its port
    /// is closed or it is neither.
    fn prepare(&mut self, departure: &Departure, index: usize, now_ns: u64) -> Option<()> {
        let slot = self.slots.get_mut(departure.socket.place() as usize)?;
        if slot.generation != departure.socket.flow.generation {
            return None;
        }
        let ground = &self.share.ground;
        let ip = *ground.steering.addresses().get(usize::from(slot.address))?;
        let (from, to) = (Endpoint { ip, port: slot.port }, departure.destination);
        let way = Way { from, to, dscp: slot.dscp };
        let pair = Pair { from: ip, to: to.ip };
        let buffer = departure.buffer;
        let at = self.buffers.start(buffer);
        let len = departure.len.min(BUFFER_SIZE - at);
        let end = at + len;
        let whole = self.buffers.whole(buffer)?;
        if let Some(hop) = self.share.hops.find(&mut slot.hint, pair, now_ns)
            && let Some(start) = frame::write(whole, at, len, &hop, &way)
        {
            let toward = match self.bound {
                Some(bound) if bound == hop.ifindex => Toward::Bound,
                _ => Toward::Interface(hop.ifindex),
            };
            self.frames.push(Piece { buffer, start, end, toward }, index);
            return Some(());
        }
        let start = frame::write_udp(whole, at, len, &way)?;
        let toward = Toward::Address { from: ip, to: to.ip, dscp: slot.dscp };
        let [four, six] = &mut self.datagrams;
        let outgoing = if to.is_ipv4() { four } else { six };
        outgoing.push(Piece { buffer, start, end, toward }, index);
        Some(())
    }

    fn send_datagrams(&mut self, departures: &[Departure], failed: &mut Vec<Origin>) {
        for (outgoing, socket) in self.datagrams.iter().zip(&self.share.raw) {
            let mut fail = |at: usize| {
                let index = outgoing.departures.get(at).map(|index| *index as usize);
                let departure = index.and_then(|index| departures.get(index));
                failed.extend(departure.map(|departure| departure.origin));
            };
            match socket {
                Some(socket) => {
                    let (messages, buffers) = (&mut self.messages, &self.buffers);
                    messages.send(socket.as_fd(), buffers, &outgoing.pieces, |at, _| fail(at));
                }
                None => (0..outgoing.pieces.len()).for_each(fail),
            }
        }
    }

    fn send_frames(&mut self, departures: &[Departure], failed: &mut Vec<Origin>) {
        self.refused.clear();
        if let (None, Some(Piece { toward: Toward::Interface(ifindex), .. })) =
            (self.bound, self.frames.pieces.first())
            && options::bind_to_interface(&self.share.wire, *ifindex).is_ok()
        {
            self.bound = Some(*ifindex);
        }
        let refused = &mut self.refused;
        let frames = &self.frames;
        let wire = self.share.wire.as_fd();
        self.messages.send(wire, &self.buffers, &frames.pieces, |at, errno| {
            let index = frames.departures.get(at).map(|index| *index as usize);
            let Some(index) = index else { return };
            match errno {
                // No such interface, or down: the kernel may know another way.
                Errno::NXIO | Errno::NODEV | Errno::NETDOWN | Errno::MSGSIZE | Errno::INVAL => {
                    refused.push(index);
                }
                // The queue is full; a second try would be one packet more in it.
                _ => failed.extend(departures.get(index).map(|departure| departure.origin)),
            }
        });
        if !self.refused.is_empty() {
            // It may be gone for good; the next frame says by which one they leave.
            self.bound = None;
            self.send_refused(departures, failed);
        }
    }

    /// Sends what an interface refused by the kernel's way, and has the next hops looked for anew.
    fn send_refused(&mut self, departures: &[Departure], failed: &mut Vec<Origin>) {
        self.datagrams.iter_mut().for_each(Outgoing::clear);
        for at in 0..self.refused.len() {
            let Some(index) = self.refused.get(at).copied() else { break };
            let Some(departure) = departures.get(index) else { continue };
            let slot = self.slots.get(departure.socket.place() as usize);
            let addresses = self.share.ground.steering.addresses();
            let from = slot.and_then(|slot| addresses.get(usize::from(slot.address)));
            if let Some(from) = from {
                self.share.hops.doubt(Pair { from: *from, to: departure.destination.ip });
            }
            // Without the hop it becomes a datagram.
            if self.prepare(departure, index, 0).is_none() {
                failed.push(departure.origin);
            }
        }
        self.send_datagrams(departures, failed);
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        if !self.lanes.is_empty() {
            // The ring's polls keep the lanes' sockets open for a moment, and the kernel may write to
            // the buffers as long: they stay until the process ends.
            std::mem::forget(std::mem::replace(&mut self.buffers, Buffers::new(1)));
        }
    }
}

fn give_back(id: BufferId, free: &mut Vec<BufferId>, spare: &mut Vec<BufferId>) {
    if id.0 < BUFFERS { free.push(id) } else { spare.push(id) }
}

#[cfg(test)]
mod tests;
