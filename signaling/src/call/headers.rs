//! What a call writes into its messages. Nothing of one leg's topology reaches the other: the
//! callee's INVITE is built anew, from an allow-list, never copied.

use bytes::Bytes;
use sip::endpoint::{Hop, ServerId};
use sip::wire::{HeaderName, Headers, Method, NameAddr, Request, StatusCode, Uri};

use super::common::Leg;
use super::identity::{Caller, Unshowable};
use super::negotiate::{Offered, Unusable};
use super::{Common, Desk, identity, timers};
use crate::trunk::refer::ReferPolicy;
use crate::trunk::reliable::TAG;
use crate::trunk::timer::TimerPolicy;
use crate::trunk::{Trunk, TrunkId};

/// Methods that a call of this gateway understands.
pub const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO, PRACK";
/// The same on a trunk without `update`.
pub const ALLOW_NO_UPDATE: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, PRACK";
/// What is added where transfers are done (RFC 3515).
const ALLOW_REFER: &str = ", REFER, NOTIFY";
/// Allow toward a trunk.
pub fn allow(takes_update: bool, refer: ReferPolicy) -> (HeaderName, Bytes) {
    let methods = if takes_update { ALLOW } else { ALLOW_NO_UPDATE };
    let methods = match refer {
        ReferPolicy::Reject => Bytes::from_static(methods.as_bytes()),
        ReferPolicy::Pass | ReferPolicy::Local => Bytes::from(format!("{methods}{ALLOW_REFER}")),
    };
    (HeaderName::Allow, methods)
}

/// The one body type that a call of this gateway understands.
pub const SDP: &str = "application/sdp";
/// What a NOTIFY of a REFER brings (RFC 3420).
pub const SIPFRAG: &str = "message/sipfrag;version=2.0";
/// Max-Forwards of a request that came without one (RFC 3261 §16.6).
const MAX_FORWARDS: u8 = 70;

/// The option tag of RFC 3891.
const REPLACES: &str = "replaces";

/// `#` in a user part (RFC 3261 §25.1).
const HASH: &str = "%23";

/// A request that cannot be carried on.
pub struct Refusal {
    pub status: StatusCode,
    pub reason: &'static str,
}

/// The session description in a message, if that is what its body is.
pub fn sdp_of<'a>(headers: &Headers, body: &'a Bytes) -> Option<&'a [u8]> {
    let kind = headers.content_type()?;
    let end = kind.iter().position(|b| *b == b';').unwrap_or(kind.len());
    let (kind, _) = kind.split_at_checked(end)?;
    (kind.trim_ascii().eq_ignore_ascii_case(SDP.as_bytes()) && !body.is_empty()).then_some(body)
}

/// The Request-URI of a number at a trunk (RFC 3261 §19.1.1).
///
/// # Errors
/// When the number has characters that no user part may have.
pub fn callee_uri(trunk: &Trunk, called: &str) -> Result<Uri, Refusal> {
    let transport = match trunk.transport {
        sip::endpoint::Transport::Udp => "",
        sip::endpoint::Transport::Tcp => ";transport=tcp",
        sip::endpoint::Transport::Tls => ";transport=tls",
    };
    let port = trunk.port.map(|p| format!(":{p}")).unwrap_or_default();
    let called = called.replace('#', HASH);
    let text = format!("sip:{called}@{}{port}{transport}", trunk.host);
    let mut uri = Uri::parse(text.as_bytes()).map_err(|_| Refusal {
        status: StatusCode::ADDRESS_INCOMPLETE,
        reason: "number not usable",
    })?;
    if let (Uri::Sip(uri), true) = (&mut uri, trunk.identity.user_phone) {
        identity::mark_phone(uri, called.as_bytes());
    }
    Ok(uri)
}

/// Builds the callee's INVITE from what the caller asked and our offer.
///
/// # Errors
/// [`Refusal`] when the hop limit is reached or an address cannot be written.
pub fn callee_invite(
    common: &Common,
    desk: &Desk<'_>,
    asked: &Request,
    offered: Option<&Offered>,
) -> Result<Request, Refusal> {
    let gone = Refusal { status: StatusCode::SERVICE_UNAVAILABLE, reason: "the trunk is gone" };
    let trunk = desk.trunks.get(common.callee.trunk).ok_or(gone)?;
    let mut request = outside(desk, trunk, Method::Invite, &common.called, &common.who, asked)?;
    let headers = &mut request.headers;
    let referrer = common.referrer.as_ref();
    if let Some((name, value)) = referrer.and_then(|who| who.referring(trunk, &desk.settings.host))
    {
        headers.push(name, value);
    }
    let (name, methods) = allow(trunk.manner.update, trunk.manner.refer);
    headers.push(name, methods);
    for (name, value) in timers::offer_headers(&trunk.timer).into_iter().chain([replaces()]) {
        headers.push(name, value);
    }
    if let Some(offered) = offered {
        if let Some((name, value)) = trunk.reliability.header() {
            headers.push(name, value);
        }
        headers.push(HeaderName::ContentType, SDP);
        request.body = offered.body.clone();
    }
    Ok(request)
}

