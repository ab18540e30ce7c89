//! Events: what a worker tells signaling.
//!
//! [`Event`] is the shared form, 128 bytes of raw integers; [`Notice`] is what the guest makes of it
//! after [`Event::decode`]. An event that finds the ring full is lost and counted: the flow table
//! remains the truth and a guest that missed events reads it.

use std::fmt;
use std::net::SocketAddr;

use bytemuck::{Pod, Zeroable};

use crate::address::{Address, BadAddress};
use crate::flow::FlowId;
use crate::request::DIGIT_MAX;
use crate::ring::Slot;

/// Values of [`Event::kind`].
pub mod kind {
    pub const OPENED: u32 = 1;
    pub const UPDATED: u32 = 2;
    pub const CLOSED: u32 = 3;
    pub const REFUSED: u32 = 4;
    pub const TIMEOUT: u32 = 5;
    pub const PLAYED: u32 = 6;
    pub const DIALLED: u32 = 7;
    pub const DIGIT: u32 = 8;
    pub const LEARNED: u32 = 9;
    pub const ONE_WAY: u32 = 10;
}

/// The shared form of an event. Fields that a kind does not use are zero.
#[repr(C)]
#[derive(Pod, Zeroable, Copy, Clone, PartialEq, Eq, Debug)]
pub struct Event {
    pub kind: u32,
    /// A [`Reason`], for REFUSED only.
    pub reason: u32,
    /// The token of the command that this answers or completes; 0 for what no command asked for.
    pub token: u64,
    pub flow: FlowId,
    pub local_rtp: Address,
    pub local_rtcp: Address,
    pub packets: u64,
    /// Octets of UDP payload.
    pub bytes: u64,
    /// CLOCK_MONOTONIC nanoseconds.
    pub at_ns: u64,
    /// Where media comes from now.
    pub remote: Address,
    pub duration_ms: u32,
    pub digit: u32,
    /// PLAYED: 1 when it was said to its end. DIGIT: 1 for an event, 2 for a tone.
    pub detail: u32,
    pub pad: u64,
}

impl Event {
    /// Ports were leased; `local_rtcp` equals `local_rtp` where RTCP is multiplexed.
    #[must_use]
    pub fn opened(token: u64, flow: FlowId, rtp: SocketAddr, rtcp: SocketAddr) -> Self {
        let (local_rtp, local_rtcp) = (rtp.into(), rtcp.into());
        Self { local_rtp, local_rtcp, ..Self::bare(kind::OPENED, token, flow) }
    }

    /// The configuration is in force; of a worker's order, with [`FlowId::NONE`]: it is carried out.
    #[must_use]
    pub fn updated(token: u64, flow: FlowId) -> Self {
        Self::bare(kind::UPDATED, token, flow)
    }

    /// The flow is gone; final counts of accepted packets, and when the last one came (0: never).
    #[must_use]
    pub fn closed(token: u64, flow: FlowId, packets: u64, bytes: u64, at_ns: u64) -> Self {
        Self { packets, bytes, at_ns, ..Self::bare(kind::CLOSED, token, flow) }
    }

    /// The command was not carried out.
    #[must_use]
    pub fn refused(token: u64, flow: FlowId, reason: Reason) -> Self {
        Self { reason: reason.code(), ..Self::bare(kind::REFUSED, token, flow) }
    }

    /// No media for the flow's `timeout_ms`; counts so far and time of the last packet (0: never).
    #[must_use]
    pub fn timeout(flow: FlowId, packets: u64, bytes: u64, at_ns: u64) -> Self {
        Self { packets, bytes, at_ns, ..Self::bare(kind::TIMEOUT, 0, flow) }
    }

    /// A prompt has ended, `complete` when it was said to its end.
    #[must_use]
    pub fn played(token: u64, flow: FlowId, complete: bool) -> Self {
        Self { detail: complete.into(), ..Self::bare(kind::PLAYED, token, flow) }
    }

    /// Every digit that was asked for was sent; the token is that of the last one.
    #[must_use]
    pub fn dialled(token: u64, flow: FlowId) -> Self {
        Self::bare(kind::DIALLED, token, flow)
    }

    /// A digit (event code 0 to 15) arrived on a flow, once per digit.
    #[must_use]
    pub fn digit(flow: FlowId, digit: u8, duration_ms: u32, heard: Heard) -> Self {
        let (digit, detail) = (digit.into(), heard.code());
        Self { digit, duration_ms, detail, ..Self::bare(kind::DIGIT, 0, flow) }
    }

    /// The flow's RTP comes from `remote` from now on; the opposite flow sends there.
    #[must_use]
    pub fn learned(flow: FlowId, remote: SocketAddr) -> Self {
        Self { remote: remote.into(), ..Self::bare(kind::LEARNED, 0, flow) }
    }

