//! All live calls of one shard, found by whatever names one of their parts.

mod checks;
mod letters;
mod refers;
mod replaces;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use sip::endpoint::{Cause, ClientId, DialogId, Event, Hop, ServerId};
use sip::wire::{HeaderName, Method, Request, Response, StatusCode};

use super::announcing::{Announcing, Verdict, Why};
use super::challenge::{Challenges, Proof};
use super::common::Leg;
use super::desk::Deadlines;
use super::hunt::{Hunt, Target};
use super::identity::Caller;
use super::leasing::{Asked, Leasing};
use super::plan::plan;
use super::proving::Proofs;
use super::referring::Referred;
use super::{Common, Desk, Happening, Party, Settings, State, headers, negotiate, timers};
use crate::admission::{Bound, Slot};
use crate::away::Away;
use crate::cdr::Record;
use crate::feed::{LiveCall, LiveMedia, LiveWay, Step};
use crate::media::{Media, Notice, Side, Token};
use crate::post::Post;
use crate::route::{Query, entry};
use crate::trunk::refer::ReferPolicy;
use crate::trunk::tones::AudioTones;
use crate::trunk::{IncomingCallPolicy, Trunk, TrunkId};

use checks::{
    Offer, Refused, at_capacity, check_capacity, check_extensions, check_timer, read_offer,
};

/// Which call each transaction and dialog belongs to, and when calls want to be woken.
#[derive(Default)]
pub struct Index {
    pub clients: HashMap<ClientId, Token>,
    pub dialogs: HashMap<DialogId, (Token, Party)>,
    pub servers: HashMap<ServerId, Token>,
    pub deadlines: Deadlines,
    pub stopping: Vec<(Token, &'static str)>,
    /// What calls tell each other.
    pub told: VecDeque<(Token, Happening)>,
    /// Transfers that were asked for.
    pub referred: Vec<Referred>,
    /// What trunks challenged us with.
    pub proofs: Proofs,
    /// What is remembered of failover groups between calls.
    pub hunts: crate::group::Memory,
}

/// The live calls, each on the heap by itself: in the table they would be copied whenever something
/// happens to them, and the table's spare places would be as large as calls.
#[derive(Default)]
pub struct Calls {
    live: HashMap<Token, Box<Call>>,
    challenges: Challenges,
    last: Token,
    /// To the calls of other shards.
    post: Post,
    away: Away,
}

/// One live call.
struct Call {
    common: Common,
    state: State,
}

/// Whom an INVITE is to reach, and what it offers.
type Admitted = (Hunt, Offer);

/// Why an INVITE of a trunk that is challenged goes no further.
enum Unproven {
    Challenged(Vec<(HeaderName, bytes::Bytes)>),
    Refused(Refused),
}

impl Calls {
    /// How many calls are live.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// A new INVITE of an attributed trunk: makes a call of it or refuses it. Either way the
    /// attempt leaves one CDR.
    pub fn invite(
        &mut self,
        desk: &mut Desk<'_>,
        from: TrunkId,
        hop: Hop,
        transaction: ServerId,
        request: Request,
    ) {
        let mut cdr = Record::start(desk.wall, desk.entropy);
        let Some(caller) = desk.trunks.get(from) else {
            let refused = Refused::new(StatusCode::FORBIDDEN, "the trunk is gone");
            return self.refuse(desk, from, transaction, refused, cdr);
        };
        let called = headers::called_number(&request.uri);
        let mut who = Caller::of(&request, &caller.identity);
        cdr.from(&caller.name, who.number(), called.clone());
        who.read_by(&caller.numbering);
        match self.prove(desk, caller, hop, &request) {
            Ok(()) => {}
            // Nothing was attempted yet: what answers the challenge will be.
            Err(Unproven::Challenged(extra)) => {
                desk.answer(transaction, StatusCode::UNAUTHORIZED, extra, None);
                return;
            }
            Err(Unproven::Refused(refused)) => {
                return self.refuse(desk, from, transaction, refused, cdr);
            }
        }
        if replaces::is_meant(&request) {
            return self.replace(desk, caller, hop, (transaction, request, who), cdr);
        }
        match self.admit(desk, caller, called.as_deref(), &who, &request, &mut cdr) {
            Ok((hunt, (offer, policy))) => {
                let (invite, known) = (request, None);
                let asked = Asked { transaction, invite, offer, known, who, policy };
                self.begin(desk, caller, hop, hunt, asked, cdr);
            }
            Err(refused) => {
                self.announce(desk, caller, hop, (transaction, request, who), refused, cdr);
            }
        }
    }

