//! Who takes the place of a side in a running call: an INVITE that names the side's dialog (Replaces,
//! RFC 3891). The other side is not asked unless media changes for it (`changing.rs`); ports stay,
//! keys are fresh.
//!
//! ```text
//!  INVITE, Replaces ──► Change::Asked, Arming ──► 200 ──► BYE to who was there
//!                              │ refused                  its record ends, that of the INVITE goes on
//!                              ▼
//!                       one record, the call goes on as it was
//! ```
//! Whoever comes is the caller from then on: it is who asked, and its record says so.

use sdp::{Audio, Description, Direction};
use sip::endpoint::{DialogId, ServerId};
use sip::wire::{HeaderName, StatusCode};

use super::common::Leg;
use super::identity::Caller;
use super::negotiate::{self, Agreed, Offered, Unusable};
use super::{Common, Desk, Party, headers};
use crate::cdr::Record;

/// Somebody who is to take the place of a side.
pub struct Newcomer {
    /// Whose place.
    pub party: Party,
    pub transaction: ServerId,
    /// The side as it will be; as it was, once it is seated.
    pub leg: Leg,
    /// `None`: the 2xx is to offer.
    pub offer: Option<(Description, Audio)>,
    /// Of its INVITE.
    pub cdr: Record,
    pub who: Caller,
}

impl Newcomer {
    /// Our answer to its offer: from the ports of the side, with a key of its own.
    pub fn answer(
        &self,
        common: &Common,
        desk: &mut Desk<'_>,
        (offer, chosen): (&Description, &Audio),
        far: &Audio,
    ) -> Result<Agreed, Unusable> {
        let standing = common.leg(self.party).standing.as_ref().ok_or(Unusable::NoOffer)?;
        let (ports, origin) = (standing.said.ports, common.origin());
        let (_, agreed) =
            negotiate::answer(offer, chosen, far, &self.leg, ports, origin, desk.entropy)?;
        Ok(agreed)
    }

    /// Our offer to who made none: what the other side has.
    pub fn offered(&self, common: &Common, desk: &mut Desk<'_>) -> Result<Offered, Unusable> {
        let standing = common.leg(self.party).standing.as_ref().ok_or(Unusable::NoOffer)?;
        let far = common.leg(self.party.other()).standing.as_ref().ok_or(Unusable::NoOffer)?;
        let far = Audio { direction: Direction::SendRecv, ..far.audio.clone() };
        let (ports, origin) = (standing.said.ports, common.origin());
        negotiate::offer(&self.leg.policy, Some(&far), ports, origin, desk.entropy)
    }

    /// Changes seats with who is there; again, and all is as it was.
    pub fn trade_places(&mut self, common: &mut Common) {
        std::mem::swap(common.leg_mut(self.party), &mut self.leg);
    }

    /// It has its place and its answer, which made `dialog`. Who was there is sent away.
    pub fn arrive(mut self, common: &mut Common, desk: &mut Desk<'_>, dialog: Option<DialogId>) {
        let party = self.party;
        common.leg_mut(party).dialog = dialog;
        match dialog {
            Some(dialog) => desk.own_dialog(common, dialog, party),
            None => desk.stop_soon(common.token, "the answer could not be sent"),
        }
        *common.presses_of(party) = super::dtmf::Outbox::default();
        self.take_record(common, desk);
        if let Some(left) = self.leg.dialog {
            let _nobody_waits = desk.bye(common, left);
        }
        let was = std::mem::replace(&mut common.who, self.who);
        if party == Party::Callee {
            common.called = was.number();
            common.turn_around(desk);
        }
    }

    /// The record of the call so far ends, and that of the INVITE goes on.
    fn take_record(&mut self, common: &mut Common, desk: &mut Desk<'_>) {
        let mut record = self.cdr.clone();
        let reason = "its place was taken by another call (Replaces)";
        common.cdr.replaced_by(&record.id);
        common.cdr.hang_up("gateway", reason);
        // Its media was connected as that of the INVITE already.
        let suite = |leg: &Leg| leg.standing.as_ref()?.suite.map(sdp::Suite::name);
        let (old, own) = (suite(&self.leg), suite(common.leg(self.party)));
        let other = suite(common.leg(self.party.other()));
        match self.party {
            Party::Caller => common.cdr.suites(old, other),
            Party::Callee => common.cdr.suites(other, old),
        }
        common.close_record(desk);
        record.suites(own, other);
        record.answer(desk.wall);
        common.open_record(desk, record);
    }

    /// The INVITE is refused and leaves its record; the call goes on as it was.
    pub fn refuse(
        self,
        common: &Common,
        desk: &mut Desk<'_>,
        status: StatusCode,
        extra: Vec<(HeaderName, bytes::Bytes)>,
        reason: &str,
    ) {
        tracing::info!(call = common.id(), attempt = self.cdr.id, reason, "not replaced");
        desk.turn_away(self.leg.trunk, self.transaction, (status, extra), reason, self.cdr);
    }

    /// The same, because something else runs just now.
    pub fn put_off(self, common: &Common, desk: &mut Desk<'_>, reason: &str) {
        let pause = headers::retry_after(desk);
        self.refuse(common, desk, StatusCode::SERVER_INTERNAL_ERROR, vec![pause], reason);
    }
}
