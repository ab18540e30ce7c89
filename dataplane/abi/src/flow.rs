//! The flow table: what each flow of a worker is and counts, readable at any time.
//!
//! ```text
//! entry (384 bytes = 48 words)
//!   0  version     odd while the host rewrites the entry (see seqlock.rs)
//!   1  state, generation            2..4   call          4  peer
//!   5..8 local RTP   8..11 local RTCP   11..14 destination   14 opened_ns   15..18 source
//!  24  last_packet_ns, packets, bytes, ...   (tallies: each word stands for itself)
//! ```
//!
//! The host writes from a private copy and never reads the table; a guest that scribbles over it
//! deceives only itself, and [`FlowWriter::restore`] makes the table true again for the next guest.

use bytemuck::{Pod, Zeroable};

use crate::address::Address;
use crate::memory::{Words, sync::Ordering};
use crate::seqlock;

/// Names one life of one slot of the flow table. Generation 0 never names a flow.
#[repr(C)]
#[derive(Pod, Zeroable, Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct FlowId {
    /// Slot in the flow table, below the region's number of flows.
    pub index: u32,
    /// Grows with each reuse of the slot, from 1.
    pub generation: u32,
}

impl FlowId {
    /// No flow.
    pub const NONE: Self = Self { index: 0, generation: 0 };

    /// `None` for [`FlowId::NONE`] and whatever else has generation 0.
    #[must_use]
    pub const fn some(self) -> Option<Self> {
        if self.generation == 0 { None } else { Some(self) }
    }
}

impl std::fmt::Display for FlowId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// Where a flow stands in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowState {
    /// Ports are leased; packets are not relayed yet.
    Open,
    /// Packets are relayed.
    Relaying,
}

/// A consistent copy of one flow: never a mix of two flows.
///
/// Tallies may be newer than each other by the packets of one batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowSnapshot {
    pub id: FlowId,
    pub state: FlowState,
    /// The call's identity as the guest gave it in OPEN.
    pub call: [u8; 16],
    /// The flow of the opposite direction, or [`FlowId::NONE`].
    pub peer: FlowId,
    pub local_rtp: Address,
    pub local_rtcp: Address,
    /// Where RTP of this flow is sent, or [`Address::NONE`].
    pub destination: Address,
    /// Where RTP of this flow comes from, signalled or learned, or [`Address::NONE`].
    pub source: Address,
    /// CLOCK_MONOTONIC nanoseconds.
    pub opened_ns: u64,
    /// CLOCK_MONOTONIC nanoseconds of the last accepted packet; 0 for none yet.
    pub last_packet_ns: u64,
    pub packets_in: u64,
    /// Octets of UDP payload.
    pub bytes_in: u64,
    pub packets_out: u64,
    /// Octets of UDP payload.
    pub bytes_out: u64,
    /// Packets, RFC 3550 §6.4.1 (expected less received, never below 0).
    pub lost: u64,
    pub duplicates: u64,
    pub reordered: u64,
    /// Interarrival jitter in RTP timestamp units, RFC 3550 §6.4.1.
    pub jitter: u64,
    pub auth_failures: u64,
    pub replays: u64,
    /// Packets from an address that is not this flow's source.
    pub off_path: u64,
    /// RTP clock rate of what arrives, in Hz; 0 while unknown. The unit of `jitter`.
    pub rate_hz: u64,
    /// Round-trip time to the source of this flow by its RTCP, in microseconds; 0 while unknown.
    pub rtt_us: u64,
    /// Packets that the source of this flow has lost of what we send it, by its RTCP reports.
    pub far_lost: u64,
    /// Jitter that the source of this flow sees in what we send it, in RTP timestamp units.
    pub far_jitter: u64,
    /// Estimated listening quality of what arrives, MOS times 100 (ITU-T G.107); 0 while unknown.
    pub mos: u64,
}

