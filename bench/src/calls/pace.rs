//! When the next call is due, and how fast a load that fell behind catches up.

use std::time::{Duration, Instant};

/// Calls at an even rate. One that cannot be placed in time is placed later, and those behind it no
/// closer together than half of the interval, [`SLACK`] apart.
pub struct Pace {
    start: Instant,
    rate: f64,
    calls: u32,
    /// The catching up's own schedule.
    earliest: Instant,
}

impl Pace {
    /// `rate` is calls per second, above 0.
    pub fn new(start: Instant, rate: f64) -> Self {
        Self { start, rate, calls: 0, earliest: start }
    }

    /// When the next call is due by the clock, and when it is to be placed.
    pub fn next(&self) -> (Instant, Instant) {
        let due = self.start + Duration::from_secs_f64(f64::from(self.calls) / self.rate);
        (due, due.max(self.earliest))
    }

    /// It was placed.
    pub fn placed(&mut self, now: Instant) {
        self.calls += 1;
        let from = now.checked_sub(SLACK).map_or(now, |slack| self.earliest.max(slack));
        self.earliest = from + Duration::from_secs_f64(0.5 / self.rate);
    }
}

/// The timers of the load have a resolution of a millisecond: so much is no falling behind.
const SLACK: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    /// How many calls are placed until each of these moments, when the load stands still from 100 to
    /// 200 ms.
    #[test]
    fn who_fell_behind_catches_up_at_twice_the_rate() {
        let start = Instant::now();
        let (mut pace, mut now) = (Pace::new(start, 1_000.0), start);
        let (mut at_100, mut at_201, mut at_250, mut calls) = (0, 0, 0, 0);
        while now < start + Duration::from_millis(400) {
            let passed = (now - start).as_millis();
            if !(100..200).contains(&passed) {
                while pace.next().1 <= now {
                    pace.placed(now);
                    calls += 1;
                }
            }
            for (moment, seen) in [(99, &mut at_100), (201, &mut at_201), (250, &mut at_250)] {
                if passed == moment {
                    *seen = calls;
                }
            }
            now += Duration::from_millis(1);
        }
        assert_eq!(at_100, 100, "on time");
        assert!((105..=110).contains(&at_201), "no burst of a hundred: {at_201}");
        assert!((200..=210).contains(&at_250), "twice as fast as before: {at_250}");
        assert_eq!(calls, 400, "and none is left out in the end");
    }
}
