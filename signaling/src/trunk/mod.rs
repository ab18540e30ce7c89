//! Trunks: what they are, where their peers are, and which one a message belongs to.
//!
//! A [`Trunk`] is one validated row of the configuration and never changes. A [`TrunkTable`] is a
//! snapshot of all trunks with the addresses their host names stand for; `plan::LivePlan` publishes
//! the newest snapshot. [`attribute`] is the gate in front of everything else: a request belongs
//! to exactly one trunk, or it is not processed.

pub mod alg;
pub mod attribution;
pub mod digits;
pub mod health;
pub mod hold;
pub mod identity;
pub mod manner;
pub mod nat;
pub mod number;
pub mod refer;
pub mod registration;
pub mod registrations;
pub mod reliable;
pub mod source;
pub mod status;
pub mod table;
pub mod tally;
pub mod timer;
pub mod tones;
pub mod unknown;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use sdp::{Codec, Events, Policy, Security, Suite};
use sip::digest::Credentials;
use sip::endpoint::Transport;

use crate::group::{Membership, OwnHunting};
use crate::locate::Place;
use crate::route::Numbering;
use crate::secret::Secret;

pub use attribution::{Called, Origin, PeerIdentity, Unattributed, attribute, belongs};
pub use health::Health;
pub use nat::{LearnFrom, Nat, Vantage};
pub use number::Number;
pub use registrations::Registrations;
pub use source::Cidr;
pub use status::{Standing, Status, StatusNews};
pub use table::TrunkTable;
pub use unknown::{UnknownCaller, UnknownCallers};

/// A trunk's number, for ever: the store gives it out once, and renaming changes nothing. In a
/// configuration file without a store it is the trunk's place, from 1. Names are labels; CDRs and
/// counters carry both.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, Debug)]
pub struct TrunkId(pub u32);

impl TrunkId {
    /// The tag that `sip` carries for this trunk in a `Hop`: the id plus one, so that 0 stays
    /// "no trunk known".
    pub fn tag(self) -> u32 {
        self.0.saturating_add(1)
    }

    /// The trunk behind a hop's tag; `None` for 0.
    pub fn from_tag(tag: u32) -> Option<Self> {
        tag.checked_sub(1).map(Self)
    }
}

