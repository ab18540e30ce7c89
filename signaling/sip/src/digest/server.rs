//! Challenges to peers and the check of what they answer.
//!
//! A nonce is `time counter mac`, all hexadecimal: the MAC covers both numbers, the realm and the
//! source, under a secret of this process. So nothing is stored for a challenge, a stranger's flood
//! costs no memory, and a nonce works from one source only. Something is stored only once an answer
//! was right: which counts of that nonce are used up. That table is bounded; when it is full, the
//! oldest nonce leaves and everything issued before it counts as expired, so that leaving the table
//! never makes a replay possible.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::Credentials;
use super::algorithm::{Algorithm, hex};
use super::fields::{Fields, Writer, escape};
use super::response::{Covered, Protection, response};
use crate::wire::{Method, Uri};

/// Makes and checks challenges for one process.
pub struct Verifier {
    secret: Zeroizing<[u8; 32]>,
    counter: u64,
    used: BTreeMap<Issue, Window>,
    /// Nonces issued up to here are expired whatever their age.
    floor: Option<Issue>,
}

/// Who is challenged.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// Its address and transport in the caller's own way: a nonce works from there only.
    pub source: &'a str,
    /// Offers and accepts MD5 too, for a peer that knows nothing better (RFC 8760 §2.5).
    pub md5: bool,
}

impl<'a> From<&'a str> for Peer<'a> {
    /// A peer that knows SHA-256.
    fn from(source: &'a str) -> Self {
        Self { source, md5: false }
    }
}

impl Peer<'_> {
    fn offered(&self) -> &'static [Algorithm] {
        if self.md5 { &[Algorithm::SHA_256, Algorithm::MD5] } else { &[Algorithm::SHA_256] }
    }
}

/// What an answer has to cover.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub method: &'a Method,
    /// The body of the request; it counts where the peer chose `auth-int` (RFC 7616 §3.4.3).
    pub body: &'a [u8],
}

impl<'a> From<&'a Method> for Subject<'a> {
    /// A request without a body.
    fn from(method: &'a Method) -> Self {
        Self { method, body: &[] }
    }
}

/// When a nonce was issued: seconds, then a number that is never given twice.
type Issue = (u64, u64);

/// Why an answer is not accepted. What the peer is told must not depend on more than `stale`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// No `Digest` answer, or one without the fields that are needed.
    Malformed,
    /// An algorithm or a protection that was not offered.
    NotOffered,
    /// The nonce is not ours, or it was given to another source or for another realm.
    ForeignNonce,
    /// Wrong user or wrong password.
    WrongCredentials,
    /// All is right but the age of the nonce.
    Stale,
    /// All is right, but this count of this nonce was used before.
    Replayed,
}

impl Refusal {
    /// True when the peer proved that it knows the password: the new challenge says `stale`, and
    /// the peer may answer it without asking anybody.
    pub const fn is_stale(self) -> bool {
        matches!(self, Self::Stale | Self::Replayed)
    }
}

