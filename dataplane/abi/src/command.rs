//! Commands: what signaling asks a worker to do.
//!
//! [`Command`] is the shared form, 512 bytes of raw integers; [`Request`] is what the host makes of
//! it after [`Command::decode`] has looked at every field. Commands are idempotent: they state what
//! should be, so that a guest that lost its memory may say everything again.
//!
//! | kind | says | answered by |
//! |---|---|---|
//! | OPEN | lease local ports for this flow's ingress; the same id again repeats the answer | OPENED, REFUSED |
//! | UPDATE | the flow's whole configuration from now on | UPDATED, REFUSED |
//! | CLOSE | release everything of this flow | CLOSED, REFUSED |
//! | PLAY | say a prompt to where this flow sends, instead of what comes | UPDATED, REFUSED; later PLAYED |
//! | SAY | the same with a recording that the guest put on the shelf | UPDATED, REFUSED; later PLAYED |
//! | STOP | end the prompt; digits go on | UPDATED, REFUSED; PLAYED of what was stopped |
//! | DIAL | send one digit to where this flow sends, after those before it | UPDATED, REFUSED; later DIALLED |
//! | PIN | the worker runs on this core from now on | UPDATED, REFUSED |
//! | DRAIN | the worker takes no new flows; those that are open go on | UPDATED, REFUSED |
//! | SERVE | the worker takes flows, on this core if one is named | UPDATED, REFUSED |
//!
//! The last three are about the worker itself and name no flow.

use bytemuck::{Pod, Zeroable};
use zeroize::Zeroize;

use crate::address::{Address, BadAddress};
use crate::flow::FlowId;
use crate::format::{BadFormat, FormatSlot, PAYLOADS_MAX, PayloadMap};
use crate::keepalive::{BadKeepalive, KeepaliveSlot};
use crate::key::{BadKey, KeySlot};
use crate::learning::{BadLearning, LearningSlot};
use crate::request::{
    CORES_MAX, Close, DIGIT_MAX, DIGIT_MS_MAX, DIGIT_MS_MIN, DSCP_MAX, Dial, Duty, Family, Open,
    Order, PROMPT_NAME_MAX, Play, PromptName, Request, Say, Stop, Update,
};
use crate::ring::Slot;
use crate::shelf::{SHELF_OCTETS, SHELF_RECORDING_MAX, shelf_span};

/// Values of [`Command::kind`].
pub mod kind {
    pub const OPEN: u32 = 1;
    pub const UPDATE: u32 = 2;
    pub const CLOSE: u32 = 3;
    pub const PLAY: u32 = 4;
    pub const STOP: u32 = 5;
    pub const DIAL: u32 = 6;
    pub const PIN: u32 = 7;
    pub const DRAIN: u32 = 8;
    pub const SERVE: u32 = 9;
    pub const SAY: u32 = 10;
}

/// Bits of [`Command::flags`].
pub mod flag {
    /// RTCP arrives on the RTP port (RFC 5761).
    pub const RTCP_MUX_IN: u32 = 1;
    /// RTCP is sent to the RTP port of the destination (RFC 5761).
    pub const RTCP_MUX_OUT: u32 = 2;
    /// Forward RTP; without it RTP is dropped and RTCP passes.
    pub const RELAY: u32 = 4;
    /// The destination is what the peer flow learns as its source; never the signalled address.
    pub const AWAIT_DESTINATION: u32 = 8;
    /// What arrives is T.38 over UDPTL: datagrams pass unread.
    pub const UDPTL: u32 = 16;
    /// Tell each digit that arrives as telephone event.
    pub const REPORT_DIGITS: u32 = 32;
    /// Tell each digit that arrives as tone in G.711.
    pub const DETECT_TONES: u32 = 64;
    /// A prompt begins again at its end, until stopped.
    pub const LOOP: u32 = 128;
    /// The field `core` counts.
    pub const ON_CORE: u32 = 256;
    /// Every flag of UPDATE.
    pub const UPDATE: u32 = RTCP_MUX_IN
        | RTCP_MUX_OUT
        | RELAY
        | AWAIT_DESTINATION
        | UDPTL
        | REPORT_DIGITS
        | DETECT_TONES;
}

