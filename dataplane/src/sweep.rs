//! What is looked at now and then, not per packet: the flow table's figures, digits whose end was
//! lost, the quality estimate, silence.
//!
//! Many flows are visited in slices, one per housekeeping step, so that a full sweep takes the
//! period and no step takes long.

use abi::{Counter, Event, FlowTally, FlowWriter};

use crate::flow::{Flow, Gate};
use crate::limits::SWEEP_FLOWS;
use crate::quality::{Direction, Silent, one_way};
use crate::worker::Worker;

impl Worker {
    pub(crate) fn sweep(&mut self, now_ns: u64) {
        let range = self.sweep_from..self.sweep_from.saturating_add(SWEEP_FLOWS);
        for index in range.clone() {
            let peer_heard_ns = self.flows.peer_heard_ns(index);
            let Some(flow) = self.flows.at_mut(index) else { continue };
            let digit = flow.hearing.expire(now_ns);
            let rtt_us = flow.far.rtt_us().unwrap_or(0);
            let codec = flow.formats.received.map(|format| format.codec);
            flow.rating.judge(&mut flow.quality, codec, rtt_us, now_ns);
            publish(&mut self.host.flows, flow);
            let id = flow.id;
            let silent = flow.is_silent(now_ns).then(|| flow.timeout_event());
            let one_way = is_one_way(flow, peer_heard_ns, now_ns).then(|| flow.one_way_event());
            if let Some((digit, heard)) = digit {
                self.tell(&Event::digit(id, digit.code.value(), digit.duration_ms, heard));
                self.tally.add(Counter::DigitsHeard, 1);
            }
            // A report that finds the ring full is made by the next sweep.
            if silent.is_some_and(|event| self.try_emit(&event)) {
                self.tally.add(Counter::MediaTimeouts, 1);
                self.flows.at_mut(index).into_iter().for_each(|flow| flow.silence.reported = true);
            }
            if one_way.is_some_and(|event| self.try_emit(&event)) {
                self.tally.add(Counter::OneWayFlows, 1);
                let flow = self.flows.at_mut(index);
                flow.into_iter().for_each(|flow| flow.silence.one_way_reported = true);
            }
        }
        self.sweep_from = if range.end >= self.flows.high_water() { 0 } else { range.end };
    }
}

/// Whether this flow is silent while the opposite direction has media, and nobody was told.
fn is_one_way(flow: &Flow, peer_heard_ns: Option<u64>, now_ns: u64) -> bool {
    if flow.gate != Gate::Relaying || flow.silence.one_way_reported {
        return false;
    }
    let heard_ns = flow.counts.last_media_ns;
    let this = Direction { heard_ns, due_since_ns: Some(flow.silence.since_ns) };
    let peer = Direction { heard_ns: peer_heard_ns.unwrap_or(0), due_since_ns: None };
    one_way(this, peer, now_ns) == Some(Silent::First)
}

fn publish(table: &mut FlowWriter, flow: &Flow) {
    let (counts, quality) = (&flow.counts, &flow.quality);
    let tallies = [
        (FlowTally::LastPacketNs, counts.last_packet_ns),
        (FlowTally::PacketsIn, counts.packets_in),
        (FlowTally::BytesIn, counts.bytes_in),
        (FlowTally::PacketsOut, counts.packets_out),
        (FlowTally::BytesOut, counts.bytes_out),
        (FlowTally::Lost, quality.lost()),
        (FlowTally::Duplicates, quality.duplicates()),
        (FlowTally::Reordered, quality.reordered()),
        (FlowTally::Jitter, quality.jitter()),
        (FlowTally::AuthFailures, counts.auth_failures),
        (FlowTally::Replays, counts.replays),
        (FlowTally::OffPath, counts.off_path),
        (FlowTally::RateHz, quality.rate_hz().into()),
        (FlowTally::RttUs, flow.far.rtt_us().unwrap_or(0).into()),
        (FlowTally::FarLost, flow.far.lost().unwrap_or(0).into()),
        (FlowTally::FarJitter, flow.far.jitter().unwrap_or(0).into()),
        (FlowTally::Mos, flow.rating.mos_x100().into()),
    ];
    for (tally, value) in tallies {
        table.set(flow.id.index, tally, value);
    }
}
