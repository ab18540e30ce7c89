//! A map that forgets: what a transaction must still answer after it is over (RFC 3261 §17, timers
//! D, I, J, all at most 32 s).

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Entries are forgotten some time after they were first put in.
pub struct Recent<K, V> {
    entries: HashMap<K, V>,
    order: VecDeque<(Instant, K)>,
    keep: Duration,
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    pub fn new(keep: Duration) -> Recent<K, V> {
        Recent { entries: HashMap::new(), order: VecDeque::new(), keep }
    }

    pub fn insert(&mut self, now: Instant, key: K, value: V) {
        while let Some((since, key)) = self.order.front() {
            if now.saturating_duration_since(*since) < self.keep {
                break;
            }
            self.entries.remove(key);
            self.order.pop_front();
        }
        if self.entries.insert(key.clone(), value).is_none() {
            self.order.push_back((now, key));
        }
    }

    pub fn find(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_kept_replaced_and_forgotten() {
        let mut recent = Recent::new(Duration::from_secs(32));
        let start = Instant::now();
        recent.insert(start, "a", 1);
        recent.insert(start + Duration::from_secs(20), "a", 2);
        recent.insert(start + Duration::from_secs(31), "b", 3);
        assert_eq!(recent.find(&"a"), Some(&2));
        recent.insert(start + Duration::from_secs(32), "c", 4);
        assert_eq!(recent.find(&"a"), None);
        assert_eq!(recent.find(&"b"), Some(&3));
    }
}