/// The shared form of a command. Fields that a kind does not use are zero.
///
/// It may hold keys and, being plain data, does not wipe itself: `zeroize` it once it was pushed or
/// decoded.
#[repr(C)]
#[derive(Pod, Zeroable, Copy, Clone, PartialEq, Eq, Debug)]
pub struct Command {
    pub kind: u32,
    pub flags: u32,
    /// Chosen by the guest, repeated in the answer.
    pub token: u64,
    pub flow: FlowId,
    pub peer: FlowId,
    pub call: [u8; 16],
    pub network: u32,
    pub timeout_ms: u32,
    pub source_rtp: Address,
    pub source_rtcp: Address,
    pub destination_rtp: Address,
    pub destination_rtcp: Address,
    pub unprotect: KeySlot,
    pub protect: KeySlot,
    pub received: FormatSlot,
    pub sent: FormatSlot,
    pub events_received: FormatSlot,
    pub events_sent: FormatSlot,
    pub payloads: [[u8; 2]; PAYLOADS_MAX],
    pub learning: LearningSlot,
    /// Left-aligned name, zeroes behind it.
    pub prompt: [u8; PROMPT_NAME_MAX],
    pub duration_ms: u16,
    pub digit: u8,
    /// 0 any, 4 IPv4, 6 IPv6.
    pub family: u8,
    /// Number of a core, as the kernel counts them.
    pub core: u32,
    pub keepalive: KeepaliveSlot,
    /// [`DSCP_SET`] and a code point; 0: the data plane's own.
    pub dscp: u8,
    pub dscp_pad: [u8; 7],
    /// Where a recording begins on the shelf, and its octets in each codec.
    pub shelf_at: u32,
    pub shelf_octets: u32,
    pub pad: [u64; 16],
}

impl Command {
    /// Asks for local ports.
    #[must_use]
    pub fn open(open: &Open) -> Self {
        Self {
            kind: kind::OPEN,
            flags: flags([(open.rtcp_mux_in, flag::RTCP_MUX_IN)]),
            token: open.token,
            flow: open.flow,
            call: open.call,
            network: open.network,
            family: open.family.code(),
            dscp: open.dscp.map_or(0, |dscp| dscp | DSCP_SET),
            ..Self::zeroed()
        }
    }

    /// States the whole configuration of a flow.
    #[must_use]
    pub fn update(update: &Update) -> Self {
        Self {
            kind: kind::UPDATE,
            flags: flags([
                (update.rtcp_mux_in, flag::RTCP_MUX_IN),
                (update.rtcp_mux_out, flag::RTCP_MUX_OUT),
                (update.relay, flag::RELAY),
                (update.await_destination, flag::AWAIT_DESTINATION),
                (update.udptl, flag::UDPTL),
                (update.report_digits, flag::REPORT_DIGITS),
                (update.detect_tones, flag::DETECT_TONES),
            ]),
            token: update.token,
            flow: update.flow,
            peer: update.peer.unwrap_or(FlowId::NONE),
            timeout_ms: update.timeout_ms,
            source_rtp: update.source_rtp.into(),
            source_rtcp: update.source_rtcp.into(),
            destination_rtp: update.destination_rtp.into(),
            destination_rtcp: update.destination_rtcp.into(),
            unprotect: update.unprotect.as_ref().into(),
            protect: update.protect.as_ref().into(),
            received: update.received.into(),
            sent: update.sent.into(),
            events_received: update.events_received.into(),
            events_sent: update.events_sent.into(),
            payloads: update.payloads.octets(),
            learning: update.learning.into(),
            keepalive: update.keepalive.into(),
            ..Self::zeroed()
        }
    }

    /// Releases a flow.
    #[must_use]
    pub fn close(close: &Close) -> Self {
        Self { kind: kind::CLOSE, token: close.token, flow: close.flow, ..Self::zeroed() }
    }

    /// Says a prompt.
    #[must_use]
    pub fn play(play: &Play) -> Self {
        Self {
            kind: kind::PLAY,
            flags: flags([(play.looped, flag::LOOP)]),
            token: play.token,
            flow: play.flow,
            prompt: play.prompt.0,
            ..Self::zeroed()
        }
    }

    /// Says a recording of the shelf.
    #[must_use]
    pub fn say(say: &Say) -> Self {
        Self {
            kind: kind::SAY,
            token: say.token,
            flow: say.flow,
            shelf_at: say.at,
            shelf_octets: say.octets,
            ..Self::zeroed()
        }
    }

    /// Ends the prompt.
    #[must_use]
    pub fn stop(stop: &Stop) -> Self {
        Self { kind: kind::STOP, token: stop.token, flow: stop.flow, ..Self::zeroed() }
    }

