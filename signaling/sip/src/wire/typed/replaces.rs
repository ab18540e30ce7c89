//! Replaces (RFC 3891 §6.1).

use std::fmt;

use bytes::Bytes;

use crate::wire::chars;
use crate::wire::error::ParseError;
use crate::wire::lexer::Cursor;
use crate::wire::{Params, limits};

/// A dialog as its other end names it: `to_tag` is the tag of whoever receives this.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replaces {
    pub call_id: Bytes,
    pub to_tag: Bytes,
    pub from_tag: Bytes,
    /// An answered call is not to be taken over.
    pub early_only: bool,
}

impl Replaces {
    /// Reads one value that fills `text`.
    pub fn parse(text: &Bytes) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new("Replaces", text);
        cursor.blanks();
        let call_id = cursor.take_while(|b| b.is_ascii_graphic() && b != b';' && b != b',');
        if call_id.is_empty() || call_id.len() > limits::CALL_ID_BYTES_MAX {
            return Err(cursor.fault("a Call-ID"));
        }
        let lacking = cursor.fault("to-tag and from-tag, each once");
        let params = Params::read(&mut cursor)?;
        let tag = |name| params.get(name).filter(|tag| !tag.is_empty()).cloned().ok_or(lacking);
        let (to_tag, from_tag) = (tag("to-tag")?, tag("from-tag")?);
        Ok(Self { call_id, to_tag, from_tag, early_only: params.has("early-only") })
    }

    fn write(&self, out: &mut Vec<u8>) {
        chars::write_kept(out, &self.call_id, |b| b.is_ascii_graphic() && b != b';' && b != b',');
        let mut params = Params::new();
        params.set("to-tag", self.to_tag.clone());
        params.set("from-tag", self.from_tag.clone());
        if self.early_only {
            params.set_flag("early-only");
        }
        params.write(out);
    }
}

impl fmt::Display for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        chars::display(|out| self.write(out), f)
    }
}
