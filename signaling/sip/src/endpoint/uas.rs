//! The answer of a user agent server (RFC 3261 §8.2.6, §12.1.1, §13.3.1).

use std::time::Instant;

use bytes::Bytes;

use super::build;
use super::dialogs::{Entry, Invite, Unacked};
use super::schedule::{Alarm, Owner};
use super::server::{Server, Step};
use super::{DialogId, Endpoint, Event, Misuse, ServerId};
use crate::dialog::Dialog;
use crate::transaction::Class;
use crate::wire::{HeaderName, Headers, Method, Request, StatusCode};

impl Endpoint {
    /// Answers a request. Via, From, To with our tag, Call-ID, CSeq and Record-Route are copied,
    /// Contact is added where the answer forms or refreshes a dialog; those fields cannot be given.
    /// A 2xx to an INVITE is repeated until its ACK. Returns the dialog of a 1xx (but 100) or 2xx to
    /// an INVITE, of a 2xx to a SUBSCRIBE, and that of a request inside of one.
    ///
    /// While a reliable provisional response is unacknowledged a 2xx is held back until its PRACK
    /// (RFC 3262 §3); its dialog is told all the same.
    ///
    /// # Errors
    /// `UnknownTransaction`, `AlreadyAnswered`; `UnknownDialog` for a 2xx to an INVITE whose dialog
    /// was closed; `Full` for a 2xx to a SUBSCRIBE whose dialog has no room.
    pub fn respond(
        &mut self,
        now: Instant,
        transaction: ServerId,
        status: StatusCode,
        headers: Vec<(HeaderName, Bytes)>,
        body: Option<(&str, Bytes)>,
    ) -> Result<Option<DialogId>, Misuse> {
        let server = self.servers.get_mut(&transaction).ok_or(Misuse::UnknownTransaction)?;
        let dialog = server.dialog;
        if Class::from(status) != Class::Failure
            && let Some(reliable) = &mut server.reliable
        {
            if reliable.has_answer() {
                return Err(Misuse::AlreadyAnswered);
            }
            if reliable.holds() && status.is_success() {
                reliable.hold(status, headers, body);
                return Ok(dialog);
            }
        }
        let acknowledges = server.request.as_ref().is_some_and(|r| r.method == Method::Prack);
        let answered = self.answer(now, transaction, status, headers, body);
        if let Some(dialog) = dialog.filter(|_| acknowledges && status.is_final()) {
            self.release_held(now, dialog);
        }
        answered
    }

