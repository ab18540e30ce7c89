//! Client transactions: what carries out the machines of figures 5 and 6, matches responses to them
//! (RFC 3261 §17.1.3) and makes dialogs from the answers to an INVITE.

use std::time::Instant;

use bytes::Bytes;

use super::dialogs::{Entry, Invite, ToAck};
use super::prack::Heeded;
use super::schedule::{Alarm, Armed, Owner};
use super::subscribe::Subscribing;
use super::{Cause, ClientId, DialogId, Endpoint, Event, Hop, build};
use crate::dialog::Dialog;
use crate::transaction::{
    Action, Actions, Class, ClientInvite, ClientNonInvite, Timer, Timers, client_invite,
    client_non_invite,
};
use crate::wire::{Headers, Method, Request, Response, StatusCode};

pub(super) struct Client {
    pub(super) machine: Machine,
    /// As it was sent; after a 2xx, which nothing but the ACK and dialogs of other forks follow, what
    /// names the call is left.
    pub(super) request: Request,
    pub(super) bytes: Bytes,
    pub(super) branch: Bytes,
    pub(super) hop: Hop,
    /// The way by UDP of a request that is too large for it.
    pub(super) narrow: Option<Hop>,
    /// The dialog inside of which the request was sent.
    pub(super) dialog: Option<DialogId>,
    /// A CANCEL or PRACK: ours, no event tells of it.
    internal: bool,
    pub(super) cancel: Cancel,
    /// One for each To-tag that answered the INVITE.
    pub(super) forks: Vec<Fork>,
    /// RSeq of the last reliable provisional response that was acknowledged, for each dialog.
    pub(super) reliable: Heeded,
    /// The ACK for the failure; the same bytes for each repetition of it.
    failure_ack: Option<Bytes>,
    /// The class of the final response that the user was told.
    pub(super) outcome: Option<Class>,
    /// The user was told of the end, whatever it was.
    over: bool,
    /// Holds a place for its first dialog.
    reserved: bool,
    pub(super) subscribing: Subscribing,
    pub(super) armed: Armed,
}

/// How far a CANCEL is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancel {
    No,
    /// Waits for a provisional response (RFC 3261 §9.1).
    Wanted,
    Sent,
}

/// One answering branch of an INVITE.
pub(super) struct Fork {
    tag: Bytes,
    pub(super) dialog: DialogId,
    accepted: bool,
    /// Our ACK for its 2xx, repeated for each repetition of that.
    pub(super) ack: Option<(Hop, Bytes)>,
}

pub(super) enum Machine {
    Invite(ClientInvite),
    NonInvite(ClientNonInvite),
}

#[derive(Clone, Copy)]
pub(super) enum Step {
    Response(Class),
    Timer(Timer),
    TransportFailed,
}

/// A response and where it came from.
pub(super) struct Heard {
    pub(super) hop: Hop,
    pub(super) response: Response,
}

/// A request ready to be sent.
pub(super) struct Launch {
    /// With our Via.
    pub(super) request: Request,
    pub(super) branch: Bytes,
    pub(super) hop: Hop,
    pub(super) dialog: Option<DialogId>,
}

impl Client {
    pub(super) fn is_invite(&self) -> bool {
        matches!(self.machine, Machine::Invite(_))
    }

    /// An INVITE that a provisional response was received for, and no final one.
    pub(super) fn is_proceeding(&self) -> bool {
        matches!(&self.machine, Machine::Invite(m) if m.state() == client_invite::State::Proceeding)
    }

    /// Nothing came back yet.
    pub(super) fn is_unheard(&self) -> bool {
        match &self.machine {
            Machine::Invite(m) => m.state() == client_invite::State::Calling,
            Machine::NonInvite(m) => m.state() == client_non_invite::State::Trying,
        }
    }

    fn key(&self) -> (Bytes, bool) {
        (self.branch.clone(), self.request.method == Method::Cancel)
    }
}

impl Machine {
    pub(super) fn start(
        method: &Method,
        timers: Timers,
        reliable: bool,
        actions: &mut Actions,
    ) -> Self {
        match method {
            Method::Invite => Machine::Invite(ClientInvite::start(timers, reliable, actions)),
            _ => Machine::NonInvite(ClientNonInvite::start(timers, reliable, actions)),
        }
    }

