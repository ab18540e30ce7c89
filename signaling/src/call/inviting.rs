//! The callee is asked and may ring; early media passes as soon as the callee described it.

mod pickup;

use std::time::{Duration, Instant};

use bytes::Bytes;
use sdp::{Audio, Direction, Security};
use sip::endpoint::{Cause, ClientId, DialogId, Hop, ServerId};
use sip::wire::{HeaderName, Method, Request, Response, StatusCode};

use super::announcing::Why;
use super::answering::{Answering, Callee, Late};
use super::common::Sponsor;
use super::connecting::Connecting;
use super::ending::Cancelling;
use super::hunt::{Fault, Heard, Limit, Target};
use super::hunting::{Failure, Hunting};
use super::joining::{Joining, Seat};
use super::negotiate::{self, Agreed, Offered, Unusable};
use super::{Common, Desk, Happening, Party, State, bypass, early, headers, timers};
use crate::trunk::SecureRtp;

pub use pickup::PickUp;

/// Keys of the callee that one call may bring: its context in the data plane outlives each, and so
/// many are kept there, as many as there are suites.
const KEYS_MAX: usize = sdp::Suite::ALL.len();
/// Why a caller that knows `100rel` and does not keep to it is given up.
pub const NO_PRACK: &str = "the caller never acknowledged a provisional response";
/// How often a callee's challenge is answered in one attempt.
const CREDENTIAL_TRIES: u8 = 2;

pub struct Inviting {
    hunting: Hunting,
    /// Who is asked.
    target: Target,
    client: ClientId,
    /// When the INVITE was sent.
    sent: Instant,
    has_rung: bool,
    /// Our offer to the callee; `None` when the caller made none.
    offered: Option<Offered>,
    /// What the callee agreed to last.
    far: Option<Agreed>,
    tries: u8,
    /// It was asked once more for a longer interval of the session timer.
    is_longer: bool,
}

/// What the caller is answered, and the connection that belongs to it.
pub struct Told {
    pub body: Bytes,
    pub serial: u64,
}

impl Inviting {
    /// The callee's INVITE is on its way.
    pub fn start(
        hunting: Hunting,
        target: Target,
        client: ClientId,
        offered: Option<Offered>,
        common: &mut Common,
        desk: &mut Desk<'_>,
    ) -> State {
        let (sent, has_rung) = (desk.now, false);
        let (far, tries, is_longer) = (None, 0, false);
        let state =
            Self { hunting, target, client, sent, has_rung, offered, far, tries, is_longer };
        state.set_limit(common, desk);
        State::Inviting(Box::new(state))
    }

    pub fn on(
        self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        happening: Happening,
    ) -> State {
        match happening {
            Happening::Response { client, dialog, hop, response } if client == self.client => {
                common.callee.vantage.answered(hop.remote.ip(), &response);
                self.remember(desk, &response);
                if response.status.is_provisional() {
                    self.ringing(common, desk, &response)
                } else if response.status.is_success() {
                    self.answered(common, desk, dialog, &response)
                } else {
                    self.failed(common, desk, hop, &response)
                }
            }
            Happening::Failed { client, cause } if client == self.client => {
                let (status, reason) = match cause {
                    Cause::Timeout => {
                        (StatusCode::REQUEST_TIMEOUT, "the callee's trunk did not answer")
                    }
                    Cause::Transport => {
                        (StatusCode::SERVICE_UNAVAILABLE, "the callee's trunk cannot be reached")
                    }
                };
                desk.memory.failed(self.target.hop.remote, desk.now, None);
                let failure = Failure::new(Fault::Unreachable, status, reason);
                self.go_on(failure, common, desk)
            }
            Happening::Cancelled => {
                let status = StatusCode::REQUEST_TERMINATED;
                self.give_up(common, desk, status, "cancelled by the caller")
            }
            Happening::PrackMissing => {
                self.give_up(common, desk, StatusCode::SERVER_TIMEOUT, NO_PRACK)
            }
            Happening::Newcomer(newcomer) => self.picked_up(*newcomer, common, desk),
            Happening::Deadline => self.overdue(common, desk),
            Happening::Stop { reason } => {
                self.give_up(common, desk, StatusCode::SERVICE_UNAVAILABLE, reason)
            }
            Happening::Refused { reason } => {
                let reason = reason.to_string();
                self.give_up(common, desk, StatusCode::SERVICE_UNAVAILABLE, &reason)
            }
            // A caller may end its early dialog by BYE (RFC 3261 §15).
            Happening::Request { party: Party::Caller, transaction, request }
                if request.method == Method::Bye =>
            {
                headers::answer_bye(desk, transaction);
                common.caller_left();
                let status = StatusCode::REQUEST_TERMINATED;
                self.give_up(common, desk, status, "hung up by the caller")
            }
            Happening::Request { party, transaction, request } => {
                self.asked(common, desk, party, transaction, &request)
            }
            Happening::Silent { flow } => {
                common.fell_silent(desk, flow);
                State::Inviting(self)
            }
            _ => State::Inviting(self),
        }
    }

