//! URIs: `sip:`, `sips:`, `tel:` and any other scheme as it was written.

use std::fmt;

use bytes::Bytes;

use super::chars;
use super::error::{Fault, ParseError};
use super::lexer::Cursor;
use super::limits::URI_BYTES_MAX;
use super::{Host, Params};

/// A URI. `Other` keeps its bytes; the `*` of a Contact is `Other` too.
///
/// `==` compares what was written; `equivalent` compares by the rules of the schemes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Uri {
    Sip(SipUri),
    Tel(TelUri),
    Other(Bytes),
}

/// RFC 3261 §19.1.1
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SipUri {
    /// `sips:`
    pub secure: bool,
    /// Raw, with its escapes and its password.
    pub user: Option<Bytes>,
    pub host: Host,
    pub port: Option<u16>,
    pub params: Params,
    /// Raw text after `?`.
    pub headers: Option<Bytes>,
}

/// RFC 3966
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TelUri {
    /// Raw, with its visual separators, `+` included.
    pub number: Bytes,
    pub params: Params,
}

impl Uri {
    /// Reads one URI that fills `text`.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        Self::from_bytes(Bytes::copy_from_slice(text))
    }

    /// `parse` without a copy: the parts are slices of `text`.
    pub fn from_bytes(text: Bytes) -> Result<Self, ParseError> {
        Self::read("URI", &text)
    }

    pub(super) fn read(field: &'static str, text: &Bytes) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new(field, text);
        if text.len() > URI_BYTES_MAX {
            return Err(cursor.error(Fault::TooLong(URI_BYTES_MAX)));
        }
        if !text.iter().copied().all(chars::is_uri) {
            return Err(cursor.fault("a URI without blanks, quotes and brackets"));
        }
        if !chars::escapes_are_valid(text) {
            return Err(cursor.fault("two hexadecimal digits after each '%' of a URI"));
        }
        let scheme = cursor.look_while(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if !scheme.first().is_some_and(u8::is_ascii_alphabetic) {
            return Err(cursor.fault("a URI that begins with its scheme"));
        }
        cursor.expect(b':', "':' after the URI scheme")?;
        if scheme.eq_ignore_ascii_case(b"sip") {
            SipUri::read(cursor, false).map(Self::Sip)
        } else if scheme.eq_ignore_ascii_case(b"sips") {
            SipUri::read(cursor, true).map(Self::Sip)
        } else if scheme.eq_ignore_ascii_case(b"tel") {
            TelUri::read(cursor).map(Self::Tel)
        } else if cursor.at_end() {
            Err(cursor.fault("something after the URI scheme"))
        } else {
            Ok(Self::Other(text.clone()))
        }
    }

    /// Equality by RFC 3261 §19.1.4 (RFC 3966 §5 for `tel:`); other schemes by their bytes.
    pub fn equivalent(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sip(a), Self::Sip(b)) => a.equivalent(b),
            (Self::Tel(a), Self::Tel(b)) => a.equivalent(b),
            _ => self == other,
        }
    }

    /// The `sip:` or `sips:` URI, when it is one.
    pub fn as_sip(&self) -> Option<&SipUri> {
        match self {
            Self::Sip(uri) => Some(uri),
            _ => None,
        }
    }

    /// The URI as bytes.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(64);
        self.write(&mut out);
        out.into()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Sip(uri) => uri.write(out),
            Self::Tel(uri) => uri.write(out),
            Self::Other(text) => chars::write_escaped(out, text, chars::is_uri),
        }
    }
}

impl From<SipUri> for Uri {
    fn from(uri: SipUri) -> Self {
        Self::Sip(uri)
    }
}

impl From<TelUri> for Uri {
    fn from(uri: TelUri) -> Self {
        Self::Tel(uri)
    }
}

impl SipUri {
    /// `sip:host` with nothing else.
    pub const fn new(host: Host) -> Self {
        Self { secure: false, user: None, host, port: None, params: Params::new(), headers: None }
    }

