//! Who may still attach the programs when the process itself has given up every right: a process of its
//! own, split off at the start, that can do this one thing.
//!
//! ```text
//! sentry --"charge n"--> warden: bpf(LINK_CREATE, program n, interface n) --0 or errno--> sentry
//! ```
//! It holds the programs and one end of a line, CAP_BPF and CAP_NET_ADMIN, and a filter that lets it
//! read, write, close, make links and end; packets, keys, files and sockets are out of its reach. It
//! hears no signal, and as it stays root's by name, who has taken the data plane over cannot send it one.
//! Both programs and interfaces were fixed before anything came from outside, so the worst that the
//! line can be made to say is to attach what is meant to be attached.
//!
//! What it attached is gone with it, and it is gone with the data plane, however that ends: the line is
//! cut then, for nobody else has the other end.
//!
//! Between its first breath and its last it allocates nothing: it is the copy of a process in which other
//! threads may have held the allocator's lock.
//!
//! `unsafe`: fork(2), sigprocmask(2), close_range(2) and _exit(2) have no safe form.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair, sockopt,
};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use crate::io::bpf::{Link as Attachment, Program, XdpMode};

/// The line to the warden, which ends with it.
pub struct Warden {
    /// `None` once the warden did not answer.
    line: Option<OwnedFd>,
    process: Pid,
}

/// A program and the interface that it is for.
pub type Charge<'a> = (&'a Program, u32);

impl Warden {
    /// Splits it off, and waits until it is confined; `None` where the kernel cannot filter its calls,
    /// for it is not to be without.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn split_off(charges: &[Charge<'_>]) -> io::Result<Option<Warden>> {
        if !crate::harden::has_filters() {
            return Ok(None);
        }
        let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(None) };
        let filter = filter(arch).map_err(io::Error::other)?;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_timeout(&ours, sockopt::Timeout::Recv, Some(PATIENCE))?;
        let mut kept: Vec<u32> =
            charges.iter().map(|(program, _)| program.as_fd().as_raw_fd() as u32).collect();
        kept.push(theirs.as_raw_fd() as u32);
        kept.sort_unstable();
        let mut links: Vec<Option<Attachment>> = charges.iter().map(|_| None).collect();
        // SAFETY: the copy calls nothing but system calls and code that allocates nothing and takes
        // no lock, and never returns from `serve`.
        let process = match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error()),
            0 => serve(&theirs, &kept, charges, &mut links, &filter),
            process => Pid::from_raw(process).ok_or(io::ErrorKind::Other)?,
        };
        drop(theirs);
        let mut warden = Warden { line: Some(ours), process };
        match warden.answer() {
            Ok(()) => Ok(Some(warden)),
            Err(cause) => {
                let _ = kill_process(process, Signal::KILL);
                Err(cause)
            }
        }
    }

    /// Has the program of that charge attached again.
    ///
    /// # Errors
    /// Why it could not be: the kernel's reason, or that the warden is gone.
    pub fn attach(&mut self, charge: u32) -> io::Result<()> {
        let line = self.line.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        match send(line, &charge.to_ne_bytes(), SendFlags::NOSIGNAL) {
            Ok(_) => self.answer(),
            Err(errno) => {
                self.line = None;
                Err(errno.into())
            }
        }
    }

    /// What it answers. An answer that does not come in time is not waited for again, and the line is
    /// cut, lest it be taken for that to a later question.
    fn answer(&mut self) -> io::Result<()> {
        let line = self.line.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut answer = [0; 4];
        let heard = match recv(line, &mut answer, RecvFlags::empty()) {
            Ok((4, _)) => Ok(i32::from_ne_bytes(answer)),
            Ok(_) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(Errno::AGAIN) => Err(io::ErrorKind::TimedOut.into()),
            Err(errno) => Err(errno.into()),
        };
        match heard {
            Ok(0) => Ok(()),
            Ok(errno) => Err(io::Error::from_raw_os_error(errno)),
            Err(error) => {
                self.line = None;
                Err(error)
            }
        }
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        self.line = None;
        // A hardened process may not wait: its end is the warden's too.
        let _ = waitpid(Some(self.process), WaitOptions::empty());
    }
}

