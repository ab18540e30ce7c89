//! The subcommands.

pub mod calls;
pub mod compare;
pub mod crypto;
pub mod media;
pub mod selftest;
