//! The next hop of each destination, kept true while the kernel no longer sees the traffic.
//!
//! ```text
//! worker:  Hops::find --(unknown destination)--> queue --> keeper thread --> rtnetlink: route, link,
//!            |  ^                                             |  ^              neighbour of exactly
//!            |  '-------------- answers, changes -------------'  |              this packet
//!            v                                                   '-- notifications
//!          a frame, or the kernel's own way (no neighbour yet, ourselves, no Ethernet)
//! ```
//! The kernel is asked for the way of one packet (RTM_GETROUTE with source and destination) instead
//! of having its tables copied: so policy rules, metrics, several paths and learned path MTUs count
//! as they do for a socket. Whatever changes (links, addresses, routes, rules, neighbours) makes the
//! keeper ask again.
//!
//! Frames do not pass the kernel's neighbour table, which would let its entries grow old and see
//! neither that a neighbour has moved nor that it is gone. So one packet per next hop and
//! [`HOP_USE_NS`] goes by the kernel's way: it asks for the neighbour, as for any traffic. That
//! needs no privilege, as nothing here does.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::ArrayQueue;
use rustix::fd::OwnedFd;

use super::frame::Hop;
use crate::limits::{HOP_FORGET_STEPS, HOP_USE_NS, HOPS_MAX};
pub use driver::Driver;
pub use keeper::Keeper;
pub(super) use kernel::Kernel;
pub(super) use message::Link;
#[cfg(test)]
pub(super) use message::Peer;

mod driver;
mod keeper;
mod kernel;
mod message;

/// Source and destination in the form of [`Endpoint::ip`](super::Endpoint).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pair {
    pub from: u128,
    pub to: u128,
}

/// What workers ask the keeper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Question {
    /// Tell now, and whenever it changes.
    Of(Pair),
    /// No longer of interest.
    Forget(Pair),
}

/// What the keeper tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Answer {
    pair: Pair,
    hop: Option<Hop>,
}

/// What one worker and the keeper share.
struct Line {
    questions: ArrayQueue<Question>,
    answers: ArrayQueue<Answer>,
}

impl Line {
    fn new() -> Arc<Line> {
        let line =
            Line { questions: ArrayQueue::new(HOPS_MAX), answers: ArrayQueue::new(HOPS_MAX) };
        Arc::new(line)
    }
}

/// How workers wake the keeper.
struct Bell {
    fd: OwnedFd,
    over: AtomicBool,
}

impl Bell {
    fn new() -> io::Result<Arc<Bell>> {
        Ok(Arc::new(Bell { fd: abi::doorbell::create()?, over: AtomicBool::new(false) }))
    }

    fn ring(&self) {
        // The keeper looks from time to time in any case.
        let _ = abi::doorbell::ring(&self.fd);
    }

    fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.ring();
    }
}

/// Where a place found its hop last: nearly always the right one.
#[derive(Clone, Copy, Default, Debug)]
pub struct HopHint(u16);

/// The next hops that one worker uses. It never waits, and allocates nothing after its start.
pub struct Hops {
    entries: Vec<Entry>,
    index: HashMap<Pair, u16>,
    vacant: Vec<u16>,
    line: Arc<Line>,
    bell: Arc<Bell>,
    /// Questions that found their queue full.
    unasked: bool,
    ring: bool,
    step: u32,
}

struct Entry {
    pair: Pair,
    hop: Option<Hop>,
    asked: bool,
    /// When the next packet goes by the kernel's way.
    kernel_at_ns: u64,
    used_step: u32,
}

impl Hops {
    fn new(line: Arc<Line>, bell: Arc<Bell>) -> Hops {
        let entry = || Entry {
            pair: Pair { from: 0, to: 0 },
            hop: None,
            asked: false,
            kernel_at_ns: 0,
            used_step: 0,
        };
        Hops {
            entries: (0..HOPS_MAX).map(|_| entry()).collect(),
            // Twice the room, so that it never grows.
            index: HashMap::with_capacity(2 * HOPS_MAX),
            vacant: (0..HOPS_MAX as u16).rev().collect(),
            line,
            bell,
            unasked: false,
            ring: false,
            step: 0,
        }
    }

