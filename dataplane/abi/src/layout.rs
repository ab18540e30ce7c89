//! Where everything lies in a region, and the fingerprint by which two builds recognise each other.
//!
//! ```text
//! 0        header page (4096 bytes)
//! 4096     command ring     (cursors 256 bytes, slots of 512 bytes)
//!          event ring       (cursors 256 bytes, slots of 128 bytes)
//!          counters         (8 bytes each, rounded up to 128)
//!          histograms       (8 bytes a bucket)
//!          flow table       (384 bytes each)
//!          shelf            (octets of recordings)
//!          end, rounded up to whole pages
//! ```
//!
//! Offsets follow from three numbers in the header (flows, commands, events). The guest computes
//! them from those after checking them against limits, and compares the sum with the real size.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::address::Address;
use crate::command::Command;
use crate::counter::{COUNTERS, VERDICTS};
use crate::event::Event;
use crate::flow::{ENTRY_WORDS, FlowEntry, FlowId};
use crate::format::FormatSlot;
use crate::histogram::HISTOGRAM_WORDS;
use crate::keepalive::KeepaliveSlot;
use crate::key::KeySlot;
use crate::learning::LearningSlot;
use crate::ring::{SLOTS, TAIL, ring_words};
use crate::shelf::{SHELF_TAIL, SHELF_WORDS};

/// First word of every region and of every greeting, in all versions.
pub const MAGIC: u64 = u64::from_le_bytes(*b"TRUNKLNE");

/// Grows when the meaning of something changes that [`LAYOUT_HASH`] cannot see.
pub const VERSION: u32 = 1;

/// FNV-1a over names, offsets and sizes of every shared type and over the names of the counters.
pub const LAYOUT_HASH: u64 = {
    let mut hash = FNV_BASIS;
    let mut index = 0;
    while index < TYPES.len() {
        #[expect(clippy::indexing_slicing, reason = "const evaluation, bounded by the condition")]
        let (name, size, fields) = TYPES[index];
        hash = number(text(hash, name), size);
        let mut field = 0;
        while field < fields.len() {
            #[expect(clippy::indexing_slicing, reason = "const evaluation, bounded")]
            let (name, offset) = fields[field];
            hash = number(text(hash, name), offset);
            field += 1;
        }
        index += 1;
    }
    let mut index = 0;
    while index < COUNTERS.len() {
        #[expect(clippy::indexing_slicing, reason = "const evaluation, bounded by the condition")]
        let counter = &COUNTERS[index];
        hash = text(hash, counter.name);
        index += 1;
    }
    hash = number(number(number(number(hash, TAIL), SLOTS), PAGE_BYTES), HISTOGRAM_WORDS);
    number(number(hash, SHELF_WORDS), SHELF_TAIL)
};

/// The first page of a region. The first three fields keep their place in all versions.
#[repr(C)]
#[derive(Pod, Zeroable, Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub magic: u64,
    pub version: u32,
    pub worker: u32,
    pub layout_hash: u64,
    /// Bytes of the whole region.
    pub size: u64,
    pub flows: u32,
    pub commands: u32,
    pub events: u32,
    pub host_pid: u32,
    pub fixed_pad: [u64; 10],
    // From here on the host writes while it runs.
    pub state: u64,
    pub heartbeat_ns: u64,
    /// The core that the worker is pinned to, plus 1; 0 when the scheduler places it.
    pub core: u64,
    pub live_pad: [u64; 13],
}

pub(crate) const HEADER_WORDS: usize = size_of::<Header>() / WORD;
pub(crate) const STATE: usize = core::mem::offset_of!(Header, state) / WORD;
pub(crate) const HEARTBEAT: usize = core::mem::offset_of!(Header, heartbeat_ns) / WORD;
pub(crate) const CORE: usize = core::mem::offset_of!(Header, core) / WORD;

