//! The message headers of this backend's system calls, filled anew for each call.
//!
//! ```text
//! recvmmsg on the fan-in socket     name: source      control: original destination, time stamp
//! sendmmsg of frames                name: interface   payload: from the Ethernet header on
//! sendmmsg of datagrams (raw)       name: destination payload: from the UDP header on
//!                                                     control: source address, code point
//! ```
//! Names and control data lie here and not in front of the payloads: the same few lines of cache
//! serve every call. A header points into packet buffers and into this value only from being filled
//! to the end of the system call, all in one function that borrows both.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::null_mut;

use rustix::io::Errno;

use crate::io::head;
use crate::io::{BufferId, Buffers, Dscp, Endpoint};
use crate::limits::{BUFFER_SIZE, FAN_RUN, HEAD_ROOM, TAIL_ROOM};

/// Room for one call's headers. Large: to be kept on the heap.
pub struct Messages {
    headers: [libc::mmsghdr; FAN_RUN],
    payloads: [libc::iovec; FAN_RUN],
    names: [Name; FAN_RUN],
    controls: [Control; FAN_RUN],
}

/// Room for `sockaddr_in`, `sockaddr_in6` and `sockaddr_ll`.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Name([u8; 32]);

/// Room for an original destination and a time stamp, or for a source address and a code point.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_ROOM]);

/// What the kernel said about one received message.
#[derive(Clone, Copy, Debug)]
pub struct Came {
    pub source: Endpoint,
    pub to: Endpoint,
    pub len: usize,
    pub truncated: bool,
    pub stamp_ns: Option<u64>,
}

/// One packet to send: a part of its buffer.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub buffer: BufferId,
    pub start: usize,
    pub end: usize,
    pub toward: Toward,
}

/// What the kernel must know to send it.
#[derive(Clone, Copy, Debug)]
pub enum Toward {
    /// A frame leaves by this interface.
    Interface(u32),
    /// A frame leaves by the interface that its socket is bound to.
    Bound,
    /// A datagram goes from this address to that one, marked so.
    Address { from: u128, to: u128, dscp: Dscp },
}

impl Messages {
    pub fn new() -> Box<Messages> {
        // SAFETY: all of it is plain old data for which all zeroes is a valid value.
        Box::new(unsafe { std::mem::zeroed() })
    }

