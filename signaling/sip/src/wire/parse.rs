//! One message from its bytes. Both transports share this file: a datagram is a head and the rest,
//! a byte transport is cut by `Framer`, which reads heads here too.
//!
//! What is checked at once, so that nothing later works on a message whose identity is in doubt:
//! the start line, each header line, the framing, and the five headers that route a message (Via,
//! From, To, Call-ID, CSeq) with Max-Forwards. All other headers are read when they are asked for.

use bytes::Bytes;

use super::chars::{self, Controls};
use super::error::{Fault, ParseError};
use super::limits::{HEADER_BYTES_MAX, HEADERS_MAX, MESSAGE_BYTES_MAX, METHOD_BYTES_MAX};
use super::{HeaderName, Headers, Message, Method, Request, Response, StatusCode, Uri};

/// Reads one datagram, or one message that was framed elsewhere.
///
/// Line ends before the start line are skipped (RFC 3261 §7.5). Without a Content-Length the body
/// is the rest; bytes beyond it are dropped; a body shorter than it is an error (RFC 3261 §18.3).
pub fn parse(raw: Bytes) -> Result<Message, ParseError> {
    if raw.len() > MESSAGE_BYTES_MAX {
        return Err(ParseError::new("message", Fault::TooLong(MESSAGE_BYTES_MAX)));
    }
    let (head, rest) = Head::read(&raw)?;
    let body = match head.content_length {
        None => rest,
        Some(length) if length <= rest.len() => rest.slice(..length),
        Some(_) => return Err(head.blame(ParseError::new("body", Fault::Truncated))),
    };
    Ok(head.with_body(body))
}

/// The answer to a request that `parse` refused, made of whatever of it can still be read. `None`
/// when there is nobody to answer: a response, an ACK (RFC 3261 §17.2.1), no usable Via.
///
/// Stateless and no longer than the request by more than a status line and a tag.
pub fn refusal(raw: &Bytes, error: &ParseError) -> Option<Response> {
    let mut response = Response::new(error.status()?);
    let mut lines = Lines { raw, at: 0 };
    let first = loop {
        match lines.next() {
            Ok(Some([])) => {}
            Ok(Some(line)) => break line,
            Ok(None) | Err(_) => return None,
        }
    };
    if first.starts_with(b"ACK ") || is_status_line(first) {
        return None;
    }
    while response.headers.len() < HEADERS_MAX {
        let (name, value) = match read_header(&mut lines) {
            Ok(Some(header)) => header,
            Err(error) if error.fault() != Fault::Truncated => continue,
            Ok(None) | Err(_) => break,
        };
        let once = matches!(
            name,
            HeaderName::From | HeaderName::To | HeaderName::CallId | HeaderName::CSeq
        );
        if name == HeaderName::Via || (once && response.headers.get(&name).is_none()) {
            response.headers.push_parsed(name, value);
        }
    }
    response.headers.via().ok()?;
    if response.headers.cseq().is_ok_and(|cseq| cseq.method == Method::Ack) {
        return None;
    }
    if let Some(to) = response.headers.to().ok().filter(|to| to.tag().is_none()) {
        response.headers.set(HeaderName::To, to.with_tag("refused").to_bytes());
    }
    Some(response)
}

/// A checked message without its body.
pub struct Head {
    start: StartLine,
    headers: Headers,
    pub content_length: Option<usize>,
}

enum StartLine {
    Request(Method, Uri),
    Response(StatusCode, Bytes),
}

impl Head {
    /// Reads a head; gives out too what stands behind its empty line.
    pub fn read(raw: &Bytes) -> Result<(Self, Bytes), ParseError> {
        let mut lines = Lines { raw, at: 0 };
        let first = loop {
            match lines.next()? {
                Some([]) => {}
                Some(line) => break line,
                None if raw.len() == lines.at => {
                    return Err(ParseError::new("message", Fault::Empty));
                }
                None => return Err(ParseError::new("head", Fault::Truncated)),
            }
        };
        let is_response = is_status_line(first);
        let read = Self::read_rest(first, is_response, &mut lines);
        let head = read.map_err(|error| if is_response { error.of_response() } else { error })?;
        Ok((head, raw.slice(lines.at..)))
    }

