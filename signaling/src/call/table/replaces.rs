//! An INVITE that names a dialog of ours whose place it wants (Replaces, RFC 3891 §3).
//!
//! The strict rule of who may: the trunk that the dialog is of, and nobody else. For any other trunk
//! the dialog does not exist, so that nobody learns of it. Attribution, the digest that the trunk
//! demands, its direction and its caps count as for every INVITE; its numbers and routes do not, since
//! nobody is called.

use sdp::{Audio, Description, Policy};
use sip::endpoint::{Hop, ServerId};
use sip::wire::{HeaderName, Request, StatusCode};

use super::super::common::Leg;
use super::super::identity::Caller;
use super::super::newcomer::Newcomer;
use super::super::{Desk, Happening, Party, timers};
use super::{
    Calls, Offer, Refused, at_capacity, check_capacity, check_extensions, check_timer, read_offer,
};
use crate::admission::Bound;
use crate::cdr::Record;
use crate::media::Token;
use crate::trunk::{Direction, IncomingCallPolicy, Trunk};

/// A side of a call.
type Place = (Token, Party);

/// Whether an INVITE wants a place in a running call.
pub fn is_meant(request: &Request) -> bool {
    request.headers.get(&HeaderName::Replaces).is_some()
}

impl Calls {
    /// Gives it the place, or refuses it. Either way it leaves one CDR.
    pub(super) fn replace(
        &mut self,
        desk: &mut Desk<'_>,
        caller: &Trunk,
        hop: Hop,
        (transaction, request, who): (ServerId, Request, Caller),
        cdr: Record,
    ) {
        let seat = self.examine(desk, caller, &request).and_then(|(place, (offer, policy))| {
            let leg = self.leg(desk, caller, hop, &request, place, policy)?;
            Ok((place, leg, offer))
        });
        match seat {
            Ok((place, leg, offer)) => self.seat(desk, (transaction, who), place, leg, offer, cdr),
            Err(refused) => self.refuse(desk, caller.id, transaction, refused, cdr),
        }
    }

    /// Which side of which call is meant, and what is offered.
    fn examine(
        &self,
        desk: &Desk<'_>,
        caller: &Trunk,
        request: &Request,
    ) -> Result<(Place, Offer), Refused> {
        check_extensions(caller, request)?;
        if caller.direction == Direction::Outbound
            || caller.incoming_call_policy == IncomingCallPolicy::Reject
        {
            let reason = "the trunk takes no calls (direction, incoming_call_policy)";
            return Err(Refused::new(StatusCode::FORBIDDEN, reason));
        }
        check_timer(caller, request)?;
        let place = self.named(desk, caller, request)?;
        check_capacity(desk, caller, Bound::In)?;
        Ok((place, read_offer(caller, request)?))
    }

    /// The side whose dialog is named.
    fn named(&self, desk: &Desk<'_>, caller: &Trunk, request: &Request) -> Result<Place, Refused> {
        let Ok(Some(replaces)) = request.headers.replaces() else {
            let reason = "Replaces cannot be read, or there is more than one";
            return Err(Refused::new(StatusCode::BAD_REQUEST, reason));
        };
        let unknown = || {
            let status = StatusCode::CALL_OR_TRANSACTION_DOES_NOT_EXIST;
            Refused::new(status, "Replaces names no dialog of this trunk")
        };
        let own = desk.endpoint.named(&replaces).filter(|named| named.tag == caller.id.tag());
        let named = own.ok_or_else(unknown)?;
        let place = desk.index.dialogs.get(&named.dialog).copied();
        let (token, party) = place.ok_or_else(unknown)?;
        if self.is_other_fork(token, party, named.dialog) {
            let reason = "the dialog that Replaces names has ended";
            return Err(Refused::new(StatusCode::DECLINE, reason));
        }
        match (named.is_confirmed, named.is_ours) {
            (true, _) if replaces.early_only => {
                let reason = "the dialog is answered, and Replaces wants an early one alone";
                Err(Refused::new(StatusCode::BUSY_HERE, reason))
            }
            (false, false) => Err(unknown()),
            _ => Ok((token, party)),
        }
    }

    /// The side as it will be, with a place on its trunk.
    fn leg(
        &self,
        desk: &mut Desk<'_>,
        caller: &Trunk,
        hop: Hop,
        request: &Request,
        (token, party): Place,
        policy: Policy,
    ) -> Result<Leg, Refused> {
        let gone = || Refused::new(StatusCode::CALL_OR_TRANSACTION_DOES_NOT_EXIST, "no such call");
        let common = &self.live.get(&token).ok_or_else(gone)?.common;
        let old = &common.leg(party).policy;
        if old.security.encrypts() != policy.security.encrypts() {
            let reason = "its media is not encrypted as that of the place is";
            return Err(Refused::new(StatusCode::NOT_ACCEPTABLE_HERE, reason));
        }
        let taken = desk.admission.take(desk.now, caller, Bound::In, false);
        let slot = taken.map_err(|full| at_capacity(caller, full))?;
        let mut leg = Leg::new(caller, hop, Some(slot));
        leg.policy = Policy { events: old.events, ..policy };
        leg.vantage.asked(hop.remote.ip(), request);
        leg.agree(&request.headers, timers::answer(&request.headers, &caller.timer).ok());
        Ok(leg)
    }

    fn seat(
        &mut self,
        desk: &mut Desk<'_>,
        (transaction, who): (ServerId, Caller),
        (token, party): Place,
        leg: Leg,
        offer: Option<(Description, Audio)>,
        mut cdr: Record,
    ) {
        let Some(call) = self.live.get_mut(&token) else { return };
        let common = &mut call.common;
        cdr.replaces(common.id());
        let stays = desk.trunks.get(common.leg(party.other()).trunk);
        cdr.to_trunk(stays.map_or("", |trunk| &trunk.name));
        tracing::info!(call = common.id(), attempt = cdr.id, "a side is to be replaced");
        desk.cdrs.note(&cdr);
        common.servers.push(transaction);
        desk.index.servers.insert(transaction, token);
        let newcomer = Box::new(Newcomer { party, transaction, leg, offer, cdr, who });
        self.happen(desk, token, Happening::Newcomer(newcomer));
    }
}
