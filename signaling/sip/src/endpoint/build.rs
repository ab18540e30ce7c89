//! Messages that the endpoint writes: responses, ACK for failures, CANCEL.

use bytes::Bytes;

use crate::dialog::MAX_FORWARDS;
use crate::wire::{
    CSeq, HeaderName, Headers, Method, ParseError, Request, Response, StatusCode, Uri,
};

/// A body with its Content-Type.
pub(super) type Body<'a> = Option<(&'a str, Bytes)>;

/// The headers that the caller adds.
pub(super) type Extra = Vec<(HeaderName, Bytes)>;

/// The response to `request` with what RFC 3261 §8.2.6.2 copies. `tag` is added to a To that has
/// none.
pub(super) fn response(request: &Request, status: StatusCode, tag: Option<&Bytes>) -> Response {
    let mut response = Response::new(status);
    let headers = &mut response.headers;
    copy(&request.headers, headers, &HeaderName::Via);
    if makes_dialog(request, status) {
        copy(&request.headers, headers, &HeaderName::RecordRoute);
    }
    copy(&request.headers, headers, &HeaderName::From);
    match (request.headers.to(), tag) {
        (Ok(to), Some(tag)) if to.tag().is_none() => {
            headers.push(HeaderName::To, to.with_tag(tag.clone()).to_string());
        }
        _ => copy(&request.headers, headers, &HeaderName::To),
    }
    copy(&request.headers, headers, &HeaderName::CallId);
    copy(&request.headers, headers, &HeaderName::CSeq);
    if status == StatusCode::TRYING {
        copy(&request.headers, headers, &HeaderName::Timestamp);
    }
    response
}

/// The part of a request that its responses and its dialog are made of.
pub(super) fn answerable(request: &Request) -> Request {
    let mut part = Request::new(request.method.clone(), Uri::Other(Bytes::new()));
    part.headers = request.headers.only(&ANSWERED);
    part.body = request.body.clone();
    part
}

/// A response that forms or confirms a dialog: Record-Route is copied and Contact is due.
pub(super) fn makes_dialog(request: &Request, status: StatusCode) -> bool {
    match request.method {
        Method::Invite => status != StatusCode::TRYING && status.code() < 300,
        Method::Subscribe => status.is_success(),
        _ => false,
    }
}

/// Adds what the caller wants in a message. Fields that the endpoint writes itself are skipped.
pub(super) fn add(headers: &mut Headers, extra: Extra) {
    for (name, value) in extra {
        if !OWN_FIELDS.contains(&name) {
            headers.push(name, value);
        }
    }
}

/// Gives a message a body, or leaves it without.
pub(super) fn set_body(headers: &mut Headers, place: &mut Bytes, body: Body<'_>) {
    if let Some((content_type, body)) = body {
        headers.set(HeaderName::ContentType, Bytes::copy_from_slice(content_type.as_bytes()));
        *place = body;
    }
}

/// The ACK for a final response other than 2xx (RFC 3261 §17.1.1.3): the Via, Route and credentials
/// of the INVITE, the To of the response.
pub(super) fn ack(invite: &Request, refusal: &Response) -> Result<Request, ParseError> {
    let mut ack = follow_up(invite, Method::Ack)?;
    if let Some(to) = refusal.headers.get(&HeaderName::To) {
        ack.headers.set(HeaderName::To, to.clone());
    }
    ack.headers.remove(&HeaderName::UserAgent);
    for (name, value) in credentials(&invite.headers) {
        ack.headers.push(name, value);
    }
    Ok(ack)
}

/// The CANCEL of an INVITE (RFC 3261 §9.1).
pub(super) fn cancel(invite: &Request) -> Result<Request, ParseError> {
    follow_up(invite, Method::Cancel)
}

/// Authorization fields; the ACK repeats them (RFC 3261 §22.1).
pub(super) fn credentials(headers: &Headers) -> Extra {
    headers
        .iter()
        .filter(|(name, _)| name.is_secret())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Fields of an INVITE that are still wanted when it was answered with a 2xx: what further dialogs are
/// made from (RFC 3261 §12.1.2), and what each ACK repeats.
pub(super) fn names_call(name: &HeaderName) -> bool {
    let names = [HeaderName::From, HeaderName::CallId, HeaderName::CSeq];
    names.contains(name) || name.is_secret()
}

/// What ACK and CANCEL share: everything that identifies the INVITE, its one Via, its Route.
fn follow_up(invite: &Request, method: Method) -> Result<Request, ParseError> {
    let number = invite.headers.cseq()?.number;
    let mut request = Request::new(method.clone(), invite.uri.clone());
    let headers = &mut request.headers;
    for name in [HeaderName::Via, HeaderName::Route, HeaderName::From, HeaderName::To] {
        copy(&invite.headers, headers, &name);
    }
    copy(&invite.headers, headers, &HeaderName::CallId);
    headers.push(HeaderName::CSeq, CSeq { number, method }.to_string());
    headers.push(HeaderName::MaxForwards, MAX_FORWARDS);
    copy(&invite.headers, headers, &HeaderName::UserAgent);
    Ok(request)
}

fn copy(from: &Headers, to: &mut Headers, name: &HeaderName) {
    for value in from.all(name) {
        to.push(name.clone(), value.clone());
    }
}

const ANSWERED: [HeaderName; 8] = [
    HeaderName::Via,
    HeaderName::RecordRoute,
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::Timestamp,
    HeaderName::Contact,
];

const OWN_FIELDS: [HeaderName; 7] = [
    HeaderName::Via,
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::RecordRoute,
    HeaderName::ContentLength,
];
