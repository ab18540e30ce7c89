//! The packet paths by themselves, so many times as asked: what the regression gate counts
//! instructions of (`bench/tests/instructions.rs`).
//!
//! `media_paths PATH COUNT`; a path is one of `relay` (RTP to RTP), `relay-cm80` (a packet encrypted
//! by one flow and decrypted by the other), `srtp-cm80`, `srtp-gcm` (protect and unprotect, no relay).

use std::net::SocketAddr;

use abi::FlowId;
use dataplane::Lease;
use dataplane::admit::{Egress, Ingress};
use dataplane::flow::{Flow, Gate};
use dataplane::flows::Flows;
use dataplane::io::{Arrival, Batch, BufferId, Buffers, Endpoint, Port, SocketId};
use dataplane::latch::{Latch, Learning};
use dataplane::limits::BATCH_MAX;
use dataplane::relay::relay;
use dataplane::tally::Tally;
use rtp::srtp::{MasterKey, Protect, Suite, Unprotect};

type Done = Result<(), Box<dyn std::error::Error>>;

fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, count] = arguments.as_slice() else { return Err(USAGE.into()) };
    let count: u32 = count.parse()?;
    match path.as_str() {
        "relay" => relayed(count, None),
        "relay-cm80" => relayed(count, Some(Suite::AesCm128HmacSha1_80)),
        "srtp-cm80" => srtp(count, Suite::AesCm128HmacSha1_80),
        "srtp-gcm" => srtp(count, Suite::AeadAes128Gcm),
        _ => Err(USAGE.into()),
    }
}

/// `count` packets through flow 0, in full batches; with a suite they come back through flow 1.
fn relayed(count: u32, suite: Option<Suite>) -> Done {
    let (mut batch, mut buffers) = (Batch::new(), Buffers::new(BATCH_MAX as u16));
    let (mut flows, mut tally) = (Flows::new(2), Tally::new());
    for index in 0..2 {
        flows.insert(flow(index));
    }
    if let Some(suite) = suite {
        let key = master(suite)?;
        flows.get_mut(id(0)).ok_or("flow 0")?.egress = Egress::new(Some(&key));
        flows.get_mut(id(1)).ok_or("flow 1")?.ingress = Ingress::new(Some(&key));
    }
    let grown = suite.map_or(0, Suite::rtp_tag_len);
    let ways = if suite.is_some() { 2 } else { 1 };
    let mut next = 0_u32;
    while next < count {
        let filled = (count - next).min(BATCH_MAX as u32) as u16;
        for way in 0..ways {
            for n in 0..filled {
                let buffer = BufferId(n);
                if way == 0 {
                    let body = buffers.body(buffer).ok_or("a buffer")?;
                    body.get_mut(..PACKET).ok_or("room")?.copy_from_slice(&packet(next));
                    next += 1;
                }
                let len = PACKET + if way == 0 { 0 } else { grown };
                let socket = SocketId { flow: id(way), port: Port::Rtp };
                let source = endpoint(1);
                let (truncated, age_ns) = (false, None);
                batch.arrivals.push(Arrival { socket, source, buffer, len, truncated, age_ns });
            }
            relay(&mut batch, &mut buffers, &mut flows, &mut tally, u64::from(next));
            if batch.departures.len() != usize::from(filled) {
                return Err("the relay dropped packets".into());
            }
            batch.departures.clear();
        }
    }
    Ok(())
}

fn flow(index: u32) -> Flow {
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let lease = Lease { network: 0, rtp: local(9000), rtcp: local(9001) };
    let mut flow = Flow::new(id(index), [0; 16], lease, 0);
    flow.gate = Gate::Relaying;
    flow.peer = id(1 - index);
    flow.source_rtp = Latch::new(Some(endpoint(1)), Learning::Off, false, 0);
    flow.aim.state(Some(endpoint(2)), None);
    flow
}

fn id(index: u32) -> FlowId {
    FlowId { index, generation: 1 }
}

fn endpoint(port: u16) -> Endpoint {
    Endpoint::from(SocketAddr::from(([192, 0, 2, 1], port)))
}

fn srtp(count: u32, suite: Suite) -> Done {
    let key = master(suite)?;
    let (mut protect, mut unprotect) = (Protect::new(&key), Unprotect::new(&key));
    let mut buffer = [0; PACKET + Suite::OVERHEAD_MAX];
    for n in 0..count {
        buffer.get_mut(..PACKET).ok_or("room")?.copy_from_slice(&packet(n));
        let len = protect.rtp(&mut buffer, PACKET)?;
        let authentic = unprotect.rtp(buffer.get_mut(..len).ok_or("room")?)?;
        std::hint::black_box(authentic.bytes());
    }
    Ok(())
}

fn master(suite: Suite) -> Result<MasterKey, Box<dyn std::error::Error>> {
    let (key, salt) = ([7; 32], [9; 14]);
    let key = key.get(..suite.key_len()).ok_or("key")?;
    Ok(MasterKey::new(suite, key, salt.get(..suite.salt_len()).ok_or("salt")?)?)
}

/// 20 ms of G.711.
fn packet(number: u32) -> [u8; PACKET] {
    let mut packet = [0x55; PACKET];
    let [_, _, hi, lo] = number.to_be_bytes();
    let header = [0x80, 0, hi, lo, 0, 0, 0, 1, 0, 0, 0, 2];
    for (place, octet) in packet.iter_mut().zip(header) {
        *place = octet;
    }
    packet
}

const PACKET: usize = 172;
const USAGE: &str = "media_paths relay|relay-cm80|srtp-cm80|srtp-gcm COUNT";
