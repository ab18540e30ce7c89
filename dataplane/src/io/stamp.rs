//! The kernel's receive times: asked for on a socket, turned into ages.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use crate::clock;

/// Has the kernel tell with each packet when it came.
///
/// # Errors
/// Those of `setsockopt(2)`.
pub fn enable(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is an int, which lives through the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Turns the stamps of one round into ages; reads the clock once, and only when there is a stamp.
#[derive(Default)]
pub struct Ages {
    now_ns: Option<u64>,
}

impl Ages {
    /// Nanoseconds since `stamp_ns`; `None` when the clock was set meanwhile.
    pub fn age_ns(&mut self, stamp_ns: u64) -> Option<u64> {
        let now_ns = *self.now_ns.get_or_insert_with(clock::wall_ns);
        now_ns.checked_sub(stamp_ns).filter(|age| *age < AGE_MAX_NS)
    }
}

/// No packet waits longer for a worker that lives: the clock was set.
const AGE_MAX_NS: u64 = 10_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_gives_no_age() {
        let mut ages = Ages { now_ns: Some(20_000_000_000) };
        assert_eq!(ages.age_ns(19_999_999_000), Some(1000));
        assert_eq!(ages.age_ns(20_000_000_001), None);
        assert_eq!(ages.age_ns(0), None);
    }
}
