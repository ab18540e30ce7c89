//! Server transactions: what carries out the machines of figures 7 and 8, and decides for each
//! request that arrives whether it repeats one, belongs to a dialog, is new, or is refused.

use std::time::Instant;

use bytes::Bytes;

use super::dialogs::{Entry, Invite, Unacked};
use super::hop::Hop;
use super::key::{self, Key};
use super::reliable::Reliable;
use super::schedule::{Alarm, Armed, Owner};
use super::{DialogId, Endpoint, Event, RETRY_AFTER_S, ServerId, Welcome, build};
use crate::transaction::{
    Action, Actions, Class, ServerInvite, ServerNonInvite, Timer, server_invite, server_non_invite,
};
use crate::wire::{
    CSeq, Fault, HeaderName, Method, ParseError, Request, Response, StatusCode, Uri, Via,
};

pub(super) struct Server {
    machine: Machine,
    /// What there is to answer until the final response ([`build::answerable`]); on the heap, because
    /// the transaction goes on for long after it.
    pub(super) request: Option<Box<Request>>,
    /// The last response sent.
    pub(super) last: Bytes,
    /// Where the request came from; the response goes to `reply`.
    pub(super) hop: Hop,
    pub(super) reply: Hop,
    /// Our tag in each response that the request does not name one for.
    pub(super) tag: Bytes,
    /// The dialog inside of which the request came, or that our response made.
    pub(super) dialog: Option<DialogId>,
    pub(super) inside: bool,
    cancelled: bool,
    /// Holds a place for its dialog.
    pub(super) reserved: bool,
    key: Key,
    merged: Option<Key>,
    /// Provisional responses that want a PRACK; none for most requests.
    pub(super) reliable: Option<Box<Reliable>>,
    pub(super) armed: Armed,
}

enum Machine {
    Invite(ServerInvite),
    NonInvite(ServerNonInvite),
}

#[derive(Clone, Copy)]
pub(super) enum Step {
    Request,
    Ack,
    Respond(Class),
    Timer(Timer),
    TransportFailed,
}

/// What routing a request needs of its headers.
pub(super) struct Facts {
    pub(super) via: Via,
    pub(super) call_id: Bytes,
    pub(super) cseq: CSeq,
    pub(super) from_tag: Bytes,
    pub(super) to_tag: Option<Bytes>,
}

impl Facts {
    pub(super) fn read(request: &Request, via: &Via) -> Result<Self, ParseError> {
        let headers = &request.headers;
        let cseq = headers.cseq()?;
        if cseq.method != request.method {
            return Err(ParseError::new("CSeq", Fault::Mismatch));
        }
        let targets = [Method::Invite, Method::Update, Method::Subscribe];
        if targets.contains(&request.method) {
            headers.record_route()?;
            let contacts = headers.contacts()?;
            // A peer of RFC 2543 needs none: it is reached as it writes itself in From (RFC 4475
            // §3.4.1, RFC 2543 §6.13).
            let needs_one = request.method == Method::Invite && via.has_cookie();
            if contacts.is_empty() && needs_one {
                return Err(ParseError::new("Contact", Fault::Missing));
            }
        }
        let names_none = || headers.get(&HeaderName::Contact).is_some_and(|value| value == "*");
        if request.method == Method::Register && !names_none() {
            // RFC 4475 §3.1.2.13, whoever would be the registrar.
            headers.contacts()?;
        }
        Ok(Facts {
            via: via.clone(),
            call_id: headers.call_id()?,
            cseq,
            // Peers of RFC 2543 may have none (RFC 3261 §12.1.1).
            from_tag: headers.from()?.tag().cloned().unwrap_or_default(),
            to_tag: headers.to()?.tag().cloned(),
        })
    }
}

