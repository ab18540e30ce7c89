//! The lexer: a cursor over one header value that hands out slices of it, and the walk over comma
//! lists. It steps over quoted strings and `<>` in one way for all headers, so that two readers of
//! one value cannot disagree about where an element ends.

use bytes::Bytes;

use super::chars;
use super::error::{Fault, ParseError};
use super::limits::LIST_MAX;

/// A position in one value. `field` is the name that errors carry.
///
/// What is only looked at is given out as bytes that are borrowed, what is kept as a slice: each slice
/// counts a reference to the message.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    field: &'static str,
    text: &'a Bytes,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub const fn new(field: &'static str, text: &'a Bytes) -> Self {
        Self { field, text, at: 0 }
    }

    pub fn fault(&self, expected: &'static str) -> ParseError {
        ParseError::new(self.field, Fault::Syntax(expected))
    }

    pub fn error(&self, fault: Fault) -> ParseError {
        ParseError::new(self.field, fault)
    }

    pub const fn field(&self) -> &'static str {
        self.field
    }

    pub fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub fn at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    /// Steps over `byte` when it is next.
    pub fn eat(&mut self, byte: u8) -> bool {
        let hit = self.peek() == Some(byte);
        self.at += usize::from(hit);
        hit
    }

    /// Steps over `byte`, which must be next.
    pub fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), ParseError> {
        if self.eat(byte) { Ok(()) } else { Err(self.fault(expected)) }
    }

    /// Steps over blanks; true when there was one.
    pub fn blanks(&mut self) -> bool {
        !self.look_while(chars::is_blank).is_empty()
    }

    /// The longest run of bytes that `keep` accepts.
    pub fn take_while(&mut self, keep: impl FnMut(u8) -> bool) -> Bytes {
        let start = self.at;
        self.look_while(keep);
        self.text.slice(start..self.at)
    }

    /// `take_while` for what is not kept.
    pub fn look_while(&mut self, mut keep: impl FnMut(u8) -> bool) -> &'a [u8] {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let run = rest.iter().position(|b| !keep(*b)).unwrap_or(rest.len());
        self.at += run;
        rest.get(..run).unwrap_or_default()
    }

    /// What stands before the next `byte`, which must come.
    pub fn take_until(&mut self, byte: u8, expected: &'static str) -> Result<Bytes, ParseError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let run = memchr::memchr(byte, rest).ok_or_else(|| self.fault(expected))?;
        let start = self.at;
        self.at += run;
        Ok(self.text.slice(start..self.at))
    }

    /// Whether `byte` comes, and what stands before it.
    pub fn ahead_of(&self, byte: u8) -> Option<&'a [u8]> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        rest.get(..memchr::memchr(byte, rest)?)
    }

    /// A non-empty token.
    pub fn token(&mut self, expected: &'static str) -> Result<Bytes, ParseError> {
        let token = self.take_while(chars::is_token);
        if token.is_empty() { Err(self.fault(expected)) } else { Ok(token) }
    }

    /// `token` for what is not kept.
    pub fn look_token(&mut self, expected: &'static str) -> Result<&'a [u8], ParseError> {
        let token = self.look_while(chars::is_token);
        if token.is_empty() { Err(self.fault(expected)) } else { Ok(token) }
    }

    /// A decimal number in digits.
    pub fn number(&mut self, max: u64, expected: &'static str) -> Result<u64, ParseError> {
        let digits = self.look_while(|b| b.is_ascii_digit());
        if digits.is_empty() {
            return Err(self.fault(expected));
        }
        match chars::decimal(digits) {
            Some(number) if number <= max => Ok(number),
            _ => Err(self.error(Fault::OutOfRange)),
        }
    }

    /// A quoted string, whose opening quote is next, without quotes and escapes. Bytes above 127
    /// are taken as they are, whether or not they are UTF-8.
    pub fn quoted(&mut self) -> Result<Bytes, ParseError> {
        const CLOSED: &str = "a quoted string with its closing quote";
        self.expect(b'"', CLOSED)?;
        let start = self.at;
        let mut escapes = false;
        loop {
            match self.peek() {
                None => return Err(self.fault(CLOSED)),
                Some(b'"') => break,
                Some(b'\\') => {
                    escapes = true;
                    self.at += 2;
                }
                Some(byte) if chars::is_control(byte) => {
                    return Err(self.fault("no bare control character in a quoted string"));
                }
                Some(_) => self.at += 1,
            }
        }
        let inside = self.text.slice(start..self.at);
        self.at += 1;
        Ok(if escapes { unescape(&inside) } else { inside })
    }

    /// Ends the reading: nothing but blanks may be left.
    pub fn finish(mut self, expected: &'static str) -> Result<(), ParseError> {
        self.blanks();
        if self.at_end() { Ok(()) } else { Err(self.fault(expected)) }
    }
}

/// Removes the backslashes of quoted pairs.
fn unescape(text: &Bytes) -> Bytes {
    let mut quoted = false;
    let kept = text.iter().filter(|byte| {
        quoted = **byte == b'\\' && !quoted;
        !quoted
    });
    kept.copied().collect()
}

/// The elements of a comma list, trimmed and in order; empty ones are given out too. A comma inside
/// a quoted string or `<>` does not separate.
pub fn elements(field: &'static str, value: &Bytes) -> Result<Vec<Bytes>, ParseError> {
    let mut found = Vec::with_capacity(1);
    let mut rest = &value[..];
    loop {
        if found.len() >= LIST_MAX {
            return Err(ParseError::new(field, Fault::TooMany(LIST_MAX)));
        }
        let (element, tail) = split(field, rest)?;
        found.push(value.slice_ref(element));
        match tail {
            Some(tail) => rest = tail,
            None => return Ok(found),
        }
    }
}

/// The first element of a comma list, trimmed, and what stands after its comma.
pub fn split_first(
    field: &'static str,
    value: &Bytes,
) -> Result<(Bytes, Option<Bytes>), ParseError> {
    let (element, tail) = split(field, value)?;
    Ok((value.slice_ref(element), tail.map(|tail| value.slice_ref(tail))))
}

fn split<'a>(
    field: &'static str,
    value: &'a [u8],
) -> Result<(&'a [u8], Option<&'a [u8]>), ParseError> {
    let (head, tail) = match comma(field, value)? {
        Some(at) => (value.get(..at).unwrap_or_default(), value.get(at + 1..)),
        None => (value, None),
    };
    Ok((chars::trimmed(head), tail))
}

/// Where the first separating comma stands.
fn comma(field: &'static str, value: &[u8]) -> Result<Option<usize>, ParseError> {
    let syntax = |expected| ParseError::new(field, Fault::Syntax(expected));
    let rest = |at: usize| value.get(at..).unwrap_or_default();
    let mut at = 0;
    loop {
        let Some(found) = memchr::memchr3(b',', b'"', b'<', rest(at)) else { return Ok(None) };
        at += found;
        match value.get(at) {
            Some(b'<') => {
                let end = memchr::memchr(b'>', rest(at)).ok_or(syntax("'>' after '<'"))?;
                at += end + 1;
            }
            Some(b'"') => {
                let length = quoted_length(rest(at));
                at += length.ok_or(syntax("a quoted string with its closing quote"))?;
            }
            _ => return Ok(Some(at)),
        }
    }
}

/// Bytes of the quoted string that `text` begins with, quotes included.
fn quoted_length(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        let rest = text.get(at..)?;
        let found = memchr::memchr2(b'"', b'\\', rest)?;
        if rest.get(found) == Some(&b'"') {
            return Some(at + found + 1);
        }
        at += found + 2;
    }
}
