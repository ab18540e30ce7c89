//! Tests of the crate from outside, in one binary: a table for each RFC, properties over generated
//! calls, a sweep of malformed input, and the text that we write.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, also in what its tests share"
)]

mod common;
mod legs;
mod malformed;
mod policy;
mod properties;
mod rfc3264;
mod rfc3605;
mod rfc4566;
mod rfc4568;
mod rfc5939;
mod secrets;
mod snapshots;
mod t38;
mod topology;
