//! The gate: which trunk a request belongs to.
//!
//! ```text
//!   connection we opened for a trunk ── that trunk alone
//!   otherwise: enabled, same transport, source claimed, TLS identity, registration token
//!        └── token ── longest prefix ── source port (UDP) ── called number ── one, or refused
//! ```
//!
//! Only what the kernel and the TLS handshake say counts. Via, From, Contact and identity headers
//! are the sender's claims and are not even arguments here.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use sip::endpoint::Transport;
use sip::wire::SipUri;

use super::{Trunk, TrunkId, TrunkTable};

/// Where a message came from, as the kernel and the handshake tell it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// Transport it arrived on.
    pub transport: Transport,
    /// Our listener's address, or our end of a connection that we opened.
    pub local: SocketAddr,
    /// The peer's address.
    pub source: SocketAddr,
    /// The verified certificate that the peer presented, if any.
    pub peer: Option<Arc<PeerIdentity>>,
    /// The trunk that we opened this connection for.
    pub opened_for: Option<TrunkId>,
}

impl Origin {
    /// Names in the verified peer certificate.
    pub fn tls_names(&self) -> Option<&[String]> {
        self.peer.as_ref().map(|peer| peer.names.as_slice())
    }
}

/// A peer certificate that passed verification.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerIdentity {
    /// SAN entries (DNS, IP, host of SIP URIs), or the CN without them; lower case.
    pub names: Vec<String>,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
    /// Trunks whose authorities or pin vouch for it. A certificate from one trunk's authority
    /// says nothing to another trunk.
    pub trusted_by: Vec<TrunkId>,
}

/// What the Request-URI says, as far as attribution may look at it: it selects among trunks that
/// already matched, and carries the registration token that we handed out.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Called<'a> {
    /// User part.
    pub user: Option<&'a str>,
    /// `line` parameter.
    pub token: Option<&'a str>,
}

impl<'a> From<Option<&'a str>> for Called<'a> {
    fn from(user: Option<&'a str>) -> Self {
        Self { user, token: None }
    }
}

impl<'a> From<&'a SipUri> for Called<'a> {
    fn from(uri: &'a SipUri) -> Self {
        let user = uri.user.as_ref().and_then(|user| std::str::from_utf8(user).ok());
        let token = uri.params.get(TOKEN_PARAMETER);
        Self { user, token: token.and_then(|token| std::str::from_utf8(token).ok()) }
    }
}

/// Why a request belongs to no trunk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unattributed {
    /// No enabled trunk claims the source address.
    UnknownSource,
    /// The named trunk claims the source, but on another transport.
    WrongTransport(TrunkId),
    /// The named trunk claims the source, but the certificate is missing or not its peer's.
    TlsIdentity(TrunkId),
    /// The named trunk registers, and the request lacks its registration token.
    Token(TrunkId),
    /// Both named trunks (and perhaps more) match equally well.
    Ambiguous(TrunkId, TrunkId),
}

impl Unattributed {
    /// Short stable name for counters and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::UnknownSource => "unknown_source",
            Self::WrongTransport(_) => "wrong_transport",
            Self::TlsIdentity(_) => "tls_identity",
            Self::Token(_) => "token",
            Self::Ambiguous(..) => "ambiguous",
        }
    }

    /// All names, in the order of [`Unattributed::index`].
    pub const NAMES: [&'static str; 5] =
        ["unknown_source", "wrong_transport", "tls_identity", "token", "ambiguous"];

    /// Place of the reason in a table of counters.
    pub fn index(&self) -> usize {
        match self {
            Self::UnknownSource => 0,
            Self::WrongTransport(_) => 1,
            Self::TlsIdentity(_) => 2,
            Self::Token(_) => 3,
            Self::Ambiguous(..) => 4,
        }
    }
}

impl fmt::Display for Unattributed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownSource => f.write_str(
                "no enabled trunk has this source address; add it to a trunk's source_acl if the \
                 caller is known",
            ),
            Self::WrongTransport(id) => {
                write!(f, "trunk #{id} has this source address, but uses another transport")
            }
            Self::TlsIdentity(id) => write!(
                f,
                "trunk #{id} has this source address, but the peer's certificate is missing or is \
                 not one of its tls_peer_names"
            ),
            Self::Token(id) => write!(
                f,
                "trunk #{id} registers, but the request was not sent to the Contact that it \
                 registered"
            ),
            Self::Ambiguous(a, b) => write!(
                f,
                "trunks #{a} and #{b} match equally well; give them different sources or numbers"
            ),
        }
    }
}

