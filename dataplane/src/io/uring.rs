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
//! Zero-wait enters are repeated until one brings nothing: the kernel runs 20 pieces of work in
//! each at most, and one when a wait for one completion ends. While it polls, the worker looks at a
//! flag in shared memory and enters when the kernel has set it.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use io_uring::types::{Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::buffer_ring::BufferRing;
use super::head::{self, CONTROL_ROOM, NAME_AT, NAME_ROOM};
use super::restarts::Restarts;
use super::stamp::{self, Ages};
use super::{Arrival, Batch, BufferId, Buffers, Departure, Received, SocketId, Wait};
use crate::clock;
use crate::limits::{
    BATCH_MAX, BUFFER_SIZE, BUFFERS, COMPLETIONS, GATHER_COUNT, HEAD_ROOM, SEND_BUFFERS,
    SUBMISSIONS, TAIL_ROOM,
};
use tag::Tag;

pub(super) mod setup;
mod tag;

pub use setup::probe;

/// The backend of one worker. It must be made and used on that worker's thread.
pub struct Uring {
    // Dropped first: nothing below may go while the kernel can use it.
    ring: IoUring,
    buffer_ring: BufferRing,
    buffers: Buffers,
    /// Only the lengths say anything: room for a source address and a time stamp in front of each
    /// payload.
    message: Box<libc::msghdr>,
    slots: Vec<Slot>,
    /// Slots whose receive ended for a reason that has passed, or will by the next round.
    ended: Vec<u32>,
    /// Slots whose receive failed or found the queue full; tried again when the worker says so.
    faulted: Vec<u32>,
    /// Closed sockets whose receive is still to be cancelled, for the queue was full.
    uncancelled: Vec<SocketId>,
    in_flight: Vec<BufferId>,
    /// Free buffers for packets of our own; their ids follow those of the buffer ring.
    spare: Vec<BufferId>,
    /// Housekeeping steps so far.
    step: u32,
    /// The last round brought packets.
    lively: bool,
    command_bell: OwnedFd,
    event_bell: OwnedFd,
    listening: bool,
    ringing: bool,
    /// The guest is still to be woken, for the queue was full.
    rings_later: bool,
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
    restarts: Restarts,
}

