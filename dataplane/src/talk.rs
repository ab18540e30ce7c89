//! Packets of our own: prompts and digits, said in place of what comes from the far end, and what keeps a
//! way open (`alive.rs`).
//!
//! ```text
//! pacer (which flow, when) -> Voice::next (payload, its own numbers) -> Continuity (the numbers of
//! the egress) -> protect -> departure
//! ```
//! They leave as relayed packets do, from the same port under the same SSRC, so that the receiver
//! notices nothing but the marker. One timer per worker serves all of them: the wait of its loop.

use abi::{Counter, Event, FlowId};
use rtp::packet::{PayloadType, RTP_HEADER_MIN, RtpHeaderMut};

use crate::admit::Admitted;
use crate::continuity::{Header, Talker};
use crate::flow::Flow;
use crate::flows::Lives;
use crate::io::{BufferId, Departure, Origin, Port, Sent, SocketId};
use crate::limits::VOICE_PAYLOAD_MAX;
use crate::relay::write_header;
use crate::verdict::Verdict;
use crate::voice::{Finished, Packet, Say};
use crate::worker::Worker;

impl Worker {
    /// Says what is due. Whoever finds no buffer stays due until some have left: a voice that was
    /// asked has gone on, and a digit without its end is another digit.
    pub(crate) fn talk(&mut self, now_ns: u64) {
        while self.io.has_buffer()
            && let Some(id) = self.pacer.pop_due(now_ns)
        {
            self.speak(id, now_ns);
        }
    }

    /// Lets a flow say what is due, and paces the rest.
    fn speak(&mut self, id: FlowId, now_ns: u64) {
        self.keep_alive(id, now_ns);
        loop {
            if !self.io.has_buffer() {
                return self.pace(id, Some(now_ns));
            }
            let Some(voice) = self.flows.get_mut(id).and_then(|flow| flow.voice.as_mut()) else {
                return;
            };
            let mut payload = [0; VOICE_PAYLOAD_MAX];
            match voice.next(now_ns, &mut payload) {
                Say::Packet(packet) => {
                    let said = payload.get(..packet.len).unwrap_or_default();
                    self.send_own(id, packet, said, now_ns);
                }
                Say::Done(finished) => self.say_finished(id, finished),
                Say::Wait { due_ns } => return self.pace(id, Some(due_ns)),
                Say::Idle => return self.pace(id, None),
            }
        }
    }

    /// When a flow is to be asked next; `None`: not until a command.
    pub(crate) fn pace(&mut self, id: FlowId, due_ns: Option<u64>) {
        match due_ns {
            Some(due_ns) => self.pacer.set(id, due_ns),
            None => self.pacer.remove(id),
        }
    }

    pub(crate) fn say_finished(&mut self, id: FlowId, finished: Finished) {
        match finished {
            Finished::Prompt { token, complete } => {
                self.tally.add(Counter::PromptsPlayed, 1);
                self.emit(&Event::played(token, id, complete));
            }
            Finished::Digits { token } => self.emit(&Event::dialled(token, id)),
        }
    }

    /// A packet that cannot be sent now is lost, as on any network: the voice goes on in time.
    /// Whether it leaves.
    pub(crate) fn send_own(
        &mut self,
        id: FlowId,
        packet: Packet,
        payload: &[u8],
        now_ns: u64,
    ) -> bool {
        let Some(buffer) = self.io.take_buffer() else {
            self.tally.add(Counter::SaidFailed, 1);
            return false;
        };
        let Some((flow, lives)) = self.flows.look_up(id) else {
            self.batch.discards.push(buffer);
            return false;
        };
        let body = self.io.buffers().body(buffer).unwrap_or_default();
        let departure = depart(flow, lives, packet, payload, (buffer, body), now_ns);
        let is_sent = departure.is_ok();
        match departure {
            Ok(departure) => {
                flow.departed(departure.len);
                self.tally.sent(departure.len);
                self.tally.add(Counter::SaidPackets, 1);
                self.batch.departures.push(departure);
            }
            Err(verdict) => {
                flow.refused(verdict);
                self.tally.add(Counter::SaidFailed, 1);
                self.batch.discards.push(buffer);
            }
        }
        is_sent
    }
}

/// One packet of ours in the form in which the far side expects it.
fn depart(
    flow: &mut Flow,
    lives: &Lives,
    packet: Packet,
    payload: &[u8],
    (buffer, body): (BufferId, &mut [u8]),
    now_ns: u64,
) -> Result<Departure, Verdict> {
    let destination = flow.aim.rtp.ok_or(Verdict::NotReady)?;
    if !lives.is_open(flow.peer) {
        return Err(Verdict::NotReady);
    }
    let len = RTP_HEADER_MIN + payload.len();
    let header = Header {
        ssrc: own_ssrc(flow),
        seq: packet.seq,
        timestamp: packet.timestamp,
        marker: packet.marker,
    };
    let header = flow
        .continuity
        .follow(Talker::Own, header, packet.rate_hz, now_ns)
        .map_err(|_| Verdict::Superseded)?;
    let place = body.get_mut(..len).ok_or(Verdict::Oversize)?;
    let (fixed, rest) = place.split_at_mut(RTP_HEADER_MIN);
    fixed.fill(0);
    if let Some(first) = fixed.first_mut() {
        *first = RTP_VERSION_2;
    }
    rest.copy_from_slice(payload);
    let mut out = RtpHeaderMut::parse(place).map_err(|_| Verdict::Malformed)?;
    // A packet without audio begins no talk spurt (RFC 6263 §4.6).
    let marker = header.marker && !payload.is_empty();
    write_header(&mut out, Header { marker, ..header });
    let payload_type = PayloadType::new(packet.payload_type).ok_or(Verdict::Malformed)?;
    out.set_payload_type(payload_type);
    let sealed = flow.egress.seal(Admitted::own(body, len)?)?;
    let from = SocketId { flow: flow.peer, port: Port::Rtp };
    let origin = Origin { flow: flow.id, sent: Sent::Own };
    Ok(Departure::new(sealed, buffer, origin, from, destination))
}

/// Of a flow that talks before anything came: unlike that of other flows, which is all that one
/// receiver needs (RFC 3550 §8).
fn own_ssrc(flow: &Flow) -> u32 {
    let [a, b, c, d, ..] = flow.call;
    u32::from_le_bytes([a, b, c, d]) ^ flow.id.index.rotate_left(16) ^ flow.id.generation
}

const RTP_VERSION_2: u8 = 0x80;
