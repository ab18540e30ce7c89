//! Both dialogs are confirmed and media flows.

use abi::FlowId;
use sip::wire::Method;

use super::{Common, Desk, Happening, Party, State, headers};

/// Nothing but what was noticed about silence.
#[derive(Default)]
pub struct Talking {
    /// The direction that fell silent, and how many packets it had accepted by then.
    silent: Option<(FlowId, Option<u64>)>,
}

impl Talking {
    pub fn on(mut self, common: &mut Common, desk: &mut Desk<'_>, happening: Happening) -> State {
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
            Happening::Silent { flow } => match self.silent {
                Some((other, packets))
                    if other != flow && desk.media.packets(common.pair(), other) == packets =>
                {
                    common.hang_up_both(desk, 408, "no media in either direction")
                }
                _ => {
                    self.silent = Some((flow, desk.media.packets(common.pair(), flow)));
                    State::Talking(self)
                }
            },
            Happening::Refused { reason } => common.hang_up_both(desk, 503, &reason.to_string()),
            Happening::Stop { reason } => common.hang_up_both(desk, 503, reason),
            _ => State::Talking(self),
        }
    }
}
