//! The gate: a request goes on only when it belongs to exactly one trunk.
//!
//! It runs before any transaction exists. Who does not belong gets nothing on UDP, so that we
//! reflect nothing, and 403 with the end of the connection elsewhere. Each refusal is counted and
//! its source remembered, so that an operator can see who knocks.

use bytes::Bytes;
use jiff::Timestamp;
use sip::endpoint::Hop;
use sip::wire::{HeaderName, Method, ParseError, Request, Response, StatusCode, Uri};

use crate::shard::Edge;
use crate::trunk::{
    Called, Origin, TrunkId, TrunkTable, Unattributed, UnknownCaller, UnknownCallers, attribute,
    belongs,
};

/// Headers that tie a response to its request (RFC 3261 §8.2.6.2).
const COPIED: [HeaderName; 5] =
    [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq];

/// Who was turned away.
#[derive(Default)]
pub struct Gate {
    unknown: UnknownCallers,
}

impl Gate {
    /// Who was turned away.
    pub fn unknown(&self) -> &UnknownCallers {
        &self.unknown
    }

    pub fn unknown_mut(&mut self) -> &mut UnknownCallers {
        &mut self.unknown
    }

    /// The trunk that `request` belongs to. `dialog` is the trunk of the dialog that the request
    /// names, if there is one.
    ///
    /// # Errors
    /// It was turned away; the caller, when that is worth telling.
    pub fn pass(
        &mut self,
        wall: Timestamp,
        trunks: &TrunkTable,
        net: &impl Edge,
        (hop, origin): (Hop, &Origin),
        request: &Request,
        dialog: Option<TrunkId>,
    ) -> Result<TrunkId, Option<UnknownCaller>> {
        decide(trunks, origin, request, dialog)
            .map_err(|reason| self.turn_away(wall, net, hop, origin, request, reason))
    }

    /// The 4xx for a datagram that is no message: only who is known gets one.
    pub fn refusal(
        &self,
        trunks: &TrunkTable,
        origin: &Origin,
        raw: &Bytes,
        error: &ParseError,
    ) -> Option<Bytes> {
        attribute(trunks, origin, Called::default()).ok()?;
        Some(sip::wire::refusal(raw, error)?.to_bytes())
    }

    fn turn_away(
        &mut self,
        wall: Timestamp,
        net: &impl Edge,
        hop: Hop,
        origin: &Origin,
        request: &Request,
        reason: Unattributed,
    ) -> Option<UnknownCaller> {
        let caller = self.unknown.record(origin, reason, wall);
        let count = caller.count;
        let is_news = self.unknown.is_news(&caller);
        if is_news {
            tracing::warn!(
                source = %origin.source,
                transport = origin.transport.as_str(),
                reason = reason.name(),
                method = request.method.as_str(),
                count,
                "request belongs to no trunk; not processed"
            );
        }
        if hop.transport.is_reliable() {
            if request.method != Method::Ack {
                net.send(hop, forbidden(request));
            }
            net.close(hop.connection);
        }
        is_news.then_some(caller)
    }
}

/// The verdict itself. A request inside a dialog of a trunk may come from wherever that trunk does;
/// any other has to name its trunk by itself.
fn decide(
    trunks: &TrunkTable,
    origin: &Origin,
    request: &Request,
    dialog: Option<TrunkId>,
) -> Result<TrunkId, Unattributed> {
    let called = called(&request.uri);
    match dialog.filter(|trunk| belongs(trunks, origin, called, *trunk)) {
        Some(trunk) => Ok(trunk),
        None => attribute(trunks, origin, called),
    }
}

fn called(uri: &Uri) -> Called<'_> {
    match uri {
        Uri::Sip(uri) => Called::from(uri),
        _ => Called::default(),
    }
}

/// A 403 without any state behind it.
fn forbidden(request: &Request) -> Bytes {
    let mut response = Response::new(StatusCode::FORBIDDEN);
    for name in COPIED {
        for value in request.headers.all(&name) {
            response.headers.push(name.clone(), value.clone());
        }
    }
    response.to_bytes()
}

#[cfg(test)]
mod matrix;