    fn on(&mut self, step: Step, out: &mut Actions) {
        match (self, step) {
            (Machine::Invite(m), Step::Response(c)) => m.on(client_invite::Event::Response(c), out),
            (Machine::Invite(m), Step::Timer(t)) => m.on(client_invite::Event::Timer(t), out),
            (Machine::Invite(m), Step::TransportFailed) => {
                m.on(client_invite::Event::TransportFailed, out);
            }
            (Machine::NonInvite(m), Step::Response(c)) => {
                m.on(client_non_invite::Event::Response(c), out);
            }
            (Machine::NonInvite(m), Step::Timer(t)) => {
                m.on(client_non_invite::Event::Timer(t), out);
            }
            (Machine::NonInvite(m), Step::TransportFailed) => {
                m.on(client_non_invite::Event::TransportFailed, out);
            }
        }
    }
}

impl Endpoint {
    /// Starts the transaction of a request.
    pub(super) fn launch(&mut self, now: Instant, launch: Launch) -> ClientId {
        let Launch { mut request, branch, mut hop, dialog } = launch;
        let (bytes, narrow) = self.widened(now, &mut request, &branch, &mut hop);
        let id = ClientId(self.next_id());
        let (timers, reliable) = (self.config.timers, hop.transport.is_reliable());
        let mut actions = std::mem::take(&mut self.actions);
        let machine = Machine::start(&request.method, timers, reliable, &mut actions);
        let reserved = dialog.is_none() && request.method == Method::Invite;
        if reserved {
            self.dialogs.reserve();
        }
        let client = Client {
            machine,
            bytes,
            narrow,
            internal: matches!(request.method, Method::Cancel | Method::Prack),
            request,
            branch,
            hop,
            dialog,
            cancel: Cancel::No,
            forks: Vec::new(),
            reliable: Heeded::default(),
            failure_ack: None,
            outcome: None,
            over: false,
            reserved,
            subscribing: Subscribing::default(),
            armed: Armed::default(),
        };
        self.client_keys.insert(client.key(), id);
        self.lanes.add(hop, Owner::Client(id.0));
        self.clients.insert(id, Box::new(client));
        self.expect_notify(id);
        self.run_client(now, id, &mut actions, &mut None);
        self.actions = actions;
        id
    }

    /// Hands a response to its transaction. What matches none is dropped (RFC 3261 §18.1.2), so is
    /// what cannot be understood (RFC 3261 §8.1.3.3) and what came from elsewhere than the request
    /// went.
    pub(super) fn on_response(&mut self, now: Instant, hop: Hop, response: Response) {
        let Some(id) = self.client_of(hop, &response) else { return };
        let class = Class::from(response.status);
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.is_invite() && class != Class::Failure && !is_readable(&response) {
            return;
        }
        let heard = client.hop.heard(hop);
        if client.hop.connection == 0 && heard != client.hop {
            // The connection that the outside dialled for us: the ACK and a CANCEL go there too.
            self.lanes.remove(client.hop, Owner::Client(id.0));
            self.lanes.add(heard, Owner::Client(id.0));
            client.hop = heard;
        }
        let heard = Heard { hop, response };
        self.step_client(now, id, Step::Response(class), &mut Some(heard));
    }

    pub(super) fn client_of(&self, hop: Hop, response: &Response) -> Option<ClientId> {
        let vias = response.headers.vias().ok()?;
        let [via] = vias.as_slice() else { return None };
        let method = response.headers.cseq().ok()?.method;
        let key = (via.branch()?.clone(), method == Method::Cancel);
        let id = *self.client_keys.get(&key)?;
        let client = self.clients.get(&id)?;
        (client.request.method == method && hop.may_answer(client.hop)).then_some(id)
    }

    pub(super) fn step_client(
        &mut self,
        now: Instant,
        id: ClientId,
        step: Step,
        heard: &mut Option<Heard>,
    ) {
        let mut actions = std::mem::take(&mut self.actions);
        if let Some(client) = self.clients.get_mut(&id) {
            client.machine.on(step, &mut actions);
        }
        self.run_client(now, id, &mut actions, heard);
        self.actions = actions;
    }

