//! The relay: a pure function over (batch, flows, now). Each arrival becomes a departure or a
//! discard, and one verdict.
//!
//! ```text
//! flow? size? kind? source? gate? -> admit (unprotect) -> parse -> listen -> renumber
//!                                                         -> seal (protect) -> departure
//! ```
//! Cheap checks come first, and nothing about a flow changes before a packet is admitted, apart
//! from the counts of refusals. What one packet means for the flow of the opposite direction (its
//! destination, the figures of its far side) is told after it, as [`News`].

mod control_packets;

use abi::Event;
use rtp::demux::{Class, classify};
use rtp::packet::{PayloadType, RtpPacket, Seq, Ssrc};
use rtp::rtcp::Translation;

use crate::admit::{Admitted, FromSource};
use crate::continuity::{Header, Talker};
use crate::flow::{Flow, Gate};
use crate::flows::{Flows, Lives};
use crate::io::{Arrival, Batch, Buffers, Departure, Origin, Port, Sent, SocketId};
use crate::latch::{Approach, Confirmed};
use crate::limits::{PACKET_MAX, PREFETCH_AHEAD};
use crate::quality::Seen;
use crate::tally::Tally;
use crate::verdict::{Kind, Verdict};

/// Relays the arrivals of a batch: leaves none, fills departures, discards and notices.
pub fn relay(
    batch: &mut Batch,
    buffers: &mut Buffers,
    flows: &mut Flows,
    tally: &mut Tally,
    now_ns: u64,
) {
    let Batch { arrivals, departures, discards, notices, ages_ns, .. } = batch;
    for arrival in arrivals.iter().take(2 * PREFETCH_AHEAD) {
        flows.prefetch(arrival.socket.flow.index);
    }
    for arrival in arrivals.iter().take(PREFETCH_AHEAD) {
        flows.prefetch_contexts(arrival.socket.flow.index);
    }
    for (place, arrival) in arrivals.iter().enumerate() {
        if let Some(later) = arrivals.get(place + 2 * PREFETCH_AHEAD) {
            flows.prefetch(later.socket.flow.index);
        }
        if let Some(later) = arrivals.get(place + PREFETCH_AHEAD) {
            flows.prefetch_contexts(later.socket.flow.index);
        }
        let body = buffers.body(arrival.buffer).unwrap_or_default();
        let verdict = match relay_one(arrival, body, flows, notices, now_ns) {
            Ok((departure, kind)) => {
                tally.sent(departure.len);
                ages_ns.extend(arrival.age_ns);
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
    arrivals.clear();
}

/// Takes back the booking of packets that the kernel refused to send.
pub fn book_failures(batch: &mut Batch, flows: &mut Flows, tally: &mut Tally) {
    for origin in batch.failed.drain(..) {
        tally.send_failed(origin.sent);
        if let Some(flow) = flows.get_mut(origin.flow) {
            flow.counts.packets_out = flow.counts.packets_out.saturating_sub(1);
        }
    }
}

/// What an admitted packet says beyond itself.
#[derive(Default)]
pub(crate) struct News {
    /// The flow's source was learned anew.
    learned: bool,
    /// The source of its RTCP was.
    learned_rtcp: bool,
    /// A sender report passed: the middle of its NTP time, by which its receiver will answer.
    report_sent: Option<u32>,
}

/// One arrival on its way, and what the relay knows about it.
struct Passage<'a> {
    arrival: &'a Arrival,
    kind: Kind,
    now_ns: u64,
    news: News,
    notices: &'a mut Vec<Event>,
}

fn relay_one(
    arrival: &Arrival,
    body: &mut [u8],
    flows: &mut Flows,
    notices: &mut Vec<Event>,
    now_ns: u64,
) -> Result<(Departure, Kind), Verdict> {
    let id = arrival.socket.flow;
    let class = body.get(..arrival.len).map_or(Class::Other, classify);
    // How the peer's packets are numbered, for reports about them; few packets are reports.
    let reported = if class == Class::Rtcp { flows.translation_of_peer(id) } else { None };
    let (flow, lives) = flows.look_up(id).ok_or(Verdict::NoFlow)?;
    if flow.by_kernel {
        flow.settle();
    }
    let mut passage = Passage { arrival, kind: Kind::Rtp, now_ns, news: News::default(), notices };
    let passed = pass(&mut passage, class, body, flow, lives, reported);
    match &passed {
        Ok(departure) => flow.departed(departure.len),
        Err(verdict) => flow.refused(*verdict),
    }
    let Passage { kind, news, .. } = passage;
    if news.learned {
        flow.withdraw();
        let source = flow.source_rtp.source();
        notices.extend(source.map(|source| Event::learned(id, source.socket_addr())));
    }
    let peer = flow.peer;
    if news.learned || news.learned_rtcp {
        flows.aim(peer);
    }
    if let Some(ntp) = news.report_sent
        && let Some(peer) = flows.get_mut(peer)
    {
        peer.far.note_sr_relayed(ntp, now_ns);
    }
    passed.map(|departure| (departure, kind))
}

fn pass(
    passage: &mut Passage<'_>,
    class: Class,
    body: &mut [u8],
    flow: &mut Flow,
    lives: &Lives,
    reported: Option<Translation>,
) -> Result<Departure, Verdict> {
    let arrival = passage.arrival;
    if arrival.truncated || arrival.len > PACKET_MAX || arrival.len > body.len() {
        return Err(Verdict::Oversize);
    }
    passage.kind = if flow.udptl { Kind::Udptl } else { kind(class)? };
    let from_source = FromSource::check(approach(flow, passage)?)?;
    if flow.gate == Gate::NotReady {
        return Err(Verdict::NotReady);
    }
    let mut admitted = flow.ingress.admit(from_source, passage.kind, body, arrival.len)?;
    match passage.kind {
        Kind::Rtp => media(flow, &mut admitted, passage)?,
        Kind::Rtcp => control_packets::examine(flow, &mut admitted, passage, reported)?,
        Kind::Udptl => datagram(flow, passage)?,
    }
    let destination = flow.aim.at(passage.kind, flow.mux_out).ok_or(Verdict::NotReady)?;
    if !lives.is_open(flow.peer) {
        return Err(Verdict::NotReady);
    }
    let sealed = flow.egress.seal(admitted)?;
    let port = match passage.kind {
        Kind::Rtcp if !flow.mux_out => Port::Rtcp,
        Kind::Rtp | Kind::Rtcp | Kind::Udptl => Port::Rtp,
    };
    let from = SocketId { flow: flow.peer, port };
    let origin = Origin { flow: flow.id, sent: Sent::Relayed(passage.kind) };
    Ok(Departure::new(sealed, arrival.buffer, origin, from, destination))
}

fn kind(class: Class) -> Result<Kind, Verdict> {
    match class {
        Class::Rtp => Ok(Kind::Rtp),
        Class::Rtcp => Ok(Kind::Rtcp),
        Class::Runt => Err(Verdict::Runt),
        Class::Stun | Class::Dtls | Class::Other => Err(Verdict::NotRtp),
    }
}

/// What the latch of the port that the packet came to says of its source.
fn approach(flow: &Flow, passage: &Passage<'_>) -> Result<Approach, Verdict> {
    let (source, now_ns) = (passage.arrival.source, passage.now_ns);
    match (passage.arrival.socket.port, passage.kind) {
        (Port::Rtp, Kind::Rtp | Kind::Udptl) => Ok(flow.source_rtp.check(source, now_ns)),
        (Port::Rtp, Kind::Rtcp) if flow.mux_in => {
            // Control packets never move the latch of the media.
            match flow.source_rtp.check(source, now_ns) {
                Approach::Candidate => Ok(Approach::Refused),
                approach => Ok(approach),
            }
        }
        (Port::Rtcp, Kind::Rtcp) => Ok(flow.source_rtcp.check(source, now_ns)),
        (Port::Rtp, Kind::Rtcp) | (Port::Rtcp, Kind::Rtp | Kind::Udptl) => Err(Verdict::NotRtp),
    }
}

/// An admitted RTP packet: books it, listens to it, renumbers it for the far side.
fn media(
    flow: &mut Flow,
    admitted: &mut Admitted<'_>,
    passage: &mut Passage<'_>,
) -> Result<(), Verdict> {
    let now_ns = passage.now_ns;
    let packet = RtpPacket::parse(admitted.bytes()).map_err(|_| Verdict::Malformed)?;
    let seen = Seen {
        ssrc: packet.ssrc().0,
        seq: packet.seq().0,
        timestamp: packet.timestamp(),
        payload_type: packet.payload_type().value(),
    };
    match flow.source_rtp.confirm(passage.arrival.source, seen.ssrc, now_ns) {
        Confirmed::Kept => {}
        Confirmed::Learned => learned(flow, passage),
        Confirmed::Refused => return Err(Verdict::OffPath),
    }
    flow.quality.note(seen, now_ns);
    flow.accepted(passage.arrival.len, now_ns);
    flow.accepted_media(now_ns);
    if flow.hearing.is_on()
        && let Some((digit, heard)) = flow.hearing.hear(&packet, now_ns)
    {
        let code = digit.code.value();
        passage.notices.push(Event::digit(flow.id, code, digit.duration_ms, heard));
    }
    if flow.gate == Gate::Held {
        return Err(Verdict::Direction);
    }
    // Told to signaling, which says it to a far side that takes no events.
    if flow.hearing.takes(seen.payload_type) && flow.formats.events_sent.is_none() {
        return Err(Verdict::Superseded);
    }
    if flow.is_talking() {
        return Err(Verdict::Superseded);
    }
    let payload_type = flow.payloads.apply(seen.payload_type);
    let header = Header {
        ssrc: seen.ssrc,
        seq: seen.seq,
        timestamp: seen.timestamp,
        marker: packet.marker(),
    };
    let rate_hz = flow.quality.rate_hz();
    let renumbered = flow
        .continuity
        .follow(Talker::Far, header, rate_hz, now_ns)
        .map_err(|_| Verdict::Superseded)?;
    if renumbered != header || payload_type != seen.payload_type {
        let mut out = admitted.header_mut().ok_or(Verdict::Malformed)?;
        write_header(&mut out, renumbered);
        out.set_payload_type(PayloadType::new(payload_type).ok_or(Verdict::Malformed)?);
    }
    Ok(())
}

/// Writes what [`Continuity`](crate::continuity::Continuity) decides.
pub(crate) fn write_header(out: &mut rtp::packet::RtpHeaderMut<'_>, header: Header) {
    out.set_ssrc(Ssrc(header.ssrc));
    out.set_seq(Seq(header.seq));
    out.set_timestamp(header.timestamp);
    out.set_marker(header.marker);
}

/// An admitted datagram that is not read (T.38 over UDPTL).
fn datagram(flow: &mut Flow, passage: &mut Passage<'_>) -> Result<(), Verdict> {
    let now_ns = passage.now_ns;
    match flow.source_rtp.confirm(passage.arrival.source, 0, now_ns) {
        Confirmed::Kept => {}
        Confirmed::Learned => learned(flow, passage),
        Confirmed::Refused => return Err(Verdict::OffPath),
    }
    flow.accepted(passage.arrival.len, now_ns);
    flow.accepted_media(now_ns);
    if flow.gate == Gate::Held { Err(Verdict::Direction) } else { Ok(()) }
}

/// The source of the media is known better: its RTCP is expected from there too.
fn learned(flow: &mut Flow, passage: &mut Passage<'_>) {
    flow.source_rtcp.accompany(&flow.source_rtp, passage.now_ns);
    passage.news.learned = flow.source_rtp.learned().is_some();
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod two_way_tests;
