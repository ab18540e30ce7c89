//! The caller's trunk has a `greeting`: it is said before anybody is asked.
//!
//! ```text
//!                     ON EARLY MEDIA     183 with our answer ── greeting ──► the callee is asked
//!  Leasing ──► Arming
//!                     ON ANSWERED CALLS  200 with our answer ── ACK ── greeting ──► the same
//! ```
//! The caller keeps the answer that it was given, so callees are offered what that says. A greeting
//! that cannot be said is left out: it is no reason to refuse a call.

use bytes::Bytes;
use sdp::Audio;
use sip::wire::{Method, StatusCode};

use super::announcing::{self, LIMIT};
use super::hunt::Target;
use super::hunting::Hunting;
use super::inviting::NO_PRACK;
use super::{Common, Desk, Happening, Party, State, headers};
use crate::trunk::tones::{AudioTones, Greeting as Wanted, Spoken};

pub struct Greeting {
    hunting: Hunting,
    target: Target,
    wanted: Wanted,
    stage: Stage,
}

enum Stage {
    /// The data plane is told where the caller is.
    Arming {
        serial: u64,
        body: Bytes,
    },
    /// Our 200 waits for its ACK.
    Answered,
    Saying,
}

impl Greeting {
    /// Greets the caller if its trunk does, and asks `target` then.
    pub fn start(
        mut hunting: Hunting,
        target: Target,
        common: &mut Common,
        desk: &mut Desk<'_>,
    ) -> State {
        let trunk = desk.trunks.get(common.caller.trunk);
        let wanted =
            trunk.and_then(|trunk| trunk.greeting.clone()).filter(|_| hunting.near.is_none());
        let Some(wanted) = wanted else { return hunting.ask(target, common, desk) };
        let (asked, caller) = (&hunting.asked, hunting.caller);
        let direction = sdp::Direction::SendRecv;
        let Some((body, near)) = announcing::answer(asked, caller, direction, common, desk) else {
            return hunting.ask(target, common, desk);
        };
        let Ok(serial) = common.connect(desk, &near, &near.silenced()) else {
            return hunting.ask(target, common, desk);
        };
        // One dialog has one answer (RFC 3264 §4): callees choose from what it names.
        hunting.given = hunting.asked.offer.as_ref().map(|(_, chosen)| {
            let formats = chosen.agreed(&near.audio).into_iter().map(|(own, _)| own.clone());
            Audio { formats: formats.collect(), ..chosen.clone() }
        });
        hunting.near = Some((body.clone(), near));
        desk.set_deadline(common, LIMIT);
        let stage = Stage::Arming { serial, body };
        State::Greeting(Box::new(Self { hunting, target, wanted, stage }))
    }

    pub fn on(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        happening: Happening,
    ) -> State {
        match happening {
            Happening::Connected { flow, serial } => match &self.stage {
                Stage::Arming { serial: wanted, body }
                    if common.is_armed(flow, serial, *wanted) =>
                {
                    let body = body.clone();
                    self.tell(common, desk, body)
                }
                _ => State::Greeting(self),
            },
            Happening::Ack { .. } if matches!(self.stage, Stage::Answered) => {
                self.stage = Stage::Saying;
                self.say(common, desk)
            }
            Happening::Told(abi::Notice::Played { .. } | abi::Notice::Refused { .. })
            | Happening::Deadline => self.over(common, desk),
            Happening::Refused { reason } => {
                let reason = reason.to_string();
                self.give_up(common, desk, StatusCode::SERVICE_UNAVAILABLE, &reason)
            }
            Happening::Stop { reason } => {
                self.give_up(common, desk, StatusCode::SERVICE_UNAVAILABLE, reason)
            }
            Happening::Cancelled => {
                let status = StatusCode::REQUEST_TERMINATED;
                self.give_up(common, desk, status, "cancelled by the caller")
            }
            Happening::PrackMissing => {
                self.give_up(common, desk, StatusCode::SERVER_TIMEOUT, NO_PRACK)
            }
            Happening::AckMissing => {
                common.caller.dialog = None;
                let status = StatusCode::REQUEST_TIMEOUT;
                self.give_up(common, desk, status, "the answer was not acknowledged")
            }
            Happening::Request { party: Party::Caller, transaction, request }
                if request.method == Method::Bye =>
            {
                headers::answer_bye(desk, transaction);
                common.caller_left();
                let status = StatusCode::REQUEST_TERMINATED;
                self.give_up(common, desk, status, "hung up by the caller")
            }
            Happening::Request { transaction, request, .. } => {
                headers::answer_in_dialog(desk, transaction, &request);
                State::Greeting(self)
            }
            _ => State::Greeting(self),
        }
    }

    /// The caller has where the voice comes from.
    fn tell(mut self: Box<Self>, common: &mut Common, desk: &mut Desk<'_>, body: Bytes) -> State {
        let transaction = self.hunting.asked.transaction;
        if self.wanted.tones == AudioTones::OnAnsweredCalls {
            common.cdr.answer(desk.wall);
            common.caller.dialog = desk.respond(common, transaction, StatusCode::OK, Some(body));
            self.stage = Stage::Answered;
            return State::Greeting(self);
        }
        desk.respond(common, transaction, StatusCode::SESSION_PROGRESS, Some(body));
        self.stage = Stage::Saying;
        self.say(common, desk)
    }

    fn say(self: Box<Self>, common: &mut Common, desk: &mut Desk<'_>) -> State {
        let pair = *common.pair();
        let said = match &self.wanted.what {
            Spoken::Prompt(prompt) => desk.media.play(&pair, false, *prompt),
            Spoken::Recording(recording) => desk.media.say(&pair, recording, desk.now),
        };
        match said {
            Ok(_) => State::Greeting(self),
            Err(_) => self.over(common, desk),
        }
    }

    /// Everything was said.
    fn over(self, common: &mut Common, desk: &mut Desk<'_>) -> State {
        let Self { mut hunting, target, .. } = self;
        hunting.hunt.begin_again(desk.now);
        hunting.ask(target, common, desk)
    }

    fn give_up(
        self,
        common: &mut Common,
        desk: &mut Desk<'_>,
        status: StatusCode,
        reason: &str,
    ) -> State {
        desk.refuse(self.hunting.asked.transaction, status, reason);
        common.failed(desk, status.code(), reason)
    }
}
