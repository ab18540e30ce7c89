//! What a REFER comes to where we do it ourselves (`refer = "local"`).
//!
//! A number is called as the transferor's trunk would call it; a dialog of that trunk's that is named
//! (attended transfer) gives its other side. Both times a call of its own is made, with its own ports
//! and its own record, and the transferred side goes over to it (`joining.rs`).

use sip::wire::{Method, Replaces, Request, StatusCode, Uri};

use super::super::common::Leg;
use super::super::identity::Caller;
use super::super::joining::{Joining, Seat};
use super::super::leasing::{Asked, Leasing};
use super::super::letter::{Found, Letter, Seek};
use super::super::referring::{Referred, Wish};
use super::super::{Common, Desk, Happening, Party, State};
use super::{Call, Calls, Refused, ServerId, places};
use crate::cdr::Record;
use crate::media::{Side, Token};
use crate::trunk::{Trunk, TrunkId};

impl Calls {
    /// Begins the call that a transfer needs. Who asked is told what comes of it.
    pub(super) fn transfer(&mut self, desk: &mut Desk<'_>, referred: Referred) {
        let Referred { from, party, wish } = referred;
        let Some(Call { common, .. }) = self.live.get(&from).map(|call| &**call) else { return };
        let Some(trunk) = desk.trunks.get(common.leg(party).trunk) else { return };
        let begun = match wish.replaces.clone() {
            Some(replaces) => {
                let seek = Seek { from, party, trunk: trunk.id, replaces, turns: 0 };
                match self.home_of(desk, &seek.replaces) {
                    None => {
                        let found = self.find(desk, &seek);
                        found.and_then(|found| self.join(desk, (from, party), seek.trunk, found))
                    }
                    Some(shard) => {
                        if self.post.send(shard, Letter::Seek(seek)).is_ok() {
                            return;
                        }
                        Err(StatusCode::SERVICE_UNAVAILABLE)
                    }
                }
            }
            None => self.call_on(desk, trunk, (from, party), &wish),
        };
        begun_for(desk, from, begun);
    }

