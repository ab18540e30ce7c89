//! The callee answered; our 2xx to the caller waits for its ACK.

use sdp::{Audio, Description};
use sip::wire::{Method, Request};

use super::negotiate::{self, Offered, Ports};
use super::talking::Talking;
use super::{Common, Desk, Happening, Party, State, headers};

/// A delayed offer on its way: the callee offered, the caller has yet to answer.
pub struct Late {
    pub description: Description,
    pub audio: Audio,
    pub ours: Offered,
    /// The callee leg's ports.
    pub ports: Ports,
}

pub struct Answering {
    late: Option<Late>,
    /// The callee hung up; the caller's dialog may only be ended after its ACK (RFC 3261 §15).
    hung_up: bool,
}

impl Answering {
    pub fn start(late: Option<Late>, common: &mut Common, desk: &mut Desk<'_>) -> State {
        desk.clear_deadline(common);
        State::Answering(Box::new(Self { late, hung_up: false }))
    }

    pub fn on(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        happening: Happening,
    ) -> State {
        match happening {
            Happening::Ack { request } => self.acknowledged(common, desk, &request),
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

    fn acknowledged(mut self, common: &mut Common, desk: &mut Desk<'_>, ack: &Request) -> State {
        if let Some(late) = self.late.take()
            && let Err(reason) = complete(&late, common, desk, ack)
        {
            tracing::warn!(call = common.id(), reason, "the caller's answer is not usable");
            self.acknowledge_callee(common, desk);
            return common.hang_up_both(desk, 488, &reason);
        }
        if self.hung_up {
            return common.hang_up(desk, Party::Caller, Party::Callee, "hung up by the callee");
        }
        State::Talking(Talking::default())
    }

    /// A callee that waits for its ACK gets one, so that it stops repeating its answer.
    fn acknowledge_callee(&mut self, common: &Common, desk: &mut Desk<'_>) {
        if self.late.take().is_some()
            && let Some(dialog) = common.callee.dialog
        {
            desk.ack(dialog, None);
        }
    }
}

/// The caller's ACK answered our offer: answer the callee's, connect media.
fn complete(
    late: &Late,
    common: &mut Common,
    desk: &mut Desk<'_>,
    ack: &Request,
) -> Result<(), String> {
    let body = headers::sdp_of(&ack.headers, &ack.body).ok_or("the ACK carries no answer")?;
    let near =
        negotiate::accept(&late.ours, body, &common.caller.policy).map_err(|e| e.to_string())?;
    let (answer, far) = negotiate::answer(
        &late.description,
        &late.audio,
        &near.audio,
        &common.callee.policy,
        late.ports,
        common.origin(),
        desk.entropy,
    )
    .map_err(|e| e.to_string())?;
    common.connect(desk, &near, &far);
    if let Some(dialog) = common.callee.dialog {
        desk.ack(dialog, Some(answer));
    }
    Ok(())
}
