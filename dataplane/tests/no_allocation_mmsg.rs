//! `no_allocation.rs` over the backend without io_uring; the rig goes by this binary's name.

#[path = "no_allocation.rs"]
mod no_allocation;
