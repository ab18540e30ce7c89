//! A dialog goes over from one endpoint to another.

use sip::endpoint::{Event, Hop};
use sip::wire::{Message, Method, StatusCode, parse};

use crate::solo::*;

fn message(text: &str) -> Message {
    parse(bytes::Bytes::from(text.to_owned())).unwrap()
}

#[test]
fn a_dialog_goes_on_at_the_other_endpoint_where_it_was() {
    let (mut here, mut there) = (Solo::new(), Solo::with(config(2)));
    let (dialog, tag) = here.called(udp(), "c");
    let by = Method::Options;
    here.endpoint.request_in_dialog(here.now, dialog, by, vec![], None).unwrap();
    let asked = here.one_request();
    here.receive(udp(), &reply(&asked, 200, "", ""));
    here.events();
    let carried = here.endpoint.release(dialog).unwrap();
    assert_eq!((carried.local_tag(), carried.hop_tag()), (&tag.clone().into(), 7));
    assert!(here.endpoint.release(dialog).is_none(), "it is gone here");
    let dialog = there.endpoint.adopt(carried);

    // Ours goes on with the next number, to the same target.
    there.endpoint.request_in_dialog(there.now, dialog, Method::Info, vec![], None).unwrap();
    let next = there.one_request();
    let number = |one: &sip::wire::Request| one.headers.cseq().unwrap().number;
    assert_eq!(number(&next), number(&asked) + 1);
    assert_eq!(next.uri, asked.uri);
    assert_eq!(next.headers.from().unwrap(), asked.headers.from().unwrap());
    assert_eq!(next.headers.call_id().unwrap(), asked.headers.call_id().unwrap());

    // The peer's too: what it used before it may not use again.
    there.receive(udp(), &incoming("INFO", "c", 1, &tag, ""));
    assert_eq!(there.one_response().status, StatusCode::SERVER_INTERNAL_ERROR);
    there.receive(udp(), &incoming("BYE", "c", 2, &tag, ""));
    assert!(matches!(there.one_event(), Event::InDialog { dialog: own, .. } if own == dialog));
    here.receive(udp(), &incoming("BYE", "c", 2, &tag, ""));
    let unknown = StatusCode::CALL_OR_TRANSACTION_DOES_NOT_EXIST;
    assert_eq!(here.one_response().status, unknown, "positive control: not where it was");
}

#[test]
fn another_trunk_cannot_touch_a_dialog_that_went_over() {
    let (mut here, mut there) = (Solo::new(), Solo::with(config(2)));
    let (dialog, tag) = here.called(udp(), "c");
    there.endpoint.adopt(here.endpoint.release(dialog).unwrap());
    there.receive(Hop { tag: 8, ..udp() }, &incoming("BYE", "c", 2, &tag, ""));
    let unknown = StatusCode::CALL_OR_TRANSACTION_DOES_NOT_EXIST;
    assert_eq!(there.one_response().status, unknown);
    there.receive(udp(), &incoming("BYE", "c", 3, &tag, ""));
    assert!(matches!(there.one_event(), Event::InDialog { .. }), "positive control");
}

#[test]
fn a_dialog_is_quiet_when_no_invite_of_it_runs() {
    let mut solo = Solo::new();
    solo.receive(udp(), &incoming("INVITE", "c", 1, "", CONTACT));
    let Event::Request { transaction, .. } = solo.one_event() else { panic!() };
    let dialog = solo.respond(transaction, 180).unwrap();
    assert!(!solo.endpoint.is_quiet(dialog), "early");
    solo.sent();
    solo.respond(transaction, 200);
    assert!(!solo.endpoint.is_quiet(dialog), "our 2xx has no ACK");
    let tag = to_tag(&solo.one_response());
    solo.receive(udp(), &incoming("ACK", "c", 1, &tag, ""));
    solo.events();
    assert!(solo.endpoint.is_quiet(dialog));
    let id = solo.endpoint.request_in_dialog(solo.now, dialog, Method::Invite, vec![], None);
    assert!(id.is_ok() && !solo.endpoint.is_quiet(dialog), "ours runs");
    let invite = solo.one_request();
    solo.receive(udp(), &reply(&invite, 200, "", CONTACT));
    assert!(!solo.endpoint.is_quiet(dialog), "its 2xx has no ACK of ours");
    solo.endpoint.ack(solo.now, dialog, None).unwrap();
    assert!(solo.endpoint.is_quiet(dialog));
    solo.endpoint.close(dialog);
    assert!(!solo.endpoint.is_quiet(dialog));
}

#[test]
fn what_belongs_to_a_transaction_is_known_and_nothing_else() {
    let mut solo = Solo::new();
    let invite = incoming("INVITE", "c", 1, "", CONTACT);
    let cancel = incoming("CANCEL", "c", 1, "", "");
    assert!(!solo.endpoint.knows(udp(), &message(&cancel)));
    solo.receive(udp(), &invite);
    for text in [&invite, &cancel, &incoming("ACK", "c", 1, "", "")] {
        assert!(solo.endpoint.knows(udp(), &message(text)), "{text}");
        let other_trunk = Hop { tag: 8, ..udp() };
        assert!(!solo.endpoint.knows(other_trunk, &message(text)), "{text}");
    }
    for (method, call, number) in [("CANCEL", "d", 1), ("CANCEL", "c", 2), ("BYE", "c", 1)] {
        let text = incoming(method, call, number, "", "");
        assert!(!solo.endpoint.knows(udp(), &message(&text)), "{text}");
    }
    solo.events();
    let (_, ours) = solo.invite(udp());
    assert!(solo.endpoint.knows(udp(), &message(&reply(&ours, 180, "b", ""))));
    let strange = reply(&ours, 180, "b", "").replace("z9hG4bK", "z9hG4bKx");
    assert!(!solo.endpoint.knows(udp(), &message(&strange)));
}
