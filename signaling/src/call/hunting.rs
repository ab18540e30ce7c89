//! Nobody is asked at this moment: the next target is, or the caller is told how it ended.
//!
//! Each attempt is a call leg of its own: a new Call-ID, a new offer with fresh keys. The caller's
//! leg stays, with the answer that it was given, if it was given one.

use bytes::Bytes;
use sdp::{Audio, Direction};
use sip::endpoint::Welcome;
use sip::wire::StatusCode;

use super::announcing::{Announcing, Verdict, Why};
use super::hunt::{Fault, Hunt, Target};
use super::inviting::Inviting;
use super::leasing::{Asked, Leasing};
use super::negotiate::{self, Agreed, Offered, Ports};
use super::{Common, Desk, State, bypass, headers};
use crate::admission::Bound;
use crate::media::Side;
use crate::trunk::tally::Outcome;

pub struct Hunting {
    pub asked: Asked,
    pub hunt: Hunt,
    pub caller: Ports,
    pub callee: Ports,
    /// Our answer to the caller, and what it agrees to: one dialog has one (RFC 3264 §4).
    pub near: Option<(Bytes, Agreed)>,
    /// The formats of that answer, as the caller numbers them: a later callee gets no other to choose
    /// from.
    pub given: Option<Audio>,
    /// The callees' keys so far. Behind a proxy each phone that rings may bring its own.
    pub keys: Vec<abi::Key>,
}

/// Why an attempt came to nothing, and what the caller is told if it was the last.
pub struct Failure {
    pub fault: Fault,
    /// For the record: what was answered, or what it stands for.
    pub code: u16,
    pub status: StatusCode,
    pub reason: String,
    /// What a voice may tell the caller, if this was the last attempt.
    pub why: Option<Why>,
}

impl Failure {
    pub fn new(fault: Fault, status: StatusCode, reason: impl Into<String>) -> Self {
        let why = (fault == Fault::Unreachable).then_some(Why::TrunkDown);
        Self { fault, code: status.code(), status, reason: reason.into(), why }
    }
}

impl Hunting {
    /// Sends an INVITE to `target`, which is the callee's leg already.
    pub fn ask(self, target: Target, common: &mut Common, desk: &mut Desk<'_>) -> State {
        let name = desk.trunks.get(target.trunk).map_or("", |trunk| &trunk.name);
        common.cdr.attempt(desk.wall, name, target.hop.remote);
        if !self.hunt.is_emergency && desk.memory.restraint.sheds(target.hop.remote, desk.now) {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let failure = Failure::new(Fault::Answered(status), status, RESTRAINED);
            return self.go_on(&target, failure, common, desk);
        }
        let bypass = bypass::decide(&self, common, desk);
        common.is_bypassed = bypass.is_ok();
        let note = match bypass {
            Ok(()) => Some(bypass::BYPASSED),
            Err(why) => why,
        };
        if let Some(note) = note {
            common.cdr.note(note);
        }
        let offered = match self.offer(common, desk) {
            Ok(offered) => offered,
            Err(failure) => return self.go_on(&target, failure, common, desk),
        };
        let invite = &self.asked.invite;
        let request = match headers::callee_invite(common, desk, invite, offered.as_ref()) {
            Ok(request) => request,
            Err(refusal) => {
                let failure = Failure::new(Fault::Unfit, refusal.status, refusal.reason);
                return self.go_on(&target, failure, common, desk);
            }
        };
        if self.hunt.is_emergency {
            desk.endpoint.welcome(Welcome::Urgent);
        }
        let asked = desk.request(common, common.callee.hop, request);
        desk.endpoint.welcome(Welcome::Open);
        match asked {
            Ok(client) => Inviting::start(self, target, client, offered, common, desk),
            Err(misuse) => {
                tracing::error!(call = common.id(), %misuse, "the callee's INVITE was not sent");
                let status = StatusCode::SERVICE_UNAVAILABLE;
                self.end(status, "too many transactions", common, desk)
            }
        }
    }

