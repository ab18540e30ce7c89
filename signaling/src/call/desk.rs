//! What a call may do to the world.

use std::collections::BTreeSet;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use sip::endpoint::{ClientId, DialogId, Endpoint, Hop, Misuse, ServerId};
use sip::wire::{HeaderName, Method, Request, Response, StatusCode};

use super::common::Party;
use super::table::Index;
use super::{Common, Happening, State, headers, timers};
use crate::admission::{Admission, Bound};
use crate::cdr::{Record, Writer};
use crate::feed::{CallNews, Feed, LiveCall, News, Step};
use crate::group::Groups;
use crate::locate::Memory;
use crate::media::{Media, Token};
use crate::route::Routes;
use crate::trunk::tally::Tallies;
use crate::trunk::{Health, TrunkId, TrunkTable};

/// What holds for all calls.
pub struct Settings {
    /// Addresses that ports are bound to, where session descriptions tell another one, with that.
    pub told: Vec<(IpAddr, IpAddr)>,
    /// Host in From and Contact.
    pub host: String,
    /// How long the end of a call may take: Timer F of its BYEs and a margin.
    pub ending_limit: Duration,
    /// How long the data plane may take to lease ports.
    pub lease_limit: Duration,
}

impl Settings {
    pub const ENDING_LIMIT: Duration = Duration::from_secs(35);
    pub const LEASE_LIMIT: Duration = Duration::from_secs(2);

    /// When to ask again whom we refuse with 503, in seconds.
    pub fn pause(status: StatusCode) -> Option<(HeaderName, Bytes)> {
        let is_full = status == StatusCode::SERVICE_UNAVAILABLE;
        is_full.then(|| (HeaderName::RetryAfter, Bytes::from_static(b"5")))
    }
}

/// The world as a call sees it, for one happening.
pub struct Desk<'a> {
    pub now: Instant,
    pub wall: Timestamp,
    pub endpoint: &'a mut Endpoint,
    pub media: &'a mut Media,
    pub trunks: &'a TrunkTable,
    pub routes: &'a Routes,
    pub groups: &'a Groups,
    pub settings: &'a Settings,
    pub cdrs: &'a Writer,
    pub entropy: &'a mut dyn FnMut(&mut [u8]),
    pub index: &'a mut Index,
    /// Which addresses failed lately, and routes of registrars.
    pub memory: &'a mut Memory,
    /// Slots of trunks.
    pub admission: &'a mut Admission,
    /// Who can be called.
    pub health: &'a mut Health,
    /// What became of attempts.
    pub tallies: &'a mut Tallies,
    /// Who wants to know.
    pub feed: &'a Feed,
}

