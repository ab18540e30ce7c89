//! Subscriptions between two real endpoints: what is passed on, and every way to end.

use bytes::Bytes;
use sip::wire::{HeaderName, Headers, Method, Request};

use super::{SUBSCRIPTIONS_MAX, UNDER_WAY_MAX};
use crate::call::tests::rig::{CARRIER, Carrier, Pbx, Rig, Who};
use crate::trunk::TrunkTable;

const ALLOW: &str = "create_subscriptions = \"ALLOW\"\n";
const KIND: &str = "application/dialog-info+xml";
const ACTIVE: &str = "active;expires=500";

fn value(headers: &Headers, name: &HeaderName) -> String {
    headers.get(name).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
}

fn rig(name: &str) -> Rig {
    Rig::with(&format!("subscription-{name}"), ALLOW, ALLOW, "")
}

/// A SUBSCRIBE of `who`, not sent yet.
fn request(rig: &mut Rig, who: Who, event: &str, expires: &str) -> Request {
    let mut request = rig.peer(who).invite("+4930222", None);
    request.method = Method::Subscribe;
    request.headers.push(HeaderName::Event, event.to_owned());
    request.headers.push(HeaderName::Expires, expires.to_owned());
    request
}

fn subscribe(rig: &mut Rig, who: Who, event: &str, expires: &str) {
    let request = request(rig, who, event, expires);
    rig.place(who, request);
}

/// `who` subscribes for ten minutes and the other side agrees to five.
fn subscribed(rig: &mut Rig, who: Who) {
    subscribe(rig, who, "dialog;id=7", "600");
    let (id, _) = rig.invited(who.other());
    let now = rig.now;
    let expires = vec![(HeaderName::Expires, Bytes::from("300"))];
    rig.peer(who.other()).answer_with(now, id, 200, expires, None);
    rig.turn();
    assert_eq!(rig.last_status(who), 200);
}

/// The notifier says something.
fn notify(rig: &mut Rig, who: Who, state: &str, body: &str) {
    notify_as(
        rig,
        who,
        &[(HeaderName::Event, "dialog"), (HeaderName::SubscriptionState, state)],
        (KIND, body),
    );
}

fn notify_as(rig: &mut Rig, who: Who, headers: &[(HeaderName, &str)], (kind, body): (&str, &str)) {
    let own = |(name, value): &(HeaderName, &str)| (name.clone(), Bytes::from((*value).to_owned()));
    let headers = headers.iter().map(own).collect();
    let (now, dialog) = (rig.now, rig.peer(who).dialog.unwrap());
    let body = (!body.is_empty()).then(|| (kind, Bytes::from(body.to_owned())));
    let endpoint = &mut rig.peer(who).endpoint;
    endpoint.request_in_dialog(now, dialog, Method::Notify, headers, body).unwrap();
    rig.turn();
}

fn refresh(rig: &mut Rig, who: Who, event: &'static str, expires: &'static str) {
    let event = (HeaderName::Event, Bytes::from(event));
    let headers = vec![event, (HeaderName::Expires, Bytes::from(expires))];
    rig.ask_with(who, Method::Subscribe, headers, None);
}

/// Nothing is left, at the peers neither.
fn finish(mut rig: Rig) {
    for who in [Carrier, Pbx] {
        let peer = rig.peer(who);
        if let Some(dialog) = peer.dialog.take() {
            peer.endpoint.close(dialog);
        }
        peer.live.clear();
    }
    // One that lives ends by itself.
    rig.seconds(1_000);
    assert!(rig.finish().is_empty(), "it is no call");
}

