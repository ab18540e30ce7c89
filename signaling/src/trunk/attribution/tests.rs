use std::net::IpAddr;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config;
use crate::secret::Secret;
use crate::trunk::{Cidr, Host, Number};

/// Trunks from a file that leaves nothing to check but attribution.
fn table(trunks: &str) -> TrunkTable {
    let sip = "[sip]\nudp = [\"192.0.2.1:5060\"]\ntcp = [\"192.0.2.1:5060\"]\n\
               tls = [\"192.0.2.1:5061\"]\ntls_certificate = \"c\"\ntls_key = \"k\"\n\
               tls_ca = \"ca\"\n";
    let config = config::parse(&format!("{sip}{trunks}"), Path::new(".")).unwrap();
    TrunkTable::new(config.trunks)
}

fn origin(transport: Transport, source: &str) -> Origin {
    Origin {
        transport,
        local: "192.0.2.1:5060".parse().unwrap(),
        source: source.parse().unwrap(),
        peer: None,
        opened_for: None,
    }
}

fn certified(source: &str, names: &[&str], trusted_by: &[u32]) -> Origin {
    let peer = PeerIdentity {
        names: names.iter().map(|name| name.to_string()).collect(),
        fingerprint: [0; 32],
        trusted_by: trusted_by.iter().map(|id| TrunkId(*id)).collect(),
    };
    Origin { peer: Some(Arc::new(peer)), ..origin(Transport::Tls, source) }
}

#[test]
fn only_the_source_address_and_transport_count() {
    let table = table("[[trunk]]\nname = \"a\"\nhost = \"198.51.100.7\"\n");
    let ok = |origin: &Origin| attribute(&table, origin, Called::default());
    assert_eq!(ok(&origin(Transport::Udp, "198.51.100.7:9999")), Ok(TrunkId(1)));
    assert_eq!(ok(&origin(Transport::Udp, "[::ffff:198.51.100.7]:1")), Ok(TrunkId(1)));
    let stranger = origin(Transport::Udp, "198.51.100.8:5060");
    assert_eq!(ok(&stranger), Err(Unattributed::UnknownSource));
    let tcp = origin(Transport::Tcp, "198.51.100.7:5060");
    assert_eq!(ok(&tcp), Err(Unattributed::WrongTransport(TrunkId(1))));
}

#[test]
fn a_trunk_that_is_switched_off_keeps_its_dialogs_and_starts_none() {
    let table = table("[[trunk]]\nname = \"a\"\nhost = \"198.51.100.7\"\nenabled = false\n");
    let there = origin(Transport::Udp, "198.51.100.7:5060");
    let id = TrunkId(1);
    assert_eq!(attribute(&table, &there, Called::default()), Err(Unattributed::UnknownSource));
    assert!(belongs(&table, &there, Called::default(), id));
    let elsewhere = origin(Transport::Udp, "198.51.100.8:5060");
    assert!(!belongs(&table, &elsewhere, Called::default(), id));
    let opened = Origin { opened_for: Some(id), ..there };
    assert!(attribute(&table, &opened, Called::default()).is_err());
    assert!(belongs(&table, &opened, Called::default(), id));
}

#[test]
fn inside_a_dialog_the_number_is_not_needed_but_all_else_is() {
    let table = table(
        "[[trunk]]\nname = \"a\"\nhost = \"198.51.100.7\"\nvirtual_phone_number = \"+390600001\"\n\
         [[trunk]]\nname = \"b\"\nhost = \"198.51.100.7\"\nvirtual_phone_number = \"+390600002\"\n",
    );
    let from = |source| origin(Transport::Udp, source);
    let there = from("198.51.100.7:5060");
    let without_number = attribute(&table, &there, Called::default());
    assert!(matches!(without_number, Err(Unattributed::Ambiguous(..))), "positive control");
    assert!(belongs(&table, &there, Called::default(), TrunkId(1)));
    assert!(belongs(&table, &there, Called::default(), TrunkId(2)));
    assert!(!belongs(&table, &from("198.51.100.8:5060"), Called::default(), TrunkId(1)));
    let tcp = origin(Transport::Tcp, "198.51.100.7:5060");
    assert!(!belongs(&table, &tcp, Called::default(), TrunkId(1)));
    assert!(!belongs(&table, &there, Called::default(), TrunkId(10)));
}

