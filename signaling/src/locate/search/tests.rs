//! RFC 3263 by the section, with records as data.

use super::*;

/// A zone file of a few lines: `name TYPE data`, `name TYPE -` for nothing, `name TYPE !` for a
/// server that does not answer, `*` in place of a type for a name that does not exist.
struct Zone(Vec<(String, String, String)>);

impl Zone {
    fn new(text: &str) -> Self {
        let row = |line: &str| {
            let mut words = line.trim().splitn(3, ' ').map(str::to_owned);
            Some((words.next()?, words.next()?, words.next().unwrap_or_default()))
        };
        Self(text.lines().filter(|line| !line.trim().is_empty()).filter_map(row).collect())
    }

    fn answer(&self, question: &Question) -> Answer {
        let fits = |row: &&(String, String, String)| {
            row.0 == question.name && (row.1 == question.kind.as_str() || row.1 == "*")
        };
        let rows: Vec<_> = self.0.iter().filter(fits).collect();
        match rows.first() {
            None => return Answer::Nothing(false, None),
            Some(row) if row.1 == "*" => return Answer::Nothing(true, None),
            Some(row) if row.2 == "-" => return Answer::Nothing(false, None),
            Some(row) if row.2 == "!" => return Answer::Failed(Trouble::Timeout),
            Some(_) => {}
        }
        let mut ttl = 3_600;
        let records = rows.iter().map(|row| {
            let mut words: Vec<&str> = row.2.split(' ').collect();
            if let Some(seconds) = words[0].strip_prefix("ttl=") {
                ttl = ttl.min(seconds.parse().unwrap());
                words.remove(0);
            }
            record(question.kind, &words)
        });
        let records = records.collect();
        Answer::Records(records, Duration::from_secs(ttl))
    }

    /// Follows a search to its end: what was found, and the questions of each round.
    fn locate(&self, place: &Place, families: Families) -> (Found, Vec<Vec<String>>) {
        let (mut known, mut rounds) = (Known::new(), Vec::new());
        loop {
            match step(place, families, &known) {
                Step::Found(found) => return (found, rounds),
                Step::Ask(questions) => {
                    assert!(!questions.is_empty() && rounds.len() < 4, "{rounds:?}");
                    let text = |q: &Question| format!("{} {}", q.name, q.kind.as_str());
                    rounds.push(questions.iter().map(text).collect());
                    for question in questions {
                        let answer = self.answer(&question);
                        assert!(known.insert(question, answer).is_none(), "asked twice");
                    }
                }
            }
        }
    }
}

fn record(kind: Kind, words: &[&str]) -> Record {
    let number = |index: usize| words[index].parse::<u16>().unwrap();
    match kind {
        Kind::Naptr => Record::Naptr {
            order: number(0),
            preference: number(1),
            flags: words[2].into(),
            service: words[3].into(),
            replacement: words[4].into(),
        },
        Kind::Srv => Record::Srv {
            priority: number(0),
            weight: number(1),
            port: number(2),
            target: words.get(3).copied().unwrap_or_default().into(),
        },
        Kind::A | Kind::Aaaa => Record::Address(words[0].parse().unwrap()),
    }
}

fn place(host: &str, port: Option<u16>, transport: Transport) -> Place {
    Place { host: Host::parse(host).unwrap(), port, transport }
}

/// `group/weight address...` of each server.
fn text(found: &Found) -> Vec<String> {
    let one = |server: &Server| {
        let addresses: Vec<String> = server.addresses.iter().map(ToString::to_string).collect();
        format!("{}/{} {}", server.group, server.weight, addresses.join(" "))
    };
    found.servers.iter().map(one).collect()
}

