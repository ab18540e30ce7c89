//! Requests inside of a subscription, and the answers to what was passed on.

use bytes::Bytes;
use sip::endpoint::{ClientId, DialogId, Hop, ServerId};
use sip::wire::{HeaderName, Headers, Method, Request, Response, StatusCode};

use super::begin::seconds;
use super::{Package, Side, Subscription, Subscriptions, TRIES, UNDER_WAY_MAX, Waiting, What};
use crate::call::{Desk, headers};

/// A body with its type.
type Body<'a> = Option<(&'a str, Bytes)>;

impl Subscriptions {
    /// The subscriber prolongs it, or ends it with Expires 0.
    pub(super) fn refresh(
        &mut self,
        desk: &mut Desk<'_>,
        id: u64,
        transaction: ServerId,
        request: &Request,
    ) {
        let Some(one) = self.live.get(&id) else { return };
        let named = Package::of(&request.headers);
        if named.is_none_or(|(package, event)| (package, event) != (one.package, one.id.clone())) {
            // Another subscription of the same dialog.
            desk.answer(transaction, StatusCode::BAD_EVENT, Vec::new(), None);
            return;
        }
        let Ok(seconds) = seconds(request) else {
            desk.answer(transaction, StatusCode::BAD_REQUEST, Vec::new(), None);
            return;
        };
        let extra = vec![
            one.event(Side::Notifier),
            one.package.accept(),
            (HeaderName::Expires, Bytes::from(seconds.to_string())),
        ];
        let what = What::Refresh(seconds);
        self.pass_on(desk, id, transaction, what, (Method::Subscribe, extra, None));
    }

    /// The notifier tells what there is.
    pub(super) fn notify(
        &mut self,
        desk: &mut Desk<'_>,
        id: u64,
        transaction: ServerId,
        request: &Request,
    ) {
        let Some(one) = self.live.get(&id) else { return };
        let state = request.headers.subscription_state();
        let (Ok(Some(state)), Some(said)) =
            (state, request.headers.get(&HeaderName::SubscriptionState))
        else {
            desk.answer(transaction, StatusCode::BAD_REQUEST, Vec::new(), None);
            return;
        };
        if Package::of(&request.headers).is_none_or(|(package, _)| package != one.package) {
            desk.answer(transaction, StatusCode::BAD_EVENT, Vec::new(), None);
            return;
        }
        if !one.package.is_body(&request.headers, &request.body) {
            let extra = vec![one.package.accept()];
            desk.answer(transaction, StatusCode::UNSUPPORTED_MEDIA_TYPE, extra, None);
            return;
        }
        let extra =
            vec![one.event(Side::Subscriber), (HeaderName::SubscriptionState, said.clone())];
        let body = (!request.body.is_empty()).then(|| request.body.clone());
        let body = body.map(|body| (one.package.content_type(), body));
        let what = What::Notify { is_last: state.is_terminated() };
        self.pass_on(desk, id, transaction, what, (Method::Notify, extra, body));
    }

