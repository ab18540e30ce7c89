//! A change of a running call: one side describes its media anew, and where that concerns the other
//! side (hold, another codec), it is asked first.
//!
//! ```text
//!  re-INVITE, UPDATE ──► other side concerned? ── no ──────────────────────────► Arming ──► 200
//!                                │ yes                                              ▲
//!                                └──► Asked (our re-INVITE) ── 2xx, or a refusal ───┘
//!  re-INVITE without offer ──► 200 with ours ──► Offering ── ACK ──► other side concerned? Telling
//!  a session timer ──► Refreshing
//! ```
//! Whoever takes a side's place (`newcomer.rs`) describes it anew in the same way.
//! Whoever asked is answered when the data plane does what the answer says, as in the beginning of
//! a call. One change runs at a time; others are told to wait (491, RFC 3261 §14.2).

use std::time::{Duration, Instant};

use bytes::Bytes;
use sdp::{Audio, Description, Direction, Fax};
use sip::endpoint::{ClientId, DialogId, ServerId};
use sip::wire::{Method, Request, Response, StatusCode};

use super::asker::Asker;
use super::negotiate::{self, Agreed, Offered, Unusable};
use super::newcomer::Newcomer;
use super::{Common, Desk, Party, bypass, fax, headers, renegotiate, timers};

/// How far a change is.
pub enum Change {
    /// The other side was asked whether it agrees.
    Asked { asker: Asker, offer: Description, chosen: Chosen, client: ClientId, ours: Offered },
    /// The data plane is being told; then whoever asked has its answer.
    Arming { asker: Asker, answer: Bytes, serial: u64, ack: Option<DialogId>, limit: Instant },
    /// Our 200 offered; the ACK answers. Who has just come must answer.
    Offering { party: Party, ours: Offered, is_new: bool },
    /// The other side is told of what happened; nobody waits for it.
    Telling { party: Party, client: ClientId, ours: Offered, said: Direction },
    /// We refresh the dialog; by UPDATE nothing is offered.
    Refreshing { party: Party, client: ClientId, ours: Option<Offered> },
}

/// What a side wants, of what it described.
pub enum Chosen {
    Audio(Audio),
    Fax(Fax),
}

/// What became of a change.
pub enum Outcome {
    /// It goes on.
    Goes(Change),
    /// It is over; a session timer begins anew.
    Done(Option<(Party, Option<timers::Agreed>)>),
    /// A refresh of ours is to be tried again.
    Again(Party),
    /// It collided with a request of the side that it was sent to (491): to be tried again once the
    /// side's pause is over.
    Glare(Party, Glare),
    /// Whoever took this side's place has it, as the caller, with this session timer; it may have to
    /// answer an offer of ours.
    Arrived(Party, Option<timers::Agreed>, Option<Box<Change>>),
    /// The dialog is gone: the call ends.
    Lost(Party),
    /// Who has just come describes no usable media: the call ends.
    Mute,
}

/// What collided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Glare {
    /// A refresh.
    Refresh,
    /// Telling the side what the other one does now.
    Telling(Direction),
}

impl Change {
    /// The request of ours that it waits for.
    pub fn client(&self) -> Option<ClientId> {
        match self {
            Self::Asked { client, .. }
            | Self::Telling { client, .. }
            | Self::Refreshing { client, .. } => Some(*client),
            Self::Arming { .. } | Self::Offering { .. } => None,
        }
    }

    /// When the data plane must have answered.
    pub fn limit(&self) -> Option<Instant> {
        match self {
            Self::Arming { limit, .. } => Some(*limit),
            _ => None,
        }
    }

    /// The INVITE of who wants a place is cancelled. The other side, if it was asked, is not held to
    /// what it was asked for. What the data plane is being told stands: the answer crossed the CANCEL.
    pub fn cancelled(self, common: &Common, desk: &mut Desk<'_>) -> Self {
        match self {
            Self::Asked {
                asker: Asker { party, newcomer: Some(who), .. },
                chosen: Chosen::Audio(chosen),
                client,
                ours,
                ..
            } => {
                let status = StatusCode::REQUEST_TERMINATED;
                who.refuse(common, desk, status, Vec::new(), "cancelled by the caller");
                let said = chosen.direction;
                Self::Telling { party: party.other(), client, ours, said }
            }
            other => other,
        }
    }

