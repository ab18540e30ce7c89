//! rtnetlink messages: three questions, and what is read of answers and notifications.
//!
//! ```text
//! header 16: length, type, flags, serial, port | family header | attributes: length, type, value
//! ```
//! Own code, because the crates for it model hundreds of attributes, allocate for each, and still
//! leave the asking to us; nine attributes are read here.

use std::net::{IpAddr, Ipv6Addr};

use crate::io::frame::Mac;

/// What one message of the kernel says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Said {
    Route(Route),
    Link(Link),
    Neighbour(Neighbour),
    /// One of our addresses, and its interface.
    Address(IpAddr, u32),
    /// The end of a list.
    Done,
    /// Something about links, addresses, routes or rules: what was found out may no longer hold.
    Change,
    /// A question was refused, by `errno`; 0 is consent.
    Refused(i32),
    /// Of no interest, or unreadable.
    Nothing,
}

/// The route to one destination.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Route {
    /// To another host, not to ourselves, to many or to nowhere.
    pub unicast: bool,
    pub ifindex: u32,
    /// The next router; none when the destination itself is on the link.
    pub gateway: Option<IpAddr>,
    /// Longest packet that is known to arrive, if known.
    pub mtu: Option<u32>,
}

/// An interface.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Link {
    pub ifindex: u32,
    pub name: [u8; NAME_ROOM],
    pub ethernet: bool,
    /// Administratively, and there is a carrier.
    pub up: bool,
    pub address: Mac,
    pub mtu: u32,
    /// VLAN identifier and the interface below.
    pub vlan: Option<(u16, u32)>,
    /// The XDP program in its driver, by identifier.
    pub xdp: Option<u32>,
    /// Its other end, when it is one of a veth pair.
    pub peer: Option<Peer>,
    /// Packets that have left by it since it exists.
    pub sent: u64,
    /// Packets that were to leave by it and did not.
    pub dropped: u64,
}

/// The other end of a veth pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    pub ifindex: u32,
    /// Its network namespace, by our number for it; `None` when it is ours.
    pub namespace: Option<u32>,
}

impl Link {
    /// Its name, as `ip link` shows it.
    pub fn name(&self) -> &str {
        let end = self.name.iter().position(|octet| *octet == 0).unwrap_or(NAME_ROOM);
        self.name.get(..end).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or("?")
    }
}

/// A neighbour and where it is, if that is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neighbour {
    pub ifindex: u32,
    pub ip: IpAddr,
    pub mac: Option<Mac>,
}

/// "By which way do packets go to `to` that come from `from`?"
pub fn ask_route(serial: u32, to: IpAddr, from: IpAddr) -> Vec<u8> {
    let (family, bits) = family(to);
    let mut message = begin(GET_ROUTE, serial);
    message.extend([family, bits, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    attribute(&mut message, RTA_DST, to);
    attribute(&mut message, RTA_SRC, from);
    finish(message)
}

/// "What is interface `ifindex`?"
pub fn ask_link(serial: u32, ifindex: u32) -> Vec<u8> {
    let mut message = begin(GET_LINK, serial);
    message.extend([0; 4]);
    message.extend(ifindex.to_ne_bytes());
    message.extend([0; 8]);
    finish(message)
}

/// "What is the other end of a veth pair?" Takes rights over its namespace where that is not ours.
pub fn ask_peer(serial: u32, peer: Peer) -> Vec<u8> {
    let mut message = begin(GET_LINK, serial);
    message.extend([0; 4]);
    message.extend(peer.ifindex.to_ne_bytes());
    message.extend([0; 8]);
    if let Some(namespace) = peer.namespace {
        put_attribute(&mut message, IFLA_TARGET_NETNSID, &namespace.to_ne_bytes());
    }
    finish(message)
}

/// "What is the interface called `name`?"
pub fn ask_link_named(serial: u32, name: &str) -> Vec<u8> {
    let mut message = begin(GET_LINK, serial);
    message.extend([0; 16]);
    put_attribute(&mut message, IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
    finish(message)
}

/// "Which addresses do we have?"; many answers.
pub fn ask_addresses(serial: u32) -> Vec<u8> {
    let mut message = begin(GET_ADDRESS, serial);
    message.extend([0; 8]);
    let [f0, f1] = (REQUEST | DUMP).to_ne_bytes();
    if let Some(flags) = message.get_mut(6..8) {
        flags.copy_from_slice(&[f0, f1]);
    }
    finish(message)
}

/// "Where is `ip` on `ifindex`?"
pub fn ask_neighbour(serial: u32, ifindex: u32, ip: IpAddr) -> Vec<u8> {
    let (family, _) = family(ip);
    let mut message = begin(GET_NEIGHBOUR, serial);
    message.extend([family, 0, 0, 0]);
    message.extend(ifindex.to_ne_bytes());
    message.extend([0; 4]);
    attribute(&mut message, NDA_DST, ip);
    finish(message)
}

/// The messages of one datagram: each with its serial.
pub fn read(datagram: &[u8]) -> impl Iterator<Item = (u32, Said)> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let header = rest.first_chunk::<HEADER>()?;
        let [l0, l1, l2, l3, k0, k1, _, _, s0, s1, s2, s3, ..] = *header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let body = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        let said = body_of(u16::from_ne_bytes([k0, k1]), body);
        Some((u32::from_ne_bytes([s0, s1, s2, s3]), said))
    })
}