    /// A provisional response goes to the caller; one with an answer starts early media.
    fn ringing(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        response: &Response,
    ) -> State {
        common.cdr.ring(desk.wall);
        desk.index.hunts.forgive(self.target.trunk);
        self.has_rung = true;
        let early =
            headers::sdp_of(&response.headers, &response.body).filter(|_| self.offered.is_some());
        let mut body = None;
        // The caller hears nothing before it has answered our offer.
        let waits = common.is_bypassed || self.hunting.asked.offer.is_none();
        if let (Some(answer), Some(offered), true) = (early, &self.offered, waits) {
            // For an answer without a description; it concerns the caller only then.
            self.far = negotiate::accept(offered, answer, &common.callee).ok();
        } else if let Some(answer) = early {
            match self.agree(common, desk, answer, KEYS_MAX - 1) {
                Ok(told) => body = Some(told.body),
                Err(reject) => {
                    tracing::warn!(call = common.id(), %reject, "early media not usable; ringing only");
                }
            }
        }
        self.hunting.hunt.rang(body.is_some());
        self.set_limit(common, desk);
        desk.respond(common, self.hunting.asked.transaction, response.status, body);
        State::Inviting(self)
    }

    /// A side may change its media while the callee rings.
    fn asked(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        party: Party,
        transaction: ServerId,
        request: &Request,
    ) -> State {
        if request.method != Method::Update {
            headers::answer_in_dialog(desk, transaction, request);
            return State::Inviting(self);
        }
        let near = self.hunting.near.as_ref().map(|(_, near)| near);
        let legs = near.zip(self.far.as_ref()).map(|(near, far)| [near, far]);
        let news = early::update(common, desk, party, transaction, request, legs);
        match (news, party) {
            (Some(near), Party::Caller) => self.hunting.near = Some((near.body.clone(), near)),
            (Some(far), Party::Callee) => self.far = Some(far),
            (None, _) => {}
        }
        State::Inviting(self)
    }

    /// Takes the callee's answer, unless it brings a key beyond `keys_max`: connects media and gives
    /// the caller's answer. What rings leaves room for the key of who answers.
    fn agree(
        &mut self,
        common: &mut Common,
        desk: &mut Desk<'_>,
        answer: &[u8],
        keys_max: usize,
    ) -> Result<Told, Unusable> {
        let offered = self.offered.as_ref().ok_or(Unusable::NoOffer)?;
        let far = negotiate::accept(offered, answer, &common.callee)?;
        self.keep_key(&far, keys_max)?;
        self.connect(common, desk, far)
    }

    /// Counts the key that the callee's side brings, if it is a new one.
    fn keep_key(&mut self, far: &Agreed, keys_max: usize) -> Result<(), Unusable> {
        if let Some(key) = far.receive.as_ref().filter(|key| !self.hunting.keys.contains(key)) {
            if self.hunting.keys.len() >= keys_max {
                return Err(Unusable::TooManyKeys);
            }
            self.hunting.keys.push(key.clone());
        }
        Ok(())
    }

    /// The caller's answer is the same at each call: one dialog has one (RFC 3264 §4).
    fn connect(
        &mut self,
        common: &mut Common,
        desk: &mut Desk<'_>,
        far: Agreed,
    ) -> Result<Told, Unusable> {
        let Hunting { asked, near, given, caller, .. } = &mut self.hunting;
        let (description, chosen) = asked.offer.as_ref().ok_or(Unusable::NoOffer)?;
        let (body, near) = match near {
            Some(near) => near,
            none => {
                let answer = negotiate::answer(
                    description,
                    chosen,
                    &far.audio,
                    &common.caller,
                    bypass::told(common, &far.audio).unwrap_or(*caller),
                    common.origin(),
                    desk.entropy,
                )?;
                let formats = chosen.agreed(&far.audio).into_iter().map(|(own, _)| own.clone());
                *given = Some(Audio { formats: formats.collect(), ..chosen.clone() });
                none.insert(answer)
            }
        };
        let told = Told { body: body.clone(), serial: common.connect(desk, near, &far)? };
        self.far = Some(far);
        Ok(told)
    }