    /// The call ends: whoever waits for an answer gets one, and nobody owes us one any more.
    pub fn abandon(self, common: &mut Common, desk: &mut Desk<'_>) {
        if let Some(client) = self.client() {
            desk.cancel(client);
        }
        let is_seated = matches!(self, Self::Arming { .. });
        let (asker, ack) = match self {
            Self::Asked { asker, .. } => (Some(asker), None),
            Self::Arming { asker, ack, .. } => (Some(asker), ack),
            _ => (None, None),
        };
        if let Some(dialog) = ack {
            desk.ack(dialog, None);
        }
        if let Some(asker) = asker {
            asker.dismiss(common, desk, is_seated);
        }
    }

    /// A side asks for a change by INVITE or UPDATE.
    pub fn asked(
        common: &mut Common,
        desk: &mut Desk<'_>,
        party: Party,
        transaction: ServerId,
        request: &Request,
    ) -> Outcome {
        let Some(asker) = Asker::of(common, desk, party, transaction, request) else {
            return Outcome::Done(None);
        };
        let body = headers::sdp_of(&request.headers, &request.body);
        match (body, &request.method) {
            (Some(body), _) => described(common, desk, asker, body),
            (None, Method::Invite) => offer(common, desk, asker),
            (None, _) => asker.accept(common, desk, None),
        }
    }

    /// Somebody asks for the place of a side.
    pub fn begin(common: &mut Common, desk: &mut Desk<'_>, mut newcomer: Box<Newcomer>) -> Outcome {
        if common.is_bypassed || fax::stands(common, newcomer.party.other()).is_some() {
            let reason = "media passes by us, or is fax";
            let status = StatusCode::NOT_ACCEPTABLE_HERE;
            newcomer.refuse(common, desk, status, Vec::new(), reason);
            return Outcome::Done(None);
        }
        let (party, transaction) = (newcomer.party, newcomer.transaction);
        let (timer, offered) = (newcomer.leg.timer, newcomer.offer.take());
        let asker = Asker { party, transaction, timer, newcomer: Some(newcomer) };
        match offered {
            Some((offer, chosen)) => described_anew(common, desk, asker, offer, chosen),
            None => offer(common, desk, asker),
        }
    }

    /// A response to the request that [`Change::client`] names.
    pub fn answered(
        self,
        common: &mut Common,
        desk: &mut Desk<'_>,
        dialog: Option<DialogId>,
        response: &Response,
    ) -> Outcome {
        if response.status.is_provisional() {
            return Outcome::Goes(self);
        }
        let is_gone = matches!(response.status.code(), 408 | 481);
        match self {
            Self::Asked { asker, .. } if is_gone => {
                let other = asker.party.other();
                asker.dismiss(common, desk, false);
                Outcome::Lost(other)
            }
            Self::Asked { asker, offer, chosen, ours, .. } => {
                other_answered(common, desk, asker, (&offer, &chosen), &ours, dialog, response)
            }
            Self::Telling { party, .. } | Self::Refreshing { party, .. } if is_gone => {
                Outcome::Lost(party)
            }
            Self::Telling { party, said, .. } if is_glare(response) => {
                Outcome::Glare(party, Glare::Telling(said))
            }
            Self::Refreshing { party, .. } if is_glare(response) => {
                Outcome::Glare(party, Glare::Refresh)
            }
            Self::Telling { party, ours, .. } => {
                take_answer(common, desk, party, Some(&ours), dialog, response);
                Outcome::Done(None)
            }
            Self::Refreshing { party, ours, .. } => {
                if !response.status.is_success() {
                    return Outcome::Again(party);
                }
                take_answer(common, desk, party, ours.as_ref(), dialog, response);
                let trunk = desk.trunks.get(common.leg(party).trunk);
                let rules = trunk.map(|trunk| trunk.timer).unwrap_or_default();
                Outcome::Done(Some((party, timers::accepted(&response.headers, &rules))))
            }
            other => Outcome::Goes(other),
        }
    }

    /// The data plane carried out the connection `serial`.
    pub fn connected(self, common: &mut Common, desk: &mut Desk<'_>, serial: u64) -> Outcome {
        match self {
            Self::Arming { asker, answer, serial: wanted, ack, .. } if wanted == serial => {
                if let Some(dialog) = ack {
                    desk.ack(dialog, None);
                }
                tracing::debug!(call = common.id(), "media of a running call changed");
                asker.accept(common, desk, Some(answer))
            }
            other => Outcome::Goes(other),
        }
    }

