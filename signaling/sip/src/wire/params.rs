//! Parameters: ordered `name[=value]` pairs of a header value or a URI.

use bytes::Bytes;

use super::chars;
use super::error::{Fault, ParseError};
use super::lexer::Cursor;
use super::limits::PARAMS_MAX;

/// Ordered parameters. Names compare without regard to case. A quoted value is given out without
/// its quotes and escapes, and is quoted again when written.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Params(Vec<Param>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Param {
    name: Bytes,
    value: Option<Bytes>,
    quoted: bool,
}

impl Params {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The value of the first parameter called `name`. One without a value gives empty bytes.
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        static EMPTY: Bytes = Bytes::new();
        self.find(name).map(|param| param.value.as_ref().unwrap_or(&EMPTY))
    }

    /// True when the parameter is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Gives `name` this value, in its place when it was there, else at the end. An empty value
    /// makes it a parameter without a value.
    pub fn set(&mut self, name: &str, value: impl Into<Bytes>) {
        self.put(name, Some(value.into()), false);
    }

    /// `set` for a value that is written between quotes.
    pub fn set_quoted(&mut self, name: &str, value: impl Into<Bytes>) {
        self.put(name, Some(value.into()), true);
    }

    /// Adds `name` without a value.
    pub fn set_flag(&mut self, name: &str) {
        self.put(name, None, false);
    }

    /// Removes all parameters of this name; true when there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|param| !param.name.eq_ignore_ascii_case(name.as_bytes()));
        self.0.len() != before
    }

    /// All parameters in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, Option<&Bytes>)> {
        self.0.iter().map(|param| (&param.name, param.value.as_ref()))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads `*(SEMI generic-param)` to the end of the value (RFC 3261 §25.1).
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let mut params = Self::new();
        cursor.blanks();
        while !cursor.at_end() {
            cursor.expect(b';', "';' before a parameter")?;
            cursor.blanks();
            let name = cursor.token("a parameter name after ';'")?;
            cursor.blanks();
            let (value, quoted) = if cursor.eat(b'=') {
                cursor.blanks();
                let (value, quoted) = read_value(cursor)?;
                (Some(value), quoted)
            } else {
                (None, false)
            };
            params.add(cursor, Param { name, value, quoted })?;
            cursor.blanks();
        }
        Ok(params)
    }

    /// Reads `*(";" uri-parameter)` up to the `?` or the end of a URI (RFC 3261 §19.1.1).
    pub(super) fn read_uri(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let mut params = Self::new();
        while cursor.eat(b';') {
            let name = cursor.take_while(chars::is_uri_param);
            if name.is_empty() {
                return Err(cursor.fault("a URI parameter name after ';'"));
            }
            let value = cursor.eat(b'=').then(|| cursor.take_while(chars::is_uri_param));
            if value.as_ref().is_some_and(Bytes::is_empty) {
                return Err(cursor.fault("a value after '=' of a URI parameter"));
            }
            params.add(cursor, Param { name, value, quoted: false })?;
        }
        Ok(params)
    }

    /// Appends the parameters of a header value; what is no plain value is quoted.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for param in &self.0 {
            out.push(b';');
            chars::write_kept(out, &param.name, chars::is_token);
            let Some(value) = &param.value else { continue };
            out.push(b'=');
            if param.quoted || !value.iter().copied().all(chars::is_param_value) {
                chars::write_quoted(out, value);
            } else {
                out.extend_from_slice(value);
            }
        }
    }

    /// Appends the parameters of a URI; what would end a parameter is escaped.
    pub(super) fn write_uri(&self, out: &mut Vec<u8>) {
        for param in &self.0 {
            out.push(b';');
            chars::write_escaped(out, &param.name, chars::is_uri_param);
            if let Some(value) = &param.value {
                out.push(b'=');
                chars::write_escaped(out, value, chars::is_uri_param);
            }
        }
    }

    fn add(&mut self, cursor: &Cursor<'_>, param: Param) -> Result<(), ParseError> {
        if self.0.len() >= PARAMS_MAX {
            return Err(cursor.error(Fault::TooMany(PARAMS_MAX)));
        }
        // Two readers could pick different ones (RFC 3261 §7.3.1 and §19.1.1 forbid it).
        if self.0.iter().any(|p| p.name.eq_ignore_ascii_case(&param.name)) {
            return Err(cursor.fault("each parameter name once"));
        }
        self.0.push(param);
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&Param> {
        self.0.iter().find(|param| param.name.eq_ignore_ascii_case(name.as_bytes()))
    }

    fn put(&mut self, name: &str, value: Option<Bytes>, quoted: bool) {
        let value = value.filter(|value| quoted || !value.is_empty());
        let at = self.0.iter_mut().find(|p| p.name.eq_ignore_ascii_case(name.as_bytes()));
        match at {
            Some(param) => (param.value, param.quoted) = (value, quoted),
            None => {
                let name = Bytes::copy_from_slice(name.as_bytes());
                self.0.push(Param { name, value, quoted });
            }
        }
    }
}

fn read_value(cursor: &mut Cursor<'_>) -> Result<(Bytes, bool), ParseError> {
    if cursor.peek() == Some(b'"') {
        return Ok((cursor.quoted()?, true));
    }
    let value = cursor.take_while(chars::is_param_value);
    if value.is_empty() {
        Err(cursor.fault("a parameter value after '='"))
    } else {
        Ok((value, false))
    }
}
