//! The dialogs of an endpoint: found by id and by Call-ID with tags, never more than allowed.
//!
//! An INVITE in progress holds a reservation, so that the dialog of its first answer always fits;
//! further forks fit only while there is room.

use std::time::Duration;

use bytes::Bytes;

use super::config::Stays;
use super::key::{self, Key, Keyed, Table};
use super::schedule::Armed;
use super::{ClientId, DialogId, Hop, ServerId};
use crate::dialog::Dialog;
use crate::wire::HeaderName;

pub(super) struct Entry {
    pub(super) dialog: Dialog,
    /// The way of the message that made the dialog, with the connection last used by the peer.
    pub(super) hop: Hop,
    pub(super) armed: Armed,
    /// The INVITE without final response.
    pub(super) invite: Option<Invite>,
    /// Our 2xx without ACK.
    pub(super) unacked: Option<Unacked>,
    /// The peer's 2xx that the user has not acknowledged.
    pub(super) to_ack: Option<ToAck>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Invite {
    Ours(ClientId),
    Theirs(ServerId),
}

pub(super) struct Unacked {
    pub(super) hop: Hop,
    pub(super) bytes: Bytes,
    /// CSeq number that its ACK must have.
    pub(super) number: u32,
    pub(super) interval: Duration,
    /// The INVITE offered: nothing is missing but the ACK itself.
    pub(super) is_settled: bool,
}

pub(super) struct ToAck {
    pub(super) client: ClientId,
    pub(super) number: u32,
    /// Authorization fields of the INVITE; its ACK repeats them (RFC 3261 §22.1).
    pub(super) credentials: Vec<(HeaderName, Bytes)>,
}

impl Entry {
    pub(super) fn new(dialog: Dialog, hop: Hop, invite: Invite) -> Self {
        let armed = Armed::default();
        Entry { dialog, hop, armed, invite: Some(invite), unacked: None, to_ack: None }
    }

    /// A dialog without an INVITE that runs: no INVITE made it, or that is over.
    pub(super) fn quiet(dialog: Dialog, hop: Hop) -> Self {
        let armed = Armed::default();
        Entry { dialog, hop, armed, invite: None, unacked: None, to_ack: None }
    }

    /// Where the next request of the dialog goes.
    pub(super) fn next_hop(&self, stays: &Stays) -> Hop {
        self.hop.toward(self.dialog.next_hop(), stays)
    }

    /// An INVITE of ours runs: another one from the peer collides with it.
    pub(super) fn our_invite_runs(&self) -> bool {
        matches!(self.invite, Some(Invite::Ours(_))) || self.to_ack.is_some()
    }

    /// An INVITE of the peer runs: its final response or the ACK for that is missing.
    pub(super) fn their_invite_runs(&self) -> bool {
        matches!(self.invite, Some(Invite::Theirs(_))) || self.unacked.is_some()
    }

    /// The INVITE of the peer that has no final response yet.
    pub(super) fn their_invite(&self) -> Option<ServerId> {
        match self.invite {
            Some(Invite::Theirs(id)) => Some(id),
            _ => None,
        }
    }

    /// The INVITE that ended was this one.
    pub(super) fn invite_ended(&mut self, invite: Invite) {
        if self.invite == Some(invite) {
            self.invite = None;
        }
    }
}

pub(super) struct Dialogs {
    table: Table<DialogId, Box<Entry>>,
    index: Table<Key, DialogId>,
    reserved: usize,
    limit: usize,
}

impl Dialogs {
    pub(super) fn new(limit: usize, keyed: &Keyed) -> Self {
        let (table, index) = (Table::with_hasher(keyed.clone()), Table::with_hasher(keyed.clone()));
        Dialogs { table, index, reserved: 0, limit }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether there is no place within the limit and so many `more`.
    pub(super) fn is_full(&self, more: usize) -> bool {
        self.table.len() + self.reserved >= self.limit.saturating_add(more)
    }

    /// Keeps a place for the first dialog of an INVITE; the caller asked `is_full` before.
    pub(super) fn reserve(&mut self) {
        self.reserved += 1;
    }

    /// Gives a reservation back, or clears the way to use it by `insert`.
    pub(super) fn release(&mut self) {
        self.reserved = self.reserved.saturating_sub(1);
    }

    pub(super) fn insert(&mut self, id: DialogId, entry: Entry) {
        self.index.insert(key_of(&entry.dialog), id);
        self.table.insert(id, Box::new(entry));
    }

    pub(super) fn remove(&mut self, id: DialogId) -> Option<Box<Entry>> {
        let entry = self.table.remove(&id)?;
        let key = key_of(&entry.dialog);
        // A peer may reuse Call-ID and tags; then the entry belongs to the younger dialog.
        if self.index.get(&key) == Some(&id) {
            self.index.remove(&key);
        }
        Some(entry)
    }

    pub(super) fn get(&self, id: DialogId) -> Option<&Entry> {
        self.table.get(&id).map(|entry| &**entry)
    }

    pub(super) fn get_mut(&mut self, id: DialogId) -> Option<&mut Entry> {
        self.table.get_mut(&id).map(|entry| &mut **entry)
    }

    pub(super) fn find(&self, call_id: &[u8], local: &[u8], remote: &[u8]) -> Option<DialogId> {
        self.index.get(&key::dialog(call_id, local, remote)).copied()
    }
}

fn key_of(dialog: &Dialog) -> Key {
    key::dialog(dialog.call_id(), dialog.local_tag(), dialog.remote_tag())
}
