//! The calls of a user agent client (RFC 3261 §8.1, §9.1, §12.2.1, §13.2).

use std::time::Instant;

use bytes::Bytes;

use super::build;
use super::client::{Cancel, Launch};
use super::dialogs::Invite;
use super::schedule::Alarm;
use super::welcome::Full;
use super::{ClientId, DialogId, Endpoint, Hop, Misuse};
use crate::dialog::MAX_FORWARDS;
use crate::transaction::Class;
use crate::wire::{CSeq, Fault, HeaderName, Headers, Method, ParseError, Request, limits};

impl Endpoint {
    /// Sends a request outside of any dialog. The caller gives Request-URI, From and To; absent and
    /// therefore added are From-tag, Call-ID, CSeq, Max-Forwards, User-Agent, and Contact to an
    /// INVITE or SUBSCRIBE. The Via is always ours.
    ///
    /// # Errors
    /// `Full` at a limit, `Malformed` when a field cannot be read, `NotARequest` for ACK, CANCEL.
    pub fn request(
        &mut self,
        now: Instant,
        hop: Hop,
        mut request: Request,
    ) -> Result<ClientId, Misuse> {
        let method = request.method.clone();
        if matches!(method, Method::Ack | Method::Cancel) {
            return Err(Misuse::NotARequest);
        }
        self.check_room(&method)?;
        let headers = &mut request.headers;
        headers.remove(&HeaderName::Via);
        headers.to()?;
        let from = headers.from()?;
        if from.tag().is_none() {
            headers.set(HeaderName::From, from.with_tag(self.mint.tag()).to_string());
        }
        if headers.get(&HeaderName::CallId).is_none() {
            headers.push(HeaderName::CallId, self.mint.call_id());
        }
        headers.call_id()?;
        if headers.get(&HeaderName::CSeq).is_none() {
            let first = CSeq { number: 1, method: method.clone() };
            headers.push(HeaderName::CSeq, first.to_string());
        }
        if headers.cseq()?.method != method {
            return Err(ParseError::new("CSeq", Fault::Mismatch).into());
        }
        let makes_dialog = matches!(method, Method::Invite | Method::Subscribe);
        self.complete(headers, &hop, makes_dialog);
        let (branch, via) = self.new_via(&hop);
        request.headers.push_front(HeaderName::Via, via);
        Ok(self.launch(now, Launch { request, branch, hop, dialog: None }))
    }

    /// Sends a refused request again: same request, next CSeq, new branch, the fields named in
    /// `extra` replaced (all of one name at once). For 401, 407, 422 and the like; once for each
    /// refusal, and over a reliable transport within T4 of it.
    ///
    /// # Errors
    /// `NotAnswered` without a refusal, `UnknownTransaction`, `UnknownDialog`, `InvitePending`.
    pub fn reissue(
        &mut self,
        now: Instant,
        client: ClientId,
        extra: Vec<(HeaderName, Bytes)>,
    ) -> Result<ClientId, Misuse> {
        let old = self.clients.get(&client).ok_or(Misuse::UnknownTransaction)?;
        if old.outcome != Some(Class::Failure) {
            return Err(Misuse::NotAnswered);
        }
        let (mut request, hop, dialog) = (old.request.clone(), old.hop, old.dialog);
        let method = request.method.clone();
        let number = match dialog {
            None => {
                self.check_room(&method)?;
                let number = request.headers.cseq()?.number;
                number.checked_add(1).filter(|n| *n <= limits::CSEQ_MAX)
            }
            Some(id) => {
                self.check_dialog(id, &method)?;
                let entry = self.dialogs.get_mut(id).ok_or(Misuse::UnknownDialog)?;
                Some(entry.dialog.request(method.clone()).headers.cseq()?.number)
            }
        };
        let number = number.ok_or(ParseError::new("CSeq", Fault::OutOfRange))?;
        let headers = &mut request.headers;
        headers.set(HeaderName::CSeq, CSeq { number, method: method.clone() }.to_string());
        for (name, _) in &extra {
            headers.remove(name);
        }
        build::add(headers, extra);
        headers.remove(&HeaderName::Via);
        let (branch, via) = self.new_via(&hop);
        headers.push_front(HeaderName::Via, via);
        let id = self.launch(now, Launch { request, branch, hop, dialog });
        self.mark_invite(dialog, &method, id);
        Ok(id)
    }