impl fmt::Display for TrunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One trunk as configured, validated. Field names are the snake_case of the form's labels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trunk {
    /// Its number.
    pub id: TrunkId,
    /// Label, unique; never used to match a caller.
    pub name: String,
    /// A disabled trunk takes part in nothing.
    pub enabled: bool,
    /// Which way calls may go.
    pub direction: Direction,
    /// SIP domain of the peer: Request-URI, To, and next hop without an outbound proxy.
    pub host: Host,
    /// Where every out-of-dialog request goes instead, with a loose Route: up to four, tried in
    /// order.
    pub outbound_proxy: Vec<Proxy>,
    /// Numbers that belong to this trunk (`virtual_phone_number`); empty means none declared.
    pub numbers: Vec<Number>,
    /// Account name and digest user.
    pub username: Option<String>,
    /// Digest secret.
    pub password: Option<Secret<String>>,
    /// SIP Account model (`true`) or IP Authenticated model.
    pub register: bool,
    /// What the registered Contact carries, so that requests to it can be told from guesses;
    /// `Some` exactly when `register` is on. Drawn anew at each start.
    pub registration_token: Option<Secret<String>>,
    /// The OPTIONS probe; `None` when off.
    pub send_keep_alive: Option<Probing>,
    /// Port of `host`; `None` when untouched (5060, or 5061 with TLS).
    pub port: Option<u16>,
    /// Transport of all requests to the trunk, and the only one accepted from it.
    pub transport: Transport,
    /// The trunk's category: TLS and SRTP, or neither.
    pub secure: bool,
    /// Media encryption is mandatory both ways.
    pub encryption: bool,
    /// SDES-SRTP: off, preferred or required.
    pub secure_rtp: SecureRtp,
    /// TLS with RTP, or UDP with SRTP, on the operator's own word.
    pub allow_mixed: bool,
    /// What happens to calls that are already attributed to this trunk.
    pub incoming_call_policy: IncomingCallPolicy,
    /// Cap on early plus confirmed calls, both directions together.
    pub max_concurrent_calls: Option<u32>,
    /// Cap on calls from the trunk.
    pub max_inbound_calls: Option<u32>,
    /// Cap on calls to the trunk.
    pub max_outbound_calls: Option<u32>,
    /// New calls a second, in each direction; a burst may be twice that.
    pub max_cps: Option<u32>,
    /// Codecs in offer order; empty passes anything.
    pub allow: Vec<Codec>,
    /// Codecs removed after `allow`.
    pub disallow: Vec<Codec>,
    /// `disallow = all`: only `allow`.
    pub disallow_all: bool,
    /// RTP and RTCP on one port are offered and accepted (RFC 5761).
    pub rtcp_mux: bool,
    /// Networks the peer may send from, besides the addresses of `host` and `outbound_proxy`.
    pub source_acl: Vec<Cidr>,
    /// TLS identity; `Some` exactly when the transport is TLS.
    pub tls: Option<TlsSettings>,
    /// What [`IncomingCallPolicy::Challenge`] demands of the peer.
    pub inbound_credentials: Option<Credentials>,
    /// MD5 is offered to the peer too: it knows nothing better (RFC 8760 §2.5).
    pub inbound_md5: bool,
    /// The one realm whose challenges are answered; `None`: any that the trunk's own addresses name.
    pub auth_realm: Option<String>,
    /// Who calls: what the trunk is told, and what it is believed.
    pub identity: identity::IdentityRules,
    /// User part of From toward the trunk.
    pub from_user: Option<String>,
    /// Host part of From toward the trunk.
    pub from_domain: Option<String>,
    /// Whether its callers hear why their call came to nothing.
    pub audio_tones: tones::AudioTones,
    /// What its callers hear before anybody is asked.
    pub greeting: Option<tones::Greeting>,
    /// Whether its media may go from peer to peer.
    pub direct_media: DirectMedia,
    /// How its digits come and go.
    pub digits: digits::DigitRules,
    /// Session timers of its calls.
    pub timer: timer::TimerRules,
    /// Whether provisional responses are acknowledged (`100rel`).
    pub reliability: reliable::Reliability,
    /// How we behave toward it.
    pub manner: manner::Manner,
    /// Repair of addresses (`sip_alg`): what we call ourselves in Via, Contact and session
    /// descriptions, and private addresses of the peer's are not followed. `None` when off.
    pub external_address: Option<Host>,
    /// What lies between us and the peer.
    pub nat: Nat,
    /// From where media may be learned, if `nat` has it learned.
    pub learn_from: LearnFrom,
    /// A direction that should carry media and has none for this long is silent; `None` when off.
    pub rtp_timeout: Option<Duration>,
    /// The same for a direction on hold.
    pub hold_timeout: Option<Duration>,
    /// Its place in a failover group.
    pub failover_group: Option<Membership>,
    /// When a hunt gives it up, where that is not as its group says.
    pub hunting: OwnHunting,
    /// How it writes telephone numbers.
    pub numbering: Numbering,
}