    fn read_rest(
        first: &[u8],
        is_response: bool,
        lines: &mut Lines<'_>,
    ) -> Result<Self, ParseError> {
        let raw = lines.raw;
        let start = if is_response { read_status(raw, first)? } else { read_request(raw, first)? };
        let headers = read_headers(lines)?;
        let content_length = headers.content_length()?;
        let head = Self { start, headers, content_length };
        head.check()?;
        Ok(head)
    }

    pub fn with_body(self, body: Bytes) -> Message {
        let headers = self.headers;
        match self.start {
            StartLine::Request(method, uri) => {
                Message::Request(Request { method, uri, headers, body })
            }
            StartLine::Response(status, reason) => {
                Message::Response(Response { status, reason, headers, body })
            }
        }
    }

    /// Marks an error as nobody's to answer when the message is a response.
    pub fn blame(&self, error: ParseError) -> ParseError {
        match self.start {
            StartLine::Request(..) => error,
            StartLine::Response(..) => error.of_response(),
        }
    }

    /// The headers without which no message can be handled (RFC 3261 §8.1.1, §20).
    fn check(&self) -> Result<(), ParseError> {
        self.headers.via()?;
        self.headers.from()?;
        self.headers.to()?;
        self.headers.call_id()?;
        let cseq = self.headers.cseq()?;
        self.headers.max_forwards()?;
        self.headers.one(&HeaderName::ContentType, "Content-Type")?;
        match &self.start {
            StartLine::Request(method, _) if *method != cseq.method => {
                Err(ParseError::new("CSeq", Fault::Mismatch))
            }
            _ => Ok(()),
        }
    }
}

fn is_status_line(line: &[u8]) -> bool {
    line.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"SIP/"))
}

/// RFC 3261 §7.1: one space between the parts.
fn read_request(raw: &Bytes, line: &[u8]) -> Result<StartLine, ParseError> {
    let fault = |expected| ParseError::new("start line", Fault::Syntax(expected));
    let mut parts = line.split(|b| *b == b' ');
    let (Some(method), Some(uri), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(fault("METHOD URI SIP/2.0 with one space between"));
    };
    if !chars::token(method) {
        return Err(fault("a method name of token characters"));
    }
    if method.len() > METHOD_BYTES_MAX {
        return Err(ParseError::new("method", Fault::TooLong(METHOD_BYTES_MAX)));
    }
    check_version(version)?;
    let uri = Uri::read("Request-URI", &raw.slice_ref(uri))?;
    // RFC 3261 §19.1.1 forbids them here; to honour them would let the peer write our headers.
    if uri.as_sip().is_some_and(|uri| uri.headers.is_some()) {
        return Err(ParseError::new("Request-URI", Fault::Syntax("a URI without '?' headers")));
    }
    Ok(StartLine::Request(Method::from_bytes(raw.slice_ref(method)), uri))
}

/// RFC 3261 §7.2; the space before an absent reason phrase may be absent too.
fn read_status(raw: &Bytes, line: &[u8]) -> Result<StartLine, ParseError> {
    let fault = |expected| ParseError::new("start line", Fault::Syntax(expected));
    let mut parts = line.splitn(3, |b| *b == b' ');
    check_version(parts.next().unwrap_or_default())?;
    let code = parts.next().unwrap_or_default();
    if code.is_empty() || !code.iter().all(u8::is_ascii_digit) {
        return Err(fault("SIP/2.0 CODE REASON"));
    }
    let code = Some(code).filter(|code| code.len() == 3).and_then(chars::decimal);
    let status = code.and_then(|code| StatusCode::new(u16::try_from(code).ok()?));
    let Some(status) = status else {
        return Err(ParseError::new("status code", Fault::OutOfRange));
    };
    let reason = parts.next().map(|reason| raw.slice_ref(reason)).unwrap_or_default();
    Ok(StartLine::Response(status, reason))
}

fn check_version(version: &[u8]) -> Result<(), ParseError> {
    if version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Ok(());
    }
    let fault = if is_status_line(version) {
        Fault::Version
    } else {
        Fault::Syntax("SIP/2.0 as the protocol")
    };
    Err(ParseError::new("start line", fault))
}

