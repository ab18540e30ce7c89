//! Every limit is reached; beyond it the answer is a clean refusal and nothing grows.

use std::time::Duration;

use sip::endpoint::{Config, Event, Misuse, Welcome};
use sip::wire::Method;

use crate::solo::*;

fn small(transactions_max: usize, dialogs_max: usize) -> Solo {
    Solo::with(Config { transactions_max, dialogs_max, ..config(1) })
}

#[test]
fn beyond_transactions_max_new_requests_get_503_without_state() {
    let mut solo = small(16, 1000);
    for n in 0..16 {
        solo.receive(udp(), &incoming("OPTIONS", &format!("c{n}"), 1, "", ""));
    }
    assert_eq!(solo.events().len(), 16);
    let full = solo.endpoint.counts();
    let refused = incoming("OPTIONS", "late", 1, "", "");
    let mut answers = vec![];
    for _ in 0..1000 {
        solo.receive(udp(), &refused);
        answers.push(solo.one_response());
    }
    assert_eq!(answers[0].status.code(), 503);
    assert_eq!(answers[0].headers.retry_after().unwrap(), Some(5));
    assert!(answers.iter().all(|a| *a == answers[0]), "each repetition gets the same answer");
    assert!(solo.events().is_empty());
    assert_eq!(solo.endpoint.counts(), full);
    solo.receive(udp(), &incoming("INVITE", "late", 2, "", CONTACT));
    assert_eq!(solo.said(), ["503 INVITE"]);
    let own = solo.endpoint.request(solo.now, udp(), outgoing(Method::Options, &[]));
    assert_eq!(own, Err(Misuse::Full { what: "transactions", limit: 16 }));
    // Repetitions of what is known are no new work.
    solo.receive(udp(), &incoming("OPTIONS", "c0", 1, "", ""));
    assert!(solo.sent().is_empty() && solo.events().is_empty());
}

#[test]
fn a_full_endpoint_still_ends_calls() {
    let mut solo = small(16, 1000);
    let (dialog, tag) = solo.called(udp(), "c");
    solo.pass(GIVE_UP);
    for n in 0..20 {
        solo.receive(udp(), &incoming("OPTIONS", &format!("c{n}"), 1, "", ""));
    }
    solo.sent();
    solo.events();
    solo.receive(udp(), &incoming("BYE", "c", 2, &tag, ""));
    let Event::InDialog { transaction, .. } = solo.one_event() else { panic!() };
    solo.respond(transaction, 200);
    assert_eq!(solo.said(), ["200 BYE"]);
    // The reserve of two is a limit too.
    solo.endpoint.request_in_dialog(solo.now, dialog, Method::Info, vec![], None).unwrap();
    let more = solo.endpoint.request_in_dialog(solo.now, dialog, Method::Info, vec![], None);
    assert_eq!(more, Err(Misuse::Full { what: "transactions", limit: 16 }));
    solo.sent();
    solo.receive(udp(), &incoming("INFO", "c", 3, &tag, ""));
    assert_eq!(solo.said(), ["503 INFO"]);
    assert_eq!(solo.endpoint.counts().transactions, 18);
}

#[test]
fn invites_in_progress_hold_a_place_for_their_dialog() {
    let mut solo = small(1000, 2);
    solo.receive(udp(), &incoming("INVITE", "c", 1, "", CONTACT));
    let Event::Request { transaction, .. } = solo.one_event() else { panic!() };
    let (_, invite) = solo.invite(udp());
    solo.receive(udp(), &incoming("INVITE", "d", 1, "", CONTACT));
    assert_eq!(solo.said(), ["503 INVITE"]);
    let own = solo.endpoint.request(solo.now, udp(), outgoing(Method::Invite, &[]));
    assert_eq!(own, Err(Misuse::Full { what: "dialogs", limit: 2 }));
    solo.receive(udp(), &incoming("OPTIONS", "o", 1, "", ""));
    assert_eq!(solo.events().len(), 1, "what makes no dialog is taken");

    let dialog = solo.respond(transaction, 200).unwrap();
    solo.receive(udp(), &reply(&invite, 200, "b1", CONTACT));
    assert_eq!(solo.endpoint.counts().dialogs, 2);
    solo.endpoint.close(dialog);
    solo.sent();
    solo.receive(udp(), &incoming("INVITE", "e", 1, "", CONTACT));
    solo.pass(Duration::from_millis(200));
    assert!(solo.said().contains(&"100 INVITE".into()), "a free place is used");
}

