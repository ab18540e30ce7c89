//! What a seed's world does to messages and to the gateway.

use crate::call::tests::random::Dice;

/// Percent of datagrams lost and repeated; the longest a message takes, which reorders.
#[derive(Clone, Copy, Default, Debug)]
pub struct Faults {
    pub loss: u64,
    pub repeat: u64,
    pub delay_ms: u64,
    /// Percent of datagrams that the kernel refuses to send.
    pub unsent: u64,
    /// Percent of connections that cannot be opened.
    pub refused: u64,
    /// How often, in a run, each of these happens.
    pub drops: u64,
    pub stalls: u64,
    pub wall_jumps: u64,
    pub plane_deaths: u64,
    /// The data plane refuses, pauses, and loses events.
    pub bad_plane: bool,
    /// The operator edits the plan and ends calls.
    pub operator: bool,
}

impl Faults {
    /// One world in eight is perfect: there nothing may fail.
    pub fn of(seed: u64, dice: &mut Dice) -> Self {
        if seed.is_multiple_of(8) {
            return Self { delay_ms: 20, ..Self::default() };
        }
        let mut one_of = |choices: &[u64]| choices[dice.below(choices.len() as u64) as usize];
        Self {
            loss: one_of(&[0, 2, 10, 30, 60]),
            repeat: one_of(&[0, 5, 30]),
            delay_ms: one_of(&[5, 40, 400, 1_500]),
            unsent: one_of(&[0, 0, 0, 3]),
            refused: one_of(&[0, 0, 50]),
            drops: one_of(&[0, 0, 1, 4]),
            stalls: one_of(&[0, 0, 0, 1]),
            wall_jumps: one_of(&[0, 0, 1]),
            plane_deaths: one_of(&[0, 0, 0, 0, 0, 0, 0, 1]),
            bad_plane: one_of(&[0, 0, 1]) == 1,
            operator: one_of(&[0, 0, 1]) == 1,
        }
    }

    /// The network mends.
    pub fn mend(&mut self) {
        *self = Self { delay_ms: self.delay_ms, ..Self::default() };
    }
}