    /// `respond` for an answer whose turn it is.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        transaction: ServerId,
        status: StatusCode,
        headers: Vec<(HeaderName, Bytes)>,
        body: Option<(&str, Bytes)>,
    ) -> Result<Option<DialogId>, Misuse> {
        let server = self.servers.get_mut(&transaction).ok_or(Misuse::UnknownTransaction)?;
        let request = server.request.take().ok_or(Misuse::AlreadyAnswered)?;
        let (hop, tag) = (server.hop, server.tag.clone());
        let class = Class::from(status);
        let accepts = request.method == Method::Invite && class == Class::Success;
        let dialog = match self.dialog_of_answer(transaction, &request, status) {
            Ok(dialog) => dialog,
            Err(misuse) => {
                self.put_back(transaction, request);
                return Err(misuse);
            }
        };

        let mut response = build::response(&request, status, Some(&tag));
        build::add(&mut response.headers, headers);
        let refreshes = request.method == Method::Update && class == Class::Success;
        if refreshes || build::makes_dialog(&request, status) {
            self.add_contact(&mut response.headers, &hop);
        }
        self.name_server(&mut response.headers);
        build::set_body(&mut response.headers, &mut response.body, body);
        let bytes = response.to_bytes();

        if class == Class::Provisional {
            self.put_back(transaction, request);
        } else {
            self.settle(now, transaction, &request, class, &bytes);
        }
        if let Some(server) = self.servers.get_mut(&transaction) {
            server.last = bytes;
            if class != Class::Provisional {
                server.reliable = None;
                self.schedule.disarm(&mut server.armed, Alarm::RepeatReliable);
                self.schedule.disarm(&mut server.armed, Alarm::PrackMissing);
                if std::mem::take(&mut server.reserved) {
                    self.dialogs.release();
                }
            }
        }
        self.step_server(now, transaction, Step::Respond(class), None);
        if accepts {
            // From here on the dialog repeats it.
            self.servers.get_mut(&transaction).into_iter().for_each(|s| s.last = Bytes::new());
        }
        Ok(dialog)
    }

    /// The request is not answered finally.
    fn put_back(&mut self, transaction: ServerId, request: Box<Request>) {
        if let Some(server) = self.servers.get_mut(&transaction) {
            server.request = Some(request);
        }
    }

    /// The dialog that this answer belongs to, made if it is the first tagged one to an INVITE.
    fn dialog_of_answer(
        &mut self,
        id: ServerId,
        request: &Request,
        status: StatusCode,
    ) -> Result<Option<DialogId>, Misuse> {
        let Some(server) = self.servers.get_mut(&id) else { return Ok(None) };
        if !build::makes_dialog(request, status) {
            return Ok(server.dialog.filter(|_| server.inside));
        }
        if let Some(dialog) = server.dialog {
            let lost = status.is_success() && self.dialogs.get(dialog).is_none();
            return if lost { Err(Misuse::UnknownDialog) } else { Ok(Some(dialog)) };
        }
        if request.method == Method::Subscribe {
            return self.open_subscription(id, request);
        }
        let dialog = Dialog::uas(request, &server.tag)?;
        let entry = Entry::new(dialog, server.hop, Invite::Theirs(id));
        if std::mem::take(&mut server.reserved) {
            self.dialogs.release();
        }
        let dialog_id = DialogId(self.next_id());
        self.dialogs.insert(dialog_id, entry);
        if let Some(server) = self.servers.get_mut(&id) {
            server.dialog = Some(dialog_id);
        }
        Ok(Some(dialog_id))
    }

    /// What a final answer means for the dialog.
    fn settle(
        &mut self,
        now: Instant,
        id: ServerId,
        request: &Request,
        class: Class,
        sent: &Bytes,
    ) {
        let Some(server) = self.servers.get(&id) else { return };
        let Server { dialog: Some(dialog), inside, reply: hop, .. } = **server else { return };
        let Some(entry) = self.dialogs.get_mut(dialog) else { return };
        let invite = request.method == Method::Invite;
        let accepted = class == Class::Success;
        entry.invite_ended(Invite::Theirs(id));
        let refreshes = [Method::Invite, Method::Update, Method::Subscribe];
        if accepted && inside && refreshes.contains(&request.method) {
            // Its Contact was read when the request came.
            let _ = entry.dialog.refresh(&request.headers);
        }
        if accepted && invite {
            entry.dialog.confirm();
            let timers = self.config.timers;
            let number = request.headers.cseq().map_or(0, |cseq| cseq.number);
            let (bytes, interval, is_settled) = (sent.clone(), timers.t1, !request.body.is_empty());
            entry.unacked = Some(Unacked { hop, bytes, number, interval, is_settled });
            let owner = Owner::Dialog(dialog.0);
            self.schedule.arm(&mut entry.armed, owner, Alarm::Repeat, now + timers.t1);
            let limit = now + timers.give_up();
            self.schedule.arm(&mut entry.armed, owner, Alarm::AckMissing, limit);
        } else if invite && !inside {
            self.close(dialog);
        }
    }

    pub(super) fn name_server(&self, headers: &mut Headers) {
        let agent = &self.config.user_agent;
        if !agent.is_empty() && headers.get(&HeaderName::Server).is_none() {
            headers.push(HeaderName::Server, agent.clone());
        }
    }

    /// Repeats our 2xx, or gives its ACK up.
    pub(super) fn dialog_alarm(&mut self, now: Instant, id: DialogId, alarm: Alarm) {
        let (owner, timers) = (Owner::Dialog(id.0), self.config.timers);
        let Some(entry) = self.dialogs.get_mut(id) else { return };
        entry.armed.fired(alarm);
        match (alarm, &mut entry.unacked) {
            (Alarm::Repeat, Some(unacked)) => {
                unacked.interval = timers.back_off(unacked.interval);
                let (hop, bytes, after) = (unacked.hop, unacked.bytes.clone(), unacked.interval);
                self.schedule.arm(&mut entry.armed, owner, Alarm::Repeat, now + after);
                self.transmit(hop, bytes);
            }
            (Alarm::AckMissing, Some(_)) => {
                entry.unacked = None;
                self.schedule.disarm(&mut entry.armed, Alarm::Repeat);
                self.emit(Event::AckMissing { dialog: id });
            }
            _ => {}
        }
    }
}