    /// Refuses an attempt; a voice says why before, where its trunk has `audio_tones` and its offer
    /// can be answered.
    fn announce(
        &mut self,
        desk: &mut Desk<'_>,
        caller: &Trunk,
        hop: Hop,
        (transaction, invite, who): (ServerId, Request, Caller),
        refused: Refused,
        cdr: Record,
    ) {
        let is_on = caller.audio_tones != AudioTones::None;
        let read = refused.why.filter(|_| is_on && self.has_voice()).and_then(|why| {
            let body = headers::sdp_of(&invite.headers, &invite.body)?;
            let (description, audio, policy) = negotiate::read_any(body, caller.policies()).ok()?;
            Some((why, (description, audio), policy))
        });
        let Some((why, offer, policy)) = read else {
            return self.refuse(desk, caller.id, transaction, refused, cdr);
        };
        let (offer, known) = (Some(offer), None);
        let asked = Asked { transaction, invite, offer, known, who, policy };
        let family = abi::Family::of(far_address(&asked, hop));
        let side = Side { family, place: caller.manner.media_place };
        let Ok(pair) = desk.media.lease(self.last + 1, cdr.key(), [side; 2]) else {
            return self.refuse(desk, caller.id, transaction, refused, cdr);
        };
        self.last += 1;
        let mut near = Leg::new(caller, hop, None);
        near.policy = asked.policy.clone();
        near.vantage.asked(hop.remote.ip(), &asked.invite);
        near.acknowledged = caller.reliability.toward(&asked.invite.headers);
        let nobody = Leg::new(caller, hop, None);
        let mut common = Common::new(self.last, near, nobody, pair, cdr, String::new());
        common.is_alone = true;
        common.servers.push(transaction);
        desk.index.servers.insert(transaction, self.last);
        desk.set_deadline(&mut common, desk.settings.lease_limit);
        desk.cdrs.note(&common.cdr);
        let verdict = Verdict { why, status: refused.status, reason: refused.reason };
        let state = Announcing::lease(asked, caller.audio_tones, verdict);
        self.live.insert(self.last, Box::new(Call { common, state }));
    }

    /// Whether another refused caller may be spoken to: voices hold ports, and who is refused costs
    /// little.
    fn has_voice(&self) -> bool {
        self.live.values().filter(|call| call.common.is_alone).count() < VOICES_MAX
    }

    /// What the trunk's `incoming_call_policy = challenge` demands, where it is set.
    fn prove(
        &mut self,
        desk: &mut Desk<'_>,
        caller: &Trunk,
        hop: Hop,
        request: &Request,
    ) -> Result<(), Unproven> {
        if caller.incoming_call_policy != IncomingCallPolicy::Challenge {
            return Ok(());
        }
        let Some(credentials) = &caller.inbound_credentials else {
            let reason = "the trunk has no inbound credentials to ask for";
            return Err(Unproven::Refused(Refused::new(StatusCode::FORBIDDEN, reason)));
        };
        match self.challenges.examine(desk, hop, request, credentials, caller.inbound_md5) {
            Proof::Given => Ok(()),
            Proof::Wanted(challenges) => Err(Unproven::Challenged(challenges)),
            Proof::Wrong(why) => {
                tracing::warn!(trunk = caller.name, ?why, "a challenge was answered wrongly");
                let reason = "the inbound credentials are wrong";
                Err(Unproven::Refused(Refused::new(StatusCode::FORBIDDEN, reason)))
            }
        }
    }

    /// The same for a request that makes no call.
    ///
    /// # Errors
    /// What it is to be answered with.
    pub fn challenge(
        &mut self,
        desk: &mut Desk<'_>,
        trunk: &Trunk,
        hop: Hop,
        request: &Request,
    ) -> Result<(), (StatusCode, Vec<(HeaderName, bytes::Bytes)>)> {
        self.prove(desk, trunk, hop, request).map_err(|unproven| match unproven {
            Unproven::Challenged(extra) => (StatusCode::UNAUTHORIZED, extra),
            Unproven::Refused(refused) => (refused.status, refused.extra),
        })
    }

