//! What a call writes into its messages. Nothing of one leg's topology reaches the other: the
//! callee's INVITE is built anew, from an allow-list, never copied.

use bytes::Bytes;
use sip::endpoint::ServerId;
use sip::wire::{HeaderName, Headers, Host, Method, NameAddr, Request, SipUri, StatusCode, Uri};

use super::negotiate::{Offered, Unusable};
use super::{Common, Desk};
use crate::trunk::Trunk;

/// Methods that a call of this gateway understands.
pub const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS";
/// The one body type that a call of this gateway understands.
pub const SDP: &str = "application/sdp";
/// Max-Forwards of a request that came without one (RFC 3261 §16.6).
const MAX_FORWARDS: u8 = 70;

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
    let text = format!("sip:{called}@{}{port}{transport}", trunk.host);
    Uri::parse(text.as_bytes()).map_err(|_| Refusal {
        status: StatusCode::ADDRESS_INCOMPLETE,
        reason: "number not usable",
    })
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
    let internal = |_| Refusal { status: StatusCode::SERVER_INTERNAL_ERROR, reason: "address" };
    let gone = Refusal { status: StatusCode::SERVICE_UNAVAILABLE, reason: "the trunk is gone" };
    let trunk = desk.trunks.get(common.callee.trunk).ok_or(gone)?;
    let uri = callee_uri(trunk, &common.called)?;
    let mut request = Request::new(Method::Invite, uri.clone());
    let forwards = asked.headers.max_forwards().ok().flatten().unwrap_or(MAX_FORWARDS);
    let left = forwards
        .checked_sub(1)
        .ok_or(Refusal { status: StatusCode::TOO_MANY_HOPS, reason: "Max-Forwards is 0" })?;
    let headers = &mut request.headers;
    headers.push(HeaderName::MaxForwards, left.to_string());
    if let Some(proxy) = &trunk.outbound_proxy {
        let port = proxy.port.map(|p| format!(":{p}")).unwrap_or_default();
        headers.push(HeaderName::Route, format!("<sip:{}{port};lr>", proxy.host));
    }
    headers.push(HeaderName::From, caller_identity(desk, trunk, asked).map_err(internal)?);
    headers.push(HeaderName::To, NameAddr::new(uri).to_string());
    headers.push(HeaderName::Allow, ALLOW);
    if let Some(offered) = offered {
        headers.push(HeaderName::ContentType, SDP);
        request.body = offered.body.clone();
    }
    Ok(request)
}

/// Who calls, as the callee's trunk is told: the caller's user part and display name at our host,
/// or what the trunk's `from_user` and `from_domain` say.
fn caller_identity(
    desk: &Desk<'_>,
    trunk: &Trunk,
    asked: &Request,
) -> Result<String, sip::wire::ParseError> {
    let theirs = asked.headers.from()?;
    let user = match &trunk.from_user {
        Some(user) => Some(Bytes::from(user.clone())),
        None => match &theirs.uri {
            Uri::Sip(uri) => uri.user.as_ref().map(number_of),
            Uri::Tel(uri) => Some(uri.number.clone()),
            Uri::Other(_) => None,
        },
    };
    let host = trunk.from_domain.as_deref().unwrap_or(&desk.settings.host);
    let mut uri = SipUri::new(Host::parse(host.as_bytes())?);
    uri.user = Some(user.unwrap_or_else(|| Bytes::from_static(b"anonymous")));
    let mut from = NameAddr::new(Uri::Sip(uri));
    from.display = theirs.display;
    Ok(from.to_string())
}

/// The number that a request asks for: the user part of its Request-URI.
pub fn called_number(uri: &Uri) -> Option<String> {
    let bytes = match uri {
        Uri::Sip(uri) => number_of(uri.user.as_ref()?),
        Uri::Tel(uri) => uri.number.clone(),
        Uri::Other(_) => return None,
    };
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A user part without its password and without the parameters of a telephone number
/// (RFC 3261 §19.1.6).
fn number_of(user: &Bytes) -> Bytes {
    let end = user.iter().position(|b| matches!(b, b':' | b';')).unwrap_or(user.len());
    user.slice(..end)
}

/// The caller's user part, for the CDR and for caller patterns of routes.
pub fn caller_number(request: &Request) -> String {
    let from = request.headers.from().ok();
    from.and_then(|f| called_number(&f.uri)).unwrap_or_default()
}

pub fn answer_bye(desk: &mut Desk<'_>, transaction: ServerId) {
    desk.answer(transaction, StatusCode::OK, Vec::new(), None);
}

/// Answers a request inside a dialog that changes nothing: what this version does not carry is
/// refused without harm to the call (RFC 3261 §14.2).
pub fn answer_in_dialog(desk: &mut Desk<'_>, transaction: ServerId, request: &Request) {
    let allow = || vec![(HeaderName::Allow, Bytes::from_static(ALLOW.as_bytes()))];
    match &request.method {
        Method::Bye | Method::Options => {
            desk.answer(transaction, StatusCode::OK, allow(), None);
        }
        Method::Invite => {
            let warning = "399 trunkline \"a change of a running call is not supported\"";
            let extra = vec![(HeaderName::Warning, Bytes::from_static(warning.as_bytes()))];
            desk.answer(transaction, StatusCode::NOT_ACCEPTABLE_HERE, extra, None);
        }
        _ => {
            desk.answer(transaction, StatusCode::METHOD_NOT_ALLOWED, allow(), None);
        }
    }
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