fn body_of(kind: u16, body: &[u8]) -> Said {
    let said = match kind {
        ERROR => body.first_chunk().map(|code| Said::Refused(-i32::from_ne_bytes(*code))),
        NEW_ROUTE => route(body).map(Said::Route),
        NEW_LINK => link(body).map(Said::Link),
        NEW_NEIGHBOUR => neighbour(body).map(Said::Neighbour),
        DEL_NEIGHBOUR => {
            neighbour(body).map(|gone| Said::Neighbour(Neighbour { mac: None, ..gone }))
        }
        NEW_ADDRESS => our_address(body),
        DONE => Some(Said::Done),
        DEL_LINK | DEL_ADDRESS | DEL_ROUTE | NEW_RULE | DEL_RULE => Some(Said::Change),
        _ => None,
    };
    said.unwrap_or(Said::Nothing)
}

fn route(body: &[u8]) -> Option<Route> {
    let (header, rest) = body.split_first_chunk::<12>()?;
    let [family, _, _, _, _, _, _, kind, ..] = *header;
    let mut route = Route { unicast: kind == RTN_UNICAST, ..Route::default() };
    for (kind, value) in attributes(rest) {
        match kind {
            RTA_OIF => route.ifindex = number(value)?,
            RTA_GATEWAY => route.gateway = Some(address(family, value)?),
            RTA_VIA => {
                let (family, ip) = value.split_first_chunk::<2>()?;
                route.gateway = Some(address(u16::from_ne_bytes(*family) as u8, ip)?);
            }
            RTA_METRICS => {
                let mut metrics = attributes(value).filter(|(kind, _)| *kind == RTAX_MTU);
                route.mtu = metrics.next().and_then(|(_, value)| number(value));
            }
            // Several next hops stand here in a table only, never in the answer about one packet.
            _ => {}
        }
    }
    Some(route)
}

fn link(body: &[u8]) -> Option<Link> {
    let (header, rest) = body.split_first_chunk::<16>()?;
    let [_, _, k0, k1, i0, i1, i2, i3, f0, f1, f2, f3, ..] = *header;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let mut link = Link {
        ifindex: u32::from_ne_bytes([i0, i1, i2, i3]),
        ethernet: u16::from_ne_bytes([k0, k1]) == ARPHRD_ETHER,
        up: flags & UP == UP,
        ..Link::default()
    };
    let (mut below, mut identifier, mut veth, mut namespace) = (None, None, false, None);
    for (kind, value) in attributes(rest) {
        match kind {
            IFLA_ADDRESS if link.ethernet => link.address = Mac(*value.first_chunk()?),
            IFLA_IFNAME => {
                for (place, octet) in link.name.iter_mut().zip(value) {
                    *place = *octet;
                }
            }
            IFLA_MTU => link.mtu = number(value)?,
            IFLA_LINK => below = number(value),
            IFLA_LINK_NETNSID => namespace = number(value),
            IFLA_LINKINFO => (identifier, veth) = (vlan(value), is_of_kind(value, b"veth\0")),
            IFLA_STATS64 => {
                let (counts, _) = value.as_chunks::<8>();
                let count =
                    |at: usize| counts.get(at).map_or(0, |count| u64::from_ne_bytes(*count));
                (link.sent, link.dropped) = (count(TX_PACKETS), count(TX_DROPPED));
            }
            IFLA_XDP => link.xdp = driver_program(value),
            _ => {}
        }
    }
    link.vlan = identifier.zip(below);
    link.peer = below.filter(|_| veth).map(|ifindex| Peer { ifindex, namespace });
    Some(link)
}