/// Who a request outside of dialogs is from, as far as its trunk is believed.
pub fn asker(request: &Request, trunk: &Trunk) -> Caller {
    let mut who = Caller::of(request, &trunk.identity);
    who.read_by(&trunk.numbering);
    who
}

/// A request to a number at a trunk, made of what `asked` wants: nothing of it is copied.
///
/// # Errors
/// [`Refusal`] when the hop limit is reached or an address cannot be written.
pub fn outside(
    desk: &Desk<'_>,
    trunk: &Trunk,
    method: Method,
    called: &str,
    who: &Caller,
    asked: &Request,
) -> Result<Request, Refusal> {
    let uri = callee_uri(trunk, called)?;
    let mut request = Request::new(method, uri.clone());
    let forwards = asked.headers.max_forwards().ok().flatten().unwrap_or(MAX_FORWARDS);
    let left = forwards
        .checked_sub(1)
        .ok_or(Refusal { status: StatusCode::TOO_MANY_HOPS, reason: "Max-Forwards is 0" })?;
    let headers = &mut request.headers;
    headers.push(HeaderName::MaxForwards, left.to_string());
    if let Some(route) = trunk.proxy_route() {
        headers.push(HeaderName::Route, route);
    }
    for route in desk.memory.service_route(trunk.id) {
        headers.push(HeaderName::Route, route.clone());
    }
    let shown = who.toward(trunk, &desk.settings.host, &uri).map_err(unshowable)?;
    headers.push(HeaderName::From, shown.from);
    headers.push(HeaderName::To, NameAddr::new(uri).to_string());
    for (name, value) in shown.headers {
        headers.push(name, value);
    }
    Ok(request)
}

fn unshowable(why: Unshowable) -> Refusal {
    match why {
        Unshowable::Foreign => {
            let reason = "the caller's number is not one of the trunk's (caller_id_policy)";
            Refusal { status: StatusCode::FORBIDDEN, reason }
        }
        Unshowable::Host => {
            Refusal { status: StatusCode::SERVER_INTERNAL_ERROR, reason: "address" }
        }
    }
}

/// The number that a request asks for: the user part of its Request-URI. `#`, which is dialled and
/// must be escaped in a URI, is the one escape that is resolved.
pub fn called_number(uri: &Uri) -> Option<String> {
    Some(String::from_utf8_lossy(&identity::user_of(uri)?).replace(HASH, "#"))
}

/// When to ask again: after up to ten seconds.
pub fn retry_after(desk: &mut Desk<'_>) -> (HeaderName, Bytes) {
    let mut random = [0];
    (desk.entropy)(&mut random);
    let [random] = random;
    (HeaderName::RetryAfter, (random % 11).to_string().into())
}

pub fn answer_bye(desk: &mut Desk<'_>, transaction: ServerId) {
    desk.answer(transaction, StatusCode::OK, Vec::new(), None);
}

/// Dialogs of ours may be replaced (RFC 3891 §6.2).
pub fn replaces() -> (HeaderName, Bytes) {
    (HeaderName::Supported, Bytes::from_static(REPLACES.as_bytes()))
}

/// What our side of a dialog can do, for a 2xx.
pub fn capabilities(leg: &Leg) -> Vec<(HeaderName, Bytes)> {
    let timer = (HeaderName::Supported, Bytes::from_static(b"timer"));
    vec![allow(leg.takes_update, leg.refer), timer, replaces()]
}

/// The extensions that a request demands and its trunk does not have (RFC 3261 §8.2.2.3).
pub fn unsupported(request: &Request, trunk: &Trunk) -> Option<Bytes> {
    let has_timer = trunk.timer.policy != TimerPolicy::Refuse;
    let known = |token: &Bytes| {
        token.eq_ignore_ascii_case(b"timer") && has_timer
            || token.eq_ignore_ascii_case(TAG.as_bytes()) && trunk.reliability.is_known()
            || token.eq_ignore_ascii_case(REPLACES.as_bytes())
    };
    let demanded = request.headers.list(&HeaderName::Require).unwrap_or_default();
    let foreign: Vec<Bytes> = demanded.into_iter().filter(|token| !known(token)).collect();
    (!foreign.is_empty()).then(|| Bytes::from(foreign.join(&b", "[..])))
}

