//! The program in this kernel (root only) beside the worker's own code: what it relays must be, octet
//! for octet, what the worker would send, and counted as the worker would count.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::super::{Decision, Ours, assemble, place};
use crate::io::bpf::{Map, MapKind, MapSpec, Program, ProgramKind};
use crate::io::frame::{self, Hop, Mac, Way};
use crate::io::xdp::shortcut::{Passage, Plan, Position, Shortcut, Table};
use crate::io::xdp::way_back::WayBack;
use crate::io::xdp::xsk::{Queue, Xsk};
use crate::io::{Buffers, Dscp, Endpoint};
use crate::quality::{Quality, Seen};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OURS: &str = "192.0.2.1";
const PEER: &str = "198.51.100.7";
const SSRC: u32 = 0xfeed_beef;
const PAYLOAD_TYPE: u8 = 8;
const PORT: u16 = 10_010;
const RELAYED: u32 = 3;
const STEERED: u32 = 4;
const PAYLOAD_AT: usize = 42;

struct Loaded {
    program: Program,
    table: Arc<Table>,
    way: Arc<WayBack>,
    _xsks: Vec<Xsk>,
    _buffers: Buffers,
}

/// Ports 10000 to 10099 of one address are open, for a worker with a socket; the second half of them
/// has entries.
fn load() -> Option<Loaded> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let spec = |kind, value, entries, mapped| MapSpec {
        kind,
        key: 4,
        value,
        entries,
        mapped,
        name: "tl_test",
    };
    let addresses = [Ours { ip: OURS.parse().unwrap(), vlan: None, number: 1 }];
    let ports = Map::create(spec(MapKind::Array, 1 << 16, 2, true)).unwrap();
    let open = ports.memory().unwrap();
    (10_000..10_100).for_each(|port| open.set_octet((1 << 16) + port, 1));
    let sockets = Map::create(spec(MapKind::Xskmap, 4, place(1, 0), false)).unwrap();
    let table = Table::create(2, PORT, 45, vec![true, false]).unwrap();
    let shortcuts = Some(table.shortcuts());
    let decision =
        Decision { mac: MAC, addresses: &addresses, ports: &ports, sockets: &sockets, shortcuts };
    let code = assemble(&decision).unwrap();
    let program = Program::load(ProgramKind::Xdp, &code, "tl_media").unwrap();
    let buffers = Buffers::new(16);
    let xsks = Xsk::open_all(&[Queue { ifindex: 1, index: 0 }], &buffers).unwrap();
    sockets.put_socket(place(0, 0), xsks[0].as_fd()).unwrap();
    let way = Arc::new(WayBack::new(table.entries()));
    Some(Loaded { program, table: Arc::new(table), way, _xsks: xsks, _buffers: buffers })
}

fn end(ip: &str, port: u16) -> Endpoint {
    std::net::SocketAddr::new(ip.parse().unwrap(), port).into()
}

fn passage() -> Passage {
    Passage {
        networks: [0, 0],
        source: end("203.0.113.9", 4_000),
        local: end(OURS, PORT),
        from: end(OURS, PORT + 2),
        to: end(PEER, 30_000),
        ssrc: SSRC,
        payload_type: PAYLOAD_TYPE,
        rate_hz: 8_000,
    }
}

fn hop() -> Hop {
    let (source, target) = (Mac(MAC), Mac([6, 5, 4, 3, 2, 1]));
    Hop { ifindex: 1, source, target, vlan: None, mtu: 1_000 }
}

fn packet(seq: u16, payload: usize) -> Vec<u8> {
    let mut packet = vec![0x80, PAYLOAD_TYPE];
    packet.extend(seq.to_be_bytes());
    packet.extend((u32::from(seq) * 160).to_be_bytes());
    packet.extend(SSRC.to_be_bytes());
    packet.extend((0..payload).map(|n| (n * 7) as u8 ^ seq as u8));
    packet
}

/// A frame as the worker writes it.
fn framed(packet: &[u8], hop: &Hop, from: Endpoint, to: Endpoint, dscp: Dscp) -> Vec<u8> {
    let mut space = vec![0; 128];
    space.extend_from_slice(packet);
    let start = frame::write(&mut space, 128, packet.len(), hop, &Way { from, to, dscp }).unwrap();
    space.split_off(start)
}

/// A packet as it comes.
fn arriving(packet: &[u8]) -> Vec<u8> {
    let hop = Hop { source: Mac([9; 6]), target: Mac(MAC), mtu: 1_500, ..hop() };
    framed(packet, &hop, passage().source, passage().local, Dscp::new(0).unwrap())
}

fn position(seq: u16) -> Position {
    Position { highest: 0x1_0000 + u64::from(seq), ..Position::default() }
}

impl Loaded {
    fn plan(&self, passage: &Passage) -> Option<Plan> {
        self.table.plan(1, passage, (&hop(), &self.way), Dscp::EF)
    }

    fn open(&self, seq: u16) -> Shortcut {
        self.plan(&passage()).unwrap().open(position(seq))
    }

