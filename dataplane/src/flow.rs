//! Flows: one direction of one media stream each, in one slab that is reserved at start.
//!
//! The guest chooses the slot; a slot's generation tells its lives apart. Only a higher generation
//! opens a slot, so whatever still names an old life (a late completion, a repeated command)
//! finds nothing.

use std::net::SocketAddr;

use abi::{Event, FlowId, FlowSnapshot, FlowState};

use crate::admit::{Egress, Ingress};
use crate::io::Endpoint;
use crate::keys::Keys;
use crate::ports::Lease;
use crate::quality::Quality;
use crate::verdict::{Kind, Verdict};

/// One flow: everything that one packet of its direction needs, what every packet touches first.
pub struct Flow {
    pub id: FlowId,
    pub gate: Gate,
    pub mux_in: bool,
    pub mux_out: bool,
    pub peer: FlowId,
    pub source_rtp: Option<Endpoint>,
    pub destination_rtp: Option<Endpoint>,
    pub counts: Counts,
    pub quality: Quality,
    pub ingress: Ingress,
    pub egress: Egress,
    pub source_rtcp: Option<Endpoint>,
    pub destination_rtcp: Option<Endpoint>,
    pub ingress_keys: Keys<Ingress>,
    pub egress_keys: Keys<Egress>,
    pub lease: Lease,
    /// RTCP was announced on the RTP port when the flow was opened.
    pub opened_mux: bool,
    pub call: [u8; 16],
    pub opened_ns: u64,
    pub silence: Silence,
}

/// Whether packets of a flow may pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gate {
    /// Signaling does not know enough yet.
    NotReady,
    /// Signaling knows where to, and holds the direction.
    Held,
    Relaying,
}

/// What a flow counts, as exported.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    pub last_packet_ns: u64,
    pub packets_in: u64,
    pub bytes_in: u64,
    pub packets_out: u64,
    pub bytes_out: u64,
    pub auth_failures: u64,
    pub replays: u64,
    pub off_path: u64,
}

/// The watch for missing media.
#[derive(Clone, Copy, Default, Debug)]
pub struct Silence {
    /// 0: no watch.
    pub timeout_ns: u64,
    /// When the watch began; the last packet counts when it is later.
    pub since_ns: u64,
    /// Reported already; armed again by the next accepted packet.
    pub reported: bool,
}

impl Flow {
    pub fn new(id: FlowId, call: [u8; 16], lease: Lease, now_ns: u64) -> Flow {
        Flow {
            id,
            gate: Gate::NotReady,
            mux_in: false,
            mux_out: false,
            peer: FlowId::NONE,
            source_rtp: None,
            destination_rtp: None,
            counts: Counts::default(),
            quality: Quality::default(),
            ingress: Ingress::Plain,
            egress: Egress::Plain,
            source_rtcp: None,
            destination_rtcp: None,
            ingress_keys: Keys::NONE,
            egress_keys: Keys::NONE,
            lease,
            opened_mux: false,
            call,
            opened_ns: now_ns,
            silence: Silence::default(),
        }
    }

    /// Books an accepted packet of `len` octets on the wire.
    pub fn accepted(&mut self, len: usize, now_ns: u64) {
        self.counts.last_packet_ns = now_ns;
        self.counts.packets_in += 1;
        self.counts.bytes_in += len as u64;
        self.silence.reported = false;
    }

    /// Books a packet that left with `len` octets.
    pub fn departed(&mut self, len: usize) {
        self.counts.packets_out += 1;
        self.counts.bytes_out += len as u64;
    }