/// Answers a request inside a dialog that changes nothing: what cannot be carried out now is refused
/// without harm to the call (RFC 3261 §14.2).
pub fn answer_in_dialog(desk: &mut Desk<'_>, transaction: ServerId, request: &Request) {
    let allow = || vec![allow(true, ReferPolicy::Reject)];
    match &request.method {
        Method::Bye | Method::Options => {
            desk.answer(transaction, StatusCode::OK, allow(), None);
        }
        Method::Prack if request.body.is_empty() => {
            desk.answer(transaction, StatusCode::OK, Vec::new(), None);
        }
        // Media was described by the response that it acknowledges; that stands (RFC 3262 §5).
        Method::Prack => {
            desk.answer(transaction, StatusCode::NOT_ACCEPTABLE_HERE, Vec::new(), None);
        }
        // Before the call is answered its media has one offer under way (RFC 3311 §5.2); when it is
        // over nothing changes any more.
        Method::Invite | Method::Update => {
            desk.answer(transaction, StatusCode::REQUEST_PENDING, Vec::new(), None);
        }
        Method::Subscribe => {
            desk.answer(transaction, StatusCode::BAD_EVENT, Vec::new(), None);
        }
        // Transfers are done while both sides talk, where the trunk has them at all.
        Method::Refer => {
            desk.answer(transaction, StatusCode::DECLINE, Vec::new(), None);
        }
        // Nothing was subscribed to (RFC 6665 §4.1.3).
        Method::Notify => {
            let status = StatusCode::CALL_OR_TRANSACTION_DOES_NOT_EXIST;
            desk.answer(transaction, status, Vec::new(), None);
        }
        _ => {
            desk.answer(transaction, StatusCode::METHOD_NOT_ALLOWED, allow(), None);
        }
    }
}

/// Answers a request outside of calls and subscriptions: OPTIONS tells what we can and whether calls are taken,
/// everything else is not served here.
pub fn answer_outside(desk: &mut Desk<'_>, transaction: ServerId, hop: Hop, request: &Request) {
    let trunk = TrunkId::from_tag(hop.tag).and_then(|id| desk.trunks.get(id));
    let manner = trunk.map(|trunk| &trunk.manner);
    let refer = manner.map_or(ReferPolicy::Reject, |manner| manner.refer);
    let allow = allow(manner.is_none_or(|manner| manner.update), refer);
    if request.headers.get(&HeaderName::Replaces).is_some() {
        // Only an INVITE replaces a dialog (RFC 3891 §3).
        desk.answer(transaction, StatusCode::BAD_REQUEST, vec![allow], None);
        return;
    }
    if request.method != Method::Options {
        desk.answer(transaction, StatusCode::METHOD_NOT_ALLOWED, vec![allow], None);
        return;
    }
    if let Some(demanded) = trunk.and_then(|trunk| unsupported(request, trunk)) {
        let extra = vec![(HeaderName::Unsupported, demanded)];
        desk.answer(transaction, StatusCode::BAD_EXTENSION, extra, None);
    } else if trunk.is_some_and(|trunk| desk.health.is_draining(trunk.id)) {
        desk.refuse(transaction, StatusCode::SERVICE_UNAVAILABLE, "no new calls are taken");
    } else {
        let accept = (HeaderName::Accept, Bytes::from_static(SDP.as_bytes()));
        desk.answer(transaction, StatusCode::OK, vec![allow, accept, replaces()], None);
    }
}

/// Whether the sender of an INVITE takes a session description (RFC 3261 §20.1): without Accept it
/// does.
pub fn takes_sdp(headers: &Headers) -> bool {
    let accepted = headers.list(&HeaderName::Accept).unwrap_or_default();
    let is_meant = |range: &Bytes| {
        let end = range.iter().position(|b| *b == b';').unwrap_or(range.len());
        let range = range.get(..end).unwrap_or_default().trim_ascii();
        [SDP, "application/*", "*/*"].iter().any(|ours| range.eq_ignore_ascii_case(ours.as_bytes()))
    };
    headers.get(&HeaderName::Accept).is_none() || accepted.iter().any(is_meant)
}

/// Why a session description cannot be served, as a header (RFC 3261 §20.43).
pub fn warning(reject: &Unusable) -> (HeaderName, Bytes) {
    let (code, text) = reject.warning();
    let text: String = text.chars().filter(|c| !c.is_control() && *c != '"').collect();
    (HeaderName::Warning, Bytes::from(format!("{code} trunkline \"{text}\"")))
}

/// A callee's final failure as the caller is told. Challenges and redirections are between us and
/// the callee's trunk, and never leave it.
pub fn status_toward_caller(status: StatusCode) -> StatusCode {
    match status.code() {
        401 | 407 => StatusCode::SERVICE_UNAVAILABLE,
        300..=399 => StatusCode::TEMPORARILY_UNAVAILABLE,
        _ => status,
    }
}
