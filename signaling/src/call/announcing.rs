//! `audio_tones`: the call came to nothing, and a voice says why before the status does.
//!
//! ```text
//!                          ON EARLY MEDIA     183 with our answer ── prompt ── the true status
//!  Leasing ──► Arming ──►
//!  (no ports yet)          ON ANSWERED CALLS  200 with our answer ── ACK ── prompt ── BYE
//! ```
//! Only where we ended the attempt: a callee that is busy says so itself. What cannot be said (no
//! such prompt, no codec that is spoken, a delayed offer) is left out, and the status goes at once.

use std::time::Duration;

use abi::{FlowId, PromptName};
use bytes::Bytes;
use sdp::{Audio, Codec, Direction};
use sip::endpoint::ServerId;
use sip::wire::{HeaderName, Method, StatusCode};

use super::inviting::NO_PRACK;
use super::leasing::Asked;
use super::negotiate::{self, Agreed, Ports};
use super::{Common, Desk, Happening, Party, State, headers};
use crate::trunk::tones::AudioTones;

/// Why we end an attempt, as far as callers are told; each has its prompt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    UnknownNumber,
    TrunkDown,
    /// Nobody of a failover group has room.
    AllBusy,
    /// The caller's own trunk has no room.
    LimitReached,
    /// The callee's trunk demands encryption, and the callee has none.
    NoEncryption,
    /// No new calls are taken, because of maintenance.
    Closing,
}

impl Why {
    /// The name of its prompt: a file of this name and `.wav` in `[media] prompts`.
    pub const fn prompt(self) -> &'static str {
        match self {
            Self::UnknownNumber => "unknown-number",
            Self::TrunkDown => "trunk-down",
            Self::AllBusy => "all-trunks-busy",
            Self::LimitReached => "limit-reached",
            Self::NoEncryption => "encryption-unavailable",
            Self::Closing => "service-closing",
        }
    }

    /// Each of them.
    pub const ALL: [Self; 6] = [
        Self::UnknownNumber,
        Self::TrunkDown,
        Self::AllBusy,
        Self::LimitReached,
        Self::NoEncryption,
        Self::Closing,
    ];
}

/// What the caller is told in the end.
pub struct Verdict {
    pub why: Why,
    pub status: StatusCode,
    pub reason: String,
}

pub struct Announcing {
    transaction: ServerId,
    tones: AudioTones,
    verdict: Verdict,
    stage: Stage,
    /// The caller has a 200 of ours.
    is_answered: bool,
}

enum Stage {
    /// Ports are asked for.
    Leasing { asked: Box<Asked>, seen: Vec<FlowId>, caller: Option<Ports> },
    /// The data plane is told where the caller is.
    Arming { serial: u64, body: Bytes },
    /// Our 200 waits for its ACK.
    Answered,
    /// The prompt is said.
    Saying,
}

impl Announcing {
    /// Says why an attempt ended that has its ports; `near` is what the caller was answered already.
    /// Gives the verdict back where nothing can be said.
    fn start(
        asked: &Asked,
        caller: Ports,
        near: Option<(Bytes, Agreed)>,
        verdict: Verdict,
        common: &mut Common,
        desk: &mut Desk<'_>,
    ) -> Result<State, Verdict> {
        let trunk = desk.trunks.get(common.caller.trunk);
        let tones = trunk.map(|trunk| trunk.audio_tones).unwrap_or_default();
        if tones == AudioTones::None {
            return Err(verdict);
        }
        let transaction = asked.transaction;
        let stage = Stage::Saying;
        let this = Self { transaction, tones, verdict, stage, is_answered: false };
        this.arm(asked, caller, near, common, desk)
    }

