//! Validated commands: what a guest may ask a worker.

use std::net::{IpAddr, SocketAddr};

use crate::command::Fault;
use crate::flow::FlowId;
use crate::format::{Codec, Format, PayloadMap, TelephoneEvent};
use crate::keepalive::Keepalive;
use crate::key::Key;
use crate::learning::Learning;

/// A validated command.
#[expect(clippy::large_enum_variant, reason = "boxing would allocate in the worker")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    Open(Open),
    Update(Update),
    Close(Close),
    Play(Play),
    Say(Say),
    Stop(Stop),
    Dial(Dial),
    Order(Order),
}

impl Request {
    /// The guest's token, to be repeated in the answer.
    #[must_use]
    pub fn token(&self) -> u64 {
        match self {
            Self::Open(open) => open.token,
            Self::Update(update) => update.token,
            Self::Close(close) => close.token,
            Self::Play(play) => play.token,
            Self::Say(say) => say.token,
            Self::Stop(stop) => stop.token,
            Self::Dial(dial) => dial.token,
            Self::Order(order) => order.token,
        }
    }

    /// The flow that the command is about, [`FlowId::NONE`] when it is about the worker. Its index is
    /// not yet compared with the table.
    #[must_use]
    pub fn flow(&self) -> FlowId {
        match self {
            Self::Open(open) => open.flow,
            Self::Update(update) => update.flow,
            Self::Close(close) => close.flow,
            Self::Play(play) => play.flow,
            Self::Say(say) => say.flow,
            Self::Stop(stop) => stop.flow,
            Self::Dial(dial) => dial.flow,
            Self::Order(_) => FlowId::NONE,
        }
    }
}

/// Lease local ports for the ingress of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Open {
    pub token: u64,
    pub flow: FlowId,
    /// Identity of the call, for operators and for a guest that comes back.
    pub call: [u8; 16],
    /// Which of the configured networks the ports are leased on.
    pub network: u32,
    /// Which of the network's addresses: that of the far end's family.
    pub family: Family,
    /// RTCP will arrive on the RTP port (RFC 5761).
    pub rtcp_mux_in: bool,
    /// Differentiated services code point of what leaves from these ports (RFC 2474), at most
    /// [`DSCP_MAX`]; none: that of the data plane's configuration.
    pub dscp: Option<u8>,
}

/// The whole configuration of a flow; what is absent here is absent from now on.
///
/// A key that equals the flow's present key changes nothing: counters, rollover and replay state
/// stay as they are (no SRTP index may repeat under one key).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Update {
    pub token: u64,
    pub flow: FlowId,
    /// The flow of the opposite direction, from whose local ports this one's packets are sent.
    pub peer: Option<FlowId>,
    /// Silence after which TIMEOUT is reported; 0 for never.
    pub timeout_ms: u32,
    pub rtcp_mux_in: bool,
    pub rtcp_mux_out: bool,
    /// Forward RTP. Needs `destination_rtp` or `await_destination`. Without it the direction is
    /// held (RFC 3264 §8.4): RTP stops, RTCP goes on.
    pub relay: bool,
    /// The address from which RTP is accepted; none accepts nothing, unless `learning` allows it.
    pub source_rtp: Option<SocketAddr>,
    pub source_rtcp: Option<SocketAddr>,
    pub destination_rtp: Option<SocketAddr>,
    pub destination_rtcp: Option<SocketAddr>,
    /// Key of what arrives; none means plain RTP.
    pub unprotect: Option<Key>,
    /// Key of what is sent; none means plain RTP.
    pub protect: Option<Key>,
    /// Send only to what the peer flow learns as its source: the signalled address is private and
    /// the trunk is not.
    pub await_destination: bool,
    /// T.38 over UDPTL: datagrams pass unread. Only between plain sides.
    pub udptl: bool,
    /// Tell each digit that arrives as telephone event. Needs `events_received`. A far side without
    /// `events_sent` gets none of those packets.
    pub report_digits: bool,
    /// Tell each digit that arrives as tone. Needs `received` to be G.711.
    pub detect_tones: bool,
    /// What arrives.
    pub received: Option<Format>,
    /// What the far side takes: for prompts and digits as tones.
    pub sent: Option<Format>,
    pub events_received: Option<TelephoneEvent>,
    /// What the far side takes as digits; without it digits are sent as tones, if it is G.711.
    pub events_sent: Option<TelephoneEvent>,
    /// Payload types that the far side numbers otherwise.
    pub payloads: PayloadMap,
    /// Whether the source may be learned; none: only the signalled address.
    pub learning: Option<Learning>,
    /// What is sent while there is nothing to send; not with `udptl`.
    pub keepalive: Option<Keepalive>,
}

