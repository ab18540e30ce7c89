//! SIP messages on the wire: bytes to typed messages and back.
//!
//! ```text
//! datagram ──────────────► parse ─► Message ─► to_bytes
//! byte transport ─► Framer ─┘         │
//!                                     └─ headers: slices of what was received, read on demand
//! ```
//!
//! One lexer and one rule set serve both transports. A header value is a slice of what was
//! received; it is copied only where lines were folded. Unknown headers keep their name, value and
//! place.
//!
//! What no value can do, whoever made it: hold CR, LF or NUL, add a header, or leave its place in a
//! URI, an address or a parameter. `Headers::push` replaces line breaks by spaces, the writers
//! quote or escape the rest. (Spaces, not an error, because a call must not fail for a peer's odd
//! display name; RFC 9110 §5.5 gives both choices.)
//!
//! Where this departs from an RFC on purpose stands in one table, in the README of the crate.

mod chars;
mod cseq;
mod error;
mod framer;
pub mod fuzz;
mod headers;
mod host;
mod lexer;
pub mod limits;
mod message;
mod method;
mod name;
mod name_addr;
mod params;
mod parse;
mod status;
mod typed;
mod uri;
mod via;

pub use cseq::CSeq;
pub use error::{Fault, ParseError};
pub use framer::{Frame, Framer};
pub use headers::Headers;
pub use host::Host;
pub use message::{Message, Request, Response};
pub use method::Method;
pub use name::HeaderName;
pub use name_addr::NameAddr;
pub use params::Params;
pub use parse::{parse, refusal};
pub use status::StatusCode;
pub use typed::{
    EventPackage, HistoryEntry, Identity, Privacy, Reason, Replaces, RetryAfter, SubscriptionState,
    Warning,
};
pub use uri::{SipUri, TelUri, Uri};
pub use via::Via;
