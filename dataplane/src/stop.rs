//! How the data plane is told to stop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A request to stop, made once, by anyone who holds a clone. [`Stop::trigger`] is one atomic store and
/// one `write(2)` on an eventfd: a signal handler may call it.
#[derive(Clone)]
pub struct Stop(Arc<Inner>);

struct Inner {
    triggered: AtomicBool,
    event: OwnedFd,
}

impl Stop {
    /// # Errors
    /// Those of `eventfd(2)`: out of descriptors or memory.
    pub fn new() -> io::Result<Stop> {
        let event = abi::doorbell::create()?;
        Ok(Stop(Arc::new(Inner { triggered: AtomicBool::new(false), event })))
    }

    /// Asks [`run`](crate::run) to return.
    pub fn trigger(&self) {
        self.0.triggered.store(true, Ordering::Release);
        // A full eventfd is a readable one.
        let _ = rustix::io::write(&self.0.event, &1_u64.to_ne_bytes());
    }

    pub fn is_triggered(&self) -> bool {
        self.0.triggered.load(Ordering::Acquire)
    }
}

impl AsFd for Stop {
    /// Polls readable from the trigger on.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}
