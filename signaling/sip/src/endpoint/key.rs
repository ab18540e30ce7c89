//! Keys under which messages find their transaction and dialog.
//!
//! Keys are built from bytes that peers choose, so the tables hash them with a secret: nobody can
//! make them collide. The secret comes from the seed, so a run can be repeated.

use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hasher};

use crate::wire::{Method, Request, Via};

use super::server::Facts;

pub(super) type Table<K, V> = HashMap<K, V, Keyed>;

/// A flat key: parts with their lengths.
pub(super) type Key = Box<[u8]>;

/// SipHash behind a secret prefix.
#[derive(Clone)]
pub(super) struct Keyed(pub(super) [u8; 32]);

impl BuildHasher for Keyed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.0);
        hasher
    }
}

/// The server transaction of a request (RFC 3261 §17.2.3) of the trunk `tag`: peers choose their
/// branches, so those of one trunk say nothing about the transactions of another. ACK has the key
/// of its INVITE; CANCEL asks with `Method::Invite` for the INVITE that it cancels.
pub(super) fn server(request: &Request, facts: &Facts, tag: u32, method: &Method) -> Key {
    let class = if *method == Method::Ack { &Method::Invite } else { method };
    let mut key = KeyBuilder::new();
    key.part(&tag.to_be_bytes());
    if facts.via.has_cookie() {
        let branch = facts.via.params.get("branch").map_or(&[][..], |branch| branch);
        key.part(branch);
        sent_by(&mut key, &facts.via);
    } else {
        // A peer of RFC 2543: the whole request identity. The To-tag is left out, because the ACK
        // has one and its INVITE has none.
        key.part(&[]);
        key.part(&facts.call_id);
        key.part(&facts.from_tag);
        key.part(&facts.cseq.number.to_be_bytes());
        key.part(request.uri.to_string().as_bytes());
        key.part(facts.via.to_string().as_bytes());
    }
    key.part(class.as_str().as_bytes());
    key.finish()
}

/// The identity of a request whatever way it came from the trunk `tag` (RFC 3261 §8.2.2.2).
pub(super) fn merged(facts: &Facts, tag: u32) -> Key {
    let mut key = KeyBuilder::new();
    key.part(&tag.to_be_bytes());
    key.part(&facts.call_id);
    key.part(&facts.from_tag);
    key.part(&facts.cseq.number.to_be_bytes());
    key.part(facts.cseq.method.as_str().as_bytes());
    key.finish()
}

pub(super) fn dialog(call_id: &[u8], local_tag: &[u8], remote_tag: &[u8]) -> Key {
    let mut key = KeyBuilder::new();
    key.part(call_id);
    key.part(local_tag);
    key.part(remote_tag);
    key.finish()
}

fn sent_by(key: &mut KeyBuilder, via: &Via) {
    key.part(via.host.to_string().to_ascii_lowercase().as_bytes());
    key.part(&via.port.unwrap_or(0).to_be_bytes());
}

struct KeyBuilder(Vec<u8>);

impl KeyBuilder {
    fn new() -> Self {
        Self(Vec::with_capacity(KEY_BYTES_USUAL))
    }

    /// The length goes first: no two lists of parts give the same key.
    fn part(&mut self, part: &[u8]) {
        self.0.extend_from_slice(&(part.len() as u32).to_be_bytes());
        self.0.extend_from_slice(part);
    }

    fn finish(self) -> Key {
        self.0.into_boxed_slice()
    }
}

/// Room for the parts of a usual key.
const KEY_BYTES_USUAL: usize = 160;
