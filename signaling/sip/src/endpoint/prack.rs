//! Reliable provisional responses as a client (RFC 3262 §4): each one in order is acknowledged by
//! PRACK, its repetitions and those that came too early are not told.

use std::time::Instant;

use bytes::Bytes;

use super::client::{Launch, Told};
use super::{ClientId, DialogId, Endpoint, Misuse, build};
use crate::wire::{HeaderName, Method, Response};

/// The extension's option tag (RFC 3262 §8.1).
const TAG: &str = "100rel";

/// RSeq of the last response in order, for each dialog of one INVITE: each INVITE has its own
/// numbers (RFC 3262 §3).
#[derive(Default)]
pub(super) struct Heeded(Vec<(DialogId, u32)>);

impl Heeded {
    /// Takes the next response of a dialog. False when it is a repetition or one is missing before
    /// it: then it is neither acknowledged nor told (RFC 3262 §4).
    fn take(&mut self, dialog: DialogId, rseq: u32) -> bool {
        match self.0.iter_mut().find(|(one, _)| *one == dialog) {
            Some((_, last)) if last.checked_add(1) == Some(rseq) => *last = rseq,
            Some(_) => return false,
            None => self.0.push((dialog, rseq)),
        }
        true
    }

    /// The number to acknowledge.
    fn last(&self, dialog: DialogId) -> Option<u32> {
        self.0.iter().find(|(one, _)| *one == dialog).map(|(_, last)| *last)
    }

    /// Forgets dialogs that are gone: what a peer's To-tags can fill stays bounded by the forks.
    fn retain(&mut self, lives: impl Fn(DialogId) -> bool) {
        self.0.retain(|(dialog, _)| lives(*dialog));
    }
}

impl Endpoint {
    /// Acknowledges a reliable provisional response, unless that is the user's to do: the offer of
    /// an INVITE without one is answered by the PRACK (RFC 3262 §5). `None` when the response is
    /// not to be told.
    pub(super) fn acknowledge_reliably(
        &mut self,
        now: Instant,
        id: ClientId,
        told: Option<Told>,
        response: &Response,
    ) -> Option<Told> {
        let told = told?;
        let (Some(dialog), Some(rseq)) = (told.known(), reliable(response)) else {
            return Some(told);
        };
        let dialogs = &self.dialogs;
        let client = self.clients.get_mut(&id)?;
        client.reliable.retain(|dialog| dialogs.get(dialog).is_some());
        if !client.reliable.take(dialog, rseq) {
            return None;
        }
        let offered = client.request.body.is_empty() && !response.body.is_empty();
        if !offered {
            // Refused only at a limit: then the peer repeats its response, and gives up in time.
            let _ = self.prack(now, id, dialog, None);
        }
        Some(told)
    }

    /// Acknowledges the last reliable provisional response of a dialog of our INVITE, with the answer
    /// to the offer that it brought. All other PRACKs are sent by themselves. Of
    /// its answers a challenge alone is told, which `reissue` answers.
    ///
    /// # Errors
    /// `NothingToAcknowledge`, `UnknownTransaction`, `UnknownDialog`, `Full`.
    pub fn prack(
        &mut self,
        now: Instant,
        client: ClientId,
        dialog: DialogId,
        body: Option<(&str, Bytes)>,
    ) -> Result<(), Misuse> {
        let record = self.clients.get(&client).ok_or(Misuse::UnknownTransaction)?;
        let rseq = record.reliable.last(dialog).ok_or(Misuse::NothingToAcknowledge)?;
        let invite = record.request.headers.cseq()?;
        if !self.has_room(true) {
            let limit = self.config.transactions_max;
            return Err(Misuse::Full { what: "transactions", limit });
        }
        let entry = self.dialogs.get_mut(dialog).ok_or(Misuse::UnknownDialog)?;
        let hop = entry.next_hop(&self.config.stays);
        let mut request = entry.dialog.request(Method::Prack);
        request.headers.push(HeaderName::RAck, format!("{rseq} {invite}"));
        self.complete(&mut request.headers, &hop, false);
        build::set_body(&mut request.headers, &mut request.body, body);
        let (branch, via) = self.new_via(&hop);
        request.headers.push_front(HeaderName::Via, via);
        self.launch(now, Launch { request, branch, hop, dialog: Some(dialog) });
        Ok(())
    }
}

/// The RSeq of a response that wants a PRACK. One without a usable number cannot be acknowledged and
/// is an ordinary one (RFC 3262 §7.1: 1 to 2^31 - 1 in the beginning).
fn reliable(response: &Response) -> Option<u32> {
    let required = response.headers.has_token(&HeaderName::Require, TAG);
    let number = response.headers.rseq().ok().flatten();
    number.filter(|number| required && *number > 0)
}