#[test]
fn refused_and_failed_invites_give_their_place_back() {
    let mut solo = small(1000, 1);
    for n in 0..5 {
        solo.receive(udp(), &incoming("INVITE", &format!("c{n}"), 1, "", CONTACT));
        let Event::Request { transaction, .. } = solo.one_event() else { panic!() };
        if n % 2 == 0 {
            solo.respond(transaction, 180);
        }
        solo.respond(transaction, 486);
        let (_, invite) = solo.invite_after_drain();
        solo.receive(udp(), &reply(&invite, 183, "b1", CONTACT));
        solo.receive(udp(), &reply(&invite, 486, "b1", ""));
        solo.events();
        solo.invite_after_drain();
        solo.failed(udp());
        solo.events();
    }
    solo.pass(GIVE_UP * 2);
    solo.assert_empty();
}

impl Solo {
    fn invite_after_drain(&mut self) -> (sip::endpoint::ClientId, sip::wire::Request) {
        self.sent();
        self.invite(udp())
    }
}

#[test]
fn a_peer_that_invents_to_tags_fills_nothing() {
    let mut solo = Solo::new();
    let (_, invite) = solo.invite(udp());
    for n in 0..1000 {
        solo.receive(udp(), &reply(&invite, 183, &format!("fork{n}"), CONTACT));
    }
    assert_eq!(solo.endpoint.counts().dialogs, 16);
    assert_eq!(solo.events().len(), 16);
    solo.receive(udp(), &reply(&invite, 200, "answer", CONTACT));
    assert_eq!(solo.events().len(), 1, "an answer takes the place of an early dialog");
    assert_eq!(solo.endpoint.counts().dialogs, 16);
    for n in 0..1000 {
        solo.receive(udp(), &reply(&invite, 200, &format!("more{n}"), CONTACT));
    }
    assert_eq!(solo.endpoint.counts().dialogs, 16);
}

#[test]
fn a_flood_of_closed_connections_leaves_no_trace() {
    let mut solo = Solo::new();
    for connection in 1..10_000 {
        solo.failed(sip::endpoint::Hop { connection, ..tcp() });
    }
    assert!(solo.events().is_empty());
    solo.assert_empty();
}

/// A shard moves its endpoint into its thread.
#[test]
fn an_endpoint_can_be_moved_to_a_thread() {
    fn is_send<T: Send>(_: &T) {}
    is_send(&Solo::new().endpoint);
}

/// An emergency call passes what refuses others, with the places that are kept: those are a limit too.
#[test]
fn an_urgent_call_is_taken_when_others_are_refused() {
    for welcome in [Welcome::Open, Welcome::Shed] {
        // Eight dialogs and one more; enough transactions.
        let mut solo = small(1000, 8);
        for n in 0..8 {
            solo.receive(udp(), &incoming("INVITE", &format!("c{n}"), 1, "", CONTACT));
        }
        assert_eq!(solo.events().len(), 8);
        solo.endpoint.welcome(welcome);
        solo.receive(udp(), &incoming("INVITE", "ordinary", 1, "", CONTACT));
        assert_eq!(solo.said(), ["503 INVITE"], "{welcome:?}");
        solo.endpoint.welcome(Welcome::Urgent);
        solo.receive(udp(), &incoming("INVITE", "help", 1, "", CONTACT));
        assert_eq!(solo.events().len(), 1);
        solo.receive(udp(), &incoming("INVITE", "more-help", 1, "", CONTACT));
        assert_eq!(solo.said(), ["503 INVITE"], "the places that are kept are a limit");
        let own = solo.endpoint.request(solo.now, udp(), outgoing(Method::Invite, &[]));
        assert_eq!(own, Err(Misuse::Full { what: "dialogs", limit: 8 }));
    }
    // Both legs of it, with a table of transactions that is full.
    let mut solo = small(16, 1000);
    for n in 0..16 {
        solo.receive(udp(), &incoming("OPTIONS", &format!("c{n}"), 1, "", ""));
    }
    solo.events();
    assert!(solo.endpoint.is_full());
    solo.endpoint.welcome(Welcome::Urgent);
    solo.receive(udp(), &incoming("OPTIONS", "late", 1, "", ""));
    assert_eq!(solo.said(), ["503 OPTIONS"], "calls alone are urgent");
    solo.receive(udp(), &incoming("INVITE", "help", 1, "", CONTACT));
    assert_eq!(solo.events().len(), 1);
    solo.endpoint.request(solo.now, udp(), outgoing(Method::Invite, &[])).unwrap();
}
