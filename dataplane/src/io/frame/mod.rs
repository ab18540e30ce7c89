//! Ethernet frames around a payload that lies in its buffer: written in front of it, read around it.
//!
//! ```text
//! |<- free ->| Ethernet 14 | (802.1Q 4) | IPv4 20 or IPv6 40 | UDP 8 | payload
//!            ^ start of the frame                                    ^ payload_at
//! ```
//! What leaves carries every checksum, also over IPv6 and also in UDP over IPv4, and is never
//! fragmented: what is longer than the next hop takes is not made into a frame, and goes by the
//! kernel's way. Identification is 0 under "don't fragment" (RFC 6864 §4.1).

use std::net::Ipv4Addr;
use std::ops::Range;

use super::{Dscp, Endpoint};

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Mac(pub [u8; 6]);

/// Where a frame goes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hop {
    /// The Ethernet interface; below a VLAN the one that carries it.
    pub ifindex: u32,
    /// The interface's address.
    pub source: Mac,
    /// The next hop's.
    pub target: Mac,
    /// VLAN identifier, 1 to 4094 (IEEE 802.1Q).
    pub vlan: Option<u16>,
    /// Longest IP packet, in octets.
    pub mtu: u32,
}

/// Between whom a packet goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    pub from: Endpoint,
    pub to: Endpoint,
    pub dscp: Dscp,
}

/// Octets in front of the payload at most: Ethernet, one tag, IPv6, UDP.
pub const HEADERS_MAX: usize = ETHERNET + TAG + IPV6 + UDP;

/// Writes the headers in front of the `len` octets at `payload_at`; returns where the frame begins.
/// `None` when the packet does not fit the next hop or the space, or when the addresses are of two
/// families; only the UDP header is then written, if any.
pub fn write(
    frame: &mut [u8],
    payload_at: usize,
    len: usize,
    hop: &Hop,
    way: &Way,
) -> Option<usize> {
    let ip_at = write_ip(frame, payload_at, len, hop.mtu, way)?;
    let (head, _) = frame.split_at_mut_checked(ip_at)?;
    let kind = if way.to.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
    let [k0, k1] = kind.to_be_bytes();
    let (Mac([t0, t1, t2, t3, t4, t5]), Mac([s0, s1, s2, s3, s4, s5])) = (hop.target, hop.source);
    match hop.vlan {
        None => {
            let place = head.last_chunk_mut::<ETHERNET>()?;
            *place = [t0, t1, t2, t3, t4, t5, s0, s1, s2, s3, s4, s5, k0, k1];
            Some(ip_at - ETHERNET)
        }
        Some(vlan) => {
            // Priority 0, as the kernel's own tags have unless told otherwise.
            let [v0, v1] = (vlan & VLAN_MASK).to_be_bytes();
            let [q0, q1] = ETHERTYPE_VLAN.to_be_bytes();
            let place = head.last_chunk_mut::<{ ETHERNET + TAG }>()?;
            *place = [t0, t1, t2, t3, t4, t5, s0, s1, s2, s3, s4, s5, q0, q1, v0, v1, k0, k1];
            Some(ip_at - ETHERNET - TAG)
        }
    }
}

/// Writes the UDP header alone, with its checksum, in front of the `len` octets at `payload_at`;
/// returns where it begins. `None` when it does not fit, or the addresses are of two families.
pub fn write_udp(frame: &mut [u8], payload_at: usize, len: usize, way: &Way) -> Option<usize> {
    if way.from.is_ipv4() != way.to.is_ipv4() {
        return None;
    }
    let length = u16::try_from(len + UDP).ok()?;
    let (head, body) = frame.split_at_mut_checked(payload_at)?;
    let payload = body.get(..len)?;
    let header = head.last_chunk_mut::<UDP>()?;
    let [[f0, f1], [t0, t1], [l0, l1]] = [way.from.port, way.to.port, length].map(u16::to_be_bytes);
    *header = [f0, f1, t0, t1, l0, l1, 0, 0];
    let sum = pseudo_header(way, length) + sum(header) + sum(payload);
    // A sum of 0 would say that there is none (RFC 768).
    let checksum = match !fold(sum) {
        0 => u16::MAX,
        checksum => checksum,
    };
    let [c0, c1] = checksum.to_ne_bytes();
    *header = [f0, f1, t0, t1, l0, l1, c0, c1];
    Some(payload_at - UDP)
}

