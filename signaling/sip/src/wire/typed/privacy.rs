//! Privacy (RFC 3323 §4.2).

use bytes::Bytes;

use crate::wire::error::ParseError;
use crate::wire::lexer::Cursor;

/// The kinds of privacy that are asked for.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Privacy(Vec<Bytes>);

impl Privacy {
    /// Whether this kind is asked for, case ignored: `id`, `user`, `header`, `session`, `critical`.
    pub fn asks(&self, kind: &str) -> bool {
        self.0.iter().any(|one| one.eq_ignore_ascii_case(kind.as_bytes()))
    }

    /// Whether nothing is to be hidden, as `none` or an absent header says.
    pub fn is_none(&self) -> bool {
        self.0.is_empty() || self.asks("none")
    }

    /// Reads a line: semicolons separate, in the field commas do too.
    pub(super) fn add(&mut self, text: &Bytes) -> Result<(), ParseError> {
        let mut cursor = Cursor::new("Privacy", text);
        loop {
            cursor.blanks();
            self.0.push(cursor.token("a kind of privacy")?);
            cursor.blanks();
            if cursor.at_end() {
                return Ok(());
            }
            if !cursor.eat(b';') {
                cursor.expect(b',', "';' between kinds of privacy")?;
            }
        }
    }
}
