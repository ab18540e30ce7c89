//! Time, the network between the peers and the shard, and what is due.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam::channel::{Receiver, bounded};
use jiff::{SignedDuration, Timestamp};
use sip::endpoint::{ClientId, DialogId, Hop, Transport};
use sip::wire::{Message, Method};

use super::agents::Deed;
use super::faults::Faults;
use super::wire::{Out, Wire, endpoint};
use super::{STATES, Tally};
use crate::admission::Admission;
use crate::call::tests::peer::{Peer, message};
use crate::call::tests::plane::Plane;
use crate::call::tests::random::Dice;
use crate::call::tests::rig::configuration;
use crate::call::{Index, Settings};
use crate::cdr::Writer;
use crate::config;
use crate::feed::{Feed, LiveCall};
use crate::homes::Homes;
use crate::locate::Memory;
use crate::media::Media;
use crate::net::Inbound;
use crate::plan::{LivePlan, Plan};
use crate::post::Post;
use crate::shard::{self, Moment, Shard};
use crate::ties::Ties;
use crate::trunk::health::Fault;
use crate::trunk::tally::Tallies;
use crate::trunk::{Called, Health, Origin, PeerIdentity, TrunkId, attribute};

/// The peers, by place.
pub const CARRIER: usize = 0;
pub const PBX: usize = 1;
/// Nobody's address.
pub const STRANGER: &str = "198.51.100.9:5060";

const SHAPE: abi::Shape = abi::Shape { flows: 64, commands: 128, events: 256 };
/// What may wait for a shard from another one.
const POSTS_MAX: usize = 64;
/// How long an INVITE is known for a repetition (RFC 6026 §8.7, Timer L).
const REPEATED_MAX: Duration = Duration::from_secs(32);
/// Turns that one moment may take.
const TURNS_MAX: usize = 2_000;
/// Where the wall clock begins: in 2026.
const WALL_SECONDS: i64 = 1_790_000_000;
/// Marks the number of a datagram's flow.
const FLOW: u64 = 1 << 63;

pub struct World {
    pub dice: Dice,
    pub now: Instant,
    pub start: Instant,
    pub faults: Faults,
    /// Before the network mended.
    pub began_with: Faults,
    pub is_perfect: bool,
    /// What trunks do with REFER.
    pub refer: &'static str,
    pub shards: Vec<Shard<Wire>>,
    /// One worker for each shard; none while the data plane is dead.
    pub planes: Vec<Plane>,
    pub plan: LivePlan,
    pub cdrs: Writer,
    pub peers: [Peer; 2],
    pub deeds: BTreeMap<(Instant, u64), Deed>,
    pub planned: u64,
    pub seen: BTreeSet<(usize, DialogId)>,
    /// INVITEs that peers placed.
    pub placed: Vec<(usize, ClientId)>,
    /// Branches of the INVITEs that reached the shard, and when each did first.
    pub attempts: BTreeMap<Bytes, Instant>,
    pub tally: Tally,
    pub problems: Vec<String>,
    pub directory: PathBuf,
    pub asleep_until: Option<Instant>,
    pub wall_shift: SignedDuration,
    homes: Homes,
    /// What shards hand each other.
    posts: Vec<Receiver<Inbound>>,
    wire: Wire,
    links: [Link; 2],
    flying: BTreeMap<(Instant, u64), Flight>,
    flights: u64,
    digest: DefaultHasher,
    is_aloud: bool,
    /// Nothing happens but what a test does, and peers accept whatever they are asked.
    pub is_scripted: bool,
    /// What the gateway sent, and where, in a world that is scripted.
    pub sent: Vec<(SocketAddr, Bytes)>,
}

/// Connections with one peer.
struct Link {
    up: Option<u64>,
    /// Gone, and the shard does not know yet.
    dying: BTreeSet<u64>,
    last: u64,
    /// When the last message arrives: to the shard, to the peer.
    arrives: [Instant; 2],
}

