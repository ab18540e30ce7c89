//! Answers to challenges: what a trunk that we register with or call through gets.

use std::fmt;

use bytes::Bytes;

use super::Credentials;
use super::algorithm::Algorithm;
use super::fields::{Fields, Writer, escape};
use super::response::{Covered, Protection, response};
use crate::wire::{HeaderName, Headers, Method};

/// What an answer proves the knowledge of the password for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub method: &'a Method,
    /// The Request-URI as it will be written.
    pub uri: &'a str,
    /// Covered where the challenge wants `auth-int`.
    pub body: &'a [u8],
}

/// Answers the strongest challenge of a 401 or 407 whose realm `realm_allowed` accepts, with the
/// header to add to the repeated request.
///
/// `uri` is the Request-URI as it will be written, `cnonce` fresh random text of token characters,
/// `nc` the number of times that this nonce was answered, this one included. `None`: no challenge
/// can be answered; nothing derived from the password leaves then.
#[expect(clippy::too_many_arguments, reason = "each one is an independent input of the hash")]
pub fn answer(
    challenges: &Headers,
    credentials: &Credentials,
    method: &Method,
    uri: &str,
    body: &[u8],
    cnonce: &str,
    nc: u32,
    realm_allowed: &dyn Fn(&str) -> bool,
) -> Option<(HeaderName, Bytes)> {
    let mut challenge = Challenge::strongest(challenges, cnonce, realm_allowed)?;
    challenge.answered = nc.saturating_sub(1);
    Some(challenge.answer(&Asked { method, uri, body }, credentials))
}

/// True when a challenge says that only the nonce was too old: the same password may be tried again
/// (RFC 7616 §3.3). Without it, a second challenge means that the password is wrong.
pub fn is_stale(challenges: &Headers) -> bool {
    let asks = |name: &HeaderName| {
        matches!(name, HeaderName::WwwAuthenticate | HeaderName::ProxyAuthenticate)
    };
    let mut all = challenges.iter().filter(|(name, _)| asks(name));
    all.any(|(_, value)| Challenge::parse(value).is_some_and(|challenge| challenge.stale))
}

/// A challenge that can be answered, more than once: each answer counts (RFC 7616 §3.4, `nc`), so
/// that later requests need not be refused before they prove anything (RFC 3261 §22.2).
#[derive(Clone)]
pub struct Challenge {
    reply: HeaderName,
    algorithm: Algorithm,
    /// The algorithm was named: then it is named back.
    named: bool,
    realm: Bytes,
    nonce: Bytes,
    opaque: Option<Bytes>,
    qop: Qop,
    stale: bool,
    cnonce: String,
    /// How often the nonce was answered.
    answered: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Qop {
    None,
    Auth,
    AuthInt,
}

impl Challenge {
    /// The strongest challenge of a 401 or 407 whose realm `realm_allowed` accepts; `cnonce` is
    /// fresh random text of token characters.
    pub fn strongest(
        challenges: &Headers,
        cnonce: &str,
        realm_allowed: &dyn Fn(&str) -> bool,
    ) -> Option<Self> {
        let all = challenges.iter().filter_map(|(name, value)| {
            let reply = match name {
                HeaderName::WwwAuthenticate => HeaderName::Authorization,
                HeaderName::ProxyAuthenticate => HeaderName::ProxyAuthorization,
                _ => return None,
            };
            let cnonce = cnonce.to_owned();
            Some(Self { reply, cnonce, ..Self::parse(value)? })
        });
        let allowed = all.filter(|c| std::str::from_utf8(&c.realm).is_ok_and(realm_allowed));
        // The first of the strongest: a server lists its preference first (RFC 8760 §2.4).
        allowed.reduce(|best, next| if next.algorithm > best.algorithm { next } else { best })
    }

