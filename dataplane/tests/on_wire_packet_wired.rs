//! `on_wire_xdp.rs` over the backend `packet`; the rig goes by this binary's name.

#[path = "on_wire_xdp.rs"]
mod on_wire;
