//! The machine: what the stage needs of it, and what a report must say about it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

use super::command::output;
use super::{NAMESPACE, Plan};
use crate::fault::Fault;

/// What a figure depends on besides the programs.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    pub name: String,
    pub kernel: String,
    pub cpu: String,
    pub cores: usize,
    pub commit: String,
    /// Kernel command line.
    pub flags: String,
    /// Vulnerabilities that the kernel mitigates, and how.
    pub mitigations: Vec<String>,
}

impl Host {
    /// Reads it; what cannot be read is "unknown".
    pub fn read() -> Host {
        let file = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned());
        let unknown = || String::from("unknown");
        let cpuinfo = file("/proc/cpuinfo").unwrap_or_default();
        let commit = output(Command::new("git").args(["describe", "--always", "--dirty"]));
        Host {
            name: file("/proc/sys/kernel/hostname").unwrap_or_else(|_| unknown()),
            kernel: file("/proc/sys/kernel/osrelease").unwrap_or_else(|_| unknown()),
            cpu: cpu_model(&cpuinfo).unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            commit: commit.map_or_else(|_| unknown(), |text| text.trim().to_owned()),
            flags: file("/proc/cmdline").unwrap_or_else(|_| unknown()),
            mitigations: mitigations(),
        }
    }
}

/// The first "model name" of /proc/cpuinfo.
pub fn cpu_model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn mitigations() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else {
        return Vec::new();
    };
    let mut found: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let state = fs::read_to_string(entry.path()).ok()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            state.starts_with("Mitigation").then(|| format!("{name}: {}", state.trim()))
        })
        .collect();
    found.sort();
    found
}

/// What the stage cannot do without.
///
/// # Errors
/// The first thing that is missing, with the remedy.
pub fn require(plan: &Plan) -> Result<(), Fault> {
    if !rustix::process::geteuid().is_root() {
        return Err(Fault::new(
            "network namespaces and raw sockets need root",
            "run it as root: sudo -E cargo run --release -p bench -- ...",
        ));
    }
    for (program, package) in PROGRAMS {
        let found = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/bin"]
            .iter()
            .any(|folder| Path::new(folder).join(program).exists());
        if !found {
            let remedy = format!("install it (Debian: apt-get install {package})");
            return Err(Fault::new(format!("the program `{program}` is missing"), remedy));
        }
    }
    let online = online_cores();
    for core in plan.device_cores.iter().chain([&plan.load_core]) {
        if *core >= online {
            let remedy = "use fewer --workers, or name other cores with --device-cores";
            let what = format!("core {core} is not among this machine's {online}");
            return Err(Fault::new(what, remedy));
        }
    }
    if plan.device_cores.contains(&plan.load_core) {
        return Err(Fault::new(
            format!("load and device would share core {}", plan.load_core),
            "the load needs a core of its own: change --load-core or --device-cores",
        ));
    }
    Ok(())
}

/// Lets this process and the devices that it starts open `files` files, or as many as the host
/// allows.
///
/// # Errors
/// Fewer than that are allowed.
pub fn allow_files(files: u64) -> Result<(), Fault> {
    let now = getrlimit(Resource::Nofile);
    let hard = now.maximum.unwrap_or(u64::MAX);
    let wanted = hard.max(files);
    let ask = |most: u64| {
        setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) })
    };
    // Raising the hard limit needs CAP_SYS_RESOURCE, which even root may lack in a container.
    if ask(wanted).is_ok() || (hard >= files && ask(hard).is_ok()) {
        return Ok(());
    }
    Err(Fault::new(
        format!("{files} open files are needed, the host allows {hard}"),
        format!(
            "lower --calls to {} or raise the limit (ulimit -Hn)",
            hard.saturating_sub(200) / 4
        ),
    ))
}

fn online_cores() -> usize {
    let cpus = fs::read_to_string("/proc/stat").unwrap_or_default();
    cpus.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count()
}

/// Removes namespaces and files of benches that were killed before they could.
pub fn sweep_leftovers() {
    let names = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let dead = |pid: &str| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists();
    for name in names(Path::new("/run/netns")) {
        let owner = name.strip_prefix(NAMESPACE).and_then(|rest| rest.rsplit_once('-'));
        if owner.is_some_and(|(_, pid)| dead(pid)) {
            let _ = super::command::ip(&["netns", "del", &name]);
        }
    }
    let folder = std::env::temp_dir();
    for name in names(&folder) {
        let owner = name.strip_prefix(SCRATCH).and_then(|rest| rest.split_once('-'));
        if owner.is_some_and(|(pid, _)| dead(pid)) {
            let path = folder.join(&name);
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
    }
}

/// A file for the device in the directory of temporary files, this process's own.
pub fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("{SCRATCH}{}-{name}", std::process::id()))
}

/// Receive softirqs that `core` has run.
///
/// # Errors
/// /proc/softirqs cannot be read.
pub fn receive_softirqs(core: usize) -> Result<u64, Fault> {
    let text = fs::read_to_string("/proc/softirqs").map_err(Fault::io("read /proc/softirqs"))?;
    parse_receive_softirqs(&text, core)
        .ok_or_else(|| Fault::new(format!("/proc/softirqs has no column for core {core}"), ""))
}

fn parse_receive_softirqs(text: &str, core: usize) -> Option<u64> {
    let column = format!("CPU{core}");
    let at = text.lines().next()?.split_ascii_whitespace().position(|name| name == column)?;
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("NET_RX:"))?;
    line.split_ascii_whitespace().nth(at)?.parse().ok()
}

/// Every temporary file of the bench begins so; the process id follows.
const SCRATCH: &str = "trunkline-bench-";
/// Programs that build the stage, and their packages.
const PROGRAMS: [(&str, &str); 5] = [
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("taskset", "util-linux"),
    ("setpriv", "util-linux"),
    ("chrt", "util-linux"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_softirqs_are_read_by_column() {
        let text = "                    CPU0       CPU1       \n          HI:          1          2\n      \
                    NET_TX:          3          4\n      NET_RX:     120033     998121\n";
        assert_eq!(parse_receive_softirqs(text, 0), Some(120_033));
        assert_eq!(parse_receive_softirqs(text, 1), Some(998_121));
        assert_eq!(parse_receive_softirqs(text, 2), None);
        for len in 0..text.len() {
            let _ = parse_receive_softirqs(&text[..len], 1);
        }
    }

    #[test]
    fn the_cpu_is_named() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC 7R13\nflags\t: fpu vme\n";
        assert_eq!(cpu_model(text).as_deref(), Some("AMD EPYC 7R13"));
        assert_eq!(cpu_model("processor: 0"), None);
    }
}
