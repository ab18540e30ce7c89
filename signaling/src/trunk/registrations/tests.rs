//! The whole exchange between two endpoints in virtual time, with a registrar that checks digests.

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
    asked: usize,
    dead: bool,
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
            asked: 0,
            dead: false,
        }
    }

    fn standing(&self) -> Standing {
        self.registrations.status(TrunkId(1)).unwrap().standing
    }

    /// Lets time pass to `until`, with everything that falls due on the way.
    fn run(&mut self, until: Duration) {
        let until = self.now + until;
        loop {
            let trunks = self.trunks.clone();
            let entropy: Entropy<'_> = &mut |bytes| bytes.fill(1);
            self.registrations.tend(self.now, &mut self.ours, &trunks, &contact, entropy);
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
                    assert_eq!(hop.remote, "198.51.100.7:5060".parse().unwrap());
                    if !self.dead {
                        self.register(hop, bytes);
                    }
                }
                Output::Event(event) => {
                    let trunks = self.trunks.clone();
                    let entropy: Entropy<'_> = &mut |bytes| bytes.fill(1);
                    let left =
                        self.registrations.take(self.now, &mut self.ours, &trunks, entropy, event);
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
        let right = Credentials::new("u1", self.password);
        let shown = request.headers.get(&HeaderName::Authorization);
        let method = request.method.clone();
        let verified =
            shown.map(|value| self.verifier.verify(1_000, &method, value, &right, "192.0.2.1"));
        if matches!(verified, Some(Ok(()))) {
            let expires = text(&HeaderName::Expires);
            self.bindings.push((text(&HeaderName::Contact), expires.clone()));
            return (StatusCode::OK, vec![(HeaderName::Expires, expires.into())]);
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
    assert_eq!(scene.asked, 10, "each once without and once with credentials");
    let trunks = scene.trunks.clone();
    scene.registrations.stop(scene.now, &mut scene.ours, &trunks, &contact);
    scene.drain();
    assert_eq!(scene.asked, 12, "the farewell is challenged and answered like all others");
    assert_eq!(scene.bindings.last().unwrap().1, "0");
    scene.run(Duration::from_secs(10_000));
    assert_eq!(scene.asked, 12);
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
    let trunks = scene.trunks.clone();
    let entropy: Entropy<'_> = &mut |bytes| bytes.fill(1);
    let back = scene.registrations.take(scene.now, &mut scene.ours, &trunks, entropy, event);
    assert!(matches!(back, Some(Event::Request { .. })));
}
