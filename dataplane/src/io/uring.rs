//! The io_uring backend: one UDP socket per port, multishot receives into one buffer ring, sends
//! batched on the same ring, and the ring as the worker's only place to wait.
//!
//! ```text
//!   sockets (file table: slot 2i = RTP of flow i, 2i+1 = RTCP)
//!      | multishot recvmsg                                    ^ send, completes inline
//!      v                                                      |
//!   buffer ring --> completions --> Batch::arrivals ... Batch::departures --> submissions
//!      ^                                                      |
//!      '------ discards at once, sent buffers after the next enter
//! ```
//!
//! One `io_uring_enter` per round submits the sends of the last batch, runs the deferred task work
//! (where the kernel copies packets into our buffers) and waits. Sends carry `MSG_DONTWAIT`, so each
//! is finished when the enter returns, and only failures post a completion; their buffers
//! are free from then on. A socket's descriptor is closed as soon as the file table holds it.
//!
//! User data names the operation and the flow with its generation, so a completion of a closed flow
//! finds nothing.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use abi::FlowId;
use io_uring::types::{Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::buffer_ring::BufferRing;
use super::{
    Arrival, Batch, BufferId, Buffers, Departure, Endpoint, Port, Received, SocketId, Wait,
};
use crate::limits::{
    BUFFER_SIZE, BUFFERS, COMPLETIONS, GATHER_COUNT, HEAD_ROOM, SUBMISSIONS, TAIL_ROOM,
};

/// The backend of one worker. It must be made and used on that worker's thread.
pub struct Uring {
    // Dropped first: nothing below may go while the kernel can use it.
    ring: IoUring,
    buffer_ring: BufferRing,
    buffers: Buffers,
    /// Only `msg_namelen` says anything: room for a source address in front of each payload.
    message: Box<libc::msghdr>,
    slots: Vec<Slot>,
    /// Slots whose receive ended for a reason that has passed, or will by the next round.
    ended: Vec<u32>,
    /// Slots whose receive failed; tried again when the worker says so.
    faulted: Vec<u32>,
    in_flight: Vec<BufferId>,
    command_bell: OwnedFd,
    event_bell: OwnedFd,
    listening: bool,
    ringing: bool,
    min_wait: bool,
    backlog: bool,
}

/// One place of the file table.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// Of the flow whose socket it is; 0: empty.
    generation: u32,
    armed: bool,
    queued: bool,
}