    /// The user with its escapes resolved, without the password. `None` when there is no user.
    pub fn user_text(&self) -> Option<Bytes> {
        let user = self.user.as_ref()?.split(|b| *b == b':').next()?;
        Some(unescape(user))
    }

    /// The value of a header that the URI asks a request to it to have, its escapes resolved: the
    /// first of that name (RFC 3261 §19.1.1).
    pub fn header(&self, name: &str) -> Option<Bytes> {
        let mut all = self.headers.as_ref()?.split(|b| *b == b'&');
        all.find_map(|header| {
            let at = header.iter().position(|b| *b == b'=')?;
            let (own, value) = header.split_at_checked(at)?;
            let is_meant = unescape(own).eq_ignore_ascii_case(name.as_bytes());
            is_meant.then(|| unescape(value.get(1..).unwrap_or_default()))
        })
    }

    /// RFC 3261 §19.1.4
    pub fn equivalent(&self, other: &Self) -> bool {
        self.secure == other.secure
            && self.user.as_deref().map(normal) == other.user.as_deref().map(normal)
            && self.host.equivalent(&other.host)
            && self.port == other.port
            && self.params_match(other)
            && self.sorted_headers() == other.sorted_headers()
    }

    fn read(mut cursor: Cursor<'_>, secure: bool) -> Result<Self, ParseError> {
        let user = match cursor.ahead_of(b'@') {
            Some(user) => {
                const USER: &str = "a user of unreserved or escaped characters before '@'";
                let valid = user.iter().copied().all(chars::is_user);
                if !valid || user.is_empty() || user.first() == Some(&b':') {
                    return Err(cursor.fault(USER));
                }
                let user = cursor.take_until(b'@', USER)?;
                cursor.eat(b'@');
                Some(user)
            }
            None => None,
        };
        let (host, port) = Host::read_with_port(&mut cursor, false)?;
        let params = Params::read_uri(&mut cursor)?;
        let headers = cursor.eat(b'?').then(|| cursor.take_while(chars::is_uri_headers));
        let is_pair =
            |header: &[u8]| header.iter().position(|b| *b == b'=').is_some_and(|at| at > 0);
        let pairs = headers.iter().flat_map(|headers| headers.split(|b| *b == b'&'));
        if !cursor.at_end() || !pairs.into_iter().all(is_pair) {
            return Err(cursor.fault("[user@]host[:port][;parameters][?headers]"));
        }
        Ok(Self { secure, user, host, port, params, headers })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.secure { b"sips:" } else { b"sip:" });
        if let Some(user) = self.user.as_ref().filter(|user| !user.is_empty()) {
            let password_only = usize::from(user.first() == Some(&b':'));
            let (colon, rest) = user.split_at_checked(password_only).unwrap_or((&[], user));
            chars::write_escaped(out, colon, |_| false);
            chars::write_escaped(out, rest, chars::is_user);
            out.push(b'@');
        }
        self.host.write_with_port(self.port, out);
        self.params.write_uri(out);
        if let Some(headers) = self.headers.as_ref().filter(|headers| !headers.is_empty()) {
            out.push(b'?');
            chars::write_escaped(out, headers, chars::is_uri_headers);
        }
    }

    fn params_match(&self, other: &Self) -> bool {
        let must_match = |name: &[u8], own: &Self| {
            SIGNIFICANT.iter().any(|p| name.eq_ignore_ascii_case(p.as_bytes()))
                && !own.params.iter().any(|(n, _)| n.eq_ignore_ascii_case(name))
        };
        let one_sided = other.params.iter().any(|(name, _)| must_match(name, self))
            || self.params.iter().any(|(name, _)| must_match(name, other));
        let differ = self.params.iter().any(|(name, value)| {
            let theirs = other.params.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
            theirs.is_some_and(|(_, theirs)| folded(value) != folded(theirs))
        });
        !one_sided && !differ
    }

    /// The headers as name and value, whose order does not count.
    fn sorted_headers(&self) -> Vec<Vec<u8>> {
        let Some(headers) = &self.headers else { return Vec::new() };
        let mut all: Vec<_> = headers.split(|b| *b == b'&').map(normal).collect();
        all.iter_mut().for_each(|header| {
            let name = header.iter().take_while(|b| **b != b'=').count();
            header.iter_mut().take(name).for_each(|b| b.make_ascii_lowercase());
        });
        all.sort();
        all
    }
}

