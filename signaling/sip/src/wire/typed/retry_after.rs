//! Retry-After (RFC 3261 §20.33).

use bytes::Bytes;

use crate::wire::Params;
use crate::wire::error::{Fault, ParseError};
use crate::wire::lexer::Cursor;

/// When to try again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetryAfter {
    pub seconds: u32,
    /// What stands between the parentheses.
    pub comment: Option<Bytes>,
    /// `duration` is for how many seconds it will work then.
    pub params: Params,
}

impl RetryAfter {
    /// Reads one value that fills `text`.
    pub fn parse(text: &Bytes) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new("Retry-After", text);
        cursor.blanks();
        let seconds = cursor.number(u64::from(u32::MAX), "a number in digits")?;
        let seconds = u32::try_from(seconds).map_err(|_| cursor.error(Fault::OutOfRange))?;
        cursor.blanks();
        let comment = match cursor.peek() {
            Some(b'(') => Some(comment(&mut cursor)?),
            _ => None,
        };
        Ok(Self { seconds, comment, params: Params::read(&mut cursor)? })
    }
}

/// Parentheses may nest, and a backslash takes the next byte as it is (RFC 3261 §25.1). What stands
/// inside is kept as it was written.
fn comment(cursor: &mut Cursor<'_>) -> Result<Bytes, ParseError> {
    let (mut depth, mut quoted) = (0_u32, false);
    let text = cursor.take_while(|byte| {
        let opens = byte == b'(' && !quoted;
        let closes = byte == b')' && !quoted;
        quoted = byte == b'\\' && !quoted;
        depth = depth.saturating_add(u32::from(opens)).saturating_sub(u32::from(closes));
        depth > 0
    });
    cursor.expect(b')', "a comment with its closing parenthesis")?;
    Ok(text.slice(1..))
}
