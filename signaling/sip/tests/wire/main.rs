//! The wire layer from outside: the RFCs' messages, hostile input, and a second parser's opinion.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's check functions fail loudly too; the lints exempt only #[test] functions"
)]

mod authentication;
mod differential;
mod framer;
mod injection;
mod limits;
mod malformed;
mod rfc4475;
mod rfc5118;
mod rivals;
mod seeds;
mod typed;
mod values;
