//! State per SSRC: a small table, its first state inside the context.

use super::SSRC_MAX;
use crate::packet::Ssrc;
use alloc::boxed::Box;

/// At most [`SSRC_MAX`] states. An SSRC is never forgotten: its indices stay used for as long as
/// the key lives.
///
/// A leg has one source at a time, and mostly one in its life: the first state lies beside the keys
/// that its packets need, the others behind a pointer that is not followed for it.
#[derive(Debug)]
pub(super) struct Ssrcs<S> {
    used: u32,
    first: Ssrc,
    state: S,
    others: Box<[(Ssrc, S); SSRC_MAX - 1]>,
}

/// Every slot is taken.
pub(super) struct Full;

impl<S: Copy> Ssrcs<S> {
    /// The only allocation of the table.
    pub(super) fn new(empty: S) -> Self {
        let others = Box::new([(Ssrc(0), empty); SSRC_MAX - 1]);
        Self { used: 0, first: Ssrc(0), state: empty, others }
    }

    /// The state of `ssrc`, or `empty` when it has none yet and there is room for it.
    pub(super) fn peek(&self, ssrc: Ssrc, empty: S) -> Result<S, Full> {
        if self.used > 0 && self.first == ssrc {
            return Ok(self.state);
        }
        let used = self.others_used();
        match self.others.iter().take(used).find(|slot| slot.0 == ssrc) {
            Some(slot) => Ok(slot.1),
            None if used < self.others.len() => Ok(empty),
            None => Err(Full),
        }
    }

    /// The state of `ssrc`, which gets the next free slot if it has none.
    pub(super) fn entry(&mut self, ssrc: Ssrc) -> Result<&mut S, Full> {
        if self.used == 0 {
            (self.used, self.first) = (1, ssrc);
        }
        if self.first == ssrc {
            return Ok(&mut self.state);
        }
        let used = self.others_used();
        let taken = self.others.iter().take(used).position(|slot| slot.0 == ssrc);
        let slot = self.others.get_mut(taken.unwrap_or(used)).ok_or(Full)?;
        if taken.is_none() {
            self.used += 1;
        }
        slot.0 = ssrc;
        Ok(&mut slot.1)
    }

    fn others_used(&self) -> usize {
        self.used.saturating_sub(1) as usize
    }
}
