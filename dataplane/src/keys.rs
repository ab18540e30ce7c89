//! The master keys of one direction of a flow, and what becomes of its SRTP context when they
//! change.
//!
//! A context holds rollover counter, replay window and the indices that were used, so it must live
//! exactly as long as its key: stating the same key again changes nothing, and a key that comes
//! back after others finds its context as it left it. An offer has one key for each suite, and the
//! answers of its forks may choose now one, now another. Otherwise a key stream would be used twice.
//! A key whose context was given up is refused. A keyed direction never becomes plain.

use rtp::srtp::MasterKey;

use crate::limits::{CONTEXTS_PARKED_MAX, KEYS_MAX};

/// Keys of one direction; `C` is its context ([`Ingress`](crate::admit::Ingress) or
/// [`Egress`](crate::admit::Egress)).
pub struct Keys<C> {
    current: Option<MasterKey>,
    /// Those before it, the latest last. Reserved whole by the first change: a list that grew would
    /// leave copies of its keys behind.
    past: Vec<Past<C>>,
}

struct Past<C> {
    key: MasterKey,
    /// `None`: given up for later ones.
    context: Option<Box<C>>,
}

impl<C> Keys<C> {
    pub const NONE: Keys<C> = Keys { current: None, past: Vec::new() };

    /// Whether the direction may change to `next`: not from a key to none, not back to a key whose
    /// context was given up, not to the secret of a known key under another suite or MKI, whose
    /// context would encrypt with the same key stream, and not to more than [`KEYS_MAX`] keys.
    pub fn permit(&self, next: Option<&MasterKey>) -> bool {
        let Some(next) = next else { return self.current.is_none() };
        if self.current.as_ref() == Some(next) {
            return true;
        }
        match self.past.iter().find(|past| past.key == *next) {
            Some(past) => past.context.is_some(),
            None => !self.know(next) && self.past.len() + 1 < KEYS_MAX,
        }
    }

    /// Whether the direction has or had a key with the secret of `key`.
    pub fn know(&self, key: &MasterKey) -> bool {
        let past = self.past.iter().map(|past| &past.key);
        self.current.iter().chain(past).any(|known| known.shares_secret(key))
    }

    /// Whether the direction has a key.
    pub fn is_keyed(&self) -> bool {
        self.current.is_some()
    }

    /// Changes to `next`, and `context` with it. What is not permitted must not come here; no key at
    /// all changes nothing.
    pub fn change(
        &mut self,
        next: Option<MasterKey>,
        context: &mut C,
        make: impl Fn(&MasterKey) -> C,
    ) {
        let Some(next) = next.filter(|next| self.current.as_ref() != Some(next)) else { return };
        let Some(current) = &mut self.current else {
            *context = make(&next);
            self.current = Some(next);
            return;
        };
        let returning = self.past.iter().position(|past| past.key == next);
        if let Some(past) = returning.and_then(|place| self.past.get_mut(place..)) {
            past.rotate_left(1);
        } else {
            self.past.reserve_exact(KEYS_MAX.saturating_sub(self.past.len()));
            let fresh = Box::new(make(&next));
            self.past.push(Past { key: next, context: Some(fresh) });
        }
        // The last one is now the one to change to: it and the current one trade places.
        if let Some(Past { key, context: Some(parked) }) = self.past.last_mut() {
            std::mem::swap(current, key);
            std::mem::swap(context, parked);
        }
        let parked = self.past.iter_mut().rev().filter(|past| past.context.is_some());
        parked.skip(CONTEXTS_PARKED_MAX).for_each(|past| past.context = None);
    }
}

#[cfg(test)]
mod tests {
    use rtp::srtp::Suite;

    use super::*;

    fn key(byte: u8) -> Option<MasterKey> {
        let suite = Suite::AesCm128HmacSha1_80;
        Some(MasterKey::new(suite, &[byte; 16], &[byte; 14]).unwrap())
    }

    /// Contexts here are numbers: 0 is plain, each made one is new.
    fn follow(changes: &[Option<MasterKey>]) -> u32 {
        let made = std::cell::Cell::new(0);
        let make = |_: &MasterKey| {
            made.set(made.get() + 1);
            made.get()
        };
        let (mut keys, mut context) = (Keys::NONE, 0);
        for change in changes {
            let copy = change
                .as_ref()
                .map(|_| ())
                .and_then(|()| (0..=u8::MAX).find(|byte| key(*byte) == *change).and_then(key));
            keys.change(copy, &mut context, make);
        }
        context
    }

    #[test]
    fn a_context_lives_as_long_as_its_key() {
        assert_eq!(follow(&[None]), 0);
        assert_eq!(follow(&[key(1)]), 1);
        assert_eq!(follow(&[key(1), key(1)]), 1, "an unchanged key keeps its context");
        assert_eq!(follow(&[key(1), key(2)]), 2, "a changed key starts afresh");
        assert_eq!(follow(&[key(1), key(2), key(1)]), 1, "a rolled back key finds its context");
        assert_eq!(follow(&[key(1), key(2), key(1), key(2)]), 2);
        assert_eq!(follow(&[key(1), key(2), key(3), key(1)]), 1, "two others came between");
        assert_eq!(follow(&[key(1), key(2), key(3), key(1), key(2), key(3)]), 3);
    }

    /// As many keys as one offer has may take turns; of older ones it is known that they were.
    #[test]
    fn a_key_whose_context_was_given_up_does_not_come_back() {
        let (mut keys, mut context) = (Keys::NONE, 0);
        let last = CONTEXTS_PARKED_MAX as u8 + 2;
        for byte in 1..=last {
            keys.change(key(byte), &mut context, |_| byte);
        }
        assert!(!keys.permit(key(1).as_ref()));
        for byte in (2..=last).chain(2..=last) {
            assert!(keys.permit(key(byte).as_ref()));
            keys.change(key(byte), &mut context, |_| 0);
            assert_eq!(context, byte);
        }
        let other_suite = MasterKey::new(Suite::AesCm128HmacSha1_32, &[1; 16], &[1; 14]).unwrap();
        assert!(!keys.permit(Some(&other_suite)), "the same key stream");
    }

    #[test]
    fn a_direction_has_so_many_keys_and_not_one_more() {
        let (mut keys, mut context) = (Keys::NONE, 0);
        for byte in 1..=KEYS_MAX as u8 {
            assert!(keys.permit(key(byte).as_ref()));
            keys.change(key(byte), &mut context, |_| byte);
        }
        let reserved = keys.past.capacity();
        assert_eq!((reserved, keys.past.len() + 1), (KEYS_MAX, KEYS_MAX));
        assert!(!keys.permit(key(KEYS_MAX as u8 + 1).as_ref()));
        assert!(keys.permit(key(KEYS_MAX as u8 - 1).as_ref()), "the known ones go on");
    }

    #[test]
    fn a_keyed_direction_never_becomes_plain() {
        let (mut keys, mut context) = (Keys::NONE, 0);
        assert!(keys.permit(None));
        keys.change(key(1), &mut context, |_| 1);
        assert!(!keys.permit(None));
        keys.change(None, &mut context, |_| 2);
        assert_eq!(context, 1);
        assert!(keys.permit(key(2).as_ref()));
    }
}