impl Uring {
    /// Makes the ring, its buffers and a file table for `flows` flows. `command_bell` wakes the
    /// worker, `event_bell` is what [`Uring::ring_bell`] rings.
    ///
    /// # Errors
    /// What the kernel refused; `host::diagnose` knows what to tell the operator.
    pub fn new(flows: u32, command_bell: OwnedFd, event_bell: OwnedFd) -> io::Result<Uring> {
        let ring = build(SUBMISSIONS, COMPLETIONS)?;
        ring.submitter().register_files_sparse(2 * flows)?;
        let mut buffers = Buffers::new(BUFFERS);
        let mut buffer_ring = BufferRing::new(BUFFERS);
        for id in buffers.ids() {
            offer(&mut buffer_ring, &mut buffers, id);
        }
        buffer_ring.publish();
        // SAFETY: the block lives as long as `buffer_ring`, which outlives the registration: it
        // ends with `unregister_buf_ring` in `drop`.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                buffer_ring.address(),
                BUFFERS,
                BUFFER_GROUP,
                0,
            )?;
        }
        // SAFETY: msghdr is plain old data for which all zeroes is a valid value.
        let mut message: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        message.msg_namelen = NAME_ROOM as libc::socklen_t;
        let places = 2 * flows as usize;
        Ok(Uring {
            min_wait: ring.params().is_feature_min_timeout(),
            ring,
            buffer_ring,
            buffers,
            message,
            slots: vec![Slot::default(); places],
            ended: Vec::with_capacity(places),
            faulted: Vec::with_capacity(places),
            in_flight: Vec::with_capacity(BUFFERS.into()),
            command_bell,
            event_bell,
            listening: false,
            ringing: false,
            backlog: false,
        })
    }

    /// The packet memory, for the relay.
    pub fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }

    /// Whether the kernel can gather (Linux 6.12); without it each packet may be its own wake-up.
    pub fn gathers(&self) -> bool {
        self.min_wait
    }

    /// Puts a socket into the file table and starts receiving.
    ///
    /// # Errors
    /// Those of `io_uring_register(2)`; the socket is then closed.
    pub fn open(&mut self, id: SocketId, socket: UdpSocket) -> io::Result<()> {
        let index = file_index(id);
        self.ring.submitter().register_files_update(index, &[socket.as_raw_fd()])?;
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.generation = id.flow.generation;
        }
        self.arm(index)
    }

    /// Stops receiving and closes the socket. Packets that wait in it are gone.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)` that mean a broken ring.
    pub fn close(&mut self, id: SocketId) -> io::Result<()> {
        let index = file_index(id);
        let Some(slot) = self.slots.get_mut(index as usize) else { return Ok(()) };
        if slot.generation != id.flow.generation {
            return Ok(());
        }
        slot.generation = 0;
        slot.armed = false;
        let cancel = opcode::AsyncCancel::new(Tag::Receive(id).encode()).build();
        self.push(&quiet(cancel, Tag::Cancel))?;
        // Submitted before the table changes: a send or receive that is queued must meet its own
        // socket, not the next one in this place.
        self.submit()?;
        // When this fails, the place keeps the old socket, deaf, until the next one takes it.
        let _ = self.ring.submitter().register_files_update(index, &[-1]);
        Ok(())
    }

    /// Submits what is queued, waits, and fills `batch` with what came.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)` that mean a broken ring. Interruption and time-out are none.
    pub fn receive(&mut self, batch: &mut Batch, wait: Wait) -> io::Result<Received> {
        if !self.backlog {
            self.rearm_ended()?;
        }
        self.listen()?;
        self.enter(wait)?;
        self.recycle();
        let mut received = Received::default();
        let mut completions = 0;
        while batch.has_room() {
            let Some(completion) = self.ring.completion().next() else { break };
            self.take(&completion, batch, &mut received);
            completions += 1;
        }
        self.backlog = completions > 0 && !self.ring.completion().is_empty();
        received.backlog = self.backlog;
        Ok(received)
    }

    /// Queues the departures and returns the discards' buffers. The next receive call submits.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)` that mean a broken ring.
    pub fn transmit(&mut self, batch: &mut Batch) -> io::Result<()> {
        for departure in batch.departures.drain(..) {
            self.send(&departure)?;
            self.in_flight.push(departure.buffer);
        }
        for id in batch.discards.drain(..) {
            offer(&mut self.buffer_ring, &mut self.buffers, id);
        }
        self.buffer_ring.publish();
        Ok(())
    }

    /// Wakes the guest. The write is queued on the ring, where a guest that filled its bell to
    /// the brim cannot block us.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)` that mean a broken ring.
    pub fn ring_bell(&mut self) -> io::Result<()> {
        if self.ringing {
            return Ok(());
        }
        let bell = Fd(self.event_bell.as_raw_fd());
        let write = opcode::Write::new(bell, (&raw const ONE).cast(), size_of_val(&ONE) as u32);
        self.push(&write.build().user_data(Tag::Rung.encode()))?;
        self.ringing = true;
        Ok(())
    }

    /// Takes back the rings of the command bell.
    pub fn silence_bell(&self) {
        // The commands are polled in any case: a bell that fails costs time, not commands.
        let _ = abi::doorbell::silence(&self.command_bell);
    }

    /// Starts again the receives that failed. To be called now and then, not per round: what made
    /// them fail may last.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)` that mean a broken ring.
    pub fn retry_faulted(&mut self) -> io::Result<()> {
        while let Some(index) = self.faulted.pop() {
            self.rearm(index)?;
        }
        Ok(())
    }

    fn send(&mut self, departure: &Departure) -> io::Result<()> {
        let Some(start) = self.buffers.address(departure.buffer) else { return Ok(()) };
        let Some(whole) = self.buffers.whole(departure.buffer) else { return Ok(()) };
        let name_len = write_name(whole, departure.destination);
        let len = departure.len.min(BUFFER_SIZE - HEAD_ROOM);
        // SAFETY: both offsets are inside the buffer of BUFFER_SIZE octets at `start`.
        let (name, payload) = unsafe { (start.add(NAME_AT), start.add(HEAD_ROOM)) };
        let socket = Fixed(file_index(departure.socket));
        let send = opcode::Send::new(socket, payload.as_ptr(), len as u32)
            .flags(libc::MSG_DONTWAIT)
            .dest_addr(name.as_ptr().cast())
            .dest_addr_len(name_len)
            .build();
        self.push(&quiet(send, Tag::Send(departure.origin)))
    }

    fn take(&mut self, completion: &cqueue::Entry, batch: &mut Batch, received: &mut Received) {
        let (result, flags) = (completion.result(), completion.flags());
        match Tag::decode(completion.user_data()) {
            Some(Tag::Receive(id)) => {
                if let Some(buffer) = cqueue::buffer_select(flags) {
                    self.arrive(id, BufferId(buffer), result, batch);
                }
                let exhausted = result == -libc::ENOBUFS;
                received.buffers_exhausted += u64::from(exhausted);
                if !cqueue::more(flags) {
                    self.end(id, result >= 0 || exhausted);
                }
            }
            // Successful sends are silent.
            Some(Tag::Send(origin)) => batch.failed.push(origin),
            Some(Tag::Bell) => {
                received.bell = true;
                self.listening &= cqueue::more(flags);
            }
            Some(Tag::Rung) => self.ringing = false,
            Some(Tag::Cancel) | None => {}
        }
    }

    fn arrive(&mut self, id: SocketId, buffer: BufferId, result: i32, batch: &mut Batch) {
        let arrival = self.buffers.whole(buffer).and_then(|whole| {
            let len = usize::try_from(result).ok()?.checked_sub(HEAD_ROOM)?;
            let (source, truncated) = read_head(whole)?;
            Some(Arrival { socket: id, source, buffer, len, truncated })
        });
        match arrival {
            Some(arrival) => batch.arrivals.push(arrival),
            // Not a datagram of a family that our sockets have: the buffer just goes back.
            None => batch.discards.push(buffer),
        }
    }

    /// A receive is over. It starts again unless its socket was closed meanwhile.
    fn end(&mut self, id: SocketId, soon: bool) {
        let index = file_index(id);
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        if slot.generation != id.flow.generation || !slot.armed {
            return;
        }
        slot.armed = false;
        if !std::mem::replace(&mut slot.queued, true) {
            let list = if soon { &mut self.ended } else { &mut self.faulted };
            list.push(index);
        }
    }

    fn rearm_ended(&mut self) -> io::Result<()> {
        while let Some(index) = self.ended.pop() {
            self.rearm(index)?;
        }
        Ok(())
    }

    fn rearm(&mut self, index: u32) -> io::Result<()> {
        let Some(slot) = self.slots.get_mut(index as usize) else { return Ok(()) };
        slot.queued = false;
        if slot.generation == 0 || slot.armed { Ok(()) } else { self.arm(index) }
    }

    fn arm(&mut self, index: u32) -> io::Result<()> {
        let Some(slot) = self.slots.get_mut(index as usize) else { return Ok(()) };
        slot.armed = true;
        let flow = FlowId { index: index / 2, generation: slot.generation };
        let port = if index.is_multiple_of(2) { Port::Rtp } else { Port::Rtcp };
        let receive =
            opcode::RecvMsgMulti::new(Fixed(index), &raw const *self.message, BUFFER_GROUP)
                .build()
                .user_data(Tag::Receive(SocketId { flow, port }).encode());
        self.push(&receive)
    }

    fn listen(&mut self) -> io::Result<()> {
        if self.listening {
            return Ok(());
        }
        self.listening = true;
        let bell = Fd(self.command_bell.as_raw_fd());
        let poll = opcode::PollAdd::new(bell, libc::POLLIN as u32).multi(true).build();
        self.push(&poll.user_data(Tag::Bell.encode()))
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: what the entry points to stays valid until the kernel is done with it: packet
        // buffers until `recycle`, `message` and `ONE` as long as the ring.
        if unsafe { self.ring.submission().push(entry) }.is_ok() {
            return Ok(());
        }
        self.submit()?;
        // SAFETY: as above.
        unsafe { self.ring.submission().push(entry) }.map_err(io::Error::other)
    }

    fn enter(&mut self, wait: Wait) -> io::Result<()> {
        let entered = if wait.timeout_ns == 0 {
            let queued = self.ring.submission().len() as u32;
            // SAFETY: no argument is passed, and every queued entry is valid (see `push`).
            unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, 0, GET_EVENTS, None) }
        } else {
            let timeout = Timespec::from(Duration::from_nanos(wait.timeout_ns));
            let args = SubmitArgs::new().timespec(&timeout);
            if self.min_wait && wait.gather_us > 0 {
                let args = args.min_wait_usec(wait.gather_us);
                self.ring.submitter().submit_with_args(GATHER_COUNT, &args)
            } else {
                self.ring.submitter().submit_with_args(1, &args)
            }
        };
        passing(entered)
    }

    fn submit(&self) -> io::Result<()> {
        passing(self.ring.submit())
    }

    /// Gives sent buffers back, once the kernel has taken every queued send.
    fn recycle(&mut self) {
        if self.in_flight.is_empty() || !self.ring.submission().is_empty() {
            return;
        }
        for id in self.in_flight.drain(..) {
            offer(&mut self.buffer_ring, &mut self.buffers, id);
        }
        self.buffer_ring.publish();
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // The kernel tears rings down in the background. Without the buffer ring, whatever is
        // still armed finds no memory to write to.
        let _ = self.ring.submitter().unregister_buf_ring(BUFFER_GROUP);
    }
}

