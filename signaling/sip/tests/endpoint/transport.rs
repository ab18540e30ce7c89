//! Failed sends and dead connections.

use std::time::Duration;

use sip::endpoint::{Cause, Event, Hop, Transport};
use sip::wire::Method;

use crate::solo::*;

#[test]
fn a_failed_send_ends_the_requests_of_that_hop_only() {
    let mut solo = Solo::new();
    let peers = [
        udp(),
        hop(Transport::Udp, "192.0.2.10:5060"),
        Hop { tag: 8, ..udp() },
        hop(Transport::Tcp, "192.0.2.9:5060"),
    ];
    let ids = peers
        .map(|hop| solo.endpoint.request(solo.now, hop, outgoing(Method::Options, &[])).unwrap());
    solo.failed(udp());
    assert!(matches!(
        solo.one_event(),
        Event::Failed { transaction, cause: Cause::Transport } if transaction == ids[0]
    ));
    assert_eq!(solo.endpoint.counts().transactions, 3);
}

#[test]
fn a_dead_connection_takes_what_was_dialled_for_it() {
    let mut solo = Solo::new();
    let dialled = hop(Transport::Tcp, "192.0.2.9:5060");
    let live = Hop { connection: 5, ..dialled };
    let other = Hop { connection: 6, ..dialled };
    for hop in [dialled, live, other] {
        solo.endpoint.request(solo.now, hop, outgoing(Method::Options, &[])).unwrap();
    }
    solo.failed(live);
    assert_eq!(solo.events().len(), 2, "the one on it and the one without a connection");
    solo.failed(dialled);
    assert!(solo.events().is_empty());
    solo.failed(other);
    assert_eq!(solo.events().len(), 1);
    solo.assert_empty();
}

#[test]
fn the_connection_of_the_first_response_is_kept() {
    let mut solo = Solo::new();
    let dialled = hop(Transport::Tls, "192.0.2.9:5061");
    let (id, invite) = solo.invite(dialled);
    let live = Hop { connection: 9, ..dialled };
    solo.receive(live, &reply(&invite, 180, "b1", CONTACT));
    let Event::Response { dialog: Some(dialog), .. } = solo.one_event() else { panic!() };
    assert_eq!(solo.endpoint.dialog_hop(dialog).unwrap().connection, 9);
    solo.endpoint.cancel(solo.now, id).unwrap();
    solo.drain();
    assert_eq!(solo.sent[0].0.connection, 9);
    solo.sent();
    solo.receive(live, &reply(&invite, 487, "b1", ""));
    assert_eq!(solo.sent[0].0.connection, 9);
}

#[test]
fn a_ringing_call_survives_its_connection() {
    let mut solo = Solo::new();
    let dialled = hop(Transport::Tls, "192.0.2.9:5061");
    let (_, invite) = solo.invite(dialled);
    let live = Hop { connection: 9, ..dialled };
    solo.receive(live, &reply(&invite, 180, "b1", CONTACT));
    solo.events();
    solo.failed(live);
    assert!(solo.events().is_empty(), "figure 5: Proceeding knows no transport error");
    // RFC 3261 §18.2.2: the peer opens a new connection for its answer.
    let next = Hop { connection: 10, ..dialled };
    solo.receive(next, &reply(&invite, 200, "b1", CONTACT));
    let Event::Response { dialog: Some(dialog), .. } = solo.one_event() else { panic!() };
    assert_eq!(solo.endpoint.dialog_hop(dialog).unwrap().connection, 10);
}

#[test]
fn a_failed_invite_closes_its_dialogs_and_tells_once() {
    let mut solo = Solo::new();
    solo.invite(tcp());
    solo.failed(tcp());
    assert_eq!(solo.events().len(), 1);
    solo.failed(tcp());
    assert!(solo.events().is_empty());
    solo.assert_empty();
}

#[test]
fn servers_follow_figures_7_and_8() {
    let mut solo = Solo::new();
    solo.receive(tcp(), &incoming("INVITE", "c", 1, "", CONTACT));
    let Event::Request { transaction: invite, .. } = solo.one_event() else { panic!() };
    solo.receive(tcp(), &incoming("OPTIONS", "d", 1, "", ""));
    let Event::Request { transaction: options, .. } = solo.one_event() else { panic!() };
    solo.failed(tcp());
    assert_eq!(solo.endpoint.counts().transactions, 2, "unanswered: nothing was sent yet");
    solo.respond(options, 200);
    solo.failed(tcp());
    assert_eq!(solo.endpoint.counts().transactions, 1);
    solo.respond(invite, 486);
    solo.failed(tcp());
    assert_eq!(solo.endpoint.counts().transactions, 0);
    assert!(solo.events().is_empty());
}

/// Were the transaction ended, the repetition of its request would be a new one, and a second call.
#[test]
fn a_datagram_that_could_not_leave_is_one_that_got_lost() {
    let mut solo = Solo::new();
    let invite = incoming("INVITE", "c", 1, "", CONTACT);
    solo.receive(udp(), &invite);
    let Event::Request { transaction, .. } = solo.one_event() else { panic!() };
    solo.respond(transaction, 486);
    assert_eq!(solo.said(), ["486 INVITE"]);
    solo.failed(udp());
    solo.receive(udp(), &invite);
    assert_eq!(solo.said(), ["486 INVITE"]);
    assert!(solo.events().is_empty(), "nobody is asked again");
    solo.pass(Duration::from_secs(40));
    solo.assert_empty();
}

#[test]
fn a_new_connection_of_the_peer_moves_the_dialog() {
    let mut solo = Solo::new();
    let (dialog, tag) = solo.called(tcp(), "c");
    let next = Hop { connection: 6, ..tcp() };
    solo.receive(next, &incoming("INFO", "c", 2, &tag, ""));
    assert_eq!(solo.endpoint.dialog_hop(dialog).unwrap().connection, 6);
    let stranger = Hop { connection: 7, tag: 99, ..tcp() };
    solo.receive(stranger, &incoming("INFO", "c", 3, &tag, ""));
    assert_eq!(solo.endpoint.dialog_hop(dialog).unwrap().connection, 6, "another trunk");
}