impl Machine {
    fn on(&mut self, step: Step, out: &mut Actions) {
        match self {
            Machine::Invite(machine) => machine.on(
                match step {
                    Step::Request => server_invite::Event::Invite,
                    Step::Ack => server_invite::Event::Ack,
                    Step::Respond(class) => server_invite::Event::Respond(class),
                    Step::Timer(timer) => server_invite::Event::Timer(timer),
                    Step::TransportFailed => server_invite::Event::TransportFailed,
                },
                out,
            ),
            Machine::NonInvite(machine) => machine.on(
                match step {
                    Step::Request => server_non_invite::Event::Request,
                    Step::Respond(class) => server_non_invite::Event::Respond(class),
                    Step::Timer(timer) => server_non_invite::Event::Timer(timer),
                    Step::TransportFailed => server_non_invite::Event::TransportFailed,
                    // Keys keep an ACK away from these transactions.
                    Step::Ack => return,
                },
                out,
            ),
        }
    }
}

impl Endpoint {
    pub(super) fn on_request(&mut self, now: Instant, hop: Hop, mut request: Request) {
        // Without a Via there is nobody to answer.
        let Ok(via) = request.headers.via() else { return };
        let facts = Facts::read(&request, &via);
        mark_source(&mut request, &via, hop);
        let facts = match facts {
            Ok(facts) => facts,
            Err(error) => {
                let status = error.status().unwrap_or(StatusCode::BAD_REQUEST);
                let reason = (HeaderName::Warning, warning(&error));
                return self.refuse(hop, &request, status, Some(reason));
            }
        };
        let key = key::server(&request, &facts, hop.tag, &request.method);
        if request.method == Method::Ack {
            return self.on_ack(now, hop, &key, &facts, request);
        }
        if request.method == Method::Cancel {
            return self.on_cancel(hop, &facts, &request);
        }
        match self.server_keys.get(&key).copied() {
            Some(id) => {
                self.step_server(now, id, Step::Request, None);
            }
            None if facts.to_tag.is_some() => self.inside(now, hop, key, &facts, request),
            None => self.outside(now, hop, key, &facts, request),
        }
    }

    /// A new request without To-tag.
    fn outside(&mut self, now: Instant, hop: Hop, key: Key, facts: &Facts, request: Request) {
        if matches!(request.uri, Uri::Other(_)) {
            let status = StatusCode::UNSUPPORTED_URI_SCHEME;
            return self.refuse(hop, &request, status, None);
        }
        let merged = key::merged(facts, hop.tag);
        if self.merged.contains_key(&merged) {
            return self.refuse(hop, &request, StatusCode::LOOP_DETECTED, None);
        }
        let invite = request.method == Method::Invite;
        let sheds = invite && self.welcome == Welcome::Shed;
        if sheds || self.fits(&request.method).is_err() {
            return self.refuse(hop, &request, StatusCode::SERVICE_UNAVAILABLE, retry_after());
        }
        if invite {
            self.dialogs.reserve();
        }
        let id = ServerId(self.next_id());
        self.merged.insert(merged.clone(), id);
        let server = self.server(key, hop, facts, &request, None);
        let server = Server { merged: Some(merged), reserved: invite, ..server };
        let event = Event::Request { transaction: id, hop, request };
        self.admit(now, id, server, event);
    }

    /// A new request with a To-tag (RFC 3261 §12.2.2). For another trunk than its own a dialog does
    /// not exist: knowing its tags is not enough to touch it.
    fn inside(&mut self, now: Instant, hop: Hop, key: Key, facts: &Facts, request: Request) {
        let Some(dialog) = self.dialog_of_trunk(hop, facts) else {
            if self.is_early(hop, facts, &request) {
                return;
            }
            let status = StatusCode::CALL_OR_TRANSACTION_DOES_NOT_EXIST;
            return self.refuse(hop, &request, status, None);
        };
        if !self.has_room(true) {
            return self.refuse(hop, &request, StatusCode::SERVICE_UNAVAILABLE, retry_after());
        }
        if request.method == Method::Invite {
            self.acknowledged_by_next(dialog, facts.cseq.number, &request);
        }
        let id = ServerId(self.next_id());
        let pause = self.mint.below(10);
        let Some(entry) = self.dialogs.get_mut(dialog) else { return };
        if let Err((status, pause)) = entry.take(&request, facts.cseq.number, id, pause) {
            return self.refuse(hop, &request, status, pause);
        }
        entry.hop = entry.hop.heard(hop);
        if request.method == Method::Prack && !self.acknowledged_reliably(dialog, facts, &request) {
            let status = StatusCode::CALL_OR_TRANSACTION_DOES_NOT_EXIST;
            return self.refuse(hop, &request, status, None);
        }
        let server = self.server(key, hop, facts, &request, Some(dialog));
        let event = Event::InDialog { transaction: id, dialog, hop, request };
        self.admit(now, id, server, event);
    }

