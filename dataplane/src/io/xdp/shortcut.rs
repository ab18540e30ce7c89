//! What the kernel relays by itself, and the table by which worker and XDP program agree on it.
//!
//! ```text
//! worker  --- writes the first line, state last ---> entry <--- reads the first line --- program
//!         <-- reads the second line                        ---- counts in the second -->
//! ```
//! An entry is for one RTP port of one of our addresses, so for one flow. It is written while it is
//! off, and once off it stays so until the flow is visited again: no program of a packet that came
//! before runs for so long, so none reads a line that is half written. The table is memory: the
//! hardened worker needs no bpf(2) for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::program::Shortcuts;
use super::way_back::WayBack;
use crate::io::bpf::{Map, MapKind, MapSpec, Memory};
use crate::io::frame::{self, Hop};
use crate::io::{Dscp, Endpoint};

/// Where fields are in an entry, in octets. Addresses, ports and SSRC as in packets, sums in the
/// processor's order, everything else as numbers.
pub mod at {
    /// 0 when the entry is off, else the interface that packets leave by.
    pub const STATE: i16 = 0;
    pub const SOURCE_IP: i16 = 8;
    pub const SOURCE_PORT: i16 = 12;
    pub const PAYLOAD_TYPE: i16 = 14;
    pub const SSRC: i16 = 16;
    /// Ticks of the media clock per 2^32 ns.
    pub const TICKS: i16 = 20;
    pub const MACS: i16 = 24;
    /// Longest IP packet.
    pub const LENGTH_MAX: i16 = 36;
    /// Over the IP header without its length.
    pub const HEADER_SUM: i16 = 38;
    pub const NEW_SOURCE_IP: i16 = 40;
    pub const NEW_TARGET_IP: i16 = 44;
    pub const NEW_PORTS: i16 = 48;
    /// New addresses and ports less the old ones.
    pub const SUM_CHANGE: i16 = 52;
    pub const TRAFFIC_CLASS: i16 = 54;
    /// Over the pseudo header of what comes, without its length.
    pub const PSEUDO_SUM: i16 = 56;
    pub const RATE: i16 = 60;
    /// The program's line.
    pub const PACKETS: i16 = 64;
    pub const OCTETS: i16 = 72;
    pub const ARRIVAL: i16 = 80;
    pub const HIGHEST: i16 = 88;
    pub const TIMESTAMP: i16 = 96;
    pub const JITTER: i16 = 104;
    pub const BURSTS: i16 = 112;
}

/// The entries of all flows.
pub struct Table {
    memory: Memory,
    map: Map,
    first: u16,
    pairs: u32,
    size: usize,
    /// Networks whose flows may be relayed so, by their numbers.
    networks: Vec<bool>,
}

/// One flow's way through us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Passage {
    /// Networks that it comes by and leaves by.
    pub networks: [usize; 2],
    pub source: Endpoint,
    /// Ours, where it comes to.
    pub local: Endpoint,
    /// Ours, where it leaves from.
    pub from: Endpoint,
    pub to: Endpoint,
    pub ssrc: u32,
    pub payload_type: u8,
    pub rate_hz: u32,
}

/// How far a source is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Position {
    /// Extended sequence number.
    pub highest: u64,
    pub timestamp: u32,
    pub arrival_ns: u64,
    /// Scaled by 16 (RFC 3550 §A.8).
    pub jitter: u32,
}

/// What was relayed since the last look, and how far the source is now.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    pub packets: u64,
    /// Of payload of UDP.
    pub octets: u64,
    /// Runs of missing numbers.
    pub bursts: u64,
    pub position: Position,
}

/// What an entry would say.
#[derive(Clone)]
pub struct Plan {
    table: Arc<Table>,
    way: Arc<WayBack>,
    /// The entry's first word.
    place: usize,
    /// The interface that packets leave by.
    out: u32,
    line: [u64; LINE_WORDS],
}