/// The warden's life.
fn serve(
    line: &OwnedFd,
    kept: &[u32],
    charges: &[Charge<'_>],
    links: &mut [Option<Attachment>],
    filter: &BpfProgram,
) -> ! {
    // For who lists processes; nothing depends on it.
    let _ = rustix::thread::set_name(c"xdp-warden");
    let confined = be_deaf()
        && close_all_but(kept)
        && forgo_capabilities().is_ok()
        && apply_filter(filter).is_ok();
    if confined && rustix::io::write(line, &0_i32.to_ne_bytes()).is_ok() {
        obey(line, charges, links);
    }
    // SAFETY: ends the process without running anything of its parent's.
    unsafe { libc::_exit(0) }
}

/// Until the line is cut, or says what is no question.
fn obey(line: &OwnedFd, charges: &[Charge<'_>], links: &mut [Option<Attachment>]) {
    let mut asked = [0; 4];
    while rustix::io::read(line, &mut asked[..]) == Ok(4) {
        let charge = u32::from_ne_bytes(asked) as usize;
        let errno = match charges.get(charge).zip(links.get_mut(charge)) {
            None => libc::EINVAL,
            Some((charge, link)) => attach(charge, link),
        };
        if rustix::io::write(line, &errno.to_ne_bytes()).is_err() {
            return;
        }
    }
}

/// 0, or why not.
fn attach((program, ifindex): &Charge<'_>, link: &mut Option<Attachment>) -> i32 {
    // What is left of an earlier one leads nowhere.
    *link = None;
    match Attachment::xdp(program, *ifindex, XdpMode::Native) {
        Ok(attached) => {
            *link = Some(attached);
            0
        }
        Err(cause) => cause.raw_os_error().unwrap_or(libc::EIO),
    }
}

/// Whether no signal is heard any more: handlers are its parent's, and would call what kills it.
fn be_deaf() -> bool {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `all` is written by the first call before the second reads it.
    unsafe {
        libc::sigfillset(all.as_mut_ptr()) == 0
            && libc::sigprocmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut()) == 0
    }
}

/// `kept` in rising order; whether all others are closed.
fn close_all_but(kept: &[u32]) -> bool {
    let close = |from: u32, to: u32| {
        // SAFETY: closes descriptors of this process, which uses none but `kept`.
        from > to || unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) } == 0
    };
    let (mut from, mut closed) = (0, true);
    for fd in kept {
        closed &= fd.checked_sub(1).is_none_or(|before| close(from, before));
        from = fd + 1;
    }
    closed && close(from, u32::MAX)
}

fn forgo_capabilities() -> rustix::io::Result<()> {
    let needed = CapabilitySet::NET_ADMIN | CapabilitySet::BPF;
    let kept = capabilities(None)?.effective & needed;
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })
}

/// Reading and writing, links, the end; death for anything else.
fn filter(arch: TargetArch) -> Result<BpfProgram, BackendError> {
    let links = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, LINK_CREATE)?;
    let mut calls: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.map(|call| (call, Vec::new())).into();
    calls.insert(libc::SYS_bpf, vec![SeccompRule::new(vec![links])?]);
    SeccompFilter::new(calls, SeccompAction::KillProcess, SeccompAction::Allow, arch)?.try_into()
}

