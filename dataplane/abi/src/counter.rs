//! A worker's counters, declared once: the table below yields the shared index, the metric name,
//! the help text and the unit for the exporter, for `top` and for the documentation.
//!
//! The first [`VERDICTS`] counters are the verdicts of the packet path: the number of a verdict is
//! the number of its counter. Each packet that was received ends in exactly one of them.

use std::cell::Cell;

use crate::memory::{Words, sync::Ordering};

macro_rules! counters {
    ($($variant:ident $name:literal $metric:ident $unit:literal $help:literal;)*) => {
        /// Index of a counter in the region.
        #[repr(u32)]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Counter { $(#[doc = $help] $variant,)* }

        impl Counter {
            /// Every counter, in the order of the region.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
        }

        /// What each counter is, in the order of [`Counter`].
        pub const COUNTERS: &[Meta] = &[$(
            Meta { name: $name, help: $help, unit: $unit, metric: Metric::$metric },
        )*];
    };
}

counters! {
    RelayedRtp "relayed_rtp" Total "packets" "RTP packets relayed.";
    RelayedRtcp "relayed_rtcp" Total "packets" "RTCP packets relayed.";
    RelayedUdptl "relayed_udptl" Total "packets" "T.38 datagrams (UDPTL) relayed.";
    DropRunt "drop_runt" Total "packets" "Dropped: shorter than any header.";
    DropNotRtp "drop_not_rtp" Total "packets" "Dropped: neither RTP nor RTCP (RFC 7983).";
    DropMalformed "drop_malformed" Total "packets" "Dropped: RTP or RTCP header does not add up.";
    DropOffPath "drop_off_path" Total "packets" "Dropped: not from the flow's source address.";
    DropNoFlow "drop_no_flow" Total "packets" "Dropped: no flow owns the port.";
    DropNotReady "drop_not_ready" Total "packets" "Dropped: the flow is open but not yet relaying.";
    DropSuperseded "drop_superseded" Total "packets"
        "Dropped: another source has the stream (announcement, digit, newer SSRC).";
    DropDirection "drop_direction" Total "packets" "Dropped: the media direction forbids it.";
    DropAuthentication "drop_authentication" Total "packets" "Dropped: SRTP authentication failed.";
    DropReplay "drop_replay" Total "packets" "Dropped: SRTP replay, or older than the window.";
    DropSsrcLimit "drop_ssrc_limit" Total "packets" "Dropped: more SSRCs than a flow may carry.";
    DropIndexReused "drop_index_reused" Total "packets"
        "Dropped: sending would repeat an SRTP index under one key.";
    DropKeyExhausted "drop_key_exhausted" Total "packets" "Dropped: the SRTP key's lifetime is over.";
    DropOversize "drop_oversize" Total "packets" "Dropped: larger than a buffer.";
    DropSendFailed "drop_send_failed" Total "packets" "Dropped: the kernel refused to send it.";
    RxPackets "rx_packets" Total "packets" "Packets received.";
    RxBytes "rx_bytes" Total "bytes" "Octets of UDP payload received.";
    TxPackets "tx_packets" Total "packets" "Packets sent.";
    TxBytes "tx_bytes" Total "bytes" "Octets of UDP payload sent.";
    SaidPackets "said_packets" Total "packets" "Packets of announcements and digits of our own.";
    SaidFailed "said_failed" Total "packets" "Packets of our own that could not be sent.";
    Keepalives "keepalives" Total "packets"
        "Packets of our own that kept a silent way open (RFC 6263).";
    Wakeups "wakeups" Total "wakeups" "Times that the worker was woken.";
    BusyNs "busy_ns" Total "nanoseconds" "CPU time of the worker, waits by spinning included.";
    SleepNs "sleep_ns" Total "nanoseconds" "Time asleep until the first packet or timer.";
    GatherNs "gather_ns" Total "nanoseconds" "Time that packets waited for company.";
    SpinNs "spin_ns" Total "nanoseconds" "Time spent looking for packets without sleeping.";
    Commands "commands" Total "commands" "Commands taken from signaling.";
    CommandFaults "command_faults" Total "commands" "Commands that were invalid.";
    CursorFaults "cursor_faults" Total "faults" "Ring cursors of signaling that made no sense.";
    Events "events" Total "events" "Events given to signaling.";
    EventsLost "events_lost" Total "events" "Events that found the ring full.";
    BuffersExhausted "buffers_exhausted" Total "times" "Times that the worker had no receive buffer.";
    BuffersMissing "buffers_missing" Level "buffers" "Packet buffers in no known place: a defect.";
    FrameFaults "frame_faults" Total "frames" "Frames that were damaged or for a closed port (XDP).";
    PassedPackets "passed_packets" Total "packets"
        "Packets that came by sockets although XDP takes frames from the driver.";
    KernelPackets "kernel_packets" Total "packets"
        "RTP packets that the kernel relayed by itself (XDP); they count as relayed too.";
    FlowsOpen "flows_open" Level "flows" "Flows open now.";
    PortsOpen "ports_open" Level "ports" "Local ports leased now.";
    PairsOwned "pairs_owned" Level "pairs"
        "Pairs of ports that the worker may lease, those that are leased included.";
    OpensRefused "opens_refused" Total "commands" "OPEN commands refused.";
    SourcesLearned "sources_learned" Total "sources" "Times that a flow learned where its media comes from.";
    DigitsHeard "digits_heard" Total "digits" "Digits reported to signaling.";
    OneWayFlows "one_way_flows" Total "flows" "Flows that were silent while their peer heard media.";
    PromptsPlayed "prompts_played" Total "prompts" "Prompts said, to their end or until stopped.";
    MediaTimeouts "media_timeouts" Total "flows" "Flows that fell silent for their timeout.";
    HeaderFaults "header_faults" Total "faults" "Times that the region's header had to be repaired.";
}

