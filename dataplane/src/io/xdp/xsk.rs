//! One AF_XDP socket: one queue of one interface, with its four rings over the worker's buffers.
//!
//! Every buffer is in one place at any time: free in the worker's hands, filled (with the kernel, for
//! what comes), or in flight (with the kernel, on its way out). The sockets of a worker share its
//! buffers, so that a frame which came by one may leave by another.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem, XdpDesc, XdpDescOptions,
    XdpOptionsFlags, XdpUmemReg, XdpUmemRegFlags,
};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
    sockopt,
};

use super::rings::Rings;
use crate::io::{BufferId, Buffers};
use crate::limits::{BUFFER_SIZE, QUEUES_MAX, XDP_RING};

/// A queue of an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Queue {
    pub ifindex: u32,
    pub index: u32,
}

/// How frames pass between driver and buffers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The driver writes into our buffers and reads from them.
    ZeroCopy,
    /// The kernel copies.
    Copy,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::ZeroCopy => "zero copy",
            Mode::Copy => "copied",
        }
    }
}

/// A frame that came: `len` octets from `at` on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    pub buffer: BufferId,
    pub at: usize,
    pub len: usize,
}

/// The socket. To be dropped before the buffers.
pub struct Xsk {
    socket: OwnedFd,
    rings: Rings,
    pub queue: Queue,
    pub mode: Mode,
    /// Buffers that the kernel has for what comes.
    filled: u32,
    /// Buffers of frames on their way out.
    in_flight: u32,
    /// Filled buffers that are to be.
    share: u32,
    /// The last kick failed: the interface is down or gone.
    mute: bool,
}

impl Xsk {
    /// Opens the sockets of one worker, in zero-copy mode where every queue offers it, else in copy
    /// mode. `buffers` become their common memory; about half of them are filled.
    ///
    /// # Errors
    /// What the kernel refused, with the queue that it was about.
    pub fn open_all(queues: &[Queue], buffers: &Buffers) -> Result<Vec<Xsk>, (Queue, io::Error)> {
        let deadline = Instant::now() + QUEUE_PATIENCE;
        let all = |mode| -> Result<Vec<Xsk>, (Queue, io::Error)> {
            let mut opened: Vec<Xsk> = Vec::with_capacity(queues.len());
            for queue in queues {
                let first = opened.first().map(|first| first.socket.as_fd());
                let open = || Xsk::open(*queue, mode, buffers, first, queues.len());
                opened.push(patiently(deadline, open).map_err(|error| (*queue, error))?);
            }
            Ok(opened)
        };
        all(Mode::ZeroCopy).or_else(|_| all(Mode::Copy))
    }

