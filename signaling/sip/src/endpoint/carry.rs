//! A dialog goes over from one endpoint to another of the same gateway, and what tells an endpoint
//! that a message is for another one.

use bytes::Bytes;

use super::dialogs::Entry;
use super::server::Facts;
use super::{DialogId, Endpoint, Hop, key};
use crate::dialog::Dialog;
use crate::wire::{Message, Method, Request};

/// A dialog between two endpoints.
pub struct Carried {
    dialog: Dialog,
    hop: Hop,
}

impl Carried {
    /// Our tag: what every message of the dialog has.
    pub fn local_tag(&self) -> &Bytes {
        self.dialog.local_tag()
    }

    /// The tag of the dialog's hop: whose dialog it is.
    pub fn hop_tag(&self) -> u32 {
        self.hop.tag
    }
}

impl Endpoint {
    /// Whether a dialog may be carried away: it is confirmed, and no INVITE of it runs or waits for
    /// its ACK.
    pub fn is_quiet(&self, dialog: DialogId) -> bool {
        let is_quiet = |entry: &Entry| {
            let runs = entry.our_invite_runs() || entry.their_invite_runs();
            entry.dialog.is_confirmed() && !runs
        };
        self.dialogs.get(dialog).is_some_and(is_quiet)
    }

    /// Gives a dialog away. Transactions that it had stay: they answer what is repeated.
    pub fn release(&mut self, dialog: DialogId) -> Option<Carried> {
        let mut entry = self.dialogs.remove(dialog)?;
        self.schedule.disarm_all(&mut entry.armed);
        let Entry { dialog, hop, .. } = *entry;
        Some(Carried { dialog, hop })
    }

    /// Takes a dialog, beyond `dialogs_max` too: its call runs, and it came from a table with a limit.
    pub fn adopt(&mut self, carried: Carried) -> DialogId {
        let Carried { dialog, hop } = carried;
        let id = DialogId(self.next_id());
        self.dialogs.insert(id, Entry::quiet(dialog, hop));
        id
    }

    /// Whether a message belongs to a transaction here: it repeats its request, answers it,
    /// acknowledges it, or is the CANCEL for it (RFC 3261 §9.2, §17.1.3, §17.2.3).
    pub fn knows(&self, hop: Hop, message: &Message) -> bool {
        match message {
            Message::Request(request) => self.knows_request(hop, request),
            Message::Response(response) => self.client_of(hop, response).is_some(),
        }
    }

    fn knows_request(&self, hop: Hop, request: &Request) -> bool {
        let Ok(via) = request.headers.via() else { return false };
        let Ok(facts) = Facts::read(request, &via) else { return false };
        let method = match &request.method {
            Method::Cancel => &Method::Invite,
            method => method,
        };
        self.server_keys.contains_key(&key::server(request, &facts, hop.tag, method))
    }
}