/// Tries to make a small ring with everything that a worker needs; says whether it can gather.
///
/// # Errors
/// As [`Uring::new`].
pub fn probe() -> io::Result<bool> {
    let ring = build(8, 16)?;
    ring.submitter().register_files_sparse(2)?;
    Ok(ring.params().is_feature_min_timeout())
}

fn build(submissions: u32, completions: u32) -> io::Result<IoUring> {
    let with = |no_array: bool| {
        let mut builder = IoUring::builder();
        builder
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(completions);
        if no_array {
            builder.setup_no_sqarray();
        }
        builder.build(submissions)
    };
    match with(true) {
        // Linux before 6.6.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => with(false),
        made => made,
    }
}

/// Forgives what passes by itself: time-out, interruption, a full completion queue (EBUSY), short
/// memory (EAGAIN).
fn passing(entered: io::Result<usize>) -> io::Result<()> {
    match entered {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}

fn offer(buffer_ring: &mut BufferRing, buffers: &mut Buffers, id: BufferId) {
    if let Some(address) = buffers.address(id) {
        // The tail room is ours: a packet may always grow by what protection adds.
        buffer_ring.push(id, address, (BUFFER_SIZE - TAIL_ROOM) as u32);
    }
}

fn file_index(id: SocketId) -> u32 {
    let port = match id.port {
        Port::Rtp => 0,
        Port::Rtcp => 1,
    };
    2 * id.flow.index + port
}

/// An entry whose success is not worth a completion.
fn quiet(entry: squeue::Entry, tag: Tag) -> squeue::Entry {
    entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(tag.encode())
}

/// Reads what the kernel put in front of a payload: `struct io_uring_recvmsg_out`, then the name.
fn read_head(whole: &[u8; BUFFER_SIZE]) -> Option<(Endpoint, bool)> {
    let (out, rest) = whole.split_first_chunk::<NAME_AT>()?;
    let (_, flags) = out.split_last_chunk::<4>()?;
    let truncated = u32::from_ne_bytes(*flags) & libc::MSG_TRUNC as u32 != 0;
    let (family, rest) = rest.split_first_chunk::<2>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let ip = match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => {
            let ip = std::net::Ipv4Addr::from(*rest.first_chunk::<4>()?);
            u128::from(ip.to_ipv6_mapped())
        }
        libc::AF_INET6 => {
            let (_flow_info, rest) = rest.split_first_chunk::<4>()?;
            u128::from_be_bytes(*rest.first_chunk::<16>()?)
        }
        _ => return None,
    };
    Some((Endpoint { ip, port: u16::from_be_bytes(*port) }, truncated))
}

