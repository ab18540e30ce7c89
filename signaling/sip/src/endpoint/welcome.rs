//! Whether new calls are taken: refused before anything is kept of them, or let in past what is full.

use super::{Endpoint, reserve};
use crate::wire::Method;

/// What becomes of INVITEs outside of dialogs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Welcome {
    /// Taken while there is room.
    #[default]
    Open,
    /// Refused with 503 and Retry-After. What runs, repetitions included, goes on.
    Shed,
    /// Taken, with the places that are kept for dialogs that live: an emergency call.
    Urgent,
}

impl Endpoint {
    /// What becomes of new calls from now on; `Urgent` counts for INVITEs of our own too.
    pub fn welcome(&mut self, welcome: Welcome) {
        self.welcome = welcome;
    }

    /// Whether a new call that is not urgent would be refused because a table is full.
    pub fn is_full(&self) -> bool {
        !self.has_room(false) || self.dialogs.is_full(0)
    }

    /// Whether a new request of either side is within the limits.
    pub(super) fn fits(&self, method: &Method) -> Result<(), Full> {
        let is_invite = *method == Method::Invite;
        let is_urgent = is_invite && self.welcome == Welcome::Urgent;
        if !self.has_room(is_urgent) {
            return Err(Full::Transactions);
        }
        let more = if is_urgent { reserve(self.dialogs.limit()) } else { 0 };
        match is_invite && self.dialogs.is_full(more) {
            true => Err(Full::Dialogs),
            false => Ok(()),
        }
    }
}

/// The table that has no place.
pub(super) enum Full {
    Transactions,
    Dialogs,
}
