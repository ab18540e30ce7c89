//! The packet memory of one worker: equal buffers in one page-aligned block, in which packets are
//! received, transformed in place and sent.
//!
//! ```text
//! |<- HEAD_ROOM 80 ->|<- payload, at most PACKET_MAX ->|<- TAIL_ROOM and slack ->|
//! | receive header,  | what came, later what is sent   | authentication tag      |
//! | address, stamp   |                                 |                         |
//! ```
//! In frames the payload begins where the headers end: later, and not always at the same octet.
//! [`Buffers::begin_at`] says where.
//!
//! The block asks for large pages: a round touches scores of buffers, each on a page of its own, and
//! the processor remembers little of the address space after an idle moment.
//!
//! The kernel knows the block by address. Between Rust and the kernel a buffer has one user at a
//! time, and the kernel touches buffers only while this thread is inside `io_uring_enter`
//! (deferred task work; sends complete inline), during which no slice of a buffer is alive, since
//! entering borrows the backend that owns this block mutably.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use crate::large_pages;
use crate::limits::{BUFFER_SIZE, HEAD_ROOM};

/// Index of a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BufferId(pub u16);

impl BufferId {
    /// No buffer: it is on its way and comes back by itself.
    pub const AWAY: BufferId = BufferId(u16::MAX);
}

/// The block.
pub struct Buffers {
    base: NonNull<u8>,
    count: u16,
    /// Where each buffer's payload begins.
    starts: Box<[u16]>,
}

// SAFETY: the block is owned, not shared: moving `Buffers` moves the only access to it.
unsafe impl Send for Buffers {}

impl Buffers {
    pub fn new(count: u16) -> Buffers {
        let layout = Buffers::layout(count);
        // SAFETY: the layout has a non-zero size, as `layout` asserts.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else { handle_alloc_error(layout) };
        large_pages::ask(base, layout.size());
        Buffers { base, count, starts: vec![HEAD_ROOM as u16; count.into()].into() }
    }

    /// The whole buffer, head room included. `None` when the index is out of range.
    pub fn whole(&mut self, id: BufferId) -> Option<&mut [u8; BUFFER_SIZE]> {
        let start = self.address(id)?;
        // SAFETY: `address` is inside the block with BUFFER_SIZE bytes behind it, initialised at
        // allocation; the exclusive borrow of `self` makes the reference unique, and the kernel
        // does not write while it lives (module comment).
        Some(unsafe { start.cast::<[u8; BUFFER_SIZE]>().as_mut() })
    }

    /// The buffer from its payload on: payload and tail room.
    pub fn body(&mut self, id: BufferId) -> Option<&mut [u8]> {
        self.halves(id).map(|(_, body)| body)
    }

    /// The room in front of the payload, for headers, and [`Buffers::body`].
    pub fn halves(&mut self, id: BufferId) -> Option<(&mut [u8], &mut [u8])> {
        let start = usize::from(*self.starts.get(usize::from(id.0))?);
        self.whole(id)?.split_at_mut_checked(start)
    }

    /// Says where the payload of a buffer begins; until then, behind [`HEAD_ROOM`].
    pub fn begin_at(&mut self, id: BufferId, start: u16) {
        if let Some(place) = self.starts.get_mut(usize::from(id.0)) {
            *place = start;
        }
    }

    /// Where the payload of a buffer begins.
    pub fn start(&self, id: BufferId) -> usize {
        self.starts.get(usize::from(id.0)).map_or(0, |start| usize::from(*start))
    }

    /// Octets of the whole block, which begins at the address of the first buffer.
    pub fn size(&self) -> usize {
        usize::from(self.count) * BUFFER_SIZE
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
        let size = usize::from(count) * BUFFER_SIZE;
        // A small block has no large page.
        let align = if size >= large_pages::SIZE { large_pages::SIZE } else { PAGE };
        #[expect(clippy::expect_used, reason = "65535 * 2048 fits isize; both are powers of two")]
        Layout::from_size_align(size, align).expect("valid layout")
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
    fn a_payload_begins_where_it_was_said_to() {
        let mut buffers = Buffers::new(2);
        buffers.whole(BufferId(1)).unwrap()[300] = 7;
        buffers.begin_at(BufferId(1), 300);
        let (room, body) = buffers.halves(BufferId(1)).unwrap();
        assert_eq!((room.len(), body.len(), body[0]), (300, BUFFER_SIZE - 300, 7));
        assert_eq!(buffers.body(BufferId(0)).unwrap().len(), BUFFER_SIZE - HEAD_ROOM);
        buffers.begin_at(BufferId(1), u16::MAX);
        assert!(buffers.body(BufferId(1)).is_none(), "no payload begins beyond the buffer");
    }

    #[test]
    fn an_index_beyond_the_block_is_none() {
        let mut buffers = Buffers::new(3);
        assert!(buffers.whole(BufferId(3)).is_none());
        assert!(buffers.body(BufferId(u16::MAX)).is_none());
    }
}