fn write_ip(frame: &mut [u8], payload_at: usize, len: usize, mtu: u32, way: &Way) -> Option<usize> {
    let udp_at = write_udp(frame, payload_at, len, way)?;
    let (head, _) = frame.split_at_mut_checked(udp_at)?;
    let traffic_class = way.dscp.octet() as u8;
    if way.to.is_ipv4() {
        let total = u16::try_from(len + UDP + IPV4).ok()?;
        if u32::from(total) > mtu {
            return None;
        }
        let [t0, t1] = total.to_be_bytes();
        let [[s0, s1, s2, s3], [d0, d1, d2, d3]] =
            [way.from.ip, way.to.ip].map(|ip| (ip as u32).to_be_bytes());
        let header = |[c0, c1]: [u8; 2]| {
            [
                0x45,
                traffic_class,
                t0,
                t1,
                0,
                0,
                0x40,
                0,
                HOP_LIMIT,
                PROTOCOL_UDP,
                c0,
                c1,
                s0,
                s1,
                s2,
                s3,
                d0,
                d1,
                d2,
                d3,
            ]
        };
        let checksum = !fold(sum(&header([0, 0])));
        *head.last_chunk_mut::<IPV4>()? = header(checksum.to_ne_bytes());
        Some(udp_at - IPV4)
    } else {
        let length = u16::try_from(len + UDP).ok()?;
        if u32::from(length) + IPV6 as u32 > mtu {
            return None;
        }
        let header = head.last_chunk_mut::<IPV6>()?;
        let (start, addresses) = header.split_first_chunk_mut::<8>()?;
        let [l0, l1] = length.to_be_bytes();
        let (v0, v1) = (0x60 | traffic_class >> 4, traffic_class << 4);
        *start = [v0, v1, 0, 0, l0, l1, PROTOCOL_UDP, HOP_LIMIT];
        let (from, to) = addresses.split_first_chunk_mut::<16>()?;
        *from = way.from.ip.to_be_bytes();
        *to.first_chunk_mut::<16>()? = way.to.ip.to_be_bytes();
        Some(udp_at - IPV6)
    }
}

/// One's complement sums by which headers of IPv4 are rewritten without looking at the payload, in the
/// processor's own octet order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sums {
    /// Over the IP header that leaves, its length and its checksum left out.
    pub header: u16,
    /// Over the pseudo header that comes, its length left out.
    pub pseudo: u16,
    /// What the sum over addresses and ports grows by (RFC 1624 §3).
    pub change: u16,
}

impl Sums {
    /// Of packets that come by one way, source first, and leave by another.
    pub fn of(came: (Endpoint, Endpoint), leaves: (Endpoint, Endpoint), dscp: Dscp) -> Sums {
        let way = |(from, to): (Endpoint, Endpoint)| Way { from, to, dscp };
        let ends = |(from, to): (Endpoint, Endpoint)| {
            let ip = |end: Endpoint| u64::from((end.ip as u32).to_be());
            ip(from) + ip(to) + u64::from(from.port.to_be()) + u64::from(to.port.to_be())
        };
        let ip = |end: Endpoint| (end.ip as u32).to_be_bytes();
        let start = [0x45, dscp.octet() as u8, 0, 0, 0, 0, 0x40, 0, HOP_LIMIT, PROTOCOL_UDP];
        let (from, to) = leaves;
        Sums {
            header: fold(sum(&start) + sum(&ip(from)) + sum(&ip(to))),
            pseudo: fold(pseudo_header(&way(came), 0)),
            change: fold(ends(leaves) + u64::from(!fold(ends(came)))),
        }
    }
}

/// A frame that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parsed {
    pub source: Mac,
    pub target: Mac,
    pub vlan: Option<u16>,
    pub from: Endpoint,
    pub to: Endpoint,
    /// Where the IP header begins.
    pub ip_at: usize,
    pub payload: Range<usize>,
}

/// Reads a frame that carries one whole UDP datagram over IPv4 without options or IPv6 without
/// extensions, untagged or with one tag. Anything else is `None`: it is not for us. Checksums are
/// not looked at; see [`verify`].
pub fn parse(frame: &[u8]) -> Option<Parsed> {
    let (target, rest) = frame.split_first_chunk::<6>()?;
    let (source, rest) = rest.split_first_chunk::<6>()?;
    let (kind, rest) = rest.split_first_chunk::<2>()?;
    let (vlan, kind, packet) = match u16::from_be_bytes(*kind) {
        ETHERTYPE_VLAN => {
            let (tag, rest) = rest.split_first_chunk::<2>()?;
            let (kind, rest) = rest.split_first_chunk::<2>()?;
            (Some(u16::from_be_bytes(*tag) & VLAN_MASK), u16::from_be_bytes(*kind), rest)
        }
        kind => (None, kind, rest),
    };
    let ip_at = frame.len() - packet.len();
    let (from, to, udp_at, length) = match kind {
        ETHERTYPE_IPV4 => parse_ipv4(packet)?,
        ETHERTYPE_IPV6 => parse_ipv6(packet)?,
        _ => return None,
    };
    // Padding of short frames lies behind the packet.
    let datagram = packet.get(udp_at..udp_at.checked_add(length)?)?;
    let (header, _) = datagram.split_first_chunk::<UDP>()?;
    let [f0, f1, t0, t1, l0, l1, _, _] = *header;
    let inner = usize::from(u16::from_be_bytes([l0, l1]));
    if inner < UDP || inner > length {
        return None;
    }
    let payload_at = ip_at + udp_at + UDP;
    Some(Parsed {
        source: Mac(*source),
        target: Mac(*target),
        vlan,
        from: Endpoint { ip: from, port: u16::from_be_bytes([f0, f1]) },
        to: Endpoint { ip: to, port: u16::from_be_bytes([t0, t1]) },
        ip_at,
        payload: payload_at..payload_at + inner - UDP,
    })
}

