//! The endpoint from outside: hand-written peers, then two endpoints over a bad network.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what tests share fails loudly too; the lints exempt only the test functions"
)]

mod carry;
mod limits;
mod malformed;
mod network;
mod prack;
mod rfc5407;
mod rivals;
mod solo;
mod subscribe;
mod traces;
mod transport;
mod trunks;
mod uac;
mod uas;
mod widen;
