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

/// Bytes in front of the payload in each buffer: the kernel's 16-byte receive header, 32 bytes for
/// the source address and 32 for one time stamp. The payload starts on a 16-byte border for the
/// ciphers' sake.
pub const HEAD_ROOM: usize = 80;

/// Bytes that protection may add to a packet: the GCM tag (16) and the SRTCP index word (4).
pub const TAIL_ROOM: usize = 32;

/// Receive buffers of one worker: 8 MiB, a backlog of 8 ms at 500,000 packets per second.
pub const BUFFERS: u16 = 4096;

/// Buffers of one worker for packets of its own (announcements, digits), apart from those above: two
/// rounds of 256, one on its way out while the next is written.
pub const SEND_BUFFERS: u16 = 512;

/// Entries of each of the four rings of an AF_XDP socket: half of a worker's buffers may wait for
/// what comes, the other half may be on its way.
pub const XDP_RING: u32 = 2048;

/// Queues of one interface that are served, a power of two. A worker's buffers are shared among its
/// queues, and fewer than 32 for each could not hold a burst.
pub const QUEUES_MAX: u32 = 64;

/// Packets that one round relays: 256 buffers and their flows still fit the second-level cache.
pub const BATCH_MAX: usize = 256;

/// How many packets ahead the relay asks for the keys of a flow, and twice as many for the flow:
/// their lines arrive while so many others are worked on, and are not yet pushed out again.
pub const PREFETCH_AHEAD: usize = 3;

/// Submission queue entries. A round queues at most one send per packet and some control.
pub const SUBMISSIONS: u32 = 512;

/// Completion queue entries: every buffer may be waiting there, plus failed sends and bells.
pub const COMPLETIONS: u32 = 8192;

/// Completions that end a gathering wait early: a round of this size gains nothing by waiting.
pub const GATHER_COUNT: usize = 64;

/// Packets that come together by themselves and make gathering needless: from there on a wake-up
/// costs each of them less than its own way through the kernel.
pub const GATHER_ENOUGH: usize = 8;

/// Rounds that do not gather and are judged together: several bursts.
pub const GATHER_RUN: u8 = 8;

/// Rounds that gather between two such runs: the extra wake-ups of a run are few beside them, and a
/// change is noticed within a second.
pub const GATHER_PROBE_EVERY: u8 = 200;

/// Longest gathering time that a configuration may ask for, in microseconds: above 400 the gain
/// has ended and the delay is heard.
pub const GATHER_US_MAX: u32 = 1000;

/// Longest time that a configuration may let a worker poll before it sleeps, in microseconds: one
/// packet interval of a single call; a longer one burns a core for silence.
pub const SPIN_US_MAX: u32 = 20_000;

/// One flow in this many has its packets stamped by the kernel, for the histogram of added delay.
pub const DELAY_SAMPLE_FLOWS: u32 = 32;

/// Packets that one `recvmmsg` takes from a socket. A socket of 20 ms media holds one; more come
/// together only after a pause of the worker or in a burst.
pub const RECEIVE_RUN: usize = 8;

/// Packets that one `sendmmsg` sends from a socket; a longer run takes several.
pub const SEND_RUN: usize = 32;

/// Sockets that one `epoll_wait` names: as many as a round has packets.
pub const READY_MAX: usize = BATCH_MAX;

/// Times that a socket's receive starts again at once after an error, per housekeeping step. Above
/// the five ICMP answers that packets at 50 per second attract in 100 ms; beyond it the receive
/// waits for the next step, so that an error that stays costs no core.
pub const RESTARTS_MAX: u8 = 8;

/// Commands that one round executes. Opening a flow costs four system calls per port, so a burst of
/// new calls must not delay the packets of running ones.
pub const COMMANDS_PER_ROUND: usize = 8;

/// Period of heartbeat, time-outs and publication, in nanoseconds.
pub const HOUSEKEEPING_NS: u64 = 100_000_000;

/// Flows that one housekeeping step visits, so that none takes longer than the gathering time.
pub const SWEEP_FLOWS: u32 = 512;

/// Longest time from one visit of a flow to the next, in nanoseconds: what is found so is a silence
/// of seconds, and a digit whose three last packets were lost. Visiting 6,000 flows ten times a
/// second instead took 4 % of a busy worker.
pub const SWEEP_NS: u64 = 1_000_000_000;

