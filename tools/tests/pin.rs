//! `trunkline pin` on the host that the tests run on: applied, seen, undone, seen.
//!
//! In network and mount namespaces of its own, with a wire and a data plane of its own, and only for
//! settings that belong to these: the machine's own stay as they are even if the test is killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const ONLY: &str = "steering,coalescing,ports,conntrack,cores";

#[test]
fn settings_are_applied_seen_undone_and_seen() {
    if !rustix::process::geteuid().is_root()
        || std::thread::available_parallelism().unwrap().get() < 2
    {
        println!("NOT CHECKED: needs root and a second processor");
        return;
    }
    let mut place = Place::make();
    let media = place.start_data_plane();
    let before = place.settings(media);
    let check = |code: i32| {
        let output = place.pin(&["check", "--only", ONLY, "--json"]);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["stages"].as_array().unwrap().len(), 5);
    };
    check(1);

    // Told only.
    assert!(place.apply(&["--dry-run"]).status.success());
    assert_eq!(place.settings(media), before);

    let output = place.apply(&["--json"]);
    assert!(output.status.success(), "{}", text(&output));
    let applied = place.settings(media);
    // By other eyes than those of the command.
    assert_eq!(applied.timer_ns, "200000");
    assert_eq!(applied.reserved, "40000-40999");
    assert!(applied.rules.contains("udp dport 40000-40999 notrack"), "{}", applied.rules);
    assert!(applied.rules.contains("udp sport 40000-40999 notrack"), "{}", applied.rules);
    assert_eq!((before.worker.as_str(), applied.worker.as_str()), ("0", "1"));
    assert_eq!(applied.send_queue, "2", "the worker's core, as a mask");
    assert!(place.journal().exists());
    // The process that runs is where it should be; the next one would not, and that is told.
    let told = text(&place.pin(&["check", "--only", ONLY]));
    assert!(told.contains("cores = [1]") && told.contains(" 0 differ"), "{told}");
    fs::write(place.config(), place.text("cores = [1]\n")).unwrap();
    check(0);

    let output = place.undo(&[]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(place.settings(media), before);
    assert!(!place.journal().exists(), "nothing is left to restore");
    check(1);
    // What is undone is undone once.
    assert!(text(&place.undo(&[])).contains("0 of 0 changes restored"));
}

/// Every setting that this machine has. A signal in between leaves them changed, until
/// `trunkline pin undo --journal` with the file that is named below restores them.
#[test]
#[ignore = "changes settings of the machine itself, and restores them: run it by hand, as root"]
fn the_machine_itself_is_changed_and_restored() {
    let journal = std::env::temp_dir().join(format!("pin-machine-{}.json", std::process::id()));
    let pin = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
        let output = command.arg("pin").args(words).arg("--json").output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.success(), told)
    };
    let recorded = ["--journal", journal.to_str().unwrap()];
    let (_, asked) = pin(&["apply", "--permanent", "--dry-run"]);
    let before = files(&asked);
    assert!(before.len() > 3, "{asked}");

    let (done, told) = pin(&[&["apply", "--permanent"], &recorded[..]].concat());
    let applied = files(&told);
    let (holds, seen) = pin(&["check"]);
    let (undone, _) = pin(&[&["undo"], &recorded[..]].concat());
    assert!(done && holds && undone, "{told}\n{seen}");
    for setting in settings(&told).filter(|one| one["state"] == "changed") {
        let place = setting["place"].as_str().unwrap();
        assert!(!place.starts_with('/') || before[place] != applied[place], "{place}");
        println!("changed and restored: {place}");
    }
    assert_eq!(files(&told), before);
    assert!(!journal.exists(), "nothing is left to restore");
}

fn settings(told: &Value) -> impl Iterator<Item = &Value> {
    let stages = told["stages"].as_array().unwrap().iter();
    stages.flat_map(|stage| stage["settings"].as_array().unwrap())
}

/// The files among the settings that a command told of, with what stands there now.
fn files(told: &Value) -> BTreeMap<String, Option<String>> {
    let places = settings(told).map(|one| one["place"].as_str().unwrap().to_owned());
    let files = places.filter(|place| place.starts_with('/'));
    files.map(|path| (path.clone(), fs::read_to_string(path).ok())).collect()
}

#[test]
fn what_is_asked_wrongly_is_refused_with_the_remedy() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_trunkline")).arg("pin").args(arguments).output().unwrap()
    };
    for (arguments, code, words) in [
        (vec!["check", "--only", "portz"], 65, "conntrack"),
        (vec!["plan", "--root", "/nonexistent"], 69, "--root"),
        (vec!["plan", "--interface", "eth99"], 65, "eth99"),
        (vec!["plan", "--workers", "0"], 2, "1..=64"),
        (vec!["check", "--config", "/nonexistent.toml"], 78, "create it"),
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(words), "{arguments:?}: {}", text(&output));
    }
    for verb in ["show", "plan"] {
        let output = run(&[verb, "--json"]);
        serde_json::from_slice::<Value>(&output.stdout).unwrap();
    }
    let help = text(&run(&["--help"]));
    assert!(help.contains("Examples:") && help.contains("pin undo"), "{help}");
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Namespaces with a wire; gone with the value.
struct Place {
    directory: PathBuf,
    holder: Child,
    data_plane: Option<Child>,
}

