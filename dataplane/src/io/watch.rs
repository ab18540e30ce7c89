//! Where a worker waits whose packets do not come through a ring: a small ring that watches a few
//! descriptors, the bells, and the clock.
//!
//! ```text
//! fds --- one-shot polls, set again with each sleep ---.
//! command bell --- multishot poll ---------------------+--> one enter: gather, sleep, time-out
//! event bell <--- write -------------------------------'
//! ```
//! A one-shot poll costs one piece of work per wake-up, however many packets come meanwhile; it is
//! level-triggered when it is set, so that nothing is missed between a look and a sleep. While it
//! spins, the worker looks at a flag in shared memory, as with sockets on the ring.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};

use super::uring::setup;
use super::{Received, Wait};
use crate::clock;
use crate::limits::{GATHER_COUNT, WATCHED_MAX};

/// The ring of one worker. It must be made and used on that worker's thread.
pub struct Watch {
    ring: IoUring,
    command_bell: OwnedFd,
    event_bell: OwnedFd,
    listening: bool,
    ringing: bool,
    /// The guest is still to be woken, for the queue was full.
    rings_later: bool,
    /// Descriptors with a poll that has not told yet, one bit each.
    armed: u32,
    /// Those that told, and were not asked for yet.
    ready: u32,
    bell: bool,
    min_wait: bool,
}

impl Watch {
    /// # Errors
    /// What the kernel refused, as for the io_uring backend.
    pub fn new(command_bell: OwnedFd, event_bell: OwnedFd) -> io::Result<Watch> {
        let ring = setup::build(SUBMISSIONS, COMPLETIONS)?;
        setup::enable(&ring)?;
        Ok(Watch {
            min_wait: ring.params().is_feature_min_timeout(),
            ring,
            command_bell,
            event_bell,
            listening: false,
            ringing: false,
            rings_later: false,
            armed: 0,
            ready: 0,
            bell: false,
        })
    }

    /// Whether the kernel can gather (Linux 6.12).
    pub fn gathers(&self) -> bool {
        self.min_wait
    }

