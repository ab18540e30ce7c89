use rtp::srtp::{MasterKey, Protect, Suite, Unprotect};

use super::*;
use crate::admit::{Egress, Ingress};
use crate::flow::tests::{flow, id};
use crate::io::{BufferId, Endpoint};
use crate::latch::{Latch, Learning};

const PEER: &str = "192.0.2.1:4000";
const PEER_RTCP: &str = "192.0.2.1:4001";
const FAR: &str = "198.51.100.1:5000";
const FAR_RTCP: &str = "198.51.100.1:5001";

fn endpoint(text: &str) -> Endpoint {
    text.parse::<std::net::SocketAddr>().unwrap().into()
}

fn signalled(text: &str) -> Latch {
    Latch::new(Some(endpoint(text)), Learning::Off, false, 0)
}

fn key(suite: Suite) -> MasterKey {
    MasterKey::new(suite, &[7; 32][..suite.key_len()], &[9; 14][..suite.salt_len()]).unwrap()
}

fn rtp(seq: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(seq.to_be_bytes());
    packet.extend([0, 0, 0, 1, 0, 0, 0, 2]);
    packet.extend([0x55; 160]);
    packet
}

fn rtcp() -> Vec<u8> {
    vec![0x80, 201, 0, 1, 0, 0, 0, 2]
}

fn protected(suite: Suite, packet: &[u8], kind: Kind) -> Vec<u8> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + Suite::OVERHEAD_MAX, 0);
    let mut context = Protect::new(&key(suite));
    let len = match kind {
        Kind::Rtp => context.rtp(&mut buffer, packet.len()),
        Kind::Rtcp => context.rtcp(&mut buffer, packet.len()),
        Kind::Udptl => unreachable!("has no protected form"),
    };
    buffer.truncate(len.unwrap());
    buffer
}

/// One flow that relays from PEER to FAR, and the flow whose ports it sends from.
struct Bench {
    batch: Batch,
    buffers: Buffers,
    flows: Flows,
    tally: Tally,
}

impl Bench {
    fn new() -> Bench {
        let mut flows = Flows::new(4);
        flows.insert(flow(id(1, 1)));
        let mut bench =
            Bench { batch: Batch::new(), buffers: Buffers::new(4), flows, tally: Tally::new() };
        bench.flows.insert(flow(id(0, 1)));
        let flow = bench.flow();
        flow.gate = Gate::Relaying;
        flow.peer = id(1, 1);
        flow.source_rtp = signalled(PEER);
        flow.source_rtcp = signalled(PEER_RTCP);
        flow.aim.state(Some(endpoint(FAR)), Some(endpoint(FAR_RTCP)));
        bench
    }

    fn flow(&mut self) -> &mut Flow {
        self.flows.get_mut(id(0, 1)).unwrap()
    }

    /// Relays one packet that came to `port` of flow 0 from `source`.
    fn pass(&mut self, port: Port, source: &str, packet: &[u8]) -> Result<Departure, Verdict> {
        let arrival = Arrival {
            socket: SocketId { flow: id(0, 1), port },
            source: endpoint(source),
            buffer: BufferId(2),
            len: packet.len(),
            truncated: false,
            age_ns: None,
        };
        self.relay(arrival, packet)
    }

    fn relay(&mut self, arrival: Arrival, packet: &[u8]) -> Result<Departure, Verdict> {
        let body = self.buffers.body(arrival.buffer).unwrap();
        for (place, octet) in body.iter_mut().zip(packet) {
            *place = *octet;
        }
        let before: Vec<u64> = self.counts();
        self.batch.arrivals.push(arrival);
        relay(&mut self.batch, &mut self.buffers, &mut self.flows, &mut self.tally, 1_000);
        assert!(self.batch.arrivals.is_empty());
        let changed: Vec<Verdict> = Verdict::ALL
            .into_iter()
            .zip(before)
            .filter(|(verdict, before)| self.tally.get(verdict.counter()) != *before)
            .map(|(verdict, _)| verdict)
            .collect();
        let [verdict] = changed[..] else { panic!("{changed:?} for one packet") };
        match (self.batch.departures.pop(), self.batch.discards.pop()) {
            (Some(departure), None) => Ok(departure),
            (None, Some(buffer)) if buffer == arrival.buffer => Err(verdict),
            other => panic!("{other:?}"),
        }
    }

