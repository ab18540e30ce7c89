//! The subcommands.

pub mod compare;
pub mod crypto;
pub mod media;
pub mod selftest;