/// Source, destination, where UDP begins in the packet, octets from there to the packet's end.
fn parse_ipv4(packet: &[u8]) -> Option<(u128, u128, usize, usize)> {
    let header = packet.first_chunk::<IPV4>()?;
    let [v, _, l0, l1, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    let fragment = u16::from_be_bytes([f0, f1]) & FRAGMENT != 0;
    if v != 0x45 || protocol != PROTOCOL_UDP || fragment {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([l0, l1])).checked_sub(IPV4)?;
    let ip = |octets: [u8; 4]| u128::from(Ipv4Addr::from(octets).to_ipv6_mapped());
    Some((ip([s0, s1, s2, s3]), ip([d0, d1, d2, d3]), IPV4, length))
}

fn parse_ipv6(packet: &[u8]) -> Option<(u128, u128, usize, usize)> {
    let (start, rest) = packet.split_first_chunk::<8>()?;
    let (from, rest) = rest.split_first_chunk::<16>()?;
    let to = rest.first_chunk::<16>()?;
    let [v, _, _, _, l0, l1, next, _] = *start;
    if v >> 4 != 6 || next != PROTOCOL_UDP {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    Some((u128::from_be_bytes(*from), u128::from_be_bytes(*to), IPV6, length))
}

/// Whether the checksums of a frame are right: IPv4's own, and UDP's, which may be absent over IPv4
/// only (RFC 768, RFC 8200 §8.1).
pub fn verify(frame: &[u8], parsed: &Parsed) -> bool {
    let v4 = parsed.to.is_ipv4();
    let header = frame.get(parsed.ip_at..).and_then(|packet| packet.first_chunk::<IPV4>());
    if v4 && header.is_none_or(|header| fold(sum(header)) != u16::MAX) {
        return false;
    }
    let Some(udp_at) = parsed.payload.start.checked_sub(UDP) else { return false };
    let Some(datagram) = frame.get(udp_at..parsed.payload.end) else { return false };
    let absent = datagram.get(6..UDP).is_some_and(|checksum| checksum == [0, 0]);
    if absent {
        return v4;
    }
    let way = Way { from: parsed.from, to: parsed.to, dscp: Dscp::EF };
    let length = datagram.len() as u16;
    fold(pseudo_header(&way, length) + sum(datagram)) == u16::MAX
}

/// Whether a frame that came from a driver may be believed: as [`verify`], but the UDP checksum may
/// also be the bare sum over the pseudo header. That is what a sender on this host leaves there for a
/// device to complete (`CHECKSUM_PARTIAL`), and a virtual interface hands on.
pub fn is_intact(frame: &[u8], parsed: &Parsed) -> bool {
    if verify(frame, parsed) {
        return true;
    }
    let header = parsed.payload.start.checked_sub(UDP).and_then(|at| frame.get(at..));
    let Some(header) = header.and_then(|header| header.first_chunk::<UDP>()) else { return false };
    let [.., l0, l1, c0, c1] = *header;
    let way = Way { from: parsed.from, to: parsed.to, dscp: Dscp::EF };
    let bare = fold(pseudo_header(&way, u16::from_be_bytes([l0, l1])));
    let ip = frame.get(parsed.ip_at..).and_then(|packet| packet.first_chunk::<IPV4>());
    let ip_adds_up = !parsed.to.is_ipv4() || ip.is_some_and(|ip| fold(sum(ip)) == u16::MAX);
    ip_adds_up && bare.to_ne_bytes() == [c0, c1]
}

/// The sum over the pseudo header (RFC 768, RFC 8200 §8.1).
fn pseudo_header(way: &Way, length: u16) -> u64 {
    let ends = if way.to.is_ipv4() {
        [way.from.ip, way.to.ip].map(|ip| u64::from((ip as u32).to_be()))
    } else {
        [way.from.ip, way.to.ip].map(|ip| sum(&ip.to_be_bytes()))
    };
    let [from, to] = ends;
    from + to + u64::from(u16::from(PROTOCOL_UDP).to_be()) + u64::from(length.to_be())
}

/// One's complement sum, not folded yet, in the processor's own octet order: the sum is the same in
/// either (RFC 1071 §2(B)).
fn sum(octets: &[u8]) -> u64 {
    let (words, rest) = octets.as_chunks::<4>();
    let sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let mut last = [0; 4];
    for (place, octet) in last.iter_mut().zip(rest) {
        *place = *octet;
    }
    sum + u64::from(u32::from_ne_bytes(last))
}

fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

const ETHERNET: usize = 14;
const TAG: usize = 4;
const IPV4: usize = 20;
const IPV6: usize = 40;
const UDP: usize = 8;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const VLAN_MASK: u16 = 0x0fff;
const PROTOCOL_UDP: u8 = 17;
/// What the kernel gives to its own packets (RFC 1700: 64).
const HOP_LIMIT: u8 = 64;
/// More fragments, or an offset.
const FRAGMENT: u16 = 0x3fff;

const _: () = assert!(HEADERS_MAX <= crate::limits::HEAD_ROOM);

#[cfg(test)]
mod tests;
