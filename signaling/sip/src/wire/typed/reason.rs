//! Reason (RFC 3326 §2).

use std::fmt;

use bytes::Bytes;

use crate::wire::Params;
use crate::wire::chars;
use crate::wire::error::{Fault, ParseError};
use crate::wire::lexer::Cursor;

/// Why, in the words of one protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reason {
    /// `SIP`, `Q.850`, ... as it was written.
    pub protocol: Bytes,
    /// Its code: a status, a Q.850 cause.
    pub cause: Option<u16>,
    pub text: Option<Bytes>,
    /// All parameters, those above among them.
    pub params: Params,
}

impl Reason {
    /// Reads one value that fills `text`.
    pub fn parse(text: &Bytes) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new("Reason", text);
        cursor.blanks();
        let protocol = cursor.token("a protocol")?;
        let range = cursor.error(Fault::OutOfRange);
        let params = Params::read(&mut cursor)?;
        let number = |digits: &Bytes| {
            let number = chars::decimal(digits).and_then(|n| u16::try_from(n).ok());
            number.ok_or(range)
        };
        let cause = params.get("cause").map(number).transpose()?;
        Ok(Self { protocol, cause, text: params.get("text").cloned(), params })
    }

    /// True for this protocol, case ignored.
    pub fn is_of(&self, protocol: &str) -> bool {
        self.protocol.eq_ignore_ascii_case(protocol.as_bytes())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(chars::token_text(&self.protocol))?;
        chars::display(|out| self.params.write(out), f)
    }
}
