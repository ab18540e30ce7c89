//! `workers.rs` over AF_XDP; the rig goes by this binary's name.

#[path = "workers.rs"]
mod workers;
