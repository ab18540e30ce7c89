//! The program in this kernel (root only): its verdict on frames must be what the description says,
//! for every frame. Whether it steered is told apart by a socket that stands in the map.

use std::net::IpAddr;

use super::*;
use crate::io::bpf::{MapKind, MapSpec, Program, ProgramKind};
use crate::io::frame::{self, Hop, Mac, Way};
use crate::io::xdp::xsk::{Queue, Xsk};
use crate::io::{Buffers, Dscp, Endpoint};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const STEERED: u32 = 4;
const PASSED: u32 = 2;
const TAG: Option<u16> = Some(7);

/// A loaded program, and what its map points to.
struct Loaded {
    program: Program,
    _xsks: Vec<Xsk>,
    _buffers: Buffers,
}

fn may() -> bool {
    rustix::process::geteuid().is_root()
}

/// The addresses that [`load`] steers.
fn ours() -> Vec<Ours> {
    [("192.0.2.1", None), ("2001:db8::1", None), ("198.51.100.1", TAG), ("2001:db8::2", TAG)]
        .into_iter()
        .zip(0..)
        .map(|((ip, vlan), number)| Ours { ip: ip.parse().unwrap(), vlan, number })
        .collect()
}

/// Two workers with the ports 10000..=10099 and 10100..=10199 open on each address, of which the
/// first has a socket on queue 0. The kernel runs the program as if the frame came by the loopback
/// interface.
fn load() -> Loaded {
    let spec = |kind, value, entries, mapped| MapSpec {
        kind,
        key: 4,
        value,
        entries,
        mapped,
        name: "tl_test",
    };
    let addresses = ours();
    let ports = Map::create(spec(MapKind::Array, 1 << 16, 4, true)).unwrap();
    let open = ports.memory().unwrap();
    for number in 0..addresses.len() {
        for port in 10_000..10_200 {
            open.set_octet((number << 16) + port, 1 + u8::from(port >= 10_100));
        }
    }
    let sockets = Map::create(spec(MapKind::Xskmap, 4, place(2, 0), false)).unwrap();
    let decision = Decision {
        mac: MAC,
        addresses: &addresses,
        ports: &ports,
        sockets: &sockets,
        shortcuts: None,
    };
    let code = assemble(&decision).unwrap();
    let program = Program::load(ProgramKind::Xdp, &code, "tl_media").unwrap();
    let buffers = Buffers::new(16);
    let xsks = Xsk::open_all(&[Queue { ifindex: 1, index: 0 }], &buffers).unwrap();
    sockets.put_socket(place(0, 0), std::os::fd::AsFd::as_fd(&xsks[0])).unwrap();
    Loaded { program, _xsks: xsks, _buffers: buffers }
}

fn datagram(to: &str, port: u16, vlan: Option<u16>) -> Vec<u8> {
    let to: IpAddr = to.parse().unwrap();
    let from: IpAddr = if to.is_ipv4() { "192.0.2.9" } else { "2001:db8::9" }.parse().unwrap();
    let end = |ip, port| Endpoint::from(std::net::SocketAddr::new(ip, port));
    let way = Way { from: end(from, 4000), to: end(to, port), dscp: Dscp::EF };
    let hop = Hop { ifindex: 1, source: Mac([9; 6]), target: Mac(MAC), vlan, mtu: 1500 };
    let mut space = vec![0x5a; 300];
    let start = frame::write(&mut space, 128, 172, &hop, &way).unwrap();
    space.split_off(start)
}

impl Loaded {
    fn verdict(&self, frame: &[u8]) -> u32 {
        self.program.run(frame, 4096).unwrap().0
    }
}

#[test]
fn media_for_our_addresses_and_ports_is_steered_and_nothing_else_is() {
    if !may() {
        return;
    }
    let loaded = load();
    for (to, vlan) in
        [("192.0.2.1", None), ("2001:db8::1", None), ("198.51.100.1", TAG), ("2001:db8::2", TAG)]
    {
        for (port, steered) in [
            (10_000, true),
            (10_001, true),
            (10_099, true),
            (9_999, false),
            // The other worker has no socket on this queue.
            (10_100, false),
            (10_199, false),
            (10_200, false),
            (5060, false),
        ] {
            let expected = if steered { STEERED } else { PASSED };
            assert_eq!(loaded.verdict(&datagram(to, port, vlan)), expected, "{to} {port}");
        }
        for foreign in [None, TAG, Some(8)] {
            let expected = if foreign == vlan { STEERED } else { PASSED };
            assert_eq!(
                loaded.verdict(&datagram(to, 10_000, foreign)),
                expected,
                "{to} {foreign:?}"
            );
        }
    }
    for other in ["192.0.2.2", "2001:db8::3", "224.0.0.1", "255.255.255.255"] {
        assert_eq!(loaded.verdict(&datagram(other, 10_000, None)), PASSED, "{other}");
    }
}

