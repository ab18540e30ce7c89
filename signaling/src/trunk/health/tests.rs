//! Probes, evidence and verdicts in virtual time, between the real endpoint and peers that answer as
//! they are told.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use sip::endpoint::{Config, Input, Output};
use sip::transaction::Timers;
use sip::wire::{Message, Response, StatusCode, parse};

use super::super::Status;
use super::*;
use crate::admission::Bound;
use crate::config;
use crate::locate::{Located, Server};

const A: &str = "198.51.100.1:5060";
const B: &str = "198.51.100.2:5060";

/// How a peer answers OPTIONS.
#[derive(Clone, Copy)]
enum Peer {
    Answers {
        code: u16,
        after: Duration,
    },
    Silent,
    /// The transport says that it cannot be reached.
    Broken,
}

fn at_once(code: u16) -> Peer {
    Peer::Answers { code, after: Duration::ZERO }
}

struct Scene {
    start: Instant,
    now: Instant,
    table: TrunkTable,
    registrations: Registrations,
    admission: Admission,
    health: Health,
    endpoint: Endpoint,
    peers: HashMap<SocketAddr, Peer>,
    answers: BTreeMap<(Instant, usize), (Hop, Message)>,
    /// When each probe left, in milliseconds, and to whom. Retransmissions do not count.
    probes: Vec<(u128, SocketAddr)>,
    requests: Vec<Request>,
    news: Vec<StatusNews>,
    seen: BTreeSet<Vec<u8>>,
}

fn endpoint() -> Endpoint {
    Endpoint::new(Config {
        seed: [1; 32],
        timers: Timers::default(),
        transactions_max: 100_000,
        dialogs_max: 100,
        user_agent: String::from("test"),
        via: Box::new(|_| String::from("192.0.2.1:5060")),
        contact: Box::new(|_| String::from("sip:192.0.2.1:5060")),
        stays: Box::new(|_, _| false),
    })
}

impl Scene {
    fn new(trunks: &str) -> Self {
        let sip = "[sip]\nudp = [\"192.0.2.1:5060\"]\ntcp = [\"192.0.2.1:5060\"]\n";
        let config = config::parse(&format!("{sip}{trunks}"), Path::new("."));
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        let table = TrunkTable::new(config.trunks);
        let now = Instant::now();
        let registrations = Registrations::new(&table, now, &mut |bytes| bytes.fill(0));
        Self {
            start: now,
            now,
            table,
            registrations,
            admission: Admission::default(),
            health: Health::default(),
            endpoint: endpoint(),
            peers: HashMap::new(),
            answers: BTreeMap::new(),
            probes: Vec::new(),
            requests: Vec::new(),
            news: Vec::new(),
            seen: BTreeSet::new(),
        }
    }

    /// One trunk at address A whose peer behaves so.
    fn one(fields: &str, peer: Peer) -> Self {
        let trunk = format!("[[trunk]]\nname = \"t\"\nhost = \"198.51.100.1\"\n{fields}");
        let mut scene = Self::new(&trunk);
        scene.peer(A, peer);
        scene
    }

    fn peer(&mut self, address: &str, peer: Peer) {
        self.peers.insert(address.parse().unwrap(), peer);
    }

    fn resolve(&mut self, addresses: &[&str]) {
        let place = self.table.iter().next().unwrap().places().remove(0);
        let addresses = addresses.iter().map(|address| address.parse().unwrap());
        let addresses = addresses.map(|address| SocketAddr::new(address, 5060)).collect();
        let server = Server { group: 0, weight: 0, name: String::from("t.example"), addresses };
        let found = Located { servers: vec![server], retired: Vec::new() };
        self.table = self.table.resolved(&Arc::new(HashMap::from([(place, found)])));
    }

    fn run(&mut self, seconds: f64) {
        let until = self.now + Duration::from_secs_f64(seconds);
        loop {
            self.tend();
            let due = [
                self.health.due(),
                self.answers.keys().next().map(|(at, _)| *at),
                self.drain(),
                Some(until),
            ];
            if self.now >= until {
                return;
            }
            let due = due.into_iter().flatten().min().unwrap();
            self.now = due.max(self.now + Duration::from_millis(1)).min(until);
        }
    }