impl TelUri {
    /// RFC 3966 §5: visual separators and the order of parameters do not count, all parameters do.
    pub fn equivalent(&self, other: &Self) -> bool {
        let sorted = |uri: &Self| {
            let pairs = uri.params.iter().map(|(n, v)| (n.to_ascii_lowercase(), folded(v)));
            let mut pairs: Vec<_> = pairs.collect();
            pairs.sort();
            pairs
        };
        self.digits().eq_ignore_ascii_case(&other.digits()) && sorted(self) == sorted(other)
    }

    /// The number without its visual separators, `+` included.
    pub fn digits(&self) -> Bytes {
        self.number.iter().copied().filter(|b| !b"-.()".contains(b)).collect()
    }

    /// RFC 3966 §3: after `+` decimal digits, else those of the longer set, with separators.
    fn read(mut cursor: Cursor<'_>) -> Result<Self, ParseError> {
        let number = cursor.take_while(|b| b == b'+' || is_phone_digit(b));
        let (digits, global) = match number.split_first() {
            Some((b'+', digits)) => (digits, true),
            _ => (&number[..], false),
        };
        let is_separator = |b: &u8| b"-.()".contains(b);
        let allowed = |b: &u8| is_separator(b) || b.is_ascii_digit() || (!global && *b != b'+');
        if digits.iter().all(is_separator) || !digits.iter().all(allowed) {
            return Err(cursor.fault("a telephone number"));
        }
        let params = Params::read_uri(&mut cursor)?;
        if cursor.at_end() {
            Ok(Self { number, params })
        } else {
            Err(cursor.fault("a telephone number with parameters"))
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"tel:");
        chars::write_escaped(out, &self.number, |b| b == b'+' || is_phone_digit(b));
        self.params.write_uri(out);
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        chars::display(|out| self.write(out), f)
    }
}

impl fmt::Display for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        chars::display(|out| self.write(out), f)
    }
}

impl fmt::Display for TelUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        chars::display(|out| self.write(out), f)
    }
}

/// Parameters that, present on one side only, make two URIs differ (RFC 3261 §19.1.4).
const SIGNIFICANT: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];

/// RFC 3966 §3 `phonedigit-hex`
fn is_phone_digit(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || b"*#-.()".contains(&byte)
}

/// Escapes of unreserved characters resolved, the others in upper case: two texts are equivalent
/// when these are equal.
fn normal(text: &[u8]) -> Vec<u8> {
    walk_escapes(text, |byte| byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte))
}

/// A parameter value for comparison: case does not count (RFC 3261 §19.1.4).
fn folded(value: Option<&Bytes>) -> Option<Vec<u8>> {
    value.map(|value| normal(value).to_ascii_lowercase())
}

/// All valid escapes resolved.
fn unescape(text: &[u8]) -> Bytes {
    walk_escapes(text, |_| true).into()
}

fn walk_escapes(text: &[u8], resolve: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let escaped = tail.first_chunk().filter(|_| *first == b'%').and_then(chars::hex_pair);
        match escaped {
            Some(byte) if resolve(byte) => out.push(byte),
            Some(byte) => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            None => out.push(*first),
        }
        if escaped.is_some() {
            rest = tail.get(2..).unwrap_or_default();
        }
    }
    out
}