    fn counts(&self) -> Vec<u64> {
        Verdict::ALL.iter().map(|verdict| self.tally.get(verdict.counter())).collect()
    }

    fn sent(&mut self, departure: &Departure) -> Vec<u8> {
        self.buffers.body(departure.buffer).unwrap()[..departure.len].to_vec()
    }
}

#[test]
fn media_leaves_from_the_peers_port_to_the_destination() {
    let mut bench = Bench::new();
    let departure = bench.pass(Port::Rtp, PEER, &rtp(1)).unwrap();
    assert_eq!(departure.socket, SocketId { flow: id(1, 1), port: Port::Rtp });
    assert_eq!(departure.destination, endpoint(FAR));
    assert_eq!(bench.sent(&departure), rtp(1));
    let departure = bench.pass(Port::Rtcp, PEER_RTCP, &rtcp()).unwrap();
    assert_eq!(departure.socket, SocketId { flow: id(1, 1), port: Port::Rtcp });
    assert_eq!(departure.destination, endpoint(FAR_RTCP));
    let counts = bench.flow().counts;
    assert_eq!((counts.packets_in, counts.packets_out, counts.bytes_in), (2, 2, 180));
    assert_eq!(counts.last_packet_ns, 1_000);
}

#[test]
fn rtcp_follows_the_multiplexing_of_either_side() {
    let mut bench = Bench::new();
    bench.flow().mux_in = true;
    assert_eq!(bench.pass(Port::Rtp, PEER, &rtcp()).unwrap().socket.port, Port::Rtcp);
    bench.flow().mux_out = true;
    let departure = bench.pass(Port::Rtp, PEER, &rtcp()).unwrap();
    assert_eq!((departure.socket.port, departure.destination), (Port::Rtp, endpoint(FAR)));
    assert_eq!(departure.origin.sent, Sent::Relayed(Kind::Rtcp), "it still counts as RTCP");
}