    fn tend(&mut self) {
        let around = Around {
            now: self.now,
            wall: Timestamp::UNIX_EPOCH
                + jiff::SignedDuration::try_from(self.now - self.start).unwrap(),
            trunks: &self.table,
            registrations: &self.registrations,
            admission: &self.admission,
            contact: &|_| String::from("sip:192.0.2.1:5060"),
            host: "192.0.2.1",
        };
        self.health.tend(&around, &mut self.endpoint, &mut |bytes| bytes.fill(0x40));
        self.news.extend(std::iter::from_fn(|| self.health.poll()));
        while let Some(answer) = self.answers.first_entry().filter(|a| a.key().0 <= self.now) {
            let (hop, message) = answer.remove();
            self.endpoint.handle_input(self.now, Input::Message { hop, message });
        }
        self.endpoint.handle_input(self.now, Input::Timer);
    }

    fn drain(&mut self) -> Option<Instant> {
        loop {
            match self.endpoint.poll_output() {
                Output::Transmit { hop, bytes } => self.transmit(hop, &bytes),
                Output::Event(event) => {
                    assert!(self.health.take(self.now, &self.table, event).is_none());
                }
                Output::Timeout(at) => return Some(at),
                Output::Idle => return None,
            }
        }
    }

    fn transmit(&mut self, hop: Hop, bytes: &bytes::Bytes) {
        let Ok(Message::Request(request)) = parse(bytes.clone()) else { panic!("{bytes:?}") };
        if !self.seen.insert(request.headers.get(&HeaderName::CallId).unwrap().to_vec()) {
            return;
        }
        self.probes.push(((self.now - self.start).as_millis(), hop.remote));
        match self.peers.get(&hop.remote).copied().unwrap_or(Peer::Silent) {
            Peer::Silent => {}
            Peer::Broken => self.endpoint.handle_input(self.now, Input::Failed { hop }),
            Peer::Answers { code, after } => {
                let mut response = Response::new(StatusCode::new(code).unwrap());
                for name in [
                    HeaderName::Via,
                    HeaderName::From,
                    HeaderName::To,
                    HeaderName::CallId,
                    HeaderName::CSeq,
                ] {
                    let value = request.headers.get(&name).unwrap().clone();
                    response.headers.push(name, value);
                }
                let key = (self.now + after, self.probes.len());
                self.answers.insert(key, (hop, Message::Response(response)));
            }
        }
        self.requests.push(request);
    }

    fn status(&self) -> Status {
        self.health.standing(TrunkId(1)).unwrap().verdict.status
    }

    fn reason(&self) -> String {
        self.health.standing(TrunkId(1)).unwrap().verdict.reason.to_string()
    }

    /// Seconds between the probes so far.
    fn gaps(&self) -> Vec<u128> {
        self.probes.windows(2).map(|pair| (pair[1].0 - pair[0].0) / 1_000).collect()
    }
}

#[test]
fn a_trunk_goes_down_after_three_failures_and_up_after_two_successes() {
    let mut scene = Scene::one("", at_once(200));
    scene.run(1.0);
    assert_eq!(scene.status(), Status::Ok);
    scene.run(120.0);
    assert_eq!(scene.gaps(), [60, 60], "a minute while all is well");
    scene.peer(A, Peer::Silent);
    scene.probes.clear();
    scene.run(100.0);
    // Given up after 5 s each, then asked again 10 s later.
    assert_eq!(scene.gaps(), [15, 15]);
    assert_eq!(scene.status(), Status::Unreachable);
    let turns: Vec<Status> = scene.news.iter().map(|news| news.standing.verdict.status).collect();
    assert_eq!(turns, [Status::Unmonitored, Status::Ok, Status::Unreachable], "one event each");
    let down = &scene.news[2];
    assert_eq!((down.was, down.trunk, down.name.as_str()), (Some(Status::Ok), TrunkId(1), "t"));
    assert_eq!(scene.reason(), "198.51.100.1:5060 does not answer OPTIONS");
    scene.peer(A, at_once(200));
    scene.probes.clear();
    while scene.probes.is_empty() {
        scene.run(1.0);
    }
    assert_eq!(scene.status(), Status::Unreachable, "one success is none");
    scene.run(11.0);
    assert_eq!(scene.status(), Status::Ok);
    assert_eq!(scene.gaps(), [10], "it is asked often until it is well");
    scene.run(120.0);
    assert_eq!(scene.gaps(), [10, 60, 60]);
}

#[test]
fn two_failures_are_no_end() {
    let mut scene = Scene::one("keep_alive_interval = 10\n", at_once(200));
    scene.run(5.0);
    for _ in 0..5 {
        scene.peer(A, Peer::Silent);
        let before = scene.probes.len();
        while scene.probes.len() < before + 2 {
            scene.run(1.0);
        }
        scene.run(6.0);
        scene.peer(A, at_once(200));
        scene.run(15.0);
        assert_eq!(scene.status(), Status::Ok);
    }
    assert_eq!(scene.news.len(), 2);
}