impl Uring {
    /// Makes the ring, its buffers and a file table for `flows` flows. `command_bell` wakes the
    /// worker, `event_bell` is what [`Uring::ring_bell`] rings.
    ///
    /// # Errors
    /// What the kernel refused; `host::diagnose` knows what to tell the operator.
    pub fn new(flows: u32, command_bell: OwnedFd, event_bell: OwnedFd) -> io::Result<Uring> {
        let ring = setup::build(SUBMISSIONS, COMPLETIONS)?;
        ring.submitter().register_files_sparse(2 * flows)?;
        let mut buffers = Buffers::new(BUFFERS + SEND_BUFFERS);
        let mut buffer_ring = BufferRing::new(BUFFERS);
        let mut spare = Vec::with_capacity(SEND_BUFFERS.into());
        for id in buffers.ids() {
            give_back(id, &mut buffer_ring, &mut buffers, &mut spare);
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
        setup::enable(&ring)?;
        // SAFETY: msghdr is plain old data for which all zeroes is a valid value.
        let mut message: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        message.msg_namelen = NAME_ROOM as libc::socklen_t;
        message.msg_controllen = CONTROL_ROOM;
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
            uncancelled: Vec::with_capacity(places),
            in_flight: Vec::with_capacity((BUFFERS + SEND_BUFFERS).into()),
            spare,
            step: 0,
            lively: false,
            command_bell,
            event_bell,
            listening: false,
            ringing: false,
            rings_later: false,
            backlog: false,
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

    /// Whether [`Uring::take_buffer`] has one.
    pub fn has_buffer(&self) -> bool {
        !self.spare.is_empty()
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
        let index = id.place();
        if id.is_sampled() {
            let _ = stamp::enable(&socket);
        }
        self.ring.submitter().register_files_update(index, &[socket.as_raw_fd()])?;
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.generation = id.flow.generation;
        }
        self.arm(index).map(drop)
    }

    /// Stops receiving and closes the socket. Packets that wait in it are gone.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)` that mean a broken ring.
    pub fn close(&mut self, id: SocketId) -> io::Result<()> {
        let index = id.place();
        let Some(slot) = self.slots.get_mut(index as usize) else { return Ok(()) };
        if slot.generation != id.flow.generation {
            return Ok(());
        }
        slot.generation = 0;
        slot.armed = false;
        self.cancel(id)?;
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
        let mut received = Received::default();
        self.wait(wait, &mut received)?;
        self.recycle();
        let mut completions = 0;
        let mut ages = Ages::default();
        while batch.has_room() {
            let Some(completion) = self.ring.completion().next() else { break };
            self.take(&completion, batch, &mut received, &mut ages);
            completions += 1;
        }
        self.backlog = completions > 0 && !self.ring.completion().is_empty();
        self.lively = !batch.arrivals.is_empty();
        received.backlog = self.backlog;
        Ok(received)
    }

    /// Queues the departures and returns the discards' buffers. The next receive call submits.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)` that mean a broken ring.
    pub fn transmit(&mut self, batch: &mut Batch) -> io::Result<()> {
        for departure in batch.departures.drain(..) {
            if self.send(&departure)? {
                self.in_flight.push(departure.buffer);
            } else {
                batch.failed.push(departure.origin);
                batch.discards.push(departure.buffer);
            }
        }
        for id in batch.discards.drain(..) {
            give_back(id, &mut self.buffer_ring, &mut self.buffers, &mut self.spare);
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
        self.ringing = self.push(&write.build().user_data(Tag::Rung.encode()))?;
        self.rings_later = !self.ringing;
        Ok(())
    }

    /// Takes back the rings of the command bell.
    pub fn silence_bell(&self) {
        // The commands are polled in any case: a bell that fails costs time, not commands.
        let _ = abi::doorbell::silence(&self.command_bell);
    }

    /// Starts again the receives that failed too often. To be called with each housekeeping step.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)` that mean a broken ring.
    pub fn retry_faulted(&mut self) -> io::Result<()> {
        self.step = self.step.wrapping_add(1);
        while let Some(id) = self.uncancelled.pop() {
            if !self.cancel(id)? {
                break;
            }
        }
        while let Some(index) = self.faulted.pop() {
            if !self.rearm(index)? {
                break;
            }
        }
        Ok(())
    }

    /// Queues a packet; false when it cannot leave.
    fn send(&mut self, departure: &Departure) -> io::Result<bool> {
        let Some(start) = self.buffers.address(departure.buffer) else { return Ok(false) };
        let Some(whole) = self.buffers.whole(departure.buffer) else { return Ok(false) };
        let name_len = head::write_name(whole, departure.destination);
        let len = departure.len.min(BUFFER_SIZE - HEAD_ROOM);
        // SAFETY: both offsets are inside the buffer of BUFFER_SIZE octets at `start`.
        let (name, payload) = unsafe { (start.add(NAME_AT), start.add(HEAD_ROOM)) };
        let socket = Fixed(departure.socket.place());
        let send = opcode::Send::new(socket, payload.as_ptr(), len as u32)
            .flags(libc::MSG_DONTWAIT)
            .dest_addr(name.as_ptr().cast())
            .dest_addr_len(name_len)
            .build();
        self.push(&quiet(send, Tag::Send(departure.origin)))
    }

    fn take(
        &mut self,
        completion: &cqueue::Entry,
        batch: &mut Batch,
        received: &mut Received,
        ages: &mut Ages,
    ) {
        let (result, flags) = (completion.result(), completion.flags());
        match Tag::decode(completion.user_data()) {
            Some(Tag::Receive(id)) => {
                if let Some(buffer) = cqueue::buffer_select(flags) {
                    self.arrive(id, BufferId(buffer), result, batch, ages);
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

    fn arrive(
        &mut self,
        id: SocketId,
        buffer: BufferId,
        result: i32,
        batch: &mut Batch,
        ages: &mut Ages,
    ) {
        let arrival = self.buffers.whole(buffer).and_then(|whole| {
            let len = usize::try_from(result).ok()?.checked_sub(HEAD_ROOM)?;
            let (header, source) = (head::read_header(whole)?, head::read_name(whole)?);
            let stamp_ns = head::read_stamp(whole, header.control_len);
            let age_ns = stamp_ns.and_then(|stamp_ns| ages.age_ns(stamp_ns));
            let truncated = header.truncated;
            Some(Arrival { socket: id, source, buffer, len, truncated, age_ns })
        });
        match arrival {
            Some(arrival) => batch.arrivals.push(arrival),
            // Not a datagram of a family that our sockets have: the buffer just goes back.
            None => batch.discards.push(buffer),
        }
    }

    /// A receive is over. It starts again unless its socket was closed meanwhile.
    fn end(&mut self, id: SocketId, passed: bool) {
        let index = id.place();
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        if slot.generation != id.flow.generation || !slot.armed {
            return;
        }
        slot.armed = false;
        if !std::mem::replace(&mut slot.queued, true) {
            let soon = passed || slot.restarts.allow(self.step);
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

    fn rearm(&mut self, index: u32) -> io::Result<bool> {
        let Some(slot) = self.slots.get_mut(index as usize) else { return Ok(true) };
        slot.queued = false;
        if slot.generation == 0 || slot.armed { Ok(true) } else { self.arm(index) }
    }

    /// Starts receiving; false when that has to wait for [`Uring::retry_faulted`].
    fn arm(&mut self, index: u32) -> io::Result<bool> {
        let Some(slot) = self.slots.get_mut(index as usize) else { return Ok(true) };
        let id = SocketId::at(index, slot.generation);
        let receive =
            opcode::RecvMsgMulti::new(Fixed(index), &raw const *self.message, BUFFER_GROUP)
                .build()
                .user_data(Tag::Receive(id).encode());
        let armed = self.push(&receive)?;
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.armed = armed;
            if !armed && !std::mem::replace(&mut slot.queued, true) {
                self.faulted.push(index);
            }
        }
        Ok(armed)
    }

    /// Ends the receive of a closed socket; false when that has to wait.
    fn cancel(&mut self, id: SocketId) -> io::Result<bool> {
        let cancel = opcode::AsyncCancel::new(Tag::Receive(id).encode()).build();
        let queued = self.push(&quiet(cancel, Tag::Cancel))?;
        if !queued && self.uncancelled.len() < self.uncancelled.capacity() {
            self.uncancelled.push(id);
        }
        Ok(queued)
    }

    fn listen(&mut self) -> io::Result<()> {
        if self.rings_later {
            self.ring_bell()?;
        }
        if self.listening {
            return Ok(());
        }
        let bell = Fd(self.command_bell.as_raw_fd());
        let poll = opcode::PollAdd::new(bell, libc::POLLIN as u32).multi(true).build();
        self.listening = self.push(&poll.user_data(Tag::Bell.encode()))?;
        Ok(())
    }

    /// Queues an entry; false when the queue is full and the kernel takes nothing for now, as when
    /// it is short of memory.
    fn push(&mut self, entry: &squeue::Entry) -> io::Result<bool> {
        // SAFETY: what the entry points to stays valid until the kernel is done with it: packet
        // buffers until `recycle`, `message` and `ONE` as long as the ring.
        if unsafe { self.ring.submission().push(entry) }.is_ok() {
            return Ok(true);
        }
        self.submit()?;
        // SAFETY: as above.
        Ok(unsafe { self.ring.submission().push(entry) }.is_ok())
    }

    /// Submits, and waits as told unless something is there; books the time.
    fn wait(&mut self, wait: Wait, received: &mut Received) -> io::Result<()> {
        let begun_ns = clock::now_ns();
        let spin_ns = u64::from(wait.spin_us) * 1000;
        let mut now_ns = begun_ns;
        let mut found = wait.timeout_ns == 0 || self.backlog;
        if found {
            self.poll()?;
            now_ns = clock::now_ns();
        } else if spin_ns > 0 && self.lively {
            found = self.spin(begun_ns.saturating_add(spin_ns.min(wait.timeout_ns)))?;
            now_ns = clock::now_ns();
            received.spin_ns = now_ns.saturating_sub(begun_ns);
        }
        let timeout_ns = wait.timeout_ns.saturating_sub(received.spin_ns);
        if !found && timeout_ns > 0 {
            let gather_us = if self.min_wait { wait.gather_us } else { 0 };
            self.sleep(timeout_ns, gather_us)?;
            self.collect()?;
            received.now_ns = clock::now_ns();
            let waited_ns = received.now_ns.saturating_sub(now_ns);
            // The kernel gathers from the beginning of the wait on.
            received.gather_ns = waited_ns.min(u64::from(gather_us) * 1000);
            received.sleep_ns = waited_ns - received.gather_ns;
        } else {
            received.now_ns = now_ns;
        }
        Ok(())
    }

    fn sleep(&mut self, timeout_ns: u64, gather_us: u32) -> io::Result<()> {
        let timeout = Timespec::from(Duration::from_nanos(timeout_ns));
        let args = SubmitArgs::new().timespec(&timeout);
        passing(if gather_us > 0 {
            let args = args.min_wait_usec(gather_us);
            self.ring.submitter().submit_with_args(GATHER_COUNT, &args)
        } else {
            self.ring.submitter().submit_with_args(1, &args)
        })
    }

    /// After a wait, takes what came with what ended it: of a burst that ends a wait for one completion
    /// the kernel runs the work of one, and says that there is more.
    fn collect(&mut self) -> io::Result<()> {
        let mut before = self.ring.completion().len();
        let mut goes_on = self.ring.submission().taskrun();
        while goes_on && before < BATCH_MAX {
            self.enter()?;
            let after = self.ring.completion().len();
            // After a full share the kernel may have more without saying so.
            goes_on = after >= before + WORK_SHARE
                || (after > before && self.ring.submission().taskrun());
            before = after;
        }
        Ok(())
    }

    /// Submits and takes what is there, until an enter brings nothing or a batch is full.
    fn poll(&mut self) -> io::Result<()> {
        let mut before = self.ring.completion().len();
        loop {
            self.enter()?;
            let after = self.ring.completion().len();
            if after == before || after >= BATCH_MAX {
                return Ok(());
            }
            before = after;
        }
    }

    /// Polls until something is there (true) or `until_ns` has passed.
    fn spin(&mut self, until_ns: u64) -> io::Result<bool> {
        self.poll()?;
        loop {
            if !self.ring.completion().is_empty() {
                return Ok(true);
            }
            if self.ring.submission().taskrun() {
                self.poll()?;
            } else if clock::now_ns() >= until_ns {
                return Ok(false);
            }
            std::hint::spin_loop();
        }
    }

    /// Enters without waiting.
    fn enter(&mut self) -> io::Result<()> {
        let queued = self.ring.submission().len() as u32;
        // SAFETY: no argument is passed, and every queued entry is valid (see `push`).
        let entered =
            unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, 0, GET_EVENTS, None) };
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
            give_back(id, &mut self.buffer_ring, &mut self.buffers, &mut self.spare);
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

/// Forgives what passes by itself: time-out, interruption, a full completion queue (EBUSY), short
/// memory (EAGAIN).
pub(super) fn passing(entered: io::Result<usize>) -> io::Result<()> {
    match entered {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}

/// Offers a receive buffer to the kernel, puts one for our own packets back.
fn give_back(
    id: BufferId,
    buffer_ring: &mut BufferRing,
    buffers: &mut Buffers,
    spare: &mut Vec<BufferId>,
) {
    if id.0 >= BUFFERS {
        spare.push(id);
    } else if let Some(address) = buffers.address(id) {
        // The tail room is ours: a packet may always grow by what protection adds.
        buffer_ring.push(id, address, (BUFFER_SIZE - TAIL_ROOM) as u32);
    }
}

/// An entry whose success is not worth a completion.
fn quiet(entry: squeue::Entry, tag: Tag) -> squeue::Entry {
    entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(tag.encode())
}

const BUFFER_GROUP: u16 = 0;
/// Pieces of work that an enter runs when it waits for nothing (`IO_LOCAL_TW_DEFAULT_MAX`).
const WORK_SHARE: usize = 20;
/// `IORING_ENTER_GETEVENTS`.
const GET_EVENTS: u32 = 1;
static ONE: u64 = 1;

#[cfg(test)]
mod tests;
