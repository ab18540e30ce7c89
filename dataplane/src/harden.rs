//! Takes from the process whatever relaying does not need, so that a flaw in it yields an attacker
//! nothing but media.
//!
//! ```text
//! begin (no other thread yet)                finish (workers run)
//! no new privileges, no core dumps           memory locked
//! bounding, ambient, inheritable sets empty  another user, no group, no capability
//! Landlock: handover directory, prompts      seccomp: what a running worker calls
//! ```
//! Landlock and the capability sets belong to a thread and are inherited, hence the first part; user
//! and seccomp change all threads at once, and the start needs more than the run, hence the second.
//!
//! What this host does not offer is reported, not fatal; what it offers and then refuses is.

use std::fmt;
use std::io;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, parent_process_death_signal, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{CapabilitySet, set_no_new_privs};

use crate::config::Config;
use crate::environment::{Finding, Level};
use crate::error::StartError;
use files::Confined;
use identity::User;

mod calls;
mod files;
#[expect(unsafe_code, reason = "only libc changes the user of every thread")]
mod identity;
#[expect(unsafe_code, reason = "locks mappings by address")]
mod memory;

/// A process that is being hardened; [`run_hardened`](crate::run_hardened) completes it.
pub struct Hardening {
    user: Option<User>,
    memory: memory::Map,
    report: Report,
}

/// What is hardened and what is not, for one line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    pub done: Vec<String>,
    /// Each with its reason.
    pub missing: Vec<String>,
}

impl Hardening {
    /// The first part. To be called while the process has one thread. `user` is who the process
    /// becomes if it is root; without it the system user `trunkline`, else `nobody`.
    ///
    /// # Errors
    /// [`StartError::Configuration`] when there is no such user, [`StartError::Hardening`] when the
    /// kernel refuses what it has.
    pub fn begin(config: &Config, user: Option<&str>) -> Result<Hardening, StartError> {
        let mut report = Report::default();
        let user = future_user(user, &mut report)?;
        forgo_dumps().map_err(|cause| refused("core dumps", cause))?;
        set_no_new_privs(true).map_err(|cause| refused("no_new_privs", cause))?;
        memory::raise_limit();
        // Their use ends with the change of the user; without one, it ends here.
        identity::forgo_capabilities(user.is_some())
            .map_err(|cause| refused("capabilities", cause))?;
        let memory = memory::Map::open();
        match files::confine(config).map_err(|cause| refused("Landlock", cause))? {
            Confined::Fully => report.done.push("Landlock".to_owned()),
            Confined::Partly => report.done.push("Landlock (in part: older kernel)".to_owned()),
            Confined::Not => report.missing.push(NO_LANDLOCK.to_owned()),
        }
        Ok(Hardening { user, memory, report })
    }

    /// The second part. To be called when every thread runs and nothing is to be opened any more but
    /// media sockets.
    ///
    /// # Errors
    /// [`StartError::Hardening`] when the kernel refuses what it has.
    pub(crate) fn finish(self) -> Result<Report, StartError> {
        let mut report = self.report;
        if self.memory.lock() {
            report.done.push("memory locked".to_owned());
        } else {
            report.missing.push(NO_LOCK.to_owned());
        }
        if let Some(user) = &self.user {
            let parent_signal = parent_process_death_signal().unwrap_or(None);
            user.become_it().map_err(|cause| refused("change of the user", cause))?;
            // A change of the user resets both.
            forgo_dumps().map_err(|cause| refused("core dumps", cause))?;
            set_parent_process_death_signal(parent_signal)
                .map_err(|cause| refused("parent-death signal", cause))?;
            report.done.push(format!("user {user}"));
        }
        identity::verify(self.user.as_ref())
            .map_err(|left| refused("privileges", io::Error::other(left)))?;
        report.done.extend(["no capabilities", "no_new_privs", "no dumps"].map(str::to_owned));
        match calls::filter() {
            Ok(true) => report.done.push("seccomp".to_owned()),
            Ok(false) => report.missing.push(NO_SECCOMP.to_owned()),
            Err(cause) => return Err(refused("seccomp", cause)),
        }
        Ok(report)
    }

    /// What hardening would do here, without doing it.
    ///
    /// # Errors
    /// [`StartError::Configuration`] when there is no such user.
    pub fn forecast(user: Option<&str>) -> Result<Finding, StartError> {
        let mut report = Report::default();
        if let Some(user) = future_user(user, &mut report)? {
            report.done.push(format!("user {user}"));
        }
        report.done.extend(["no capabilities", "no_new_privs", "no dumps"].map(str::to_owned));
        for (has, name, lack) in [
            (calls::available(), "seccomp", NO_SECCOMP),
            (files::available(), "Landlock", NO_LANDLOCK),
            (memory::lockable(), "memory locked", NO_LOCK),
        ] {
            if has {
                report.done.push(name.to_owned());
            } else {
                report.missing.push(lack.to_owned());
            }
        }
        let level = if report.missing.is_empty() { Level::Ok } else { Level::Warn };
        let remedy = if level == Level::Ok { "" } else { REMEDY };
        let (what, remedy) = (report.to_string(), remedy.to_owned());
        Ok(Finding { name: "hardening", level, what, remedy })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hardened: {}", self.done.join(", "))?;
        if self.missing.is_empty() {
            return Ok(());
        }
        write!(f, "; not hardened: {}", self.missing.join(", "))
    }
}

/// Whether system calls can be filtered here.
pub(crate) fn has_filters() -> bool {
    calls::available()
}

/// Who the process becomes; `None` when it stays who it is.
fn future_user(name: Option<&str>, report: &mut Report) -> Result<Option<User>, StartError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let user = User::find(name)?;
    if identity::has(CapabilitySet::SETUID | CapabilitySet::SETGID) {
        return Ok(Some(user));
    }
    report.missing.push("still root (CAP_SETUID and CAP_SETGID are missing)".to_owned());
    Ok(None)
}

fn forgo_dumps() -> rustix::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

fn refused(what: &'static str, cause: impl Into<io::Error>) -> StartError {
    StartError::Hardening { what, cause: cause.into() }
}

const NO_LANDLOCK: &str = "no Landlock (the kernel has none or it is not enabled at boot)";
const NO_SECCOMP: &str = "no seccomp (the kernel has none)";
const NO_LOCK: &str = "keys may reach swap (the limit of locked memory is too small)";
const REMEDY: &str = "set LimitMEMLOCK=infinity in the service unit, use a kernel with seccomp and \
                      Landlock (lsm=landlock,…), start as root or as a user of its own";