impl FlowSnapshot {
    /// A flow that was just opened and has counted nothing.
    #[must_use]
    pub const fn opened(id: FlowId, call: [u8; 16], opened_ns: u64) -> Self {
        Self {
            id,
            state: FlowState::Open,
            call,
            peer: FlowId::NONE,
            local_rtp: Address::NONE,
            local_rtcp: Address::NONE,
            destination: Address::NONE,
            source: Address::NONE,
            opened_ns,
            last_packet_ns: 0,
            packets_in: 0,
            bytes_in: 0,
            packets_out: 0,
            bytes_out: 0,
            lost: 0,
            duplicates: 0,
            reordered: 0,
            jitter: 0,
            auth_failures: 0,
            replays: 0,
            off_path: 0,
            rate_hz: 0,
            rtt_us: 0,
            far_lost: 0,
            far_jitter: 0,
            mos: 0,
        }
    }
}

/// The tallies of a flow that change per packet and are written one word at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowTally {
    LastPacketNs,
    PacketsIn,
    BytesIn,
    PacketsOut,
    BytesOut,
    Lost,
    Duplicates,
    Reordered,
    Jitter,
    AuthFailures,
    Replays,
    OffPath,
    RateHz,
    RttUs,
    FarLost,
    FarJitter,
    Mos,
}

impl FlowTally {
    const fn word(self) -> usize {
        let offset = match self {
            Self::LastPacketNs => core::mem::offset_of!(FlowEntry, last_packet_ns),
            Self::PacketsIn => core::mem::offset_of!(FlowEntry, packets_in),
            Self::BytesIn => core::mem::offset_of!(FlowEntry, bytes_in),
            Self::PacketsOut => core::mem::offset_of!(FlowEntry, packets_out),
            Self::BytesOut => core::mem::offset_of!(FlowEntry, bytes_out),
            Self::Lost => core::mem::offset_of!(FlowEntry, lost),
            Self::Duplicates => core::mem::offset_of!(FlowEntry, duplicates),
            Self::Reordered => core::mem::offset_of!(FlowEntry, reordered),
            Self::Jitter => core::mem::offset_of!(FlowEntry, jitter),
            Self::AuthFailures => core::mem::offset_of!(FlowEntry, auth_failures),
            Self::Replays => core::mem::offset_of!(FlowEntry, replays),
            Self::OffPath => core::mem::offset_of!(FlowEntry, off_path),
            Self::RateHz => core::mem::offset_of!(FlowEntry, rate_hz),
            Self::RttUs => core::mem::offset_of!(FlowEntry, rtt_us),
            Self::FarLost => core::mem::offset_of!(FlowEntry, far_lost),
            Self::FarJitter => core::mem::offset_of!(FlowEntry, far_jitter),
            Self::Mos => core::mem::offset_of!(FlowEntry, mos),
        };
        offset / size_of::<u64>()
    }
}

/// The host's side: the only writer.
///
/// An index at or beyond [`FlowWriter::capacity`] is ignored; the worker validates flow ids before
/// it has a flow to publish.
pub struct FlowWriter {
    table: Words,
    /// The truth. One `FlowEntry` per flow, as words; untouched pages cost nothing.
    private: Vec<u64>,
}

impl FlowWriter {
    pub(crate) fn new(table: Words) -> Self {
        let private = vec![0; table.len()];
        Self { table, private }
    }

