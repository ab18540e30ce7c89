//! What a hardened data plane cannot do. Hardening is for good and for the whole process, so each
//! attempt is made in a process of its own: this binary, started again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod rig;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::Instant;

use dataplane::{Hardening, Stop};
use rig::{PATIENCE, config, own_address};

/// How a call must end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Allowed,
    Denied,
    Killed,
}

struct Attempt {
    name: &'static str,
    call: libc::c_long,
    arguments: [u64; 4],
    end: End,
}

const fn attempt(name: &'static str, call: libc::c_long, arguments: [u64; 4], end: End) -> Attempt {
    Attempt { name, call, arguments, end }
}

fn path(text: &'static std::ffi::CStr) -> u64 {
    text.as_ptr() as u64
}

/// Arguments that a kernel without filter takes, or answers with another error than EPERM.
fn attempts() -> Vec<Attempt> {
    use End::{Allowed, Denied, Killed};
    use libc as c;
    let at = c::AT_FDCWD as u64;
    let (inet, unix, packet) = (c::AF_INET as u64, c::AF_UNIX as u64, c::AF_PACKET as u64);
    let (datagram, tcp, raw) = (c::SOCK_DGRAM as u64, c::SOCK_STREAM as u64, c::SOCK_RAW as u64);
    let (rw, executable) = ((c::PROT_READ | c::PROT_WRITE) as u64, c::PROT_EXEC as u64);
    let fresh = (c::MAP_PRIVATE | c::MAP_ANONYMOUS) as u64;
    let parent = u64::from(std::os::unix::process::parent_id());
    let any_core = path(c"\xff\xff\xff\xff\xff\xff\xff");
    let create = (c::O_WRONLY | c::O_CREAT) as u64;
    vec![
        attempt("a media socket", c::SYS_socket, [inet, datagram, 0, 0], Allowed),
        attempt("memory", c::SYS_mmap, [0, 4096, rw, fresh], Allowed),
        attempt("its own core", c::SYS_sched_setaffinity, [0, 8, any_core, 0], Allowed),
        attempt("another's core", c::SYS_sched_setaffinity, [parent, 8, any_core, 0], Denied),
        attempt("reading a file", c::SYS_openat, [at, path(c"/etc/passwd"), 0, 0], Denied),
        attempt("writing a file", c::SYS_openat, [at, path(c"/dev/null"), create, 0o600], Denied),
        attempt("removing a file", c::SYS_unlinkat, [at, path(c"/tmp/no-such-file"), 0, 0], Denied),
        attempt("a packet socket", c::SYS_socket, [packet, raw, 0, 0], Denied),
        attempt("a raw socket", c::SYS_socket, [inet, raw, c::IPPROTO_UDP as u64, 0], Denied),
        attempt("a TCP socket", c::SYS_socket, [inet, tcp, 0, 0], Denied),
        attempt("a Unix socket", c::SYS_socket, [unix, tcp, 0, 0], Denied),
        attempt("code in memory", c::SYS_mmap, [0, 4096, rw | executable, fresh], Denied),
        attempt("another process", c::SYS_clone3, [0, 0, 0, 0], Denied),
        attempt("a signal to another", c::SYS_kill, [parent, 0, 0, 0], Denied),
        attempt("a signal to its thread", c::SYS_tgkill, [parent, parent, 0, 0], Denied),
        attempt("being root", c::SYS_setresuid, [0, 0, 0, 0], Denied),
        attempt("core dumps", c::SYS_prctl, [c::PR_SET_DUMPABLE as u64, 1, 0, 0], Denied),
        attempt("an anonymous file", c::SYS_memfd_create, [path(c"x"), 0, 0, 0], Denied),
        attempt("a device's controls", c::SYS_ioctl, [1, 0, 0, 0], Denied),
        attempt("a program", c::SYS_execve, [path(c"/no/such/program"), 0, 0, 0], Killed),
        attempt("a program by descriptor", c::SYS_execveat, [99, path(c"x"), 0, 0], Killed),
        attempt("tracing", c::SYS_ptrace, [c::PTRACE_ATTACH as u64, 0, 0, 0], Killed),
        attempt("others' memory", c::SYS_process_vm_readv, [parent, 0, 0, 0], Killed),
        attempt("a kernel program", c::SYS_bpf, [999, 0, 0, 0], Killed),
        attempt("another root", c::SYS_chroot, [path(c"/"), 0, 0, 0], Killed),
        attempt("a mount", c::SYS_mount, [0, 0, 0, 0], Killed),
        attempt("a namespace", c::SYS_unshare, [u64::MAX, 0, 0, 0], Killed),
        attempt("another ring", c::SYS_io_uring_setup, [1, 0, 0, 0], Killed),
        attempt("a kernel module", c::SYS_finit_module, [99, 0, 0, 0], Killed),
    ]
}

