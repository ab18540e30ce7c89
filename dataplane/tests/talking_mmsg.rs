//! `talking.rs` over the backend without io_uring; the rig goes by this binary's name.

#[path = "talking.rs"]
mod talking;
