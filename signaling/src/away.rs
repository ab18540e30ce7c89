//! Dialogs that are at home on this shard and went over to another one, because a transfer joined
//! them with one there. What comes for them is passed on for as long as they live.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;

/// Held by who has a dialog that went over, for as long as it lives.
pub type Trail = Arc<()>;

/// By our tag.
#[derive(Default)]
pub struct Away {
    gone: HashMap<Bytes, Gone>,
    swept: Option<Instant>,
}

struct Gone {
    shard: usize,
    hop_tag: u32,
    lives: Weak<()>,
    /// Since when it is known to be over.
    over: Option<Instant>,
}

impl Away {
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty()
    }

    /// Whether another shard waits for what comes for one of them.
    pub fn is_needed(&self) -> bool {
        self.gone.values().any(|gone| gone.lives.strong_count() > 0)
    }

    /// Whether another dialog may go over.
    pub fn has_room(&self) -> bool {
        self.gone.len() < AWAY_MAX
    }

    /// The dialog with this tag of ours, of the trunk that `hop_tag` names, lives there from now on.
    pub fn leave(&mut self, tag: Bytes, hop_tag: u32, shard: usize, trail: &Trail) {
        self.gone.insert(tag, Gone { shard, hop_tag, lives: Arc::downgrade(trail), over: None });
    }

    /// It is here again.
    pub fn come_back(&mut self, tag: &Bytes) {
        self.gone.remove(tag);
    }

    /// Where it is, and its trunk's hop tag.
    pub fn find(&self, tag: &Bytes) -> Option<(usize, u32)> {
        self.gone.get(tag).map(|gone| (gone.shard, gone.hop_tag))
    }

    /// When [`Away::tend`] is due.
    pub fn due(&self) -> Option<Instant> {
        let swept = self.swept.filter(|_| !self.gone.is_empty());
        swept.and_then(|swept| swept.checked_add(SWEEP))
    }

    /// Forgets those that are over, once nothing of them is on its way any more.
    pub fn tend(&mut self, now: Instant) {
        if self.gone.is_empty() {
            self.swept = None;
            return;
        }
        let swept = *self.swept.get_or_insert(now);
        if now.saturating_duration_since(swept) < SWEEP {
            return;
        }
        self.swept = Some(now);
        self.gone.retain(|_, gone| {
            if gone.lives.strong_count() > 0 {
                return true;
            }
            now.saturating_duration_since(*gone.over.get_or_insert(now)) < LINGER
        });
    }
}

/// Dialogs of one shard that others have.
pub const AWAY_MAX: usize = 16_384;
/// How often those that are over are looked for.
const SWEEP: Duration = Duration::from_secs(10);
/// A BYE is repeated, and its answer awaited, for 32 s (RFC 3261 §17.1.2.2).
const LINGER: Duration = Duration::from_secs(40);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialog_is_found_while_it_lives_and_a_little_longer() {
        let (mut away, start) = (Away::default(), Instant::now());
        let (tag, trail) = (Bytes::from_static(b"ours"), Trail::default());
        assert!(away.is_empty() && away.due().is_none());
        away.leave(tag.clone(), 7, 1, &trail);
        let mut now = start;
        let mut pass = |away: &mut Away, seconds: u64| {
            for _ in 0..seconds {
                now += Duration::from_secs(1);
                away.tend(now);
            }
        };
        pass(&mut away, 10_000);
        assert_eq!(away.find(&tag), Some((1, 7)));
        assert!(away.due().is_some() && away.is_needed());
        drop(trail);
        assert!(!away.is_needed());
        pass(&mut away, 32);
        assert_eq!(away.find(&tag), Some((1, 7)), "its BYE may be on its way");
        pass(&mut away, 40);
        assert!(away.is_empty() && away.due().is_none());
    }

    #[test]
    fn who_comes_back_is_not_away() {
        let (mut away, trail) = (Away::default(), Trail::default());
        let tag = Bytes::from_static(b"ours");
        away.leave(tag.clone(), 7, 1, &trail);
        away.come_back(&tag);
        assert_eq!(away.find(&tag), None);
    }

    #[test]
    fn so_many_may_be_away_and_no_more() {
        let (mut away, trail) = (Away::default(), Trail::default());
        for number in 0..AWAY_MAX {
            assert!(away.has_room(), "{number}");
            away.leave(Bytes::from(number.to_string()), 7, 1, &trail);
        }
        assert!(!away.has_room());
        away.come_back(&Bytes::from_static(b"0"));
        assert!(away.has_room());
    }
}