const CARRIER: &str = "
carrier.example NAPTR 50 50 s SIPS+D2T _sips._tcp.carrier.example
carrier.example NAPTR 90 50 s SIP+D2T _sip._tcp.carrier.example
carrier.example NAPTR 100 50 s SIP+D2U _sip._udp.east.example
carrier.example NAPTR 100 60 s SIP+D2U _sip._udp.west.example
carrier.example NAPTR 200 10 s SIP+D2U _sip._udp.never.example
_sip._udp.east.example SRV 10 60 5060 e1.example
_sip._udp.east.example SRV 10 40 5062 e2.example
_sip._udp.east.example SRV 20 0 5060 e3.example
_sip._udp.west.example SRV 5 0 5060 w1.example
_sips._tcp.carrier.example SRV 0 0 5061 e1.example
e1.example A 192.0.2.1
e1.example A 192.0.2.11
e2.example A 192.0.2.2
e3.example A ttl=120 192.0.2.3
w1.example A 192.0.2.4
w1.example AAAA 2001:db8::4
";

#[test]
fn naptr_then_srv_then_addresses_within_the_trunks_transport() {
    let zone = Zone::new(CARRIER);
    let place_of = |transport| place("carrier.example", None, transport);
    let (found, rounds) = zone.locate(&place_of(Transport::Udp), Families::BOTH);
    assert_eq!(
        text(&found),
        [
            "0/60 192.0.2.1:5060 192.0.2.11:5060",
            "0/40 192.0.2.2:5062",
            "1/0 192.0.2.3:5060",
            "2/0 192.0.2.4:5060 [2001:db8::4]:5060",
        ]
    );
    assert_eq!((found.ttl, found.trouble), (Duration::from_secs(120), None));
    assert_eq!(rounds[0], ["carrier.example NAPTR"]);
    assert_eq!(rounds[1], ["_sip._udp.east.example SRV", "_sip._udp.west.example SRV"]);
    assert_eq!(rounds[2].len(), 8);
    // Other transports never borrow these servers.
    let (tls, _) = zone.locate(&place_of(Transport::Tls), Families { v4: true, v6: false });
    assert_eq!(text(&tls), ["0/0 192.0.2.1:5061 192.0.2.11:5061"]);
    assert_eq!(tls.servers[0].name, "e1.example");
}

#[test]
fn a_family_without_listener_is_not_asked_for() {
    let zone = Zone::new("a.example A 192.0.2.1\na.example AAAA 2001:db8::1");
    let place = place("a.example", Some(5080), Transport::Tcp);
    for (v4, v6, want) in [
        (true, false, vec!["0/0 192.0.2.1:5080"]),
        (false, true, vec!["0/0 [2001:db8::1]:5080"]),
        (true, true, vec!["0/0 192.0.2.1:5080 [2001:db8::1]:5080"]),
    ] {
        let (found, rounds) = zone.locate(&place, Families { v4, v6 });
        assert_eq!(text(&found), want);
        assert_eq!((rounds.len(), rounds[0].len()), (1, usize::from(v4) + usize::from(v6)));
    }
}