    /// Sends a digit.
    #[must_use]
    pub fn dial(dial: &Dial) -> Self {
        Self {
            kind: kind::DIAL,
            token: dial.token,
            flow: dial.flow,
            digit: dial.digit,
            duration_ms: dial.duration_ms,
            ..Self::zeroed()
        }
    }

    /// Says what the worker itself is to do.
    #[must_use]
    pub fn order(order: &Order) -> Self {
        let (kind, core) = match order.duty {
            Duty::Pin { core } => (kind::PIN, Some(core)),
            Duty::Drain => (kind::DRAIN, None),
            Duty::Serve { core } => (kind::SERVE, core),
        };
        Self {
            kind,
            flags: flags([(core.is_some(), flag::ON_CORE)]),
            token: order.token,
            core: core.unwrap_or(0),
            ..Self::zeroed()
        }
    }

    /// Validates every field. Nothing of a command is used before this has said `Ok`.
    pub fn decode(&self) -> Result<Request, Fault> {
        if self.pad != [0; 16] {
            return Err(Fault::Unused);
        }
        let request = match self.kind {
            kind::PIN | kind::DRAIN | kind::SERVE => Request::Order(self.decode_order()?),
            _ => self.decode_of_flow(self.flow.some().ok_or(Fault::Flow)?)?,
        };
        // What the kind uses was validated above; building the command again shows whether
        // anything else was set.
        let mut canonical = Self::from(&request);
        let same = canonical == *self;
        canonical.zeroize();
        if same { Ok(request) } else { Err(Fault::Unused) }
    }

    fn decode_of_flow(&self, flow: FlowId) -> Result<Request, Fault> {
        Ok(match self.kind {
            kind::OPEN => Request::Open(self.decode_open(flow)?),
            kind::UPDATE => Request::Update(self.decode_update(flow)?),
            kind::CLOSE => Request::Close(Close { token: self.token, flow }),
            kind::PLAY => Request::Play(self.decode_play(flow)?),
            kind::SAY => Request::Say(self.decode_say(flow)?),
            kind::STOP => Request::Stop(Stop { token: self.token, flow }),
            kind::DIAL => Request::Dial(self.decode_dial(flow)?),
            _ => return Err(Fault::Kind),
        })
    }

    fn decode_order(&self) -> Result<Order, Fault> {
        self.allow_flags(flag::ON_CORE)?;
        if self.core >= CORES_MAX {
            return Err(Fault::Core);
        }
        let core = self.has(flag::ON_CORE).then_some(self.core);
        let duty = match self.kind {
            kind::PIN => Duty::Pin { core: core.ok_or(Fault::Core)? },
            kind::DRAIN => Duty::Drain,
            _ => Duty::Serve { core },
        };
        Ok(Order { token: self.token, duty })
    }

    fn decode_open(&self, flow: FlowId) -> Result<Open, Fault> {
        self.allow_flags(flag::RTCP_MUX_IN)?;
        Ok(Open {
            token: self.token,
            flow,
            call: self.call,
            network: self.network,
            family: Family::from_code(self.family).ok_or(Fault::Address)?,
            rtcp_mux_in: self.has(flag::RTCP_MUX_IN),
            dscp: self.decode_dscp()?,
        })
    }

    fn decode_dscp(&self) -> Result<Option<u8>, Fault> {
        match self.dscp {
            0 => Ok(None),
            set if set & DSCP_SET != 0 && set & !DSCP_SET <= DSCP_MAX => Ok(Some(set & !DSCP_SET)),
            _ => Err(Fault::Dscp),
        }
    }

    fn decode_update(&self, flow: FlowId) -> Result<Update, Fault> {
        self.allow_flags(flag::UPDATE)?;
        let update = Update {
            token: self.token,
            flow,
            peer: self.peer.some(),
            timeout_ms: self.timeout_ms,
            rtcp_mux_in: self.has(flag::RTCP_MUX_IN),
            rtcp_mux_out: self.has(flag::RTCP_MUX_OUT),
            relay: self.has(flag::RELAY),
            source_rtp: self.source_rtp.decode()?,
            source_rtcp: self.source_rtcp.decode()?,
            destination_rtp: self.destination_rtp.decode()?,
            destination_rtcp: self.destination_rtcp.decode()?,
            unprotect: self.unprotect.decode()?,
            protect: self.protect.decode()?,
            await_destination: self.has(flag::AWAIT_DESTINATION),
            udptl: self.has(flag::UDPTL),
            report_digits: self.has(flag::REPORT_DIGITS),
            detect_tones: self.has(flag::DETECT_TONES),
            received: self.received.format()?,
            sent: self.sent.format()?,
            events_received: self.events_received.event()?,
            events_sent: self.events_sent.event()?,
            payloads: PayloadMap::decode(self.payloads)?,
            learning: self.learning.decode()?,
            keepalive: self.keepalive.decode()?,
        };
        update.check()?;
        Ok(update)
    }

