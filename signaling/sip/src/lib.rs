//! Sans-IO SIP: wire, transactions, dialogs, digest, endpoint.
//!
//! Nothing here reads a clock, opens a socket, starts a thread or draws a random number: time and
//! seeds are arguments, bytes come in, bytes and events go out. `clippy.toml` bans the rest.

#![forbid(unsafe_code)]

pub mod dialog;
pub mod digest;
pub mod endpoint;
pub mod transaction;
pub mod wire;
