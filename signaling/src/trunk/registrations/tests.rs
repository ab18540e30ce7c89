//! The whole exchange between two endpoints in virtual time, with a registrar that checks digests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sip::digest::Credentials;
use sip::digest::server::Verifier;
use sip::endpoint::{Config, Input, Output, Transport};
use sip::transaction::Timers;
use sip::wire::{HeaderName, Message, Request, parse};

use super::super::Trunk;
use super::*;
use crate::config;
use crate::locate::{Located, Server};
use crate::secret::Secret;

fn trunk() -> Trunk {
    let text = "[sip]\nudp = [\"192.0.2.1:5060\"]\n[[trunk]]\nname = \"isp\"\n\
                host = \"198.51.100.7\"\nusername = \"u1\"\npassword = \"swordfish\"\n";
    let mut trunk =
        config::parse(text, std::path::Path::new(".")).unwrap().trunks[0].as_ref().clone();
    trunk.register = true;
    trunk.registration_token = Some(Secret::new("0123abcd".into()));
    trunk
}

fn endpoint(seed: u8) -> Endpoint {
    Endpoint::new(Config {
        seed: [seed; 32],
        timers: Timers::default(),
        transactions_max: 100,
        dialogs_max: 100,
        user_agent: String::from("test"),
        via: Box::new(|_| String::from("192.0.2.1:5060")),
        contact: Box::new(|_| String::from("sip:192.0.2.1:5060")),
        stays: Box::new(|_, _| false),
    })
}

fn contact(_: &Hop) -> String {
    String::from("sip:192.0.2.1:5060")
}

/// The gateway's side, the registrar's side, and what the registrar accepts.
struct Scene {
    now: Instant,
    trunks: TrunkTable,
    registrations: Registrations,
    ours: Endpoint,
    theirs: Endpoint,
    verifier: Verifier,
    password: &'static str,
    /// Contact and Expires of every REGISTER that was accepted.
    bindings: Vec<(String, String)>,
    /// Where each REGISTER went, and when, in seconds from the start.
    sent: Vec<(SocketAddr, u64)>,
    start: Instant,
    asked: usize,
    dead: bool,
    /// An address that never answers.
    silent: Option<SocketAddr>,
    service_route: Option<&'static str>,
    username: &'static str,
    memory: Memory,
}

impl Scene {
    fn new(password: &'static str) -> Self {
        let now = Instant::now();
        let trunks = TrunkTable::new(vec![trunk()]);
        let registrations = Registrations::new(&trunks, now, &mut |bytes| bytes.fill(1));
        Self {
            now,
            trunks,
            registrations,
            ours: endpoint(1),
            theirs: endpoint(2),
            verifier: Verifier::new([7; 32]),
            password,
            bindings: Vec::new(),
            sent: Vec::new(),
            start: now,
            asked: 0,
            dead: false,
            silent: None,
            service_route: None,
            username: "u1",
            memory: Memory::default(),
        }
    }

    fn standing(&self) -> Standing {
        self.registrations.status(TrunkId(1)).unwrap().standing
    }

