//! A flow: one direction of one media stream, with everything that one packet of it needs.

use std::mem::offset_of;
use std::net::SocketAddr;

use abi::{Codec, Event, FlowId, FlowSnapshot, FlowState, Format, PayloadMap, TelephoneEvent};

use crate::admit::{Egress, Ingress};
use crate::aim::Aim;
use crate::alive::Alive;
use crate::continuity::Continuity;
use crate::far_view::FarView;
use crate::hearing::Hearing;
use crate::io::Endpoint;
use crate::keys::Keys;
use crate::latch::{Latch, Learning};
use crate::limits::{ONE_WAY_NS, TALKING_NS};
use crate::ports::Lease;
use crate::prefetch;
use crate::prompt;
use crate::quality::Quality;
use crate::rating::Rating;
use crate::shortcut::ByKernel;
use crate::verdict::Verdict;
use crate::voice::Voice;

/// One flow. What every packet touches lies together and comes first, in as few cache lines as it has
/// room for: with thousands of calls each of them has left the cache when the next packet comes.
#[repr(C, align(64))]
pub struct Flow {
    pub id: FlowId,
    pub peer: FlowId,
    pub gate: Gate,
    /// T.38 over UDPTL instead of RTP: datagrams pass unread.
    pub udptl: bool,
    pub mux_in: bool,
    pub mux_out: bool,
    /// The kernel relays what is usual of it.
    pub by_kernel: bool,
    /// What is said in place of what arrives.
    pub voice: Option<Box<Voice>>,
    pub payloads: PayloadMap,
    pub counts: Counts,
    /// What is listened for in what arrives.
    pub hearing: Hearing,
    pub aim: Aim,
    pub source_rtp: Latch,
    pub continuity: Continuity,
    pub quality: Quality,
    pub ingress: Ingress,
    pub egress: Egress,
    pub source_rtcp: Latch,
    pub far: FarView,
    pub rating: Rating,
    pub formats: Formats,
    pub ingress_keys: Keys<Ingress>,
    pub egress_keys: Keys<Egress>,
    pub lease: Lease,
    /// RTCP was announced on the RTP port when the flow was opened.
    pub opened_mux: bool,
    pub call: [u8; 16],
    pub opened_ns: u64,
    pub silence: Silence,
    pub alive: Alive,
    pub kernel: ByKernel,
}

/// What is known of the RTP of either side.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Formats {
    pub received: Option<Format>,
    pub sent: Option<Format>,
    pub events_sent: Option<TelephoneEvent>,
}

impl Formats {
    /// The codec in which prompts can be said.
    pub fn speakable(&self) -> Option<prompt::Codec> {
        match self.sent?.codec {
            Codec::Pcmu => Some(prompt::Codec::Pcmu),
            Codec::Pcma => Some(prompt::Codec::Pcma),
            Codec::G722 => Some(prompt::Codec::G722),
            _ => None,
        }
    }
}

/// Whether packets of a flow may pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gate {
    /// Signaling does not know enough yet.
    NotReady,
    /// Signaling holds the direction (RFC 3264 §8.4): RTP stops here, RTCP goes on.
    Held,
    Relaying,
}

/// What a flow counts, as exported.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct Counts {
    /// The last accepted packet of any kind.
    pub last_packet_ns: u64,
    /// The last accepted packet of media.
    pub last_media_ns: u64,
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
    /// When it was reported; armed again by what is watched coming later. Packets write nothing here.
    pub reported_ns: u64,
    /// When it was reported that this flow is silent while its peer hears media; likewise.
    pub one_way_reported_ns: u64,
    /// When signaling last said what this flow is for. The watch for one-way audio begins anew then:
    /// an answer restates what the ringing stated, and callers talk from the answer on.
    pub stated_ns: u64,
}

impl Flow {
    /// Octets from the start of a flow to each cache line that a relayed RTP packet touches; of
    /// the SRTP contexts the first, which says whether there is one.
    pub const HOT_LINES: [usize; 10] = [
        0,
        LINE,
        2 * LINE,
        3 * LINE,
        offset_of!(Flow, source_rtp),
        offset_of!(Flow, continuity),
        offset_of!(Flow, quality),
        offset_of!(Flow, quality) + LINE,
        offset_of!(Flow, ingress),
        offset_of!(Flow, egress),
    ];

