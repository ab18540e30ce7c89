//! One media socket: UDP, bound to one port, never connected (the relay checks sources itself).

use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::SOCKET_BUFFER;

/// Opens and binds a media socket. No address reuse: a port that another program holds must fail.
///
/// # Errors
/// Those of `socket(2)` and `bind(2)`. Buffer sizes are best effort.
pub fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let kind = Type::DGRAM.cloexec().nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}
