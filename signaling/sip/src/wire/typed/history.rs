//! History-Info (RFC 7044 §5).

use crate::wire::NameAddr;
use crate::wire::chars;
use crate::wire::error::{Fault, ParseError};

/// One address that a request was sent to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryEntry {
    pub address: NameAddr,
    /// Its place: each number counts one hop's branches. The most hops that a request can take are
    /// its limit.
    pub index: Vec<u32>,
}

impl HistoryEntry {
    pub(super) fn of(address: NameAddr) -> Result<Self, ParseError> {
        let wrong = ParseError::new("History-Info", Fault::Syntax("index of numbers and dots"));
        let text = address.params.get("index").ok_or(wrong)?;
        let number = |digits: &[u8]| {
            let number = chars::decimal(digits).and_then(|n| u32::try_from(n).ok());
            number.ok_or(wrong)
        };
        let index = text.split(|b| *b == b'.').map(number).collect::<Result<Vec<_>, _>>()?;
        if index.len() > HOPS_MAX {
            return Err(ParseError::new("History-Info", Fault::TooMany(HOPS_MAX)));
        }
        Ok(Self { address, index })
    }
}

/// Max-Forwards is one byte (RFC 3261 §20.22).
const HOPS_MAX: usize = 255;