#[test]
fn the_outbound_proxy_and_the_acl_are_sources_too() {
    let table = table(
        "[[trunk]]\nname = \"a\"\nhost = \"x.example\"\noutbound_proxy = \"198.51.100.7\"\n\
         source_acl = [\"203.0.113.0/24\", \"2001:db8::/48\"]\n",
    );
    for source in ["198.51.100.7:1", "203.0.113.255:1", "[2001:db8::9]:1"] {
        let got = attribute(&table, &origin(Transport::Udp, source), None);
        assert_eq!(got, Ok(TrunkId(1)), "{source}");
    }
}

#[test]
fn a_certificate_counts_only_for_the_trunk_that_trusts_it() {
    let table = table(
        "[[trunk]]\nname = \"a\"\nhost = \"198.51.100.7\"\nsecure = true\n\
         tls_peer_names = [\"pbx.a.example\"]\n\
         [[trunk]]\nname = \"b\"\nhost = \"198.51.100.7\"\nsecure = true\n\
         tls_peer_names = [\"pbx.b.example\"]\n\
         [[trunk]]\nname = \"open\"\nhost = \"198.51.100.9\"\nsecure = true\n",
    );
    let call = |origin: &Origin| attribute(&table, origin, None);
    let source = "198.51.100.7:40000";
    assert_eq!(call(&certified(source, &["pbx.a.example"], &[1, 2])), Ok(TrunkId(1)));
    assert_eq!(call(&certified(source, &["pbx.b.example"], &[1, 2])), Ok(TrunkId(2)));
    // The other trunk's authority issued a certificate with this trunk's name.
    let forged = certified(source, &["pbx.a.example"], &[2]);
    assert!(matches!(call(&forged), Err(Unattributed::TlsIdentity(_))));
    assert!(call(&certified(source, &["pbx.c.example"], &[1, 2])).is_err());
    let bare = origin(Transport::Tls, source);
    assert!(matches!(call(&bare), Err(Unattributed::TlsIdentity(_))));
    // Both names in one certificate: which trunk it is cannot be told.
    let both = certified(source, &["pbx.a.example", "pbx.b.example"], &[1, 2]);
    assert_eq!(call(&both), Err(Unattributed::Ambiguous(TrunkId(1), TrunkId(2))));
    // A trunk that names no certificate is content with the address, but not with a wrong one.
    assert_eq!(call(&origin(Transport::Tls, "198.51.100.9:1")), Ok(TrunkId(3)));
    assert!(call(&certified("198.51.100.9:1", &["x"], &[1])).is_err());
    // The right certificate from the wrong place.
    assert!(call(&certified("198.51.100.8:1", &["pbx.a.example"], &[1])).is_err());
}

#[test]
fn a_connection_that_we_opened_belongs_to_its_trunk() {
    let table = table(
        "[[trunk]]\nname = \"a\"\nhost = \"198.51.100.7\"\ntransport = \"TCP\"\n\
         [[trunk]]\nname = \"b\"\nhost = \"198.51.100.8\"\ntransport = \"TCP\"\nenabled = false\n",
    );
    let opened = |id, transport| Origin {
        opened_for: Some(TrunkId(id)),
        ..origin(transport, "203.0.113.1:5060")
    };
    assert_eq!(attribute(&table, &opened(1, Transport::Tcp), None), Ok(TrunkId(1)));
    assert!(attribute(&table, &opened(1, Transport::Tls), None).is_err());
    assert!(attribute(&table, &opened(2, Transport::Tcp), None).is_err());
    assert!(attribute(&table, &opened(3, Transport::Tcp), None).is_err());
}

#[test]
fn prefix_then_port_then_number() {
    let table = table(
        "[[trunk]]\nname = \"wide\"\nhost = \"x.example\"\nsource_acl = [\"198.51.100.0/24\"]\n\
         [[trunk]]\nname = \"near\"\nhost = \"198.51.100.7\"\n\
         [[trunk]]\nname = \"port\"\nhost = \"198.51.100.7\"\nport = 5070\n\
         [[trunk]]\nname = \"n1\"\nhost = \"198.51.100.9\"\nvirtual_phone_number = \"100\"\n\
         [[trunk]]\nname = \"n2\"\nhost = \"198.51.100.9\"\nvirtual_phone_number = \"200\"\n",
    );
    let call = |source: &str, called: Option<&str>| {
        attribute(&table, &origin(Transport::Udp, source), called)
    };
    assert_eq!(call("198.51.100.1:5060", None), Ok(TrunkId(1)));
    assert_eq!(call("198.51.100.7:5060", None), Ok(TrunkId(2)));
    assert_eq!(call("198.51.100.7:5070", None), Ok(TrunkId(3)));
    let neither = Err(Unattributed::Ambiguous(TrunkId(2), TrunkId(3)));
    assert_eq!(call("198.51.100.7:1024", None), neither);
    assert_eq!(call("198.51.100.9:5060", Some("200")), Ok(TrunkId(5)));
    let unknown = Err(Unattributed::Ambiguous(TrunkId(4), TrunkId(5)));
    assert_eq!(call("198.51.100.9:5060", Some("300")), unknown);
    assert_eq!(call("198.51.100.9:5060", None), unknown);
}