    /// Receives into the last buffers of `free`, message 0 into the very last; at most `room`.
    /// Returns how many were asked for and how many came.
    pub fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        buffers: &mut Buffers,
        free: &[BufferId],
        room: usize,
    ) -> Result<(usize, usize), Errno> {
        let mut asked = 0;
        let headers = self.headers.iter_mut().zip(&mut self.payloads);
        let extras = self.names.iter_mut().zip(&mut self.controls);
        let slots = headers.zip(extras).zip(free.iter().rev()).take(room.min(FAN_RUN));
        for (((header, payload), (name, control)), id) in slots {
            let Some(start) = buffers.address(*id) else { break };
            *payload = libc::iovec {
                iov_base: start.as_ptr().wrapping_add(HEAD_ROOM).cast(),
                // The tail room is ours: a packet may always grow by what protection adds.
                iov_len: BUFFER_SIZE - HEAD_ROOM - TAIL_ROOM,
            };
            fill(header, name, size_of::<Name>(), payload, control, CONTROL_ROOM);
            asked += 1;
        }
        // SAFETY: the first `asked` headers point to a payload, a part of distinct buffers that
        // `buffers` owns, and to names, control data and vectors of `self`; nothing else uses them
        // until the call returns.
        let came = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                asked as u32,
                libc::MSG_DONTWAIT,
                null_mut(),
            )
        };
        Ok((asked, count(came)?))
    }

    /// What [`Messages::receive`] got at `index`; `None` when it is no datagram for one of our
    /// ports.
    pub fn received(&self, index: usize) -> Option<Came> {
        let header = self.headers.get(index)?;
        let source = head::read_sockaddr(&self.names.get(index)?.0)?;
        let control = self.controls.get(index)?.0.get(..header.msg_hdr.msg_controllen)?;
        let mut came = Came {
            source,
            to: Endpoint { ip: 0, port: 0 },
            len: header.msg_len as usize,
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            stamp_ns: None,
        };
        let mut rest = control;
        while let Some((level, kind, data)) = next_control(&mut rest) {
            match (level, kind) {
                (libc::SOL_IP, ORIGINAL_V4) | (libc::SOL_IPV6, ORIGINAL_V6) => {
                    came.to = head::read_sockaddr(data)?;
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    came.stamp_ns = head::read_timespec(data);
                }
                _ => {}
            }
        }
        (came.to.port != 0).then_some(came)
    }

    /// Sends pieces in order; tells which the kernel refused, by their places in `pieces`, and why.
    pub fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        buffers: &Buffers,
        pieces: &[Piece],
        mut refused: impl FnMut(usize, Errno),
    ) {
        for (run, first) in pieces.chunks(FAN_RUN).zip((0..).step_by(FAN_RUN)) {
            let filled = self.fill_all(buffers, run);
            let mut done = 0;
            while let Some(headers) = self.headers.get_mut(done..filled)
                && !headers.is_empty()
            {
                // SAFETY: the headers point to parts of buffers that `buffers` owns, and to names,
                // control data and vectors of `self`; nothing else uses them until the call
                // returns.
                let sent = unsafe {
                    libc::sendmmsg(
                        socket.as_raw_fd(),
                        headers.as_mut_ptr(),
                        headers.len() as u32,
                        libc::MSG_DONTWAIT,
                    )
                };
                match count(sent) {
                    Ok(sent) if sent > 0 => done += sent,
                    Err(Errno::INTR) => {}
                    // The first of them was refused; the others have their chance.
                    other => {
                        refused(first + done, other.err().unwrap_or(Errno::IO));
                        done += 1;
                    }
                }
            }
            (filled..run.len()).for_each(|at| refused(first + at, Errno::INVAL));
        }
    }

    /// Fills headers for as many of `run` as are well-formed; how many.
    fn fill_all(&mut self, buffers: &Buffers, run: &[Piece]) -> usize {
        let headers = self.headers.iter_mut().zip(&mut self.payloads);
        let extras = self.names.iter_mut().zip(&mut self.controls);
        let mut filled = 0;
        for (((header, payload), (name, control)), piece) in headers.zip(extras).zip(run) {
            let Some(start) = buffers.address(piece.buffer) else { break };
            let Some(len) = piece.end.min(BUFFER_SIZE).checked_sub(piece.start) else { break };
            let iov_base = start.as_ptr().wrapping_add(piece.start).cast();
            *payload = libc::iovec { iov_base, iov_len: len };
            let (name_len, control_len) = match piece.toward {
                Toward::Bound => (0, 0),
                Toward::Interface(ifindex) => {
                    name.0 = interface(ifindex);
                    (size_of::<libc::sockaddr_ll>(), 0)
                }
                Toward::Address { from, to, dscp } => {
                    let to = Endpoint { ip: to, port: 0 };
                    let name_len = head::write_sockaddr(&mut name.0, to);
                    (name_len, write_control(&mut control.0, from, dscp, to.is_ipv4()))
                }
            };
            fill(header, name, name_len, payload, control, control_len);
            filled += 1;
        }
        filled
    }
}

fn fill(
    header: &mut libc::mmsghdr,
    name: &mut Name,
    name_len: usize,
    payload: &mut libc::iovec,
    control: &mut Control,
    control_len: usize,
) {
    let message = &mut header.msg_hdr;
    message.msg_name = if name_len == 0 { null_mut() } else { name.0.as_mut_ptr().cast() };
    message.msg_namelen = name_len as libc::socklen_t;
    message.msg_iov = payload;
    message.msg_iovlen = 1;
    message.msg_control = if control_len == 0 { null_mut() } else { control.0.as_mut_ptr().cast() };
    message.msg_controllen = control_len;
    message.msg_flags = 0;
}

/// `struct sockaddr_ll`: family, protocol, interface; what a frame's own header says is not needed.
fn interface(ifindex: u32) -> [u8; 32] {
    let mut name = [0; 32];
    let fields: [(usize, &[u8]); 2] =
        [(0, &(libc::AF_PACKET as u16).to_ne_bytes()), (4, &ifindex.to_ne_bytes())];
    put(&mut name, &fields);
    name
}

