//! A callee's proxy that asks several phones at once.

use super::rig::{Carrier, Pbx, Rig};

#[test]
fn each_phone_may_ring_and_one_answers() {
    let mut rig = Rig::new("forks");
    rig.call(Carrier);
    let (id, invite) = rig.invited(Pbx);
    let body = rig.pbx.accept(&invite.body);
    rig.answer(Pbx, id, 180, None);
    rig.retag(Pbx, "another");
    rig.answer(Pbx, id, 183, Some(body.clone()));
    rig.retag(Pbx, "third");
    rig.answer(Pbx, id, 180, None);
    rig.rewrite = None;
    rig.answer(Pbx, id, 183, Some(body));
    rig.accept(Pbx, id, &invite);
    assert_eq!(rig.statuses(Carrier), [180, 183, 180, 183, 200]);
    let tags: std::collections::HashSet<_> = rig
        .carrier
        .responses
        .iter()
        .map(|(_, response)| response.headers.to().unwrap().tag().cloned())
        .collect();
    assert_eq!(tags.len(), 1, "the caller sees one phone");
    rig.hang_up(Carrier);
    rig.finish_one(200);
}

#[test]
fn a_second_phone_that_answers_is_hung_up_and_the_call_goes_on() {
    for after in [0, 10, 25] {
        let mut rig = Rig::new("second");
        rig.call(Carrier);
        let (id, invite) = rig.invited(Pbx);
        rig.answer(Pbx, id, 180, None);
        rig.accept(Pbx, id, &invite);
        rig.seconds(after);
        rig.repeat_answer(Pbx, "another");
        rig.turn();
        let told = |start: &[u8]| {
            rig.told.iter().filter(|(who, bytes)| *who == Pbx && bytes.starts_with(start)).count()
        };
        assert_eq!((told(b"ACK"), told(b"BYE")), (2, 1), "RFC 3261 §13.2.2.4");
        assert_eq!((rig.calls.len(), rig.carrier.byes, rig.pbx.byes), (1, 0, 0));
        rig.hang_up(Pbx);
        assert_eq!(rig.carrier.byes, 1);
        rig.finish_one(200);
    }
}

#[test]
fn a_second_phone_that_answers_after_the_call_is_hung_up() {
    let mut rig = Rig::new("second-late");
    rig.talk(Carrier);
    rig.hang_up(Carrier);
    assert!(rig.calls.is_empty());
    rig.repeat_answer(Pbx, "another");
    rig.turn();
    let told = |start: &[u8]| {
        rig.told.iter().filter(|(who, bytes)| *who == Pbx && bytes.starts_with(start)).count()
    };
    assert_eq!((told(b"ACK"), told(b"BYE")), (2, 2));
    rig.finish_one(200);
}

#[test]
fn a_second_phone_that_answers_a_cancelled_call_is_hung_up() {
    let mut rig = Rig::new("second-cancelled");
    let client = rig.call(Carrier);
    let (id, invite) = rig.invited(Pbx);
    rig.answer(Pbx, id, 180, None);
    let body = rig.pbx.accept(&invite.body);
    rig.cancel(Carrier, client);
    rig.run(super::rig::DELAY);
    let now = rig.now;
    rig.pbx.answer(now, id, 200, Some(body));
    rig.turn();
    rig.repeat_answer(Pbx, "another");
    rig.turn();
    let told = |start: &[u8]| {
        rig.told.iter().filter(|(who, bytes)| *who == Pbx && bytes.starts_with(start)).count()
    };
    assert_eq!((told(b"ACK"), told(b"BYE")), (2, 2));
    rig.finish_one(487);
}
