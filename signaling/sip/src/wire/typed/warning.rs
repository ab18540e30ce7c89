//! Warning (RFC 3261 §20.43).

use bytes::Bytes;

use crate::wire::error::{Fault, ParseError};
use crate::wire::lexer::Cursor;

/// What else there is to say about a response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// Three digits.
    pub code: u16,
    /// Who says it: a host or a name.
    pub agent: Bytes,
    pub text: Bytes,
}

impl Warning {
    /// Reads one value that fills `text`.
    pub fn parse(text: &Bytes) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new("Warning", text);
        cursor.blanks();
        let code = cursor.number(999, "three digits")?;
        let code = u16::try_from(code).ok().filter(|code| *code >= 100);
        let code = code.ok_or(cursor.error(Fault::OutOfRange))?;
        cursor.blanks();
        let agent = cursor.take_while(|b| b.is_ascii_graphic() && b != b'"' && b != b',');
        if agent.is_empty() {
            return Err(cursor.fault("who warns"));
        }
        cursor.blanks();
        let text = cursor.quoted()?;
        cursor.finish("nothing after the text")?;
        Ok(Self { code, agent, text })
    }
}
