//! Whether packets should wait for company.
//!
//! One wake-up costs more than the relay of several packets, so a worker that is woken by the first
//! packet gathers: it sleeps on until its wait is `gather_us` old. Where the network card or its
//! NAPI timer gathers already, packets arrive together, and gathering again adds delay and a timer
//! and saves nothing. Which of the two it is shows in rounds that do not gather. They are judged in
//! runs, for one burst may come as a round of one packet and one of all the others:
//!
//! ```text
//!                                   a run of few packets
//!        .-----------------------------------------------------------------.
//!        v                                                                 |
//!     gather; after GATHER_PROBE_EVERY rounds a run that does not     do not gather
//!        |                                                                 ^
//!        '-----------------------------------------------------------------'
//!                          a run of GATHER_ENOUGH packets a round
//! ```

use crate::limits::{GATHER_ENOUGH, GATHER_PROBE_EVERY, GATHER_RUN};

/// The state of one worker.
#[derive(Clone, Copy, Debug)]
pub struct Gathering {
    us: u32,
    /// Packets come together by themselves.
    is_needless: bool,
    /// Rounds that gather before the next run that does not.
    gathered_left: u8,
    /// Rounds left in a run that does not gather, and the packets that it brought so far.
    run_left: u8,
    run_packets: usize,
}

impl Gathering {
    /// Gathers for `us` microseconds where it helps; 0: never.
    pub fn new(us: u32) -> Gathering {
        Gathering {
            us,
            is_needless: false,
            gathered_left: GATHER_PROBE_EVERY,
            run_left: GATHER_RUN,
            run_packets: 0,
        }
    }

    /// For how many microseconds the round under way gathers.
    pub fn us(&self) -> u32 {
        if self.is_running() { 0 } else { self.us }
    }

    /// Takes note of what the round brought. Rounds that brought nothing say nothing.
    pub fn end(&mut self, packets: usize) {
        if packets == 0 {
            return;
        }
        if !self.is_running() {
            self.gathered_left -= 1;
            return;
        }
        self.run_packets += packets;
        self.run_left -= 1;
        if self.run_left == 0 {
            self.is_needless = self.run_packets >= GATHER_ENOUGH * usize::from(GATHER_RUN);
            *self = Gathering { is_needless: self.is_needless, ..Gathering::new(self.us) };
        }
    }

    fn is_running(&self) -> bool {
        self.is_needless || self.gathered_left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays rounds in which `alone` packets come without gathering, in turn, and 30 with it; the
    /// share of rounds that gathered.
    fn share(gathering: &mut Gathering, rounds: usize, alone: &[usize]) -> f64 {
        let mut alone = alone.iter().cycle();
        let mut count = 0;
        for _ in 0..rounds {
            let gathers = gathering.us() > 0;
            count += usize::from(gathers);
            gathering.end(if gathers { 30 } else { *alone.next().unwrap() });
        }
        count as f64 / rounds as f64
    }

    #[test]
    fn gathers_while_packets_come_one_by_one() {
        let mut gathering = Gathering::new(200);
        assert!(share(&mut gathering, 1_000, &[1]) > 0.9);
        assert!(share(&mut gathering, 1_000, &[1, GATHER_ENOUGH, 2]) > 0.9, "a burst in between");
    }

    #[test]
    fn leaves_it_to_the_network_when_packets_come_together() {
        for alone in [&[GATHER_ENOUGH][..], &[1, 2 * GATHER_ENOUGH]] {
            let mut gathering = Gathering::new(200);
            share(&mut gathering, 1_000, alone);
            assert_eq!(share(&mut gathering, 1_000, alone), 0.0);
            assert!(share(&mut gathering, 1_000, &[GATHER_ENOUGH - 1]) > 0.9, "no longer");
        }
    }

    #[test]
    fn silence_says_nothing_and_zero_never_gathers() {
        let mut gathering = Gathering::new(200);
        for rounds in [0, usize::from(GATHER_PROBE_EVERY)] {
            share(&mut gathering, rounds, &[1]);
            let before = (gathering.gathered_left, gathering.run_left);
            gathering.end(0);
            assert_eq!((gathering.gathered_left, gathering.run_left), before);
        }
        assert_eq!(share(&mut Gathering::new(0), 100, &[1]), 0.0);
    }
}
