//! Ports on their way from one worker to another, and who takes flows.
//!
//! Each worker leases from pairs of its own, without a lock. When workers begin or cease to take
//! flows, everybody's fair share changes, and each worker settles by itself, a little with each
//! housekeeping step: who has more than its share puts pairs here, who has less takes them.
//!
//! ```text
//! worker 0 (5000 of 2500)  -- free pairs, the longest rested first -->  commons  -->  worker 1 (0 of 2500)
//! ```
//! A pair keeps the time until which it rests. One that is leased stays where it is until its call
//! is over, so no call notices anything.

use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam::queue::ArrayQueue;

use crate::limits::COMMONS_PAIRS;

/// What workers of one process share of ports. One queue for each media address.
pub struct Commons {
    places: Vec<ArrayQueue<Pair>>,
    /// Pairs that each address has, wherever they are.
    pairs: usize,
    /// Workers that take flows, never 0.
    serving: AtomicU32,
}

/// A pair of ports that is not leased.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pair {
    /// The even port, for RTP.
    pub even: u16,
    /// CLOCK_MONOTONIC nanoseconds from which it may be leased.
    pub free_at_ns: u64,
}

impl Commons {
    /// For so many media addresses with `pairs` each, and so many workers that take flows.
    pub fn new(places: usize, pairs: usize, serving: u32) -> Commons {
        let room = pairs.clamp(1, COMMONS_PAIRS);
        Commons {
            places: (0..places).map(|_| ArrayQueue::new(room)).collect(),
            pairs,
            serving: AtomicU32::new(serving.max(1)),
        }
    }

    /// What lies here of an address.
    pub fn of(&self, place: usize) -> Option<&ArrayQueue<Pair>> {
        self.places.get(place)
    }

    /// Pairs of each address that a worker which takes flows should have.
    pub fn share(&self) -> usize {
        self.pairs.div_ceil(self.serving.load(Ordering::Acquire) as usize)
    }

    /// All pairs of an address.
    pub fn pairs(&self) -> usize {
        self.pairs
    }

    /// One more worker takes flows.
    pub fn join(&self) {
        self.serving.fetch_add(1, Ordering::AcqRel);
    }

    /// One worker takes flows no more; false when it is the last one that does.
    pub fn leave(&self) -> bool {
        let fewer = |serving: u32| serving.checked_sub(1).filter(|left| *left > 0);
        self.serving.fetch_update(Ordering::AcqRel, Ordering::Acquire, fewer).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_the_workers_and_one_always_stays() {
        let commons = Commons::new(1, 5000, 2);
        assert_eq!(commons.share(), 2500);
        commons.join();
        assert_eq!(commons.share(), 1667);
        assert!(commons.leave() && commons.leave());
        assert_eq!(commons.share(), 5000);
        assert!(!commons.leave(), "the last one");
        assert_eq!(commons.share(), 5000);
    }
}
