//! What the service's control group leaves it: processors (cpuset) and processor time (quota).
//!
//! Any process may widen its own affinity up to its cpuset, so the affinity found here does not
//! count, except that it tells what an unreadable cpuset leaves.

use serde::Serialize;

use super::cpus::Cpus;
use super::host::Host;

/// Limits that hold for a process started here.
#[derive(Debug, PartialEq, Serialize)]
pub struct Confinement {
    /// Processors that may be used.
    pub allowed: Cpus,
    /// Where that comes from, when it is not every processor.
    pub cpuset: Option<String>,
    /// Processors' worth of time: 1.5 is one and a half.
    pub quota: Option<f64>,
    /// What this process may use as it was started; workers are pinned within `allowed`.
    pub affinity: Cpus,
}

pub fn read(host: &Host, online: &Cpus, isolated: &Cpus) -> Confinement {
    let groups = host.read("/proc/self/cgroup").unwrap_or_default();
    let affinity = affinity(host).unwrap_or_else(|| online.clone());
    let found = unified(&groups)
        .and_then(|group| up(group).find_map(|at| cpuset(host, &format!("{UNIFIED}{at}"), true)))
        .or_else(|| {
            let group = legacy(&groups)?;
            up(group).find_map(|at| cpuset(host, &format!("{UNIFIED}/cpuset{at}"), false))
        });
    // Isolated processors are in nobody's affinity until somebody asks for them.
    let usable = found.clone().unwrap_or_else(|| affinity.or(isolated)).and(online);
    let allowed = if usable.is_empty() { online.clone() } else { usable };
    let narrower = allowed != *online;
    let source = if found.is_some() { "the control group's cpuset" } else { "the affinity" };
    Confinement {
        cpuset: narrower.then(|| source.to_owned()),
        allowed,
        quota: unified(&groups).and_then(|group| {
            let quotas = up(group).filter_map(|at| quota(host, &format!("{UNIFIED}{at}/cpu.max")));
            quotas.reduce(f64::min)
        }),
        affinity,
    }
}

fn affinity(host: &Host) -> Option<Cpus> {
    let status = host.read("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Cpus::from_list(line)
}

/// `0::/system.slice/ssh.service`
fn unified(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::"))
}

/// `3:cpuset:/`
fn legacy(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.split_once(":cpuset:").map(|(_, group)| group))
}

/// A group and those around it, innermost first; the root is the empty text.
fn up(group: &str) -> impl Iterator<Item = &str> {
    let group = group.trim_end_matches('/');
    let ends = group.rmatch_indices('/').map(|(at, _)| at);
    std::iter::once(group.len()).chain(ends).filter_map(|end| group.get(..end))
}

fn cpuset(host: &Host, at: &str, unified: bool) -> Option<Cpus> {
    let file = if unified { "cpuset.cpus.effective" } else { "cpuset.effective_cpus" };
    let text = host.read(&format!("{at}/{file}"));
    let text = text.or_else(|| host.read(&format!("{at}/cpuset.cpus")).filter(|_| !unified))?;
    Cpus::from_list(&text).filter(|cpus| !cpus.is_empty())
}

/// `150000 100000` is 1.5, `max 100000` no limit.
fn quota(host: &Host, path: &str) -> Option<f64> {
    let text = host.read(path)?;
    let (time, period) = text.split_once(' ')?;
    let (time, period) = (time.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (period > 0.0 && time > 0.0).then(|| time / period)
}

const UNIFIED: &str = "/sys/fs/cgroup";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_around_a_group_end_at_the_root() {
        assert_eq!(up("/a/b.slice").collect::<Vec<_>>(), ["/a/b.slice", "/a", ""]);
        assert_eq!(up("/").collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn both_generations_of_control_groups_are_told_apart() {
        let mixed = "9:name=systemd:/\n3:cpuset:/docker/7\n0::/init.scope";
        assert_eq!((unified(mixed), legacy(mixed)), (Some("/init.scope"), Some("/docker/7")));
        assert_eq!((unified(""), legacy("x")), (None, None));
    }
}
