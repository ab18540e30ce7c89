//! What can be known to be wrong with an INVITE before anything is kept of it.

use bytes::Bytes;
use sip::wire::{HeaderName, Request, StatusCode};

use super::super::announcing::Why;
use super::super::{Desk, headers, negotiate, timers};
use crate::admission::{Bound, Full};
use crate::trunk::Trunk;
use crate::trunk::reliable;

/// What an INVITE offers, and the policy under which that was read.
pub type Offer = (Option<(sdp::Description, sdp::Audio)>, sdp::Policy);

/// Why an INVITE is refused before a call exists.
pub struct Refused {
    pub status: StatusCode,
    pub reason: String,
    pub extra: Vec<(HeaderName, Bytes)>,
    /// What a voice may tell the caller.
    pub why: Option<Why>,
}

impl Refused {
    pub fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), extra: Vec::new(), why: None }
    }

    pub fn told(self, why: Why) -> Self {
        Self { why: Some(why), ..self }
    }
}

/// The interval of the session timer that the INVITE asks for is long enough.
pub fn check_timer(caller: &Trunk, request: &Request) -> Result<(), Refused> {
    let Err(timers::TooSmall(least)) = timers::answer(&request.headers, &caller.timer) else {
        return Ok(());
    };
    let status = StatusCode::SESSION_INTERVAL_TOO_SMALL;
    let mut refused = Refused::new(status, "Session-Expires is too small");
    refused.extra.push((HeaderName::MinSe, least.to_string().into()));
    Err(refused)
}

/// What the INVITE offers, and under which of its trunk's policies; `None` for a delayed offer.
pub fn read_offer(caller: &Trunk, request: &Request) -> Result<Offer, Refused> {
    let mut policies = caller.policies();
    match headers::sdp_of(&request.headers, &request.body) {
        Some(body) => {
            let read = negotiate::read_any(body, policies).map_err(|reject| {
                let mut refused = Refused::new(reject.status(), reject.to_string());
                refused.extra.push(headers::warning(&reject));
                refused
            });
            let (description, audio, policy) = read?;
            Ok((Some((description, audio)), policy))
        }
        None if request.body.is_empty() => Ok((None, policies.swap_remove(0))),
        None => {
            let mut refused = Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "body is not SDP");
            refused.extra.push((HeaderName::Accept, headers::SDP.into()));
            Err(refused)
        }
    }
}

/// What the INVITE demands of us, and what its trunk demands of it.
pub fn check_extensions(caller: &Trunk, request: &Request) -> Result<(), Refused> {
    if let Some(demanded) = headers::unsupported(request, caller) {
        let mut refused = Refused::new(StatusCode::BAD_EXTENSION, "Require asks for an extension");
        refused.extra.push((HeaderName::Unsupported, demanded));
        return Err(refused);
    }
    if !headers::takes_sdp(&request.headers) {
        let reason = "Accept leaves no session description";
        return Err(Refused::new(StatusCode::NOT_ACCEPTABLE, reason));
    }
    if caller.reliability.is_missing(&request.headers) {
        let reason = "the trunk requires 100rel, and its INVITE does not know it";
        let mut refused = Refused::new(StatusCode::EXTENSION_REQUIRED, reason);
        refused.extra.push((HeaderName::Require, reliable::TAG.into()));
        return Err(refused);
    }
    Ok(())
}

pub fn check_capacity(desk: &Desk<'_>, trunk: &Trunk, bound: Bound) -> Result<(), Refused> {
    if desk.health.is_draining(trunk.id) {
        let reason = format!("trunk \"{}\" takes no new calls: it is draining", trunk.name);
        return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, reason).told(Why::Closing));
    }
    desk.admission.check(desk.now, trunk, bound).map_err(|full| at_capacity(trunk, full))
}

pub fn at_capacity(trunk: &Trunk, full: Full) -> Refused {
    let reason = format!("trunk \"{}\" has {full}", trunk.name);
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, reason).told(Why::LimitReached)
}