/// One octet of a frame that would be steered, and what it may be for that.
type Field = (usize, fn(u8) -> bool);

#[test]
fn every_octet_of_the_headers_decides_as_it_should() {
    if !may() {
        return;
    }
    let loaded = load();
    const ANY: fn(u8) -> bool = |_| true;
    let fields_v4: [Field; 7] = [
        (14, |v| v == 0x45),
        // Don't fragment and the reserved bit say nothing of fragments.
        (20, |v| v & 0x3f == 0),
        (21, |v| v == 0),
        (23, |v| v == 17),
        (15, ANY),
        (22, ANY),
        (24, ANY),
    ];
    let fields_v6: [Field; 4] = [(14, |v| v >> 4 == 6), (20, |v| v == 17), (15, ANY), (21, ANY)];
    for (to, fields) in [("192.0.2.1", &fields_v4[..]), ("2001:db8::1", &fields_v6[..])] {
        let good = datagram(to, 10_000, None);
        for (at, fits) in fields {
            for value in 0..=u8::MAX {
                let mut changed = good.clone();
                changed[*at] = value;
                let expected = if fits(value) { STEERED } else { PASSED };
                assert_eq!(loaded.verdict(&changed), expected, "{to} octet {at} = {value:#x}");
            }
        }
        // MAC, EtherType and address must be exactly ours.
        let address_at = if to.contains(':') { 38..54 } else { 30..34 };
        for at in (0..6).chain(12..14).chain(address_at) {
            for bit in 0..8 {
                let mut changed = good.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(loaded.verdict(&changed), PASSED, "{to} octet {at} bit {bit}");
            }
        }
    }
}

#[test]
fn no_length_of_a_frame_is_read_beyond_and_only_whole_headers_are_steered() {
    if !may() {
        return;
    }
    let loaded = load();
    for (to, vlan, headers) in
        [("192.0.2.1", None, 42), ("2001:db8::1", None, 62), ("198.51.100.1", TAG, 46)]
    {
        let good = datagram(to, 10_000, vlan);
        // The kernel runs no program on less than an Ethernet header.
        for len in 14..good.len() {
            let verdict = loaded.verdict(&good[..len]);
            let expected = if len >= headers { STEERED } else { PASSED };
            assert_eq!(verdict, expected, "{to} {len}");
        }
    }
    let mut large = datagram("192.0.2.1", 10_000, None);
    large.resize(1600, 0);
    assert_eq!(loaded.verdict(&large), STEERED);
    large.push(0);
    assert_eq!(loaded.verdict(&large), PASSED, "a buffer has no room for it");
}

#[test]
fn foreign_protocols_reach_the_kernel() {
    if !may() {
        return;
    }
    let loaded = load();
    let media = datagram("192.0.2.1", 10_000, None);
    for kind in [0x0806_u16, 0x88a8, 0x8847, 0x8863, 0x88cc, 0x0000, 0x05dc] {
        let mut frame = media.clone();
        frame[12..14].copy_from_slice(&kind.to_be_bytes());
        assert_eq!(loaded.verdict(&frame), PASSED, "{kind:#06x}");
    }
    // SSH to a media port number, ping, SCTP.
    for protocol in [6, 1, 58, 132, 47, 0, 44] {
        let mut frame = media.clone();
        frame[23] = protocol;
        assert_eq!(loaded.verdict(&frame), PASSED, "protocol {protocol}");
    }
}

#[test]
fn one_rtp_port_in_32_is_stamped_in_front_of_the_frame() {
    if !may() {
        return;
    }
    let loaded = load();
    let stamped: Vec<u16> = (10_000..10_200).filter(|port| is_stamped(*port)).collect();
    assert_eq!(stamped, [10_048, 10_112, 10_176]);
    let before_ns = crate::clock::now_ns();
    let frame = datagram("192.0.2.1", 10_048, None);
    let (verdict, after) = loaded.program.run(&frame, 4096).unwrap();
    assert_eq!(verdict, STEERED);
    let (stamp, rest) = after.split_at(STAMP);
    let (time_ns, mark) = stamp.split_at(8);
    let time_ns = u64::from_ne_bytes(time_ns.try_into().unwrap());
    assert!((before_ns..=crate::clock::now_ns()).contains(&time_ns));
    assert_eq!((mark, rest), (&STAMP_MARK.to_ne_bytes()[..], &frame[..]));
    let frame = datagram("192.0.2.1", 10_050, None);
    assert_eq!(loaded.program.run(&frame, 4096).unwrap(), (STEERED, frame));
}
