//! What shards tell each other: little, and nothing of a call.
//!
//! ```text
//!   first shard ── how trunks stand, what registrars want ──► the others
//!               ◄─ who answered calls and who did not ───────
//! ```
//! The first shard alone registers trunks and probes them, so that a peer sees one gateway. Nobody
//! waits for anybody: what is told is read at the hearer's next turn, at the latest after a second.

use std::time::Instant;

use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};

use crate::trunk::{Standing, TrunkId};

/// What the first shard tells the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Word {
    /// How a trunk stands.
    Standing(TrunkId, Standing),
    /// The Route that a trunk's registrar wants (RFC 3608); empty for none.
    ServiceRoute(TrunkId, Vec<Bytes>),
}

/// What the others tell the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hint {
    /// A trunk's peer answered a call.
    Answered(TrunkId),
    /// An INVITE to a trunk got no answer at all.
    Unanswered(TrunkId, Instant),
}

/// One shard's ties to the others.
pub enum Ties {
    /// It registers and probes.
    First { others: Vec<Sender<Word>>, hints: Receiver<Hint> },
    /// It is told.
    Other { words: Receiver<Word>, first: Sender<Hint> },
}

impl Default for Ties {
    /// Of a shard that is alone.
    fn default() -> Self {
        Self::First { others: Vec::new(), hints: crossbeam::channel::never() }
    }
}

impl Ties {
    /// Between so many shards, in their order.
    pub fn between(shards: usize) -> Vec<Self> {
        let (first, hints) = bounded(HINTS_MAX);
        // No more than one for each trunk and second, and read as often.
        let (others, words): (Vec<_>, Vec<_>) = (1..shards).map(|_| unbounded()).unzip();
        let others_of = |words| Self::Other { words, first: first.clone() };
        let tail: Vec<_> = words.into_iter().map(others_of).collect();
        std::iter::once(Self::First { others, hints }).chain(tail).collect()
    }

    /// Whether this is the shard that registers and probes.
    pub fn is_first(&self) -> bool {
        matches!(self, Self::First { .. })
    }

    /// Whether anybody is told.
    pub fn has_others(&self) -> bool {
        matches!(self, Self::First { others, .. } if !others.is_empty())
    }

    /// Tells the others.
    pub fn say(&self, word: &Word) {
        if let Self::First { others, .. } = self {
            for other in others {
                let _ended = other.send(word.clone());
            }
        }
    }

    /// Tells the first. What finds no room is lost: the next call says the same.
    pub fn hint(&self, hint: Hint) {
        if let Self::Other { first, .. } = self {
            let _ended_or_behind = first.try_send(hint);
        }
    }

    /// What the first said since.
    pub fn words(&self) -> Vec<Word> {
        match self {
            Self::First { .. } => Vec::new(),
            Self::Other { words, .. } => words.try_iter().collect(),
        }
    }

    /// What the others said since.
    pub fn hints(&self) -> Vec<Hint> {
        match self {
            Self::First { hints, .. } => hints.try_iter().take(HINTS_MAX).collect(),
            Self::Other { .. } => Vec::new(),
        }
    }
}

/// Hints that wait for the first shard.
pub const HINTS_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_hears_all_and_all_hear_the_first() {
        let ties = Ties::between(3);
        assert!(ties[0].is_first() && ties[0].has_others());
        let word = Word::ServiceRoute(TrunkId(1), vec![Bytes::from_static(b"<sip:a;lr>")]);
        ties[0].say(&word);
        for (number, other) in ties.iter().enumerate().skip(1) {
            assert!(!other.is_first() && !other.has_others(), "{number}");
            assert_eq!(other.words(), std::slice::from_ref(&word));
            assert!(other.words().is_empty(), "once");
            other.hint(Hint::Answered(TrunkId(9)));
        }
        assert_eq!(ties[0].hints(), [Hint::Answered(TrunkId(9)); 2]);
        assert!(ties[0].hints().is_empty() && ties[0].words().is_empty());
    }

    #[test]
    fn hints_that_nobody_takes_are_lost_and_hold_up_nobody() {
        let ties = Ties::between(2);
        for _ in 0..=HINTS_MAX {
            ties[1].hint(Hint::Answered(TrunkId(1)));
        }
        assert_eq!(ties[0].hints().len(), HINTS_MAX);
        let alone = Ties::default();
        assert!(alone.is_first() && !alone.has_others() && alone.hints().is_empty());
    }
}
