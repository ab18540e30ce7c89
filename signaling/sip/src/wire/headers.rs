//! The header fields of a message, in order, and their typed readers.

use std::fmt;

use bytes::Bytes;

use super::error::{Fault, ParseError};
use super::lexer::{self, Cursor};
use super::limits::{CALL_ID_BYTES_MAX, CONTENT_BYTES_MAX, LIST_MAX, VIA_MAX};
use super::{CSeq, HeaderName, NameAddr, Params, Uri, Via, chars};

/// Ordered header fields.
///
/// A value never holds CR, LF or NUL: folds are joined when parsed, and whatever enters through
/// `push`, `push_front` or `set` has each of them replaced by a space. A name that is no token is
/// written as `_`. So no value can add a line to a message.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(HeaderName, Bytes)>);

impl Headers {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a field at the end. CR, LF and NUL in the value become spaces.
    pub fn push(&mut self, name: HeaderName, value: impl Into<Bytes>) {
        self.0.push(field(name, value.into()));
    }

    /// `push` at the beginning: a Via, a Record-Route.
    pub fn push_front(&mut self, name: HeaderName, value: impl Into<Bytes>) {
        self.0.insert(0, field(name, value.into()));
    }

    /// Replaces all fields of this name by one, in the place of the first, else at the end.
    pub fn set(&mut self, name: HeaderName, value: impl Into<Bytes>) {
        let at = self.0.iter().position(|(n, _)| *n == name).unwrap_or(self.0.len());
        self.remove(&name);
        self.0.insert(at, field(name, value.into()));
    }

    /// Removes all fields of this name; true when there was one.
    pub fn remove(&mut self, name: &HeaderName) -> bool {
        let before = self.0.len();
        self.0.retain(|(n, _)| n != name);
        self.0.len() != before
    }

    /// The first value of this name, unparsed.
    pub fn get(&self, name: &HeaderName) -> Option<&Bytes> {
        self.all(name).next()
    }

