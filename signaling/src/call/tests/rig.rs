//! The gateway's calls between two peers and a data plane, in virtual time. Messages take
//! [`DELAY`]; nothing else does.
//!
//! ```text
//!   carrier (UDP, RTP) ◄──wire──► gateway endpoint, Calls, Media ◄──wire──► pbx (TLS, SRTP)
//!                                              │ shared memory
//!                                            Plane
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use sip::endpoint::{
    ClientId, Config, Counts, Endpoint, Event, Hop, Input, Output, ServerId, Transport,
};
use sip::transaction::Timers;
use sip::wire::{HeaderName, Message, Method, Request, Response};

use super::peer::{Peer, message};
use super::plane::{Plane, SHAPE};
use crate::admission::Admission;
use crate::call::plan::explain_call;
use crate::call::{Calls, Desk, Index, Settings, headers};
use crate::cdr::Writer;
use crate::config;
use crate::feed::Feed;
use crate::group::Groups;
use crate::locate::{Located, Memory, Server};
use crate::media::Media;
use crate::route::Routes;
use crate::route::{Explanation, Query};
use crate::subscription::Subscriptions;
use crate::trunk::tally::Tallies;
use crate::trunk::{Health, Host, TrunkId, TrunkTable};

/// How long a message is on its way.
pub const DELAY: Duration = Duration::from_millis(5);

pub const CARRIER: TrunkId = TrunkId(1);
pub const PBX: TrunkId = TrunkId(2);

/// A peer of the gateway.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Who {
    Carrier,
    Pbx,
    /// Carriers of trunks that only some tests configure.
    Second,
    Third,
}
pub use Who::{Carrier, Pbx, Second, Third};

const ALL: [Who; 4] = [Carrier, Pbx, Second, Third];

impl Who {
    pub fn other(self) -> Self {
        match self {
            Carrier => Pbx,
            Pbx | Second | Third => Carrier,
        }
    }

    fn trunk(self) -> &'static str {
        match self {
            Carrier => "carrier",
            Pbx => "pbx",
            Second => "second",
            Third => "third",
        }
    }
}

pub struct Rig {
    pub now: Instant,
    start: Instant,
    directory: PathBuf,
    pub gateway: Gateway,
    pub calls: Calls,
    pub subscriptions: Subscriptions,
    pub plane: Plane,
    pub carrier: Peer,
    pub pbx: Peer,
    pub second: Peer,
    pub third: Peer,
    /// A peer that is another address of the second one's trunk.
    pub shared: Option<Who>,
    /// By arrival and order of sending: to a peer or from it.
    flying: BTreeMap<(Instant, u64), (Who, bool, Bytes)>,
    sent: u64,
    /// Everything that the gateway sent.
    pub told: Vec<(Who, Bytes)>,
    /// INVITEs that the gateway was asked to carry.
    pub attempts: usize,
    /// No message reaches this peer or comes from it.
    pub cut: Option<Who>,
    /// Drops what makes this true.
    pub lose: Option<fn(Who, bool, &Bytes) -> bool>,
    /// Changes what a peer sends.
    pub rewrite: Option<Rewrite>,
    /// The last 2xx to an INVITE that each peer sent.
    accepts: BTreeMap<Who, Bytes>,
    /// The pbx's trunk allows plain media on TLS.
    pub is_mixed: bool,
    /// Media goes from peer to peer, so that each is told where the other one is.
    pub is_bypassed: bool,
    /// The trunk that callers are taken for.
    pub pretend: Option<TrunkId>,
}

/// Changes a message of a peer on its way.
pub type Rewrite = Box<dyn Fn(Who, &mut Message)>;

/// What calls work with.
pub struct Gateway {
    pub endpoint: Endpoint,
    pub media: Media,
    pub trunks: TrunkTable,
    pub routes: Routes,
    pub groups: Groups,
    pub settings: Settings,
    pub cdrs: Writer,
    pub index: Index,
    pub memory: Memory,
    pub admission: Admission,
    pub health: Health,
    pub tallies: Tallies,
    pub feed: Feed,
    random: u64,
    due: Option<Instant>,
}

