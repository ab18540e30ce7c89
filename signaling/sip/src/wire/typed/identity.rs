//! Identity (RFC 8224 §4).

use bytes::Bytes;

use crate::wire::error::ParseError;
use crate::wire::lexer::Cursor;

/// A signed proof of who calls. Nothing is verified here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The PASSporT: base64url parts with dots between them; the first two may be empty.
    pub token: Bytes,
    /// Where the certificate is.
    pub info: Bytes,
    pub alg: Option<Bytes>,
    /// `shaken`, `div`, ...
    pub ppt: Option<Bytes>,
}

impl Identity {
    /// Reads one value that fills `text`.
    pub fn parse(text: &Bytes) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new("Identity", text);
        cursor.blanks();
        let token = cursor.take_while(|b| b.is_ascii_alphanumeric() || b"-_.+/=".contains(&b));
        if token.is_empty() {
            return Err(cursor.fault("a signed token"));
        }
        let (mut info, mut alg, mut ppt) = (None, None, None);
        let mut unknown;
        cursor.blanks();
        while !cursor.at_end() {
            cursor.expect(b';', "';' before a parameter")?;
            cursor.blanks();
            let name = cursor.token("a parameter name after ';'")?.to_ascii_lowercase();
            cursor.blanks();
            cursor.expect(b'=', "'=' after a parameter name")?;
            cursor.blanks();
            let value = value(&mut cursor)?;
            let place = match name.as_slice() {
                b"info" => &mut info,
                b"alg" => &mut alg,
                b"ppt" => &mut ppt,
                _ => {
                    unknown = None;
                    &mut unknown
                }
            };
            if place.replace(value).is_some() {
                return Err(cursor.fault("each parameter name once"));
            }
            cursor.blanks();
        }
        let info = info.ok_or(cursor.fault("the parameter info"))?;
        Ok(Self { token, info, alg, ppt })
    }
}

/// The value of a parameter: here a URI in brackets as well.
fn value(cursor: &mut Cursor<'_>) -> Result<Bytes, ParseError> {
    match cursor.peek() {
        Some(b'"') => cursor.quoted(),
        Some(b'<') => {
            cursor.expect(b'<', "'<'")?;
            let uri = cursor.take_while(|b| b != b'>');
            cursor.expect(b'>', "'>' after the URI")?;
            Ok(uri)
        }
        _ => cursor.token("a parameter value after '='"),
    }
}