    fn answered(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        dialog: Option<DialogId>,
        response: &Response,
    ) -> State {
        let Some(dialog) = dialog else { return State::Inviting(self) };
        common.callee.dialog = Some(dialog);
        let trunk = desk.trunks.get(common.callee.trunk);
        let timer = trunk.map(|trunk| timers::accepted(&response.headers, &trunk.timer));
        common.callee.agree(&response.headers, timer);
        desk.index.hunts.forgive(self.target.trunk);
        let transaction = self.hunting.asked.transaction;
        let body = headers::sdp_of(&response.headers, &response.body);
        if self.offered.is_none() {
            return self.answered_late(common, desk, body);
        }
        if self.hunting.asked.offer.is_none() {
            return self.answered_before_the_caller(common, desk, body);
        }
        let told = match (body, self.far.take()) {
            (Some(answer), _) => self.agree(common, desk, answer, KEYS_MAX),
            // The answer came in a provisional response and stands. Told again, the data plane waits
            // anew for whom it has not heard: many send nothing before the call is answered.
            (None, Some(far)) => self.connect(common, desk, far),
            (None, None) => Err(Unusable::NoAnswer),
        };
        match told {
            Ok(told) => Connecting::start(transaction, told, None, common, desk),
            Err(reject) => {
                desk.ack(dialog, None);
                reject_caller(transaction, &reject, common, desk)
            }
        }
    }

    /// Delayed offer: the callee's 2xx offers, our 2xx offers to the caller, whose ACK answers.
    fn answered_late(self, common: &mut Common, desk: &mut Desk<'_>, body: Option<&[u8]>) -> State {
        let Hunting { caller, callee, .. } = &self.hunting;
        let late = body.ok_or(Unusable::NoAnswer).and_then(|offer| {
            let trunk = desk.trunks.get(common.callee.trunk).ok_or(Unusable::NoOffer)?;
            let events = common.callee.policy.events;
            let (description, audio, policy) = negotiate::read_any(offer, trunk.policies())?;
            common.callee.policy = sdp::Policy { events, ..policy };
            let policy = &common.caller.policy;
            let origin = common.origin();
            let ours = negotiate::offer(policy, Some(&audio), *caller, origin, desk.entropy)?;
            let callee = Callee::Offered { description, audio, ports: *callee };
            Ok(Late { ours, callee })
        });
        self.offer_to_caller(late, common, desk)
    }

    /// Delayed offer to a trunk that wants an early one: the callee's 2xx has answered ours, our 2xx
    /// offers to the caller what the callee took, and its ACK answers.
    fn answered_before_the_caller(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        body: Option<&[u8]>,
    ) -> State {
        let far = match (body, &self.offered, self.far.take()) {
            (Some(answer), Some(offered), _) => negotiate::accept(offered, answer, &common.callee),
            (_, _, Some(far)) => Ok(far),
            _ => Err(Unusable::NoAnswer),
        };
        if let (Some(from), Ok(far)) = (common.sponsor, &far) {
            return self.fetch(from, far.clone(), common, desk);
        }
        let late = far.and_then(|far| {
            let (policy, caller) = (&common.caller.policy, self.hunting.caller);
            let both = Audio { direction: Direction::SendRecv, ..far.audio.clone() };
            let origin = common.origin();
            let ours = negotiate::offer(policy, Some(&both), caller, origin, desk.entropy)?;
            Ok(Late { ours, callee: Callee::Answered(Box::new(far)) })
        });
        self.offer_to_caller(late, common, desk)
    }

    /// A transfer: who is to talk to the callee comes over from the call that sponsors this one.
    fn fetch(
        &self,
        (from, party): Sponsor,
        far: Agreed,
        common: &mut Common,
        desk: &mut Desk<'_>,
    ) -> State {
        common.cdr.answer(desk.wall);
        desk.cdrs.note(&common.cdr);
        let dialog = common.callee.dialog;
        let callee = Seat::Agreed { agreed: Box::new(far), dialog };
        let Hunting { caller, callee: ports, .. } = &self.hunting;
        let seats = [Seat::Away { from, party }, callee];
        Joining::start([Some(*caller), Some(*ports)], seats, common, desk)
    }

