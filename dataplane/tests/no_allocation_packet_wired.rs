//! `no_allocation.rs` over the backend `packet`, with the far ends across a wire, so that frames leave; the rig goes by
//! this binary's name.

#[path = "no_allocation.rs"]
mod no_allocation;
