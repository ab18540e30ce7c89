//! Landlock: which files the process can reach, whatever its user owns.
//!
//! It begins before the handover socket is made, so that directory and the prompts stay; seccomp
//! takes them too when the start is over. TCP, signals to other processes and abstract sockets are
//! out of reach from the beginning.

use std::io;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use crate::config::Config;

/// How much of it this kernel enforces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Confined {
    Fully,
    Partly,
    Not,
}

/// Confines the calling thread and those that it starts from now on.
///
/// # Errors
/// What the kernel refused although it has Landlock.
pub fn confine(config: &Config) -> io::Result<Confined> {
    let handover = config.socket.parent().unwrap_or(Path::new("/"));
    let reads = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut allowed = vec![
        (handover, AccessFs::MakeSock | AccessFs::RemoveFile),
        // Why a ring is refused stands there.
        (Path::new("/proc/sys/kernel"), reads),
        // Which ports others hold, or may be given.
        (Path::new("/proc/sys/net/ipv4"), reads),
        (Path::new("/proc/self/net"), reads),
    ];
    allowed.extend(config.prompts.as_deref().map(|prompts| (prompts, reads)));
    restrict(&allowed).map_err(io::Error::other)
}

/// Whether this kernel has it.
pub fn available() -> bool {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let ruleset = ruleset.handle_access(AccessFs::from_all(ABI::V1));
    ruleset.is_ok_and(|ruleset| ruleset.create().is_ok())
}

fn restrict(allowed: &[(&Path, BitFlags<AccessFs>)]) -> Result<Confined, RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    for (path, access) in allowed {
        // What does not exist needs no access; who needs it says so when it is missing.
        if let Ok(fd) = PathFd::new(path) {
            ruleset = ruleset.add_rule(PathBeneath::new(fd, *access))?;
        }
    }
    Ok(match ruleset.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Confined::Fully,
        RulesetStatus::PartiallyEnforced => Confined::Partly,
        RulesetStatus::NotEnforced => Confined::Not,
    })
}

/// The latest version with rights that concern us (Linux 6.12).
const KNOWN: ABI = ABI::V6;