#[test]
fn every_verdict_is_reached() {
    type Prepare = fn(&mut Bench);
    type Row = (Verdict, Prepare, Port, &'static str, Vec<Vec<u8>>);
    let nothing: Prepare = |_| ();
    let secure_in: Prepare =
        |bench| bench.flow().ingress = Ingress::new(Some(&key(Suite::AesCm128HmacSha1_80)));
    let secure_out: Prepare =
        |bench| bench.flow().egress = Egress::new(Some(&key(Suite::AesCm128HmacSha1_80)));
    let suite = Suite::AesCm128HmacSha1_80;
    let mut bad_padding = rtp(1);
    bad_padding[0] |= 0x20;
    *bad_padding.last_mut().unwrap() = 255;
    let mut bad_rtcp = rtcp();
    bad_rtcp[3] = 9;
    let once = protected(suite, &rtp(1), Kind::Rtp);
    let table: Vec<Row> = vec![
        (Verdict::Runt, nothing, Port::Rtp, PEER, vec![vec![]]),
        (Verdict::Runt, nothing, Port::Rtp, PEER, vec![rtp(1)[..11].to_vec()]),
        (Verdict::NotRtp, nothing, Port::Rtp, PEER, vec![vec![0; 20]]),
        (Verdict::NotRtp, nothing, Port::Rtp, PEER, vec![rtcp()]),
        (Verdict::NotRtp, nothing, Port::Rtcp, PEER_RTCP, vec![rtp(1)]),
        (Verdict::Malformed, nothing, Port::Rtp, PEER, vec![bad_padding]),
        (Verdict::Malformed, nothing, Port::Rtcp, PEER_RTCP, vec![bad_rtcp]),
        (Verdict::OffPath, nothing, Port::Rtp, "192.0.2.2:4000", vec![rtp(1)]),
        (Verdict::OffPath, nothing, Port::Rtp, PEER_RTCP, vec![rtp(1)]),
        (Verdict::OffPath, nothing, Port::Rtcp, PEER, vec![rtcp()]),
        (
            Verdict::NotReady,
            |b| b.flow().source_rtp = Latch::new(None, Learning::Off, false, 0),
            Port::Rtp,
            PEER,
            vec![rtp(1)],
        ),
        (Verdict::NotReady, |b| b.flow().gate = Gate::NotReady, Port::Rtp, PEER, vec![rtp(1)]),
        (Verdict::NotReady, |b| b.flow().aim.state(None, None), Port::Rtp, PEER, vec![rtp(1)]),
        (Verdict::NotReady, |b| b.flow().peer = id(1, 2), Port::Rtp, PEER, vec![rtp(1)]),
        (Verdict::NotReady, |b| b.flow().peer = id(9, 1), Port::Rtp, PEER, vec![rtp(1)]),
        (Verdict::Direction, |b| b.flow().gate = Gate::Held, Port::Rtp, PEER, vec![rtp(1)]),
        (Verdict::Authentication, secure_in, Port::Rtp, PEER, vec![rtp(1)]),
        (Verdict::Replay, secure_in, Port::Rtp, PEER, vec![once.clone(), once]),
        (Verdict::SsrcLimit, secure_in, Port::Rtp, PEER, (0..9).map(protected_from).collect()),
        (
            Verdict::Superseded,
            nothing,
            Port::Rtp,
            PEER,
            vec![from_source(1, 10), from_source(2, 5), from_source(1, 9)],
        ),
        (Verdict::IndexReused, secure_out, Port::Rtp, PEER, vec![rtp(1), rtp(1)]),
        (Verdict::Oversize, nothing, Port::Rtp, PEER, vec![[rtp(1), vec![0; 1400]].concat()]),
    ];
    for (n, (expected, prepare, port, source, packets)) in table.into_iter().enumerate() {
        let mut bench = Bench::new();
        prepare(&mut bench);
        let verdicts: Vec<_> =
            packets.iter().map(|packet| bench.pass(port, source, packet).err()).collect();
        let (last, before) = verdicts.split_last().unwrap();
        assert_eq!(*last, Some(expected), "row {n}");
        assert!(before.iter().all(Option::is_none), "row {n}: {verdicts:?}");
    }
}

/// No packet can bring a context to the end of its key within a test.
#[test]
fn the_refusals_of_contexts_are_verdicts() {
    use rtp::srtp::{ProtectError, UnprotectError};
    assert_eq!(Verdict::from(UnprotectError::KeyExhausted), Verdict::KeyExhausted);
    assert_eq!(Verdict::from(UnprotectError::SsrcLimit), Verdict::SsrcLimit);
    assert_eq!(Verdict::from(UnprotectError::Malformed), Verdict::Malformed);
    assert_eq!(Verdict::from(ProtectError::KeyExhausted), Verdict::KeyExhausted);
    assert_eq!(Verdict::from(ProtectError::Malformed), Verdict::Malformed);
    assert_eq!(Verdict::from(ProtectError::NoRoom), Verdict::Oversize);
}

fn from_source(ssrc: u8, seq: u16) -> Vec<u8> {
    let mut packet = rtp(seq);
    packet[11] = ssrc;
    packet
}

fn protected_from(ssrc: u8) -> Vec<u8> {
    protected(Suite::AesCm128HmacSha1_80, &from_source(ssrc, 1), Kind::Rtp)
}

#[test]
fn a_truncated_or_unknown_packet_is_dropped_whatever_it_holds() {
    let mut bench = Bench::new();
    let mut arrival = Arrival {
        socket: SocketId { flow: id(0, 1), port: Port::Rtp },
        source: endpoint(PEER),
        buffer: BufferId(0),
        len: 172,
        truncated: true,
        age_ns: None,
    };
    assert_eq!(bench.relay(arrival, &rtp(1)).unwrap_err(), Verdict::Oversize);
    arrival.truncated = false;
    for stranger in [id(0, 2), id(0, 0), id(3, 1), id(u32::MAX, 1)] {
        arrival.socket.flow = stranger;
        assert_eq!(bench.relay(arrival, &rtp(1)).unwrap_err(), Verdict::NoFlow);
    }
}

#[test]
fn invented_reporters_take_no_place_from_the_media() {
    let mut bench = Bench::new();
    bench.flow().egress = Egress::new(Some(&key(Suite::AeadAes128Gcm)));
    let report = |bench: &mut Bench, ssrc| {
        let mut packet = rtcp();
        packet[7] = ssrc;
        bench.pass(Port::Rtcp, PEER_RTCP, &packet).err()
    };
    let before = (10..18).map(|ssrc| report(&mut bench, ssrc)).collect::<Vec<_>>();
    assert!(before[..7].iter().all(Option::is_none));
    assert_eq!(before[7], Some(Verdict::SsrcLimit));
    assert!(bench.pass(Port::Rtp, PEER, &rtp(1)).is_ok());
    assert_eq!(report(&mut bench, 2), None, "that of the media");
    assert_eq!(report(&mut bench, 10), Some(Verdict::Superseded));
}

/// An event is told; whether it goes on depends on whether the far side takes events.
#[test]
fn told_events_go_on_only_to_a_far_side_that_takes_events() {
    let events = abi::TelephoneEvent { payload_type: 101, rate_hz: 8000 };
    let mut packet = rtp(1);
    packet[1] = 101;
    packet.truncate(12);
    packet.extend([5, 0x80, 0, 160]);
    for (reported, sent, verdict) in
        [(true, None, Some(Verdict::Superseded)), (true, Some(events), None), (false, None, None)]
    {
        let mut bench = Bench::new();
        bench.flow().hearing.state(&abi::Update {
            report_digits: reported,
            events_received: Some(events),
            ..abi::Update::new(1, id(0, 1))
        });
        bench.flow().formats.events_sent = sent;
        assert_eq!(bench.pass(Port::Rtp, PEER, &packet).err(), verdict);
        let told = usize::from(reported);
        assert_eq!(bench.batch.notices.len(), told, "{:?}", bench.batch.notices);
        assert!(bench.pass(Port::Rtp, PEER, &rtp(2)).is_ok(), "audio goes on");
        assert_eq!(bench.flow().counts.packets_in, 2, "and both are accounted for");
    }
}

#[test]
fn a_refused_packet_changes_nothing_but_counts() {
    let mut bench = Bench::new();
    bench.flow().ingress = Ingress::new(Some(&key(Suite::AeadAes128Gcm)));
    assert!(bench.pass(Port::Rtp, PEER, &rtp(1)).is_err());
    assert!(bench.pass(Port::Rtp, FAR, &rtp(1)).is_err());
    let counts = bench.flow().counts;
    assert_eq!((counts.auth_failures, counts.off_path), (1, 1));
    assert_eq!((counts.packets_in, counts.last_packet_ns), (0, 0));
    // A stranger's copy of an authentic packet does not use up its index.
    let packet = protected(Suite::AeadAes128Gcm, &rtp(1), Kind::Rtp);
    assert_eq!(bench.pass(Port::Rtp, FAR, &packet).unwrap_err(), Verdict::OffPath);
    assert!(bench.pass(Port::Rtp, PEER, &packet).is_ok());
}

#[test]
fn every_pair_of_sides_translates() {
    let sides = [None].into_iter().chain(Suite::ALL.map(Some));
    for (from, to) in sides.clone().flat_map(|from| sides.clone().map(move |to| (from, to))) {
        for (port, source, plain, kind) in
            [(Port::Rtp, PEER, rtp(5), Kind::Rtp), (Port::Rtcp, PEER_RTCP, rtcp(), Kind::Rtcp)]
        {
            let mut bench = Bench::new();
            bench.flow().ingress = Ingress::new(from.map(key).as_ref());
            bench.flow().egress = Egress::new(to.map(key).as_ref());
            let packet = from.map_or_else(|| plain.clone(), |suite| protected(suite, &plain, kind));
            let departure = bench.pass(port, source, &packet).unwrap();
            let mut sent = bench.sent(&departure);
            let Some(suite) = to else {
                assert_eq!(sent, plain);
                continue;
            };
            let mut context = Unprotect::new(&key(suite));
            let opened = match kind {
                Kind::Rtp => context.rtp(&mut sent),
                Kind::Rtcp => context.rtcp(&mut sent),
                Kind::Udptl => unreachable!("has no protected form"),
            };
            assert_eq!(opened.unwrap().bytes(), plain, "{from:?} to {to:?}");
        }
    }
}

#[test]
fn failed_sends_are_taken_back() {
    let mut bench = Bench::new();
    let departure = bench.pass(Port::Rtp, PEER, &rtp(1)).unwrap();
    bench.batch.failed.push(departure.origin);
    book_failures(&mut bench.batch, &mut bench.flows, &mut bench.tally);
    assert_eq!(bench.tally.get(Verdict::RelayedRtp.counter()), 0);
    assert_eq!(bench.tally.get(Verdict::SendFailed.counter()), 1);
    assert_eq!(bench.flow().counts.packets_out, 0);
}

/// Every length through every gate, as garbage and as the start of something real: one verdict,
/// no panic, and nothing but the real thing passes a secure flow.
#[test]
fn malformed_packets_of_every_length_are_counted() {
    let suite = Suite::AesCm128HmacSha1_80;
    let mut long = rtp(1);
    long.resize(1400, 0x33);
    let real = protected(suite, &long, Kind::Rtp);
    for secure in [false, true] {
        let mut bench = Bench::new();
        bench.flow().mux_in = true;
        if secure {
            bench.flow().ingress = Ingress::new(Some(&key(suite)));
        }
        let mut noise = 0x9E37_79B9_7F4A_7C15_u64;
        for len in 0..=1500 {
            let mut cut: Vec<u8> = real.iter().copied().cycle().take(len).collect();
            let passed = bench.pass(Port::Rtp, PEER, &cut).is_ok();
            assert!(!secure || passed == (len == real.len()), "length {len}: passed is {passed}");
            for first in [0x80, 0x90, 0xA0, 0xB0, 0x8F, 0xFF, 0x00] {
                for octet in &mut cut {
                    noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    *octet = (noise >> 56) as u8;
                }
                for second in [0, 200, 201, 0xFF] {
                    for (place, octet) in cut.iter_mut().zip([first, second]) {
                        *place = octet;
                    }
                    let passed = bench.pass(Port::Rtp, PEER, &cut).is_ok();
                    assert!(!secure || !passed, "noise of length {len} passed");
                    let _ = bench.pass(Port::Rtcp, PEER_RTCP, &cut);
                }
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_get_one_verdict(
        packet in proptest::collection::vec(0..=255u8, 0..1500),
        rtcp_port in proptest::bool::ANY,
        secure in proptest::bool::ANY,
    ) {
        let mut bench = Bench::new();
        bench.flow().mux_in = true;
        if secure {
            bench.flow().ingress = Ingress::new(Some(&key(Suite::AeadAes256Gcm)));
        }
        let (port, source) = if rtcp_port { (Port::Rtcp, PEER_RTCP) } else { (Port::Rtp, PEER) };
        let passed = bench.pass(port, source, &packet).is_ok();
        proptest::prop_assert!(!(secure && passed));
    }
}