/// A given-back port rests this long before it is leased again, so that late packets of the old
/// call meet a closed port and not the next call.
pub const COOL_DOWN_NS: u64 = 5_000_000_000;

/// Port pairs that one lease tries when other programs hold them.
pub const LEASE_TRIES: usize = 32;

/// Pairs of one address that lie between workers: several steps' worth.
pub const COMMONS_PAIRS: usize = 2048;

/// Pairs of one address that a worker gives or takes with one housekeeping step: some ten microseconds
/// of work, and a whole range of ports changes hands within a few seconds.
pub const COMMONS_STEP: usize = 512;

/// Receive and send buffer that each media socket asks for, in bytes. It is a ceiling, not a
/// reservation; the kernel clamps it to `net.core.rmem_max` and `wmem_max`.
pub const SOCKET_BUFFER: usize = 1 << 20;

/// Shortest and longest digit that we send, in milliseconds: those of a command.
pub const DIGIT_MS_MIN: u32 = abi::request::DIGIT_MS_MIN as u32;
pub const DIGIT_MS_MAX: u32 = abi::request::DIGIT_MS_MAX as u32;

/// Longest prompt, in seconds: announcements last up to 15 (a network ends early media soon after),
/// hold music in a loop up to a minute.
pub const PROMPT_SECONDS_MAX: u32 = 60;

/// Prompts of one process: a dozen announcements in a dozen languages, and greetings of trunks.
pub const PROMPTS_MAX: usize = 256;

/// All prompts together, in seconds: 29 MB in three codecs. What they are read from is a directory
/// that others fill; its size must not decide about our memory.
pub const PROMPTS_SECONDS_MAX: u32 = 1200;

/// Largest prompt file, in bytes: the longest prompt at 16 kHz, and 64 KiB of chunks that are not
/// audio.
pub const PROMPT_BYTES_MAX: u64 = PROMPT_SECONDS_MAX as u64 * 32_000 + 65_536;

/// Length of a prompt's name: it travels in a command.
pub const PROMPT_NAME_MAX: usize = 32;

/// Digits that wait behind the one being said: longer than any number or PIN that is dialled at
/// once.
pub const DIGITS_QUEUED_MAX: usize = 64;

/// Grid of the moments at which our own packets are due, in nanoseconds: talkers share wake-ups, and
/// every packet time in use is a multiple.
pub const PACE_GRID_NS: u64 = 5_000_000;

/// Packets of one talker that a late wake-up sends at once: what the shortest jitter buffers take
/// (60 ms at the usual packet time). What was due before them is skipped.
pub const PACE_BURST_MAX: u64 = 3;

/// Longest payload that we make: 60 ms of 8 octets each.
pub const VOICE_PAYLOAD_MAX: usize = 480;

/// Workers of one process, those that stand by included.
pub const WORKERS_MAX: usize = 64;

/// Flows of one worker. Two descriptors each must fit the ring's file table.
pub const FLOWS_MAX: u32 = 1 << 16;

/// Media networks of one configuration.
pub const NETWORKS_MAX: usize = 16;

/// Addresses of one media network: a lease looks at each.
pub const ADDRESSES_MAX: usize = 16;

/// Largest differentiated services code point: six bits (RFC 2474 §3).
pub const DSCP_MAX: u8 = 63;

/// Commands that may wait between signaling and one worker.
pub const COMMAND_SLOTS: u32 = 1024;

/// Events that may wait between one worker and signaling; beyond it commands wait too.
pub const EVENT_SLOTS: u32 = 4096;

/// Answers that one command may have: its own, and the CLOSED of a flow that it replaces or the end
/// of a prompt.
pub const ANSWERS_MAX: usize = 2;

/// What one flow may have to tell while no command is carried out: the end of its prompt, and that
/// of its digits.
pub const ENDS_MAX: usize = 2;

/// Lowest port that may be leased: below it ports are privileged.
pub const PORT_MIN: u16 = 1024;

/// Descriptors that the process needs besides media ports: standard streams, region, bells, ring,
/// handover, logs.
pub const DESCRIPTORS_OTHER: u64 = 64;

/// Descriptors of one worker of the `packet` backend: a ring, four bells, two fan-in sockets, two raw
/// ones, one for frames, and its lanes with XDP. Each media address has one more, no port has any.
pub const DESCRIPTORS_PACKET: u64 = 12 + LANES_MAX as u64;

