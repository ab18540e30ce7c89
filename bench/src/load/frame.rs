//! Ethernet, IPv4 and UDP headers, written once and read back.
//!
//! The UDP checksum is 0, which IPv4 allows (RFC 768): a NIC verifies checksums for its host, a
//! veth pair would bill that to the device.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Octets before the UDP payload.
pub const HEADERS: usize = 42;

pub type Mac = [u8; 6];

/// Writes the three headers of a datagram with `payload` octets of payload.
pub fn headers(
    (from_mac, to_mac): (Mac, Mac),
    from: SocketAddrV4,
    to: SocketAddrV4,
    payload: u16,
) -> [u8; HEADERS] {
    let mut headers = [0; HEADERS];
    let mut rest = headers.as_mut_slice();
    let mut put = |bytes: &[u8]| {
        let (place, after) = std::mem::take(&mut rest).split_at_mut(bytes.len());
        place.copy_from_slice(bytes);
        rest = after;
    };
    let ip_len = payload + UDP_HEADER + IP_HEADER;
    let [len_hi, len_lo] = ip_len.to_be_bytes();
    let mut ip = [0; IP_HEADER as usize];
    ip[..12].copy_from_slice(&[0x45, 0xb8, len_hi, len_lo, 0, 0, 0x40, 0, 64, UDP, 0, 0]);
    ip[12..16].copy_from_slice(&from.ip().octets());
    ip[16..].copy_from_slice(&to.ip().octets());
    let [sum_hi, sum_lo] = checksum(&ip).to_be_bytes();
    (ip[10], ip[11]) = (sum_hi, sum_lo);
    put(&to_mac);
    put(&from_mac);
    put(&ETHER_IPV4);
    put(&ip);
    put(&from.port().to_be_bytes());
    put(&to.port().to_be_bytes());
    put(&(payload + UDP_HEADER).to_be_bytes());
    headers
}

/// Changes the destination port of a frame that [`headers`] began.
pub fn set_destination_port(frame: &mut [u8], port: u16) {
    if let Some(place) = frame.get_mut(DESTINATION_PORT..DESTINATION_PORT + 2) {
        place.copy_from_slice(&port.to_be_bytes());
    }
}

/// A received datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Datagram<'a> {
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
    pub payload: &'a [u8],
}

/// Reads a frame; `None` unless it is a whole IPv4 UDP datagram.
pub fn parse(frame: &[u8]) -> Option<Datagram<'_>> {
    let (ethernet, ip) = frame.split_at_checked(ETHERNET)?;
    if ethernet.get(12..)? != ETHER_IPV4 {
        return None;
    }
    let (fixed, _) = ip.split_first_chunk::<20>()?;
    let [v, _, len_hi, len_lo, _, _, f_hi, f_lo, _, protocol, _, _, a, b, c, d, w, x, y, z] =
        *fixed;
    let header = usize::from(v & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([len_hi, len_lo]));
    let fragment = u16::from_be_bytes([f_hi, f_lo]) & 0x3fff != 0;
    if v >> 4 != 4 || header < 20 || protocol != UDP || fragment {
        return None;
    }
    let udp = ip.get(header..total)?;
    let (&[s_hi, s_lo, d_hi, d_lo, u_hi, u_lo, _, _], _) = udp.split_first_chunk::<8>()?;
    let payload = udp.get(8..usize::from(u16::from_be_bytes([u_hi, u_lo])))?;
    Some(Datagram {
        from: SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([s_hi, s_lo])),
        to: SocketAddrV4::new(Ipv4Addr::new(w, x, y, z), u16::from_be_bytes([d_hi, d_lo])),
        payload,
    })
}

/// RFC 1071, over an even number of octets.
fn checksum(octets: &[u8]) -> u16 {
    let words = octets.as_chunks::<2>().0.iter();
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

const ETHERNET: usize = 14;
const ETHER_IPV4: [u8; 2] = [0x08, 0x00];
const IP_HEADER: u16 = 20;
const UDP_HEADER: u16 = 8;
const UDP: u8 = 17;
const DESTINATION_PORT: usize = 36;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let from = "10.77.1.1:10000".parse().unwrap();
        let to = "10.77.0.1:30002".parse().unwrap();
        let mut frame = headers(([2; 6], [4; 6]), from, to, 172).to_vec();
        frame.extend_from_slice(&[0x5a; 172]);
        frame
    }

    #[test]
    fn what_is_written_is_read() {
        let mut frame = sample();
        assert_eq!(checksum(&frame[14..34]), 0, "a right header sums to zero");
        assert_eq!(frame[..14], [4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2, 8, 0]);
        let datagram = parse(&frame).unwrap();
        assert_eq!(datagram.from.to_string(), "10.77.1.1:10000");
        assert_eq!(datagram.to.to_string(), "10.77.0.1:30002");
        assert_eq!(datagram.payload, [0x5a; 172]);
        set_destination_port(&mut frame, 40_000);
        assert_eq!(parse(&frame).unwrap().to.port(), 40_000);
    }

    #[test]
    fn a_known_header_has_its_known_checksum() {
        // The example of RFC 1071 §3 folded by hand for an IPv4 header.
        let header = [
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0,
            0xc7,
        ];
        assert_eq!(checksum(&header), 0xb861);
    }

    #[test]
    fn no_octets_break_the_reader() {
        let whole = sample();
        for len in 0..whole.len() {
            assert_eq!(parse(&whole[..len]), None, "cut at {len}");
        }
        for at in 0..HEADERS {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bad = whole.clone();
                bad[at] = value;
                let _ = parse(&bad);
            }
        }
        let mut padded = whole.clone();
        padded.extend_from_slice(&[0; 9]);
        assert_eq!(parse(&padded).unwrap().payload.len(), 172, "Ethernet padding is no payload");
    }
}