    /// Books the drops that operators see per flow.
    pub fn refused(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Authentication => self.counts.auth_failures += 1,
            Verdict::Replay => self.counts.replays += 1,
            Verdict::OffPath => self.counts.off_path += 1,
            _ => {}
        }
    }

    /// Where packets of `kind` go: the port of the peer to send from, and the destination.
    pub fn destination(&self, kind: Kind) -> Option<Endpoint> {
        match kind {
            Kind::Rtp => self.destination_rtp,
            Kind::Rtcp if self.mux_out => self.destination_rtp,
            Kind::Rtcp => self.destination_rtcp,
        }
    }

    /// No packet was accepted for the time-out while the flow was relaying, and nobody was told.
    pub fn is_silent(&self, now_ns: u64) -> bool {
        let last = self.counts.last_packet_ns.max(self.silence.since_ns);
        self.silence.timeout_ns > 0
            && self.gate == Gate::Relaying
            && !self.silence.reported
            && now_ns.saturating_sub(last) >= self.silence.timeout_ns
    }

    pub fn timeout_event(&self) -> Event {
        let counts = &self.counts;
        Event::timeout(self.id, counts.packets_in, counts.bytes_in, counts.last_packet_ns)
    }

    pub fn closed_event(&self, token: u64) -> Event {
        let counts = &self.counts;
        Event::closed(token, self.id, counts.packets_in, counts.bytes_in, counts.last_packet_ns)
    }

    pub fn opened_event(&self, token: u64) -> Event {
        Event::opened(token, self.id, self.lease.rtp, self.local_rtcp())
    }

    /// Where RTCP is to be sent to us. The odd port is open in any case: an answer may decline to
    /// multiplex.
    fn local_rtcp(&self) -> SocketAddr {
        if self.opened_mux { self.lease.rtp } else { self.lease.rtcp }
    }

    pub fn snapshot(&self) -> FlowSnapshot {
        FlowSnapshot {
            state: match self.gate {
                Gate::Relaying => FlowState::Relaying,
                Gate::NotReady | Gate::Held => FlowState::Open,
            },
            peer: self.peer,
            local_rtp: self.lease.rtp.into(),
            local_rtcp: self.local_rtcp().into(),
            destination: self.destination_rtp.map(Endpoint::socket_addr).into(),
            last_packet_ns: self.counts.last_packet_ns,
            packets_in: self.counts.packets_in,
            bytes_in: self.counts.bytes_in,
            packets_out: self.counts.packets_out,
            bytes_out: self.counts.bytes_out,
            lost: self.quality.lost(),
            duplicates: self.quality.duplicates(),
            reordered: self.quality.reordered(),
            jitter: self.quality.jitter(),
            auth_failures: self.counts.auth_failures,
            replays: self.counts.replays,
            off_path: self.counts.off_path,
            ..FlowSnapshot::opened(self.id, self.call, self.opened_ns)
        }
    }
}

/// The slab.
pub struct Flows {
    slots: Vec<Option<Flow>>,
    /// Small enough to stay in the cache: the relay asks it about the peer of every packet.
    lives: Lives,
    open: u32,
    /// Slots at and above it were never used.
    high_water: u32,
}

/// The latest generation of each slot, and whether it is open.
pub struct Lives(Vec<Life>);

#[derive(Clone, Copy, Default)]
struct Life {
    latest: u32,
    open: bool,
}

impl Lives {
    pub fn is_open(&self, id: FlowId) -> bool {
        let life = self.0.get(id.index as usize);
        life.is_some_and(|life| life.open && life.latest == id.generation)
    }
}

/// Why a slot does not open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotError {
    /// The index is beyond the slab.
    Beyond,
    /// The generation is not newer than the slot's latest.
    Stale,
    /// An older life is still open.
    Occupied(FlowId),
}

impl Flows {
    pub fn new(capacity: u32) -> Flows {
        Flows {
            slots: (0..capacity).map(|_| None).collect(),
            lives: Lives(vec![Life::default(); capacity as usize]),
            open: 0,
            high_water: 0,
        }
    }

    pub fn open_count(&self) -> u32 {
        self.open
    }

    pub fn high_water(&self) -> u32 {
        self.high_water
    }

    /// May `id` open its slot?
    ///
    /// # Errors
    /// [`SlotError`].
    pub fn vacancy(&self, id: FlowId) -> Result<(), SlotError> {
        let life = self.lives.0.get(id.index as usize).ok_or(SlotError::Beyond)?;
        match (id.generation > life.latest, life.open) {
            (false, _) => Err(SlotError::Stale),
            (true, true) => {
                Err(SlotError::Occupied(FlowId { index: id.index, generation: life.latest }))
            }
            (true, false) => Ok(()),
        }
    }

    /// Puts a flow into its slot, which [`Flows::vacancy`] has granted.
    pub fn insert(&mut self, flow: Flow) {
        let (index, generation) = (flow.id.index, flow.id.generation);
        let place = (self.slots.get_mut(index as usize), self.lives.0.get_mut(index as usize));
        if let (Some(slot), Some(life)) = place {
            *slot = Some(flow);
            *life = Life { latest: generation, open: true };
            self.open += 1;
            self.high_water = self.high_water.max(index + 1);
        }
    }

