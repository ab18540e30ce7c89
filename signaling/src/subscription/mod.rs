//! Subscriptions of a trunk (RFC 6665), where its `create_subscriptions` allows them: they are relayed to
//! whom a call to the same number would reach.
//!
//! ```text
//!  subscriber            us             notifier
//!     SUBSCRIBE ──► routed as a call ──► SUBSCRIBE          two dialogs, as a call has:
//!     200 ◄──────────────┼────────────── 200                nothing of one leg's place
//!     NOTIFY ◄───────────┼────────────── NOTIFY             reaches the other
//!     200 ───────────────┼─────────────► 200
//! ```
//! A request is answered when the other side answered: what stands on one side stands on both. The
//! packages are [`Package`]s; what a body says is between the two. It leaves no CDR, takes no place of a
//! call, and is forgotten by a restart: requests inside of it get 481 then, and its subscriber begins
//! anew.

mod begin;
mod package;
mod relay;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::endpoint::{ClientId, DialogId, Event, ServerId};
use sip::wire::{HeaderName, Method, StatusCode};

use crate::call::Desk;
use crate::trunk::TrunkId;

pub use package::Package;

/// Subscriptions of one trunk and one shard.
pub const SUBSCRIPTIONS_MAX: usize = 1_000;
/// Relayed requests of one subscription that wait for their answer.
pub const UNDER_WAY_MAX: usize = 4;
/// Seconds of a subscription that does not say how long (RFC 3842 §3.4, RFC 4235 §3.4).
const EXPIRES_DEFAULT: u32 = 3_600;
/// The longest that is asked for.
const EXPIRES_MAX: u32 = 86_400;
/// How long after its end a notifier may still say so.
const GRACE: Duration = Duration::from_secs(32);
/// How often one request answers a challenge.
const TRIES: u8 = 2;

/// The subscriptions of one shard.
#[derive(Default)]
pub struct Subscriptions {
    live: HashMap<u64, Subscription>,
    dialogs: HashMap<DialogId, (u64, Side)>,
    /// Requests of ours without an answer.
    waiting: HashMap<ClientId, Waiting>,
    ends: BTreeSet<(Instant, u64)>,
    of_trunk: HashMap<TrunkId, usize>,
    last: u64,
}

/// Who a dialog of ours is with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Subscriber,
    Notifier,
}

struct Subscription {
    /// The subscriber's trunk and the notifier's.
    trunks: [TrunkId; 2],
    package: Package,
    /// The subscriber's `id` of it.
    id: Option<Bytes>,
    /// Both are there once the first SUBSCRIBE was accepted.
    subscriber: Option<DialogId>,
    notifier: Option<DialogId>,
    /// When it is over if nobody says anything any more.
    end: Option<Instant>,
    /// Requests of ours that somebody waits for, [`UNDER_WAY_MAX`] at most.
    under_way: Vec<ClientId>,
}

/// A request of ours that has no final answer yet.
struct Waiting {
    subscription: u64,
    /// Who is to have the same answer.
    asker: Option<ServerId>,
    what: What,
    tries: u8,
}

/// What such a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    /// The first SUBSCRIBE, for so many seconds.
    First(u32),
    /// A later one.
    Refresh(u32),
    Notify {
        is_last: bool,
    },
    /// Our own goodbye.
    Goodbye,
}

impl What {
    /// Whose trunk answers it.
    fn to(self) -> Side {
        match self {
            Self::First(_) | Self::Refresh(_) => Side::Notifier,
            Self::Notify { .. } | Self::Goodbye => Side::Subscriber,
        }
    }
}

impl Subscription {
    fn trunk(&self, side: Side) -> TrunkId {
        let [subscriber, notifier] = self.trunks;
        match side {
            Side::Subscriber => subscriber,
            Side::Notifier => notifier,
        }
    }

    fn dialog(&self, side: Side) -> Option<DialogId> {
        match side {
            Side::Subscriber => self.subscriber,
            Side::Notifier => self.notifier,
        }
    }

    /// A request of ours has its end.
    fn answered(&mut self, client: ClientId) {
        self.under_way.retain(|other| *other != client);
    }

    /// Event as one side knows it: the `id` is between the subscriber and us.
    fn event(&self, side: Side) -> (HeaderName, Bytes) {
        let name = self.package.name();
        let value = match (&self.id, side) {
            (Some(id), Side::Subscriber) => format!("{name};id={}", String::from_utf8_lossy(id)),
            _ => name.to_owned(),
        };
        (HeaderName::Event, Bytes::from(value))
    }
}

