//! SIP messages on the wire: bytes to typed messages and back.
//!
//! ```text
//! datagram ──────────────► parse ─► Message ─► to_bytes
//! byte transport ─► Framer ─┘         │
//!                                     └─ headers: slices of the received buffer, read when asked for
//! ```
//!
//! One lexer and one rule set serve both transports. A header value is a slice of what was received;
//! it is copied only where lines were folded. Unknown headers keep their name, value and place.
//!
//! What no value can do, whoever made it: hold CR, LF or NUL, add a header, or leave its place in a
//! URI, an address or a parameter. `Headers::push` replaces line breaks by spaces, the writers quote
//! or escape the rest. (Spaces, not an error, because a call must not fail for a peer's odd display
//! name; RFC 9110 §5.5 gives both choices.)
//!
//! # Deliberate deviations
//!
//! | section | asks or allows | here | why |
//! |---|---|---|---|
//! | RFC 3261 §7.3.1 | one Content-Length | an equal repetition is refused too | one rule, nothing to compare |
//! | RFC 3261 §7.5 | line ends before a start line are skipped on byte transports | on datagrams too | harmless, and seen |
//! | RFC 3261 §19.1.1, RFC 4475 §3.1.2.11 | headers in a Request-URI refused or ignored | refused | a peer must not write our headers |
//! | RFC 3261 §25.1 `Status-Line` | a space before the reason | may be absent with an empty reason (`SIP/2.0 200`) | seen in the field |
//! | RFC 3261 §25.1 `display-name` | tokens | also bare UTF-8 and `()@/&#=?$` | seen in the field; nothing there separates |
//! | RFC 3261 §25.1 `gen-value` | token, host or quoted | any visible ASCII but `" , ; < > \` | tags with `=` and `@` are seen; bare IPv6 is asked for by RFC 5118 §4.5 |
//! | RFC 3261 §25.1 `user` | `#` escaped | `#` accepted bare | service codes are dialled so |
//! | RFC 3261 §25.1 `hostname` | no `_` | accepted | internal names have it |
//! | RFC 3261 §25.1 `quoted-pair` | may quote NUL | a quoted NUL becomes a quoted space | no NUL is passed on; RFC 4475 §3.1.1.2 is still accepted |
//! | RFC 3261 §7.3.1 lists | no empty elements | skipped in token lists, refused in address lists | `Supported: timer,` is seen |
//! | RFC 3261 §20.10 | an address may be bare | written in `<>`, display names in quotes | one form, no ambiguity |
//! | RFC 3966 §5.1.5 | a local number needs `phone-context` | accepted without | seen in the field |
//! | RFC 4475 §3.1.2.12 | a bad Date may be refused | accepted | Date is not read |
//! | RFC 4475 §3.1.2.13 | a bad Contact is refused | by `contacts`, not by `parse` | headers are read when asked for |
//! | RFC 5626 §3.5.1 | CRLF is a pong, CRLFCRLF a ping | a ping gives `Pong`, then `Ping` | its first half cannot be told from a pong |

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
