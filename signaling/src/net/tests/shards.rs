//! One edge that reads for two shards.

use crossbeam::channel::Receiver;

use super::*;
use crate::plan::LivePlan;

/// An edge with a UDP and a TCP listener, what it tells each of two shards, and who lives where.
fn edge() -> (Net, [Receiver<Inbound>; 2], Homes) {
    let sip = "[sip]\nudp = [\"127.0.0.1:0\"]\ntcp = [\"127.0.0.1:0\"]\n";
    let config = config::parse(&format!("{sip}{PEER}"), Path::new("."))
        .unwrap_or_else(|errors| panic!("{errors}"));
    let (homes, [a, b]) = (Homes::new(2, [3; 16]), [bounded(1_000), bounded(1_000)]);
    let inboxes = Inboxes::new(vec![a.0, b.0], homes);
    let net = start(&config, LivePlan::new(config.plan()), inboxes)
        .unwrap_or_else(|error| panic!("{error}"));
    (net, [a.1, b.1], homes)
}

fn message(inbox: &Receiver<Inbound>) -> (Hop, Message) {
    match inbox.recv_timeout(PATIENCE).unwrap() {
        Inbound::Message { hop, message, .. } => (hop, message),
        other => panic!("no message but {other:?}"),
    }
}

#[test]
fn a_message_comes_to_the_shard_of_its_call_whatever_it_came_by() {
    let (net, inboxes, homes) = edge();
    let (datagrams, mut line) =
        (udp(), TcpStream::connect(net.addresses(Transport::Tcp)[0]).unwrap());
    line.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut expected = [Vec::new(), Vec::new()];
    for number in 0..40 {
        let name = format!("call-{number}");
        match number % 2 {
            0 => drop(datagrams.send_to(&options(&name), net.addresses(Transport::Udp)[0])),
            _ => line.write_all(&options(&name)).unwrap(),
        }
        expected[homes.of(name.as_bytes())].push(name);
    }
    assert!(expected.iter().all(|names| names.len() > 5), "both have some: {expected:?}");
    let mut connection = None;
    for (shard, names) in expected.iter_mut().enumerate() {
        let mut came: Vec<_> = (0..names.len()).map(|_| message(&inboxes[shard])).collect();
        came.retain(|(hop, _)| {
            connection = connection.or(Some(*hop).filter(|hop| hop.transport == Transport::Tcp));
            true
        });
        let mut came: Vec<_> = came.iter().map(|(_, message)| call_id(message)).collect();
        came.sort();
        names.sort();
        assert_eq!(came, *names, "shard {shard}");
    }
    // Each shard answers on the one connection, and knows our name there.
    let hop = connection.unwrap();
    for shard in 0..2 {
        let out = net.outlet(shard);
        let listener = net.addresses(Transport::Tcp)[0];
        assert_eq!(out.sent_by(&hop), Some(listener.to_string()));
        out.send(hop, Bytes::from(format!("answer {shard}")));
        expect(&mut line, format!("answer {shard}").as_bytes());
    }
    assert_eq!(net.counts().connections, 1);
    // Its end is told to both.
    drop(line);
    for inbox in &inboxes {
        let told = inbox.recv_timeout(PATIENCE).unwrap();
        assert!(
            matches!(&told, Inbound::Closed { hop: gone } if gone.connection == hop.connection)
        );
    }
}

/// Who replaces a dialog comes to where that lives, whatever Call-ID it has, and so does what it says
/// in its own dialog.
#[test]
fn who_names_a_dialog_comes_to_where_it_lives() {
    let (net, inboxes, homes) = edge();
    let socket = udp();
    for home in [0, 1] {
        let mut names = (0..100).map(|number| format!("name-{number}"));
        let (here, there): (Vec<_>, Vec<_>) =
            names.by_ref().partition(|name| homes.of(name.as_bytes()) == home);
        let (ours, theirs) = (&here[0], &there[0]);
        for to in [
            format!("To: <sip:a@b>\r\nReplaces: {theirs};to-tag={ours};from-tag=x"),
            format!("To: <sip:a@b>;tag={ours}"),
        ] {
            let text = format!(
                "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK{theirs}\r\n\
                 From: <sip:c@d>;tag={theirs}\r\n{to}\r\nCall-ID: {theirs}\r\nCSeq: 1 INVITE\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            socket.send_to(text.as_bytes(), net.addresses(Transport::Udp)[0]).unwrap();
            let (_, came) = message(&inboxes[home]);
            assert_eq!(call_id(&came), *theirs, "{to}");
        }
    }
    assert!(inboxes.iter().all(|inbox| inbox.try_recv().is_err()), "to nobody else");
}

/// What one shard cannot send is no news for the other.
#[test]
fn who_sent_is_told_that_it_failed() {
    let (net, inboxes, _) = edge();
    let remote = "127.0.0.1:9".parse().unwrap();
    for transport in [Transport::Udp, Transport::Tcp] {
        // Larger than a datagram can be; and nobody is dialled for who is no trunk.
        let hop = Hop { transport, remote, connection: 0, tag: 0 };
        net.outlet(1).send(hop, Bytes::from(vec![b'x'; 70_000]));
        let told = inboxes[1].recv_timeout(PATIENCE).unwrap();
        assert!(matches!(told, Inbound::Failed { hop: failed } if failed == hop), "{told:?}");
    }
    assert!(inboxes[0].try_recv().is_err());
}