impl Update {
    /// A configuration that accepts and sends nothing; fill in what is known.
    #[must_use]
    pub const fn new(token: u64, flow: FlowId) -> Self {
        Self {
            token,
            flow,
            peer: None,
            timeout_ms: 0,
            rtcp_mux_in: false,
            rtcp_mux_out: false,
            relay: false,
            source_rtp: None,
            source_rtcp: None,
            destination_rtp: None,
            destination_rtcp: None,
            unprotect: None,
            protect: None,
            await_destination: false,
            udptl: false,
            report_digits: false,
            detect_tones: false,
            received: None,
            sent: None,
            events_received: None,
            events_sent: None,
            payloads: PayloadMap::IDENTITY,
            learning: None,
            keepalive: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Fault> {
        if self.relay && self.destination_rtp.is_none() && !self.await_destination {
            return Err(Fault::Incomplete);
        }
        let g711 = |format: Format| matches!(format.codec, Codec::Pcmu | Codec::Pcma);
        let contradiction = self.await_destination && self.destination_rtp.is_some()
            || self.udptl && (self.unprotect.is_some() || self.protect.is_some())
            || self.udptl && self.keepalive.is_some()
            || self.report_digits && self.events_received.is_none()
            || self.detect_tones && !self.received.is_some_and(g711);
        if contradiction { Err(Fault::Contradiction) } else { Ok(()) }
    }
}

/// Release a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Close {
    pub token: u64,
    pub flow: FlowId,
}

/// Say a prompt, in place of what comes from the peer, to where the flow sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Play {
    pub token: u64,
    pub flow: FlowId,
    pub prompt: PromptName,
    /// Begin again at the end, until stopped.
    pub looped: bool,
}

/// Say a recording of the shelf once, as a prompt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Say {
    pub token: u64,
    pub flow: FlowId,
    /// Where it begins on the shelf: its octets in PCMU, PCMA, G.722, silence behind each.
    pub at: u32,
    /// Its octets in each codec, without the silence: 1 to
    /// [`SHELF_RECORDING_MAX`](crate::shelf::SHELF_RECORDING_MAX).
    pub octets: u32,
}

/// End the prompt; digits go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stop {
    pub token: u64,
    pub flow: FlowId,
}

/// Send one digit, after those asked for before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dial {
    pub token: u64,
    pub flow: FlowId,
    /// Event code of RFC 4733 §3.2: 0 to 9, 10 `*`, 11 `#`, 12 to 15 A to D.
    pub digit: u8,
    /// [`DIGIT_MS_MIN`] to [`DIGIT_MS_MAX`].
    pub duration_ms: u16,
}

/// The name of a prompt: 1 to [`PROMPT_NAME_MAX`] of `a-z 0-9 . _ -`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PromptName(pub(crate) [u8; PROMPT_NAME_MAX]);

impl PromptName {
    /// `None` when the name is empty, too long or has other characters.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        let mut octets = [0; PROMPT_NAME_MAX];
        octets.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        (!name.is_empty() && name.bytes().all(allowed)).then_some(Self(octets))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        self.0.get(..len).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
    }
}

impl std::fmt::Debug for PromptName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// Which of a network's addresses a flow is leased on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Family {
    /// Whichever the network has.
    #[default]
    Any,
    V4,
    V6,
}

impl Family {
    /// The family that reaches `far`.
    #[must_use]
    pub const fn of(far: IpAddr) -> Self {
        match far {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Any => 0,
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Any),
            4 => Some(Self::V4),
            6 => Some(Self::V6),
            _ => None,
        }
    }
}

/// What the worker itself is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Order {
    pub token: u64,
    pub duty: Duty,
}

/// A state that a worker should be in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Duty {
    /// It runs on this core, below [`CORES_MAX`].
    Pin { core: u32 },
    /// It takes no new flows. Those that are open go on, and after the last one it stands by.
    Drain,
    /// It takes flows, on this core if one is named.
    Serve { core: Option<u32> },
}

/// Octets of a prompt's name.
pub const PROMPT_NAME_MAX: usize = 32;
/// The last event code that is a digit (RFC 4733 §3.2).
pub const DIGIT_MAX: u8 = 15;
/// Shortest digit that every receiver takes (ITU-T Q.24: 40 ms).
pub const DIGIT_MS_MIN: u16 = 40;
/// Longest digit that is sent: no service asks for a longer press, and one event of a clock of 8 kHz
/// can still say it in one segment (RFC 4733 §2.5.1.3). A faster clock ends it earlier.
pub const DIGIT_MS_MAX: u16 = 6000;
/// Code points have six bits (RFC 2474 §3).
pub const DSCP_MAX: u8 = 63;
/// Cores that can be named: those of the kernel's smallest affinity mask.
pub const CORES_MAX: u32 = 1024;