    /// Sends a request inside of the other dialog; whoever asked is answered as that is.
    fn pass_on(
        &mut self,
        desk: &mut Desk<'_>,
        id: u64,
        transaction: ServerId,
        what: What,
        (method, extra, body): (Method, Vec<(HeaderName, Bytes)>, Body<'_>),
    ) {
        let Some(one) = self.live.get_mut(&id) else { return };
        let room = one.under_way.len() < UNDER_WAY_MAX;
        let dialog = one.dialog(what.to()).filter(|_| room);
        let sent = dialog.and_then(|dialog| {
            desk.endpoint.request_in_dialog(desk.now, dialog, method, extra, body).ok()
        });
        let Some(client) = sent else {
            let reason = "the other side of the subscription has its hands full";
            return desk.refuse(transaction, StatusCode::SERVICE_UNAVAILABLE, reason);
        };
        one.under_way.push(client);
        let asker = Some(transaction);
        self.waiting.insert(client, Waiting { subscription: id, asker, what, tries: 0 });
    }

    /// A final answer to a request of ours.
    pub(super) fn answered(
        &mut self,
        desk: &mut Desk<'_>,
        client: ClientId,
        dialog: Option<DialogId>,
        hop: Hop,
        response: &Response,
    ) {
        let Some(mut waiting) = self.waiting.remove(&client) else { return };
        let id = waiting.subscription;
        if matches!(response.status.code(), 401 | 407) && waiting.tries < TRIES {
            let trunk = self.live.get(&id).map(|one| one.trunk(waiting.what.to()));
            let name = format!("subscription {id}");
            let again =
                trunk.and_then(|trunk| desk.prove_again(&name, trunk, client, hop, response));
            if let Some(again) = again {
                waiting.tries += 1;
                self.waiting.insert(again, waiting);
                if let Some(one) = self.live.get_mut(&id) {
                    one.answered(client);
                    one.under_way.push(again);
                }
                return;
            }
        }
        let Waiting { asker, what, .. } = waiting;
        let Some(one) = self.live.get_mut(&id) else { return };
        one.answered(client);
        let Some(asker) = asker else { return };
        match what {
            What::First(_) if !response.status.is_success() => {
                self.refuse(desk, id, asker, response);
            }
            What::First(asked) => self.accepted(desk, id, asker, (dialog, response), asked),
            What::Refresh(asked) if response.status.is_success() => {
                let granted = granted(response, asked);
                let expires = (HeaderName::Expires, Bytes::from(granted.to_string()));
                desk.answer(asker, response.status, vec![expires], None);
                self.prolong(desk, id, granted);
            }
            What::Refresh(_) | What::Notify { .. } => {
                let is_over = ends(response.status) || what == What::Notify { is_last: true };
                let status = headers::status_toward_caller(response.status);
                desk.answer(asker, status, passed(&response.headers), None);
                if is_over {
                    self.forget(desk, id);
                }
            }
            What::Goodbye => {}
        }
    }

    /// No answer will come.
    pub(super) fn unanswered(&mut self, desk: &mut Desk<'_>, client: ClientId) {
        let Some(Waiting { subscription: id, asker, what, .. }) = self.waiting.remove(&client)
        else {
            return;
        };
        if let Some(one) = self.live.get_mut(&id) {
            one.answered(client);
        }
        let Some(asker) = asker else { return };
        match what {
            What::First(_) => {
                desk.answer(asker, StatusCode::SERVER_TIMEOUT, Vec::new(), None);
                self.forget(desk, id);
            }
            // It stands until its end (RFC 6665 §4.1.2.2).
            What::Refresh(_) => {
                desk.answer(asker, StatusCode::SERVER_TIMEOUT, Vec::new(), None);
            }
            // Who does not hear any more has no subscription (RFC 6665 §4.2.2).
            What::Notify { .. } => {
                let status = StatusCode::CALL_OR_TRANSACTION_DOES_NOT_EXIST;
                desk.answer(asker, status, Vec::new(), None);
                self.forget(desk, id);
            }
            What::Goodbye => {}
        }
    }

    /// The notifier took the first SUBSCRIBE.
    fn accepted(
        &mut self,
        desk: &mut Desk<'_>,
        id: u64,
        asker: ServerId,
        (dialog, response): (Option<DialogId>, &Response),
        asked: u32,
    ) {
        let granted = granted(response, asked);
        let expires = (HeaderName::Expires, Bytes::from(granted.to_string()));
        let notifier = dialog;
        let subscriber =
            notifier.and_then(|_| desk.answer(asker, response.status, vec![expires], None));
        let Some(one) = self.live.get_mut(&id) else { return };
        one.notifier = notifier;
        one.subscriber = subscriber;
        let (Some(subscriber), Some(notifier)) = (subscriber, notifier) else {
            // No room for both dialogs.
            let status = StatusCode::SERVICE_UNAVAILABLE;
            desk.refuse(asker, status, "no room for the dialogs of a subscription");
            return self.say_goodbye(desk, id, "noresource");
        };
        self.dialogs.insert(subscriber, (id, Side::Subscriber));
        self.dialogs.insert(notifier, (id, Side::Notifier));
        self.prolong(desk, id, granted);
        self.tell_begun(id);
    }

    fn tell_begun(&self, id: u64) {
        if let Some(Subscription { trunks: [from, to], package, .. }) = self.live.get(&id) {
            tracing::info!(subscription = id, %from, %to, package = package.name(), "subscribed");
        }
    }

    fn refuse(&mut self, desk: &mut Desk<'_>, id: u64, asker: ServerId, response: &Response) {
        let status = headers::status_toward_caller(response.status);
        desk.answer(asker, status, passed(&response.headers), None);
        self.forget(desk, id);
    }
}

/// How long the notifier lets it be: never longer than was asked for.
fn granted(response: &Response, asked: u32) -> u32 {
    response.headers.expires().ok().flatten().unwrap_or(asked).min(asked)
}

/// What a refusal says to whoever tries again.
fn passed(headers: &Headers) -> Vec<(HeaderName, Bytes)> {
    let names = [HeaderName::MinExpires, HeaderName::RetryAfter, HeaderName::AllowEvents];
    let said =
        names.into_iter().filter_map(|name| Some((name.clone(), headers.get(&name)?.clone())));
    said.collect()
}

/// Answers after which there is no subscription (RFC 6665 §4.1.2.2, §4.2.2).
fn ends(status: StatusCode) -> bool {
    matches!(status.code(), 404 | 405 | 410 | 416 | 480..=485 | 489 | 501 | 604)
}