/// Number of counters that are verdicts of the packet path; they are the first ones.
pub const VERDICTS: usize = 18;

impl Counter {
    /// The counter with this index; for verdicts, the verdict's number.
    #[must_use]
    pub fn from_index(index: u32) -> Option<Self> {
        Self::ALL.get(index as usize).copied()
    }

    /// Index in the region and in [`COUNTERS`].
    #[must_use]
    pub const fn index(self) -> u32 {
        self as u32
    }

    /// Name as in the exporter, without prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        COUNTERS.get(self as usize).map_or("", |meta| meta.name)
    }
}

/// What a counter is, for whoever shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta {
    pub name: &'static str,
    pub help: &'static str,
    pub unit: &'static str,
    pub metric: Metric,
}

/// How a value may move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Metric {
    /// Only grows while the dataplane lives.
    Total,
    /// Goes up and down.
    Level,
}

/// The host's side: the only writer. `!Sync`: one thread, one plain store per change.
pub struct CounterWriter {
    shared: Words,
    /// The truth; the shared words are copies that a guest may ruin for itself.
    private: Vec<Cell<u64>>,
}

impl CounterWriter {
    pub(crate) fn new(shared: Words) -> Self {
        Self { shared, private: vec![Cell::new(0); COUNTERS.len()] }
    }

    /// Adds (wrapping).
    pub fn add(&self, counter: Counter, by: u64) {
        if let Some(value) = self.private.get(counter as usize) {
            self.set(counter, value.get().wrapping_add(by));
        }
    }

    /// Replaces.
    pub fn set(&self, counter: Counter, value: u64) {
        let index = counter as usize;
        if let (Some(private), Some(shared)) = (self.private.get(index), self.shared.get(index)) {
            private.set(value);
            shared.store(value, Ordering::Relaxed);
        }
    }

    /// The value, from the private copy.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.private.get(counter as usize).map_or(0, Cell::get)
    }

    /// Writes every counter again from the private copy.
    pub fn restore(&self) {
        for (private, shared) in self.private.iter().zip(self.shared.iter()) {
            shared.store(private.get(), Ordering::Relaxed);
        }
    }
}

/// The guest's side. Cheap to clone, may be shared between threads.
#[derive(Clone)]
pub struct CounterReader {
    shared: Words,
}

impl CounterReader {
    pub(crate) fn new(shared: Words) -> Self {
        Self { shared }
    }

    /// The value now.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.shared.get(counter as usize).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Every counter with its description and value now.
    pub fn iter(&self) -> impl Iterator<Item = (Counter, &'static Meta, u64)> + '_ {
        Counter::ALL
            .iter()
            .zip(COUNTERS)
            .map(|(counter, meta)| (*counter, meta, self.get(*counter)))
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn verdicts_come_first_and_names_are_unique() {
        assert_eq!(Counter::RelayedRtp as usize, 0);
        assert_eq!(Counter::DropSendFailed as usize + 1, VERDICTS);
        let mut names: Vec<_> = COUNTERS.iter().map(|meta| meta.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), COUNTERS.len());
    }

    #[test]
    fn index_and_name_agree() {
        for (index, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(counter.index() as usize, index);
            assert_eq!(Counter::from_index(counter.index()), Some(*counter));
            assert_eq!(counter.name(), COUNTERS[index].name);
            let snake = counter.name().replace('_', "");
            assert_eq!(snake, format!("{counter:?}").to_lowercase());
        }
        assert_eq!(Counter::from_index(COUNTERS.len() as u32), None);
    }

    #[test]
    fn the_private_copy_is_the_truth() {
        let words = Words::heap(COUNTERS.len());
        let (writer, reader) =
            (CounterWriter::new(words.clone()), CounterReader::new(words.clone()));
        writer.add(Counter::RxPackets, 3);
        words[Counter::RxPackets as usize].store(1_000_000, Ordering::Relaxed);
        writer.add(Counter::RxPackets, 1);
        assert_eq!(reader.get(Counter::RxPackets), 4);
        words.iter().for_each(|word| word.store(u64::MAX, Ordering::Relaxed));
        writer.restore();
        assert!(reader.iter().all(|(counter, _, value)| value == writer.get(counter)));
        assert_eq!(reader.get(Counter::RxPackets), 4);
        assert_eq!(reader.get(Counter::TxPackets), 0);
    }
}