#[test]
fn an_answer_after_two_seconds_is_late() {
    for (millis, want) in [(1_900, Status::Ok), (2_100, Status::Lagged), (4_900, Status::Lagged)] {
        let after = Duration::from_millis(millis);
        let mut scene = Scene::one("", Peer::Answers { code: 200, after });
        scene.run(20.0);
        assert_eq!(scene.status(), want, "{millis}");
        let rtt = scene.health.targets(TrunkId(1))[0].rtt().unwrap();
        assert!(rtt.abs_diff(after) < Duration::from_millis(2), "{rtt:?}");
    }
    let mut scene =
        Scene::one("", Peer::Answers { code: 200, after: Duration::from_millis(5_100) });
    scene.run(60.0);
    assert_eq!(scene.status(), Status::Unreachable, "given up before");
}

#[test]
fn what_a_good_answer_is() {
    let only_2xx = "keep_alive_2xx_only = true\n";
    let listed = "keep_alive_failing_codes = [404, 500]\n";
    for (fields, code, is_good) in [
        ("", 200, true),
        ("", 401, true),
        ("", 404, true),
        ("", 483, true),
        ("", 500, true),
        ("", 503, false),
        ("", 408, false),
        (only_2xx, 202, true),
        (only_2xx, 404, false),
        (listed, 404, false),
        (listed, 500, false),
        (listed, 405, true),
    ] {
        let mut scene = Scene::one(fields, at_once(code));
        scene.run(90.0);
        let want = if is_good { Status::Ok } else { Status::Unreachable };
        assert_eq!(scene.status(), want, "{fields}{code}");
        let standing = scene.health.standing(TrunkId(1)).unwrap();
        assert_eq!(standing.verdict.code, Some(code));
        if !is_good {
            assert_eq!(scene.reason(), format!("{A} answers OPTIONS with {code}"));
        }
    }
}

#[test]
fn each_address_is_probed_and_some_down_is_degraded() {
    let trunk = "[[trunk]]\nname = \"t\"\nhost = \"t.example\"\nport = 5060\n";
    let mut scene = Scene::new(trunk);
    scene.peer(A, at_once(200));
    scene.peer(B, at_once(200));
    scene.run(2.0);
    assert_eq!(scene.status(), Status::DnsError);
    assert_eq!(scene.reason(), "t.example has no address; check the name and the DNS");
    assert!(scene.probes.is_empty());
    scene.resolve(&["198.51.100.1", "198.51.100.2"]);
    scene.run(5.0);
    assert_eq!((scene.status(), scene.probes.len()), (Status::Ok, 2));
    scene.peer(B, Peer::Broken);
    scene.run(100.0);
    assert_eq!(scene.status(), Status::Degraded);
    assert_eq!(scene.reason(), "1 of 2 addresses do not answer");
    scene.peer(A, Peer::Broken);
    scene.run(100.0);
    assert_eq!(scene.status(), Status::Unreachable);
    // The address that answers no more leaves the name; the other comes back.
    scene.resolve(&["198.51.100.1"]);
    scene.peer(A, at_once(200));
    scene.run(40.0);
    assert_eq!((scene.status(), scene.health.targets(TrunkId(1)).len()), (Status::Ok, 1));
}

#[test]
fn a_tls_fault_has_its_own_word() {
    let mut scene = Scene::one("transport = \"TCP\"\n", Peer::Silent);
    let hop = Hop { connection: 0, ..scene.table.hop(TrunkId(1)).unwrap() };
    let fault = |is_tls, text: &str| Fault { is_tls, text: text.into() };
    for (fault, want) in [
        (fault(false, "the peer refuses connections"), Status::Unreachable),
        (fault(true, "the peer's certificate has expired"), Status::TlsError),
    ] {
        let mut told = 0;
        while told < 3 {
            let before = scene.probes.len();
            while scene.probes.len() == before {
                scene.run(1.0);
            }
            scene.health.fault(scene.now, hop, fault.clone());
            told += 1;
        }
        scene.run(0.1);
        assert_eq!((scene.status(), scene.reason()), (want, fault.text));
    }
}

