//! The four rings that the kernel shares with us for one AF_XDP socket.
//!
//! ```text
//! fill        we -> kernel   free buffers, for what comes
//! receive     kernel -> we   frames that came, in those buffers
//! transmit    we -> kernel   frames to send
//! completion  kernel -> we   buffers of frames that have left
//! ```
//! Each is an array of a power of two with two cursors that only grow, each written by one side.
//! We write entries first and publish our cursor behind them (release); the kernel's cursor is read
//! before its entries (acquire). So an entry belongs to one side at a time.
//!
//! `unsafe` because the cursors and entries are memory that the kernel maps for us: the addresses
//! come from it, and stay valid until the mapping ends with this value.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::net::sockopt;
use rustix::net::xdp::{
    XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING,
    XdpDesc, XdpRingFlags, XdpRingOffset,
};

/// The rings of one socket.
pub struct Rings {
    pub fill: Producer<u64>,
    pub receive: Consumer<XdpDesc>,
    pub transmit: Producer<XdpDesc>,
    pub completion: Consumer<u64>,
}

impl Rings {
    /// Has the kernel make four rings of `size` entries, a power of two, and maps them.
    ///
    /// # Errors
    /// Those of `setsockopt(2)` and `mmap(2)`; a kernel before 5.4 has no such rings.
    pub fn map(socket: BorrowedFd<'_>, size: u32) -> io::Result<Rings> {
        sockopt::set_xdp_umem_fill_ring_size(socket, size)?;
        sockopt::set_xdp_umem_completion_ring_size(socket, size)?;
        sockopt::set_xdp_rx_ring_size(socket, size)?;
        sockopt::set_xdp_tx_ring_size(socket, size)?;
        let at = sockopt::xdp_mmap_offsets(socket)?;
        Ok(Rings {
            fill: Producer::new(Shared::map(socket, XDP_UMEM_PGOFF_FILL_RING, at.fr, size)?),
            receive: Consumer::new(Shared::map(socket, XDP_PGOFF_RX_RING, at.rx, size)?),
            transmit: Producer::new(Shared::map(socket, XDP_PGOFF_TX_RING, at.tx, size)?),
            completion: Consumer::new(Shared::map(
                socket,
                XDP_UMEM_PGOFF_COMPLETION_RING,
                at.cr,
                size,
            )?),
        })
    }
}

/// A ring that we fill.
pub struct Producer<T> {
    shared: Shared<T>,
    /// Entries written so far; the kernel sees them once published.
    written: u32,
    /// Entries that the kernel had taken when we looked last.
    taken: u32,
}

impl<T: Copy> Producer<T> {
    fn new(shared: Shared<T>) -> Producer<T> {
        let (written, taken) = (shared.produced(), shared.consumed());
        Producer { shared, written, taken }
    }

    /// Writes an entry, to be published; false when the ring is full.
    pub fn push(&mut self, entry: T) -> bool {
        if self.written.wrapping_sub(self.taken) >= self.shared.size() {
            self.taken = self.shared.consumed();
            if self.written.wrapping_sub(self.taken) >= self.shared.size() {
                return false;
            }
        }
        self.shared.write(self.written, entry);
        self.written = self.written.wrapping_add(1);
        true
    }

    /// Hands the kernel what was written.
    pub fn publish(&self) {
        self.shared.cursors.producer().store(self.written, Ordering::Release);
    }

    /// Entries that the kernel has not taken yet.
    pub fn pending(&self) -> u32 {
        self.written.wrapping_sub(self.shared.consumed())
    }

    /// Whether the kernel waits to be told of new entries by a system call.
    pub fn needs_wakeup(&self) -> bool {
        let flags = self.shared.cursors.flags().load(Ordering::Relaxed);
        XdpRingFlags::from_bits_retain(flags).contains(XdpRingFlags::XDP_RING_NEED_WAKEUP)
    }
}

/// A ring that the kernel fills.
pub struct Consumer<T> {
    shared: Shared<T>,
    /// Entries read so far; the kernel may overwrite them once released.
    read: u32,
    /// Entries that the kernel had written when we looked last.
    written: u32,
}

impl<T: Copy> Consumer<T> {
    fn new(shared: Shared<T>) -> Consumer<T> {
        let (read, written) = (shared.consumed(), shared.produced());
        Consumer { shared, read, written }
    }

    /// Takes the next entry.
    pub fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let entry = self.shared.read(self.read);
        self.read = self.read.wrapping_add(1);
        Some(entry)
    }

    /// Whether there is nothing to take now.
    pub fn is_empty(&mut self) -> bool {
        if self.read == self.written {
            self.written = self.shared.produced();
        }
        self.read == self.written
    }

    /// Gives the kernel the room of what was taken.
    pub fn release(&self) {
        self.shared.cursors.consumer().store(self.read, Ordering::Release);
    }
}

/// What both sides see of a ring.
struct Shared<T> {
    cursors: Cursors,
    entries: NonNull<T>,
    mask: u32,
    /// Ends the mapping that everything above points into.
    _mapping: Mapping,
}

// SAFETY: the mapping is owned, not shared with another thread: moving the value moves the only
// access that this process has to it.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T: Copy> Shared<T> {
    fn map(
        socket: BorrowedFd<'_>,
        page: u64,
        at: XdpRingOffset,
        size: u32,
    ) -> io::Result<Shared<T>> {
        let Some(flags) = at.flags else { return Err(io::ErrorKind::Unsupported.into()) };
        let len = at.desc as usize + size as usize * size_of::<T>();
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let shared = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let base = unsafe { mmap(null_mut(), len, access, shared, socket, page)? };
        let Some(base) = NonNull::new(base.cast::<u8>()) else {
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        let mapping = Mapping { base, len };
        // SAFETY: the kernel told these offsets of the ring of `size` entries that it mapped; all
        // lie inside `len` octets and are aligned for what they point to.
        let place = |offset: u64| unsafe { base.add(offset as usize) };
        Ok(Shared {
            cursors: Cursors {
                producer: place(at.producer).cast(),
                consumer: place(at.consumer).cast(),
                flags: place(flags).cast(),
            },
            entries: place(at.desc).cast(),
            mask: size - 1,
            _mapping: mapping,
        })
    }

    fn size(&self) -> u32 {
        self.mask + 1
    }

    fn produced(&self) -> u32 {
        self.cursors.producer().load(Ordering::Acquire)
    }

    fn consumed(&self) -> u32 {
        self.cursors.consumer().load(Ordering::Acquire)
    }

    fn write(&self, at: u32, entry: T) {
        // SAFETY: the masked index is inside the ring; the entry is ours until our cursor, which is
        // published later, has passed it (see `Producer::push`).
        unsafe { self.entries.add((at & self.mask) as usize).write(entry) }
    }

    fn read(&self, at: u32) -> T {
        // SAFETY: the masked index is inside the ring; the kernel's cursor, which was read before,
        // has passed the entry, and ours, which is released later, has not. Any bits are a `T`.
        unsafe { self.entries.add((at & self.mask) as usize).read() }
    }
}

/// The words through which the two sides talk.
struct Cursors {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
}

impl Cursors {
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: inside the mapping, which lives as long as `self` (see `Shared`); both sides use
        // the word as an atomic.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.consumer.as_ref() }
    }

    fn flags(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.flags.as_ref() }
    }
}

struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `Shared::map` with this length, and whatever points into it goes with
        // the value that owns this one.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}