    /// The next hop of a packet, or `None`: it goes by the kernel's way. Of the packets to a next
    /// hop in one round only the first may be told so for the kernel's sake: who sends those before
    /// the frames keeps the order.
    pub fn find(&mut self, hint: &mut HopHint, pair: Pair, now_ns: u64) -> Option<Hop> {
        let at = match self.entries.get(usize::from(hint.0)) {
            Some(entry) if entry.pair == pair => hint.0,
            _ => {
                let at = self.look_up(pair)?;
                *hint = HopHint(at);
                at
            }
        };
        let step = self.step;
        let entry = self.entries.get_mut(usize::from(at))?;
        entry.used_step = step;
        let hop = entry.hop?;
        if now_ns >= entry.kernel_at_ns {
            entry.kernel_at_ns = now_ns.saturating_add(HOP_USE_NS);
            return None;
        }
        Some(hop)
    }

    /// The next hop, if it is known, without sending anything there.
    pub fn peek(&mut self, pair: Pair) -> Option<Hop> {
        let at = self.look_up(pair)?;
        let step = self.step;
        let entry = self.entries.get_mut(usize::from(at))?;
        entry.used_step = step;
        entry.hop
    }

    /// The kernel refused a frame to this hop: not again before the keeper has looked.
    pub fn doubt(&mut self, pair: Pair) {
        if let Some(at) = self.index.get(&pair)
            && let Some(entry) = self.entries.get_mut(usize::from(*at))
            && entry.hop.take().is_some()
        {
            entry.asked = false;
            self.unasked = true;
        }
    }

    /// Takes what the keeper told meanwhile. To be called once per round.
    pub fn take_answers(&mut self) {
        while let Some(answer) = self.line.answers.pop() {
            let at = self.index.get(&answer.pair).copied();
            let Some(entry) = at.and_then(|at| self.entries.get_mut(usize::from(at))) else {
                continue;
            };
            // A new neighbour needs no asking for soon: the kernel has just done so.
            if entry.hop.is_none() && answer.hop.is_some() {
                entry.kernel_at_ns = crate::clock::now_ns().saturating_add(HOP_USE_NS);
            }
            entry.hop = answer.hop;
        }
    }

    /// Passes questions on that are still to be asked. To be called once per round.
    pub fn ask(&mut self) {
        if self.unasked {
            self.ask_again();
        }
        if std::mem::take(&mut self.ring) {
            self.bell.ring();
        }
    }

    /// Forgets what was not used for long. To be called with each housekeeping step.
    pub fn keep_house(&mut self) {
        self.step = self.step.wrapping_add(1);
        if !self.step.is_multiple_of(HOP_FORGET_STEPS) {
            return;
        }
        for at in 0..self.entries.len() {
            self.forget_unused(at);
        }
    }

    fn forget_unused(&mut self, at: usize) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        let unused = self.step.wrapping_sub(entry.used_step) >= HOP_FORGET_STEPS;
        if !unused || entry.pair == NONE {
            return;
        }
        if self.line.questions.push(Question::Forget(entry.pair)).is_ok() {
            self.index.remove(&entry.pair);
            entry.pair = NONE;
            entry.hop = None;
            self.vacant.push(at as u16);
            self.ring = true;
        }
    }

    /// The place of a pair, a new one if there is room.
    fn look_up(&mut self, pair: Pair) -> Option<u16> {
        if let Some(at) = self.index.get(&pair) {
            return Some(*at);
        }
        let at = self.vacant.pop()?;
        let entry = self.entries.get_mut(usize::from(at))?;
        *entry = Entry { pair, hop: None, asked: false, kernel_at_ns: 0, used_step: self.step };
        self.index.insert(pair, at);
        self.unasked = true;
        Some(at)
    }

    fn ask_again(&mut self) {
        self.unasked = false;
        for entry in &mut self.entries {
            if entry.pair != NONE && !entry.asked {
                entry.asked = self.line.questions.push(Question::Of(entry.pair)).is_ok();
                self.unasked |= !entry.asked;
                self.ring = true;
            }
        }
    }
}

/// No packet has this destination.
const NONE: Pair = Pair { from: 0, to: 0 };

const _: () = assert!(HOPS_MAX <= u16::MAX as usize);

#[cfg(test)]
mod tests;