#[test]
fn every_refusal_has_its_own_name_and_text() {
    let id = TrunkId(1);
    let all = [
        Unattributed::UnknownSource,
        Unattributed::WrongTransport(id),
        Unattributed::TlsIdentity(id),
        Unattributed::Token(id),
        Unattributed::Ambiguous(id, id),
    ];
    for (index, reason) in all.into_iter().enumerate() {
        assert_eq!(reason.index(), index);
        assert_eq!(Unattributed::NAMES[index], reason.name());
        assert!(!reason.to_string().is_empty());
    }
}

#[test]
fn the_uri_gives_user_and_token() {
    let uri = sip::wire::Uri::parse(b"sip:100@192.0.2.1;line=abc").unwrap();
    let uri = uri.as_sip().unwrap();
    let called = Called::from(uri);
    assert_eq!((called.user, called.token), (Some("100"), Some("abc")));
}

/// The universe of the property test: small, so that everything collides.
#[derive(Clone, Debug)]
struct Sketch {
    enabled: bool,
    transport: u8,
    host: u8,
    acl: Option<(u8, u8)>,
    port: bool,
    names: Vec<u8>,
    pinned: bool,
    numbers: Vec<u8>,
    register: bool,
}

#[derive(Clone, Debug)]
struct Sender {
    transport: u8,
    source: u8,
    port: u16,
    /// Names, and which trunks vouch.
    certificate: Option<(Vec<u8>, Vec<u8>)>,
    called: Option<u8>,
    token: Option<u8>,
    opened_for: Option<u8>,
}

fn sketches() -> impl Strategy<Value = Vec<Sketch>> {
    let sketch = (
        prop::bool::weighted(0.9),
        0..3u8,
        0..8u8,
        prop::option::of((0..8u8, 27..=32u8)),
        any::<bool>(),
        prop::collection::vec(0..3u8, 0..2),
        prop::bool::weighted(0.2),
        prop::collection::vec(0..3u8, 0..2),
        prop::bool::weighted(0.2),
    );
    let sketch = sketch.prop_map(
        |(enabled, transport, host, acl, port, names, pinned, numbers, register)| Sketch {
            enabled,
            transport,
            host,
            acl,
            port,
            names,
            pinned,
            numbers,
            register,
        },
    );
    prop::collection::vec(sketch, 0..7)
}

fn senders() -> impl Strategy<Value = Sender> {
    let certificate = (prop::collection::vec(0..3u8, 0..3), prop::collection::vec(0..7u8, 0..7));
    (
        0..3u8,
        0..8u8,
        prop_oneof![Just(5060), Just(5070), Just(1024)],
        prop::option::of(certificate),
        prop::option::of(0..3u8),
        prop::option::of(0..7u8),
        prop::option::weighted(0.1, 0..8u8),
    )
        .prop_map(|(transport, source, port, certificate, called, token, opened_for)| Sender {
            transport,
            source,
            port,
            certificate,
            called,
            token,
            opened_for,
        })
}

const TRANSPORTS: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn network(last: u8, prefix: u8) -> Cidr {
    let bits = 32 - u32::from(prefix);
    let masked = (u32::from(last) >> bits) << bits;
    Cidr::parse(&format!("192.0.2.{masked}/{prefix}")).unwrap()
}