    fn dialog_of_trunk(&self, hop: Hop, facts: &Facts) -> Option<DialogId> {
        let local = facts.to_tag.as_ref()?;
        let dialog = self.dialogs.find(&facts.call_id, local, &facts.from_tag)?;
        self.dialogs.get(dialog).filter(|entry| entry.hop.tag == hop.tag).map(|_| dialog)
    }

    fn server(
        &mut self,
        key: Key,
        hop: Hop,
        facts: &Facts,
        request: &Request,
        dialog: Option<DialogId>,
    ) -> Server {
        let (timers, reliable) = (self.config.timers, hop.transport.is_reliable());
        self.actions.clear();
        let machine = match request.method {
            Method::Invite => {
                Machine::Invite(ServerInvite::start(timers, reliable, &mut self.actions))
            }
            _ => Machine::NonInvite(ServerNonInvite::start(timers, reliable, &mut self.actions)),
        };
        Server {
            machine,
            request: Some(Box::new(build::answerable(request))),
            last: Bytes::new(),
            hop,
            reply: hop.reply(&facts.via),
            tag: facts.to_tag.clone().unwrap_or_else(|| self.mint.tag()),
            dialog,
            inside: dialog.is_some(),
            cancelled: false,
            reserved: false,
            key,
            merged: None,
            reliable: None,
            armed: Armed::default(),
        }
    }

    /// Enters a transaction whose machine has just started: its first actions wait in `actions`.
    fn admit(&mut self, now: Instant, id: ServerId, server: Server, event: Event) {
        self.server_keys.insert(server.key.clone(), id);
        self.lanes.add(server.reply, Owner::Server(id.0));
        self.servers.insert(id, Box::new(server));
        let mut actions = std::mem::take(&mut self.actions);
        self.run_server(now, id, &mut actions, Some(event));
        self.actions = actions;
    }

    /// An ACK: for a failure it ends in the transaction, for a 2xx it belongs to the dialog, which
    /// hears of it once. Any other is dropped.
    fn on_ack(&mut self, now: Instant, hop: Hop, key: &Key, facts: &Facts, request: Request) {
        if let Some(id) = self.server_keys.get(key).copied() {
            // Delivered means Accepted: an ACK for a 2xx with the branch of its INVITE.
            if !self.step_server(now, id, Step::Ack, None) {
                return;
            }
        }
        let Some(dialog) = self.dialog_of_trunk(hop, facts) else { return };
        let Some(entry) = self.dialogs.get_mut(dialog) else { return };
        let waits = entry.unacked.as_ref().is_some_and(|u| u.number == facts.cseq.number);
        if waits {
            entry.unacked = None;
            self.schedule.disarm(&mut entry.armed, Alarm::Repeat);
            self.schedule.disarm(&mut entry.armed, Alarm::AckMissing);
            self.emit(Event::Ack { dialog, request });
        }
    }