impl Verifier {
    /// `secret` must be random and drawn at each start: the table of used counts lives as long.
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret: Zeroizing::new(secret), counter: 0, used: BTreeMap::new(), floor: None }
    }

    /// The values of the WWW- or Proxy-Authenticate headers to send, preferred algorithm first.
    pub fn challenge<'p>(
        &mut self,
        now_unix_s: u64,
        realm: &str,
        peer: impl Into<Peer<'p>>,
        stale: bool,
    ) -> Vec<Bytes> {
        let peer = peer.into();
        self.counter += 1;
        let realm = escape(realm);
        let nonce = self.nonce((now_unix_s, self.counter), &realm, peer.source);
        let write = |algorithm: &Algorithm| {
            let mut out = Writer::new();
            out.quoted("realm", &realm);
            out.quoted("nonce", nonce.as_bytes());
            out.plain("algorithm", algorithm.name());
            out.quoted("qop", b"auth,auth-int");
            if stale {
                out.plain("stale", "true");
            }
            out.finish()
        };
        peer.offered().iter().map(write).collect()
    }

    /// Checks one Authorization or Proxy-Authorization value. `Ok` uses up its count: the same
    /// value is refused from then on.
    pub fn verify<'p, 's>(
        &mut self,
        now_unix_s: u64,
        subject: impl Into<Subject<'s>>,
        value: &[u8],
        credentials: &Credentials,
        peer: impl Into<Peer<'p>>,
    ) -> Result<(), Refusal> {
        let peer = peer.into();
        let answer = Answer::parse(value)?;
        if !peer.offered().contains(&answer.algorithm) {
            return Err(Refusal::NotOffered);
        }
        let issue = answer.issue().ok_or(Refusal::ForeignNonce)?;
        let ours = self.nonce(issue, &answer.realm, peer.source);
        if !bool::from(ours.as_bytes().ct_eq(&answer.nonce)) {
            return Err(Refusal::ForeignNonce);
        }
        if !bool::from(answer.is_right(subject.into(), credentials)) {
            return Err(Refusal::WrongCredentials);
        }
        self.forget_expired(now_unix_s);
        if now_unix_s.abs_diff(issue.0) > NONCE_LIFETIME_S || Some(issue) <= self.floor {
            return Err(Refusal::Stale);
        }
        let taken = self.used.entry(issue).or_default().take(answer.count);
        while self.used.len() > NONCES_MAX {
            self.floor = self.used.pop_first().map(|(oldest, _)| oldest).max(self.floor);
        }
        if taken { Ok(()) } else { Err(Refusal::Replayed) }
    }

    /// Nonces of which counts are remembered, at most `NONCES_MAX`.
    pub fn remembered(&self) -> usize {
        self.used.len()
    }

    fn nonce(&self, issue: Issue, realm: &[u8], source: &str) -> String {
        let (time, counter) = (issue.0.to_be_bytes(), issue.1.to_be_bytes());
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.secret.as_slice()) else {
            return String::new();
        };
        mac.update(&time);
        mac.update(&counter);
        mac.update(&u64::try_from(realm.len()).unwrap_or(u64::MAX).to_be_bytes());
        mac.update(realm);
        mac.update(source.as_bytes());
        let mac = mac.finalize().into_bytes();
        let mac = mac.first_chunk::<MAC_BYTES>().map_or(mac.as_slice(), |half| half.as_slice());
        [hex(&time), hex(&counter), hex(mac)].concat()
    }

    fn forget_expired(&mut self, now_unix_s: u64) {
        let oldest = now_unix_s.saturating_sub(NONCE_LIFETIME_S);
        while self.used.first_key_value().is_some_and(|((time, _), _)| *time < oldest) {
            self.used.pop_first();
        }
    }
}

/// True when the digest covers this Request-URI. The RFC asks for it, peers behind proxies and some
/// PBXes break it (RFC 3261 §22.4 item 1): whether to insist is the caller's policy.
pub fn covers(value: &[u8], uri: &Uri) -> bool {
    let covered = Fields::parse(value).and_then(|fields| fields.get("uri").cloned());
    covered.and_then(|text| Uri::from_bytes(text).ok()).is_some_and(|text| text.equivalent(uri))
}

/// The user name of an answer, to find whose credentials to check. Nothing is proven by it.
pub fn claimed_user(value: &[u8]) -> Option<Bytes> {
    Fields::parse(value)?.get("username").cloned()
}

/// What a peer sent.
struct Answer {
    algorithm: Algorithm,
    username: Bytes,
    realm: Bytes,
    nonce: Bytes,
    uri: Bytes,
    response: Bytes,
    cnonce: Bytes,
    nc: Option<Bytes>,
    /// The body is covered too.
    integral: bool,
    count: Count,
}

#[derive(Clone, Copy)]
enum Count {
    /// The n-th use.
    Nth(u32),
    /// Without a `qop` there is no count: the nonce serves once.
    Only,
}