    /// Nothing arrives on this flow while its peer hears media: one-way audio.
    #[must_use]
    pub fn one_way(flow: FlowId, packets: u64, bytes: u64, at_ns: u64) -> Self {
        Self { packets, bytes, at_ns, ..Self::bare(kind::ONE_WAY, 0, flow) }
    }

    /// Validates; `Err` means that the other process is not of this build or is broken.
    pub fn decode(&self) -> Result<Notice, BadEvent> {
        let (token, flow) = (self.token, self.flow);
        let (packets, bytes, at_ns) = (self.packets, self.bytes, self.at_ns);
        let notice = match self.kind {
            kind::OPENED => Notice::Opened {
                token,
                flow,
                local_rtp: self.local_rtp.decode()?.ok_or(BadEvent)?,
                local_rtcp: self.local_rtcp.decode()?.ok_or(BadEvent)?,
            },
            kind::UPDATED => Notice::Updated { token, flow },
            kind::CLOSED => Notice::Closed { token, flow, packets, bytes, at_ns },
            kind::REFUSED => {
                let reason = Reason::from_code(self.reason).ok_or(BadEvent)?;
                Notice::Refused { token, flow, reason }
            }
            kind::TIMEOUT => Notice::Timeout { flow, packets, bytes, at_ns },
            kind::PLAYED => Notice::Played { token, flow, complete: self.complete()? },
            kind::DIALLED => Notice::Dialled { token, flow },
            kind::DIGIT => Notice::Digit {
                flow,
                digit: u8::try_from(self.digit).ok().filter(|d| *d <= DIGIT_MAX).ok_or(BadEvent)?,
                duration_ms: self.duration_ms,
                heard: Heard::from_code(self.detail).ok_or(BadEvent)?,
            },
            kind::LEARNED => {
                Notice::Learned { flow, remote: self.remote.decode()?.ok_or(BadEvent)? }
            }
            kind::ONE_WAY => Notice::OneWay { flow, packets, bytes, at_ns },
            _ => return Err(BadEvent),
        };
        if Self::from(&notice) == *self { Ok(notice) } else { Err(BadEvent) }
    }

    fn complete(&self) -> Result<bool, BadEvent> {
        match self.detail {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(BadEvent),
        }
    }

    fn bare(kind: u32, token: u64, flow: FlowId) -> Self {
        Self { kind, token, flow, ..Self::zeroed() }
    }
}

impl Slot for Event {}

/// A validated event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    Opened { token: u64, flow: FlowId, local_rtp: SocketAddr, local_rtcp: SocketAddr },
    Updated { token: u64, flow: FlowId },
    Closed { token: u64, flow: FlowId, packets: u64, bytes: u64, at_ns: u64 },
    Refused { token: u64, flow: FlowId, reason: Reason },
    Timeout { flow: FlowId, packets: u64, bytes: u64, at_ns: u64 },
    Played { token: u64, flow: FlowId, complete: bool },
    Dialled { token: u64, flow: FlowId },
    Digit { flow: FlowId, digit: u8, duration_ms: u32, heard: Heard },
    Learned { flow: FlowId, remote: SocketAddr },
    OneWay { flow: FlowId, packets: u64, bytes: u64, at_ns: u64 },
}

/// How a digit arrived.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Heard {
    /// As telephone event, RFC 4733.
    Event,
    /// As tone in the audio.
    Tone,
}

impl Heard {
    const fn code(self) -> u32 {
        match self {
            Self::Event => 1,
            Self::Tone => 2,
        }
    }

    const fn from_code(code: u32) -> Option<Self> {
        match code {
            1 => Some(Self::Event),
            2 => Some(Self::Tone),
            _ => None,
        }
    }
}

impl From<&Notice> for Event {
    fn from(notice: &Notice) -> Self {
        match *notice {
            Notice::Opened { token, flow, local_rtp, local_rtcp } => {
                Self::opened(token, flow, local_rtp, local_rtcp)
            }
            Notice::Updated { token, flow } => Self::updated(token, flow),
            Notice::Closed { token, flow, packets, bytes, at_ns } => {
                Self::closed(token, flow, packets, bytes, at_ns)
            }
            Notice::Refused { token, flow, reason } => Self::refused(token, flow, reason),
            Notice::Timeout { flow, packets, bytes, at_ns } => {
                Self::timeout(flow, packets, bytes, at_ns)
            }
            Notice::Played { token, flow, complete } => Self::played(token, flow, complete),
            Notice::Dialled { token, flow } => Self::dialled(token, flow),
            Notice::Digit { flow, digit, duration_ms, heard } => {
                Self::digit(flow, digit, duration_ms, heard)
            }
            Notice::Learned { flow, remote } => Self::learned(flow, remote),
            Notice::OneWay { flow, packets, bytes, at_ns } => {
                Self::one_way(flow, packets, bytes, at_ns)
            }
        }
    }
}

