//! Every limit of a worker: one name, one value, where it comes from.
//!
//! Nothing grows at run time: the sizes below are reserved before the first packet, and beyond them
//! the answer is a counted drop (packets) or a REFUSED event (commands).

/// Longest UDP payload that is relayed, in bytes. Media fits one Ethernet frame; a longer datagram
/// is not media that any trunk negotiated.
pub const PACKET_MAX: usize = 1500;

/// Bytes of one receive buffer, a power of two so that buffers never share a cache line or a page
/// border with a neighbour's header.
pub const BUFFER_SIZE: usize = 2048;

/// Bytes in front of the payload in each buffer: the kernel's 16-byte receive header and 32 bytes
/// for the source address. The payload starts on a 16-byte border for the ciphers' sake.
pub const HEAD_ROOM: usize = 48;

/// Bytes that protection may add to a packet: the GCM tag (16) and the SRTCP index word (4).
pub const TAIL_ROOM: usize = 32;

/// Receive buffers of one worker: 8 MiB, a backlog of 8 ms at 500,000 packets per second.
pub const BUFFERS: u16 = 4096;

/// Packets that one round relays: 256 buffers and their flows still fit the second-level cache.
pub const BATCH_MAX: usize = 256;

/// Submission queue entries. A round queues at most one send per packet and some control.
pub const SUBMISSIONS: u32 = 512;

/// Completion queue entries: every buffer may be waiting there, plus failed sends and bells.
pub const COMPLETIONS: u32 = 8192;

/// Completions that end a gathering wait early: a round of this size gains nothing by waiting.
pub const GATHER_COUNT: usize = 64;

/// Longest gathering time that a configuration may ask for, in microseconds: above 400 the gain
/// has ended and the delay is heard.
pub const GATHER_US_MAX: u32 = 1000;

/// Commands that one round executes. Opening a flow costs four system calls per port, so a burst of
/// new calls must not delay the packets of running ones.
pub const COMMANDS_PER_ROUND: usize = 8;

/// Period of heartbeat, time-outs and publication, in nanoseconds.
pub const HOUSEKEEPING_NS: u64 = 100_000_000;

/// Flows that one housekeeping step visits; more flows make more steps within the period, so that
/// none of them takes longer than the gathering time.
pub const SWEEP_FLOWS: u32 = 512;

/// A given-back port rests this long before it is leased again, so that late packets of the old
/// call meet a closed port and not the next call.
pub const COOL_DOWN_NS: u64 = 5_000_000_000;

/// Port pairs that one lease tries when other programs hold them.
pub const LEASE_TRIES: usize = 32;

/// Receive and send buffer that each media socket asks for, in bytes. It is a ceiling, not a
/// reservation; the kernel clamps it to `net.core.rmem_max` and `wmem_max`.
pub const SOCKET_BUFFER: usize = 1 << 20;

/// Workers of one process.
pub const WORKERS_MAX: usize = 64;

/// Flows of one worker. Two descriptors each must fit the ring's file table.
pub const FLOWS_MAX: u32 = 1 << 16;

/// Media networks of one configuration.
pub const NETWORKS_MAX: usize = 16;

/// Commands that may wait between signaling and one worker.
pub const COMMAND_SLOTS: u32 = 1024;

/// Events that may wait between one worker and signaling; beyond it commands wait too.
pub const EVENT_SLOTS: u32 = 4096;

/// Answers that one command may have: its own, and the CLOSED of a flow that it replaces.
pub const UNSENT_MAX: usize = 2;

/// Lowest port that may be leased: below it ports are privileged.
pub const PORT_MIN: u16 = 1024;

/// Descriptors that the process needs besides media ports: standard streams, region, bells, ring,
/// handover, logs.
pub const DESCRIPTORS_OTHER: u64 = 64;

const _: () = assert!(HEAD_ROOM + PACKET_MAX + TAIL_ROOM <= BUFFER_SIZE);
const _: () = assert!(BUFFERS.is_power_of_two() && BUFFERS <= 32768);
const _: () = assert!(BATCH_MAX <= SUBMISSIONS as usize);
const _: () = assert!(COMPLETIONS as usize >= BUFFERS as usize + SUBMISSIONS as usize);
const _: () = assert!(GATHER_COUNT <= BATCH_MAX);

/// How long plain RTP may be learned after arming, in nanoseconds: a peer that was told to send does
/// so within a round trip and its own call set-up, and every second more is one more for guessers.
pub const LATCH_WINDOW_NS: u64 = 5_000_000_000;

/// The same for the RTCP port, in nanoseconds: three report intervals (RFC 3550 §6.2). It may be
/// longer because RTCP is learned at the address of the RTP only.
pub const LATCH_WINDOW_RTCP_NS: u64 = 15_000_000_000;

/// A learned source that sent nothing for so long may have moved, in nanoseconds: the longest gap
/// of discontinuous transmission is 0.5 s, so that several packets were due.
pub const LATCH_SILENCE_NS: u64 = 3_000_000_000;

/// Wrong SSRCs that may be shown for a silent source before nobody may continue for it: some are
/// honest (a peer that also restarted), and 64 guesses find one of 2^32 with 1.5e-8.
pub const LATCH_GUESSES_MAX: u8 = 64;

/// For so long after signaling named another address, packets from the old one may still be under
/// way, in nanoseconds: a jitter buffer's worth on the longest path in use, with a margin.
pub const LATCH_STRAGGLERS_NS: u64 = 1_000_000_000;

const _: () = assert!(LATCH_STRAGGLERS_NS < LATCH_WINDOW_NS);