#[test]
fn what_decides_is_a_table() {
    let udp = |host: &str| place(host, None, Transport::Udp);
    for (what, zone, place, servers, trouble) in [
        (
            "RFC 3263 §4.2: a port means addresses only, SRV does not count",
            "a.example A 192.0.2.1\n_sip._udp.a.example SRV 0 0 9 b.example",
            place("a.example", Some(5070), Transport::Udp),
            vec!["0/0 192.0.2.1:5070"],
            None,
        ),
        (
            "RFC 3263 §4.2: an address needs no question",
            "",
            place("192.0.2.9", None, Transport::Tls),
            vec!["0/0 192.0.2.9:5061"],
            None,
        ),
        (
            "RFC 3263 §4.1: no NAPTR, then SRV",
            "_sip._udp.a.example SRV 0 0 5066 b.example\nb.example A 192.0.2.1",
            udp("a.example"),
            vec!["0/0 192.0.2.1:5066"],
            None,
        ),
        (
            "RFC 3263 §4.2: no SRV, then addresses with the usual port",
            "a.example A 192.0.2.1",
            place("a.example", None, Transport::Tls),
            vec!["0/0 192.0.2.1:5061"],
            None,
        ),
        (
            "NAPTR for other transports or with other flags is no rule for us",
            "a.example NAPTR 1 1 s SIP+D2T _sip._tcp.x.example\n\
             a.example NAPTR 1 1 u SIP+D2U x.example\n\
             a.example NAPTR 1 1 s E2U+SIP x.example\n\
             _sip._udp.a.example SRV 0 0 5066 b.example\nb.example A 192.0.2.1",
            udp("a.example"),
            vec!["0/0 192.0.2.1:5066"],
            None,
        ),
        (
            "a NAPTR question that fails counts as none, and is open",
            "a.example NAPTR !\n_sip._udp.a.example SRV 0 0 5066 b.example\nb.example A 192.0.2.1",
            udp("a.example"),
            vec!["0/0 192.0.2.1:5066"],
            Some(Trouble::Timeout),
        ),
        (
            "RFC 2782: the target . says that there is no such service",
            "_sip._udp.a.example SRV 0 0 0\na.example A 192.0.2.1",
            udp("a.example"),
            vec![],
            Some(Trouble::NotOffered),
        ),
        (
            "one server without address leaves the others",
            "_sip._udp.a.example SRV 0 0 1 b.example\n_sip._udp.a.example SRV 1 0 2 c.example\n\
             b.example *\nc.example A 192.0.2.3",
            udp("a.example"),
            vec!["1/0 192.0.2.3:2"],
            None,
        ),
        (
            "one server whose question fails leaves the others and is told",
            "_sip._udp.a.example SRV 0 0 1 b.example\n_sip._udp.a.example SRV 1 0 2 c.example\n\
             b.example A !\nc.example A 192.0.2.3",
            udp("a.example"),
            vec!["1/0 192.0.2.3:2"],
            Some(Trouble::Timeout),
        ),
        ("no such name", "a.example *", udp("a.example"), vec![], Some(Trouble::NoSuchName)),
        ("no address", "a.example A -", udp("a.example"), vec![], Some(Trouble::NoAddress)),
        (
            "nobody answers",
            "a.example NAPTR !\n_sip._udp.a.example SRV !\na.example A !\na.example AAAA !",
            udp("a.example"),
            vec![],
            Some(Trouble::Timeout),
        ),
        (
            "an address where RFC 2782 wants a name",
            "_sip._udp.a.example SRV 0 0 5066 192.0.2.1",
            udp("a.example"),
            vec!["0/0 192.0.2.1:5066"],
            None,
        ),
    ] {
        let (found, _) = Zone::new(zone).locate(&place, Families::BOTH);
        assert_eq!(
            (text(&found), found.trouble),
            (servers.iter().map(|s| s.to_string()).collect(), trouble),
            "{what}"
        );
    }
}

#[test]
fn the_ttl_is_the_shortest_and_held_between_its_ends() {
    let srv = "_sip._udp.a.example SRV ttl=900 0 0 5066 b.example\n";
    for (address, want) in
        [("ttl=60 192.0.2.1", 60), ("ttl=1 192.0.2.1", 30), ("ttl=90000 192.0.2.1", 300), ("!", 30)]
    {
        let zone = Zone::new(&format!("{srv}b.example A {address}\n"));
        let (found, _) = zone.locate(&place("a.example", None, Transport::Udp), Families::BOTH);
        assert_eq!(found.ttl, Duration::from_secs(want), "{address}");
    }
    // Everything answered and long-lived: the cap.
    let zone = Zone::new("a.example A ttl=90000 192.0.2.1");
    let families = Families { v4: true, v6: false };
    let (found, _) = zone.locate(&place("a.example", Some(1), Transport::Udp), families);
    assert_eq!(found.ttl, TTL_MAX);
}

#[test]
fn a_zone_that_never_ends_is_cut() {
    let mut text = String::new();
    for n in 0..100 {
        text += &format!("a.example NAPTR 1 {n} s SIP+D2U s{n}.example\n");
        text += &format!("s0.example SRV {n} 0 5060 b.example\n");
        text += &format!("b.example A 192.0.2.{n}\n");
    }
    let place = place("a.example", None, Transport::Udp);
    let (found, rounds) = Zone::new(&text).locate(&place, Families::BOTH);
    assert_eq!(rounds[1].len(), SERVICES_MAX);
    assert_eq!(found.servers.len(), SERVERS_MAX);
    assert!(found.servers.iter().all(|server| server.addresses.len() == ADDRESSES_MAX));
}