    /// A request that was refused and can be reissued: what credentials have to cover.
    pub fn refused_request(&self, client: ClientId) -> Option<&Request> {
        let client = self.clients.get(&client)?;
        (client.outcome == Some(Class::Failure)).then_some(&client.request)
    }

    /// Cancels an INVITE. The CANCEL waits for a provisional response; the end is told as for any
    /// request: mostly 487, perhaps a 2xx that was faster, `Failed` when nothing comes any more.
    ///
    /// # Errors
    /// `NotInvite`, `AlreadyAnswered`, `UnknownTransaction`.
    pub fn cancel(&mut self, now: Instant, client: ClientId) -> Result<(), Misuse> {
        let record = self.clients.get_mut(&client).ok_or(Misuse::UnknownTransaction)?;
        if !record.is_invite() {
            return Err(Misuse::NotInvite);
        }
        if record.outcome.is_some() {
            return Err(Misuse::AlreadyAnswered);
        }
        if record.cancel == Cancel::No {
            record.cancel = Cancel::Wanted;
        }
        self.send_wanted_cancel(now, client);
        Ok(())
    }

    /// Whether the peer has answered an INVITE provisionally, 100 included, and not finally. No
    /// event tells of 100: who waits asks when its time is up.
    pub fn is_proceeding(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_some_and(|client| client.is_proceeding())
    }

    /// Sends a CANCEL that was asked for, once a provisional response allows it (RFC 3261 §9.1).
    pub(super) fn send_wanted_cancel(&mut self, now: Instant, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.cancel != Cancel::Wanted || !client.is_proceeding() {
            return;
        }
        client.cancel = Cancel::Sent;
        let (hop, invite) = (client.hop, &client.request);
        let branch = invite.headers.via().ok().and_then(|via| via.branch().cloned());
        let (Some(branch), Ok(request)) = (branch, build::cancel(invite)) else { return };
        self.launch(now, Launch { request, branch, hop, dialog: None });
        self.arm_client(id, Alarm::CancelUnanswered, now + self.config.timers.give_up());
    }

    /// Acknowledges the 2xx of a dialog, with the answer if the offer came in the 2xx. Repetitions
    /// of the 2xx are acknowledged with the same bytes.
    ///
    /// # Errors
    /// `UnknownDialog`, `NothingToAcknowledge`.
    pub fn ack(
        &mut self,
        _now: Instant,
        dialog: DialogId,
        body: Option<(&str, Bytes)>,
    ) -> Result<(), Misuse> {
        let entry = self.dialogs.get_mut(dialog).ok_or(Misuse::UnknownDialog)?;
        let to_ack = entry.to_ack.take().ok_or(Misuse::NothingToAcknowledge)?;
        let hop = entry.next_hop(&self.config.stays);
        let mut ack = entry.dialog.ack(to_ack.number);
        let (_, via) = self.new_via(&hop);
        ack.headers.push_front(HeaderName::Via, via);
        build::add(&mut ack.headers, to_ack.credentials);
        self.name_agent(&mut ack.headers);
        build::set_body(&mut ack.headers, &mut ack.body, body);
        let bytes = ack.to_bytes();
        let client = self.clients.get_mut(&to_ack.client);
        let fork = client.and_then(|c| c.forks.iter_mut().find(|fork| fork.dialog == dialog));
        if let Some(fork) = fork {
            fork.ack = Some((hop, bytes.clone()));
        }
        self.transmit(hop, bytes);
        Ok(())
    }