impl Answer {
    fn parse(value: &[u8]) -> Result<Self, Refusal> {
        let fields = Fields::parse(value).ok_or(Refusal::Malformed)?;
        let field = |name| fields.get(name).cloned().ok_or(Refusal::Malformed);
        let algorithm = match fields.get("algorithm") {
            None => Algorithm::MD5,
            Some(name) => Algorithm::from_name(name).ok_or(Refusal::NotOffered)?,
        };
        let qop = fields.get("qop");
        let is = |name: &[u8]| qop.is_some_and(|qop| qop.eq_ignore_ascii_case(name));
        let integral = is(b"auth-int");
        let (nc, count, cnonce) = match qop {
            None => (None, Count::Only, Bytes::new()),
            Some(_) if integral || is(b"auth") => {
                let nc = field("nc")?;
                let count = count(&nc).ok_or(Refusal::Malformed)?;
                (Some(nc), Count::Nth(count), field("cnonce")?)
            }
            Some(_) => return Err(Refusal::NotOffered),
        };
        Ok(Self {
            algorithm,
            username: field("username")?,
            realm: field("realm")?,
            nonce: field("nonce")?,
            uri: field("uri")?,
            response: field("response")?,
            cnonce,
            nc,
            integral,
            count,
        })
    }

    /// The two numbers that the nonce begins with.
    fn issue(&self) -> Option<Issue> {
        let number =
            |digits: &[u8]| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        let (time, rest) = self.nonce.split_at_checked(NUMBER_DIGITS)?;
        let (counter, _) = rest.split_at_checked(NUMBER_DIGITS)?;
        Some((number(time)?, number(counter)?))
    }

    /// Compares user and response without telling by its duration which one is wrong.
    fn is_right(&self, subject: Subject<'_>, credentials: &Credentials) -> Choice {
        let protection = match &self.nc {
            Some(nc) if self.integral => Protection::AuthInt { nc, body: subject.body },
            Some(nc) => Protection::Auth { nc },
            None => Protection::None,
        };
        let expected = response(
            &Covered {
                algorithm: self.algorithm,
                realm: &self.realm,
                nonce: &self.nonce,
                method: subject.method.as_str(),
                uri: &self.uri,
                protection,
                cnonce: &self.cnonce,
            },
            credentials,
        );
        let sent = self.response.to_ascii_lowercase();
        let user = escape(&credentials.username);
        user.ct_eq(&self.username) & expected.as_bytes().ct_eq(&sent)
    }
}

/// `nc` is eight hexadecimal digits, from 1 (RFC 7616 §3.4).
fn count(nc: &[u8]) -> Option<u32> {
    let digits = nc.len() == 8 && nc.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(nc).ok().filter(|_| digits)?;
    u32::from_str_radix(text, 16).ok().filter(|count| *count > 0)
}

/// The counts of one nonce that are used up: the highest, and which of the 63 below it.
#[derive(Default)]
struct Window {
    highest: u32,
    /// Bit n: `highest - n`.
    seen: u64,
}

impl Window {
    /// Uses up a count; false when it was used, or is too far back to know.
    fn take(&mut self, count: Count) -> bool {
        let count = match count {
            Count::Nth(count) => count,
            Count::Only if self.highest == 0 => {
                *self = Self { highest: u32::MAX, seen: u64::MAX };
                return true;
            }
            Count::Only => return false,
        };
        if count > self.highest {
            self.seen = self.seen.checked_shl(count - self.highest).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let bit = 1_u64.checked_shl(self.highest - count).unwrap_or(0);
        let fresh = bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        fresh
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

/// Seconds for which a nonce may be answered: a human or a slow peer repeats within it, a captured
/// answer is worthless after it.
pub const NONCE_LIFETIME_S: u64 = 60;

/// Nonces whose used counts are remembered: about 1,000 authenticated requests a second for a
/// lifetime.
pub const NONCES_MAX: usize = 65_536;

const MAC_BYTES: usize = 16;

/// Hexadecimal digits of each of the two numbers in a nonce.
const NUMBER_DIGITS: usize = 16;