    pub(super) fn run_client(
        &mut self,
        now: Instant,
        id: ClientId,
        actions: &mut Actions,
        heard: &mut Option<Heard>,
    ) {
        for action in actions.drain(..) {
            let Some(client) = self.clients.get_mut(&id) else { return };
            match action {
                Action::Transmit => {
                    let (hop, bytes) = (client.hop, client.bytes.clone());
                    self.transmit(hop, bytes);
                }
                Action::Acknowledge => self.acknowledge_failure(id, heard.as_ref()),
                Action::Arm(timer, after) => {
                    self.arm_client(id, Alarm::Transaction(timer), now + after);
                }
                Action::Disarm(timer) => {
                    self.schedule.disarm(&mut client.armed, Alarm::Transaction(timer));
                }
                Action::Deliver => {
                    if let Some(heard) = heard.take() {
                        self.deliver(now, id, heard);
                    }
                }
                Action::Timeout => self.fail_client(id, Cause::Timeout),
                Action::TransportFailed => self.fail_client(id, Cause::Transport),
                Action::Terminate => self.end_client(now, id),
                Action::Trying => {}
            }
        }
    }

    pub(super) fn arm_client(&mut self, id: ClientId, alarm: Alarm, at: Instant) {
        if let Some(client) = self.clients.get_mut(&id) {
            self.schedule.arm(&mut client.armed, Owner::Client(id.0), alarm, at);
        }
    }

