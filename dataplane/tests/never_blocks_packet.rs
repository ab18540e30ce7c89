//! `never_blocks.rs` over the backend of frames; the rig goes by this binary's name.

#[path = "never_blocks.rs"]
mod never_blocks;
