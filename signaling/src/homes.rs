//! Which shard a call lives on: the one that its Call-ID hashes to, unless it takes the place of a
//! running one.
//!
//! ```text
//!   a request with our tag in To, an answer with our tag in From ─► where the tag is at home
//!   an INVITE that names a dialog of ours (Replaces) ─────────────► where our tag of that is
//!   any other request ────────────────────────────────────────────► where its Call-ID is
//! ```
//! Call-IDs and tags of ours are drawn until they are at home on the shard that uses them. So
//! everything of a dialog comes to one shard, that of both legs of a call to the same, and who replaces
//! a leg comes to where that lives, whatever Call-ID it has. The hash has a key, so that no peer can
//! choose whom it loads.
//!
//! The CANCEL of an INVITE with Replaces names no dialog: it goes where its Call-ID is, and from there
//! to the shard that has the INVITE (`shard/passing.rs`). So does what is of a dialog that went over to
//! another shard (`away.rs`).

use std::hash::{DefaultHasher, Hasher};

use bytes::Bytes;
use sip::wire::{Message, Method, NameAddr, ParseError, Request};

/// Knows where every Call-ID and tag is at home.
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
    pub fn of(&self, name: &[u8]) -> usize {
        if self.shards == 1 {
            return 0;
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.key);
        hasher.write(name);
        let shards = u64::try_from(self.shards).unwrap_or(1);
        usize::try_from(hasher.finish() % shards).unwrap_or_default()
    }

    /// The same of a message; one without any name, which no shard will understand, goes to the
    /// first.
    pub fn of_message(&self, message: &Message) -> usize {
        if self.shards == 1 {
            return 0;
        }
        let headers = match message {
            Message::Request(request) => &request.headers,
            Message::Response(response) => &response.headers,
        };
        our_tag(message).or_else(|| headers.call_id().ok()).map_or(0, |name| self.of(&name))
    }
}

/// Our tag of the dialog that a message is of, or that it wants to replace.
pub fn our_tag(message: &Message) -> Option<Bytes> {
    match message {
        Message::Request(request) => tag(request.headers.to()).or_else(|| replaced(request)),
        Message::Response(response) => tag(response.headers.from()),
    }
}

fn tag(address: Result<NameAddr, ParseError>) -> Option<Bytes> {
    address.ok()?.tag().cloned()
}

/// Our tag of the dialog that a new INVITE is to replace.
fn replaced(request: &Request) -> Option<Bytes> {
    let invites = request.method == Method::Invite;
    let named = invites.then(|| request.headers.replaces().ok().flatten()).flatten();
    named.map(|named| named.to_tag)
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

    fn message(text: &str) -> Message {
        let head = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nCSeq: 1 INVITE\r\n";
        let text = text.replacen('\n', "\r\n", 9).replace("Call-ID", &format!("{head}Call-ID"));
        sip::wire::parse(format!("{text}\r\nContent-Length: 0\r\n\r\n").into()).unwrap()
    }

    #[test]
    fn a_message_goes_where_our_tag_is_at_home_and_else_where_its_call_id_is() {
        let homes = Homes::new(2, [7; 16]);
        let named = |home: usize| {
            let mut names = (0..100).map(|number| format!("name{number}"));
            names.find(|name| homes.of(name.as_bytes()) == home).unwrap()
        };
        for (here, there) in [(0, 1), (1, 0)] {
            let (ours, theirs) = (named(here), named(there));
            let request = "INVITE sip:a@b SIP/2.0\nFrom: <sip:a@b>;tag=THEIRS\nCall-ID: THEIRS\n";
            let answer = "SIP/2.0 200 OK\nTo: <sip:a@b>;tag=THEIRS\nCall-ID: THEIRS\n";
            let replaces = "To: <sip:a@b>\nReplaces: THEIRS;to-tag=OURS;from-tag=THEIRS";
            for (text, home) in [
                (format!("{request}To: <sip:a@b>"), there),
                (format!("{request}To: <sip:a@b>;tag=OURS"), here),
                (format!("{request}{replaces}"), here),
                (format!("{request}{replaces}\nReplaces: x;to-tag=OURS;from-tag=1"), there),
                (format!("{answer}From: <sip:a@b>;tag=OURS"), here),
                (format!("{answer}From: <sip:a@b>"), there),
            ] {
                let text = text.replace("OURS", &ours).replace("THEIRS", &theirs);
                assert_eq!(homes.of_message(&message(&text)), home, "{text}");
            }
        }
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