#[test]
fn a_hardened_data_plane_can_relay_and_nothing_else() {
    let root = rustix::process::geteuid().is_root();
    for (index, attempt) in attempts().iter().enumerate() {
        let before = errno_of(again("before", index));
        // Who is not root may less already; the attempt proves nothing then.
        if before == Some(libc::EPERM) && !root {
            continue;
        }
        assert_ne!(before, Some(libc::EPERM), "{}: denied in any case", attempt.name);
        let status = again("hardened", index);
        match attempt.end {
            End::Allowed => assert_eq!(errno_of(status), Some(0), "{}", attempt.name),
            End::Denied => assert_eq!(errno_of(status), Some(libc::EPERM), "{}", attempt.name),
            End::Killed => assert_eq!(status.signal(), Some(libc::SIGSYS), "{}", attempt.name),
        }
    }
}

#[test]
fn landlock_leaves_no_file_but_those_of_the_start() {
    let status = again("landlock", 0);
    assert_eq!(status.code(), Some(0));
}

/// Runs [`child`] in a process of its own.
fn again(part: &str, index: usize) -> ExitStatus {
    let directory = std::env::temp_dir()
        .join(format!("trunkline-hardening-{}-{part}-{index}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(PART, format!("{part} {index}"))
        // Its handover socket stays behind: it could not remove it.
        .env("TMPDIR", &directory)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    status
}

/// The error number that the child tells; 0 when the call succeeded.
fn errno_of(status: ExitStatus) -> Option<i32> {
    status.code()
}

#[test]
#[ignore = "the part of a child process"]
fn child() {
    let Ok(text) = std::env::var(PART) else { return };
    let (part, index) = text.split_once(' ').unwrap();
    let attempt = &attempts()[index.parse::<usize>().unwrap()];
    match part {
        "before" => make(attempt),
        "hardened" => {
            run_hardened();
            make(attempt)
        }
        "landlock" => confined(),
        other => panic!("{other}"),
    }
}

fn make(attempt: &Attempt) {
    let [a, b, c, d] = attempt.arguments;
    // SAFETY: the arguments are numbers, null or static text; what they could change is this
    // process's own.
    let result = unsafe { libc::syscall(attempt.call, a, b, c, d, -1, 0) };
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap();
    // SAFETY: ends the process, without any of the calls that a tidy end makes.
    unsafe { libc::_exit(if result == -1 { errno } else { 0 }) }
}

/// A running data plane in this process.
fn run_hardened() {
    let config = config(own_address(), 16, 20_000..=20_099);
    let hardening = Hardening::begin(&config, None).unwrap();
    std::thread::spawn(move || {
        dataplane::run_hardened(config, Stop::new().unwrap(), hardening, dataplane::Pulse::none())
    });
    let deadline = Instant::now() + PATIENCE;
    // A call that cannot fail begins to: the filter is there.
    // SAFETY: takes nothing and changes nothing.
    while unsafe { libc::syscall(libc::SYS_getppid) } != -1 {
        assert!(Instant::now() < deadline, "not hardened in time");
        std::thread::yield_now();
    }
}

fn confined() {
    let readable = || std::fs::read("/etc/passwd").is_ok();
    let connects = || std::net::TcpStream::connect(("127.0.0.1", 1)).unwrap_err().kind();
    let parent = rustix::process::getppid().unwrap();
    assert!(readable());
    assert_eq!(connects(), std::io::ErrorKind::ConnectionRefused);
    rustix::process::test_kill_process(parent).unwrap();
    let config = config(own_address(), 16, 20_000..=20_099);
    let handover = config.socket.clone();
    let _hardening = Hardening::begin(&config, None).unwrap();
    if !Hardening::forecast(None).unwrap().what.contains("no Landlock") {
        assert!(!readable(), "a file of the system");
        assert!(std::fs::write(handover.with_extension("txt"), "x").is_err(), "a new file");
        std::os::unix::net::UnixListener::bind(&handover).unwrap();
        std::fs::remove_file(&handover).unwrap();
        // TCP and signals came with later kernels.
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let version: Vec<u32> =
            release.split(['.', '-']).filter_map(|part| part.parse().ok()).collect();
        if version.as_slice() >= [6, 12].as_slice() {
            assert_eq!(connects(), std::io::ErrorKind::PermissionDenied);
            rustix::process::test_kill_process(parent).unwrap_err();
        }
    }
}

const PART: &str = "TRUNKLINE_TEST_PART";