/// Word ranges of a region's parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sections {
    pub header: Range<usize>,
    pub commands: Range<usize>,
    pub events: Range<usize>,
    pub counters: Range<usize>,
    pub histograms: Range<usize>,
    pub flows: Range<usize>,
    pub shelf: Range<usize>,
    pub bytes: usize,
}

impl Sections {
    /// The arguments are within the limits of `Shape`, so nothing here overflows.
    pub(crate) fn new(flows: u32, commands: u32, events: u32) -> Self {
        let mut end = 0;
        let mut next = |words: usize| {
            let start = end;
            end += words.next_multiple_of(LINE_WORDS);
            start..start + words
        };
        let header = next(PAGE_BYTES / WORD);
        let commands = next(ring_words::<Command>(commands as usize));
        let events = next(ring_words::<Event>(events as usize));
        let counters = next(COUNTERS.len());
        let histograms = next(HISTOGRAM_WORDS);
        let flows = next(flows as usize * ENTRY_WORDS);
        let shelf = next(SHELF_WORDS);
        let bytes = (end * WORD).next_multiple_of(PAGE_BYTES);
        let header = header.start..HEADER_WORDS;
        Self { header, commands, events, counters, histograms, flows, shelf, bytes }
    }
}

macro_rules! fields {
    ($type:ident { $($field:ident),* $(,)? }) => {{
        // Fails to compile when a field is missing from the list.
        const _: fn($type) = |value: $type| {
            let $type { $($field: _),* } = value;
        };
        (
            stringify!($type),
            size_of::<$type>(),
            &[$((stringify!($field), core::mem::offset_of!($type, $field))),*] as &[_],
        )
    }};
}

