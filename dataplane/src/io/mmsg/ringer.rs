//! A thread that rings the guest's doorbell.
//!
//! The guest holds the same open file, may make it blocking and may fill it to the brim at any
//! moment, and a write to an eventfd that waits cannot be told not to. So the worker rings a bell of
//! our own, and a thread that may wait passes it on. The thread allocates nothing and does nothing
//! else.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;

use rustix::event::{PollFd, PollFlags, poll};

/// The worker's end. When it goes, so does the thread, unless the guest makes it wait.
pub struct Ringer {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    inner_bell: OwnedFd,
    over: AtomicBool,
}

impl Ringer {
    /// # Errors
    /// No descriptor or thread left.
    pub fn start(bell: OwnedFd) -> io::Result<Ringer> {
        let inner_bell = abi::doorbell::create()?;
        let shared = Arc::new(Shared { inner_bell, over: AtomicBool::new(false) });
        let theirs = Arc::clone(&shared);
        Builder::new()
            .name("bell".to_owned())
            .stack_size(STACK)
            .spawn(move || pass_on(&theirs, &bell))?;
        Ok(Ringer { shared })
    }

    /// Has the bell rung. Never waits.
    pub fn ring(&self) {
        // A bell that fails costs the guest time, not events.
        let _ = abi::doorbell::ring(&self.shared.inner_bell);
    }
}

impl Drop for Ringer {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        self.ring();
    }
}

fn pass_on(shared: &Shared, bell: &OwnedFd) {
    while !shared.over.load(Ordering::Acquire) {
        if let Ok(true) = abi::doorbell::silence(&shared.inner_bell) {
            let _ = abi::doorbell::ring(bell);
        } else {
            let mut rung = [PollFd::new(&shared.inner_bell, PollFlags::IN)];
            let _ = poll(&mut rung, None);
        }
    }
}

/// Enough for two system calls.
const STACK: usize = 64 << 10;
