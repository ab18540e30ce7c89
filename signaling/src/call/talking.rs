//! Both dialogs are confirmed and media flows.

use std::time::Instant;

use sdp::Direction;
use sip::endpoint::ServerId;
use sip::wire::{Method, Request, StatusCode};

use super::changing::{Change, Glare, Outcome, pause};
use super::identity::Caller;
use super::timers::{Due, Running};
use super::{Common, Desk, Happening, Party, State, dtmf, headers};

pub struct Talking {
    change: Option<Change>,
    /// Session timers of caller and callee.
    timers: [Option<Running>; 2],
    /// When both directions must have spoken.
    silence: Option<Instant>,
    /// Whom to tell what the other side does now, and when: it did not want to hear it at once.
    later: Option<(Instant, Party, Direction)>,
}

impl Talking {
    /// Silence while the callee rang is no reason to end a call that has just been answered; if it
    /// lasts, the data plane does not tell it again.
    pub fn start(common: &mut Common, desk: &mut Desk<'_>) -> State {
        // Nobody will be told any more who calls, and what the caller's INVITE said of it holds all of
        // that message.
        common.who = Caller::default();
        let patience = common.patience().filter(|_| common.is_silent(desk));
        let silence = patience.and_then(|patience| desk.now.checked_add(patience));
        let start = |party| common.leg(party).timer.and_then(|t| Running::start(t, desk.now));
        let timers = [Party::Caller, Party::Callee].map(start);
        State::Talking(Box::new(Self { change: None, timers, silence, later: None }))
            .wake(common, desk)
    }

    pub fn on(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        happening: Happening,
    ) -> State {
        match happening {
            Happening::Request { party, transaction, request } if request.method == Method::Bye => {
                headers::answer_bye(desk, transaction);
                self.end(desk);
                let reason = match party {
                    Party::Caller => "hung up by the caller",
                    Party::Callee => "hung up by the callee",
                };
                common.hang_up(desk, party.other(), party, reason)
            }
            Happening::Request { party, transaction, request }
                if request.method == Method::Info =>
            {
                dtmf::informed(common, desk, party, transaction, &request);
                State::Talking(self)
            }
            Happening::Told(abi::Notice::Digit { flow, digit, duration_ms, .. }) => {
                let from = if common.is_forward(flow) { Party::Caller } else { Party::Callee };
                let ms = u16::try_from(duration_ms).unwrap_or(u16::MAX);
                let ms = ms.clamp(abi::DIGIT_MS_MIN, abi::DIGIT_MS_MAX);
                dtmf::say(common, desk, from, dtmf::Press { digit, ms });
                State::Talking(self)
            }
            Happening::Request { party, transaction, request } => {
                self.asked(common, desk, party, transaction, &request)
            }
            // One silent direction may be a muted phone; two are a dead call.
            Happening::Silent { flow } => {
                common.fell_silent(desk, flow);
                self.unless_silent(common, desk)
            }
            Happening::Deadline => self.due(common, desk),
            Happening::Refused { reason } => {
                self.end(desk);
                common.hang_up_both(desk, 503, &reason.to_string())
            }
            Happening::Stop { reason } => {
                self.end(desk);
                common.hang_up_both(desk, 503, reason)
            }
            happening => self.heard(common, desk, happening),
        }
    }

    /// What comes of requests of ours and answers of theirs.
    fn heard(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        happening: Happening,
    ) -> State {
        match happening {
            Happening::Response { client, dialog, response, .. } if self.waits_for(client) => {
                let Some(change) = self.change.take() else { return State::Talking(self) };
                if response.status.is_final() {
                    desk.disown_client(common, client);
                }
                let outcome = change.answered(common, desk, dialog, &response);
                self.after(common, desk, outcome)
            }
            Happening::Failed { client, .. } if self.waits_for(client) => {
                self.end(desk);
                common.hang_up_both(desk, 408, "a change or refresh was not answered")
            }
            Happening::Response { client, response, .. } => {
                dtmf::ended(common, desk, client, Some(response.status));
                State::Talking(self)
            }
            Happening::Failed { client, .. } => {
                dtmf::ended(common, desk, client, None);
                State::Talking(self)
            }
            Happening::Connected { flow, serial } if !common.is_forward(flow) => {
                let Some(change) = self.change.take() else { return State::Talking(self) };
                let outcome = change.connected(common, desk, serial);
                self.after(common, desk, outcome)
            }
            Happening::Ack { party, request } => {
                let Some(change) = self.change.take() else { return State::Talking(self) };
                let outcome = change.acknowledged(common, desk, party, &request);
                self.after(common, desk, outcome)
            }
            Happening::AckMissing => {
                self.end(desk);
                common.hang_up_both(desk, 408, "a change was never acknowledged")
            }
            _ => State::Talking(self),
        }
    }

    fn waits_for(&self, client: sip::endpoint::ClientId) -> bool {
        self.change.as_ref().and_then(Change::client) == Some(client)
    }