#[test]
fn calls_prove_or_disprove_at_once() {
    let mut scene = Scene::one("", at_once(200));
    scene.run(5.0);
    let id = TrunkId(1);
    for _ in 0..2 {
        scene.health.unanswered(scene.now, id);
        scene.run(0.01);
    }
    assert_eq!(scene.status(), Status::Ok, "two are no evidence");
    scene.peer(A, Peer::Silent);
    scene.probes.clear();
    scene.health.unanswered(scene.now, id);
    scene.run(0.01);
    assert_eq!(scene.status(), Status::Unreachable);
    assert_eq!(scene.reason(), "3 INVITEs in a row got no answer");
    assert!(!scene.health.is_usable(id));
    assert_eq!(scene.probes.len(), 1, "it is asked at once");
    scene.health.answered(id);
    scene.run(0.01);
    assert_eq!(scene.status(), Status::Ok, "an answered call proves more than a probe");
    assert!(scene.health.is_usable(id));
    // The probe brings a suspect back too.
    (0..3).for_each(|_| scene.health.unanswered(scene.now, id));
    scene.peer(A, at_once(200));
    scene.run(30.0);
    assert_eq!(scene.status(), Status::Ok);
}

#[test]
fn without_a_probe_calls_and_time_are_all_there_is() {
    let mut scene = Scene::one("send_keep_alive = false\n", at_once(200));
    scene.run(100.0);
    assert!(scene.probes.is_empty());
    assert_eq!(scene.status(), Status::Unmonitored);
    assert_eq!(scene.reason(), "send_keep_alive is off");
    let id = TrunkId(1);
    (0..3).for_each(|_| scene.health.unanswered(scene.now, id));
    scene.run(1.0);
    assert_eq!(scene.status(), Status::Unreachable);
    scene.run(30.0);
    assert_eq!(scene.status(), Status::Unmonitored, "one call may try");
    scene.health.unanswered(scene.now, id);
    scene.run(1.0);
    assert_eq!(scene.status(), Status::Unreachable, "and it was in vain");
}

#[test]
fn what_the_operator_and_the_calls_say_comes_first() {
    let mut scene = Scene::one("max_concurrent_calls = 1\n", at_once(200));
    scene.run(2.0);
    let trunk = scene.table.get(TrunkId(1)).unwrap().clone();
    let slot = scene.admission.take(scene.now, &trunk, Bound::In, false).unwrap();
    scene.run(1.0);
    assert_eq!(scene.status(), Status::AtCapacity);
    assert_eq!(scene.reason(), "all of max_concurrent_calls = 1 are up");
    assert!(scene.health.is_usable(TrunkId(1)), "admission knows exactly");
    scene.health.drain(TrunkId(1), true);
    scene.run(0.01);
    assert_eq!(scene.status(), Status::Draining);
    assert_eq!(scene.reason(), "takes no new calls; 1 are left");
    drop(slot);
    scene.health.drain(TrunkId(1), false);
    scene.run(0.01);
    assert_eq!(scene.status(), Status::Ok);
    let since = scene.health.standing(TrunkId(1)).unwrap().since;
    scene.run(100.0);
    assert_eq!(scene.health.standing(TrunkId(1)).unwrap().since, since);
    let off = Trunk { enabled: false, ..trunk };
    scene.table = TrunkTable::new([off]);
    scene.probes.clear();
    scene.run(200.0);
    assert_eq!(scene.status(), Status::Disabled);
    assert!(scene.probes.is_empty() && !scene.health.is_usable(TrunkId(1)));
    scene.table = TrunkTable::new(Vec::<Trunk>::new());
    scene.run(2.0);
    assert!(scene.health.standing(TrunkId(1)).is_none() && scene.health.due.is_empty());
}

#[test]
fn the_registration_has_its_words() {
    use super::super::registration::{self, Standing as Registered};
    let mut scene =
        Scene::one("register = true\nusername = \"u\"\npassword = \"p\"\n", at_once(200));
    let trunk = scene.table.get(TrunkId(1)).unwrap().clone();
    scene.run(2.0);
    assert_eq!(scene.status(), Status::Registering);
    let until = scene.now + Duration::from_secs(60);
    let targets = scene.health.targets(TrunkId(1)).to_vec();
    for (standing, want, code) in [
        (Registered::Registered(until), Status::Ok, Some(200)),
        (Registered::Registering, Status::Registering, Some(401)),
        (Registered::AuthFailed, Status::AuthFailed, Some(401)),
        (Registered::Rejected, Status::Rejected, Some(401)),
        (Registered::Unreachable, Status::Unreachable, Some(401)),
    ] {
        let reason = String::from("why");
        let registration =
            registration::Status { standing, reason, code: Some(401), since: scene.now };
        let verdict = status::judge(&Facts {
            trunk: &trunk,
            draining: false,
            registration: Some(&registration),
            targets: &targets,
            unanswered: 0,
            used: 0,
        });
        assert_eq!((verdict.status, verdict.code), (want, code), "{standing:?}");
        let told = if want == Status::Ok { "" } else { "why" };
        assert_eq!(verdict.reason, told);
    }
}

