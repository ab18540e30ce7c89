//! Which shard a call lives on: the one that its Call-ID hashes to.
//!
//! Requests of one dialog and the answers to ours carry one Call-ID, so everything of a leg comes to
//! one shard; the other leg's Call-ID is ours to choose, and is drawn until it is at home there too.
//! The hash has a key, so that no peer can choose whom it loads.

use std::hash::{DefaultHasher, Hasher};

use sip::wire::Message;

/// Knows every Call-ID's shard.
#[derive(Clone, Copy, Debug)]
pub struct Homes {
    shards: usize,
    key: [u8; 16],
}

impl Default for Homes {
    fn default() -> Self {
        Self { shards: 1, key: [0; 16] }
    }
}

impl Homes {
    /// For so many shards, at least one; `key` is secret and random.
    pub fn new(shards: usize, key: [u8; 16]) -> Self {
        Self { shards: shards.max(1), key }
    }

    /// How many shards there are.
    pub fn count(&self) -> usize {
        self.shards
    }

    /// The number of the shard, from 0.
    pub fn of(&self, call_id: &[u8]) -> usize {
        if self.shards == 1 {
            return 0;
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.key);
        hasher.write(call_id);
        let shards = u64::try_from(self.shards).unwrap_or(1);
        usize::try_from(hasher.finish() % shards).unwrap_or_default()
    }

    /// The same of a message; one without a Call-ID, which no shard will understand, goes to the
    /// first.
    pub fn of_message(&self, message: &Message) -> usize {
        let headers = match message {
            Message::Request(request) => &request.headers,
            Message::Response(response) => &response.headers,
        };
        headers.call_id().map_or(0, |call_id| self.of(&call_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_ids_are_spread_evenly_and_never_move() {
        let homes = Homes::new(4, [7; 16]);
        let mut counts = [0; 4];
        for number in 0..8_000 {
            let call_id = format!("call-{number}@example");
            let home = homes.of(call_id.as_bytes());
            assert_eq!(home, homes.of(call_id.as_bytes()));
            counts[home] += 1;
        }
        assert!(counts.iter().all(|count| (1_800..2_200).contains(count)), "{counts:?}");
    }

    #[test]
    fn who_does_not_know_the_key_cannot_choose_a_shard() {
        let (homes, other) = (Homes::new(2, [1; 16]), Homes::new(2, [2; 16]));
        let same = (0..1_000_u32).filter(|n| {
            let call_id = n.to_string();
            homes.of(call_id.as_bytes()) == other.of(call_id.as_bytes())
        });
        assert!((400..600).contains(&same.count()));
        assert_eq!(Homes::default().of(b"anything"), 0);
    }
}
