//! What is looked at now and then, not per packet: the flow table's figures, digits whose end was
//! lost, the quality estimate, silence.
//!
//! Many flows are visited in slices, one per housekeeping step, so that no step takes long.

use abi::{Counter, Event, FlowTally, FlowWriter};

use crate::flow::Flow;
use crate::limits::SWEEP_FLOWS;
use crate::worker::Worker;

impl Worker {
    pub(crate) fn sweep(&mut self, now_ns: u64) {
        for _ in 0..SWEEP_FLOWS {
            let Some(index) = self.flows.next_open(self.sweep_from) else { break };
            self.sweep_from = index + 1;
            self.look_at(index, now_ns);
        }
        if self.flows.next_open(self.sweep_from).is_none() {
            self.sweep_from = 0;
        }
    }

    fn look_at(&mut self, index: u32, now_ns: u64) {
        self.keep_shortcut(index, now_ns);
        let Some(flow) = self.flows.at_mut(index) else { return };
        let digit = flow.hearing.expire(now_ns);
        let rtt_us = flow.far.rtt_us().unwrap_or(0);
        let codec = flow.formats.received.map(|format| format.codec);
        flow.rating.judge(&mut flow.quality, codec, rtt_us, now_ns);
        publish(&mut self.host.flows, flow);
        let (id, peer) = (flow.id, flow.peer);
        let is_forgotten = flow.needs_keepalive(now_ns);
        let silent = flow.is_silent(now_ns).then(|| flow.timeout_event());
        let mute = flow.is_mute(now_ns).then(|| flow.one_way_event());
        if is_forgotten {
            self.pacer.set(id, now_ns);
        }
        if let Some((digit, heard)) = digit {
            self.tell(&Event::digit(id, digit.code.value(), digit.duration_ms, heard));
            self.tally.add(Counter::DigitsHeard, 1);
        }
        // A report that finds the ring full is made by the next sweep.
        if silent.is_some_and(|event| self.try_emit(&event)) {
            self.tally.add(Counter::MediaTimeouts, 1);
            let flow = self.flows.at_mut(index);
            flow.into_iter().for_each(|flow| flow.silence.reported_ns = now_ns);
        }
        let one_way =
            mute.filter(|_| self.flows.get_mut(peer).is_some_and(|peer| peer.talks(now_ns)));
        if one_way.is_some_and(|event| self.try_emit(&event)) {
            self.tally.add(Counter::OneWayFlows, 1);
            let flow = self.flows.at_mut(index);
            flow.into_iter().for_each(|flow| flow.silence.one_way_reported_ns = now_ns);
        }
    }
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

#[cfg(test)]
mod tests {
    use abi::{Guest, Host, Shape};
    use rtp::packet::Ssrc;
    use rtp::rtcp::ReportBlock;

    use super::*;
    use crate::flow::tests::{flow, id};
    use crate::limits::RATING_NS;
    use crate::quality::Seen;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_flow_table_shows_rate_round_trip_losses_and_rating() {
        let mut host = Host::create(0, Shape { flows: 2, commands: 4, events: 4 }).unwrap();
        let guest = Guest::attach(host.fd().try_clone_to_owned().unwrap()).unwrap();
        let mut flow = flow(id(1, 1));
        host.flows.publish(1, &flow.snapshot());
        let table = || guest.flows.snapshot(1).unwrap();
        publish(&mut host.flows, &flow);
        let (rate, rtt, lost) = (table().rate_hz, table().rtt_us, table().far_lost);
        assert_eq!((rate, rtt, lost, table().mos), (0, 0, 0, 0), "nothing is known");
        flow.rating.judge(&mut flow.quality, None, 0, 1);
        let packets = RATING_NS / (20 * MS);
        for n in 0..=packets {
            let (seq, timestamp) = (n as u16, n as u32 * 160);
            flow.quality.note(Seen { ssrc: 1, seq, timestamp, payload_type: 8 }, n * 20 * MS);
        }
        let now_ns = RATING_NS + 20 * MS;
        flow.far.note_sr_relayed(7, now_ns - 80 * MS);
        let block = ReportBlock {
            ssrc: Ssrc(2),
            highest_seq: 100,
            fraction_lost: 3,
            cumulative_lost: 4,
            jitter: 50,
            last_sr: 7,
            delay_since_last_sr: 0,
        };
        flow.far.note_report(&block, now_ns);
        flow.rating.judge(&mut flow.quality, None, 80_000, now_ns);
        publish(&mut host.flows, &flow);
        let (rate, rtt, lost) = (table().rate_hz, table().rtt_us, table().far_lost);
        assert_eq!((rate, rtt, lost, table().far_jitter), (8000, 80_000, 4, 50));
        assert!((400..=450).contains(&table().mos), "{}", table().mos);
    }
}
