//! Address translation (NAT) between us and a trunk's peer: where its replies go, where its media
//! comes from and goes to.
//!
//! What a peer behind a NAT says of itself is not where it can be reached. The trunk's `nat` field
//! says what we believe instead: for replies the source of the request, for media the source of
//! the first packet that comes ("learning"; the data plane does it, RFC 7362 calls it latching).

use std::net::{IpAddr, SocketAddr};

use abi::Learning;
use sip::endpoint::Hop;
use sip::wire::{Request, Response};

use super::{Cidr, Trunk};

/// The trunk's `nat` field.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Nat {
    /// Replies and media go where the peer says.
    #[default]
    No,
    /// Replies go to the source of the request, asked for (RFC 3581) or not.
    ForceRport,
    /// Media goes to where media comes from.
    Comedia,
    /// Both.
    Yes,
    /// Each, when the peer names an address that is private or not the one that it sends from.
    Auto,
}

/// From where a peer's media may be learned (`learn_from`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LearnFrom {
    /// From anywhere.
    #[default]
    Any,
    /// From the network of its signalling: /24, or /64 in IPv6.
    Signalling,
    /// From this network.
    Network(Cidr),
}

/// What is known of where the peer of one leg is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vantage {
    nat: Nat,
    learn_from: LearnFrom,
    source: IpAddr,
    /// Via or Contact of its last message tell of a NAT.
    translated: bool,
}

/// Where the media of one leg comes from and goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Where the peer sends from and receives; none when it said that it receives nothing
    /// (`c=0.0.0.0`, RFC 3264 §8.4), or named an address that we cannot reach.
    pub rtp: Option<SocketAddr>,
    pub rtcp: Option<SocketAddr>,
    /// Whether its source may be learned.
    pub learning: Option<Learning>,
    /// It cannot be reached before its source is learned.
    pub is_awaited: bool,
    /// It cannot be reached, and its source may not be learned.
    pub is_lost: bool,
}

impl Vantage {
    /// A peer of `trunk` that signals from `source`.
    pub fn new(trunk: &Trunk, source: IpAddr) -> Self {
        let (nat, learn_from) = (trunk.nat, trunk.learn_from);
        Self { nat, learn_from, source: source.to_canonical(), translated: false }
    }

    /// A request of the peer came from `source`.
    pub fn asked(&mut self, source: IpAddr, request: &Request) {
        self.source = source.to_canonical();
        let via = request.headers.via().ok().and_then(|via| via.host.ip());
        self.translated = self.tells(via) || self.tells(contact(&request.headers));
    }

    /// A response of the peer came from `source`.
    pub fn answered(&mut self, source: IpAddr, response: &Response) {
        self.source = source.to_canonical();
        self.translated = self.tells(contact(&response.headers));
    }

    /// Where media is, given what the peer's session description says.
    pub fn place(&self, rtp: SocketAddr, rtcp: SocketAddr) -> Place {
        let learns = match self.nat {
            Nat::No | Nat::ForceRport => false,
            Nat::Comedia | Nat::Yes => true,
            Nat::Auto => self.translated || self.tells(Some(rtp.ip())),
        };
        let known = |said: SocketAddr| {
            (!said.ip().is_unspecified() && !self.is_hidden(said.ip())).then_some(said)
        };
        let hidden = self.is_hidden(rtp.ip());
        Place {
            rtp: known(rtp),
            rtcp: known(rtcp),
            learning: learns
                .then(|| Learning { window_ms: LEARNING_WINDOW_MS, within: self.within() }),
            is_awaited: hidden && learns,
            is_lost: hidden && !learns,
        }
    }

    /// An address in our own or another private network, while the peer is on the public one: what
    /// we sent there would reach somebody else, or nobody.
    fn is_hidden(&self, said: IpAddr) -> bool {
        is_private(said, self.source) && is_public(self.source)
    }

    /// Whether an address that the peer gave for itself tells of a NAT.
    fn tells(&self, said: Option<IpAddr>) -> bool {
        said.is_some_and(|said| tells_of_nat(said, self.source))
    }

    fn within(&self) -> Option<(IpAddr, u8)> {
        let network = match self.learn_from {
            LearnFrom::Any => return None,
            LearnFrom::Signalling if self.source.is_ipv4() => Cidr::around(self.source, NEAR_V4),
            LearnFrom::Signalling => Cidr::around(self.source, NEAR_V6),
            LearnFrom::Network(network) => network,
        };
        Some((network.first(), network.prefix()))
    }
}

/// Lets the replies to a datagram of this trunk go to where it came from, if `nat` says so: from
/// here on the request is one that asked for it (RFC 3581 §3). Connections are answered on
/// themselves anyway.
pub fn force_rport(trunk: &Trunk, hop: Hop, request: &mut Request) {
    if hop.transport.is_reliable() || matches!(trunk.nat, Nat::No | Nat::Comedia) {
        return;
    }
    let Ok(mut via) = request.headers.via() else { return };
    let tells = via.host.ip().is_some_and(|said| tells_of_nat(said, hop.remote.ip()));
    if !via.wants_rport() && (trunk.nat != Nat::Auto || tells) {
        via.params.set_flag("rport");
        // The Via was read from this very request.
        let _written = request.headers.set_top_via(&via);
    }
}

fn contact(headers: &sip::wire::Headers) -> Option<IpAddr> {
    let contacts = headers.contacts().ok()?;
    contacts.first()?.uri.as_sip()?.host.ip()
}

/// The unspecified address says nothing of where anybody is.
fn tells_of_nat(said: IpAddr, source: IpAddr) -> bool {
    let (said, source) = (said.to_canonical(), source.to_canonical());
    !said.is_unspecified() && (said != source || is_private(said, source))
}

/// An address that means something in one network only: RFC 1918, RFC 6598, RFC 4193, link-local;
/// loopback too, unless the peer itself is there.
pub fn is_private(said: IpAddr, source: IpAddr) -> bool {
    match said.to_canonical() {
        said if said.is_loopback() => !source.is_loopback(),
        IpAddr::V4(v4) => {
            let is_shared = matches!(v4.octets(), [100, 64..=127, _, _]);
            v4.is_private() || v4.is_link_local() || is_shared
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

fn is_public(source: IpAddr) -> bool {
    !source.is_loopback() && !source.is_unspecified() && !is_private(source, source)
}

/// How long plain media may still be learned from.
pub const LEARNING_WINDOW_MS: u32 = 5_000;
/// The network of a signalling source: what a provider gives one customer or uses for one site.
const NEAR_V4: u8 = 24;
const NEAR_V6: u8 = 64;

#[cfg(test)]
mod tests;
