//! The callee answered; our 2xx to the caller waits for its ACK.

use bytes::Bytes;
use sdp::{Audio, Description};
use sip::wire::{Method, Request};

use super::inviting::NO_PRACK;
use super::negotiate::{self, Agreed, Offered, Ports};
use super::talking::Talking;
use super::{Common, Desk, Happening, Party, State, headers};

/// A delayed offer on its way: ours to the caller, who has yet to answer.
pub struct Late {
    pub ours: Offered,
    pub callee: Callee,
}

/// What the callee's 2xx said.
pub enum Callee {
    /// It offered; `ports` are those of its leg.
    Offered { description: Description, audio: Audio, ports: Ports },
    /// It answered an offer of ours (`offer_mode`).
    Answered(Box<Agreed>),
}

/// The caller answered too; the callee gets its ACK, with the answer if it offered, when the data plane
/// has armed both flows.
struct Arming {
    answer: Option<Bytes>,
    serial: u64,
}

pub struct Answering {
    late: Option<Late>,
    arming: Option<Arming>,
    /// The callee hung up; the caller's dialog may only be ended after its ACK (RFC 3261 §15).
    hung_up: bool,
}

impl Answering {
    pub fn start(late: Option<Late>, common: &mut Common, desk: &mut Desk<'_>) -> State {
        desk.clear_deadline(common);
        if common.caller.dialog.is_none() {
            return common.hang_up_both(desk, 500, "the answer could not be sent");
        }
        State::Answering(Box::new(Self { late, arming: None, hung_up: false }))
    }

    pub fn on(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        happening: Happening,
    ) -> State {
        match happening {
            Happening::Ack { party: Party::Caller, request } => {
                self.acknowledged(common, desk, &request)
            }
            Happening::Connected { flow, serial } => {
                let armed = |arming: &mut Arming| common.is_armed(flow, serial, arming.serial);
                match self.arming.take_if(armed) {
                    Some(arming) => {
                        desk.clear_deadline(common);
                        acknowledge(common, desk, arming.answer);
                        self.talk(common, desk)
                    }
                    None => State::Answering(self),
                }
            }
            Happening::Deadline => {
                self.acknowledge_callee(common, desk);
                common.hang_up_both(desk, 503, "the data plane did not answer")
            }
            Happening::PrackMissing => {
                self.acknowledge_callee(common, desk);
                common.hang_up_both(desk, 504, NO_PRACK)
            }
            Happening::AckMissing => {
                self.acknowledge_callee(common, desk);
                common.hang_up_both(desk, 408, "the caller never acknowledged the answer")
            }
            Happening::Request { party, transaction, request } if request.method == Method::Bye => {
                headers::answer_bye(desk, transaction);
                match party {
                    Party::Caller => {
                        self.acknowledge_callee(common, desk);
                        common.hang_up(desk, Party::Callee, Party::Caller, "hung up by the caller")
                    }
                    Party::Callee => {
                        self.hung_up = true;
                        State::Answering(self)
                    }
                }
            }
            Happening::Request { transaction, request, .. } => {
                headers::answer_in_dialog(desk, transaction, &request);
                State::Answering(self)
            }
            Happening::Silent { flow } => {
                common.fell_silent(desk, flow);
                State::Answering(self)
            }
            Happening::Refused { reason } => {
                self.acknowledge_callee(common, desk);
                common.hang_up_both(desk, 503, &reason.to_string())
            }
            Happening::Stop { reason } => {
                self.acknowledge_callee(common, desk);
                common.hang_up_both(desk, 503, reason)
            }
            _ => State::Answering(self),
        }
    }

    fn acknowledged(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        ack: &Request,
    ) -> State {
        let Some(late) = &self.late else { return self.talk(common, desk) };
        match complete(late, common, desk, ack) {
            Ok(arming) => {
                self.arming = Some(arming);
                desk.set_deadline(common, desk.settings.lease_limit);
                State::Answering(self)
            }
            Err(reason) => {
                tracing::warn!(call = common.id(), reason, "the caller's answer is not usable");
                self.acknowledge_callee(common, desk);
                common.hang_up_both(desk, 488, &reason)
            }
        }
    }

    fn talk(self, common: &mut Common, desk: &mut Desk<'_>) -> State {
        if self.hung_up {
            return common.hang_up(desk, Party::Caller, Party::Callee, "hung up by the callee");
        }
        Talking::start(common, desk)
    }

    /// A callee that waits for its ACK gets one, so that it stops repeating its answer.
    fn acknowledge_callee(&mut self, common: &Common, desk: &mut Desk<'_>) {
        if self.late.take().is_some() {
            acknowledge(common, desk, None);
        }
    }
}

fn acknowledge(common: &Common, desk: &mut Desk<'_>, answer: Option<Bytes>) {
    if let Some(dialog) = common.callee.dialog {
        desk.ack(dialog, answer);
    }
}

/// The caller's ACK answered our offer: connects media, and makes the answer to the callee's, if it
/// offered.
fn complete(
    late: &Late,
    common: &mut Common,
    desk: &mut Desk<'_>,
    ack: &Request,
) -> Result<Arming, String> {
    let body = headers::sdp_of(&ack.headers, &ack.body).ok_or("the ACK carries no answer")?;
    let near = negotiate::accept(&late.ours, body, &common.caller).map_err(|e| e.to_string())?;
    let (answer, far) = match &late.callee {
        Callee::Offered { description, audio, ports } => negotiate::answer(
            description,
            audio,
            &near.audio,
            &common.callee,
            *ports,
            common.origin(),
            desk.entropy,
        )
        .map(|(answer, far)| (Some(answer), far))
        .map_err(|e| e.to_string())?,
        Callee::Answered(far) => (None, far.as_ref().clone()),
    };
    let serial = common.connect(desk, &near, &far).map_err(|e| e.to_string())?;
    Ok(Arming { answer, serial })
}
