//! `no_allocation.rs` over AF_XDP, with the far ends across a wire; the rig goes by this binary's name.

#[path = "no_allocation.rs"]
mod no_allocation;
