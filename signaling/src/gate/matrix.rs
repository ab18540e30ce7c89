//! Method x transport x identity trick x state of a dialog: what the gate admits, and as whom. Every
//! case is held against a second reading of the rules that shares no code with the first, and every
//! trunk has cases in which it is admitted: a gate that admits nobody would prove nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sip::endpoint::{Config, Endpoint, Event, Hop, Input, Output, Transport};
use sip::transaction::Timers;
use sip::wire::{Message, Method, Request, Response, StatusCode, parse};

use super::decide;
use crate::config;
use crate::trunk::{Origin, PeerIdentity, TrunkId, TrunkTable};

const TRUNKS: &str = r#"
[sip]
udp = ["192.0.2.1:5060"]
tcp = ["192.0.2.1:5060"]
tls = ["192.0.2.1:5061"]
tls_certificate = "c"
tls_key = "k"
tls_ca = "ca"
[[trunk]]
name = "a"
host = "198.51.100.1"
[[trunk]]
name = "b"
host = "198.51.100.2"
[[trunk]]
name = "tcp"
host = "198.51.100.3"
transport = "TCP"
[[trunk]]
name = "d"
host = "198.51.100.4"
secure = true
tls_peer_names = ["d.example"]
[[trunk]]
name = "e"
host = "198.51.100.4"
secure = true
tls_peer_names = ["e.example"]
[[trunk]]
name = "account"
host = "198.51.100.6"
register = true
username = "u"
password = "p"
[[trunk]]
name = "network"
host = "198.51.100.7"
source_acl = ["203.0.113.0/24"]
[[trunk]]
name = "disabled"
host = "198.51.100.8"
enabled = false
[[trunk]]
name = "n1"
host = "198.51.100.9"
virtual_phone_number = "100"
[[trunk]]
name = "n2"
host = "198.51.100.9"
virtual_phone_number = "200"
"#;

/// The same trunks as the specification reads them: id, transport, source, certificate name, token,
/// number.
struct Rule {
    id: u32,
    transport: Transport,
    sources: &'static [&'static str],
    name: &'static str,
    registers: bool,
    number: &'static str,
}

const fn rule(id: u32, transport: Transport, sources: &'static [&'static str]) -> Rule {
    Rule { id, transport, sources, name: "", registers: false, number: "" }
}

const RULES: [Rule; 9] = [
    rule(1, Transport::Udp, &["198.51.100.1"]),
    rule(2, Transport::Udp, &["198.51.100.2"]),
    rule(3, Transport::Tcp, &["198.51.100.3"]),
    Rule { name: "d.example", ..rule(4, Transport::Tls, &["198.51.100.4"]) },
    Rule { name: "e.example", ..rule(5, Transport::Tls, &["198.51.100.4"]) },
    Rule { registers: true, ..rule(6, Transport::Udp, &["198.51.100.6"]) },
    rule(7, Transport::Udp, &["198.51.100.7", "203.0.113.77"]),
    Rule { number: "100", ..rule(9, Transport::Udp, &["198.51.100.9"]) },
    Rule { number: "200", ..rule(10, Transport::Udp, &["198.51.100.9"]) },
];

const METHODS: [&str; 15] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "REGISTER",
    "SUBSCRIBE",
    "NOTIFY",
    "MESSAGE",
    "REFER",
    "INFO",
    "UPDATE",
    "PRACK",
    "PUBLISH",
    "STRANGE",
];

/// Where from, as the kernel says it.
const SOURCES: [&str; 12] = [
    "198.51.100.1:5060",
    "198.51.100.1:1024",
    "[::ffff:198.51.100.1]:5060",
    "198.51.100.2:5060",
    "198.51.100.3:5060",
    "198.51.100.4:5061",
    "198.51.100.6:5060",
    "198.51.100.8:5060",
    "198.51.100.9:5060",
    "198.51.100.10:5060",
    "203.0.113.77:5060",
    "192.0.2.66:5060",
];

/// Certificates: names, and the trunks whose authorities vouch.
const CERTIFICATES: [Option<(&str, &[u32])>; 5] = [
    None,
    Some(("d.example", &[4, 5])),
    Some(("e.example", &[4, 5])),
    Some(("d.example", &[5])),
    Some(("d.example", &[])),
];