impl Trunk {
    /// Port that requests to `host` go to when the name itself carries none.
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(self.transport.default_port())
    }

    /// Next hop as configured: the outbound proxy, else the host.
    pub fn next_hop(&self) -> (&Host, u16) {
        match self.outbound_proxy.first() {
            Some(proxy) => (&proxy.host, proxy.port.unwrap_or(self.transport.default_port())),
            None => (&self.host, self.port_or_default()),
        }
    }

    /// Every next hop of out-of-dialog requests, first choice first.
    pub fn next_hops(&self) -> Vec<Place> {
        let proxies = self.outbound_proxy.iter();
        let proxies = proxies.map(|proxy| self.place(&proxy.host, proxy.port));
        let mut hops: Vec<Place> = proxies.collect();
        if hops.is_empty() {
            hops.push(self.place(&self.host, self.port));
        }
        hops
    }

    /// Every place that belongs to the peer: its next hops and its host.
    pub fn places(&self) -> Vec<Place> {
        let mut places = self.next_hops();
        let host = self.place(&self.host, self.port);
        if !places.contains(&host) {
            places.push(host);
        }
        places
    }

    fn place(&self, host: &Host, port: Option<u16>) -> Place {
        Place { host: host.clone(), port, transport: self.transport }
    }

    /// The loose Route that out-of-dialog requests carry when there is an outbound proxy. All of
    /// one trunk's proxies serve one domain, so each of them takes the first one's name.
    pub fn proxy_route(&self) -> Option<String> {
        let proxy = self.outbound_proxy.first()?;
        let port = proxy.port.map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("<sip:{}{port};lr>", proxy.host))
    }

    /// The peer's domain as a URI, with a user unless that is empty.
    pub fn domain_uri(&self, user: &str) -> String {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let at = if user.is_empty() { "" } else { "@" };
        format!("sip:{user}{at}{}{port}", self.host)
    }

    /// What session descriptions on this trunk may say, the best first: where encryption is only
    /// preferred, one after the other is tried.
    pub fn policies(&self) -> Vec<Policy> {
        let (suites, unoffered) = (SUITES.to_vec(), UNOFFERED.to_vec());
        let secure = Security::Secure { suites: suites.clone(), unoffered: unoffered.clone() };
        let securities = match self.secure_rtp {
            SecureRtp::Off => vec![Security::Plain],
            SecureRtp::Required => vec![secure],
            SecureRtp::Preferred => {
                vec![secure, Security::BestEffort { suites, unoffered }, Security::Plain]
            }
        };
        let policy = |security| Policy {
            security,
            allow: self.allow.clone(),
            disallow: self.disallow.clone(),
            disallow_all: self.disallow_all,
            rtcp_mux: self.rtcp_mux,
            events: if self.digits.mode.has_events() { Events::Pass } else { Events::None },
        };
        securities.into_iter().map(policy).collect()
    }

    /// The best of [`Trunk::policies`].
    pub fn policy(&self) -> Policy {
        self.policies().swap_remove(0)
    }

    /// What is offered to this trunk, one after the other as long as it refuses with 488.
    pub fn offers(&self) -> Vec<Policy> {
        let best_effort = |policy: &Policy| matches!(policy.security, Security::BestEffort { .. });
        let mut policies = self.policies();
        policies.retain(|policy| !best_effort(policy));
        policies
    }

    /// What we answer digest challenges of this trunk with; `None` without an account.
    pub fn credentials(&self) -> Option<Credentials> {
        let (username, password) = (self.username.as_ref()?, self.password.as_ref()?);
        Some(Credentials::new(username.as_str(), password.expose().as_str()))
    }

    /// Whether a challenge of this realm is the trunk's.
    pub fn allows_realm(&self, realm: &str) -> bool {
        self.auth_realm.as_ref().is_none_or(|own| own == realm)
    }

    /// Whether `user`, the user part of a Request-URI, is one of this trunk's numbers.
    pub fn owns_number(&self, user: &str) -> bool {
        self.numbers.iter().any(|number| number.contains(user))
    }

    /// Whether a request was sent to the Contact that we registered: the token stands in the
    /// Request-URI's `line` parameter, or is its user part.
    pub fn owns_token(&self, called: &Called<'_>) -> bool {
        let Some(token) = &self.registration_token else { return false };
        let token = Some(token.expose().as_str());
        called.token == token || called.user == token
    }

    /// Whether a peer that connects to us must show a certificate: as soon as the operator has
    /// said which certificates are the peer's.
    pub fn requires_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.peer_names.is_empty() || tls.pin.is_some())
    }

    /// Names of which a server's certificate must carry one when we connect: `tls_peer_names`,
    /// else the next hop's own name (RFC 5922 §7.1). Empty when a pin says it all.
    pub fn server_names(&self) -> Vec<String> {
        self.server_names_at(self.next_hop().0)
    }

    /// The same for one of several next hops.
    pub fn server_names_at(&self, host: &Host) -> Vec<String> {
        match &self.tls {
            Some(tls) if !tls.peer_names.is_empty() => tls.peer_names.clone(),
            Some(tls) if tls.pin.is_some() => Vec::new(),
            _ => match host {
                Host::Address(address) => vec![address.to_string()],
                Host::Name(name) => vec![name.clone()],
            },
        }
    }
}

/// Suites offered on secure trunks, strongest first.
pub const SUITES: [Suite; 5] = [
    Suite::AeadAes256Gcm,
    Suite::AeadAes128Gcm,
    Suite::AesCm256HmacSha1_80,
    Suite::AesCm128HmacSha1_80,
    Suite::AesCm128HmacSha1_32,
];

