//! How routers should treat our SIP (RFC 2474): the code point of what leaves.
//!
//! Sockets are marked with the usual one. A trunk may want another (`signalling_dscp`): datagrams to it
//! carry that as control data, for all trunks share a socket; connections of its own are marked.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use socket2::{MsgHdr, SockAddr, SockRef};

/// Class selector 3, which RFC 4594 §2.3 has for signalling.
pub(super) const USUAL: u8 = 24;

/// Marks what a socket sends from now on. Best effort: an unmarked call is better than none.
pub(super) fn mark(socket: &impl AsFd, is_ipv4: bool, dscp: u8) {
    let (socket, octet) = (SockRef::from(socket), u32::from(dscp) << 2);
    let marked = if is_ipv4 { socket.set_tos_v4(octet) } else { socket.set_tclass_v6(octet) };
    if let Err(cause) = marked {
        tracing::debug!(%cause, dscp, "SIP is not marked");
    }
}

/// Sends a datagram with another code point than the socket's.
pub(super) fn send_marked(
    socket: &UdpSocket,
    bytes: &[u8],
    remote: SocketAddr,
    dscp: u8,
) -> io::Result<usize> {
    let (to, payload) = (SockAddr::from(remote), [IoSlice::new(bytes)]);
    let control = control(remote.is_ipv4(), dscp);
    let message = MsgHdr::new().with_addr(&to).with_buffers(&payload).with_control(&control);
    SockRef::from(socket).sendmsg(&message, 0)
}

/// `struct cmsghdr` and an integer, as cmsg(3) lays them out.
fn control(is_ipv4: bool, dscp: u8) -> [u8; 24] {
    let (level, kind) = if is_ipv4 { IP_TOS } else { IPV6_TCLASS };
    let octet = i32::from(dscp) << 2;
    let fields: [&[u8]; 5] = [
        &CONTROL_LENGTH.to_ne_bytes(),
        &level.to_ne_bytes(),
        &kind.to_ne_bytes(),
        &octet.to_ne_bytes(),
        &[0; 4],
    ];
    let mut control = [0; 24];
    for (place, octet) in control.iter_mut().zip(fields.into_iter().flatten()) {
        *place = *octet;
    }
    control
}

/// Octets of header and integer.
const CONTROL_LENGTH: u64 = 20;
/// Level and kind, ip(7) and ipv6(7).
const IP_TOS: (i32, i32) = (0, 1);
const IPV6_TCLASS: (i32, i32) = (41, 67);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_data_is_as_the_kernel_reads_it() {
        let head = |level: u8, kind: u8| {
            [[20, 0, 0, 0, 0, 0, 0, 0], [level, 0, 0, 0, kind, 0, 0, 0]].concat()
        };
        let mark = [34 << 2, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(control(true, 34)[..], [head(0, 1), mark.to_vec()].concat());
        assert_eq!(control(false, 34)[..], [head(41, 67), mark.to_vec()].concat());
    }

    #[test]
    fn the_kernel_takes_marked_datagrams_and_sockets() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            // A host without IPv6 has nothing to show here.
            let Ok(socket) = UdpSocket::bind(local) else { continue };
            let remote = socket.local_addr().unwrap();
            assert_eq!(send_marked(&socket, b"text", remote, 63).unwrap(), 4);
            let mut buffer = [0; 8];
            assert_eq!(socket.recv_from(&mut buffer).unwrap(), (4, remote));
            mark(&socket, remote.is_ipv4(), USUAL);
            let socket = SockRef::from(&socket);
            let octet = match remote.is_ipv4() {
                true => socket.tos_v4(),
                false => socket.tclass_v6(),
            };
            assert_eq!(octet.unwrap(), 24 << 2);
        }
    }
}