    /// Our offer to the callee; `None` when the caller made none, and the callee's trunk needs none.
    fn offer(&self, common: &Common, desk: &mut Desk<'_>) -> Result<Option<Offered>, Failure> {
        let asked = self.asked.offer.as_ref().map(|(_, audio)| audio);
        if asked.is_none() && !common.callee.forces_offer {
            return Ok(None);
        }
        let known = self.asked.known.as_ref();
        let audio = asked.map(|asked| self.given.as_ref().unwrap_or(asked));
        let known = known.map(|known| Audio { direction: Direction::SendRecv, ..known.clone() });
        let audio = audio.or(known.as_ref());
        let policy = &common.callee.policy;
        let origin = common.origin();
        let told = audio.and_then(|audio| bypass::told(common, audio));
        let ports = told.unwrap_or(self.callee);
        negotiate::offer(policy, audio, ports, origin, desk.entropy)
            .map(Some)
            .map_err(|reject| Failure::new(Fault::Unfit, reject.status(), reject.to_string()))
    }

    /// `target` failed: asks the next one, or tells the caller.
    pub fn go_on(
        mut self,
        target: &Target,
        failure: Failure,
        common: &mut Common,
        desk: &mut Desk<'_>,
    ) -> State {
        common.cdr.attempt_over(desk.wall, failure.code, &failure.reason);
        if self.hunt.moves_on(target, failure.fault) {
            while let Some(next) = self.hunt.next(desk.now) {
                match common.turn_to(&next, &self.hunt, desk) {
                    Ok(()) => {
                        let outcome = Outcome { code: failure.code, talked: None, delay: None };
                        desk.tallies.count(target.trunk, Bound::Out, desk.wall, &outcome);
                        return self.turned(next, common, desk);
                    }
                    Err(why) => {
                        self.hunt.was_not_asked();
                        self.hunt.leave(next.trunk);
                        let name = desk.trunks.get(next.trunk).map_or("", |trunk| &trunk.name);
                        common.cdr.skipped(name, &why);
                    }
                }
            }
        }
        let Failure { status, reason, why, .. } = failure;
        let Some(why) = why else { return self.end(status, &reason, common, desk) };
        let verdict = Verdict { why, status, reason };
        Announcing::finish(&self.asked, self.caller, self.near, verdict, common, desk)
    }

    /// The callee's leg is another one now. Its ports are of the old one's address family and
    /// network, and mark what they send as the old one wanted it.
    fn turned(self, target: Target, common: &mut Common, desk: &mut Desk<'_>) -> State {
        let family = abi::Family::of(target.hop.remote.ip().to_canonical());
        let fits = abi::Family::of(self.callee.address) == family && common.is_on_its_network();
        // A caller that was told its port keeps it: the wrong mark is the lesser evil.
        if fits && (common.is_marked_right() || self.near.is_some()) {
            return self.ask(target, common, desk);
        }
        if self.near.is_some() {
            // The caller was told its port: it cannot be given another one.
            let reason =
                "the next target has another network or address family than early media had";
            return self.end(StatusCode::SERVICE_UNAVAILABLE, reason, common, desk);
        }
        let near = abi::Family::of(self.caller.address);
        let near = Side { family: near, place: common.caller.media_place };
        let far = Side { family, place: common.callee.media_place };
        match common.lease_again([near, far], desk) {
            Ok(()) => {
                desk.set_deadline(common, desk.settings.lease_limit);
                Leasing::start(self.asked, self.hunt, target)
            }
            Err(error) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                self.end(status, &error.to_string(), common, desk)
            }
        }
    }

    fn end(
        self,
        status: StatusCode,
        reason: &str,
        common: &mut Common,
        desk: &mut Desk<'_>,
    ) -> State {
        desk.refuse(self.asked.transaction, status, reason);
        common.failed(desk, status.code(), reason)
    }
}

const RESTRAINED: &str = "not asked: the peer is overloaded and wants fewer calls (RFC 7339)";
