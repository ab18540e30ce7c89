//! Subscription-State (RFC 6665 §8.2.3).

use bytes::Bytes;

use crate::wire::Params;
use crate::wire::chars;
use crate::wire::error::{Fault, ParseError};
use crate::wire::lexer::Cursor;

/// Where a subscription stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubscriptionState {
    /// `active`, `pending`, `terminated`, or what an extension calls it.
    pub state: Bytes,
    pub reason: Option<Bytes>,
    /// Seconds that are left.
    pub expires: Option<u32>,
    /// Seconds to wait before the next one.
    pub retry_after: Option<u32>,
}

impl SubscriptionState {
    /// Reads one value that fills `text`.
    pub fn parse(text: &Bytes) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new("Subscription-State", text);
        cursor.blanks();
        let state = cursor.token("a state")?;
        let range = cursor.error(Fault::OutOfRange);
        let params = Params::read(&mut cursor)?;
        let number = |digits: &Bytes| {
            let number = chars::decimal(digits).and_then(|n| u32::try_from(n).ok());
            number.ok_or(range)
        };
        Ok(Self {
            state,
            reason: params.get("reason").cloned(),
            expires: params.get("expires").map(number).transpose()?,
            retry_after: params.get("retry-after").map(number).transpose()?,
        })
    }

    /// Nothing more will come.
    pub fn is_terminated(&self) -> bool {
        self.state.eq_ignore_ascii_case(b"terminated")
    }
}
