//! `workers.rs` over the backend of frames; the rig goes by this binary's name.

#[path = "workers.rs"]
mod workers;
