//! Doorbells: the eventfds by which the two processes wake each other.
//!
//! Ring after pushing; silence, then pop until empty. The peer holds the same open file and may
//! change its flags or its count at any time, so neither call here relies on the file being
//! non-blocking.

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, IoSliceMut, ReadWriteFlags, preadv2, write};

/// A new silent doorbell, non-blocking and closed on exec.
///
/// # Errors
/// Those of `eventfd(2)`: out of descriptors or memory.
pub fn create() -> std::io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Wakes the other side. A bell that rings already stays ringing.
///
/// A worker that waits on a ring should submit the write there instead: a hostile peer that races
/// with the look for room could make this one wait.
///
/// # Errors
/// Those of `write(2)`, except that "would block" counts as success.
pub fn ring(bell: impl AsFd) -> std::io::Result<()> {
    let mut room = [PollFd::new(&bell, PollFlags::OUT)];
    if poll(&mut room, Some(&Timespec::default()))? == 0 {
        return Ok(());
    }
    match write(&bell, &1_u64.to_ne_bytes()) {
        Ok(_) | Err(Errno::AGAIN) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes back all rings so far; says whether there were any. Never waits.
///
/// # Errors
/// Those of `preadv2(2)`, except "would block".
pub fn silence(bell: impl AsFd) -> std::io::Result<bool> {
    let mut count = [0; 8];
    let mut buffers = [IoSliceMut::new(&mut count)];
    match preadv2(bell, &mut buffers, CURRENT, ReadWriteFlags::NOWAIT) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// "No offset" of `preadv2(2)`: an eventfd has none.
const CURRENT: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    #[test]
    fn many_rings_are_one_wake_up() {
        let bell = create().unwrap();
        assert!(!silence(&bell).unwrap());
        ring(&bell).unwrap();
        ring(&bell).unwrap();
        assert!(silence(&bell).unwrap());
        assert!(!silence(&bell).unwrap());
    }

    #[test]
    fn a_peer_that_makes_the_file_blocking_blocks_nobody() {
        let bell = create().unwrap();
        let flags = fcntl_getfl(&bell).unwrap();
        fcntl_setfl(&bell, flags - OFlags::NONBLOCK).unwrap();
        assert!(!silence(&bell).unwrap());
        write(&bell, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        ring(&bell).unwrap();
        assert!(silence(&bell).unwrap());
    }
}
