//! The lexer: a cursor over one header value that hands out slices of it, and the walk over comma
//! lists. It steps over quoted strings and `<>` in one way for all headers, so that two readers of
//! one value cannot disagree about where an element ends.

use bytes::Bytes;

use super::chars;
use super::error::{Fault, ParseError};
use super::limits::LIST_MAX;

/// A position in one value. `field` is the name that errors carry.
#[derive(Clone)]
pub struct Cursor {
    field: &'static str,
    text: Bytes,
    at: usize,
}

impl Cursor {
    pub fn new(field: &'static str, text: &Bytes) -> Self {
        Self { field, text: text.clone(), at: 0 }
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
        !self.take_while(chars::is_blank).is_empty()
    }

    /// The longest run of bytes that `keep` accepts.
    pub fn take_while(&mut self, mut keep: impl FnMut(u8) -> bool) -> Bytes {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let run = rest.iter().take_while(|b| keep(**b)).count();
        let start = self.at;
        self.at += run;
        self.text.slice(start..self.at)
    }

    /// A non-empty token.
    pub fn token(&mut self, expected: &'static str) -> Result<Bytes, ParseError> {
        let token = self.take_while(chars::is_token);
        if token.is_empty() { Err(self.fault(expected)) } else { Ok(token) }
    }

    /// A decimal number in digits.
    pub fn number(&mut self, max: u64, expected: &'static str) -> Result<u64, ParseError> {
        let digits = self.take_while(|b| b.is_ascii_digit());
        if digits.is_empty() {
            return Err(self.fault(expected));
        }
        match chars::decimal(&digits) {
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
    let mut rest = value.clone();
    loop {
        if found.len() >= LIST_MAX {
            return Err(ParseError::new(field, Fault::TooMany(LIST_MAX)));
        }
        let (element, tail) = split_first(field, &rest)?;
        found.push(element);
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
    let comma = comma(field, value)?;
    let (head, tail) = match comma {
        Some(at) => (value.slice(..at), Some(value.slice(at + 1..))),
        None => (value.clone(), None),
    };
    Ok((chars::trim(&head), tail))
}

/// Where the first separating comma stands.
fn comma(field: &'static str, value: &[u8]) -> Result<Option<usize>, ParseError> {
    let syntax = |expected| ParseError::new(field, Fault::Syntax(expected));
    let mut place = Place::Plain;
    for (at, byte) in value.iter().copied().enumerate() {
        place = match (place, byte) {
            (Place::Plain, b',') => return Ok(Some(at)),
            (Place::Plain, b'"') => Place::Quotes,
            (Place::Plain, b'<') => Place::Brackets,
            (Place::Quotes, b'\\') => Place::Escape,
            (Place::Quotes, b'"') | (Place::Brackets, b'>') => Place::Plain,
            (Place::Escape, _) => Place::Quotes,
            (place, _) => place,
        };
    }
    match place {
        Place::Plain => Ok(None),
        Place::Quotes | Place::Escape => Err(syntax("a quoted string with its closing quote")),
        Place::Brackets => Err(syntax("'>' after '<'")),
    }
}

#[derive(Clone, Copy)]
enum Place {
    Plain,
    Quotes,
    Escape,
    Brackets,
}