#[test]
fn a_subscription_lives_until_it_is_given_up() {
    for who in [Carrier, Pbx] {
        let mut rig = rig("life");
        let other = who.other();
        subscribe(&mut rig, who, "dialog;id=7", "600");
        let (id, asked) = rig.invited(other);
        assert_eq!(asked.method, Method::Subscribe);
        let said = [HeaderName::Event, HeaderName::Expires, HeaderName::Accept]
            .map(|name| value(&asked.headers, &name));
        assert_eq!(said, ["dialog", "600", KIND]);
        let text = String::from_utf8(asked.to_bytes().to_vec()).unwrap();
        assert!(!text.contains("canary") && text.contains("+4930222@"), "{text}");
        let now = rig.now;
        let expires = vec![(HeaderName::Expires, Bytes::from("300"))];
        rig.peer(other).answer_with(now, id, 200, expires, None);
        rig.turn();
        let accepted = rig.last_response(who);
        assert_eq!(accepted.status.code(), 200);
        assert_eq!(value(&accepted.headers, &HeaderName::Expires), "300");

        notify(&mut rig, other, ACTIVE, "<busy/>");
        let (_, told) = rig.asked_inside(who);
        assert_eq!(value(&told.headers, &HeaderName::Event), "dialog;id=7");
        assert_eq!(value(&told.headers, &HeaderName::SubscriptionState), ACTIVE);
        assert_eq!(value(&told.headers, &HeaderName::ContentType), KIND);
        assert_eq!(told.body, "<busy/>");
        assert_eq!(rig.last_status(other), 200);

        refresh(&mut rig, who, "dialog;id=7", "200");
        let (_, asked) = rig.asked_inside(other);
        assert_eq!(value(&asked.headers, &HeaderName::Expires), "200");
        assert_eq!(rig.last_status(who), 200);
        rig.seconds(231);
        assert!(rig.peer(who).asked.is_empty(), "it was prolonged");
        refresh(&mut rig, who, "dialog;id=7", "0");
        assert_eq!(rig.last_status(who), 200);
        notify(&mut rig, other, "terminated;reason=timeout", "");
        let _prolonged_before = rig.peer(who).asked.pop_back().unwrap();
        assert_eq!(rig.last_status(other), 200);
        notify(&mut rig, other, ACTIVE, "");
        assert_eq!(rig.last_status(other), 481, "it is over");
        refresh(&mut rig, who, "dialog;id=7", "200");
        assert_eq!(rig.last_status(who), 481);
        finish(rig);
    }
}

#[test]
fn only_two_packages_of_trunks_that_are_allowed_are_relayed() {
    let mut denied = Rig::with("subscription-denied", "", ALLOW, "");
    subscribe(&mut denied, Carrier, "dialog", "600");
    let refusal = denied.last_response(Carrier);
    assert_eq!(refusal.status.code(), 489);
    assert_eq!(refusal.headers.get(&HeaderName::AllowEvents), Some(&Bytes::new()));
    subscribe(&mut denied, Pbx, "dialog", "600");
    let (id, _) = denied.invited(Carrier);
    denied.answer(Carrier, id, 404, None);
    assert_eq!(denied.last_status(Pbx), 404, "the notifier's trunk need not allow its own");
    finish(denied);
    let mut rig = rig("packages");
    for event in ["presence", "refer", "dialog.winfo", "Dialog", "dialog;id=\"a b\""] {
        subscribe(&mut rig, Carrier, event, "600");
        let refusal = rig.last_response(Carrier);
        assert_eq!(refusal.status.code(), 489, "{event}");
        let events = value(&refusal.headers, &HeaderName::AllowEvents);
        assert_eq!(events, "message-summary, dialog");
    }
    subscribe(&mut rig, Carrier, "dialog", "soon");
    assert_eq!(rig.last_status(Carrier), 400);
    assert!(rig.pbx.invites.is_empty(), "nobody was asked");
    finish(rig);
}

#[test]
fn a_refusal_is_passed_on_with_what_helps() {
    let mut rig = rig("refused");
    for (status, name, said) in
        [(423, HeaderName::MinExpires, "900"), (486, HeaderName::RetryAfter, "7")]
    {
        subscribe(&mut rig, Carrier, "message-summary", "60");
        let (id, asked) = rig.invited(Pbx);
        let kind = value(&asked.headers, &HeaderName::Accept);
        assert_eq!(kind, "application/simple-message-summary");
        let now = rig.now;
        let extra = vec![(name.clone(), Bytes::from(said))];
        rig.pbx.answer_with(now, id, status, extra, None);
        rig.turn();
        let refusal = rig.last_response(Carrier);
        assert_eq!(refusal.status.code(), status);
        assert_eq!(value(&refusal.headers, &name), said);
    }
    finish(rig);
}