    /// Asks the processor for the SRTP contexts that there are. To be called when the hot lines are
    /// there.
    pub fn prefetch_contexts(&self) {
        let behind_first = (1..CONTEXT_LINES).map(|line| line * LINE);
        if let Ingress::Secure(context) = &self.ingress {
            behind_first.clone().for_each(|offset| prefetch::line(context, offset));
        }
        if let Egress::Secure(context) = &self.egress {
            behind_first.for_each(|offset| prefetch::line(context, offset));
        }
    }

    pub fn new(id: FlowId, call: [u8; 16], lease: Lease, now_ns: u64) -> Flow {
        Flow {
            id,
            gate: Gate::NotReady,
            udptl: false,
            mux_in: false,
            mux_out: false,
            by_kernel: false,
            peer: FlowId::NONE,
            source_rtp: Latch::new(None, Learning::Off, false, now_ns),
            aim: Aim::default(),
            counts: Counts::default(),
            payloads: PayloadMap::IDENTITY,
            continuity: Continuity::new(),
            quality: Quality::default(),
            ingress: Ingress::Plain,
            egress: Egress::Plain,
            hearing: Hearing::default(),
            voice: None,
            source_rtcp: Latch::new(None, Learning::Off, false, now_ns),
            far: FarView::default(),
            rating: Rating::default(),
            formats: Formats::default(),
            ingress_keys: Keys::NONE,
            egress_keys: Keys::NONE,
            lease,
            opened_mux: false,
            call,
            opened_ns: now_ns,
            silence: Silence::default(),
            alive: Alive::default(),
            kernel: ByKernel::default(),
        }
    }

    /// Books an accepted packet of `len` octets on the wire.
    pub fn accepted(&mut self, len: usize, now_ns: u64) {
        self.counts.last_packet_ns = now_ns;
        self.counts.packets_in += 1;
        self.counts.bytes_in += len as u64;
    }

    /// Books that the accepted packet was media.
    pub fn accepted_media(&mut self, now_ns: u64) {
        self.counts.last_media_ns = now_ns;
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

    /// Whether what arrives is replaced by what we say.
    pub fn is_talking(&self) -> bool {
        self.voice.as_ref().is_some_and(|voice| voice.due_ns().is_some())
    }

    /// Nothing that is watched came for the time-out, and nobody was told: media while it is relayed
    /// (reports may outlive it), any packet while the direction is held, where reports are the only
    /// sign of life.
    pub fn is_silent(&self, now_ns: u64) -> bool {
        let watched_ns = match self.gate {
            Gate::NotReady => return false,
            Gate::Held => self.counts.last_packet_ns,
            Gate::Relaying => self.counts.last_media_ns,
        };
        let last_ns = watched_ns.max(self.silence.since_ns);
        self.silence.timeout_ns > 0
            && self.silence.reported_ns <= last_ns
            && now_ns.saturating_sub(last_ns) >= self.silence.timeout_ns
    }

    /// No media came for [`ONE_WAY_NS`] although it is relayed, and nobody was told. Fax is left out:
    /// its datagrams come when there is something to say. With an opposite direction that
    /// [talks](Flow::talks) this is what callers report as "he cannot hear me".
    pub fn is_mute(&self, now_ns: u64) -> bool {
        let Silence { since_ns, stated_ns, .. } = self.silence;
        let last_ns = self.counts.last_media_ns.max(since_ns).max(stated_ns);
        self.gate == Gate::Relaying
            && !self.udptl
            && self.silence.one_way_reported_ns <= last_ns
            && now_ns.saturating_sub(last_ns) >= ONE_WAY_NS
    }

    /// Whether media came a moment ago.
    pub fn talks(&self, now_ns: u64) -> bool {
        let last_ns = self.counts.last_media_ns;
        last_ns > 0 && now_ns.saturating_sub(last_ns) < TALKING_NS
    }

    pub fn timeout_event(&self) -> Event {
        let counts = &self.counts;
        Event::timeout(self.id, counts.packets_in, counts.bytes_in, counts.last_packet_ns)
    }

    pub fn one_way_event(&self) -> Event {
        let counts = &self.counts;
        Event::one_way(self.id, counts.packets_in, counts.bytes_in, counts.last_media_ns)
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
            destination: self.aim.rtp.map(Endpoint::socket_addr).into(),
            source: self.source_rtp.source().map(Endpoint::socket_addr).into(),
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
            rate_hz: self.quality.rate_hz().into(),
            rtt_us: self.far.rtt_us().unwrap_or(0).into(),
            far_lost: self.far.lost().unwrap_or(0).into(),
            far_jitter: self.far.jitter().unwrap_or(0).into(),
            mos: self.rating.mos_x100().into(),
            ..FlowSnapshot::opened(self.id, self.call, self.opened_ns)
        }
    }
}

