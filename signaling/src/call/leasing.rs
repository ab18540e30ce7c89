//! The caller's INVITE waits for the ports of both legs.

use sdp::{Audio, Description, Policy};
use sip::endpoint::ServerId;
use sip::wire::{Request, StatusCode};

use super::greeting::Greeting;
use super::hunt::{Hunt, Target};
use super::hunting::Hunting;
use super::identity::Caller;
use super::negotiate::{self, Ports};
use super::{Common, Desk, Happening, State};

/// What the caller asked, checked, before the callee is asked.
pub struct Asked {
    pub transaction: ServerId,
    pub invite: Request,
    /// The caller's offer; `None` for a delayed offer (RFC 3261 §13.2.1).
    pub offer: Option<(Description, Audio)>,
    /// What is known of its media all the same: it talks already.
    pub known: Option<Audio>,
    pub who: Caller,
    /// What was read under this one of the trunk's policies holds for the call.
    pub policy: Policy,
}

pub struct Leasing {
    asked: Asked,
    hunt: Hunt,
    /// Who is asked first.
    target: Target,
    caller: Option<Ports>,
    callee: Option<Ports>,
}

impl Leasing {
    pub fn start(asked: Asked, hunt: Hunt, target: Target) -> State {
        State::Leasing(Box::new(Self { asked, hunt, target, caller: None, callee: None }))
    }

    pub fn on(
        mut self: Box<Self>,
        common: &mut Common,
        desk: &mut Desk<'_>,
        happening: Happening,
    ) -> State {
        match happening {
            Happening::Opened { flow, rtp, rtcp } => {
                let is_caller = common.is_forward(flow);
                let leg = if is_caller { &common.caller } else { &common.callee };
                let ports = negotiate::ports(leg.external, &desk.settings.told, rtp, rtcp);
                if is_caller {
                    self.caller = Some(ports);
                } else {
                    self.callee = Some(ports);
                }
                match (self.caller, self.callee) {
                    (Some(caller), Some(callee)) => {
                        let Self { asked, hunt, target, .. } = *self;
                        let (near, given, keys) = (None, None, Vec::new());
                        let hunting = Hunting { asked, hunt, caller, callee, near, given, keys };
                        Greeting::start(hunting, target, common, desk)
                    }
                    _ => State::Leasing(self),
                }
            }
            Happening::Refused { reason } => {
                tracing::warn!(call = common.id(), %reason, "no ports for a call; refused with 503");
                self.refuse(common, desk, StatusCode::SERVICE_UNAVAILABLE, &reason.to_string())
            }
            Happening::Cancelled => {
                self.refuse(common, desk, StatusCode::REQUEST_TERMINATED, "cancelled by the caller")
            }
            Happening::Stop { reason } => {
                self.refuse(common, desk, StatusCode::SERVICE_UNAVAILABLE, reason)
            }
            Happening::Deadline => {
                let reason = "the data plane did not answer";
                self.refuse(common, desk, StatusCode::SERVICE_UNAVAILABLE, reason)
            }
            _ => State::Leasing(self),
        }
    }

    fn refuse(
        self,
        common: &mut Common,
        desk: &mut Desk<'_>,
        status: StatusCode,
        reason: &str,
    ) -> State {
        desk.refuse(self.asked.transaction, status, reason);
        common.failed(desk, status.code(), reason)
    }
}