/// What is on its way.
enum Flight {
    ToShard {
        from: usize,
        connection: u64,
        bytes: Bytes,
    },
    ToPeer {
        to: usize,
        connection: u64,
        bytes: Bytes,
    },
    /// One shard, or all whom it concerns.
    ShardHears(Option<usize>, Inbound),
    PeerHears(usize),
}

impl Flight {
    fn is_for_shard(&self) -> bool {
        matches!(self, Self::ToShard { .. } | Self::ShardHears(..))
    }

    fn is_on(&self, number: u64) -> bool {
        match self {
            Self::ToShard { connection, .. } | Self::ToPeer { connection, .. } => {
                *connection == number
            }
            _ => false,
        }
    }
}

/// The plan of all worlds; `route` is written into both routes.
pub fn plan(route: &str, refer: &str) -> (config::Config, Plan) {
    let refer = format!("refer = \"{refer}\"");
    let text = configuration(&refer, &refer, route);
    let config = config::parse(&text, Path::new("/nowhere")).unwrap_or_else(|e| panic!("{e}"));
    let plan = config.plan();
    (config, plan)
}

/// The shard with this number on the wire, beside its worker.
pub fn shard(
    seed: u64,
    (wire, media, post, ties): (Wire, Media, Post, Ties),
    (config, plan, cdrs): (&config::Config, &LivePlan, &Writer),
    now: Instant,
) -> Shard<Wire> {
    let (number, homes) = (post.number(), post.homes());
    let mut random = Dice(!(seed + ((number as u64) << 32)));
    let entropy: crate::Entropy =
        Box::new(move |bytes| bytes.fill_with(|| random.below(256) as u8));
    let settings = Settings {
        told: Vec::new(),
        host: config.sip.host(),
        ending_limit: Settings::ENDING_LIMIT,
        lease_limit: Settings::LEASE_LIMIT,
    };
    let world = shard::World {
        endpoint: endpoint(seed, number, homes),
        media,
        settings,
        cdrs: cdrs.share(),
        entropy,
        index: Index::default(),
        memory: Memory::default(),
        admission: Admission::default(),
        health: Health::default(),
        tallies: Tallies::default(),
        feed: Feed::default(),
    };
    Shard::new(world, wire.of(number), plan.reader(), post, ties, now)
}

impl World {
    pub fn new(seed: u64, shards: usize) -> Self {
        let mut dice = Dice(seed);
        let faults = Faults::of(seed, &mut dice);
        let directory = place(seed);
        let now = Instant::now();
        let refer = if seed.is_multiple_of(4) { "pass" } else { "local" };
        let (config, first_plan) = plan("ring_limit = 15", refer);
        let plan = LivePlan::new(first_plan);
        let cdrs = Writer::open(&directory.join("cdr.jsonl"), false).unwrap();
        let homes = Homes::new(shards, (u128::from(seed) + 1).to_be_bytes());
        let wire = Wire::default();
        let (mut all, mut planes) = (Vec::new(), Vec::new());
        let (boxes, posts): (Vec<_>, Vec<_>) = (0..shards).map(|_| bounded(POSTS_MAX)).unzip();
        for (number, ties) in Ties::between(shards).into_iter().enumerate() {
            let (plane, media) = Plane::attach(&directory, SHAPE, now);
            planes.push(plane);
            let post = Post::new(number, homes, boxes.clone());
            let parts = (wire.clone(), media, post, ties);
            all.push(shard(seed, parts, (&config, &plan, &cdrs), now));
        }
        let link = || Link { up: None, dying: BTreeSet::new(), last: 0, arrives: [now; 2] };
        let mut world = Self {
            is_perfect: seed.is_multiple_of(8),
            refer,
            dice,
            now,
            start: now,
            faults,
            began_with: faults,
            shards: all,
            planes,
            plan,
            cdrs,
            homes,
            posts,
            peers: both_peers(),
            deeds: BTreeMap::new(),
            planned: 0,
            seen: BTreeSet::new(),
            placed: Vec::new(),
            attempts: BTreeMap::new(),
            tally: Tally::default(),
            problems: Vec::new(),
            directory,
            asleep_until: None,
            wall_shift: SignedDuration::ZERO,
            wire,
            links: [link(), link()],
            flying: BTreeMap::new(),
            flights: 0,
            digest: DefaultHasher::new(),
            is_aloud: false,
            is_scripted: false,
            sent: Vec::new(),
        };
        world.plan_all();
        world
    }