/// Octets of a cache line.
const LINE: usize = 64;
/// Of an SRTP context, as far as AES-256-CM reads it. GCM reads one or two more; asking for them cost more
/// than it brought.
const CONTEXT_LINES: usize = 6;

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
        flow.silence = Silence { timeout_ns: 100, since_ns: 50, ..Silence::default() };
        assert!(!flow.is_silent(u64::MAX), "nothing is expected yet");
        flow.gate = Gate::Held;
        assert!(flow.is_silent(150), "a hold has its own time-out");
        flow.gate = Gate::Relaying;
        assert!(!flow.is_silent(149));
        assert!(flow.is_silent(150));
        flow.silence.reported_ns = 150;
        assert!(!flow.is_silent(1000));
        flow.accepted(172, 2000);
        flow.accepted_media(2000);
        assert!(!flow.is_silent(2099));
        assert!(flow.is_silent(2100));
    }

    #[test]
    fn reports_are_life_while_held_but_no_media() {
        let mut flow = flow(id(0, 1));
        flow.silence = Silence { timeout_ns: 100, ..Silence::default() };
        flow.accepted_media(1000);
        flow.accepted(172, 1000);
        flow.accepted(80, 1090);
        for (gate, silent_at) in [(Gate::Relaying, 1100), (Gate::Held, 1190)] {
            flow.gate = gate;
            assert!(!flow.is_silent(silent_at - 1) && flow.is_silent(silent_at), "{gate:?}");
        }
    }

    #[test]
    fn one_way_means_that_this_one_should_send_and_does_not() {
        let mut flow = flow(id(0, 1));
        flow.silence.since_ns = ONE_WAY_NS;
        assert!(!flow.is_mute(u64::MAX), "nothing is expected yet");
        flow.gate = Gate::Held;
        assert!(!flow.is_mute(u64::MAX));
        flow.gate = Gate::Relaying;
        let due_ns = 2 * ONE_WAY_NS;
        assert!(!flow.is_mute(due_ns - 1) && flow.is_mute(due_ns));
        flow.udptl = true;
        assert!(!flow.is_mute(due_ns), "fax");
        flow.udptl = false;
        flow.silence.one_way_reported_ns = due_ns;
        assert!(!flow.is_mute(u64::MAX), "told once");
        assert!(!flow.talks(due_ns), "nothing came yet");
        flow.accepted_media(due_ns);
        assert!(flow.talks(due_ns + TALKING_NS - 1) && !flow.talks(due_ns + TALKING_NS));
        assert!(!flow.is_mute(due_ns + ONE_WAY_NS - 1) && flow.is_mute(due_ns + ONE_WAY_NS));
    }

    /// With a field moved out of these lines every packet waits for memory, which no other test shows.
    #[test]
    fn what_every_packet_touches_is_asked_for() {
        macro_rules! place {
            ($field:ident, $len:expr) => {
                (stringify!($field), offset_of!(Flow, $field), $len)
            };
        }
        let counts_exported = 6 * size_of::<u64>();
        let destination = size_of::<Option<Endpoint>>();
        for (field, start, len) in [
            place!(id, size_of::<FlowId>()),
            place!(peer, size_of::<FlowId>()),
            place!(gate, 1),
            place!(by_kernel, 1),
            place!(voice, 8),
            place!(payloads, size_of::<PayloadMap>()),
            place!(counts, counts_exported),
            place!(hearing, size_of::<Hearing>()),
            place!(aim, destination),
            place!(source_rtp, LINE),
            place!(continuity, LINE),
            place!(quality, 2 * LINE),
            place!(ingress, LINE),
            place!(egress, LINE),
        ] {
            for octet in start..start + len {
                let line = octet / LINE * LINE;
                assert!(Flow::HOT_LINES.contains(&line), "{field}, octet {octet} of the flow");
            }
        }
        assert_eq!(align_of::<Flow>() % LINE, 0);
    }
}
