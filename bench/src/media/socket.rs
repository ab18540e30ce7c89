//! The media sockets of one call leg, and batched receive with the kernel's receive time (the peers'
//! SIP sockets use it too).
//!
//! A peer may be scheduled late on a busy machine; the time a packet reached the socket is the
//! kernel's to say (`SO_TIMESTAMPNS`), so lateness of the reader never shows as delay of the gateway.
//! The control message that carries it has no safe binding: this file holds the crate's only unsafe.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// RTP on an even port and RTCP on the next one (RFC 3550 §11), both bound and non-blocking.
pub struct MediaSockets {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
}

impl MediaSockets {
    /// Binds a free pair of ports at `address`.
    pub fn bind(address: IpAddr) -> io::Result<MediaSockets> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..BIND_ATTEMPTS {
            let rtp = UdpSocket::bind((address, 0))?;
            let port = rtp.local_addr()?.port();
            if port % 2 == 1 {
                continue;
            }
            match UdpSocket::bind((address, port + 1)) {
                Ok(rtcp) => {
                    for socket in [&rtp, &rtcp] {
                        socket.set_nonblocking(true)?;
                        enable_receive_time(socket)?;
                    }
                    return Ok(MediaSockets { rtp, rtcp });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Address of the RTP socket; RTCP is one port higher.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.rtp.local_addr()
    }
}

/// Buffers for one `recvmmsg`: up to [`BATCH`] datagrams of up to `ROOM` octets; a longer one is cut.
pub struct Batch<const ROOM: usize = DATAGRAM_MAX> {
    datagrams: Vec<[u8; ROOM]>,
    controls: Box<[Control; BATCH]>,
    names: [libc::sockaddr_in; BATCH],
    lengths: [usize; BATCH],
    received: [Duration; BATCH],
    filled: usize,
}

impl<const ROOM: usize> Batch<ROOM> {
    pub fn new() -> Batch<ROOM> {
        Batch {
            datagrams: vec![[0; ROOM]; BATCH],
            controls: Box::new([Control([0; CONTROL_LEN]); BATCH]),
            names: [NO_NAME; BATCH],
            lengths: [0; BATCH],
            received: [Duration::ZERO; BATCH],
            filled: 0,
        }
    }

    /// Receives what waits at `socket`, without blocking. `Ok(true)` means that the batch was filled
    /// and more may wait.
    pub fn receive(&mut self, socket: &impl AsRawFd) -> io::Result<bool> {
        self.filled = 0;
        let mut slices = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH];
        // SAFETY: an all-zero mmsghdr is valid: null pointers with zero lengths.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let buffers = self.datagrams.iter_mut().zip(self.controls.iter_mut());
        let parts = buffers.zip(self.names.iter_mut());
        for ((header, slice), ((datagram, control), name)) in
            headers.iter_mut().zip(slices.iter_mut()).zip(parts)
        {
            let slice = slice.write(libc::iovec {
                iov_base: datagram.as_mut_ptr().cast(),
                iov_len: datagram.len(),
            });
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            header.msg_hdr.msg_iov = slice;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL_LEN as _;
        }
        // SAFETY: every header points at one iovec, one name and one control buffer that live, unmoved
        // and unaliased, in this frame or in `self` until the call returns; the length is the array's.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(false) } else { Err(error) };
        }
        self.filled = count as usize;
        let results = self.lengths.iter_mut().zip(self.received.iter_mut());
        for (header, (length, received)) in headers.iter().zip(results).take(self.filled) {
            *length = header.msg_len as usize;
            *received = receive_time(&header.msg_hdr).unwrap_or(Duration::ZERO);
        }
        Ok(self.filled == BATCH)
    }

    /// Nothing waited at the last [`Batch::receive`].
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// The received datagrams, each with its source and its age.
    pub fn datagrams_with_source(&mut self) -> impl Iterator<Item = (&[u8], SocketAddr, Duration)> {
        let sources: Vec<SocketAddr> = self.names.iter().map(source).collect();
        let datagrams = self.datagrams();
        datagrams.zip(sources).map(|((datagram, age), source)| (&*datagram, source, age))
    }