    /// The ACK for our 200 that offered. Without a usable answer everything stays as it was.
    pub fn acknowledged(
        self,
        common: &mut Common,
        desk: &mut Desk<'_>,
        from: Party,
        ack: &Request,
    ) -> Outcome {
        let Self::Offering { party, ours, is_new } = self else { return Outcome::Goes(self) };
        if party != from {
            return Outcome::Goes(Self::Offering { party, ours, is_new });
        }
        let before = direction(common, party);
        let answer = headers::sdp_of(&ack.headers, &ack.body).ok_or(Unusable::NoAnswer);
        let agreed = answer.and_then(|body| negotiate::accept(&ours, body, common.leg(party)));
        let agreed = match agreed {
            Ok(agreed) => agreed,
            Err(reject) => {
                tracing::warn!(call = common.id(), %reject, "an answer changes nothing");
                return if is_new { Outcome::Mute } else { Outcome::Done(None) };
            }
        };
        let after = agreed.audio.direction;
        let has_moved = bypass::has_moved(common, common.leg(party), &agreed.audio);
        connect(common, desk, party, agreed, None).map_or(Outcome::Done(None), |_| {
            if Some(after) == before && !has_moved {
                return Outcome::Done(None);
            }
            Self::tell(common, desk, party.other(), after)
        })
    }

    /// Tells `party` what the other side does now.
    pub fn tell(
        common: &mut Common,
        desk: &mut Desk<'_>,
        party: Party,
        said: Direction,
    ) -> Outcome {
        if fax::stands(common, party).is_some() {
            return Outcome::Done(None);
        }
        let far = common.leg(party.other()).standing.as_ref();
        let told = far.and_then(|standing| bypass::told(common, &standing.audio));
        let ours = renegotiate::offer(common.leg(party), None, said, told);
        let Ok(ours) = ours else { return Outcome::Done(None) };
        match desk.reinvite(common, party, Vec::new(), ours.body.clone()) {
            Some(client) => Outcome::Goes(Self::Telling { party, client, ours, said }),
            // An INVITE runs there already.
            None => Outcome::Glare(party, Glare::Telling(said)),
        }
    }

    /// Refreshes a dialog: by UPDATE where the peer knows it, else by an INVITE that offers what
    /// stands.
    pub fn refresh(
        common: &mut Common,
        desk: &mut Desk<'_>,
        party: Party,
        interval_s: u32,
    ) -> Outcome {
        let extra = timers::refresh_headers(interval_s);
        if common.leg(party).updates {
            let client = desk.update(common, party, extra);
            return client.map_or(Outcome::Again(party), |client| {
                Outcome::Goes(Self::Refreshing { party, client, ours: None })
            });
        }
        let direction = direction(common, party.other()).unwrap_or(Direction::SendRecv);
        let ours = match fax::stands(common, party.other()) {
            Some(said) => fax::offer(common, party, said),
            None => renegotiate::offer(common.leg(party), None, direction, None),
        };
        let Ok(ours) = ours else { return Outcome::Again(party) };
        let client = desk.reinvite(common, party, extra, ours.body.clone());
        client.map_or(Outcome::Again(party), |client| {
            Outcome::Goes(Self::Refreshing { party, client, ours: Some(ours) })
        })
    }
}

/// A side described its media anew: audio, or fax.
fn described(common: &mut Common, desk: &mut Desk<'_>, asker: Asker, body: &[u8]) -> Outcome {
    let party = asker.party;
    let offer = match Description::parse(body) {
        Ok(offer) => offer,
        Err(error) => return asker.reject(common, desk, &error.into()),
    };
    if fax::is_meant(&offer, common, party) {
        return fax::described(common, desk, asker, offer);
    }
    match sdp::read_offer(&offer, &common.leg(party).policy) {
        Ok(chosen) => described_anew(common, desk, asker, offer, chosen),
        Err(reject) => asker.reject(common, desk, &reject.into()),
    }
}