#[test]
fn first_probes_of_many_trunks_are_spread() {
    let trunks: String = (0..200)
        .map(|i| format!("[[trunk]]\nname = \"t{i}\"\nhost = \"198.51.100.{}\"\n", i + 1))
        .collect();
    let mut scene = Scene::new(&trunks);
    // Each trunk draws its own moment.
    let mut drawn = 0u32;
    let around = Around {
        now: scene.now,
        wall: Timestamp::UNIX_EPOCH,
        trunks: &scene.table,
        registrations: &scene.registrations,
        admission: &scene.admission,
        contact: &|_| String::from("sip:192.0.2.1:5060"),
        host: "192.0.2.1",
    };
    scene.health.tend(&around, &mut scene.endpoint, &mut |bytes| {
        drawn = drawn.wrapping_add(0x9e37_79b9);
        bytes.copy_from_slice(&drawn.to_ne_bytes());
    });
    scene.run(21.0);
    let mut seconds = BTreeMap::new();
    let mut asked = std::collections::HashSet::new();
    for (millis, address) in &scene.probes {
        if asked.insert(*address) {
            *seconds.entry(millis / 1_000).or_insert(0) += 1;
        }
    }
    assert_eq!((asked.len(), seconds.len()), (200, 20), "over twenty seconds: {seconds:?}");
    assert!(seconds.values().all(|count| *count <= 20), "{seconds:?}");
}

#[test]
fn the_request_goes_the_way_of_calls() {
    let fields = "username = \"u\"\nfrom_domain = \"us.example\"\n\
                  outbound_proxy = \"198.51.100.2:5060\"\n";
    let mut scene = Scene::one(fields, Peer::Silent);
    scene.peer(B, at_once(200));
    scene.run(2.0);
    assert_eq!(scene.status(), Status::Ok);
    let request = &scene.requests[0];
    assert_eq!(request.method, Method::Options);
    assert_eq!(request.uri.to_string(), "sip:198.51.100.1");
    let header = |name| String::from_utf8(request.headers.get(&name).unwrap().to_vec()).unwrap();
    assert_eq!(header(HeaderName::Route), "<sip:198.51.100.2:5060;lr>");
    assert_eq!(header(HeaderName::To), "<sip:198.51.100.1>");
    assert!(header(HeaderName::From).starts_with("<sip:u@us.example>;tag="));
    assert_eq!(header(HeaderName::Contact), "<sip:192.0.2.1:5060>");
}

/// Whatever happens in whatever order, every trunk has one status, and what is due stays due.
#[test]
fn any_history_leaves_a_probe_due() {
    let mut random = 7u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    let mut scene = Scene::one("keep_alive_interval = 5\n", at_once(200));
    let id = TrunkId(1);
    for _ in 0..3_000 {
        match next(8) {
            0 => scene.peer(A, at_once([200, 404, 503][next(3) as usize])),
            1 => scene.peer(A, Peer::Silent),
            2 => scene.peer(A, Peer::Broken),
            3 => scene.health.unanswered(scene.now, id),
            4 => scene.health.answered(id),
            5 => {
                let hop = Hop { connection: 0, ..scene.table.hop(id).unwrap() };
                let fault = Fault { is_tls: next(2) == 0, text: String::from("x") };
                scene.health.fault(scene.now, hop, fault);
            }
            6 => {
                let after = Duration::from_millis(next(7_000));
                scene.peer(A, Peer::Answers { code: 200, after });
            }
            _ => scene.health.drain(id, next(2) == 0),
        }
        scene.run(next(12_000) as f64 / 1_000.0);
        let due = scene.health.due.first().map(|(at, _)| *at);
        assert!(due.is_some_and(|at| at <= scene.now + Duration::from_secs(10)), "{due:?}");
        assert_eq!(scene.health.due.len(), 1);
    }
    scene.health.drain(id, false);
    scene.health.answered(id);
    scene.peer(A, at_once(200));
    scene.run(60.0);
    assert_eq!(scene.status(), Status::Ok);
    assert!(
        scene.news.windows(2).all(|pair| { pair[1].was == Some(pair[0].standing.verdict.status) })
    );
}

#[test]
fn thirteen_words_are_written_as_in_the_specification() {
    let words: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
    assert_eq!(
        words,
        [
            "OK",
            "LAGGED",
            "DEGRADED",
            "UNREACHABLE",
            "REGISTERING",
            "AUTH_FAILED",
            "REJECTED",
            "TLS_ERROR",
            "DNS_ERROR",
            "AT_CAPACITY",
            "DRAINING",
            "DISABLED",
            "UNMONITORED"
        ]
    );
    for status in Status::ALL {
        assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
    }
}