/// An entry that is on; off when it is dropped.
pub struct Shortcut {
    plan: Plan,
    /// Counts at the last look.
    packets: u64,
    octets: u64,
    bursts: u64,
}

impl Table {
    /// With entries for `pairs` even ports from `first` on, on each of `addresses` addresses.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create(
        addresses: usize,
        first: u16,
        pairs: u32,
        networks: Vec<bool>,
    ) -> io::Result<Table> {
        let entries = (addresses.max(1) as u32).saturating_mul(pairs.max(1));
        let map = Map::create(MapSpec {
            kind: MapKind::Array,
            key: 4,
            value: ENTRY as u32,
            entries,
            mapped: true,
            name: "tl_shortcuts",
        })?;
        Ok(Table { memory: map.memory()?, map, first, pairs, size: entries as usize, networks })
    }

    /// What the program needs of it.
    pub fn shortcuts(&self) -> Shortcuts<'_> {
        Shortcuts { entries: &self.map, first: self.first, pairs: self.pairs }
    }

    /// What the entry of a flow would say, whose packets come to our address of that `number` and
    /// leave by `way`; `None` when they are not for the kernel to relay.
    pub fn plan(
        self: &Arc<Table>,
        number: usize,
        passage: &Passage,
        (hop, way): (&Hop, &Arc<WayBack>),
        dscp: Dscp,
    ) -> Option<Plan> {
        let Passage { source, local, from, to, .. } = *passage;
        let mut permitted = passage.networks.iter().map(|at| self.networks.get(*at));
        let plain = [source, local, from, to].iter().all(|end| end.is_ipv4()) && hop.vlan.is_none();
        if !permitted.all(|permitted| permitted == Some(&true)) || !plain {
            return None;
        }
        let pair = local.port.checked_sub(self.first).filter(|offset| offset % 2 == 0)? / 2;
        if u32::from(pair) >= self.pairs {
            return None;
        }
        let entry = number * self.pairs as usize + usize::from(pair);
        let line = line(passage, hop, dscp);
        let (table, way) = (Arc::clone(self), Arc::clone(way));
        Some(Plan { table, way, place: entry * ENTRY / 8, out: hop.ifindex, line })
    }

    /// How many entries there are.
    pub fn entries(&self) -> usize {
        self.size
    }

    /// Packets that were relayed since an entry was turned on.
    pub fn packets(&self, entry: usize) -> u64 {
        self.word(entry * ENTRY / 8, at::PACKETS).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Nothing of an entry's flow is relayed any more.
    pub fn switch_off(&self, entry: usize) {
        if let Some(state) = self.word(entry * ENTRY / 8, at::STATE) {
            state.store(0, Ordering::Release);
        }
    }

    fn word(&self, place: usize, at: i16) -> Option<&AtomicU64> {
        self.memory.word(place + usize::try_from(at).ok()? / 8)
    }
}

impl Plan {
    fn entry(&self) -> usize {
        self.place / (ENTRY / 8)
    }

    /// Turns the entry on, for a source that is at `position`.
    pub fn open(self, position: Position) -> Shortcut {
        let set = |at, value| {
            if let Some(word) = self.table.word(self.place, at) {
                word.store(value, Ordering::Relaxed);
            }
        };
        for (at, value) in (0_i16..).step_by(8).zip(self.line).skip(1) {
            set(at, value);
        }
        for at in [at::PACKETS, at::OCTETS, at::BURSTS] {
            set(at, 0);
        }
        set(at::ARRIVAL, position.arrival_ns);
        set(at::HIGHEST, position.highest);
        set(at::TIMESTAMP, position.timestamp.into());
        set(at::JITTER, position.jitter.into());
        let entry = self.entry();
        self.way.join(entry);
        if let Some(state) = self.table.word(self.place, at::STATE) {
            state.store(self.out.into(), Ordering::Release);
        }
        // Who closes the way sees this entry, or this sees the way closed.
        fence(Ordering::SeqCst);
        if !self.way.is_open() {
            self.table.switch_off(entry);
        }
        Shortcut { plan: self, packets: 0, octets: 0, bursts: 0 }
    }
}

