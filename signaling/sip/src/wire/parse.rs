//! One message from its bytes. Both transports share this file: a datagram is a head and the rest,
//! a byte transport is cut by `Framer`, which reads heads here too.
//!
//! What is checked at once, so that nothing later works on a message whose identity is in doubt:
//! the start line, each header line, the framing, and the five headers that route a message (Via,
//! From, To, Call-ID, CSeq) with Max-Forwards. All other headers are read when they are asked for.

use bytes::Bytes;

use super::chars::{self, Controls};
use super::error::{Fault, ParseError};
use super::limits::{
    HEADER_BYTES_MAX, HEADERS_MAX, MESSAGE_BYTES_MAX, METHOD_BYTES_MAX, START_LINE_BYTES_MAX,
};
use super::{HeaderName, Headers, Message, Method, Request, Response, StatusCode, Uri};

/// Reads one datagram, or one message that was framed elsewhere.
///
/// Line ends before the start line are skipped (RFC 3261 §7.5). Without a Content-Length the body is
/// the rest; bytes beyond it are dropped; a body shorter than it is an error (RFC 3261 §18.3).
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
            Ok(Some(line)) if line.is_empty() => {}
            Ok(Some(line)) => break line,
            Ok(None) | Err(_) => return None,
        }
    };
    if first.starts_with(b"ACK ") || is_status_line(&first) {
        return None;
    }
    while let Ok(Some(line)) = lines.next_unfolded()
        && !line.is_empty()
        && response.headers.len() < HEADERS_MAX
    {
        let Ok((name, value)) = read_header(&line) else { continue };
        let copied = match name {
            HeaderName::Via => true,
            HeaderName::From | HeaderName::To | HeaderName::CallId | HeaderName::CSeq => {
                response.headers.get(&name).is_none()
            }
            _ => false,
        };
        if copied {
            response.headers.push(name, value);
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
                Some(line) if line.is_empty() => {}
                Some(line) => break line,
                None if raw.len() == lines.at => {
                    return Err(ParseError::new("message", Fault::Empty));
                }
                None => return Err(ParseError::new("head", Fault::Truncated)),
            }
        };
        let is_response = is_status_line(&first);
        let read = Self::read_rest(&first, is_response, &mut lines);
        let head = read.map_err(|error| if is_response { error.of_response() } else { error })?;
        Ok((head, raw.slice(lines.at..)))
    }

    fn read_rest(
        first: &Bytes,
        is_response: bool,
        lines: &mut Lines<'_>,
    ) -> Result<Self, ParseError> {
        let start = if is_response { read_status(first)? } else { read_request(first)? };
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
fn read_request(line: &Bytes) -> Result<StartLine, ParseError> {
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
    let uri = Uri::read("Request-URI", &line.slice_ref(uri))?;
    // RFC 3261 §19.1.1 forbids them here; to honour them would let the peer write our headers.
    if uri.as_sip().is_some_and(|uri| uri.headers.is_some()) {
        return Err(ParseError::new("Request-URI", Fault::Syntax("a URI without '?' headers")));
    }
    Ok(StartLine::Request(Method::from_bytes(line.slice_ref(method)), uri))
}

/// RFC 3261 §7.2; the space before an absent reason phrase may be absent too.
fn read_status(line: &Bytes) -> Result<StartLine, ParseError> {
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
    let reason = parts.next().map(|reason| line.slice_ref(reason)).unwrap_or_default();
    Ok(StartLine::Response(status, reason))
}

fn check_version(version: &[u8]) -> Result<(), ParseError> {
    if version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Ok(());
    }
    let fault = if is_status_line(version) { Fault::Version } else { Fault::Syntax("SIP/2.0 as the protocol") };
    Err(ParseError::new("start line", fault))
}

fn read_headers(lines: &mut Lines<'_>) -> Result<Headers, ParseError> {
    let mut headers = Headers::with_capacity(16);
    loop {
        let Some(line) = lines.next_unfolded()? else {
            return Err(ParseError::new("head", Fault::Truncated));
        };
        if line.is_empty() {
            return Ok(headers);
        }
        if headers.len() >= HEADERS_MAX {
            return Err(ParseError::new("headers", Fault::TooMany(HEADERS_MAX)));
        }
        let (name, value) = read_header(&line)?;
        headers.push(name, value);
    }
}

fn read_header(line: &Bytes) -> Result<(HeaderName, Bytes), ParseError> {
    let fault = |expected| ParseError::new("header line", Fault::Syntax(expected));
    let Some(colon) = memchr::memchr(b':', line) else {
        return Err(fault("'name: value'"));
    };
    let name = line.slice(..colon);
    let blanks = name.iter().rev().take_while(|b| chars::is_blank(**b)).count();
    let name = name.slice(..name.len() - blanks);
    if !chars::token(&name) {
        return Err(fault("a header name of token characters"));
    }
    Ok((HeaderName::from_bytes(name), line.slice(colon + 1..)))
}

/// The lines of a head. Only CRLF ends a line; a CR or LF alone is an error, because readers in the
/// field disagree about it and a header could hide in the difference.
struct Lines<'a> {
    raw: &'a Bytes,
    at: usize,
}

impl Lines<'_> {
    /// The next line without its CRLF; `None` when no line end is left.
    fn next(&mut self) -> Result<Option<Bytes>, ParseError> {
        let rest = self.raw.get(self.at..).unwrap_or_default();
        let Some(length) = memchr::memchr(b'\n', rest) else { return Ok(None) };
        let start = self.at;
        self.at += length + 1;
        let line = self.raw.slice(start..start + length);
        let bare = ParseError::new("line end", Fault::Syntax("CRLF, no CR or LF alone"));
        let (Some(b'\r'), line) = (line.last(), line.slice(..length.saturating_sub(1))) else {
            return Err(bare);
        };
        if line.len() > START_LINE_BYTES_MAX.max(HEADER_BYTES_MAX) {
            return Err(ParseError::new("header line", Fault::TooLong(HEADER_BYTES_MAX)));
        }
        match chars::controls(&line) {
            Controls::Bare if line.contains(&b'\r') => Err(bare),
            Controls::Bare => Err(ParseError::new(
                "header line",
                Fault::Syntax("no control character outside a quoted pair"),
            )),
            Controls::None | Controls::QuotedNul => Ok(Some(line)),
        }
    }

    /// The next line with its continuation lines joined by one space each (RFC 3261 §7.3.1).
    fn next_unfolded(&mut self) -> Result<Option<Bytes>, ParseError> {
        let Some(line) = self.next()? else { return Ok(None) };
        if line.is_empty() || !self.at_fold() {
            return Ok(Some(line));
        }
        let mut joined = chars::trim(&line).to_vec();
        while self.at_fold() {
            let Some(more) = self.next()? else { return Ok(None) };
            joined.push(b' ');
            joined.extend_from_slice(&chars::trim(&more));
            if joined.len() > HEADER_BYTES_MAX {
                return Err(ParseError::new("header line", Fault::TooLong(HEADER_BYTES_MAX)));
            }
        }
        Ok(Some(joined.into()))
    }

    fn at_fold(&self) -> bool {
        self.raw.get(self.at).copied().is_some_and(chars::is_blank)
    }
}
