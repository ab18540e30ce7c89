//! What is remembered of groups between calls: whose turn it is, which all shards count together,
//! and who said 503, which each finds out by itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{GroupId, PENALTY, PENALTY_MAX};
use crate::trunk::TrunkId;

/// Turns and penalties. As large as there are groups and trunks.
#[derive(Default, Debug)]
pub struct Memory {
    turns: HashMap<GroupId, Arc<AtomicU64>>,
    penalties: HashMap<TrunkId, Instant>,
}

impl Memory {
    /// Counts turns with the other shards from now on.
    pub fn share(&mut self, turns: &HashMap<GroupId, Arc<AtomicU64>>) {
        self.turns.clone_from(turns);
    }

    /// The number of this call among the group's calls, from 0.
    pub fn take_turn(&mut self, group: GroupId) -> u64 {
        self.turns.entry(group).or_default().fetch_add(1, Ordering::Relaxed)
    }

    /// The number that the group's next call will have.
    pub fn next_turn(&self, group: GroupId) -> u64 {
        self.turns.get(&group).map_or(0, |turn| turn.load(Ordering::Relaxed))
    }

    /// A trunk said 503: it is asked last for [`PENALTY`], or for as long as its Retry-After says,
    /// within [`PENALTY_MAX`].
    pub fn penalise(&mut self, trunk: TrunkId, now: Instant, retry_after: Option<Duration>) {
        let time = retry_after.unwrap_or(PENALTY).min(PENALTY_MAX);
        self.penalties.retain(|_, until| *until > now);
        if let Some(until) = now.checked_add(time) {
            self.penalties.insert(trunk, until);
        }
    }

    /// A trunk rang or answered.
    pub fn forgive(&mut self, trunk: TrunkId) {
        self.penalties.remove(&trunk);
    }

    /// Whether a trunk is to be asked last.
    pub fn is_penalised(&self, trunk: TrunkId, now: Instant) -> bool {
        self.penalties.get(&trunk).is_some_and(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted_for_each_group() {
        let mut memory = Memory::default();
        let (a, b) = (GroupId(1), GroupId(2));
        assert_eq!([memory.take_turn(a), memory.take_turn(a), memory.take_turn(b)], [0, 1, 0]);
        assert_eq!((memory.next_turn(a), memory.next_turn(GroupId(3))), (2, 0));
        let shared = HashMap::from([(a, Arc::new(AtomicU64::new(7)))]);
        let mut other = Memory::default();
        memory.share(&shared);
        other.share(&shared);
        assert_eq!([memory.take_turn(a), other.take_turn(a), memory.next_turn(a)], [7, 8, 9]);
    }

    #[test]
    fn a_penalty_has_its_time() {
        let mut memory = Memory::default();
        let (trunk, start) = (TrunkId(1), Instant::now());
        let hour = Some(Duration::from_secs(3_600));
        for (retry_after, time) in [
            (None, PENALTY),
            (Some(Duration::from_secs(5)), Duration::from_secs(5)),
            (hour, PENALTY_MAX),
        ] {
            assert!(!memory.is_penalised(trunk, start));
            memory.penalise(trunk, start, retry_after);
            assert!(memory.is_penalised(trunk, start + time - Duration::from_millis(1)));
            assert!(!memory.is_penalised(trunk, start + time), "{retry_after:?}");
            assert!(!memory.is_penalised(TrunkId(2), start));
            memory.forgive(trunk);
        }
        memory.penalise(trunk, start, None);
        memory.penalise(TrunkId(2), start + PENALTY, None);
        assert_eq!(memory.penalties.len(), 1, "what is over is not kept");
    }
}
