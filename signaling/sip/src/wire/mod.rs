//! SIP messages on the wire: bytes to typed messages and back.

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
pub use uri::{SipUri, TelUri, Uri};
pub use via::Via;