/// What the sender claims to be. The gate has to be deaf to all of it but the Request-URI.
const CLAIMS: [&str; 6] = [
    "",
    "P-Asserted-Identity: <sip:boss@198.51.100.1>\r\nP-Preferred-Identity: <sip:boss@198.51.100.1>\r\n",
    "Route: <sip:198.51.100.1;lr>\r\nRecord-Route: <sip:198.51.100.1;lr>\r\n",
    "Diversion: <sip:x@198.51.100.1>\r\nRemote-Party-ID: <sip:x@198.51.100.1>;party=calling\r\n",
    "Authorization: Digest username=\"u\", realm=\"r\", nonce=\"n\", uri=\"sip:x\", response=\"0\"\r\n",
    "X-Trunk: a\r\nP-Charging-Vector: icid-value=1\r\nForwarded: for=198.51.100.1\r\n",
];

/// The dialog that a request names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum State {
    None,
    /// Ringing, of trunk 1.
    Early,
    /// Answered, of trunk 1.
    Confirmed,
    /// Answered, of trunk 9: only the dialog tells it from trunk 10.
    Shared,
    /// Answered, of trunk 4.
    Secure,
    /// Was answered, of trunk 1, and is over.
    Closed,
    /// Never was.
    Guessed,
}

const STATES: [State; 7] = [
    State::None,
    State::Early,
    State::Confirmed,
    State::Shared,
    State::Secure,
    State::Closed,
    State::Guessed,
];

impl State {
    fn owner(self) -> Option<u32> {
        match self {
            Self::Early | Self::Confirmed => Some(1),
            Self::Shared => Some(9),
            Self::Secure => Some(4),
            Self::None | Self::Closed | Self::Guessed => None,
        }
    }

    fn call_id(self) -> String {
        format!("{self:?}")
    }
}

/// An endpoint with one dialog in each state, and our tag of each.
struct Dialogs {
    endpoint: Endpoint,
    tags: BTreeMap<State, String>,
}

impl Dialogs {
    fn new() -> Self {
        let endpoint = Endpoint::new(Config {
            seed: [5; 32],
            timers: Timers::default(),
            transactions_max: 100,
            dialogs_max: 100,
            user_agent: String::new(),
            via: Box::new(|_| String::from("192.0.2.1:5060")),
            contact: Box::new(|_| String::from("sip:192.0.2.1:5060")),
            stays: Box::new(|_, _| false),
        });
        let mut dialogs = Self { endpoint, tags: BTreeMap::new() };
        for state in STATES {
            match state {
                State::None => {}
                State::Guessed => {
                    dialogs.tags.insert(state, String::from("0123456789abcdef"));
                }
                _ => dialogs.establish(state),
            }
        }
        dialogs
    }

    fn establish(&mut self, state: State) {
        let now = Instant::now();
        let owner = state.owner().unwrap_or(1);
        let transport = if owner == 4 { Transport::Tls } else { Transport::Udp };
        let remote = "198.51.100.1:5060".parse().unwrap();
        let hop = Hop { transport, remote, connection: 7, tag: TrunkId(owner).tag() };
        let message = Message::Request(request("INVITE", "100", "", state, None));
        self.endpoint.handle_input(now, Input::Message { hop, message });
        let mut dialog = None;
        loop {
            match self.endpoint.poll_output() {
                Output::Event(Event::Request { transaction, .. }) => {
                    let status =
                        if state == State::Early { StatusCode::RINGING } else { StatusCode::OK };
                    let made = self.endpoint.respond(now, transaction, status, Vec::new(), None);
                    dialog = made.unwrap();
                }
                Output::Transmit { bytes, .. } => {
                    let Ok(Message::Response(response)) = parse(bytes) else { continue };
                    let response: Response = response;
                    let to = response.headers.to().unwrap();
                    if let Some(tag) = to.tag() {
                        self.tags.insert(state, String::from_utf8(tag.to_vec()).unwrap());
                    }
                }
                Output::Event(other) => panic!("{other:?}"),
                Output::Timeout(_) | Output::Idle => break,
            }
        }
        let dialog = dialog.expect("a dialog was made");
        if state == State::Closed {
            self.endpoint.close(dialog);
        }
    }
}