    fn refuse(
        &mut self,
        desk: &mut Desk<'_>,
        from: TrunkId,
        transaction: ServerId,
        refused: Refused,
        cdr: Record,
    ) {
        tracing::info!(
            call = cdr.id,
            status = refused.status.code(),
            reason = refused.reason,
            "refused"
        );
        let mut extra = refused.extra;
        extra.extend(Settings::pause(refused.status));
        desk.turn_away(from, transaction, (refused.status, extra), &refused.reason, cdr);
    }

    /// Everything that can be known to be wrong before anything is leased.
    fn admit(
        &self,
        desk: &mut Desk<'_>,
        caller: &Trunk,
        called: Option<&str>,
        who: &Caller,
        request: &Request,
        cdr: &mut Record,
    ) -> Result<Admitted, Refused> {
        check_extensions(caller, request)?;
        check_timer(caller, request)?;
        let hunt = self.route(desk, caller, called, who, cdr)?;
        Ok((hunt, read_offer(caller, request)?))
    }

    /// Whom a trunk's call to that number is to reach.
    fn route(
        &self,
        desk: &mut Desk<'_>,
        caller: &Trunk,
        called: Option<&str>,
        who: &Caller,
        cdr: &mut Record,
    ) -> Result<Hunt, Refused> {
        let unknown =
            |reason: &str| Refused::new(StatusCode::NOT_FOUND, reason).told(Why::UnknownNumber);
        let called = called.ok_or_else(|| unknown("no number in the Request-URI"))?;
        let read = caller.numbering.called_in(called);
        entry::admit(caller, called, &read).map_err(|entry| {
            let status = StatusCode::new(entry.code).unwrap_or(StatusCode::FORBIDDEN);
            let refused = Refused::new(status, entry.reason);
            match status {
                StatusCode::NOT_FOUND => refused.told(Why::UnknownNumber),
                _ => refused,
            }
        })?;
        let number = who.number();
        let query = Query { from: caller.id, called: &read, caller: &number, at: desk.wall };
        let decision = desk.routes.decide(&query).map_err(|none| unknown(&none.to_string()))?;
        if !decision.emergency {
            check_capacity(desk, caller, Bound::In)?;
        }
        plan(desk, &decision, cdr).map_err(|nobody| {
            Refused::new(StatusCode::SERVICE_UNAVAILABLE, nobody.reason).told(nobody.why)
        })
    }

    fn begin(
        &mut self,
        desk: &mut Desk<'_>,
        caller: &Trunk,
        hop: Hop,
        mut hunt: Hunt,
        asked: Asked,
        cdr: Record,
    ) {
        let transaction = asked.transaction;
        let ([near_slot, far_slot], target, callee) = match places(desk, caller, &mut hunt) {
            Ok(places) => places,
            Err(refused) => {
                let asked = (transaction, asked.invite, asked.who);
                return self.announce(desk, caller, hop, asked, refused, cdr);
            }
        };
        self.last += 1;
        let token = self.last;
        let far = target.hop.remote.ip().to_canonical();
        let side = |far, trunk: &Trunk| Side {
            family: abi::Family::of(far),
            place: trunk.manner.media_place,
        };
        let sides = [side(far_address(&asked, hop), caller), side(far, callee)];
        let pair = match desk.media.lease(token, cdr.key(), sides) {
            Ok(pair) => pair,
            Err(error) => {
                let refused = Refused::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
                return self.refuse(desk, caller.id, transaction, refused, cdr);
            }
        };
        let mut near = Leg::new(caller, hop, Some(near_slot));
        let far = Leg::new(callee, target.hop, Some(far_slot));
        near.policy = asked.policy.clone();
        near.vantage.asked(hop.remote.ip(), &asked.invite);
        near.acknowledged = caller.reliability.toward(&asked.invite.headers);
        near.agree(
            &asked.invite.headers,
            timers::answer(&asked.invite.headers, &caller.timer).ok(),
        );
        let mut common = Common::new(token, near, far, pair, cdr, String::new());
        common.who = asked.who.clone();
        if let Err(gone) = common.turn_to(&target, &hunt, desk) {
            tracing::error!(call = common.id(), gone, "a call's trunk is gone; report this");
        }
        common.servers.push(transaction);
        desk.index.servers.insert(transaction, token);
        desk.set_deadline(&mut common, desk.settings.lease_limit);
        tracing::info!(call = common.id(), from = caller.name, to = %target.trunk, "call");
        desk.cdrs.note(&common.cdr);
        let state = Leasing::start(asked, hunt, target);
        desk.tell(state.name(), common.trunks(), &common.cdr);
        self.live.insert(token, Box::new(Call { common, state }));
    }