    fn asked(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        party: Party,
        transaction: ServerId,
        request: &Request,
    ) -> State {
        if !matches!(request.method, Method::Invite | Method::Update) {
            headers::answer_in_dialog(desk, transaction, request);
            return State::Talking(self);
        }
        let refreshes = request.method == Method::Update && request.body.is_empty();
        if self.change.is_some() && !refreshes {
            desk.answer(transaction, StatusCode::REQUEST_PENDING, Vec::new(), None);
            return State::Talking(self);
        }
        let running = self.change.take();
        let outcome = Change::asked(common, desk, party, transaction, request);
        self.change = running;
        self.after(common, desk, outcome)
    }

    fn after(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        outcome: Outcome,
    ) -> State {
        match outcome {
            Outcome::Goes(change) => self.change = Some(change),
            Outcome::Done(None) | Outcome::Stopped => {}
            Outcome::Done(Some((party, timer))) => {
                let running = timer.and_then(|timer| Running::start(timer, desk.now));
                *self.timer(party) = running;
            }
            Outcome::Again(party) => {
                let now = desk.now;
                if let Some(timer) = self.timer(party) {
                    timer.failed(now);
                }
            }
            Outcome::Glare(party, glare) => {
                let (now, pause) = (desk.now, pause(party, desk.entropy));
                match (glare, self.timer(party)) {
                    (Glare::Telling(said), _) => {
                        self.later = now.checked_add(pause).map(|at| (at, party, said));
                    }
                    (Glare::Refresh, Some(timer)) => timer.retry(now, pause),
                    (Glare::Refresh, None) => {}
                }
            }
            Outcome::Lost(party) => {
                self.end(desk);
                let reason = match party {
                    Party::Caller => "the caller's side does not know the call any more",
                    Party::Callee => "the callee's side does not know the call any more",
                };
                return common.hang_up_both(desk, 481, reason);
            }
        }
        State::Talking(self).wake(common, desk)
    }

    fn timer(&mut self, party: Party) -> &mut Option<Running> {
        let [caller, callee] = &mut self.timers;
        match party {
            Party::Caller => caller,
            Party::Callee => callee,
        }
    }

    /// Something that was waited for is due.
    fn due(mut self: Box<Self>, common: &mut Common, desk: &mut Desk<'_>) -> State {
        let now = desk.now;
        if self.change.as_ref().and_then(Change::limit).is_some_and(|limit| limit <= now) {
            self.end(desk);
            return common.hang_up_both(desk, 503, "the data plane did not answer");
        }
        for party in [Party::Caller, Party::Callee] {
            match self.timer(party).as_mut().and_then(|timer| timer.due(now)) {
                Some(Due::Expired) => {
                    self.end(desk);
                    let reason = "the session timer expired: nobody refreshed the call";
                    return common.hang_up_both(desk, 408, reason);
                }
                Some(Due::Refresh) => return self.refresh(common, desk, party),
                None => {}
            }
        }
        if let Some((_, party, said)) = self.later.take_if(|(at, ..)| *at <= now) {
            let outcome = match self.change {
                Some(_) => Outcome::Glare(party, Glare::Telling(said)),
                None => Change::tell(common, desk, party, said),
            };
            return self.after(common, desk, outcome);
        }
        if self.silence.take_if(|at| *at <= now).is_some() {
            return self.unless_silent(common, desk);
        }
        State::Talking(self).wake(common, desk)
    }

    fn refresh(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        party: Party,
    ) -> State {
        let interval_s = self.timer(party).map_or(0, |timer| timer.agreed().interval_s);
        let outcome = match self.change {
            Some(_) => Outcome::Again(party),
            None => Change::refresh(common, desk, party, interval_s),
        };
        self.after(common, desk, outcome)
    }

    fn unless_silent(mut self: Box<Self>, common: &mut Common, desk: &mut Desk<'_>) -> State {
        if common.is_silent(desk) {
            self.end(desk);
            return common.hang_up_both(desk, 408, "no media in either direction");
        }
        State::Talking(self).wake(common, desk)
    }

    /// The call ends; nobody is left without an answer.
    fn end(&mut self, desk: &mut Desk<'_>) {
        if let Some(change) = self.change.take() {
            change.abandon(desk);
        }
    }

    fn next(&self) -> Option<Instant> {
        let timers = self.timers.iter().flatten().map(Running::next);
        let limit = self.change.as_ref().and_then(Change::limit);
        let later = self.later.map(|(at, ..)| at);
        timers.chain(limit).chain(self.silence).chain(later).min()
    }
}

impl State {
    /// Sets the deadline that a conversation waits for.
    fn wake(self, common: &mut Common, desk: &mut Desk<'_>) -> State {
        if let State::Talking(talking) = &self {
            desk.clear_deadline(common);
            if let Some(at) = talking.next() {
                desk.set_deadline(common, at.saturating_duration_since(desk.now));
            }
        }
        self
    }
}