    /// Ends an attempt that has its ports: with a voice where that is wanted and can be, then with the
    /// status.
    pub fn finish(
        asked: &Asked,
        caller: Ports,
        near: Option<(Bytes, Agreed)>,
        verdict: Verdict,
        common: &mut Common,
        desk: &mut Desk<'_>,
    ) -> State {
        let transaction = asked.transaction;
        Self::start(asked, caller, near, verdict, common, desk).unwrap_or_else(|verdict| {
            desk.refuse(transaction, verdict.status, &verdict.reason);
            common.failed(desk, verdict.status.code(), &verdict.reason)
        })
    }

    /// Says why an attempt ended that has no ports yet: they were asked for.
    pub fn lease(asked: Asked, tones: AudioTones, verdict: Verdict) -> State {
        let transaction = asked.transaction;
        let stage = Stage::Leasing { asked: Box::new(asked), seen: Vec::new(), caller: None };
        let is_answered = false;
        State::Announcing(Box::new(Self { transaction, tones, verdict, stage, is_answered }))
    }

    fn arm(
        mut self,
        asked: &Asked,
        caller: Ports,
        near: Option<(Bytes, Agreed)>,
        common: &mut Common,
        desk: &mut Desk<'_>,
    ) -> Result<State, Verdict> {
        let direction = Direction::SendOnly;
        let answered = near.or_else(|| answer(asked, caller, direction, common, desk));
        let Some((body, near)) = answered else { return Err(self.verdict) };
        if spoken(&near.audio, direction).is_none() {
            return Err(self.verdict);
        }
        let Ok(serial) = common.connect(desk, &near, &near.silenced()) else {
            return Err(self.verdict);
        };
        desk.set_deadline(common, LIMIT);
        self.stage = Stage::Arming { serial, body };
        Ok(State::Announcing(Box::new(self)))
    }

    pub fn on(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        happening: Happening,
    ) -> State {
        match happening {
            Happening::Opened { flow, rtp, rtcp } => self.opened(common, desk, flow, (rtp, rtcp)),
            Happening::Connected { flow, serial } => {
                let Stage::Arming { serial: wanted, body } = &self.stage else {
                    return State::Announcing(self);
                };
                if !common.is_armed(flow, serial, *wanted) {
                    return State::Announcing(self);
                }
                let body = body.clone();
                self.tell(common, desk, body)
            }
            Happening::Ack { .. } if matches!(self.stage, Stage::Answered) => {
                self.say(common, desk)
            }
            Happening::Told(abi::Notice::Played { .. } | abi::Notice::Refused { .. })
            | Happening::Deadline
            | Happening::Refused { .. }
            | Happening::Stop { .. } => self.end(common, desk),
            Happening::Cancelled => self.left(common, desk, "cancelled by the caller"),
            Happening::AckMissing => self.left(common, desk, "the answer was not acknowledged"),
            Happening::PrackMissing => self.left(common, desk, NO_PRACK),
            Happening::Request { party: Party::Caller, transaction, request }
                if request.method == Method::Bye =>
            {
                headers::answer_bye(desk, transaction);
                if self.is_answered {
                    common.caller.dialog = None;
                    self.verdict.reason.push_str("; hung up by the caller");
                    return self.end(common, desk);
                }
                self.left(common, desk, "hung up by the caller")
            }
            Happening::Request { transaction, request, .. } => {
                headers::answer_in_dialog(desk, transaction, &request);
                State::Announcing(self)
            }
            _ => State::Announcing(self),
        }
    }

    fn opened(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        flow: FlowId,
        (rtp, rtcp): (std::net::SocketAddr, std::net::SocketAddr),
    ) -> State {
        let Stage::Leasing { seen, caller, .. } = &mut self.stage else {
            return State::Announcing(self);
        };
        if common.is_forward(flow) {
            let told = &desk.settings.told;
            *caller = Some(negotiate::ports(common.caller.external, told, rtp, rtcp));
        }
        seen.push(flow);
        let (2, Some(ports)) = (seen.len(), *caller) else { return State::Announcing(self) };
        let asked = match std::mem::replace(&mut self.stage, Stage::Saying) {
            Stage::Leasing { asked, .. } => asked,
            stage => {
                self.stage = stage;
                return State::Announcing(self);
            }
        };
        let transaction = self.transaction;
        self.arm(&asked, ports, None, common, desk).unwrap_or_else(|verdict| {
            desk.refuse(transaction, verdict.status, &verdict.reason);
            common.failed(desk, verdict.status.code(), &verdict.reason)
        })
    }

