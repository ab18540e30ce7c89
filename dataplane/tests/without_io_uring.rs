//! Where io_uring is forbidden, as in most containers, the data plane runs all the same, says why and
//! what to do; where the operator insists on io_uring, it refuses.
//!
//! A seccomp filter on the test's thread, inherited by the workers that it starts, denies
//! `io_uring_setup` and touches no other thread.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod rig;

use std::io;
use std::sync::{Arc, Mutex};

use abi::Counter;
use dataplane::{BackendChoice, Level, Stop};
use rig::packet::rtp;
use rig::{Call, Rig, own_address, receive};

/// From here on `io_uring_setup` fails with `errno` on this thread and those it starts.
fn forbid_io_uring(errno: i32) {
    let statement = |code: u32, jump_true, jump_false, value| libc::sock_filter {
        code: code as u16,
        jt: jump_true,
        jf: jump_false,
        k: value,
    };
    // The number of the call is the first word of what a filter sees.
    let mut program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            libc::SYS_io_uring_setup as u32,
        ),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: prctl with these arguments reads no memory of ours; the filter lives through its call.
    let refused = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) != 0
    };
    assert!(!refused, "{}", io::Error::last_os_error());
}

/// What the data plane logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn warnings(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains("WARN")).map(str::to_owned).collect()
    }
}

#[test]
fn a_forbidden_ring_is_replaced_and_explained_once() {
    let log = Log::default();
    let (in_rig, written) = (log.clone(), log);
    let mut config = rig::config(own_address(), 64, 20_000..=20_999);
    config.backend = BackendChoice::Auto;
    let mut rig = Rig::launch(config, move |config, stop| {
        forbid_io_uring(libc::EPERM);
        let writer = move || in_rig.clone();
        let logged = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
        tracing::subscriber::with_default(logged, || dataplane::run(config, stop))
    });
    let call = Call::place(&mut rig, 0, 1);
    call.join(&mut rig);
    for seq in 0..50 {
        call.far_a.rtp.send_to(&rtp(seq), call.at_a.0).unwrap();
        assert_eq!(receive(&call.far_b.rtp), (rtp(seq), call.at_b.0));
    }
    rig.await_counter(Counter::RelayedRtp, 50);
    rig.check_books();
    rig.stop().unwrap();
    let about: Vec<_> =
        written.warnings().into_iter().filter(|line| line.contains("io_uring")).collect();
    assert_eq!(about.len(), 1, "{about:?}");
    for words in ["seccomp", "permits io_uring_setup", "epoll"] {
        assert!(about[0].contains(words), "{}", about[0]);
    }
}

#[test]
fn who_insists_on_the_ring_is_refused_and_check_tells_before() {
    forbid_io_uring(libc::ENOSYS);
    let mut config = rig::config(own_address(), 16, 20_000..=20_099);
    config.backend = BackendChoice::Uring;
    let checked = dataplane::check(&config).unwrap_err();
    let error = dataplane::run(config.clone(), Stop::new().unwrap()).unwrap_err();
    assert_eq!((error.exit_code(), error.to_string()), (77, checked.to_string()));
    assert!(error.to_string().contains("seccomp"), "{error}");
    config.backend = BackendChoice::Auto;
    dataplane::check(&config).unwrap();
    let findings = dataplane::probe();
    let finding = findings.iter().find(|finding| finding.name == "io_uring").unwrap();
    assert_eq!(finding.level, Level::Warn);
    assert!(finding.what.contains("epoll") && finding.remedy.contains("seccomp"), "{finding:?}");
}
