//! `key_memory.rs` over the backend `packet`; the rig goes by this binary's name.

#[path = "key_memory.rs"]
mod key_memory;