    /// Our 2xx to a caller that made no offer.
    fn offer_to_caller(
        &self,
        late: Result<Late, Unusable>,
        common: &mut Common,
        desk: &mut Desk<'_>,
    ) -> State {
        let asked = &self.hunting.asked;
        match late {
            Ok(late) => {
                common.cdr.answer(desk.wall);
                desk.cdrs.note(&common.cdr);
                let body = Some(late.ours.body.clone());
                common.caller.dialog =
                    desk.respond(common, asked.transaction, StatusCode::OK, body);
                Answering::start(Some(late), common, desk)
            }
            Err(reject) => {
                if let Some(dialog) = common.callee.dialog {
                    desk.ack(dialog, None);
                }
                reject_caller(asked.transaction, &reject, common, desk)
            }
        }
    }

    fn failed(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        hop: Hop,
        response: &Response,
    ) -> State {
        let status = response.status;
        if matches!(status.code(), 401 | 407) && self.tries < CREDENTIAL_TRIES {
            self.tries += 1;
            let trunk = common.callee.trunk;
            if let Some(client) = desk.prove(common, trunk, self.client, hop, response) {
                (self.client, self.sent) = (client, desk.now);
                self.set_limit(common, desk);
                return State::Inviting(self);
            }
        }
        if status == StatusCode::NOT_ACCEPTABLE_HERE && self.offer_plainly(common, desk) {
            return State::Inviting(self);
        }
        if status == StatusCode::SESSION_INTERVAL_TOO_SMALL && !self.is_longer {
            self.is_longer = true;
            if let Some(client) = desk.ask_longer(common, self.client, response) {
                self.client = client;
                return State::Inviting(self);
            }
        }
        let passed = headers::status_toward_caller(status);
        let mut reason = String::from_utf8_lossy(&response.reason).into_owned();
        if passed != status {
            reason = format!("the callee's trunk answered {status} {reason}");
        }
        // A challenge that cannot be answered says nothing of other trunks.
        let fault = match status.code() {
            401 | 407 => Fault::Unfit,
            _ => Fault::Answered(status),
        };
        if status == StatusCode::SERVICE_UNAVAILABLE
            && !self.hunting.hunt.stays_with(self.target.trunk)
        {
            let time = retry_after(response);
            desk.index.hunts.penalise(self.target.trunk, desk.now, time);
        }
        let why = self.lacks_encryption(common, response).then_some(Why::NoEncryption);
        let failure = Failure { code: status.code(), why, ..Failure::new(fault, passed, reason) };
        self.go_on(failure, common, desk)
    }

    /// Asks the next target, or tells the caller.
    fn go_on(self: Box<Self>, failure: Failure, common: &mut Common, desk: &mut Desk<'_>) -> State {
        let this = *self;
        if let (Some((_, near)), Some(far)) = (&this.hunting.near, &this.far) {
            common.hush(desk, near, far);
        }
        this.hunting.go_on(&this.target, failure, common, desk)
    }

    /// Wakes the call when the attempt has had its time.
    fn set_limit(&self, common: &mut Common, desk: &mut Desk<'_>) {
        let (at, _) = self.hunting.hunt.limit(&self.target, self.sent, self.heard(desk));
        desk.set_deadline(common, at.saturating_duration_since(desk.now));
    }

    /// Whether the callee refuses media because it has to be encrypted (RFC 3261 §21.4.26): it does
    /// not say that it is about the codecs.
    fn lacks_encryption(&self, common: &Common, response: &Response) -> bool {
        let warning = response.headers.get(&HeaderName::Warning);
        let is_about_codecs = warning.is_some_and(|warning| warning.starts_with(b"305"));
        response.status == StatusCode::NOT_ACCEPTABLE_HERE
            && self.offered.is_some()
            && common.callee.policy.security.encrypts()
            && !is_about_codecs
    }

    /// An address that answers works, unless it says 503 (RFC 3263 §4.3).
    fn remember(&self, desk: &mut Desk<'_>, response: &Response) {
        let address = self.target.hop.remote;
        if response.status == StatusCode::SERVICE_UNAVAILABLE {
            desk.memory.failed(address, desk.now, retry_after(response));
        } else {
            desk.memory.worked(address);
        }
    }