    /// Sends a request inside of a dialog. Fields that the dialog defines (From, To, Call-ID, CSeq,
    /// Via) cannot be given; Route comes from its route set.
    ///
    /// # Errors
    /// `UnknownDialog`, `Full`, `InvitePending` for an INVITE while another one runs in either
    /// direction, `NotARequest` for ACK and CANCEL.
    pub fn request_in_dialog(
        &mut self,
        now: Instant,
        dialog: DialogId,
        method: Method,
        headers: Vec<(HeaderName, Bytes)>,
        body: Option<(&str, Bytes)>,
    ) -> Result<ClientId, Misuse> {
        self.check_dialog(dialog, &method)?;
        let entry = self.dialogs.get_mut(dialog).ok_or(Misuse::UnknownDialog)?;
        let hop = entry.next_hop(&self.config.stays);
        let mut request = entry.dialog.request(method.clone());
        if headers.iter().any(|(name, _)| *name == HeaderName::MaxForwards) {
            request.headers.remove(&HeaderName::MaxForwards);
        }
        build::add(&mut request.headers, headers);
        self.complete(&mut request.headers, &hop, TARGET_REFRESH.contains(&method));
        build::set_body(&mut request.headers, &mut request.body, body);
        let (branch, via) = self.new_via(&hop);
        request.headers.push_front(HeaderName::Via, via);
        let id = self.launch(now, Launch { request, branch, hop, dialog: Some(dialog) });
        self.mark_invite(Some(dialog), &method, id);
        Ok(id)
    }

    fn check_room(&self, method: &Method) -> Result<(), Misuse> {
        self.fits(method).map_err(|full| match full {
            Full::Transactions => {
                Misuse::Full { what: "transactions", limit: self.config.transactions_max }
            }
            Full::Dialogs => Misuse::Full { what: "dialogs", limit: self.dialogs.limit() },
        })
    }

    fn check_dialog(&self, dialog: DialogId, method: &Method) -> Result<(), Misuse> {
        let entry = self.dialogs.get(dialog).ok_or(Misuse::UnknownDialog)?;
        match method {
            Method::Ack | Method::Cancel => Err(Misuse::NotARequest),
            Method::Invite if entry.our_invite_runs() || entry.their_invite_runs() => {
                Err(Misuse::InvitePending)
            }
            _ if !self.has_room(true) => {
                let limit = self.config.transactions_max;
                Err(Misuse::Full { what: "transactions", limit })
            }
            _ => Ok(()),
        }
    }

    fn mark_invite(&mut self, dialog: Option<DialogId>, method: &Method, id: ClientId) {
        let entry = dialog.and_then(|dialog| self.dialogs.get_mut(dialog));
        if let Some(entry) = entry.filter(|_| *method == Method::Invite) {
            entry.invite = Some(Invite::Ours(id));
        }
    }

    pub(super) fn new_via(&mut self, hop: &Hop) -> (Bytes, String) {
        let branch = self.mint.branch();
        let via = self.via_text(hop, &branch);
        (branch, via)
    }

    /// What every request of ours has.
    pub(super) fn complete(&self, headers: &mut Headers, hop: &Hop, contact: bool) {
        if headers.get(&HeaderName::MaxForwards).is_none() {
            headers.push(HeaderName::MaxForwards, MAX_FORWARDS);
        }
        if contact {
            self.add_contact(headers, hop);
        }
        self.name_agent(headers);
    }

    pub(super) fn add_contact(&self, headers: &mut Headers, hop: &Hop) {
        if headers.get(&HeaderName::Contact).is_none() {
            headers.push(HeaderName::Contact, format!("<{}>", (self.config.contact)(hop)));
        }
    }

    fn name_agent(&self, headers: &mut Headers) {
        let agent = &self.config.user_agent;
        if !agent.is_empty() && headers.get(&HeaderName::UserAgent).is_none() {
            headers.push(HeaderName::UserAgent, agent.clone());
        }
    }
}

/// Requests that carry our Contact inside of a dialog.
const TARGET_REFRESH: [Method; 5] =
    [Method::Invite, Method::Update, Method::Subscribe, Method::Notify, Method::Refer];
