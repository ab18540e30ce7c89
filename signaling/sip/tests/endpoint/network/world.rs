//! The network between two nodes, and time.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::endpoint::{Input, Output};
use sip::wire::parse;

use super::node::{Node, Tally};
use crate::solo::{GIVE_UP, origin};

/// Percent of datagrams lost and repeated; largest delay, which reorders.
#[derive(Clone, Copy)]
pub struct Faults {
    pub loss: u64,
    pub repeat: u64,
    pub delay_ms: u64,
}

pub struct World {
    start: Instant,
    now: Instant,
    nodes: [Node; 2],
    /// In flight: arrival and order of sending to receiver and bytes.
    flying: BTreeMap<(Instant, u64), (usize, Bytes)>,
    sent: u64,
    faults: Faults,
    dice: Dice,
    digest: DefaultHasher,
}

impl World {
    pub fn new(seed: u64, faults: Faults) -> Self {
        let start = origin();
        let dice = Dice(seed.wrapping_mul(0x9e37_79b9).wrapping_add(1));
        World {
            start,
            now: start,
            nodes: [Node::new(0, seed), Node::new(1, seed)],
            flying: BTreeMap::new(),
            sent: 0,
            faults,
            dice,
            digest: DefaultHasher::new(),
        }
    }

    pub fn place_calls(&mut self, calls: u32) {
        for n in 0..calls {
            let at = self.now + Duration::from_millis(self.dice.below(60_000));
            self.nodes[n as usize % 2].plan_call(at);
        }
    }

    /// Runs until neither node has a timer, a plan or a datagram left; `limit` bounds the time.
    pub fn run_until_quiet(&mut self, limit: Duration) {
        self.drain();
        while let Some(next) = self.next() {
            assert!(next - self.start < limit, "still busy after {limit:?}: {:?}", self.tally());
            self.now = next.max(self.now);
            self.step();
            self.drain();
        }
    }

    pub fn assert_drained(&mut self) {
        for node in &mut self.nodes {
            let counts = node.endpoint.counts();
            assert_eq!((counts.transactions, counts.dialogs), (0, 0));
            node.assert_all_ended();
        }
    }

    pub fn tally(&self) -> Tally {
        let [a, b] = &self.nodes;
        a.tally + b.tally
    }

    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }

    fn next(&self) -> Option<Instant> {
        let flying = self.flying.first_key_value().map(|((at, _), _)| *at);
        self.nodes
            .iter()
            .flat_map(|node| [node.timeout, node.next_plan()])
            .chain([flying])
            .flatten()
            .min()
    }

    fn step(&mut self) {
        while let Some(entry) = self.flying.first_entry().filter(|e| e.key().0 <= self.now) {
            let (to, bytes) = entry.remove();
            let message = parse(bytes).expect("an endpoint writes what the parser reads");
            let hop = Node::hop_of(1 - to);
            self.nodes[to].endpoint.handle_input(self.now, Input::Message { hop, message });
        }
        for node in &mut self.nodes {
            node.endpoint.handle_input(self.now, Input::Timer);
            node.follow_plan(self.now);
        }
    }

    fn drain(&mut self) {
        for from in 0..2 {
            loop {
                match self.nodes[from].endpoint.poll_output() {
                    Output::Transmit { bytes, .. } => self.fly(1 - from, bytes),
                    Output::Event(event) => self.nodes[from].on_event(self.now, event),
                    Output::Timeout(at) => {
                        self.nodes[from].timeout = Some(at);
                        break;
                    }
                    Output::Idle => {
                        self.nodes[from].timeout = None;
                        break;
                    }
                }
            }
        }
    }

    fn fly(&mut self, to: usize, bytes: Bytes) {
        (self.now - self.start, to, &bytes[..]).hash(&mut self.digest);
        let copies = 1 + u64::from(self.dice.below(100) < self.faults.repeat);
        for _ in 0..copies {
            if self.dice.below(100) < self.faults.loss {
                continue;
            }
            let delay = Duration::from_millis(1 + self.dice.below(self.faults.delay_ms));
            self.sent += 1;
            self.flying.insert((self.now + delay, self.sent), (to, bytes.clone()));
        }
    }
}

/// Dialogs that lost their BYE are ended by their users after this time.
pub const CALL_MAX: Duration = Duration::from_secs(180);

const _: () = assert!(CALL_MAX.as_secs() > GIVE_UP.as_secs());

/// Repeatable random numbers (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}
