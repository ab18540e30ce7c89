//! The callee answered, and the data plane is being told: the caller gets its answer, and the callee
//! its ACK, only when both flows are armed. Who then sends at once loses no packet.

use sip::endpoint::ServerId;
use sip::wire::{Method, StatusCode};

use super::answering::Answering;
use super::inviting::{NO_PRACK, PickUp, Told};
use super::talking::Talking;
use super::{Common, Desk, Happening, Party, State, headers};

pub struct Connecting {
    transaction: ServerId,
    told: Told,
    /// Who has the callee's place without having been asked.
    picked_up: Option<PickUp>,
}

impl Connecting {
    /// Waits for the data plane.
    pub fn start(
        transaction: ServerId,
        told: Told,
        picked_up: Option<PickUp>,
        common: &mut Common,
        desk: &mut Desk<'_>,
    ) -> State {
        let this = Self { transaction, told, picked_up };
        if common.is_bypassed {
            return this.answer(common, desk);
        }
        desk.set_deadline(common, desk.settings.lease_limit);
        State::Connecting(Box::new(this))
    }

    pub fn on(
        self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        happening: Happening,
    ) -> State {
        match happening {
            Happening::Connected { flow, serial }
                if common.is_armed(flow, serial, self.told.serial) =>
            {
                self.answer(common, desk)
            }
            Happening::Refused { reason } => {
                self.give_up(common, desk, StatusCode::SERVICE_UNAVAILABLE, &reason.to_string())
            }
            Happening::Stop { reason } => {
                self.give_up(common, desk, StatusCode::SERVICE_UNAVAILABLE, reason)
            }
            Happening::Deadline => {
                let reason = "the data plane did not answer";
                self.give_up(common, desk, StatusCode::SERVICE_UNAVAILABLE, reason)
            }
            Happening::PrackMissing => {
                self.give_up(common, desk, StatusCode::SERVER_TIMEOUT, NO_PRACK)
            }
            Happening::Cancelled => {
                let status = StatusCode::REQUEST_TERMINATED;
                self.give_up(common, desk, status, "cancelled by the caller")
            }
            Happening::Request { party, transaction, request } if request.method == Method::Bye => {
                headers::answer_bye(desk, transaction);
                match party {
                    Party::Caller => {
                        common.caller_left();
                        let status = StatusCode::REQUEST_TERMINATED;
                        self.give_up(common, desk, status, "hung up by the caller")
                    }
                    Party::Callee => {
                        if let Some(dialog) = common.callee.dialog.take() {
                            desk.ack(dialog, None);
                        }
                        let status = StatusCode::TEMPORARILY_UNAVAILABLE;
                        self.give_up(common, desk, status, "hung up by the callee")
                    }
                }
            }
            Happening::Request { transaction, request, .. } => {
                headers::answer_in_dialog(desk, transaction, &request);
                State::Connecting(self)
            }
            Happening::Silent { flow } => {
                common.fell_silent(desk, flow);
                State::Connecting(self)
            }
            _ => State::Connecting(self),
        }
    }

    fn answer(self, common: &mut Common, desk: &mut Desk<'_>) -> State {
        match (self.picked_up, common.callee.dialog) {
            (Some(by), _) => by.answer(common, desk),
            (None, Some(dialog)) => desk.ack(dialog, None),
            (None, None) => {}
        }
        // Whoever was greeted by an answered call has its answer already.
        if common.caller.dialog.is_some() {
            desk.cdrs.note(&common.cdr);
            return Talking::start(common, desk);
        }
        let body = Some(self.told.body);
        common.cdr.answer(desk.wall);
        desk.cdrs.note(&common.cdr);
        common.caller.dialog = desk.respond(common, self.transaction, StatusCode::OK, body);
        Answering::start(None, common, desk)
    }

    fn give_up(
        self,
        common: &mut Common,
        desk: &mut Desk<'_>,
        status: StatusCode,
        reason: &str,
    ) -> State {
        match (self.picked_up, common.callee.dialog) {
            (Some(by), _) => by.refuse(common, desk),
            (None, Some(dialog)) => desk.ack(dialog, None),
            (None, None) => {}
        }
        desk.refuse(self.transaction, status, reason);
        common.failed(desk, status.code(), reason)
    }
}
