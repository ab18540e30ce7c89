//! The end of a call: late answers of a cancelled callee, BYEs, closing flows, the CDR.

use sip::endpoint::ClientId;
use sip::wire::Method;

use super::{Common, Desk, Happening, State, headers};

/// The callee's INVITE is cancelled; a 2xx that crossed the CANCEL is acknowledged and ended.
pub struct Cancelling {
    client: ClientId,
}

impl Cancelling {
    pub fn start(client: ClientId, common: &mut Common, desk: &mut Desk<'_>) -> State {
        desk.cancel(client);
        common.cdr.end(desk.wall);
        common.release(desk);
        desk.set_deadline(common, desk.settings.ending_limit);
        State::Cancelling(Self { client })
    }

    pub fn on(self, common: &mut Common, desk: &mut Desk<'_>, happening: Happening) -> State {
        match happening {
            Happening::Response { client, dialog, response, .. } if client == self.client => {
                if response.status.is_provisional() {
                    return State::Cancelling(self);
                }
                let mut byes = Vec::new();
                if let (true, Some(dialog)) = (response.status.is_success(), dialog) {
                    common.callee.dialog = Some(dialog);
                    desk.ack(dialog, None);
                    byes.extend(desk.bye(common, dialog));
                }
                Ending::start(byes, common, desk)
            }
            Happening::Failed { client, .. } if client == self.client => {
                Ending::start(Vec::new(), common, desk)
            }
            Happening::Deadline => Ending::start(Vec::new(), common, desk),
            Happening::Closed { flow, packets, bytes } => {
                common.closed(flow, packets, bytes);
                State::Cancelling(self)
            }
            Happening::Request { transaction, request, .. } => {
                headers::answer_in_dialog(desk, transaction, &request);
                State::Cancelling(self)
            }
            _ => State::Cancelling(self),
        }
    }
}

/// BYEs are out and flows are closing; when both are done the call is over.
pub struct Ending {
    byes: Vec<ClientId>,
}

impl Ending {
    pub fn start(byes: Vec<ClientId>, common: &mut Common, desk: &mut Desk<'_>) -> State {
        common.release(desk);
        desk.set_deadline(common, desk.settings.ending_limit);
        Self { byes }.next(common, desk)
    }

    pub fn on(mut self, common: &mut Common, desk: &mut Desk<'_>, happening: Happening) -> State {
        match happening {
            Happening::Response { client, dialog, response, .. } if response.status.is_final() => {
                let is_bye = self.byes.contains(&client);
                self.byes.retain(|bye| *bye != client);
                // A change of the call was agreed to when the call was over.
                if let Some(dialog) = dialog.filter(|_| !is_bye && response.status.is_success()) {
                    desk.ack(dialog, None);
                }
            }
            Happening::Failed { client, .. } => self.byes.retain(|bye| *bye != client),
            Happening::Closed { flow, packets, bytes } => common.closed(flow, packets, bytes),
            // The peers crossed their BYEs: ours will get its 481 or 200.
            Happening::Request { transaction, request, .. } if request.method == Method::Bye => {
                headers::answer_bye(desk, transaction);
            }
            Happening::Request { transaction, request, .. } => {
                headers::answer_in_dialog(desk, transaction, &request);
            }
            Happening::Deadline => {
                self.byes.clear();
                common.forget_flows();
            }
            _ => {}
        }
        self.next(common, desk)
    }

    fn next(self, common: &mut Common, desk: &mut Desk<'_>) -> State {
        if self.byes.is_empty() && common.flows_closed() {
            common.finish(desk);
            return State::Over;
        }
        State::Ending(self)
    }
}
