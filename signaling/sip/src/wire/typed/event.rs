//! Event (RFC 6665 §8.2.1).

use bytes::Bytes;

use crate::wire::Params;
use crate::wire::error::ParseError;
use crate::wire::lexer::Cursor;

/// What is subscribed to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventPackage {
    /// The package with its templates, `presence.winfo`; case matters (RFC 6665 §7.2).
    pub package: Bytes,
    /// Tells several subscriptions of one dialog apart.
    pub id: Option<Bytes>,
    /// All parameters, `id` among them.
    pub params: Params,
}

impl EventPackage {
    /// Reads one value that fills `text`.
    pub fn parse(text: &Bytes) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new("Event", text);
        cursor.blanks();
        let package = cursor.token("an event package")?;
        let params = Params::read(&mut cursor)?;
        Ok(Self { package, id: params.get("id").cloned(), params })
    }
}