impl Rig {
    pub fn new(name: &str) -> Self {
        Self::with(name, "", "", "")
    }

    /// More lines of the carrier's trunk, of the pbx's trunk and of both routes.
    pub fn with(name: &str, carrier: &str, pbx: &str, route: &str) -> Self {
        Self::shaped(name, &configuration(carrier, pbx, route), SHAPE)
    }

    /// Between two plain trunks with these lines each.
    pub fn plain(name: &str, carrier: &str, pbx: &str) -> Self {
        let text = format!(
            "[sip]\nudp = [\"192.0.2.1:5060\"]\n\
             [[trunk]]\nname = \"carrier\"\nhost = \"192.0.2.10\"\n{carrier}\n\
             [[trunk]]\nname = \"pbx\"\nhost = \"192.0.2.20\"\n{pbx}\n\
             [[route]]\nname = \"in\"\nfrom_trunk = \"carrier\"\ndestination = \"pbx\"\n\
             [[route]]\nname = \"out\"\nfrom_trunk = \"pbx\"\ndestination = \"carrier\"\n"
        );
        let mut rig = Self::shaped(name, &text, SHAPE);
        rig.pbx = Peer::new(12, Transport::Udp, "192.0.2.20:5060", "192.0.2.1:5060");
        rig.is_mixed = true;
        rig
    }

    pub fn shaped(name: &str, text: &str, shape: abi::Shape) -> Self {
        let directory =
            std::env::temp_dir().join(format!("trunkline-call-{name}-{}", std::process::id()));
        let _fresh = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let config = config::parse(text, Path::new("/nowhere")).unwrap_or_else(|e| panic!("{e}"));
        let now = Instant::now();
        let (plane, media) = Plane::attach(&directory, shape, now);
        let gateway = Gateway {
            endpoint: Endpoint::new(endpoint_config()),
            media,
            trunks: TrunkTable::new(config.trunks.clone()),
            routes: config.routes.clone(),
            groups: config.plan().groups,
            settings: Settings {
                told: Vec::new(),
                host: config.sip.host(),
                ending_limit: Settings::ENDING_LIMIT,
                lease_limit: Settings::LEASE_LIMIT,
            },
            cdrs: Writer::open(&directory.join("cdr.jsonl"), false).unwrap(),
            index: Index::default(),
            memory: Memory::default(),
            admission: Admission::default(),
            health: Health::default(),
            tallies: Tallies::default(),
            feed: Feed::default(),
            random: 1,
            due: None,
        };
        Self {
            now,
            start: now,
            directory,
            gateway,
            calls: Calls::default(),
            subscriptions: Subscriptions::default(),
            plane,
            carrier: Peer::new(11, Transport::Udp, "192.0.2.10:5060", "192.0.2.1:5060"),
            pbx: Peer::new(12, Transport::Tls, "192.0.2.20:5061", "192.0.2.1:5061"),
            second: Peer::new(13, Transport::Udp, "192.0.2.30:5060", "192.0.2.1:5060"),
            third: Peer::new(14, Transport::Udp, "192.0.2.40:5060", "192.0.2.1:5060"),
            shared: None,
            flying: BTreeMap::new(),
            sent: 0,
            told: Vec::new(),
            attempts: 0,
            cut: None,
            lose: None,
            rewrite: None,
            accepts: BTreeMap::new(),
            is_mixed: false,
            is_bypassed: false,
            pretend: None,
        }
    }