    pub(super) fn client_alarm(&mut self, now: Instant, id: ClientId, alarm: Alarm) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.armed.fired(alarm);
        match alarm {
            Alarm::Transaction(timer) => {
                self.step_client(now, id, Step::Timer(timer), &mut None);
            }
            Alarm::CancelUnanswered if !client.over => {
                self.fail_client(id, Cause::Timeout);
                self.remove_client(id);
            }
            Alarm::Forget => self.remove_client(id),
            _ => {}
        }
    }

    fn acknowledge_failure(&mut self, id: ClientId, heard: Option<&Heard>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.failure_ack.is_none() {
            let ack = heard.and_then(|h| build::ack(&client.request, &h.response).ok());
            client.failure_ack = ack.map(|ack| ack.to_bytes());
        }
        if let Some(bytes) = client.failure_ack.clone() {
            let hop = client.hop;
            self.transmit(hop, bytes);
        }
    }

    /// Tells the user of a response and does what it means for dialogs.
    fn deliver(&mut self, now: Instant, id: ClientId, heard: Heard) {
        let Some(client) = self.clients.get(&id) else { return };
        let class = Class::from(heard.response.status);
        let dialog = match (client.internal, client.is_invite(), class) {
            (true, _, _) if !is_challenge(&heard.response, client) => return,
            (_, true, Class::Provisional) => {
                self.send_wanted_cancel(now, id);
                let told = self.progressed(id, &heard);
                self.acknowledge_reliably(now, id, told, &heard.response)
            }
            (_, true, Class::Success) => self.accepted(id, &heard),
            (_, true, Class::Failure) => {
                self.refused(id);
                self.dialog_of(id)
            }
            (_, false, Class::Provisional) => self.dialog_of(id),
            (_, false, Class::Success | Class::Failure) => {
                if class == Class::Success {
                    self.subscribed(id, &heard);
                }
                self.completed(id, &heard, class);
                self.dialog_of(id)
            }
        };
        if let Some(dialog) = dialog.filter(|_| heard.response.status != StatusCode::TRYING) {
            let Heard { hop, response } = heard;
            let (transaction, dialog) = (id, dialog.known());
            self.emit(Event::Response { transaction, dialog, hop, response });
        }
        if class != Class::Provisional {
            self.notify_may_come(now, id);
        }
    }

    fn dialog_of(&self, id: ClientId) -> Option<Told> {
        let dialog = self.clients.get(&id).and_then(|client| client.dialog);
        Some(dialog.map_or(Told::Plain, Told::Of))
    }

    /// A provisional response to an INVITE: a new To-tag is a new early dialog.
    fn progressed(&mut self, id: ClientId, heard: &Heard) -> Option<Told> {
        let client = self.clients.get(&id)?;
        if client.dialog.is_some() {
            return self.dialog_of(id);
        }
        let to = heard.response.headers.to().ok()?;
        let Some(tag) = to.tag().filter(|_| heard.response.status != StatusCode::TRYING) else {
            return Some(Told::Plain);
        };
        if let Some(dialog) = client.fork(tag) {
            // Nothing more is told of an early dialog that the user closed.
            self.dialogs.get_mut(dialog)?.dialog.learn(&heard.response).ok()?;
            return Some(Told::Of(dialog));
        }
        self.open_fork(id, tag, heard).map(Told::Of)
    }

    /// A 2xx to an INVITE: tells it once for each fork and repeats the ACK for its repetitions.
    fn accepted(&mut self, id: ClientId, heard: &Heard) -> Option<Told> {
        let client = self.clients.get_mut(&id)?;
        let number = client.request.headers.cseq().ok()?.number;
        let credentials = build::credentials(&client.request.headers);
        let tag = heard.response.headers.to().ok()?.tag().cloned().unwrap_or_default();
        client.bytes = Bytes::new();
        client.request.body = Bytes::new();
        client.request.headers.keep(build::names_call);
        self.schedule.disarm(&mut client.armed, Alarm::CancelUnanswered);
        if let Some(fork) = client.forks.iter().find(|fork| fork.accepted && fork.tag == tag) {
            if let Some((hop, bytes)) = fork.ack.clone() {
                self.transmit(hop, bytes);
            }
            return None;
        }
        let dialog = self.accepted_dialog(id, &tag, heard)?;
        let client = self.clients.get_mut(&id)?;
        client.outcome = Some(Class::Success);
        client.over = true;
        if let Some(fork) = client.forks.iter_mut().find(|fork| fork.tag == tag) {
            fork.accepted = true;
        }
        let initial = client.dialog.is_none();
        if let Some(entry) = self.dialogs.get_mut(dialog) {
            let taken = if initial {
                entry.dialog.learn(&heard.response)
            } else {
                entry.dialog.refresh(&heard.response.headers)
            };
            // `is_readable` has seen these fields already.
            taken.ok()?;
            entry.hop = entry.hop.followed(heard.hop, entry.dialog.remote_target());
            entry.invite_ended(Invite::Ours(id));
            entry.to_ack = Some(ToAck { client: id, number, credentials });
        }
        Some(Told::Of(dialog))
    }

    /// The dialog that a first 2xx with this To-tag belongs to.
    fn accepted_dialog(&mut self, id: ClientId, tag: &Bytes, heard: &Heard) -> Option<DialogId> {
        let client = self.clients.get_mut(&id)?;
        if let Some(dialog) = client.dialog {
            // Another To-tag cannot answer a request inside of a dialog.
            let first = client.forks.is_empty();
            if first {
                client.add_fork(tag, dialog);
            }
            return first.then_some(dialog);
        }
        // A user who closed the early dialog meets the call again: it wants ACK and BYE.
        match client.fork(tag).filter(|dialog| self.dialogs.get(*dialog).is_some()) {
            Some(dialog) => Some(dialog),
            None => self.open_fork(id, tag, heard),
        }
    }

    /// A new dialog of an INVITE. None when neither the INVITE nor the endpoint has room for it; a
    /// 2xx then takes the room of an early dialog of the same INVITE.
    fn open_fork(&mut self, id: ClientId, tag: &[u8], heard: &Heard) -> Option<DialogId> {
        let client = self.clients.get_mut(&id)?;
        let dialog = Dialog::uac(&client.request, &heard.response).ok()?;
        let way = client.narrow.unwrap_or(client.hop);
        let hop = way.followed(heard.hop, dialog.remote_target());
        client.forks.retain(|fork| fork.accepted || self.dialogs.get(fork.dialog).is_some());
        if std::mem::take(&mut client.reserved) {
            self.dialogs.release();
        } else if client.forks.len() >= FORKS_MAX || self.dialogs.is_full(0) {
            let early = client.forks.iter().position(|fork| !fork.accepted);
            let early = early.filter(|_| heard.response.status.is_success())?;
            let evicted = client.forks.remove(early).dialog;
            self.close(evicted);
        }
        let dialog_id = DialogId(self.next_id());
        self.dialogs.insert(dialog_id, Entry::new(dialog, hop, Invite::Ours(id)));
        self.clients.get_mut(&id)?.add_fork(tag, dialog_id);
        Some(dialog_id)
    }

    /// The INVITE failed: its early dialogs are over (RFC 3261 §12.3).
    fn refused(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.outcome = Some(Class::Failure);
            client.over = true;
            self.schedule.disarm(&mut client.armed, Alarm::CancelUnanswered);
        }
        self.end_invite(id);
    }

    fn completed(&mut self, id: ClientId, heard: &Heard, class: Class) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.outcome = Some(class);
        client.over = true;
        client.bytes = Bytes::new();
        if class == Class::Success {
            // Only a refused request can be wanted again.
            client.request.headers = Headers::new();
            client.request.body = Bytes::new();
        }
        let refreshes = matches!(client.request.method, Method::Update | Method::Subscribe)
            && class == Class::Success;
        let entry = client.dialog.and_then(|dialog| self.dialogs.get_mut(dialog));
        if let Some(entry) = entry.filter(|_| refreshes) {
            // An unreadable Contact leaves the target as it was.
            let _ = entry.dialog.refresh(&heard.response.headers);
        }
    }

    fn fail_client(&mut self, id: ClientId, cause: Cause) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let told = std::mem::replace(&mut client.over, true) || client.internal;
        self.end_invite(id);
        if !told {
            self.emit(Event::Failed { transaction: id, cause });
        }
    }

    /// Closes what an INVITE leaves without a 2xx: early dialogs, the mark in its dialog.
    fn end_invite(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let inside = client.dialog;
        let mut early = Vec::new();
        if inside.is_none() {
            client.forks.retain(|fork| {
                if !fork.accepted {
                    early.push(fork.dialog);
                }
                fork.accepted
            });
        }
        if std::mem::take(&mut client.reserved) {
            self.dialogs.release();
        }
        early.into_iter().for_each(|dialog| self.close(dialog));
        if let Some(entry) = inside.and_then(|dialog| self.dialogs.get_mut(dialog)) {
            entry.invite_ended(Invite::Ours(id));
        }
    }

    /// The machine is over. A refused request stays a little when the transport kept nothing of it,
    /// so that the user can reissue it.
    fn end_client(&mut self, now: Instant, id: ClientId) {
        // An answer for which there was no dialog any more.
        self.fail_client(id, Cause::Timeout);
        let Some(client) = self.clients.get(&id) else { return };
        let reissuable = client.outcome == Some(Class::Failure);
        if reissuable && client.hop.transport.is_reliable() {
            self.arm_client(id, Alarm::Forget, now + self.config.timers.t4);
        } else {
            self.remove_client(id);
        }
    }

    fn remove_client(&mut self, id: ClientId) {
        self.end_invite(id);
        let Some(mut client) = self.clients.remove(&id) else { return };
        if let Some(key) = client.subscribing.take_key() {
            self.subscribing.remove(&key);
        }
        self.client_keys.remove(&client.key());
        self.lanes.remove(client.hop, Owner::Client(id.0));
        self.schedule.disarm_all(&mut client.armed);
    }
}