    /// A re-INVITE says that our 2xx arrived, though its ACK did not yet (RFC 5407 §3.1.4): unless it
    /// is the answer to our offer that is missing.
    fn acknowledged_by_next(&mut self, dialog: DialogId, number: u32, invite: &Request) {
        let Some(entry) = self.dialogs.get_mut(dialog) else { return };
        let is_next = |unacked: &mut Unacked| unacked.is_settled && number > unacked.number;
        if entry.unacked.take_if(is_next).is_some() {
            self.schedule.disarm(&mut entry.armed, Alarm::Repeat);
            self.schedule.disarm(&mut entry.armed, Alarm::AckMissing);
            let request = Request::new(Method::Ack, invite.uri.clone());
            self.emit(Event::Ack { dialog, request });
        }
    }

    /// A CANCEL needs no transaction of its own: its answer depends only on that of the INVITE, so a
    /// repetition gets the same (RFC 3261 §9.2).
    fn on_cancel(&mut self, hop: Hop, facts: &Facts, request: &Request) {
        let key = key::server(request, facts, hop.tag, &Method::Invite);
        let id = self.server_keys.get(&key).copied();
        let Some((id, server)) = id.and_then(|id| Some((id, self.servers.get_mut(&id)?))) else {
            let status = StatusCode::CALL_OR_TRANSACTION_DOES_NOT_EXIST;
            return self.refuse(hop, request, status, None);
        };
        let first = !std::mem::replace(&mut server.cancelled, true) && server.request.is_some();
        let response = build::response(request, StatusCode::OK, Some(&server.tag));
        self.answer_without_state(hop.reply(&facts.via), response);
        if first {
            self.emit(Event::Cancelled { transaction: id });
        }
    }

    /// One step of a transaction; true when its machine handed the message on.
    pub(super) fn step_server(
        &mut self,
        now: Instant,
        id: ServerId,
        step: Step,
        event: Option<Event>,
    ) -> bool {
        let mut actions = std::mem::take(&mut self.actions);
        actions.clear();
        if let Some(server) = self.servers.get_mut(&id) {
            server.machine.on(step, &mut actions);
        }
        let delivered = self.run_server(now, id, &mut actions, event);
        self.actions = actions;
        delivered
    }

    fn run_server(
        &mut self,
        now: Instant,
        id: ServerId,
        actions: &mut Actions,
        mut event: Option<Event>,
    ) -> bool {
        let mut delivered = false;
        for action in actions.drain(..) {
            let Some(server) = self.servers.get_mut(&id) else { return delivered };
            match action {
                Action::Transmit => {
                    let (reply, bytes) = (server.reply, server.last.clone());
                    self.transmit(reply, bytes);
                }
                Action::Trying => {
                    let Some(request) = &server.request else { continue };
                    server.last = build::response(request, StatusCode::TRYING, None).to_bytes();
                    let (reply, bytes) = (server.reply, server.last.clone());
                    self.transmit(reply, bytes);
                }
                Action::Arm(timer, after) => {
                    let (alarm, owner) = (Alarm::Transaction(timer), Owner::Server(id.0));
                    self.schedule.arm(&mut server.armed, owner, alarm, now + after);
                }
                Action::Disarm(timer) => {
                    self.schedule.disarm(&mut server.armed, Alarm::Transaction(timer));
                }
                Action::Deliver => {
                    delivered = true;
                    event.take().into_iter().for_each(|event| self.emit(event));
                }
                Action::Terminate => self.remove_server(id),
                // The user has no event for a failed response: what matters to it is the ACK of its
                // 2xx, and that is watched by the dialog.
                Action::Timeout | Action::TransportFailed | Action::Acknowledge => {}
            }
        }
        delivered
    }

