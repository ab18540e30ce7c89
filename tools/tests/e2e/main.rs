//! The gateway as a user has it, between peers that nobody here wrote: SIPp on the insecure side, PJSIP,
//! baresip, ffmpeg and libsrtp on the secure side, tshark in between; and between attackers, with
//! rtpengine as the one on which their attacks succeed. `tools/test` installs them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic, in its helpers too"
)]

mod abuse;
mod actions;
mod baresip;
mod calls;
mod capture;
mod connected;
mod counters;
mod failures;
mod far;
mod ffmpeg;
mod fields;
mod foreign;
mod gateway;
mod health;
mod hostile;
mod hunting;
mod kamailio;
mod lines;
mod pbx;
mod races;
mod reach;
mod refusals;
mod registrar;
mod replaced;
mod routed;
mod rtpengine;
mod schema;
mod secrets;
mod siege;
mod sipp;
mod spray;
#[path = "../../../dataplane/src/io/stage.rs"]
mod stage;
mod statuses;
mod stored;
mod survival;
mod transfers;
mod trials;
mod wired;
mod workers;