impl Shortcut {
    /// Whether the entry says what `plan` would.
    pub fn agrees(&self, plan: &Plan) -> bool {
        let Plan { place, out, line, .. } = &self.plan;
        (*place, *out, *line) == (plan.place, plan.out, plan.line)
    }

    /// Nothing is relayed any more.
    pub fn close(&self) {
        let entry = self.plan.entry();
        self.plan.table.switch_off(entry);
        self.plan.way.leave(entry);
    }

    /// What happened since the last call; `None` when nothing did.
    pub fn progress(&mut self) -> Option<Progress> {
        let Plan { table, place, .. } = &self.plan;
        let read = |at| table.word(*place, at).map_or(0, |word| word.load(Ordering::Acquire));
        let packets = read(at::PACKETS);
        if packets == self.packets {
            return None;
        }
        let (octets, bursts) = (read(at::OCTETS), read(at::BURSTS));
        let since = |now: u64, before: &mut u64| now.wrapping_sub(std::mem::replace(before, now));
        Some(Progress {
            packets: since(packets, &mut self.packets),
            octets: since(octets, &mut self.octets),
            bursts: since(bursts, &mut self.bursts),
            position: Position {
                highest: read(at::HIGHEST),
                timestamp: read(at::TIMESTAMP) as u32,
                arrival_ns: read(at::ARRIVAL),
                jitter: read(at::JITTER) as u32,
            },
        })
    }
}

impl Drop for Shortcut {
    fn drop(&mut self) {
        self.close();
    }
}

/// The worker's line of an entry; the state is 0 in it.
fn line(passage: &Passage, hop: &Hop, dscp: Dscp) -> [u64; LINE_WORDS] {
    let Passage { source, local, from, to, ssrc, payload_type, rate_hz, .. } = *passage;
    let ip = |end: Endpoint| (end.ip as u32).to_be_bytes();
    let port = |end: Endpoint| end.port.to_be_bytes();
    let sums = frame::Sums::of((source, local), (from, to), dscp);
    let ticks = (u64::from(rate_hz) << 32) / SECOND_NS;
    let longest = hop.mtu.min(u16::MAX.into()) as u16;
    let traffic_class = dscp.octet() as u8;
    let mut line = [0; LINE_WORDS * 8];
    for (at, octets) in [
        (at::SOURCE_IP, &ip(source)[..]),
        (at::SOURCE_PORT, &port(source)),
        (at::PAYLOAD_TYPE, &[payload_type]),
        (at::SSRC, &ssrc.to_be_bytes()),
        (at::TICKS, &(ticks as u32).to_ne_bytes()),
        (at::MACS, &hop.target.0),
        (at::MACS + 6, &hop.source.0),
        (at::LENGTH_MAX, &longest.to_ne_bytes()),
        (at::HEADER_SUM, &sums.header.to_ne_bytes()),
        (at::NEW_SOURCE_IP, &ip(from)),
        (at::NEW_TARGET_IP, &ip(to)),
        (at::NEW_PORTS, &port(from)),
        (at::NEW_PORTS + 2, &port(to)),
        (at::SUM_CHANGE, &sums.change.to_ne_bytes()),
        (at::TRAFFIC_CLASS, &[traffic_class]),
        (at::PSEUDO_SUM, &sums.pseudo.to_ne_bytes()),
        (at::RATE, &rate_hz.to_ne_bytes()),
    ] {
        let places = line.iter_mut().skip(at as usize);
        places.zip(octets).for_each(|(place, octet)| *place = *octet);
    }
    let (words, _) = line.as_chunks::<8>();
    let mut out = [0; LINE_WORDS];
    out.iter_mut().zip(words).for_each(|(out, word)| *out = u64::from_ne_bytes(*word));
    out
}

/// Octets of an entry: a cache line of the worker's and one of the program's.
const ENTRY: usize = 128;
const LINE_WORDS: usize = 8;
const SECOND_NS: u64 = 1_000_000_000;
