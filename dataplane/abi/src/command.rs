//! Commands: what signaling asks a worker to do.
//!
//! [`Command`] is the shared form, 256 bytes of raw integers; [`Request`] is what the host makes of
//! it after [`Command::decode`] has looked at every field. Commands are idempotent: they state what
//! should be, so that a guest that lost its memory may say everything again.
//!
//! | kind | says | answered by |
//! |---|---|---|
//! | OPEN | lease local ports for this flow's ingress; the same id again repeats the answer | OPENED, REFUSED |
//! | UPDATE | the flow's whole configuration from now on | UPDATED, REFUSED |
//! | CLOSE | release everything of this flow | CLOSED, REFUSED |

use std::net::SocketAddr;

use bytemuck::{Pod, Zeroable};
use zeroize::Zeroize;

use crate::address::{Address, BadAddress};
use crate::flow::FlowId;
use crate::key::{BadKey, Key, KeySlot};
use crate::ring::Slot;

/// Values of [`Command::kind`].
pub mod kind {
    pub const OPEN: u32 = 1;
    pub const UPDATE: u32 = 2;
    pub const CLOSE: u32 = 3;
}

/// Bits of [`Command::flags`].
pub mod flag {
    /// RTCP arrives on the RTP port (RFC 5761).
    pub const RTCP_MUX_IN: u32 = 1;
    /// RTCP is sent to the RTP port of the destination (RFC 5761).
    pub const RTCP_MUX_OUT: u32 = 2;
    /// Forward packets; without it they are dropped as not ready.
    pub const RELAY: u32 = 4;
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
    pub pad: [u64; 2],
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
            ..Self::zeroed()
        }
    }

    /// Releases a flow.
    #[must_use]
    pub fn close(close: &Close) -> Self {
        Self { kind: kind::CLOSE, token: close.token, flow: close.flow, ..Self::zeroed() }
    }

    /// Validates every field. Nothing of a command is used before this has said `Ok`.
    pub fn decode(&self) -> Result<Request, Fault> {
        let flow = self.flow.some().ok_or(Fault::Flow)?;
        if self.pad != [0; 2] {
            return Err(Fault::Unused);
        }
        let request = match self.kind {
            kind::OPEN => Request::Open(self.decode_open(flow)?),
            kind::UPDATE => Request::Update(self.decode_update(flow)?),
            kind::CLOSE => Request::Close(Close { token: self.token, flow }),
            _ => return Err(Fault::Kind),
        };
        // What the kind uses was validated above; building the command again shows whether
        // anything else was set.
        let mut canonical = Self::from(&request);
        let same = canonical == *self;
        canonical.zeroize();
        if same { Ok(request) } else { Err(Fault::Unused) }
    }

    fn decode_open(&self, flow: FlowId) -> Result<Open, Fault> {
        self.allow_flags(flag::RTCP_MUX_IN)?;
        Ok(Open {
            token: self.token,
            flow,
            call: self.call,
            network: self.network,
            rtcp_mux_in: self.has(flag::RTCP_MUX_IN),
        })
    }

    fn decode_update(&self, flow: FlowId) -> Result<Update, Fault> {
        self.allow_flags(flag::RTCP_MUX_IN | flag::RTCP_MUX_OUT | flag::RELAY)?;
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
        };
        if update.relay && update.destination_rtp.is_none() {
            return Err(Fault::Incomplete);
        }
        Ok(update)
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

/// A validated command.
#[expect(clippy::large_enum_variant, reason = "boxing would allocate in the worker")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    Open(Open),
    Update(Update),
    Close(Close),
}

impl Request {
    /// The guest's token, to be repeated in the answer.
    #[must_use]
    pub fn token(&self) -> u64 {
        match self {
            Self::Open(open) => open.token,
            Self::Update(update) => update.token,
            Self::Close(close) => close.token,
        }
    }

    /// The flow that the command is about. Its index is not yet compared with the table.
    #[must_use]
    pub fn flow(&self) -> FlowId {
        match self {
            Self::Open(open) => open.flow,
            Self::Update(update) => update.flow,
            Self::Close(close) => close.flow,
        }
    }
}

impl From<&Request> for Command {
    fn from(request: &Request) -> Self {
        match request {
            Request::Open(open) => Self::open(open),
            Request::Update(update) => Self::update(update),
            Request::Close(close) => Self::close(close),
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
    /// RTCP will arrive on the RTP port (RFC 5761).
    pub rtcp_mux_in: bool,
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
    /// Forward packets. Needs `destination_rtp`.
    pub relay: bool,
    /// The only address from which RTP is accepted; none accepts nothing.
    pub source_rtp: Option<SocketAddr>,
    pub source_rtcp: Option<SocketAddr>,
    pub destination_rtp: Option<SocketAddr>,
    pub destination_rtcp: Option<SocketAddr>,
    /// Key of what arrives; none means plain RTP.
    pub unprotect: Option<Key>,
    /// Key of what is sent; none means plain RTP.
    pub protect: Option<Key>,
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
        }
    }
}

/// Release a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Close {
    pub token: u64,
    pub flow: FlowId,
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

fn flags<const N: usize>(set: [(bool, u32); N]) -> u32 {
    set.iter().filter(|(on, _)| *on).fold(0, |flags, (_, flag)| flags | flag)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
