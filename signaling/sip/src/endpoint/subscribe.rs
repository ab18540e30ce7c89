//! Dialogs that a SUBSCRIBE and its 2xx make (RFC 6665 §4.4.1).
//!
//! A NOTIFY may come before the 2xx. It waits for that: what it belongs to is not known before, and
//! its sender would take a 481 for the end of the subscription.

use std::time::Instant;

use super::client::Heard;
use super::dialogs::Entry;
use super::key::{self, Key};
use super::server::Facts;
use super::{ClientId, DialogId, Endpoint, Hop, Misuse, ServerId};
use crate::dialog::Dialog;
use crate::wire::{Method, Request};

/// A SUBSCRIBE of ours outside of dialogs, until its final response.
#[derive(Default)]
pub(super) struct Subscribing {
    key: Option<Key>,
    /// The first NOTIFY that came too early.
    early: Option<Box<(Hop, Request)>>,
}

impl Subscribing {
    /// What it was remembered by.
    pub(super) fn take_key(&mut self) -> Option<Key> {
        self.key.take()
    }
}

impl Endpoint {
    /// Remembers what a NOTIFY for this request would name.
    pub(super) fn expect_notify(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let headers = &client.request.headers;
        let is_first = client.request.method == Method::Subscribe && client.dialog.is_none();
        let (true, Ok(call_id), Ok(from)) = (is_first, headers.call_id(), headers.from()) else {
            return;
        };
        let key = key::dialog(&call_id, from.tag().map_or(&[][..], |tag| tag), &[]);
        client.subscribing.key = Some(key.clone());
        self.subscribing.insert(key, id);
    }

    /// Keeps a NOTIFY whose SUBSCRIBE has no answer yet; false when there is no such request.
    pub(super) fn is_early(&mut self, hop: Hop, facts: &Facts, request: &Request) -> bool {
        let tag = facts.to_tag.as_ref().map_or(&[][..], |tag| tag);
        let id = self.subscribing.get(&key::dialog(&facts.call_id, tag, &[]));
        let client = id.and_then(|id| self.clients.get_mut(id));
        let is_notify = request.method == Method::Notify;
        let Some(client) = client.filter(|client| is_notify && client.hop.tag == hop.tag) else {
            return false;
        };
        client.subscribing.early.get_or_insert_with(|| Box::new((hop, request.clone())));
        true
    }

    /// The 2xx to a SUBSCRIBE of ours outside of dialogs; without room for its dialog there is none.
    pub(super) fn subscribed(&mut self, id: ClientId, heard: &Heard) {
        let Some(client) = self.clients.get(&id) else { return };
        let is_first = client.request.method == Method::Subscribe && client.dialog.is_none();
        if !is_first || self.dialogs.is_full(0) {
            return;
        }
        let Ok(mut dialog) = Dialog::uac(&client.request, &heard.response) else { return };
        dialog.confirm();
        let way = client.narrow.unwrap_or(client.hop);
        let hop = way.followed(heard.hop, dialog.remote_target());
        let dialog_id = DialogId(self.next_id());
        self.dialogs.insert(dialog_id, Entry::quiet(dialog, hop));
        if let Some(client) = self.clients.get_mut(&id) {
            client.dialog = Some(dialog_id);
        }
    }

    /// The request has its final response, or will have none: a NOTIFY that waited comes now.
    pub(super) fn notify_may_come(&mut self, now: Instant, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Subscribing { key, early } = std::mem::take(&mut client.subscribing);
        if let Some(key) = key {
            self.subscribing.remove(&key);
        }
        if let Some(early) = early {
            let (hop, request) = *early;
            self.on_request(now, hop, request);
        }
    }

    /// The dialog of our 2xx to a SUBSCRIBE outside of dialogs.
    pub(super) fn open_subscription(
        &mut self,
        id: ServerId,
        request: &Request,
    ) -> Result<Option<DialogId>, Misuse> {
        if self.dialogs.is_full(0) {
            return Err(Misuse::Full { what: "dialogs", limit: self.dialogs.limit() });
        }
        let dialog_id = DialogId(self.next_id());
        let server = self.servers.get_mut(&id).ok_or(Misuse::UnknownTransaction)?;
        let mut dialog = Dialog::uas(request, &server.tag)?;
        dialog.confirm();
        server.dialog = Some(dialog_id);
        self.dialogs.insert(dialog_id, Entry::quiet(dialog, server.hop));
        Ok(Some(dialog_id))
    }
}
