//! `relay_loopback.rs` over the backend without io_uring; the rig goes by this binary's name.

#[path = "relay_loopback.rs"]
mod relay_loopback;
