//! A transfer while both sides talk (`referring.rs`): one side asks for it, may leave before it is
//! done, and the other side is given away.

use sip::endpoint::ServerId;
use sip::wire::{Method, Request, StatusCode};

use super::super::referring::Referral;
use super::super::{Common, Desk, Happening, Party, State, headers};
use super::Talking;
use crate::media::Token;

impl Talking {
    /// A REFER, or what the other side tells of one that it was sent.
    pub(super) fn refer(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        party: Party,
        transaction: ServerId,
        request: &Request,
    ) -> State {
        let is_refer = request.method == Method::Refer;
        match &mut self.referral {
            None if is_refer => {
                self.referral = Referral::start(common, desk, party, transaction, request);
            }
            Some(_) if is_refer => {
                let pause = vec![headers::retry_after(desk)];
                desk.answer(transaction, StatusCode::SERVER_INTERNAL_ERROR, pause, None);
            }
            Some(referral) if !referral.is_local() && referral.party != party => {
                if !referral.notified(common, desk, transaction, request) {
                    self.referral = None;
                }
            }
            _ => headers::answer_in_dialog(desk, transaction, request),
        }
        State::Talking(self).wake(common, desk)
    }

    pub(super) fn refers(&self, client: sip::endpoint::ClientId) -> bool {
        self.referral.as_ref().and_then(Referral::client) == Some(client)
    }

    /// Whether a side that hangs up leaves the other one to the transfer that it asked for.
    pub(super) fn may_leave(&self, party: Party) -> bool {
        self.referral.as_ref().is_some_and(|referral| {
            referral.is_local() && referral.party == party && !referral.has_left
        })
    }

    /// Whether that side's transfer waits for the call that is to be made of it.
    pub fn awaits_call(&self, party: Party) -> bool {
        self.referral.as_ref().is_some_and(|one| one.party == party && one.awaits_call())
    }

    /// Whether a side waits for a transfer alone.
    pub fn has_leaver(&self) -> bool {
        self.referral.as_ref().is_some_and(|referral| referral.has_left)
    }

    /// Who asked for a transfer hangs up before it is done. For the other side the call goes on,
    /// without media, until it is.
    pub(super) fn leave(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        party: Party,
    ) -> State {
        if let Some(change) = self.change.take() {
            change.abandon(common, desk);
        }
        self.referral.iter_mut().for_each(|referral| referral.has_left = true);
        *self.timer(party) = None;
        (self.silence, self.later) = (None, None);
        common.leg_mut(party).dialog = None;
        common.cdr.hang_up(party.name(), "transferred the call");
        common.cdr.end(desk.wall);
        let legs = [&common.caller, &common.callee].map(|leg| leg.standing.clone());
        if let [Some(near), Some(far)] = legs {
            common.hush(desk, &near, &far);
        }
        State::Talking(self).wake(common, desk)
    }

    /// Gives a side to the call that wants it, and ends for the other.
    pub(super) fn hand_over(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        (by, id): (Token, &str),
        party: Party,
    ) -> State {
        let from = common.token;
        if self.change.is_some() || common.leg(party).dialog.is_none() {
            desk.tell_call(by, Happening::Unavailable { from });
            return State::Talking(self);
        }
        let vacated = common.leg(party).vacated();
        let leg = std::mem::replace(common.leg_mut(party), vacated);
        common.dialogs.retain(|dialog| Some(*dialog) != leg.dialog);
        if let Some(dialog) = leg.dialog {
            desk.index.dialogs.remove(&dialog);
        }
        if let Some(referral) = &self.referral {
            referral.tell(common, desk, StatusCode::OK, true);
        }
        self.referral = None;
        common.cdr.transferred_to(id);
        desk.tell_call(by, Happening::Guest { from, leg: Box::new(leg) });
        let who = party.other();
        common.hang_up(desk, who, who, "transferred the call")
    }

    /// How far the call is that comes of a transfer. If it failed, whoever is alone is sent away.
    pub(super) fn progress(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        status: StatusCode,
    ) -> State {
        let Some(referral) = &self.referral else { return State::Talking(self) };
        referral.tell(common, desk, status, status.is_final());
        if status.is_provisional() {
            return State::Talking(self);
        }
        let is_alone = referral.has_left;
        self.referral = None;
        if is_alone {
            self.end(common, desk);
            return common.hang_up_both(desk, status.code(), "the transfer came to nothing");
        }
        State::Talking(self).wake(common, desk)
    }

    /// A transfer has had its time.
    pub(super) fn give_up(mut self: Box<Self>, common: &mut Common, desk: &mut Desk<'_>) -> State {
        let Some(referral) = self.referral.take() else { return State::Talking(self) };
        let is_alone = referral.has_left;
        referral.tell(common, desk, StatusCode::REQUEST_TIMEOUT, true);
        referral.abandon(desk);
        if is_alone {
            self.end(common, desk);
            return common.hang_up_both(desk, 408, "the transfer came to nothing");
        }
        State::Talking(self).wake(common, desk)
    }
}