    /// The next answer, with the header that carries it.
    pub fn answer(&mut self, asked: &Asked<'_>, credentials: &Credentials) -> (HeaderName, Bytes) {
        self.answered = self.answered.saturating_add(1);
        let count = format!("{:08x}", self.answered);
        let protection = match self.qop {
            Qop::None => Protection::None,
            Qop::Auth => Protection::Auth { nc: count.as_bytes() },
            Qop::AuthInt => Protection::AuthInt { nc: count.as_bytes(), body: asked.body },
        };
        let uri = escape(asked.uri);
        let covered = Covered {
            algorithm: self.algorithm,
            realm: &self.realm,
            nonce: &self.nonce,
            method: asked.method.as_str(),
            uri: &uri,
            protection,
            cnonce: self.cnonce.as_bytes(),
        };
        (self.reply.clone(), write(self, &covered, credentials))
    }

    /// Whether its nonce may be answered again: without a `qop` there is no count, and a server that
    /// refuses replays takes such a nonce once.
    pub fn is_reusable(&self) -> bool {
        self.qop != Qop::None
    }

    /// Takes the nonce that a 2xx names for the next request (`nextnonce`, RFC 7616 §3.5).
    pub fn renew(&mut self, accepted: &Headers) {
        let name = match self.reply {
            HeaderName::ProxyAuthorization => HeaderName::from("Proxy-Authentication-Info"),
            _ => HeaderName::AuthenticationInfo,
        };
        // The header has no scheme in front of its list (RFC 7615 §3).
        let fields = accepted.get(&name).and_then(|value| Fields::parse_list(value));
        if let Some(next) = fields.as_ref().and_then(|fields| fields.get("nextnonce")) {
            (self.nonce, self.answered) = (next.clone(), 0);
        }
    }

    /// `None` for another scheme, an unknown algorithm, or a `qop` list that holds nothing known.
    fn parse(value: &[u8]) -> Option<Self> {
        let fields = Fields::parse(value)?;
        let named = fields.get("algorithm");
        let algorithm = named.map_or(Some(Algorithm::MD5), |name| Algorithm::from_name(name))?;
        let qop = match fields.get("qop") {
            None => Qop::None,
            Some(list) if lists(list, "auth") => Qop::Auth,
            Some(list) if lists(list, "auth-int") => Qop::AuthInt,
            Some(_) => return None,
        };
        Some(Self {
            reply: HeaderName::Authorization,
            cnonce: String::new(),
            answered: 0,
            algorithm,
            named: named.is_some(),
            realm: fields.get("realm")?.clone(),
            nonce: fields.get("nonce")?.clone(),
            opaque: fields.get("opaque").cloned(),
            qop,
            stale: fields.get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case(b"true")),
        })
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge").field("answered", &self.answered).finish_non_exhaustive()
    }
}

fn lists(list: &[u8], qop: &str) -> bool {
    list.split(|b| *b == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(qop.as_bytes()))
}

fn write(challenge: &Challenge, covered: &Covered<'_>, credentials: &Credentials) -> Bytes {
    let mut out = Writer::new();
    out.quoted("username", &escape(&credentials.username));
    out.quoted("realm", covered.realm);
    out.quoted("nonce", covered.nonce);
    out.quoted("uri", covered.uri);
    out.quoted("response", response(covered, credentials).as_bytes());
    if challenge.named {
        out.plain("algorithm", covered.algorithm.name());
    }
    let (qop, nc) = match covered.protection {
        Protection::None => (None, b"".as_slice()),
        Protection::Auth { nc } => (Some("auth"), nc),
        Protection::AuthInt { nc, .. } => (Some("auth-int"), nc),
    };
    if qop.is_some() || covered.algorithm.sess {
        out.quoted("cnonce", covered.cnonce);
    }
    if let (Some(qop), Ok(nc)) = (qop, std::str::from_utf8(nc)) {
        out.plain("qop", qop);
        out.plain("nc", nc);
    }
    if let Some(opaque) = &challenge.opaque {
        out.quoted("opaque", opaque);
    }
    out.finish()
}
