//! Dialogs (RFC 3261 §12): the peer-to-peer relation that an INVITE and its answer make.
//!
//! A [`Dialog`] is plain data: it knows both tags, the route set, the remote target and both CSeq
//! counters, and builds requests from them. It sends nothing and keeps no timer. One response with a
//! new To-tag is one new dialog, so two forks of one INVITE never share state.
//!
//! Values are copied out of the messages, because a slice would keep a whole datagram alive for the
//! length of a call.

#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::wire::{
    CSeq, HeaderName, Headers, Method, NameAddr, ParseError, Request, Response, Uri, limits,
};

/// One dialog as this side sees it.
#[derive(Clone, Debug)]
pub struct Dialog {
    call_id: Bytes,
    local_tag: Bytes,
    remote_tag: Bytes,
    /// From of our requests, with our tag.
    local: Bytes,
    /// To of our requests, with the peer's tag.
    remote: Bytes,
    /// Number of our last request; 0 before the first.
    local_cseq: u32,
    /// Number of the peer's last request; none before the first.
    remote_cseq: Option<u32>,
    /// The peer's Contact: Request-URI of our requests unless a strict router stands first.
    target: Uri,
    /// First hop first.
    routes: Vec<NameAddr>,
    confirmed: bool,
}

impl Dialog {
    /// The dialog that a tagged 1xx or a 2xx to our INVITE makes (RFC 3261 §12.1.2).
    ///
    /// A response without Contact leaves the Request-URI as the target: an unreliable 180 often has
    /// none, and the 2xx repairs it.
    pub fn uac(invite: &Request, response: &Response) -> Result<Self, ParseError> {
        let from = invite.headers.from()?;
        let to = response.headers.to()?;
        let mut dialog = Dialog {
            call_id: own(&invite.headers.call_id()?),
            local_tag: own(from.tag().unwrap_or(&Bytes::new())),
            remote_tag: own(to.tag().unwrap_or(&Bytes::new())),
            local: text(&from),
            remote: text(&to),
            local_cseq: invite.headers.cseq()?.number,
            remote_cseq: None,
            target: request_uri(invite.uri.clone()),
            routes: Vec::new(),
            confirmed: response.status.is_success(),
        };
        dialog.learn(response)?;
        Ok(dialog)
    }

    /// The dialog that our tagged 1xx or 2xx to an INVITE makes (RFC 3261 §12.1.1).
    pub fn uas(invite: &Request, local_tag: &Bytes) -> Result<Self, ParseError> {
        let from = invite.headers.from()?;
        let to = invite.headers.to()?.with_tag(local_tag.clone());
        let contact = invite.headers.contacts()?.into_iter().next();
        Ok(Dialog {
            call_id: own(&invite.headers.call_id()?),
            local_tag: own(local_tag),
            remote_tag: own(from.tag().unwrap_or(&Bytes::new())),
            local: text(&to),
            remote: text(&from),
            local_cseq: 0,
            remote_cseq: Some(invite.headers.cseq()?.number),
            target: request_uri(contact.map_or(from.uri, |contact| contact.uri)),
            routes: detached(invite.headers.record_route()?),
            confirmed: false,
        })
    }

    pub fn call_id(&self) -> &Bytes {
        &self.call_id
    }

    pub fn local_tag(&self) -> &Bytes {
        &self.local_tag
    }

    pub fn remote_tag(&self) -> &Bytes {
        &self.remote_tag
    }

    pub fn remote_target(&self) -> &Uri {
        &self.target
    }

    /// False while only provisional responses were exchanged (an early dialog).
    pub fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// Where the next request goes first: the top of the route set, else the remote target.
    pub fn next_hop(&self) -> &Uri {
        self.routes.first().map_or(&self.target, |route| &route.uri)
    }

    /// Takes target and route set from a response to our INVITE. A 2xx replaces the route set that
    /// a provisional response gave (RFC 3261 §13.2.2.4).
    pub fn learn(&mut self, response: &Response) -> Result<(), ParseError> {
        let mut routes = response.headers.record_route()?;
        if response.status.is_success() || !routes.is_empty() {
            routes.reverse();
            self.routes = detached(routes);
        }
        self.confirmed |= response.status.is_success();
        self.refresh(&response.headers)
    }

