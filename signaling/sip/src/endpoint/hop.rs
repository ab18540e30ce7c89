//! Where a message came from or goes to.

use std::net::SocketAddr;

use super::config::Stays;
use crate::wire::{Uri, Via};

/// What carries a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    /// True when the transport repeats lost data itself, so that transactions need not.
    pub fn is_reliable(self) -> bool {
        !matches!(self, Transport::Udp)
    }

    /// As it is written in a Via.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }

    /// The port of a URI without one (RFC 3261 §19.1.2).
    pub fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
        }
    }
}

/// One end of a message's way. `connection` 0 means none yet: dial. A live connection is preferred
/// over dialling `remote`. `tag` is the caller's number of the trunk that the message belongs to, 0
/// when its source belongs to none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Hop {
    pub transport: Transport,
    pub remote: SocketAddr,
    pub connection: u64,
    pub tag: u32,
}

impl Hop {
    /// The way to `uri` for a dialog that lives on this hop: a numeric host (or `maddr`) replaces
    /// the address unless it `stays`, a host name keeps it, because it was resolved when the hop was
    /// chosen.
    pub(super) fn toward(self, uri: &Uri, stays: &Stays) -> Hop {
        let Some(uri) = uri.as_sip() else { return self };
        let maddr = uri.params.get("maddr").and_then(|text| std::str::from_utf8(text).ok());
        let address = maddr.and_then(|text| text.parse().ok()).or_else(|| uri.host.ip());
        let Some(address) = address.filter(|address| !stays(&self, *address)) else { return self };
        let port = uri.port.unwrap_or(self.transport.default_port());
        Hop { remote: SocketAddr::new(address, port), ..self }
    }

    /// The way of a response to a request that came from here with this top Via.
    ///
    /// A connection is answered on itself. A datagram is answered to its source address, and to its
    /// source port when `rport` asks for it (RFC 3581 §4), else to the port of sent-by: some peers
    /// send from one port and listen on another (RFC 3261 §18.2.2).
    pub(super) fn reply(self, via: &Via) -> Hop {
        if self.transport.is_reliable() || via.wants_rport() {
            return self;
        }
        let port = via.port.unwrap_or(self.transport.default_port());
        Hop { remote: SocketAddr::new(self.remote.ip(), port), ..self }
    }

    /// Whether a response that came from here may answer a request that was sent to `sent`.
    ///
    /// A branch is no secret to whoever saw the request, so the way counts as well: the connection of
    /// the request, else the address it was sent to, else another address or connection of the same
    /// trunk. Without a connection that both name, addresses are compared: a request that is being
    /// dialled has only that.
    pub(super) fn may_answer(self, sent: Hop) -> bool {
        if self.transport != sent.transport {
            return false;
        }
        let connected =
            self.transport.is_reliable() && self.connection != 0 && sent.connection != 0;
        let same_way = if connected {
            self.connection == sent.connection
        } else {
            // A socket of both families names an IPv4 source in its mapped form.
            self.remote.ip().to_canonical() == sent.remote.ip().to_canonical()
        };
        same_way || (self.tag != 0 && self.tag == sent.tag)
    }

    /// This hop with the connection on which the peer was last heard, when it is the same path.
    pub(super) fn heard(self, other: Hop) -> Hop {
        let same = self.transport == other.transport && self.transport.is_reliable();
        if same && self.tag == other.tag {
            Hop { connection: other.connection, ..self }
        } else {
            self
        }
    }

    /// The way of a dialog after an answer to our INVITE: that of the answer, where a large INVITE went
    /// by TCP and the peer's Contact asks to go on so (RFC 3263 §4.1), else this one.
    pub(super) fn followed(self, answer: Hop, contact: &Uri) -> Hop {
        let named = contact.as_sip().and_then(|uri| uri.params.get("transport"));
        let asks = named.is_some_and(|name| name.eq_ignore_ascii_case(b"tcp"));
        let turned = self.transport == Transport::Udp && answer.transport == Transport::Tcp;
        if turned && asks && self.tag == answer.tag { answer } else { self.heard(answer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_means_nothing_here_is_not_followed() {
        let remote = "192.0.2.9:5070".parse().unwrap();
        let hop = Hop { transport: Transport::Udp, remote, connection: 3, tag: 1 };
        let behind: Stays = Box::new(|_, said| said.to_string() == "10.0.0.1");
        for (uri, stays, wanted) in [
            ("sip:a@10.0.0.1", &behind, "192.0.2.9:5070"),
            ("sip:a@10.0.0.2", &behind, "10.0.0.2:5060"),
            ("sip:a@b;maddr=10.0.0.1", &behind, "192.0.2.9:5070"),
            ("sip:a@b.example", &behind, "192.0.2.9:5070"),
        ] {
            let toward = hop.toward(&Uri::parse(uri.as_bytes()).unwrap(), stays);
            assert_eq!(toward.remote.to_string(), wanted, "{uri}");
            assert_eq!((toward.connection, toward.tag), (3, 1));
        }
    }
}
