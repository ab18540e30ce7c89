//! Shared memory as a slice of `AtomicU64`: the only unsafe file.
//!
//! Another process may write any byte at any time. Through a plain reference that would be
//! undefined behaviour; through atomics it is merely an unexpected value. So a mapping is turned
//! into `&[AtomicU64]` here, once, and everything above is safe code that treats values as input.
//!
//! The same type also stands over heap memory, for unit tests and for the loom models, in which
//! every word is one of loom's atomics and a missing acquire or release shows as a stale word.

use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::sync::Arc;

/// The atomics in use: loom's in a model, the machine's otherwise.
pub(crate) mod sync {
    #[cfg(not(loom))]
    pub(crate) use core::sync::atomic::{AtomicU64, Ordering, fence};
    #[cfg(loom)]
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}

use sync::AtomicU64;

/// A part of a mapping (or heap block), kept alive by counting. Dereferences to `[AtomicU64]`.
#[derive(Clone)]
pub(crate) struct Words {
    base: NonNull<AtomicU64>,
    len: usize,
    owner: Arc<Owner>,
}

impl Words {
    /// Zeroed heap words.
    #[cfg(any(test, fuzzing, loom))]
    pub(crate) fn heap(len: usize) -> Self {
        let owner = Arc::new(Owner::Heap((0..len).map(|_| AtomicU64::new(0)).collect()));
        let base = match &*owner {
            Owner::Heap(words) => NonNull::from(words.as_ref()).cast(),
            #[cfg(not(loom))]
            Owner::Mapped(_) => NonNull::dangling(),
        };
        Self { base, len, owner }
    }

    /// Maps all `bytes` of `fd` shared and writable, keeps the mapping out of core dumps, and
    /// tries to lock it into memory. `bytes` must be the size of a memfd that is sealed against
    /// shrinking, or an access would raise SIGBUS; the caller has checked.
    #[cfg(not(loom))]
    pub(crate) fn map(fd: rustix::fd::BorrowedFd<'_>, bytes: usize) -> rustix::io::Result<Self> {
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap};
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice aliases nothing of ours.
        let base =
            unsafe { mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, fd, 0) }?;
        let mut mapping = Mapping { base, bytes, locked: false };
        // SAFETY: base and bytes are exactly the mapping made above.
        unsafe { madvise(base, bytes, Advice::LinuxDontDump) }?;
        // SAFETY: as above. Failure (RLIMIT_MEMLOCK) leaves the pages swappable, nothing else.
        mapping.locked = unsafe { mlock(base, bytes) }.is_ok();
        let base = NonNull::new(base.cast()).ok_or(rustix::io::Errno::FAULT)?;
        let len = bytes / size_of::<AtomicU64>();
        Ok(Self { base, len, owner: Arc::new(Owner::Mapped(mapping)) })
    }

    /// Words `range` of these; `None` when they are not all inside.
    pub(crate) fn part(&self, range: Range<usize>) -> Option<Self> {
        let part = self.get(range)?;
        Some(Self { base: NonNull::from(part).cast(), len: part.len(), owner: self.owner.clone() })
    }

    /// Whether the kernel granted the memory lock.
    #[cfg(not(loom))]
    pub(crate) fn locked(&self) -> bool {
        matches!(&*self.owner, Owner::Mapped(mapping) if mapping.locked)
    }
}

impl Deref for Words {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: base..base+len lies inside the block that `owner` keeps alive and in place for
        // as long as self lives: a page-aligned mapping, or a boxed slice that is never moved out
        // of its box. All access, here and in the other process, may race: these are atomics, for
        // which any bit pattern is valid.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }
}

// SAFETY: the pointer is a view of atomics owned by the counted `owner`, which are Send and Sync.
unsafe impl Send for Words {}
// SAFETY: as for Send; only shared references to atomics are handed out.
unsafe impl Sync for Words {}

enum Owner {
    #[cfg(any(test, fuzzing, loom))]
    Heap(Box<[AtomicU64]>),
    #[cfg(not(loom))]
    Mapped(Mapping),
}

/// Unmaps on drop.
#[cfg(not(loom))]
struct Mapping {
    base: *mut core::ffi::c_void,
    bytes: usize,
    locked: bool,
}

// SAFETY: the pointer is only kept for munmap, which any thread may call.
#[cfg(not(loom))]
unsafe impl Send for Mapping {}
// SAFETY: no method takes a shared reference to anything behind the pointer.
#[cfg(not(loom))]
unsafe impl Sync for Mapping {}

#[cfg(not(loom))]
impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `Words::map` made; every view of it holds the counted
        // owner, so none is left.
        let _ = unsafe { rustix::mm::munmap(self.base, self.bytes) };
    }
}
