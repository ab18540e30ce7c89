//! Keeps the memory that may hold keys out of swap.
//!
//! With an unlimited limit everything is locked, what will be mapped later included. Under a limit
//! that would make later allocations fail, so only what is mapped and writable now is locked: the
//! flows, the buffers, the heap, the workers' stacks. The main thread's stack is left out: it has no
//! keys, and a locked stack that may not grow for the limit would end the process.
//!
//! Either way a page is locked when it is touched: what is reserved for later takes no memory.

use std::ffi::c_void;
use std::fs::File;
use std::io::Read;

use rustix::mm::{MlockAllFlags, MlockFlags, mlock_with, mlockall};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::CapabilitySet;

use super::identity;

/// The list of the process's mappings, opened while files can be opened.
pub struct Map(Option<File>);

impl Map {
    pub fn open() -> Map {
        Map(File::open("/proc/self/maps").ok())
    }

    /// Locks what may hold keys; false when the limit does not allow it.
    pub fn lock(self) -> bool {
        if is_unlimited() {
            let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
            return mlockall(all).is_ok();
        }
        let mut text = String::new();
        let read = self.0.and_then(|mut file| file.read_to_string(&mut text).ok());
        let places: Vec<Place> = text.lines().filter_map(Place::parse).collect();
        read.is_some() && !places.is_empty() && places.iter().all(Place::lock)
    }
}

/// A mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    start: usize,
    end: usize,
}

impl Place {
    /// A line of /proc/self/maps, if it is one that may hold keys.
    fn parse(line: &str) -> Option<Place> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let writable = fields.next()?.as_bytes().get(1) == Some(&b'w');
        if !writable || line.ends_with("[stack]") {
            return None;
        }
        let address = |text| usize::from_str_radix(text, 16).ok();
        Some(Place { start: address(start)?, end: address(end)? })
    }

    fn lock(&self) -> bool {
        let start = std::ptr::without_provenance_mut::<c_void>(self.start);
        let len = self.end.saturating_sub(self.start);
        // SAFETY: locking changes neither the contents nor the mapping; an address that is mapped no
        // more is an error.
        unsafe { mlock_with(start, len, MlockFlags::ONFAULT) }.is_ok()
    }
}

/// Lifts the limit where we may.
pub fn raise_limit() {
    // Where it fails, locking tells.
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
}

/// Whether [`Map::lock`] would succeed in a process that begins as this one.
pub fn lockable() -> bool {
    let may_lift = getrlimit(Resource::Memlock).maximum.is_none();
    may_lift || identity::has(CapabilitySet::SYS_RESOURCE) || identity::has(CapabilitySet::IPC_LOCK)
}

fn is_unlimited() -> bool {
    getrlimit(Resource::Memlock).current.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_writable_mappings_are_locked_and_not_the_main_stack() {
        let heap = "7f00dead0000-7f00dead2000 rw-p 00000000 00:00 0 ";
        assert_eq!(
            Place::parse(heap),
            Some(Place { start: 0x7f00_dead_0000, end: 0x7f00_dead_2000 })
        );
        assert!(Place::parse("7f0000-7f1000 rw-s 0 00:01 5 /memfd:trunkline (deleted)").is_some());
        for other in [
            "7f0000-7f1000 r--p 0 00:00 0 [vvar]",
            "7f0000-7f1000 r-xp 0 fe:00 7 /usr/bin/trunkline",
            "7f0000-7f1000 ---p 0 00:00 0",
            "7ffd00-7fff00 rw-p 0 00:00 0 [stack]",
            "",
            "7f0000",
            "7f0000-xyz rw-p",
        ] {
            assert_eq!(Place::parse(other), None, "{other}");
        }
    }
}