    /// Two shards and a perfect network, for a test to play in.
    pub fn scripted() -> Self {
        let mut world = Self::new(1, 2);
        world.deeds.clear();
        world.faults = Faults { delay_ms: 5, ..Faults::default() };
        world.is_scripted = true;
        world
    }

    /// Lets seconds pass.
    pub fn pass(&mut self, seconds: u64) {
        let passed = (self.now - self.start).as_secs();
        self.run_until(passed + seconds);
    }

    /// The shard that a name is at home on.
    pub fn home(&self, name: &str) -> usize {
        self.homes.of(name.as_bytes())
    }

    /// The carrier sends this.
    pub fn hear_text(&mut self, text: &str) {
        self.hear(CARRIER, Bytes::from(text.to_owned()));
    }

    /// Prints what goes over the wire.
    pub fn aloud(mut self) -> Self {
        println!("{:?}", self.faults);
        self.is_aloud = true;
        self
    }

    pub fn moment(&self) -> Moment {
        let passed = SignedDuration::try_from(self.now - self.start).unwrap();
        let wall = Timestamp::from_second(WALL_SECONDS).unwrap() + passed + self.wall_shift;
        Moment { now: self.now, wall }
    }

    pub fn say(&self, what: impl FnOnce() -> String) {
        if self.is_aloud {
            println!("{:9.3} {}", (self.now - self.start).as_secs_f64(), what());
        }
    }

    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// Lets time pass until `second` after the start.
    pub fn run_until(&mut self, second: u64) {
        let until = self.start + Duration::from_secs(second);
        loop {
            self.settle();
            match self.next() {
                Some(next) if next <= until => self.now = next.max(self.now),
                _ => break,
            }
        }
        self.now = until;
        self.settle();
    }

    fn next(&mut self) -> Option<Instant> {
        let shard = match self.asleep_until {
            Some(until) => Some(until),
            None => {
                let now = self.now;
                self.shards.iter_mut().filter_map(|shard| shard.next(now)).min()
            }
        };
        let flight = self.flying.first_key_value().map(|((at, _), _)| *at);
        let deed = self.deeds.first_key_value().map(|((at, _), _)| *at);
        let peers = [self.peers[0].due, self.peers[1].due];
        [shard, flight, deed].into_iter().chain(peers).flatten().min()
    }

    /// Everything that is due now, until nothing is.
    pub fn settle(&mut self) {
        if self.asleep_until.is_some_and(|until| until <= self.now) {
            self.asleep_until = None;
        }
        for _ in 0..TURNS_MAX {
            let mut busy = self.follow_deeds() | self.pump() | self.arrive();
            if self.asleep_until.is_none() {
                let at = self.moment();
                self.shards.iter_mut().for_each(|shard| shard.tend(at));
                busy |= self.deliver();
            }
            while let Some(out) = self.wire.take() {
                busy = true;
                self.take_out(out);
            }
            for from in 0..self.peers.len() {
                for bytes in self.peers[from].drain(self.now) {
                    busy = true;
                    self.hear(from, bytes);
                }
            }
            busy |= self.pump();
            if !busy {
                return;
            }
        }
        self.problems.push(String::from("the shard spins"));
    }