    /// The caller has where the voice comes from.
    fn tell(mut self: Box<Self>, common: &mut Common, desk: &mut Desk<'_>, body: Bytes) -> State {
        if common.caller.dialog.is_some() {
            self.is_answered = true;
            return self.say(common, desk);
        }
        if self.tones == AudioTones::OnAnsweredCalls {
            common.cdr.answer(desk.wall);
            common.caller.dialog =
                desk.respond(common, self.transaction, StatusCode::OK, Some(body));
            (self.stage, self.is_answered) = (Stage::Answered, true);
            return State::Announcing(self);
        }
        desk.respond(common, self.transaction, StatusCode::SESSION_PROGRESS, Some(body));
        self.say(common, desk)
    }

    fn say(mut self: Box<Self>, common: &mut Common, desk: &mut Desk<'_>) -> State {
        let name = PromptName::new(self.verdict.why.prompt());
        let pair = *common.pair();
        let said = name.is_some_and(|name| desk.media.play(&pair, false, name).is_ok());
        if !said {
            return self.end(common, desk);
        }
        self.stage = Stage::Saying;
        State::Announcing(self)
    }

    /// Everything was said: the true status, or the end of the answered call.
    fn end(self, common: &mut Common, desk: &mut Desk<'_>) -> State {
        let Verdict { status, reason, .. } = self.verdict;
        if self.is_answered {
            return common.hang_up_both(desk, status.code(), &reason);
        }
        let cause = format!("SIP;cause={};text=\"{}\"", status.code(), quotable(&reason));
        let extra = vec![(HeaderName::Reason, Bytes::from(cause))];
        desk.answer(self.transaction, status, extra, None);
        common.failed(desk, status.code(), &reason)
    }

    /// The caller did not want to hear it.
    fn left(self, common: &mut Common, desk: &mut Desk<'_>, why: &str) -> State {
        if self.is_answered {
            return common.hang_up_both(desk, self.verdict.status.code(), why);
        }
        let status = StatusCode::REQUEST_TERMINATED;
        desk.refuse(self.transaction, status, why);
        common.failed(desk, status.code(), why)
    }
}

/// Our answer to a caller who is to hear a voice, and what it agrees to; `None` where nothing can be
/// said.
pub fn answer(
    asked: &Asked,
    caller: Ports,
    direction: Direction,
    common: &Common,
    desk: &mut Desk<'_>,
) -> Option<(Bytes, Agreed)> {
    let (description, chosen) = asked.offer.as_ref()?;
    let spoken = spoken(chosen, direction)?;
    let (leg, origin) = (&common.caller, common.origin());
    negotiate::answer(description, chosen, &spoken, leg, caller, origin, desk.entropy).ok()
}

/// What the caller is to send and hear, as if the other side had chosen it: codecs that the data
/// plane speaks.
fn spoken(chosen: &Audio, direction: Direction) -> Option<Audio> {
    let speaks = |format: &sdp::Format| {
        matches!(format.codec(), Some(Codec::Pcma | Codec::Pcmu | Codec::G722))
    };
    let formats: Vec<_> = chosen.formats.iter().filter(|format| speaks(format)).cloned().collect();
    (!formats.is_empty()).then(|| Audio { formats, direction, ..chosen.clone() })
}

fn quotable(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii() && !c.is_control() && !"\"\\".contains(*c)).collect()
}

/// A prompt has at most 15 s, and whoever is to hear it must acknowledge before.
pub const LIMIT: Duration = Duration::from_secs(20);