    /// Number of flows that the table holds.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        capacity(&self.table)
    }

    /// Writes the whole entry; a reader sees the old one or the new one. Call it when identity,
    /// state, addresses or peer change; for tallies prefer [`FlowWriter::set`].
    pub fn publish(&mut self, index: u32, snapshot: &FlowSnapshot) {
        self.replace(index, &FlowEntry::from(snapshot));
    }

    /// Makes the slot free. Its generation stays, so that a guest that comes back knows which
    /// generations are spent.
    pub fn clear(&mut self, index: u32) {
        let start = index as usize * ENTRY_WORDS;
        let mut spent = FlowEntry::zeroed();
        if let Some(private) = self.private.get(start..start + ENTRY_WORDS)
            && let Some(entry) = bytemuck::cast_slice::<u64, FlowEntry>(private).first()
        {
            spent.generation = entry.generation;
        }
        self.replace(index, &spent);
    }

    /// Sets one tally: one store.
    pub fn set(&mut self, index: u32, tally: FlowTally, value: u64) {
        let word = index as usize * ENTRY_WORDS + tally.word();
        if let (Some(private), Some(shared)) = (self.private.get_mut(word), self.table.get(word)) {
            *private = value;
            // Relaxed is enough: the release fence of the last `publish` orders the entry's odd
            // version before this store, so a reader that sees this word of a new flow also sees
            // that the old flow's version has gone (modelled in seqlock.rs).
            shared.store(value, Ordering::Relaxed);
        }
    }

    /// Adds to one tally (wrapping): one private load and one store.
    pub fn bump(&mut self, index: u32, tally: FlowTally, by: u64) {
        let word = index as usize * ENTRY_WORDS + tally.word();
        if let Some(value) = self.private.get(word) {
            self.set(index, tally, value.wrapping_add(by));
        }
    }

    /// Writes every entry again from the private copy. For the moment between two guests, when the
    /// first one may have scribbled over the table.
    pub fn restore(&mut self) {
        for (private, shared) in
            self.private.chunks_exact(ENTRY_WORDS).zip(self.table.chunks_exact(ENTRY_WORDS))
        {
            if let Some((version, body)) = private.split_first() {
                seqlock::write(shared, *version, body);
            }
        }
    }

    fn replace(&mut self, index: u32, entry: &FlowEntry) {
        let start = index as usize * ENTRY_WORDS;
        let range = start..start + ENTRY_WORDS;
        let private = self.private.get_mut(range.clone());
        let (Some(private), Some(shared)) = (private, self.table.get(range)) else {
            return;
        };
        let words: &[u64] = bytemuck::cast_slice(std::slice::from_ref(entry));
        let (Some((version, body)), Some((_, new))) =
            (private.split_first_mut(), words.split_first())
        else {
            return;
        };
        *version = version.wrapping_add(2);
        body.copy_from_slice(new);
        seqlock::write(shared, *version, body);
    }
}

/// The guest's side. Cheap to clone, may be shared between threads.
#[derive(Clone)]
pub struct FlowReader {
    table: Words,
}

impl FlowReader {
    pub(crate) fn new(table: Words) -> Self {
        Self { table }
    }

    /// Number of flows that the table holds.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        capacity(&self.table)
    }

    /// One flow, or `None` when the slot is free, beyond the table, being rewritten for longer than
    /// a bounded number of looks, or holds nonsense.
    #[must_use]
    pub fn snapshot(&self, index: u32) -> Option<FlowSnapshot> {
        self.entry(index)?.snapshot(index)
    }

    /// The newest generation that the slot has had; 0 for a slot that was never used.
    #[must_use]
    pub fn generation(&self, index: u32) -> u32 {
        self.entry(index).map_or(0, |entry| entry.generation)
    }

    fn entry(&self, index: u32) -> Option<FlowEntry> {
        let start = index as usize * ENTRY_WORDS;
        let shared = self.table.get(start..start + ENTRY_WORDS)?;
        let mut entry = FlowEntry::zeroed();
        let words: &mut [u64] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut entry));
        let (_, body) = words.split_first_mut()?;
        seqlock::read(shared, body).then_some(entry)
    }

    /// Every flow that is not free, in index order.
    pub fn iter(&self) -> impl Iterator<Item = FlowSnapshot> + '_ {
        (0..self.capacity()).filter_map(|index| self.snapshot(index))
    }
}

fn capacity(table: &Words) -> u32 {
    u32::try_from(table.len() / ENTRY_WORDS).unwrap_or(u32::MAX)
}

