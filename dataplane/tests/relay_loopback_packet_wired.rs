//! `relay_loopback.rs` over the backend `packet`, with the far ends across a wire, so that frames leave; the rig goes by
//! this binary's name.

#[path = "relay_loopback.rs"]
mod relay_loopback;