    /// Waits until one of `fds` may be readable, the command bell rings, or the time is over; books
    /// the time and says which may be readable, one bit each, by their order. The order must be the
    /// same with each call; at most [`WATCHED_MAX`] are watched. `lively`: packets came last time.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)` that mean a broken ring. Interruption and time-out are none.
    pub fn wait(
        &mut self,
        fds: &[BorrowedFd<'_>],
        wait: Wait,
        lively: bool,
        received: &mut Received,
    ) -> io::Result<u32> {
        let begun_ns = clock::now_ns();
        received.now_ns = begun_ns;
        self.listen()?;
        if wait.timeout_ns == 0 {
            self.glance()?;
            received.bell = std::mem::take(&mut self.bell);
            self.ready = 0;
            received.now_ns = clock::now_ns();
            return Ok(u32::MAX);
        }
        self.arm(fds)?;
        let mut found = self.found();
        if !found && lively && wait.spin_us > 0 {
            let spin_ns = (u64::from(wait.spin_us) * 1000).min(wait.timeout_ns);
            found = self.spin(begun_ns.saturating_add(spin_ns))?;
            received.now_ns = clock::now_ns();
            received.spin_ns = received.now_ns.saturating_sub(begun_ns);
        }
        let left_ns = wait.timeout_ns.saturating_sub(received.spin_ns);
        if !found && left_ns > 0 {
            let before_ns = received.now_ns;
            let gather_us = if self.min_wait { wait.gather_us } else { 0 };
            self.sleep(left_ns, gather_us)?;
            self.reap();
            received.now_ns = clock::now_ns();
            let waited_ns = received.now_ns.saturating_sub(before_ns);
            // The kernel gathers from the beginning of the wait on.
            received.gather_ns = waited_ns.min(u64::from(gather_us) * 1000);
            received.sleep_ns = waited_ns - received.gather_ns;
        }
        received.bell = std::mem::take(&mut self.bell);
        Ok(std::mem::take(&mut self.ready))
    }

    /// Wakes the guest, who cannot make us wait: the write is queued on the ring.
    ///
    /// # Errors
    /// As [`Watch::wait`].
    pub fn ring_bell(&mut self) -> io::Result<()> {
        if self.ringing {
            return Ok(());
        }
        let bell = Fd(self.event_bell.as_raw_fd());
        let write = opcode::Write::new(bell, (&raw const ONE).cast(), size_of_val(&ONE) as u32);
        self.ringing = self.push(&write.build().user_data(RUNG))?;
        self.rings_later = !self.ringing;
        Ok(())
    }

    /// Takes back the rings of the command bell.
    pub fn silence_bell(&self) {
        // The commands are polled in any case: a bell that fails costs time, not commands.
        let _ = abi::doorbell::silence(&self.command_bell);
    }

    fn listen(&mut self) -> io::Result<()> {
        if self.rings_later {
            self.ring_bell()?;
        }
        if !self.listening {
            let bell = Fd(self.command_bell.as_raw_fd());
            let poll = opcode::PollAdd::new(bell, libc::POLLIN as u32).multi(true).build();
            self.listening = self.push(&poll.user_data(BELL))?;
        }
        Ok(())
    }

    fn arm(&mut self, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        for (at, fd) in fds.iter().enumerate().take(WATCHED_MAX) {
            let bit = 1 << at;
            if (self.armed | self.ready) & bit == 0 {
                let poll = opcode::PollAdd::new(Fd(fd.as_raw_fd()), libc::POLLIN as u32).build();
                if self.push(&poll.user_data(WATCHED + at as u64))? {
                    self.armed |= bit;
                }
            }
        }
        Ok(())
    }

    fn found(&self) -> bool {
        self.bell || self.ready != 0
    }

    /// Submits what is queued and takes what is there; no system call when there is neither.
    fn glance(&mut self) -> io::Result<()> {
        let queued = self.ring.submission().len();
        if queued > 0 || self.ring.submission().taskrun() {
            self.enter()?;
        }
        self.reap();
        Ok(())
    }

    fn spin(&mut self, until_ns: u64) -> io::Result<bool> {
        loop {
            self.glance()?;
            if self.found() {
                return Ok(true);
            }
            if clock::now_ns() >= until_ns {
                return Ok(false);
            }
            std::hint::spin_loop();
        }
    }

    fn sleep(&mut self, timeout_ns: u64, gather_us: u32) -> io::Result<()> {
        let timeout = Timespec::from(Duration::from_nanos(timeout_ns));
        let args = SubmitArgs::new().timespec(&timeout);
        super::uring::passing(if gather_us > 0 {
            let args = args.min_wait_usec(gather_us);
            self.ring.submitter().submit_with_args(GATHER_COUNT, &args)
        } else {
            self.ring.submitter().submit_with_args(1, &args)
        })
    }

    fn enter(&mut self) -> io::Result<()> {
        let queued = self.ring.submission().len() as u32;
        // SAFETY: no argument is passed, and every queued entry is valid (see `push`).
        let entered =
            unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, 0, GET_EVENTS, None) };
        super::uring::passing(entered)
    }

    fn reap(&mut self) {
        for completion in self.ring.completion() {
            match completion.user_data() {
                BELL => {
                    self.bell = true;
                    self.listening &= io_uring::cqueue::more(completion.flags());
                }
                RUNG => self.ringing = false,
                watched => {
                    let bit = 1_u32.checked_shl((watched - WATCHED) as u32).unwrap_or(0);
                    self.armed &= !bit;
                    // An error is for the reader to find.
                    self.ready |= bit;
                }
            }
        }
    }

    /// Queues an entry; false when the queue is full and the kernel takes nothing for now.
    fn push(&mut self, entry: &squeue::Entry) -> io::Result<bool> {
        // SAFETY: the entries point to nothing but `ONE`, which lives for ever.
        if unsafe { self.ring.submission().push(entry) }.is_ok() {
            return Ok(true);
        }
        super::uring::passing(self.ring.submit())?;
        // SAFETY: as above.
        Ok(unsafe { self.ring.submission().push(entry) }.is_ok())
    }
}

/// Room for every poll, both bells and some more.
const SUBMISSIONS: u32 = 16;
const COMPLETIONS: u32 = 64;
const BELL: u64 = 1;
const RUNG: u64 = 2;
const WATCHED: u64 = 3;
/// `IORING_ENTER_GETEVENTS`.
const GET_EVENTS: u32 = 1;
static ONE: u64 = 1;

const _: () = assert!(WATCHED_MAX + 3 <= SUBMISSIONS as usize && WATCHED_MAX <= 32);