    /// What the endpoint tells of transactions and dialogs of calls.
    pub fn sip(&mut self, desk: &mut Desk<'_>, event: Event) {
        match event {
            Event::Response { transaction, dialog, hop, response } => {
                if self.proves(desk, transaction, dialog, hop, &response) {
                    return;
                }
                let transaction = desk.index.proofs.first(transaction);
                let Some(token) = desk.index.clients.get(&transaction).copied() else {
                    return end_stray(desk, dialog, &response);
                };
                let happening = Happening::Response { client: transaction, dialog, hop, response };
                self.happen(desk, token, happening);
            }
            Event::Failed { transaction, cause } => {
                let transaction = desk.index.proofs.first(transaction);
                let Some(token) = desk.index.clients.get(&transaction).copied() else { return };
                self.happen(desk, token, Happening::Failed { client: transaction, cause });
            }
            Event::Cancelled { transaction } => {
                let Some(token) = desk.index.servers.get(&transaction).copied() else { return };
                self.happen(desk, token, Happening::Cancelled);
            }
            Event::Ack { dialog, request } => {
                let Some((token, party)) = desk.index.dialogs.get(&dialog).copied() else { return };
                if !self.is_other_fork(token, party, dialog) {
                    self.happen(desk, token, Happening::Ack { party, request });
                }
            }
            Event::PrackMissing { transaction } => {
                let Some(token) = desk.index.servers.get(&transaction).copied() else { return };
                self.happen(desk, token, Happening::PrackMissing);
            }
            Event::AckMissing { dialog } => {
                let Some((token, party)) = desk.index.dialogs.get(&dialog).copied() else { return };
                // Of a side that was replaced nothing is awaited.
                if !self.is_other_fork(token, party, dialog) {
                    self.happen(desk, token, Happening::AckMissing);
                }
            }
            Event::InDialog { transaction, dialog, request, .. } => {
                self.in_dialog(desk, transaction, dialog, request);
            }
            Event::Request { .. } => {}
        }
    }

    /// A request inside of a dialog of ours.
    fn in_dialog(
        &mut self,
        desk: &mut Desk<'_>,
        transaction: ServerId,
        dialog: DialogId,
        request: Request,
    ) {
        match desk.index.dialogs.get(&dialog).copied() {
            Some((token, party)) if self.is_other_fork(token, party, dialog) => {
                end_fork(desk, transaction, &request);
            }
            // Only an INVITE replaces a dialog (RFC 3891 §3).
            Some(_) if request.method != Method::Invite && replaces::is_meant(&request) => {
                desk.answer(transaction, StatusCode::BAD_REQUEST, Vec::new(), None);
            }
            Some((token, party))
                if request.method == Method::Update && !self.takes_update(token, party) =>
            {
                let allow = vec![headers::allow(false, ReferPolicy::Reject)];
                let status = StatusCode::METHOD_NOT_ALLOWED;
                desk.answer(transaction, status, allow, None);
            }
            Some((token, party)) => {
                self.happen(desk, token, Happening::Request { party, transaction, request });
            }
            None => {
                let status = StatusCode::CALL_OR_TRANSACTION_DOES_NOT_EXIST;
                desk.refuse(transaction, status, "no such call");
            }
        }
    }

    fn takes_update(&self, token: Token, party: Party) -> bool {
        self.live.get(&token).is_none_or(|call| call.common.leg(party).takes_update)
    }