/// Why a worker did not carry out a command. `Display` is a sentence for operators.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// The slot is in use by a newer flow.
    Stale,
    NoPorts,
    NoDescriptors,
    BadCommand,
    NoSuchFlow,
    Capacity,
    /// No prompt of that name is loaded.
    NoPrompt,
    /// The flow's format cannot carry that.
    NoFormat,
    /// The worker takes no new flows.
    Draining,
    /// No other worker would take flows.
    LastWorker,
    /// The kernel does not let the worker run there.
    NoCore,
}

impl Reason {
    /// Every reason, in the order of their codes.
    pub const ALL: [Self; 11] = [
        Self::Stale,
        Self::NoPorts,
        Self::NoDescriptors,
        Self::BadCommand,
        Self::NoSuchFlow,
        Self::Capacity,
        Self::NoPrompt,
        Self::NoFormat,
        Self::Draining,
        Self::LastWorker,
        Self::NoCore,
    ];

    /// Value of [`Event::reason`].
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Stale => 1,
            Self::NoPorts => 2,
            Self::NoDescriptors => 3,
            Self::BadCommand => 4,
            Self::NoSuchFlow => 5,
            Self::Capacity => 6,
            Self::NoPrompt => 7,
            Self::NoFormat => 8,
            Self::Draining => 9,
            Self::LastWorker => 10,
            Self::NoCore => 11,
        }
    }

    /// The inverse of [`Reason::code`].
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stale => "the flow's slot already belongs to a newer flow",
            Self::NoPorts => {
                "no free media port on this network; widen `ports` in [media] or add a worker"
            }
            Self::NoDescriptors => {
                "the dataplane is out of file descriptors; raise its open-files limit"
            }
            Self::BadCommand => "the worker found the command invalid; this is a defect, report it",
            Self::NoSuchFlow => "the worker does not know this flow; it was closed or never opened",
            Self::Capacity => "the worker has no room for that; add a worker",
            Self::NoPrompt => "no such prompt; put the WAV file into `prompts` of [media], restart",
            Self::NoFormat => "what the flow sends carries neither prompts nor that digit",
            Self::Draining => "the worker takes no new calls; use another one or resume it",
            Self::LastWorker => {
                "no other worker takes calls, so this one cannot be drained; add one first"
            }
            Self::NoCore => {
                "the kernel does not let the worker run on that core; name one that is online and \
                 in the service's cpuset"
            }
        })
    }
}

/// The bytes are not an event of this build.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("event of unknown kind or with nonsense in it; are both processes of the same build?")]
pub struct BadEvent;

impl From<BadAddress> for BadEvent {
    fn from(_: BadAddress) -> Self {
        Self
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    const FLOW: FlowId = FlowId { index: 7, generation: 2 };

    fn samples() -> Vec<Event> {
        let rtp = "192.0.2.1:4000".parse().unwrap();
        let rtcp = "192.0.2.1:4001".parse().unwrap();
        let mut samples = vec![
            Event::opened(9, FLOW, rtp, rtcp),
            Event::updated(9, FLOW),
            Event::closed(9, FLOW, 1, 2, 3),
            Event::timeout(FLOW, 1, 2, 3),
            Event::played(9, FLOW, true),
            Event::dialled(9, FLOW),
            Event::digit(FLOW, 11, 100, Heard::Event),
            Event::digit(FLOW, 0, 40, Heard::Tone),
            Event::learned(FLOW, rtp),
            Event::one_way(FLOW, 1, 2, 3),
        ];
        samples.extend(Reason::ALL.map(|reason| Event::refused(9, FLOW, reason)));
        samples
    }

    #[test]
    fn every_kind_survives_the_round_trip() {
        for event in samples() {
            assert_eq!(Event::from(&event.decode().unwrap()), event);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for event in samples() {
            for bad in [
                Event { kind: 0, ..event },
                Event { kind: 11, ..event },
                Event { reason: 12, ..event },
                Event { detail: 3, ..event },
                Event { digit: 16, ..event },
                Event { pad: 1, ..event },
                Event { local_rtp: Address { family: 9, ..event.local_rtp }, ..event },
            ] {
                assert_eq!(bad.decode(), Err(BadEvent), "{bad:?}");
            }
        }
    }

    #[test]
    fn reasons_have_distinct_codes_and_sentences() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.code() as usize, index + 1);
            assert_eq!(Reason::from_code(reason.code()), Some(reason));
            assert!(reason.to_string().len() > 20);
        }
        assert_eq!(Reason::from_code(0), None);
        assert_eq!(Reason::from_code(12), None);
    }
}
