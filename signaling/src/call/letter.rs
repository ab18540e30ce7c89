//! What a call tells one of another shard. Calls tell each other happenings (`desk.tell_call`); what
//! is for a call elsewhere becomes a letter (`table/letters.rs`), and a happening again there.

use std::fmt;

use sip::endpoint::Carried;
use sip::wire::{Replaces, StatusCode};

use super::Party;
use super::common::Leg;
use crate::media::{Side, Token};
use crate::trunk::TrunkId;

/// To a call of another shard, or to that shard.
pub enum Letter {
    /// Who has that dialog?
    Seek(Seek),
    /// It was found for a transfer that this side of this call asked for, or why not.
    Found { to: Token, party: Party, found: Result<Box<Found>, StatusCode> },
    /// As the happening of this name.
    Wanted { to: Token, by: Token, id: String, party: Party },
    /// The side that was wanted, with its dialog.
    Guest { to: Token, from: Token, leg: Box<Leg>, dialog: Carried },
    /// As the happening of this name.
    Unavailable { to: Token, from: Token },
    /// As the happening of this name.
    Progress { to: Token, status: StatusCode },
}

/// An attended transfer looks for the dialog that it names.
pub struct Seek {
    /// The side that asked.
    pub from: Token,
    pub party: Party,
    /// The trunk of both dialogs.
    pub trunk: TrunkId,
    pub replaces: Replaces,
    /// How often it was passed on.
    pub turns: usize,
}

/// The other side of the dialog that is named: who goes over.
pub struct Found {
    pub call: Token,
    pub party: Party,
    /// As it is without its peer.
    pub leg: Leg,
    /// Its ports.
    pub side: Side,
    /// Its number.
    pub called: String,
}

#[cfg(test)]
impl Letter {
    pub fn is_guest(&self) -> bool {
        matches!(self, Self::Guest { .. })
    }
}

/// Its name alone: it may carry keys.
impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seek(_) => "Seek",
            Self::Found { .. } => "Found",
            Self::Wanted { .. } => "Wanted",
            Self::Guest { .. } => "Guest",
            Self::Unavailable { .. } => "Unavailable",
            Self::Progress { .. } => "Progress",
        })
    }
}