    /// Answers a challenge inside of a call's dialog; `false` when it is not answered, or is none.
    fn proves(
        &mut self,
        desk: &mut Desk<'_>,
        client: ClientId,
        dialog: Option<DialogId>,
        hop: Hop,
        response: &Response,
    ) -> bool {
        let Some(dialog) = dialog else { return false };
        let found = desk.index.dialogs.get(&dialog).map(|(token, _)| *token);
        let Some(call) = found.and_then(|token| self.live.get_mut(&token)) else {
            return false;
        };
        desk.prove_inside(&mut call.common, dialog, client, hop, response)
    }

    /// What the data plane tells of flows.
    pub fn notice(&mut self, desk: &mut Desk<'_>, notice: Notice) {
        let (token, happening) = match notice {
            Notice::Opened { token, flow, rtp, rtcp } => {
                (token, Happening::Opened { flow, rtp, rtcp })
            }
            Notice::Connected { token, flow, serial } => {
                (token, Happening::Connected { flow, serial })
            }
            Notice::Refused { token, reason, .. } => (token, Happening::Refused { reason }),
            Notice::Closed { token, flow, packets, bytes } => {
                (token, Happening::Closed { flow, packets, bytes })
            }
            Notice::Silent { token, flow } => (token, Happening::Silent { flow }),
            Notice::Told { token, notice } => (token, Happening::Told(notice)),
        };
        self.happen(desk, token, happening);
    }

    /// When a call wants to be woken, or dialogs that went over are looked after.
    pub fn due(&self, index: &Index) -> Option<Instant> {
        let deadline = index.deadlines.first().map(|(at, _)| *at);
        deadline.into_iter().chain(self.away.due()).min()
    }

    /// Wakes the calls whose deadline has come.
    pub fn tend(&mut self, desk: &mut Desk<'_>) {
        self.away.tend(desk.now);
        while let Some((at, token)) = desk.index.deadlines.first().copied() {
            if at > desk.now {
                break;
            }
            desk.index.deadlines.remove(&(at, token));
            self.happen(desk, token, Happening::Deadline);
        }
    }

    /// How many calls the trunk has, those that are ending included.
    pub fn on_trunk(&self, trunk: TrunkId) -> usize {
        let on = |common: &Common| common.trunks().contains(&Some(trunk));
        self.live.values().filter(|call| on(&call.common)).count()
    }

    /// Every live call as it stands.
    pub fn list(&self, media: &Media) -> Vec<LiveCall> {
        let live = self.live.values().map(|call| {
            let Call { common, state } = &**call;
            let [from_trunk_id, to_trunk_id] = common.trunks();
            let record = common.cdr.clone();
            let pair = common.pair();
            let way = |flow| media.snapshot(pair, flow).map(LiveWay::from);
            let media = media.worker(pair).map(|worker| LiveMedia {
                worker,
                from_caller: way(pair.forward),
                from_callee: way(pair.backward),
            });
            LiveCall { state: state.name(), from_trunk_id, to_trunk_id, media, record }
        });
        live.collect()
    }

    /// Ends the call with this id, as an operator asks; `false` when there is none.
    pub fn hang_up(&mut self, desk: &mut Desk<'_>, id: &str) -> bool {
        let found = self.live.iter().find(|(_, call)| call.common.id() == id);
        let Some(token) = found.map(|(token, _)| *token) else { return false };
        self.happen(desk, token, Happening::Stop { reason: "ended by the operator" });
        true
    }

    /// Ends every call, the oldest first.
    pub fn stop_all(&mut self, desk: &mut Desk<'_>, reason: &'static str) {
        let tokens: BTreeSet<Token> = self.live.keys().copied().collect();
        for token in tokens {
            self.happen(desk, token, Happening::Stop { reason });
        }
    }

    /// Ends the calls of some trunks, the oldest first.
    pub fn stop_those(
        &mut self,
        desk: &mut Desk<'_>,
        reason: &'static str,
        is_meant: impl Fn(TrunkId) -> bool,
    ) {
        let meant = |common: &Common| common.trunks().into_iter().flatten().any(&is_meant);
        let live = self.live.iter().filter(|(_, call)| meant(&call.common));
        let tokens: BTreeSet<Token> = live.map(|(token, _)| *token).collect();
        for token in tokens {
            self.happen(desk, token, Happening::Stop { reason });
        }
    }

