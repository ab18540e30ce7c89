//! `name-addr` and `addr-spec` with parameters: From, To, Contact, Route, Record-Route, Refer-To,
//! ...

use std::fmt;

use bytes::Bytes;

use super::chars;
use super::lexer::Cursor;
use super::{Params, ParseError, Uri};

/// RFC 3261 §20.10. Written always with `<>`, so that URI parameters and header parameters cannot
/// be confused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameAddr {
    /// Without quotes and escapes; written as a quoted string.
    pub display: Option<Bytes>,
    pub uri: Uri,
    /// Header parameters, those after `>`.
    pub params: Params,
}

impl NameAddr {
    pub fn new(uri: Uri) -> Self {
        Self { display: None, uri, params: Params::new() }
    }

    /// Reads one value that fills `text`.
    pub fn parse(text: &Bytes) -> Result<Self, ParseError> {
        Self::parse_as("name-addr", text)
    }

    pub(super) fn parse_as(field: &'static str, text: &Bytes) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new(field, text);
        cursor.blanks();
        let (display, uri) = if cursor.peek() == Some(b'"') {
            let display = cursor.quoted()?;
            cursor.blanks();
            (Some(display), read_bracketed(&mut cursor)?)
        } else if text.contains(&b'<') && !bare(text) {
            let display = chars::trim(&cursor.take_while(is_display));
            (Some(display).filter(|d| !d.is_empty()), read_bracketed(&mut cursor)?)
        } else {
            (None, read_bare(&mut cursor)?)
        };
        let params = Params::read(&mut cursor)?;
        Ok(Self { display, uri, params })
    }

    /// The value as bytes; `Display` shows the same text, but replaces what is not UTF-8.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(128);
        self.write(&mut out);
        out.into()
    }

    fn write(&self, out: &mut Vec<u8>) {
        if let Some(display) = &self.display {
            chars::write_quoted(out, display);
            out.push(b' ');
        }
        out.push(b'<');
        self.uri.write(out);
        out.push(b'>');
        self.params.write(out);
    }

    /// The `tag` of a From or To.
    pub fn tag(&self) -> Option<&Bytes> {
        self.params.get("tag").filter(|tag| !tag.is_empty())
    }

    /// The same address with this tag.
    #[must_use]
    pub fn with_tag(mut self, tag: impl Into<Bytes>) -> Self {
        self.params.set("tag", tag);
        self
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        chars::display(|out| self.write(out), f)
    }
}

/// True when the first `<` stands inside a parameter of a bare `addr-spec`, as in
/// `sip:a@b;x="<"`: then it opens no bracket.
fn bare(text: &[u8]) -> bool {
    let first = text.iter().copied().find(|b| b"<;".contains(b));
    first == Some(b';')
}

fn read_bracketed(cursor: &mut Cursor<'_>) -> Result<Uri, ParseError> {
    cursor.expect(b'<', "a display name of tokens or in quotes, then '<'")?;
    let uri = cursor.take_until(b'>', "'>' after the URI")?;
    cursor.eat(b'>');
    Uri::read(cursor.field(), &uri)
}

/// Outside brackets, `;` begins the header's own parameters, and a URI with `,` or `?` must be
/// bracketed (RFC 3261 §20.10).
fn read_bare(cursor: &mut Cursor<'_>) -> Result<Uri, ParseError> {
    let uri = cursor.take_while(|b| b != b';' && !chars::is_blank(b));
    if uri.iter().any(|b| b"?,".contains(b)) {
        return Err(cursor.fault("a URI with ',' or '?' in '<>'"));
    }
    Uri::read(cursor.field(), &uri)
}

/// Wider than the tokens and blanks of the grammar: phones and PBXes write `Bob (Sales)` and bare
/// UTF-8. Nothing that separates (comma, semicolon, quote) is among them.
fn is_display(byte: u8) -> bool {
    chars::is_token(byte)
        || chars::is_blank(byte)
        || !byte.is_ascii()
        || b"()@/&#=?$".contains(&byte)
}