/// Suites accepted when a peer offers them: who knows this one knows a better one of [`SUITES`].
pub const UNOFFERED: [Suite; 1] = [Suite::AesCm256HmacSha1_32];

/// How a trunk's peer is probed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probing {
    /// Time between probes while all is well.
    pub interval: Duration,
    /// Only a 2xx is a good answer; else any final one but 408 and 503 is.
    pub only_2xx: bool,
    /// More codes that are no good answer.
    pub failing: Vec<u16>,
}

/// A peer's host as configured.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Host {
    /// A literal address.
    Address(IpAddr),
    /// A name to resolve, lower case, without trailing dot.
    Name(String),
}

impl Host {
    /// Reads an address (IPv6 with or without brackets) or a host name of at most 253 characters;
    /// `None` when it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let label = |l: &str| {
            !l.is_empty()
                && l.len() <= 63
                && !l.starts_with('-')
                && !l.ends_with('-')
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        // A name whose last label is all digits is a mistyped address (RFC 1123 §2.1).
        let last_is_number = name.rsplit('.').next().is_some_and(|l| l.parse::<u64>().is_ok());
        (name.len() <= 253 && name.split('.').all(label) && !last_is_number)
            .then_some(Self::Name(name))
    }
}

/// The host as a URI writes it: IPv6 in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// An outbound proxy.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Proxy {
    /// Where it is.
    pub host: Host,
    /// Its port; `None` for the transport's default.
    pub port: Option<u16>,
}

/// Which way calls may go, seen from the gateway: `Inbound` calls come from the trunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Only from the trunk.
    Inbound,
    /// Only to the trunk.
    Outbound,
    /// Both.
    Both,
}

/// What happens to calls that are already attributed to the trunk. There is no value that admits
/// a call that belongs to no trunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IncomingCallPolicy {
    /// Routed by the route table.
    Allow,
    /// Only when the called number is one of the trunk's; else 404.
    KnownNumbers,
    /// Routed once the peer has proven that it knows the inbound credentials (401, then digest).
    Challenge,
    /// Outbound-only trunk; 403.
    Reject,
}

/// `direct_media`: whether media may go from peer to peer, past us. Both trunks of a call must say so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DirectMedia {
    /// Media passes through us.
    No,
    /// Where nothing needs us in the middle.
    Yes,
    /// The same, and only for callers whose media is where they signal from.
    NoNat,
}

/// SDES-SRTP on a trunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecureRtp {
    /// RTP/AVP only.
    Off,
    /// Both are accepted; RTP/SAVP is offered first, and RTP/AVP once when that is refused with 488.
    Preferred,
    /// RTP/SAVP only; an offer without it gets 488.
    Required,
}

/// Whom a TLS trunk trusts, and who we are toward it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsSettings {
    /// Names of which the peer's certificate must carry one (SAN, else CN); lower case.
    pub peer_names: Vec<String>,
    /// PEM file of certificate authorities for this trunk; `None` falls back to `sip.tls_ca`
    /// unless a pin is set.
    pub ca: Option<PathBuf>,
    /// Our certificate toward this trunk; `None` falls back to `sip.tls_certificate`.
    pub client_cert: Option<PathBuf>,
    /// Its key.
    pub client_key: Option<PathBuf>,
    /// SHA-256 of the one certificate that is accepted, instead of a chain.
    pub pin: Option<[u8; 32]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses_or_names() {
        for (text, want) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("[2001:db8::1]", Some("[2001:db8::1]")),
            ("2001:db8::1", Some("[2001:db8::1]")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("SIP.Example.COM.", Some("sip.example.com")),
            ("localhost", Some("localhost")),
            ("_sip.example.com", Some("_sip.example.com")),
            ("192.0.2.256", None),
            ("a..b", None),
            ("-a.b", None),
            ("a b", None),
            ("", None),
            ("sip:example.com", None),
        ] {
            assert_eq!(Host::parse(text).map(|h| h.to_string()).as_deref(), want, "{text}");
        }
        assert!(Host::parse(&format!("{}.com", "a".repeat(64))).is_none());
        assert!(Host::parse(&vec!["abcdefgh"; 32].join(".")).is_none());
    }

    #[test]
    fn tags_leave_zero_for_nobody() {
        assert_eq!(TrunkId::from_tag(0), None);
        assert_eq!(TrunkId::from_tag(TrunkId(7).tag()), Some(TrunkId(7)));
    }
}
