//! `control_loopback.rs` over the backend of frames; the rig goes by this binary's name.

#[path = "control_loopback.rs"]
mod control_loopback;