    /// What shards hand each other arrives at once.
    fn deliver(&mut self) -> bool {
        let (at, mut any) = (self.moment(), false);
        for (shard, post) in self.shards.iter_mut().zip(&self.posts) {
            for inbound in post.try_iter() {
                any = true;
                self.tally.passed += 1;
                let goes_over = matches!(&inbound, Inbound::Letter(letter) if letter.is_guest());
                self.tally.crossed += u64::from(goes_over);
                shard.receive(at, inbound);
            }
        }
        any
    }

    fn pump(&mut self) -> bool {
        self.planes.iter_mut().fold(false, |any, plane| plane.pump() | any)
    }

    fn take_out(&mut self, out: Out) {
        match out {
            Out::Send(shard, hop, bytes) => {
                if self.is_scripted {
                    self.sent.push((hop.remote, bytes.clone()));
                }
                (self.now - self.start, hop.remote, &bytes).hash(&mut self.digest);
                self.send(shard, hop, bytes);
            }
            Out::Close(number) => {
                for peer in 0..self.links.len() {
                    if self.links[peer].up == Some(number) {
                        self.drop_connection(peer);
                    }
                }
            }
        }
    }

    fn send(&mut self, shard: usize, hop: Hop, bytes: Bytes) {
        let Some(to) = self.peers.iter().position(|peer| peer.address == hop.remote) else {
            return self.problems.push(format!("something is sent to {}", hop.remote));
        };
        self.say(|| format!("shard {shard} -> {to}: {}", first_line(&bytes)));
        if hop.transport == Transport::Udp {
            if bytes.windows(7).any(|part| part == b"inline:") {
                self.problems.push(String::from("a key goes over UDP"));
            }
            if self.dice.below(100) < self.faults.unsent {
                return self.fly(0, Flight::ShardHears(Some(shard), Inbound::Failed { hop }));
            }
            return self.datagram(|bytes| Flight::ToPeer { to, connection: FLOW, bytes }, bytes);
        }
        let link = &self.links[to];
        let named = Some(hop.connection)
            .filter(|number| link.up == Some(*number) || link.dying.contains(number));
        let Some(connection) = named.or(link.up).or_else(|| self.dial(to, hop)) else { return };
        // What is written to a connection that is gone is gone.
        if !self.links[to].dying.contains(&connection) {
            self.in_order(to, 1, Flight::ToPeer { to, connection, bytes });
        }
    }

    fn dial(&mut self, to: usize, hop: Hop) -> Option<u64> {
        if hop.tag == 0 || self.dice.below(100) < self.faults.refused {
            let fault = Fault { is_tls: false, text: String::from("refused") };
            self.in_order(to, 0, Flight::ShardHears(Some(0), Inbound::Undialled { hop, fault }));
            self.in_order(to, 0, Flight::ShardHears(None, Inbound::Failed { hop }));
            return None;
        }
        Some(self.connect(to))
    }

    fn connect(&mut self, peer: usize) -> u64 {
        let link = &mut self.links[peer];
        link.last += 1;
        link.up = Some(link.last);
        link.last
    }

    fn hear(&mut self, from: usize, bytes: Bytes) {
        self.say(|| format!("{from} -> shard: {}", first_line(&bytes)));
        if self.peers[from].transport == Transport::Udp {
            let connection = FLOW;
            return self.datagram(|bytes| Flight::ToShard { from, connection, bytes }, bytes);
        }
        let connection = match self.links[from].up {
            Some(number) => number,
            None => self.connect(from),
        };
        self.in_order(from, 0, Flight::ToShard { from, connection, bytes });
    }

    /// A datagram may be lost, repeated and overtaken.
    fn datagram(&mut self, flight: impl Fn(Bytes) -> Flight, bytes: Bytes) {
        let is_repeated = self.dice.below(100) < self.faults.repeat;
        self.tally.repeated += u64::from(is_repeated);
        for _ in 0..=u8::from(is_repeated) {
            if self.dice.below(100) < self.faults.loss {
                self.tally.lost += 1;
                continue;
            }
            let delay = self.delay();
            self.fly(delay, flight(bytes.clone()));
        }
    }