/// Writes the destination where the source was, as `sockaddr_in` or `sockaddr_in6`.
fn write_name(whole: &mut [u8; BUFFER_SIZE], to: Endpoint) -> libc::socklen_t {
    let Some((_, name)) = whole.split_first_chunk_mut::<NAME_AT>() else { return 0 };
    let Some(name) = name.first_chunk_mut::<NAME_ROOM>() else { return 0 };
    *name = [0; NAME_ROOM];
    let ip = to.ip.to_be_bytes();
    let (family, address_at, address, len): (_, usize, &[u8], _) = match ip.last_chunk::<4>() {
        Some(v4) if to.is_ipv4() => (libc::AF_INET, 4, v4, size_of::<libc::sockaddr_in>()),
        _ => (libc::AF_INET6, 8, &ip, size_of::<libc::sockaddr_in6>()),
    };
    let fields: [(usize, &[u8]); 3] =
        [(0, &(family as u16).to_ne_bytes()), (2, &to.port.to_be_bytes()), (address_at, address)];
    for (at, octets) in fields {
        for (place, octet) in name.iter_mut().skip(at).zip(octets) {
            *place = *octet;
        }
    }
    len as libc::socklen_t
}

/// What a completion is about, in 64 bits: kind, port, flow index, generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tag {
    Receive(SocketId),
    Send(SocketId),
    Cancel,
    Bell,
    Rung,
}