    /// Our 2xx to the INVITE was sent: the dialog is no longer early.
    pub fn confirm(&mut self) {
        self.confirmed = true;
    }

    /// Takes the remote target of a target refresh request or its 2xx (RFC 3261 §12.2). The route
    /// set of a dialog never changes that way.
    pub fn refresh(&mut self, headers: &Headers) -> Result<(), ParseError> {
        if let Some(contact) = headers.contacts()?.into_iter().next() {
            self.target = request_uri(contact.uri);
        }
        Ok(())
    }

    /// Whether a request of the peer comes in order (RFC 3261 §12.2.2); remembers its number if so.
    /// A number that was used already is as wrong as an older one: a retransmission never gets here.
    pub fn admit(&mut self, number: u32) -> bool {
        let in_order = self.remote_cseq.is_none_or(|last| number > last);
        if in_order {
            self.remote_cseq = Some(number);
        }
        in_order
    }

    /// A request with the next CSeq (RFC 3261 §12.2.1.1), without Via.
    pub fn request(&mut self, method: Method) -> Request {
        self.local_cseq = self.local_cseq.saturating_add(1).min(limits::CSEQ_MAX);
        self.numbered(method, self.local_cseq)
    }

    /// The ACK for the 2xx to our INVITE with this number (RFC 3261 §13.2.2.4), without Via.
    pub fn ack(&self, number: u32) -> Request {
        self.numbered(Method::Ack, number)
    }

    fn numbered(&self, method: Method, number: u32) -> Request {
        let (uri, routes) = self.path();
        let mut request = Request::new(method.clone(), uri);
        let headers = &mut request.headers;
        for route in routes {
            headers.push(HeaderName::Route, route);
        }
        headers.push(HeaderName::MaxForwards, MAX_FORWARDS);
        headers.push(HeaderName::From, self.local.clone());
        headers.push(HeaderName::To, self.remote.clone());
        headers.push(HeaderName::CallId, self.call_id.clone());
        headers.push(HeaderName::CSeq, CSeq { number, method }.to_string());
        request
    }

    /// Request-URI and Route values. A first hop without `lr` is a strict router: it gets its own
    /// URI as Request-URI and the target goes last (RFC 3261 §12.2.1.1).
    fn path(&self) -> (Uri, Vec<String>) {
        let strict = self.routes.first().filter(|first| !is_loose(&first.uri));
        match strict {
            None => (self.target.clone(), self.routes.iter().map(NameAddr::to_string).collect()),
            Some(first) => {
                let last = NameAddr::new(self.target.clone());
                let rest = self.routes.iter().skip(1).chain([&last]);
                (request_uri(first.uri.clone()), rest.map(NameAddr::to_string).collect())
            }
        }
    }
}

/// The Max-Forwards of a request that does not bring its own (RFC 3261 §8.1.1.6).
pub const MAX_FORWARDS: &str = "70";

fn is_loose(uri: &Uri) -> bool {
    uri.as_sip().is_some_and(|uri| uri.params.has("lr"))
}

/// What may stand in a Request-URI: no headers, no `method` (RFC 3261 §19.1.1). Detached from the
/// message it was read from.
fn request_uri(mut uri: Uri) -> Uri {
    if let Uri::Sip(sip) = &mut uri {
        sip.headers = None;
        sip.params.remove("method");
    }
    Uri::from_bytes(Bytes::from(uri.to_string().into_boxed_str().into_boxed_bytes())).unwrap_or(uri)
}

fn detached(routes: Vec<NameAddr>) -> Vec<NameAddr> {
    routes.into_iter().map(|route| NameAddr::parse(&text(&route)).unwrap_or(route)).collect()
}

fn text(address: &NameAddr) -> Bytes {
    Bytes::from(address.to_string().into_boxed_str().into_boxed_bytes())
}

fn own(value: &Bytes) -> Bytes {
    Bytes::copy_from_slice(value)
}
