//! Socket options that no crate sets; each is an int.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Has each received datagram tell where it was sent to.
///
/// # Errors
/// Those of `setsockopt(2)`, here and below.
pub fn tell_destination(socket: impl AsFd, v4: bool) -> io::Result<()> {
    if v4 {
        set(socket, libc::SOL_IP, libc::IP_RECVORIGDSTADDR, 1)
    } else {
        set(socket, libc::SOL_IPV6, libc::IPV6_RECVORIGDSTADDR, 1)
    }
}

/// Frames go to the driver at once, past queues and their filters.
///
/// # Errors
/// As above.
pub fn bypass_queues(socket: impl AsFd) -> io::Result<()> {
    set(socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)
}

/// Has frames leave by this interface where none is named; nothing is received.
///
/// # Errors
/// Those of `bind(2)`.
pub fn bind_to_interface(socket: impl AsFd, ifindex: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: ifindex as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the address is of the family that the length says, and lives through the call.
    let bound = unsafe {
        libc::bind(
            socket.as_fd().as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    if bound == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn set(
    socket: impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the option's value is an int, which lives through the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
