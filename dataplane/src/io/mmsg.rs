//! The backend for hosts that forbid io_uring, as containers do: epoll says which sockets have
//! packets, `recvmmsg` drains them, `sendmmsg` sends what leaves by one socket together.
//!
//! ```text
//! epoll (edges) --> ready queue --> recvmmsg per socket --> Batch::arrivals
//!                       ^  |  not drained                        relay
//!                       '--'          sendmmsg per socket <-- Batch::departures
//! ```
//! Edges, not levels: after a level-triggered event the kernel looks at every socket once more just
//! to find it drained. A short `recvmmsg` has told that already, and what is not drained stays in
//! our queue.
//!
//! Gathering is a sleep before the wait, as io_uring's minimum wait is: what comes meanwhile makes
//! one wake-up, and when nothing came, the first packet after it ends the wait at once. A wait that
//! slept only after the first packet would wake twice per round. Longer waits are whole
//! milliseconds, which every kernel and every system call filter allows (`epoll_pwait2` is neither
//! old nor common enough).
//!
//! Buffers are taken from a stack, so a quiet worker uses few, and those stay in the cache.

use std::collections::VecDeque;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::thread::{NanosleepRelativeResult, nanosleep};
use rustix::time::Timespec;

use super::head;
use super::restarts::Restarts;
use super::stamp::{self, Ages};
use super::{Arrival, Batch, BufferId, Buffers, Departure, Origin, Received, SocketId, Wait};
use crate::clock;
use crate::limits::{BATCH_MAX, BUFFERS, READY_MAX, SEND_BUFFERS, SEND_RUN};
use messages::Messages;
use ringer::Ringer;

#[expect(unsafe_code, reason = "message headers carry addresses of packet memory")]
mod messages;
mod ringer;

/// The backend of one worker.
pub struct Mmsg {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    slots: Vec<Slot>,
    /// Places of sockets that may have packets, each at most once.
    ready: VecDeque<u32>,
    /// Places of sockets whose receive failed too often; tried again when the worker says so.
    faulted: Vec<u32>,
    messages: Messages,
    buffers: Buffers,
    /// Free buffers for what comes, and for packets of our own.
    free: Vec<BufferId>,
    spare: Vec<BufferId>,
    /// The departures of a round, ordered by socket.
    order: Vec<Outgoing>,
    command_bell: OwnedFd,
    ringer: Ringer,
    /// Housekeeping steps so far.
    step: u32,
    bell: bool,
    /// The last round brought packets.
    lively: bool,
    /// The last look found as many sockets as it could name: there may be more.
    crowded: bool,
}

/// One socket's place.
#[derive(Default)]
struct Slot {
    socket: Option<UdpSocket>,
    generation: u32,
    queued: bool,
    restarts: Restarts,
}

/// A departure: its socket's place, and which of the batch it is. Ordered by socket, then by age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Outgoing {
    place: u32,
    index: u32,
}

/// How reading a socket ended.
enum Read {
    Drained,
    More,
    NoBuffer,
    Failed,
}

