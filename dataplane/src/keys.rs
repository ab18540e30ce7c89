//! The master keys of one direction of a flow, and what becomes of its SRTP context when they
//! change.
//!
//! A context holds rollover counter, replay window and the indices that were used, so it must live
//! exactly as long as its key: stating the same key again changes nothing, and a key that comes
//! back after one other (a re-INVITE that failed and was rolled back) finds its context as it left
//! it. Otherwise a key stream would be used twice. Signaling draws a fresh key for whatever we send,
//! so an older key than the last one does not come back. A keyed direction never becomes plain.

use rtp::srtp::MasterKey;

/// Keys of one direction; `C` is its context ([`Ingress`](crate::admit::Ingress) or
/// [`Egress`](crate::admit::Egress)).
pub struct Keys<C> {
    current: Option<MasterKey>,
    parked: Option<Box<Parked<C>>>,
}

struct Parked<C> {
    key: MasterKey,
    context: C,
}

impl<C> Keys<C> {
    pub const NONE: Keys<C> = Keys { current: None, parked: None };

    /// Whether the direction may change to `next`: not from a key to none, and not to the secret of a
    /// known key under another suite or MKI, whose context would encrypt with the same key stream.
    pub fn permit(&self, next: Option<&MasterKey>) -> bool {
        let Some(next) = next else { return self.current.is_none() };
        let parked = self.parked.as_ref().map(|parked| &parked.key);
        let mut known = self.current.iter().chain(parked);
        known.all(|known| known == next || !known.shares_secret(next))
    }

    /// Whether the direction has a key.
    pub fn is_keyed(&self) -> bool {
        self.current.is_some()
    }

    /// Changes to `next`, and `context` with it. A change that is not permitted changes nothing.
    pub fn change(
        &mut self,
        next: Option<MasterKey>,
        context: &mut C,
        make: impl Fn(&MasterKey) -> C,
    ) {
        let Some(next) = next.filter(|next| self.current.as_ref() != Some(next)) else { return };
        let returning = self.parked.take_if(|parked| parked.key == next);
        let fresh = returning.map_or_else(|| make(&next), |parked| parked.context);
        let old = std::mem::replace(context, fresh);
        if let Some(key) = self.current.replace(next) {
            self.parked = Some(Box::new(Parked { key, context: old }));
        }
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
            let copy = change.as_ref().map(|_| ()).and_then(|()| {
                [1, 2, 3].into_iter().find(|byte| key(*byte) == *change).and_then(key)
            });
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
