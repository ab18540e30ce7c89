//! State per SSRC: a small table, its first state inside the context.

use super::SSRC_MAX;
use crate::packet::Ssrc;
use alloc::boxed::Box;

/// At most [`SSRC_MAX`] states. An SSRC is never forgotten: its indices stay used for as long as
/// the key lives.
///
/// A leg has one source at a time, and mostly one in its life: the first state lies beside the keys
/// that its packets need, the others behind a pointer that is not followed for it. It is kept for the
/// first source of RTP: who only reports, of whom there may be many, takes no place from the media.
#[derive(Debug)]
pub(super) struct Ssrcs<S> {
    /// Of the others.
    used: u16,
    has_first: bool,
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
        Self { used: 0, has_first: false, first: Ssrc(0), state: empty, others }
    }

    /// The state of `ssrc`, or `empty` when it has none yet and there is room for it.
    pub(super) fn peek(&self, ssrc: Ssrc, empty: S, of: Of) -> Result<S, Full> {
        if self.has_first && self.first == ssrc {
            return Ok(self.state);
        }
        let used = usize::from(self.used);
        match self.others.iter().take(used).find(|slot| slot.0 == ssrc) {
            Some(slot) => Ok(slot.1),
            None if used < self.others.len() || self.is_first(of) => Ok(empty),
            None => Err(Full),
        }
    }

    /// The state of `ssrc`, which gets a free slot if it has none.
    pub(super) fn entry(&mut self, ssrc: Ssrc, of: Of) -> Result<&mut S, Full> {
        if self.has_first && self.first == ssrc {
            return Ok(&mut self.state);
        }
        let used = usize::from(self.used);
        let place = self.others.iter().take(used).position(|slot| slot.0 == ssrc);
        if self.is_first(of) {
            (self.has_first, self.first) = (true, ssrc);
            // It has reported before: its state moves, for its indices stay used.
            if let Some(place) = place {
                let last = used.saturating_sub(1);
                self.others.swap(place, last);
                if let Some((_, state)) = self.others.get_mut(last) {
                    core::mem::swap(&mut self.state, state);
                }
                self.used -= 1;
            }
            return Ok(&mut self.state);
        }
        let slot = self.others.get_mut(place.unwrap_or(used)).ok_or(Full)?;
        if place.is_none() {
            self.used += 1;
        }
        slot.0 = ssrc;
        Ok(&mut slot.1)
    }

    /// Whether a new source of such packets is the first of RTP.
    fn is_first(&self, of: Of) -> bool {
        of == Of::Rtp && !self.has_first
    }
}

/// What a source sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Rtp,
    Rtcp,
}
