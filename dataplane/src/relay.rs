//! The relay: a pure function over (batch, flows, now). Each arrival becomes a departure or a
//! discard, and one verdict.
//!
//! ```text
//! flow? size? kind? source? gate? -> admit (unprotect) -> parse -> seal (protect) -> departure
//! ```
//! Cheap checks come first, and nothing about a flow changes before a packet is admitted, apart
//! from the counts of refusals.

use rtp::demux::{Class, classify};
use rtp::packet::RtpPacket;
use rtp::rtcp::RtcpCompound;

use crate::admit::{Admitted, FromSource};
use crate::flow::{Flow, Flows, Gate, Lives};
use crate::io::{Arrival, Batch, Buffers, Departure, Endpoint, Port, SocketId};
use crate::limits::PACKET_MAX;
use crate::quality::Seen;
use crate::tally::Tally;
use crate::verdict::{Kind, Verdict};

/// Relays the arrivals of a batch: leaves none, fills departures and discards.
pub fn relay(
    batch: &mut Batch,
    buffers: &mut Buffers,
    flows: &mut Flows,
    tally: &mut Tally,
    now_ns: u64,
) {
    let Batch { arrivals, departures, discards, .. } = batch;
    for arrival in arrivals.drain(..) {
        let body = buffers.body(arrival.buffer).unwrap_or_default();
        let verdict = match relay_one(&arrival, body, flows, now_ns) {
            Ok((departure, kind)) => {
                tally.sent(departure.len);
                departures.push(departure);
                Verdict::relayed(kind)
            }
            Err(verdict) => {
                discards.push(arrival.buffer);
                verdict
            }
        };
        tally.received(arrival.len);
        tally.count(verdict);
    }
}

/// Takes back the booking of packets that the kernel refused to send.
pub fn book_failures(batch: &mut Batch, flows: &mut Flows, tally: &mut Tally) {
    for origin in batch.failed.drain(..) {
        tally.send_failed(origin.port);
        if let Some(flow) = flows.get_mut(origin.flow) {
            flow.counts.packets_out = flow.counts.packets_out.saturating_sub(1);
        }
    }
}

fn relay_one(
    arrival: &Arrival,
    body: &mut [u8],
    flows: &mut Flows,
    now_ns: u64,
) -> Result<(Departure, Kind), Verdict> {
    let (flow, lives) = flows.look_up(arrival.socket.flow).ok_or(Verdict::NoFlow)?;
    let passed = pass(arrival, body, flow, lives, now_ns);
    match &passed {
        Ok((departure, _)) => flow.departed(departure.len),
        Err(verdict) => flow.refused(*verdict),
    }
    passed
}

fn pass(
    arrival: &Arrival,
    body: &mut [u8],
    flow: &mut Flow,
    lives: &Lives,
    now_ns: u64,
) -> Result<(Departure, Kind), Verdict> {
    if arrival.truncated || arrival.len > PACKET_MAX {
        return Err(Verdict::Oversize);
    }
    let kind = kind(body.get(..arrival.len).ok_or(Verdict::Oversize)?)?;
    let from_source =
        FromSource::check(expected_source(flow, arrival.socket.port, kind)?, arrival.source)?;
    match flow.gate {
        Gate::NotReady => return Err(Verdict::NotReady),
        Gate::Held => return Err(Verdict::Direction),
        Gate::Relaying => {}
    }
    let destination = flow.destination(kind).ok_or(Verdict::NotReady)?;
    if !lives.is_open(flow.peer) {
        return Err(Verdict::NotReady);
    }
    let admitted = flow.ingress.admit(from_source, kind, body, arrival.len)?;
    examine(flow, &admitted, kind, arrival.len, now_ns)?;
    let sealed = flow.egress.seal(admitted)?;
    let port = if kind == Kind::Rtp || flow.mux_out { Port::Rtp } else { Port::Rtcp };
    let from = SocketId { flow: flow.peer, port };
    let origin = SocketId { flow: flow.id, port: port_of(kind) };
    Ok((Departure::new(sealed, arrival.buffer, origin, from, destination), kind))
}

fn kind(packet: &[u8]) -> Result<Kind, Verdict> {
    match classify(packet) {
        Class::Rtp => Ok(Kind::Rtp),
        Class::Rtcp => Ok(Kind::Rtcp),
        Class::Runt => Err(Verdict::Runt),
        Class::Stun | Class::Dtls | Class::Other => Err(Verdict::NotRtp),
    }
}

/// Who may send packets of `kind` to `port`, or that nobody may.
fn expected_source(flow: &Flow, port: Port, kind: Kind) -> Result<Option<Endpoint>, Verdict> {
    match (port, kind) {
        (Port::Rtp, Kind::Rtp) => Ok(flow.source_rtp),
        (Port::Rtp, Kind::Rtcp) if flow.mux_in => Ok(flow.source_rtp),
        (Port::Rtcp, Kind::Rtcp) => Ok(flow.source_rtcp),
        (Port::Rtp, Kind::Rtcp) | (Port::Rtcp, Kind::Rtp) => Err(Verdict::NotRtp),
    }
}

/// Books an admitted packet as accepted. What does not parse even now is not passed on.
fn examine(
    flow: &mut Flow,
    admitted: &Admitted<'_>,
    kind: Kind,
    len: usize,
    now_ns: u64,
) -> Result<(), Verdict> {
    match kind {
        Kind::Rtp => {
            let packet = RtpPacket::parse(admitted.bytes()).map_err(|_| Verdict::Malformed)?;
            let seen = Seen {
                ssrc: packet.ssrc().0,
                seq: packet.seq().0,
                timestamp: packet.timestamp(),
                payload_type: packet.payload_type().value(),
            };
            flow.quality.note(seen, now_ns);
        }
        Kind::Rtcp => {
            RtcpCompound::parse(admitted.bytes()).map_err(|_| Verdict::Malformed)?;
        }
    }
    flow.accepted(len, now_ns);
    Ok(())
}

fn port_of(kind: Kind) -> Port {
    match kind {
        Kind::Rtp => Port::Rtp,
        Kind::Rtcp => Port::Rtcp,
    }
}

#[cfg(test)]
mod tests;