    fn run(&self, frame: &[u8]) -> (u32, Vec<u8>) {
        self.program.run(frame, 4096).unwrap()
    }
}

#[test]
fn what_the_kernel_relays_is_what_the_worker_would_send() {
    let Some(loaded) = load() else { return };
    let mut shortcut = loaded.open(300);
    let (mut octets, mut count) = (0, 0);
    for step in 1..=2_000_u16 {
        let seq = 300 + step;
        if seq % 256 == 0 {
            continue;
        }
        let packet = packet(seq, usize::from(step) % 640);
        let (verdict, sent) = loaded.run(&arriving(&packet));
        let passage = passage();
        let expected = framed(&packet, &hop(), passage.from, passage.to, Dscp::EF);
        assert_eq!((verdict, &sent), (RELAYED, &expected), "{step}");
        octets += packet.len() as u64;
        count += 1;
    }
    let progress = shortcut.progress().unwrap();
    assert_eq!((progress.packets, progress.octets), (count, octets));
    assert_eq!(progress.bursts, 7, "those that were shown to the worker");
    assert_eq!(progress.position.highest, 0x1_0000 + 2_300);
    assert_eq!(progress.position.timestamp, 2_300 * 160);
    assert!(shortcut.progress().is_none(), "nothing since");
}

/// The kernel says "elsewhere" to that as to what it steers; the frame tells.
#[test]
fn what_leaves_by_another_interface_is_the_same_frame() {
    const ELSEWHERE: u32 = 4;
    let Some(loaded) = load() else { return };
    let hop = Hop { ifindex: 7, ..hop() };
    let plan = loaded.table.plan(1, &passage(), (&hop, &loaded.way), Dscp::EF).unwrap();
    let mut shortcut = plan.open(position(300));
    let packet = packet(301, 160);
    let expected = framed(&packet, &hop, passage().from, passage().to, Dscp::EF);
    assert_eq!(loaded.run(&arriving(&packet)), (ELSEWHERE, expected));
    assert_eq!(shortcut.progress().unwrap().packets, 1);
    assert!(!shortcut.agrees(&loaded.plan(&passage()).unwrap()), "another way");
}

#[test]
fn a_checksum_that_is_absent_stays_absent_and_a_bare_sum_is_the_workers() {
    let Some(loaded) = load() else { return };
    let _shortcut = loaded.open(300);
    let packet = packet(301, 160);
    let mut absent = arriving(&packet);
    absent[40..42].fill(0);
    let (verdict, sent) = loaded.run(&absent);
    let mut expected = framed(&packet, &hop(), passage().from, passage().to, Dscp::EF);
    expected[40..42].fill(0);
    assert_eq!((verdict, sent), (RELAYED, expected));
    let mut bare = arriving(&self::packet(302, 160));
    let sums = frame::Sums::of(
        (passage().source, passage().local),
        (passage().from, passage().to),
        Dscp::EF,
    );
    let length = u16::from_ne_bytes([bare[38], bare[39]]);
    let (sum, carry) = sums.pseudo.overflowing_add(length);
    bare[40..42].copy_from_slice(&(sum + u16::from(carry)).to_ne_bytes());
    assert_eq!(loaded.run(&bare).0, STEERED);
    assert_eq!(loaded.run(&arriving(&self::packet(302, 160))).0, RELAYED, "else it passes");
}

/// What becomes of one octet.
type Change = (usize, fn(u8) -> u8);

#[test]
fn whatever_is_unusual_is_the_workers() {
    let Some(loaded) = load() else { return };
    let shortcut = loaded.open(300);
    let good = || arriving(&packet(301, 160));
    let changes: [(&str, Change); 12] = [
        ("source address", (29, |v| v ^ 1)),
        ("source port", (35, |v| v ^ 1)),
        ("SSRC", (53, |v| v ^ 1)),
        ("payload type", (43, |v| v ^ 1)),
        ("version", (42, |v| v ^ 0x40)),
        ("padding", (42, |v| v | 0x20)),
        ("extension", (42, |v| v | 0x10)),
        ("contributing source", (42, |v| v | 1)),
        ("IP length", (17, |v| v - 1)),
        ("UDP length", (39, |v| v - 1)),
        ("RTCP", (43, |_| 200)),
        ("a port without an entry", (37, |v| v - 10)),
    ];
    for (what, (at, change)) in changes {
        let mut frame = good();
        frame[at] = change(frame[at]);
        assert_eq!(loaded.run(&frame).0, STEERED, "{what}");
    }
    for (seq, what) in [
        (300, "repeated"),
        (299, "late"),
        (401, "a large gap"),
        (512, "shown"),
        (300 + 0x8000, "a restart"),
    ] {
        assert_eq!(loaded.run(&arriving(&packet(seq, 160))).0, STEERED, "{what}");
    }
    assert_eq!(
        loaded.run(&arriving(&packet(301, 961))).0,
        STEERED,
        "longer than the next hop takes"
    );
    assert_eq!(loaded.run(&arriving(&packet(301, 960))).0, RELAYED, "it takes this");
    let mut marked = arriving(&packet(302, 160));
    marked[43] |= 0x80;
    marked[40..42].fill(0);
    assert_eq!(loaded.run(&marked).0, RELAYED, "a marker is usual");
    let mut padded = arriving(&packet(303, 0));
    padded.extend([0; 6]);
    assert_eq!(loaded.run(&padded).0, RELAYED, "so is padding of a short frame");
    shortcut.close();
    assert_eq!(loaded.run(&arriving(&packet(304, 160))).0, STEERED, "an entry that is off");
    drop(shortcut);
    let again = loaded.open(303);
    assert_eq!(loaded.run(&arriving(&packet(304, 160))).0, RELAYED);
    drop(again);
    assert_eq!(loaded.run(&arriving(&packet(305, 160))).0, STEERED, "dropping turns it off");
}