    /// Does something to the calls, with the desk of this moment.
    fn act(&mut self, deed: impl FnOnce(&mut Calls, &mut Desk<'_>)) {
        let passed = jiff::SignedDuration::try_from(self.now - self.start).unwrap();
        let gateway = &mut self.gateway;
        let random = &mut gateway.random;
        let mut entropy = |bytes: &mut [u8]| {
            for byte in bytes {
                *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = random.to_be_bytes()[0];
            }
        };
        let mut desk = Desk {
            now: self.now,
            wall: Timestamp::UNIX_EPOCH + passed,
            endpoint: &mut gateway.endpoint,
            media: &mut gateway.media,
            trunks: &gateway.trunks,
            routes: &gateway.routes,
            groups: &gateway.groups,
            settings: &gateway.settings,
            cdrs: &gateway.cdrs,
            entropy: &mut entropy,
            index: &mut gateway.index,
            memory: &mut gateway.memory,
            admission: &mut gateway.admission,
            health: &mut gateway.health,
            tallies: &mut gateway.tallies,
            feed: &gateway.feed,
        };
        deed(&mut self.calls, &mut desk);
    }

    pub fn peer(&mut self, who: Who) -> &mut Peer {
        match who {
            Carrier => &mut self.carrier,
            Pbx => &mut self.pbx,
            Second => &mut self.second,
            Third => &mut self.third,
        }
    }

    fn tag(&self, who: Who) -> Option<u32> {
        let whose = if self.shared == Some(who) { Second } else { who };
        self.gateway.trunks.by_name(whose.trunk()).map(|trunk| trunk.id.tag())
    }

    /// A trunk is edited.
    pub fn edit(&mut self, name: &str, deed: impl Fn(&mut crate::trunk::Trunk)) {
        let mut trunks: Vec<_> = self.gateway.trunks.iter().cloned().map(Arc::new).collect();
        for trunk in trunks.iter_mut().filter(|trunk| trunk.name == name) {
            deed(Arc::make_mut(trunk));
        }
        self.gateway.trunks = TrunkTable::new(trunks);
    }

    /// From now on the gateway takes no new calls.
    pub fn close(&mut self) {
        self.gateway.health.close();
    }

    /// The second carrier's host is a name for these addresses.
    pub fn second_resolves_to(&mut self, addresses: &[&str]) {
        let addresses: Vec<std::net::IpAddr> =
            addresses.iter().map(|text| text.parse().unwrap()).collect();
        let mut trunks: Vec<_> = self.gateway.trunks.iter().cloned().map(Arc::new).collect();
        for trunk in trunks.iter_mut().filter(|trunk| trunk.name == "second") {
            Arc::make_mut(trunk).host = Host::Name(String::from("second.example"));
        }
        let second = trunks.iter().find(|trunk| trunk.name == "second").unwrap();
        let place = second.places().remove(0);
        let port = place.port_or_default();
        let addresses = addresses.into_iter().map(|ip| std::net::SocketAddr::new(ip, port));
        let name = String::from("second.example");
        let server = Server { group: 0, weight: 0, name, addresses: addresses.collect() };
        let located = Located { servers: vec![server], retired: Vec::new() };
        let names = Arc::new(std::collections::HashMap::from([(place, located)]));
        self.gateway.trunks = TrunkTable::new(trunks).resolved(&names);
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
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

    /// Lets messages arrive and be answered a few times.
    pub fn turn(&mut self) {
        self.run(DELAY * 8);
    }

    pub fn seconds(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }

    fn next(&self) -> Option<Instant> {
        let deadline = self.gateway.index.deadlines.first().map(|(at, _)| *at);
        let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
        let media = self.gateway.media.due(self.now);
        let peers = [self.carrier.due, self.pbx.due, self.second.due, self.third.due];
        let gateway = [self.gateway.due, deadline, arrival, media, self.subscriptions.due()];
        peers.into_iter().chain(gateway).flatten().min()
    }

    /// Everything that is due now, until nothing is.
    pub fn settle(&mut self) {
        loop {
            let mut busy = self.plane.pump();
            busy |= self.notices();
            self.tend();
            busy |= self.drain_gateway();
            for who in ALL {
                let now = self.now;
                for bytes in self.peer(who).drain(now) {
                    busy = true;
                    self.fly(who, false, bytes);
                }
            }
            busy |= self.arrive();
            if !busy {
                break;
            }
        }
    }

    fn notices(&mut self) -> bool {
        let mut any = false;
        while let Some(notice) = self.gateway.media.poll() {
            any = true;
            self.act(|calls, desk| calls.notice(desk, notice));
        }
        any
    }

    fn tend(&mut self) {
        self.act(Calls::tend);
        self.subscribe(|all, _, desk| all.tend(desk));
        self.gateway.media.tend(self.now);
        self.gateway.endpoint.handle_input(self.now, Input::Timer);
    }

    fn drain_gateway(&mut self) -> bool {
        let mut any = false;
        loop {
            match self.gateway.endpoint.poll_output() {
                Output::Transmit { hop, bytes } => self.transmit(hop, bytes),
                Output::Event(event) => self.event(event),
                Output::Timeout(at) => {
                    self.gateway.due = Some(at);
                    return any;
                }
                Output::Idle => {
                    self.gateway.due = None;
                    return any;
                }
            }
            any = true;
        }
    }

    fn transmit(&mut self, hop: Hop, bytes: Bytes) {
        let whose = ALL.into_iter().find(|who| self.peer(*who).address == hop.remote);
        let who = whose.expect("nothing is sent elsewhere");
        assert_eq!(self.tag(who), Some(hop.tag), "each message belongs to a trunk");
        assert_eq!(hop.transport, self.peer(who).transport);
        self.told.push((who, bytes.clone()));
        self.fly(who, true, bytes);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Request { transaction, hop, request } if request.method == Method::Subscribe => {
                let from = (TrunkId::from_tag(hop.tag).unwrap(), hop);
                self.subscribe(|subscriptions, calls, desk| {
                    subscriptions.ask(desk, calls, from, transaction, &request);
                });
            }
            Event::Request { transaction, hop, request } if request.method != Method::Invite => {
                self.act(|_, desk| headers::answer_outside(desk, transaction, hop, &request));
            }
            Event::Request { transaction, hop, request } => {
                self.attempts += 1;
                let from = self.pretend.or(TrunkId::from_tag(hop.tag)).unwrap();
                self.act(|calls, desk| calls.invite(desk, from, hop, transaction, request));
            }
            event => {
                let mut left = None;
                self.subscribe(|all, _, desk| left = all.take(desk, event));
                if let Some(event) = left {
                    self.act(|calls, desk| calls.sip(desk, event));
                }
            }
        }
    }

    /// Does something to the subscriptions.
    pub fn subscribe(&mut self, deed: impl FnOnce(&mut Subscriptions, &mut Calls, &mut Desk<'_>)) {
        let mut subscriptions = std::mem::take(&mut self.subscriptions);
        self.act(|calls, desk| deed(&mut subscriptions, calls, desk));
        self.subscriptions = subscriptions;
    }

    /// A message between a peer and the gateway.
    fn fly(&mut self, who: Who, to_peer: bool, mut bytes: Bytes) {
        if !to_peer {
            let mut sent = message(&bytes);
            if is_accept(&sent) {
                self.accepts.insert(who, bytes.clone());
            }
            if let Some(rewrite) = &self.rewrite {
                rewrite(who, &mut sent);
                bytes = sent.to_bytes();
            }
        }
        let lost = self.lose.is_some_and(|lose| lose(who, to_peer, &bytes));
        if self.cut != Some(who) && !lost {
            self.sent += 1;
            self.flying.insert((self.now + DELAY, self.sent), (who, to_peer, bytes));
        }
    }

    fn arrive(&mut self) -> bool {
        let mut any = false;
        while let Some(entry) = self.flying.first_entry().filter(|e| e.key().0 <= self.now) {
            any = true;
            let (who, to_peer, bytes) = entry.remove();
            let now = self.now;
            if to_peer {
                self.peer(who).receive(now, bytes);
            } else {
                let hop = self.hop(who);
                let message = message(&bytes);
                self.gateway.endpoint.handle_input(now, Input::Message { hop, message });
            }
        }
        any
    }

    fn hop(&mut self, who: Who) -> Hop {
        let tag = self.tag(who).expect("the peer's trunk is configured");
        let peer = self.peer(who);
        let connection = u64::from(peer.transport.is_reliable()) * 7;
        Hop { transport: peer.transport, remote: peer.address, connection, tag }
    }

    /// Places a call; its offer is the caller's usual one.
    pub fn call(&mut self, who: Who) -> ClientId {
        let offer = self.peer(who).offer();
        self.call_with(who, "+4930222", Some(offer))
    }

    pub fn call_with(&mut self, who: Who, number: &str, offer: Option<String>) -> ClientId {
        let invite = self.peer(who).invite(number, offer);
        self.place(who, invite)
    }

    pub fn place(&mut self, who: Who, invite: Request) -> ClientId {
        let now = self.now;
        let client = self.peer(who).call(now, invite);
        self.turn();
        client
    }

    /// How a call of the pbx would be routed now.
    pub fn explain(&mut self, called: &str) -> Explanation {
        let mut told = None;
        self.act(|_, desk| {
            let query = Query { from: PBX, called, caller: "+4940111", at: desk.wall };
            told = Some(explain_call(desk, &query));
        });
        told.expect("there is a desk")
    }

    /// How many INVITEs were sent to a peer, repetitions included.
    pub fn times_asked(&self, who: Who) -> usize {
        let invites =
            self.told.iter().filter(|(to, bytes)| *to == who && bytes.starts_with(b"INVITE"));
        invites.count()
    }

    /// A message as a peer's software wrote it; the answer goes where it came from.
    pub fn receive(&mut self, who: Who, bytes: &[u8]) {
        let mut sent = message(&Bytes::copy_from_slice(bytes));
        let mut via = sent.headers().via().unwrap();
        via.params.set_flag("rport");
        sent.headers_mut().set_top_via(&via).unwrap();
        self.fly(who, false, sent.to_bytes());
        self.turn();
    }

    /// The INVITE that reached a peer.
    pub fn invited(&mut self, who: Who) -> (ServerId, Request) {
        self.peer(who).invites.pop_front().expect("the callee was asked")
    }

    pub fn answer(&mut self, who: Who, id: ServerId, status: u16, body: Option<String>) {
        let now = self.now;
        self.peer(who).answer(now, id, status, body);
        self.turn();
    }

    /// A provisional answer that the gateway must acknowledge.
    pub fn answer_reliably(&mut self, who: Who, id: ServerId, status: u16, body: Option<String>) {
        let now = self.now;
        self.peer(who).answer_reliably(now, id, status, body);
        self.turn();
    }

    /// The callee's usual answer to an INVITE.
    pub fn accept(&mut self, who: Who, id: ServerId, invite: &Request) {
        let body = self.peer(who).accept(&invite.body);
        self.answer(who, id, 200, Some(body));
    }

    /// A call that is answered and acknowledged.
    pub fn talk(&mut self, caller: Who) -> ClientId {
        let client = self.call(caller);
        let (id, invite) = self.invited(caller.other());
        self.accept(caller.other(), id, &invite);
        assert_eq!(self.last_status(caller), 200);
        client
    }

    /// A peer asks for something inside of its dialog.
    pub fn ask(&mut self, who: Who, method: Method, body: Option<String>) {
        self.ask_with(who, method, Vec::new(), body);
    }

    pub fn ask_with(
        &mut self,
        who: Who,
        method: Method,
        extra: Vec<(HeaderName, Bytes)>,
        body: Option<String>,
    ) {
        let now = self.now;
        self.peer(who).ask(now, method, extra, body);
        self.turn();
    }

    /// What a peer was asked inside of its dialog.
    pub fn asked_inside(&mut self, who: Who) -> (ServerId, Request) {
        self.peer(who).asked.pop_front().expect("the peer was asked inside of its dialog")
    }

    pub fn cancel(&mut self, who: Who, client: ClientId) {
        let now = self.now;
        self.peer(who).endpoint.cancel(now, client).expect("the INVITE can be cancelled");
    }

    pub fn hang_up(&mut self, who: Who) {
        let now = self.now;
        let dialog = self.peer(who).dialog.expect("there is a dialog");
        self.peer(who).hang_up(now, dialog);
        self.turn();
    }

    pub fn last_response(&mut self, who: Who) -> Response {
        self.peer(who).responses.last().expect("a response came").1.clone()
    }

    pub fn last_status(&mut self, who: Who) -> u16 {
        self.last_response(who).status.code()
    }

    pub fn statuses(&mut self, who: Who) -> Vec<u16> {
        self.peer(who).responses.iter().map(|(_, response)| response.status.code()).collect()
    }

    /// What an operator does to a call.
    pub fn end_call(&mut self, id: &str) -> bool {
        let mut ended = false;
        self.act(|calls, desk| ended = calls.hang_up(desk, id));
        ended
    }

    pub fn stop_calls_of(&mut self, trunk: TrunkId) {
        let reason = "the trunk was deleted";
        self.act(|calls, desk| calls.stop_those(desk, reason, |one| one == trunk));
    }

    pub fn stop_all(&mut self) {
        self.act(|calls, desk| calls.stop_all(desk, "the gateway is stopping"));
    }

    pub fn close_records(&mut self) {
        self.act(|calls, desk| calls.close_records(desk, "signaling was stopped"));
    }

    /// From now on answers to INVITEs come from another phone of this peer.
    pub fn retag(&mut self, whose: Who, tag: &'static str) {
        self.rewrite = Some(Box::new(move |who, sent| {
            if who == whose && is_invite_answer(sent) {
                set_tag(sent, tag);
            }
        }));
    }

    /// The last 2xx to an INVITE, from another phone of this peer.
    pub fn repeat_answer(&mut self, who: Who, tag: &'static str) {
        let mut sent = message(&self.accepts[&who]);
        set_tag(&mut sent, tag);
        self.fly(who, false, sent.to_bytes());
    }

    /// The network says that this peer cannot be reached.
    pub fn fail(&mut self, who: Who) {
        let hop = Hop { connection: 0, ..self.hop(who) };
        self.gateway.endpoint.handle_input(self.now, Input::Failed { hop });
    }

    /// The connection to this peer breaks; both ends learn of it.
    pub fn disconnect(&mut self, who: Who) {
        let (now, hop) = (self.now, self.hop(who));
        self.gateway.endpoint.handle_input(now, Input::Failed { hop });
        self.peer(who).disconnect(now);
        self.settle();
    }

    /// Makes room for so many transactions only; before the first call.
    pub fn limit_transactions(&mut self, transactions_max: usize) {
        self.gateway.endpoint = Endpoint::new(Config { transactions_max, ..endpoint_config() });
    }

    /// What the loop does when the data plane died.
    pub fn lose_data_plane(&mut self) {
        self.gateway.media = Media::detached();
        self.calls.forget_flows();
        self.stop_all();
    }

    /// The records of all attempts so far.
    pub fn records(&mut self) -> Vec<Value> {
        self.gateway.cdrs.stop();
        let text = std::fs::read_to_string(self.directory.join("cdr.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Lets everything come to its end and asserts what holds for each scenario. The records of
    /// all attempts are returned.
    pub fn finish(mut self) -> Vec<Value> {
        self.seconds(200);
        self.assert_drained();
        assert_eq!(self.plane.open_flows(), 0, "ports are leased");
        assert_eq!(self.gateway.media.free_slots(), self.gateway.media.slots());
        self.conclude()
    }

    /// The same without a data plane.
    pub fn finish_detached(mut self) -> Vec<Value> {
        self.seconds(200);
        self.assert_drained();
        self.conclude()
    }

    fn conclude(mut self) -> Vec<Value> {
        self.assert_secret();
        let records = self.records();
        assert_eq!(records.len(), self.attempts, "one CDR for each attempt");
        records
    }

    /// One attempt, and what its CDR says.
    pub fn finish_one(self, code: u16) -> Value {
        let records = self.finish();
        let [record] = records.as_slice() else { panic!("one attempt: {records:?}") };
        assert_eq!(record["code"], code, "{record}");
        record.clone()
    }

    fn assert_drained(&mut self) {
        assert!(self.calls.is_empty(), "{} calls are left", self.calls.len());
        assert!(self.subscriptions.is_empty(), "{} are left", self.subscriptions.len());
        let index = &self.gateway.index;
        assert!(index.clients.is_empty() && index.servers.is_empty() && index.dialogs.is_empty());
        assert!(index.deadlines.is_empty() && index.stopping.is_empty());
        assert_eq!(self.gateway.endpoint.counts(), Counts::default(), "gateway");
        for who in ALL {
            assert_eq!(self.peer(who).counts(), Counts::default(), "{who:?}");
            assert!(self.peer(who).live.is_empty(), "{who:?} still talks");
        }
    }

    /// Nothing secret goes over UDP, no plain media is offered over TLS, and nothing that one peer
    /// said of its place reaches the other.
    fn assert_secret(&self) {
        for (who, bytes) in &self.told {
            let text = String::from_utf8_lossy(bytes);
            let lines: Vec<&str> = text.lines().collect();
            assert!(!text.contains("canary-agent"), "software of a peer: {text}");
            for line in lines.iter().filter(|line| line.starts_with("m=")) {
                let secure = line.contains(" RTP/SAVP ");
                let fits = secure == (*who == Pbx) || self.is_mixed && *who == Pbx;
                assert!(fits, "{who:?}: {text}");
            }
            if *who != Pbx {
                assert!(!text.to_lowercase().contains("crypto"), "{text}");
                assert!(!text.contains("inline"), "{text}");
            }
            if let Message::Request(request) = message(bytes)
                && request.method == Method::Invite
                && request.headers.to().unwrap().tag().is_none()
            {
                assert!(!text.contains("canary"), "{text}");
                assert!(self.is_bypassed || !text.contains("198.51.100.77"), "{text}");
            }
            let (_, body) = text.split_once("\r\n\r\n").unwrap_or_default();
            assert!(!body.contains("canary"), "{text}");
            assert!(self.is_bypassed || !body.contains("198.51.100.77"), "{text}");
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_dir_all(&self.directory);
    }
}

fn is_invite_answer(message: &Message) -> bool {
    let Message::Response(response) = message else { return false };
    response.headers.cseq().unwrap().method == Method::Invite
}

fn is_accept(message: &Message) -> bool {
    let Message::Response(response) = message else { return false };
    response.status.is_success() && is_invite_answer(message)
}

fn set_tag(message: &mut Message, tag: &'static str) {
    let headers = message.headers_mut();
    let mut to = headers.to().unwrap();
    to.params.remove("tag");
    headers.set(HeaderName::To, to.with_tag(Bytes::from_static(tag.as_bytes())).to_string());
}

pub fn endpoint_config() -> Config {
    let port = |hop: &Hop| match hop.transport {
        Transport::Tls => "192.0.2.1:5061",
        _ => "192.0.2.1:5060",
    };
    Config {
        seed: [1; 32],
        timers: Timers::default(),
        transactions_max: 100_000,
        dialogs_max: 100_000,
        user_agent: String::from("Trunkline"),
        via: Box::new(move |hop| port(hop).to_owned()),
        stays: Box::new(|_, _| false),
        contact: Box::new(move |hop| match hop.transport {
            Transport::Tls => format!("sip:{};transport=tls", port(hop)),
            _ => format!("sip:{}", port(hop)),
        }),
    }
}

pub fn configuration(carrier: &str, pbx: &str, route: &str) -> String {
    let pin = "ab".repeat(32);
    format!(
        r#"
[sip]
udp = ["192.0.2.1:5060"]
tls = ["192.0.2.1:5061"]
tls_certificate = "gateway.pem"
tls_key = "gateway.key"

[[trunk]]
name = "carrier"
host = "192.0.2.10"
{carrier}

[[trunk]]
name = "pbx"
host = "192.0.2.20"
secure = true
tls_pin = "{pin}"
{pbx}

[[route]]
name = "to the pbx"
from_trunk = "carrier"
destination = "pbx"
{route}

[[route]]
name = "to the carrier"
from_trunk = "pbx"
destination = "carrier"
{route}
"#
    )
}