fn build(sketches: &[Sketch]) -> TrunkTable {
    let template = table("[[trunk]]\nname = \"t\"\nhost = \"192.0.2.1\"\nsecure = true\n");
    let template = template.get(TrunkId(1)).unwrap();
    let trunks = sketches.iter().enumerate().map(|(index, sketch)| {
        let mut trunk = template.clone();
        trunk.id = TrunkId(index as u32);
        trunk.enabled = sketch.enabled;
        trunk.transport = TRANSPORTS[usize::from(sketch.transport)];
        trunk.host = Host::Address(address(sketch.host));
        trunk.port = Some(if sketch.port { 5060 } else { 5070 });
        trunk.source_acl = sketch.acl.iter().map(|(last, bits)| network(*last, *bits)).collect();
        trunk.numbers =
            sketch.numbers.iter().map(|n| Number::parse(&n.to_string()).unwrap()).collect();
        trunk.register = sketch.register;
        trunk.registration_token = sketch.register.then(|| Secret::new(format!("token{index}")));
        if let Some(tls) = &mut trunk.tls {
            tls.peer_names = sketch.names.iter().map(|name| format!("peer{name}")).collect();
            tls.pin = sketch.pinned.then_some([1; 32]);
        }
        trunk
    });
    TrunkTable::new(trunks)
}

/// The specification's sentences, one filter after the other, over everything there is.
fn model(sketches: &[Sketch], sender: &Sender) -> Option<usize> {
    let same = |s: &Sketch| s.enabled && s.transport == sender.transport;
    if let Some(opened) = sender.opened_for {
        return sketches.get(usize::from(opened)).filter(|s| same(s)).map(|_| opened.into());
    }
    let prefix = |s: &Sketch| {
        let acl =
            s.acl.filter(|(last, bits)| network(*last, *bits).contains(address(sender.source)));
        let host = (s.host == sender.source).then_some(32);
        host.or(acl.map(|(_, bits)| bits))
    };
    let certificate = |index: usize, s: &Sketch| {
        if sender.transport != 2 {
            return true;
        }
        match &sender.certificate {
            None => s.names.is_empty() && !s.pinned,
            Some((names, vouching)) => {
                let named = s.names.is_empty() || names.iter().any(|name| s.names.contains(name));
                named && vouching.contains(&(index as u8))
            }
        }
    };
    let token = |index: usize, s: &Sketch| {
        !s.register || sender.token.is_some_and(|token| usize::from(token) == index)
    };
    let mut left: Vec<(usize, &Sketch)> = sketches
        .iter()
        .enumerate()
        .filter(|(i, s)| same(s) && prefix(s).is_some() && certificate(*i, s) && token(*i, s))
        .collect();
    if left.iter().any(|(_, s)| s.register) {
        left.retain(|(_, s)| s.register);
    }
    let longest = left.iter().filter_map(|(_, s)| prefix(s)).max();
    left.retain(|(_, s)| prefix(s) == longest);
    let port = |s: &Sketch| (if s.port { 5060 } else { 5070 }) == sender.port;
    if left.len() > 1 && sender.transport == 0 && left.iter().any(|(_, s)| port(s)) {
        left.retain(|(_, s)| port(s));
    }
    let owns = |s: &Sketch| sender.called.is_some_and(|called| s.numbers.contains(&called));
    if left.len() > 1 && left.iter().any(|(_, s)| owns(s)) {
        left.retain(|(_, s)| owns(s));
    }
    (left.len() == 1).then(|| left[0].0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn attribution_is_what_the_specification_says(sketches in sketches(), sender in senders()) {
        let table = build(&sketches);
        let transport = TRANSPORTS[usize::from(sender.transport)];
        let peer = sender.certificate.as_ref().filter(|_| transport == Transport::Tls);
        let peer = peer.map(|(names, vouching)| Arc::new(PeerIdentity {
            names: names.iter().map(|name| format!("peer{name}")).collect(),
            fingerprint: [0; 32],
            trusted_by: vouching.iter().map(|id| TrunkId((*id).into())).collect(),
        }));
        let origin = Origin {
            transport,
            local: "192.0.2.99:5060".parse().unwrap(),
            source: (address(sender.source), sender.port).into(),
            peer,
            opened_for: sender.opened_for.map(|id| TrunkId(id.into())),
        };
        let user = sender.called.map(|called| called.to_string());
        let token = sender.token.map(|token| format!("token{token}"));
        let called = Called { user: user.as_deref(), token: token.as_deref() };
        let got = attribute(&table, &origin, called);
        let want = model(&sketches, &sender).map(|index| TrunkId(index as u32));
        prop_assert_eq!(got.ok(), want, "{:?}", got);
    }
}
