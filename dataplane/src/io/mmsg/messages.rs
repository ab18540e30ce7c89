//! The message headers of `recvmmsg(2)` and `sendmmsg(2)`, filled anew for each call.
//!
//! A header points into packet buffers and into this value only from being filled to the end of the
//! system call, all in one function that borrows both.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{NonNull, null_mut};

use rustix::io::Errno;

use crate::io::head::{self, CONTROL_AT, CONTROL_ROOM, NAME_AT, NAME_ROOM};
use crate::io::{BufferId, Buffers, Departure, Origin};
use crate::limits::{BUFFER_SIZE, HEAD_ROOM, RECEIVE_RUN, SEND_RUN, TAIL_ROOM};

/// Room for one call's headers.
pub struct Messages {
    headers: [libc::mmsghdr; RUN_MAX],
    payloads: [libc::iovec; RUN_MAX],
}

/// What the kernel said about one received message.
#[derive(Clone, Copy, Default, Debug)]
pub struct Message {
    pub len: usize,
    pub truncated: bool,
    pub control_len: usize,
}

impl Messages {
    pub fn new() -> Messages {
        // SAFETY: both are plain old data for which all zeroes is a valid value.
        unsafe { std::mem::zeroed() }
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
        let slots = self.headers.iter_mut().zip(&mut self.payloads);
        for ((header, payload), id) in slots.zip(free.iter().rev()).take(room.min(RECEIVE_RUN)) {
            let Some(start) = buffers.address(*id) else { break };
            let control = at(start, CONTROL_AT);
            *payload = libc::iovec {
                iov_base: at(start, HEAD_ROOM),
                // The tail room is ours: a packet may always grow by what protection adds.
                iov_len: BUFFER_SIZE - HEAD_ROOM - TAIL_ROOM,
            };
            let name = (at(start, NAME_AT), NAME_ROOM as libc::socklen_t);
            *header = self::header(name, payload, (control, CONTROL_ROOM));
            asked += 1;
        }
        // SAFETY: the first `asked` headers point to a name, a control area and a payload, disjoint
        // parts of distinct buffers that `buffers` owns, and to `payloads`; nothing else uses them
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

    /// What [`Messages::receive`] got at `index`.
    pub fn received(&self, index: usize) -> Message {
        let Some(header) = self.headers.get(index) else { return Message::default() };
        Message {
            len: header.msg_len as usize,
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            control_len: header.msg_hdr.msg_controllen,
        }
    }

    /// Sends departures of one socket, in order, at most [`SEND_RUN`] of them; the origins of those
    /// that the kernel refuses go to `failed`.
    pub fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        buffers: &mut Buffers,
        run: impl Iterator<Item = &'a Departure> + Clone,
        failed: &mut Vec<Origin>,
    ) {
        let mut filled = 0;
        let slots = self.headers.iter_mut().zip(&mut self.payloads);
        for ((header, payload), departure) in slots.zip(run.clone()) {
            let Some(whole) = buffers.whole(departure.buffer) else { break };
            let name_len = head::write_name(whole, departure.destination);
            let Some(start) = buffers.address(departure.buffer) else { break };
            let iov_len = departure.len.min(BUFFER_SIZE - HEAD_ROOM);
            *payload = libc::iovec { iov_base: at(start, HEAD_ROOM), iov_len };
            *header = self::header((at(start, NAME_AT), name_len), payload, (null_mut(), 0));
            filled += 1;
        }
        let mut done = 0;
        while let Some(headers) = self.headers.get_mut(done..filled).filter(|rest| !rest.is_empty())
        {
            // SAFETY: the headers point to names and payloads in buffers that `buffers` owns, and to
            // `payloads`; nothing else uses them until the call returns.
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
                Ok(_) | Err(_) => {
                    failed.extend(run.clone().nth(done).map(|departure| departure.origin));
                    done += 1;
                }
            }
        }
    }
}

fn header(
    (name, name_len): (*mut libc::c_void, libc::socklen_t),
    payload: &mut libc::iovec,
    (control, control_len): (*mut libc::c_void, usize),
) -> libc::mmsghdr {
    // SAFETY: plain old data for which all zeroes is a valid value.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_name = name;
    header.msg_hdr.msg_namelen = name_len;
    header.msg_hdr.msg_iov = payload;
    header.msg_hdr.msg_iovlen = 1;
    header.msg_hdr.msg_control = control;
    header.msg_hdr.msg_controllen = control_len;
    header
}

fn at(start: NonNull<u8>, offset: usize) -> *mut libc::c_void {
    start.as_ptr().wrapping_add(offset).cast()
}

fn count(returned: libc::c_int) -> Result<usize, Errno> {
    usize::try_from(returned)
        .map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

const RUN_MAX: usize = if RECEIVE_RUN > SEND_RUN { RECEIVE_RUN } else { SEND_RUN };
