//! What came to this shard and is for another one.

use sip::endpoint::Hop;
use sip::wire::{Message, Method};

use super::{Edge, Shard};
use crate::homes;
use crate::net::Inbound;
use crate::trunk::Origin;

impl<E: Edge> Shard<E> {
    /// Passes on what is of a dialog that went over to another shard, unless it belongs to a
    /// transaction that stayed; gives back what is for this one. The gate is where it goes.
    pub(super) fn pass_on(&self, hop: Hop, origin: &Origin, message: Message) -> Option<Message> {
        let away = self.calls.away();
        if away.is_empty() {
            return Some(message);
        }
        let found = homes::our_tag(&message).and_then(|tag| away.find(&tag));
        let Some((shard, tag)) = found else { return Some(message) };
        if self.world.endpoint.knows(Hop { tag, ..hop }, &message) {
            return Some(message);
        }
        // Without room there it is lost, as a datagram may be.
        let inbound = Inbound::Message { hop, origin: origin.clone(), message };
        let _lost = self.calls.post().pass(shard, inbound);
        None
    }

    /// Passes a CANCEL on whose INVITE is not here: with Replaces that went where it names a dialog,
    /// and the CANCEL names none. Who is asked last answers.
    pub(super) fn pass_round(
        &self,
        hop: Hop,
        origin: &Origin,
        message: Message,
        turns: usize,
    ) -> Option<Message> {
        let is_cancel = matches!(&message, Message::Request(one) if one.method == Method::Cancel);
        let next = is_cancel.then(|| self.calls.post().next(turns)).flatten();
        let Some(next) = next.filter(|_| !self.world.endpoint.knows(hop, &message)) else {
            return Some(message);
        };
        let (origin, turns) = (origin.clone(), turns + 1);
        let _lost = self.calls.post().pass(next, Inbound::Sought { hop, origin, message, turns });
        None
    }
}
