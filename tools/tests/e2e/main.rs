//! The gateway as a user has it, between peers that nobody here wrote: SIPp on the insecure side,
//! PJSIP on the secure side, tshark in between. `tools/test` installs them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic, in its helpers too"
)]

mod calls;
mod capture;
mod failures;
mod gateway;
mod lines;
mod pbx;
mod refusals;
mod sipp;
mod survival;
