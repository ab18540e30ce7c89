//! Time of the data plane: nanoseconds of CLOCK_MONOTONIC, which both processes can read.

use rustix::time::{ClockId, clock_gettime};

/// Now.
pub fn now_ns() -> u64 {
    read(ClockId::Monotonic)
}

/// The time of day in nanoseconds since 1970: the clock of the kernel's time stamps, good for
/// differences of moments only, since it may be set.
pub fn wall_ns() -> u64 {
    read(ClockId::Realtime)
}

/// CPU time of the calling thread, kernel included: the honest measure of how busy a worker is.
pub fn thread_cpu_ns() -> u64 {
    read(ClockId::ThreadCPUTime)
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(SECOND_NS).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

const SECOND_NS: u64 = 1_000_000_000;