/// `called` is user and parameters of the Request-URI.
fn request(method: &str, called: &str, claim: &str, state: State, tag: Option<&str>) -> Request {
    let (user, line) = called.split_once(';').unwrap_or((called, ""));
    let line = if line.is_empty() { String::new() } else { format!(";{line}") };
    let tag = tag.map(|tag| format!(";tag={tag}")).unwrap_or_default();
    let text = format!(
        "{method} sip:{user}@192.0.2.1{line} SIP/2.0\r\n\
         Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK{method}{state:?};received=198.51.100.1\r\n\
         From: <sip:boss@198.51.100.1>;tag=theirs\r\nTo: <sip:{user}@192.0.2.1>{tag}\r\n\
         Call-ID: {}\r\nCSeq: 1 {method}\r\nContact: <sip:boss@198.51.100.1>\r\n\
         Max-Forwards: 70\r\n{claim}Content-Length: 0\r\n\r\n",
        state.call_id()
    );
    match parse(Bytes::from(text)) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

/// Everything about a case that may count.
struct Case<'a> {
    transport: Transport,
    source: &'a str,
    certificate: Option<(&'a str, &'a [u32])>,
    opened_for: Option<u32>,
    user: &'a str,
    token_is_right: bool,
    state: State,
}

/// Trunks that the case may speak for: transport, source, certificate, token.
fn speakers(case: &Case<'_>) -> Vec<&'static Rule> {
    let ip = case.source.rsplit_once(':').unwrap().0.trim_matches(['[', ']']);
    let ip = ip.trim_start_matches("::ffff:");
    let fits = |rule: &&Rule| {
        let certified = match (case.transport, case.certificate) {
            (Transport::Tls, Some((name, vouching))) => {
                name == rule.name && vouching.contains(&rule.id)
            }
            (Transport::Tls, None) => rule.name.is_empty(),
            _ => true,
        };
        case.transport == rule.transport
            && rule.sources.contains(&ip)
            && certified
            && (!rule.registers || case.token_is_right)
    };
    RULES.iter().filter(fits).collect()
}

/// Whom the specification admits.
fn admitted(case: &Case<'_>) -> Option<u32> {
    if let Some(opened) = case.opened_for {
        let rule = RULES.iter().find(|rule| rule.id == opened);
        return rule.filter(|rule| rule.transport == case.transport).map(|rule| rule.id);
    }
    let mut left = speakers(case);
    if let Some(owner) = case.state.owner()
        && left.iter().any(|rule| rule.id == owner)
    {
        return Some(owner);
    }
    if left.len() > 1 {
        left.retain(|rule| rule.number == case.user);
    }
    match left.as_slice() {
        [one] => Some(one.id),
        _ => None,
    }
}

struct World {
    table: TrunkTable,
    dialogs: Dialogs,
    token: String,
    cases: u32,
    admitted: BTreeMap<u32, u32>,
    methods: BTreeSet<String>,
}

impl World {
    fn new() -> Self {
        let config =
            config::parse(TRUNKS, Path::new(".")).unwrap_or_else(|errors| panic!("{errors}"));
        let table = TrunkTable::new(config.trunks.clone());
        let token = table.get(TrunkId(6)).unwrap().registration_token.clone().unwrap();
        let (token, dialogs) = (token.expose().clone(), Dialogs::new());
        let (admitted, methods) = (BTreeMap::new(), BTreeSet::new());
        Self { table, dialogs, token, cases: 0, admitted, methods }
    }

    /// What may stand in the Request-URI: user and parameters; whether that is the right token.
    fn called(&self) -> Vec<(String, bool)> {
        let token = &self.token;
        vec![
            (String::from("100"), false),
            (String::from("200"), false),
            (String::from("boss"), false),
            (format!("100;line={token}"), true),
            (token.clone(), true),
            (String::from("100;line=00000000000000000000000000000000"), false),
            (format!("100;line={}", &token[..token.len() - 1]), false),
            (format!("100;LINE={}", token.to_ascii_uppercase()), false),
        ]
    }

    fn check(&mut self, method: &str, claim: &str, called: &str, case: &Case<'_>) {
        let tag = self.dialogs.tags.get(&case.state).map(String::as_str);
        let request = request(method, called, claim, case.state, tag);
        let dialog = self.dialogs.endpoint.dialog_tag(&request).and_then(TrunkId::from_tag);
        assert_eq!(dialog.map(|id| id.0), case.state.owner(), "the dialog is as it is meant");
        let peer = case.certificate.filter(|_| case.transport == Transport::Tls);
        let peer = peer.map(|(name, vouching)| {
            Arc::new(PeerIdentity {
                names: vec![name.to_owned()],
                fingerprint: [0; 32],
                trusted_by: vouching.iter().map(|id| TrunkId(*id)).collect(),
            })
        });
        let origin = Origin {
            transport: case.transport,
            local: "192.0.2.1:5060".parse().unwrap(),
            source: case.source.parse().unwrap(),
            peer,
            opened_for: case.opened_for.map(TrunkId),
        };
        let got = decide(&self.table, &origin, &request, dialog).ok().map(|id| id.0);
        let want = admitted(case);
        let Case { transport, source, certificate, opened_for, state, .. } = case;
        assert_eq!(
            got, want,
            "{method} over {transport:?} from {source} {certificate:?} {opened_for:?} to {called} \
             in {state:?} claiming {claim}"
        );
        self.cases += 1;
        self.methods.insert(method.to_owned());
        if let Some(id) = got {
            *self.admitted.entry(id).or_default() += 1;
        }
    }
}

#[test]
fn the_gate_admits_nothing_that_is_not_exactly_one_trunk() {
    let mut world = World::new();
    let all_called = world.called();
    let transports = [Transport::Udp, Transport::Tcp, Transport::Tls];
    for (number, method) in METHODS.iter().enumerate() {
        for transport in transports {
            for source in SOURCES {
                for state in STATES {
                    let certificates = if transport == Transport::Tls { 5 } else { 1 };
                    for certificate in &CERTIFICATES[..certificates] {
                        // Each method takes another part of claims and targets; together all.
                        for turn in 0..2 {
                            let index = world.cases as usize + number + turn;
                            let (called, token_is_right) = &all_called[index % all_called.len()];
                            let claim = CLAIMS[(index / 3) % CLAIMS.len()];
                            let user = called.split(';').next().unwrap_or_default();
                            let case = Case {
                                transport,
                                source,
                                certificate: *certificate,
                                opened_for: None,
                                user,
                                token_is_right: *token_is_right,
                                state,
                            };
                            world.check(method, claim, called, &case);
                        }
                    }
                }
            }
        }
    }
    assert!(world.cases >= 5_000, "{}", world.cases);
    assert_eq!(world.methods.len(), METHODS.len());
    let ids: Vec<u32> = world.admitted.keys().copied().collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7, 9, 10], "positive control: {:?}", world.admitted);
    let admitted: u32 = world.admitted.values().sum();
    assert!(admitted < world.cases / 3, "most of this is an attack: {admitted} of {}", world.cases);
}