/// What the test looks at.
#[derive(PartialEq, Debug)]
struct Settings {
    empty_looks: String,
    timer_ns: String,
    receive_queue: String,
    send_queue: String,
    reserved: String,
    rules: String,
    worker: String,
}

impl Place {
    fn make() -> Place {
        let directory = std::env::temp_dir().join(format!("trunkline-pin-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-ec", BUILD])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n");
        let place = Place { directory, holder, data_plane: None };
        fs::write(place.config(), place.text("")).unwrap();
        place
    }

    /// A configuration with this in `[media]`.
    fn text(&self, media: &str) -> String {
        let run = self.directory.display();
        format!(
            "[sip]\nudp = [\"10.98.0.1:5060\"]\n[media]\naddress = \"10.98.0.1\"\n\
             ports = \"40000-40999\"\nbackend = \"mmsg\"\n{media}[run]\ndirectory = \"{run}\"\n"
        )
    }

    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--mount", "--target"]).arg(self.holder.id().to_string());
        command.arg(program);
        command
    }

    /// Starts a data plane that may use one core only; its process id.
    fn start_data_plane(&mut self) -> u32 {
        let mut child = self
            .inside("taskset")
            .args(["--cpu-list", "0", env!("CARGO_BIN_EXE_trunkline"), "dataplane", "--config"])
            .arg(self.config())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut log = String::new();
        while !log.contains("media workers run") {
            let read = lines.read_line(&mut log).unwrap();
            assert!(read > 0, "{log}");
        }
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        let pid = child.id();
        self.data_plane = Some(child);
        pid
    }

    fn config(&self) -> PathBuf {
        self.directory.join("gateway.toml")
    }

    fn journal(&self) -> PathBuf {
        self.directory.join("pin.json")
    }

    fn pin(&self, arguments: &[&str]) -> Output {
        let mut command = self.inside(env!("CARGO_BIN_EXE_trunkline"));
        command.arg("pin").args(arguments).arg("--config").arg(self.config());
        command.output().unwrap()
    }

    fn apply(&self, more: &[&str]) -> Output {
        let journal = self.journal();
        let journal = journal.to_str().unwrap();
        self.pin(&[&["apply", "--only", ONLY, "--journal", journal], more].concat())
    }

    fn undo(&self, more: &[&str]) -> Output {
        let mut command = self.inside(env!("CARGO_BIN_EXE_trunkline"));
        command.args(["pin", "undo", "--journal"]).arg(self.journal()).args(more);
        command.output().unwrap()
    }

    fn settings(&self, data_plane: u32) -> Settings {
        let cat = |path: &str| text(&self.inside("cat").arg(path).output().unwrap());
        let read = |path: &str| cat(path).trim().to_owned();
        let at = "/sys/class/net/media0";
        Settings {
            empty_looks: read(&format!("{at}/napi_defer_hard_irqs")),
            timer_ns: read(&format!("{at}/gro_flush_timeout")),
            receive_queue: read(&format!("{at}/queues/rx-0/rps_cpus")),
            send_queue: read(&format!("{at}/queues/tx-0/xps_cpus")),
            reserved: read("/proc/sys/net/ipv4/ip_local_reserved_ports"),
            rules: text(&self.inside("nft").args(["list", "ruleset"]).output().unwrap()),
            worker: worker_cores(data_plane),
        }
    }
}

/// Where the kernel lets the worker's thread run.
fn worker_cores(pid: u32) -> String {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let statuses = threads.map(|task| fs::read_to_string(task.unwrap().path().join("status")));
    let status = statuses.flatten().find(|status| status.starts_with("Name:\tmedia-0\n")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    line.trim().to_owned()
}

impl Drop for Place {
    fn drop(&mut self) {
        for child in self.data_plane.iter_mut().chain([&mut self.holder]) {
            let _gone_already = child.kill();
            let _reaped = child.wait();
        }
        let _kept_for_a_look = fs::remove_dir_all(&self.directory);
    }
}

/// A wire with two queues each way, its own /sys. Lives until its standard input ends, so that it
/// goes with the test.
const BUILD: &str = "
mount -t sysfs sysfs /sys
ip link set lo up
ip link add media0 numrxqueues 2 numtxqueues 2 type veth peer name far0 numrxqueues 2 numtxqueues 2
ip address add 10.98.0.1/24 dev media0
ip link set far0 up
ip link set media0 up
echo ready
exec cat
";
