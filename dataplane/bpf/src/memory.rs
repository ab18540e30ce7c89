//! The values of an array map as memory that both a program in the kernel and the workers use.
//!
//! Every access is one atomic load or store of one value: the program sees the old or the new one.
//! The map's memory lives as long as the mapping, even when all its descriptors are closed.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The mapping.
#[derive(Debug)]
pub struct Memory {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: all access goes through atomics.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps `len` octets of a map.
    pub(super) fn of(map: BorrowedFd<'_>, len: usize) -> io::Result<Memory> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses touches nothing of ours.
        let base = unsafe { mmap(null_mut(), len, protection, MapFlags::SHARED, map, 0) }?;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Memory { base, len })
    }

    /// The octet at `at`; 0 beyond the end.
    pub fn octet(&self, at: usize) -> u8 {
        self.octet_at(at).map_or(0, |octet| octet.load(Ordering::Acquire))
    }

    /// Sets the octet at `at`; beyond the end, nothing.
    pub fn set_octet(&self, at: usize, value: u8) {
        if let Some(octet) = self.octet_at(at) {
            octet.store(value, Ordering::Release);
        }
    }

    /// The `index`-th word of 64 bits, for loads, stores and sums; `None` beyond the end.
    pub fn word(&self, index: usize) -> Option<&AtomicU64> {
        let at = index.checked_mul(size_of::<u64>())?;
        if at.checked_add(size_of::<u64>())? > self.len {
            return None;
        }
        // SAFETY: inside the mapping, which begins at a page border, so that the word is aligned;
        // memory of other processors and the kernel is accessed by atomics alone. The reference
        // lives no longer than the mapping.
        Some(unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(at).cast()) })
    }

    fn octet_at(&self, at: usize) -> Option<&AtomicU8> {
        if at >= self.len {
            return None;
        }
        // SAFETY: inside the mapping; otherwise as in `word`.
        Some(unsafe { AtomicU8::from_ptr(self.base.as_ptr().add(at)) })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped in `of` with this length; the borrows of `self` have ended.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}