    fn heard(&self, desk: &Desk<'_>) -> Heard {
        if self.has_rung {
            Heard::Ringing
        } else if desk.endpoint.is_proceeding(self.client) {
            Heard::Trying
        } else {
            Heard::Nothing
        }
    }

    /// The attempt may have had its time. If so its branch is cancelled, and left behind: a late
    /// answer of it is acknowledged and ended (`Calls::step`).
    fn overdue(self: Box<Self>, common: &mut Common, desk: &mut Desk<'_>) -> State {
        let (at, limit) = self.hunting.hunt.limit(&self.target, self.sent, self.heard(desk));
        if at > desk.now {
            self.set_limit(common, desk);
            return State::Inviting(self);
        }
        let status = StatusCode::REQUEST_TIMEOUT;
        let reason = match limit {
            Limit::Ring => return self.give_up(common, desk, status, "ring limit reached"),
            Limit::Hunt => {
                let reason = "nobody rang within the time of a hunt";
                return self.give_up(common, desk, status, reason);
            }
            Limit::Reach(time) => {
                desk.memory.failed(self.target.hop.remote, desk.now, None);
                desk.health.unanswered(desk.now, self.target.trunk);
                format!("no response within {time:?}")
            }
            Limit::Progress(time) => format!("100 and no progress within {time:?}"),
        };
        desk.cancel(self.client);
        common.leave_behind(self.client);
        self.go_on(Failure::new(Fault::Unreachable, status, reason), common, desk)
    }

    /// A trunk that only prefers encryption is asked once more without, in another dialog.
    fn offer_plainly(&mut self, common: &mut Common, desk: &mut Desk<'_>) -> bool {
        let Hunting { asked, callee, .. } = &self.hunting;
        if self.offered.is_none() {
            return false;
        }
        let audio = asked.offer.as_ref().map(|(_, audio)| audio);
        let Some(trunk) = desk.trunks.get(common.callee.trunk) else { return false };
        let prefers = trunk.secure_rtp == SecureRtp::Preferred;
        if !prefers || !common.callee.policy.security.encrypts() {
            return false;
        }
        common.callee.policy.security = Security::Plain;
        let (policy, origin) = (&common.callee.policy, common.origin());
        let offered = negotiate::offer(policy, audio, *callee, origin, desk.entropy);
        let Ok(offered) = offered else { return false };
        let invite = headers::callee_invite(common, desk, &asked.invite, Some(&offered));
        let Ok(request) = invite else { return false };
        let Ok(client) = desk.request(common, common.callee.hop, request) else { return false };
        let reason = "SRTP is refused; asked once more without";
        tracing::info!(call = common.id(), "{reason}");
        common.cdr.attempt_over(desk.wall, StatusCode::NOT_ACCEPTABLE_HERE.code(), reason);
        common.cdr.attempt(desk.wall, &trunk.name, self.target.hop.remote);
        (self.client, self.offered, self.far) = (client, Some(offered), None);
        (self.sent, self.has_rung) = (desk.now, false);
        self.set_limit(common, desk);
        true
    }

    fn give_up(
        self,
        common: &mut Common,
        desk: &mut Desk<'_>,
        status: StatusCode,
        reason: &str,
    ) -> State {
        desk.refuse(self.hunting.asked.transaction, status, reason);
        if let Some(greeted) = common.caller.dialog.take() {
            let _nobody_waits = desk.bye(common, greeted);
        }
        common.note_failure(status.code(), reason);
        Cancelling::start(self.client, common, desk)
    }
}

/// The caller cannot be given what the callee's side demands, or the other way round. Why is for the
/// log and the CDR: what a callee answered, or should have, is no news for the caller's trunk.
pub fn reject_caller(
    transaction: ServerId,
    reject: &Unusable,
    common: &mut Common,
    desk: &mut Desk<'_>,
) -> State {
    tracing::warn!(call = common.id(), %reject, "a call without usable media ends");
    let (status, reason) = (reject.status(), reject.to_string());
    desk.refuse(transaction, status, &reason);
    common.failed(desk, status.code(), &reason)
}

/// Seconds that a response asks us to wait (RFC 3261 §20.33).
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers.get(&HeaderName::RetryAfter)?;
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let text: String = digits.map(|byte| char::from(*byte)).collect();
    text.parse().ok().map(Duration::from_secs)
}
