//! Both dialogs are confirmed and media flows.

use sip::wire::Method;

use super::{Common, Desk, Happening, Party, State, headers};

/// Nothing: all that a conversation needs is in [`Common`].
pub struct Talking;

impl Talking {
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
                if common.both_silent(desk, flow) {
                    return common.hang_up_both(desk, 408, "no media in either direction");
                }
                State::Talking(self)
            }
            Happening::Refused { reason } => common.hang_up_both(desk, 503, &reason.to_string()),
            Happening::Stop { reason } => common.hang_up_both(desk, 503, reason),
            _ => State::Talking(self),
        }
    }
}
