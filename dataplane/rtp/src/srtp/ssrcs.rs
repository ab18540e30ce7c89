//! State per SSRC: a small table inside the context.

use super::SSRC_MAX;
use crate::packet::Ssrc;

/// At most [`SSRC_MAX`] states. An SSRC is never forgotten: its indices stay used for as long as
/// the key lives.
#[derive(Debug)]
pub(super) struct Ssrcs<S> {
    slots: [(Ssrc, S); SSRC_MAX],
    used: usize,
}

/// Every slot is taken.
pub(super) struct Full;

impl<S: Copy> Ssrcs<S> {
    pub(super) fn new(empty: S) -> Self {
        Self { slots: [(Ssrc(0), empty); SSRC_MAX], used: 0 }
    }

    /// The state of `ssrc`, or `empty` when it has none yet and there is room for it.
    pub(super) fn peek(&self, ssrc: Ssrc, empty: S) -> Result<S, Full> {
        match self.slots.iter().take(self.used).find(|slot| slot.0 == ssrc) {
            Some(slot) => Ok(slot.1),
            None if self.used < SSRC_MAX => Ok(empty),
            None => Err(Full),
        }
    }

    /// The state of `ssrc`, which gets the next free slot if it has none.
    pub(super) fn entry(&mut self, ssrc: Ssrc) -> Result<&mut S, Full> {
        let taken = self.slots.iter().take(self.used).position(|slot| slot.0 == ssrc);
        let place = taken.unwrap_or(self.used);
        let slot = self.slots.get_mut(place).ok_or(Full)?;
        self.used = self.used.max(place + 1);
        slot.0 = ssrc;
        Ok(&mut slot.1)
    }
}
