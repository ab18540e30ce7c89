//! Who asked for a change of a running call, and how it is answered.

use bytes::Bytes;
use sip::endpoint::ServerId;
use sip::wire::{HeaderName, Request, StatusCode};

use super::changing::Outcome;
use super::negotiate::Unusable;
use super::{Common, Desk, Party, headers, timers};

/// Who asked for a change, and is to be answered.
#[derive(Clone, Copy)]
pub struct Asker {
    pub party: Party,
    pub(super) transaction: ServerId,
    /// What its session timer becomes.
    pub timer: Option<timers::Agreed>,
}

impl Asker {
    /// Whoever sent `request`, with what becomes of its session timer; `None` when the timer that it
    /// wants is too short, which it was told.
    pub fn of(
        common: &Common,
        desk: &mut Desk<'_>,
        party: Party,
        transaction: ServerId,
        request: &Request,
    ) -> Option<Self> {
        let trunk = desk.trunks.get(common.leg(party).trunk);
        let rules = trunk.map(|trunk| trunk.timer).unwrap_or_default();
        match timers::answer(&request.headers, &rules) {
            Ok(timer) => Some(Self { party, transaction, timer }),
            Err(timers::TooSmall(least)) => {
                let least = (HeaderName::MinSe, Bytes::from(least.to_string()));
                let status = StatusCode::SESSION_INTERVAL_TOO_SMALL;
                desk.answer(transaction, status, vec![least], None);
                None
            }
        }
    }

    pub fn accept(self, common: &Common, desk: &mut Desk<'_>, body: Option<Bytes>) {
        let mut extra = headers::capabilities(common.leg(self.party));
        extra.extend(timers::answer_headers(self.timer));
        let body = body.map(|body| (headers::SDP, body));
        desk.answer(self.transaction, StatusCode::OK, extra, body);
    }

    /// What stands goes on (RFC 3261 §14.2).
    pub fn reject(self, common: &Common, desk: &mut Desk<'_>, reject: &Unusable) -> Outcome {
        tracing::info!(call = common.id(), %reject, "a change of a running call is refused");
        desk.answer(self.transaction, reject.status(), vec![headers::warning(reject)], None);
        Outcome::Done(None)
    }

    /// Something else runs: to be tried again.
    pub fn wait(self, desk: &mut Desk<'_>) -> Outcome {
        desk.answer(self.transaction, StatusCode::REQUEST_PENDING, Vec::new(), None);
        Outcome::Done(None)
    }
}
