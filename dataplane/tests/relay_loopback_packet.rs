//! `relay_loopback.rs` over the backend of frames; the rig goes by this binary's name.

#[path = "relay_loopback.rs"]
mod relay_loopback;
