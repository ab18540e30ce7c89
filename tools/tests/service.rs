//! Both processes as services: what systemd is told, the units, the Debian package.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

const BINARY: &str = env!("CARGO_BIN_EXE_trunkline");
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn both_processes_say_that_they_are_ready_alive_and_stopping() {
    let place = Place::make("told");
    let (mut dataplane, of_dataplane) = place.service("dataplane", "600000");
    assert_eq!(heard(&of_dataplane), "READY=1");
    let (mut signaling, of_signaling) = place.service("signaling", "600000");
    assert_eq!(heard(&of_signaling), "READY=1");
    for _ in 0..3 {
        assert_eq!(heard(&of_dataplane), "WATCHDOG=1");
        assert_eq!(heard(&of_signaling), "WATCHDOG=1");
    }
    for (child, socket) in [(&mut signaling, of_signaling), (&mut dataplane, of_dataplane)] {
        assert!(terminate(child).success());
        let last = std::iter::repeat_with(|| heard(&socket)).find(|word| word != "WATCHDOG=1");
        assert_eq!(last.as_deref(), Some("STOPPING=1"));
    }
}

#[test]
fn a_worker_that_stands_still_makes_the_data_plane_silent() {
    let place = Place::make("silent");
    let (mut child, socket) = place.service("dataplane", "800000");
    assert_eq!(heard(&socket), "READY=1");
    assert_eq!(heard(&socket), "WATCHDOG=1");
    // The kernel stops single threads only for a tracer.
    let worker = thread_of(child.id(), "media-0");
    let mut tracer = Command::new("strace")
        .args([
            "-qq",
            "-p",
            &worker.to_string(),
            "-e",
            "trace=all",
            "-e",
            "inject=all:delay_enter=60s",
        ])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Several times the interval; what was on its way before may still come.
    let silent = (0..40).any(|_| socket.recv_timeout(Duration::from_secs(3)).is_err());
    let _gone_already = tracer.kill();
    let _reaped = tracer.wait();
    let _gone_already = child.kill();
    let _reaped = child.wait();
    assert!(silent, "its watchdog is still served although a worker does not go round");
}

fn thread_of(pid: u32, name: &str) -> u32 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let found = threads
        .map(|task| task.unwrap().path())
        .find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name));
    found.unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap()
}

#[test]
fn a_service_manager_that_is_not_there_is_named() {
    let place = Place::make("nobody");
    let output =
        place.command("dataplane").env("NOTIFY_SOCKET", "/nonexistent/notify").output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", text(&output));
    assert!(text(&output).contains("NOTIFY_SOCKET=/nonexistent/notify"), "{}", text(&output));
}