impl Client {
    fn fork(&self, tag: &Bytes) -> Option<DialogId> {
        self.forks.iter().find(|fork| fork.tag == tag).map(|fork| fork.dialog)
    }

    /// The tag is copied: a slice would keep its message. Nearly all INVITEs have one fork.
    fn add_fork(&mut self, tag: &[u8], dialog: DialogId) {
        let tag = Bytes::copy_from_slice(tag);
        self.forks.reserve_exact(1);
        self.forks.push(Fork { tag, dialog, accepted: false, ack: None });
    }
}

/// A response that the user is told of: outside or inside of a dialog.
pub(super) enum Told {
    Plain,
    Of(DialogId),
}

impl Told {
    pub(super) fn known(&self) -> Option<DialogId> {
        match self {
            Told::Plain => None,
            Told::Of(dialog) => Some(*dialog),
        }
    }
}

/// A PRACK of ours wants credentials, which only the user has.
fn is_challenge(response: &Response, client: &Client) -> bool {
    let asks = [StatusCode::UNAUTHORIZED, StatusCode::PROXY_AUTHENTICATION_REQUIRED];
    client.request.method == Method::Prack && asks.contains(&response.status)
}

/// What a dialog is made from can be read.
fn is_readable(response: &Response) -> bool {
    let headers = &response.headers;
    headers.to().is_ok() && headers.contacts().is_ok() && headers.record_route().is_ok()
}

/// Dialogs of one INVITE. A forking proxy has a handful of branches; a peer that invents To-tags
/// must not fill the table.
const FORKS_MAX: usize = 16;
