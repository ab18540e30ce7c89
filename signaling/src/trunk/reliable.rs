//! Reliable provisional responses of a trunk's calls (RFC 3262): the trunk's `100rel`.

use bytes::Bytes;
use sip::wire::{HeaderName, Headers};

/// The extension's option tag (RFC 3262 §8.1).
pub const TAG: &str = "100rel";

/// The trunk's `100rel`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reliability {
    /// Neither offered nor understood.
    Off,
    /// Offered; used where the peer knows it.
    #[default]
    Supported,
    /// A peer that does not know it has no calls.
    Required,
}

/// Which of our provisional responses a caller must acknowledge.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Acknowledged {
    /// None: the caller does not know how.
    #[default]
    None,
    /// Those with a session description: without one there is nothing that must not get lost.
    Described,
    /// All but 100.
    All,
}

impl Acknowledged {
    /// Whether a provisional response that has a session description, or has none, is among them.
    pub fn covers(self, is_described: bool) -> bool {
        match self {
            Self::None => false,
            Self::Described => is_described,
            Self::All => true,
        }
    }
}

impl Reliability {
    /// Whether an INVITE that demands the extension can be served.
    pub fn is_known(self) -> bool {
        self != Self::Off
    }

    /// Whether the sender of an INVITE lacks what its trunk requires: 421 (RFC 3261 §21.4.15).
    pub fn is_missing(self, invite: &Headers) -> bool {
        self == Self::Required && !supports(invite)
    }

    /// What the sender of an INVITE acknowledges (RFC 3262 §3).
    pub fn toward(self, invite: &Headers) -> Acknowledged {
        let required = self == Self::Required || invite.has_token(&HeaderName::Require, TAG);
        match self {
            Self::Off => Acknowledged::None,
            _ if required => Acknowledged::All,
            _ if supports(invite) => Acknowledged::Described,
            _ => Acknowledged::None,
        }
    }

    /// What an INVITE of ours with an offer says. One without says nothing: its callee would offer
    /// before it answers, and wait for an answer that the caller has not given yet (RFC 3262 §5).
    pub fn header(self) -> Option<(HeaderName, Bytes)> {
        let name = match self {
            Self::Off => return None,
            Self::Supported => HeaderName::Supported,
            Self::Required => HeaderName::Require,
        };
        Some((name, Bytes::from_static(TAG.as_bytes())))
    }
}

fn supports(headers: &Headers) -> bool {
    [HeaderName::Supported, HeaderName::Require].iter().any(|name| headers.has_token(name, TAG))
}