    /// Did a newer life than `id` take the slot?
    pub fn is_stale(&self, id: FlowId) -> bool {
        self.lives.0.get(id.index as usize).is_some_and(|life| life.latest > id.generation)
    }

    /// Takes a flow out. Its contexts and keys wipe themselves when `used` has looked at it.
    pub fn remove<R>(&mut self, id: FlowId, used: impl FnOnce(&Flow) -> R) -> Option<R> {
        let result = used(self.get_mut(id)?);
        if let Some(slot) = self.slots.get_mut(id.index as usize) {
            // In place: a moved flow would leave its keys behind on the stack.
            *slot = None;
        }
        if let Some(life) = self.lives.0.get_mut(id.index as usize) {
            life.open = false;
        }
        self.open -= 1;
        Some(result)
    }

    pub fn get_mut(&mut self, id: FlowId) -> Option<&mut Flow> {
        self.look_up(id).map(|(flow, _)| flow)
    }

    /// A flow and, beside it, the lives of all.
    pub fn look_up(&mut self, id: FlowId) -> Option<(&mut Flow, &Lives)> {
        if !self.lives.is_open(id) {
            return None;
        }
        let flow = self.slots.get_mut(id.index as usize)?.as_mut()?;
        Some((flow, &self.lives))
    }

    /// The open flows among `count` slots from `first`.
    pub fn sweep(&mut self, first: u32, count: u32) -> impl Iterator<Item = &mut Flow> {
        self.slots.iter_mut().skip(first as usize).take(count as usize).flatten()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn id(index: u32, generation: u32) -> FlowId {
        FlowId { index, generation }
    }

    pub fn flow(id: FlowId) -> Flow {
        let port = 10_000 + 2 * id.index as u16;
        let rtp = SocketAddr::from(([127, 0, 0, 1], port));
        let rtcp = SocketAddr::from(([127, 0, 0, 1], port + 1));
        Flow::new(id, [0; 16], Lease { network: 0, rtp, rtcp }, 0)
    }

    #[test]
    fn a_slot_opens_for_newer_generations_only() {
        let mut flows = Flows::new(2);
        assert_eq!(flows.vacancy(id(2, 1)), Err(SlotError::Beyond));
        assert_eq!(flows.vacancy(id(0, 3)), Ok(()));
        flows.insert(flow(id(0, 3)));
        assert_eq!(flows.vacancy(id(0, 3)), Err(SlotError::Stale));
        assert_eq!(flows.vacancy(id(0, 4)), Err(SlotError::Occupied(id(0, 3))));
        assert_eq!(flows.remove(id(0, 3), |flow| flow.id), Some(id(0, 3)));
        assert_eq!(flows.vacancy(id(0, 3)), Err(SlotError::Stale));
        assert_eq!(flows.vacancy(id(0, 4)), Ok(()));
    }

    #[test]
    fn an_old_name_finds_nothing() {
        let mut flows = Flows::new(1);
        flows.insert(flow(id(0, 1)));
        flows.remove(id(0, 1), |_| ());
        flows.insert(flow(id(0, 2)));
        assert!(flows.get_mut(id(0, 1)).is_none());
        assert!(flows.get_mut(id(0, 2)).is_some());
        assert!(flows.remove(id(0, 1), |_| ()).is_none());
        assert_eq!(flows.open_count(), 1);
    }

    /// What 4,096 flows reserve; two SRTP contexts are most of it.
    #[test]
    fn a_flow_is_small() {
        let octets = size_of::<Flow>();
        assert!(octets <= 4096, "{octets} octets");
    }

    #[test]
    fn silence_is_reported_once_until_media_resumes() {
        let mut flow = flow(id(0, 1));
        assert!(!flow.is_silent(u64::MAX), "no watch was asked for");
        flow.silence = Silence { timeout_ns: 100, since_ns: 50, reported: false };
        assert!(!flow.is_silent(u64::MAX), "a held flow is silent by intent");
        flow.gate = Gate::Relaying;
        assert!(!flow.is_silent(149));
        assert!(flow.is_silent(150));
        flow.silence.reported = true;
        assert!(!flow.is_silent(1000));
        flow.accepted(172, 2000);
        assert!(!flow.is_silent(2099));
        assert!(flow.is_silent(2100));
    }
}
