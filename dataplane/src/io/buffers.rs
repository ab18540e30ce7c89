//! The packet memory of one worker: equal buffers in one page-aligned block, in which packets are
//! received, transformed in place and sent.
//!
//! ```text
//! |<- HEAD_ROOM 80 ->|<- payload, at most PACKET_MAX ->|<- TAIL_ROOM and slack ->|
//! | receive header,  | what came, later what is sent   | authentication tag      |
//! | address, stamp   |                                 |                         |
//! ```
//!
//! The kernel knows the block by address. Between Rust and the kernel a buffer has one user at a
//! time, and the kernel touches buffers only while this thread is inside `io_uring_enter`
//! (deferred task work; sends complete inline), during which no slice of a buffer is alive, since
//! entering borrows the backend that owns this block mutably.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use crate::limits::{BUFFER_SIZE, HEAD_ROOM};

/// Index of a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BufferId(pub u16);

/// The block.
pub struct Buffers {
    base: NonNull<u8>,
    count: u16,
}

// SAFETY: the block is owned, not shared: moving `Buffers` moves the only access to it.
unsafe impl Send for Buffers {}

impl Buffers {
    pub fn new(count: u16) -> Buffers {
        let layout = Buffers::layout(count);
        // SAFETY: the layout has a non-zero size, as `layout` asserts.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else { handle_alloc_error(layout) };
        Buffers { base, count }
    }

    /// The whole buffer, head room included. `None` when the index is out of range.
    pub fn whole(&mut self, id: BufferId) -> Option<&mut [u8; BUFFER_SIZE]> {
        let start = self.address(id)?;
        // SAFETY: `address` is inside the block with BUFFER_SIZE bytes behind it, initialised at
        // allocation; the exclusive borrow of `self` makes the reference unique, and the kernel
        // does not write while it lives (module comment).
        Some(unsafe { start.cast::<[u8; BUFFER_SIZE]>().as_mut() })
    }

    /// The buffer behind its head room: payload and tail room.
    pub fn body(&mut self, id: BufferId) -> Option<&mut [u8]> {
        self.whole(id)?.split_at_mut_checked(HEAD_ROOM).map(|(_, body)| body)
    }

    /// Where the kernel finds a buffer.
    pub fn address(&self, id: BufferId) -> Option<NonNull<u8>> {
        if id.0 >= self.count {
            return None;
        }
        // SAFETY: the offset is below `count * BUFFER_SIZE`, the size of the block.
        Some(unsafe { self.base.add(usize::from(id.0) * BUFFER_SIZE) })
    }

    pub fn ids(&self) -> impl Iterator<Item = BufferId> + use<> {
        (0..self.count).map(BufferId)
    }

    fn layout(count: u16) -> Layout {
        assert!(count > 0, "a worker needs buffers");
        #[expect(clippy::expect_used, reason = "65535 * 2048 fits isize; PAGE is a power of two")]
        Layout::from_size_align(usize::from(count) * BUFFER_SIZE, PAGE).expect("valid layout")
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout; media must not outlive the call, so
        // the owner unregisters the block from the kernel (closes its ring) first.
        unsafe { dealloc(self.base.as_ptr(), Buffers::layout(self.count)) };
    }
}

const PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_do_not_overlap() {
        let mut buffers = Buffers::new(3);
        for id in buffers.ids() {
            buffers.whole(id).unwrap().fill(id.0 as u8 + 1);
        }
        for id in buffers.ids() {
            assert!(buffers.whole(id).unwrap().iter().all(|byte| *byte == id.0 as u8 + 1));
        }
    }

    #[test]
    fn an_index_beyond_the_block_is_none() {
        let mut buffers = Buffers::new(3);
        assert!(buffers.whole(BufferId(3)).is_none());
        assert!(buffers.body(BufferId(u16::MAX)).is_none());
    }
}
