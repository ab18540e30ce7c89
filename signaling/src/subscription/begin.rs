//! The first SUBSCRIBE: who may, and whom it reaches.

use bytes::Bytes;
use sip::endpoint::{Hop, ServerId};
use sip::wire::{HeaderName, Method, Request, StatusCode};

use super::package::NAMES;
use super::{
    EXPIRES_DEFAULT, EXPIRES_MAX, Package, SUBSCRIPTIONS_MAX, Subscription, Subscriptions, Waiting,
    What,
};
use crate::call::{Calls, Desk, Settings, headers, plan};
use crate::cdr::Record;
use crate::route::{Query, entry};
use crate::trunk::{Trunk, TrunkId};

/// Why there will be no subscription.
pub struct Refused {
    status: StatusCode,
    reason: &'static str,
    extra: Vec<(HeaderName, Bytes)>,
}

impl Refused {
    fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason, extra: Settings::pause(status).into_iter().collect() }
    }
}

impl Subscriptions {
    /// A SUBSCRIBE outside of dialogs, of an attributed trunk. It is answered when the other side is
    /// known to take it.
    pub fn ask(
        &mut self,
        desk: &mut Desk<'_>,
        calls: &mut Calls,
        (from, hop): (TrunkId, Hop),
        transaction: ServerId,
        request: &Request,
    ) {
        if let Err(refused) = self.begin(desk, calls, (from, hop), transaction, request) {
            let Refused { status, reason, extra } = refused;
            tracing::info!(trunk = %from, status = status.code(), reason, "SUBSCRIBE refused");
            desk.answer(transaction, status, extra, None);
        }
    }

    fn begin(
        &mut self,
        desk: &mut Desk<'_>,
        calls: &mut Calls,
        (from, hop): (TrunkId, Hop),
        transaction: ServerId,
        request: &Request,
    ) -> Result<(), Refused> {
        let trunks = desk.trunks;
        let gone = || Refused::new(StatusCode::FORBIDDEN, "the trunk is gone");
        let trunk = trunks.get(from).ok_or_else(gone)?;
        let (package, id) = allowed(trunk, request)?;
        if let Some(demanded) = headers::unsupported(request, trunk) {
            let refused = Refused::new(StatusCode::BAD_EXTENSION, "Require asks for an extension");
            return Err(Refused { extra: vec![(HeaderName::Unsupported, demanded)], ..refused });
        }
        if desk.health.is_draining(from) {
            return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the trunk is draining"));
        }
        if self.of_trunk.get(&from).is_some_and(|count| *count >= SUBSCRIPTIONS_MAX) {
            let reason = "the trunk has all its subscriptions (SUBSCRIPTIONS_MAX)";
            return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, reason));
        }
        let seconds = seconds(request)?;
        calls.challenge(desk, trunk, hop, request).map_err(|(status, extra)| Refused {
            status,
            reason: "incoming_call_policy is challenge",
            extra,
        })?;
        let (sent, to) = send(desk, trunk, request, package, seconds)?;
        self.last += 1;
        let subscription = self.last;
        let trunks = [from, to];
        let (subscriber, notifier, end, under_way) = (None, None, None, vec![sent]);
        let one = Subscription { trunks, package, id, subscriber, notifier, end, under_way };
        self.live.insert(subscription, one);
        *self.of_trunk.entry(from).or_default() += 1;
        let asker = Some(transaction);
        let what = What::First(seconds);
        self.waiting.insert(sent, Waiting { subscription, asker, what, tries: 0 });
        Ok(())
    }
}

/// The package that is asked for, where the trunk may ask for one.
fn allowed(trunk: &Trunk, request: &Request) -> Result<(Package, Option<Bytes>), Refused> {
    let refused = |reason, events: &'static str| {
        let events = (HeaderName::AllowEvents, Bytes::from_static(events.as_bytes()));
        let extra = vec![headers::allow(trunk.manner.update, trunk.manner.refer), events];
        Refused { status: StatusCode::BAD_EVENT, reason, extra }
    };
    if !trunk.manner.subscriptions {
        return Err(refused("create_subscriptions is DENY", ""));
    }
    Package::of(&request.headers).ok_or_else(|| refused("the event package is not relayed", NAMES))
}

/// How long it is to be.
pub(super) fn seconds(request: &Request) -> Result<u32, Refused> {
    let unreadable = |_| Refused::new(StatusCode::BAD_REQUEST, "Expires cannot be read");
    let asked = request.headers.expires().map_err(unreadable)?;
    Ok(asked.unwrap_or(EXPIRES_DEFAULT).min(EXPIRES_MAX))
}

/// Sends it on, routed as a call to the same number is; the request and whose trunk it went to.
fn send(
    desk: &mut Desk<'_>,
    trunk: &Trunk,
    asked: &Request,
    package: Package,
    seconds: u32,
) -> Result<(sip::endpoint::ClientId, TrunkId), Refused> {
    let unknown = || Refused::new(StatusCode::NOT_FOUND, "no route for the number");
    let called = headers::called_number(&asked.uri).ok_or_else(unknown)?;
    let read = trunk.numbering.called_in(&called);
    entry::admit(trunk, &called, &read).map_err(|entry| {
        let status = StatusCode::new(entry.code).unwrap_or(StatusCode::FORBIDDEN);
        Refused::new(status, entry.reason)
    })?;
    let who = headers::asker(asked, trunk);
    let number = who.number();
    let query = Query { from: trunk.id, called: &read, caller: &number, at: desk.wall };
    let decision = desk.routes.decide(&query).map_err(|_| unknown())?;
    let nobody = || Refused::new(StatusCode::SERVICE_UNAVAILABLE, "nobody can be asked");
    // A plan speaks to a CDR; a subscription has none.
    let mut record = Record::start(desk.wall, desk.entropy);
    let mut hunt = plan::plan(desk, &decision, &mut record).map_err(|_| nobody())?;
    let target = hunt.next(desk.now).ok_or_else(nobody)?;
    let trunks = desk.trunks;
    let far = trunks.get(target.trunk).ok_or_else(nobody)?;
    let called = far.numbering.called_out(&hunt.called);
    let sent = headers::outside(desk, far, Method::Subscribe, &called, &who, asked);
    let mut request = sent.map_err(|refusal| Refused::new(refusal.status, refusal.reason))?;
    request.headers.push(HeaderName::Event, package.name());
    request.headers.push(HeaderName::Accept, package.content_type());
    request.headers.push(HeaderName::Expires, seconds.to_string());
    desk.prove_beforehand(far.id, &mut request);
    let client = desk.endpoint.request(desk.now, target.hop, request).map_err(|_| nobody())?;
    Ok((client, far.id))
}