/// Whatever comes, what the program relays has the addresses that were written, and nothing behind
/// the headers changes.
#[test]
fn no_truncated_or_damaged_frame_leaves_by_another_way() {
    let Some(loaded) = load() else { return };
    let good = arriving(&packet(301, 60));
    for len in 14..good.len() {
        assert_ne!(loaded.run(&good[..len]).0, RELAYED, "{len} octets");
    }
    let _shortcut = loaded.open(300);
    for len in 14..good.len() {
        assert_ne!(loaded.run(&good[..len]).0, RELAYED, "{len} octets");
    }
    let mut relayed = 0;
    for at in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let _shortcut = loaded.open(300);
            let mut frame = good.clone();
            frame[at] ^= flip;
            let (verdict, sent) = loaded.run(&frame);
            if verdict != RELAYED {
                continue;
            }
            relayed += 1;
            let parsed = frame::parse(&sent).unwrap();
            assert_eq!((parsed.from, parsed.to), (passage().from, passage().to), "octet {at}");
            assert_eq!((parsed.source, parsed.target), (hop().source, hop().target));
            assert_eq!(sent[PAYLOAD_AT..], frame[PAYLOAD_AT..], "octet {at}");
            let kept = frame::verify(&sent, &parsed) == (at < 26);
            assert!(kept || (26..PAYLOAD_AT).contains(&at), "damage at {at} is not hidden");
        }
    }
    assert!(relayed > 150, "most octets do not decide: {relayed}");
}

#[test]
fn jitter_is_what_the_worker_would_compute() {
    let Some(loaded) = load() else { return };
    let mut quality = Quality::default();
    let seen = |seq: u16| Seen {
        ssrc: SSRC,
        seq,
        timestamp: u32::from(seq) * 160,
        payload_type: PAYLOAD_TYPE,
    };
    // The first packet is the worker's in both, the others are told by the kernel's own times.
    let begun_ns = crate::clock::now_ns();
    quality.note(seen(300), begun_ns);
    let position = quality.position().unwrap().2;
    let mut shortcut = loaded.plan(&passage()).unwrap().open(position);
    for seq in 301..500 {
        if loaded.run(&arriving(&packet(seq, 160))).0 == RELAYED {
            let progress = shortcut.progress().unwrap();
            quality.note(seen(seq), progress.position.arrival_ns);
            let ours = quality.position().unwrap().2.jitter;
            // Ticks are cut off a little differently.
            let close = ours.abs_diff(progress.position.jitter) <= 16;
            assert!(close, "{ours} {:?} at {seq}", progress.position);
        }
    }
    assert!(quality.jitter() > 100, "all at once is far from every 20 ms");
}

#[test]
fn what_the_kernel_may_not_relay_has_no_plan() {
    let Some(loaded) = load() else { return };
    let usual = passage();
    assert!(loaded.plan(&usual).is_some());
    let six = end("2001:db8::1", 30_000);
    for (what, passage) in [
        ("into a network without it", Passage { networks: [0, 1], ..usual }),
        ("out of one", Passage { networks: [1, 0], ..usual }),
        ("between unknown ones", Passage { networks: [2, 2], ..usual }),
        ("IPv6", Passage { to: six, ..usual }),
        ("a port below", Passage { local: end(OURS, PORT - 2), ..usual }),
        ("an RTCP port", Passage { local: end(OURS, PORT + 1), ..usual }),
        ("a port beyond", Passage { local: end(OURS, PORT + 90), ..usual }),
    ] {
        assert!(loaded.plan(&passage).is_none(), "{what}");
    }
    let tagged = Hop { vlan: Some(7), ..hop() };
    assert!(loaded.table.plan(1, &usual, (&tagged, &loaded.way), Dscp::EF).is_none(), "VLAN");
    let shortcut = loaded.open(300);
    assert!(shortcut.agrees(&loaded.plan(&usual).unwrap()));
    let moved = Hop { target: Mac([1; 6]), ..hop() };
    assert!(
        !shortcut.agrees(&loaded.table.plan(1, &usual, (&moved, &loaded.way), Dscp::EF).unwrap())
    );
}