/// A side described its audio anew, or who wants its place did.
fn described_anew(
    common: &mut Common,
    desk: &mut Desk<'_>,
    asker: Asker,
    offer: Description,
    chosen: Audio,
) -> Outcome {
    let (party, other) = (asker.party, asker.party.other());
    let far = common.leg(other).standing.as_ref().ok_or(Unusable::NoOffer);
    let own = far
        .map(|far| far.audio.clone())
        .and_then(|far| asker.answer(common, desk, (&offer, &chosen), &far));
    let turned = direction(common, party) != Some(chosen.direction)
        || bypass::has_moved(common, common.leg(party), &chosen)
        || fax::stands(common, other).is_some();
    match own {
        Ok(agreed) if !turned => return arm(common, desk, asker, agreed, None, None),
        Ok(_) | Err(Unusable::Rejected(sdp::Reject::NoCommonFormat { .. })) => {}
        Err(reject) => return asker.reject(common, desk, &reject),
    }
    let (said, told) = (chosen.direction, bypass::told(common, &chosen));
    let ours = match renegotiate::offer(common.leg(other), Some(&chosen), said, told) {
        Ok(ours) => ours,
        Err(reject) => return asker.reject(common, desk, &reject),
    };
    match desk.reinvite(common, other, Vec::new(), ours.body.clone()) {
        Some(client) => {
            let chosen = Chosen::Audio(chosen);
            Outcome::Goes(Change::Asked { asker, offer, chosen, client, ours })
        }
        None => asker.wait(common, desk),
    }
}

/// Our 200 offers what the other side can, both ways: who asks without an offer wants to know it.
fn offer(common: &mut Common, desk: &mut Desk<'_>, mut asker: Asker) -> Outcome {
    let party = asker.party;
    let far = common.leg(party.other()).standing.as_ref().map(|standing| &standing.audio);
    let both = Direction::SendRecv;
    let ours = match (&asker.newcomer, fax::stands(common, party.other())) {
        (Some(newcomer), _) => newcomer.offered(common, desk),
        (None, Some(said)) => fax::offer(common, party, said),
        (None, None) => renegotiate::offer(common.leg(party), far, both, None),
    };
    let ours = match ours {
        Ok(ours) => ours,
        Err(reject) => return asker.reject(common, desk, &reject),
    };
    let is_new = asker.newcomer.is_some();
    if let Some(newcomer) = &mut asker.newcomer {
        // Until its answer comes, media is what it was.
        newcomer.leg.standing.clone_from(&common.leg(party).standing);
        newcomer.trade_places(common);
    }
    match asker.accept(common, desk, Some(ours.body.clone())) {
        Outcome::Arrived(party, timer, _) => {
            let offering = Change::Offering { party: Party::Caller, ours, is_new };
            Outcome::Arrived(party, timer, Some(Box::new(offering)))
        }
        _ => Outcome::Goes(Change::Offering { party, ours, is_new }),
    }
}

fn is_glare(response: &Response) -> bool {
    response.status == StatusCode::REQUEST_PENDING
}

/// How long a side is left alone after a collision: who made its Call-ID waits longer, so that one of
/// both comes first (RFC 3261 §14.1). We made that of the callee.
pub fn pause(party: Party, entropy: &mut dyn FnMut(&mut [u8])) -> Duration {
    let mut random = [0; 2];
    entropy(&mut random);
    let (least, most) = match party {
        Party::Callee => OWNER_PAUSE,
        Party::Caller => OTHER_PAUSE,
    };
    let steps = u64::from(u16::from_be_bytes(random)) % (most - least + 1);
    Duration::from_millis((least + steps) * 10)
}

/// 2.1 to 4 s and 0 to 2 s, in units of 10 ms (RFC 3261 §14.1).
const OWNER_PAUSE: (u64, u64) = (210, 400);
const OTHER_PAUSE: (u64, u64) = (0, 200);

