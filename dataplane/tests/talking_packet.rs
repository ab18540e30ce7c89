//! `talking.rs` over the backend of frames; the rig goes by this binary's name.

#[path = "talking.rs"]
mod talking;