const ALLOWED: [i64; 4] = [libc::SYS_read, libc::SYS_write, libc::SYS_close, libc::SYS_exit_group];
/// `enum bpf_cmd`
const LINK_CREATE: u64 = 28;
/// The kernel waits for the packets of a round before it attaches, for milliseconds; who takes longer than
/// this is not there.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::os::fd::RawFd;

    use super::*;
    use crate::io::bpf::{Assembler, ProgramKind, Reg};
    use crate::io::neighbour::Kernel;
    use crate::io::stage::Stage;

    fn passing() -> Program {
        let mut pass = Assembler::new();
        pass.mov_imm(Reg::R0, 2);
        pass.exit();
        Program::load(ProgramKind::Xdp, &pass.finish().unwrap(), "tl_pass").unwrap()
    }

    fn near() -> crate::io::neighbour::Link {
        Kernel::open().unwrap().link_named("near").unwrap()
    }

    /// Waits until the program is gone with what attached it: a process that another test starts has
    /// its descriptors for a moment.
    fn await_gone() {
        let begun = std::time::Instant::now();
        while near().xdp.is_some() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the program is still there");
            std::thread::yield_now();
        }
    }

    /// Runs a test at the near side of a wire (root only).
    fn at_near(test: impl FnOnce() + Send) {
        if let Some(stage) = Stage::build() {
            stage.at_near(test);
        }
    }

    #[test]
    fn it_attaches_its_charges_again_and_again_and_nothing_else() {
        at_near(|| {
            let program = passing();
            let mut warden = Warden::split_off(&[(&program, near().ifindex)]).unwrap().unwrap();
            for none in [1, 256, u32::MAX] {
                let refused = warden.attach(none).unwrap_err();
                assert_eq!(refused.raw_os_error(), Some(libc::EINVAL), "{none}");
                assert_eq!(near().xdp, None);
            }
            for _ in 0..3 {
                warden.attach(0).unwrap();
                assert!(near().xdp.is_some());
            }
            drop(warden);
            await_gone();
        });
    }

    #[test]
    fn why_it_cannot_is_told_and_it_goes_on() {
        at_near(|| {
            let program = passing();
            let charges = [(&program, u32::MAX >> 1), (&program, near().ifindex)];
            let mut warden = Warden::split_off(&charges).unwrap().unwrap();
            assert!(warden.attach(0).unwrap_err().raw_os_error().is_some(), "no such interface");
            let other = Attachment::xdp(&program, near().ifindex, XdpMode::Native).unwrap();
            let taken = warden.attach(1).unwrap_err().raw_os_error().unwrap();
            assert!([libc::EBUSY, libc::EEXIST].contains(&taken), "another is there: {taken}");
            drop(other);
            await_gone();
            warden.attach(1).unwrap();
            assert!(near().xdp.is_some());
        });
    }

    #[test]
    fn who_says_what_is_no_question_or_has_killed_it_gets_no_answer() {
        at_near(|| {
            let program = passing();
            let charges = [(&program, near().ifindex)];
            for words in [&[][..], &[0], &[0; 3]] {
                let mut warden = Warden::split_off(&charges).unwrap().unwrap();
                send(warden.line.as_ref().unwrap(), words, SendFlags::NOSIGNAL).unwrap();
                assert!(warden.answer().is_err(), "{words:?}");
                assert!(warden.attach(0).is_err());
            }
            let mut warden = Warden::split_off(&charges).unwrap().unwrap();
            warden.attach(0).unwrap();
            kill_process(warden.process, Signal::TERM).unwrap();
            warden.attach(0).expect("deaf to signals");
            kill_process(warden.process, Signal::KILL).unwrap();
            await_gone();
            assert!(warden.attach(0).is_err() && warden.attach(0).is_err());
        });
    }

    /// How a process ends that has the warden's filter and makes one call: `Ok` with what the call
    /// returned, `Err` with the signal.
    fn end_of(number: libc::c_long, arguments: [libc::c_long; 3]) -> Result<i32, i32> {
        let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        let filter = filter(arch).unwrap();
        // SAFETY: the copy makes system calls alone and does not return.
        let process = match unsafe { libc::fork() } {
            0 => {
                let applied = apply_filter(&filter).is_ok();
                let [a, b, c] = arguments;
                // SAFETY: the calls of the tests read and write no memory of ours.
                let answer = unsafe { libc::syscall(number, a, b, c) };
                // SAFETY: ends the copy.
                unsafe { libc::_exit(if applied { i32::from(answer >= 0) } else { 99 }) }
            }
            process => Pid::from_raw(process).unwrap(),
        };
        let (_, status) = waitpid(Some(process), WaitOptions::empty()).unwrap().unwrap();
        status.exit_status().ok_or_else(|| status.terminating_signal().unwrap())
    }

    #[test]
    fn any_other_call_is_its_death() {
        if !crate::harden::has_filters() {
            return;
        }
        const NONE: RawFd = 1_000_000;
        let none = libc::c_long::from(NONE);
        // What it may do is refused by the kernel here, not by the filter.
        assert_eq!(end_of(libc::SYS_bpf, [LINK_CREATE as libc::c_long, 0, 0]), Ok(0));
        assert_eq!(end_of(libc::SYS_close, [none, 0, 0]), Ok(0));
        assert_eq!(end_of(libc::SYS_write, [none, 0, 0]), Ok(0));
        let deadly = [
            (libc::SYS_bpf, 5),
            (libc::SYS_bpf, 30),
            (libc::SYS_socket, libc::c_long::from(libc::AF_INET)),
            (libc::SYS_openat, none),
            (libc::SYS_execve, 0),
            (libc::SYS_prctl, 0),
            (libc::SYS_ptrace, 0),
            (libc::SYS_kill, 0),
            (libc::SYS_mmap, 0),
        ];
        for (call, first) in deadly {
            assert_eq!(end_of(call, [first, 0, 0]), Err(libc::SIGSYS), "{call}");
        }
    }
}