#[test]
fn who_may_attach_is_named_by_user() {
    let place = Place::make("user");
    let output =
        place.command("dataplane").args(["--signaling-user", "nobody-of-that-name"]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
    assert!(text(&output).contains("nobody-of-that-name"), "{}", text(&output));
}

/// Built, installed beside the machine's own files, looked at, purged. The machine is not changed:
/// everything is written to an overlay that goes with the mount namespace.
#[test]
fn the_package_installs_and_leaves_nothing_behind() {
    let place = Place::make("package");
    let built = Command::new(root().join("tools/package"))
        .args(["--binary", BINARY, "--output"])
        .arg(&place.directory)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", text(&built));
    let package = String::from_utf8(built.stdout).unwrap().trim().to_owned();
    let listed = Command::new("dpkg-deb").args(["--contents", &package]).output().unwrap();
    for file in [
        "./usr/bin/trunkline\n",
        "./usr/lib/systemd/system/trunkline-dataplane.service",
        "./usr/lib/systemd/system/trunkline-signaling.service",
        "./usr/lib/systemd/system/trunkline-pin.service",
        "./usr/share/man/man1/trunkline.1.gz",
        "./usr/share/man/man1/trunkline-pin.1.gz",
        "./etc/trunkline/trunkline.toml",
        "./usr/share/bash-completion/completions/trunkline",
    ] {
        assert!(text(&listed).contains(file), "{file}:\n{}", text(&listed));
    }
    if !rustix::process::geteuid().is_root() {
        println!("NOT CHECKED: installing needs root");
        return;
    }
    let script = format!("work={}\npackage={package}\n{INSTALL}", place.directory.display());
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--propagation", "private", "sh", "-ec", &script])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let told = text(&output);
    for words in [
        "trunkline-media:x:", // users
        "640 root trunkline", // the configuration may hold passwords
        "man1/trunkline.1",   // the manual
        "media runs as trunkline-media\n",
        "signaling runs as trunkline\n",
        "0 that stop the gateway",
        "purged",
    ] {
        assert!(told.contains(words), "{words}:\n{told}");
    }
    // Lower is better; 10 is a unit without any protection.
    for unit in ["dataplane", "signaling"] {
        let line = told.lines().find(|line| line.contains(&format!("exposure {unit}:")));
        let exposure: f64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        assert!(exposure < 5.0, "{line:?}");
    }
    assert!(!Path::new("/usr/bin/trunkline").exists() || was_there(), "the machine was changed");
}

/// A machine on which it is installed keeps it.
fn was_there() -> bool {
    let query = ["-W", "-f", "${Status}", "trunkline"];
    let output = Command::new("dpkg-query").args(query).output().unwrap();
    text(&output).contains("ok installed")
}

const INSTALL: &str = r#"
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
cp "$package" /mnt/root/trunkline.deb
mount -t proc proc /mnt/root/proc
mount --rbind /sys /mnt/root/sys
mount --rbind /dev /mnt/root/dev
ip link set lo up
cat >/mnt/root/check.sh <<'EOF'
set -e
export DEBIAN_FRONTEND=noninteractive
dpkg --install /trunkline.deb
getent passwd trunkline-media
stat -c '%a %U %G' /etc/trunkline/trunkline.toml
# Some images leave manuals out; the list has them.
dpkg --listfiles trunkline | grep man1/trunkline.1
trunkline --version
trunkline check --config /etc/trunkline/trunkline.toml
trunkline pin plan --workers 1

# As the units start them, with their users and no more rights than they list.
await() { until grep -q "$1" "$2"; do kill -0 "$3" || { cat "$2"; exit 1; }; sleep 0.1; done; }
units=/usr/lib/systemd/system
bounds() { sed -n 's/^CapabilityBoundingSet=//p' $units/$1 | tr ' ' '\n' | sed 's/CAP_/+/' | tr A-Z a-z | paste -sd,; }
started() { sed -n 's/^ExecStart=//p' $units/$1; }
user() { getent passwd "$(sed -n 's/^Uid:\t\([0-9]*\)\t.*/\1/p' /proc/$1/status)" | cut -d: -f1; }
mkdir -p /run/trunkline
touch /media.log /signaling.log
install -d -o trunkline /var/lib/trunkline /var/log/trunkline
setpriv --bounding-set "-all,$(bounds trunkline-dataplane.service)" --no-new-privs \
  $(started trunkline-dataplane.service) 2>/media.log &
media=$!
await "media workers run" /media.log $media
grep -o "hardened: .*" /media.log
echo "media runs as $(user $media)"
setpriv --reuid trunkline --regid trunkline --clear-groups --bounding-set -all --no-new-privs \
  $(started trunkline-signaling.service) >/signaling.log 2>&1 &
signaling=$!
await " ready " /signaling.log $signaling
await "signaling attached" /media.log $media
echo "signaling runs as $(user $signaling)"
kill -INT $signaling; wait $signaling
kill $media; wait $media

if command -v systemd-analyze >/dev/null; then
  systemd-analyze verify --man=no /usr/lib/systemd/system/trunkline-*.service
  for unit in dataplane signaling; do
    systemd-analyze security --offline=yes /usr/lib/systemd/system/trunkline-$unit.service |
      sed -n "s/.*Overall exposure level for .*: \([0-9.]*\) .*/exposure $unit: \1/p"
  done
else
  for unit in dataplane signaling; do echo "exposure $unit: 0 (NOT CHECKED: no systemd) 0"; done
fi
dpkg --purge trunkline
test ! -e /usr/bin/trunkline
test ! -e /etc/trunkline/trunkline.toml
if getent passwd trunkline; then exit 1; fi
echo purged
EOF
chroot /mnt/root sh /check.sh
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn heard(words: &Receiver<String>) -> String {
    words.recv_timeout(PATIENCE).unwrap()
}

/// Reads at once, as a service manager does: a full socket takes no further word.
fn listen(path: &Path) -> Receiver<String> {
    let socket = UnixDatagram::bind(path).unwrap();
    let (sender, words) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok(length) = socket.recv(&mut buffer) {
            let word = String::from_utf8(buffer[..length].to_vec()).unwrap();
            if sender.send(word).is_err() {
                return;
            }
        }
    });
    words
}

fn terminate(child: &mut Child) -> ExitStatus {
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    child.wait().unwrap()
}

/// A directory with a configuration; gone with the value.
struct Place {
    directory: PathBuf,
}

impl Place {
    fn make(name: &str) -> Place {
        let directory =
            std::env::temp_dir().join(format!("trunkline-service-{name}-{}", std::process::id()));
        let _left_over = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("run")).unwrap();
        fs::write(directory.join("gateway.toml"), CONFIG).unwrap();
        Place { directory }
    }

    fn command(&self, process: &str) -> Command {
        let mut command = Command::new(BINARY);
        command.args([process, "--config"]).arg(self.directory.join("gateway.toml"));
        command.stdin(Stdio::null());
        command
    }

    /// Starts a process as a service manager would, and what it reports.
    fn service(&self, process: &str, watchdog_us: &str) -> (Child, Receiver<String>) {
        let path = self.directory.join(format!("notify-{process}"));
        let words = listen(&path);
        let log = fs::File::create(self.directory.join(format!("{process}.log"))).unwrap();
        let child = self
            .command(process)
            // So that it does not outlive a test that fails.
            .arg("--supervised")
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", watchdog_us)
            .stderr(log)
            .spawn()
            .unwrap();
        (child, words)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _gone_already = fs::remove_dir_all(&self.directory);
        }
    }
}

const CONFIG: &str = r#"
[sip]
udp = ["127.0.0.87:5087"]

[media]
address = "127.0.0.87"
ports = "21200-21299"
backend = "uring"
flows = 16

[run]
directory = "run"

[[trunk]]
name = "provider"
host = "127.0.0.89"

[[route]]
name = "out"
called = "_0."
destination = "provider"
"#;