/// The other side agreed, or did not. A hold that it does not want to know of is kept all the same.
fn other_answered(
    common: &mut Common,
    desk: &mut Desk<'_>,
    asker: Asker,
    (offer, chosen): (&Description, &Chosen),
    ours: &Offered,
    dialog: Option<DialogId>,
    response: &Response,
) -> Outcome {
    let other = asker.party.other();
    let ack = dialog.filter(|_| response.status.is_success());
    let far = if response.status.is_success() {
        let body = headers::sdp_of(&response.headers, &response.body).ok_or(Unusable::NoAnswer);
        body.and_then(|body| negotiate::accept(ours, body, common.leg(other)))
    } else if response.status == StatusCode::REQUEST_PENDING {
        return asker.wait(common, desk);
    } else {
        common.leg(other).standing.clone().ok_or(Unusable::NoAnswer)
    };
    let both = far.and_then(|far| Ok((agree(common, desk, &asker, offer, chosen, &far)?, far)));
    let reject = match both {
        Ok((near, far)) => return arm(common, desk, asker, near, Some(far), ack),
        Err(reject) => reject,
    };
    if let Some(dialog) = ack {
        desk.ack(dialog, None);
    }
    let said = direction(common, asker.party);
    let rejected = asker.reject(common, desk, &reject);
    match (chosen, ack, said) {
        // Its 2xx refused the fax line: it has nothing now, and is offered the audio again.
        (Chosen::Fax(_), Some(_), Some(said)) => {
            if let Some(standing) = &mut common.leg_mut(other).standing {
                standing.said.version += 1;
            }
            Outcome::Glare(other, Glare::Telling(said))
        }
        _ => rejected,
    }
}

/// What the side that asked agrees to, given what the other one does now. Both have the same: audio,
/// or fax.
fn agree(
    common: &Common,
    desk: &mut Desk<'_>,
    asker: &Asker,
    offer: &Description,
    chosen: &Chosen,
    far: &Agreed,
) -> Result<Agreed, Unusable> {
    match (chosen, &far.fax) {
        (Chosen::Audio(chosen), None) => asker.answer(common, desk, (offer, chosen), &far.audio),
        (Chosen::Fax(chosen), Some(far)) => fax::answer(offer, chosen, far, common, asker.party),
        _ => Err(Unusable::Declined),
    }
}

/// Takes the answer to an offer that nobody waits for.
fn take_answer(
    common: &mut Common,
    desk: &mut Desk<'_>,
    party: Party,
    ours: Option<&Offered>,
    dialog: Option<DialogId>,
    response: &Response,
) {
    let Some(ours) = ours.filter(|_| response.status.is_success()) else { return };
    let body = headers::sdp_of(&response.headers, &response.body).ok_or(Unusable::NoAnswer);
    let agreed = body.and_then(|body| negotiate::accept(ours, body, common.leg(party)));
    let taken = agreed.and_then(|agreed| connect(common, desk, party, agreed, None));
    if let Err(reject) = taken {
        tracing::warn!(call = common.id(), %reject, "an answer changes nothing");
    }
    if let Some(dialog) = dialog {
        desk.ack(dialog, None);
    }
}

/// Tells the data plane, and then whoever asked.
pub fn arm(
    common: &mut Common,
    desk: &mut Desk<'_>,
    mut asker: Asker,
    agreed: Agreed,
    far: Option<Agreed>,
    ack: Option<DialogId>,
) -> Outcome {
    let answer = agreed.body.clone();
    asker.newcomer.iter_mut().for_each(|newcomer| newcomer.trade_places(common));
    let serial = match connect(common, desk, asker.party, agreed, far) {
        Ok(serial) => serial,
        Err(reject) => {
            asker.newcomer.iter_mut().for_each(|newcomer| newcomer.trade_places(common));
            if let Some(dialog) = ack {
                desk.ack(dialog, None);
            }
            return asker.reject(common, desk, &reject);
        }
    };
    if common.is_bypassed {
        if let Some(dialog) = ack {
            desk.ack(dialog, None);
        }
        return asker.accept(common, desk, Some(answer));
    }
    let limit = desk.now.checked_add(desk.settings.lease_limit).unwrap_or(desk.now);
    Outcome::Goes(Change::Arming { asker, answer, serial, ack, limit })
}

/// Connects what `party` agreed to with what the other side does, or did.
fn connect(
    common: &mut Common,
    desk: &mut Desk<'_>,
    party: Party,
    agreed: Agreed,
    far: Option<Agreed>,
) -> Result<u64, Unusable> {
    let standing = || common.leg(party.other()).standing.clone();
    let far = far.or_else(standing).ok_or(Unusable::NoAnswer)?;
    match party {
        Party::Caller => common.connect(desk, &agreed, &far),
        Party::Callee => common.connect(desk, &far, &agreed),
    }
}

/// Who sends, as the side itself says.
fn direction(common: &Common, party: Party) -> Option<Direction> {
    common.leg(party).standing.as_ref().map(|standing| standing.audio.direction)
}