#[test]
fn a_notifier_that_challenges_is_answered() {
    let account = format!("{ALLOW}username = \"us\"\npassword = \"secret\"\n");
    let mut rig = Rig::with("subscription-challenged", ALLOW, &account, "");
    subscribe(&mut rig, Carrier, "dialog", "600");
    let challenge = || {
        let challenge = "Digest realm=\"pbx\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"";
        vec![(HeaderName::WwwAuthenticate, Bytes::from(challenge))]
    };
    let (id, _) = rig.invited(Pbx);
    let now = rig.now;
    rig.pbx.answer_with(now, id, 401, challenge(), None);
    rig.turn();
    let (id, asked) = rig.invited(Pbx);
    assert!(value(&asked.headers, &HeaderName::Authorization).contains("username=\"us\""));
    rig.answer(Pbx, id, 200, None);
    assert_eq!(rig.last_status(Carrier), 200);
    notify(&mut rig, Pbx, "terminated;reason=noresource", "");
    assert_eq!(rig.last_status(Pbx), 200);
    // One that is never content is passed on as what it is.
    subscribe(&mut rig, Carrier, "dialog", "600");
    for _ in 0..3 {
        let (id, _) = rig.invited(Pbx);
        let now = rig.now;
        rig.pbx.answer_with(now, id, 401, challenge(), None);
        rig.turn();
    }
    assert_eq!(rig.last_status(Carrier), 503);
    finish(rig);
}

#[test]
fn a_silent_notifier_is_a_timeout() {
    let mut rig = rig("silent");
    rig.cut = Some(Pbx);
    subscribe(&mut rig, Carrier, "dialog", "600");
    rig.fail(Pbx);
    rig.turn();
    assert_eq!(rig.last_status(Carrier), 504);
    subscribe(&mut rig, Carrier, "dialog", "600");
    rig.seconds(33);
    assert_eq!(rig.carrier.failures, 1, "its own patience ended a moment before ours");
    assert!(rig.subscriptions.is_empty());
    finish(rig);
}

#[test]
fn nobody_prolongs_it_and_both_are_told() {
    let mut rig = rig("expires");
    subscribed(&mut rig, Carrier);
    rig.seconds(330);
    assert!(rig.carrier.asked.is_empty(), "a notifier may still say so itself");
    rig.seconds(3);
    let (_, told) = rig.asked_inside(Carrier);
    let state = value(&told.headers, &HeaderName::SubscriptionState);
    assert_eq!(state, "terminated;reason=timeout");
    let (_, asked) = rig.asked_inside(Pbx);
    assert_eq!(value(&asked.headers, &HeaderName::Expires), "0");
    finish(rig);
}

#[test]
fn a_subscriber_that_forgot_it_ends_it() {
    let mut rig = rig("forgotten");
    subscribed(&mut rig, Carrier);
    rig.carrier.hesitates = true;
    notify(&mut rig, Pbx, ACTIVE, "<busy/>");
    let (id, _) = rig.asked_inside(Carrier);
    rig.answer(Carrier, id, 481, None);
    assert_eq!(rig.last_status(Pbx), 481);
    notify(&mut rig, Pbx, ACTIVE, "<busy/>");
    assert_eq!(rig.last_status(Pbx), 481);
    finish(rig);
}

#[test]
fn a_subscriber_that_does_not_hear_any_more_ends_it() {
    let mut rig = rig("deaf");
    subscribed(&mut rig, Carrier);
    rig.cut = Some(Carrier);
    notify(&mut rig, Pbx, ACTIVE, "<busy/>");
    rig.seconds(40);
    assert!(rig.subscriptions.is_empty());
    finish(rig);
}

/// A refresh that got no answer changes nothing (RFC 6665 §4.1.2.2); one that met nobody ends it.
#[test]
fn a_refresh_that_fails_ends_it_only_where_the_notifier_forgot_it() {
    for (status, is_over) in [(500, false), (481, true)] {
        let mut rig = rig("refresh");
        subscribed(&mut rig, Carrier);
        rig.pbx.hesitates = true;
        refresh(&mut rig, Carrier, "dialog;id=7", "600");
        let (id, _) = rig.asked_inside(Pbx);
        rig.answer(Pbx, id, status, None);
        assert_eq!(rig.last_status(Carrier), status);
        assert_eq!(rig.subscriptions.is_empty(), is_over, "{status}");
        finish(rig);
    }
}