    /// Blind transfer: the number is called, as the transferor's trunk would.
    fn call_on(
        &mut self,
        desk: &mut Desk<'_>,
        trunk: &Trunk,
        (from, party): (Token, Party),
        wish: &Wish,
    ) -> Result<Token, StatusCode> {
        let number = &*wish.number;
        let gone = StatusCode::SERVICE_UNAVAILABLE;
        let common = &self.live.get(&from).ok_or(gone)?.common;
        let who = shown(common, desk, party.other());
        let referrer = wish.is_signed.then(|| Box::new(shown(common, desk, party)));
        let mut cdr = Record::start(desk.wall, desk.entropy);
        cdr.from(&trunk.name, who.number(), Some(number.to_owned()));
        cdr.transferred_from(common.id());
        let stays = common.leg(party.other());
        let (near, known) = (stays.vacated(), stays.standing.clone());
        let ended = |calls: &mut Self, desk: &mut Desk<'_>, refused: Refused, cdr| {
            let status = refused.status;
            calls.refuse(desk, trunk.id, ServerId::NONE, refused, cdr);
            status
        };
        let planned = self.route(desk, trunk, Some(number), &who, &mut cdr);
        let (near_slot, far_slot, target, callee, hunt) = match planned.and_then(|mut hunt| {
            let ([near, far], target, callee) = places(desk, trunk, &mut hunt)?;
            Ok((near, far, target, callee, hunt))
        }) {
            Ok(planned) => planned,
            Err(refused) => return Err(ended(self, desk, refused, cdr)),
        };
        let token = self.last + 1;
        let far = abi::Family::of(target.hop.remote.ip().to_canonical());
        let sides = [side(&near), Side { family: far, place: callee.manner.media_place }];
        let pair = match desk.media.lease(token, cdr.key(), sides) {
            Ok(pair) => pair,
            Err(error) => {
                let refused = Refused::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
                return Err(ended(self, desk, refused, cdr));
            }
        };
        self.last = token;
        let near = Leg { slot: Some(near_slot), ..near };
        let policy = near.policy.clone();
        let far = Leg::new(callee, target.hop, Some(far_slot));
        let mut common = Common::new(token, near, far, pair, cdr, String::new());
        common.who = who.clone();
        common.referrer = referrer;
        common.sponsor = Some((from, party.other()));
        if let Err(gone) = common.turn_to(&target, &hunt, desk) {
            tracing::error!(call = common.id(), gone, "a call's trunk is gone; report this");
        }
        desk.set_deadline(&mut common, desk.settings.lease_limit);
        tracing::info!(call = common.id(), from = trunk.name, to = %target.trunk, "transfer");
        desk.cdrs.note(&common.cdr);
        let known = known.map(|standing| standing.audio);
        let (transaction, invite) = (ServerId::NONE, Request::new(Method::Invite, nowhere()));
        let asked = Asked { transaction, invite, offer: None, known, who, policy };
        let state = Leasing::start(asked, hunt, target);
        desk.tell(state.name(), common.trunks(), &common.cdr);
        self.live.insert(token, Box::new(Call { common, state }));
        Ok(token)
    }

    /// Where the dialog is that is named, if not here.
    pub(super) fn home_of(&self, desk: &Desk<'_>, replaces: &Replaces) -> Option<usize> {
        if desk.endpoint.named(replaces).is_some() {
            return None;
        }
        let away = self.away.find(&replaces.to_tag).map(|(shard, _)| shard);
        let home = away.unwrap_or_else(|| self.post.homes().of(&replaces.to_tag));
        (home != self.post.number()).then_some(home)
    }

    /// Attended transfer: the other side of the dialog that is named is who the transferred side is
    /// to talk to. The dialog must be of the transferor's trunk, and talk.
    pub(super) fn find(&self, desk: &Desk<'_>, seek: &Seek) -> Result<Found, StatusCode> {
        let unknown = StatusCode::CALL_OR_TRANSACTION_DOES_NOT_EXIST;
        let named = desk.endpoint.named(&seek.replaces);
        let named = named.filter(|named| named.tag == seek.trunk.tag()).ok_or(unknown)?;
        let (call, its) = desk.index.dialogs.get(&named.dialog).copied().ok_or(unknown)?;
        if call == seek.from || self.is_other_fork(call, its, named.dialog) {
            return Err(unknown);
        }
        let Some(Call { common, state: State::Talking(_) }) = self.live.get(&call).map(|c| &**c)
        else {
            return Err(unknown);
        };
        let party = its.other();
        let stays = common.leg(party);
        let called = shown(common, desk, party).number();
        Ok(Found { call, party, leg: stays.vacated(), side: side(stays), called })
    }

    /// Another shard has found the dialog, or not. The transfer may be over by now.
    pub(super) fn found(
        &mut self,
        desk: &mut Desk<'_>,
        (from, party): Place,
        found: Result<Box<Found>, StatusCode>,
    ) {
        let call = self.live.get(&from).map(|call| &**call);
        let Some(Call { common, state: State::Talking(talking) }) = call else { return };
        if !talking.awaits_call(party) {
            return;
        }
        let trunk = common.leg(party).trunk;
        let begun = found.and_then(|found| self.join(desk, (from, party), trunk, *found));
        begun_for(desk, from, begun);
    }

    /// Makes the call of both sides that are left.
    fn join(
        &mut self,
        desk: &mut Desk<'_>,
        (from, party): Place,
        trunk: TrunkId,
        found: Found,
    ) -> Result<Token, StatusCode> {
        let gone = StatusCode::SERVICE_UNAVAILABLE;
        let trunk = desk.trunks.get(trunk).ok_or(gone)?;
        let first = &self.live.get(&from).ok_or(gone)?.common;
        let stays = first.leg(party.other());
        let (near, far) = (stays.vacated(), found.leg);
        let who = shown(first, desk, party.other());
        let mut cdr = Record::start(desk.wall, desk.entropy);
        cdr.from(&trunk.name, who.number(), Some(found.called.clone()));
        cdr.transferred_from(first.id());
        cdr.to_trunk(desk.trunks.get(far.trunk).map_or("", |trunk| &trunk.name));
        let token = self.last + 1;
        let sides = [side(stays), found.side];
        let pair = desk.media.lease(token, cdr.key(), sides).map_err(|_no_ports| gone)?;
        self.last = token;
        let mut common = Common::new(token, near, far, pair, cdr, found.called);
        common.who = who;
        common.sponsor = Some((from, party.other()));
        tracing::info!(call = common.id(), from = trunk.name, "attended transfer");
        desk.cdrs.note(&common.cdr);
        // The one that nobody may be waiting for first: who transfers holds the other.
        let away = [(from, party.other()), (found.call, found.party)];
        let seats = away.map(|(from, party)| Seat::Away { from, party });
        let state = Joining::start([None, None], seats, &mut common, desk);
        desk.tell(state.name(), common.trunks(), &common.cdr);
        self.live.insert(token, Box::new(Call { common, state }));
        Ok(token)
    }
}

/// A side of a call.
type Place = (Token, Party);

/// Tells who asked what comes of it.
fn begun_for(desk: &mut Desk<'_>, from: Token, begun: Result<Token, StatusCode>) {
    match begun {
        Ok(call) => desk.tell_call(from, Happening::Begun { call }),
        Err(status) => desk.tell_call(from, Happening::Progress { status }),
    }
}

/// Ports as the side has them now.
fn side(leg: &Leg) -> Side {
    let address = leg.standing.as_ref().map(|standing| standing.said.ports.address);
    let address = address.unwrap_or(leg.hop.remote.ip().to_canonical());
    Side { family: abi::Family::of(address), place: leg.media_place }
}

/// Who a side is to somebody else: who called, or the number that was called.
fn shown(common: &Common, desk: &Desk<'_>, party: Party) -> Caller {
    let numbering = desk.trunks.get(common.callee.trunk).map(|trunk| &trunk.numbering);
    match party {
        Party::Caller => common.who.clone(),
        Party::Callee => {
            let number = numbering.map(|numbering| numbering.caller_in(&common.called));
            Caller::called(number.as_deref().unwrap_or(&common.called))
        }
    }
}

/// What the INVITE of a call without an INVITE asks for: nothing of it is used.
fn nowhere() -> Uri {
    Uri::Sip(sip::wire::SipUri::new(sip::wire::Host::Name(bytes::Bytes::from_static(b"invalid"))))
}