    /// All values of this name, one per line, unparsed.
    pub fn all(&self, name: &HeaderName) -> impl Iterator<Item = &Bytes> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &Bytes)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The elements of a comma-separated header over all its lines, trimmed, in order, without
    /// empty ones. Not for headers whose text may hold a plain comma (Date, Subject, Warning text).
    pub fn list(&self, name: &HeaderName) -> Result<Vec<Bytes>, ParseError> {
        let mut all = self.elements(name)?;
        all.retain(|element| !element.is_empty());
        Ok(all)
    }

    /// True when `token` stands in the comma-separated header `name` (Supported, Require, Allow,
    /// ...), case ignored. A malformed header holds no token.
    pub fn has_token(&self, name: &HeaderName, token: &str) -> bool {
        let list = self.list(name).unwrap_or_default();
        list.iter().any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The top Via.
    pub fn via(&self) -> Result<Via, ParseError> {
        let line = self.get(&HeaderName::Via).ok_or(missing("Via"))?;
        Via::parse(&lexer::split_first("Via", line)?.0)
    }

    /// All Via values, top first.
    pub fn vias(&self) -> Result<Vec<Via>, ParseError> {
        let values = self.elements(&HeaderName::Via)?;
        if values.len() > VIA_MAX {
            return Err(ParseError::new("Via", Fault::TooMany(VIA_MAX)));
        }
        values.iter().map(Via::parse).collect()
    }

    /// Removes the top Via value and returns it; others joined to it on one line stay.
    pub fn pop_via(&mut self) -> Result<Via, ParseError> {
        let (at, top, tail) = self.top_via()?;
        match (tail, self.0.get_mut(at)) {
            (Some(tail), Some((_, line))) => *line = chars::trim(&tail),
            _ => drop(self.0.remove(at)),
        }
        Ok(top)
    }

    /// Replaces the top Via value; others joined to it on one line stay.
    pub fn set_top_via(&mut self, via: &Via) -> Result<(), ParseError> {
        let (at, _, tail) = self.top_via()?;
        let mut value = via.to_bytes().to_vec();
        if let Some(tail) = tail {
            value.extend_from_slice(b", ");
            value.extend_from_slice(&chars::trim(&tail));
        }
        if let Some(line) = self.0.get_mut(at) {
            *line = field(HeaderName::Via, value.into());
        }
        Ok(())
    }

    pub fn from(&self) -> Result<NameAddr, ParseError> {
        self.one_name_addr(&HeaderName::From, "From")
    }

    pub fn to(&self) -> Result<NameAddr, ParseError> {
        self.one_name_addr(&HeaderName::To, "To")
    }

    /// RFC 3261 §20.8; opaque, compared by its bytes.
    pub fn call_id(&self) -> Result<Bytes, ParseError> {
        let value = self.one(&HeaderName::CallId, "Call-ID")?.ok_or(missing("Call-ID"))?;
        if value.len() > CALL_ID_BYTES_MAX {
            return Err(ParseError::new("Call-ID", Fault::TooLong(CALL_ID_BYTES_MAX)));
        }
        if value.is_empty() || !value.iter().all(u8::is_ascii_graphic) {
            return Err(ParseError::new("Call-ID", Fault::Syntax("one word without blanks")));
        }
        Ok(value.clone())
    }

    pub fn cseq(&self) -> Result<CSeq, ParseError> {
        CSeq::parse(self.one(&HeaderName::CSeq, "CSeq")?.ok_or(missing("CSeq"))?)
    }

    /// All name-addr values of a list header (Contact, Route, P-Asserted-Identity, Diversion, ...).
    /// The `*` of a Contact is `Uri::Other("*")`.
    pub fn name_addrs(&self, name: &HeaderName) -> Result<Vec<NameAddr>, ParseError> {
        let read = |value: &Bytes| {
            if value == "*" && *name == HeaderName::Contact {
                return Ok(NameAddr::new(Uri::Other(value.clone())));
            }
            NameAddr::parse_as(name.as_static(), value)
        };
        self.elements(name)?.iter().map(read).collect()
    }

    pub fn contacts(&self) -> Result<Vec<NameAddr>, ParseError> {
        self.name_addrs(&HeaderName::Contact)
    }

    pub fn route(&self) -> Result<Vec<NameAddr>, ParseError> {
        self.name_addrs(&HeaderName::Route)
    }

    pub fn record_route(&self) -> Result<Vec<NameAddr>, ParseError> {
        self.name_addrs(&HeaderName::RecordRoute)
    }

    /// 0 to 255 (RFC 3261 §20.22).
    pub fn max_forwards(&self) -> Result<Option<u8>, ParseError> {
        let hops = self.number(&HeaderName::MaxForwards, u64::from(u8::MAX))?;
        Ok(hops.and_then(|hops| u8::try_from(hops).ok()))
    }

    pub fn content_type(&self) -> Option<&Bytes> {
        self.get(&HeaderName::ContentType)
    }

    /// Bytes. Digits only, one line only: a length that two readers could read in two ways is
    /// refused (RFC 3261 §20.14).
    pub fn content_length(&self) -> Result<Option<usize>, ParseError> {
        let fault = |fault| ParseError::new("Content-Length", fault);
        let Some(value) = self.one(&HeaderName::ContentLength, "Content-Length")? else {
            return Ok(None);
        };
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(fault(Fault::Syntax("a number in digits")));
        }
        let length = chars::decimal(value).and_then(|length| usize::try_from(length).ok());
        match length {
            Some(length) if length <= CONTENT_BYTES_MAX => Ok(Some(length)),
            _ => Err(fault(Fault::TooLong(CONTENT_BYTES_MAX))),
        }
    }

    /// Seconds (RFC 3261 §20.19).
    pub fn expires(&self) -> Result<Option<u32>, ParseError> {
        self.number32(&HeaderName::Expires)
    }

    /// Seconds (RFC 3261 §20.23).
    pub fn min_expires(&self) -> Result<Option<u32>, ParseError> {
        self.number32(&HeaderName::MinExpires)
    }

    /// Seconds; comment and parameters ignored (RFC 3261 §20.33).
    pub fn retry_after(&self) -> Result<Option<u32>, ParseError> {
        let Some(value) = self.one(&HeaderName::RetryAfter, "Retry-After")? else {
            return Ok(None);
        };
        let mut cursor = Cursor::new("Retry-After", value);
        read_u32(&mut cursor).map(Some)
    }

    /// Seconds and parameters, `refresher` among them (RFC 4028 §4).
    pub fn session_expires(&self) -> Result<Option<(u32, Params)>, ParseError> {
        self.seconds_and_params(&HeaderName::SessionExpires)
    }

    /// Seconds (RFC 4028 §5).
    pub fn min_se(&self) -> Result<Option<u32>, ParseError> {
        Ok(self.seconds_and_params(&HeaderName::MinSe)?.map(|(seconds, _)| seconds))
    }

    /// RFC 3262 §7.1
    pub fn rseq(&self) -> Result<Option<u32>, ParseError> {
        self.number32(&HeaderName::RSeq)
    }

    /// RSeq number and CSeq of the response that a PRACK acknowledges (RFC 3262 §7.2).
    pub fn rack(&self) -> Result<Option<(u32, CSeq)>, ParseError> {
        let Some(value) = self.one(&HeaderName::RAck, "RAck")? else { return Ok(None) };
        let mut cursor = Cursor::new("RAck", value);
        let number = read_u32(&mut cursor)?;
        Ok(Some((number, CSeq::read(cursor)?)))
    }

    /// The value of a header that may stand once.
    pub(super) fn one(
        &self,
        name: &HeaderName,
        text: &'static str,
    ) -> Result<Option<&Bytes>, ParseError> {
        let mut lines = self.all(name);
        let first = lines.next();
        match lines.next() {
            Some(_) => Err(ParseError::new(text, Fault::Repeated)),
            None => Ok(first),
        }
    }

    /// Appends all fields but Content-Length.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in &self.0 {
            if *name == HeaderName::ContentLength {
                continue;
            }
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Octets of all fields as they are written.
    pub(super) fn written_len(&self) -> usize {
        let len = |(name, value): &(HeaderName, Bytes)| name.as_str().len() + value.len() + 4;
        self.0.iter().map(len).sum()
    }

    /// A copy of the fields with these names, in their order.
    pub(crate) fn only(&self, names: &[HeaderName]) -> Self {
        let wanted = self.0.iter().filter(|(name, _)| names.contains(name));
        let mut only = Self::with_capacity(names.len());
        only.0.extend(wanted.cloned());
        only
    }

    /// Leaves the fields that are wanted alone, without room to spare: for what outlives its message.
    pub(crate) fn keep(&mut self, wanted: impl Fn(&HeaderName) -> bool) {
        self.0.retain(|(name, _)| wanted(name));
        self.0.shrink_to_fit();
    }

    /// Adds a parsed field, whose value is trimmed.
    pub(super) fn push_parsed(&mut self, name: HeaderName, value: Bytes) {
        self.0.push((name, chars::one_line(value)));
    }

    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    pub(super) fn elements(&self, name: &HeaderName) -> Result<Vec<Bytes>, ParseError> {
        let field = name.as_static();
        let mut all = Vec::new();
        for line in self.all(name) {
            all.append(&mut lexer::elements(field, line)?);
            if all.len() > LIST_MAX {
                return Err(ParseError::new(field, Fault::TooMany(LIST_MAX)));
            }
        }
        Ok(all)
    }

    /// Line number, value, and the values joined behind it.
    fn top_via(&self) -> Result<(usize, Via, Option<Bytes>), ParseError> {
        let mut lines = self.0.iter().enumerate();
        let top = lines.find(|(_, (name, _))| *name == HeaderName::Via);
        let (at, (_, line)) = top.ok_or(missing("Via"))?;
        let (value, tail) = lexer::split_first("Via", line)?;
        Ok((at, Via::parse(&value)?, tail))
    }

    fn one_name_addr(&self, name: &HeaderName, text: &'static str) -> Result<NameAddr, ParseError> {
        NameAddr::parse_as(text, self.one(name, text)?.ok_or(missing(text))?)
    }

    fn number(&self, name: &HeaderName, max: u64) -> Result<Option<u64>, ParseError> {
        let text = name.as_static();
        let Some(value) = self.one(name, text)? else { return Ok(None) };
        let mut cursor = Cursor::new(text, value);
        let number = cursor.number(max, "a number in digits")?;
        cursor.finish("nothing after the number")?;
        Ok(Some(number))
    }

    fn number32(&self, name: &HeaderName) -> Result<Option<u32>, ParseError> {
        let number = self.number(name, u64::from(u32::MAX))?;
        Ok(number.and_then(|number| u32::try_from(number).ok()))
    }

    fn seconds_and_params(&self, name: &HeaderName) -> Result<Option<(u32, Params)>, ParseError> {
        let text = name.as_static();
        let Some(value) = self.one(name, text)? else { return Ok(None) };
        let mut cursor = Cursor::new(text, value);
        let seconds = read_u32(&mut cursor)?;
        Ok(Some((seconds, Params::read(&mut cursor)?)))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in self.iter() {
            if name.is_secret() {
                map.entry(&name.as_str(), &"(redacted)");
            } else {
                map.entry(&name.as_str(), value);
            }
        }
        map.finish()
    }
}

fn read_u32(cursor: &mut Cursor<'_>) -> Result<u32, ParseError> {
    cursor.blanks();
    let number = cursor.number(u64::from(u32::MAX), "a number in digits")?;
    u32::try_from(number).map_err(|_| cursor.error(Fault::OutOfRange))
}

/// A field as it may be kept: known names as variants, the value on one line without outer blanks.
fn field(name: HeaderName, value: Bytes) -> (HeaderName, Bytes) {
    let name = match name {
        HeaderName::Other(text) => HeaderName::from_bytes(text),
        known => known,
    };
    (name, chars::trim(&chars::one_line(value)))
}

const fn missing(name: &'static str) -> ParseError {
    ParseError::new(name, Fault::Missing)
}