#[test]
fn what_is_no_part_of_it_is_refused() {
    let mut rig = rig("foreign");
    subscribed(&mut rig, Carrier);
    let state = (HeaderName::SubscriptionState, ACTIVE);
    let event = (HeaderName::Event, "dialog");
    for (headers, body, status) in [
        (vec![event.clone()], (KIND, "<x/>"), 400),
        (vec![(HeaderName::Event, "presence"), state.clone()], (KIND, "<x/>"), 489),
        (vec![event.clone(), state.clone()], ("application/sdp", "v=0"), 415),
        (vec![event, state], (KIND, "<x/>"), 200),
    ] {
        notify_as(&mut rig, Pbx, &headers, body);
        assert_eq!(rig.last_status(Pbx), status, "{headers:?}");
    }
    refresh(&mut rig, Carrier, "message-summary", "600");
    assert_eq!(rig.last_status(Carrier), 489, "another subscription of the dialog");
    for (who, method) in [(Carrier, Method::Notify), (Pbx, Method::Subscribe), (Pbx, Method::Info)]
    {
        rig.ask(who, method, None);
        assert_eq!(rig.last_status(who), 405);
    }
    finish(rig);
}

#[test]
fn subscriptions_of_a_trunk_are_bounded() {
    let mut rig = rig("bounded");
    for _ in 0..SUBSCRIPTIONS_MAX {
        let (now, request) = (rig.now, request(&mut rig, Carrier, "dialog", "600"));
        rig.carrier.call(now, request);
    }
    rig.turn();
    assert_eq!(rig.pbx.invites.len(), SUBSCRIPTIONS_MAX);
    subscribe(&mut rig, Carrier, "dialog", "600");
    let refusal = rig.last_response(Carrier);
    assert_eq!(refusal.status.code(), 503);
    assert!(refusal.headers.get(&HeaderName::RetryAfter).is_some());
    subscribe(&mut rig, Pbx, "dialog", "600");
    let (id, _) = rig.invited(Carrier);
    rig.answer(Carrier, id, 404, None);
    assert_eq!(rig.last_status(Pbx), 404, "another trunk has its own");
    while let Some((id, _)) = rig.pbx.invites.pop_front() {
        let now = rig.now;
        rig.pbx.answer(now, id, 404, None);
    }
    rig.turn();
    assert!(rig.subscriptions.is_empty());
    finish(rig);
}

#[test]
fn requests_that_wait_for_the_other_side_are_bounded() {
    let mut rig = rig("under-way");
    subscribed(&mut rig, Carrier);
    rig.carrier.hesitates = true;
    for _ in 0..UNDER_WAY_MAX {
        notify(&mut rig, Pbx, ACTIVE, "<busy/>");
    }
    let waiting = rig.carrier.asked.len();
    assert_eq!(waiting, UNDER_WAY_MAX);
    notify(&mut rig, Pbx, ACTIVE, "<busy/>");
    assert_eq!(rig.last_status(Pbx), 503);
    while let Some((id, _)) = rig.carrier.asked.pop_front() {
        rig.answer(Carrier, id, 200, None);
    }
    assert_eq!(rig.last_status(Pbx), 200);
    finish(rig);
}

#[test]
fn a_trunk_that_is_gone_and_a_gateway_that_stops_say_so() {
    let mut rig = rig("stop");
    subscribed(&mut rig, Carrier);
    rig.subscribe(|all, _, desk| all.stop(desk));
    rig.turn();
    let (_, told) = rig.asked_inside(Carrier);
    let state = value(&told.headers, &HeaderName::SubscriptionState);
    assert_eq!(state, "terminated;reason=deactivated");
    finish(rig);
    let mut rig = self::rig("gone");
    subscribed(&mut rig, Carrier);
    let left = rig.gateway.trunks.iter().filter(|trunk| trunk.id != CARRIER).cloned();
    rig.gateway.trunks = TrunkTable::new(left.map(std::sync::Arc::new));
    rig.subscribe(|all, _, desk| all.retain(desk));
    rig.turn();
    assert!(rig.carrier.asked.is_empty(), "it is nobody's any more");
    let (_, asked) = rig.asked_inside(Pbx);
    assert_eq!(value(&asked.headers, &HeaderName::Expires), "0");
    finish(rig);
}