impl Desk<'_> {
    /// Answers a request with a final refusal.
    pub fn refuse(&mut self, transaction: ServerId, status: StatusCode, reason: &str) {
        let extra = Settings::pause(status).into_iter().collect();
        tracing::debug!(status = status.code(), reason, "refusing");
        self.answer(transaction, status, extra, None);
    }

    /// Answers an INVITE of a trunk with a final refusal; its record says why.
    pub fn turn_away(
        &mut self,
        trunk: TrunkId,
        transaction: ServerId,
        (status, extra): (StatusCode, Vec<(HeaderName, Bytes)>),
        reason: &str,
        mut cdr: Record,
    ) {
        self.answer(transaction, status, extra, None);
        cdr.fail(status.code(), reason);
        self.write(&mut cdr);
        self.tallies.count(trunk, Bound::In, self.wall, &cdr.outcome());
        self.tell(State::Over.name(), [Some(trunk), None], &cdr);
    }

    /// Answers a request; `None` when the transaction is gone or no dialog came of it.
    pub fn answer(
        &mut self,
        transaction: ServerId,
        status: StatusCode,
        extra: Vec<(HeaderName, Bytes)>,
        body: Option<(&str, Bytes)>,
    ) -> Option<DialogId> {
        came_of(status, self.endpoint.respond(self.now, transaction, status, extra, body))
    }

    /// Answers an INVITE provisionally so that its caller must acknowledge it (RFC 3262).
    fn answer_reliably(
        &mut self,
        transaction: ServerId,
        status: StatusCode,
        extra: Vec<(HeaderName, Bytes)>,
        body: Option<(&str, Bytes)>,
    ) -> Option<DialogId> {
        let sent = self.endpoint.respond_reliably(self.now, transaction, status, extra, body);
        came_of(status, sent)
    }

    /// Answers the caller's INVITE, with a session description or without.
    pub fn respond(
        &mut self,
        common: &mut Common,
        transaction: ServerId,
        status: StatusCode,
        body: Option<Bytes>,
    ) -> Option<DialogId> {
        let mut extra = headers::capabilities(&common.caller);
        if status.is_success() {
            extra.extend(timers::answer_headers(common.caller.timer));
        }
        let reliable = status.is_provisional() && common.caller.acknowledged.covers(body.is_some());
        let body = body.map(|b| (headers::SDP, b));
        let dialog = if reliable {
            self.answer_reliably(transaction, status, extra, body)?
        } else {
            self.answer(transaction, status, extra, body)?
        };
        self.own_dialog(common, dialog, Party::Caller);
        Some(dialog)
    }

    /// Sends an out-of-dialog request of this call.
    pub fn request(
        &mut self,
        common: &mut Common,
        hop: Hop,
        mut request: Request,
    ) -> Result<ClientId, Misuse> {
        self.prove_beforehand(common.callee.trunk, &mut request);
        let client = self.endpoint.request(self.now, hop, request)?;
        self.own_client(common, client);
        Ok(client)
    }

    /// Asks the callee again, for the interval of the session timer that its 422 names.
    pub fn ask_longer(
        &mut self,
        common: &mut Common,
        client: ClientId,
        refusal: &Response,
    ) -> Option<ClientId> {
        let extra = timers::retry_headers(&refusal.headers)?;
        let client = self.endpoint.reissue(self.now, client, extra).ok()?;
        self.own_client(common, client);
        Some(client)
    }

    /// Sends an INVITE inside of a side's dialog; `None` when one runs there already.
    pub fn reinvite(
        &mut self,
        common: &mut Common,
        party: Party,
        extra: Vec<(HeaderName, Bytes)>,
        offer: Bytes,
    ) -> Option<ClientId> {
        let leg = common.leg(party);
        let allow = headers::allow(leg.takes_update, leg.refer);
        let extra = extra.into_iter().chain([allow]).collect();
        self.ask_inside(common, party, Method::Invite, extra, Some((headers::SDP, offer)))
    }

    /// Sends an UPDATE without an offer inside of a side's dialog.
    pub fn update(
        &mut self,
        common: &mut Common,
        party: Party,
        extra: Vec<(HeaderName, Bytes)>,
    ) -> Option<ClientId> {
        self.ask_inside(common, party, Method::Update, extra, None)
    }

    /// Sends a REFER inside of a side's dialog (RFC 3515).
    pub fn refer(&mut self, common: &mut Common, party: Party, to: String) -> Option<ClientId> {
        let to = vec![(HeaderName::ReferTo, Bytes::from(to))];
        self.ask_inside(common, party, Method::Refer, to, None)
    }

    /// Tells a side what became of its REFER, which `id` tells from others; for `expires_s` more
    /// seconds there is more to come.
    pub fn notify(
        &mut self,
        common: &mut Common,
        party: Party,
        id: Option<u32>,
        status: StatusCode,
        expires_s: Option<u64>,
    ) {
        let event = id.map_or(String::from("refer"), |id| format!("refer;id={id}"));
        let state = match expires_s {
            Some(seconds) => format!("active;expires={seconds}"),
            None => String::from("terminated;reason=noresource"),
        };
        let extra = vec![
            (HeaderName::Event, Bytes::from(event)),
            (HeaderName::SubscriptionState, Bytes::from(state)),
        ];
        let line = format!("SIP/2.0 {} {}\r\n", status.code(), status.reason());
        let body = Some((headers::SIPFRAG, Bytes::from(line)));
        let _nobody_waits = self.ask_inside(common, party, Method::Notify, extra, body);
    }

    /// Tells another call something, once what is being handled is done.
    pub fn tell_call(&mut self, token: Token, happening: Happening) {
        self.index.told.push_back((token, happening));
    }

    /// Sends an INFO inside of a side's dialog.
    pub fn info(
        &mut self,
        common: &mut Common,
        party: Party,
        kind: &'static str,
        body: Bytes,
    ) -> Option<ClientId> {
        self.ask_inside(common, party, Method::Info, Vec::new(), Some((kind, body)))
    }

    fn ask_inside(
        &mut self,
        common: &mut Common,
        party: Party,
        method: Method,
        extra: Vec<(HeaderName, Bytes)>,
        body: Option<(&str, Bytes)>,
    ) -> Option<ClientId> {
        let dialog = common.leg(party).dialog?;
        let sent = self.endpoint.request_in_dialog(self.now, dialog, method, extra, body);
        match sent {
            Ok(client) => {
                self.own_client(common, client);
                Some(client)
            }
            Err(misuse) => {
                tracing::debug!(call = common.id(), %misuse, "request not sent");
                None
            }
        }
    }

    /// Acknowledges a 2xx.
    pub fn ack(&mut self, dialog: DialogId, body: Option<Bytes>) {
        let body = body.map(|b| (headers::SDP, b));
        if let Err(misuse) = self.endpoint.ack(self.now, dialog, body) {
            tracing::warn!(%misuse, "ACK not sent");
        }
    }

    pub fn cancel(&mut self, client: ClientId) {
        let client = self.index.proofs.newest(client);
        if let Err(misuse) = self.endpoint.cancel(self.now, client) {
            tracing::debug!(%misuse, "CANCEL not sent");
        }
    }

    /// Ends a dialog; `None` when it is gone already.
    pub fn bye(&mut self, common: &mut Common, dialog: DialogId) -> Option<ClientId> {
        #[cfg(test)]
        if crate::sim::breaks(crate::sim::Bug::SaysNoBye) {
            return None;
        }
        let sent = self.endpoint.request_in_dialog(self.now, dialog, Method::Bye, Vec::new(), None);
        match sent {
            Ok(client) => {
                self.own_client(common, client);
                Some(client)
            }
            Err(misuse) => {
                tracing::debug!(call = common.id(), %misuse, "BYE not sent");
                None
            }
        }
    }

    /// Wakes the call after `delay`, instead of at any earlier set time.
    pub fn set_deadline(&mut self, common: &mut Common, delay: Duration) {
        self.clear_deadline(common);
        #[cfg(test)]
        if crate::sim::breaks(crate::sim::Bug::NeverWakes) {
            return;
        }
        let Some(at) = self.now.checked_add(delay) else { return };
        common.deadline = Some(at);
        self.index.deadlines.insert((at, common.token));
    }

    pub fn clear_deadline(&mut self, common: &mut Common) {
        if let Some(at) = common.deadline.take() {
            self.index.deadlines.remove(&(at, common.token));
        }
    }

    /// Has the call stopped once the happening that is being handled is done.
    pub fn stop_soon(&mut self, token: Token, reason: &'static str) {
        self.index.stopping.push((token, reason));
    }

    /// A call came a step further: who listens is told, the trunks' counts and health follow.
    pub fn reached(&mut self, step: Step, state: &'static str, common: &Common) {
        let (caller, callee) = (common.caller.trunk, common.callee.trunk);
        match step {
            // A caller may be answered by a greeting before anybody is asked.
            Step::Answered if common.callee.dialog.is_some() => self.health.answered(callee),
            Step::Ended => {
                let outcome = common.cdr.outcome();
                self.tallies.count(caller, Bound::In, self.wall, &outcome);
                let outcome = common.cdr.outcome_of_callee();
                if !common.is_alone {
                    self.tallies.count(callee, Bound::Out, self.wall, &outcome);
                }
            }
            Step::Answered | Step::Began | Step::Rang => {}
        }
        self.tell(state, common.trunks(), &common.cdr);
    }

    /// Tells who listens how far a call is.
    pub fn tell(&self, state: &'static str, trunks: [Option<TrunkId>; 2], record: &Record) {
        let [from_trunk_id, to_trunk_id] = trunks;
        self.feed.tell(|| {
            let (step, record) = (record.step(), record.clone());
            let call = LiveCall { state, from_trunk_id, to_trunk_id, media: None, record };
            News::Call(CallNews { step, call })
        });
    }

    pub fn write(&mut self, record: &mut Record) {
        record.end(self.wall);
        self.cdrs.write(record);
        #[cfg(test)]
        if crate::sim::breaks(crate::sim::Bug::WritesTwice) {
            self.cdrs.write(record);
        }
    }

    pub fn own_client(&mut self, common: &mut Common, client: ClientId) {
        common.clients.push(client);
        self.index.clients.insert(client, common.token);
    }

    /// Forgets a request that has its final answer.
    pub fn disown_client(&mut self, common: &mut Common, client: ClientId) {
        for client in self.index.proofs.forget(client).into_iter().chain([client]) {
            common.clients.retain(|own| *own != client);
            self.index.clients.remove(&client);
        }
    }

    pub fn own_dialog(&mut self, common: &mut Common, dialog: DialogId, party: Party) {
        // One that went over to another call stays there.
        if let Entry::Vacant(place) = self.index.dialogs.entry(dialog) {
            place.insert((common.token, party));
            common.dialogs.push(dialog);
        }
    }
}

/// The dialog that came of a response; one that could not be sent is told in the log.
fn came_of(status: StatusCode, sent: Result<Option<DialogId>, Misuse>) -> Option<DialogId> {
    sent.unwrap_or_else(|misuse| {
        tracing::debug!(%misuse, status = status.code(), "response not sent");
        None
    })
}

/// Deadlines in order.
pub type Deadlines = BTreeSet<(Instant, Token)>;
