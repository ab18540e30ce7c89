//! Asks the kernel for pages of 2 MiB under memory that packets scatter over.
//!
//! Flows and packet buffers of a worker are some megabytes, of which a round touches a few octets each
//! in some hundred places. With pages of 4 KiB nearly every one of those is an address that the
//! processor has to look up anew, the more so after it was idle. A wish: without it everything works.
//!
//! `unsafe` because madvise(2) takes addresses.

use std::ptr::NonNull;

use rustix::mm::{Advice, madvise};

/// Octets of a large page on the processors that we know.
pub const SIZE: usize = 2 << 20;

/// Asks for large pages under the `len` octets at `start`, before they are touched first.
pub fn ask<T>(start: NonNull<T>, len: usize) {
    let skipped = start.as_ptr().cast::<u8>().align_offset(PAGE);
    let whole = len.saturating_sub(skipped) / PAGE * PAGE;
    if whole < SIZE {
        return;
    }
    let from = start.as_ptr().cast::<u8>().wrapping_add(skipped);
    // SAFETY: the advice changes neither contents nor mapping, only by which pages the memory is
    // backed; addresses that are not mapped are an error, which changes nothing either.
    let _ = unsafe { madvise(from.cast(), whole, Advice::LinuxHugepage) };
}

const PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// Kilobytes of large pages under the mapping that holds `address`, of /proc/self/smaps.
    fn large_kb(address: usize) -> u64 {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut holds = false;
        for line in smaps.lines() {
            if let Some((range, _)) = line.split_once(' ')
                && let Some((from, to)) = range.split_once('-')
                && let Ok(from) = usize::from_str_radix(from, 16)
                && let Ok(to) = usize::from_str_radix(to, 16)
            {
                holds = (from..to).contains(&address);
            }
            if holds && let Some(rest) = line.strip_prefix("AnonHugePages:") {
                return rest.trim().trim_end_matches(" kB").parse().unwrap();
            }
        }
        0
    }

    #[test]
    fn memory_that_was_asked_for_lies_on_large_pages_where_the_host_has_them() {
        let mode = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        let mut memory: Vec<u8> = Vec::with_capacity(16 * SIZE);
        let start = NonNull::from(memory.spare_capacity_mut()).cast::<u8>();
        ask(start, memory.capacity());
        memory.resize(16 * SIZE, 1);
        let possible = mode.is_ok_and(|mode| !mode.contains("[never]"));
        let middle = memory.as_ptr() as usize + 8 * SIZE;
        // A host that is short of memory may have none to give: that it took the wish must show.
        if possible && large_kb(middle) == 0 {
            let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let wished =
                smaps.lines().any(|line| line.starts_with("VmFlags:") && line.contains(" hg"));
            assert!(wished);
        }
        assert_eq!(memory.iter().map(|octet| usize::from(*octet)).sum::<usize>(), 16 * SIZE);
    }

    #[test]
    fn small_memory_is_left_alone() {
        let small = [0_u8; 64];
        ask(NonNull::from(&small), small.len());
        assert_eq!(small, [0; 64]);
    }
}
