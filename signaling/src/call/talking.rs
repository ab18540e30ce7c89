//! Both dialogs are confirmed and media flows.

use std::time::Instant;

use sdp::Direction;
use sip::endpoint::ServerId;
use sip::wire::{Method, Request, StatusCode};

use super::asker::BUSY;
use super::changing::{Change, Glare, Outcome, pause};
use super::referring::Referral;
use super::timers::{Due, Running};
use super::{Common, Desk, Happening, Party, State, dtmf, headers};

mod transfers;

pub struct Talking {
    change: Option<Change>,
    /// Session timers of caller and callee.
    timers: [Option<Running>; 2],
    /// When both directions must have spoken.
    silence: Option<Instant>,
    /// Whom to tell what the other side does now, and when: it did not want to hear it at once.
    later: Option<(Instant, Party, Direction)>,
    /// A transfer that a side asked for.
    referral: Option<Referral>,
}

impl Talking {
    /// Silence while the callee rang is no reason to end a call that has just been answered; if it
    /// lasts, the data plane does not tell it again.
    pub fn start(common: &mut Common, desk: &mut Desk<'_>) -> State {
        // What the caller's INVITE said of who calls holds all of that message; a transfer needs no more
        // than the number.
        common.who = common.who.remembered();
        let patience = common.patience().filter(|_| common.is_silent(desk));
        let silence = patience.and_then(|patience| desk.now.checked_add(patience));
        let start = |party| common.leg(party).timer.and_then(|t| Running::start(t, desk.now));
        let timers = [Party::Caller, Party::Callee].map(start);
        State::Talking(Box::new(Self {
            change: None,
            timers,
            silence,
            later: None,
            referral: None,
        }))
        .wake(common, desk)
    }

    pub fn on(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        happening: Happening,
    ) -> State {
        match happening {
            Happening::Request { party, transaction, request } => {
                self.requested(common, desk, party, transaction, &request)
            }
            Happening::Told(abi::Notice::Digit { flow, digit, duration_ms, .. }) => {
                let from = if common.is_forward(flow) { Party::Caller } else { Party::Callee };
                let ms = u16::try_from(duration_ms).unwrap_or(u16::MAX);
                let ms = ms.clamp(abi::DIGIT_MS_MIN, abi::DIGIT_MS_MAX);
                dtmf::say(common, desk, from, dtmf::Press { digit, ms });
                State::Talking(self)
            }
            Happening::Newcomer(newcomer) if self.change.is_some() || self.referral.is_some() => {
                newcomer.put_off(common, desk, BUSY);
                State::Talking(self)
            }
            Happening::Newcomer(newcomer) => {
                let outcome = Change::begin(common, desk, newcomer);
                self.after(common, desk, outcome)
            }
            Happening::Cancelled => {
                self.change = self.change.take().map(|change| change.cancelled(common, desk));
                State::Talking(self)
            }
            // One silent direction may be a muted phone; two are a dead call.
            Happening::Silent { flow } => {
                common.fell_silent(desk, flow);
                self.unless_silent(common, desk)
            }
            Happening::Wanted { by, id, party } => self.hand_over(common, desk, (by, &id), party),
            Happening::Begun { call } => {
                self.referral.iter_mut().for_each(|referral| referral.is_done_by(call));
                State::Talking(self)
            }
            Happening::Progress { status } => self.progress(common, desk, status),
            Happening::Deadline => self.due(common, desk),
            Happening::Refused { reason } => {
                self.end(common, desk);
                common.hang_up_both(desk, 503, &reason.to_string())
            }
            Happening::Stop { reason } => {
                self.end(common, desk);
                common.hang_up_both(desk, 503, reason)
            }
            happening => self.heard(common, desk, happening),
        }
    }

    /// What a side wants of us.
    fn requested(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        party: Party,
        transaction: ServerId,
        request: &Request,
    ) -> State {
        match request.method {
            Method::Bye => {
                headers::answer_bye(desk, transaction);
                if self.may_leave(party) {
                    return self.leave(common, desk, party);
                }
                self.end(common, desk);
                let reason = match party {
                    Party::Caller => "hung up by the caller",
                    Party::Callee => "hung up by the callee",
                };
                common.hang_up(desk, party.other(), party, reason)
            }
            Method::Refer | Method::Notify => self.refer(common, desk, party, transaction, request),
            Method::Info => {
                dtmf::informed(common, desk, party, transaction, request);
                State::Talking(self)
            }
            _ => self.asked(common, desk, party, transaction, request),
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
                self.end(common, desk);
                common.hang_up_both(desk, 408, "a change or refresh was not answered")
            }
            Happening::Response { client, response, .. } if self.refers(client) => {
                self.referral.take_if(|referral| !referral.answered(desk, response.status));
                State::Talking(self)
            }
            Happening::Failed { client, .. } if self.refers(client) => {
                let status = StatusCode::REQUEST_TIMEOUT;
                self.referral.take_if(|referral| !referral.answered(desk, status));
                State::Talking(self)
            }
            Happening::Response { client, response, .. } => {
                let was_digit = dtmf::ended(common, desk, client, Some(response.status));
                if !was_digit && response.status.is_final() {
                    desk.disown_client(common, client);
                }
                State::Talking(self)
            }
            Happening::Failed { client, .. } => {
                if !dtmf::ended(common, desk, client, None) {
                    desk.disown_client(common, client);
                }
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
                self.end(common, desk);
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
            Outcome::Done(None) => {}
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
            Outcome::Arrived(party, timer, change) => {
                if party == Party::Callee {
                    self.timers.reverse();
                    self.later = self.later.map(|(at, whom, said)| (at, whom.other(), said));
                }
                self.change = change.map(|change| *change);
                *self.timer(Party::Caller) =
                    timer.and_then(|timer| Running::start(timer, desk.now));
            }
            Outcome::Mute => {
                let reason = "who took a place in the call did not describe usable media";
                return common.hang_up_both(desk, 488, reason);
            }
            Outcome::Lost(party) => {
                self.end(common, desk);
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
            self.end(common, desk);
            return common.hang_up_both(desk, 503, "the data plane did not answer");
        }
        for party in [Party::Caller, Party::Callee] {
            match self.timer(party).as_mut().and_then(|timer| timer.due(now)) {
                Some(Due::Expired) => {
                    self.end(common, desk);
                    let reason = "the session timer expired: nobody refreshed the call";
                    return common.hang_up_both(desk, 408, reason);
                }
                Some(Due::Refresh) => return self.refresh(common, desk, party),
                None => {}
            }
        }
        if self.referral.as_ref().is_some_and(|referral| referral.until <= now) {
            return self.give_up(common, desk);
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
        if common.is_silent(desk) && !self.has_leaver() {
            self.end(common, desk);
            return common.hang_up_both(desk, 408, "no media in either direction");
        }
        State::Talking(self).wake(common, desk)
    }

    /// The call ends; nobody is left without an answer.
    fn end(&mut self, common: &mut Common, desk: &mut Desk<'_>) {
        if let Some(change) = self.change.take() {
            change.abandon(common, desk);
        }
        if let Some(referral) = self.referral.take() {
            referral.abandon(desk);
        }
    }

    fn next(&self) -> Option<Instant> {
        let timers = self.timers.iter().flatten().map(Running::next);
        let limit = self.change.as_ref().and_then(Change::limit);
        let later = self.later.map(|(at, ..)| at);
        let referral = self.referral.as_ref().map(|referral| referral.until);
        timers.chain(limit).chain(self.silence).chain(later).chain(referral).min()
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
