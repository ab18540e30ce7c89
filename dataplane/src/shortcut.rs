//! Flows that the kernel relays by itself, with XDP: which they are, and how the worker keeps account of
//! what it does not see.
//!
//! Each sweep looks at every flow: a usual one is offered to the kernel, one that is no longer as it was
//! is taken back. Between sweeps whatever changes a flow (a command, another source, another aim) takes
//! it back first. A packet of such a flow that comes to the worker (see `io/xdp/program/shortcut.rs`
//! for which do) meets a flow whose books are up to date: a latch that thought its source silent
//! would give the call away.

use abi::{Counter, FlowId};

use crate::admit::{Egress, Ingress};
use crate::flow::{Flow, Gate};
use crate::flows::Flows;
use crate::io::{Passage, Position, Shortcut};
use crate::limits::SWEEP_NS;
use crate::ports::Lease;
use crate::tally::Tally;
use crate::verdict::{Kind, Verdict};
use crate::worker::Worker;

/// What the kernel does for a flow.
#[derive(Default)]
pub struct ByKernel {
    shortcut: Option<Shortcut>,
    /// Not to be offered before the next visit: a program may still read the entry.
    rests: bool,
    /// When it was seen to relay something.
    moved_ns: u64,
    /// Packets and octets that the flow has booked, and the worker has not.
    unbooked: (u64, u64),
}

impl Flow {
    /// Brings the books up to date; whether the kernel relayed anything.
    pub fn settle(&mut self) -> bool {
        let Some(shortcut) = &mut self.kernel.shortcut else { return false };
        let Some(progress) = shortcut.progress() else { return false };
        let Position { highest, timestamp, arrival_ns, .. } = progress.position;
        self.quality.follow(&progress);
        self.source_rtp.heard(arrival_ns);
        self.continuity.skip(highest as u16, timestamp, arrival_ns);
        let counts = &mut self.counts;
        counts.last_packet_ns = counts.last_packet_ns.max(arrival_ns);
        counts.last_media_ns = counts.last_media_ns.max(arrival_ns);
        for (packets, octets) in [
            (&mut counts.packets_in, &mut counts.bytes_in),
            (&mut counts.packets_out, &mut counts.bytes_out),
            (&mut self.kernel.unbooked.0, &mut self.kernel.unbooked.1),
        ] {
            *packets += progress.packets;
            *octets += progress.octets;
        }
        true
    }

    /// From now on the worker relays everything.
    pub fn withdraw(&mut self) {
        if let Some(shortcut) = &self.kernel.shortcut {
            shortcut.close();
            self.settle();
            self.kernel.shortcut = None;
            self.kernel.rests = true;
            self.by_kernel = false;
        }
    }

    /// The way of its packets, which leave by the ports of `out`, if the kernel may take it: media
    /// passes as it is, from one source that is known, and nobody listens or talks.
    fn passage(&self, out: &Lease) -> Option<(Passage, Position)> {
        let plain = matches!((&self.ingress, &self.egress), (Ingress::Plain, Egress::Plain));
        let quiet = !self.is_talking() && !self.hearing.hears_tones();
        if self.gate != Gate::Relaying || self.udptl || !plain || !quiet {
            return None;
        }
        let (ssrc, payload_type, position) = self.quality.position()?;
        let as_is = self.continuity.passes(ssrc)
            && self.payloads.apply(payload_type) == payload_type
            && !self.hearing.takes(payload_type);
        let rate_hz = Some(self.quality.rate_hz()).filter(|rate_hz| *rate_hz > 0)?;
        let passage = Passage {
            networks: [self.lease.network, out.network],
            source: self.source_rtp.settled()?,
            local: self.lease.rtp.into(),
            from: out.rtp.into(),
            to: self.aim.at(Kind::Rtp, self.mux_out)?,
            ssrc,
            payload_type,
            rate_hz,
        };
        as_is.then_some((passage, position))
    }
}

impl Worker {
    /// Offers a flow to the kernel, leaves it there, or takes it back.
    pub(crate) fn keep_shortcut(&mut self, index: u32, now_ns: u64) {
        if !self.io.has_shortcuts() {
            return;
        }
        let Worker { flows, io, tally, .. } = self;
        let Some(flow) = flows.at_mut(index) else { return };
        if flow.settle() {
            flow.kernel.moved_ns = now_ns;
        }
        let moves = now_ns.saturating_sub(flow.kernel.moved_ns) < IDLE_NS;
        book(flow, tally);
        let (id, peer) = (flow.id, flow.peer);
        let out = flows.get_mut(peer).filter(|peer| peer.peer == id).map(|peer| peer.lease);
        let Some(flow) = flows.at_mut(index) else { return };
        let passage = out.and_then(|out| flow.passage(&out));
        let plan = passage.and_then(|(passage, position)| Some((io.plan(&passage)?, position)));
        let kernel = &mut flow.kernel;
        match (&kernel.shortcut, plan) {
            (Some(shortcut), Some((plan, _))) if moves && shortcut.agrees(&plan) => {}
            (Some(_), _) => flow.withdraw(),
            (None, Some((plan, position))) if !kernel.rests => {
                kernel.shortcut = Some(plan.open(position));
                kernel.moved_ns = now_ns;
                flow.by_kernel = true;
            }
            (None, _) => kernel.rests = false,
        }
    }

    /// Before anything is done to a flow: the worker relays it, and its peer.
    pub(crate) fn withdraw(&mut self, id: FlowId) {
        let Worker { flows, tally, .. } = self;
        let peer = flows.get_mut(id).map_or(FlowId::NONE, |flow| flow.peer);
        for id in [id, peer] {
            withdraw(flows, id, tally);
        }
    }
}

/// A flow of which the kernel relayed nothing for so long goes on with the worker: its source is silent,
/// or sends what the entry does not fit any more.
const IDLE_NS: u64 = SWEEP_NS;

fn withdraw(flows: &mut Flows, id: FlowId, tally: &mut Tally) {
    if let Some(flow) = flows.get_mut(id) {
        flow.withdraw();
        book(flow, tally);
    }
}

/// Books what the kernel relayed, as if the worker had.
fn book(flow: &mut Flow, tally: &mut Tally) {
    let (packets, octets) = std::mem::take(&mut flow.kernel.unbooked);
    for (counter, count) in [
        (Counter::RxPackets, packets),
        (Counter::RxBytes, octets),
        (Counter::TxPackets, packets),
        (Counter::TxBytes, octets),
        (Verdict::relayed(Kind::Rtp).counter(), packets),
        (Counter::KernelPackets, packets),
    ] {
        tally.add(counter, count);
    }
}