/// The program that runs in the driver, if one does.
fn driver_program(xdp: &[u8]) -> Option<u32> {
    let of = |wanted| move |(kind, value)| (kind == wanted).then_some(value);
    let mode = attributes(xdp).find_map(of(IFLA_XDP_ATTACHED))?;
    let identifier = match *mode.first()? {
        XDP_ATTACHED_DRIVER => IFLA_XDP_PROGRAM,
        XDP_ATTACHED_SEVERAL => IFLA_XDP_DRIVER_PROGRAM,
        _ => return None,
    };
    number(attributes(xdp).find_map(of(identifier))?)
}

fn our_address(body: &[u8]) -> Option<Said> {
    let (header, rest) = body.split_first_chunk::<8>()?;
    let [family, _, _, _, i0, i1, i2, i3] = *header;
    let mut ip = None;
    for (kind, value) in attributes(rest) {
        // On a point-to-point interface IFA_ADDRESS is the other end's.
        if kind == IFA_LOCAL || (kind == IFA_ADDRESS && ip.is_none()) {
            ip = address(family, value);
        }
    }
    Some(Said::Address(ip?, u32::from_ne_bytes([i0, i1, i2, i3])))
}

/// The VLAN identifier, when the interface is one of 802.1Q.
fn vlan(info: &[u8]) -> Option<u16> {
    let of = |wanted| move |(kind, value)| (kind == wanted).then_some(value);
    if !is_of_kind(info, b"vlan\0") {
        return None;
    }
    let data = attributes(info).find_map(of(IFLA_INFO_DATA))?;
    let protocol = attributes(data).find_map(of(IFLA_VLAN_PROTOCOL));
    if protocol.is_some_and(|protocol| protocol != [0x81, 0]) {
        return None;
    }
    let identifier = attributes(data).find_map(of(IFLA_VLAN_ID))?;
    identifier.first_chunk().map(|id| u16::from_ne_bytes(*id))
}

fn is_of_kind(info: &[u8], wanted: &[u8]) -> bool {
    let mut names = attributes(info).filter(|(kind, _)| *kind == IFLA_INFO_KIND);
    names.next().is_some_and(|(_, name)| name.starts_with(wanted))
}

fn neighbour(body: &[u8]) -> Option<Neighbour> {
    let (header, rest) = body.split_first_chunk::<12>()?;
    let [family, _, _, _, i0, i1, i2, i3, s0, s1, ..] = *header;
    let usable = u16::from_ne_bytes([s0, s1]) & NUD_VALID != 0;
    let (mut ip, mut mac) = (None, None);
    for (kind, value) in attributes(rest) {
        match kind {
            NDA_DST => ip = address(family, value),
            NDA_LLADDR if usable => mac = value.try_into().ok().map(Mac),
            _ => {}
        }
    }
    Some(Neighbour { ifindex: u32::from_ne_bytes([i0, i1, i2, i3]), ip: ip?, mac })
}

pub(super) fn begin(kind: u16, serial: u32) -> Vec<u8> {
    let mut message = vec![0; 4];
    message.extend(kind.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend(serial.to_ne_bytes());
    message.extend([0; 4]);
    message
}

fn attribute(message: &mut Vec<u8>, kind: u16, ip: IpAddr) {
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    put_attribute(message, kind, &octets);
}

pub(super) fn put_attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend((value.len() as u16 + 4).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

pub(super) fn finish(mut message: Vec<u8>) -> Vec<u8> {
    let length = (message.len() as u32).to_ne_bytes();
    for (place, octet) in message.iter_mut().zip(length) {
        *place = octet;
    }
    message
}

/// Attributes in their order; the upper bits of the type are flags.
pub(super) fn attributes(octets: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        let [l0, l1, k0, k1] = *rest.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & 0x3fff, value))
    })
}

fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|octets| u32::from_ne_bytes(*octets))
}