    fn open(
        queue: Queue,
        mode: Mode,
        buffers: &Buffers,
        first: Option<BorrowedFd<'_>>,
        sockets: usize,
    ) -> Result<Xsk, Errno> {
        let socket = socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        let start = buffers.address(BufferId(0)).ok_or(Errno::INVAL)?;
        if first.is_none() {
            let memory = XdpUmemReg {
                addr: start.as_ptr() as u64,
                len: buffers.size() as u64,
                chunk_size: BUFFER_SIZE as u32,
                headroom: 0,
                flags: XdpUmemRegFlags::empty(),
                tx_metadata_len: 0,
            };
            sockopt::set_xdp_umem_reg(&socket, memory)?;
        }
        let _ = sockopt::set_socket_send_buffer_size_force(&socket, SEND_BUFFER);
        let rings = Rings::map(socket.as_fd(), XDP_RING)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOTSUP))?;
        match first {
            // Mode and flags are those of the first.
            Some(first) => {
                let flags = SocketAddrXdpFlags::XDP_SHARED_UMEM;
                let addr = SocketAddrXdp::new(flags, queue.ifindex, queue.index);
                bind(&socket, &SocketAddrXdpWithSharedUmem { addr, shared_umem_fd: first })?;
            }
            None => {
                let copying = match mode {
                    Mode::ZeroCopy => SocketAddrXdpFlags::XDP_ZEROCOPY,
                    Mode::Copy => SocketAddrXdpFlags::XDP_COPY,
                };
                let flags = copying | SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP;
                bind(&socket, &SocketAddrXdp::new(flags, queue.ifindex, queue.index))?;
            }
        }
        let zero_copy =
            sockopt::xdp_options(&socket)?.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY);
        let mode = if zero_copy { Mode::ZeroCopy } else { Mode::Copy };
        let share = (buffers.ids().count() / 2 / sockets.max(1)) as u32;
        let share = share.clamp(1, XDP_RING);
        Ok(Xsk { socket, rings, queue, mode, filled: 0, in_flight: 0, share, mute: false })
    }

    /// Offers the kernel free buffers, up to this socket's share.
    pub fn fill(&mut self, free: &mut Vec<BufferId>) {
        let before = self.filled;
        while self.filled < self.share {
            let Some(id) = free.pop() else { break };
            if !self.rings.fill.push(address(id, 0)) {
                free.push(id);
                break;
            }
            self.filled += 1;
        }
        if self.filled != before {
            self.rings.fill.publish();
        }
        if self.rings.fill.needs_wakeup() {
            let _ = recv(&self.socket, &mut [0; 0], RecvFlags::DONTWAIT);
        }
    }

    /// Whether a frame waits.
    pub fn has_frame(&mut self) -> bool {
        !self.rings.receive.is_empty()
    }

    /// Takes the next frame; [`Xsk::release`] after the last.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let XdpDesc { addr, len, .. } = self.rings.receive.pop()?;
        self.filled = self.filled.saturating_sub(1);
        let at = addr as usize % BUFFER_SIZE;
        let len = (len as usize).min(BUFFER_SIZE - at);
        Some(Frame { buffer: buffer_at(addr), at, len })
    }

    /// Gives the kernel the room of the frames that were taken.
    pub fn release(&self) {
        self.rings.receive.release();
    }

    /// Queues a frame to be sent; false when that is not possible now. [`Xsk::kick`] after the last.
    pub fn send(&mut self, frame: Frame) -> bool {
        let entry = XdpDesc {
            addr: address(frame.buffer, frame.at),
            len: frame.len as u32,
            options: XdpDescOptions::empty(),
        };
        // More in flight than completions have room for would stall the kernel.
        let sent = self.in_flight < XDP_RING && self.rings.transmit.push(entry);
        self.in_flight += u32::from(sent);
        sent
    }

    /// Has the kernel take what was queued.
    pub fn kick(&mut self) {
        self.rings.transmit.publish();
        let mut left = self.rings.transmit.pending();
        // In copy mode each call sends a few frames.
        while left > 0 && self.rings.transmit.needs_wakeup() {
            let kicked = send(&self.socket, &[], SendFlags::DONTWAIT);
            self.mute = matches!(kicked, Err(Errno::NETDOWN | Errno::NXIO));
            let now_left = self.rings.transmit.pending();
            if self.mute || now_left == left || self.mode == Mode::ZeroCopy {
                break;
            }
            left = now_left;
        }
    }

    /// Takes the buffers back whose frames have left.
    pub fn reap(&mut self, mut take: impl FnMut(BufferId)) {
        let before = self.in_flight;
        while let Some(addr) = self.rings.completion.pop() {
            self.in_flight = self.in_flight.saturating_sub(1);
            take(buffer_at(addr));
        }
        if self.in_flight != before {
            self.rings.completion.release();
        }
    }

    /// Tries again after the interface was down. To be called with each housekeeping step.
    pub fn retry(&mut self) {
        if self.mute || self.rings.transmit.pending() > 0 {
            self.mute = false;
            self.kick();
        }
    }

    /// Buffers that the kernel has.
    pub fn held(&self) -> u32 {
        self.filled + self.in_flight
    }

    /// Whether the interface took nothing when it was asked last: it is down or gone.
    pub fn is_mute(&self) -> bool {
        self.mute
    }
}

impl AsFd for Xsk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether this kernel has such sockets and this process may open them.
///
/// # Errors
/// Those of `socket(2)`.
pub fn probe() -> io::Result<()> {
    let opened = socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None);
    match opened {
        Ok(_) => Ok(()),
        Err(errno) => {
            let error = io::Error::from(errno);
            Err(io::Error::new(error.kind(), format!("cannot open an AF_XDP socket: {error}")))
        }
    }
}

/// How many queues an interface has: those on which a socket can be opened.
///
/// # Errors
/// Why none can be opened on the first.
pub fn count_queues(ifindex: u32) -> io::Result<u32> {
    let (buffers, deadline) = (Buffers::new(2), Instant::now() + QUEUE_PATIENCE);
    for index in 0..QUEUES_MAX {
        let open = || Xsk::open(Queue { ifindex, index }, Mode::Copy, &buffers, None, 1);
        match patiently(deadline, open) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && index > 0 => {
                return Ok(index);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(QUEUES_MAX)
}

fn address(id: BufferId, at: usize) -> u64 {
    u64::from(id.0) * BUFFER_SIZE as u64 + at as u64
}

fn buffer_at(address: u64) -> BufferId {
    BufferId((address / BUFFER_SIZE as u64) as u16)
}

/// Opens a socket once its queue is free: the kernel frees those of a process that ended in its own time.
fn patiently(deadline: Instant, mut open: impl FnMut() -> Result<Xsk, Errno>) -> io::Result<Xsk> {
    loop {
        match open() {
            Err(Errno::BUSY) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            opened => return Ok(opened?),
        }
    }
}

/// In copy mode frames are sent as socket buffers, all that are in flight: 2,048 of less than 1 KiB.
const SEND_BUFFER: usize = 4 << 20;
/// Longest wait for queues that another process held: with six programs that compute on two cores the kernel
/// took more than 3 s to free them.
const QUEUE_PATIENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_buffer_wherever_the_frame_begins() {
        for id in [0, 1, 4607, u16::MAX] {
            for at in [0, 256, BUFFER_SIZE - 1] {
                let address = address(BufferId(id), at);
                assert_eq!(buffer_at(address), BufferId(id));
                assert_eq!(address as usize % BUFFER_SIZE, at);
            }
        }
    }
}
