//! One setting of the host: where it is, how it is read, compared and written.
//!
//! Stages say what they want in these terms, so that checking, applying, undoing and recording are
//! the same for all of them.

use std::fmt;
use std::io;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Deserialize, Serialize};

use super::cpus::Cpus;
use super::host::Host;
use super::{bypass, interfaces, ports};

/// A setting and the value that a stage wants for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    pub place: Place,
    pub wanted: String,
}

/// Where a setting is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Place {
    /// A file of the kernel, below `/proc` or `/sys`: gone with the next boot.
    File { path: String, form: Form },
    /// A file of ours, below `/etc`: stays. The empty text stands for no file.
    Document { path: String },
    /// The processors that a thread may run on.
    Affinity { pid: u32, tid: u32, name: String },
    /// How many queues an interface has.
    Queues { interface: String },
    /// How many frames each receive ring of an interface has room for; it may be more.
    Ring { interface: String },
    /// The range of UDP ports whose packets are not tracked. The empty text stands for none.
    Bypass,
}

/// How the values of a file compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Letter by letter.
    Word,
    /// `always [madvise] never`: the word in brackets.
    Choice,
    /// `0-3,8`
    List,
    /// `0000010f`
    Mask,
    /// A number that may be larger.
    AtLeast,
    /// Ranges of ports, of which there may be more.
    Ports,
}

impl Setting {
    pub fn file(path: impl Into<String>, form: Form, wanted: impl Into<String>) -> Setting {
        Setting { place: Place::File { path: path.into(), form }, wanted: wanted.into() }
    }

    pub fn document(path: impl Into<String>, wanted: impl Into<String>) -> Setting {
        Setting { place: Place::Document { path: path.into() }, wanted: wanted.into() }
    }
}

impl Place {
    /// The value now; `None` when this host does not have it, or does not show it.
    pub fn read(&self, host: &Host) -> Option<String> {
        match self {
            Place::File { path, form: Form::Choice } => chosen(&host.read(path)?),
            Place::File { path, .. } => host.read(path),
            Place::Document { path } => {
                Some(host.read(path).map(|text| text + "\n").unwrap_or_default())
            }
            Place::Affinity { pid, tid, name } => {
                let at = format!("/proc/{pid}/task/{tid}");
                let status = host.read(&format!("{at}/status"))?;
                let list = status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:"))?;
                // Numbers of threads are used again.
                (host.read(&format!("{at}/comm"))? == *name).then(|| list.trim().to_owned())
            }
            Place::Queues { interface } => {
                Some(interfaces::queue_counts(host, interface)?.now.to_string())
            }
            Place::Ring { interface } => {
                Some(interfaces::ring_sizes(host, interface)?.now.to_string())
            }
            Place::Bypass => bypass::read(host),
        }
    }

    /// Whether `now` does what `wanted` asks for.
    pub fn holds(&self, now: &str, wanted: &str) -> bool {
        let form = match self {
            Place::File { form, .. } => *form,
            Place::Affinity { .. } => Form::List,
            Place::Ring { .. } => Form::AtLeast,
            Place::Document { .. } | Place::Queues { .. } | Place::Bypass => Form::Word,
        };
        match form {
            Form::Word | Form::Choice => now == wanted,
            Form::List => is_same(Cpus::from_list(now), Cpus::from_list(wanted)),
            Form::Mask => is_same(Cpus::from_mask(now), Cpus::from_mask(wanted)),
            Form::AtLeast => is_enough(now.parse::<u64>().ok(), wanted.parse::<u64>().ok()),
            Form::Ports => ports::covers(now, wanted),
        }
    }

    /// # Errors
    /// The kernel's, or the program's that was asked.
    pub fn write(&self, host: &Host, value: &str) -> io::Result<()> {
        match self {
            // The kernel moves the brackets; in a recorded host nobody else does.
            Place::File { path, form: Form::Choice } if !host.is_live() => {
                let words = host.read(path).unwrap_or_default().replace(['[', ']'], "");
                let words = words.split(' ').map(|word| match word == value {
                    true => format!("[{word}]"),
                    false => word.to_owned(),
                });
                host.write(path, &words.collect::<Vec<_>>().join(" "))
            }
            Place::File { path, .. } => host.write(path, value),
            Place::Document { path } => host.write_document(path, value),
            Place::Affinity { tid, .. } => affine(host, *tid, value),
            Place::Queues { interface } => {
                let combined = interfaces::queue_counts(host, interface).is_none_or(|c| c.combined);
                let kind = if combined { "combined" } else { "rx" };
                host.run("ethtool", &["-L", interface, kind, value]).map(drop)
            }
            Place::Ring { interface } => {
                host.run("ethtool", &["-G", interface, "rx", value]).map(drop)
            }
            Place::Bypass => bypass::write(host, value),
        }
    }

    /// Whether a boot undoes it.
    pub fn is_volatile(&self) -> bool {
        !matches!(self, Place::Document { .. })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { path, .. } | Place::Document { path } => f.write_str(path),
            Place::Affinity { pid, name, tid } => write!(f, "thread {name} ({pid}/{tid})"),
            Place::Queues { interface } => write!(f, "queues of {interface}"),
            Place::Ring { interface } => write!(f, "receive rings of {interface}"),
            Place::Bypass => f.write_str("untracked UDP ports"),
        }
    }
}

/// The word in brackets.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

fn is_same(now: Option<Cpus>, wanted: Option<Cpus>) -> bool {
    now.is_some() && now == wanted
}

fn is_enough(now: Option<u64>, wanted: Option<u64>) -> bool {
    now.zip(wanted).is_some_and(|(now, wanted)| now >= wanted)
}

fn affine(host: &Host, tid: u32, list: &str) -> io::Result<()> {
    if !host.is_live() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "a recorded thread cannot move"));
    }
    let mut set = CpuSet::new();
    let cpus = Cpus::from_list(list).ok_or(io::ErrorKind::InvalidInput)?;
    for cpu in cpus.iter().filter(|cpu| *cpu < CpuSet::MAX_CPU) {
        set.set(cpu);
    }
    let pid = i32::try_from(tid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(sched_setaffinity(Some(pid), &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_compare_by_what_they_mean() {
        let file = |form| Place::File { path: String::new(), form };
        for (form, now, wanted, holds) in [
            (Form::Word, "performance", "performance", true),
            (Form::Word, "powersave", "performance", false),
            (Form::List, "0,1", "0-1", true),
            (Form::List, "0", "0-1", false),
            (Form::List, "?", "?", false),
            (Form::Mask, "00000000,00000003", "3", true),
            (Form::Mask, "2", "3", false),
            (Form::AtLeast, "5000", "4000", true),
            (Form::AtLeast, "3000", "4000", false),
            (Form::AtLeast, "", "4000", false),
            (Form::Ports, "22,30000-40000", "30000-39999", true),
            (Form::Ports, "30000-35000", "30000-39999", false),
        ] {
            assert_eq!(file(form).holds(now, wanted), holds, "{form:?}: {now} for {wanted}");
        }
        assert_eq!(chosen("always [madvise] never").as_deref(), Some("madvise"));
        assert_eq!(chosen("madvise"), None);
    }
}