impl Subscriptions {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.waiting.is_empty() && self.dialogs.is_empty()
    }

    /// When [`Subscriptions::tend`] is due.
    pub fn due(&self) -> Option<Instant> {
        self.ends.first().map(|(at, _)| *at)
    }

    /// Ends those that nobody prolonged.
    pub fn tend(&mut self, desk: &mut Desk<'_>) {
        while let Some((_, id)) = self.ends.first().copied().filter(|(at, _)| *at <= desk.now) {
            self.say_goodbye(desk, id, "timeout");
        }
    }

    /// A new plan: those of trunks that are gone end, and the other side is told.
    pub fn retain(&mut self, desk: &mut Desk<'_>) {
        let is_gone = |trunk: &TrunkId| desk.trunks.get(*trunk).is_none();
        let gone = self.live.iter().filter(|(_, one)| one.trunks.iter().any(is_gone));
        let gone: Vec<u64> = gone.map(|(id, _)| *id).collect();
        for id in gone {
            self.say_goodbye(desk, id, "noresource");
        }
    }

    /// The process stops: subscribers are told to come back.
    pub fn stop(&mut self, desk: &mut Desk<'_>) {
        let all: Vec<u64> = self.live.keys().copied().collect();
        for id in all {
            self.say_goodbye(desk, id, "deactivated");
        }
    }

    /// Takes what the endpoint tells of subscriptions; what is of no subscription is given back.
    pub fn take(&mut self, desk: &mut Desk<'_>, event: Event) -> Option<Event> {
        match event {
            Event::InDialog { transaction, dialog, request, .. }
                if self.dialogs.contains_key(&dialog) =>
            {
                let (id, side) = *self.dialogs.get(&dialog)?;
                match (&request.method, side) {
                    (Method::Subscribe, Side::Subscriber) => {
                        self.refresh(desk, id, transaction, &request);
                    }
                    (Method::Notify, Side::Notifier) => {
                        self.notify(desk, id, transaction, &request);
                    }
                    _ => {
                        let allow = (HeaderName::Allow, Bytes::from_static(b"SUBSCRIBE, NOTIFY"));
                        let status = StatusCode::METHOD_NOT_ALLOWED;
                        desk.answer(transaction, status, vec![allow], None);
                    }
                }
                None
            }
            Event::Response { transaction, dialog, hop, response }
                if self.waiting.contains_key(&transaction) =>
            {
                if response.status.is_final() {
                    self.answered(desk, transaction, dialog, hop, &response);
                }
                None
            }
            Event::Failed { transaction, .. } if self.waiting.contains_key(&transaction) => {
                self.unanswered(desk, transaction);
                None
            }
            event => Some(event),
        }
    }

    /// Tells both sides that it is over, where they can be told, and forgets it.
    fn say_goodbye(&mut self, desk: &mut Desk<'_>, id: u64, reason: &str) {
        let Some(one) = self.live.get(&id) else { return };
        let state = Bytes::from(format!("terminated;reason={reason}"));
        let notify = vec![one.event(Side::Subscriber), (HeaderName::SubscriptionState, state)];
        let none = (HeaderName::Expires, Bytes::from_static(b"0"));
        let unsubscribe = vec![one.event(Side::Notifier), none];
        let told = [
            (Side::Subscriber, Method::Notify, notify),
            (Side::Notifier, Method::Subscribe, unsubscribe),
        ];
        let dialogs = told.map(|(side, method, headers)| {
            let is_known = desk.trunks.get(one.trunk(side)).is_some();
            (one.dialog(side).filter(|_| is_known), method, headers)
        });
        for (dialog, method, headers) in dialogs {
            let Some(dialog) = dialog else { continue };
            let sent = desk.endpoint.request_in_dialog(desk.now, dialog, method, headers, None);
            if let Ok(client) = sent {
                let what = What::Goodbye;
                let waiting = Waiting { subscription: id, asker: None, what, tries: TRIES };
                self.waiting.insert(client, waiting);
            }
        }
        self.forget(desk, id);
    }

    /// Nothing is left of it but answers that are on their way; who waits for one gets 481.
    fn forget(&mut self, desk: &mut Desk<'_>, id: u64) {
        let Some(one) = self.live.remove(&id) else { return };
        if let Some(end) = one.end {
            self.ends.remove(&(end, id));
        }
        for dialog in [one.subscriber, one.notifier].into_iter().flatten() {
            self.dialogs.remove(&dialog);
            desk.endpoint.close(dialog);
        }
        let from = one.trunk(Side::Subscriber);
        if let Some(count) = self.of_trunk.get_mut(&from) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_trunk.remove(&from);
            }
        }
        for client in one.under_way {
            let Some(waiting) = self.waiting.get_mut(&client) else { continue };
            waiting.what = What::Goodbye;
            if let Some(asker) = waiting.asker.take() {
                let status = StatusCode::CALL_OR_TRANSACTION_DOES_NOT_EXIST;
                desk.answer(asker, status, Vec::new(), None);
            }
        }
    }

    /// It goes on for so many seconds from now.
    fn prolong(&mut self, desk: &Desk<'_>, id: u64, seconds: u32) {
        let Some(one) = self.live.get_mut(&id) else { return };
        if let Some(end) = one.end.take() {
            self.ends.remove(&(end, id));
        }
        let patience = Duration::from_secs(seconds.into()) + GRACE;
        one.end = desk.now.checked_add(patience);
        self.ends.extend(one.end.map(|end| (end, id)));
    }
}
