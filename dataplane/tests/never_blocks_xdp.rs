//! `never_blocks.rs` over AF_XDP, with the far ends across a wire; the rig goes by this binary's name.

#[path = "never_blocks.rs"]
mod never_blocks;