    pub(super) fn server_alarm(&mut self, now: Instant, id: ServerId, alarm: Alarm) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        server.armed.fired(alarm);
        match alarm {
            Alarm::Transaction(timer) => {
                self.step_server(now, id, Step::Timer(timer), None);
            }
            alarm => self.reliable_alarm(now, id, alarm),
        }
    }

    /// Forgets a request without an answer; for a sender that shall not learn that we exist.
    pub fn drop_server(&mut self, transaction: ServerId) {
        let unanswered = self.servers.get(&transaction).filter(|server| server.request.is_some());
        let early = unanswered.filter(|server| !server.inside).and_then(|server| server.dialog);
        early.into_iter().for_each(|dialog| self.close(dialog));
        self.remove_server(transaction);
    }

    fn remove_server(&mut self, id: ServerId) {
        let Some(mut server) = self.servers.remove(&id) else { return };
        self.server_keys.remove(&server.key);
        server.merged.iter().for_each(|merged| {
            self.merged.remove(merged);
        });
        self.lanes.remove(server.reply, Owner::Server(id.0));
        self.schedule.disarm_all(&mut server.armed);
        if server.reserved {
            self.dialogs.release();
        }
        if let Some(entry) = server.dialog.and_then(|dialog| self.dialogs.get_mut(dialog)) {
            entry.invite_ended(Invite::Theirs(id));
        }
    }

    /// Answers a request and remembers nothing of it: each repetition gets the same answer. An ACK
    /// is never answered.
    fn refuse(
        &mut self,
        hop: Hop,
        request: &Request,
        status: StatusCode,
        extra: Option<(HeaderName, Bytes)>,
    ) {
        let Ok(via) = request.headers.via() else { return };
        if request.method == Method::Ack {
            return;
        }
        let branch = via.branch().map_or(&[][..], |branch| branch);
        let tag = self.mint.stateless_tag(branch);
        let mut response = build::response(request, status, Some(&tag));
        build::add(&mut response.headers, extra.into_iter().collect());
        self.answer_without_state(hop.reply(&via), response);
    }

    fn answer_without_state(&mut self, reply: Hop, mut response: Response) {
        self.name_server(&mut response.headers);
        self.transmit(reply, response.to_bytes());
    }
}

/// Why a request inside of a dialog is refused, and what the answer says about it.
type Refused = (StatusCode, Option<(HeaderName, Bytes)>);

impl Entry {
    /// Takes a request of the peer in order, and an INVITE only when none runs (RFC 3261 §14.2).
    fn take(
        &mut self,
        request: &Request,
        number: u32,
        id: ServerId,
        pause: u8,
    ) -> Result<(), Refused> {
        if !self.dialog.admit(number) {
            return Err((StatusCode::SERVER_INTERNAL_ERROR, None));
        }
        if request.method != Method::Invite {
            return Ok(());
        }
        if self.unacked.is_some() {
            // Our offer has no answer yet (RFC 5407 §3.1.5).
            return Err((StatusCode::REQUEST_PENDING, None));
        }
        if self.their_invite_runs() {
            let pause = (HeaderName::RetryAfter, Bytes::from(pause.to_string()));
            return Err((StatusCode::SERVER_INTERNAL_ERROR, Some(pause)));
        }
        if self.our_invite_runs() {
            return Err((StatusCode::REQUEST_PENDING, None));
        }
        self.invite = Some(Invite::Theirs(id));
        Ok(())
    }
}

/// Writes the source into the top Via: always for `rport` (RFC 3581 §4), else where sent-by is not
/// the source address (RFC 3261 §18.2.1).
fn mark_source(request: &mut Request, via: &Via, hop: Hop) {
    let (address, rport) = (hop.remote.ip(), via.wants_rport());
    if !rport && via.host.ip() == Some(address) {
        return;
    }
    let mut marked = via.clone();
    marked.params.set("received", address.to_string());
    if rport {
        marked.params.set("rport", hop.remote.port().to_string());
    }
    // The Via was read from this very request.
    let _ = request.headers.set_top_via(&marked);
}

fn retry_after() -> Option<(HeaderName, Bytes)> {
    Some((HeaderName::RetryAfter, Bytes::from_static(RETRY_AFTER_S.as_bytes())))
}

/// A 400 that says what is wrong (RFC 3261 §20.43, code 399).
fn warning(error: &ParseError) -> Bytes {
    let text: String =
        error.to_string().chars().map(|c| if matches!(c, '"' | '\\') { '\'' } else { c }).collect();
    Bytes::from(format!("399 sip \"{text}\""))
}
