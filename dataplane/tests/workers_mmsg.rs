//! `workers.rs` over the backend without io_uring; the rig goes by this binary's name.

#[path = "workers.rs"]
mod workers;