type Described = (&'static str, usize, &'static [(&'static str, usize)]);

const TYPES: &[Described] = &[
    fields!(FlowId { index, generation }),
    fields!(Address { ip, port, family }),
    fields!(KeySlot { suite, key, salt, mki_len, pad, mki }),
    fields!(FormatSlot { rate_hz, payload_type, codec, ptime_ms, pad }),
    fields!(KeepaliveSlot { interval_ms, payload_type, pad }),
    fields!(LearningSlot { ip, window_ms, prefix, family, pad }),
    fields!(Command {
        kind,
        flags,
        token,
        flow,
        peer,
        call,
        network,
        timeout_ms,
        source_rtp,
        source_rtcp,
        destination_rtp,
        destination_rtcp,
        unprotect,
        protect,
        received,
        sent,
        events_received,
        events_sent,
        payloads,
        learning,
        prompt,
        duration_ms,
        digit,
        family,
        core,
        keepalive,
        dscp,
        dscp_pad,
        shelf_at,
        shelf_octets,
        pad,
    }),
    fields!(Event {
        kind,
        reason,
        token,
        flow,
        local_rtp,
        local_rtcp,
        packets,
        bytes,
        at_ns,
        remote,
        duration_ms,
        digit,
        detail,
        pad,
    }),
    fields!(FlowEntry {
        version,
        state,
        generation,
        call,
        peer,
        local_rtp,
        local_rtp_pad,
        local_rtcp,
        local_rtcp_pad,
        destination,
        destination_pad,
        opened_ns,
        source,
        source_pad,
        identity_pad,
        last_packet_ns,
        packets_in,
        bytes_in,
        packets_out,
        bytes_out,
        lost,
        duplicates,
        reordered,
        jitter,
        auth_failures,
        replays,
        off_path,
        rate_hz,
        rtt_us,
        far_lost,
        far_jitter,
        mos,
        tally_pad,
    }),
    fields!(Header {
        magic,
        version,
        worker,
        layout_hash,
        size,
        flows,
        commands,
        events,
        host_pid,
        fixed_pad,
        state,
        heartbeat_ns,
        core,
        live_pad,
    }),
];

const fn text(mut hash: u64, text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        #[expect(clippy::indexing_slicing, reason = "const evaluation, bounded by the condition")]
        let byte = bytes[index];
        hash = (hash ^ byte as u64).wrapping_mul(FNV_PRIME);
        index += 1;
    }
    // Ends the text, so that "ab","c" and "a","bc" differ.
    (hash ^ 0xFF).wrapping_mul(FNV_PRIME)
}

const fn number(mut hash: u64, number: usize) -> u64 {
    let mut rest = number as u64;
    let mut byte = 0;
    while byte < 8 {
        hash = (hash ^ (rest & 0xFF)).wrapping_mul(FNV_PRIME);
        rest >>= 8;
        byte += 1;
    }
    hash
}

const FNV_BASIS: u64 = 0xCBF2_9CE4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01B3;
const WORD: usize = size_of::<u64>();
pub(crate) const PAGE_BYTES: usize = 4096;
const LINE_WORDS: usize = 128 / WORD;

const _: () = {
    assert!(size_of::<FlowId>() == 8 && align_of::<FlowId>() == 4);
    assert!(size_of::<Address>() == 20 && align_of::<Address>() == 2);
    assert!(size_of::<KeySlot>() == 56 && align_of::<KeySlot>() == 4);
    assert!(size_of::<FormatSlot>() == 8 && size_of::<LearningSlot>() == 24);
    assert!(size_of::<Command>() == 512 && align_of::<Command>() == 8);
    assert!(core::mem::offset_of!(Command, source_rtp) == 56);
    assert!(core::mem::offset_of!(Command, unprotect) == 136);
    assert!(core::mem::offset_of!(Command, protect) == 192);
    assert!(core::mem::offset_of!(Command, received) == 248);
    assert!(core::mem::offset_of!(Command, prompt) == 320);
    assert!(core::mem::offset_of!(Command, keepalive) == 360);
    assert!(size_of::<Event>() == 128 && align_of::<Event>() == 8);
    assert!(core::mem::offset_of!(Event, packets) == 64);
    assert!(core::mem::offset_of!(Event, remote) == 88);
    assert!(core::mem::offset_of!(Event, pad) == 120);
    assert!(size_of::<FlowEntry>() == 384 && align_of::<FlowEntry>() == 8);
    // The tallies begin a line of their own: they are written per packet, the rest per change.
    assert!(core::mem::offset_of!(FlowEntry, last_packet_ns) == 192);
    assert!(size_of::<Header>() == 256 && core::mem::offset_of!(Header, state) == 128);
    assert!(core::mem::offset_of!(Header, magic) == 0);
    assert!(core::mem::offset_of!(Header, version) == 8);
    assert!(core::mem::offset_of!(Header, layout_hash) == 16);
    assert!(VERDICTS <= COUNTERS.len());
    // Offsets are computed in usize from 32-bit counts.
    assert!(usize::BITS == 64);
};

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn sections_follow_each_other_without_overlap() {
        for (flows, commands, events) in [(1, 2, 2), (1000, 64, 4096), (262_144, 65_536, 65_536)] {
            let s = Sections::new(flows, commands, events);
            let front = [&s.header, &s.commands, &s.events, &s.counters];
            let parts = [&front[..], &[&s.histograms, &s.flows, &s.shelf]].concat();
            for (a, b) in parts.iter().zip(&parts[1..]) {
                assert!(a.end <= b.start, "{s:?}");
                assert_eq!(b.start % LINE_WORDS, 0, "{s:?}");
            }
            assert!(s.shelf.end * WORD <= s.bytes && s.bytes.is_multiple_of(PAGE_BYTES));
            assert_eq!(s.commands.start * WORD, PAGE_BYTES);
        }
    }

    #[test]
    fn the_hash_sees_names_offsets_and_order() {
        let ab = text(text(FNV_BASIS, "a"), "b");
        assert_ne!(ab, text(text(FNV_BASIS, "b"), "a"));
        assert_ne!(ab, text(FNV_BASIS, "ab"));
        assert_ne!(number(ab, 8), number(ab, 16));
        assert_ne!(LAYOUT_HASH, 0);
    }
}
