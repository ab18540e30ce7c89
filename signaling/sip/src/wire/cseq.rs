//! CSeq (RFC 3261 §20.16).

use std::fmt;

use bytes::Bytes;

use super::lexer::Cursor;
use super::limits::CSEQ_MAX;
use super::{Method, ParseError};

/// Sequence number, below 2^31 (RFC 3261 §8.1.1.5), and method.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CSeq {
    pub number: u32,
    pub method: Method,
}

impl CSeq {
    /// Reads one value that fills `text`.
    pub fn parse(text: &Bytes) -> Result<Self, ParseError> {
        Self::read(Cursor::new("CSeq", text))
    }

    /// Reads a number and a method to the end of the value.
    pub(super) fn read(mut cursor: Cursor<'_>) -> Result<Self, ParseError> {
        cursor.blanks();
        let number = cursor.number(u64::from(CSEQ_MAX), "a number and a method")?;
        if !cursor.blanks() {
            return Err(cursor.fault("a space between number and method"));
        }
        let method = Method::from_bytes(cursor.token("a method after the number")?);
        cursor.finish("nothing after the method")?;
        // The bound of `number` is below u32::MAX.
        Ok(Self { number: u32::try_from(number).unwrap_or(CSEQ_MAX), method })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}