    /// On a connection everything arrives in order. Direction 0 is to the shard.
    fn in_order(&mut self, peer: usize, direction: usize, flight: Flight) {
        let at = self.now + Duration::from_millis(self.delay());
        let arrives = &mut self.links[peer].arrives[direction];
        *arrives = at.max(*arrives);
        let at = *arrives;
        self.flights += 1;
        self.flying.insert((at, self.flights), flight);
    }

    fn delay(&mut self) -> u64 {
        1 + self.dice.below(self.faults.delay_ms)
    }

    fn fly(&mut self, delay_ms: u64, flight: Flight) {
        self.flights += 1;
        let at = self.now + Duration::from_millis(delay_ms);
        self.flying.insert((at, self.flights), flight);
    }

    /// The connection to a peer drops; of what is on its way half arrives. Both ends learn of it,
    /// each in its time.
    pub fn drop_connection(&mut self, peer: usize) {
        let Some(number) = self.links[peer].up.take() else { return };
        self.say(|| format!("connection {number} to {peer} drops"));
        self.tally.dropped += 1;
        for call in self.calls() {
            let state = STATES.iter().position(|state| *state == call.state);
            self.tally.dropped_in |= state.map_or(0, |bit| 1 << bit);
        }
        self.links[peer].dying.insert(number);
        let on: Vec<_> = self
            .flying
            .iter()
            .filter(|(_, flight)| flight.is_on(number))
            .map(|(k, _)| *k)
            .collect();
        let kept = self.dice.below(on.len() as u64 + 1) as usize;
        for key in &on[kept..] {
            self.flying.remove(key);
        }
        let hop = self.hop(peer, number);
        self.in_order(peer, 0, Flight::ShardHears(None, Inbound::Closed { hop }));
        self.in_order(peer, 1, Flight::PeerHears(peer));
    }

    fn arrive(&mut self) -> bool {
        let mut any = false;
        while let Some(entry) = self.flying.first_entry().filter(|e| e.key().0 <= self.now) {
            let (key, flight) = entry.remove_entry();
            match self.asleep_until.filter(|_| flight.is_for_shard()) {
                Some(until) => {
                    self.flying.insert((until.max(key.0), key.1), flight);
                }
                None => {
                    any = true;
                    self.land(flight);
                }
            }
        }
        any
    }

    fn land(&mut self, flight: Flight) {
        match flight {
            Flight::ToPeer { to, bytes, .. } => self.peers[to].receive(self.now, bytes),
            Flight::PeerHears(peer) => self.peers[peer].disconnect(self.now),
            Flight::ToShard { from, connection, bytes } => {
                let message = message(&bytes);
                if let Some(branch) = new_invite(&message) {
                    let is_new = !self.attempts.contains_key(&branch);
                    let first = *self.attempts.entry(branch).or_insert(self.now);
                    // One that comes when its transaction is over would be another attempt.
                    if self.now.saturating_duration_since(first) >= REPEATED_MAX {
                        return;
                    }
                    let is_elsewhere = self.homes.of_message(&message) > 0;
                    self.tally.elsewhere += u64::from(is_new && is_elsewhere);
                }
                let (hop, origin) = (self.hop(from, connection), self.origin(from));
                self.tell_shard(Inbound::Message { hop, origin, message });
            }
            Flight::ShardHears(shard, inbound) => {
                if let Inbound::Closed { hop } = &inbound {
                    for link in &mut self.links {
                        link.dying.remove(&hop.connection);
                    }
                }
                self.tell(shard, inbound);
            }
        }
    }

    /// A message comes to the shard that it is at home on.
    pub fn tell_shard(&mut self, inbound: Inbound) {
        let home = match &inbound {
            Inbound::Message { message, .. } => self.homes.of_message(message),
            _ => 0,
        };
        self.tell(Some(home), inbound);
    }