    /// Nobody will see the calls to their end: each leaves its CDR as it stands.
    pub fn close_records(&mut self, desk: &mut Desk<'_>, reason: &str) {
        for (_, mut call) in self.live.drain() {
            let common = &mut call.common;
            common.cdr.fail(StatusCode::SERVICE_UNAVAILABLE.code(), reason);
            common.forget_flows();
            common.finish(desk);
        }
    }

    /// The data plane lost its memory: no flow of a live call will ever report.
    pub fn forget_flows(&mut self) {
        for call in self.live.values_mut() {
            call.common.forget_flows();
        }
    }

    /// Whether the party talks in another dialog: `dialog` is a fork that lost.
    fn is_other_fork(&self, token: Token, party: Party, dialog: DialogId) -> bool {
        let call = self.live.get(&token);
        call.and_then(|call| call.common.leg(party).dialog).is_some_and(|own| own != dialog)
    }

    fn happen(&mut self, desk: &mut Desk<'_>, token: Token, happening: Happening) {
        self.step(desk, token, happening);
        self.settle(desk);
    }

    /// Does what calls have others do.
    fn settle(&mut self, desk: &mut Desk<'_>) {
        loop {
            if let Some((token, reason)) = desk.index.stopping.pop() {
                self.step(desk, token, Happening::Stop { reason });
            } else if let Some(referred) = desk.index.referred.pop() {
                self.transfer(desk, referred);
            } else if let Some((token, told)) = desk.index.told.pop_front() {
                match self.post.elsewhere(token) {
                    Some(shard) => self.write(desk, shard, token, told),
                    None => self.step(desk, token, told),
                }
            } else {
                return;
            }
        }
    }

    fn step(&mut self, desk: &mut Desk<'_>, token: Token, happening: Happening) {
        let Some(mut call) = self.live.remove(&token) else {
            return gone(desk, token, happening);
        };
        let Call { common, state } = &mut *call;
        if take_stray(common, desk, &happening) {
            self.live.insert(token, call);
            return;
        }
        let before = common.cdr.step();
        if is_unanswered(state, &happening) {
            desk.health.unanswered(desk.now, common.callee.trunk);
        }
        *state = std::mem::replace(state, State::Over).on(common, desk, happening);
        let step = common.cdr.step();
        if step == Step::Ended && !state.keeps_places() {
            common.give_slots_back();
        }
        if step != before {
            tell_sponsor(desk, common, step);
            desk.reached(step, state.name(), common);
        }
        match state {
            State::Over => self.forget(desk, common),
            _ => {
                self.live.insert(token, call);
            }
        }
    }