/// The source (`struct in_pktinfo` or `struct in6_pktinfo`) and the code point of a datagram as
/// control data; its length.
fn write_control(control: &mut [u8; CONTROL_ROOM], from: u128, dscp: Dscp, v4: bool) -> usize {
    *control = [0; CONTROL_ROOM];
    let six = from.to_be_bytes();
    let four = (from as u32).to_be_bytes();
    let (level, kind, at, address, len): (_, _, _, &[u8], usize) = if v4 {
        // Interface, source, then what only a receiver is told.
        (libc::SOL_IP, libc::IP_PKTINFO, 4, &four, size_of::<libc::in_pktinfo>())
    } else {
        (libc::SOL_IPV6, libc::IPV6_PKTINFO, 0, &six, size_of::<libc::in6_pktinfo>())
    };
    let class = if v4 { libc::IP_TOS } else { libc::IPV6_TCLASS };
    let octet = dscp.octet();
    let (source, mark) = (CONTROL_HEADER + len, CONTROL_HEADER + size_of_val(&octet));
    let second = source.next_multiple_of(8);
    let fields: [(usize, &[u8]); 8] = [
        (0, &source.to_ne_bytes()),
        (8, &level.to_ne_bytes()),
        (12, &kind.to_ne_bytes()),
        (CONTROL_HEADER + at, address),
        (second, &mark.to_ne_bytes()),
        (second + 8, &level.to_ne_bytes()),
        (second + 12, &class.to_ne_bytes()),
        (second + CONTROL_HEADER, &octet.to_ne_bytes()),
    ];
    put(control, &fields);
    second + mark.next_multiple_of(8)
}

fn put(place: &mut [u8], fields: &[(usize, &[u8])]) {
    for (at, octets) in fields {
        for (place, octet) in place.iter_mut().skip(*at).zip(*octets) {
            *place = *octet;
        }
    }
}

/// The next `cmsghdr`: level, type, data.
fn next_control<'a>(rest: &mut &'a [u8]) -> Option<(i32, i32, &'a [u8])> {
    let (len, after) = rest.split_first_chunk::<8>()?;
    let (level, after) = after.split_first_chunk::<4>()?;
    let (kind, _) = after.split_first_chunk::<4>()?;
    let len = usize::from_ne_bytes(*len);
    let data = rest.get(CONTROL_HEADER..len)?;
    *rest = rest.get(len.next_multiple_of(8)..).unwrap_or_default();
    Some((i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind), data))
}

fn count(returned: libc::c_int) -> Result<usize, Errno> {
    usize::try_from(returned)
        .map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// Length, level and type, on a 64-bit system.
const CONTROL_HEADER: usize = size_of::<libc::cmsghdr>();
/// A `sockaddr_in6` and a `timespec`, each behind its header.
const CONTROL_ROOM: usize = 2 * CONTROL_HEADER + 32 + size_of::<libc::timespec>();
/// `IP_ORIGDSTADDR` and `IPV6_ORIGDSTADDR`.
const ORIGINAL_V4: i32 = libc::IP_ORIGDSTADDR;
const ORIGINAL_V6: i32 = libc::IPV6_ORIGDSTADDR;

const _: () = assert!(CONTROL_HEADER == 16);
const _: () = assert!(size_of::<libc::sockaddr_ll>() <= 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_data_of_any_length_is_read_without_fault() {
        let mut all = Vec::new();
        for (level, kind, data) in [
            (libc::SOL_IP, ORIGINAL_V4, vec![2, 0, 0x4e, 0x20, 10, 0, 0, 1, 0, 0, 0, 0]),
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, vec![1; 16]),
        ] {
            all.extend((CONTROL_HEADER + data.len()).to_ne_bytes());
            all.extend(i32::to_ne_bytes(level));
            all.extend(i32::to_ne_bytes(kind));
            all.extend(&data);
            all.resize(all.len().next_multiple_of(8), 0);
        }
        let count = |octets: &[u8]| {
            let mut rest = octets;
            std::iter::from_fn(|| next_control(&mut rest)).count()
        };
        assert_eq!(count(&all), 2);
        for len in 0..all.len() {
            assert!(count(&all[..len]) <= 2);
        }
        for at in 0..all.len() {
            for octet in [0, 1, 15, 16, 17, 0x7f, 0xff] {
                let mut damaged = all.clone();
                damaged[at] = octet;
                assert!(count(&damaged) <= 3);
            }
        }
    }

    #[test]
    fn source_and_code_point_are_written_as_the_kernel_reads_them() {
        let mut control = [0xEE; CONTROL_ROOM];
        let len = write_control(&mut control, 0xffff_c000_0201, Dscp::EF, true);
        assert_eq!(len, 56);
        assert_eq!(control[..8], 28_u64.to_ne_bytes());
        assert_eq!(control[16..28], [0, 0, 0, 0, 192, 0, 2, 1, 0, 0, 0, 0]);
        assert_eq!(control[32..40], 20_u64.to_ne_bytes());
        assert_eq!(control[44..52], [[1, 0, 0, 0], [46 << 2, 0, 0, 0]].concat());
        let len = write_control(&mut control, 7, Dscp::EF, false);
        assert_eq!(len, 64);
        assert_eq!(control[16..32], 7_u128.to_be_bytes());
        assert_eq!(control[52..60], [[67, 0, 0, 0], [46 << 2, 0, 0, 0]].concat());
    }
}