    /// The received datagrams, each with its age: how long ago it reached the socket.
    pub fn datagrams(&mut self) -> impl Iterator<Item = (&mut [u8], Duration)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let meta = self.lengths.iter().zip(self.received.iter());
        self.datagrams.iter_mut().zip(meta).take(self.filled).filter_map(
            move |(datagram, (length, received))| {
                Some((datagram.get_mut(..*length)?, now.saturating_sub(*received)))
            },
        )
    }
}

/// Who sent a datagram; unspecified when that is no IPv4 address.
fn source(name: &libc::sockaddr_in) -> SocketAddr {
    if i32::from(name.sin_family) != libc::AF_INET {
        return (Ipv4Addr::UNSPECIFIED, 0).into();
    }
    let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
    (address, u16::from_be(name.sin_port)).into()
}

/// Has the kernel note when each datagram reaches the socket.
pub fn enable_receive_time(socket: &impl AsRawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option value is a live c_int and the length given is its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The `SCM_TIMESTAMPNS` of a received message, as time since the Unix epoch.
fn receive_time(message: &libc::msghdr) -> Option<Duration> {
    // SAFETY: the kernel filled `message`: its control pointer and length describe a live buffer of
    // whole control messages, which is what the two CMSG functions walk.
    let mut control = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !control.is_null() {
        // SAFETY: not null, so it points at a whole header inside the control buffer, which is
        // aligned for it (see `Control`).
        let header = unsafe { &*control };
        if header.cmsg_level == libc::SOL_SOCKET && header.cmsg_type == libc::SCM_TIMESTAMPNS {
            // SAFETY: this type of control message carries one timespec; read without assuming its
            // alignment.
            let time =
                unsafe { ptr::read_unaligned(libc::CMSG_DATA(control).cast::<libc::timespec>()) };
            let seconds = u64::try_from(time.tv_sec).ok()?;
            return Some(Duration::new(seconds, u32::try_from(time.tv_nsec).ok()?));
        }
        // SAFETY: as for CMSG_FIRSTHDR; `control` is a header of this message.
        control = unsafe { libc::CMSG_NXTHDR(message, control) };
    }
    None
}

/// Aligned as a `cmsghdr` needs; the kernel writes one timestamp message into it.
#[repr(align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_LEN]);

/// A paced leg has one packet waiting, a leg whose peer was stalled has a few.
const BATCH: usize = 16;
/// Longer than any packet of G.711 with SRTP and extensions; a longer datagram is cut and then fails
/// its check.
const DATAGRAM_MAX: usize = 2048;
const CONTROL_LEN: usize = 64;
const NO_NAME: libc::sockaddr_in = libc::sockaddr_in {
    sin_family: 0,
    sin_port: 0,
    sin_addr: libc::in_addr { s_addr: 0 },
    sin_zero: [0; 8],
};
/// Half of all free ports are even.
const BIND_ATTEMPTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn drains_in_batches_and_tells_the_age() {
        let sockets = MediaSockets::bind(Ipv4Addr::LOCALHOST.into()).unwrap();
        let local = sockets.local().unwrap();
        assert_eq!(local.port() % 2, 0);
        assert_eq!(sockets.rtcp.local_addr().unwrap().port(), local.port() + 1);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for n in 0..BATCH as u8 + 3 {
            sender.send_to(&[n; 100], local).unwrap();
        }
        let sent = SystemTime::now();
        std::thread::sleep(Duration::from_millis(20));
        let mut batch = Batch::<DATAGRAM_MAX>::new();
        let mut seen = Vec::new();
        loop {
            let more = batch.receive(&sockets.rtp).unwrap();
            let elapsed = sent.elapsed().unwrap();
            for (datagram, from, age) in batch.datagrams_with_source() {
                assert_eq!((datagram.len(), from), (100, sender.local_addr().unwrap()));
                assert!(age >= Duration::from_millis(20), "{age:?}");
                assert!(age <= elapsed + Duration::from_secs(1), "{age:?}");
                seen.push(datagram[0]);
            }
            if !more {
                break;
            }
        }
        assert_eq!(seen, (0..BATCH as u8 + 3).collect::<Vec<_>>());
        assert!(!batch.receive(&sockets.rtp).unwrap());
        assert_eq!(batch.datagrams().count(), 0);
    }
}
