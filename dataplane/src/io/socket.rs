//! One media socket: UDP, bound to one port, not connected (the relay checks sources itself).

use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::SOCKET_BUFFER;

/// How routers should treat our packets (RFC 2474): the upper six bits of IPv4's type of service
/// and of IPv6's traffic class.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Dscp(u8);

impl Dscp {
    /// Expedited forwarding, what RFC 4594 §2 asks for voice.
    pub const EF: Dscp = Dscp(46);

    /// `None` above 63.
    pub fn new(value: u8) -> Option<Dscp> {
        (value < 64).then_some(Dscp(value))
    }

    pub(super) fn octet(self) -> u32 {
        u32::from(self.0) << 2
    }
}

/// Opens and binds a media socket. No address reuse: a port that another program holds must fail.
///
/// # Errors
/// Those of `socket(2)` and `bind(2)`. Buffer sizes and `dscp` are best effort.
pub fn open(address: SocketAddr, dscp: Dscp) -> io::Result<UdpSocket> {
    let kind = Type::DGRAM.cloexec().nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        let _ = socket.set_tclass_v6(dscp.octet());
    } else {
        let _ = socket.set_tos_v4(dscp.octet());
    }
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_marked_for_expedited_forwarding() {
        let four = open("127.0.0.1:0".parse().unwrap(), Dscp::EF).unwrap();
        assert_eq!(socket2::SockRef::from(&four).tos_v4().unwrap(), 46 << 2);
        // A host without IPv6 has nothing to show here.
        if let Ok(six) = open("[::1]:0".parse().unwrap(), Dscp::EF) {
            assert_eq!(socket2::SockRef::from(&six).tclass_v6().unwrap(), 46 << 2);
        }
        assert_eq!(Dscp::new(63).map(Dscp::octet), Some(252));
        assert_eq!(Dscp::new(64), None);
    }
}
