//! Who the process is and what it may: users, groups, capabilities.
//!
//! The kernel keeps them for each thread; libc's calls change all threads of a process, and nothing
//! else does, so these three calls are made through libc.

use std::fmt;
use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::process::{geteuid, getuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

use crate::error::StartError;

/// An unprivileged user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    name: String,
    uid: u32,
    gid: u32,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.uid)
    }
}

impl User {
    /// The user of this name, or else the first that exists of those made for us.
    ///
    /// # Errors
    /// [`StartError::Configuration`] when it does not exist or is root.
    pub fn find(name: Option<&str>) -> Result<User, StartError> {
        let users = fs::read_to_string(USERS).unwrap_or_default();
        let entry = |name: &str| users.lines().find_map(|line| parse(line, name));
        let problem = |what: String| StartError::Configuration {
            name: "media.user",
            what,
            remedy: "create it (`useradd --system NAME`) or name another".to_owned(),
        };
        let found = match name {
            Some(name) => entry(name)
                .ok_or_else(|| problem(format!("there is no user \"{name}\" in {USERS}")))?,
            None => DEFAULTS.into_iter().find_map(entry).unwrap_or_else(nobody),
        };
        if found.uid == 0 || found.gid == 0 {
            return Err(problem(format!("\"{}\" is root, or in root's group", found.name)));
        }
        Ok(found)
    }

    /// Makes every thread this user's, without other groups and, coming from root, without any
    /// capability.
    ///
    /// # Errors
    /// The kernel's.
    pub fn become_it(&self) -> io::Result<()> {
        // SAFETY: no group is read through the pointer, for their number is zero.
        done(unsafe { libc::setgroups(0, std::ptr::null()) })?;
        // SAFETY: takes numbers and touches no memory of ours.
        done(unsafe { libc::setresgid(self.gid, self.gid, self.gid) })?;
        // SAFETY: as above.
        done(unsafe { libc::setresuid(self.uid, self.uid, self.uid) })
    }
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A line of passwd(5), if it is this user's.
fn parse(line: &str, wanted: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| *name == wanted)?;
    let (_, uid, gid) = (fields.next()?, fields.next()?, fields.next()?);
    Some(User { name: name.to_owned(), uid: uid.parse().ok()?, gid: gid.parse().ok()? })
}

/// Where nobody is listed, as in an empty container.
fn nobody() -> User {
    User { name: "nobody".to_owned(), uid: NOBODY, gid: NOBODY }
}

/// Empties the bounding, ambient and inheritable sets of this thread, and the others too unless
/// `keep` says that they are needed for a while yet.
///
/// # Errors
/// The kernel's. A bounding set that we may not change stays; it gives nothing to a process that
/// may gain no privileges.
pub fn forgo_capabilities(keep: bool) -> rustix::io::Result<()> {
    match clear_ambient_capability_set() {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(errno),
    }
    if has(CapabilitySet::SETPCAP) {
        for number in 0..u64::BITS {
            match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number))
            {
                Ok(()) => {}
                // The kernel has no more of them.
                Err(Errno::INVAL) => break,
                Err(errno) => return Err(errno),
            }
        }
    }
    let held = if keep { capabilities(None)? } else { NONE };
    set_capabilities(None, CapabilitySets { inheritable: CapabilitySet::empty(), ..held })
}

/// Whether this thread has all of `wanted`.
pub fn has(wanted: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(wanted))
}

/// Whether this thread is without root and capabilities where it should be.
///
/// # Errors
/// What is left.
pub fn verify(user: Option<&User>) -> Result<(), String> {
    let (real, effective) = (getuid().as_raw(), geteuid().as_raw());
    if user.is_some_and(|user| real != user.uid || effective != user.uid) {
        return Err(format!("the user is still {effective}"));
    }
    let held = capabilities(None).map_err(|errno| errno.to_string())?;
    let left = held.effective | held.permitted | held.inheritable;
    if left.is_empty() { Ok(()) } else { Err(format!("capabilities are left: {left:?}")) }
}

const USERS: &str = "/etc/passwd";
const DEFAULTS: [&str; 2] = ["trunkline", "nobody"];
const NOBODY: u32 = 65534;
const NONE: CapabilitySets = CapabilitySets {
    effective: CapabilitySet::empty(),
    permitted: CapabilitySet::empty(),
    inheritable: CapabilitySet::empty(),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let line = "media:x:990:991:Media:/nonexistent:/usr/sbin/nologin";
        let user = User { name: "media".to_owned(), uid: 990, gid: 991 };
        assert_eq!(parse(line, "media"), Some(user));
        for other in ["medi", "media2", "x", ""] {
            assert_eq!(parse(line, other), None, "{other}");
        }
        for broken in ["media", "media:x", "media:x:1", "media:x:one:1", "media:x:-1:1", ""] {
            assert_eq!(parse(broken, "media"), None, "{broken}");
        }
    }

    #[test]
    fn neither_root_nor_a_stranger_will_do() {
        for name in ["root", "no-such-user"] {
            let text = User::find(Some(name)).unwrap_err().to_string();
            assert!(text.contains("media.user") && text.contains(name), "{text}");
        }
        let user = User::find(None).unwrap();
        assert!(user.uid != 0 && user.gid != 0, "{user}");
    }
}
