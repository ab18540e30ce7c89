//! Seccomp: the system calls that the process may still make once its workers run.
//!
//! Two filters, of whose answers the kernel takes the stricter one:
//!
//! | call | answer |
//! |---|---|
//! | what workers make ([`ALLOWED`], and some with certain arguments) | allowed |
//! | what only an intruder makes ([`FATAL`]) | the process is killed, which the audit log tells |
//! | any other | EPERM |
//!
//! A relay must not die of a harmless call that a new libc or allocator makes, hence EPERM; a
//! process that starts programs or looks into others is no relay any more, hence death.
//!
//! The first list comes from traces of all backends through calls, restarts of signaling and stop.

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

/// Filters the calls of all threads, from now on. False when this kernel or processor cannot.
///
/// # Errors
/// What the kernel refused although it has seccomp.
pub fn filter() -> io::Result<bool> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(false) };
    if !available() {
        return Ok(false);
    }
    // Both are made before the first counts; the usual one comes last, for it allows no further.
    let fatal = fatal(arch).map_err(io::Error::other)?;
    let usual = usual(arch).map_err(io::Error::other)?;
    for program in [fatal, usual] {
        apply_filter_all_threads(&program).map_err(io::Error::other)?;
    }
    Ok(true)
}

/// Whether this kernel has it.
pub fn available() -> bool {
    std::fs::exists("/proc/sys/kernel/seccomp/actions_avail").unwrap_or(false)
}

fn fatal(arch: TargetArch) -> Result<BpfProgram, BackendError> {
    let calls = FATAL.iter().map(|call| (*call, Vec::new())).collect();
    SeccompFilter::new(calls, SeccompAction::Allow, SeccompAction::KillProcess, arch)?.try_into()
}

fn usual(arch: TargetArch) -> Result<BpfProgram, BackendError> {
    // A call without rules is allowed with any arguments.
    let mut calls: BTreeMap<c_long, Vec<SeccompRule>> =
        ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (*call, Vec::new())).collect();
    let executable = libc::PROT_EXEC as u64;
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        calls.insert(call, vec![rule([masked(2, executable, 0)?])?]);
    }
    // The kernel takes flags for the type too: the type itself are the lowest four bits.
    let datagrams = |family: i32| -> Result<SeccompRule, BackendError> {
        rule([equal(0, family as u64)?, masked(1, 0xf, libc::SOCK_DGRAM as u64)?])
    };
    let families = vec![datagrams(libc::AF_INET)?, datagrams(libc::AF_INET6)?];
    calls.insert(libc::SYS_socket, families);
    let descriptor_flags = [libc::F_GETFL, libc::F_SETFL, libc::F_DUPFD_CLOEXEC].into_iter();
    let commands: Result<_, _> =
        descriptor_flags.map(|command| rule([equal(1, command as u64)?])).collect();
    calls.insert(libc::SYS_fcntl, commands?);
    // A thread may choose its own core, no other's.
    calls.insert(libc::SYS_sched_setaffinity, vec![rule([equal(0, 0)?])?]);
    // abort(3) of ourselves, never a signal to others.
    let own = u64::from(std::process::id());
    calls.insert(libc::SYS_tgkill, vec![rule([equal(0, own)?])?]);
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(calls, denied, SeccompAction::Allow, arch)?.try_into()
}

fn rule<const N: usize>(conditions: [SeccompCondition; N]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into())
}

fn equal(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompCondition, BackendError> {
    let op = SeccompCmpOp::MaskedEq(mask);
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
}

const ALLOWED: &[c_long] = &[
    // the ring
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // sockets and descriptors
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_close,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_write,
    libc::SYS_writev,
    // waiting
    libc::SYS_clock_nanosleep,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    libc::SYS_timerfd_settime,
    // time, chance, identity
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    // memory
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // signals, the end of threads and of the process
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
];

/// What newer processors have no more.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[c_long] = &[libc::SYS_epoll_wait, libc::SYS_poll, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[];

const FATAL: &[c_long] = &[
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_setns,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_both_usual_and_fatal() {
        let both = FATAL.iter().filter(|call| ALLOWED.contains(call));
        assert_eq!(both.count(), 0);
    }

    #[test]
    fn the_filters_fit_the_kernel() {
        // BPF_MAXINSNS
        for arch in [TargetArch::x86_64, TargetArch::aarch64] {
            assert!(usual(arch).unwrap().len() <= 4096);
            assert!(fatal(arch).unwrap().len() <= 4096);
        }
    }
}