const _: () = assert!(HEAD_ROOM + PACKET_MAX + TAIL_ROOM <= BUFFER_SIZE);
const _: () = assert!(BUFFERS.is_power_of_two() && BUFFERS <= 32768);
const _: () = assert!(HEAD_ROOM.is_multiple_of(16));
const _: () = assert!(XDP_RING.is_power_of_two() && XDP_RING <= BUFFERS as u32 / 2);
const _: () = assert!(BUFFERS as u32 / 2 / QUEUES_MAX >= 32);
const _: () = assert!(BUFFERS as usize + SEND_BUFFERS as usize <= u16::MAX as usize);
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

/// SRTP contexts that one direction of a flow keeps besides its current one: an offer has one key
/// for each suite, and any of them may come back while its forks answer.
pub const CONTEXTS_PARKED_MAX: usize = rtp::srtp::Suite::ALL.len();

/// Keys that one direction of a flow may have: a new one with every session refresh of a quarter of
/// an hour lasts for half a day. Each is remembered, so that none comes back without its context.
pub const KEYS_MAX: usize = 64;

/// Numbers that a packet may be late by and still be a reordered one (RFC 3550 §A.1).
pub const MISORDER_MAX: i16 = 100;

/// Numbers that may be missing in one gap before it is a restarted source (RFC 3550 §A.1): a minute
/// of 20 ms packets.
pub const DROPOUT_MAX: i16 = 3_000;

/// How far the clock of a talker that comes back may differ from ours to be kept, in milliseconds:
/// the jitter of its packets, which a receiver's buffer absorbs anyway.
pub const CLOCK_TOLERANCE_MS: u32 = 100;

/// Ticks that the timestamp of a telephone event may lie behind: the longest event that one
/// timestamp can carry (RFC 4733 §2.3.5).
pub const EVENT_TICKS_MAX: i32 = 1 << 16;

/// How often the quality of a flow is estimated anew, in nanoseconds: the interval of RTCP reports
/// (RFC 3550 §6.2), from which the round-trip time comes.
pub const RATING_NS: u64 = 5_000_000_000;

/// Longest round trip that a report block is believed, in nanoseconds: nobody talks over a longer
/// one, and it keeps microseconds within 32 bits.
pub const RTT_MAX_NS: u64 = 60_000_000_000;

/// By how much the far side may claim to have held a sender report for longer than it was away, in
/// nanoseconds: two clocks that differ by 200 parts in a million over one report interval.
pub const CLOCK_SLACK_NS: u64 = 1_000_000;

/// A direction that sent nothing for so long while the other talks is a one-way call, in nanoseconds:
/// longer than any pause of discontinuous transmission, shorter than a caller's patience.
pub const ONE_WAY_NS: u64 = 5_000_000_000;

/// Heard within this time, a direction is talking, in nanoseconds: comfort noise comes at least
/// twice as often.
pub const TALKING_NS: u64 = 1_000_000_000;

/// Next hops that one worker keeps, by source and destination address: carriers name tens of media
/// addresses per trunk. What goes to further ones goes by the kernel's way.
pub const HOPS_MAX: usize = 4096;

/// Of the packets to one next hop, one in this time goes by the kernel's way, in nanoseconds: more
/// often than the kernel's reachable time of 15 to 45 s, so that neighbours are asked for in time.
pub const HOP_USE_NS: u64 = 5_000_000_000;

/// A next hop that was not used for so many housekeeping steps is forgotten: some ten seconds.
pub const HOP_FORGET_STEPS: u32 = 128;

/// Descriptors that a worker's ring watches at most: queues or sockets of the backends without a
/// socket per port.
pub const WATCHED_MAX: usize = 8;

/// AF_XDP queues of one worker: what is watched beside its two sockets.
pub const LANES_MAX: usize = WATCHED_MAX - 2;

/// Packets that one system call of the `packet` backend moves, in either direction.
pub const FAN_RUN: usize = 64;

/// Receive buffer of a socket that takes the packets of all ports of a worker, in bytes: 20 ms at
/// 500,000 packets per second. Past `net.core.rmem_max` with the privilege of the start.
pub const FAN_IN_BUFFER: usize = 32 << 20;

/// Send buffer of the socket that frames leave by, in bytes: what a NIC's queue may hold.
pub const WIRE_BUFFER: usize = 8 << 20;
