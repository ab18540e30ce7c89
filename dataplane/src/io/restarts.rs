//! How often a socket's receive may start again after errors.
//!
//! Most socket errors pass by being told (an ICMP answer to what we sent), so a receive starts again
//! at once; some stay, and would make the worker run in circles. So each socket has
//! [`RESTARTS_MAX`] per housekeeping step and waits for the next step then.

use crate::limits::RESTARTS_MAX;

/// Of one socket; `step` is the backend's count of housekeeping steps.
#[derive(Clone, Copy, Default)]
pub struct Restarts {
    step: u32,
    count: u8,
}

impl Restarts {
    /// Books an error; says whether to start again at once.
    pub fn allow(&mut self, step: u32) -> bool {
        if self.step != step {
            *self = Restarts { step, count: 0 };
        }
        let allowed = self.count < RESTARTS_MAX;
        self.count += u8::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_allows_its_number() {
        let mut restarts = Restarts::default();
        for step in [0, 1, 7, u32::MAX, 0] {
            for _ in 0..RESTARTS_MAX {
                assert!(restarts.allow(step));
            }
            assert!(!restarts.allow(step) && !restarts.allow(step));
        }
    }
}
