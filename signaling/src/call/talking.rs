//! Both dialogs are confirmed and media flows.

use sip::wire::Method;

use super::{Common, Desk, Happening, Party, State, headers};

/// Nothing: all that a conversation needs is in [`Common`].
pub struct Talking;

impl Talking {
    /// Silence while the callee rang is no reason to end a call that has just been answered; if it
    /// lasts, the data plane does not tell it again.
    pub fn start(common: &mut Common, desk: &mut Desk<'_>) -> State {
        if let Some(patience) = common.patience().filter(|_| common.is_silent(desk)) {
            desk.set_deadline(common, patience);
        }
        State::Talking(Self)
    }

    pub fn on(self, common: &mut Common, desk: &mut Desk<'_>, happening: Happening) -> State {
        match happening {
            Happening::Request { party, transaction, request } if request.method == Method::Bye => {
                headers::answer_bye(desk, transaction);
                let reason = match party {
                    Party::Caller => "hung up by the caller",
                    Party::Callee => "hung up by the callee",
                };
                common.hang_up(desk, party.other(), party, reason)
            }
            Happening::Request { transaction, request, .. } => {
                headers::answer_in_dialog(desk, transaction, &request);
                State::Talking(self)
            }
            // One silent direction may be a muted phone; two are a dead call.
            Happening::Silent { flow } => {
                common.fell_silent(desk, flow);
                self.unless_silent(common, desk)
            }
            Happening::Deadline => self.unless_silent(common, desk),
            Happening::Refused { reason } => common.hang_up_both(desk, 503, &reason.to_string()),
            Happening::Stop { reason } => common.hang_up_both(desk, 503, reason),
            _ => State::Talking(self),
        }
    }

    fn unless_silent(self, common: &mut Common, desk: &mut Desk<'_>) -> State {
        if common.is_silent(desk) {
            return common.hang_up_both(desk, 408, "no media in either direction");
        }
        State::Talking(self)
    }
}