    fn forget(&mut self, desk: &mut Desk<'_>, common: &mut Common) {
        desk.clear_deadline(common);
        for client in &common.clients {
            desk.index.clients.remove(client);
            desk.index.proofs.forget(*client);
        }
        for server in &common.servers {
            desk.index.servers.remove(server);
        }
        for dialog in &common.dialogs {
            desk.index.dialogs.remove(dialog);
            desk.endpoint.close(*dialog);
        }
        tracing::info!(call = common.id(), "call over");
    }
}

/// What comes of branches that the call does not wait for: of forks that lost, of attempts that were
/// left behind. One that answers is acknowledged and ended (RFC 3261 §13.2.2.4).
fn take_stray(common: &mut Common, desk: &mut Desk<'_>, happening: &Happening) -> bool {
    let (client, answer) = match happening {
        Happening::Response { client, dialog, response, .. } => {
            (*client, dialog.map(|dialog| (dialog, response)))
        }
        Happening::Failed { client, .. } => (*client, None),
        _ => return false,
    };
    let left_behind = common.attempt_left_behind(client);
    if let Some((dialog, response)) = answer {
        if common.caller.dialog == Some(dialog) {
            return false;
        }
        desk.own_dialog(common, dialog, Party::Callee);
        let lost = common.callee.dialog.is_some_and(|own| own != dialog);
        if (lost || left_behind.is_some()) && accepts_invite(response) {
            if let Some(attempt) = left_behind {
                common.cdr.answered_late(attempt);
            }
            desk.ack(dialog, None);
            let _answer_not_awaited = desk.bye(common, dialog);
            return true;
        }
    }
    left_behind.is_some()
}

/// Where the caller's media is: at the address of its offer, else at that of its signalling.
fn far_address(asked: &Asked, hop: Hop) -> IpAddr {
    let offered = asked.offer.as_ref().map(|(_, audio)| audio.rtp.ip());
    offered.filter(|ip| !ip.is_unspecified()).unwrap_or(hop.remote.ip()).to_canonical()
}

/// A request in the dialog of a fork that lost: nothing of it concerns the call.
fn end_fork(desk: &mut Desk<'_>, transaction: ServerId, request: &Request) {
    if request.method == Method::Bye {
        headers::answer_bye(desk, transaction);
    } else {
        let status = StatusCode::CALL_OR_TRANSACTION_DOES_NOT_EXIST;
        desk.refuse(transaction, status, "another branch was answered");
    }
}

/// Somebody waits for what comes of the call.
fn tell_sponsor(desk: &mut Desk<'_>, common: &mut Common, step: Step) {
    let Some((sponsor, _)) = common.sponsor else { return };
    let status = match step {
        Step::Began | Step::Answered => return,
        Step::Rang => StatusCode::RINGING,
        Step::Ended => {
            common.sponsor = None;
            let code = StatusCode::new(common.cdr.outcome().code);
            let failed = code.filter(|code| !code.is_success() && code.is_final());
            failed.unwrap_or(StatusCode::TEMPORARILY_UNAVAILABLE)
        }
    };
    desk.tell_call(sponsor, Happening::Progress { status });
}

/// What is told to a call that is over.
fn gone(desk: &mut Desk<'_>, token: Token, happening: Happening) {
    match happening {
        Happening::Wanted { by, .. } => {
            desk.tell_call(by, Happening::Unavailable { from: token });
        }
        Happening::Guest { leg, .. } => {
            let Some(dialog) = leg.dialog else { return };
            let bye = Method::Bye;
            let _nobody_waits =
                desk.endpoint.request_in_dialog(desk.now, dialog, bye, Vec::new(), None);
            desk.index.dialogs.remove(&dialog);
            desk.endpoint.close(dialog);
        }
        _ => {}
    }
}

/// A branch that answers when its call is over is answered and ended (RFC 3261 §13.2.2.4).
fn end_stray(desk: &mut Desk<'_>, dialog: Option<DialogId>, response: &Response) {
    let Some(dialog) = dialog.filter(|_| accepts_invite(response)) else { return };
    desk.ack(dialog, None);
    let _nobody_waits =
        desk.endpoint.request_in_dialog(desk.now, dialog, Method::Bye, Vec::new(), None);
    desk.endpoint.close(dialog);
}

fn accepts_invite(response: &Response) -> bool {
    let cseq = response.headers.cseq();
    response.status.is_success() && cseq.is_ok_and(|cseq| cseq.method == Method::Invite)
}

/// Whether nothing at all came back from the callee's trunk.
fn is_unanswered(state: &State, happening: &Happening) -> bool {
    let nothing_came = matches!(happening, Happening::Failed { cause: Cause::Timeout, .. });
    nothing_came && matches!(state, State::Inviting(_))
}

/// Refused callers that are spoken to at a time.
pub const VOICES_MAX: usize = 64;

/// A place on the caller's trunk, who is asked first, and a place on that trunk.
fn places<'t>(
    desk: &mut Desk<'t>,
    caller: &Trunk,
    hunt: &mut Hunt,
) -> Result<([Slot; 2], Target, &'t Trunk), Refused> {
    let taken = desk.admission.take(desk.now, caller, Bound::In, hunt.is_emergency);
    let near = taken.map_err(|full| at_capacity(caller, full))?;
    let mut refused = Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the route's trunk is gone");
    while let Some(target) = hunt.next(desk.now) {
        let trunks = desk.trunks;
        let Some(trunk) = trunks.get(target.trunk) else { continue };
        let taken = desk.admission.take(desk.now, trunk, Bound::Out, hunt.is_emergency);
        match taken {
            Ok(far) => return Ok(([near, far], target, trunk)),
            Err(full) if hunt.is_group() => refused = at_capacity(trunk, full).told(Why::AllBusy),
            Err(full) => refused = at_capacity(trunk, full),
        }
        hunt.was_not_asked();
        hunt.leave(target.trunk);
    }
    Err(refused)
}
