//! Whoever watches over this process is told that it is ready and, again and again, that each worker
//! lives. A worker that stands still makes it silent, and whoever watches starts it anew.

use std::time::{Duration, Instant};

use rustix::event::Timespec;
use tracing::error;

/// What is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// The workers run, and signaling may attach.
    Ready,
    /// Each worker has gone round since it was said last.
    Alive,
}

/// Who is told, and how often.
pub struct Pulse {
    tell: Box<dyn FnMut(Life) + Send>,
    every: Option<Duration>,
    due: Instant,
    seen: Vec<u64>,
    silent: bool,
}

impl Pulse {
    /// Calls `tell` when the workers run, and, if `every` is there, that often while they live. It
    /// must be longer than a worker's housekeeping takes to come round, 100 ms.
    pub fn new(every: Option<Duration>, tell: impl FnMut(Life) + Send + 'static) -> Pulse {
        let (tell, due) = (Box::new(tell), Instant::now());
        Pulse { tell, every, due, seen: Vec::new(), silent: false }
    }

    /// Nobody is told.
    pub fn none() -> Pulse {
        Pulse::new(None, |_| ())
    }

    pub(crate) fn ready(&mut self) {
        (self.tell)(Life::Ready);
    }

    /// How long the main thread may sleep; `None`: for ever.
    pub(crate) fn timeout(&self, now: Instant) -> Option<Timespec> {
        self.every?;
        // Longer waits than this are none of ours.
        let left = self.due.saturating_duration_since(now).min(Duration::from_secs(3_600));
        Timespec::try_from(left).ok()
    }

    /// Tells when it is time, if each of `beats` (how often each worker went round) has grown.
    pub(crate) fn beat(&mut self, now: Instant, beats: impl Iterator<Item = u64>) {
        let Some(every) = self.every.filter(|_| now >= self.due) else { return };
        self.due = now + every;
        let beats: Vec<u64> = beats.collect();
        let grown = |(worker, beat): (usize, &u64)| self.seen.get(worker) != Some(beat);
        let still = (0..).zip(&beats).position(|one| !grown(one));
        self.seen.clone_from(&beats);
        match still {
            None => {
                self.silent = false;
                (self.tell)(Life::Alive);
            }
            Some(worker) if !self.silent => {
                self.silent = true;
                error!(worker, "stands still; the service manager is told nothing any more");
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn life_is_told_while_each_worker_goes_round() {
        let (told, heard) = channel();
        let every = Duration::from_secs(2);
        let mut pulse = Pulse::new(Some(every), move |life| told.send(life).unwrap());
        let start = pulse.due;
        pulse.ready();
        assert_eq!(heard.try_recv(), Ok(Life::Ready));
        let mut beat = |seconds: u64, beats: [u64; 2]| {
            pulse.beat(start + Duration::from_secs(seconds), beats.into_iter());
            heard.try_recv().ok()
        };
        assert_eq!(beat(0, [0, 0]), Some(Life::Alive), "the first look has nothing to compare");
        assert_eq!(beat(1, [5, 5]), None, "not yet time");
        assert_eq!(beat(2, [5, 5]), Some(Life::Alive));
        assert_eq!(beat(4, [6, 5]), None, "the second worker stands still");
        assert_eq!(beat(6, [7, 5]), None);
        assert_eq!(beat(8, [8, 6]), Some(Life::Alive), "it goes on");
    }

    #[test]
    fn without_a_watchdog_the_main_thread_sleeps_for_ever() {
        let now = Instant::now();
        assert_eq!(Pulse::none().timeout(now), None);
        let mut pulse = Pulse::new(Some(Duration::from_secs(2)), |_| ());
        pulse.beat(now, [1].into_iter());
        let left = pulse.timeout(pulse.due - Duration::from_millis(1_500)).unwrap();
        assert_eq!((left.tv_sec, left.tv_nsec), (1, 500_000_000));
    }
}