fn read_headers(lines: &mut Lines<'_>) -> Result<Headers, ParseError> {
    let mut headers = Headers::with_capacity(HEADERS_USUAL);
    while let Some((name, value)) = read_header(lines)? {
        if headers.len() >= HEADERS_MAX {
            return Err(ParseError::new("headers", Fault::TooMany(HEADERS_MAX)));
        }
        headers.push_parsed(name, value);
    }
    Ok(headers)
}

/// The next header; `None` at the empty line.
fn read_header(lines: &mut Lines<'_>) -> Result<Option<(HeaderName, Bytes)>, ParseError> {
    let fault = |expected| ParseError::new("header line", Fault::Syntax(expected));
    let Some(line) = lines.next()? else {
        return Err(ParseError::new("head", Fault::Truncated));
    };
    if line.is_empty() {
        return Ok(None);
    }
    // Blanks, but no fold may stand before the colon (RFC 3261 §25.1 HCOLON).
    let colon = memchr::memchr(b':', line).ok_or_else(|| fault("'name: value'"))?;
    let (name, value) = line.split_at_checked(colon).unwrap_or_default();
    let name = chars::trimmed_end(name);
    if !chars::token(name) {
        return Err(fault("a header name of token characters"));
    }
    let name =
        HeaderName::known(name).unwrap_or_else(|| HeaderName::Other(lines.raw.slice_ref(name)));
    let value = chars::trimmed(value.get(1..).unwrap_or_default());
    let value = if lines.at_fold() {
        lines.unfold(line.len(), value)?.into()
    } else {
        lines.raw.slice_ref(value)
    };
    Ok(Some((name, value)))
}

/// The lines of a head. Only CRLF ends a line; a CR or LF alone is an error, because readers in the
/// field disagree about it and a header could hide in the difference.
struct Lines<'a> {
    raw: &'a Bytes,
    at: usize,
}

impl<'a> Lines<'a> {
    /// The next line without its CRLF; `None` when no line end is left.
    fn next(&mut self) -> Result<Option<&'a [u8]>, ParseError> {
        let rest = self.raw.get(self.at..).unwrap_or_default();
        let Some(length) = memchr::memchr(b'\n', rest) else { return Ok(None) };
        self.at += length + 1;
        let bare = ParseError::new("line end", Fault::Syntax("CRLF, no CR or LF alone"));
        let Some((b'\r', line)) = rest.get(..length).and_then(<[u8]>::split_last) else {
            return Err(bare);
        };
        if line.len() > HEADER_BYTES_MAX {
            return Err(ParseError::new("line", Fault::TooLong(HEADER_BYTES_MAX)));
        }
        match chars::controls(line) {
            Controls::Bare if line.contains(&b'\r') => Err(bare),
            Controls::Bare => Err(ParseError::new(
                "line",
                Fault::Syntax("no control character outside a quoted pair"),
            )),
            Controls::None | Controls::QuotedNul => Ok(Some(line)),
        }
    }

    /// Joins the continuation lines of a header to its value, with one space each
    /// (RFC 3261 §7.3.1). `length` is that of the header so far.
    fn unfold(&mut self, mut length: usize, value: &[u8]) -> Result<Vec<u8>, ParseError> {
        let mut joined = value.to_vec();
        while self.at_fold() {
            let Some(more) = self.next()? else {
                return Err(ParseError::new("head", Fault::Truncated));
            };
            length += more.len();
            if length > HEADER_BYTES_MAX {
                return Err(ParseError::new("line", Fault::TooLong(HEADER_BYTES_MAX)));
            }
            let more = chars::trimmed(more);
            if !joined.is_empty() && !more.is_empty() {
                joined.push(b' ');
            }
            joined.extend_from_slice(more);
        }
        Ok(joined)
    }

    fn at_fold(&self) -> bool {
        self.raw.get(self.at).copied().is_some_and(chars::is_blank)
    }
}

/// Headers of a usual INVITE, so that reading them allocates once.
const HEADERS_USUAL: usize = 24;
