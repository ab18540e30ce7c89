//! What the kernel puts in front of a payload when it receives, and reads there when it sends.
//!
//! ```text
//! |<- 16 ->|<- 32 ->|<- 32 ->|<- payload
//! | header | name   | control|
//! ```
//! header: `struct io_uring_recvmsg_out`, by io_uring only. name: the source as `sockaddr_in` or
//! `sockaddr_in6`, later the destination. control: one `cmsghdr` with a time stamp, if any.

use std::net::Ipv4Addr;

use super::Endpoint;
use crate::limits::{BUFFER_SIZE, HEAD_ROOM};

pub const NAME_AT: usize = 16;
pub const NAME_ROOM: usize = 32;
pub const CONTROL_AT: usize = NAME_AT + NAME_ROOM;
pub const CONTROL_ROOM: usize = HEAD_ROOM - CONTROL_AT;

/// What io_uring says about a received message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub truncated: bool,
    /// Octets of control data, 0 when there is no time stamp.
    pub control_len: usize,
}

/// Reads io_uring's own header: name length, control length, payload length, flags.
pub fn read_header(whole: &[u8; BUFFER_SIZE]) -> Option<Header> {
    let (_name_len, rest) = whole.split_first_chunk::<4>()?;
    let (control_len, rest) = rest.split_first_chunk::<4>()?;
    let (_payload_len, rest) = rest.split_first_chunk::<4>()?;
    let flags = u32::from_ne_bytes(*rest.first_chunk::<4>()?);
    Some(Header {
        truncated: flags & libc::MSG_TRUNC as u32 != 0,
        control_len: u32::from_ne_bytes(*control_len) as usize,
    })
}

/// Reads the source. `None` when it is of no family that our sockets have.
pub fn read_name(whole: &[u8; BUFFER_SIZE]) -> Option<Endpoint> {
    let (_, name) = whole.split_first_chunk::<NAME_AT>()?;
    read_sockaddr(name)
}

/// Reads a `sockaddr_in` or `sockaddr_in6`. `None` when it is neither, or cut.
pub fn read_sockaddr(name: &[u8]) -> Option<Endpoint> {
    let (family, rest) = name.split_first_chunk::<2>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let ip = match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => {
            let ip = Ipv4Addr::from(*rest.first_chunk::<4>()?);
            u128::from(ip.to_ipv6_mapped())
        }
        libc::AF_INET6 => {
            let (_flow_info, rest) = rest.split_first_chunk::<4>()?;
            u128::from_be_bytes(*rest.first_chunk::<16>()?)
        }
        _ => return None,
    };
    Some(Endpoint { ip, port: u16::from_be_bytes(*port) })
}

/// Writes the destination where the source was; returns its length.
pub fn write_name(whole: &mut [u8; BUFFER_SIZE], to: Endpoint) -> libc::socklen_t {
    let Some((_, name)) = whole.split_first_chunk_mut::<NAME_AT>() else { return 0 };
    let Some(name) = name.first_chunk_mut::<NAME_ROOM>() else { return 0 };
    write_sockaddr(name, to) as libc::socklen_t
}

/// Writes a `sockaddr_in` or `sockaddr_in6`; returns its length.
pub fn write_sockaddr(name: &mut [u8; NAME_ROOM], to: Endpoint) -> usize {
    *name = [0; NAME_ROOM];
    let ip = to.ip.to_be_bytes();
    let (family, address_at, address, len): (_, usize, &[u8], _) = match ip.last_chunk::<4>() {
        Some(v4) if to.is_ipv4() => (libc::AF_INET, 4, v4, size_of::<libc::sockaddr_in>()),
        _ => (libc::AF_INET6, 8, &ip, size_of::<libc::sockaddr_in6>()),
    };
    let fields: [(usize, &[u8]); 3] =
        [(0, &(family as u16).to_ne_bytes()), (2, &to.port.to_be_bytes()), (address_at, address)];
    for (at, octets) in fields {
        for (place, octet) in name.iter_mut().skip(at).zip(octets) {
            *place = *octet;
        }
    }
    len
}

/// Reads when the kernel received the packet, in nanoseconds of the wall clock, from `len` octets of
/// control data.
pub fn read_stamp(whole: &[u8; BUFFER_SIZE], len: usize) -> Option<u64> {
    if len < CONTROL_ROOM {
        return None;
    }
    let (_, rest) = whole.split_first_chunk::<CONTROL_AT>()?;
    let (_len, rest) = rest.split_first_chunk::<8>()?;
    let (level, rest) = rest.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let is_stamp = i32::from_ne_bytes(*level) == libc::SOL_SOCKET
        && i32::from_ne_bytes(*kind) == libc::SCM_TIMESTAMPNS;
    if is_stamp { read_timespec(rest) } else { None }
}

/// A `timespec` in nanoseconds; `None` when it is cut or beyond any clock.
pub fn read_timespec(octets: &[u8]) -> Option<u64> {
    let (seconds, rest) = octets.split_first_chunk::<8>()?;
    let nanoseconds = u64::from_ne_bytes(*rest.first_chunk::<8>()?);
    u64::from_ne_bytes(*seconds).checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

const _: () = assert!(NAME_ROOM >= size_of::<libc::sockaddr_in6>());
// Header and time stamp of 16 octets each: a 64-bit system.
const _: () = assert!(size_of::<libc::cmsghdr>() + size_of::<libc::timespec>() == CONTROL_ROOM);

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn an_address_is_written_as_the_kernel_reads_it_and_read_as_it_writes_it() {
        for text in ["192.0.2.1:4000", "[2001:db8::7]:65535", "127.0.0.1:1"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut whole = [0xEE; BUFFER_SIZE];
            let len = write_name(&mut whole, address.into());
            assert_eq!(len, socket2::SockAddr::from(address).len());
            assert_eq!(read_name(&whole).unwrap().socket_addr(), address);
        }
    }

    #[test]
    fn truncation_and_foreign_families_are_seen() {
        let mut whole = [0; BUFFER_SIZE];
        assert!(read_name(&whole).is_none(), "family 0 is no datagram of ours");
        assert_eq!(read_header(&whole), Some(Header { truncated: false, control_len: 0 }));
        whole[4] = 32;
        whole[12..16].copy_from_slice(&(libc::MSG_TRUNC as u32).to_ne_bytes());
        assert_eq!(read_header(&whole), Some(Header { truncated: true, control_len: 32 }));
    }

    #[test]
    fn only_a_whole_time_stamp_is_one() {
        let mut whole = [0; BUFFER_SIZE];
        let control = &mut whole[CONTROL_AT..];
        control[..8].copy_from_slice(&32_u64.to_ne_bytes());
        control[8..12].copy_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
        control[12..16].copy_from_slice(&libc::SCM_TIMESTAMPNS.to_ne_bytes());
        control[16..24].copy_from_slice(&3_u64.to_ne_bytes());
        control[24..32].copy_from_slice(&5_u64.to_ne_bytes());
        assert_eq!(read_stamp(&whole, 32), Some(3_000_000_005));
        assert_eq!(read_stamp(&whole, 31), None);
        whole[CONTROL_AT + 16..CONTROL_AT + 24].fill(0xFF);
        assert_eq!(read_stamp(&whole, 32), None, "beyond any clock");
        whole[CONTROL_AT + 12] ^= 1;
        assert_eq!(read_stamp(&whole, 32), None, "another message");
    }
}
