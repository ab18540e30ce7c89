//! The ring by which a worker offers receive buffers to the kernel: 16-byte entries in page-aligned
//! memory, written by us, read by the kernel, with the tail inside the first entry.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::BufferId;

/// The producer's end.
pub struct BufferRing {
    base: NonNull<BufRingEntry>,
    entries: u16,
    tail: u16,
}

// SAFETY: the memory is owned, not shared with another thread: moving the value moves the access.
unsafe impl Send for BufferRing {}

impl BufferRing {
    /// A ring of `entries`, a power of two up to 2^15.
    pub fn new(entries: u16) -> BufferRing {
        assert!(entries.is_power_of_two(), "the kernel masks its index");
        let layout = BufferRing::layout(entries);
        // SAFETY: the layout has a non-zero size, since `entries` is a power of two.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base.cast()) else { handle_alloc_error(layout) };
        BufferRing { base, entries, tail: 0 }
    }

    /// What the kernel is told at registration.
    pub fn address(&self) -> u64 {
        self.base.as_ptr() as u64
    }

    /// Writes an offer; [`BufferRing::publish`] makes it one. At most `entries` may be open.
    pub fn push(&mut self, id: BufferId, address: NonNull<u8>, len: u32) {
        let place = usize::from(self.tail & (self.entries - 1));
        // SAFETY: `place` is below `entries`, the size of the block. The kernel reads entries from
        // its head up to the published tail, and this one lies behind it. The tail word overlaps
        // entry 0's reserved field, which none of the setters touches.
        unsafe {
            let entry = self.base.add(place).as_mut();
            entry.set_addr(address.as_ptr() as u64);
            entry.set_len(len);
            entry.set_bid(id.0);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel every offer so far.
    pub fn publish(&mut self) {
        // SAFETY: the base is the first entry of a live, initialised block; the tail inside it is
        // an aligned u16 that only this thread writes.
        let tail =
            unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.base.as_ptr()).cast_mut()) };
        // The kernel must see the entries before the tail that covers them.
        tail.store(self.tail, Ordering::Release);
    }

    fn layout(entries: u16) -> Layout {
        let bytes = usize::from(entries) * size_of::<BufRingEntry>();
        #[expect(clippy::expect_used, reason = "at most 2^19 octets; PAGE is a power of two")]
        Layout::from_size_align(bytes, PAGE).expect("valid layout")
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout. The kernel pins registered pages, and
        // the owner unregisters first.
        unsafe { dealloc(self.base.as_ptr().cast(), BufferRing::layout(self.entries)) };
    }
}

const PAGE: usize = 4096;
