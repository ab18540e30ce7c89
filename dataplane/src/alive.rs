//! Keeping the way of a flow's media open while it carries none (RFC 6263).
//!
//! A translator of addresses forgets a binding that nothing goes through for half a minute or less; then
//! a held call cannot be resumed, and who talks first into a muted one is not heard. So a flow that has
//! sent no RTP for the interval sends a packet without payload, of a payload type that nobody negotiated
//! (RFC 6263 §4.6): under the flow's own SSRC and numbering, encrypted where the side is.
//!
//! ```text
//! sweep: silent for the interval? --> pacer: due now --> talk: one packet, the interval begins anew
//! ```
//! A flow that is held sends them too: whether media is wanted says nothing about the binding.

use abi::{Counter, FlowId};

use crate::flow::{Flow, Gate};
use crate::voice::Packet;
use crate::worker::Worker;

/// What a flow knows of it. By default it keeps nothing open.
#[derive(Clone, Copy, Default, Debug)]
pub struct Alive {
    /// 0: off.
    interval_ns: u64,
    payload_type: u8,
    /// When the watch began, or a packet was tried.
    since_ns: u64,
    seq: u16,
}

impl Alive {
    /// Takes what signaling states; what runs already goes on.
    pub fn state(&mut self, keepalive: Option<abi::Keepalive>, now_ns: u64) {
        let (interval_ms, payload_type) =
            keepalive.map_or((0, 0), |alive| (alive.interval_ms, alive.payload_type));
        let interval_ns = u64::from(interval_ms) * 1_000_000;
        if self.interval_ns == 0 {
            self.since_ns = now_ns;
        }
        (self.interval_ns, self.payload_type) = (interval_ns, payload_type);
    }

    /// The packet, and the beginning of the next interval.
    fn packet(&mut self, rate_hz: u32, now_ns: u64) -> Packet {
        self.since_ns = now_ns;
        self.seq = self.seq.wrapping_add(1);
        let ticks = u128::from(now_ns) * u128::from(rate_hz) / 1_000_000_000;
        Packet {
            len: 0,
            payload_type: self.payload_type,
            marker: false,
            seq: self.seq,
            timestamp: ticks as u32,
            rate_hz,
        }
    }
}

impl Flow {
    /// Whether nothing has left for so long that the way may be forgotten.
    pub fn needs_keepalive(&self, now_ns: u64) -> bool {
        let Alive { interval_ns, since_ns, .. } = self.alive;
        let last_ns = since_ns.max(self.continuity.newest_ns());
        interval_ns > 0
            && self.gate != Gate::NotReady
            && self.aim.rtp.is_some()
            && !self.is_talking()
            && now_ns.saturating_sub(last_ns) >= interval_ns
    }
}

impl Worker {
    /// Sends what keeps the way of a flow open, if it is needed.
    pub(crate) fn keep_alive(&mut self, id: FlowId, now_ns: u64) {
        if !self.flows.get_mut(id).is_some_and(|flow| flow.needs_keepalive(now_ns)) {
            return;
        }
        self.withdraw(id);
        let Some(flow) = self.flows.get_mut(id) else { return };
        let rate_hz = flow.formats.sent.map_or(RATE_UNKNOWN_HZ, |format| format.rate_hz);
        let packet = flow.alive.packet(rate_hz, now_ns);
        if self.send_own(id, packet, &[], now_ns) {
            self.tally.add(Counter::Keepalives, 1);
        }
    }
}

/// The clock of telephone audio, RFC 3551 §6.
const RATE_UNKNOWN_HZ: u32 = 8_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::tests::{flow, id};
    use crate::io::Endpoint;

    const SECOND: u64 = 1_000_000_000;

    fn waiting() -> Flow {
        let mut flow = flow(id(0, 1));
        let keepalive = abi::Keepalive { interval_ms: 15_000, payload_type: 127 };
        flow.alive.state(Some(keepalive), 100 * SECOND);
        flow.gate = Gate::Relaying;
        flow.aim.rtp = Some(Endpoint { ip: 0xffff_c000_0201, port: 4000 });
        flow
    }

    #[test]
    fn it_is_due_after_the_interval_and_then_once_an_interval() {
        let mut flow = waiting();
        assert!(!flow.needs_keepalive(115 * SECOND - 1));
        assert!(flow.needs_keepalive(115 * SECOND));
        let first = flow.alive.packet(8000, 115 * SECOND);
        assert!(!flow.needs_keepalive(130 * SECOND - 1) && flow.needs_keepalive(130 * SECOND));
        let second = flow.alive.packet(8000, 130 * SECOND);
        assert_eq!(second.seq, first.seq.wrapping_add(1));
        assert_eq!(second.timestamp.wrapping_sub(first.timestamp), 15 * 8000);
        assert_eq!((first.len, first.payload_type, first.marker), (0, 127, false));
    }

    #[test]
    fn stating_it_again_postpones_nothing_and_none_ends_it() {
        let mut flow = waiting();
        let again = abi::Keepalive { interval_ms: 20_000, payload_type: 126 };
        flow.alive.state(Some(again), 110 * SECOND);
        assert!(!flow.needs_keepalive(120 * SECOND - 1) && flow.needs_keepalive(120 * SECOND));
        flow.alive.state(None, 111 * SECOND);
        assert!(!flow.needs_keepalive(u64::MAX));
    }

    #[test]
    fn a_held_way_is_kept_and_one_without_destination_or_configuration_is_not() {
        let mut flow = waiting();
        flow.gate = Gate::Held;
        assert!(flow.needs_keepalive(115 * SECOND));
        flow.gate = Gate::NotReady;
        assert!(!flow.needs_keepalive(u64::MAX));
        flow.gate = Gate::Relaying;
        flow.aim.rtp = None;
        assert!(!flow.needs_keepalive(u64::MAX));
    }
}
