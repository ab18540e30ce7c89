mod shards;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use crossbeam::channel::bounded;

use super::fixture::{Gateway, PATIENCE, call_id, options, until};
use super::*;
use crate::config;
use crate::homes::Homes;
use crate::shard::Edge;
use crate::trunk::TrunkId;

fn udp() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn connect(gateway: &Gateway) -> TcpStream {
    let socket = TcpStream::connect(gateway.address(Transport::Tcp)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Reads until `text` has come, and nothing else.
fn expect(socket: &mut TcpStream, text: &[u8]) {
    let mut got = vec![0; text.len()];
    socket.read_exact(&mut got).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(text));
}

/// Whether the peer closed: end of file or reset.
fn ended(socket: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match socket.read_to_end(&mut rest) {
        Ok(_) => rest.is_empty(),
        Err(cause) => cause.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

const PEER: &str = "[[trunk]]\nname = \"peer\"\nhost = \"127.0.0.1\"\n";

/// Queues that nobody reads.
fn nobody() -> Inboxes {
    Inboxes::new(vec![bounded(1).0], Homes::default())
}

#[test]
fn datagrams_come_in_and_answers_leave_by_the_same_socket() {
    let gateway = Gateway::start(PEER, Limits::default());
    let peer = udp();
    peer.send_to(&options("a"), gateway.address(Transport::Udp)).unwrap();
    let (hop, origin, message) = gateway.message();
    assert_eq!(call_id(&message), "a");
    assert_eq!(hop.remote, peer.local_addr().unwrap());
    assert_eq!((hop.transport, hop.tag), (Transport::Udp, TrunkId(1).tag()));
    assert_eq!(origin.source, peer.local_addr().unwrap());
    assert_eq!(origin.local, gateway.address(Transport::Udp));
    for connection in [hop.connection, 0] {
        gateway.out.send(Hop { connection, ..hop }, Bytes::from_static(b"answer"));
        let mut answer = [0; 64];
        let (length, from) = peer.recv_from(&mut answer).unwrap();
        assert_eq!((&answer[..length], from), (&b"answer"[..], gateway.address(Transport::Udp)));
    }
    assert_eq!(gateway.net.counts().messages_out, 2);
}

#[test]
fn each_listener_answers_for_itself_and_each_peer_fails_alone() {
    let text = "[sip]\nudp = [\"127.0.0.1:0\", \"127.0.0.2:0\"]\n";
    let gateway = Gateway::of(text, None, Limits::default(), 10);
    let (a, b) = (udp(), udp());
    let mut flows = Vec::new();
    for listener in gateway.net.addresses(Transport::Udp) {
        for peer in [&a, &b] {
            peer.send_to(&options("x"), listener).unwrap();
            let (hop, origin, _) = gateway.message();
            assert_eq!(origin.local, listener);
            gateway.out.send(hop, Bytes::from_static(b"answer"));
            assert_eq!(peer.recv_from(&mut [0; 16]).unwrap(), (6, listener));
            assert_eq!(gateway.net.names().sent_by(&hop), listener.to_string());
            flows.push(hop.connection);
        }
    }
    flows.sort_unstable();
    flows.dedup();
    assert_eq!(flows.len(), 4);
}

#[test]
fn a_burst_of_datagrams_is_taken() {
    let gateway = Gateway::start("", Limits::default());
    let peer = udp();
    for n in 0..600 {
        peer.send_to(&options(&n.to_string()), gateway.address(Transport::Udp)).unwrap();
    }
    for n in 0..600 {
        let (hop, _, message) = gateway.message();
        assert_eq!(call_id(&message), n.to_string());
        assert_eq!(hop.tag, 0, "nobody's source");
    }
}

#[test]
fn datagrams_that_are_no_message_are_told_and_line_ends_ignored() {
    let gateway = Gateway::start("", Limits::default());
    let peer = udp();
    peer.send_to(b"\r\n\r\n", gateway.address(Transport::Udp)).unwrap();
    peer.send_to(b"", gateway.address(Transport::Udp)).unwrap();
    peer.send_to(b"hello", gateway.address(Transport::Udp)).unwrap();
    peer.send_to(&[0xff; 60_000], gateway.address(Transport::Udp)).unwrap();
    for _ in 0..2 {
        match gateway.next() {
            Inbound::Malformed { hop, origin, .. } => assert_eq!(hop.remote, origin.source),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(gateway.net.counts().malformed, 2);
}

#[test]
fn a_full_queue_drops_datagrams_and_holds_connections() {
    let gateway = Gateway::start_with_room("", 1);
    let peer = udp();
    for n in 0..5 {
        peer.send_to(&options(&n.to_string()), gateway.address(Transport::Udp)).unwrap();
    }
    until(|| gateway.net.counts().datagrams_dropped == 4);
    let mut socket = connect(&gateway);
    for n in 10..15 {
        socket.write_all(&options(&n.to_string())).unwrap();
    }
    let ids: Vec<String> = (0..6).map(|_| call_id(&gateway.message().2)).collect();
    assert_eq!(ids, ["0", "10", "11", "12", "13", "14"]);
}

#[test]
fn a_connection_frames_pings_and_answers() {
    let gateway =
        Gateway::start(&PEER.replace("host", "transport = \"TCP\"\nhost"), Limits::default());
    let mut socket = connect(&gateway);
    let two = [options("a"), options("b")].concat();
    let (head, tail) = two.split_at(100);
    socket.write_all(head).unwrap();
    socket.write_all(tail).unwrap();
    let (first, origin, message) = gateway.message();
    assert_eq!(call_id(&message), "a");
    assert_eq!((first.transport, first.tag), (Transport::Tcp, TrunkId(1).tag()));
    assert_eq!(origin.source, socket.local_addr().unwrap());
    let (second, _, message) = gateway.message();
    assert_eq!((second, call_id(&message).as_str()), (first, "b"));
    socket.write_all(b"\r\n\r\n").unwrap();
    expect(&mut socket, b"\r\n");
    gateway.out.send(first, Bytes::from_static(b"answer"));
    expect(&mut socket, b"answer");
    drop(socket);
    assert_eq!(gateway.closed(), Hop { tag: 0, ..first });
    let mut again = connect(&gateway);
    again.write_all(&options("c")).unwrap();
    assert!(gateway.message().0.connection > first.connection, "numbers are never reused");
}

#[test]
fn what_cannot_be_framed_closes_the_connection() {
    let gateway = Gateway::start("", Limits::default());
    let mut socket = connect(&gateway);
    socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(matches!(gateway.next(), Inbound::Malformed { .. }));
    gateway.closed();
    assert!(ended(&mut socket));
    assert_eq!(gateway.net.counts().malformed, 1);
}

/// A trunk on TCP whose peer listens here.
fn dialled() -> (Gateway, TcpListener, Hop) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let trunks = format!(
        "[[trunk]]\nname = \"peer\"\nhost = \"127.0.0.1\"\nport = {port}\ntransport = \"TCP\"\n"
    );
    let gateway = Gateway::start(&trunks, Limits::default());
    let hop = gateway.net.plan().table().hop(TrunkId(1)).unwrap();
    assert_eq!(hop.remote, listener.local_addr().unwrap());
    (gateway, listener, hop)
}

#[test]
fn messages_without_a_connection_open_one_and_share_it() {
    let (gateway, listener, hop) = dialled();
    gateway.out.send(hop, Bytes::from_static(b"one"));
    gateway.out.send(hop, Bytes::from_static(b"two"));
    let (mut peer, from) = listener.accept().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(from.ip(), gateway.address(Transport::Tcp).ip());
    expect(&mut peer, b"onetwo");
    peer.write_all(&options("in")).unwrap();
    let (answered, origin, _) = gateway.message();
    assert_eq!(Hop { connection: 0, ..answered }, hop);
    assert_ne!(answered.connection, 0);
    assert_eq!(origin.opened_for, Some(TrunkId(1)));
    // By number, and for a number that never lived.
    gateway.out.send(answered, Bytes::from_static(b"three"));
    gateway.out.send(Hop { connection: u64::MAX, ..hop }, Bytes::from_static(b"four"));
    expect(&mut peer, b"threefour");
    assert_eq!(gateway.net.counts().connections, 1);
    // The peer goes: the connection is closed, and those who relied on it without knowing its
    // number hear of it.
    drop(peer);
    assert_eq!(gateway.closed(), answered);
    assert_eq!(gateway.failed(), hop);
    assert_eq!(gateway.failed(), Hop { connection: u64::MAX, ..hop });
    gateway.out.send(answered, Bytes::from_static(b"five"));
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    expect(&mut peer, b"five");
}

#[test]
fn a_peer_that_refuses_is_told_for_every_hop() {
    let (gateway, listener, hop) = dialled();
    drop(listener);
    gateway.out.send(hop, Bytes::from_static(b"one"));
    assert_eq!(gateway.failed(), hop);
    until(|| gateway.net.counts().connections == 0);
    assert_eq!(gateway.net.counts().dials_failed, 1);
}

#[test]
fn a_datagram_that_cannot_leave_is_told() {
    let gateway = Gateway::start("", Limits::default());
    let hop = Hop {
        transport: Transport::Udp,
        remote: "[::1]:5060".parse().unwrap(),
        connection: 0,
        tag: 7,
    };
    gateway.out.send(hop, Bytes::from_static(b"x"));
    assert_eq!(gateway.failed(), hop);
    let hop = Hop { remote: gateway.address(Transport::Udp), ..hop };
    gateway.out.send(hop, Bytes::from(vec![b'x'; 70_000]));
    assert_eq!(gateway.failed(), hop);
    assert_eq!(gateway.net.counts().sends_failed, 2);
}

/// So many connections that each sent a message.
fn hold(gateway: &Gateway, count: usize) -> Vec<TcpStream> {
    let held = (0..count).map(|n| {
        let mut socket = connect(gateway);
        socket.write_all(&options(&n.to_string())).unwrap();
        gateway.message();
        socket
    });
    held.collect()
}

#[test]
fn the_number_of_connections_is_limited_in_all_and_per_source() {
    let tcp = PEER.replace("host", "transport = \"TCP\"\nhost");
    for (trunks, limits, room) in [
        // Nobody makes room for anybody who has proven to be a trunk's.
        (
            tcp.as_str(),
            Limits { connections: 2, connections_for_trunks: 0, ..Limits::default() },
            2,
        ),
        ("", Limits { connections_per_source: 3, ..Limits::default() }, 3),
    ] {
        let gateway = Gateway::start(trunks, limits);
        let mut held = hold(&gateway, room);
        assert!(ended(&mut connect(&gateway)));
        assert_eq!(gateway.net.counts().connections_refused, 1);
        // Dialling is under the same limit.
        let hop = Hop {
            transport: Transport::Tcp,
            remote: "127.0.0.1:9".parse().unwrap(),
            connection: 0,
            tag: 0,
        };
        gateway.out.send(hop, Bytes::from_static(b"x"));
        assert_eq!(gateway.failed(), hop);
        // One goes, one may come.
        drop(held.pop());
        gateway.closed();
        let mut socket = connect(&gateway);
        socket.write_all(&options("again")).unwrap();
        gateway.message();
        assert_eq!(gateway.net.counts().connections_evicted, 0);
    }
}

#[test]
fn strangers_make_room_the_oldest_first() {
    for limits in [
        Limits { connections: 2, connections_for_trunks: 0, ..Limits::default() },
        // Whom no trunk claims leaves room for whom one does.
        Limits { connections: 5, connections_for_trunks: 3, ..Limits::default() },
    ] {
        let gateway = Gateway::start("", limits);
        let mut held = hold(&gateway, 2);
        let mut newest = connect(&gateway);
        assert!(ended(&mut held[0]), "the oldest");
        gateway.closed();
        newest.write_all(&options("still")).unwrap();
        assert_eq!(call_id(&gateway.message().2), "still");
        held[1].write_all(&options("here")).unwrap();
        assert_eq!(call_id(&gateway.message().2), "here");
        let counts = gateway.net.counts();
        assert_eq!((counts.connections_evicted, counts.connections_refused), (1, 0));
    }
}

#[test]
fn the_first_message_must_come_in_time() {
    let limits = Limits { first_message: Duration::from_millis(50), ..Limits::default() };
    let gateway = Gateway::start("", limits);
    let mut silent = connect(&gateway);
    assert!(ended(&mut silent));
    gateway.closed();
    let mut slow = connect(&gateway);
    slow.write_all(b"OPTIONS sip:").unwrap();
    assert!(ended(&mut slow));
    gateway.closed();
    let mut pinging = connect(&gateway);
    pinging.write_all(b"\r\n\r\n").unwrap();
    let mut pong = [0; 2];
    pinging.read_exact(&mut pong).unwrap();
    assert!(ended(&mut pinging), "a ping is no message");
    gateway.closed();
    assert_eq!(gateway.net.counts().first_message_missed, 3);
}

#[test]
fn an_idle_connection_is_closed_and_bytes_alone_do_not_keep_it() {
    let limits = Limits { idle: Duration::from_millis(200), ..Limits::default() };
    let gateway = Gateway::start("", limits);
    let mut socket = connect(&gateway);
    socket.write_all(&options("a")).unwrap();
    gateway.message();
    let begun = Instant::now();
    let mut dripping = socket.try_clone().unwrap();
    let drip = std::thread::spawn(move || {
        while dripping.write_all(b"x").is_ok() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    gateway.closed();
    assert_eq!(gateway.net.counts().idle_closed, 1);
    drip.join().unwrap();
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn a_peer_that_does_not_read_loses_its_connection() {
    let limits = Limits { write_queue_bytes: 1 << 20, ..Limits::default() };
    let gateway = Gateway::start("", limits);
    let mut socket = connect(&gateway);
    socket.write_all(&options("a")).unwrap();
    let (hop, ..) = gateway.message();
    // More than the queue and both kernel buffers hold.
    let chunk = Bytes::from(vec![b'x'; 256 << 10]);
    let mut failure = None;
    for _ in 0..200 {
        gateway.out.send(hop, chunk.clone());
        if let Ok(told) = gateway.inbox.try_recv() {
            failure = Some(told);
            break;
        }
    }
    let told = failure.unwrap_or_else(|| gateway.next());
    let ok = matches!(told, Inbound::Failed { hop: h } | Inbound::Closed { hop: h }
        if h.connection == hop.connection);
    assert!(ok, "{told:?}");
    until(|| gateway.net.counts().connections == 0);
    assert_eq!(gateway.net.counts().writes_stuck, 1);
}

#[test]
fn a_write_without_progress_ends_the_connection() {
    let limits = Limits {
        write_queue_bytes: 64 << 20,
        write: Duration::from_millis(100),
        ..Limits::default()
    };
    let gateway = Gateway::start("", limits);
    let mut socket = connect(&gateway);
    socket.write_all(&options("a")).unwrap();
    let (hop, ..) = gateway.message();
    gateway.out.send(hop, Bytes::from(vec![b'x'; 32 << 20]));
    gateway.closed();
    assert_eq!(gateway.net.counts().writes_stuck, 1);
}

#[test]
fn closing_writes_out_what_is_queued() {
    let gateway = Gateway::start("", Limits::default());
    let mut socket = connect(&gateway);
    socket.write_all(&options("a")).unwrap();
    let (hop, ..) = gateway.message();
    gateway.out.send(hop, Bytes::from_static(b"last words"));
    gateway.out.close(hop.connection);
    expect(&mut socket, b"last words");
    assert!(ended(&mut socket));
    gateway.closed();
    gateway.out.close(hop.connection);
    gateway.out.close(u64::MAX);
}

#[test]
fn stopping_writes_out_what_is_queued_and_ends() {
    let gateway = Gateway::start("", Limits::default());
    let mut socket = connect(&gateway);
    socket.write_all(&options("a")).unwrap();
    let (hop, ..) = gateway.message();
    let bulk = Bytes::from(vec![b'x'; 100_000]);
    gateway.out.send(hop, bulk.clone());
    let address = gateway.address(Transport::Tcp);
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        socket.read_to_end(&mut got).unwrap();
        got
    });
    gateway.net.stop();
    assert_eq!(reader.join().unwrap(), bulk);
    assert!(TcpStream::connect(address).is_err());
    gateway.out.send(hop, Bytes::from_static(b"x"));
}

#[test]
fn a_taken_port_is_an_error_that_names_its_holder() {
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    let text = format!("[sip]\nudp = [\"{address}\"]\n");
    let config = config::parse(&text, Path::new(".")).unwrap();
    let error = start(&config, LivePlan::new(config.plan()), nobody()).err().unwrap();
    assert!(error.is_configuration());
    let shown = error.to_string();
    let process = format!("(process {})", std::process::id());
    for part in [&address.to_string(), "UDP", "taken by", &process, "choose another port"] {
        assert!(shown.contains(part), "{shown}");
    }
    let config = config::parse("[sip]\nudp = [\"192.0.2.1:0\"]\n", Path::new(".")).unwrap();
    let shown = start(&config, LivePlan::new(config.plan()), nobody()).err().unwrap().to_string();
    assert!(shown.contains("no interface has this address"), "{shown}");
}

#[test]
fn our_names_follow_the_way_to_the_peer() {
    let hop = |transport, remote: &str| Hop {
        transport,
        remote: remote.parse().unwrap(),
        connection: 0,
        tag: 0,
    };
    let wildcard = "[sip]\nudp = [\"0.0.0.0:0\"]\ntcp = [\"127.0.0.1:0\", \"127.0.0.2:0\"]\n\
                    [media]\naddress = \"127.0.0.1\"\n";
    let gateway = Gateway::of(wildcard, None, Limits::default(), 1);
    let names = gateway.net.names();
    let port = gateway.address(Transport::Udp).port();
    let near = hop(Transport::Udp, "127.0.0.9:5060");
    assert_eq!(names.sent_by(&near), format!("127.0.0.1:{port}"));
    assert_eq!(names.contact(&near), format!("sip:127.0.0.1:{port}"));
    let near = hop(Transport::Tcp, "127.0.0.9:5060");
    let port = gateway.address(Transport::Tcp).port();
    assert_eq!(names.contact(&near), format!("sip:127.0.0.1:{port};transport=tcp"));
    // On a connection that came in by another listener, that one stands for us.
    let second = gateway.net.listeners().last().unwrap().local;
    let mut socket = TcpStream::connect(second).unwrap();
    socket.write_all(&options("a")).unwrap();
    assert_eq!(names.sent_by(&gateway.message().0), second.to_string());

    let text = "[sip]\nudp = [\"[::1]:0\"]\nadvertise = \"gw.example\"\n";
    let gateway = Gateway::of(text, None, Limits::default(), 1);
    let port = gateway.address(Transport::Udp).port();
    let near = hop(Transport::Udp, "[::1]:5060");
    assert_eq!(gateway.net.names().sent_by(&near), format!("gw.example:{port}"));
    let text = text.replace("advertise = \"gw.example\"\n", "");
    let gateway = Gateway::of(&text, None, Limits::default(), 1);
    let port = gateway.address(Transport::Udp).port();
    assert_eq!(gateway.net.names().sent_by(&near), format!("[::1]:{port}"));
}

#[test]
fn ipv6_peers_are_peers() {
    let text = "[sip]\nudp = [\"127.0.0.1:0\", \"[::1]:0\"]\n\
                [[trunk]]\nname = \"six\"\nhost = \"::1\"\n";
    let gateway = Gateway::of(text, None, Limits::default(), 10);
    let peer = UdpSocket::bind("[::1]:0").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = gateway.net.addresses(Transport::Udp)[1];
    peer.send_to(&options("six"), address).unwrap();
    let (hop, ..) = gateway.message();
    assert_eq!(hop.tag, TrunkId(1).tag());
    gateway.out.send(Hop { connection: 0, ..hop }, Bytes::from_static(b"answer"));
    let mut answer = [0; 16];
    assert_eq!(peer.recv_from(&mut answer).unwrap(), (6, address));
}

#[test]
fn two_edges_share_no_port() {
    let gateway = Gateway::start("", Limits::default());
    let address = gateway.address(Transport::Tcp);
    let text = format!("[sip]\ntcp = [\"{address}\"]\n");
    let config = config::parse(&text, Path::new(".")).unwrap();
    let error = start(&config, LivePlan::new(config.plan()), nobody()).err().unwrap();
    assert!(error.to_string().contains("taken"), "{error}");
    gateway.net.stop();
    // A restart finds the port free at once, although connections lingered.
    start(&config, LivePlan::new(config.plan()), nobody()).unwrap();
}

#[test]
fn strangers_get_an_eighth_of_the_queue_and_trunks_all_of_it() {
    const ROOM: usize = 16;
    let trunk = "[[trunk]]\nname = \"a\"\nhost = \"127.0.0.1\"\n";
    for (trunks, taken) in [("", ROOM / 8), (trunk, ROOM)] {
        let gateway = Gateway::start_with_room(trunks, ROOM);
        let peer = udp();
        for n in 0..4 * ROOM {
            peer.send_to(&options(&n.to_string()), gateway.address(Transport::Udp)).unwrap();
        }
        while gateway.net.counts().datagrams_dropped < (4 * ROOM - taken) as u64 {
            std::thread::yield_now();
        }
        assert_eq!(gateway.net.counts().messages_in, taken as u64, "{trunks}");
    }
}

/// RFC 5626 §4.4.1: who answered a ping once and stops is dead; who never did is merely old.
#[test]
fn a_peer_that_stops_answering_pings_is_dead() {
    let limits = Limits { pong: Duration::from_millis(200), ..Limits::default() };
    let often =
        |trunk: &mut crate::trunk::Trunk| trunk.manner.keepalive = Some(Duration::from_millis(20));
    let trunks = PEER.replace("host", "transport = \"TCP\"\nhost");
    let gateway = Gateway::edited(&trunks, limits, often);
    let (mut old, mut dying) = (connect(&gateway), connect(&gateway));
    let mut ping = [0; 4];
    dying.read_exact(&mut ping).unwrap();
    assert_eq!(&ping, b"\r\n\r\n");
    dying.write_all(b"\r\n").unwrap();
    // Pings come as long as they are answered, and then no more: the connection ends.
    let hop = gateway.closed();
    assert_eq!(hop.remote, dying.local_addr().unwrap());
    assert_eq!(gateway.net.counts().pongs_missed, 1);
    // The other one has been asked all the while.
    old.write_all(&options("still-here")).unwrap();
    assert_eq!(call_id(&gateway.message().2), "still-here");
}

/// A trunk that asks and asks on connections fills no more of the queue than what lets new calls in.
#[test]
fn a_flood_on_a_connection_gets_slow_before_the_queue_is_crowded() {
    const ROOM: usize = 800;
    let trunks = PEER.replace("host", "transport = \"TCP\"\nhost");
    let gateway = Gateway::start_with_room(&trunks, ROOM);
    let mut flood = connect(&gateway);
    let asked = options("again").repeat(2 * ROOM);
    let writing = std::thread::spawn(move || flood.write_all(&asked).map(|()| flood));
    // Somebody who asks once comes in behind an eighth of the queue, and not behind all of the flood.
    let crowded = ROOM as u64 / 8;
    until(|| gateway.net.counts().messages_in >= crowded);
    let mut other = connect(&gateway);
    other.write_all(&options("other")).unwrap();
    let before = (0..ROOM).take_while(|_| call_id(&gateway.message().2) != "other").count();
    assert!(before < ROOM / 2, "{before} came before it");
    let rest = 2 * ROOM - before;
    assert!((0..rest).all(|_| call_id(&gateway.message().2) == "again"), "nothing is lost");
    drop(writing.join().unwrap().unwrap());
}
