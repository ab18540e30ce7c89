//! What a shard hands to another, through the queue that the edge fills too: nothing overtakes.
//!
//! ```text
//!   CANCEL whose INVITE is not here ────────────────────► the next shard, once round
//!   a message of a dialog that went over (`away.rs`) ───► the shard that has it
//!   a letter of a call to a call (`call/letter.rs`) ────► the shard of that call
//! ```
//! Nobody waits: what finds the other queue full comes back.

use crossbeam::channel::{Sender, TrySendError};

use crate::call::letter::Letter;
use crate::homes::Homes;
use crate::media::Token;
use crate::net::Inbound;

/// One shard's ways to all of them.
#[derive(Clone, Default)]
pub struct Post {
    number: usize,
    homes: Homes,
    inboxes: Vec<Sender<Inbound>>,
}

impl Post {
    /// Of the shard with this number; the queues of all shards, in their order.
    pub fn new(number: usize, homes: Homes, inboxes: Vec<Sender<Inbound>>) -> Self {
        Self { number, homes, inboxes }
    }

    pub fn number(&self) -> usize {
        self.number
    }

    pub fn homes(&self) -> Homes {
        self.homes
    }

    /// Where what is not here is looked for next; `None` when it was everywhere after `turns`.
    pub fn next(&self, turns: usize) -> Option<usize> {
        let shards = self.homes.count();
        (turns + 1 < shards).then(|| (self.number + 1) % shards)
    }

    /// Passes a message on; false when it is lost, because the other shard has no room for it.
    pub fn pass(&self, shard: usize, inbound: Inbound) -> bool {
        self.inboxes.get(shard).is_some_and(|inbox| inbox.try_send(inbound).is_ok())
    }

    /// Sends a letter.
    ///
    /// # Errors
    /// The letter, when the other shard has no room for it or has ended.
    pub fn send(&self, shard: usize, letter: Letter) -> Result<(), Box<Letter>> {
        let Some(inbox) = self.inboxes.get(shard) else { return Err(Box::new(letter)) };
        let sent = inbox.try_send(Inbound::Letter(Box::new(letter)));
        match sent.map_err(TrySendError::into_inner) {
            Err(Inbound::Letter(letter)) => Err(letter),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The name before the first call of this shard: what comes after it names the shard too.
    pub fn first_token(&self) -> Token {
        u64::try_from(self.number).unwrap_or_default() << TOKEN_BITS
    }

    /// The shard of a call, if that is another one.
    pub fn elsewhere(&self, call: Token) -> Option<usize> {
        let shard = usize::try_from(call >> TOKEN_BITS).unwrap_or(usize::MAX);
        (shard != self.number).then_some(shard)
    }
}

/// Bits of a call's name below the number of its shard: three billion calls a second for a day.
const TOKEN_BITS: u32 = 48;

#[cfg(test)]
mod tests {
    use sip::endpoint::{Hop, Transport};

    use super::*;

    fn failed() -> Inbound {
        let remote = "192.0.2.1:5060".parse().unwrap();
        Inbound::Failed { hop: Hop { transport: Transport::Udp, remote, connection: 0, tag: 0 } }
    }

    fn letter(from: Token) -> Letter {
        Letter::Unavailable { to: 1, from }
    }

    #[test]
    fn a_name_tells_the_shard_of_its_call() {
        for number in [0, 1, 15] {
            let post = Post::new(number, Homes::new(16, [1; 16]), Vec::new());
            let other = Post::new(3, Homes::new(16, [1; 16]), Vec::new());
            for call in [post.first_token() + 1, post.first_token() + (1 << 40)] {
                assert_eq!(post.elsewhere(call), None);
                assert_eq!(other.elsewhere(call), Some(number));
            }
        }
    }

    #[test]
    fn what_is_looked_for_goes_round_once() {
        let homes = Homes::new(3, [1; 16]);
        for first in 0..3 {
            let mut seen = vec![first];
            while let Some(next) =
                Post::new(*seen.last().unwrap(), homes, Vec::new()).next(seen.len() - 1)
            {
                seen.push(next);
            }
            seen.sort_unstable();
            assert_eq!(seen, [0, 1, 2]);
        }
        assert_eq!(Post::default().next(0), None, "who is alone looks nowhere");
    }

    #[test]
    fn what_finds_no_room_comes_back() {
        let (inbox, held) = crossbeam::channel::bounded(1);
        let post = Post::new(0, Homes::new(2, [1; 16]), vec![inbox.clone(), inbox]);
        assert!(post.pass(1, failed()));
        assert!(!post.pass(1, failed()), "full");
        let back = |shard| match post.send(shard, letter(7)).map_err(|letter| *letter) {
            Err(Letter::Unavailable { from: 7, .. }) => true,
            sent => panic!("{sent:?}"),
        };
        assert!(back(1), "full");
        assert!(back(2) && !post.pass(2, failed()), "there is none");
        assert!(held.try_recv().is_ok() && post.send(0, letter(8)).is_ok(), "there is room");
        drop(held);
        assert!(back(0) && !post.pass(0, failed()), "it has ended");
    }
}
