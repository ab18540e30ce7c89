//! Answers to challenges: what a trunk that we register with or call through gets.

use bytes::Bytes;

use super::Credentials;
use super::algorithm::Algorithm;
use super::fields::{Fields, Writer, escape};
use super::response::{Covered, Protection, response};
use crate::wire::{HeaderName, Headers, Method};

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
    let all = challenges.iter().filter_map(|(name, value)| {
        let reply = match name {
            HeaderName::WwwAuthenticate => HeaderName::Authorization,
            HeaderName::ProxyAuthenticate => HeaderName::ProxyAuthorization,
            _ => return None,
        };
        Some((reply, Challenge::parse(value)?))
    });
    let allowed = all.filter(|(_, c)| std::str::from_utf8(&c.realm).is_ok_and(realm_allowed));
    // The first of the strongest: a server lists its preference first (RFC 8760 §2.4).
    let (reply, challenge) = allowed
        .reduce(|best, next| if next.1.algorithm > best.1.algorithm { next } else { best })?;
    let count = format!("{nc:08x}");
    let protection = match challenge.qop {
        Qop::None => Protection::None,
        Qop::Auth => Protection::Auth { nc: count.as_bytes() },
        Qop::AuthInt => Protection::AuthInt { nc: count.as_bytes(), body },
    };
    let uri = escape(uri);
    let covered = Covered {
        algorithm: challenge.algorithm,
        realm: &challenge.realm,
        nonce: &challenge.nonce,
        method: method.as_str(),
        uri: &uri,
        protection,
        cnonce: cnonce.as_bytes(),
    };
    Some((reply, write(&challenge, &covered, credentials)))
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

struct Challenge {
    algorithm: Algorithm,
    /// The algorithm was named: then it is named back.
    named: bool,
    realm: Bytes,
    nonce: Bytes,
    opaque: Option<Bytes>,
    qop: Qop,
    stale: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Qop {
    None,
    Auth,
    AuthInt,
}

impl Challenge {
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
