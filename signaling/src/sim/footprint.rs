//! What a live call costs in memory: octets that the shard asked the allocator for and kept. The
//! peers and the data plane do not count.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use sip::endpoint::{Hop, Transport};
use sip::wire::Method;

use super::wire::{Out, Wire};
use super::world::{self, CARRIER, PBX, origin_of, plan};
use crate::call::tests::counting::{away, held};
use crate::call::tests::peer::{Peer, message};
use crate::call::tests::plane::Plane;
use crate::cdr::Writer;
use crate::net::Inbound;
use crate::plan::LivePlan;
use crate::post::Post;
use crate::shard::{Moment, Shard};
use crate::ties::Ties;
use crate::trunk::{Called, TrunkId, attribute};

/// Calls that are open at a time: just above the room of a table, where most of it is to spare.
const CALLS: usize = 1_000;
/// How fast they are placed.
const PACE: Duration = Duration::from_millis(3);
/// Transactions are over so long after the last message (Timers L and M, RFC 6026 §8.11).
const OVER: Duration = Duration::from_secs(33);

/// One shard between two peers that answer at once, over a network without faults.
struct Line {
    now: Instant,
    start: Instant,
    shard: Shard<Wire>,
    wire: Wire,
    plane: Plane,
    plan: LivePlan,
    peers: [Peer; 2],
    directory: PathBuf,
}

impl Line {
    fn new() -> Self {
        let directory = world::place(u64::MAX);
        let now = Instant::now();
        let (config, first) = plan("ring_limit = 15", "reject");
        let plan = LivePlan::new(first);
        // Records would be freed on another thread.
        let mut cdrs = Writer::open(&directory.join("cdr.jsonl"), false).unwrap();
        cdrs.stop();
        let shape = abi::Shape { flows: 2 * CALLS as u32, commands: 128, events: 256 };
        let (plane, media) = Plane::attach(&directory, shape, now);
        let (wire, post) = (Wire::default(), Post::default());
        let parts = (wire.clone(), media, post, Ties::between(1).remove(0));
        let shard = world::shard(1, parts, (&config, &plan, &cdrs), now);
        let peers = away(world::both_peers);
        Self { now, start: now, shard, wire, plane, plan, peers, directory }
    }

    fn moment(&self) -> Moment {
        let passed = SignedDuration::try_from(self.now - self.start).unwrap();
        Moment { now: self.now, wall: Timestamp::UNIX_EPOCH + passed }
    }

    /// The carrier (UDP, RTP) calls the PBX (TLS, SRTP).
    fn place(&mut self) {
        let (now, carrier) = (self.now, &mut self.peers[CARRIER]);
        away(|| {
            let offer = carrier.offer();
            let invite = carrier.invite("+4930222", Some(offer));
            carrier.call(now, invite);
        });
        self.settle();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.settle();
    }

    /// Everything that is due now, until nothing is.
    fn settle(&mut self) {
        loop {
            let mut busy = away(|| self.plane.pump());
            let at = self.moment();
            self.shard.tend(at);
            while let Some(out) = self.wire.take() {
                busy = true;
                let Out::Send(_, hop, bytes) = out else { panic!("no connection is closed") };
                let peer = self.peers.iter_mut().find(|peer| peer.address == hop.remote).unwrap();
                away(|| peer.receive(at.now, Bytes::copy_from_slice(&bytes)));
            }
            for who in [CARRIER, PBX] {
                away(|| answer_all(&mut self.peers[who], at.now));
                let sent = away(|| self.peers[who].drain(at.now));
                for bytes in &sent {
                    busy = true;
                    self.hear(who, bytes);
                }
                away(|| drop(sent));
            }
            if !busy {
                return;
            }
        }
    }

    /// As the edge does: the message is a copy of its own.
    fn hear(&mut self, who: usize, bytes: &[u8]) {
        let at = self.moment();
        let Peer { transport, address, .. } = self.peers[who];
        let origin = origin_of(transport, address);
        let tag = attribute(&self.plan.table(), &origin, Called::default()).map_or(0, TrunkId::tag);
        let hop = Hop { transport, remote: address, connection: 7, tag };
        let message = message(&Bytes::copy_from_slice(bytes));
        self.shard.receive(at, Inbound::Message { hop, origin, message });
    }

    fn hang_up_all(&mut self) {
        let now = self.now;
        for dialog in away(|| self.peers[CARRIER].live.clone()) {
            away(|| self.peers[CARRIER].hang_up(now, dialog));
            self.settle();
        }
    }
}

/// Rings and answers.
fn answer_all(peer: &mut Peer, now: Instant) {
    while let Some((id, request)) = peer.invites.pop_front() {
        if request.method == Method::Invite {
            let body = peer.accept(&request.body);
            peer.answer(now, id, 180, None);
            peer.answer(now, id, 200, Some(body));
        } else {
            peer.answer(now, id, 200, None);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_dir_all(&self.directory);
    }
}

/// As `bench calls` measures it, but exact and the same each time. What a message or a timer costs
/// for a while is in the first figure, what a call costs for as long as it lasts in the second.
#[test]
fn a_live_call_holds_no_more_than_it_needs() {
    let mut line = Line::new();
    line.place();
    let before = held();
    for _ in 0..CALLS - 1 {
        line.pass(PACE);
        line.place();
    }
    assert_eq!(line.shard.calls.len(), CALLS);
    let per_call = |octets: i64| octets / (CALLS as i64 - 1);
    let fresh = per_call(held() - before);
    line.pass(OVER);
    assert_eq!(line.shard.world.endpoint.counts().transactions, 0, "all are over");
    let settled = per_call(held() - before);
    println!("a call holds {fresh} octets at first, {settled} when its transactions are over");
    assert_eq!(line.peers[PBX].transport, Transport::Tls);
    assert!(fresh <= FRESH_MAX, "{fresh} octets a call");
    assert!(settled <= SETTLED_MAX, "{settled} octets a call");

    line.hang_up_all();
    line.pass(OVER);
    line.pass(OVER);
    assert_eq!(line.shard.calls.len(), 0);
    // Tables keep their places, nothing else is left.
    let left = per_call(held() - before);
    println!("{left} octets of it are left");
    assert!(left <= LEFT_MAX, "{left} octets of each call are left");
}

/// Octets for each call, with a twentieth to spare.
const FRESH_MAX: i64 = 12_400;
const SETTLED_MAX: i64 = 9_400;
const LEFT_MAX: i64 = 1_000;
