//! `talking.rs` over AF_XDP, with the far ends across a wire; the rig goes by this binary's name.

#[path = "talking.rs"]
mod talking;
