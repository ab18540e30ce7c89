use std::net::SocketAddr;

use crate::{Crypto, Format};

/// What one peer said about the audio of a call: the only thing that crosses from one leg to the
/// other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// Where the peer wants RTP. An unspecified address is hold (RFC 3264 §8.4): send nothing.
    pub rtp: SocketAddr,
    /// Where the peer wants RTCP; equal to `rtp` when the two are multiplexed.
    pub rtcp: SocketAddr,
    /// Both sides want RTP and RTCP on one port (RFC 5761). In an offer: the peer offers it, the
    /// policy allows it and no payload type stands in the way.
    pub rtcp_mux: bool,
    /// As the peer sees it: `SendOnly` means that the peer sends.
    pub direction: Direction,
    /// Formats that both the peer and the policy want, in order of preference.
    pub formats: Vec<Format>,
    /// Milliseconds of audio per packet that the peer prefers.
    pub ptime: Option<u32>,
    /// Milliseconds of audio per packet that the peer can take at most.
    pub maxptime: Option<u32>,
    /// Both sides have keys: on RTP/SAVP lines, or as best effort.
    pub secure: bool,
    /// Usable crypto lines in the peer's order, the chosen one first; empty unless `secure`. In an
    /// answer exactly one.
    pub cryptos: Vec<Crypto>,
    /// Position of the media line in the description, from 0.
    pub index: usize,
}

impl Audio {
    /// The formats that `answer` takes of this offer, in the answer's order: each as the offer
    /// numbers it and as the answer does. Numbers may differ (RFC 3264 §6.1): a side is sent what
    /// it numbers itself.
    pub fn agreed<'a>(&'a self, answer: &'a Self) -> Vec<(&'a Format, &'a Format)> {
        let mut agreed: Vec<(&Format, &Format)> = Vec::new();
        for accepted in &answer.formats {
            let Some(offered) = accepted.find_in(&self.formats) else { continue };
            if agreed.iter().all(|(known, _)| known.payload_type != offered.payload_type) {
                agreed.push((offered, accepted));
            }
        }
        agreed
    }
}

/// Who sends (RFC 3264 §5.1), as the side that writes it sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    /// The attribute name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive]
            .into_iter()
            .find(|direction| direction.name().eq_ignore_ascii_case(name))
    }

    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same state as the other side sees it.
    pub const fn reversed(self) -> Self {
        Self::of(self.receives(), self.sends())
    }

    /// What both allow.
    pub const fn and(self, other: Self) -> Self {
        Self::of(self.sends() && other.sends(), self.receives() && other.receives())
    }

    const fn of(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }
}