    fn tell(&mut self, which: Option<usize>, inbound: Inbound) {
        let at = self.moment();
        match (which, inbound) {
            (Some(shard), inbound) => self.shards[shard].receive(at, inbound),
            (None, Inbound::Closed { hop }) => {
                self.shards.iter_mut().for_each(|one| one.receive(at, Inbound::Closed { hop }));
            }
            (None, Inbound::Failed { hop }) => {
                self.shards.iter_mut().for_each(|one| one.receive(at, Inbound::Failed { hop }));
            }
            (None, other) => panic!("not for all: {other:?}"),
        }
    }

    /// Every live call, whoever has it.
    pub fn calls(&self) -> Vec<LiveCall> {
        let of = |shard: &Shard<Wire>| shard.calls.list(&shard.world.media);
        self.shards.iter().flat_map(of).collect()
    }

    fn hop(&self, peer: usize, connection: u64) -> Hop {
        let table = self.plan.table();
        let origin = self.origin(peer);
        let tag = attribute(&table, &origin, Called::default()).map_or(0, TrunkId::tag);
        Hop { transport: origin.transport, remote: origin.source, connection, tag }
    }

    fn origin(&self, peer: usize) -> Origin {
        let Peer { transport, address, .. } = self.peers[peer];
        origin_of(transport, address)
    }

    /// The data plane dies, and the shard is told by the end of the link.
    pub fn kill_plane(&mut self) {
        self.tally.planes += 1;
        self.planes.clear();
        let at = self.moment();
        self.shards.iter_mut().for_each(|shard| shard.lose_media(at));
    }

    /// Another data plane comes up.
    pub fn raise_plane(&mut self) {
        if self.planes.is_empty() {
            for shard in &mut self.shards {
                let (plane, media) = Plane::attach(&self.directory, SHAPE, self.now);
                self.planes.push(plane);
                shard.world.media = media;
                shard.attached = true;
            }
        }
    }
}

/// The carrier and the PBX.
pub fn both_peers() -> [Peer; 2] {
    [
        Peer::new(11, Transport::Udp, "192.0.2.10:5060", "192.0.2.1:5060"),
        Peer::new(12, Transport::Tls, "192.0.2.20:5061", "192.0.2.1:5061"),
    ]
}

/// What the edge knows of a peer.
pub fn origin_of(transport: Transport, address: SocketAddr) -> Origin {
    let identity = PeerIdentity {
        names: vec![address.ip().to_string()],
        fingerprint: [0xab; 32],
        trusted_by: vec![TrunkId(2)],
    };
    let is_secure = transport == Transport::Tls;
    Origin {
        transport,
        local: if is_secure { "192.0.2.1:5061" } else { "192.0.2.1:5060" }.parse().unwrap(),
        source: address,
        peer: is_secure.then(|| Arc::new(identity)),
        opened_for: None,
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_dir_all(&self.directory);
    }
}

/// A fresh directory of a seed's own.
pub fn place(seed: u64) -> PathBuf {
    let thread = format!("{:?}", std::thread::current().id());
    let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
    let name = format!("trunkline-sim-{}-{thread}-{seed}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    let _fresh = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// The branch of an INVITE that begins a call.
fn new_invite(message: &Message) -> Option<Bytes> {
    let Message::Request(request) = message else { return None };
    let is_new = request.method == Method::Invite && request.headers.to().ok()?.tag().is_none();
    is_new.then(|| request.headers.via().ok()?.branch().cloned()).flatten()
}

fn first_line(bytes: &Bytes) -> String {
    let text = String::from_utf8_lossy(bytes);
    let cseq = text.lines().find(|line| line.starts_with("CSeq")).unwrap_or_default();
    format!("{} ({cseq})", text.lines().next().unwrap_or_default())
}
