//! The gateway as a service: its units, their drop-ins, its running processes.

use std::path::{Path, PathBuf};

use super::host::Host;
use super::setting::Setting;
use super::stage::Scope;

pub const DATAPLANE: &str = "trunkline-dataplane.service";
pub const SIGNALING: &str = "trunkline-signaling.service";

/// Where units lie, the operator's first.
const UNITS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// The path of a drop-in of ours.
pub fn drop_in(unit: &str, name: &str) -> String {
    format!("/etc/systemd/system/{unit}.d/{name}.conf")
}

/// A text that says whose it is.
pub fn headed(text: &str) -> String {
    format!("# Written by `trunkline pin apply`; `trunkline pin undo` removes it.\n{text}")
}

/// A limit of a unit: nothing to do when it has it already, else a drop-in.
pub fn limit(
    host: &Host,
    unit: &str,
    key: &str,
    wanted: &str,
    enough: impl Fn(&str) -> bool,
) -> Scope {
    if !host.exists("/run/systemd/system") {
        let why = format!("no systemd here; whatever starts the gateway sets the limit ({key})");
        return Scope::Nothing(why);
    }
    let name = format!("60-{}", key.trim_start_matches("Limit").to_lowercase());
    let path = drop_in(unit, &name);
    let text = headed(&format!("[Service]\n{key}={wanted}\n"));
    let ours = host.exists(&path);
    match value(host, unit, key) {
        Some(now) if !ours && enough(&now) => Scope::Nothing(format!("{unit} has {key}={now}")),
        _ => Scope::Settings(vec![Setting::document(path, text)]),
    }
}

/// What a unit and its drop-ins assign to a key; the last one counts.
fn value(host: &Host, unit: &str, key: &str) -> Option<String> {
    let file = UNITS.iter().find_map(|at| host.read(&format!("{at}/{unit}")))?;
    // A file name counts once, wherever it comes first; in the order of names.
    let mut drop_ins: Vec<(String, String)> = Vec::new();
    for at in UNITS {
        let directory = format!("{at}/{unit}.d");
        for name in host.list(&directory).into_iter().filter(|name| name.ends_with(".conf")) {
            if !drop_ins.iter().any(|(known, _)| *known == name) {
                let text = host.read(&format!("{directory}/{name}")).unwrap_or_default();
                drop_ins.push((name, text));
            }
        }
    }
    drop_ins.sort();
    let texts = std::iter::once(file).chain(drop_ins.into_iter().map(|(_, text)| text));
    let mut assigned = texts.filter_map(|text| {
        let mut lines =
            text.lines().filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
        lines.next_back().map(|value| value.trim().to_owned())
    });
    assigned.next_back()
}

/// A thread of one of our processes.
pub struct Thread {
    pub pid: u32,
    pub tid: u32,
    pub name: String,
}

/// The threads of the processes that run `command` (`dataplane`, `signaling`) with this
/// configuration. Those of other installations on the host are none of ours.
pub fn threads(host: &Host, config: &Path, command: &str) -> Vec<Thread> {
    let pids = host.list("/proc").into_iter().filter_map(|name| name.parse::<u32>().ok());
    let mine = pids.filter(|pid| runs(host, *pid, config, command));
    mine.flat_map(|pid| {
        let tids = host.list(&format!("/proc/{pid}/task")).into_iter();
        let tids = tids.filter_map(|name| name.parse::<u32>().ok());
        tids.filter_map(move |tid| {
            let name = host.read(&format!("/proc/{pid}/task/{tid}/comm"))?;
            Some(Thread { pid, tid, name })
        })
    })
    .collect()
}

fn runs(host: &Host, pid: u32, config: &Path, command: &str) -> bool {
    let Some(line) = host.read(&format!("/proc/{pid}/cmdline")) else { return false };
    let words: Vec<&str> = line.split('\0').collect();
    let [program, verb, rest @ ..] = words.as_slice() else { return false };
    let is_ours = Path::new(program).file_name().is_some_and(|name| name == "trunkline");
    if !is_ours || *verb != command {
        return false;
    }
    let mut named = rest.iter().skip_while(|word| !word.starts_with("--config"));
    let file = match named.next().map(|word| word.split_once('=')) {
        Some(Some((_, file))) => Path::new(file).to_owned(),
        Some(None) => named.next().map_or_else(PathBuf::new, PathBuf::from),
        None => PathBuf::from(crate::command::CONFIG_DEFAULT),
    };
    let directory = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    is_same_file(&directory.join(file), config)
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_assignment_of_a_unit_and_its_drop_ins_counts() {
        let root = std::env::temp_dir().join(format!("trunkline-unit-{}", std::process::id()));
        let host = Host::recorded(&root);
        let put = |path: &str, text: &str| host.write_document(path, text).unwrap();
        put("/lib/systemd/system/a.service", "[Service]\nLimitNOFILE=1\nLimitNOFILE=2\n");
        assert_eq!(value(&host, "a.service", "LimitNOFILE").as_deref(), Some("2"));
        put("/lib/systemd/system/a.service.d/20.conf", "[Service]\nLimitNOFILE=3\n");
        put("/etc/systemd/system/a.service.d/10.conf", "[Service]\nLimitNOFILE=4\n");
        assert_eq!(value(&host, "a.service", "LimitNOFILE").as_deref(), Some("3"));
        put("/etc/systemd/system/a.service.d/20.conf", "[Service]\nOther=5\n");
        assert_eq!(value(&host, "a.service", "LimitNOFILE").as_deref(), Some("4"));
        assert_eq!(value(&host, "a.service", "Limit"), None);
        assert_eq!(value(&host, "b.service", "LimitNOFILE"), None);
        std::fs::remove_dir_all(root).unwrap();
    }
}