/// The shared form. Explicit words only, so that each can be stored atomically.
#[repr(C)]
#[derive(Pod, Zeroable, Copy, Clone)]
pub(crate) struct FlowEntry {
    pub version: u64,
    /// 0 free, 1 open, 2 relaying.
    pub state: u32,
    pub generation: u32,
    pub call: [u8; 16],
    pub peer: FlowId,
    pub local_rtp: Address,
    pub local_rtp_pad: u32,
    pub local_rtcp: Address,
    pub local_rtcp_pad: u32,
    pub destination: Address,
    pub destination_pad: u32,
    pub opened_ns: u64,
    pub source: Address,
    pub source_pad: u32,
    pub identity_pad: [u64; 6],
    pub last_packet_ns: u64,
    pub packets_in: u64,
    pub bytes_in: u64,
    pub packets_out: u64,
    pub bytes_out: u64,
    pub lost: u64,
    pub duplicates: u64,
    pub reordered: u64,
    pub jitter: u64,
    pub auth_failures: u64,
    pub replays: u64,
    pub off_path: u64,
    pub rate_hz: u64,
    pub rtt_us: u64,
    pub far_lost: u64,
    pub far_jitter: u64,
    pub mos: u64,
    pub tally_pad: [u64; 7],
}

impl FlowEntry {
    fn snapshot(&self, index: u32) -> Option<FlowSnapshot> {
        let state = match self.state {
            OPEN => FlowState::Open,
            RELAYING => FlowState::Relaying,
            _ => return None,
        };
        Some(FlowSnapshot {
            id: FlowId { index, generation: self.generation },
            state,
            call: self.call,
            peer: self.peer,
            local_rtp: self.local_rtp,
            local_rtcp: self.local_rtcp,
            destination: self.destination,
            source: self.source,
            opened_ns: self.opened_ns,
            last_packet_ns: self.last_packet_ns,
            packets_in: self.packets_in,
            bytes_in: self.bytes_in,
            packets_out: self.packets_out,
            bytes_out: self.bytes_out,
            lost: self.lost,
            duplicates: self.duplicates,
            reordered: self.reordered,
            jitter: self.jitter,
            auth_failures: self.auth_failures,
            replays: self.replays,
            off_path: self.off_path,
            rate_hz: self.rate_hz,
            rtt_us: self.rtt_us,
            far_lost: self.far_lost,
            far_jitter: self.far_jitter,
            mos: self.mos,
        })
    }
}

impl From<&FlowSnapshot> for FlowEntry {
    fn from(flow: &FlowSnapshot) -> Self {
        Self {
            state: match flow.state {
                FlowState::Open => OPEN,
                FlowState::Relaying => RELAYING,
            },
            generation: flow.id.generation,
            call: flow.call,
            peer: flow.peer,
            local_rtp: flow.local_rtp,
            local_rtcp: flow.local_rtcp,
            destination: flow.destination,
            source: flow.source,
            opened_ns: flow.opened_ns,
            last_packet_ns: flow.last_packet_ns,
            packets_in: flow.packets_in,
            bytes_in: flow.bytes_in,
            packets_out: flow.packets_out,
            bytes_out: flow.bytes_out,
            lost: flow.lost,
            duplicates: flow.duplicates,
            reordered: flow.reordered,
            jitter: flow.jitter,
            auth_failures: flow.auth_failures,
            replays: flow.replays,
            off_path: flow.off_path,
            rate_hz: flow.rate_hz,
            rtt_us: flow.rtt_us,
            far_lost: flow.far_lost,
            far_jitter: flow.far_jitter,
            mos: flow.mos,
            ..Self::zeroed()
        }
    }
}

const OPEN: u32 = 1;
const RELAYING: u32 = 2;
pub(crate) const ENTRY_WORDS: usize = size_of::<FlowEntry>() / size_of::<u64>();

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