fn family(ip: IpAddr) -> (u8, u8) {
    match ip {
        IpAddr::V4(_) => (libc::AF_INET as u8, 32),
        IpAddr::V6(_) => (libc::AF_INET6 as u8, 128),
    }
}

fn address(family: u8, value: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => value.first_chunk::<4>().map(|ip| IpAddr::from(*ip)),
        libc::AF_INET6 => value.first_chunk::<16>().map(|ip| Ipv6Addr::from(*ip).into()),
        _ => None,
    }
}

/// Octets in front of each message.
pub(super) const HEADER: usize = 16;
/// IFNAMSIZ.
const NAME_ROOM: usize = 16;
const REQUEST: u16 = 1;
/// NLM_F_ROOT and NLM_F_MATCH: all there are.
const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const DEL_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DEL_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DEL_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
const NEW_NEIGHBOUR: u16 = 28;
const DEL_NEIGHBOUR: u16 = 29;
const GET_NEIGHBOUR: u16 = 30;
const NEW_RULE: u16 = 32;
const DEL_RULE: u16 = 33;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_METRICS: u16 = 8;
const RTA_VIA: u16 = 18;
const RTAX_MTU: u16 = 2;
const RTN_UNICAST: u8 = 1;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_STATS64: u16 = 23;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_TARGET_NETNSID: u16 = 46;
/// Places in `struct rtnl_link_stats64`.
const TX_PACKETS: usize = 1;
const TX_DROPPED: usize = 7;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROGRAM: u16 = 4;
const IFLA_XDP_DRIVER_PROGRAM: u16 = 5;
const XDP_ATTACHED_DRIVER: u8 = 1;
const XDP_ATTACHED_SEVERAL: u8 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_VLAN_PROTOCOL: u16 = 5;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const ARPHRD_ETHER: u16 = 1;
/// IFF_UP and IFF_LOWER_UP.
const UP: u32 = 1 | 1 << 16;
/// Permanent, no ARP, reachable, probe, stale, delay: the address counts.
const NUD_VALID: u16 = 0x80 | 0x40 | 0x02 | 0x10 | 0x04 | 0x08;

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut all = (value.len() as u16 + 4).to_ne_bytes().to_vec();
        all.extend(kind.to_ne_bytes());
        all.extend(value);
        all.resize(all.len().next_multiple_of(4), 0);
        all
    }

    fn message(kind: u16, parts: &[&[u8]]) -> Vec<u8> {
        let mut all = begin(kind, 7);
        parts.iter().for_each(|part| all.extend(*part));
        finish(all)
    }

    fn samples() -> Vec<(Vec<u8>, Said)> {
        let route = [2, 32, 0, 0, 254, 0, 0, RTN_UNICAST, 0, 0, 0, 0];
        let via = attribute(RTA_VIA, &[[10, 0].as_slice(), &[0xfe; 16]].concat());
        let metrics = attribute(RTA_METRICS, &attribute(RTAX_MTU, &1400_u32.to_ne_bytes()));
        let oif = attribute(RTA_OIF, &4_u32.to_ne_bytes());
        let mut link = [0; 16];
        link[2..4].copy_from_slice(&ARPHRD_ETHER.to_ne_bytes());
        link[4] = 9;
        link[8..12].copy_from_slice(&UP.to_ne_bytes());
        let data = attribute(IFLA_INFO_DATA, &attribute(IFLA_VLAN_ID, &100_u16.to_ne_bytes()));
        let info = [attribute(IFLA_INFO_KIND, b"vlan\0"), data].concat();
        let neighbour = [2, 0, 0, 0, 4, 0, 0, 0, 0x04, 0, 0, 1];
        let who = [attribute(NDA_DST, &[192, 0, 2, 7]), attribute(NDA_LLADDR, &[1, 2, 3, 4, 5, 6])];
        let there =
            Neighbour { ifindex: 4, ip: [192, 0, 2, 7].into(), mac: Some(Mac([1, 2, 3, 4, 5, 6])) };
        let mut failed = neighbour;
        failed[8] = 0x20;
        vec![
            (
                message(NEW_ROUTE, &[&route, &oif, &via, &metrics]),
                Said::Route(Route {
                    unicast: true,
                    ifindex: 4,
                    gateway: Some(Ipv6Addr::from([0xfe; 16]).into()),
                    mtu: Some(1400),
                }),
            ),
            (
                message(
                    NEW_LINK,
                    &[
                        &link,
                        &attribute(IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1]),
                        &attribute(IFLA_IFNAME, b"eth0.100\0"),
                        &attribute(IFLA_MTU, &1500_u32.to_ne_bytes()),
                        &attribute(IFLA_LINK, &3_u32.to_ne_bytes()),
                        &attribute(IFLA_LINKINFO, &info),
                        &attribute(
                            IFLA_XDP,
                            &[
                                attribute(IFLA_XDP_ATTACHED, &[XDP_ATTACHED_DRIVER]),
                                attribute(IFLA_XDP_PROGRAM, &33_u32.to_ne_bytes()),
                            ]
                            .concat(),
                        ),
                    ],
                ),
                Said::Link(Link {
                    ifindex: 9,
                    name: *b"eth0.100\0\0\0\0\0\0\0\0",
                    ethernet: true,
                    up: true,
                    address: Mac([2, 0, 0, 0, 0, 1]),
                    mtu: 1500,
                    vlan: Some((100, 3)),
                    xdp: Some(33),
                    peer: None,
                    sent: 0,
                    dropped: 0,
                }),
            ),
            (
                message(
                    NEW_LINK,
                    &[
                        &link,
                        &attribute(IFLA_LINK, &5_u32.to_ne_bytes()),
                        &attribute(IFLA_LINKINFO, &attribute(IFLA_INFO_KIND, b"veth\0")),
                        &attribute(IFLA_LINK_NETNSID, &2_u32.to_ne_bytes()),
                        &attribute(
                            IFLA_STATS64,
                            &(0..9_u64).flat_map(|n| (n * n).to_ne_bytes()).collect::<Vec<_>>(),
                        ),
                    ],
                ),
                Said::Link(Link {
                    ifindex: 9,
                    ethernet: true,
                    up: true,
                    peer: Some(Peer { ifindex: 5, namespace: Some(2) }),
                    sent: 1,
                    dropped: 49,
                    ..Link::default()
                }),
            ),
            (message(NEW_NEIGHBOUR, &[&neighbour, &who.concat()]), Said::Neighbour(there)),
            (
                message(NEW_NEIGHBOUR, &[&failed, &who.concat()]),
                Said::Neighbour(Neighbour { mac: None, ..there }),
            ),
            (
                message(DEL_NEIGHBOUR, &[&neighbour, &who.concat()]),
                Said::Neighbour(Neighbour { mac: None, ..there }),
            ),
            (message(ERROR, &[&(-2_i32).to_ne_bytes(), &[0; 16]]), Said::Refused(2)),
            (message(DEL_ROUTE, &[&route]), Said::Change),
            (
                message(
                    NEW_ADDRESS,
                    &[
                        &[2, 24, 0, 0, 4, 0, 0, 0],
                        &attribute(IFA_ADDRESS, &[192, 0, 2, 7]),
                        &attribute(IFA_LOCAL, &[192, 0, 2, 1]),
                    ],
                ),
                Said::Address([192, 0, 2, 1].into(), 4),
            ),
            (message(DONE, &[&[0; 4]]), Said::Done),
            (message(1, &[&[0; 4]]), Said::Nothing),
        ]
    }

    #[test]
    fn what_the_kernel_says_is_understood() {
        for (datagram, said) in samples() {
            assert_eq!(read(&datagram).collect::<Vec<_>>(), [(7, said)]);
        }
        let all: Vec<u8> = samples().into_iter().flat_map(|(datagram, _)| datagram).collect();
        assert_eq!(read(&all).count(), samples().len());
    }

    /// Every truncation, every octet at every place: nothing fails, nothing goes on for ever.
    #[test]
    fn damaged_messages_are_read_without_fault() {
        for (datagram, _) in samples() {
            for len in 0..datagram.len() {
                assert!(read(&datagram[..len]).count() <= 1);
            }
            for at in 0..datagram.len() {
                for octet in 0..=u8::MAX {
                    let mut damaged = datagram.clone();
                    damaged[at] = octet;
                    assert!(read(&damaged).count() <= damaged.len() / HEADER);
                }
            }
        }
    }
}
