//! Somebody of the callee's trunk takes the call while another phone of it rings: an INVITE that names
//! our early dialog (Replaces, RFC 3891 §3).
//!
//! ```text
//!  INVITE, Replaces ──► CANCEL to the phone that rings; the data plane is told ──► 200 to both
//! ```
//! Both sides offered, and both are answered with what they have in common. The call is the caller's as
//! before, and so is its record; that of the INVITE ends with the answer.

use bytes::Bytes;
use sdp::Audio;
use sip::wire::{HeaderName, StatusCode};

use super::super::connecting::Connecting;
use super::super::negotiate::{self, Agreed, Unusable};
use super::super::newcomer::Newcomer;
use super::super::{Common, Desk, Party, State, headers, timers};
use super::{Inviting, KEYS_MAX, Told};

/// Who has picked up, and waits for the answer; its seat is the callee's already.
pub struct PickUp {
    newcomer: Newcomer,
    body: Bytes,
}

impl Inviting {
    pub(super) fn picked_up(
        mut self: Box<Self>,
        mut newcomer: Newcomer,
        common: &mut Common,
        desk: &mut Desk<'_>,
    ) -> State {
        if newcomer.party == Party::Caller {
            newcomer.put_off(common, desk, "the call that it names is being set up");
            return State::Inviting(self);
        }
        if let Some(reason) = self.hinders(&newcomer, common) {
            let status = StatusCode::NOT_ACCEPTABLE_HERE;
            newcomer.refuse(common, desk, status, Vec::new(), reason);
            return State::Inviting(self);
        }
        let told = self.answers(&newcomer, common, desk).and_then(|(body, far)| {
            self.keep_key(&far, KEYS_MAX)?;
            let had_near = self.hunting.near.is_some();
            newcomer.trade_places(common);
            let told = self.connect(common, desk, far);
            if told.is_err() {
                newcomer.trade_places(common);
                if !had_near {
                    (self.hunting.near, self.hunting.given) = (None, None);
                }
            }
            Ok((body, told?))
        });
        match told {
            Ok((body, told)) => self.hand_to(PickUp { newcomer, body }, told, common, desk),
            Err(reject) => {
                let (status, warning) = (reject.status(), vec![headers::warning(&reject)]);
                newcomer.refuse(common, desk, status, warning, &reject.to_string());
                State::Inviting(self)
            }
        }
    }

    /// Why the call cannot be picked up.
    fn hinders(&self, newcomer: &Newcomer, common: &Common) -> Option<&'static str> {
        if newcomer.leg.trunk != self.target.trunk {
            return Some("the phone that it names rings no more");
        }
        if common.is_bypassed {
            return Some("media of the call that it names passes by us");
        }
        let both_offer = newcomer.offer.is_some() && self.hunting.asked.offer.is_some();
        (!both_offer).then_some("a call that rings is picked up only where both sides offer")
    }

    /// Our answer to who picks up: what it has in common with the caller.
    fn answers(
        &self,
        newcomer: &Newcomer,
        common: &Common,
        desk: &mut Desk<'_>,
    ) -> Result<(Bytes, Agreed), Unusable> {
        let (offer, chosen) = newcomer.offer.as_ref().ok_or(Unusable::NoOffer)?;
        let asked: Option<&Audio> = self.hunting.asked.offer.as_ref().map(|(_, audio)| audio);
        let near = self.hunting.given.as_ref().or(asked).ok_or(Unusable::NoOffer)?;
        let (ports, origin) = (self.hunting.callee, common.origin());
        negotiate::answer(offer, chosen, near, &newcomer.leg, ports, origin, desk.entropy)
    }

    /// The phone that rings is given up; a late answer of it is acknowledged and ended.
    fn hand_to(
        self,
        picked_up: PickUp,
        told: Told,
        common: &mut Common,
        desk: &mut Desk<'_>,
    ) -> State {
        tracing::info!(call = common.id(), by = picked_up.newcomer.cdr.id, "picked up");
        desk.cancel(self.client);
        common.leave_behind(self.client);
        common.cdr.note(PICKED_UP);
        let transaction = self.hunting.asked.transaction;
        Connecting::start(transaction, told, Some(picked_up), common, desk)
    }
}

impl PickUp {
    /// The data plane is ready: who has picked up is the callee.
    pub fn answer(self, common: &mut Common, desk: &mut Desk<'_>) {
        let Self { mut newcomer, body } = self;
        let mut extra = headers::capabilities(&common.callee);
        extra.extend(timers::answer_headers(common.callee.timer));
        let body = Some((headers::SDP, body));
        let dialog = desk.answer(newcomer.transaction, StatusCode::OK, extra, body);
        common.callee.dialog = dialog;
        match dialog {
            Some(dialog) => desk.own_dialog(common, dialog, Party::Callee),
            None => desk.stop_soon(common.token, "the answer could not be sent"),
        }
        newcomer.cdr.answer(desk.wall);
        newcomer.cdr.hang_up("gateway", "it picked up the call that it names, which goes on");
        desk.write(&mut newcomer.cdr);
        desk.tell(State::Over.name(), [Some(common.callee.trunk), None], &newcomer.cdr);
    }

    /// The call ends before.
    pub fn refuse(self, common: &Common, desk: &mut Desk<'_>) {
        let (status, extra) = (StatusCode::REQUEST_TERMINATED, Vec::<(HeaderName, Bytes)>::new());
        self.newcomer.refuse(common, desk, status, extra, "the call that it names has ended");
    }
}

const PICKED_UP: &str = "picked up by another phone of the callee's trunk (Replaces)";