    fn decode_play(&self, flow: FlowId) -> Result<Play, Fault> {
        self.allow_flags(flag::LOOP)?;
        let name = PromptName(self.prompt);
        let prompt = PromptName::new(name.as_str()).ok_or(Fault::Prompt)?;
        Ok(Play { token: self.token, flow, prompt, looped: self.has(flag::LOOP) })
    }

    fn decode_say(&self, flow: FlowId) -> Result<Say, Fault> {
        self.allow_flags(0)?;
        let (at, octets) = (self.shelf_at, self.shelf_octets);
        let end = u64::from(at).saturating_add(shelf_span(octets));
        if !(1..=SHELF_RECORDING_MAX).contains(&octets) || end > SHELF_OCTETS as u64 {
            return Err(Fault::Shelf);
        }
        Ok(Say { token: self.token, flow, at, octets })
    }

    fn decode_dial(&self, flow: FlowId) -> Result<Dial, Fault> {
        let (digit, duration_ms) = (self.digit, self.duration_ms);
        if digit > DIGIT_MAX || !(DIGIT_MS_MIN..=DIGIT_MS_MAX).contains(&duration_ms) {
            return Err(Fault::Digit);
        }
        Ok(Dial { token: self.token, flow, digit, duration_ms })
    }

    fn allow_flags(&self, allowed: u32) -> Result<(), Fault> {
        if self.flags & !allowed == 0 { Ok(()) } else { Err(Fault::Flags) }
    }

    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

impl Slot for Command {}

impl Zeroize for Command {
    fn zeroize(&mut self) {
        bytemuck::bytes_of_mut(self).zeroize();
    }
}

impl From<&Request> for Command {
    fn from(request: &Request) -> Self {
        match request {
            Request::Open(open) => Self::open(open),
            Request::Update(update) => Self::update(update),
            Request::Close(close) => Self::close(close),
            Request::Play(play) => Self::play(play),
            Request::Say(say) => Self::say(say),
            Request::Stop(stop) => Self::stop(stop),
            Request::Dial(dial) => Self::dial(dial),
            Request::Order(order) => Self::order(order),
        }
    }
}

/// Why a command was refused before anything was done. The guest broke the contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    #[error("unknown command kind")]
    Kind,
    #[error("flag that the command kind does not know")]
    Flags,
    #[error("flow id with generation 0")]
    Flow,
    #[error("address that media cannot come from or go to")]
    Address,
    #[error("unknown suite or stray key octets")]
    Key,
    #[error("relaying was asked for without a destination")]
    Incomplete,
    #[error("codec, payload type, rate or packet time that does not exist")]
    Format,
    #[error("learning without a window, or from no network")]
    Learning,
    #[error("keepalive without an interval, or of a payload type that does not exist")]
    Keepalive,
    #[error("code point above {DSCP_MAX}")]
    Dscp,
    #[error("prompt name of other characters than a-z 0-9 . _ -")]
    Prompt,
    #[error("recording that is empty, too long, or not on the shelf")]
    Shelf,
    #[error("no digit, or one of a length that no receiver understands")]
    Digit,
    #[error("core that no machine has, or none where one is needed")]
    Core,
    #[error("flags or fields that contradict each other")]
    Contradiction,
    #[error("field that the command kind does not use is not zero")]
    Unused,
}

impl From<BadAddress> for Fault {
    fn from(_: BadAddress) -> Self {
        Self::Address
    }
}

impl From<BadKey> for Fault {
    fn from(_: BadKey) -> Self {
        Self::Key
    }
}

impl From<BadFormat> for Fault {
    fn from(_: BadFormat) -> Self {
        Self::Format
    }
}

impl From<BadKeepalive> for Fault {
    fn from(_: BadKeepalive) -> Self {
        Self::Keepalive
    }
}

impl From<BadLearning> for Fault {
    fn from(_: BadLearning) -> Self {
        Self::Learning
    }
}

fn flags<const N: usize>(set: [(bool, u32); N]) -> u32 {
    set.iter().filter(|(on, _)| *on).fold(0, |flags, (_, flag)| flags | flag)
}

/// Tells a code point 0 from none.
pub const DSCP_SET: u8 = 0x80;

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
