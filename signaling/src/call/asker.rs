//! Who asked for a change of a running call, and how it is answered.

use bytes::Bytes;
use sdp::{Audio, Description};
use sip::endpoint::ServerId;
use sip::wire::{HeaderName, Request, StatusCode};

use super::changing::Outcome;
use super::negotiate::{Agreed, Unusable};
use super::newcomer::Newcomer;
use super::{Common, Desk, Party, bypass, headers, renegotiate, timers};

/// Who asked for a change, and is to be answered.
pub struct Asker {
    pub party: Party,
    pub(super) transaction: ServerId,
    /// What its session timer becomes.
    pub timer: Option<timers::Agreed>,
    /// It asks for the party's place.
    pub(super) newcomer: Option<Box<Newcomer>>,
}

impl Asker {
    /// Whoever sent `request`, with what becomes of its session timer; `None` when the timer that it
    /// wants is too short, which it was told.
    pub fn of(
        common: &Common,
        desk: &mut Desk<'_>,
        party: Party,
        transaction: ServerId,
        request: &Request,
    ) -> Option<Self> {
        let trunk = desk.trunks.get(common.leg(party).trunk);
        let rules = trunk.map(|trunk| trunk.timer).unwrap_or_default();
        match timers::answer(&request.headers, &rules) {
            Ok(timer) => Some(Self { party, transaction, timer, newcomer: None }),
            Err(timers::TooSmall(least)) => {
                let least = (HeaderName::MinSe, Bytes::from(least.to_string()));
                let status = StatusCode::SESSION_INTERVAL_TOO_SMALL;
                desk.answer(transaction, status, vec![least], None);
                None
            }
        }
    }

    /// Who has a place now is told how it goes on.
    pub fn accept(self, common: &mut Common, desk: &mut Desk<'_>, body: Option<Bytes>) -> Outcome {
        let Self { party, transaction, timer, newcomer } = self;
        let mut extra = headers::capabilities(common.leg(party));
        extra.extend(timers::answer_headers(timer));
        let body = body.map(|body| (headers::SDP, body));
        let dialog = desk.answer(transaction, StatusCode::OK, extra, body);
        match newcomer {
            Some(newcomer) => {
                newcomer.arrive(common, desk, dialog);
                Outcome::Arrived(party, timer, None)
            }
            None => Outcome::Done(Some((party, timer))),
        }
    }

    /// What stands goes on (RFC 3261 §14.2).
    pub fn reject(self, common: &Common, desk: &mut Desk<'_>, reject: &Unusable) -> Outcome {
        tracing::info!(call = common.id(), %reject, "a change of a running call is refused");
        let (status, warning) = (reject.status(), vec![headers::warning(reject)]);
        match self.newcomer {
            Some(who) => who.refuse(common, desk, status, warning, &reject.to_string()),
            None => drop(desk.answer(self.transaction, status, warning, None)),
        }
        Outcome::Done(None)
    }

    /// Something else runs: to be tried again.
    pub fn wait(self, common: &Common, desk: &mut Desk<'_>) -> Outcome {
        match self.newcomer {
            Some(who) => who.put_off(common, desk, BUSY),
            None => {
                desk.answer(self.transaction, StatusCode::REQUEST_PENDING, Vec::new(), None);
            }
        }
        Outcome::Done(None)
    }

    /// The call ends, and what was asked with it.
    pub fn dismiss(self, common: &mut Common, desk: &mut Desk<'_>, is_seated: bool) {
        let status = StatusCode::REQUEST_TERMINATED;
        let Some(mut newcomer) = self.newcomer else {
            desk.answer(self.transaction, status, Vec::new(), None);
            return;
        };
        if is_seated {
            newcomer.trade_places(common);
        }
        newcomer.refuse(common, desk, status, Vec::new(), "the call that it names has ended");
    }

    /// Our answer to what it offers, given what the other side does.
    pub fn answer(
        &self,
        common: &Common,
        desk: &mut Desk<'_>,
        (offer, chosen): (&Description, &Audio),
        far: &Audio,
    ) -> Result<Agreed, Unusable> {
        if let Some(newcomer) = &self.newcomer {
            return newcomer.answer(common, desk, (offer, chosen), far);
        }
        let (leg, told) = (common.leg(self.party), bypass::told(common, far));
        renegotiate::answer(offer, chosen, far, leg, told, desk.entropy)
    }
}

/// Why who wants a place is put off.
pub const BUSY: &str = "another change of the call runs";
