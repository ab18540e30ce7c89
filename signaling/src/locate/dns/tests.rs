//! Real questions to a real socket: everything that a server can do to us.

use sip::endpoint::Transport;

use super::super::Server;
use super::super::zone::{Data, Reply, Zone};
use super::*;
use crate::trunk::Host;

/// Far beyond what loopback needs; where silence is the point, it is what the test waits for.
const PATIENCE: Duration = Duration::from_millis(400);

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work)
}

fn locate(zone: &Zone, name: &str, port: Option<u16>, transport: Transport) -> Found {
    let place = Place { host: Host::parse(name).unwrap(), port, transport };
    run(async {
        let dns = Dns::with_patience(&[zone.address], PATIENCE);
        dns.locate(&place, Families::BOTH, &mut |_, _, _| {}).await
    })
}

fn text(servers: &[Server]) -> Vec<String> {
    let one = |server: &Server| {
        format!("{}/{} {} {:?}", server.group, server.weight, server.name, server.addresses)
    };
    servers.iter().map(one).collect()
}

#[test]
fn a_carrier_is_located_over_naptr_and_srv() {
    let zone = Zone::start();
    let rules = vec![
        Data::Naptr(10, 0, "S", "sip+d2t", "_sip._tcp.x.test"),
        Data::Naptr(20, 0, "s", "SIP+D2U", "_sip._udp.X.test"),
    ];
    zone.set("carrier.test", Kind::Naptr, Reply::Records(300, rules));
    let servers = vec![Data::Srv(2, 0, 5070, "b.x.test"), Data::Srv(1, 9, 5060, "a.x.test")];
    zone.set("_sip._udp.x.test", Kind::Srv, Reply::Records(200, servers));
    zone.address_of("a.x.test", 100, "192.0.2.1");
    zone.address_of("a.x.test", 100, "2001:db8::1");
    let alias = Data::Alias("real.x.test", "192.0.2.2".parse().unwrap());
    zone.set("b.x.test", Kind::A, Reply::Records(90, vec![alias]));
    let found = locate(&zone, "carrier.test", None, Transport::Udp);
    assert_eq!(
        text(&found.servers),
        ["0/9 a.x.test [192.0.2.1:5060, [2001:db8::1]:5060]", "1/0 b.x.test [192.0.2.2:5070]"]
    );
    // The alias itself has the shortest life.
    assert_eq!((found.ttl, found.trouble), (Duration::from_secs(45), None));
}

#[test]
fn an_answer_too_long_for_a_datagram_comes_over_tcp() {
    let zone = Zone::start();
    let many = (0..60).map(|n| Data::Srv(n, 0, 5060, "a.x.test")).collect();
    zone.set("_sip._udp.long.test", Kind::Srv, Reply::Truncated(300, many));
    zone.address_of("a.x.test", 300, "192.0.2.1");
    let found = locate(&zone, "long.test", None, Transport::Udp);
    assert_eq!(found.servers.len(), super::super::search::SERVERS_MAX);
    let asked = zone.asked();
    for way in ["udp", "tcp"] {
        assert!(asked.contains(&format!("_sip._udp.long.test 33 {way}")), "{asked:?}");
    }
}

#[test]
fn every_trouble_has_its_name() {
    let zone = Zone::start();
    let unoffered = Reply::Records(60, vec![Data::Srv(0, 0, 0, "")]);
    zone.set("_sip._udp.none.test", Kind::Srv, unoffered);
    zone.set("bare.test", Kind::Srv, Reply::Nothing(60));
    for kind in [Kind::A, Kind::Aaaa] {
        zone.set("broken.test", kind, Reply::ServerFailure);
        zone.set("silent.test", kind, Reply::Silence);
    }
    for (name, port, trouble) in [
        ("missing.test", Some(5060), Trouble::NoSuchName),
        ("missing.test", None, Trouble::NoSuchName),
        ("bare.test", Some(5060), Trouble::NoAddress),
        ("none.test", None, Trouble::NotOffered),
        ("broken.test", Some(5060), Trouble::ServerFailure),
        ("silent.test", Some(5060), Trouble::Timeout),
    ] {
        let found = locate(&zone, name, port, Transport::Udp);
        assert_eq!((found.trouble, found.servers.len()), (Some(trouble), 0), "{name}");
    }
}

#[test]
fn a_broken_naptr_question_does_not_hide_the_servers() {
    let zone = Zone::start();
    zone.set("a.test", Kind::Naptr, Reply::ServerFailure);
    zone.set(
        "_sips._tcp.a.test",
        Kind::Srv,
        Reply::Records(300, vec![Data::Srv(0, 0, 5071, "b.test")]),
    );
    zone.address_of("b.test", 300, "192.0.2.1");
    let found = locate(&zone, "a.test", None, Transport::Tls);
    assert_eq!(text(&found.servers), ["0/0 b.test [192.0.2.1:5071]"]);
    assert_eq!(found.trouble, Some(Trouble::ServerFailure));
}

#[test]
fn the_second_server_answers_when_the_first_is_dead() {
    let (dead, zone) = (std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), Zone::start());
    zone.address_of("a.test", 300, "192.0.2.1");
    let servers = [dead.local_addr().unwrap(), zone.address];
    let question = Question { name: "a.test".into(), kind: Kind::A };
    let answer = run(async { Dns::with_patience(&servers, PATIENCE).ask(&question).await });
    assert!(matches!(answer, Answer::Records(..)), "{answer:?}");
}

#[test]
fn the_negative_life_of_an_answer_is_the_zones() {
    let zone = Zone::start();
    zone.set("a.test", Kind::Srv, Reply::Nothing(77));
    let question = |kind| Question { name: "a.test".into(), kind };
    let ask = |kind| {
        run(async { Dns::with_patience(&[zone.address], PATIENCE).ask(&question(kind)).await })
    };
    assert_eq!(ask(Kind::Srv), Answer::Nothing(false, Some(Duration::from_secs(77))));
    zone.set("a.test", Kind::A, Reply::NoSuchName(11));
    assert_eq!(ask(Kind::A), Answer::Nothing(true, Some(Duration::from_secs(11))));
}

#[test]
fn a_name_that_cannot_be_asked_for_is_no_panic() {
    let zone = Zone::start();
    for name in ["", ".", "a..b", &"x".repeat(64), &"x.".repeat(200), "\u{e4}.test", "a b.test"] {
        let question = Question { name: name.into(), kind: Kind::A };
        let answer =
            run(async { Dns::with_patience(&[zone.address], PATIENCE).ask(&question).await });
        assert!(!matches!(answer, Answer::Records(..)), "{name}: {answer:?}");
    }
}

#[test]
fn names_of_this_host_need_no_server() {
    let dead = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let servers = [dead.local_addr().unwrap()];
    let question = Question { name: "localhost".into(), kind: Kind::A };
    let answer = run(async { Dns::with_patience(&servers, PATIENCE).ask(&question).await });
    let want = Record::Address("127.0.0.1".parse().unwrap());
    assert!(matches!(answer, Answer::Records(ref r, _) if r.contains(&want)), "{answer:?}");
}