impl Mmsg {
    /// Makes the backend with room for `flows` flows.
    ///
    /// # Errors
    /// No descriptor, memory or thread left.
    pub fn new(flows: u32, command_bell: OwnedFd, event_bell: OwnedFd) -> io::Result<Mmsg> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &command_bell, EventData::new_u64(BELL), EDGES)?;
        let buffers = Buffers::new(BUFFERS + SEND_BUFFERS);
        let (free, spare) = buffers.ids().partition(|id| id.0 < BUFFERS);
        let places = 2 * flows as usize;
        Ok(Mmsg {
            epoll,
            events: Vec::with_capacity(READY_MAX),
            slots: (0..places).map(|_| Slot::default()).collect(),
            ready: VecDeque::with_capacity(places),
            faulted: Vec::with_capacity(places),
            messages: Messages::new(),
            buffers,
            free,
            spare,
            order: Vec::with_capacity(BATCH_MAX + usize::from(SEND_BUFFERS)),
            command_bell,
            ringer: Ringer::start(event_bell)?,
            step: 0,
            bell: false,
            lively: false,
            crowded: false,
        })
    }

    /// The packet memory, for the relay.
    pub fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }

    /// A buffer for a packet of our own; it comes back when it was sent or discarded.
    pub fn take_buffer(&mut self) -> Option<BufferId> {
        self.spare.pop()
    }

    /// Whether [`Mmsg::take_buffer`] has one.
    pub fn has_buffer(&self) -> bool {
        !self.spare.is_empty()
    }

    /// Starts receiving from a socket.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`; the socket is then closed.
    pub fn open(&mut self, id: SocketId, socket: UdpSocket) -> io::Result<()> {
        if id.is_sampled() {
            let _ = stamp::enable(&socket);
        }
        let place = id.place();
        epoll::add(&self.epoll, &socket, EventData::new_u64(place.into()), EDGES)?;
        if let Some(slot) = self.slots.get_mut(place as usize) {
            slot.generation = id.flow.generation;
            slot.socket = Some(socket);
        }
        Ok(())
    }

    /// Stops receiving and closes the socket. An id of another life closes nothing.
    pub fn close(&mut self, id: SocketId) {
        let slot = self.slots.get_mut(id.place() as usize);
        let Some(slot) = slot.filter(|slot| slot.generation == id.flow.generation) else { return };
        slot.generation = 0;
        if let Some(socket) = slot.socket.take() {
            // Closing alone would do, were no other descriptor of the socket open.
            let _ = epoll::delete(&self.epoll, &socket);
        }
    }

    /// Waits, and fills `batch` with what came.
    ///
    /// # Errors
    /// Those of `epoll_wait(2)` that mean a broken descriptor.
    pub fn receive(&mut self, batch: &mut Batch, wait: Wait) -> io::Result<Received> {
        let mut received = Received::default();
        self.wait(wait, &mut received)?;
        received.bell = std::mem::take(&mut self.bell);
        let mut ages = Ages::default();
        while batch.arrivals.len() < BATCH_MAX {
            let Some(place) = self.ready.pop_front() else { break };
            match self.read(place, batch, &mut ages) {
                Read::Drained => self.set_queued(place, false),
                Read::More => self.ready.push_back(place),
                Read::NoBuffer => {
                    received.buffers_exhausted += 1;
                    self.ready.push_front(place);
                    break;
                }
                Read::Failed => self.failed(place),
            }
        }
        received.backlog = !self.ready.is_empty();
        self.lively = !batch.arrivals.is_empty();
        Ok(received)
    }

    /// Sends the departures; every buffer is free afterwards.
    pub fn transmit(&mut self, batch: &mut Batch) {
        let Mmsg { order, slots, messages, buffers, .. } = self;
        let outgoing = |(index, departure): (usize, &Departure)| Outgoing {
            place: departure.socket.place(),
            index: index as u32,
        };
        order.clear();
        order.extend(batch.departures.iter().enumerate().map(outgoing));
        order.sort_unstable();
        for same in order.chunk_by(|one, next| one.place == next.place) {
            for run in same.chunks(SEND_RUN) {
                let run = run.iter().filter_map(|at| batch.departures.get(at.index as usize));
                send(run, slots, messages, buffers, &mut batch.failed);
            }
        }
        let sent = batch.departures.drain(..).map(|departure| departure.buffer);
        for id in sent.chain(batch.discards.drain(..)) {
            if id.0 < BUFFERS { self.free.push(id) } else { self.spare.push(id) }
        }
    }

    /// Wakes the guest.
    pub fn ring_bell(&self) {
        self.ringer.ring();
    }

    /// Takes back the rings of the command bell.
    pub fn silence_bell(&self) {
        // The commands are polled in any case: a bell that fails costs time, not commands.
        let _ = abi::doorbell::silence(&self.command_bell);
    }

    /// Starts again the receives that failed too often. To be called with each housekeeping step.
    pub fn retry_faulted(&mut self) {
        self.step = self.step.wrapping_add(1);
        self.ready.extend(self.faulted.drain(..));
    }

    fn wait(&mut self, wait: Wait, received: &mut Received) -> io::Result<()> {
        let begun_ns = clock::now_ns();
        received.now_ns = begun_ns;
        if wait.timeout_ns == 0 || self.crowded || !self.ready.is_empty() {
            self.look(0)?;
            received.now_ns = clock::now_ns();
            return Ok(());
        }
        let end_ns = begun_ns.saturating_add(wait.timeout_ns);
        if self.lively && wait.spin_us > 0 {
            let until_ns = end_ns.min(begun_ns.saturating_add(u64::from(wait.spin_us) * 1000));
            while self.look(0)? == 0 && received.now_ns < until_ns {
                received.now_ns = clock::now_ns();
            }
            received.now_ns = clock::now_ns();
            received.spin_ns = received.now_ns.saturating_sub(begun_ns);
            if self.bell || !self.ready.is_empty() {
                return Ok(());
            }
        }
        let before_ns = received.now_ns;
        if self.lively && wait.gather_us > 0 {
            let left_ns = end_ns.saturating_sub(before_ns);
            sleep(left_ns.min(u64::from(wait.gather_us) * 1000));
            received.now_ns = clock::now_ns();
            received.gather_ns = received.now_ns.saturating_sub(before_ns);
        }
        let before_ns = received.now_ns;
        self.look(end_ns.saturating_sub(before_ns))?;
        received.now_ns = clock::now_ns();
        received.sleep_ns = received.now_ns.saturating_sub(before_ns);
        Ok(())
    }

    /// Asks for ready sockets, waiting so long for the first; returns how many events there were.
    fn look(&mut self, timeout_ns: u64) -> io::Result<usize> {
        let timeout = timespec(timeout_ns);
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.crowded = self.events.len() == READY_MAX;
        for event in &self.events {
            match event.data.u64() {
                BELL => self.bell = true,
                place => {
                    let Some(slot) = self.slots.get_mut(place as usize) else { continue };
                    if !std::mem::replace(&mut slot.queued, true) {
                        self.ready.push_back(place as u32);
                    }
                }
            }
        }
        Ok(self.events.len())
    }

    fn read(&mut self, place: u32, batch: &mut Batch, ages: &mut Ages) -> Read {
        let Some(slot) = self.slots.get(place as usize) else { return Read::Drained };
        let Some(socket) = &slot.socket else { return Read::Drained };
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
        let id = SocketId::at(place, slot.generation);
        for index in 0..got {
            let Some(buffer) = self.free.pop() else { break };
            let message = self.messages.received(index);
            let whole = self.buffers.whole(buffer);
            match whole.and_then(|whole| Some((head::read_name(whole)?, whole))) {
                Some((source, whole)) => {
                    let stamp_ns = head::read_stamp(whole, message.control_len);
                    let age_ns = stamp_ns.and_then(|stamp_ns| ages.age_ns(stamp_ns));
                    let (len, truncated) = (message.len, message.truncated);
                    let arrival = Arrival { socket: id, source, buffer, len, truncated, age_ns };
                    batch.arrivals.push(arrival);
                }
                // Not a datagram of a family that our sockets have.
                None => batch.discards.push(buffer),
            }
        }
        if got < asked { Read::Drained } else { Read::More }
    }

    fn set_queued(&mut self, place: u32, queued: bool) {
        if let Some(slot) = self.slots.get_mut(place as usize) {
            slot.queued = queued;
        }
    }

    /// A receive failed; the socket stays queued here or there.
    fn failed(&mut self, place: u32) {
        let Some(slot) = self.slots.get_mut(place as usize) else { return };
        if slot.restarts.allow(self.step) {
            self.ready.push_back(place);
        } else {
            self.faulted.push(place);
        }
    }
}