/// Finds the one trunk that a request belongs to, or refuses. Pure; allocates a short list.
pub fn attribute<'a>(
    table: &TrunkTable,
    origin: &Origin,
    called: impl Into<Called<'a>>,
) -> Result<TrunkId, Unattributed> {
    let called = called.into();
    if let Some(id) = origin.opened_for {
        return match table.get(id) {
            Some(trunk) if trunk.enabled && trunk.transport == origin.transport => Ok(id),
            _ => Err(Unattributed::UnknownSource),
        };
    }
    let mut refusal = Unattributed::UnknownSource;
    let mut matches: Vec<(&Trunk, u8)> = Vec::new();
    for (id, prefix) in table.claims(origin.source.ip()) {
        let Some(trunk) = table.get(id) else { continue };
        match admits(trunk, origin, called) {
            Ok(()) => matches.push((trunk, prefix)),
            // The refusal that came closest to a match tells the operator most.
            Err(Some(cause)) if cause.index() > refusal.index() => refusal = cause,
            Err(_) => {}
        }
    }
    // Nobody but the registrar knows the token: it says more than any address.
    if matches.iter().any(|(trunk, _)| trunk.register) {
        matches.retain(|(trunk, _)| trunk.register);
    }
    let longest = matches.iter().map(|(_, prefix)| *prefix).max();
    matches.retain(|(_, prefix)| Some(*prefix) == longest);
    let mut matches: Vec<&Trunk> = matches.into_iter().map(|(trunk, _)| trunk).collect();
    if origin.transport == Transport::Udp {
        narrow(&mut matches, |trunk| {
            table.targets(trunk.id).iter().any(|target| target.port() == origin.source.port())
        });
    }
    if let Some(user) = called.user {
        narrow(&mut matches, |trunk| trunk.owns_number(user));
    }
    match matches.as_slice() {
        [] => Err(refusal),
        [one] => Ok(one.id),
        [a, b, ..] => Err(Unattributed::Ambiguous(a.id, b.id)),
    }
}

/// Whether a request inside a dialog of trunk `id` may come from there. Inside a dialog the number
/// that told two trunks of one source apart is no longer said, so the dialog names the trunk and
/// everything else is verified. A trunk that was switched off keeps the calls that it has.
pub fn belongs<'a>(
    table: &TrunkTable,
    origin: &Origin,
    called: impl Into<Called<'a>>,
    id: TrunkId,
) -> bool {
    if let Some(own) = origin.opened_for {
        let same = |trunk: &Trunk| trunk.transport == origin.transport;
        return own == id && table.get(id).is_some_and(same);
    }
    table.claims(origin.source.ip()).iter().any(|(claiming, _)| *claiming == id)
        && table.get(id).is_some_and(|trunk| fits(trunk, origin, called.into()).is_ok())
}

/// Whether a trunk that claims the source takes the message. `Err(None)` for a disabled trunk, which is
/// as if it did not exist.
fn admits(trunk: &Trunk, origin: &Origin, called: Called<'_>) -> Result<(), Option<Unattributed>> {
    match trunk.enabled {
        true => fits(trunk, origin, called),
        false => Err(None),
    }
}

/// Transport, certificate, token.
fn fits(trunk: &Trunk, origin: &Origin, called: Called<'_>) -> Result<(), Option<Unattributed>> {
    if trunk.transport != origin.transport {
        return Err(Some(Unattributed::WrongTransport(trunk.id)));
    }
    if origin.transport == Transport::Tls && !identity_fits(trunk, origin.peer.as_deref()) {
        return Err(Some(Unattributed::TlsIdentity(trunk.id)));
    }
    if trunk.register && !trunk.owns_token(&called) {
        return Err(Some(Unattributed::Token(trunk.id)));
    }
    Ok(())
}

fn identity_fits(trunk: &Trunk, peer: Option<&PeerIdentity>) -> bool {
    let Some(peer) = peer else { return !trunk.requires_certificate() };
    let names = trunk.tls.as_ref().map_or(&[][..], |tls| tls.peer_names.as_slice());
    let named = names.is_empty() || peer.names.iter().any(|name| names.contains(name));
    named && peer.trusted_by.contains(&trunk.id)
}

/// Keeps the trunks that fit, unless none does or only one is left.
fn narrow(matches: &mut Vec<&Trunk>, fits: impl Fn(&Trunk) -> bool) {
    if matches.len() > 1 && matches.iter().any(|trunk| fits(trunk)) {
        matches.retain(|trunk| fits(trunk));
    }
}

/// URI parameter of our registered Contact that carries the token.
pub const TOKEN_PARAMETER: &str = "line";

#[cfg(test)]
mod tests;
