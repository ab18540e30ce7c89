//! What is wrong with a message, in the words an operator can act on, and the status to answer
//! with.

use std::fmt;

use super::StatusCode;

/// Why bytes are not an acceptable SIP message or value. Always the peer's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseError {
    field: &'static str,
    fault: Fault,
    answerable: bool,
}

/// What kind of defect it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing but line ends: a keep-alive, no message.
    Empty,
    /// A mandatory header is absent.
    Missing,
    /// A header that may stand once stands twice.
    Repeated,
    /// The grammar is violated; the text says what was expected.
    Syntax(&'static str),
    /// More than so many bytes.
    TooLong(usize),
    /// More than so many elements.
    TooMany(usize),
    /// A number outside its range.
    OutOfRange,
    /// The body is shorter than Content-Length says, or the head does not end.
    Truncated,
    /// Not SIP/2.0.
    Version,
    /// The CSeq method is not the method of the start line.
    Mismatch,
}

impl ParseError {
    /// A defect of the part called `field`.
    pub const fn new(field: &'static str, fault: Fault) -> Self {
        Self { field, fault, answerable: true }
    }

    /// The part of the message that is wrong: a header name, or `start line`, `message`, ...
    pub const fn field(&self) -> &'static str {
        self.field
    }

    pub const fn fault(&self) -> Fault {
        self.fault
    }

    /// The same defect in a response: nobody can be answered (RFC 3261 §8.1.3 discards it).
    pub const fn of_response(self) -> Self {
        Self { answerable: false, ..self }
    }

    /// The status to answer with when the message was a request and can be answered.
    pub fn status(&self) -> Option<StatusCode> {
        let status = match (self.fault, self.field) {
            _ if !self.answerable => return None,
            (Fault::Empty, _) => return None,
            (Fault::Version, _) => StatusCode::VERSION_NOT_SUPPORTED,
            (Fault::TooLong(_), "Request-URI") => StatusCode::REQUEST_URI_TOO_LONG,
            (Fault::TooLong(_), "message" | "head") => StatusCode::MESSAGE_TOO_LARGE,
            (Fault::TooLong(_), "Content-Length") => StatusCode::REQUEST_ENTITY_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Some(status)
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field;
        match self.fault {
            Fault::Empty => write!(f, "{field} is empty: it holds only line ends"),
            Fault::Missing => write!(f, "{field} is missing; the peer must send it"),
            Fault::Repeated => write!(f, "{field} stands more than once; the peer must send one"),
            Fault::Syntax(expected) => write!(f, "{field} is malformed: expected {expected}"),
            Fault::TooLong(limit) => {
                write!(f, "{field} is longer than the limit of {limit} bytes; shorten it")
            }
            Fault::TooMany(limit) => {
                write!(f, "{field} has more than the limit of {limit} elements; send fewer")
            }
            Fault::OutOfRange => write!(f, "{field} is no number in the allowed range"),
            Fault::Truncated => write!(f, "{field} ends early; the peer must send all of it"),
            Fault::Version => write!(f, "{field} is not of version SIP/2.0, the only one spoken"),
            Fault::Mismatch => {
                write!(f, "{field} names another method than the start line; they must agree")
            }
        }
    }
}

impl std::error::Error for ParseError {}