impl Tag {
    fn encode(self) -> u64 {
        let socket = |kind: u64, id: SocketId| {
            kind << 60
                | u64::from(id.port == Port::Rtcp) << 59
                | u64::from(id.flow.index) << 32
                | u64::from(id.flow.generation)
        };
        match self {
            Tag::Receive(id) => socket(1, id),
            Tag::Send(id) => socket(2, id),
            Tag::Cancel => 3 << 60,
            Tag::Bell => 4 << 60,
            Tag::Rung => 5 << 60,
        }
    }

    fn decode(word: u64) -> Option<Tag> {
        let port = if word >> 59 & 1 == 0 { Port::Rtp } else { Port::Rtcp };
        let index = (word >> 32) as u32 & INDEX_MASK;
        let id = SocketId { flow: FlowId { index, generation: word as u32 }, port };
        match word >> 60 {
            1 => Some(Tag::Receive(id)),
            2 => Some(Tag::Send(id)),
            3 => Some(Tag::Cancel),
            4 => Some(Tag::Bell),
            5 => Some(Tag::Rung),
            _ => None,
        }
    }
}

const INDEX_MASK: u32 = (1 << 27) - 1;
const BUFFER_GROUP: u16 = 0;
/// `struct io_uring_recvmsg_out`: name length, control length, payload length, flags.
const NAME_AT: usize = 16;
const NAME_ROOM: usize = HEAD_ROOM - NAME_AT;
/// `IORING_ENTER_GETEVENTS`.
const GET_EVENTS: u32 = 1;
static ONE: u64 = 1;

const _: () = assert!(NAME_ROOM >= size_of::<libc::sockaddr_in6>());
const _: () = assert!(crate::limits::FLOWS_MAX < INDEX_MASK);

#[cfg(test)]
mod tests;