    /// Lets the registrations do something.
    fn with<T>(&mut self, work: impl FnOnce(&mut Registrations, &mut Around<'_>) -> T) -> T {
        let mut around = Around {
            now: self.now,
            endpoint: &mut self.ours,
            trunks: &self.trunks,
            memory: &mut self.memory,
            contact: &contact,
            entropy: &mut |bytes| bytes.fill(1),
        };
        work(&mut self.registrations, &mut around)
    }

    /// Publishes other trunks.
    fn edit(&mut self, trunks: Vec<Trunk>) {
        self.trunks = TrunkTable::new(trunks);
        self.with(|registrations, around| registrations.follow(around));
        self.drain();
    }

    /// Lets time pass to `until`, with everything that falls due on the way.
    fn run(&mut self, until: Duration) {
        let until = self.now + until;
        loop {
            self.with(|registrations, around| registrations.tend(around));
            self.ours.handle_input(self.now, Input::Timer);
            let next = self.drain();
            let due = [next, self.registrations.due(), Some(until)].into_iter().flatten().min();
            let due = due.unwrap_or(until);
            if self.now >= until {
                return;
            }
            self.now = due.max(self.now + Duration::from_millis(1)).min(until);
        }
    }

    /// Carries messages to and fro until both are quiet.
    fn drain(&mut self) -> Option<Instant> {
        loop {
            match self.ours.poll_output() {
                Output::Transmit { hop, bytes } => {
                    let at = self.now.duration_since(self.start).as_secs();
                    if self.sent.last() != Some(&(hop.remote, at)) {
                        self.sent.push((hop.remote, at));
                    }
                    if !self.dead && self.silent != Some(hop.remote) {
                        self.register(hop, bytes);
                    }
                }
                Output::Event(event) => {
                    let left = self.with(|registrations, around| registrations.take(around, event));
                    assert!(left.is_none());
                }
                Output::Timeout(at) => return Some(at),
                Output::Idle => return None,
            }
        }
    }

    /// The registrar's turn with one datagram.
    fn register(&mut self, hop: Hop, bytes: Bytes) {
        let from = Hop { remote: "192.0.2.1:5060".parse().unwrap(), ..hop };
        let message = parse(bytes).unwrap();
        self.theirs.handle_input(self.now, Input::Message { hop: from, message });
        loop {
            match self.theirs.poll_output() {
                Output::Transmit { bytes, .. } => {
                    let message = parse(bytes).unwrap();
                    self.ours.handle_input(self.now, Input::Message { hop, message });
                }
                Output::Event(Event::Request { transaction, request, .. }) => {
                    self.asked += 1;
                    let (status, extra) = self.judge(&request);
                    self.theirs.respond(self.now, transaction, status, extra, None).unwrap();
                }
                Output::Event(other) => panic!("{other:?}"),
                Output::Timeout(_) | Output::Idle => return,
            }
        }
    }

    fn judge(&mut self, request: &Request) -> (StatusCode, Vec<(HeaderName, Bytes)>) {
        let text = |name: &HeaderName| {
            String::from_utf8(request.headers.get(name).unwrap().to_vec()).unwrap()
        };
        let right = Credentials::new(self.username, self.password);
        let shown = request.headers.get(&HeaderName::Authorization);
        let method = request.method.clone();
        let verified =
            shown.map(|value| self.verifier.verify(1_000, &method, value, &right, "192.0.2.1"));
        if matches!(verified, Some(Ok(()))) {
            let expires = text(&HeaderName::Expires);
            self.bindings.push((text(&HeaderName::Contact), expires.clone()));
            let mut extra = vec![(HeaderName::Expires, expires.into())];
            extra.extend(self.service_route.map(|route| (HeaderName::ServiceRoute, route.into())));
            return (StatusCode::OK, extra);
        }
        let challenges = self.verifier.challenge(1_000, "isp", "192.0.2.1", false);
        let extra = challenges.into_iter().map(|value| (HeaderName::WwwAuthenticate, value));
        (StatusCode::UNAUTHORIZED, extra.collect())
    }
}

#[test]
fn a_trunk_registers_stays_registered_and_leaves() {
    let mut scene = Scene::new("swordfish");
    assert_eq!(scene.standing(), Standing::Registering);
    scene.run(Duration::from_secs(61));
    assert!(matches!(scene.standing(), Standing::Registered(_)));
    assert_eq!(scene.bindings.len(), 1);
    assert_eq!(scene.bindings[0].0, "<sip:u1@192.0.2.1:5060;line=0123abcd>");
    scene.run(Duration::from_secs(3_600 * 3));
    assert_eq!(scene.bindings.len(), 5, "every {:?}", Duration::from_secs(2_600));
    assert_eq!(scene.asked, 6, "once without, then each answers the challenge that is known");
    scene.with(|registrations, around| registrations.stop(around));
    scene.drain();
    assert_eq!(scene.asked, 7, "the farewell too");
    assert_eq!(scene.bindings.last().unwrap().1, "0");
    scene.run(Duration::from_secs(10_000));
    assert_eq!(scene.asked, 7);
}

#[test]
fn a_wrong_password_does_not_hammer() {
    let mut scene = Scene::new("other");
    scene.run(Duration::from_secs(600));
    assert_eq!(scene.standing(), Standing::AuthFailed);
    assert_eq!(scene.asked, 4, "once without, three times with");
    scene.run(Duration::from_secs(1_800));
    assert_eq!(scene.asked, 8);
}

#[test]
fn a_dead_registrar_is_asked_more_and_more_rarely_and_found_again() {
    let mut scene = Scene::new("swordfish");
    scene.dead = true;
    scene.run(Duration::from_secs(120));
    assert_eq!(scene.standing(), Standing::Unreachable);
    scene.dead = false;
    scene.run(Duration::from_secs(1_800));
    assert!(matches!(scene.standing(), Standing::Registered(_)));
}

#[test]
fn a_trunk_without_an_address_is_unreachable_and_tried_again() {
    let mut trunk = trunk();
    trunk.host = super::super::Host::Name("nowhere.example".into());
    let mut scene = Scene::new("swordfish");
    scene.trunks = TrunkTable::new(vec![trunk]);
    scene.run(Duration::from_secs(61));
    assert_eq!(scene.standing(), Standing::Unreachable);
    assert_eq!(scene.asked, 0);
    assert!(scene.registrations.due().is_some());
}

#[test]
fn events_of_others_are_given_back() {
    let mut scene = Scene::new("swordfish");
    let request = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKx\r\n\
                   From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\
                   Content-Length: 0\r\n\r\n";
    let hop = Hop {
        transport: Transport::Udp,
        remote: "192.0.2.9:5060".parse().unwrap(),
        connection: 0,
        tag: 1,
    };
    let message: Message = parse(Bytes::from(request)).unwrap();
    scene.ours.handle_input(scene.now, Input::Message { hop, message });
    let Output::Event(event) = scene.ours.poll_output() else { panic!("no event") };
    let back = scene.with(|registrations, around| registrations.take(around, event));
    assert!(matches!(back, Some(Event::Request { .. })));
}

/// Two addresses behind one name.
fn located(trunk: Trunk) -> TrunkTable {
    let place = trunk.places().remove(0);
    let addresses = ["198.51.100.1:5060", "198.51.100.2:5060"].map(|text| text.parse().unwrap());
    let servers = addresses.iter().enumerate().map(|(group, address)| Server {
        group: group as u16,
        weight: 0,
        name: String::from("r.example"),
        addresses: vec![*address],
    });
    let located = Located { servers: servers.collect(), retired: Vec::new() };
    TrunkTable::new([trunk]).resolved(&Arc::new(HashMap::from([(place, located)])))
}

#[test]
fn a_registrar_that_is_down_for_ten_minutes_is_asked_by_the_book() {
    let mut scene = Scene::new("swordfish");
    scene.dead = true;
    scene.run(Duration::from_secs(600));
    let attempts = |scene: &Scene| {
        let mut starts: Vec<u64> = Vec::new();
        for (_, at) in &scene.sent {
            // Timer E repeats within 32 s (RFC 3261 §17.1.2.2); what comes later is a new attempt.
            if starts.last().is_none_or(|last| at - last > 40) {
                starts.push(*at);
            }
        }
        starts
    };
    // 32 s of silence each, then 30, 60, 120 and 240 s; the jitter is near its low end, one half.
    let asked = attempts(&scene);
    assert_eq!(asked, [0, 47, 109, 201, 353], "{:?}", scene.sent);
    assert_eq!(scene.standing(), Standing::Unreachable);
    scene.dead = false;
    scene.run(Duration::from_secs(40));
    assert!(matches!(scene.standing(), Standing::Registered(_)));
    assert_eq!(attempts(&scene).last(), Some(&626), "the next attempt was due then");
    assert_eq!(scene.asked, 2, "a challenge and its answer");
}

#[test]
fn the_next_address_is_asked_at_once_and_remembered() {
    let mut named = trunk();
    named.host = super::super::Host::Name("r.example".into());
    let mut scene = Scene::new("swordfish");
    scene.trunks = located(named);
    let first: SocketAddr = "198.51.100.1:5060".parse().unwrap();
    let second: SocketAddr = "198.51.100.2:5060".parse().unwrap();
    scene.silent = Some(first);
    scene.run(Duration::from_secs(33));
    assert!(matches!(scene.standing(), Standing::Registered(_)));
    assert_eq!(scene.sent.first(), Some(&(first, 0)));
    assert_eq!(scene.sent.last(), Some(&(second, 32)));
    assert!(scene.memory.is_bad(first, scene.now) && !scene.memory.is_bad(second, scene.now));
    // The renewal goes where it worked.
    let before = scene.sent.len();
    scene.run(Duration::from_secs(3_600));
    assert!(scene.sent[before..].iter().all(|(remote, _)| *remote == second));
}

#[test]
fn edits_are_followed_at_once() {
    let mut scene = Scene::new("swordfish");
    scene.run(Duration::from_secs(1));
    assert!(matches!(scene.standing(), Standing::Registered(_)));
    let expires = |scene: &Scene| {
        scene.bindings.iter().map(|(_, expires)| expires.clone()).collect::<Vec<_>>()
    };
    // A change that the registrar does not see changes nothing there.
    let mut renamed = trunk();
    renamed.name = String::from("other");
    scene.edit(vec![renamed]);
    scene.run(Duration::from_secs(1));
    assert_eq!(expires(&scene), ["3600"]);
    // Another account: the old one says farewell, the new one registers.
    let mut other = trunk();
    other.username = Some(String::from("u2"));
    scene.edit(vec![other.clone()]);
    assert_eq!(expires(&scene), ["3600", "0"]);
    scene.password = "swordfish";
    scene.username = "u2";
    scene.run(Duration::from_secs(1));
    assert_eq!(expires(&scene), ["3600", "0", "3600"]);
    assert!(matches!(scene.standing(), Standing::Registered(_)));
    // Disabled, and gone.
    other.enabled = false;
    scene.edit(vec![other.clone()]);
    assert_eq!(expires(&scene).last().unwrap(), "0");
    assert!(scene.registrations.status(TrunkId(1)).is_none());
    other.enabled = true;
    scene.edit(vec![other]);
    scene.run(Duration::from_secs(1));
    scene.edit(Vec::new());
    assert_eq!(expires(&scene), ["3600", "0", "3600", "0", "3600", "0"]);
    scene.run(Duration::from_secs(10_000));
    assert_eq!(scene.bindings.len(), 6, "nothing leaves for a trunk that is gone");
    assert!(scene.registrations.is_idle());
}

#[test]
fn the_service_route_reaches_the_memory_and_leaves_it() {
    let mut scene = Scene::new("swordfish");
    scene.service_route = Some("<sip:orig@p1.isp.example;lr>");
    scene.run(Duration::from_secs(1));
    let want = [Bytes::from_static(b"<sip:orig@p1.isp.example;lr>")];
    assert_eq!(scene.memory.service_route(TrunkId(1)), want);
    assert_eq!(scene.registrations.route_set(TrunkId(1)), want);
    scene.edit(Vec::new());
    assert!(scene.memory.service_route(TrunkId(1)).is_empty());
}

#[test]
fn a_thousand_trunks_are_spread_over_a_minute() {
    let trunks = (1..=1_000).map(|n| {
        let mut one = trunk();
        one.id = TrunkId(n);
        one
    });
    let table = TrunkTable::new(trunks);
    let (now, mut state) = (Instant::now(), 1_u32);
    let mut random = |bytes: &mut [u8]| {
        for byte in bytes {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
    };
    let registrations = Registrations::new(&table, now, &mut random);
    let mut per_ten = [0; 6];
    for one in registrations.all.values() {
        let after = one.registration.due().unwrap().duration_since(now).as_secs();
        per_ten[(after / 10).min(5) as usize] += 1;
    }
    assert!(per_ten.iter().all(|count| (100..250).contains(count)), "{per_ten:?}");
}
