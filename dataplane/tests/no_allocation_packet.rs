//! `no_allocation.rs` over the backend of frames; the rig goes by this binary's name.

#[path = "no_allocation.rs"]
mod no_allocation;