/// Sends departures of one socket, in order, at most [`SEND_RUN`] of them.
fn send<'a>(
    run: impl Iterator<Item = &'a Departure> + Clone,
    slots: &[Slot],
    messages: &mut Messages,
    buffers: &mut Buffers,
    failed: &mut Vec<Origin>,
) {
    let Some(first) = run.clone().next() else { return };
    let slot = slots.get(first.socket.place() as usize);
    let slot = slot.filter(|slot| slot.generation == first.socket.flow.generation);
    let Some(socket) = slot.and_then(|slot| slot.socket.as_ref()) else {
        failed.extend(run.map(|departure| departure.origin));
        return;
    };
    messages.send(socket.as_fd(), buffers, run, failed);
}

fn sleep(ns: u64) {
    let mut left = timespec(ns);
    while let NanosleepRelativeResult::Interrupted(rest) = nanosleep(&left) {
        left = rest;
    }
}

fn timespec(ns: u64) -> Timespec {
    Timespec { tv_sec: (ns / SECOND_NS) as i64, tv_nsec: (ns % SECOND_NS) as i64 }
}

const SECOND_NS: u64 = 1_000_000_000;
const EDGES: EventFlags = EventFlags::IN.union(EventFlags::ET);
/// The command bell among places, of which there are fewer.
const BELL: u64 = u64::MAX;

#[cfg(test)]
mod tests;
