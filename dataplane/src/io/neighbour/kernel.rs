//! Two rtnetlink sockets: one to ask, one to be told.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};

use super::message::{self, Link, Neighbour, Peer, Route, Said};

/// The two sockets, opened at the start. Neither needs a privilege.
pub struct Kernel {
    asking: OwnedFd,
    told: OwnedFd,
    serial: u32,
    datagram: Vec<u8>,
}

/// What was notified.
#[derive(Default)]
pub struct News {
    /// Links, addresses, routes or rules changed, or notifications were lost.
    pub change: bool,
    /// Neighbours that changed.
    pub neighbours: Vec<Neighbour>,
}

impl Kernel {
    /// # Errors
    /// Those of `socket(2)` and `bind(2)`.
    pub fn open() -> io::Result<Kernel> {
        let open = |groups| -> io::Result<OwnedFd> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            // The routing family is number 0, what is meant when none is named.
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
            bind(&socket, &SocketAddrNetlink::new(0, groups))?;
            Ok(socket)
        };
        let told = open(GROUPS)?;
        // A burst of changes must not be lost; when it is, all is asked again.
        let _ = socket2::SockRef::from(&told).set_recv_buffer_size(NEWS_BUFFER);
        Ok(Kernel { asking: open(0)?, told, serial: 0, datagram: vec![0; DATAGRAM_MAX] })
    }

    /// Becomes readable when there is news.
    pub fn told(&self) -> BorrowedFd<'_> {
        self.told.as_fd()
    }

    /// The way of packets from `from` to `to`; `None` when there is none.
    pub fn route(&mut self, to: IpAddr, from: IpAddr) -> Option<Route> {
        match self.ask(|serial| message::ask_route(serial, to, from))? {
            Said::Route(route) => Some(route),
            _ => None,
        }
    }

    pub fn link(&mut self, ifindex: u32) -> Option<Link> {
        match self.ask(|serial| message::ask_link(serial, ifindex))? {
            Said::Link(link) => Some(link),
            _ => None,
        }
    }

    /// The other end of a veth pair; `None` also where we have no right to look.
    pub fn peer(&mut self, peer: Peer) -> Option<Link> {
        match self.ask(|serial| message::ask_peer(serial, peer))? {
            Said::Link(link) => Some(link),
            _ => None,
        }
    }

    pub fn link_named(&mut self, name: &str) -> Option<Link> {
        match self.ask(|serial| message::ask_link_named(serial, name))? {
            Said::Link(link) => Some(link),
            _ => None,
        }
    }

    /// Our addresses, each with its interface.
    pub fn addresses(&mut self) -> Vec<(IpAddr, u32)> {
        let mut all = Vec::new();
        self.serial = self.serial.wrapping_add(1);
        if send(&self.asking, &message::ask_addresses(self.serial), SendFlags::empty()).is_err() {
            return all;
        }
        while let Some(len) = self.answer() {
            for (serial, said) in message::read(self.datagram.get(..len).unwrap_or_default()) {
                match said {
                    _ if serial != self.serial => {}
                    Said::Address(ip, ifindex) => all.push((ip, ifindex)),
                    Said::Done | Said::Refused(_) => return all,
                    _ => {}
                }
            }
        }
        all
    }

    pub fn neighbour(&mut self, ifindex: u32, ip: IpAddr) -> Option<Neighbour> {
        match self.ask(|serial| message::ask_neighbour(serial, ifindex, ip))? {
            Said::Neighbour(neighbour) => Some(neighbour),
            _ => None,
        }
    }

    /// Everything that was notified since the last call; never waits.
    pub fn news(&mut self) -> News {
        let mut news = News::default();
        loop {
            let len = match recv(&self.told, &mut self.datagram[..], RecvFlags::DONTWAIT) {
                Ok((_, len)) if len <= self.datagram.len() => len,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return news,
                // Lost for lack of room, or longer than any message that there is.
                Ok(_) | Err(Errno::NOBUFS) => {
                    news.change = true;
                    continue;
                }
                Err(_) => {
                    news.change = true;
                    return news;
                }
            };
            for (_, said) in message::read(self.datagram.get(..len).unwrap_or_default()) {
                match said {
                    Said::Neighbour(neighbour) => news.neighbours.push(neighbour),
                    Said::Change | Said::Address(..) | Said::Link(_) | Said::Route(_) => {
                        news.change = true;
                    }
                    Said::Refused(_) | Said::Done | Said::Nothing => {}
                }
            }
        }
    }

    /// Asks one question; the kernel answers within the call, so that the wait below is a formality.
    fn ask(&mut self, question: impl Fn(u32) -> Vec<u8>) -> Option<Said> {
        self.serial = self.serial.wrapping_add(1);
        send(&self.asking, &question(self.serial), SendFlags::empty()).ok()?;
        while let Some(len) = self.answer() {
            // What belongs to an older question is passed over.
            let mut said = message::read(self.datagram.get(..len)?);
            if let Some((_, said)) = said.find(|(serial, _)| *serial == self.serial) {
                return Some(said);
            }
        }
        None
    }

    /// The length of the next datagram of answers.
    fn answer(&mut self) -> Option<usize> {
        let patience = Timespec { tv_sec: 1, tv_nsec: 0 };
        loop {
            match recv(&self.asking, &mut self.datagram[..], RecvFlags::DONTWAIT) {
                Ok((_, len)) => return Some(len),
                Err(Errno::AGAIN) => {
                    let mut fds = [PollFd::new(&self.asking, PollFlags::IN)];
                    match poll(&mut fds, Some(&patience)) {
                        Ok(0) => return None,
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(_) => return None,
                    }
                }
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
}

/// Links, neighbours, addresses, routes and rules of both families.
const GROUPS: u32 = 1 << 0 | 1 << 2 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 18;
/// A link with its statistics and virtual functions is the longest message.
const DATAGRAM_MAX: usize = 64 << 10;
/// Some thousands of notifications.
const NEWS_BUFFER: usize = 1 << 20;