#[test]
fn no_claim_changes_a_verdict() {
    let mut world = World::new();
    for source in SOURCES {
        for claim in CLAIMS {
            for (called, token_is_right) in world.called() {
                let case = Case {
                    transport: Transport::Udp,
                    source,
                    certificate: None,
                    opened_for: None,
                    user: called.split(';').next().unwrap_or_default(),
                    token_is_right,
                    state: State::None,
                };
                world.check("INVITE", claim, &called, &case);
            }
        }
    }
    assert_eq!(world.cases as usize, SOURCES.len() * CLAIMS.len() * 8);
}

#[test]
fn a_connection_of_ours_speaks_for_its_trunk_alone() {
    let mut world = World::new();
    for method in METHODS {
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
            for opened in [1, 3, 4, 5, 8, 77] {
                for state in STATES {
                    let case = Case {
                        transport,
                        source: "198.51.100.1:5060",
                        certificate: CERTIFICATES[1],
                        opened_for: Some(opened),
                        user: "100",
                        token_is_right: false,
                        state,
                    };
                    world.check(method, "", "100", &case);
                }
            }
        }
    }
    let ids: Vec<u32> = world.admitted.keys().copied().collect();
    assert_eq!(ids, [1, 3, 4, 5], "not the disabled one, not one that is not there");
}

/// The matrix itself must be able to fail: a gate that believes a header is found out.
#[test]
fn a_gullible_gate_would_be_found_out() {
    let world = World::new();
    let request = request("INVITE", "100", CLAIMS[1], State::None, None);
    let via = request.headers.via().unwrap();
    let claimed = Origin {
        transport: Transport::Udp,
        local: "192.0.2.1:5060".parse().unwrap(),
        source: format!("{}:5060", via.host).parse().unwrap(),
        peer: None,
        opened_for: None,
    };
    let true_origin = Origin { source: "192.0.2.66:5060".parse().unwrap(), ..claimed.clone() };
    assert_eq!(request.method, Method::Invite);
    assert_eq!(decide(&world.table, &claimed, &request, None), Ok(TrunkId(1)), "by its Via");
    assert!(decide(&world.table, &true_origin, &request, None).is_err(), "by the kernel");
}
